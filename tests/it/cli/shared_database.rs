//! Servers and workers that share a database, as far as that needs no database.

use std::fs::File;

use super::folder::{Folder, diamond};

#[test]
fn a_worker_refuses_a_file_that_one_server_has_to_itself() {
    let folder = Folder::new(&diamond());
    let ran = folder.run("worker --database plans.db").exits(2);
    assert!(ran.stderr.starts_with("error[worker-failed]: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("`plans.db` is a file of SQLite"), "{}", ran.stderr);
    assert!(ran.stderr.contains("--database postgres://"), "{}", ran.stderr);
    assert_eq!(folder.list(), ["model.json"], "it left something");
    let ran = folder.run("worker --workers 0 --database postgres://host/plans").exits(2);
    assert!(ran.stderr.starts_with("error[bad-workers]: "), "{}", ran.stderr);
}

/// A program without that feature says so, and what has it.
#[test]
fn a_url_is_refused_where_there_is_no_postgresql() {
    if cfg!(feature = "postgres") {
        return;
    }
    let folder = Folder::new(&diamond());
    for verb in ["serve --listen 127.0.0.1:0", "worker", "token ann", "backup copy.db", "replan"] {
        let ran = folder.run(&format!("{verb} --database postgres://host/plans")).exits(2);
        assert!(ran.stderr.starts_with("error[no-postgres]: "), "{verb}: {}", ran.stderr);
        assert!(ran.stderr.contains("--features postgres"), "{verb}: {}", ran.stderr);
    }
    assert_eq!(folder.list(), ["model.json"], "it left something");
}

#[test]
fn a_second_server_on_one_file_is_refused() {
    let folder = Folder::new(&diamond());
    let file = File::create(folder.path("plans.db")).unwrap();
    file.try_lock().unwrap();
    let line = "serve --listen 127.0.0.1:0 --database plans.db --work-folder own";
    let ran = folder.run(line).exits(2);
    assert!(ran.stderr.contains("another server uses this file"), "{}", ran.stderr);
    assert!(ran.stderr.contains("PostgreSQL"), "{}", ran.stderr);
}

#[test]
fn the_password_of_a_database_is_not_repeated() {
    let folder = Folder::new(&diamond());
    let verbs = ["serve --listen 127.0.0.1:0", "worker", "token ann", "replan", "serve --wrong"];
    let urls = [
        "postgres://ann:s3cret@/plans?host=%2Fnowhere",
        "postgres://ann:s3cret@host:port/plans",
        "postgres://ann:p@s3cret@host/plans",
        "mysql://ann:s3cret@host/plans",
    ];
    for verb in verbs {
        for url in urls {
            let ran = folder.run(&format!("{verb} --database {url}")).exits(2);
            let said = format!("{}{}", ran.stdout, ran.stderr);
            assert!(!said.contains("s3cret"), "{verb}: {said}");
        }
    }
}
