//! The plan document: a plan with the names that an executor or a reader needs.
//!
//! Everything is said by name, so a plan outlives the ids of one import; the digests say what it
//! was made for. Version 1 is closed: a reader refuses fields that it does not know.

pub mod averaging;
pub mod buckets;
pub mod cells;
mod check;
pub mod disaggregated;
pub mod energy;
pub mod experts;
pub mod fleet;
pub mod head;
pub mod inputs;
pub(crate) mod kinds;
pub mod losses;
mod names;
pub mod nano_batches;
pub mod phase;
mod read;
pub mod render;
pub mod request;
mod resolve;
pub mod served;
pub mod serves;
pub mod sharding;
pub mod shards;
pub mod training;

use ir::workload::{Mode, Optimizer, Workload};
use serde::{Deserialize, Serialize};

pub use cells::{CellDocument, PieceDocument, StreamDocument};

use self::experts::ExpertsDocument;
use crate::quantity::seconds;
use crate::trust::{IntervalDocument, OriginDocument};

/// The version that this crate writes and reads.
pub const FORMAT: &str = "meshwright.plan/1";

/// Something that the plan was made for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct Reference {
    /// Its name.
    pub name: String,
    /// SHA-256 of its content, 64 hexadecimal digits.
    pub digest: String,
}

impl Reference {
    /// Of a name and a digest.
    #[must_use]
    pub fn new(name: &str, digest: String) -> Self {
        Self { name: name.to_owned(), digest }
    }
}

/// Inference or training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", expecting = "`inference` or `training`")]
pub enum ModeDocument {
    /// One forward pass.
    #[default]
    Inference,
    /// Forward, backward and the parameter update.
    Training,
}

/// The optimizer of a training run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase", expecting = "the name of an optimizer")]
pub enum OptimizerDocument {
    /// AdamW.
    AdamW,
    /// Plain stochastic gradient descent.
    Sgd,
    /// Adafactor.
    Adafactor,
    /// AdamW on 16-bit weights, with 16-bit moments.
    #[serde(rename = "adamw-16bit")]
    AdamW16,
    /// AdamW on 16-bit weights, with 8-bit moments.
    #[serde(rename = "adamw-8bit")]
    AdamW8,
    /// AdamW on 16-bit weights, with moments that are paged out to the host.
    #[serde(rename = "paged-adamw")]
    PagedAdamW,
    /// The same with 8-bit moments.
    #[serde(rename = "paged-adamw-8bit")]
    PagedAdamW8,
    /// Lion.
    Lion,
    /// Lion on 16-bit weights, with an 8-bit moment.
    #[serde(rename = "lion-8bit")]
    Lion8,
    /// Muon, with AdamW for what is no matrix of a block.
    Muon,
    /// Adam-mini.
    #[serde(rename = "adam-mini")]
    AdamMini,
}

/// What the plan was made for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct WorkloadDocument {
    /// Inference or training.
    pub mode: ModeDocument,
    /// Absent for inference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<OptimizerDocument>,
    /// What replaced the wide floats of the model, such as `bf16`; absent = as in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// Samples of one step over all devices; absent = as in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u64>,
    /// Samples that go through at once; absent = the whole batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<u64>,
}

/// Degrees of parallelism.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct ParallelismDocument {
    /// Data-parallel replicas.
    pub data: u32,
    /// Tensor-parallel shards.
    pub tensor: u32,
    /// Pipeline stages.
    pub pipeline: u32,
    /// Expert-parallel shards.
    pub expert: u32,
    /// Context-parallel shards.
    pub context: u32,
    /// Micro-batches of one step.
    pub n_micro_batches: u64,
    /// What an operator placement has none of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<training::DegreesDocument>,
}

/// A contiguous part of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct StageDocument {
    /// Its ops; empty in a plan of one stage, which holds all.
    pub ops: Vec<String>,
    /// Its blocks, of a training run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<training::BlocksDocument>,
    /// Its devices, where stages of a training run have devices of their own; else they follow from
    /// the degrees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<training::StageMeshDocument>,
}

/// Stages in pipeline order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct PartitionDocument {
    /// At least one.
    pub stages: Vec<StageDocument>,
}

/// Where one op runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct PlacedOp {
    /// The op.
    pub op: String,
    /// Its device.
    pub device: String,
}

/// Gradients that are exchanged together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct BucketDocument {
    /// Parameters, in the order in which their gradients are there.
    pub tensors: Vec<String>,
    /// Bytes of their gradients.
    pub bytes: u64,
    /// How a part of them is exchanged, which changes what is computed: `top-k`, `global-top-k`,
    /// `layer-wise` or `two-way`. Without it they are exchanged as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lossy: Option<String>,
    /// Elements that each replica sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<u64>,
    /// Bytes that each replica sends, indices among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_bytes: Option<u64>,
}

/// How edges send a part: the largest elements, where the edge binds (FusionLLM, Tang et al. 2024).
pub const EDGES_BY: &str = "ada-top-k";

/// What goes between two stages of a pipeline in part, which changes what is computed: the largest elements
/// of each message, activations there and their gradients back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct EdgeDocument {
    /// The stage, from 0.
    pub from: u32,
    /// The next one.
    pub to: u32,
    /// How: `ada-top-k`.
    pub by: String,
    /// Elements of each message over those that are sent, rounded up.
    pub ratio: u32,
    /// Bytes of a micro-batch that would go one way.
    pub bytes: u64,
    /// Those that go, indices among them.
    pub sent_bytes: u64,
}

/// A way to exchange a part of gradients that was allowed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct LossyDocument {
    /// Its name.
    pub by: String,
    /// Share of the elements, of `two-way` of the bytes, that is sent at least.
    pub density: f64,
}

/// What goes between devices beside the model's own tensors: nothing in an operator placement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct CommunicationDocument {
    /// How buckets are exchanged: `all-reduce` or `parameter-server`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<String>,
    /// In the order in which they are exchanged, one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<BucketDocument>,
    /// Ways that change what is computed, of which buckets or edges could take any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lossy: Vec<LossyDocument>,
    /// What goes between stages in part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<EdgeDocument>,
    /// By round the pairs of nodes that average their models.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matchings: Vec<Vec<averaging::PairDocument>>,
    /// Of these, the pairs that joined all nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joined_by: Vec<averaging::JoinDocument>,
    /// What clients send to the server that averages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uploads: Vec<averaging::UploadDocument>,
    /// How often replicas average their models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<averaging::SyncDocument>,
    /// The plan that a training run goes on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<losses::ReplacedDocument>,
    /// What has to get where for that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<losses::MoveDocument>,
    /// How long moves between devices take at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving_ns: Option<u64>,
    /// By stage and kind of place, which spare stands in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spares: Vec<losses::SpareDocument>,
}

/// What a device does, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct DeviceActions {
    /// The device.
    pub device: String,
    /// Names of the ops that it runs, in order.
    pub actions: Vec<String>,
}

/// One tensor on its way from its producer's device to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct TransferDocument {
    /// The tensor.
    pub tensor: String,
    /// The device that it goes to.
    pub to: String,
}

/// What a channel carries, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct ChannelTransfers {
    /// The channel.
    pub channel: String,
    /// Its transfers in order. A transfer stands on each channel that it occupies.
    pub transfers: Vec<TransferDocument>,
}

/// Anything with a start and an end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", expecting = "an object with `op` or `transfer`")]
pub enum TaskDocument {
    /// An op, by name.
    Op(String),
    /// A transfer.
    Transfer(TransferDocument),
}

/// An explicit wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct WaitDocument {
    /// Who waits.
    pub task: TaskDocument,
    /// For the ends of these.
    pub after: Vec<TaskDocument>,
}

/// Orders and waits; everything starts as early as they allow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct ScheduleDocument {
    /// Per device its ops.
    pub devices: Vec<DeviceActions>,
    /// Per channel its transfers; channels without any are left out.
    pub channels: Vec<ChannelTransfers>,
    /// Explicit waits.
    pub after: Vec<WaitDocument>,
    /// Of a training run, per pipeline rank its cells in order, such as `0F0,0F1,0B0`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grid: Vec<String>,
    /// What runs at the same time inside of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<CellDocument>,
}

/// What the judge said of the plan when it was written. A reader judges again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct CostDocument {
    /// Nanoseconds of one step.
    pub step_time_ns: u64,
    /// Seconds of one step.
    pub step_time_s: f64,
    /// Nanoseconds of what is minimised; absent where that is the step time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_ns: Option<u64>,
    /// Seconds of what is minimised; absent where that is the step time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_s: Option<f64>,
    /// Nanoseconds that no plan can beat.
    pub bound_ns: u64,
    /// Seconds that no plan can beat.
    pub bound_s: f64,
    /// Which bound it is.
    pub bound_method: String,
    /// `value / bound - 1` of what is minimised; absent where the bound is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<f64>,
    /// Where the truth lies in eight cases of ten; absent where all durations are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<IntervalDocument>,
    /// The critical path by the origin of its durations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<OriginDocument>,
}

impl CostDocument {
    /// From whole nanoseconds.
    #[must_use]
    pub fn new(step_time_ns: u64, bound_ns: u64, bound_method: &str) -> Self {
        Self {
            step_time_ns,
            step_time_s: seconds(step_time_ns),
            value_ns: None,
            value_s: None,
            bound_ns,
            bound_s: seconds(bound_ns),
            bound_method: bound_method.to_owned(),
            gap: gap(step_time_ns, bound_ns),
            interval: None,
            origins: Vec::new(),
        }
    }

    /// The same for another objective than the step time, of which this is the value.
    #[must_use]
    pub fn with_value(self, value_ns: u64) -> Self {
        let gap = gap(value_ns, self.bound_ns);
        Self { value_ns: Some(value_ns), value_s: Some(seconds(value_ns)), gap, ..self }
    }

    /// Nanoseconds of what is minimised.
    #[must_use]
    pub fn minimised_ns(&self) -> u64 {
        self.value_ns.unwrap_or(self.step_time_ns)
    }

    /// The same with how far the step time may be off, and what it rests on.
    #[must_use]
    pub fn with_trust(
        self,
        interval: Option<IntervalDocument>,
        origins: Vec<OriginDocument>,
    ) -> Self {
        Self { interval, origins, ..self }
    }
}

/// `value / bound - 1`; `None` where the bound is 0.
#[must_use]
pub fn gap(value_ns: u64, bound_ns: u64) -> Option<f64> {
    (bound_ns > 0).then(|| value_ns as f64 / bound_ns as f64 - 1.0)
}

/// A plan, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct PlanDocument {
    /// [`FORMAT`].
    pub format: String,
    /// The model, after the workload was applied to it.
    pub model: Reference,
    /// The cluster.
    pub cluster: Reference,
    /// The measured constants; an empty profile has a digest too.
    pub profile: Reference,
    /// What was planned for.
    pub workload: WorkloadDocument,
    /// What was asked for.
    #[serde(default, skip_serializing_if = "request::RequestDocument::is_empty")]
    pub request: request::RequestDocument,
    /// What was minimised, such as `step-time`.
    pub objective: String,
    /// The recipe that made the plan.
    pub algorithm: String,
    /// Degrees.
    pub parallelism: ParallelismDocument,
    /// Stages.
    pub partition: PartitionDocument,
    /// Where each op runs, in the order of the model. Views are no actions and are left out.
    pub placement: Vec<PlacedOp>,
    /// Expert placement; empty in other plans.
    pub experts: ExpertsDocument,
    /// Gradient exchange.
    pub communication: CommunicationDocument,
    /// Orders and waits.
    pub schedule: ScheduleDocument,
    /// What the judge said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostDocument>,
    /// Of a training run on a model card: what was planned for, and memory by rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<training::TrainingDocument>,
    /// Of a model that serves as one forward pipeline: what was planned for, and what stages take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<served::ServedDocument>,
    /// Of serving workers: what was planned for, workers and figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<Box<fleet::FleetDocument>>,
    /// Of a training step: where each tensor is split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharding: Option<Box<sharding::ShardingDocument>>,
    /// What it draws and costs, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<energy::EnergyDocument>,
    /// Where the files are that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<inputs::InputsDocument>,
}

/// The same optimizers in documents and in plans.
macro_rules! optimizers {
    ($($name:ident)*) => {
        impl From<Optimizer> for OptimizerDocument {
            fn from(optimizer: Optimizer) -> Self {
                match optimizer {
                    $(Optimizer::$name => Self::$name,)*
                }
            }
        }

        impl From<OptimizerDocument> for Optimizer {
            fn from(document: OptimizerDocument) -> Self {
                match document {
                    $(OptimizerDocument::$name => Self::$name,)*
                }
            }
        }
    };
}
optimizers!(AdamW Sgd Adafactor AdamW16 AdamW8 PagedAdamW PagedAdamW8 Lion Lion8 Muon AdamMini);

impl From<&Workload> for WorkloadDocument {
    fn from(workload: &Workload) -> Self {
        let (mode, optimizer) = match workload.mode {
            Mode::Inference => (ModeDocument::Inference, None),
            Mode::Training => (ModeDocument::Training, Some(workload.optimizer.into())),
        };
        Self {
            mode,
            optimizer,
            dtype: workload.dtype.map(|dtype| dtype.name().to_owned()),
            batch: workload.batch,
            micro_batch: workload.micro_batch,
        }
    }
}

#[cfg(test)]
mod tests;
