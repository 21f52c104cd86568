//! Slots of devices for layers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Problem;

/// By expert its device: as many neighbours on each, the first ones on the first.
#[must_use]
pub fn homes(n_experts: usize, n_devices: usize) -> Vec<usize> {
    let each = n_experts.div_ceil(n_devices.max(1)).max(1);
    (0..n_experts).map(|expert| expert / each).collect()
}

/// Fewest slots of a layer on a device: what one token visits may all be there.
#[must_use]
pub fn least(n_experts: usize, n_devices: usize, per_token: usize) -> usize {
    per_token.min(n_experts.div_ceil(n_devices.max(1))).max(1)
}

/// Slots of each layer on every device: the fewest first, then one by one where one more expert would be
/// needed in most steps, summed over devices, the first layer of several; or to whole layers, the last
/// ones first.
#[must_use]
pub fn share_out(problem: &Problem, whole: bool) -> Vec<usize> {
    let Problem { needs, n_devices, slots, per_token, .. } = problem;
    let of = |layer: &cost_model::experts::cache::Needs| {
        let counts = layer.counts();
        let local = counts.len().div_ceil((*n_devices).max(1)).max(1);
        let mut sums = vec![0; local];
        for part in counts.chunks(local) {
            let mut part = part.to_vec();
            part.sort_unstable_by(|a, b| b.cmp(a));
            sums.iter_mut().zip(part).for_each(|(sum, count)| *sum += count);
        }
        sums
    };
    let gains: Vec<Vec<u64>> = needs.iter().map(of).collect();
    let mut given: Vec<usize> =
        needs.iter().map(|layer| least(layer.n_experts(), *n_devices, *per_token)).collect();
    if whole {
        let mut left = slots.saturating_sub(given.iter().sum());
        for (given, gains) in given.iter_mut().zip(&gains).rev() {
            let more = gains.len() - *given;
            if more > left {
                break;
            }
            (*given, left) = (gains.len(), left - more);
        }
        return given;
    }
    let next = |layer: usize, given: usize| {
        gains[layer].get(given).filter(|gain| **gain > 0).map(|gain| (*gain, Reverse(layer)))
    };
    let mut open: BinaryHeap<_> =
        given.iter().enumerate().filter_map(|(layer, given)| next(layer, *given)).collect();
    for _ in given.iter().sum::<usize>()..*slots {
        let Some((_, Reverse(layer))) = open.pop() else { break };
        given[layer] += 1;
        open.extend(next(layer, given[layer]));
    }
    given
}

/// As many slots of each layer on every device, one more for the first ones where some are left over.
#[must_use]
pub fn equal(problem: &Problem) -> Vec<usize> {
    let n_layers = problem.needs.len().max(1);
    let (each, more) = (problem.slots / n_layers, problem.slots % n_layers);
    let of = |(at, layer): (usize, &cost_model::experts::cache::Needs)| {
        let local = layer.n_experts().div_ceil(problem.n_devices.max(1)).max(1);
        let least = least(layer.n_experts(), problem.n_devices, problem.per_token);
        (each + usize::from(at < more)).clamp(least.min(local), local)
    };
    problem.needs.iter().enumerate().map(of).collect()
}

#[cfg(test)]
mod tests {
    use cost_model::experts::cache::Needs;

    use super::*;

    #[test]
    fn slots_go_where_experts_are_needed_most() {
        let needs = |steps: &[&[u16]]| {
            let mut needs = Needs::new(4);
            steps.iter().for_each(|step| needs.push(step));
            needs
        };
        let problem = |n_devices, slots| Problem {
            // Needed 3, 3, 1, 0 and 3, 1, 1, 1 times.
            needs: vec![
                needs(&[&[0, 1], &[0, 1], &[0, 1, 2]]),
                needs(&[&[0, 1], &[0, 2], &[0, 3]]),
            ],
            n_devices,
            slots,
            per_token: 1,
            seed: 0,
        };
        assert_eq!(share_out(&problem(1, 0), false), [1, 1]);
        assert_eq!(share_out(&problem(1, 3), false), [2, 1]);
        assert_eq!(share_out(&problem(1, 5), false), [3, 2]);
        // The last expert of the first layer is never needed.
        assert_eq!(share_out(&problem(1, 99), false), [3, 4]);
        // Two experts on each of two devices: a second slot is worth 3 and 2.
        assert_eq!(share_out(&problem(2, 3), false), [2, 1]);
        assert_eq!(equal(&problem(1, 5)), [3, 2]);
        assert_eq!(equal(&problem(1, 99)), [4, 4]);
        assert_eq!(equal(&problem(2, 3)), [2, 1]);
        assert_eq!(share_out(&problem(1, 6), true), [1, 4]);
        assert_eq!(share_out(&problem(1, 8), true), [4, 4]);
        assert_eq!(share_out(&problem(1, 4), true), [1, 1]);
        assert_eq!(homes(5, 2), [0, 0, 0, 1, 1]);
        assert_eq!((least(64, 1, 6), least(8, 4, 6), least(1, 4, 1)), (6, 2, 1));
    }
}
