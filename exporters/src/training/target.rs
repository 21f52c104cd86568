//! A target of plans of training runs: what it is given, what it has words for, and how it refuses.

use ir::card::{ModelCard, Recompute, ZeroStage};
use ir::diagnostic::{Blame, Diagnostic};
use ir::hyperparameters::Hyperparameters;
use ir::plan::{Mesh, Parallelism, Plan};
use ir::stack::{AttentionLibrary, Stack};
use ir::tensor::DType;
use ir::tuning::{Adapter, Modules};
use ir::workload::Optimizer;

use super::field::Field;
use super::program::{Place, Program};
use crate::format::Export;

/// A plan of a training run and what it was made for.
#[derive(Clone, Copy, Debug)]
pub struct TrainingSource<'a> {
    /// The version of the consumer, one of its target's.
    pub version: &'a str,
    /// The plan: degrees, stages with blocks, grid.
    pub plan: &'a Plan,
    /// Name of the schedule, such as `1f1b`.
    pub schedule: &'a str,
    /// Tokens of a sample.
    pub sequence_length: u64,
    /// The model's card.
    pub model: &'a ModelCard,
    /// How the model is built beyond it; `None` = a graph, which does not say.
    pub hyperparameters: Option<&'a Hyperparameters>,
    /// What it was priced in.
    pub dtype: DType,
    /// The optimizer that it was priced with.
    pub optimizer: Optimizer,
    /// The software that it was priced with.
    pub stack: &'a Stack,
    /// Whether hosts keep the optimizer states.
    pub offloads: bool,
    /// What the blocks of the stages are.
    pub blocks: Blocks,
    /// By block, the module or op at which it begins; empty where the model is no graph.
    pub starts: &'a [String],
    /// Where each rank runs.
    pub places: &'a [Place<'a>],
}

impl TrainingSource<'_> {
    /// Blocks at the end of the model that predict a later token.
    #[must_use]
    pub fn n_predicting(&self) -> u32 {
        self.model.n_predictions.saturating_sub(1)
    }
}

/// What the blocks of a plan are in the words of a launcher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Blocks {
    /// Layers of a transformer.
    #[default]
    Layers,
    /// Parts of a graph, which no launcher counts.
    Parts,
}

impl TrainingSource<'_> {
    /// Whether the plan needs words for something, whatever its degrees.
    fn needs(&self, lack: Lack) -> bool {
        match lack {
            Lack::Parts => self.blocks == Blocks::Parts,
            Lack::Config => self.starts.is_empty(),
            Lack::OffloadedSgd => self.offloads && self.optimizer == Optimizer::Sgd,
            Lack::OffloadedWhole => self.offloads && self.model.tuning.adapter.is_none(),
            Lack::ByBlock => self.plan.partition.stages.iter().any(|stage| !stage.each.is_empty()),
            // What the plan has chosen, the modules of targets refuse.
            Lack::Selective | Lack::PerOp | Lack::WholeSequences => false,
            lack => lack.is_of(self.model, self.optimizer, self.hyperparameters),
        }
    }

    /// Refuses what a target lacks altogether.
    pub(crate) fn check(&self, row: &TrainingTarget) -> Result<(), Diagnostic> {
        let lack = row.lacking(|lack| self.needs(lack));
        lack.map_or(Ok(()), |lack| Err(lack.refusal(row.name, lack.export_hint())))
    }
}

impl Lack {
    /// What models and optimizers may need, whatever the plan.
    pub const OF_RUNS: [Self; 8] = [
        Self::Predicting,
        Self::Adafactor,
        Self::Optimizer,
        Self::Unnamed,
        Self::Tuning,
        Self::Frozen,
        Self::Names,
        Self::ModuleNames,
    ];

    /// Whether a model under an optimizer needs words for it.
    #[must_use]
    pub fn is_of(
        self,
        model: &ModelCard,
        optimizer: Optimizer,
        hyperparameters: Option<&Hyperparameters>,
    ) -> bool {
        let tuning = &model.tuning;
        match self {
            Self::Predicting => model.n_predictions > 1,
            Self::Adafactor => optimizer == Optimizer::Adafactor,
            Self::Optimizer => is_special(optimizer),
            Self::Unnamed => is_unnamed(optimizer),
            Self::Tuning => !tuning.is_whole(),
            Self::Frozen => tuning.adapter.is_none() && !tuning.is_whole(),
            Self::Names => !is_named(hyperparameters, &NAMED),
            Self::ModuleNames => {
                let some = |adapter: Adapter| {
                    adapter.targets != Modules::LINEAR || !adapter.whole.is_empty()
                };
                tuning.adapter.is_some_and(some) && !is_named(hyperparameters, &NAMED_MODULES)
            }
            _ => false,
        }
    }

    /// What to do with a plan that needs it.
    pub(super) const fn export_hint(self) -> &'static str {
        match self {
            Self::Parts => "export to torch-pipelining or torch-split-points, which take any graph",
            Self::Config => {
                "plan a graph whose ops name their modules, such as an ONNX file of torch"
            }
            Self::Adafactor => "plan with `--optimizer adamw`",
            Self::Names => "plan its config where it is one of these, or export to another target",
            Self::OffloadedSgd => "plan with `--no-offload`, or with `--optimizer adamw`",
            Self::OffloadedWhole => "plan with `--no-offload`",
            Self::Optimizer => "export to huggingface, or plan with `--optimizer adamw`",
            Self::Unnamed => {
                "plan with `--optimizer adamw`, or set an optimizer of yours in the program"
            }
            Self::Tuning => "export to huggingface, or plan without `--adapter` and `--freeze`",
            Self::Frozen => {
                "freeze the parts in your program (`requires_grad_`), and plan without `--freeze`"
            }
            Self::ModuleNames => "plan with `targets=all` and no `whole` in `--adapter`",
            Self::ByBlock => "export to galvatron, or plan without a folder of measured layers",
            Self::Predicting => "export to megatron, or plan the model without them",
            Self::WholeSequences => "plan with `--pin sequence-parallel=on`",
            Self::Selective | Self::PerOp => "plan with `--pin recompute=full`",
        }
    }
}

/// Model types with the parameter names that the name rules expect.
const NAMED: [&str; 9] = [
    "llama",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "gpt2",
    "deepseek_v2",
    "deepseek_v3",
];

/// Model types of Transformers whose linear layers have the names of Llama's.
const NAMED_MODULES: [&str; 22] = [
    "arcee",
    "cohere",
    "cohere2",
    "exaone4",
    "gemma",
    "gemma2",
    "gemma3",
    "gemma3_text",
    "granite",
    "helium",
    "hunyuan_v1_dense",
    "llama",
    "ministral",
    "mistral",
    "nemotron",
    "olmo",
    "olmo2",
    "qwen2",
    "qwen3",
    "seed_oss",
    "smollm3",
    "stablelm",
];

/// Whether a model is of one of some types: a graph names its parameters as it likes.
fn is_named(model: Option<&Hyperparameters>, types: &[&str]) -> bool {
    model.is_some_and(|model| types.contains(&model.model_type.as_str()))
}

/// What a target may have no words for at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Parts of a graph: it counts layers of a transformer.
    Parts,
    /// A config, which names no modules: it cuts a graph between them.
    Config,
    /// Blocks that predict a later token.
    Predicting,
    /// Recompute of the attention core alone.
    Selective,
    /// Recompute of every second product.
    PerOp,
    /// Tensor ranks that each hold whole sequences, beside experts.
    WholeSequences,
    /// The optimizer Adafactor.
    Adafactor,
    /// Parameters by other names than those that its rules go by.
    Names,
    /// Choices by block, which runs on measured layers have.
    ByBlock,
    /// What SGD updates, on the hosts.
    OffloadedSgd,
    /// Optimizer states of models that are trained whole, on the hosts.
    OffloadedWhole,
    /// Optimizers with fewer states, or in fewer bits, than AdamW's.
    Optimizer,
    /// Optimizers that Hugging Face's Trainer does not name.
    Unnamed,
    /// Adapters and frozen parts.
    Tuning,
    /// Frozen parts of a model without adapters.
    Frozen,
    /// Adapters of some linear layers where those have names of their own.
    ModuleNames,
}

/// Whether an optimizer is one that not every launcher has.
const fn is_special(optimizer: Optimizer) -> bool {
    !matches!(optimizer, Optimizer::AdamW | Optimizer::Sgd | Optimizer::Adafactor)
}

/// Whether an optimizer is one that Hugging Face's Trainer does not name.
const fn is_unnamed(optimizer: Optimizer) -> bool {
    matches!(optimizer, Optimizer::Muon | Optimizer::AdamMini)
}

impl Lack {
    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parts => "parts of a graph",
            Self::Config => "a config",
            Self::Predicting => "blocks that predict a later token",
            Self::Selective => "recompute of the attention core",
            Self::PerOp => "recompute of every second product",
            Self::WholeSequences => "whole sequences on tensor ranks beside experts",
            Self::Adafactor => "the optimizer adafactor",
            Self::Names => "the names of this model's parameters",
            Self::ByBlock => "choices by block",
            Self::OffloadedSgd => "master weights of SGD on hosts",
            Self::OffloadedWhole => "optimizer states on hosts beside parameters on devices",
            Self::Optimizer => "an optimizer in 16 or 8 bits, lion, muon or adam-mini",
            Self::Unnamed => "the optimizers muon and adam-mini",
            Self::Tuning => "adapters and frozen parts",
            Self::Frozen => "frozen parts",
            Self::ModuleNames => "adapters of some linear layers of this model",
        }
    }
}

impl Lack {
    /// Why it has none.
    #[must_use]
    pub const fn why(self) -> &'static str {
        match self {
            Self::Parts => "it counts layers of a transformer",
            Self::Config => "it cuts a graph at modules, which a config does not name",
            Self::Predicting => "its stages hold layers that are all alike",
            Self::Selective | Self::PerOp => "it computes whole layers again, each for itself",
            Self::WholeSequences => "its tensor ranks split sequences beside experts",
            Self::Adafactor => "it has adam and sgd",
            Self::Names => {
                "its rules go by those of llama, mistral, mixtral, qwen2, qwen3, gpt2 and deepseek configs"
            }
            Self::OffloadedSgd => "its optimizer on hosts is adam",
            Self::OffloadedWhole => "it moves parameters along with the states",
            Self::Optimizer => "its file chooses adam, sgd or adafactor",
            Self::Unnamed => "its file chooses among others",
            Self::Tuning => "its file trains all parameters",
            Self::Frozen => "its files name adapters alone",
            Self::ModuleNames => {
                "PEFT takes names of layers, known for models with Llama's names alone"
            }
            Self::ByBlock => "it has one for a stage",
        }
    }

    /// The refusal of a target that lacks it.
    #[must_use]
    pub fn refusal(self, target: &str, hint: &str) -> Diagnostic {
        refused(target, self.name(), self.why(), hint)
    }
}

/// A recompute policy that a target can run on all stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Nothing.
    None,
    /// The attention core.
    Selective,
    /// Every second product and what is pointwise.
    PerOp,
    /// Every layer.
    Full,
    /// The first N layers of each stage.
    Block,
}

/// A row of the table.
pub struct TrainingTarget {
    /// What the user calls it.
    pub name: &'static str,
    /// Supported versions of the consumer, the default first; empty = none was checked.
    pub versions: &'static [&'static str],
    /// Name of the file unless the user gives one.
    pub file_name: &'static str,
    /// One line for lists.
    pub summary: &'static str,
    /// Fields of the plan that it expresses.
    pub expresses: &'static [Field],
    /// Whether it has words for a schedule under such degrees.
    pub accepts: fn(&Parallelism, &str) -> bool,
    /// The same with optimizer states on hosts; `None` = it can't leave them there.
    pub offloaded: Option<fn(&Parallelism, &str) -> bool>,
    /// Whether it can split a model so; `None` = every one.
    pub splits: Option<fn(&ModelCard, &Parallelism) -> bool>,
    /// What it has no words for at all.
    pub lacks: &'static [Lack],
    /// What it can compute again, the same on all stages; `None` = each stage what it likes.
    pub recomputes: Option<&'static [Policy]>,
    /// What it can compute in, the usual one first; `None` = its file says nothing of it.
    pub types: Option<&'static [DType]>,
    /// The software stacks that it launches, of which the first prices its plans; `None` = it
    /// launches nothing.
    pub launches: Option<&'static [&'static str]>,
    /// The library of its attention kernels under every stack; `None` = that of the stack.
    pub attention: Option<AttentionLibrary>,
    /// What its processes are started as; `None` = by a program of the user's.
    pub(crate) program: Option<Program>,
    pub(crate) export: fn(&TrainingSource<'_>) -> Result<Export, Diagnostic>,
}

impl TrainingTarget {
    /// A row that says nothing but who it is of, what it runs and what writes it.
    pub(super) const fn of(
        name: &'static str,
        accepts: fn(&Parallelism, &str) -> bool,
        export: fn(&TrainingSource<'_>) -> Result<Export, Diagnostic>,
    ) -> Self {
        Self {
            name,
            versions: &[],
            file_name: "",
            summary: "",
            expresses: &[],
            accepts,
            offloaded: None,
            splits: None,
            lacks: &[],
            recomputes: None,
            types: None,
            launches: None,
            attention: None,
            program: None,
            export,
        }
    }

    /// Whether it is also written as a folder that starts a plan.
    #[must_use]
    pub const fn has_folder(&self) -> bool {
        self.program.is_some()
    }

    /// What it lacks of what is needed, the first in the order of its table.
    pub fn lacking(&self, needs: impl Fn(Lack) -> bool) -> Option<Lack> {
        let has = |field: Field| self.expresses.contains(&field);
        let others = [
            (Field::BlockPolicies, Lack::ByBlock),
            (Field::Adapters, Lack::Tuning),
            (Field::AnyOptimizer, Lack::Optimizer),
        ];
        let others = others.into_iter().filter(|(field, _)| !has(*field)).map(|(_, lack)| lack);
        self.lacks.iter().copied().chain(others).find(|lack| needs(*lack))
    }
}

/// Whether replicas share out optimizer states, or there is one that has them all.
pub(super) fn shares(degrees: &Parallelism) -> bool {
    let n_replicas = u64::from(degrees.data) * u64::from(degrees.context);
    degrees.zero >= ZeroStage::Optimizer || n_replicas <= 1
}

/// Whether replicas lie outside the pipeline.
pub(super) fn is_outside(degrees: &Parallelism) -> bool {
    degrees.mesh == Mesh::TpCpPpDp && degrees.pipeline > 1 && degrees.data > 1
}

/// Blocks of each stage; they must follow each other without a gap.
pub(super) fn blocks(plan: &Plan) -> Result<Vec<u32>, Diagnostic> {
    let mut next = 0;
    let mut counts = Vec::with_capacity(plan.partition.stages.len());
    for (position, stage) in plan.partition.stages.iter().enumerate() {
        if stage.blocks.start != next || stage.blocks.end < next {
            let message = format!("stage {position} does not begin where the one before it ends");
            return Err(Diagnostic::input("bad-plan", message)
                .fact("stage", position)
                .fact("first_block", u64::from(stage.blocks.start))
                .hint("let each stage hold the blocks after those of the stage before"));
        }
        counts.push(stage.blocks.end - stage.blocks.start);
        next = stage.blocks.end;
    }
    let degrees = &plan.parallelism;
    if counts.len() as u64 != u64::from(degrees.pipeline) * u64::from(degrees.virtual_stages) {
        let message = format!(
            "{} stages for {} ranks of {} chunks",
            counts.len(),
            degrees.pipeline,
            degrees.virtual_stages
        );
        return Err(Diagnostic::input("bad-plan", message).hint("give one stage per chunk"));
    }
    Ok(counts)
}

/// The one policy of all stages; `Block` counts only as far as a stage has blocks.
pub(super) fn recompute(
    source: &TrainingSource<'_>,
    target: &str,
) -> Result<Recompute, Diagnostic> {
    let stages = &source.plan.partition.stages;
    let first = stages.first().map_or(Recompute::None, |stage| stage.recompute);
    match stages.iter().position(|stage| stage.recompute != first) {
        None => Ok(first),
        Some(stage) => Err(refused(
            target,
            "a policy of recompute for each stage",
            &format!("stage {stage} differs from stage 0"),
            "plan with one policy for all stages",
        )),
    }
}

/// Whether every block is computed again, by a target that computes each for itself, or none. Intervals
/// of DeepSpeed count the embedding among the layers, so those of several blocks are none of a plan's.
pub(super) fn whole_blocks_again(
    source: &TrainingSource<'_>,
    target: &str,
) -> Result<bool, Diagnostic> {
    match recompute(source, target)? {
        Recompute::None => Ok(false),
        Recompute::Full | Recompute::Uniform { blocks: 1 } => Ok(true),
        Recompute::Selective
        | Recompute::PerOp
        | Recompute::Uniform { .. }
        | Recompute::Block { .. } => {
            let why = "it computes every layer again, or none";
            let part = "recompute of a part of a block or of some blocks";
            Err(refused(target, part, why, "plan with `--pin recompute=full`"))
        }
    }
}

/// The refusal of a part of a plan.
pub(crate) fn refused(target: &str, part: &str, why: &str, hint: &str) -> Diagnostic {
    let message = format!("{target} has no words for {part}: {why}");
    Diagnostic::error(Blame::Input, "cannot-express", message)
        .fact("target", target)
        .fact("part", part)
        .hint(hint.to_owned())
}

/// Refuses a degree other than 1.
pub(super) fn only_one(target: &str, axis: &str, degree: u32) -> Result<(), Diagnostic> {
    if degree == 1 {
        return Ok(());
    }
    let hint = format!("plan with `--pin {axis}=1`");
    Err(refused(target, &format!("{axis} parallelism"), &format!("the degree is {degree}"), &hint))
}
