//! Plans near good ones: threshold accepting (Dueck and Scheuer, Journal of Computational Physics 90,
//! 1990) over which stages there are.

use ir::units::Nanos;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{Observer, Part, Searched};

/// Shares of the time that a step may take in which each stage may do its passes.
const SHARES: [f64; 4] = [0.98, 0.94, 0.89, 0.8];
/// Most plans to begin at.
const MOST_STARTS: usize = 2;
/// Changes that are tried from each.
const CHANGES: u32 = 12000;
/// By how much a change may be worse at first; it goes down to nothing.
const THRESHOLD: f64 = 0.04;

/// Shapes and tensor degrees of the stages of a plan, the first one first, and its micro-batch, a
/// position among those of the search.
#[derive(Clone, PartialEq)]
pub(super) struct Outline {
    stages: Vec<(usize, u32)>,
    run: usize,
}

impl Outline {
    pub(super) fn of(part: &Part, run: usize) -> Self {
        Self {
            stages: part.stages().map(|stage| (stage.place.0, stage.mesh.tensor)).collect(),
            run,
        }
    }
}

impl Searched<'_> {
    /// Changes good plans for better ones.
    pub(super) fn polish(&mut self, observer: Observer<'_>) {
        let mut starts = std::mem::take(&mut self.starts);
        starts.sort_by_key(|(step, _)| *step);
        // One of each micro-batch.
        let mut known = Vec::new();
        starts.retain(|(_, outline)| {
            !known.contains(&outline.run) && {
                known.push(outline.run);
                true
            }
        });
        let end = self.n_nodes.saturating_add(self.options.nodes.saturating_mul(2));
        let mut random = SmallRng::seed_from_u64(self.options.control.limits().seed);
        for (mut step, mut outline) in starts.into_iter().take(MOST_STARTS) {
            for left in (0..CHANGES).rev() {
                if self.n_nodes >= end || self.options.control.stop().is_some() {
                    return;
                }
                let over = THRESHOLD * f64::from(left) / f64::from(CHANGES);
                self.most = Nanos((step.as_f64() * (1.0 + over)) as u64);
                let other = self.changed(&outline, &mut random);
                if let Some(found) = self.tried(&other, observer) {
                    (step, outline) = found;
                }
            }
        }
    }

    /// One stage, or several alike ones, more, less or of another shape or degree; two changed over;
    /// another micro-batch.
    fn changed(&self, outline: &Outline, random: &mut SmallRng) -> Outline {
        let Outline { mut stages, run } = outline.clone();
        let at = random.random_range(0..stages.len());
        let shape = random.random_range(0..self.shapes.len());
        let tensors = self.shape_tensors(shape);
        let any = (shape, tensors[random.random_range(0..tensors.len())]);
        let alike = stages[at..].iter().take_while(|other| **other == stages[at]).count();
        match random.random_range(0..7) {
            0 => return Outline { stages, run: random.random_range(0..self.runs.len()) },
            1 => {
                let other = random.random_range(0..stages.len());
                stages.swap(at, other);
            }
            2 if stages.len() > 1 => drop(stages.remove(at)),
            3 => stages.insert(at, any),
            4 => stages[at] = any,
            5 => {
                let tensors = self.shape_tensors(stages[at].0);
                stages[at].1 = tensors[random.random_range(0..tensors.len())];
            }
            _ => {
                let n = 1 << random.random_range(0..4);
                drop(stages.splice(at..at + alike, std::iter::repeat_n(any, n)));
            }
        }
        Outline { stages, run }
    }

    /// Judges plans of an outline, or of its last stages, that are not above [`Self::most`].
    fn tried(&mut self, outline: &Outline, observer: Observer<'_>) -> Option<(Nanos, Outline)> {
        let mut least = None;
        for share in SHARES {
            let target = share * self.most_s();
            let mut part = self.root(outline.run);
            for (shape, tensor) in outline.stages.iter().rev() {
                if part.left == 0 {
                    break;
                }
                let next = self.next_shapes(&part).into_iter().find(|next| next.shape == *shape);
                let next = next.and_then(|next| self.meshed(&next, (*tensor, outline.run)));
                match next.and_then(|next| self.fullest(&part, &next, target)) {
                    Some(longer) if longer.least_s < self.most_s() => part = longer,
                    _ => break,
                }
            }
            if part.left == 0
                && let Some(step) = self.judge(&part, outline.run, observer)
            {
                self.most = step;
                least = Some((step, Outline::of(&part, outline.run)));
            }
        }
        least
    }
}
