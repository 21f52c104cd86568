//! The parts of a plan document that only a training run on a model card has.

use ir::card::{ModelCard, Recompute, SequenceParallel, ZeroStage};
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::grid::Grid;
use ir::plan::{Mesh, Parallelism, Partition, Plan, Stage};
use ir::profile::Profile;
use ir::schedule::Schedule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::refused;
use super::{
    CommunicationDocument, CostDocument, ExpertsDocument, FORMAT, ModeDocument, OptimizerDocument,
    ParallelismDocument, PartitionDocument, PlanDocument, Reference, ScheduleDocument,
    StageDocument, WorkloadDocument,
};
use crate::digest;

/// Which axis lies on which tier of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", expecting = "`data-inside` or `pipeline-inside`")]
pub enum MeshDocument {
    /// Tensor and context ranks, then replicas, then pipeline ranks.
    DataInside,
    /// Tensor and context ranks, then pipeline ranks, then replicas.
    PipelineInside,
}

/// Degrees and settings that an operator placement has none of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct DegreesDocument {
    /// Samples of a micro-batch.
    pub micro_batch: u64,
    /// Chunks of the model on each pipeline rank.
    pub virtual_stages: u32,
    /// Whether tensor ranks split the sequence between tensor-parallel regions.
    pub sequence_parallel: bool,
    /// ZeRO stage: 0 nothing, 1 optimizer states, 2 and gradients, 3 and parameters.
    pub zero: u8,
    /// Which axis lies on which tier.
    pub mesh: MeshDocument,
}

/// What a stage computes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", expecting = "a policy of recompute")]
pub enum RecomputeDocument {
    /// Nothing.
    None,
    /// The attention core.
    Selective,
    /// Every block.
    Full,
    /// Groups of so many blocks.
    Uniform(u32),
    /// The first so many blocks.
    Block(u32),
}

/// Blocks of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct BlocksDocument {
    /// First block.
    pub first: u32,
    /// Blocks.
    pub n: u32,
    /// What is computed again.
    pub recompute: RecomputeDocument,
}

/// Memory of one pipeline rank, of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct RankMemoryDocument {
    /// Parameters, gradients, optimizer states, buffers.
    pub persistent_bytes: u64,
    /// The most that lies there.
    pub peak_bytes: u64,
    /// What it can hold; absent = unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
}

/// What of the model a stage holds, before anything is sharded. Nothing is lost where the stages
/// without copies sum up to the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct HeldDocument {
    /// Parameters of its blocks and ends; a copy of a tied weight is not among them.
    pub n_parameters: u64,
    /// Experts of its blocks that tokens are routed to.
    pub n_experts: u64,
    /// Whether the embedding lies here.
    pub embedding: bool,
    /// Whether head and loss do.
    pub head: bool,
    /// Parameters of a copy of the embedding that the head is tied to.
    pub n_tied_copies: u64,
}

/// What a training run was planned for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct TrainingDocument {
    /// Samples of one step over all replicas.
    pub global_batch: u64,
    /// Tokens of a sample.
    pub sequence_length: u64,
    /// Blocks of the model.
    pub n_blocks: u32,
    /// Parameters of the model.
    pub n_parameters: u64,
    /// Name of the software stack's preset.
    pub stack: String,
    /// Name of the schedule.
    pub schedule: String,
    /// Whether hosts keep master weights and optimizer states.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub offloads_optimizer: bool,
    /// By stage.
    pub held: Vec<HeldDocument>,
    /// By pipeline rank.
    pub memory: Vec<RankMemoryDocument>,
}

impl TrainingDocument {
    /// Refuses values that mean nothing in any plan of a training run.
    pub(super) fn check(&self, plan: &PlanDocument) -> Result<(), Diagnostic> {
        let Some(degrees) = &plan.parallelism.training else {
            return Err(refused("parallelism.training", "is missing from a training run"));
        };
        let counts = [
            ("parallelism.training.micro_batch", degrees.micro_batch),
            ("parallelism.training.virtual_stages", u64::from(degrees.virtual_stages)),
            ("training.global_batch", self.global_batch),
            ("training.sequence_length", self.sequence_length),
        ];
        if let Some((member, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(refused(member, "is 0, but must be at least 1"));
        }
        if degrees.zero > 3 {
            return Err(refused("parallelism.training.zero", "must be 0, 1, 2 or 3"));
        }
        let samples = plan
            .parallelism
            .n_micro_batches
            .saturating_mul(degrees.micro_batch)
            .saturating_mul(u64::from(plan.parallelism.data));
        if samples != self.global_batch {
            let why = format!("is {}, but the degrees make {samples}", self.global_batch);
            return Err(refused("training.global_batch", &why));
        }
        Ok(())
    }
}

/// What a plan of a training run was made of and for.
#[derive(Clone, Debug)]
pub struct TrainingContext<'a> {
    /// The model.
    pub model: &'a ModelCard,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The constants.
    pub profile: &'a Profile,
    /// The recipe that made the plan.
    pub algorithm: &'a str,
    /// What it was planned for.
    pub training: TrainingDocument,
}

impl PlanDocument {
    /// The document of a plan of a training run.
    #[must_use]
    pub fn from_training(plan: &Plan, context: TrainingContext<'_>, cost: CostDocument) -> Self {
        let stage = |stage: &Stage| StageDocument {
            ops: Vec::new(),
            blocks: Some(BlocksDocument {
                first: stage.blocks.start,
                n: stage.blocks.end.saturating_sub(stage.blocks.start),
                recompute: stage.recompute.into(),
            }),
        };
        let grid = plan.schedule.grid.as_ref().map_or_else(String::new, Grid::to_string);
        Self {
            format: FORMAT.to_owned(),
            model: Reference {
                name: context.model.name.clone(),
                digest: digest::card(context.model),
            },
            cluster: Reference {
                name: context.cluster.name.clone(),
                digest: digest::cluster(context.cluster),
            },
            profile: Reference {
                name: context.profile.name.clone(),
                digest: digest::profile(context.profile),
            },
            workload: WorkloadDocument {
                mode: ModeDocument::Training,
                optimizer: Some(OptimizerDocument::AdamW),
                dtype: Some("bf16".to_owned()),
                batch: None,
                micro_batch: None,
            },
            objective: "step-time".to_owned(),
            algorithm: context.algorithm.to_owned(),
            parallelism: plan.parallelism.clone().into(),
            partition: PartitionDocument {
                stages: plan.partition.stages.iter().map(stage).collect(),
            },
            placement: Vec::new(),
            experts: ExpertsDocument {},
            communication: CommunicationDocument {},
            schedule: ScheduleDocument {
                devices: Vec::new(),
                channels: Vec::new(),
                after: Vec::new(),
                grid: grid.lines().map(str::to_owned).collect(),
            },
            cost: Some(cost),
            training: Some(context.training),
        }
    }

    /// The plan of a training run. Whether it is legal is for the judge to say.
    ///
    /// # Errors
    /// `bad-plan` where a part of a training run is missing; those of [`Grid::parse`].
    pub fn to_training(&self) -> Result<Plan, Diagnostic> {
        let own = self.parallelism.training.as_ref();
        let own = own.ok_or_else(|| refused("parallelism.training", "is missing"))?;
        let degrees = &self.parallelism;
        let stages = self.partition.stages.iter().map(|stage| {
            let blocks = stage.blocks.as_ref();
            let blocks = blocks.ok_or_else(|| refused("partition.stages.blocks", "is missing"))?;
            Ok(Stage {
                ops: Vec::new(),
                blocks: blocks.first..blocks.first.saturating_add(blocks.n),
                recompute: blocks.recompute.into(),
            })
        });
        let grid = Grid::parse(&self.schedule.grid.join("\n"))?;
        Ok(Plan {
            parallelism: Parallelism {
                data: degrees.data,
                tensor: degrees.tensor,
                pipeline: degrees.pipeline,
                expert: degrees.expert,
                context: degrees.context,
                n_micro_batches: degrees.n_micro_batches,
                micro_batch: own.micro_batch,
                virtual_stages: own.virtual_stages,
                sequence: match own.sequence_parallel {
                    true => SequenceParallel::On,
                    false => SequenceParallel::Off,
                },
                zero: match own.zero {
                    0 => ZeroStage::None,
                    1 => ZeroStage::Optimizer,
                    2 => ZeroStage::Gradients,
                    _ => ZeroStage::Parameters,
                },
                mesh: match own.mesh {
                    MeshDocument::DataInside => Mesh::DataInside,
                    MeshDocument::PipelineInside => Mesh::PipelineInside,
                },
            },
            partition: Partition { stages: stages.collect::<Result<_, Diagnostic>>()? },
            placement: Default::default(),
            experts: Default::default(),
            communication: Default::default(),
            schedule: Schedule { grid: Some(grid), ..Schedule::default() },
        })
    }
}

impl From<Parallelism> for ParallelismDocument {
    fn from(degrees: Parallelism) -> Self {
        Self {
            data: degrees.data,
            tensor: degrees.tensor,
            pipeline: degrees.pipeline,
            expert: degrees.expert,
            context: degrees.context,
            n_micro_batches: degrees.n_micro_batches,
            training: Some(DegreesDocument {
                micro_batch: degrees.micro_batch,
                virtual_stages: degrees.virtual_stages,
                sequence_parallel: degrees.sequence == SequenceParallel::On,
                zero: degrees.zero as u8,
                mesh: match degrees.mesh {
                    Mesh::DataInside => MeshDocument::DataInside,
                    Mesh::PipelineInside => MeshDocument::PipelineInside,
                },
            }),
        }
    }
}

impl From<Recompute> for RecomputeDocument {
    fn from(policy: Recompute) -> Self {
        match policy {
            Recompute::None => Self::None,
            Recompute::Selective => Self::Selective,
            Recompute::Full => Self::Full,
            Recompute::Uniform { blocks } => Self::Uniform(blocks),
            Recompute::Block { blocks } => Self::Block(blocks),
        }
    }
}

impl From<RecomputeDocument> for Recompute {
    fn from(policy: RecomputeDocument) -> Self {
        match policy {
            RecomputeDocument::None => Self::None,
            RecomputeDocument::Selective => Self::Selective,
            RecomputeDocument::Full => Self::Full,
            RecomputeDocument::Uniform(blocks) => Self::Uniform { blocks },
            RecomputeDocument::Block(blocks) => Self::Block { blocks },
        }
    }
}
