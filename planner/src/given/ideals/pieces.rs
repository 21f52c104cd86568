//! What lies between two nested ideals: its work, its bytes, and what crosses its border.

use super::classes::ClassGraph;
use super::lattice::Lattice;

/// Sums over an ideal, so that a piece costs one subtraction.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sums {
    pub(crate) accelerator: u64,
    pub(crate) cpu: u64,
    pub(crate) bytes: u64,
    pub(crate) n_unsupported: u32,
    /// Weight of the nets that have members in and out.
    pub(crate) cut: u64,
}

/// Sums of all ideals of a lattice, and the nets as sets.
pub(crate) struct Pieces<'a> {
    graph: &'a ClassGraph,
    lattice: &'a Lattice,
    /// By ideal.
    pub(crate) sums: Vec<Sums>,
    /// Members of each net, 64 classes in a word.
    members: Vec<u64>,
}

impl<'a> Pieces<'a> {
    /// Bytes of the sums and of the marks of one search.
    pub(crate) const BYTES_PER_IDEAL: usize = size_of::<Sums>() + 8;

    /// Adds up every ideal.
    pub(crate) fn new(graph: &'a ClassGraph, lattice: &'a Lattice) -> Self {
        let words = lattice.words();
        let mut members = vec![0; graph.nets.len() * words];
        for (net, row) in graph.nets.iter().zip(members.chunks_mut(words)) {
            for class in &net.members {
                row[*class as usize / 64] |= 1 << (class % 64);
            }
        }
        let mut pieces = Self { graph, lattice, sums: Vec::new(), members };
        pieces.sums = (0..lattice.n_ideals()).map(|ideal| pieces.sum(ideal)).collect();
        pieces
    }

    fn sum(&self, ideal: usize) -> Sums {
        let set = self.lattice.set(ideal);
        let mut sums = Sums::default();
        for class in Lattice::classes(set) {
            sums.accelerator += self.graph.accelerator[class].unwrap_or(0);
            sums.cpu += self.graph.cpu[class];
            sums.bytes += self.graph.bytes[class];
            sums.n_unsupported += u32::from(self.graph.accelerator[class].is_none());
        }
        for (net, row) in self.graph.nets.iter().zip(self.members.chunks(self.lattice.words())) {
            if meets(row, set) && leaves(row, set) {
                sums.cut += net.weight;
            }
        }
        sums
    }

    /// Nets with members in and out of an ideal.
    pub(crate) fn crossing(&self, ideal: usize, crossing: &mut Vec<u32>) {
        let set = self.lattice.set(ideal);
        crossing.clear();
        for (net, row) in (0..).zip(self.members.chunks(self.lattice.words())) {
            if meets(row, set) && leaves(row, set) {
                crossing.push(net);
            }
        }
    }

    /// Weight of the nets that the piece between two ideals cuts, with those that cross `from`. A
    /// net with no member in `from` is cut by the piece iff it is cut by `to`; the others are
    /// looked at one by one.
    pub(crate) fn border(&self, from: usize, to: usize, crossing: &[u32]) -> u64 {
        let (low, high) = (self.lattice.set(from), self.lattice.set(to));
        let words = self.lattice.words();
        let mut cut = self.sums[to].cut;
        for &net in crossing {
            let row = &self.members[net as usize * words..(net as usize + 1) * words];
            let mut inside = 0;
            let mut above = 0;
            for ((member, low), high) in row.iter().zip(low).zip(high) {
                inside |= member & high & !low;
                above |= member & !high;
            }
            let weight = self.graph.nets[net as usize].weight;
            match (inside != 0, above != 0) {
                (true, false) => cut += weight,
                (false, true) => cut -= weight,
                _ => {}
            }
        }
        cut
    }
}

fn meets(row: &[u64], set: &[u64]) -> bool {
    row.iter().zip(set).any(|(member, set)| member & set != 0)
}

fn leaves(row: &[u64], set: &[u64]) -> bool {
    row.iter().zip(set).any(|(member, set)| member & !set != 0)
}
