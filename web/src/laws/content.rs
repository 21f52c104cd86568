use serde_json::Value;

use super::Database;
use crate::access;
use crate::content::{self, Incoming, Kind};
use crate::log::now_ms;
use crate::store::Store;

super::laws!(
    equal_bytes_are_stored_once,
    what_comes_in_elsewhere_is_not_swept,
    what_nobody_continues_is_swept,
);

fn receive(store: &Store, name: &str, chunks: &[&[u8]]) -> Incoming {
    let incoming = Incoming {
        holder: access::id("in_"),
        kind: Kind::Model,
        name: name.to_owned(),
        bytes: chunks.iter().map(|chunk| chunk.len() as i64).sum(),
        digest: String::new(),
        owner: "ann".to_owned(),
        summary: Value::Null,
    };
    for (n, chunk) in chunks.iter().enumerate() {
        let (copy, chunk) = (incoming.clone(), chunk.to_vec());
        store.write_here(move |sql| content::receive(sql, &copy, n as i64, &chunk)).unwrap();
    }
    let digest = content::digest(store, &incoming.holder).unwrap();
    Incoming { digest, ..incoming }
}

fn keep(store: &Store, incoming: &Incoming) -> bool {
    let copy = incoming.clone();
    store.write_here(move |sql| content::keep(sql, &copy)).unwrap()
}

fn sweep(store: &Store, is_alone: bool) {
    store.write_here(move |sql| content::sweep(sql, is_alone)).unwrap();
}

fn count(store: &Store, table: &str) -> i64 {
    let statement = format!("SELECT COUNT(*) FROM {table}");
    let row = store.read_here(|sql| Ok(sql.row(&statement, &[])?)).unwrap();
    row.unwrap().int()
}

fn equal_bytes_are_stored_once(database: &Database) {
    let store = database.store();
    let first = receive(&store, "a.onnx", &[b"one ", &[0, 255], b"two"]);
    assert!(keep(&store, &first));
    let second = receive(&store, "b.onnx", &[b"one ", &[0, 255, b't'], b"wo"]);
    assert_eq!(first.digest, second.digest);
    keep(&store, &second);
    assert_eq!((count(&store, "contents"), count(&store, "chunks")), (1, 3));
    assert_eq!(count(&store, "uploads"), 0);
    let mut bytes = Vec::new();
    let found = store.read_here(|sql| content::find(sql, None, "b.onnx", "")).unwrap().unwrap();
    assert_eq!((found.digest.as_str(), found.bytes), (first.digest.as_str(), 9));
    content::each_chunk(&store, &first.holder, &mut |chunk| {
        bytes.extend_from_slice(chunk);
        Ok(())
    })
    .unwrap();
    assert_eq!(bytes, b"one \x00\xfftwo");
}

fn what_comes_in_elsewhere_is_not_swept(database: &Database) {
    let store = database.store();
    let incoming = receive(&store, "a.onnx", &[b"one", b"two"]);
    sweep(&store, false);
    assert_eq!(count(&store, "chunks"), 2, "another server receives it");
    assert!(keep(&store, &incoming));
    receive(&store, "b.onnx", &[b"three"]);
    sweep(&store, true);
    assert_eq!((count(&store, "chunks"), count(&store, "uploads")), (2, 0));
}

fn what_nobody_continues_is_swept(database: &Database) {
    let store = database.store();
    receive(&store, "a.onnx", &[b"one", b"two"]);
    let received = receive(&store, "b.onnx", &[b"three"]);
    keep(&store, &received);
    let day = now_ms() - 90_000_000;
    let aged = "UPDATE uploads SET touched_ms = $1";
    store.write_here(move |sql| Ok(sql.run(aged, &[day.into()])?)).unwrap();
    sweep(&store, false);
    assert_eq!((count(&store, "chunks"), count(&store, "uploads")), (1, 0));
}
