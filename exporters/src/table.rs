//! All targets, a row each: whoever lists, checks or writes formats of plans reads this table.

use ir::diagnostic::Diagnostic;
use ir::nearest;
use ir::plan_kind::PlanKind;

use crate::format::Placed;
use crate::serving::{self, LLAMA_CPP, SGLANG, VLLM, experts, fleet, nano_batches, slots, stages};
use crate::target::{Takes, Target, Writer};
use crate::training::TrainingTarget;
use crate::{accelerate, dot, given_costs, shardings, svg, trace, training};

/// What takes plans of one kind, without versions.
const fn takes(writer: Writer) -> Takes {
    Takes { versions: &[], writer }
}

/// The row of a target of training runs alone.
macro_rules! run {
    ($row:expr) => {
        Target {
            name: $row.name,
            file_name: $row.file_name,
            summary: $row.summary,
            takes: &[Takes { versions: $row.versions, writer: Writer::Run(&$row) }],
        }
    };
}

/// What takes gradients in buckets.
const BUCKETS: &[Takes] =
    &[takes(Writer::Buckets(PlanKind::Given)), takes(Writer::Buckets(PlanKind::Gradients))];

const TARGETS: &[Target] = &[
    Target {
        name: accelerate::TARGET,
        file_name: "device_map.json",
        summary: "device_map of Hugging Face Accelerate: module name to device, by block",
        takes: &[takes(Writer::Ops(accelerate::PLACED))],
    },
    Target {
        name: VLLM,
        file_name: "vllm.sh",
        summary: "starts vLLM: layers of each pipeline rank, or workers of a fleet",
        takes: &[
            takes(Writer::Ops(serving::VLLM_PLACED)),
            takes(Writer::Stages(stages::vllm)),
            Takes { versions: &["0.26"], writer: Writer::Experts(experts::vllm) },
            Takes { versions: &["0.26"], writer: Writer::NanoBatches(nano_batches::vllm) },
            Takes { versions: &["0.33"], writer: Writer::Fleet(fleet::vllm) },
        ],
    },
    Target {
        name: SGLANG,
        file_name: "sglang.sh",
        summary: "starts SGLang: layers of each pipeline rank, or workers of a fleet",
        takes: &[
            Takes { versions: &["0.5"], writer: Writer::Ops(serving::SGLANG_PLACED) },
            Takes { versions: &["0.5"], writer: Writer::Stages(stages::sglang) },
            Takes { versions: &["0.5.23"], writer: Writer::Experts(experts::sglang) },
            Takes { versions: &["0.5.23"], writer: Writer::NanoBatches(nano_batches::sglang) },
            Takes { versions: &["0.5.23"], writer: Writer::Fleet(fleet::sglang) },
        ],
    },
    Target {
        name: fleet::TRTLLM,
        file_name: "trtllm.sh",
        summary: "starts TensorRT-LLM workers, with LLM API options of each",
        takes: &[Takes { versions: &["1.2"], writer: Writer::Fleet(fleet::trtllm) }],
    },
    Target {
        name: fleet::DYNAMO,
        file_name: "dynamo.yaml",
        summary: "DynamoGraphDeployment: a component for each type of workers",
        takes: &[Takes { versions: &["1.6"], writer: Writer::Fleet(fleet::dynamo) }],
    },
    Target {
        name: fleet::LLM_D,
        file_name: "llm-d.yaml",
        summary: "Helm values of llm-d modelservice: prefill and decode pods of vLLM",
        takes: &[Takes { versions: &["0.4.12"], writer: Writer::Fleet(fleet::llm_d) }],
    },
    Target {
        name: LLAMA_CPP,
        file_name: "llama.sh",
        summary: "starts llama.cpp with the share of each device and tensors elsewhere",
        takes: &[
            takes(Writer::Ops(serving::LLAMA_CPP_PLACED)),
            takes(Writer::Stages(stages::llama_cpp)),
            takes(Writer::Slots(slots::llama_cpp)),
        ],
    },
    Target {
        name: accelerate::max_memory::TARGET,
        file_name: "max_memory.yaml",
        summary: "max_memory of Accelerate: bytes for weights on each device of the plan",
        takes: &[takes(Writer::Ops(Placed::file(accelerate::max_memory::export)))],
    },
    Target {
        name: "trace",
        file_name: "trace.json",
        summary: "timeline for Perfetto and chrome://tracing",
        takes: &[
            takes(Writer::Ops(Placed::file(trace::export))),
            takes(Writer::Step(trace::pipeline::export)),
        ],
    },
    Target {
        name: "dot",
        file_name: "plan.dot",
        summary: "graph by device for Graphviz",
        takes: &[takes(Writer::Ops(Placed::file(dot::export)))],
    },
    Target {
        name: "svg",
        file_name: "timeline.svg",
        summary: "picture of the timeline",
        takes: &[
            takes(Writer::Ops(Placed::file(svg::export))),
            takes(Writer::Step(svg::pipeline::export)),
            takes(Writer::Cells(PlanKind::Streams)),
            takes(Writer::Cells(PlanKind::Groups)),
            takes(Writer::Cells(PlanKind::NanoBatches)),
        ],
    },
    run!(training::torch_pipelining::ROW),
    run!(training::torch_pipelining::SPLITS_ROW),
    run!(training::torchtitan::ROW),
    run!(training::megatron::ROW),
    run!(training::megatron::bridge::ROW),
    run!(training::flagscale::ROW),
    run!(training::deepspeed::ROW),
    run!(training::galvatron::ROW),
    Target {
        name: training::jax::ROW.name,
        file_name: training::jax::ROW.file_name,
        summary: training::jax::ROW.summary,
        takes: &[
            Takes {
                versions: training::jax::ROW.versions,
                writer: Writer::Run(&training::jax::ROW),
            },
            Takes {
                versions: training::jax::ROW.versions,
                writer: Writer::Sharding(shardings::jax),
            },
        ],
    },
    run!(training::huggingface::ROW),
    Target {
        name: "sglang-location",
        file_name: "expert_location.json",
        summary: "map of SGLang: by layer the expert of each slot",
        takes: &[Takes { versions: &["0.5.23"], writer: Writer::Experts(experts::location) }],
    },
    Target {
        name: "layer-ranges",
        file_name: "layers.json",
        summary: "device and layers of each stage of an inference pipeline",
        takes: &[takes(Writer::Stages(|source| Ok(stages::ranges(source))))],
    },
    Target {
        name: "split",
        file_name: "split.json",
        summary: "nodes of each accelerator and core, as the splits of msr-fiddle/dnn-partitioning",
        takes: &[takes(Writer::Solution(given_costs::split))],
    },
    Target {
        name: "pipedream",
        file_name: "graph.txt",
        summary: "`graph.txt` with the stage of each layer, as msr-fiddle/pipedream's optimizer writes it",
        takes: &[takes(Writer::Solution(given_costs::pipedream))],
    },
    Target {
        name: given_costs::TORCH_DDP,
        file_name: "ddp.json",
        summary: "arguments of torch's `DistributedDataParallel`: sizes of buckets",
        takes: &[
            Takes { versions: &["*"], writer: Writer::Buckets(PlanKind::Given) },
            Takes { versions: &["*"], writer: Writer::Buckets(PlanKind::Gradients) },
        ],
    },
    Target {
        name: given_costs::TORCH_HOOK,
        file_name: "exchange.json",
        summary: "table of `meshwright.torch.exchange`: what of which gradients goes together",
        takes: BUCKETS,
    },
    Target {
        name: given_costs::MEGATRON_BUCKETS,
        file_name: "buckets.args",
        summary: "`--ddp-bucket-size` of Megatron-Core: the best size of all buckets",
        takes: BUCKETS,
    },
    Target {
        name: given_costs::DEEPSPEED_BUCKETS,
        file_name: "buckets.json",
        summary: "`reduce_bucket_size` of DeepSpeed: the best size of all buckets",
        takes: BUCKETS,
    },
];

/// All targets.
#[must_use]
pub fn targets() -> &'static [Target] {
    TARGETS
}

/// All targets of training runs, without pictures.
pub fn runs() -> impl Iterator<Item = &'static TrainingTarget> {
    let rows = TARGETS.iter().flat_map(|row| row.takes);
    rows.filter_map(|takes| match takes.writer {
        Writer::Run(row) => Some(row),
        _ => None,
    })
}

/// The row of a target, by `name` or `name@version`.
#[must_use]
pub fn row(target: &str) -> Option<&'static Target> {
    let name = name(target);
    TARGETS.iter().find(|row| row.name == name)
}

fn name(target: &str) -> &str {
    target.split('@').next().unwrap_or_default()
}

/// A target that takes plans of a kind.
#[derive(Clone, Copy)]
pub struct Found {
    /// Its name.
    pub name: &'static str,
    /// The version of its consumer that is meant.
    pub version: &'static str,
    /// How it writes them.
    pub writer: Writer,
}

/// The target of a name for plans of a kind, by `name` or `name@version`.
///
/// # Errors
/// `unknown-target` with the known ones; [`PlanKind::refusal`] for what runs something else.
pub fn find(kind: PlanKind, target: &str) -> Result<Found, Diagnostic> {
    let found = row(target).and_then(|row| Some((row.name, row.takes(kind)?)));
    let (name, takes) = found.ok_or_else(|| refused(kind, target))?;
    Ok(Found { name, version: takes.version(target)?, writer: takes.writer })
}

/// Names of the targets of a kind of plan; pictures last, expert servers in alphabetical order.
fn names(kind: PlanKind) -> Vec<&'static str> {
    let by_name = matches!(kind, PlanKind::Experts | PlanKind::NanoBatches);
    let entry = |row: &'static Target| Some((row.name, row.takes(kind)?.writer.is_picture()));
    let mut all: Vec<(&str, bool)> = TARGETS.iter().filter_map(entry).collect();
    all.retain(|(_, is_picture)| kind != PlanKind::NanoBatches || !is_picture);
    all.sort_by_key(|(name, is_picture)| (by_name || *is_picture).then_some(*name));
    all.into_iter().map(|(name, _)| name).collect()
}

/// The refusal of a name that takes no plans of a kind: what it takes instead, or what does.
pub(crate) fn refused(kind: PlanKind, target: &str) -> Diagnostic {
    if let Some(error) = row(target).and_then(|row| elsewhere(kind, row)) {
        return error;
    }
    let (name, names) = (name(target), names(kind));
    let unknown = |message: String| Diagnostic::usage("unknown-target", message);
    if names.is_empty() {
        return unknown(format!("no export target takes plans of this kind, `{name}` included"));
    }
    let beside = |of: &str| {
        unknown(format!("there is no export target `{name}`{of}"))
            .hint(nearest::among(name, names.iter().copied()))
    };
    let choice = |of: &str| {
        unknown(format!("there is no format `{name}` for {of}"))
            .hint(format!("choose from {}", names.join(", ")))
    };
    let listed = |of| {
        choice(of).fact("targets", names.iter().copied().map(str::to_owned).collect::<Vec<_>>())
    };
    let none = |what: &str| unknown(format!("`{target}` takes no {what}"));
    match kind {
        PlanKind::Placement => beside(""),
        PlanKind::Training => beside(" for plans of training runs"),
        PlanKind::Given => choice("instances with given costs"),
        PlanKind::Experts => listed("placements of experts"),
        PlanKind::Slots => listed("experts in slots"),
        PlanKind::NanoBatches => listed("nano-batches"),
        PlanKind::Inference => listed("pipelines that serve"),
        PlanKind::Fleet => listed("fleets of serving workers"),
        PlanKind::Sharding => listed("shardings"),
        PlanKind::Streams => none("numbers of parts and no slices of gradients"),
        PlanKind::Groups => none("micro-batches and parts between two groups of devices"),
        PlanKind::Gradients => none("buckets of gradients")
            .hint(format!("use {}, or read `communication` of the plan", names.join(" or "))),
    }
}

/// The refusal of what runs plans of another kind.
fn elsewhere(kind: PlanKind, row: &Target) -> Option<Diagnostic> {
    let (name, placed) = (row.name, row.placed().filter(|placed| placed.is_executor));
    let refused = |message: String| Diagnostic::usage(kind.refusal(), message);
    match kind {
        PlanKind::Placement if row.takes(PlanKind::Training).is_some() => {
            let message = format!("{name} runs training runs, no placements of ops");
            let hint = "plan a training run with --global-batch, or choose accelerate";
            Some(refused(message).hint(hint))
        }
        PlanKind::Training => {
            let launchers = runs().filter(|target| target.launches.is_some());
            let names: Vec<&str> = launchers.map(|target| target.name).collect();
            let others = format!("choose from {}, any", names.join(", "));
            let hint = "plan what it serves, without --global-batch and --workload training";
            Some(match placed?.serves {
                true => refused(format!("{name} serves models and trains none")).hint(hint),
                false => refused(format!("{name} runs no training runs")),
            })
            .map(|error| error.hint(others))
        }
        PlanKind::Sharding if row.takes(PlanKind::Training).is_some() => {
            let message = format!("{name} takes degrees of parallelism, no shardings of ops");
            let hint =
                "leave out --algorithm sharding; `explain` of the plan compares it with degrees";
            Some(Diagnostic::usage("unknown-target", message).hint(hint))
        }
        PlanKind::Given if row.runs().is_some() => {
            let message = format!("{name} runs models, and an instance with given costs is none");
            let forms = names(kind).join(" or ");
            let hint = format!("leave out --for; export its solution to {forms}");
            Some(refused(message).hint(hint))
        }
        _ => None,
    }
}
