//! Files of random fleets, read back: scripts word by word, YAML as documents.

use std::collections::BTreeMap;

use documents::plan::fleet::{
    FleetDocument, LengthDocument, RoleDocument, WorkerDocument, WorkerMemoryDocument,
};
use ir::card::stored::CacheType;
use ir::cluster::{Cluster, Device, DeviceKind, Node};
use ir::id::{ClassId, KindId, NodeId};
use ir::units::Bytes;
use serde_json::Value;

mod kubernetes;
mod refused;

use super::FleetSource;
use crate::export;
use crate::format::Export;
use RoleDocument::{Aggregated, Decode, Prefill};

const PER_HOST: usize = 8;

/// Numbers that follow each other as if at random.
struct Draws(u64);

impl Draws {
    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        of[(self.0 >> 33) as usize % of.len()]
    }
}

fn cluster(n_hosts: usize) -> Cluster {
    let device = |at: usize| Device {
        name: format!("node{}.gpu{}", at / PER_HOST, at % PER_HOST),
        kind: KindId::new(0),
        class: ClassId::new(0),
        node: Some(NodeId::new(at / PER_HOST)),
        capacity: None,
        context: Bytes::ZERO,
        reserve: Bytes::ZERO,
        is_reserve_stated: false,
    };
    let node = |at: usize| Node {
        name: format!("node{at}"),
        host_memory: None,
        n_cpu_cores: None,
        host_bandwidth: None,
        to_device: None,
    };
    Cluster {
        devices: (0..n_hosts * PER_HOST).map(device).collect(),
        nodes: (0..n_hosts).map(node).collect(),
        kinds: vec![DeviceKind { name: "h100_sxm5_80gb".to_owned(), ..DeviceKind::default() }],
        ..Cluster::default()
    }
}

/// Replicas on the next devices, of which `next` is the first.
fn worker(
    role: RoleDocument,
    shape: [u32; 4],
    stages: &[u32],
    n: usize,
    next: &mut usize,
) -> WorkerDocument {
    let [tensor, data, expert, expert_tensor] = shape;
    let devices = (tensor * data) as usize * stages.len();
    let mut replica = |_| {
        // A worker that does not fit on what is left of a host begins on the next one.
        if *next % PER_HOST + devices > PER_HOST {
            *next = next.next_multiple_of(PER_HOST);
        }
        let names = *next..*next + devices;
        *next += devices;
        names.map(|at| format!("node{}.gpu{}", at / PER_HOST, at % PER_HOST)).collect()
    };
    WorkerDocument {
        role,
        kind: "h100_sxm5_80gb".to_owned(),
        tensor,
        data,
        expert,
        expert_tensor,
        stages: stages.to_vec(),
        max_num_seqs: 64,
        max_num_batched_tokens: 8_192,
        replicas: (0..n).map(&mut replica).collect(),
        kv_tokens: 100_000,
        requests_per_s: 2.0,
        to_pool: None,
        ttft_s: None,
        tpot_s: None,
        memory: WorkerMemoryDocument::default(),
    }
}

fn fleet(engine: &str, workers: Vec<WorkerDocument>) -> FleetDocument {
    let length =
        |input_tokens, output_tokens| LengthDocument { input_tokens, output_tokens, share: 0.5 };
    FleetDocument {
        engine: engine.to_owned(),
        mode: "auto".to_owned(),
        lengths: vec![length(4_000, 500), length(1_000, 2_000)],
        rate: None,
        promises: documents::plan::fleet::PromisesDocument::default(),
        most_devices: None,
        workers,
        requests_per_s: 4.0,
        n_devices: 8,
        price_per_hour: None,
        bound: None,
        bytes_handed_over: 0.0,
        ..FleetDocument::default()
    }
}

/// A fleet of one role or two, of shapes that the engine has.
fn drawn(engine: &str, seed: u64) -> FleetDocument {
    let (mut draws, mut next) = (Draws(seed), 0);
    let roles: &[RoleDocument] = draws.one(&[&[Prefill, Decode][..], &[Aggregated][..]]);
    let mut of = |role: RoleDocument| {
        // Two stages of these fit a host.
        let widths: &[u32] = if role == Aggregated { &[1, 2] } else { &[1, 2, 4] };
        let [mut tensor, mut data] = [draws.one(widths), draws.one(&[1, 2])];
        if engine == "trtllm" && data > 1 {
            (tensor, data) = (1, draws.one(&[2, 4]));
        }
        let all = tensor * data;
        let expert = draws.one(&[1, if engine == "vllm" { all } else { all.div_ceil(2) }]);
        let stages = match role {
            Aggregated => draws.one(&[&[61][..], &[31, 30][..]]),
            Prefill | Decode => &[61],
        };
        let mut worker = worker(
            role,
            [tensor, data, expert, all / expert],
            stages,
            draws.one(&[1, 2, 3]),
            &mut next,
        );
        worker.max_num_seqs = 2 * draws.one(&[1, 7, 64, 256]);
        worker.max_num_batched_tokens = draws.one(&[512, 2_048, 16_384]);
        worker
    };
    fleet(engine, roles.iter().map(|role| of(*role)).collect())
}

fn exported(
    target: &str,
    fleet: &FleetDocument,
    dtype: &str,
    cache: Option<CacheType>,
) -> Result<Export, String> {
    let cluster = cluster(24);
    let source = FleetSource { model: "org/Model-1B", cluster: &cluster, fleet, dtype, cache };
    export(target, &source).map_err(|error| format!("{}: {}", error.code, error.message))
}

fn text(target: &str, fleet: &FleetDocument) -> String {
    let export = exported(target, fleet, "bf16", Some(CacheType::F8))
        .unwrap_or_else(|error| panic!("{error}"));
    String::from_utf8(export.bytes).unwrap()
}

/// Flags and what follows each.
fn flags(words: &[String]) -> BTreeMap<String, String> {
    let value = |at: usize| {
        words.get(at + 1).filter(|word| !word.starts_with("--")).cloned().unwrap_or_default()
    };
    let named = words.iter().enumerate().filter(|(_, word)| word.starts_with("--"));
    named.map(|(at, word)| (word.clone(), value(at))).collect()
}

/// The flags that a script has for a type of workers, and the devices and port of each replica.
fn read(script: &str, worker: &str) -> (BTreeMap<String, String>, Vec<(String, String)>) {
    let start = format!("\n{worker}) ");
    let line = script.split(&start).nth(1).unwrap().lines().next().unwrap();
    let words = line.split("flags=(").nth(1).unwrap().trim_end_matches(") ;;");
    let mut quoted = false;
    let split = |c: char| {
        quoted ^= c == '\'';
        c == ' ' && !quoted
    };
    let words: Vec<String> = words.split(split).map(|word| word.replace('\'', "")).collect();
    let of = |line: &str, name: &str| {
        line.split(name).nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
    };
    let start = format!("{worker}/");
    let places = script.lines().filter(|line| line.starts_with(&start));
    (flags(&words), places.map(|line| (of(line, "devices="), of(line, " port="))).collect())
}

fn number(flags: &BTreeMap<String, String>, name: &str) -> u64 {
    flags.get(name).map_or(1, |value| value.parse().unwrap())
}

/// What vLLM's words say is what the document says.
fn judge_vllm(worker: &WorkerDocument, flags: &BTreeMap<String, String>) {
    assert_eq!(number(flags, "--tensor-parallel-size"), u64::from(worker.tensor));
    assert_eq!(number(flags, "--data-parallel-size"), u64::from(worker.data));
    assert_eq!(number(flags, "--pipeline-parallel-size"), worker.stages.len() as u64);
    assert_eq!(flags.contains_key("--enable-expert-parallel"), worker.expert > 1);
    assert_eq!(number(flags, "--max-num-seqs"), worker.max_num_seqs);
    assert_eq!(number(flags, "--max-num-batched-tokens"), worker.max_num_batched_tokens);
    assert_eq!((number(flags, "--max-model-len"), &*flags["--dtype"]), (4_500, "bfloat16"));
    assert_eq!(flags["--kv-cache-dtype"], "fp8");
    let config =
        flags.get("--kv-transfer-config").map(|json| serde_json::from_str::<Value>(json).unwrap());
    let role = config.map(|config| config["kv_role"].as_str().unwrap().to_owned());
    assert_eq!(
        role.as_deref(),
        match worker.role {
            Prefill => Some("kv_producer"),
            Decode => Some("kv_consumer"),
            Aggregated => None,
        }
    );
}

fn judge_sglang(worker: &WorkerDocument, flags: &BTreeMap<String, String>) {
    let data = u64::from(worker.data);
    assert_eq!(number(flags, "--tp-size"), u64::from(worker.tensor) * data);
    assert_eq!(number(flags, "--dp-size"), data);
    assert_eq!(flags.contains_key("--enable-dp-attention"), data > 1);
    assert_eq!(number(flags, "--ep-size"), u64::from(worker.expert));
    assert_eq!(number(flags, "--pp-size"), worker.stages.len() as u64);
    assert_eq!(number(flags, "--max-running-requests") / data, worker.max_num_seqs);
    assert_eq!(flags.contains_key("--chunked-prefill-size"), worker.role != Decode);
    if worker.role != Decode {
        assert_eq!(number(flags, "--chunked-prefill-size") / data, worker.max_num_batched_tokens);
        assert_eq!(number(flags, "--max-prefill-tokens"), worker.max_num_batched_tokens);
    }
    assert_eq!((number(flags, "--context-length"), &*flags["--dtype"]), (4_500, "bfloat16"));
    assert_eq!(flags["--kv-cache-dtype"], "fp8_e4m3");
    let mode = flags.get("--disaggregation-mode").map(String::as_str);
    assert_eq!(mode, (worker.role != Aggregated).then(|| worker.role.name()));
}

fn judge_trtllm(worker: &WorkerDocument, options: &Value) {
    let number = |name: &str| options[name].as_u64().unwrap_or(1);
    assert_eq!(number("tensor_parallel_size"), u64::from(worker.tensor * worker.data));
    assert_eq!(options["enable_attention_dp"], worker.data > 1);
    let stages = worker.stages.len() as u64;
    assert_eq!(number("pipeline_parallel_size"), stages);
    let experts = [number("moe_expert_parallel_size"), number("moe_tensor_parallel_size")];
    assert_eq!(experts, [worker.expert, worker.expert_tensor].map(u64::from));
    assert_eq!(number("max_batch_size") * stages, worker.max_num_seqs);
    assert_eq!(number("max_num_tokens"), worker.max_num_batched_tokens);
    assert_eq!(
        (number("max_seq_len"), &options["kv_cache_config"]["dtype"]),
        (4_500, &"fp8".into())
    );
    let buffer = options["cache_transceiver_config"]["max_tokens_in_buffer"].as_u64();
    assert_eq!(buffer, (worker.role != Aggregated).then_some(4_000));
    if stages > 1 {
        assert_eq!(options["pp_partition"], serde_json::json!(worker.stages));
    }
}

/// Names of the types, one of each role.
fn names(fleet: &FleetDocument) -> Vec<(String, &WorkerDocument)> {
    fleet.workers.iter().map(|worker| (format!("{}-0", worker.role.name()), worker)).collect()
}

#[test]
fn scripts_say_what_fleets_say() {
    for seed in 0..60 {
        for (engine, judge) in [
            ("vllm", judge_vllm as fn(&WorkerDocument, &BTreeMap<String, String>)),
            ("sglang", judge_sglang),
        ] {
            let fleet = drawn(engine, seed);
            let script = text(engine, &fleet);
            let mut taken = std::collections::BTreeSet::new();
            for (name, worker) in names(&fleet) {
                let (flags, places) = read(&script, &name);
                judge(worker, &flags);
                assert_eq!(places.len(), worker.replicas.len());
                for ((numbers, port), devices) in places.iter().zip(&worker.replicas) {
                    let host = devices[0].split('.').next().unwrap();
                    let mut named: Vec<String> =
                        numbers.split(',').map(|at| format!("{host}.gpu{at}")).collect();
                    assert!(taken.insert((host.to_owned(), port.clone())), "{script}");
                    named.sort();
                    assert_eq!(named, *devices, "{script}");
                    assert!(script.contains(&format!("http://{host}:{port}")), "{script}");
                }
                let layers = worker.stages.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
                let partition = format!("PP_LAYER_PARTITION={layers};");
                assert_eq!(script.contains(&partition), worker.stages.len() > 1, "{script}");
            }
        }
    }
}
