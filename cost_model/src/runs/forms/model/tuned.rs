//! What is trained of a block, and what frozen weights and adapters change in its price.
//!
//! For a target of `n` outputs and `k` inputs with adapters of rank `r`, `T` tokens, elements of `e` bytes:
//!
//! ```text
//! trained    r k + r n; with lengths of columns n more
//! forward    products T x k by r, T x r by n; 3 e n T bytes of their sum
//! backward   two products for either matrix; 3 e k T bytes of the sum with the input's gradient
//! kept       e r T; single-precision adapters a copy of their input, 2 k T
//! frozen     no product for the weight's gradient, whose input is not kept but for an adapter
//! 4 bits     each pass reads the weight and writes it in 16 bits: (0.516 + e) n k bytes
//! 8 bits     forward 7 k T bytes of the input to FP16 and INT8, 6 n T of the output from INT32; backward
//!            7 n k of the weight to 16 bits and its scaling in place; the input is saved as for a trained weight
//! lengths    r k by n, added to the weight and summed: 4 e n k bytes a forward pass
//! ```
//!
//! Tensor ranks split one matrix of an adapter as they split its weight, and hold the other whole.

use ir::card::BlockGroup;
use ir::plan::Parallelism;
use ir::tuning::{AdapterKind, BaseWeights, Module, Tuning};
use ir::workload::Optimizer;

use super::Pricing;
use super::kind::Kind;
use crate::kernels::rates::Rates;
use crate::runs::counts::module_products;
use crate::runs::forms::precision::{element, operand};
use crate::runs::memory::activations::{outer_degree, tokens};

/// Bytes of an input of single-precision adapters, which each of them casts for its own product (PEFT to the type
/// of the adapter, autocast back to 16 bits, which is what is kept).
const WIDE_INPUT: f64 = 2.0;
/// Bytes a token and element of width that a norm keeps as written beside its input and output in 16 bits, where
/// its weight is frozen and where it is trained: the input in single precision instead of 16 bits; the normalised
/// values.
const WRITTEN_NORM: [f64; 2] = [2.0, 4.0];
/// Bytes an element of their input that single-precision adapters move in each pass beside their products: to
/// their type and back to 16 bits, forward as backward.
const WIDE_MOVED: f64 = 12.0;
/// Iterations of Newton and Schulz by which Muon orthogonalises an update (Jordan et al. 2024).
const ITERATIONS: f64 = 5.0;
/// Kernels that an adapter starts in a forward pass: two products, their scale and their sum; twice that
/// backward.
const KERNELS: f64 = 4.0;

/// A weight of a block on one device.
struct Weight {
    module: Module,
    /// Inputs and outputs of its product.
    whole: [u64; 2],
    /// The same on one device.
    own: [u64; 2],
    /// Copies: experts on one device, else 1.
    count: f64,
    /// Tokens that meet each of them.
    tokens: f64,
    is_expert: bool,
}

impl Weight {
    /// Elements on one device.
    fn elements(&self) -> f64 {
        self.own[0] as f64 * self.own[1] as f64 * self.count
    }

    /// Elements of adapters of a rank beside it, on one device.
    fn adapter(&self, rank: u64, kind: AdapterKind) -> f64 {
        let lengths = if kind == AdapterKind::Dora { self.own[1] as f64 } else { 0.0 };
        (rank as f64 * (self.own[0] as f64 + self.own[1] as f64) + lengths) * self.count
    }
}

/// The weights of products of a block on one device.
fn weights(group: &BlockGroup, degrees: &Parallelism) -> Vec<Weight> {
    let card = &group.card;
    let tensor = u64::from(degrees.tensor.max(1));
    let tokens = tokens(card, degrees);
    let own = |[k, n]: [u64; 2], is_split: bool, tensor: u64| match is_split {
        true => [k, n.div_ceil(tensor)],
        false => [k.div_ceil(tensor), n],
    };
    let dense = module_products(card).into_iter().map(|(module, product)| {
        let whole = [product.rows, product.columns];
        let own = own(whole, product.is_split, tensor);
        Weight { module, whole, own, count: 1.0, tokens, is_expert: false }
    });
    let experts = card.experts.into_iter().flat_map(|experts| {
        let split = u64::from(degrees.of_expert());
        let count = experts.n_experts as f64 / f64::from(degrees.expert.max(1));
        let each = tokens * experts.per_token as f64 / experts.n_experts.max(1) as f64
            * f64::from(degrees.expert.max(1));
        let first = [card.hidden, experts.feed_forward];
        let gate = (card.form.n_first() > 1).then_some((Module::Gate, first, true));
        let last = (Module::Down, [experts.feed_forward, card.hidden], false);
        gate.into_iter().chain([(Module::Up, first, true), last]).map(
            move |(module, whole, is_split)| Weight {
                module,
                whole,
                own: own(whole, is_split, split),
                count,
                tokens: each,
                is_expert: true,
            },
        )
    });
    dense.chain(experts).collect()
}

/// Bytes of LLM.int8() that a product moves beside its operands (bitsandbytes 0.50, `MatMul8bitLt`): an element of
/// the input to FP16 and to INT8, of the output from INT32, and backward of the weight to 16 bits, scaled in place.
const INT8_MOVED: [f64; 3] = [7.0, 6.0, 7.0];

/// How a weight of a block is stored.
fn stored(pricing: &Pricing<'_>, module: Module) -> BaseWeights {
    let adapter = pricing.model.tuning.adapter;
    let is_stored = adapter.is_some_and(|adapter| {
        !pricing.stack.keeps.quantises_targets || adapter.targets.has(module)
    });
    if is_stored { pricing.model.tuning.base() } else { BaseWeights::Wide }
}

/// Bytes of the largest weight that is made 16 bits wide for its product.
pub(super) fn largest_widened(pricing: &Pricing<'_>, degrees: &Parallelism) -> f64 {
    let of = |group: &BlockGroup| {
        let weights = weights(group, degrees);
        let wide =
            weights.iter().filter(|weight| stored(pricing, weight.module) != BaseWeights::Wide);
        let one = |weight: &Weight| weight.own[0] as f64 * weight.own[1] as f64;
        wide.map(one).fold(0.0, f64::max)
    };
    let groups = pricing.model.groups.iter().filter(|group| group.part.is_none());
    element(pricing.dtype) * groups.map(of).fold(0.0, f64::max)
}

/// A kind of blocks, all of which was priced as trained, as its run tunes it; `first` is its first block.
pub(super) fn tuned(
    kind: Kind,
    (pricing, group, degrees): (&Pricing<'_>, &BlockGroup, &Parallelism),
    first: u32,
) -> Kind {
    let tuning = &pricing.model.tuning;
    let weights = weights(group, degrees);
    let mut kind = kind;
    let trains_norms =
        tuning.trains(Module::Norms) && (tuning.adapter.is_some() || first >= tuning.frozen_blocks);
    let written = written(pricing, group, degrees, trains_norms);
    if pricing.optimizer == Optimizer::Muon {
        kind.update_s = orthogonal_s(pricing, &weights, tuning, degrees);
    }
    if tuning.is_whole() {
        add_kept(&mut kind, written);
        return kind;
    }
    if tuning.adapter.is_none() && first < tuning.frozen_blocks {
        let bytes = element(pricing.dtype);
        kind.frozen = [bytes * kind.held_dense, bytes * kind.held_experts];
        [kind.dense, kind.experts, kind.held_dense, kind.held_experts] = [0.0; 4];
        [kind.lines_dense, kind.lines_experts] = [0.0; 2];
        kind.backward_s = (kind.backward_s - kind.weight_s).max(0.0);
        kind.weight_s = 0.0;
        if tuning.skips(first) {
            [kind.backward_s, kind.recompute_s, kind.core_s, kind.per_op_s] = [0.0; 4];
            [kind.all, kind.without_core, kind.per_op, kind.input] = [0.0; 4];
            kind.backward_links_s = [0.0; 2];
            kind.cards_s[1] = 0.0;
        } else {
            add_kept(&mut kind, written - unneeded(pricing, group, degrees, |_| false));
        }
        return kind;
    }
    hold(&mut kind, pricing, &weights);
    let more_s = adapters_s(pricing, &weights);
    let spared = spared(&weights, tuning);
    kind.forward_s += more_s[0];
    kind.recompute_s += more_s[0];
    kind.per_op_s += more_s[0] / 2.0;
    kind.backward_s = (kind.backward_s - spared * kind.weight_s).max(0.0) + more_s[1];
    kind.weight_s *= 1.0 - spared;
    let needs = |module| tuning.needs_input(module) || stored(pricing, module) == BaseWeights::Int8;
    let kept =
        written + kept_by_adapters(pricing, &weights) - unneeded(pricing, group, degrees, needs);
    add_kept(&mut kind, kept);
    kind
}

/// Bytes that are kept beside the input, more or less; never below it.
fn add_kept(kind: &mut Kind, bytes: f64) {
    let least = kind.input;
    for kept in [&mut kind.all, &mut kind.without_core, &mut kind.per_op] {
        *kept = (*kept + bytes).max(least);
    }
}

/// Divides what a block holds into trained and frozen weights.
fn hold(kind: &mut Kind, pricing: &Pricing<'_>, weights: &[Weight]) {
    let tuning = &pricing.model.tuning;
    let bytes = element(pricing.dtype);
    let all = [kind.held_dense, kind.held_experts];
    let (mut trained, mut frozen, mut of_products) = ([0.0; 2], [0.0; 2], [0.0; 2]);
    let mut lines = [0.0; 2];
    for weight in weights {
        let part = usize::from(weight.is_expert);
        let elements = weight.elements();
        of_products[part] += elements;
        if tuning.trains(weight.module) {
            trained[part] += elements;
            lines[part] += weight.count * (weight.own[0] as f64 + weight.own[1] as f64);
        } else {
            frozen[part] += stored(pricing, weight.module).bytes().unwrap_or(bytes) * elements;
        }
        if let Some(adapter) = tuning.adapter {
            let rank = tuning.rank(weight.module);
            if rank > 0 {
                trained[part] += weight.adapter(rank, adapter.kind);
                let sides = weight.own[0] as f64 + weight.own[1] as f64 + 2.0 * rank as f64;
                lines[part] += weight.count * sides;
            }
        }
    }
    for part in [0, 1] {
        let rest = (all[part] - of_products[part]).max(0.0);
        match tuning.trains(Module::Norms) {
            true => trained[part] += rest,
            false => frozen[part] += bytes * rest,
        }
    }
    [kind.held_dense, kind.held_experts] = trained;
    [kind.dense, kind.experts] = trained;
    [kind.lines_dense, kind.lines_experts] = lines;
    kind.frozen = frozen;
}

/// Share of the work for gradients of weights that frozen weights spare.
fn spared(weights: &[Weight], tuning: &Tuning) -> f64 {
    let work = |weight: &&Weight| weight.elements() * weight.tokens;
    let all: f64 = weights.iter().map(|weight| work(&weight)).sum();
    let frozen: f64 = weights
        .iter()
        .filter(|weight| !tuning.trains(weight.module))
        .map(|weight| work(&weight))
        .sum();
    if all > 0.0 { (frozen / all).clamp(0.0, 1.0) } else { 0.0 }
}

/// Ranks whose products load whole vectors of 16-bit numbers, and how much longer others take, which move the same
/// bytes (H100, ranks 4 to 20 of 8,192 tokens by 4,096: 1.1 to 1.4, `examples/h100-steps/products.csv`).
const RANKS: u64 = 8;
const UNALIGNED: f64 = 1.25;

/// Seconds that adapters, and quantised weights, add to a forward and to a backward pass.
fn adapters_s(pricing: &Pricing<'_>, weights: &[Weight]) -> [f64; 2] {
    let Some(adapter) = pricing.model.tuning.adapter else { return [0.0; 2] };
    let rates = pricing.system.rates(pricing.stack, pricing.constants, pricing.dtype);
    let bytes = element(pricing.dtype);
    let mut seconds = [0.0; 2];
    for weight in weights {
        let moved = match stored(pricing, weight.module) {
            BaseWeights::Wide => [0.0; 2],
            BaseWeights::Int8 => {
                let [input, output, widening] = INT8_MOVED;
                let [k, n] = weight.own.map(|extent| extent as f64);
                let casts = weight.count * weight.tokens * (input * k + output * n);
                [casts, widening * weight.elements()]
            }
            base => [(base.bytes().unwrap_or(bytes) + bytes) * weight.elements(); 2],
        };
        seconds = [0, 1].map(|pass| seconds[pass] + rates.pointwise(moved[pass]));
        let rank = pricing.model.tuning.rank(weight.module);
        if rank > 0 {
            let wide = if adapter.is_wide { WIDE_MOVED } else { 0.0 };
            let cast = rates.pointwise(wide * weight.own[0] as f64 * weight.tokens);
            let one = adapter_s(weight, (rank, adapter.kind), &rates, bytes).map(|s| s + cast);
            seconds = [0, 1].map(|pass| seconds[pass] + weight.count * one[pass]);
        }
    }
    seconds
}

/// The same of one adapter.
fn adapter_s(
    weight: &Weight,
    (rank, kind): (u64, AdapterKind),
    rates: &Rates,
    bytes: f64,
) -> [f64; 2] {
    let [k, n] = weight.own;
    let tokens = weight.tokens as u64;
    let moved = |width: u64| rates.pointwise(3.0 * bytes * width as f64 * weight.tokens);
    let padded = rank.next_multiple_of(RANKS);
    let unpadded = if padded == rank { 1.0 } else { UNALIGNED };
    let rank = padded;
    let product = |extents| unpadded * rates.product(1, extents);
    let forward = product([tokens, rank, k]) + product([tokens, n, rank]) + moved(n);
    let backward = product([tokens, rank, n])
        + product([n, rank, tokens])
        + product([rank, k, tokens])
        + product([tokens, k, rank])
        + moved(k);
    let lengths = match kind {
        AdapterKind::Lora => 0.0,
        AdapterKind::Dora => {
            product([n, k, rank]) + rates.pointwise(4.0 * bytes * n as f64 * k as f64) + moved(n)
        }
    };
    let starts = KERNELS * rates.start();
    [forward + lengths + starts, backward + 2.0 * starts]
}

/// Bytes of one micro-batch that adapters keep beside what their block does.
fn kept_by_adapters(pricing: &Pricing<'_>, weights: &[Weight]) -> f64 {
    let Some(adapter) = pricing.model.tuning.adapter else { return 0.0 };
    let bytes = element(pricing.dtype);
    let of = |weight: &Weight| {
        let rank = pricing.model.tuning.rank(weight.module);
        if rank == 0 {
            return 0.0;
        }
        let input = if adapter.is_wide { WIDE_INPUT * weight.own[0] as f64 } else { 0.0 };
        let output = match adapter.kind {
            AdapterKind::Lora => 0.0,
            AdapterKind::Dora => bytes * weight.own[1] as f64,
        };
        weight.count * weight.tokens * (bytes * rank as f64 + input + output)
    };
    weights.iter().map(of).sum()
}

/// Bytes of one micro-batch that modules keep as they are written, beside the closed form's.
fn written(
    pricing: &Pricing<'_>,
    group: &BlockGroup,
    degrees: &Parallelism,
    trains_norms: bool,
) -> f64 {
    if !pricing.stack.keeps.as_written {
        return 0.0;
    }
    let card = &group.card;
    let (tokens, bytes) = (tokens(card, degrees), element(pricing.dtype));
    let tensor = f64::from(degrees.tensor.max(1));
    if !card.form.is_gated() {
        return 0.0;
    }
    let norm = WRITTEN_NORM[usize::from(trains_norms)];
    let norms = 2.0 * norm * card.hidden as f64 / outer_degree(degrees);
    let inner = match card.experts {
        None => card.feed_forward as f64,
        Some(experts) => {
            (experts.per_token + experts.n_shared) as f64 * experts.feed_forward as f64
        }
    };
    let (key, value) = card.head_dims();
    let repeated = match pricing.stack.keeps.repeats_heads {
        true => card.n_heads.saturating_sub(card.n_kv_heads) as f64 * (key + value) as f64,
        false => 0.0,
    };
    tokens * (norms + bytes * (inner + repeated) / tensor)
}

/// Bytes of one micro-batch that the closed form counts and no gradient needs: inputs of products whose weights
/// are frozen, but for those that something else keeps.
fn unneeded(
    pricing: &Pricing<'_>,
    group: &BlockGroup,
    degrees: &Parallelism,
    needs: impl Fn(Module) -> bool,
) -> f64 {
    let card = &group.card;
    let (tokens, operand) = (tokens(card, degrees), operand(pricing.dtype));
    let any = |modules: &[Module]| modules.iter().any(|module| needs(*module));
    let hidden = card.hidden as f64 / outer_degree(degrees);
    let tensor = f64::from(degrees.tensor.max(1));
    let mut width = 0.0;
    if !any(&[Module::Query, Module::Key, Module::Value]) {
        width += hidden;
    }
    let visits = card.experts.map_or(0.0, |experts| experts.per_token as f64);
    let has_dense = card.experts.is_none_or(|experts| experts.n_shared > 0);
    if !any(&[Module::Gate, Module::Up]) {
        width += visits * hidden + if has_dense { hidden } else { 0.0 };
    }
    // What is pointwise is computed again by a compiled block.
    let is_made_again = pricing.stack.keeps.is_fused && !pricing.model.tuning.trains(Module::Down);
    if !any(&[Module::Down]) || is_made_again {
        let inner = card.experts.map_or(card.feed_forward as f64, |experts| {
            (experts.per_token + experts.n_shared) as f64 * experts.feed_forward as f64
        });
        width += inner / tensor;
    }
    tokens * operand * width
}

/// Seconds in which the updates of a block's matrices are orthogonalised, shared out over tensor ranks: for an
/// `m x n` matrix, `m` the smaller extent, three products a time.
fn orthogonal_s(
    pricing: &Pricing<'_>,
    weights: &[Weight],
    tuning: &Tuning,
    degrees: &Parallelism,
) -> f64 {
    let rates = pricing.system.rates(pricing.stack, pricing.constants, pricing.dtype);
    let tensor = f64::from(degrees.tensor.max(1));
    let of = |[k, n]: [u64; 2]| {
        let (m, n) = (k.min(n), k.max(n));
        let products = [[m, m, n], [m, m, m], [m, n, m]];
        ITERATIONS * products.iter().map(|extents| rates.product(1, *extents)).sum::<f64>()
    };
    let trained = weights.iter().filter(|weight| tuning.trains(weight.module));
    trained.map(|weight| weight.count * of(weight.whole)).sum::<f64>() / tensor
}
