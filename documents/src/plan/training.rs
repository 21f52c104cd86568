//! The parts of a plan document that only a training run on a model card has.

use std::collections::BTreeMap;

use ir::card::{ModelCard, Recompute, SequenceParallel, ZeroStage};
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::grid::Grid;
use ir::id::DeviceId;
use ir::plan::{BlockPolicy, Mesh, Parallelism, Partition, Plan, Stage, StageMesh};
use ir::schedule::Schedule;
use ir::workload::Workload;
use serde::{Deserialize, Serialize};

use super::check::refused;
use super::head::Head;
use super::request::RequestDocument;
use super::{CostDocument, EDGES_BY, ParallelismDocument, PlanDocument, Reference, StageDocument};
use crate::digest;
use crate::trust::PeakIntervalDocument;

/// Most blocks of a stage whose policies are read one by one; the largest models have some hundred.
const MOST_POLICIES: u64 = 1 << 16;

/// Which axis lies on which tier of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(expecting = "`data-inside` or `pipeline-inside`")]
pub enum MeshDocument {
    /// Tensor and context ranks, then replicas, then pipeline ranks.
    #[serde(rename = "data-inside")]
    TpCpDpPp,
    /// Tensor and context ranks, then pipeline ranks, then replicas.
    #[serde(rename = "pipeline-inside")]
    TpCpPpDp,
}

/// Degrees and settings that an operator placement has none of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct DegreesDocument {
    /// Samples of a micro-batch.
    pub micro_batch: u64,
    /// Chunks of the model on each pipeline rank.
    pub virtual_stages: u32,
    /// Whether tensor ranks split the sequence between tensor-parallel regions.
    pub sequence_parallel: bool,
    /// Whether tensor ranks split the sequence alone and hold whole weights (Ulysses).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ulysses: bool,
    /// Ranks that split the vocabulary; absent = as the blocks are split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<u32>,
    /// Whether exchanges of experts run beside the work of another micro-batch because the plan says
    /// so; a stack may do so whatever the plan.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub expert_overlap: bool,
    /// Tensor-parallel shards of an expert; absent = as many as of all else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expert_tensor: Option<u32>,
    /// ZeRO stage: 0 nothing, 1 optimizer states, 2 and gradients, 3 and parameters.
    pub zero: u8,
    /// Which axis lies on which tier.
    pub mesh: MeshDocument,
}

/// What a stage computes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", expecting = "a policy of recompute")]
pub enum RecomputeDocument {
    /// Nothing.
    None,
    /// The attention core.
    Selective,
    /// Every second product by weights and what is pointwise.
    PerOp,
    /// Every block.
    Full,
    /// Groups of so many blocks.
    Uniform(u32),
    /// The first so many blocks.
    Block(u32),
}

/// So many blocks, one after the other, with which the same is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct PolicyRunDocument {
    /// Blocks.
    pub n: u32,
    /// What they compute again: `none` or `full`.
    pub recompute: RecomputeDocument,
    /// Their ZeRO stage, 0 to 3.
    pub zero: u8,
}

/// Blocks of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct BlocksDocument {
    /// First block.
    pub first: u32,
    /// Blocks.
    pub n: u32,
    /// Activation recomputation.
    pub recompute: RecomputeDocument,
    /// What is done with its blocks, first to last, where that is not the same for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub each: Vec<PolicyRunDocument>,
}

/// Devices of a stage that are its own. Each micro-batch is shared out over its replicas; tensor ranks
/// split the sequence, and replicas share out optimizer states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct StageMeshDocument {
    /// Its devices by name, replica by replica.
    pub devices: Vec<String>,
    /// Tensor-parallel shards of each replica.
    pub tensor: u32,
    /// By replica, its samples of each micro-batch.
    pub samples: Vec<u64>,
}

/// Memory of one pipeline rank, of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct TrainingDocument {
    /// Samples of one step over all replicas.
    pub global_batch: u64,
    /// Tokens of a sample.
    pub sequence_length: u64,
    /// Blocks of the model; absent = not stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_blocks: Option<u32>,
    /// Parameters of the model; absent = not stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_parameters: Option<u64>,
    /// Name of the software stack's preset.
    pub stack: String,
    /// Name of the schedule; `custom` = the grid is none of a generator.
    pub schedule: String,
    /// Whether hosts keep master weights and optimizer states.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub offloads_optimizer: bool,
    /// By stage; absent = not stated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<HeldDocument>,
    /// By pipeline rank; absent = not stated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<RankMemoryDocument>,
    /// Where the largest of those peaks lies; absent on measured layers, whose peaks were not judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<PeakIntervalDocument>,
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
    pub profile: Reference,
    /// Element type and optimizer.
    pub workload: Workload,
    /// What was asked for.
    pub request: RequestDocument,
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
                each: runs(&stage.each),
            }),
            mesh: stage.mesh.as_ref().map(|mesh| StageMeshDocument {
                devices: mesh.devices.iter().map(|device| name(context.cluster, *device)).collect(),
                tensor: mesh.tensor,
                samples: mesh.samples.clone(),
            }),
        };
        let grid = plan.schedule.grid.as_ref().map_or_else(String::new, Grid::to_string);
        let mut document = Self::new(Head {
            model: Reference::new(&context.model.name, digest::card(context.model)),
            cluster: Reference::new(&context.cluster.name, digest::cluster(context.cluster)),
            profile: context.profile,
            workload: (&context.workload).into(),
            request: context.request,
            objective: "step-time".to_owned(),
            algorithm: context.algorithm.to_owned(),
        });
        document.parallelism = plan.parallelism.clone().into();
        document.partition.stages = plan.partition.stages.iter().map(stage).collect();
        document.schedule.grid = grid.lines().map(str::to_owned).collect();
        (document.cost, document.training) = (Some(cost), Some(context.training));
        document
    }

    /// By stage, elements of what it sends the next one over those that are sent, where these are fewer.
    fn edge_ratios(&self) -> Result<BTreeMap<usize, u32>, Diagnostic> {
        let mut ratios = BTreeMap::new();
        for edge in &self.communication.edges {
            let (from, stages) = (edge.from as usize, &self.partition.stages);
            if edge.by != EDGES_BY {
                return Err(refused(
                    "communication.edges.by",
                    &format!("is `{}`, not `{EDGES_BY}`", edge.by),
                ));
            }
            if edge.from.checked_add(1) != Some(edge.to) || edge.to as usize >= stages.len() {
                let why = format!("goes from stage {} to {}, which is no edge", edge.from, edge.to);
                return Err(refused("communication.edges.to", &why));
            }
            if stages[from].mesh.is_none() {
                return Err(refused(
                    "communication.edges.from",
                    &format!("names stage {from}, which has no devices"),
                ));
            }
            if edge.ratio < 2 {
                return Err(refused(
                    "communication.edges.ratio",
                    &format!("is {}, not 2 or more", edge.ratio),
                ));
            }
            if ratios.insert(from, edge.ratio).is_some() {
                return Err(refused(
                    "communication.edges.from",
                    &format!("names stage {from} twice"),
                ));
            }
        }
        Ok(ratios)
    }

    /// The plan of a training run. Whether it is legal is for the judge to say.
    ///
    /// # Errors
    /// `bad-plan` where a part of a training run is missing, or a stage names a device that the cluster
    /// lacks; those of [`Grid::parse`]. Without a cluster, devices of stages are not looked at.
    pub fn to_training(&self, cluster: Option<&Cluster>) -> Result<Plan, Diagnostic> {
        let parallelism = self.parallelism.training.as_ref();
        let parallelism =
            parallelism.ok_or_else(|| refused("parallelism.training", "is missing"))?;
        let ratios = self.edge_ratios()?;
        let stages = self.partition.stages.iter().enumerate().map(|(at, stage)| {
            let blocks = stage.blocks.as_ref();
            let ratio = ratios.get(&at).copied().unwrap_or(1);
            let blocks = blocks.ok_or_else(|| refused("partition.stages.blocks", "is missing"))?;
            Ok(Stage {
                ops: Vec::new(),
                blocks: blocks.first..blocks.first.saturating_add(blocks.n),
                recompute: blocks.recompute.into(),
                each: policies(blocks)?,
                mesh: stage
                    .mesh
                    .as_ref()
                    .zip(cluster)
                    .map(|(document, on)| mesh((document, ratio), on))
                    .transpose()?,
            })
        });
        let grid = Grid::parse(&self.schedule.grid.join("\n"))?;
        Ok(Plan {
            parallelism: Parallelism {
                micro_batch: parallelism.micro_batch,
                virtual_stages: parallelism.virtual_stages,
                sequence: match (parallelism.ulysses, parallelism.sequence_parallel) {
                    (true, _) => SequenceParallel::Ulysses,
                    (false, true) => SequenceParallel::On,
                    (false, false) => SequenceParallel::Off,
                },
                zero: zero(parallelism.zero),
                mesh: match parallelism.mesh {
                    MeshDocument::TpCpDpPp => Mesh::TpCpDpPp,
                    MeshDocument::TpCpPpDp => Mesh::TpCpPpDp,
                },
                vocabulary: parallelism.vocabulary,
                expert_overlap: parallelism.expert_overlap,
                expert_tensor: parallelism.expert_tensor,
                ..self.parallelism.degrees()
            },
            partition: Partition { stages: stages.collect::<Result<_, Diagnostic>>()? },
            placement: Default::default(),
            schedule: Schedule { grid: Some(grid), ..Schedule::default() },
        })
    }
}

fn name(cluster: &Cluster, device: DeviceId) -> String {
    cluster.devices.get(device.index()).map_or_else(String::new, |device| device.name.clone())
}

/// Devices by their names.
fn mesh(
    (mesh, edge_ratio): (&StageMeshDocument, u32),
    cluster: &Cluster,
) -> Result<StageMesh, Diagnostic> {
    let ids: BTreeMap<&str, DeviceId> = cluster
        .device_ids()
        .zip(&cluster.devices)
        .map(|(id, device)| (&*device.name, id))
        .collect();
    let id = |name: &String| {
        let unknown = || {
            let why = format!("names `{name}`, which the cluster lacks");
            refused("partition.stages.mesh.devices", &why)
        };
        ids.get(name.as_str()).copied().ok_or_else(unknown)
    };
    let devices = mesh.devices.iter().map(id).collect::<Result<_, _>>()?;
    Ok(StageMesh { devices, tensor: mesh.tensor, samples: mesh.samples.clone(), edge_ratio })
}

const fn zero(stage: u8) -> ZeroStage {
    match stage {
        0 => ZeroStage::None,
        1 => ZeroStage::Optimizer,
        2 => ZeroStage::Gradients,
        _ => ZeroStage::Parameters,
    }
}

/// Policies as runs of equal ones.
fn runs(each: &[BlockPolicy]) -> Vec<PolicyRunDocument> {
    let mut runs: Vec<PolicyRunDocument> = Vec::new();
    for policy in each {
        let single =
            PolicyRunDocument { n: 1, recompute: policy.recompute.into(), zero: policy.zero as u8 };
        match runs.last_mut() {
            Some(run) if run.recompute == single.recompute && run.zero == single.zero => run.n += 1,
            _ => runs.push(single),
        }
    }
    runs
}

/// The policies of runs, which must be those of all blocks.
fn policies(blocks: &BlocksDocument) -> Result<Vec<BlockPolicy>, Diagnostic> {
    let member = "partition.stages.blocks.each";
    let n = blocks.each.iter().fold(0_u64, |sum, run| sum + u64::from(run.n));
    if !blocks.each.is_empty() && n != u64::from(blocks.n) {
        let why = format!("is of {n} blocks, but the stage has {}", blocks.n);
        return Err(refused(member, &why));
    }
    let whole = [RecomputeDocument::None, RecomputeDocument::Full];
    if blocks.each.iter().any(|run| run.zero > 3 || !whole.contains(&run.recompute)) {
        return Err(refused(member, "needs `none` or `full`, and a ZeRO stage of 0 to 3"));
    }
    if n > MOST_POLICIES {
        return Err(refused(member, &format!("is of more than {MOST_POLICIES} blocks")));
    }
    let of = |run: &PolicyRunDocument| {
        let policy = BlockPolicy { recompute: run.recompute.into(), zero: zero(run.zero) };
        std::iter::repeat_n(policy, run.n as usize)
    };
    Ok(blocks.each.iter().flat_map(of).collect())
}

impl ParallelismDocument {
    /// Those that every plan has.
    pub(super) fn degrees(&self) -> Parallelism {
        Parallelism {
            data: self.data,
            tensor: self.tensor,
            pipeline: self.pipeline,
            expert: self.expert,
            context: self.context,
            n_micro_batches: self.n_micro_batches,
            ..Parallelism::default()
        }
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
                ulysses: degrees.sequence == SequenceParallel::Ulysses,
                vocabulary: degrees.vocabulary,
                expert_overlap: degrees.expert_overlap,
                expert_tensor: degrees.expert_tensor,
                zero: degrees.zero as u8,
                mesh: match degrees.mesh {
                    Mesh::TpCpDpPp => MeshDocument::TpCpDpPp,
                    Mesh::TpCpPpDp => MeshDocument::TpCpPpDp,
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
            Recompute::PerOp => Self::PerOp,
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
            RecomputeDocument::PerOp => Self::PerOp,
            RecomputeDocument::Full => Self::Full,
            RecomputeDocument::Uniform(blocks) => Self::Uniform { blocks },
            RecomputeDocument::Block(blocks) => Self::Block { blocks },
        }
    }
}
