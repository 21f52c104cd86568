//! Bytes of states by parameter, on a device and with its host.

use ir::card::{Head, ModelCard, StateFormat, ZeroStage};
use ir::plan::Parallelism;
use ir::tuning::Module;

use super::{Offload, Pricing};
use crate::runs::forms::precision::{copies, element};
use crate::runs::memory::states::{host_bytes, moments, state_bytes};

/// Bytes of what Adafactor keeps for a row or a column, in single precision.
const LINE: f64 = 4.0;

/// Bytes of states in one memory.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HeldBytes {
    /// Per parameter of a block that all replicas hold alike, and per parameter of an expert.
    pub parameter: [f64; 2],
    /// Per row or column of such weights.
    pub line: [f64; 2],
    /// Of the embedding, of the head, and of what no closed form counts, which is with the last
    /// stage.
    pub ends: [f64; 3],
    /// Per byte of frozen weights, and of frozen experts.
    pub frozen: [f64; 2],
}

/// Whether embedding and head are trained; a tied one is where either is.
pub(super) fn ends_trained(model: &ModelCard) -> [bool; 2] {
    let trained = [Module::Embedding, Module::Head].map(|module| model.tuning.trains(module));
    let is_tied = model.groups.first().is_some_and(|group| group.card.head == Head::Tied);
    if is_tied { [trained[0] || trained[1]; 2] } else { trained }
}

/// Elements of the ends, on one device.
#[derive(Clone, Copy, Default)]
pub(super) struct Ends {
    /// Whether embedding and head are trained.
    pub(super) trained: [bool; 2],
    /// Of adapters of the head.
    pub(super) adapter: f64,
    /// Of the embedding, or of the head, and their rows and columns.
    pub(super) words: [f64; 2],
    /// Of learned positions, and of what else only the first stage has.
    pub(super) positions: f64,
    /// Of what no closed form counts.
    pub(super) others: f64,
}

/// So many replicas where a stage of ZeRO or a later one is on, else 1.
fn sharers(degrees: &Parallelism, least: ZeroStage, replicas: f64) -> f64 {
    if degrees.zero >= least { replicas.max(1.0) } else { 1.0 }
}

/// Bytes of states on a device and with its host, where so many replicas share out dense weights and
/// experts.
pub(super) fn held(
    pricing: &Pricing<'_>,
    degrees: &Parallelism,
    replicas: [f64; 2],
    ends: Ends,
) -> (HeldBytes, HeldBytes) {
    // With frozen weights all of it goes to the hosts together.
    let moves_all = pricing.offloads_weights(degrees);
    let offload = if moves_all { Offload::Nothing } else { pricing.offload };
    let (mut device, mut host) = of_blocks(pricing, degrees, replicas, offload);
    add_ends(pricing, (&mut device, &mut host), (ends, offload), |least| {
        sharers(degrees, least, replicas[0])
    });
    // Ends are computed in 16 bits where blocks are in 8.
    for (part, replicas) in replicas.into_iter().enumerate() {
        device.parameter[part] +=
            copies(pricing.dtype) / sharers(degrees, ZeroStage::Parameters, replicas);
    }
    if moves_all {
        // Paged moments are with the host already.
        let paged = host;
        (device, host) = (HeldBytes::default(), device);
        for part in [0, 1] {
            host.parameter[part] += paged.parameter[part];
            host.line[part] += paged.line[part];
        }
        for (all, more) in host.ends.iter_mut().zip(paged.ends) {
            *all += more;
        }
    }
    (device, host)
}

/// The same of blocks alone.
fn of_blocks(
    pricing: &Pricing<'_>,
    degrees: &Parallelism,
    replicas: [f64; 2],
    offload: Offload,
) -> (HeldBytes, HeldBytes) {
    let (mut device, mut host) = (HeldBytes::default(), HeldBytes::default());
    let sharers = |least: ZeroStage, replicas: f64| sharers(degrees, least, replicas);
    let update = pricing.stack.update;
    // In mixed precision the shards that are kept are the master weights.
    let is_single = pricing.format == StateFormat::Single;
    let keeps_shards =
        is_single && pricing.stack.keeps_shards && degrees.zero == ZeroStage::Gradients;
    let is_unsharded = pricing.accumulates_unsharded(degrees);
    let whole = state_bytes(pricing.format, pricing.optimizer, ZeroStage::None, 1.0);
    let gathered = match is_unsharded && degrees.zero == ZeroStage::Parameters {
        true => element(pricing.dtype),
        false => 0.0,
    };
    for (part, replicas) in replicas.into_iter().enumerate() {
        let states = state_bytes(pricing.format, pricing.optimizer, degrees.zero, replicas);
        let beside = if keeps_shards { states.parameters / replicas.max(1.0) } else { 0.0 };
        let gradients = match (pricing.is_late(degrees), is_unsharded) {
            (true, _) => 0.0,
            (false, true) => whole.gradients,
            (false, false) => states.gradients,
        };
        let updating = match offload {
            Offload::Nothing if !is_single => {
                update.per_parameter(degrees.zero > ZeroStage::None, replicas)
            }
            _ => 0.0,
        };
        let shards = states.parameters + gradients + beside + gathered;
        device.parameter[part] = shards + updating;
        device.frozen[part] = 1.0 / sharers(ZeroStage::Parameters, replicas);
        let (keeper, bytes) = match offload {
            Offload::Nothing if pricing.optimizer.is_paged() => {
                (&mut host, states.optimizer_states)
            }
            Offload::Nothing => (&mut device, states.master_weights + states.optimizer_states),
            Offload::Optimizer => {
                let sharers = sharers(ZeroStage::Optimizer, replicas);
                (&mut host, host_bytes(pricing.optimizer, sharers))
            }
            Offload::Parameters => {
                let sharers = sharers(ZeroStage::Optimizer, replicas);
                device.parameter[part] -= shards;
                host.frozen[part] = std::mem::take(&mut device.frozen[part]);
                (&mut host, host_bytes(pricing.optimizer, sharers) + shards)
            }
        };
        keeper.parameter[part] += bytes;
        if pricing.optimizer.keeps_lines() {
            keeper.line[part] = LINE / sharers(ZeroStage::Optimizer, replicas);
        }
    }
    (device, host)
}

/// Adds the ends, whose trained ones have what a parameter of a block has.
fn add_ends(
    pricing: &Pricing<'_>,
    (device, host): (&mut HeldBytes, &mut HeldBytes),
    (ends, offload): (Ends, Offload),
    sharers: impl Fn(ZeroStage) -> f64,
) {
    // What is no matrix of a block may have more moments.
    let [of_matrices, of_others] = moments(pricing.optimizer, pricing.format);
    let more = (of_others - of_matrices) / sharers(ZeroStage::Optimizer);
    for (is_device, side) in [(true, device), (false, host)] {
        let keeps_more = is_device == (offload == Offload::Nothing);
        let whole = side.parameter[0] + if keeps_more { more } else { 0.0 };
        let line = side.line[0];
        let frozen = element(pricing.dtype) * side.frozen[0];
        let of = |is_trained: bool, elements: f64, lines: f64| match is_trained {
            true => elements * whole + lines * line,
            false => elements * frozen,
        };
        let [embedding, head] = ends.trained;
        let [elements, lines] = ends.words;
        let is_trained = pricing.model.tuning.trains(Module::Norms);
        side.ends = [
            of(embedding, elements, lines) + of(embedding, ends.positions, ends.positions),
            of(head, elements, lines) + ends.adapter * whole,
            of(is_trained, ends.others, ends.others),
        ];
    }
}
