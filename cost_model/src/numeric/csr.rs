//! Lists of ids per key, packed.

use std::marker::PhantomData;

/// For each key `0..n` a slice of values, in one allocation.
#[derive(Clone, Debug)]
pub struct Csr<T> {
    starts: Vec<u32>,
    values: Vec<T>,
    marker: PhantomData<T>,
}

impl<T: Copy> Csr<T> {
    /// Packs `(key, value)` pairs; within a key, values keep the order of the pairs.
    #[must_use]
    pub fn from_pairs(n_keys: usize, pairs: &[(usize, T)]) -> Self {
        let mut starts = vec![0u32; n_keys + 1];
        for (key, _) in pairs {
            starts[key + 1] += 1;
        }
        for key in 0..n_keys {
            starts[key + 1] += starts[key];
        }
        let mut next = starts.clone();
        let mut values: Vec<T> = Vec::with_capacity(pairs.len());
        if let Some((_, first)) = pairs.first() {
            values.resize(pairs.len(), *first);
            for (key, value) in pairs {
                values[next[*key] as usize] = *value;
                next[*key] += 1;
            }
        }
        Self { starts, values, marker: PhantomData }
    }

    /// The values of a key.
    ///
    /// # Panics
    /// If the key is out of range.
    #[must_use]
    pub fn of(&self, key: usize) -> &[T] {
        &self.values[self.starts[key] as usize..self.starts[key + 1] as usize]
    }
}
