//! Fields of a request for a plan, by kind of plan: each one is honoured, or refused by its name.

use std::borrow::Cow;

use ir::diagnostic::Diagnostic;

/// What is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Where each op of a model runs.
    Ops,
    /// The degrees of a training run.
    Degrees,
    /// A training run on measured layers.
    Layers,
    /// An instance with given costs.
    Instance,
    /// Where copies of experts lie.
    Experts,
    /// What runs at the same time inside a layer.
    Streams,
    /// Stages of a pipeline that serves.
    Serving,
}

use Mode::{Degrees, Experts, Instance, Layers, Ops, Serving, Streams};

impl Mode {
    /// All.
    pub const ALL: [Self; 7] = [Ops, Degrees, Layers, Instance, Experts, Streams, Serving];

    /// In words, and the code of what it refuses.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Ops => ("a placement of ops", "not-for-placements"),
            Degrees => ("a training run", "not-for-training"),
            Layers => ("a training run on measured layers", "not-for-training"),
            Instance => ("an instance with given costs", "not-for-instances"),
            Experts => ("a placement of experts", "not-for-experts"),
            Streams => ("a plan of streams", "not-for-streams"),
            Serving => ("a pipeline that serves", "not-for-serving"),
        }
    }
}

/// A field.
pub struct Field {
    /// Its name in a request.
    pub name: &'static str,
    /// What honours it.
    pub by: &'static [Mode],
    /// What to do where it is not honoured.
    pub hint: &'static str,
}

impl Field {
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

const fn field(name: &'static str, by: &'static [Mode], hint: &'static str) -> Field {
    Field { name, by, hint }
}

const EVERY: &[Mode] = &Mode::ALL;
const MODELS: &[Mode] = &[Ops, Degrees, Layers];
const NOT_GIVEN: &[Mode] = &[Ops, Degrees, Layers, Experts, Streams, Serving];
const PRICED: &[Mode] = &[Ops, Degrees, Layers, Streams, Serving];
const SEARCHES: &[Mode] = &[Ops, Degrees, Layers, Instance];
const BOUNDED: &[Mode] = &[Ops, Degrees, Layers, Instance, Experts, Serving];
const HOLDS: &[Mode] = &[Degrees, Layers, Serving];
const DRAWS: &[Mode] = &[Degrees, Serving];
const TRAINING: &[Mode] = &[Degrees, Layers];
const GIVEN: &str = "leave it out: the file states its costs, devices and work";
const NO_ENERGY: &str =
    "leave it out: energy is told of training runs of a model and of pipelines that serve";
const DEGREES_ONLY: &str = "leave it out, or pin degrees, such as --pin tensor=8";
const LAYERS_STATE: &str = "leave it out: the layers were measured with their own";
const OF_EXPERTS: &str = "leave it out: experts are placed by their visits alone";
const SERVES: &str = "leave it out, or add --algorithm dynaflow, or --phase decode";
const ENDS: &str = "leave it out: the search ends by itself, or with --time-limit";
const FOR_TRAINING: &str = "leave it out, or plan a training run of a model with --cluster";

/// All.
pub const FIELDS: [Field; 51] = [
    field("model", EVERY, ""),
    field("cluster", NOT_GIVEN, GIVEN),
    field("profile", PRICED, GIVEN),
    field("dims", MODELS, GIVEN),
    field("batch", NOT_GIVEN, GIVEN),
    field("micro_batch", MODELS, GIVEN),
    field("batch_axis", MODELS, GIVEN),
    field("dtype", &[Ops, Degrees, Serving], LAYERS_STATE),
    field("qdq_as_written", &[Ops], "leave it out: only inference runs on integers"),
    field("traces", &[Ops], "leave it out: durations of a trace are those of single ops"),
    field("workload", &[Ops, Degrees, Layers, Serving], GIVEN),
    field("optimizer", &[Ops, Degrees], LAYERS_STATE),
    field("pin", MODELS, GIVEN),
    field("forbid", &[Ops], DEGREES_ONLY),
    field("colocate", &[Ops], DEGREES_ONLY),
    field("constraints", &[Ops], DEGREES_ONLY),
    field(
        "scale",
        &[Ops, Degrees, Serving],
        "leave it out: the costs of this kind of plan are given",
    ),
    field("accelerators", &[Instance], "a model's devices come from --cluster"),
    field("global_batch", TRAINING, FOR_TRAINING),
    field("sequence_length", &[Degrees, Layers, Experts, Streams, Serving], FOR_TRAINING),
    field("tokens_per_step", TRAINING, FOR_TRAINING),
    field("devices", TRAINING, FOR_TRAINING),
    field("max_memory_per_device", HOLDS, FOR_TRAINING),
    field("memory_margin", HOLDS, FOR_TRAINING),
    field("stack", &[Degrees], LAYERS_STATE),
    field("expert_skew", &[Degrees, Experts, Streams], LAYERS_STATE),
    field("no_offload", TRAINING, FOR_TRAINING),
    field("spares", &[Degrees], FOR_TRAINING),
    field("replace", &[Degrees], FOR_TRAINING),
    field("lost", &[Degrees], FOR_TRAINING),
    field(
        "phase",
        &[Experts, Streams, Serving],
        "leave it out, or add an --algorithm of experts or streams, such as fsmoe",
    ),
    field("routing_trace", &[Experts], "leave it out, or add --algorithm expertflow"),
    field("cached_tokens", &[Streams, Serving], SERVES),
    field("kv_dtype", &[Streams, Serving], SERVES),
    field("interference", &[Streams], SERVES),
    field("algorithm", EVERY, ""),
    field("objective", &[Ops, Degrees, Layers, Instance, Serving], OF_EXPERTS),
    field("pue", DRAWS, NO_ENERGY),
    field("power_cap", DRAWS, NO_ENERGY),
    field(
        "allow_lossy",
        &[Degrees, Instance],
        "leave it out, or add --algorithm gradient-buckets: it is for gradients that replicas exchange, and \
         for edges of pipelines, with --global-batch",
    ),
    field("executor", MODELS, GIVEN),
    field("pipeline_only", &[Ops], "leave it out, or add --for vllm or --for sglang"),
    field("time_limit", EVERY, ""),
    field("gap", BOUNDED, ENDS),
    field("node_budget", BOUNDED, ENDS),
    field("seed", EVERY, ""),
    field("threads", EVERY, ""),
    field("deterministic", EVERY, ""),
    field("plot", SEARCHES, "leave it out: layers of experts are placed one by one"),
    field("export", NOT_GIVEN, GIVEN),
    field("all", EVERY, ""),
];

/// Refuses what was asked for by name and is not honoured by a mode.
///
/// # Errors
/// `not-for-placements`, `not-for-training`, `not-for-instances`, `not-for-experts`,
/// `not-for-streams`, `not-for-serving`.
pub fn check(given: &[String], mode: Mode) -> Result<(), Diagnostic> {
    let is_given = |field: &&Field| given.iter().any(|name| name == field.name);
    let refused = FIELDS.iter().filter(is_given).find(|field| !field.by.contains(&mode));
    let Some(field) = refused else { return Ok(()) };
    let (what, code) = mode.names();
    let message = format!("`{}` has no effect on {what}", field.flag());
    let hint = match mode {
        Experts => OF_EXPERTS,
        Streams => of_streams(field.name),
        Serving => of_serving(field.name),
        _ => field.hint,
    };
    Err(Diagnostic::usage(code, message).hint(hint))
}

/// What to do about a field beside a plan of streams.
fn of_streams(field: &str) -> &'static str {
    match field {
        "dtype" => "leave it out: layers are priced in 16 bits",
        "workload" => "leave it out: --phase says what a step does",
        "global_batch" | "tokens_per_step" => {
            "state the samples of a step with --batch, and their tokens with --sequence-length"
        }
        "gap" | "node_budget" => ENDS,
        "devices" | "accelerators" => "leave it out: all devices of --cluster are planned on",
        _ => "leave it out",
    }
}

/// What to do about a field beside a pipeline that serves.
fn of_serving(field: &str) -> &'static str {
    match field {
        "global_batch" | "tokens_per_step" | "micro_batch" => {
            "state the samples of a batch with --batch, and their tokens with --cached or \
             --sequence-length"
        }
        "devices" => "leave it out: the plan says which devices are used",
        "routing_trace" | "interference" | "expert_skew" => {
            "leave it out: the model has no experts"
        }
        _ => "leave it out",
    }
}

/// The first flag that only training runs honour.
#[must_use]
pub fn asks_for_training(given: &[String]) -> Option<Cow<'static, str>> {
    let is_training = |field: &&Field| !field.by.contains(&Ops) && field.by.contains(&Degrees);
    let mut fields = FIELDS.iter().filter(is_training);
    fields.find(|field| given.iter().any(|name| name == field.name)).map(Field::flag)
}

/// What of a model's problem was asked for, as flags: all that not every kind of plan honours.
#[must_use]
pub fn flags(given: &[String]) -> Vec<Cow<'static, str>> {
    let is_given = |field: &&Field| given.iter().any(|name| name == field.name);
    let own = FIELDS.iter().filter(|field| field.by.len() < Mode::ALL.len());
    own.filter(is_given).map(Field::flag).collect()
}
