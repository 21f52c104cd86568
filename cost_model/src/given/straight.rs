//! Slowest stage of a straight pipeline without replicas (Narayanan et al., PipeDream, SOSP 2019,
//! section 3.1; `docs/conventions.md`, PipeDream): forward and backward time of its layers.
//! Activations are not counted.

use ir::diagnostic::Diagnostic;
use ir::instance::LayerProfile;
use ir::units::Nanos;

use super::max_load::illegal;

/// Layers that count: inputs of the model have no place of their own, and neither have accesses
/// to items that nobody reads (the authors' optimiser removes both).
#[must_use]
pub fn counted(profile: &LayerProfile) -> Vec<bool> {
    let mut is_read = vec![false; profile.nodes.len()];
    let mut reads = vec![false; profile.nodes.len()];
    let mut counted = vec![true; profile.nodes.len()];
    for &(_, to) in &profile.edges {
        reads[to as usize] = true;
    }
    for (position, node) in profile.nodes.iter().enumerate() {
        counted[position] = reads[position] || !node.description.starts_with("Input");
    }
    for &(from, _) in &profile.edges {
        is_read[from as usize] = true;
    }
    for (position, node) in profile.nodes.iter().enumerate() {
        counted[position] &= is_read[position] || !node.description.starts_with("__getitem__");
    }
    counted
}

/// The slowest stage of a pipeline: `stages` has the stage of each layer, by position.
///
/// # Errors
/// `unplaced-node`, `too-many-devices`, `stage-order`.
pub fn evaluate(
    profile: &LayerProfile,
    stages: &[u32],
    n_devices: usize,
) -> Result<Nanos, Diagnostic> {
    if stages.len() != profile.nodes.len() {
        let message =
            format!("{} layers are placed, but there are {}", stages.len(), profile.nodes.len());
        return Err(illegal("unplaced-node", message));
    }
    let mut times = vec![0u64; n_devices];
    let counted = counted(profile);
    for (position, node) in profile.nodes.iter().enumerate().filter(|(p, _)| counted[*p]) {
        let Some(time) = times.get_mut(stages[position] as usize) else {
            let message = format!("layer `{}` is in a stage past {n_devices} devices", node.id);
            return Err(illegal("too-many-devices", message));
        };
        *time += (node.forward + node.backward).get();
    }
    for &(from, to) in &profile.edges {
        let both = counted[from as usize] && counted[to as usize];
        if both && stages[from as usize] > stages[to as usize] {
            let (one, two) = (&profile.nodes[from as usize].id, &profile.nodes[to as usize].id);
            return Err(illegal(
                "stage-order",
                format!("the edge from `{one}` to `{two}` goes back"),
            ));
        }
    }
    Ok(Nanos(times.into_iter().max().unwrap_or(0)))
}

/// A time that no pipeline is below: an even share, or the longest layer.
#[must_use]
pub fn bound(profile: &LayerProfile, n_devices: usize) -> Nanos {
    let counted = counted(profile);
    let times = profile.nodes.iter().zip(&counted).filter(|(_, counted)| **counted);
    let times = times.map(|(node, _)| (node.forward + node.backward).get());
    let total: u64 = times.clone().sum();
    Nanos(total.div_ceil(n_devices.max(1) as u64).max(times.max().unwrap_or(0)))
}
