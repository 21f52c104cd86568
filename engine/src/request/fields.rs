//! Fields of a request for a plan: each one is honoured by a kind of plan, or refused by its name.

use std::borrow::Cow;

use ir::diagnostic::Diagnostic;
use ir::plan_kind::PlanKind;

/// Which fields a kind of plan honours.
pub struct Honours {
    /// Above its column on the page of flags.
    pub column: &'static str,
    /// A plan of it in words, with its article.
    pub words: &'static str,
    /// The kind.
    pub kind: PlanKind,
    /// Names of fields, beside those of every kind.
    pub fields: &'static str,
    /// What to do about a field that it does not honour.
    pub hint: fn(&Field) -> &'static str,
}

impl Honours {
    /// With the usual words and hints.
    #[must_use]
    pub const fn new(column: &'static str, kind: PlanKind, fields: &'static str) -> Self {
        Self { column, words: kind.words(), kind, fields, hint: |field| field.hint }
    }

    /// Whether it honours a field.
    #[must_use]
    pub fn takes(&self, field: &Field) -> bool {
        field.is_of_all() || self.fields.split(' ').any(|name| name == field.name)
    }
}

/// A field.
pub struct Field {
    /// Its name in a request.
    pub name: &'static str,
    /// What to do where it is not honoured; empty where every kind of plan honours it.
    pub hint: &'static str,
}

impl Field {
    /// Whether every kind of plan honours it.
    #[must_use]
    pub const fn is_of_all(&self) -> bool {
        self.hint.is_empty()
    }

    /// As a flag: `--batch-axis`.
    #[must_use]
    pub fn flag(&self) -> Cow<'static, str> {
        match self.name {
            "dims" => "--dim".into(),
            "traces" => "--trace".into(),
            "executor" => "--for".into(),
            "cached_tokens" => "--cached".into(),
            name => format!("--{}", name.replace('_', "-")).into(),
        }
    }
}

const fn field(name: &'static str, hint: &'static str) -> Field {
    Field { name, hint }
}

/// Where each op of a model runs.
pub const OPS: Honours = Honours::new(
    "ops of a model",
    PlanKind::Placement,
    "cluster profile costs dims batch micro_batch batch_axis dtype qdq_as_written traces workload \
     optimizer pin forbid colocate constraints scale objective executor pipeline_only gap \
     node_budget plot export",
);

/// The degrees of a training run.
pub const DEGREES: Honours = Honours::new(
    "training run",
    PlanKind::Training,
    "cluster profile dims batch micro_batch batch_axis dtype workload optimizer pin scale \
     global_batch sequence_length tokens_per_step devices max_memory_per_device \
     memory_margin stack expert_skew adapter freeze no_offload fastest spares replace lost objective pue power_cap \
     allow_lossy executor gap node_budget plot export",
);

/// A training run on measured layers.
pub const LAYERS: Honours = Honours {
    words: "a training run on measured layers",
    ..Honours::new(
        "on measured layers",
        PlanKind::Training,
        "cluster profile dims batch micro_batch batch_axis workload pin global_batch \
     sequence_length tokens_per_step devices max_memory_per_device memory_margin no_offload \
     objective executor gap node_budget plot export",
    )
};

/// An instance with given costs.
pub const INSTANCE: Honours = Honours::new(
    "given costs",
    PlanKind::Given,
    "accelerators objective allow_lossy gap node_budget plot",
);

const GIVEN: &str = "leave it out: the file states its costs, devices and work";
const NO_ENERGY: &str =
    "leave it out: energy is reported for training runs of a model and inference pipelines";
const DEGREES_ONLY: &str = "leave it out, or pin degrees, such as --pin tensor=8";
const TUNES: &str = "leave it out, or plan a training run: `train` with --global-batch";
const LAYERS_STATE: &str = "leave it out: the layers were measured with their own";
const SERVES: &str = "leave it out, or add --algorithm dynaflow, or --phase decode";
const LOCAL: &str = "leave it out, or plan for llama.cpp: `infer` with --for llama.cpp";
const NO_FLEET: &str =
    "leave it out, or plan serving workers: `infer` without --phase and --algorithm";
/// Of budgets of searches that end by themselves.
pub const ENDS: &str = "leave it out: the search ends by itself, or with --time-limit";
const FOR_TRAINING: &str = "leave it out, or plan a training run of a model with --cluster";

/// All.
pub const FIELDS: [Field; 68] = [
    field("model", ""),
    field("cluster", GIVEN),
    field("profile", GIVEN),
    field("costs", "leave it out, or place a graph: `place` with --cluster"),
    field("dims", GIVEN),
    field("batch", GIVEN),
    field("micro_batch", GIVEN),
    field("batch_axis", GIVEN),
    field("dtype", LAYERS_STATE),
    field("qdq_as_written", "leave it out: only inference runs on integers"),
    field("traces", "leave it out: durations of a trace are those of single ops"),
    field("workload", GIVEN),
    field("optimizer", LAYERS_STATE),
    field("pin", GIVEN),
    field("forbid", DEGREES_ONLY),
    field("colocate", DEGREES_ONLY),
    field("constraints", DEGREES_ONLY),
    field("scale", "leave it out: the costs of this kind of plan are given"),
    field("accelerators", "a model's devices come from --cluster"),
    field("global_batch", FOR_TRAINING),
    field("sequence_length", FOR_TRAINING),
    field("tokens_per_step", FOR_TRAINING),
    field("devices", FOR_TRAINING),
    field("max_memory_per_device", FOR_TRAINING),
    field("memory_margin", FOR_TRAINING),
    field("stack", LAYERS_STATE),
    field("expert_skew", LAYERS_STATE),
    field("adapter", TUNES),
    field("freeze", TUNES),
    field("no_offload", FOR_TRAINING),
    field("fastest", "leave it out: only searches over parallelism settings prefer simpler plans"),
    field("spares", FOR_TRAINING),
    field("replace", FOR_TRAINING),
    field("lost", FOR_TRAINING),
    field("phase", "leave it out, or add an --algorithm of experts or streams, such as fsmoe"),
    field("routing_trace", "leave it out, or add --algorithm expertflow"),
    field("cached_tokens", SERVES),
    field("kv_dtype", SERVES),
    field("quantization", LOCAL),
    field("interference", SERVES),
    field("rate", NO_FLEET),
    field("ttft", NO_FLEET),
    field("tpot", NO_FLEET),
    field("percentile", NO_FLEET),
    field("input_tokens", NO_FLEET),
    field("output_tokens", NO_FLEET),
    field("lengths", NO_FLEET),
    field("prefix_tokens", NO_FLEET),
    field("requests", NO_FLEET),
    field("concurrency", NO_FLEET),
    field("request_latency", NO_FLEET),
    field("mode", NO_FLEET),
    field("algorithm", ""),
    field("objective", "leave it out: experts are placed by routed tokens alone"),
    field("pue", NO_ENERGY),
    field("power_cap", NO_ENERGY),
    field(
        "allow_lossy",
        "leave it out, or add --algorithm gradient-buckets: it is for gradients that replicas exchange, and \
         for edges of pipelines, with --global-batch",
    ),
    field("executor", GIVEN),
    field("pipeline_only", "leave it out, or add --for vllm or --for sglang"),
    field("time_limit", ""),
    field("gap", ENDS),
    field("node_budget", ENDS),
    field("seed", ""),
    field("threads", ""),
    field("deterministic", ""),
    field("plot", "leave it out: layers of experts are placed one by one"),
    field("export", GIVEN),
    field("all", ""),
];

/// Refuses what was asked for by name and is not honoured by a kind of plan.
///
/// # Errors
/// [`PlanKind::refusal`].
pub fn check(given: &[String], honours: &Honours) -> Result<(), Diagnostic> {
    let is_given = |field: &&Field| given.iter().any(|name| name == field.name);
    let refused = FIELDS.iter().filter(is_given).find(|field| !honours.takes(field));
    let Some(field) = refused else { return Ok(()) };
    let message = format!("`{}` has no effect on {}", field.flag(), honours.words);
    Err(Diagnostic::usage(honours.kind.refusal(), message).hint((honours.hint)(field)))
}

/// The first flag that only training runs honour.
#[must_use]
pub fn asks_for_training(given: &[String]) -> Option<Cow<'static, str>> {
    let is_training = |field: &&Field| !OPS.takes(field) && DEGREES.takes(field);
    let mut fields = FIELDS.iter().filter(is_training);
    fields.find(|field| given.iter().any(|name| name == field.name)).map(Field::flag)
}

/// What of a model's problem was asked for, as flags: all that not every kind of plan honours.
#[must_use]
pub fn flags(given: &[String]) -> Vec<Cow<'static, str>> {
    let is_given = |field: &&Field| given.iter().any(|name| name == field.name);
    let fields = FIELDS.iter().filter(|field| !field.is_of_all());
    fields.filter(is_given).map(Field::flag).collect()
}
