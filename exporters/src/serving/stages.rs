//! Server settings for an inference pipeline with one device per stage.
//!
//! vLLM and SGLang as placements ([`super::pipelined`]), on the devices of one host. llama.cpp
//! (`common/arg.cpp`, `ggml-rpc.cpp`): `-dev` names devices in the order of layers and `-ts` their shares;
//! those of other hosts are `RPC0`, `RPC1` and so on in the order of `--rpc`, each a `rpc-server` of one
//! device. Layers of every stage as JSON, for who reads ranges.

use ir::card::stored::CacheType;
use ir::chip::Architecture;
use ir::cluster::{Cluster, DeviceKind};
use ir::diagnostic::Diagnostic;
use ir::id::DeviceId;
use serde_json::json;

use super::pipelined::{SGLANG_WORDS, VLLM_WORDS, started};
use super::{HEAD, LLAMA_CPP, SGLANG, VLLM};
use crate::format::Export;
use crate::modules::devices::{Place, places};
use crate::modules::refusal;

/// The port of the first `rpc-server` of a host (llama.cpp, `tools/rpc`).
const PORT: u64 = 50_052;

/// Most devices that llama.cpp shares layers out to (`llama_max_devices`, less than that in `common/arg.cpp`).
const MOST_SHARES: usize = 15;

/// Stages of a model on the devices of a cluster.
#[derive(Clone, Debug)]
pub struct StagesSource<'a> {
    /// The model's name.
    pub model: &'a str,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Device and number of layers of each stage.
    pub stages: Vec<(DeviceId, u32)>,
    /// Batches in flight.
    pub in_flight: u64,
    /// KV cache type; `None` = the compute type.
    pub cache: Option<CacheType>,
    /// What llama.cpp alone is told; `None` where the plan is for any server.
    pub local: Option<Local>,
}

/// What llama.cpp is told beside devices and layers.
#[derive(Clone, Copy, Debug)]
pub struct Local {
    /// First layers, which stay in the host's memory.
    pub host_layers: u32,
    /// First layers whose experts do.
    pub host_experts: u32,
    /// Tokens of the context of all sequences.
    pub context: u64,
    /// Sequences at once.
    pub samples: u64,
}

impl Local {
    /// `--n-cpu-moe 12 -c 4096`, where something is to be said.
    fn flags(&self) -> String {
        let mut flags = String::new();
        if self.host_experts > 0 {
            flags.push_str(&format!(" --n-cpu-moe {}", self.host_experts));
        }
        flags.push_str(&format!(" -c {}", self.context));
        if self.samples > 1 {
            flags.push_str(&format!(" -np {}", self.samples));
        }
        flags
    }
}

/// Refuses plans whose types and places are those of llama.cpp.
fn check_local(source: &StagesSource<'_>, target: &'static str) -> Result<(), Diagnostic> {
    match source.local {
        None => Ok(()),
        Some(_) => {
            let message = format!("the plan is for {LLAMA_CPP}, not for {target}");
            Err(refusal(target, message).hint("export llama.cpp"))
        }
    }
}

/// A server's flag for the type of cached keys and values, and its names for types.
pub(super) struct CacheWords {
    pub(super) target: &'static str,
    pub(super) flag: fn(&str) -> String,
    pub(super) names: &'static [(CacheType, &'static str)],
}

/// `CacheDType` of `vllm/config/cache.py`.
pub(super) const VLLM_CACHE: CacheWords = CacheWords {
    target: VLLM,
    flag: |name| format!(" --kv-cache-dtype {name}"),
    names: &[(CacheType::Bf16, "bfloat16"), (CacheType::F8, "fp8"), (CacheType::F4, "nvfp4")],
};

/// `--kv-cache-dtype` of SGLang's `server_args.py`.
pub(super) const SGLANG_CACHE: CacheWords = CacheWords {
    target: SGLANG,
    flag: |name| format!(" --kv-cache-dtype {name}"),
    names: &[(CacheType::Bf16, "bf16"), (CacheType::F8, "fp8_e4m3"), (CacheType::F4, "nvfp4")],
};

/// `common/arg.cpp` of llama.cpp; a quantised V needs flash attention.
const LLAMA_CPP_CACHE: CacheWords = CacheWords {
    target: LLAMA_CPP,
    flag: |name| format!(" -fa on -ctk {name} -ctv {name}"),
    names: &[
        (CacheType::F32, "f32"),
        (CacheType::F16, "f16"),
        (CacheType::Bf16, "bf16"),
        (CacheType::Q8, "q8_0"),
        (CacheType::Q4, "q4_0"),
    ],
};

/// A server's name for the type of cached keys and values; `None` where it keeps to its own.
pub(super) fn cache_name(
    cache: Option<CacheType>,
    words: &CacheWords,
) -> Result<Option<&'static str>, Diagnostic> {
    let Some(cache) = cache else { return Ok(None) };
    let known = words.names.iter().find(|row| row.0 == cache);
    known.map(|row| Some(row.1)).ok_or_else(|| {
        let names: Vec<&str> = words.names.iter().map(|row| row.0.name()).collect();
        let message = format!("{} has no KV cache in {cache}", words.target);
        refusal(words.target, message).hint(format!("plan with --kv-dtype {}", names.join(" or ")))
    })
}

/// The flag that tells a server of the type of cached keys and values; nothing where it keeps to its own.
fn cache_flag(source: &StagesSource<'_>, words: &CacheWords) -> Result<String, Diagnostic> {
    Ok(cache_name(source.cache, words)?.map_or_else(String::new, words.flag))
}

fn name(cluster: &Cluster, device: DeviceId) -> String {
    cluster.devices.get(device.index()).map_or_else(String::new, |device| device.name.clone())
}

/// The host of a device, by name; that of devices without one is `localhost`.
pub(super) fn host(cluster: &Cluster, device: DeviceId) -> String {
    let node = cluster.devices.get(device.index()).and_then(|device| device.node);
    let node = node.and_then(|node| cluster.nodes.get(node.index()));
    node.map_or_else(|| "localhost".to_owned(), |node| node.name.clone())
}

/// How kinds of accelerators begin that CUDA does not run, which the scripts number devices by.
const WITHOUT_CUDA: [&str; 4] = ["mi", "tpu", "gaudi", "trainium"];

/// By device its number in its host, of places of all devices; `instead` is a hint of what names others.
pub(super) fn numbers(
    (cluster, places): (&Cluster, &[Place]),
    devices: &[DeviceId],
    (target, instead): (&'static str, &str),
) -> Result<Vec<u64>, Diagnostic> {
    let is_apart = |id: &&DeviceId| {
        cluster.devices.get(id.index()).is_some_and(|device| device.node.is_none())
    };
    if let Some(apart) = devices.iter().find(is_apart).filter(|_| devices.len() > 1) {
        let message =
            format!("`{}` states no host, by which {target} is told of it", name(cluster, *apart));
        return Err(refusal(target, message)
            .hint(format!("state `node` of each device in the cluster file{instead}")));
    }
    let mut kinds = devices.iter().map(|device| cluster.kind_of(*device));
    let is_other = |kind: &&DeviceKind| {
        kind.chip.architecture() == Architecture::Apple
            || WITHOUT_CUDA.iter().any(|prefix| kind.name.starts_with(prefix))
    };
    if let Some(kind) = kinds.find(is_other) {
        let message =
            format!("this script of {target} is for devices of CUDA, and `{}` is none", kind.name);
        return Err(refusal(target, message).hint(format!("plan on devices of CUDA{instead}")));
    }
    let of = |device: &DeviceId| match places.get(device.index()) {
        Some(Place::Accelerator(number)) => Ok(*number),
        _ => {
            let message = format!(
                "{target} holds no layers on `{}`, which is no accelerator",
                name(cluster, *device)
            );
            Err(refusal(target, message).hint("leave it out of the cluster"))
        }
    };
    devices.iter().map(of).collect()
}

/// The first architecture that engines run on: vLLM 0.14 "GPU" (compute capability 7.0), FlashInfer 0.6, of which SGLang
/// has its kernels (7.5), TensorRT-LLM 0.18 "Support matrix" (8.0).
const FIRST: [(&str, Architecture); 3] = [
    ("vllm", Architecture::Volta),
    ("sglang", Architecture::Turing),
    ("trtllm", Architecture::Ampere),
];

/// Refuses devices that are too old for an engine.
pub(super) fn runs_on(
    (cluster, devices): (&Cluster, &[DeviceId]),
    (engine, target): (&str, &'static str),
) -> Result<(), Diagnostic> {
    let Some((_, first)) = FIRST.into_iter().find(|(name, _)| *name == engine) else {
        return Ok(());
    };
    let kinds = devices.iter().map(|device| cluster.kind_of(*device));
    let is_older = |kind: &&DeviceKind| kind.chip.architecture() < first;
    let Some(older) = kinds.into_iter().find(is_older) else { return Ok(()) };
    let message =
        format!("{engine} runs on {} GPUs or newer; `{}` is older", first.name(), older.name);
    Err(refusal(target, message).hint(format!("plan on {} or newer GPUs", first.name())))
}

/// The hint that names another format of stages.
const RANGES: &str = ", or export layer-ranges";

impl StagesSource<'_> {
    fn devices(&self) -> Vec<DeviceId> {
        self.stages.iter().map(|stage| stage.0).collect()
    }
}

/// Numbers of devices, and layers of each.
struct Ranks(Vec<String>, Vec<String>);

impl Ranks {
    fn refs(&self) -> (&[String], &[String]) {
        (&self.0, &self.1)
    }
}

/// Stages on the devices of one host.
fn ranks(source: &StagesSource<'_>, target: &'static str) -> Result<Ranks, Diagnostic> {
    check_local(source, target)?;
    let on = (source.cluster, &places(source.cluster)[..]);
    let numbers = numbers(on, &source.devices(), (target, RANGES))?;
    runs_on((source.cluster, &source.devices()), (target, target))?;
    let first = source.stages.first().map(|stage| host(source.cluster, stage.0));
    if let Some(other) =
        source.stages.iter().find(|stage| Some(host(source.cluster, stage.0)) != first)
    {
        let message = format!(
            "this script of {target} numbers the devices of one host, and `{}` is on another",
            name(source.cluster, other.0)
        );
        return Err(refusal(target, message)
            .hint("name a cluster of one host, or export llama.cpp or layer-ranges"));
    }
    let layers = source.stages.iter().map(|stage| stage.1.to_string()).collect();
    Ok(Ranks(numbers.iter().map(u64::to_string).collect(), layers))
}

pub(crate) fn vllm(source: &StagesSource<'_>) -> Result<Export, Diagnostic> {
    Ok(started(&VLLM_WORDS, ranks(source, VLLM)?.refs(), &cache_flag(source, &VLLM_CACHE)?))
}

pub(crate) fn sglang(source: &StagesSource<'_>) -> Result<Export, Diagnostic> {
    Ok(started(&SGLANG_WORDS, ranks(source, SGLANG)?.refs(), &cache_flag(source, &SGLANG_CACHE)?))
}

const YOURS: &str = "# Arguments go to llama-server, such as -m model.gguf.";

/// A script for one device that has no number, or for the processor alone.
fn unnumbered(source: &StagesSource<'_>) -> Result<Option<Export>, Diagnostic> {
    // Apple's chips are the one device of their machine.
    let is_apple = |stage: &(DeviceId, u32)| {
        source.cluster.kind_of(stage.0).chip.architecture() == Architecture::Apple
    };
    let local = source.local.map_or_else(String::new, |local| local.flags());
    let cache = cache_flag(source, &LLAMA_CPP_CACHE)?;
    let flags = match source.stages.as_slice() {
        [] => "-ngl 0 -dev none",
        [one] if is_apple(one) => "-ngl all",
        _ => return Ok(None),
    };
    let text = format!("{HEAD}{YOURS}\nexec llama-server \"$@\" {flags}{local}{cache}\n");
    Ok(Some(Export::from(text)))
}

pub(crate) fn llama_cpp(source: &StagesSource<'_>) -> Result<Export, Diagnostic> {
    if let Some(export) = unnumbered(source)? {
        return Ok(export);
    }
    let on = (source.cluster, &places(source.cluster)[..]);
    let numbers = numbers(on, &source.devices(), (LLAMA_CPP, RANGES))?;
    if source.stages.len() > MOST_SHARES {
        let message = format!(
            "{LLAMA_CPP} shares layers out to at most {MOST_SHARES} devices, and there are {} stages",
            source.stages.len()
        );
        return Err(refusal(LLAMA_CPP, message).hint("name fewer devices, or export layer-ranges"));
    }
    let hosts: Vec<String> =
        source.stages.iter().map(|stage| host(source.cluster, stage.0)).collect();
    let is_one_host = hosts.windows(2).all(|pair| pair[0] == pair[1]);
    let strange = hosts.iter().find(|host| is_strange(host));
    if let Some(strange) = strange.filter(|_| !is_one_host) {
        let message = format!("`{strange}` is no name of a host that {LLAMA_CPP} could be told");
        return Err(refusal(LLAMA_CPP, message).hint("name hosts by letters, digits, . and -"));
    }
    let n = source.stages.len();
    // The head has the slot behind the last layer.
    let share = |(at, stage): (usize, &(DeviceId, u32))| {
        (u64::from(stage.1) + u64::from(at + 1 == n)).to_string()
    };
    let shares = source.stages.iter().enumerate().map(share).collect::<Vec<_>>().join(",");
    let local = source.local.map_or_else(String::new, |local| local.flags());
    let cache = format!("{local}{}", cache_flag(source, &LLAMA_CPP_CACHE)?);
    let n_layers: u32 = source.stages.iter().map(|stage| stage.1).sum();
    let layers = match source.local {
        Some(local) if local.host_layers > 0 => n_layers.saturating_add(1).to_string(),
        _ => "all".to_owned(),
    };
    if is_one_host {
        let devices: Vec<String> = numbers.iter().map(|number| format!("CUDA{number}")).collect();
        let devices = devices.join(",");
        return Ok(Export::from(format!(
            "{HEAD}{YOURS}\nexec llama-server \"$@\" -ngl {layers} -sm layer -dev {devices} -ts {shares}{cache}\n"
        )));
    }
    let mut text = servers(&hosts, &numbers);
    let addresses: Vec<String> =
        hosts.iter().zip(&numbers).map(|(host, number)| address(host, *number)).collect();
    let devices: Vec<String> = (0..n).map(|rank| format!("RPC{rank}")).collect();
    text.push_str(&format!(
        "{YOURS}\nexec llama-server \"$@\" -ngl {layers} -sm layer --rpc {} -dev {} -ts {shares}{cache}\n",
        addresses.join(","),
        devices.join(",")
    ));
    Ok(Export { warnings: one_at_a_time(source).into_iter().collect(), ..Export::from(text) })
}

/// That devices behind `--rpc` don't work side by side.
fn one_at_a_time(source: &StagesSource<'_>) -> Option<Diagnostic> {
    (source.in_flight > 1).then(|| {
        let message = format!(
            "the plan keeps {} batches in flight, and devices of {LLAMA_CPP} behind --rpc work one after the \
             other",
            source.in_flight
        );
        Diagnostic::warning("one-at-a-time", message)
            .hint("plan for one batch with --objective latency")
    })
}

/// Where a server of one device listens.
fn address(host: &str, number: u64) -> String {
    format!("{host}:{}", PORT.saturating_add(number))
}

/// Comments that start such a server for each device.
fn servers(hosts: &[String], numbers: &[u64]) -> String {
    let mut text = format!("{HEAD}# First, on each of these hosts:\n");
    for (host, number) in hosts.iter().zip(numbers) {
        let port = PORT.saturating_add(*number);
        text.push_str(&format!(
            "# {host}: CUDA_DEVICE_ORDER=PCI_BUS_ID rpc-server -H 0.0.0.0 -p {port} -d CUDA{number}\n"
        ));
    }
    text
}

/// Whether a name is none that a script can hold as a host.
pub(super) fn is_strange(host: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    host.is_empty() || !host.chars().all(is_plain) || host.starts_with(['-', '.'])
}

pub(crate) fn ranges(source: &StagesSource<'_>) -> Export {
    // Those in the memory of a host come first, and are no device's.
    let mut next = source.local.map_or(0, |local| local.host_layers);
    let n_layers: u32 = source.stages.iter().fold(next, |sum, stage| sum.saturating_add(stage.1));
    let of = |(rank, (device, n)): (usize, &(DeviceId, u32))| {
        let start = next;
        next = next.saturating_add(*n);
        json!({
            "device": name(source.cluster, *device), "host": host(source.cluster, *device), "device_rank": rank,
            "world_size": source.stages.len(), "start_layer": start, "end_layer": next,
            "n_layers": n_layers,
        })
    };
    let shards: Vec<_> = source.stages.iter().enumerate().map(of).collect();
    let mut document = json!({
        "format": "meshwright.layer-ranges/1", "model": source.model, "n_layers": n_layers,
        "shards": shards,
    });
    if let Some(cache) = source.cache {
        document["kv_dtype"] = cache.name().into();
    }
    Export::from(format!("{document:#}\n"))
}

#[cfg(test)]
mod tests {
    use ir::cluster::{Device, DeviceKind, Node};
    use ir::id::{ClassId, KindId, NodeId};
    use ir::units::Bytes;

    use super::*;
    use crate::export;

    /// Hosts of so many devices each.
    fn cluster(hosts: &[usize]) -> Cluster {
        let device = |node: usize, at: usize| Device {
            name: format!("pc{node}.gpu{at}"),
            kind: KindId::new(0),
            class: ClassId::new(0),
            node: Some(NodeId::new(node)),
            capacity: None,
            context: Bytes::ZERO,
            reserve: Bytes::ZERO,
            is_reserve_stated: false,
        };
        let node = |at: usize| Node {
            name: format!("pc{at}"),
            host_memory: None,
            n_cpu_cores: None,
            host_bandwidth: None,
            to_device: None,
        };
        let of = |(node, n): (usize, &usize)| (0..*n).map(move |at| device(node, at));
        Cluster {
            kinds: vec![DeviceKind::default()],
            devices: hosts.iter().enumerate().flat_map(of).collect(),
            nodes: (0..hosts.len()).map(node).collect(),
            ..Cluster::default()
        }
    }

    fn text(target: &str, hosts: &[usize], stages: &[(usize, u32)]) -> Result<String, String> {
        let cluster = cluster(hosts);
        let stages = stages.iter().map(|stage| (DeviceId::new(stage.0), stage.1)).collect();
        let source = StagesSource {
            model: "m",
            cluster: &cluster,
            stages,
            in_flight: 2,
            cache: None,
            local: None,
        };
        match export(target, &source) {
            Ok(exported) => Ok(String::from_utf8(exported.bytes).unwrap()),
            Err(error) => Err(error.code.to_owned()),
        }
    }

    /// Of a word of a script, what follows it.
    fn after(text: &str, word: &str) -> String {
        let rest = text.split(word).nth(1).unwrap_or_else(|| panic!("no {word} in {text}"));
        rest.split_whitespace().next().unwrap().to_owned()
    }

    #[test]
    fn ranks_are_in_the_order_of_stages() {
        let script = text("vllm", &[3], &[(2, 10), (0, 11), (1, 11)]).unwrap();
        assert_eq!(after(&script, "CUDA_VISIBLE_DEVICES="), "2,0,1");
        // Whole numbers between commas, one for each rank, that sum up to the layers.
        assert_eq!(after(&script, "VLLM_PP_LAYER_PARTITION="), "10,11,11");
        assert_eq!(after(&script, "--pipeline-parallel-size "), "3");
        let script = text("sglang@0.5", &[3], &[(2, 10), (0, 22)]).unwrap();
        assert_eq!(after(&script, "SGLANG_PP_LAYER_PARTITION="), "10,22");
        assert_eq!(text("vllm", &[1, 1], &[(0, 1), (1, 1)]), Err("cannot-express".to_owned()));
        assert_eq!(text("megatron", &[1], &[(0, 1)]), Err("unknown-target".to_owned()));
    }

    /// llama.cpp puts slot k of n on the first device whose shares, summed up, exceed k / n: layers in
    /// order, then the head.
    #[test]
    fn shares_put_every_layer_where_it_is_planned() {
        let stages = [(1, 7), (0, 20), (2, 5)];
        for hosts in [vec![3], vec![1, 1, 1], vec![2, 1]] {
            let script = text("llama.cpp", &hosts, &stages).unwrap();
            let shares: Vec<f64> =
                after(&script, "-ts ").split(',').map(|share| share.parse().unwrap()).collect();
            let (n, sum) = (33, shares.iter().sum::<f64>());
            let device = |slot: usize| {
                let mut before = 0.0;
                let is_own = |share: &f64| {
                    before += share / sum;
                    slot as f64 / f64::from(n) < before
                };
                shares.iter().position(is_own).unwrap()
            };
            let placed: Vec<usize> = (0..33).map(device).collect();
            let planned: Vec<usize> = [(0, 7), (1, 20), (2, 6)]
                .into_iter()
                .flat_map(|(stage, n)| std::iter::repeat_n(stage, n))
                .collect();
            assert_eq!(placed, planned, "{script}");
        }
        let script = text("llama.cpp", &[2, 1], &stages).unwrap();
        assert_eq!(after(&script, "--rpc "), "pc0:50053,pc0:50052,pc1:50052");
        assert_eq!(after(&script, "-dev "), "RPC0,RPC1,RPC2");
        assert!(
            script.contains(
                "# pc0: CUDA_DEVICE_ORDER=PCI_BUS_ID rpc-server -H 0.0.0.0 -p 50053 -d CUDA1\n"
            ),
            "{script}"
        );
        assert_eq!(after(&text("llama.cpp", &[3], &stages).unwrap(), "-dev "), "CUDA1,CUDA0,CUDA2");
    }

    #[test]
    fn what_the_host_keeps_is_no_layer_of_a_device() {
        let cluster = cluster(&[2]);
        let local = |host_layers, host_experts| StagesSource {
            model: "m",
            cluster: &cluster,
            stages: vec![(DeviceId::new(1), 10), (DeviceId::new(0), 20)],
            in_flight: 1,
            cache: None,
            local: Some(Local { host_layers, host_experts, context: 8_192, samples: 1 }),
        };
        let text = |source: &StagesSource<'_>| {
            String::from_utf8(export("llama.cpp", source).unwrap().bytes).unwrap()
        };
        // The last 30 layers and the head; shares are in slots, of which the head has one.
        let script = text(&local(2, 5));
        assert_eq!(after(&script, "-ngl "), "31");
        assert_eq!(after(&script, "-dev "), "CUDA1,CUDA0");
        assert_eq!(after(&script, "-ts "), "10,21");
        assert_eq!(after(&script, "--n-cpu-moe "), "5");
        assert_eq!(after(&script, "-c "), "8192");
        let script = text(&local(0, 0));
        assert_eq!(after(&script, "-ngl "), "all");
        assert!(!script.contains("--n-cpu-moe"));
        let alone = StagesSource { stages: Vec::new(), ..local(32, 0) };
        assert!(text(&alone).contains("-ngl 0 -dev none"));
        assert_eq!(export("vllm", &local(0, 0)).unwrap_err().code, "cannot-express");
    }

    #[test]
    fn ranges_follow_each_other() {
        let document = text("layer-ranges", &[1, 1], &[(1, 3), (0, 5)]).unwrap();
        let document: serde_json::Value = serde_json::from_str(&document).unwrap();
        let of = |at: usize, name: &str| document["shards"][at][name].clone();
        assert_eq!((of(0, "start_layer"), of(0, "end_layer")), (0.into(), 3.into()));
        assert_eq!((of(1, "start_layer"), of(1, "end_layer")), (3.into(), 8.into()));
        assert_eq!((of(1, "device"), of(1, "n_layers")), ("pc0.gpu0".into(), 8.into()));
    }
}
