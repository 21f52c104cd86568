//! From a fractional solution to a placement: fix one subset after the other.

use super::column_generation::{Answer, Known, Question};
use super::control::Control;
use super::layers::Layers;
use super::model::Model;
use super::pricing::{Grid, Pricer, Subset};

/// Grid of packings, as a part of the limit.
const PACKING_GRID: f64 = 1.0 / 600.0;

/// Which subset a dive fixes next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Choice {
    /// The one with the largest share.
    Largest,
    /// The one whose share is nearest to this.
    Nearest(f64),
}

/// Device of each class.
pub(super) type Placement = Vec<u32>;

/// Fixes subsets of `shares` until every accelerator is used; what is left goes to the CPU cores.
/// Where the program finds no further subsets, the rest is packed.
pub(super) fn dive(
    question: &Question<'_>,
    mut shares: Vec<(Subset, f64)>,
    mut known: Known,
    choice: Choice,
    control: &Control,
) -> Placement {
    let model = question.model;
    let mut open = Question { is_placed: question.is_placed.clone(), ..*question };
    let mut devices: Vec<Vec<u32>> = Vec::new();
    while open.n_devices > 0 {
        let Some(subset) = chosen(&shares, choice) else { break };
        for class in &subset.classes {
            open.is_placed[*class as usize] = true;
        }
        devices.push(subset.classes);
        open.n_devices -= 1;
        let is_open = |class: &u32| !open.is_placed[*class as usize];
        known.subsets.retain(|subset| subset.classes.iter().all(is_open));
        if open.n_devices == 0 {
            break;
        }
        match open.answer(&mut known, control) {
            Answer::Feasible(next) => shares = next,
            Answer::Infeasible(_) | Answer::Unknown => break,
        }
    }
    let weights = model.accelerator.clone();
    pack(&open, devices, &weights, control)
}

/// The subset to fix; ties: the first column.
fn chosen(shares: &[(Subset, f64)], choice: Choice) -> Option<Subset> {
    let target = match choice {
        Choice::Nearest(target) if shares.iter().all(|(_, share)| *share < 0.999) => target,
        _ => 1.0,
    };
    let distance = |share: f64| (share - target).abs();
    let mut best: Option<&(Subset, f64)> = None;
    for entry in shares {
        if best.is_none_or(|best| distance(entry.1) < distance(best.1) - 1e-9) {
            best = Some(entry);
        }
    }
    best.map(|(subset, _)| subset.clone())
}

/// Fills the accelerators that are left with subsets of the greatest weight and load within the
/// limit; the rest goes to the CPU cores.
pub(super) fn pack(
    question: &Question<'_>,
    mut devices: Vec<Vec<u32>>,
    weights: &[f64],
    control: &Control,
) -> Placement {
    let model = question.model;
    let mut is_placed = question.is_placed.clone();
    while devices.len() < model.n_accelerators {
        let Some(layers) = Layers::new(model, question.order, question.limit, &is_placed) else {
            break;
        };
        let mut pricer = Pricer::new(layers);
        let grid = Grid::Thinning(question.limit * PACKING_GRID);
        let subset = match pricer.exact(weights, 0.0, grid, control) {
            Some(priced) => priced.best,
            None => pricer.relaxed(weights).best,
        };
        if subset.classes.is_empty() {
            break;
        }
        for class in &subset.classes {
            is_placed[*class as usize] = true;
        }
        devices.push(subset.classes);
    }
    let mut device_of = vec![u32::MAX; model.n_classes()];
    for (device, classes) in devices.iter().enumerate() {
        for class in classes {
            device_of[*class as usize] = device as u32;
        }
    }
    place_rest(model, &mut device_of);
    device_of
}

/// Longest processing time first on the CPU cores; on the accelerators where there is no core.
fn place_rest(model: &Model, device_of: &mut [u32]) {
    let k = model.n_accelerators;
    let mut rest: Vec<usize> =
        (0..device_of.len()).filter(|class| device_of[*class] == u32::MAX).collect();
    let on_cpu = model.n_cpus > 0;
    let time = |class: usize| if on_cpu { model.cpu[class] } else { model.accelerator[class] };
    rest.sort_by(|a, b| time(*b).total_cmp(&time(*a)));
    let n = if on_cpu { model.n_cpus } else { k };
    let mut loads = vec![0.0; n];
    for class in rest {
        let mut least = 0;
        for device in 1..n {
            if loads[device] < loads[least] {
                least = device;
            }
        }
        loads[least] += time(class);
        device_of[class] = (if on_cpu { k + least } else { least }) as u32;
    }
}
