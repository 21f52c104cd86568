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
    members: Vec<Members>,
}

/// Classes of a net, 64 in a word, from its first word to its last.
struct Members {
    first: usize,
    words: Vec<u64>,
}

/// Ideals that are added up between two looks at the clock.
const IDEALS_PER_LOOK: usize = 1 << 12;

impl<'a> Pieces<'a> {
    /// Bytes of the sums and of the marks of one search.
    pub(crate) const BYTES_PER_IDEAL: usize = size_of::<Sums>() + 8;

    /// Adds up every ideal; none where `stop` says to give up.
    pub(crate) fn new(
        graph: &'a ClassGraph,
        lattice: &'a Lattice,
        stop: &dyn Fn() -> bool,
    ) -> Option<Self> {
        let members = graph.nets.iter().map(|net| Members::of(&net.members)).collect();
        let mut pieces = Self { graph, lattice, sums: Vec::new(), members };
        for ideal in 0..lattice.n_ideals() {
            if ideal % IDEALS_PER_LOOK == IDEALS_PER_LOOK - 1 && stop() {
                return None;
            }
            pieces.sums.push(pieces.sum(ideal));
        }
        Some(pieces)
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
        for (net, members) in self.graph.nets.iter().zip(&self.members) {
            if members.are_cut(set) {
                sums.cut += net.weight;
            }
        }
        sums
    }

    /// Nets with members in and out of an ideal.
    pub(crate) fn crossing(&self, ideal: usize, crossing: &mut Vec<u32>) {
        let set = self.lattice.set(ideal);
        crossing.clear();
        let nets = (0..).zip(&self.members);
        crossing.extend(nets.filter(|(_, members)| members.are_cut(set)).map(|(net, _)| net));
    }

    /// Weight of the nets that the piece between two ideals cuts, with those that cross `from`. A
    /// net with no member in `from` is cut by the piece iff it is cut by `to`; the others are
    /// looked at one by one.
    pub(crate) fn border(&self, from: usize, to: usize, crossing: &[u32]) -> u64 {
        let (low, high) = (self.lattice.set(from), self.lattice.set(to));
        let mut cut = self.sums[to].cut;
        for &net in crossing {
            let members = &self.members[net as usize];
            let mut inside = 0;
            let mut above = 0;
            for ((member, low), high) in
                members.words.iter().zip(members.of_set(low)).zip(members.of_set(high))
            {
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

impl Members {
    fn of(classes: &[u32]) -> Self {
        let words = || classes.iter().map(|class| *class as usize / 64);
        let first = words().min().unwrap_or(0);
        let mut members = vec![0; words().max().map_or(0, |last| last + 1 - first)];
        for class in classes {
            members[*class as usize / 64 - first] |= 1 << (class % 64);
        }
        Self { first, words: members }
    }

    /// The words of a set that they are in.
    fn of_set<'s>(&self, set: &'s [u64]) -> &'s [u64] {
        &set[self.first..self.first + self.words.len()]
    }

    /// Whether some are in a set, and some are not.
    fn are_cut(&self, set: &[u64]) -> bool {
        let set = || self.words.iter().zip(self.of_set(set));
        set().any(|(member, set)| member & set != 0)
            && set().any(|(member, set)| member & !set != 0)
    }
}
