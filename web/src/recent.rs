//! What is kept at hand, and what is made once however many ask for it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Bytes of all that is kept at hand.
const MOST_BYTES: usize = 256 << 20;

/// Files that were read last, by name.
#[derive(Default)]
pub(crate) struct Recent(Mutex<VecDeque<(String, Arc<Vec<u8>>)>>);

impl Recent {
    /// The file, which is then the last read.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Vec<u8>>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = all.iter().position(|(known, _)| known == name)?;
        let found = all.remove(at)?;
        let file = Arc::clone(&found.1);
        all.push_front(found);
        Some(file)
    }

    /// Keeps a file in place of those that were not read for longest.
    pub(crate) fn put(&self, name: &str, file: &Arc<Vec<u8>>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(known, _)| known != name);
        all.push_front((name.to_owned(), Arc::clone(file)));
        while all.len() > 1 && all.iter().map(|(_, file)| file.len()).sum::<usize>() > MOST_BYTES {
            all.pop_back();
        }
    }
}

/// Locks by name; a name that nobody holds takes no memory.
#[derive(Default)]
pub(crate) struct Keyed(Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl Keyed {
    /// Waits until nobody else holds the name.
    pub(crate) async fn lock(&self, name: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, lock| lock.strong_count() > 0);
            let known = all.get(name).and_then(Weak::upgrade);
            let lock = known.unwrap_or_default();
            all.insert(name.to_owned(), Arc::downgrade(&lock));
            lock
        };
        lock.lock_owned().await
    }
}
