//! Whether a few groups have no placement within the limit: all are tried.

use super::{Checker, Flaw};

/// Steps beyond which checking gives up.
const MAX_STEPS: u64 = 100_000_000;
/// Steps between two looks at the clock.
const LOOK: u64 = 1 << 12;

/// Tries all placements of the groups.
pub(super) fn refute(checker: &Checker<'_>) -> Result<(), Flaw> {
    let mut roots: Vec<usize> = checker.groups.keys().copied().collect();
    roots.sort_by_key(|root| std::cmp::Reverse(checker.groups[root].accelerator));
    let n_devices = checker.instance.n_devices();
    let mut trial = Trial { checker, roots, sides: vec![Vec::new(); n_devices], n_steps: 0 };
    if trial.exists(0)? { Err(Flaw::Exhausted) } else { Ok(()) }
}

struct Trial<'a> {
    checker: &'a Checker<'a>,
    roots: Vec<usize>,
    /// Groups of each device.
    sides: Vec<Vec<usize>>,
    n_steps: u64,
}

impl Trial<'_> {
    /// Whether the groups from a position on can be placed within the limit.
    fn exists(&mut self, position: usize) -> Result<bool, Flaw> {
        self.n_steps += 1;
        if self.n_steps > MAX_STEPS {
            return Err(Flaw::TooLarge);
        }
        if self.n_steps.is_multiple_of(LOOK) {
            self.checker.go_on()?;
        }
        let n_accelerators = self.checker.instance.n_accelerators;
        let placed = self.roots[..position].to_vec();
        for (device, side) in self.sides.iter().enumerate() {
            if !self.is_within(device < n_accelerators, side, &placed) {
                return Ok(false);
            }
        }
        let Some(root) = self.roots.get(position).copied() else { return Ok(true) };
        for device in 0..self.sides.len() {
            let same_kind =
                if device < n_accelerators { 0..device } else { n_accelerators..device };
            // Of empty devices of a kind, the first stands for all.
            if same_kind.into_iter().any(|other| self.sides[other].is_empty()) {
                continue;
            }
            if device < n_accelerators && !self.checker.may_hold(root) {
                continue;
            }
            self.sides[device].push(root);
            let found = self.exists(position + 1)?;
            self.sides[device].pop();
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a device keeps the limits as far as its groups and those elsewhere tell.
    fn is_within(&self, is_accelerator: bool, side: &[usize], placed: &[usize]) -> bool {
        let groups = &self.checker.groups;
        if !is_accelerator {
            return side.iter().map(|root| groups[root].cpu).sum::<u64>() <= self.checker.limit;
        }
        let bytes: u64 = side.iter().map(|root| groups[root].bytes).sum();
        let work: u64 = side.iter().filter_map(|root| groups[root].accelerator).sum();
        let is_cut = |members: &std::collections::BTreeSet<usize>| {
            let here = side.iter().any(|root| members.contains(root));
            here && placed.iter().any(|root| members.contains(root) && !side.contains(root))
        };
        let cut: u64 =
            self.checker.nets.iter().filter(|(members, _)| is_cut(members)).map(|net| net.1).sum();
        bytes <= self.checker.instance.accelerator_memory.get() && work + cut <= self.checker.limit
    }
}
