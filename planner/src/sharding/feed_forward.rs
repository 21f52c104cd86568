//! The feed-forward part of a layer, between its norm and its residual: products with an inner width, of all tokens or of
//! the slots of experts, and a mixture of experts.
//!
//! Letters of dimensions, beside those of [`decoder`](super::decoder): `u` inner width of shared experts, `e` experts,
//! `t` slots of an expert for the tokens of a sequence, `g` inner width of an expert.

use ir::card::{ExpertCard, TransformerCard};

use super::lettered::Lettered;
use super::rules::{combine, combine_backward, dispatch, elementwise};

/// Words of a product with an inner width: of its input, its inner width, and the weights there and back.
#[derive(Clone, Copy)]
struct Words {
    input: &'static str,
    inner: &'static str,
    first: &'static str,
    last: &'static str,
}

const DENSE: Words = Words { input: "bsh", inner: "bsf", first: "hf", last: "fh" };
const SHARED: Words = Words { input: "bsh", inner: "bsu", first: "hu", last: "uh" };
const EXPERTS: Words = Words { input: "ebth", inner: "ebtg", first: "ehg", last: "egh" };

/// Tensors of a product that the backward pass reads.
pub(super) struct Inner {
    words: Words,
    input: usize,
    /// Of the inner width, its gate and the way back.
    weights: (usize, Option<usize>, usize),
    inner: (usize, Option<usize>),
    active: usize,
}

/// Tensors of a mixture that the backward pass reads.
pub(super) struct Mixture {
    router: usize,
    routing: usize,
    experts: Inner,
    left: usize,
    shared: Option<Inner>,
}

/// Tensors that the backward pass reads.
pub(super) enum Saved {
    Dense(Inner),
    Mixture(Mixture),
}

type Name<'a> = &'a dyn Fn(&str) -> String;

/// Sizes of dimensions, by a card; slots as if all experts were visited alike.
pub(super) fn sizes(card: &TransformerCard) -> Vec<(char, u64)> {
    let mut sizes = vec![('f', card.feed_forward)];
    if let Some(ExpertCard { n_experts, per_token, feed_forward, n_shared, .. }) = card.experts {
        let slots = (card.sequence * per_token).div_ceil(n_experts.max(1));
        sizes.extend([('e', n_experts), ('t', slots), ('g', feed_forward)]);
        sizes.push(('u', n_shared * feed_forward));
    }
    sizes
}

/// The forward pass: what the layer's norm gives to the summands that the residual is given.
pub(super) fn forward(
    of: &mut Lettered,
    name: Name<'_>,
    card: &TransformerCard,
    input: usize,
) -> (Saved, Vec<usize>) {
    let is_gated = card.form.is_gated();
    let Some(experts) = card.experts else {
        let name = |of: &str| name(&format!("mlp.{of}"));
        let (saved, added) = inner(of, &name, (DENSE, is_gated), input);
        return (Saved::Dense(saved), vec![added]);
    };
    let router = of.parameter(&name("router.weight"), "he");
    let logits = of.einsum(&name("router"), [input, router], "bse");
    let routing = of.each(&name("router.top"), &[logits], ("bs", false));
    let slots = of.add(&name("dispatch"), 0.0, &[input, routing], "ebth", dispatch());
    let of_experts = |of: &str| name(&format!("experts.{of}"));
    let (saved, left) = inner(of, &of_experts, (EXPERTS, is_gated), slots);
    let combined = of.add(&name("combine"), 0.0, &[left, routing], "bsh", combine());
    let mut added = vec![combined];
    let shared = (experts.n_shared > 0).then(|| {
        let name = |of: &str| name(&format!("shared.{of}"));
        let (saved, of_shared) = inner(of, &name, (SHARED, is_gated), input);
        added.push(of_shared);
        saved
    });
    let [routing, left] = [routing, left].map(|tensor| of.saved(tensor));
    let saved = Mixture { router, routing, experts: saved, left, shared };
    (Saved::Mixture(saved), added)
}

/// The backward pass: of the gradient of what the residual is given to the summands of that of what was read.
pub(super) fn backward(
    of: &mut Lettered,
    name: Name<'_>,
    (saved, input): (&Saved, usize),
    d_added: usize,
) -> Vec<usize> {
    let mixture = match saved {
        Saved::Dense(saved) => {
            let name = |of: &str| name(&format!("mlp.{of}"));
            return inner_backward(of, &name, saved, d_added);
        }
        Saved::Mixture(mixture) => mixture,
    };
    let Mixture { router, routing, experts, left, shared } = mixture;
    let d_left = of.tensor(&name("combine.grad"), "ebth");
    let d_routing = of.tensor(&name("router.top.grad"), "bse");
    let of_combine: [&[usize]; 2] = [&[*left, *routing, d_added], &[d_left, d_routing]];
    of.op(&name("combine.backward"), 0.0, of_combine, combine_backward());
    let of_experts = |of: &str| name(&format!("experts.{of}"));
    let d_slots = inner_backward(of, &of_experts, experts, d_left);
    let d_slots = of.sum(&name("experts.sum"), &d_slots, "ebth");
    let back = of.add(&name("dispatch.backward"), 0.0, &[d_slots, *routing], "bsh", combine());
    let d_logits = of.each(&name("router.top.backward"), &[*routing, d_routing], ("bs", false));
    of.gradient(&name("router.weight.grad"), [input, d_logits], *router);
    let again = of.store(*router);
    let mut parts = vec![back, of.einsum(&name("router.backward"), [d_logits, again], "bsh")];
    if let Some(shared) = shared {
        let name = |of: &str| name(&format!("shared.{of}"));
        parts.extend(inner_backward(of, &name, shared, d_added));
    }
    parts
}

/// Products with an inner width.
fn inner(
    of: &mut Lettered,
    name: Name<'_>,
    (words, is_gated): (Words, bool),
    input: usize,
) -> (Inner, usize) {
    let up = of.parameter(&name("up.weight"), words.first);
    let inner = of.einsum(&name("up"), [input, up], words.inner);
    let gate = is_gated.then(|| {
        let weight = of.parameter(&name("gate.weight"), words.first);
        (weight, of.einsum(&name("gate"), [input, weight], words.inner))
    });
    let both: Vec<usize> = gate.iter().map(|(_, tensor)| *tensor).chain([inner]).collect();
    let active = of.each(&name("activation"), &both, (words.inner, false));
    let down = of.parameter(&name("down.weight"), words.last);
    let added = of.einsum(&name("down"), [active, down], words.input);
    let weights = (up, gate.map(|(weight, _)| weight), down);
    let inner = (of.saved(inner), gate.map(|(_, tensor)| of.saved(tensor)));
    let [input, active] = [input, active].map(|tensor| of.saved(tensor));
    (Inner { words, input, weights, inner, active }, added)
}

/// Their backward pass, to the summands of the gradient of what was read.
fn inner_backward(of: &mut Lettered, name: Name<'_>, saved: &Inner, d_added: usize) -> Vec<usize> {
    let Words { input, inner: word, .. } = saved.words;
    let (up, gate, down) = saved.weights;
    of.gradient(&name("down.weight.grad"), [saved.active, d_added], down);
    let down = of.store(down);
    let d_active = of.einsum(&name("down.backward"), [d_added, down], word);
    let (inner, gated) = saved.inner;
    let read: Vec<usize> = gated.into_iter().chain([inner, d_active]).collect();
    let d_inner = of.tensor(&name("up.grad"), word);
    let d_gate = gated.map(|_| of.tensor(&name("gate.grad"), word));
    let written: Vec<usize> = std::iter::once(d_inner).chain(d_gate).collect();
    let rules = elementwise(&vec![word; read.len() + written.len()], word);
    of.op(&name("activation.backward"), 0.0, [&read, &written], rules);
    of.gradient(&name("up.weight.grad"), [saved.input, d_inner], up);
    let up = of.store(up);
    let mut parts = vec![of.einsum(&name("up.backward"), [d_inner, up], input)];
    if let (Some(d_gate), Some(gate)) = (d_gate, gate) {
        of.gradient(&name("gate.weight.grad"), [saved.input, d_gate], gate);
        let gate = of.store(gate);
        parts.push(of.einsum(&name("gate.backward"), [d_gate, gate], input));
    }
    parts
}
