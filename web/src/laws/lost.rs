//! What holds of PostgreSQL alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::store::{names, put};
use super::{Database, within};
use crate::store::Store;

/// Ends all connections of this test's stores.
fn cut(database: &Database) {
    let (name, whole) = database.schema.as_ref().unwrap();
    let statement = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity \
        WHERE application_name = $1";
    let row = whole.open().unwrap().row(statement, &[name.as_str().into()]).unwrap();
    assert!(row.unwrap().int() > 0);
}

#[test]
fn connections_that_were_lost_are_opened_again() {
    let Some(database) = Database::shared() else { return };
    let store = database.store();
    for i in 0..5 {
        put(&store, &format!("n{i}")).unwrap();
        assert_eq!(names(&store).len(), i + 1);
        cut(&database);
        assert_eq!(names(&store).len(), i + 1);
        cut(&database);
    }
}

#[test]
fn a_connection_that_is_lost_within_a_write_leaves_nothing_of_it() {
    let Some(database) = Database::shared() else { return };
    let store = database.store();
    let lost = store.write_here(|sql| {
        sql.run("INSERT INTO facts (name, value) VALUES ('torn', '')", &[])?;
        let _ = sql.rows("SELECT pg_terminate_backend(pg_backend_pid())::int", &[]);
        // On another connection this would stand alone.
        Ok(sql.run("INSERT INTO facts (name, value) VALUES ('alone', '')", &[]).map(drop)?)
    });
    assert_eq!(lost.unwrap_err().status.as_u16(), 503);
    put(&store, "next").unwrap();
    assert_eq!(names(&store), ["next"]);
}

#[test]
fn a_full_disk_is_said_so_and_passes() {
    let Some(database) = Database::shared() else { return };
    let store = database.store();
    let full = store.write_here(|sql| {
        sql.run("INSERT INTO facts (name, value) VALUES ('torn', '')", &[])?;
        let raise = "DO $$ BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = '53100'; END $$";
        Ok(sql.run(raise, &[]).map(drop)?)
    });
    let full = full.unwrap_err();
    assert_eq!((full.status.as_u16(), full.code.as_str()), (507, "storage-full"));
    put(&store, "next").unwrap();
    assert_eq!(names(&store), ["next"]);
}

#[test]
fn whoever_may_only_use_the_tables_works() {
    let Some(database) = Database::shared() else { return };
    let (name, whole) = database.schema.as_ref().unwrap();
    drop(database.store());
    let mut sql = whole.open().unwrap();
    let url = benchmark_data::postgres().unwrap();
    let place = within(&url, name, &format!("%20-c%20role%3D{name}"));
    for statement in [
        format!("CREATE ROLE {name}"),
        format!("GRANT USAGE ON SCHEMA {name} TO {name}"),
        format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {name} TO {name}"),
    ] {
        sql.run(&statement, &[]).unwrap();
    }
    let store = Store::open(place).unwrap();
    put(&store, "one").unwrap();
    assert_eq!(names(&store), ["one"]);
    drop(store);
    sql.run(&format!("DROP OWNED BY {name}"), &[]).unwrap();
    sql.run(&format!("DROP ROLE {name}"), &[]).unwrap();
}

/// Leases are compared on all machines: the clock is the database's.
#[test]
fn the_clock_is_the_one_of_the_database() {
    let Some(database) = Database::shared() else { return };
    let store = database.store();
    let (ours, theirs) = store
        .write_here(|sql| {
            let clock = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
            let theirs = sql.row(clock, &[])?.map_or(0, |mut row| row.int());
            Ok((sql.now_ms(), theirs))
        })
        .unwrap();
    assert!((ours - theirs).abs() < 1000, "{ours} {theirs}");
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
