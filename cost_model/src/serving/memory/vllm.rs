//! What a vLLM (0.17 and later) takes beside weights and keys and values, as its profile run at start finds.
//!
//! ```text
//! activations  max(forward, sampling) + experts, and two hidden states where there are stages
//!   forward    e T (4 d + the wider of feed-forward part and attention), e bytes of an element, T tokens
//!   sampling   (12 + e) R V of R requests, V words, and 2 hidden states of all tokens; last stage
//!   experts    e T data k (3 f + d), k experts of a token, f on a device: buffers that stay
//! CUDA graphs  368 MiB, 18 MiB a layer
//! runtime      0.25 GiB; between devices 1.85 GiB with NVLink SHARP and fused all-reduces, else 0.45 GiB
//! ```
//!
//! Forms follow the tensors that are alive together; figures are read from the logs of
//! `tests/data/serving/kv_cache_lines.csv`. Context and what else is taken before the profile run lie in the
//! share of memory that vLLM leaves free.

use std::ops::Range;

use ir::card::{Attention, ModelCard, TransformerCard};
use ir::tensor::DType;

use super::{GIB, LEAST_RESERVE, MIB, Settings};
use crate::serving::worker::Shape;

/// Hidden states that are alive beside the widest product of a layer.
const HIDDEN_STATES: f64 = 4.0;
/// Bytes of sampling for each request and word beside logits: 4 each of logits in 32 bits, of probabilities
/// and of noise. Before 0.17 logits were sorted, which took 38 in all.
const SAMPLING: f64 = 12.0;
/// Bytes of CUDA graphs, and of each layer, for batches up to the greatest (0.5 to 1.9 GiB logged).
const GRAPHS: [f64; 2] = [368.0 * MIB, 18.0 * MIB];
/// Requests of the greatest batch that those were logged with.
const GRAPH_REQUESTS: f64 = 512.0;
/// Bytes beside PyTorch on one device.
const RUNTIME: f64 = 0.25 * GIB;
/// Bytes of collectives on GPUs of NVSwitch hosts, and on others (0.42 of two H100 with vLLM 0.11, 0.5 of two
/// RTX 5090 with 0.27).
const COLLECTIVES: [f64; 2] = [1.85 * GIB, 0.45 * GIB];

/// A stage, and the blocks that it has.
pub(super) struct Stage<'a> {
    pub(super) model: &'a ModelCard,
    pub(super) dtype: DType,
    pub(super) shape: &'a Shape,
    pub(super) settings: &'a Settings,
    pub(super) range: Range<usize>,
}

impl Stage<'_> {
    /// Bytes of activations, CUDA graphs, buffers of collectives and all else on devices of so many bytes.
    pub(super) fn beside(&self, capacity: f64) -> [f64; 4] {
        let greatest = self.settings.graph_requests as f64 / GRAPH_REQUESTS;
        let [all, layer] = GRAPHS;
        let graphs = (all + layer * self.range.len() as f64) * greatest;
        let [switched, other] = COLLECTIVES;
        let collectives = match self.shape.stage_devices() {
            0 | 1 => 0.0,
            // GPUs of hosts with NVSwitch have more memory than all others, workstation cards of 96 GB aside.
            _ if capacity > LEAST_RESERVE[1] => switched,
            _ => other,
        };
        [self.activations(), graphs, collectives, RUNTIME]
    }

    fn activations(&self) -> f64 {
        let kinds = self.model.kinds().skip(self.range.start).take(self.range.len());
        let mut groups: Vec<usize> = kinds.collect();
        groups.sort_unstable();
        groups.dedup();
        let cards = || groups.iter().filter_map(|kind| Some(&self.model.groups.get(*kind)?.card));
        let widest = |of: &dyn Fn(&TransformerCard) -> f64| cards().map(of).fold(0.0, f64::max);
        // What is quantised computes in 16 bits.
        let element = if self.dtype == DType::F32 { 4.0 } else { 2.0 };
        let tokens = self.settings.max_tokens as f64;
        let hidden = cards().next().map_or(0.0, |card| element * tokens * card.hidden as f64);
        let forward = HIDDEN_STATES * hidden + element * tokens * widest(&|card| self.width(card));
        let is_last = self.range.end >= self.model.kinds().count();
        let words = cards().next().map_or(0, |card| card.vocabulary) as f64;
        let requests = self.settings.max_requests.min(self.settings.max_tokens) as f64;
        let sampling =
            if is_last { (SAMPLING + element) * requests * words + 2.0 * hidden } else { 0.0 };
        let handed = if self.shape.stages.len() > 1 { 2.0 * hidden } else { 0.0 };
        let gathered = element * tokens * f64::from(self.shape.data.max(1));
        forward.max(sampling) + gathered * widest(&|card| self.routed(card)) + handed
    }

    /// Elements of a token in the widest product of a layer, experts aside, on one tensor rank.
    fn width(&self, card: &TransformerCard) -> f64 {
        let (key, value) = card.head_dims();
        let heads = card.n_heads as f64;
        let kept = match card.attention {
            Attention::Latent { plain, value, .. } => heads * (plain + value) as f64,
            _ => card.n_kv_heads as f64 * (key + value) as f64,
        };
        let attention = heads * (key + value) as f64 + kept;
        let inner = match card.experts {
            Some(experts) => experts.n_shared.saturating_mul(experts.feed_forward),
            None => card.feed_forward,
        };
        let parts = if card.form.is_gated() { 3.0 } else { 2.0 };
        (parts * inner as f64).max(attention) / f64::from(self.shape.tensor.max(1))
    }

    /// Elements of a token in the buffers of experts of one device.
    fn routed(&self, card: &TransformerCard) -> f64 {
        let Some(experts) = card.experts else { return 0.0 };
        let parts = if card.form.is_gated() { 3.0 } else { 2.0 };
        let width = experts.feed_forward as f64 / f64::from(self.shape.expert_tensor.max(1));
        experts.per_token as f64 * (parts * width + card.hidden as f64)
    }
}

/// Fills layers with windows and those without up to groups of equally many, which share blocks of tokens
/// (`kv_cache_planning.py`): groups are as large as the smaller kind, or as the larger one where that is less
/// than half as large again.
pub(super) fn pad(layers: &mut Vec<(f64, Option<u64>)>) {
    let mut kinds: Vec<((f64, Option<u64>), usize)> = Vec::new();
    for layer in layers.iter() {
        match kinds.iter_mut().find(|(kind, _)| kind == layer) {
            Some((_, n)) => *n += 1,
            None => kinds.push((*layer, 1)),
        }
    }
    let is_alike = kinds.windows(2).all(|two| two[0].0.0 == two[1].0.0);
    let counts = || kinds.iter().map(|(_, n)| *n);
    let (Some(least), Some(most)) = (counts().min(), counts().max()) else { return };
    if kinds.len() < 2 || !is_alike {
        return;
    }
    let size = if 2 * most < 3 * least { most } else { least };
    for (kind, n) in kinds {
        let missing = n.div_ceil(size) * size - n;
        layers.extend(std::iter::repeat_n(kind, missing));
    }
}
