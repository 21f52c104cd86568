//! The lines of one rank.

use ir::card::{MemoryFeature, Recompute, ZeroStage};
use ir::tensor::DType;
use ir::workload::Optimizer;

use super::activations::{Kept, block_bytes, has_dropout, outer_degree, tokens};
use super::in_flight::chunks;
use super::states::{StateBytes, state_bytes};
use super::{LineKind, MemoryLine, RankShare, TrainingRun};
use crate::runs::counts::{
    block_parameters, embedding_parameters, head_parameters, position_parameters,
};

/// Bytes per logit at the peak: the logits in half precision and a single-precision copy that loss
/// and gradient overwrite (found on the allocator peaks of Megatron-LM d98e8a64, whose tables 10
/// bytes would miss).
const LOGIT: f64 = 6.0;
/// Bytes per logit that a fused loss adds: two single-precision copies (found on the same peaks, 4
/// where the function is compiled).
const FUSED_LOSS: f64 = 8.0;
/// Bytes per logit of a log-softmax that is kept and of its gradient, both in single precision
/// (`torch.nn.functional.cross_entropy` saves the one and returns the other).
const SEPARATE_LOSS: f64 = 8.0;
/// Bytes per logit that a deferred embedding gradient keeps (found on the same peaks, 4 to 5).
const DEFERRED_GRADIENT: f64 = 4.5;
/// Bytes of an activation.
const HALF: f64 = 2.0;
/// Blocks whose gathered parameters are there at once: the one at work and the one that is
/// gathered ahead.
const GATHERED_BLOCKS: f64 = 2.0;

pub(super) fn of_rank(run: &TrainingRun, share: RankShare) -> Vec<MemoryLine> {
    let mut lines = Vec::new();
    let mut add = |kind, bytes: f64| {
        if bytes > 0.0 {
            lines.push(MemoryLine { kind, bytes });
        }
    };
    states(run, share, &mut add);
    activations(run, share, &mut add);
    loss(run, share, &mut add);
    add(LineKind::Buffers, buffers(run));
    lines.sort_by_key(|line| line.kind);
    reserves(run, &mut lines);
    lines
}

/// Position of a rank in the pipeline.
fn is_first(share: RankShare) -> bool {
    share.rank == 0
}

fn is_last(run: &TrainingRun, share: RankShare) -> bool {
    share.rank + 1 >= run.parallelism.pipeline.max(1)
}

/// Ranks that share out states: of the dense part all replicas and context ranks, of the experts
/// those that hold the same experts.
fn replicas(run: &TrainingRun) -> (f64, f64) {
    let p = run.parallelism;
    let dense = f64::from(p.data.max(1)) * f64::from(p.context.max(1));
    let instances = run.features.iter().find_map(|feature| match feature {
        MemoryFeature::OptimizerInstances(n) => Some(f64::from(*n)),
        _ => None,
    });
    let dense = (dense / instances.unwrap_or(1.0).max(1.0)).max(1.0);
    (dense, (dense / f64::from(p.expert.max(1))).max(1.0))
}

fn states(run: &TrainingRun, share: RankShare, add: &mut impl FnMut(LineKind, f64)) {
    let tensor = f64::from(run.parallelism.tensor.max(1));
    let expert = f64::from(run.parallelism.expert.max(1));
    let (dense_replicas, expert_replicas) = replicas(run);
    let zero = run.parallelism.zero;
    let bytes = |replicas| state_bytes(run.format, Optimizer::AdamW, zero, replicas);
    let (of_dense, of_experts) = (bytes(dense_replicas), bytes(expert_replicas));
    let block = block_parameters(run.card);
    let blocks = f64::from(share.blocks);
    let dense = blocks * block.dense as f64 / tensor;
    let experts = blocks * block.experts as f64 / tensor / expert;
    for (kind, part) in [
        (LineKind::Parameters, (|s| s.parameters) as fn(StateBytes) -> f64),
        (LineKind::Gradients, |s| s.gradients),
        (LineKind::MasterWeights, |s| s.master_weights),
        (LineKind::OptimizerStates, |s| s.optimizer_states),
    ] {
        add(kind, dense * part(of_dense) + experts * part(of_experts));
    }
    let masks = embedding_masks(run, share);
    add(LineKind::Embedding, embedding(run, share) / tensor * of_dense.total() + masks);
}

/// Parameters of embedding and head on a rank; a shared embedding lies on both ends of a pipeline.
fn embedding(run: &TrainingRun, share: RankShare) -> f64 {
    let words = embedding_parameters(run.card) - position_parameters(run.card);
    let own_head = head_parameters(run.card) > 0;
    let mut parameters = 0.0;
    if is_first(share) {
        // Each tensor rank has all positions.
        let positions = position_parameters(run.card) as f64;
        parameters += words as f64 + positions * f64::from(run.parallelism.tensor.max(1));
    }
    if is_last(run, share) && (own_head || !is_first(share)) {
        parameters += words as f64;
    }
    parameters
}

/// Masks of the embedding's dropout of the micro-batches in flight (Korthikanti et al. 2022,
/// section 4.3).
fn embedding_masks(run: &TrainingRun, share: RankShare) -> f64 {
    if !is_first(share) || !has_dropout(run.card) {
        return 0.0;
    }
    let virtual_stages = f64::from(run.parallelism.virtual_stages.max(1));
    let micro_batches = chunks(run.parallelism, share.rank) / virtual_stages;
    let width = run.card.hidden as f64 / outer_degree(run.parallelism);
    micro_batches * tokens(run.card, run.parallelism) * width
}

fn activations(run: &TrainingRun, share: RankShare, add: &mut impl FnMut(LineKind, f64)) {
    let chunks = chunks(run.parallelism, share.rank);
    let per_chunk = f64::from(share.blocks) / f64::from(run.parallelism.virtual_stages.max(1));
    let (chunk, again) = chunk_bytes(run, per_chunk);
    add(LineKind::Activations, chunks * chunk);
    add(LineKind::Recomputed, again);
    if run.has(MemoryFeature::TunableOverlap) {
        add(LineKind::TunableOverlap, chunk);
    }
}

/// Bytes that a chunk of blocks keeps, and those that it needs again during its backward pass.
fn chunk_bytes(run: &TrainingRun, blocks: f64) -> (f64, f64) {
    let kernel = (run.attention, DType::Bf16);
    let bytes = |kept| block_bytes(run.card, run.parallelism, kernel, kept);
    let (all, input) = (bytes(Kept::All), bytes(Kept::Input));
    let one = blocks.min(1.0);
    match run.recompute {
        Recompute::None => (blocks * all, 0.0),
        Recompute::Selective => {
            let kept = bytes(Kept::WithoutCore);
            (blocks * kept, one * (all - kept))
        }
        Recompute::Full => (blocks * input, one * all),
        Recompute::Uniform { blocks: group } => {
            let group = f64::from(group.max(1));
            ((blocks / group).ceil() * input, group.min(blocks) * all)
        }
        Recompute::Block { blocks: n } => {
            let again = f64::from(n).min(blocks);
            (again * input + (blocks - again) * all, again.min(1.0) * all)
        }
    }
}

/// The last rank: its norm and head keep their inputs, the loss its logits.
fn loss(run: &TrainingRun, share: RankShare, add: &mut impl FnMut(LineKind, f64)) {
    if !is_last(run, share) {
        return;
    }
    let tokens = tokens(run.card, run.parallelism);
    let inputs = 2.0 * HALF * tokens * run.card.hidden as f64 / outer_degree(run.parallelism);
    let logits = tokens * run.card.vocabulary as f64 / f64::from(run.parallelism.tensor.max(1));
    let separate = if run.has(MemoryFeature::SeparateLoss) { SEPARATE_LOSS } else { 0.0 };
    add(LineKind::Logits, (LOGIT + separate) * logits + inputs);
    if run.has(MemoryFeature::LossFusion) {
        add(LineKind::LossFusion, FUSED_LOSS * logits);
    }
    if run.has(MemoryFeature::DeferredEmbeddingGradient) {
        add(LineKind::DeferredEmbeddingGradient, DEFERRED_GRADIENT * logits);
    }
}

/// Gathered parameters where they are shared out, and one message each way between stages.
fn buffers(run: &TrainingRun) -> f64 {
    let p = run.parallelism;
    let tensor = f64::from(p.tensor.max(1));
    let mut bytes = 0.0;
    if p.zero == ZeroStage::Parameters {
        let block = block_parameters(run.card);
        let experts = block.experts as f64 / f64::from(p.expert.max(1));
        bytes += GATHERED_BLOCKS * HALF * (block.dense as f64 + experts) / tensor;
    }
    if p.pipeline > 1 {
        let width = run.card.hidden as f64 / outer_degree(p);
        bytes += 2.0 * HALF * tokens(run.card, p) * width;
    }
    bytes
}

/// Lines of the reserve; fragmentation is a share of all that is allocated.
fn reserves(run: &TrainingRun, lines: &mut Vec<MemoryLine>) {
    let reserve = run.reserve;
    let allocated: f64 = lines.iter().map(|line| line.bytes).sum();
    let p = run.parallelism;
    let groups = [p.data, p.tensor, p.pipeline, p.expert, p.context];
    let n_communicators = groups.iter().filter(|degree| **degree > 1).count() as f64;
    for (kind, bytes) in [
        (LineKind::Allocator, reserve.allocator),
        (LineKind::Workspace, reserve.workspace),
        (LineKind::Context, reserve.context),
        (LineKind::Communicators, reserve.per_communicator * n_communicators),
        (LineKind::Fragmentation, reserve.fragmentation * allocated),
    ] {
        if bytes > 0.0 {
            lines.push(MemoryLine { kind, bytes });
        }
    }
}
