//! What a fleet of serving workers was planned for, its workers and their figures.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Whether prefill and decode workers can hand keys and values over within hosts: each replica is on one host, and all
/// hosts have as many replicas of each worker. Of each replica the number of its worker, and its hosts.
#[must_use]
pub fn are_equal_hosts<H: Ord>(replicas: impl IntoIterator<Item = (usize, BTreeSet<H>)>) -> bool {
    let mut counts: BTreeMap<H, BTreeMap<usize, usize>> = BTreeMap::new();
    for (worker, hosts) in replicas {
        let n = hosts.len();
        match hosts.into_iter().next().filter(|_| n == 1) {
            Some(host) => *counts.entry(host).or_default().entry(worker).or_default() += 1,
            None => return false,
        }
    }
    let mut all = counts.values();
    all.next().is_some_and(|first| all.all(|of| of == first))
}

/// What a worker serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", expecting = "`prefill`, `decode` or `aggregated`")]
pub enum RoleDocument {
    /// Prompts and the first token.
    Prefill,
    /// Tokens after the first.
    Decode,
    /// Whole requests.
    Aggregated,
}

impl RoleDocument {
    /// Its name in documents and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Aggregated => "aggregated",
        }
    }
}

/// Requests of one length.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct LengthDocument {
    /// Tokens of the prompt.
    pub input_tokens: u32,
    /// Tokens of the answer.
    pub output_tokens: u32,
    /// Share of all requests.
    pub share: f64,
}

/// Latencies that are promised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "an object")]
pub struct PromisesDocument {
    /// Seconds to the first token (TTFT).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft_s: Option<f64>,
    /// Seconds per further token, one mean of each request (TPOT).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpot_s: Option<f64>,
    /// Mean seconds from arrival to the last token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_s: Option<f64>,
    /// The percentile of requests that keep TTFT and TPOT, in percent; absent = the mean does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentile: Option<f64>,
}

/// Bytes of the fullest device of a worker by term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct WorkerMemoryDocument {
    /// Weights.
    pub weights: u64,
    /// Activations of one iteration.
    pub activations: u64,
    /// CUDA graphs.
    pub graphs: u64,
    /// Buffers of collectives.
    pub collectives: u64,
    /// Context, libraries, workspaces.
    pub runtime: u64,
    /// Keys and values.
    pub cache: u64,
    /// What the engine leaves free.
    pub reserve: u64,
    /// Memory that a process can use.
    pub capacity: u64,
}

/// Equal workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct WorkerDocument {
    /// What they serve.
    pub role: RoleDocument,
    /// Kind of the devices.
    pub kind: String,
    /// Tensor ranks.
    pub tensor: u32,
    /// Attention data-parallel ranks.
    pub data: u32,
    /// Parts of the experts of a layer.
    pub expert: u32,
    /// Parts of the width of each expert.
    pub expert_tensor: u32,
    /// Layers of each pipeline stage.
    pub stages: Vec<u32>,
    /// Running requests of an attention data-parallel rank at most.
    pub max_num_seqs: u64,
    /// Tokens of an iteration at most.
    pub max_num_batched_tokens: u64,
    /// By replica the devices, stage by stage.
    pub replicas: Vec<Vec<String>>,
    /// Tokens of keys and values of an attention data-parallel rank.
    pub kv_tokens: u64,
    /// Number of the pool of decode workers that prefill workers hand keys and values over to; pools are equal
    /// hosts, in the order of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_pool: Option<usize>,
    /// Requests per second of each replica at the rate that is served.
    pub requests_per_s: f64,
    /// TTFT of a replay, seconds; absent for decode workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_s: Option<f64>,
    /// TPOT of a replay, seconds; absent for prefill workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpot_s: Option<f64>,
    /// What the fullest device holds.
    pub memory: WorkerMemoryDocument,
}

/// What a fleet was planned for, its workers and figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct FleetDocument {
    /// The engine: `vllm`, `sglang` or `trtllm`.
    pub engine: String,
    /// Which workers could be used: `auto`, `aggregated` or `disaggregated`.
    pub mode: String,
    /// Lengths of requests.
    pub lengths: Vec<LengthDocument>,
    /// Tokens that all prompts begin with, cached by workers that compute prompts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shared_prefix: u32,
    /// Of the random arrivals that it is simulated with.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seed: u64,
    /// Requests per second that were asked for; absent = the most, or a concurrency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Requests under way that were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u64>,
    /// Latencies that are promised.
    #[serde(default)]
    pub promises: PromisesDocument,
    /// Devices that were allowed at most; absent = all of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_devices: Option<u64>,
    /// Whether hosts that differ in links or number of devices were planned as equal ones, at the slowest of their links.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub merged_hosts: bool,
    /// Workers by type.
    pub workers: Vec<WorkerDocument>,
    /// Requests per second that all of them serve.
    pub requests_per_s: f64,
    /// Devices, idle ones of hosts that a wide worker takes whole included.
    pub n_devices: u64,
    /// Price of an hour, where every kind of device in use has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<f64>,
    /// Devices, price per hour, or requests per second that no fleet of the searched worker types beats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<f64>,
    /// Bytes of keys and values that a request hands over from a prefill to a decode worker.
    #[serde(default)]
    pub bytes_handed_over: f64,
}

fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

/// Mean and percentiles over requests, seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DistributionFigures {
    /// Mean.
    pub mean: f64,
    /// Half of the requests take at most so long.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
    /// 99 %.
    pub p99: f64,
    /// 0 %, 5 %, and so on to 100 %: the least to the most.
    pub percentiles: Vec<f64>,
}

/// What a fleet does with the requests of a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RequestsFigures {
    /// Requests of the file.
    pub n_requests: u64,
    /// Of these, replayed: the first ones.
    pub n_replayed: u64,
    /// Time to first token.
    pub ttft_s: DistributionFigures,
    /// Time per further token, one mean of each request; absent where all answers have one token.
    pub tpot_s: Option<DistributionFigures>,
    /// Arrival to last token.
    pub latency_s: DistributionFigures,
    /// First arrival to last token of all.
    pub total_s: f64,
    /// Times that a request lost its KV blocks.
    pub n_preemptions: u64,
}

/// Latencies of the requests of a worker type, by all of its replays.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WorkerLatenciesFigures {
    /// Time to first token, hand-over included; absent for decode workers.
    pub ttft_s: Option<DistributionFigures>,
    /// Time per further token, one mean of each request; absent for prefill workers.
    pub tpot_s: Option<DistributionFigures>,
    /// Arrival at the worker to its last token, hand-over included.
    pub latency_s: Option<DistributionFigures>,
}

/// A fleet in figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FleetFigures {
    /// TTFT of the slowest workers in their replay, seconds.
    pub ttft_seconds: Option<f64>,
    /// TPOT of the slowest workers in their replay, seconds.
    pub tpot_seconds: Option<f64>,
    /// Seconds from arrival to the last token of the slowest workers, by their replays: the mean, or the promised
    /// percentile, of prefill and decode workers together an upper bound of it.
    pub latency_seconds: Option<f64>,
    /// Requests under way, mean of its replays.
    pub n_under_way: f64,
    /// Latencies of the requests of each worker type, in the order of the workers.
    pub worker_latencies: Vec<WorkerLatenciesFigures>,
    /// What it does with the requests of a file.
    pub requests: Option<RequestsFigures>,
    /// Output tokens per second at the rate that is served.
    pub output_tokens_per_s: f64,
    /// Whether it is proved that no fleet of the searched worker types is better.
    pub is_proved: bool,
    /// Devices, price or requests per second by closed forms alone, before any replay.
    pub predicted: Option<f64>,
    /// Worker shapes that were enumerated, on each kind of device in each role.
    pub n_enumerated: u64,
    /// Of these, such that became worker types.
    pub n_accepted: u64,
    /// Worker types that the fleet was chosen from: shapes with their settings.
    pub n_types: u64,
    /// The others, by why they are none.
    pub rejected: std::collections::BTreeMap<String, u64>,
    /// Shapes that the model can have and that became none, with the number that broke each.
    pub rejected_shapes: Vec<RejectedDocument>,
    /// Other fleets beside it.
    pub alternatives: Vec<AlternativeDocument>,
    /// Of the plan, its alternatives and fleets for further TPOT limits those that none beats in both TPOT and
    /// the objective, by ascending TPOT.
    pub front: Vec<AlternativeDocument>,
}

/// A worker shape that is no worker type.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RejectedDocument {
    /// What it would serve.
    pub role: RoleDocument,
    /// Kind of its devices.
    pub kind: String,
    /// Degrees in words.
    pub degrees: String,
    /// The reason in the counts of `rejected`.
    pub reason: String,
    /// The reason with its numbers.
    pub why: String,
}

/// Another fleet for the same requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AlternativeDocument {
    /// What is different.
    pub name: String,
    /// Its workers in words; absent where there is none.
    pub workers: Option<String>,
    /// Devices.
    pub n_devices: Option<u64>,
    /// Price of an hour.
    pub price_per_hour: Option<f64>,
    /// Requests per second at most.
    pub requests_per_s: Option<f64>,
    /// TTFT of the slowest workers, seconds.
    pub ttft_seconds: Option<f64>,
    /// TPOT of the slowest workers, seconds.
    pub tpot_seconds: Option<f64>,
    /// Why there is none.
    pub why: Option<String>,
}
