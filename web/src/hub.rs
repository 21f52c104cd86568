//! Who waits for news of a plan. One task per plan that is watched reads its events from the
//! database, however many clients watch it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, broadcast};

use crate::queue;
use crate::store::Store;

/// How often events are looked for that another process wrote.
const LOOK: Duration = Duration::from_millis(500);
/// Events that a slow client may lag behind before it reads them from the database.
const WAITING: usize = 256;

/// Revision, kind and body of an event.
pub(crate) type Event = Arc<(i64, String, String)>;

/// A plan that is watched.
pub(crate) struct Watched {
    sender: broadcast::Sender<Event>,
    changed: Notify,
}

impl Watched {
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }
}

/// All plans that are watched.
#[derive(Default)]
pub(crate) struct Hub(Mutex<HashMap<String, Weak<Watched>>>);

impl Hub {
    /// Something of a plan was written by this process.
    pub(crate) fn changed(&self, id: &str) {
        let watched = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        if let Some(watched) = watched.and_then(|watched| watched.upgrade()) {
            watched.changed.notify_one();
        }
    }

    /// Watches a plan from now on, while what is returned lives.
    pub(crate) fn watch(self: &Arc<Self>, store: &Arc<Store>, id: &str) -> Arc<Watched> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, watched| watched.strong_count() > 0);
        if let Some(watched) = all.get(id).and_then(Weak::upgrade) {
            return watched;
        }
        let watched =
            Arc::new(Watched { sender: broadcast::channel(WAITING).0, changed: Notify::new() });
        all.insert(id.to_owned(), Arc::downgrade(&watched));
        tokio::spawn(follow(Arc::clone(store), id.to_owned(), Arc::downgrade(&watched)));
        watched
    }
}

/// Sends events as they come, until nobody watches.
async fn follow(store: Arc<Store>, id: String, watched: Weak<Watched>) {
    // The latest event is told again: it may have come while nobody was told.
    let (plan_id, statement) = (
        id.clone(),
        "SELECT COALESCE(MAX(revision), 1) - 1 FROM events \
        WHERE plan = $1",
    );
    let latest = store.read(move |sql| Ok(sql.row(statement, &[plan_id.into()])?));
    let mut after = latest.await.ok().flatten().map_or(0, |mut row| row.int());
    while let Some(watched) = watched.upgrade() {
        let plan_id = id.clone();
        let found = store.read(move |sql| queue::events(sql, &plan_id, after)).await;
        for event in found.unwrap_or_default() {
            after = event.0;
            // Nobody may listen at this moment.
            let _ = watched.sender.send(Arc::new(event));
        }
        let _ = tokio::time::timeout(LOOK, watched.changed.notified()).await;
    }
}
