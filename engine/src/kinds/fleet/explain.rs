//! A fleet as people read it: by worker type its settings, latencies and memory.

use documents::plan::fleet::{FleetDocument, WorkerDocument, WorkerMemoryDocument};
use ir::diagnostic::Diagnostic;
use ir::id::DeviceId;
use ir::units::Bytes;
use serde_json::{Value, json};

use super::pools::Pool;
use super::screen::runs_on;
use super::setting::Setting;
use super::words::{
    degrees, groups, latency, names, per_second, shape, statistic, thousands, workers,
};
use super::{Fleet, composed, decided, refused};
use crate::answer::page::{Column, Page};
use crate::answer::rows::Rows;
use crate::kinds::kind::{Asked, Legal};
use crate::request::subject::Subject;

/// What workers serve and hold; of one, where a device of it is named.
///
/// # Errors
/// `unknown-device` for one without a worker.
pub(super) fn explain(on: Legal<'_, Fleet>, query: &Asked<'_>) -> Result<Value, Diagnostic> {
    let plan = decided::document(on.setting, on.judged, ("", None));
    let Some(fleet) = plan.fleet.as_deref() else {
        return Err(refused("the plan is of no fleet", "give one that is"));
    };
    let Asked { subject, rows, page, .. } = *query;
    let names = names(&fleet.workers);
    if let Subject::Device(name) = subject {
        return worker(on.setting, (fleet, &names), name, (rows, page));
    }
    let columns =
        Column::row("@worker | #n | degrees | #req/s | #TTFT | #TPOT | #seqs | #KV tokens | #peak");
    let time = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), latency);
    let row = |(name, of): (&String, &WorkerDocument)| {
        vec![
            name.clone(),
            of.replicas.len().to_string(),
            degrees(&shape(of)),
            format!("{:.3}", of.requests_per_s),
            time(of.ttft_s),
            time(of.tpot_s),
            of.max_num_seqs.to_string(),
            thousands(of.kv_tokens),
            Bytes(held(&of.memory)).to_string(),
        ]
    };
    rows.table(&columns, names.iter().zip(&fleet.workers).map(row), page);
    page.line(&format!(
        "{} requests/s on {} devices: {}",
        per_second(fleet.requests_per_s),
        fleet.n_devices,
        workers(&groups(&fleet.workers))
    ));
    page.line(&format!(
        "TTFT and TPOT: {} of requests in a replay of each worker at its rate",
        statistic(&fleet.promises)
    ));
    if fleet.workers.iter().any(|of| of.to_pool.is_some()) {
        let bytes = Bytes(fleet.bytes_handed_over as u64);
        page.line(&format!("a request hands over {bytes} of keys and values"));
    }
    memory(&names, &fleet.workers, page);
    let all: Vec<_> = names.iter().zip(&fleet.workers).collect();
    let mut answer = json!({
        "fleet": fleet, "hosts": hosts(on.setting), "runs_on": runs_on(on.setting, fleet),
        "based_on": on.setting.costs_from(),
    });
    with_steps(&mut answer, composed::explain(on.setting, &all, (rows, page)));
    Ok(answer)
}

/// Hosts in the order of the cluster, with their devices of each kind; idle ones too.
fn hosts(setting: &Setting) -> Vec<Value> {
    let cluster = &setting.run.cluster;
    let name = |id: &DeviceId| cluster.devices[id.index()].name.as_str();
    let host = |devices: &[DeviceId]| {
        let node = devices.first().and_then(|id| cluster.devices[id.index()].node);
        node.map_or("", |node| cluster.nodes[node.index()].name.as_str())
    };
    let all = setting.pools.iter().flat_map(|pool| pool.hosts.iter().map(move |host| (pool, host)));
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|(_, devices)| devices.first().copied());
    let document = |(pool, devices): (&Pool, &Vec<DeviceId>)| {
        let names: Vec<&str> = devices.iter().map(name).collect();
        json!({ "name": host(devices), "kind": pool.kind, "devices": names })
    };
    all.into_iter().map(document).collect()
}

/// All bytes but those that the engine leaves free.
fn held(memory: &WorkerMemoryDocument) -> u64 {
    terms(memory).iter().map(|(_, bytes)| bytes).sum::<u64>() - memory.reserve
}

fn terms(memory: &WorkerMemoryDocument) -> [(&'static str, u64); 7] {
    [
        ("weights", memory.weights),
        ("activations", memory.activations),
        ("CUDA graphs", memory.graphs),
        ("NCCL", memory.collectives),
        ("runtime", memory.runtime),
        ("KV cache", memory.cache),
        ("reserve", memory.reserve),
    ]
}

/// What the fullest device of each type holds.
fn memory(names: &[String], workers: &[WorkerDocument], page: &Page) {
    for (name, of) in names.iter().zip(workers) {
        let of_term = |(term, bytes): &(&str, u64)| format!("{term} {}", Bytes(*bytes));
        let all: Vec<String> = terms(&of.memory).iter().map(of_term).collect();
        page.line(&format!("{name}: {} of {}", all.join(", "), Bytes(of.memory.capacity)));
    }
}

fn with_steps(answer: &mut Value, steps: Vec<Value>) {
    if !steps.is_empty() {
        answer["steps"] = steps.into();
    }
}

/// The worker on a device.
fn worker(
    setting: &Setting,
    (fleet, names): (&FleetDocument, &[String]),
    device: &str,
    (rows, page): (Rows, &Page),
) -> Result<Value, Diagnostic> {
    for (name, of) in names.iter().zip(&fleet.workers) {
        let has = |devices: &Vec<String>| devices.iter().any(|of| of == device);
        let Some(replica) = of.replicas.iter().position(has) else { continue };
        page.line(&format!(
            "{device}: replica {replica} of {name}, {} on {}",
            degrees(&shape(of)),
            of.replicas[replica].join(", ")
        ));
        memory(std::slice::from_ref(name), std::slice::from_ref(of), page);
        let mut answer = json!({ "worker": name, "replica": replica, "settings": of });
        with_steps(&mut answer, composed::explain(setting, &[(name, of)], (rows, page)));
        return Ok(answer);
    }
    Err(Diagnostic::usage("unknown-device", format!("no worker is on `{device}`"))
        .fact("device", device.to_owned())
        .hint("name a device of `fleet.workers`"))
}
