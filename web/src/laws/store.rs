use std::sync::atomic::{AtomicBool, Ordering};
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
        let held = scope.spawn(move || {
            let held = store.write_here(move |_| {
                // It ends with the sender.
                let _ = gone.recv();
                Ok(())
            });
            held.unwrap();
        });
        let write = &write;
        let threads: Vec<_> = (0..n).map(|i| scope.spawn(move || write(i))).collect();
        thread::sleep(std::time::Duration::from_millis(200));
        drop(go);
        held.join().unwrap();
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
    let found = store.read_here(|sql| crate::content::find(sql, None, "a\0b")).unwrap();
    assert!(found.is_none());
    put(&store, "a\0b").unwrap();
    assert_eq!(names(&store).len(), 1);
}

/// Two writes that wait for each other are both done.
#[test]
fn processes_that_wait_for_each_other_both_go_on() {
    let Some(database) = Database::shared() else { return };
    let stores = database.stores();
    for name in ["a", "b"] {
        put(&stores[0], name).unwrap();
    }
    let barrier = std::sync::Arc::new(std::sync::Barrier::new(2));
    thread::scope(|scope| {
        for (store, order) in stores.iter().zip([["a", "b"], ["b", "a"]]) {
            let barrier = std::sync::Arc::clone(&barrier);
            scope.spawn(move || {
                let is_first = AtomicBool::new(true);
                let done = store.write_here(move |sql| {
                    let add = "UPDATE facts SET value = value || 'x' WHERE name = $1";
                    sql.run(add, &[order[0].into()])?;
                    if is_first.swap(false, Ordering::SeqCst) {
                        barrier.wait();
                    }
                    Ok(sql.run(add, &[order[1].into()])?)
                });
                assert_eq!(done.unwrap(), 1);
            });
        }
    });
    let statement = "SELECT value FROM facts WHERE name IN ('a', 'b')";
    let rows = stores[0].read_here(|sql| Ok(sql.rows(statement, &[])?)).unwrap();
    assert_eq!(rows.into_iter().map(|mut row| row.text()).collect::<Vec<_>>(), ["xx", "xx"]);
}
