//! `cap=limit`: the cuts that suit the real limits, found by judging and moving them.

use cost_model::ops::judge::memory::peaks;
use cost_model::ops::judge::replay::replay;
use cost_model::ops::problem::Problem;
use ir::plan::Placement;

use super::{Leftover, fill, shares, sizes};
use crate::draft::Draft;

/// At most so many tries.
const TRIES: usize = 12;

/// The placement whose worst device takes the least part of its limit, or the first within all
/// limits. `stopped` is asked before each try but the first.
///
/// # Errors
/// The first op for which no device is left.
pub(super) fn solve(
    problem: &Problem,
    stopped: &mut dyn FnMut() -> bool,
) -> Result<Placement, Leftover> {
    let mem = sizes(problem);
    let total = mem.iter().copied().fold(0u64, u64::saturating_add) as f64;
    let mut placement = fill(problem, &mem, &shares(problem, &mem))
        .or_else(|_| fill(problem, &mem, &caps(&even(problem))))?;
    let mut best: Option<(f64, Placement)> = None;
    for _ in 0..TRIES {
        let filled = parts(problem, &placement);
        let worst = filled.iter().copied().fold(0.0, f64::max);
        if best.as_ref().is_none_or(|(least, _)| worst < *least) {
            best = Some((worst, placement.clone()));
        }
        if worst <= 1.0 || stopped() {
            break;
        }
        let wanted = wanted(&used(problem, &mem, &placement), &filled, total);
        match fill(problem, &mem, &caps(&wanted)) {
            Ok(next) if next != placement => placement = next,
            _ => break,
        }
    }
    Ok(best.map_or(placement, |(_, placement)| placement))
}

fn even(problem: &Problem) -> Vec<f64> {
    vec![0.0; problem.cluster.n_devices()]
}

/// By device: judged peak over limit; 0 without a limit, infinite where the plan can't be judged.
fn parts(problem: &Problem, placement: &Placement) -> Vec<f64> {
    let plan = Draft::default().placed(placement.clone()).finish(problem);
    let Ok(timeline) = replay(problem, &plan) else {
        return vec![f64::INFINITY; problem.cluster.n_devices()];
    };
    let peaks = peaks(problem, &plan, &timeline);
    let part = |(peak, device): (&cost_model::ops::judge::memory::Peak, _)| match problem
        .memory_limit(device)
    {
        u64::MAX => 0.0,
        limit => peak.bytes as f64 / limit.max(1) as f64,
    };
    peaks.iter().zip(problem.cluster.device_ids()).map(part).collect()
}

/// By device: bytes as the caps count them.
fn used(problem: &Problem, mem: &[u64], placement: &Placement) -> Vec<f64> {
    let mut used = even(problem);
    for &op in &problem.actions {
        if let Some(device) = placement.of(op) {
            used[device.index()] += mem[op.index()] as f64;
        }
    }
    used
}

/// What each device should take next: less where the limit is passed, more where there is room,
/// all of it in sum.
fn wanted(used: &[f64], filled: &[f64], total: f64) -> Vec<f64> {
    let n = used.len().max(1) as f64;
    let weight = |(used, filled): (&f64, &f64)| {
        // An empty device joins with a modest amount; half steps keep the cuts from swinging.
        let used = used.max(total / n / 8.0);
        if filled.is_finite() && *filled > 0.0 { used / filled.max(0.1).sqrt() } else { used }
    };
    let weights: Vec<f64> = used.iter().zip(filled).map(weight).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| if sum > 0.0 { weight / sum * total } else { 0.0 }).collect()
}

/// Caps that split at these amounts; the last device takes what is left.
fn caps(wanted: &[f64]) -> Vec<u128> {
    // A float cast saturates.
    let mut caps: Vec<u128> = wanted.iter().map(|bytes| bytes.ceil() as u128).collect();
    if let Some(last) = caps.last_mut() {
        *last = u128::MAX;
    }
    caps
}
