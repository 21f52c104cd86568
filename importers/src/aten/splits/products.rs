//! Letters of calls that multiply, attend or pick rows.

use ir::op::Linear;

use super::super::call::Scalar;
use super::{Place, Shared, Words};

impl Words<'_> {
    /// `input @ weight.T + bias`.
    pub(super) fn linear(&mut self) -> Shared {
        let (input, weight) = (self.at(&["input"])?, self.at(&["weight"])?);
        let (bias, out) = (self.at(&["bias"]), self.outputs().next()?);
        let last = self.shapes[input].len().checked_sub(1)?;
        if self.shapes[weight].len() != 2 {
            return None;
        }
        for dim in 0..last {
            self.tie(&[(input, dim), (out, dim)]);
        }
        self.tie(&[(input, last), (weight, 1)]);
        let columns = [(weight, 0), (out, last)].into_iter().chain(bias.map(|bias| (bias, 0)));
        self.tie(&columns.collect::<Vec<_>>());
        if bias.is_none() {
            self.linear = Linear::InEach(2);
        }
        Some(())
    }

    /// `left @ right`, perhaps added to another tensor.
    pub(super) fn matmul(&mut self, [left, right]: [usize; 2], added: Option<usize>) -> Shared {
        let out = self.outputs().next()?;
        let (a, b) = (*self.shapes.get(left)?, *self.shapes.get(right)?);
        let (rank_a, rank_b, rank) = (a.len(), b.len(), self.shapes[out].len());
        let (k_a, k_b) = (rank_a.checked_sub(1)?, rank_b.checked_sub(2).unwrap_or(0));
        if rank_b == 0 {
            return None;
        }
        let (has_rows, has_columns) = (rank_a > 1, rank_b > 1);
        let n_batch = rank.checked_sub(usize::from(has_rows) + usize::from(has_columns))?;
        let with = |dim: usize, places: &mut Vec<Place>| {
            let Some(added) = added else { return };
            let of = self.shapes[added];
            if let Some(own) = (dim + of.len()).checked_sub(rank).filter(|own| *own < of.len()) {
                places.push((added, own));
            }
        };
        let mut all: Vec<Vec<Place>> = Vec::new();
        for dim in 0..n_batch {
            let mut places = vec![(out, dim)];
            for (operand, n_own) in
                [(left, rank_a.saturating_sub(2)), (right, rank_b.saturating_sub(2))]
            {
                let own = (dim + n_own).checked_sub(n_batch);
                places.extend(own.map(|own| (operand, own)));
            }
            with(dim, &mut places);
            all.push(places);
        }
        if has_rows {
            let mut places = vec![(left, rank_a - 2), (out, n_batch)];
            with(n_batch, &mut places);
            all.push(places);
        }
        if has_columns {
            let mut places = vec![(right, rank_b - 1), (out, rank - 1)];
            with(rank - 1, &mut places);
            all.push(places);
        }
        all.push(vec![(left, k_a), (right, k_b)]);
        all.iter().for_each(|places| self.tie(places));
        if added.is_none() {
            self.linear = Linear::InEach(2);
        }
        Some(())
    }

    pub(super) fn einsum(&mut self) -> Shared {
        let Some(Scalar::Text(equation)) = self.call.scalar("equation") else { return None };
        let equation: String = equation.chars().filter(|of| !of.is_whitespace()).collect();
        let (inputs, output) = equation.split_once("->")?;
        let terms: Vec<&str> = inputs.split(',').chain([output]).collect();
        if terms.len() != self.shapes.len() || equation.contains('.') {
            return None;
        }
        let mut seen = Vec::new();
        for letter in inputs.chars().filter(|letter| *letter != ',') {
            if seen.contains(&letter) {
                continue;
            }
            seen.push(letter);
            let mut places = Vec::new();
            for (operand, term) in terms.iter().enumerate() {
                let of = term.chars().enumerate().filter(|(_, of)| *of == letter);
                let dims: Vec<usize> = of.map(|(dim, _)| dim).collect();
                match dims[..] {
                    [] => {}
                    [dim] => places.push((operand, dim)),
                    // A diagonal.
                    _ => return None,
                }
            }
            self.tie(&places);
        }
        self.linear = Linear::InEach(terms.len() - 1);
        Some(())
    }

    /// Samples, and channels of one group or of as many groups as channels.
    pub(super) fn convolution(&mut self) -> Shared {
        let (input, weight) = (self.at(&["input", "self"])?, self.at(&["weight"])?);
        let (bias, out) = (self.at(&["bias"]), self.outputs().next()?);
        let rank = self.shapes[weight].len();
        let is_transposed = self.call.flag("transposed");
        if self.shapes[input].len() != rank || rank < 3 || is_transposed {
            return None;
        }
        self.tie(&[(input, 0), (out, 0)]);
        let groups = self.call.int("groups").unwrap_or(1);
        let channels = self.size((input, 1));
        let columns = [(weight, 0), (out, 1)].into_iter().chain(bias.map(|bias| (bias, 0)));
        match u64::try_from(groups).ok()? {
            1 => {
                self.tie(&columns.collect::<Vec<_>>());
                self.tie(&[(input, 1), (weight, 1)]);
            }
            of if of == channels => self.tie(&columns.chain([(input, 1)]).collect::<Vec<_>>()),
            _ => {}
        }
        Some(())
    }

    /// Samples, heads, and tokens of queries where no mask is causal by position.
    pub(super) fn attention(&mut self) -> Shared {
        let [query, key, value] = [self.at(&["query"])?, self.at(&["key"])?, self.at(&["value"])?];
        let (mask, out) = (self.at(&["attn_mask"]), self.outputs().next()?);
        let rank = self.shapes[query].len();
        let tensors = [query, key, value, out];
        if rank < 3 || tensors.iter().any(|of| self.shapes[*of].len() != rank) {
            return None;
        }
        let own = |dim: usize| {
            let mask = mask?;
            let dim = (dim + self.shapes[mask].len()).checked_sub(rank)?;
            Some((mask, dim))
        };
        let masks: Vec<Option<Place>> = (0..rank).map(own).collect();
        for dim in 0..rank - 2 {
            let places = tensors.map(|of| (of, dim)).into_iter().chain(masks[dim]);
            self.tie(&places.collect::<Vec<_>>());
        }
        if !self.call.flag("is_causal") {
            let places = [(query, rank - 2), (out, rank - 2)].into_iter().chain(masks[rank - 2]);
            self.tie(&places.collect::<Vec<_>>());
        }
        Some(())
    }

    /// Rows of a table, of which a device has some of the rows or of the columns.
    pub(super) fn embedding(&mut self) -> Shared {
        let (table, ids) = (self.at(&["weight"])?, self.at(&["indices"])?);
        let out = self.outputs().next()?;
        let n = self.shapes[ids].len();
        for dim in 0..n {
            self.tie(&[(ids, dim), (out, dim)]);
        }
        self.tie(&[(table, 0)]);
        self.tie(&[(table, 1), (out, n)]);
        Some(())
    }

    pub(super) fn index_select(&mut self) -> Shared {
        let (of, index) = (self.at(&["self"])?, self.at(&["index"])?);
        let out = self.outputs().next()?;
        let rank = self.shapes[of].len();
        let dim = self.stated("dim", rank)?;
        for other in (0..rank).filter(|other| *other != dim) {
            self.tie(&[(of, other), (out, other)]);
        }
        self.tie(&[(index, 0), (out, dim)]);
        Some(())
    }

    pub(super) fn gather(&mut self) -> Shared {
        let (of, index) = (self.at(&["self"])?, self.at(&["index"])?);
        let out = self.outputs().next()?;
        let rank = self.shapes[of].len();
        let dim = self.stated("dim", rank)?;
        for other in 0..rank {
            let size = self.size((index, other));
            match other == dim {
                true => self.tie(&[(index, other), (out, other)]),
                false if self.size((of, other)) == size => {
                    self.tie(&[(of, other), (index, other), (out, other)]);
                }
                false => {}
            }
        }
        Some(())
    }
}
