//! Exchange of gradients beside the backward pass: after it, tensor by tensor, or merged.
//!
//! One link carries one all-reduce at a time, in the order in which gradients become ready, so that
//! tensor `l` starts at `max(ready, end of the one before)` and takes `start_up + bytes x per_byte`.

/// Cost of an all-reduce over a fixed group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AllReduceCost {
    /// Seconds per all-reduce.
    pub start_up_s: f64,
    /// Seconds per byte, the factor `2 (P-1)/P` of a ring included.
    pub per_byte_s: f64,
}

/// The gradient of one parameter tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gradient {
    /// Instant after the start of the step at which it is there, in seconds.
    pub ready_s: f64,
    /// Its size.
    pub bytes: f64,
}

impl AllReduceCost {
    /// Seconds of one all-reduce of so many bytes.
    #[must_use]
    pub fn seconds(self, bytes: f64) -> f64 {
        self.start_up_s + bytes * self.per_byte_s
    }
}

/// The step without overlap: one all-reduce of everything after the computation.
#[must_use]
pub fn without_overlap(compute_s: f64, gradients: &[Gradient], cost: AllReduceCost) -> f64 {
    compute_s + cost.seconds(gradients.iter().map(|gradient| gradient.bytes).sum())
}

/// The step when each all-reduce starts as soon as its gradient and the link are there (wait-free
/// back-propagation); gradients in the order in which they become ready.
#[must_use]
pub fn wait_free(compute_s: f64, gradients: &[Gradient], cost: AllReduceCost) -> f64 {
    let exchange = gradients
        .iter()
        .fold(0.0_f64, |end, gradient| end.max(gradient.ready_s) + cost.seconds(gradient.bytes));
    compute_s.max(exchange)
}

/// Merges neighbours whose all-reduces cost less together (MG-WFBP, Shi, Chu and Li 2019): how many
/// gradients each group has, in the order of readiness.
///
/// A gradient that is ready before the all-reduce before it would end joins it if that one has not
/// started by then, or if the wait that it costs is below the start-up cost it saves.
#[must_use]
pub fn mg_wfbp(gradients: &[Gradient], cost: AllReduceCost) -> Vec<usize> {
    let mut lengths: Vec<usize> = Vec::new();
    // The last group, and the end of all groups before it.
    let mut group = Gradient { ready_s: 0.0, bytes: 0.0 };
    let mut end_s = 0.0_f64;
    for gradient in gradients {
        let start_s = end_s.max(group.ready_s);
        let group_end_s = start_s + cost.seconds(group.bytes);
        let wait_s = gradient.ready_s - start_s;
        match lengths.last_mut() {
            Some(n) if gradient.ready_s < group_end_s && wait_s.max(0.0) < cost.start_up_s => {
                group.bytes += gradient.bytes;
                group.ready_s = group.ready_s.max(gradient.ready_s);
                *n += 1;
            }
            last => {
                end_s = if last.is_some() { group_end_s } else { 0.0 };
                group = *gradient;
                lengths.push(1);
            }
        }
    }
    lengths
}

/// Groups of so many gradients each; a group is ready with its last part. What is left over is left out.
#[must_use]
pub fn joined(gradients: &[Gradient], lengths: &[usize]) -> Vec<Gradient> {
    let mut left = gradients.iter();
    let group = |n: &usize| {
        left.by_ref().take(*n).fold(Gradient { ready_s: 0.0, bytes: 0.0 }, |group, gradient| {
            Gradient {
                ready_s: group.ready_s.max(gradient.ready_s),
                bytes: group.bytes + gradient.bytes,
            }
        })
    };
    lengths.iter().map(group).collect()
}

/// The groups of [`mg_wfbp`].
#[must_use]
pub fn merged(gradients: &[Gradient], cost: AllReduceCost) -> Vec<Gradient> {
    joined(gradients, &mg_wfbp(gradients, cost))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: AllReduceCost = AllReduceCost { start_up_s: 2.0, per_byte_s: 1.0 };

    fn gradients(entries: &[(f64, f64)]) -> Vec<Gradient> {
        entries
            .iter()
            .map(|(ready_s, bytes)| Gradient { ready_s: *ready_s, bytes: *bytes })
            .collect()
    }

    #[test]
    fn steps_by_hand() {
        let all = gradients(&[(5.0, 1.0), (6.0, 1.0), (20.0, 4.0)]);
        assert_eq!(without_overlap(20.0, &all, COST), 28.0);
        // 5 to 8, 8 to 11, 20 to 26.
        assert_eq!(wait_free(20.0, &all, COST), 26.0);
        assert_eq!(wait_free(30.0, &all, COST), 30.0);
        // The second joins the first at a wait of 1 s below the start-up of 2 s; the third is late.
        assert_eq!(merged(&all, COST), gradients(&[(6.0, 2.0), (20.0, 4.0)]));
        assert!(merged(&[], COST).is_empty());
    }

    #[test]
    fn merging_never_loses_to_waiting() {
        let mut state = 1_u64;
        let mut next = |limit: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((state >> 33) % limit) as f64
        };
        for _ in 0..200 {
            let mut ready_s = 0.0;
            let all: Vec<Gradient> = (0..30)
                .map(|_| {
                    ready_s += next(4);
                    Gradient { ready_s, bytes: next(5) }
                })
                .collect();
            let groups = merged(&all, COST);
            let bytes = |list: &[Gradient]| list.iter().map(|g| g.bytes).sum::<f64>();
            assert_eq!(bytes(&groups), bytes(&all));
            assert!(wait_free(ready_s, &groups, COST) <= wait_free(ready_s, &all, COST) + 1e-9);
        }
    }
}
