//! Extents of a block on one device: its products, and what of it is cast.

use ir::card::Attention;
use ir::stack::Projections;

use super::Sharded;

/// Extents of a block on one device.
pub(super) struct Extents {
    pub(super) tokens: u64,
    /// Samples of a micro-batch.
    pub(super) batch: u64,
    pub(super) sequence: u64,
    /// Query positions of one context rank.
    pub(super) queries: u64,
    pub(super) hidden: u64,
    /// Heads of one tensor rank.
    pub(super) heads: u64,
    /// Elements of a query or key head, and of a value head.
    pub(super) head_dims: (u64, u64),
    /// Columns and contracted extents of the products that make queries, keys and values, of one
    /// tensor rank.
    pub(super) qkv: Vec<[u64; 2]>,
    /// Inner width of the feed-forward part of one tensor rank; 0 where there are experts alone.
    pub(super) width: u64,
    /// Parts of its first product.
    pub(super) parts: u64,
    pub(super) tensor: u64,
    /// Scores inside the window of attention over all causal ones.
    pub(super) window_share: f64,
    projections: Projections,
}

impl Extents {
    pub(super) fn of(run: Sharded<'_>, projections: Projections) -> Self {
        let (card, degrees) = (run.card, run.parallelism);
        let tensor = u64::from(degrees.tensor.max(1));
        let context = u64::from(degrees.context.max(1));
        let queries = card.sequence.div_ceil(context);
        let tokens = degrees.micro_batch.saturating_mul(queries);
        let heads = card.n_heads.div_ceil(tensor);
        let parts = card.form.n_first();
        // What every token visits: all of it, or what stands beside experts.
        let width = card.experts.map_or(card.feed_forward, |experts| {
            experts.n_shared.saturating_mul(experts.feed_forward)
        });
        Self {
            tokens,
            batch: degrees.micro_batch,
            sequence: card.sequence,
            queries,
            hidden: card.hidden,
            heads,
            head_dims: card.head_dims(),
            qkv: qkv(run, tensor, projections),
            width: width.div_ceil(tensor),
            parts,
            tensor,
            window_share: card.window_share(),
            projections,
        }
    }

    /// Products of the forward pass: how many, rows, columns, contracted extent.
    pub(super) fn products(&self) -> Vec<(u64, [u64; 3])> {
        let context = self.heads.saturating_mul(self.head_dims.1);
        let (times, parts) = match self.projections {
            Projections::Joined => (1, self.parts),
            Projections::Apart => (self.parts, 1),
        };
        let mut products: Vec<_> =
            self.qkv.iter().map(|[n, k]| (1, [self.tokens, *n, *k])).collect();
        products.push((1, [self.tokens, self.hidden, context]));
        if self.width > 0 {
            let first = (1, [self.tokens, self.width.saturating_mul(parts), self.hidden]);
            products.extend((0..times).map(|_| first));
            products.push((1, [self.tokens, self.hidden, self.width]));
        }
        products
    }

    /// Parameters on one device.
    pub(super) fn parameters(&self) -> f64 {
        let of = |(count, [_, n, k]): &(u64, [u64; 3])| *count as f64 * *n as f64 * *k as f64;
        self.products().iter().map(of).sum()
    }

    /// Values of the scores of all heads of one device.
    pub(super) fn scores(&self) -> f64 {
        [self.batch, self.heads, self.queries, self.sequence].iter().map(|x| *x as f64).product()
    }

    /// Elements that are cast for the products of a forward and of a backward pass over all tensor
    /// ranks: their inputs, and the gradients of their results.
    pub(super) fn cast(&self) -> [f64; 2] {
        let (tokens, tensor) = (self.tokens as f64, self.tensor as f64);
        let hidden = self.hidden as f64;
        let wide = tokens * self.width as f64 * tensor;
        let heads = self.heads as f64 * self.head_dims.1 as f64 * tensor;
        let columns: f64 = self.qkv.iter().map(|[n, _]| *n as f64 * tensor).sum();
        let inputs = tokens * (2.0 * hidden + heads) + wide;
        let down = if wide > 0.0 { hidden } else { 0.0 };
        let results = tokens * (columns + hidden + down) + self.parts as f64 * wide;
        [inputs, results]
    }
}

/// Columns and contracted extents of the products that make queries, keys and values.
fn qkv(run: Sharded<'_>, tensor: u64, projections: Projections) -> Vec<[u64; 2]> {
    let card = run.card;
    let (key, value) = card.head_dims();
    match card.attention {
        Attention::Even | Attention::Heads { .. } | Attention::Window { .. } => {
            let columns = |heads: u64| [heads.saturating_mul(key).div_ceil(tensor), card.hidden];
            let (queries, pairs) = (card.n_heads, card.n_kv_heads);
            match projections {
                Projections::Joined => {
                    vec![columns(queries.saturating_add(pairs.saturating_mul(2)))]
                }
                Projections::Apart => vec![columns(queries), columns(pairs), columns(pairs)],
            }
        }
        // Narrow products are not shared out (Megatron-Core keeps them whole on every rank).
        Attention::Latent { query_rank, key_value_rank, plain, rotary, .. } => {
            let heads = card.n_heads.div_ceil(tensor);
            let narrow = query_rank.map(|rank| [rank, card.hidden]);
            let others = [
                [heads.saturating_mul(key), query_rank.unwrap_or(card.hidden)],
                [key_value_rank.saturating_add(rotary), card.hidden],
                [heads.saturating_mul(plain.saturating_add(value)), key_value_rank],
            ];
            narrow.into_iter().chain(others).collect()
        }
    }
}
