//! What resharding costs between all placements of a tensor, as tables.
//!
//! Shortest ways over what single axes do (Dijkstra 1959), equal to [`Mesh::resharding`] to the digit.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::mesh::{Collective, Mesh, Part, Placement, Prices};

/// Where a way comes from last, and the collective that it ends with.
type Last = (u32, Option<(u8, Collective)>);

/// What one axis makes of a placement: of which number, in how many seconds, by what.
type Edge = (u32, f64, Option<(u8, Collective)>);

/// A table of one kind of tensors.
pub(super) struct Table {
    /// By axis what its parts of other strides than 1 come behind.
    strides: Vec<Vec<u32>>,
    /// Strides of an axis, 1 among them, and digits of a part: replicated, partial, and each dimension by stride.
    n_strides: usize,
    n_digits: usize,
    /// Numbers of placements, by their digits.
    numbers: Vec<u32>,
    n: usize,
    /// By the placement that it comes from, then the one that it goes to; infinite where there is no way.
    seconds: Vec<f64>,
    lasts: Vec<Last>,
}

/// Tables of all kinds of tensors, by dimensions and bytes of an element.
#[derive(Default)]
pub(super) struct Tables(BTreeMap<(Vec<u64>, u64), Table>);

/// Entries of a table at most.
const MOST: usize = 1 << 22;

/// Of a placement that does not divide the tensor.
const NONE: u32 = u32::MAX;

impl Tables {
    /// The table of a kind of tensors; none where it is too large.
    pub(super) fn of(
        &mut self,
        (mesh, prices): (&Mesh, &dyn Prices),
        (dims, element_bytes): (&[u64], f64),
        without: &[Collective],
    ) -> Option<&Table> {
        let key = (dims.to_vec(), element_bytes.to_bits());
        if !self.0.contains_key(&key) {
            let table = Table::of((mesh, prices), (dims, element_bytes), without)?;
            self.0.insert(key.clone(), table);
        }
        self.0.get(&key)
    }
}

/// All placements that divide a tensor, in all orders of axes that count.
pub(super) fn placements(mesh: &Mesh, dims: &[u64]) -> Vec<Placement> {
    let splits = (0..dims.len() as u8).map(Part::Split);
    let parts: Vec<Part> = [Part::Replicated, Part::Partial].into_iter().chain(splits).collect();
    let all = mesh.placements(dims, &parts);
    match mesh.is_ordered {
        true => all.into_iter().flat_map(|of| mesh.orders(&[of])).flatten().collect(),
        false => all,
    }
}

impl Table {
    fn of(
        (mesh, prices): (&Mesh, &dyn Prices),
        (dims, element_bytes): (&[u64], f64),
        without: &[Collective],
    ) -> Option<Self> {
        let placements = placements(mesh, dims);
        let n = placements.len();
        n.checked_mul(n).filter(|entries| *entries <= MOST)?;
        let mut strides = vec![Vec::new(); mesh.axes.len()];
        for (axis, part) in placements.iter().flat_map(|of| of.iter().enumerate()) {
            if let Part::Strided(_, stride) = part
                && !strides[axis].contains(stride)
            {
                strides[axis].push(*stride);
            }
        }
        let n_strides = 1 + strides.iter().map(Vec::len).max().unwrap_or(0);
        let n_digits = 2 + dims.len() * n_strides;
        let n_codes = u32::try_from(mesh.axes.len()).ok().and_then(|n| n_digits.checked_pow(n))?;
        let numbers = vec![NONE; Some(n_codes).filter(|codes| *codes <= MOST)?];
        let (seconds, lasts) = (Vec::new(), Vec::new());
        let mut table = Self { strides, n_strides, n_digits, numbers, n, seconds, lasts };
        for (number, placement) in placements.iter().enumerate() {
            let code = table.code(placement);
            table.numbers[code] = number as u32;
        }
        let edges = |from: &Placement| -> Vec<Edge> {
            let edge = |of: super::mesh::Move| {
                let price = |by| prices.collective_s(of.axis, by, of.elements * element_bytes);
                let by = of.collective.map(|by| (of.axis as u8, by));
                (table.number(&of.to) as u32, of.collective.map_or(0.0, price), by)
            };
            mesh.moves(dims, from).into_iter().map(edge).collect()
        };
        let edges: Vec<Vec<Edge>> = placements.iter().map(edges).collect();
        for from in 0..n {
            let (seconds, lasts) = ways(&edges, from);
            table.seconds.extend(seconds);
            table.lasts.extend(lasts);
        }
        if !without.is_empty() {
            for pair in 0..n * n {
                let is_without = |of: &(usize, Collective)| without.contains(&of.1);
                if table.steps(pair / n, pair % n).iter().any(is_without) {
                    table.seconds[pair] = f64::INFINITY;
                }
            }
        }
        Some(table)
    }

    fn code(&self, placement: &[Part]) -> usize {
        let digit = |axis: usize, part: Part| {
            let of_dim = |dim: u8, at: usize| 2 + usize::from(dim) * self.n_strides + at;
            match part {
                Part::Replicated => 0,
                Part::Partial => 1,
                Part::Split(dim) => of_dim(dim, 0),
                Part::Strided(dim, stride) => {
                    let at = self.strides[axis].iter().position(|of| *of == stride);
                    of_dim(dim, 1 + at.unwrap_or(0))
                }
            }
        };
        let parts = placement.iter().enumerate();
        parts.fold(0, |code, (axis, part)| code * self.n_digits + digit(axis, *part))
    }

    /// Number of a placement.
    pub(super) fn number(&self, placement: &[Part]) -> usize {
        self.numbers[self.code(placement)] as usize
    }

    /// Seconds between placements by number; infinite where there is no way.
    pub(super) fn seconds(&self, from: usize, to: usize) -> f64 {
        self.seconds[from * self.n + to]
    }

    /// Seconds and collectives from one placement to another; none where there is no way.
    pub(super) fn way(
        &self,
        from: &[Part],
        to: &[Part],
    ) -> Option<(f64, Vec<(usize, Collective)>)> {
        let [from, to] = [from, to].map(|of| self.number(of));
        let seconds = Some(self.seconds(from, to)).filter(|seconds| seconds.is_finite())?;
        Some((seconds, self.steps(from, to)))
    }

    /// Collectives of a way that there is.
    fn steps(&self, from: usize, to: usize) -> Vec<(usize, Collective)> {
        let (mut at, mut steps) = (to, Vec::new());
        while at != from && self.seconds(from, to).is_finite() {
            let (before, by) = self.lasts[from * self.n + at];
            steps.extend(by.map(|(axis, of)| (usize::from(axis), of)));
            at = before as usize;
        }
        steps.reverse();
        steps
    }
}

/// The shortest way from a placement to each, of equal ones that of the fewest collectives.
fn ways(edges: &[Vec<Edge>], from: usize) -> (Vec<f64>, Vec<Last>) {
    let mut best = vec![(f64::INFINITY, u32::MAX); edges.len()];
    let mut lasts = vec![(0, None); edges.len()];
    let mut closed = vec![false; edges.len()];
    best[from] = (0.0, 0);
    // Bits of numbers that are not negative are in their order.
    let mut open = BinaryHeap::from([Reverse((0_u64, 0_u32, from))]);
    while let Some(Reverse((bits, n, at))) = open.pop() {
        if std::mem::replace(&mut closed[at], true) {
            continue;
        }
        for (to, edge_s, by) in &edges[at] {
            let to = *to as usize;
            let found = (f64::from_bits(bits) + edge_s, n + u32::from(by.is_some()));
            if !closed[to] && found < best[to] {
                (best[to], lasts[to]) = (found, (at as u32, *by));
                open.push(Reverse((found.0.to_bits(), found.1, to)));
            }
        }
    }
    (best.into_iter().map(|of| of.0).collect(), lasts)
}
