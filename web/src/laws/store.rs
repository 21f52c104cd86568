use std::sync::mpsc::channel;
use std::thread;

use super::Database;
use crate::problem::Problem;
use crate::store::Store;

super::laws!(
    a_write_that_fails_leaves_the_others,
    a_refusal_leaves_nothing,
    what_was_answered_is_there_after_reopening,
    several_make_the_tables_at_once,
    more_read_at_once_than_there_are_connections,
    a_text_with_a_zero_is_no_fault,
    older_tables_are_upgraded_with_all_that_is_in_them,
    tables_of_a_version_to_come_are_refused_as_they_are,
    a_missing_table_is_noticed,
);

pub(super) fn put(store: &Store, name: &str) -> Result<(), Problem> {
    let name = name.to_owned();
    store.write_here(move |sql| {
        let statement = "INSERT INTO facts (name, value) VALUES ($1, '')";
        Ok(sql.run(statement, &[name.as_str().into()]).map(drop)?)
    })
}

pub(super) fn names(store: &Store) -> Vec<String> {
    let statement = "SELECT name FROM facts WHERE name <> 'schema' ORDER BY name";
    let rows = store.read_here(|sql| Ok(sql.rows(statement, &[])?)).unwrap();
    rows.into_iter().map(|mut row| row.text()).collect()
}

/// Runs writes of one transaction: the writer is held until all of them wait.
fn together<T: Send>(store: &Store, n: usize, write: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let (go, gone) = channel::<()>();
    thread::scope(|scope| {
        let holder = scope.spawn(move || {
            let result = store.write_here(move |_| {
                // It ends with the sender.
                let _ = gone.recv();
                Ok(())
            });
            result.unwrap();
        });
        let write = &write;
        let threads: Vec<_> = (0..n).map(|i| scope.spawn(move || write(i))).collect();
        thread::sleep(std::time::Duration::from_millis(200));
        drop(go);
        holder.join().unwrap();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn a_write_that_fails_leaves_the_others(database: &Database) {
    let store = database.store();
    let answers = together(&store, 20, |i| match i {
        7 => store.write_here(|sql| {
            sql.run("INSERT INTO facts (name, value) VALUES ('torn', '')", &[])?;
            Ok(sql.run("INSERT INTO nowhere (a) VALUES ($1)", &[1.into()]).map(drop)?)
        }),
        _ => put(&store, &format!("n{i:02}")),
    });
    for (i, answer) in answers.iter().enumerate() {
        let status = answer.as_ref().err().map(|problem| problem.status.as_u16());
        assert_eq!(status, (i == 7).then_some(503), "{i}");
    }
    let expected = (0..20).filter(|i| *i != 7).map(|i| format!("n{i:02}"));
    assert_eq!(names(&store), expected.collect::<Vec<_>>());
}

fn a_refusal_leaves_nothing(database: &Database) {
    let store = database.store();
    let refused = store.write_here(|sql| {
        sql.run("INSERT INTO facts (name, value) VALUES ('torn', '')", &[])?;
        Err::<(), _>(Problem::missing("plan", "p"))
    });
    assert_eq!(refused.unwrap_err().status.as_u16(), 404);
    // A key that is taken.
    put(&store, "once").unwrap();
    assert_eq!(put(&store, "once").unwrap_err().status.as_u16(), 503);
    assert_eq!(names(&store), ["once"]);
}

fn what_was_answered_is_there_after_reopening(database: &Database) {
    let store = database.store();
    let answers = together(&store, 50, |i| put(&store, &format!("n{i:02}")).is_ok());
    assert!(answers.into_iter().all(|is_sound| is_sound));
    drop(store);
    let store = database.store();
    assert_eq!(names(&store).len(), 50);
}

fn several_make_the_tables_at_once(database: &Database) {
    thread::scope(|scope| {
        for i in 0..6 {
            scope.spawn(move || put(&database.store(), &format!("n{i}")).unwrap());
        }
    });
    assert_eq!(names(&database.store()).len(), 6);
}

fn more_read_at_once_than_there_are_connections(database: &Database) {
    let store = database.store();
    put(&store, "one").unwrap();
    thread::scope(|scope| {
        for i in 0..64 {
            let store = &store;
            scope.spawn(move || {
                if i % 8 == 0 {
                    let failed = store.read_here(|sql| Ok(sql.rows("SELECT a FROM nowhere", &[])?));
                    assert_eq!(failed.unwrap_err().status.as_u16(), 503);
                }
                assert_eq!(names(store), ["one"]);
            });
        }
    });
}

fn a_text_with_a_zero_is_no_fault(database: &Database) {
    let store = database.store();
    let found = store.read_here(|sql| crate::content::find(sql, None, "a\0b", "a")).unwrap();
    assert!(found.is_none());
    put(&store, "a\0b").unwrap();
    assert_eq!(names(&store).len(), 1);
}

/// The names of files as versions 1 and 2 had them.
const FORMER_NAMES: &str = "CREATE TABLE names (kind TEXT NOT NULL, name TEXT NOT NULL, \
    digest TEXT NOT NULL, summary TEXT NOT NULL, owner TEXT NOT NULL, \
    created_ms BIGINT NOT NULL, PRIMARY KEY (kind, digest, name))";

fn set_version(database: &Database, version: &str) {
    let store = database.store();
    let version = version.to_owned();
    let set = store.write_here(move |sql| {
        let statement = "UPDATE facts SET value = $1 WHERE name = 'schema'";
        Ok(sql.run(statement, &[version.as_str().into()])?)
    });
    assert_eq!(set.unwrap(), 1);
}

fn older_tables_are_upgraded_with_all_that_is_in_them(database: &Database) {
    for version in ["1", "2", "3"] {
        let store = database.store();
        let former = store.write_here(move |sql| {
            if version == "1" {
                sql.run("DROP TABLE untold", &[])?;
            }
            sql.run("DROP TABLE durations", &[])?;
            sql.run("DELETE FROM names", &[])?;
            if version < "3" {
                sql.run("DROP TABLE names", &[])?;
                sql.run(FORMER_NAMES, &[])?;
                sql.run("CREATE INDEX names_by_name ON names (name, created_ms)", &[])?;
            }
            for (name, owner) in [("a", "ann"), ("b", "ben")] {
                let row = "INSERT INTO names VALUES ('model', $1, 'sha256:1', '{}', $2, 7)";
                sql.run(row, &[name.into(), owner.into()])?;
            }
            Ok(())
        });
        former.unwrap();
        drop(store);
        set_version(database, version);
        let store = database.store();
        let rows = store.read_here(|sql| {
            let names = "SELECT name, owner, created_ms FROM names ORDER BY name";
            sql.rows("SELECT plan FROM untold", &[])?;
            sql.rows("SELECT n FROM durations", &[])?;
            Ok(sql.rows(names, &[])?)
        });
        let rows = rows.unwrap().into_iter().map(|mut row| (row.text(), row.text(), row.int()));
        let expected = [("a", "ann"), ("b", "ben")].map(|(a, b)| (a.to_owned(), b.to_owned(), 7));
        assert_eq!(rows.collect::<Vec<_>>(), expected, "version {version}");
        // Each owner has names of their own now.
        let again = store.write_here(|sql| {
            let row = "INSERT INTO names VALUES ('model', 'a', 'sha256:1', '{}', 'ben', 8)";
            Ok(sql.run(row, &[])?)
        });
        assert_eq!(again.unwrap(), 1);
    }
}

fn tables_of_a_version_to_come_are_refused_as_they_are(database: &Database) {
    put(&database.store(), "one").unwrap();
    set_version(database, "999");
    let refused = Store::open(database.place.clone()).err().unwrap().to_string();
    assert!(refused.contains("version `999`"), "{refused}");
    let mut sql = database.place.open().unwrap();
    let left = sql.row("SELECT value FROM facts WHERE name = 'schema'", &[]).unwrap().unwrap();
    assert_eq!({ left }.text(), "999");
}

fn a_missing_table_is_noticed(database: &Database) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for table in ["chunks", "plans", "tokens", "facts"] {
        let store = database.store();
        runtime.block_on(store.touch()).unwrap();
        let drop = store.write_here(move |sql| Ok(sql.run(&format!("DROP TABLE {table}"), &[])?));
        drop.unwrap();
        assert_eq!(runtime.block_on(store.touch()).unwrap_err().status.as_u16(), 503, "{table}");
        let mend = store.write_here(move |sql| {
            sql.run("CREATE TABLE IF NOT EXISTS facts (name TEXT, value TEXT)", &[])?;
            Ok(sql.run("DELETE FROM facts", &[])?)
        });
        mend.unwrap();
    }
}
