//! Time per sample of a pipeline whose stages have a data and a tensor degree (Tarnawski et al.,
//! "Piper", NeurIPS 2021, section 3; `docs/conventions.md`, Piper): the slowest stage.

use ir::diagnostic::Diagnostic;
use ir::instance::{Configuration, StageInstance};
use ir::units::Nanos;

use super::max_load::illegal;

/// A stage of the pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its nodes, by position, with the position of the configuration of each.
    pub nodes: Vec<(u32, u32)>,
    /// Data-parallel degree `d`: copies of the stage.
    pub data: u32,
    /// Tensor-parallel degree `t`: devices of one copy.
    pub tensor: u32,
}

/// Nanoseconds of a unit of time.
const UNIT_NS: f64 = 1e9;

/// The slowest stage of a legal pipeline, rounded up to the nanosecond.
///
/// # Errors
/// `unplaced-node`, `stage-order`, `too-many-devices`, `data-degree`, `tensor-degree`,
/// `memory-exceeded`.
pub fn evaluate(instance: &StageInstance, stages: &[Stage]) -> Result<Nanos, Diagnostic> {
    let slowest = figures(instance, stages)?.iter().map(|stage| stage.time).fold(0.0, f64::max);
    Ok(Nanos((slowest * UNIT_NS).ceil() as u64))
}

/// What a stage takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageFigures {
    /// Time per sample, in units of the file.
    pub time: f64,
    /// The part of it that its nodes compute.
    pub compute: f64,
    /// Bytes on each of its devices.
    pub bytes: u128,
}

/// What each stage of a legal pipeline takes.
///
/// # Errors
/// As [`evaluate`].
pub fn figures(
    instance: &StageInstance,
    stages: &[Stage],
) -> Result<Vec<StageFigures>, Diagnostic> {
    let stage_of = check(instance, stages)?;
    (0..stages.len()).map(|at| stage_figures(instance, stages, &stage_of, at)).collect()
}

/// Time that no pipeline is below: the work of the fastest configurations spread over all devices.
#[must_use]
pub fn bound(instance: &StageInstance) -> Nanos {
    let least = |configurations: &[Configuration]| {
        configurations
            .iter()
            .map(|configuration| {
                u128::from(configuration.time.get()) * u128::from(configuration.degree)
            })
            .min()
            .unwrap_or(0)
    };
    let work: u128 = instance.nodes.iter().map(|node| least(&node.configurations)).sum();
    Nanos(u64::try_from(work.div_ceil(instance.n_devices.max(1) as u128)).unwrap_or(u64::MAX))
}

fn configuration<'a>(
    instance: &'a StageInstance,
    stage: &Stage,
    (node, at): (u32, u32),
) -> Result<&'a Configuration, Diagnostic> {
    let of_degree = |configuration: &&Configuration| configuration.degree == stage.tensor;
    let node = instance.nodes.get(node as usize);
    node.and_then(|node| node.configurations.get(at as usize)).filter(of_degree).ok_or_else(|| {
        illegal(
            "tensor-degree",
            "a node has no such configuration of its stage's degree".to_owned(),
        )
    })
}

/// Stage of each node.
fn check(instance: &StageInstance, stages: &[Stage]) -> Result<Vec<usize>, Diagnostic> {
    let mut stage_of = vec![usize::MAX; instance.nodes.len()];
    let (mut n_devices, mut n_copies) = (0u64, 0u64);
    for (position, stage) in stages.iter().enumerate() {
        for (node, _) in &stage.nodes {
            match stage_of.get_mut(*node as usize) {
                Some(slot) if *slot == usize::MAX => *slot = position,
                _ => {
                    return Err(illegal(
                        "unplaced-node",
                        format!("node {node} is placed twice, or is not there"),
                    ));
                }
            }
        }
        n_devices += u64::from(stage.data) * u64::from(stage.tensor);
        n_copies += u64::from(stage.data);
        if stage.data == 0 || !instance.n_micro_batches.is_multiple_of(u64::from(stage.data)) {
            return Err(illegal(
                "data-degree",
                format!(
                    "{} micro-batches don't spread over {} copies",
                    instance.n_micro_batches, stage.data
                ),
            ));
        }
    }
    if let Some(node) = stage_of.iter().position(|stage| *stage == usize::MAX) {
        return Err(illegal(
            "unplaced-node",
            format!("node {} is in no stage", instance.nodes[node].source_id),
        ));
    }
    if n_devices > instance.n_devices as u64 || n_copies > instance.n_micro_batches {
        return Err(illegal(
            "too-many-devices",
            format!("the stages take {n_devices} devices and {n_copies} copies at once"),
        ));
    }
    match instance
        .edges
        .iter()
        .find(|(from, to, _)| stage_of[*from as usize] > stage_of[*to as usize])
    {
        None => Ok(stage_of),
        Some((from, to, _)) => {
            Err(illegal("stage-order", format!("the edge from node {from} to node {to} goes back")))
        }
    }
}

fn stage_figures(
    instance: &StageInstance,
    stages: &[Stage],
    stage_of: &[usize],
    position: usize,
) -> Result<StageFigures, Diagnostic> {
    let stage = &stages[position];
    let d = f64::from(stage.data);
    let later: u64 = stages[position..].iter().map(|stage| u64::from(stage.data)).sum();
    let in_flight = later.div_ceil(u64::from(stage.data));
    let (mut time, mut bytes, mut resync) = (0.0, 0u128, 0.0);
    let mut crossing = 0u128;
    let mut chosen = vec![u32::MAX; instance.nodes.len()];
    for &(node, at) in &stage.nodes {
        let configuration = configuration(instance, stage, (node, at))?;
        chosen[node as usize] = at;
        time += configuration.time.as_f64() / UNIT_NS;
        bytes += u128::from(configuration.bytes_per_sample.get()) * u128::from(in_flight)
            + u128::from(configuration.bytes_fixed.get());
        resync += 4.0 * (d - 1.0) / d * configuration.parameters.as_f64()
            / instance.n_micro_batches as f64;
    }
    if bytes > u128::from(instance.device_memory.get()) {
        let message = format!(
            "stage {position} holds {bytes} bytes on each device, more than {}",
            instance.device_memory
        );
        return Err(illegal("memory-exceeded", message));
    }
    for &(from, to, size) in &instance.edges {
        let (producer, consumer) = (stage_of[from as usize], stage_of[to as usize]);
        if producer == consumer || (producer != position && consumer != position) {
            continue;
        }
        let sync = if consumer == position {
            sync(
                &instance.nodes[to as usize].configurations[chosen[to as usize] as usize]
                    .forward_sync,
                from,
            )
        } else {
            sync(
                &instance.nodes[from as usize].configurations[chosen[from as usize] as usize]
                    .backward_sync,
                to,
            )
        };
        crossing += 2 * (u128::from(size.get()) + u128::from(sync));
    }
    let moved = (crossing as f64 / d + resync) / instance.bandwidth.get();
    Ok(StageFigures { time: moved + time / d, compute: time / d, bytes })
}

/// Bytes that a configuration adds to the edge from or to `neighbour`.
#[must_use]
pub fn sync(list: &[(u32, ir::units::Bytes)], neighbour: u32) -> u64 {
    list.iter().find(|(node, _)| *node == neighbour).map_or(0, |(_, bytes)| bytes.get())
}
