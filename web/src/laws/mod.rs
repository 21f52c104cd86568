//! What holds on every database: each law runs on SQLite, and on PostgreSQL where
//! `MESHWRIGHT_POSTGRES` names one (`make test-postgres`).

mod content;
#[cfg(feature = "postgres")]
mod lost;
mod queue;
mod store;
#[cfg(feature = "postgres")]
mod url;
mod warm;

use std::sync::Arc;

use tempfile::TempDir;

use crate::store::{Place, Store};

/// Makes two tests of each law.
macro_rules! laws {
    ($($law:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test] fn $law() { super::$law(&crate::laws::Database::file()); })+
        }
        #[cfg(feature = "postgres")]
        mod postgres {
            $(#[test] fn $law() {
                let database = crate::laws::Database::shared();
                database.as_ref().into_iter().for_each(super::$law);
            })+
        }
    };
}
pub(super) use laws;

/// The URL of a schema, with further settings of its sessions.
#[cfg(feature = "postgres")]
fn within(url: &str, name: &str, settings: &str) -> Place {
    let sign = if url.contains('?') { '&' } else { '?' };
    let options = format!("options=-c%20search_path%3D{name}{settings}&application_name={name}");
    format!("{url}{sign}{options}").parse().unwrap()
}

/// A database of one test.
pub(super) struct Database {
    place: Place,
    /// Where the file lies.
    _folder: Option<TempDir>,
    /// The schema in a PostgreSQL, and the URL that says nothing of it.
    schema: Option<(String, Place)>,
}

impl Database {
    fn file() -> Self {
        let folder = TempDir::new().unwrap();
        let place = Place::File(folder.path().join("plans.db"));
        Self { place, _folder: Some(folder), schema: None }
    }

    #[cfg(feature = "postgres")]
    fn shared() -> Option<Self> {
        let url = benchmark_data::postgres()?;
        let (name, whole) = (crate::access::id("law_"), url.parse::<Place>().unwrap());
        whole.open().unwrap().run(&format!("CREATE SCHEMA {name}"), &[]).unwrap();
        let place = within(&url, &name, "");
        Some(Self { place, _folder: None, schema: Some((name, whole)) })
    }

    fn store(&self) -> Arc<Store> {
        Arc::new(Store::open(self.place.clone()).unwrap())
    }

    /// Stores as several processes have them; a file of SQLite has one.
    fn stores(&self) -> Vec<Arc<Store>> {
        match self.place {
            Place::File(_) => vec![self.store(); 4],
            Place::Url(_) => std::iter::repeat_with(|| self.store()).take(4).collect(),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some((name, whole)) = &self.schema {
            let dropped = whole.open().map(|mut sql| {
                // Connections of stores close a moment after them.
                sql.run(&format!("DROP SCHEMA {name} CASCADE"), &[])
            });
            assert!(std::thread::panicking() || matches!(dropped, Ok(Ok(_))));
        }
    }
}
