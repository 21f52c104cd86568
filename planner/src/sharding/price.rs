//! What resharding costs between all placements of a tensor, as tables.
//!
//! Equal to [`Mesh::resharding`] to the digit, which walks through all orders of the axes for one pair of placements.

use std::collections::BTreeMap;

use super::mesh::{Collective, Mesh, Part, Prices};

/// Of a part of a way: seconds, and a bit for each collective on it.
type Way = (f64, u8);

/// A table of one kind of tensors.
pub(super) struct Table {
    /// Parts that an axis may do to a tensor: replicated, partial, and a split of each dimension.
    n_parts: usize,
    n: usize,
    /// By code of the placement that it comes from, then of the one that it goes to.
    ways: Vec<Way>,
}

/// Tables of all kinds of tensors, by dimensions and bytes of an element.
#[derive(Default)]
pub(super) struct Tables(BTreeMap<(Vec<u64>, u64), Table>);

/// Entries of a table at most.
const MOST: usize = 1 << 22;

impl Tables {
    /// The table of a kind of tensors; none where it is too large.
    pub(super) fn of(
        &mut self,
        (mesh, prices): (&Mesh, &dyn Prices),
        (dims, element_bytes): (&[u64], f64),
    ) -> Option<&Table> {
        let key = (dims.to_vec(), element_bytes.to_bits());
        if !self.0.contains_key(&key) {
            let table = Table::of((mesh, prices), (dims, element_bytes))?;
            self.0.insert(key.clone(), table);
        }
        self.0.get(&key)
    }
}

fn bit(of: Collective) -> u8 {
    1 << of as u8
}

impl Table {
    fn of(
        (mesh, prices): (&Mesh, &dyn Prices),
        (dims, element_bytes): (&[u64], f64),
    ) -> Option<Self> {
        let n_parts = dims.len() + 2;
        let n = u32::try_from(mesh.axes.len()).ok().and_then(|axes| n_parts.checked_pow(axes))?;
        n.checked_mul(n).filter(|entries| *entries <= MOST)?;
        let mut table = Self { n_parts, n, ways: vec![(f64::NAN, 0); n * n] };
        let placements: Vec<Vec<Part>> = (0..n).map(|code| table.parts(code, mesh)).collect();
        let bytes: Vec<Option<f64>> =
            placements.iter().map(|of| Some(mesh.local(dims, of)? * element_bytes)).collect();
        for to in 0..n {
            for from in 0..n {
                table.fill((&placements, &bytes, prices), (from, to));
            }
        }
        Some(table)
    }

    /// Number of a placement.
    pub(super) fn code(&self, placement: &[Part]) -> usize {
        placement.iter().fold(0, |code, part| code * self.n_parts + digit(*part))
    }

    fn parts(&self, mut code: usize, mesh: &Mesh) -> Vec<Part> {
        let mut parts: Vec<Part> = mesh
            .axes
            .iter()
            .map(|_| {
                let digit = code % self.n_parts;
                code /= self.n_parts;
                match digit {
                    0 => Part::Replicated,
                    1 => Part::Partial,
                    dim => Part::Split((dim - 2) as u8),
                }
            })
            .collect();
        parts.reverse();
        parts
    }

    fn fill(
        &mut self,
        of: (&[Vec<Part>], &[Option<f64>], &dyn Prices),
        (from, to): (usize, usize),
    ) -> Way {
        let (placements, bytes, prices) = of;
        let at = from * self.n + to;
        if !self.ways[at].0.is_nan() {
            return self.ways[at];
        }
        let (now, then) = (&placements[from], &placements[to]);
        let mut best: Way = (if from == to { 0.0 } else { f64::INFINITY }, 0);
        for axis in 0..now.len() {
            let (one, other) = (now[axis], then[axis]);
            if one == other {
                continue;
            }
            if other == Part::Partial {
                best = (f64::INFINITY, 0);
                break;
            }
            let digits = self.n_parts.pow((now.len() - 1 - axis) as u32);
            let whole = from - digit(one) * digits;
            let next = whole + digit(other) * digits;
            let (Some(moved), Some(_)) = (bytes[whole], bytes[next]) else { continue };
            let (rest_s, rest) = self.fill(of, (next, to));
            let (seconds, used) = collective(one, other)
                .map_or((0.0, 0), |of| (prices.collective_s(axis, of, moved), bit(of)));
            if seconds + rest_s < best.0 {
                best = (seconds + rest_s, used | rest);
            }
        }
        self.ways[at] = best;
        best
    }

    /// Seconds between placements by code; infinite where there is no way, or a forbidden one.
    pub(super) fn seconds(&self, from: usize, to: usize, without: &[Collective]) -> f64 {
        let (seconds, used) = self.ways[from * self.n + to];
        let is_allowed = without.iter().all(|of| used & bit(*of) == 0);
        if is_allowed { seconds } else { f64::INFINITY }
    }
}

fn digit(part: Part) -> usize {
    match part {
        Part::Replicated => 0,
        Part::Partial => 1,
        Part::Split(dim) => usize::from(dim) + 2,
    }
}

/// What makes one part of another that no device sums.
fn collective(from: Part, to: Part) -> Option<Collective> {
    match (from, to) {
        (Part::Replicated, _) | (_, Part::Partial) => None,
        (Part::Partial, Part::Replicated) => Some(Collective::AllReduce),
        (Part::Partial, Part::Split(_)) => Some(Collective::ReduceScatter),
        (Part::Split(_), Part::Replicated) => Some(Collective::AllGather),
        (Part::Split(_), Part::Split(_)) => Some(Collective::AllToAll),
    }
}
