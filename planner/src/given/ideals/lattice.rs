//! Ideals of a class graph: sets that hold, with a class, all that comes before it.

use std::collections::HashMap;

use super::classes::ClassGraph;

/// Ideals in order of size, the empty one first and the full one last, and what one more class
/// makes of each.
#[derive(Clone, Debug)]
pub struct Lattice {
    words: usize,
    /// `words` words of 64 classes for each ideal.
    sets: Vec<u64>,
    /// Where the ideals one class larger begin in `larger`.
    start: Vec<u32>,
    larger: Vec<u32>,
}

impl Lattice {
    /// All ideals; `None` if they take more than `max_bytes`.
    #[must_use]
    pub fn all(graph: &ClassGraph, max_bytes: usize) -> Option<Self> {
        let n_classes = graph.n_classes();
        let words = n_classes.div_ceil(64).max(1);
        // Already a chain has as many ideals, and who comes before whom is kept in as many bits.
        if n_classes.saturating_mul(words * 16) > max_bytes {
            return None;
        }
        let mut producers = vec![vec![0u64; words]; n_classes];
        for &(from, to) in &graph.before {
            producers[to as usize][from as usize / 64] |= 1 << (from % 64);
        }
        let mut lattice = Self { words, sets: vec![0; words], start: vec![0], larger: Vec::new() };
        let mut layer = 0..1;
        for _ in 0..n_classes {
            let mut found: HashMap<Vec<u64>, u32> = HashMap::new();
            let next_start = layer.end;
            for ideal in layer {
                let set = lattice.set(ideal).to_vec();
                for class in 0..n_classes {
                    let bit = 1u64 << (class % 64);
                    let misses = |(need, has): (&u64, &u64)| need & !has != 0;
                    if set[class / 64] & bit != 0 || producers[class].iter().zip(&set).any(misses) {
                        continue;
                    }
                    let mut next = set.clone();
                    next[class / 64] |= bit;
                    let number = (next_start + found.len()) as u32;
                    let number = *found.entry(next).or_insert_with_key(|next| {
                        lattice.sets.extend_from_slice(next);
                        number
                    });
                    lattice.larger.push(number);
                }
                lattice.start.push(lattice.larger.len() as u32);
                // The map of a layer holds its sets once more.
                if lattice.bytes() + found.len() * words * 16 > max_bytes {
                    return None;
                }
            }
            layer = next_start..next_start + found.len();
        }
        lattice.start.push(lattice.larger.len() as u32);
        Some(lattice)
    }

    /// The prefixes of a topological order.
    #[must_use]
    pub fn chain(order: &[u32]) -> Self {
        let words = order.len().div_ceil(64).max(1);
        let mut sets = vec![0u64; words];
        for (position, class) in order.iter().enumerate() {
            sets.extend_from_within(position * words..(position + 1) * words);
            sets[(position + 1) * words + *class as usize / 64] |= 1 << (class % 64);
        }
        let n_classes = order.len() as u32;
        Self {
            words,
            sets,
            start: (0..=n_classes).chain([n_classes]).collect(),
            larger: (1..=n_classes).collect(),
        }
    }

    /// Number of ideals.
    #[must_use]
    pub fn n_ideals(&self) -> usize {
        self.sets.len() / self.words
    }

    /// Words of a set.
    #[must_use]
    pub fn words(&self) -> usize {
        self.words
    }

    /// The set of an ideal, 64 classes in a word.
    #[must_use]
    pub fn set(&self, ideal: usize) -> &[u64] {
        &self.sets[ideal * self.words..(ideal + 1) * self.words]
    }

    /// The ideals with one more class.
    #[must_use]
    pub fn larger(&self, ideal: usize) -> &[u32] {
        &self.larger[self.start[ideal] as usize..self.start[ideal + 1] as usize]
    }

    /// Classes of a set.
    pub fn classes(set: &[u64]) -> impl Iterator<Item = usize> {
        set.iter().enumerate().flat_map(|(word, bits)| {
            let mut bits = *bits;
            std::iter::from_fn(move || {
                let bit = bits.trailing_zeros();
                bits = bits.checked_sub(1).map_or(0, |less| bits & less);
                (bit < 64).then_some(word * 64 + bit as usize)
            })
        })
    }

    fn bytes(&self) -> usize {
        self.sets.len() * 8 + (self.start.len() + self.larger.len()) * 4
    }
}
