//! What is asked: a model, devices, traffic and promises.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cost_model::serving::IterationTime;
use cost_model::serving::arrivals::Length;
use cost_model::serving::engine::Engine;
use cost_model::serving::fault::Fault;
use cost_model::serving::replay::Distribution;
use cost_model::serving::worker::{Invalid, Shape};
use ir::card::ModelCard;
use ir::tensor::DType;

use super::types::Types;
use crate::serving::fleet::{self, Objective, Role};

/// Devices of one kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Devices {
    /// Hosts, devices of a host, price.
    pub pool: fleet::Pool,
    /// Bytes of a device that a process can use.
    pub memory: u64,
}

/// The way of keys and values from prefill workers of a pool to decode workers of a pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Number of the pool of prefill workers.
    pub from: usize,
    /// Number of the pool of decode workers.
    pub to: usize,
    /// Bytes/s that one worker sends or receives.
    pub bytes_per_s: f64,
    /// Seconds before the first byte.
    pub start_up_s: f64,
}

impl Link {
    /// Whether it joins anything: nothing that is promised waits for a byte a second.
    #[must_use]
    pub fn is_way(&self) -> bool {
        self.bytes_per_s > 1.0
    }
}

/// What of all requests a promise is about.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Statistic {
    /// The mean.
    #[default]
    Mean,
    /// A percentile, in percent.
    Percentile(f64),
}

impl Statistic {
    /// It, of values.
    #[must_use]
    pub fn of(self, values: &Distribution) -> f64 {
        match self {
            Self::Mean => values.mean(),
            Self::Percentile(percent) => values.percentile(percent),
        }
    }

    /// Of which statistic of its part of a request a worker has to keep a limit, so that the parts together keep the
    /// limit of the whole: of two, each may exceed its own half as often, whatever they have to do with each other
    /// (Boole's inequality). Means add up.
    pub(super) fn of_part(self, role: Role) -> Self {
        match self {
            Self::Percentile(percent) if role != Role::Aggregated => {
                Self::Percentile(f64::midpoint(percent, 100.0))
            }
            whole => whole,
        }
    }
}

/// Percentiles of latencies that are taken to be above their mean.
const ABOVE_MEAN: f64 = 90.0;

/// Latencies that are promised; TPOT is one mean of each request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Promises {
    /// Seconds to the first token, hand-over of keys and values included.
    pub ttft_s: Option<f64>,
    /// Seconds per further token.
    pub tpot_s: Option<f64>,
    /// Of which statistic.
    pub statistic: Statistic,
}

impl Promises {
    /// Whether both are kept.
    #[must_use]
    pub fn admit(&self, [ttft_s, tpot_s]: [f64; 2]) -> bool {
        // A queue that grows has no latency.
        let is_kept = |seconds: f64, promise: Option<f64>| {
            seconds.is_finite() && promise.is_none_or(|most| seconds <= most)
        };
        is_kept(ttft_s, self.ttft_s) && is_kept(tpot_s, self.tpot_s)
    }

    /// What the means of a type have to keep: nothing where a promised percentile may be below them.
    pub(super) fn of_means(&self) -> Self {
        match self.statistic {
            Statistic::Percentile(percent) if percent < ABOVE_MEAN => {
                Self { ttft_s: None, tpot_s: None, ..*self }
            }
            _ => *self,
        }
    }

    /// The same, times a factor.
    pub(super) fn times(&self, factor: f64) -> Self {
        let of = |promise: Option<f64>| promise.map(|seconds| seconds * factor);
        Self { ttft_s: of(self.ttft_s), tpot_s: of(self.tpot_s), ..*self }
    }
}

/// Price of iterations of a worker of a shape on devices of a pool: of one batch, where as many are under way
/// as the worker has stages.
pub type Price<'a> = dyn Fn(usize, &Shape) -> Result<Box<dyn IterationTime + 'a>, Reason> + 'a;

/// A question.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The model.
    pub model: &'a ModelCard,
    /// Type that is computed in.
    pub dtype: DType,
    /// Devices by number of pool.
    pub devices: Vec<Devices>,
    /// Ways of keys and values; only pools that one connects serve disaggregated.
    pub links: Vec<Link>,
    /// Lengths of requests.
    pub mix: Vec<Length>,
    /// Tokens that all prompts begin with; workers that compute prompts have them cached.
    pub shared_prefix: u32,
    /// Of the arrivals that fleets are replayed with.
    pub seed: u64,
    /// The engine.
    pub engine: Engine,
    /// Tokens of an iteration at most, to choose from (vLLM `--max-num-batched-tokens`).
    pub budgets: Vec<u64>,
    /// Running requests of a batch at most.
    pub most_running: u64,
    /// Whether workers may serve whole requests.
    pub aggregated: bool,
    /// Whether workers may serve prompts, or tokens, alone.
    pub disaggregated: bool,
    /// Devices of a worker at least, on hosts of so many.
    pub least_devices_of_worker: u32,
    /// Devices of a worker at most.
    pub most_devices_of_worker: u32,
    /// Whether workers are of tensor ranks alone.
    pub tensor_alone: bool,
    /// What is promised.
    pub promises: Promises,
    /// Fractions of the promised TPOT that workers are sized for, 1 first: tighter ones have lower rates.
    pub levels: Vec<f64>,
    /// What the best fleet has least, or most, of.
    pub objective: Objective,
    /// Requests per second; none for [`Objective::Throughput`].
    pub requests_per_s: Option<f64>,
    /// Price per hour at most.
    pub most_price_per_hour: Option<f64>,
    /// Devices of all pools at most.
    pub most_devices: Option<u64>,
    /// Worker types of questions at the same price, which clones share.
    pub known: KnownTypes,
}

/// Worker types by what they depend on: they are sized once for all rates, objectives and limits of a fleet.
#[derive(Clone, Debug, Default)]
pub struct KnownTypes(Arc<Mutex<BTreeMap<String, Types>>>);

impl KnownTypes {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Types>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn of(&self, question: &Question) -> Option<Types> {
        self.lock().get(&question.sized_for()).cloned()
    }

    pub(super) fn keep(&self, question: &Question, types: &Types) {
        self.lock().insert(question.sized_for(), types.clone());
    }
}

impl<'a> Question<'a> {
    /// The fewest devices for a rate of requests, by either kind of workers of vLLM.
    #[must_use]
    pub fn new(model: &'a ModelCard, mix: Vec<Length>, requests_per_s: f64) -> Self {
        Self {
            model,
            dtype: DType::Bf16,
            devices: Vec::new(),
            links: Vec::new(),
            mix,
            shared_prefix: 0,
            seed: 0,
            engine: Engine::Vllm,
            budgets: vec![2048, 8192],
            most_running: 1024,
            aggregated: true,
            disaggregated: true,
            least_devices_of_worker: 1,
            most_devices_of_worker: 8,
            tensor_alone: false,
            promises: Promises::default(),
            levels: vec![1.0],
            objective: Objective::FewestDevices,
            requests_per_s: Some(requests_per_s),
            most_price_per_hour: None,
            most_devices: None,
            known: KnownTypes::default(),
        }
    }

    /// What worker types depend on: all but what is asked of the fleet.
    fn sized_for(&self) -> String {
        let any = Self {
            objective: Objective::FewestDevices,
            requests_per_s: None,
            most_price_per_hour: None,
            most_devices: None,
            known: KnownTypes::default(),
            ..self.clone()
        };
        format!("{any:?}")
    }

    /// Whether every figure is in its range; those of the fleet are checked there.
    pub(super) fn check(&self) -> Result<(), Refused> {
        let is_positive = |value: f64| value.is_finite() && value > 0.0;
        let promises = [self.promises.ttft_s, self.promises.tpot_s];
        let is_percent = |percent: f64| percent > 0.0 && percent <= 100.0;
        let faults = [
            ("lengths", self.mix.is_empty()),
            ("token budget", self.budgets.is_empty() || self.budgets.contains(&0)),
            ("running requests", self.most_running == 0),
            ("promise", !promises.into_iter().flatten().all(is_positive)),
            (
                "percentile",
                matches!(self.promises.statistic, Statistic::Percentile(p) if !is_percent(p)),
            ),
            ("level", !self.levels.iter().all(|level| *level > 0.0 && *level <= 1.0)),
            ("level", self.levels.first() != Some(&1.0)),
            ("devices of a worker", self.most_devices_of_worker == 0),
        ];
        if let Some((name, _)) = faults.into_iter().find(|(_, is_wrong)| *is_wrong) {
            return Err(Refused::Figure(name));
        }
        if self.mix.iter().any(|length| length.n_input == 0 || length.n_output == 0) {
            return Err(Refused::Figure("lengths"));
        }
        let is_link = |link: &Link| {
            link.from.max(link.to) < self.devices.len()
                && is_positive(link.bytes_per_s)
                && link.start_up_s.is_finite()
                && link.start_up_s >= 0.0
        };
        match self.links.iter().all(is_link) {
            false => Err(Refused::Figure("link")),
            true if !self.aggregated && (!self.disaggregated || self.links.is_empty()) => {
                Err(Refused::NoWorkers)
            }
            true => Ok(()),
        }
    }

    /// Tokens of the longest request.
    pub(super) fn max_length(&self) -> u64 {
        let of = |length: &Length| u64::from(length.n_input) + u64::from(length.n_output);
        self.mix.iter().map(of).max().unwrap_or(1)
    }

    /// What an engine does not run of a shape in a role, on hosts of so many devices.
    pub(super) fn lacks(&self, role: Role, shape: &Shape, per_host: u32) -> Option<&'static str> {
        let is_pipeline = shape.stages.len() > 1;
        match self.engine {
            Engine::Vllm
                if shape.expert > 1 && shape.expert_devices() != u64::from(shape.expert) =>
            {
                Some("vLLM runs EP over all devices of a stage alone")
            }
            Engine::Vllm
                if shape.data > 1 && is_pipeline && shape.devices() > u64::from(per_host) =>
            {
                Some("vLLM has all stages of a data-parallel rank on the same hosts")
            }
            Engine::Vllm | Engine::Sglang if role == Role::Decode && is_pipeline => {
                Some("no KV cache is handed over to decode pipelines")
            }
            Engine::TrtLlm if shape.data > 1 && shape.tensor > 1 => {
                Some("TensorRT-LLM runs attention data parallelism with TP 1 alone")
            }
            Engine::TrtLlm if shape.devices() > u64::from(per_host) => {
                Some("workers on several hosts are not started")
            }
            _ => None,
        }
    }

    /// Roles of workers of a pool, each with the link that it hands over by.
    pub(super) fn roles(&self, pool: usize) -> Vec<Role> {
        let has = |is: &dyn Fn(&Link) -> bool| {
            self.disaggregated && self.links.iter().any(|link| link.is_way() && is(link))
        };
        let is_sender = has(&|link| link.from == pool);
        let is_receiver = has(&|link| link.to == pool);
        let roles = [
            (Role::Aggregated, self.aggregated),
            (Role::Prefill, is_sender),
            (Role::Decode, is_receiver),
        ];
        roles.into_iter().filter(|(_, is_in)| *is_in).map(|(role, _)| role).collect()
    }
}

/// Why a question is not answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    /// A figure of this name is not in its range.
    Figure(&'static str),
    /// Neither mode is allowed, or only the disaggregated one and no link connects pools.
    NoWorkers,
    /// The fleet.
    Fleet(fleet::Refused),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Figure(name) => write!(f, "invalid {name}"),
            Self::NoWorkers => write!(f, "disaggregated serving needs a link between pools"),
            Self::Fleet(refused) => refused.fmt(f),
        }
    }
}

/// Why a shape on devices of a pool is no worker in a role.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// The model cannot be served in this shape.
    Invalid(Invalid),
    /// Its iterations have no price, such as tables without its kernels.
    Unpriced(String),
    /// Weights and buffers do not fit.
    Memory {
        /// Bytes that are missing on a device.
        missing: u64,
    },
    /// The cache has no room for one request.
    Cache {
        /// Tokens that it has room for.
        room: u64,
        /// Tokens of the longest request.
        needed: u64,
    },
    /// The engine does not run it.
    Engine(&'static str),
    /// TTFT is above the promise with one request under way.
    Ttft {
        /// TTFT and TPOT of this request, seconds.
        alone_s: [f64; 2],
    },
    /// TPOT is above the promise with one request under way.
    Tpot {
        /// TTFT and TPOT of this request, seconds.
        alone_s: [f64; 2],
    },
    /// Smaller workers in its place serve at least as much within the promises.
    Dominated {
        /// Number of the worker type.
        by: usize,
        /// Workers of it in the place of one.
        times: u32,
        /// Requests/s of these together.
        served_per_s: f64,
        /// Requests/s of one candidate at most, promises aside.
        most_per_s: f64,
    },
    /// Its steady state has no answer.
    Unsteady(Fault),
    /// The search was stopped before.
    Stopped,
}

impl Reason {
    /// Its name in counts.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::Unpriced(_) => "not priced",
            Self::Engine(_) => "not run by the engine",
            Self::Memory { .. } => "weights do not fit",
            Self::Cache { .. } => "no KV cache for one request",
            Self::Ttft { .. } => "TTFT",
            Self::Tpot { .. } => "TPOT",
            Self::Dominated { .. } => "dominated",
            Self::Unsteady(_) => "no steady state",
            Self::Stopped => "not searched",
        }
    }
}
