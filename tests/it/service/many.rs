//! Models to plan, and many requests at once.

use std::sync::Barrier;

use serde_json::{Value, json};

/// Four operators on two devices; another number is another content.
pub(super) fn small(n: u64) -> Value {
    let op = |id: u64, name: &str, inputs: &[u64]| {
        json!({
            "id": id,
            "name": name,
            "time_ns": { "k": 1000 + n },
            "persistent": 100,
            "temp": 0,
            "inputs": inputs,
            "outputs": [{ "tensor": 10 + id, "bytes": 10 }],
        })
    };
    let ops = [op(0, "a", &[]), op(1, "b", &[10]), op(2, "c", &[10]), op(3, "d", &[11, 12])];
    on_devices(&ops, 2)
}

fn on_devices(ops: &[Value], n: u64) -> Value {
    let devices: Vec<Value> =
        (0..n).map(|id| json!({ "id": id, "kind": "k", "limit": 100_000 })).collect();
    let link = json!({ "latency_ns": 100, "bytes_per_s": 1e9, "duplex": "full" });
    json!({ "ops": ops, "devices": devices, "link": link })
}

/// Layers over slow links; what is best takes a search very long to prove.
pub(super) fn long() -> Value {
    let mut state = 1_u64;
    let mut draw = |most: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % most
    };
    let mut op = |id: u64| {
        let before = id - id % 5;
        let mut inputs: Vec<u64> = Vec::new();
        if before > 0 {
            inputs.extend([999 + before - draw(5), 999 + before - draw(5)]);
            inputs.sort_unstable();
            inputs.dedup();
        }
        json!({
            "id": id,
            "name": format!("op{id}"),
            "time_ns": { "k": 1000 + draw(9000) },
            "persistent": 1,
            "temp": 0,
            "inputs": inputs,
            "outputs": [{ "tensor": 1000 + id, "bytes": 500 + draw(8000) }],
        })
    };
    let ops: Vec<Value> = (0..120).map(&mut op).collect();
    on_devices(&ops, 3)
}

/// What the same work returns in many threads at once.
pub(super) fn at_once<T: Send>(n: usize, work: impl Fn() -> T + Sync) -> Vec<T> {
    let gate = Barrier::new(n);
    std::thread::scope(|scope| {
        let one = || {
            gate.wait();
            work()
        };
        let all: Vec<_> = (0..n).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
