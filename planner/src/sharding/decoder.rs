//! The step of a decoder: forward and backward pass of all layers, dense or mixtures of experts, between an embedding and a
//! vocabulary head with cross-entropy.
//!
//! Letters of dimensions: `b` sequences, `s` tokens, `h` hidden, `n` query heads, `m` key and value heads, `d` elements
//! of a head, `f` inner width, `v` vocabulary.

use ir::card::{BlockGroup, Head, ModelCard, TransformerCard};

use super::attention;
use super::feed_forward;
use super::graph::Graph;
use super::later;
use super::lettered::Lettered;
pub use super::lettered::Run;
use super::rules::{cross_entropy, embedding, embedding_backward};

const NORM: (&str, bool) = ("bs", false);
const SUM: &str = "bsh";

/// A layer: its card, and tensors that its backward pass reads.
struct Layer<'a> {
    card: &'a TransformerCard,
    name: String,
    /// Copies that it counts for.
    times: u32,
    attention: attention::Saved,
    feed_forward: feed_forward::Saved,
    input: usize,
    middle: usize,
    norms: [usize; 2],
}

/// The op of the loss.
pub const LOSS: &str = "cross_entropy";

/// A step with what memory is counted by.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its ops.
    pub graph: Graph,
    /// Numbers of parameters.
    pub parameters: Vec<usize>,
    /// Numbers of tensors that are stored between passes.
    pub stored: Vec<usize>,
}

/// Groups of blocks, each with whether its blocks follow modules that predict later tokens; none where some have no card,
/// or products of their own that are no such modules.
fn known(model: &ModelCard) -> Option<Vec<(&BlockGroup, bool)>> {
    let groups = || model.groups.iter().filter(|group| group.n_blocks > 0);
    let n_blocks: u32 = groups().map(|group| group.n_blocks).sum();
    let n_layers = n_blocks.checked_sub(model.n_predictions.saturating_sub(1))?;
    let hidden = groups().next()?.card.hidden;
    let mut before = 0;
    let mut all = Vec::new();
    for group in groups() {
        let is_later = before >= n_layers;
        before += group.n_blocks;
        let joins = if is_later { later::weights(hidden) } else { 0 };
        if group.part.is_some() || group.extra_weights != joins {
            return None;
        }
        all.push((group, is_later));
    }
    Some(all)
}

/// The graph of a step. None of parts that have no card, and of blocks with products of their own that are no modules
/// which predict a later token.
#[must_use]
pub fn step(model: &ModelCard, run: &Run) -> Option<Step> {
    let n_sequences = run.n_sequences;
    let groups = known(model)?;
    let card = &groups.first()?.0.card;
    let mut of = Lettered::new(&[
        ('b', n_sequences),
        ('s', card.sequence),
        ('h', card.hidden),
        ('v', card.vocabulary),
        (later::JOINED, card.hidden),
    ]);
    (of.run, of.element_bytes) = (*run, run.element_bytes[0]);
    let table = of.parameter("embedding.weight", "vh");
    let ids = of.source("tokens", "bs");
    of.graph.tensors[ids].element_bytes = 8.0;
    let mut x = of.add("embedding", 0.0, &[ids, table], "bsh", embedding());
    let mut passes = Passes { layers: Vec::new(), modules: Vec::new(), ends: Vec::new() };
    for (group, is_later) in groups {
        x = passes.forward(&mut of, (group, is_later), [x, ids, table]);
    }
    passes.ends.push(x);
    let head = match card.head {
        Head::Tied => table,
        Head::Separate => of.parameter("head.weight", "vh"),
    };
    let mut d_heads = Vec::new();
    let d_ends: Vec<usize> = (passes.ends.iter().enumerate())
        .map(|(at, x)| predicted(&mut of, (at, *x), head, &mut d_heads))
        .collect();
    let d_tables = passes.backward(&mut of, d_ends)?;
    of.element_bytes = run.element_bytes[1];
    let d_tables: Vec<usize> = (d_tables.into_iter())
        .map(|(name, d_x)| {
            let name = format!("{name}.weight.grad");
            of.add(&name, 0.0, &[ids, d_x], "vh", embedding_backward())
        })
        .collect();
    // Of a weight that is read several times, gradients are summed before they are reduced.
    let all = match card.head {
        Head::Tied => vec![("embedding", table, [d_heads, d_tables].concat())],
        Head::Separate => vec![("head", head, d_heads), ("embedding", table, d_tables)],
    };
    for (name, weight, gradients) in all {
        let gradient = of.sum(&format!("{name}.weight.grad.sum"), &gradients, "vh");
        of.pin(gradient, weight);
    }
    let stored = of.stored.values().copied().collect();
    Some(Step { parameters: of.parameters, stored, graph: of.graph })
}

/// Layers of both passes, and the modules in front of some that predict later tokens.
struct Passes<'a> {
    layers: Vec<Layer<'a>>,
    modules: Vec<later::Saved>,
    /// What layers leave where tokens are predicted from that, the next ones first.
    ends: Vec<usize>,
}

impl<'a> Passes<'a> {
    /// The layers of a group, from what those before leave, ids and the embedding's table.
    fn forward(
        &mut self,
        of: &mut Lettered,
        (group, is_later): (&'a BlockGroup, bool),
        [mut x, ids, table]: [usize; 3],
    ) -> usize {
        let is_one = of.run.is_collapsed && !is_later;
        let (n, times) = if is_one { (1, group.n_blocks) } else { (group.n_blocks, 1) };
        for _ in 0..n {
            let first = self.layers.iter().map(|layer| layer.times).sum::<u32>();
            let name = match times {
                1 => format!("layers.{first}"),
                _ => format!("layers.{first}-{}", first + times - 1),
            };
            if is_later {
                self.ends.push(x);
                let (module, joined) = later::forward(of, &name, [x, ids, table]);
                self.modules.push(module);
                x = joined;
            }
            let n_sequences = of.run.n_sequences;
            let (layer, next) = forward(of, &group.card, (name, times, n_sequences), x);
            self.layers.push(layer);
            x = next;
        }
        x
    }

    /// The gradients of what was embedded, each with a name.
    fn backward(
        mut self,
        of: &mut Lettered,
        mut d_ends: Vec<usize>,
    ) -> Option<Vec<(String, usize)>> {
        let mut d_tables = Vec::new();
        let mut d_x = d_ends.pop()?;
        for layer in self.layers.iter().rev() {
            d_x = backward(of, layer, d_x);
            if let Some(module) = self.modules.pop() {
                let (d_hidden, d_embedding) = later::backward(of, &module, d_x);
                let d_end = d_ends.pop()?;
                d_x = of.sum(&format!("{}.hidden.sum", module.name), &[d_end, d_hidden], SUM);
                d_tables.push((format!("{}.embedding", module.name), d_embedding));
            }
        }
        d_tables.push(("embedding".to_owned(), d_x));
        Some(d_tables)
    }
}

/// A prediction of tokens from what layers leave, by its number: to the gradient of that.
fn predicted(
    of: &mut Lettered,
    (number, x): (usize, usize),
    head: usize,
    d_heads: &mut Vec<usize>,
) -> usize {
    let name = |name: &str| match number {
        0 => name.to_owned(),
        _ => format!("{name}.{number}"),
    };
    let last = of.each(&name("norm"), &[x], NORM);
    let logits = of.einsum(&name("head"), [last, head], "bsv");
    let d_logits = of.add(&name(LOSS), 0.0, &[logits], "bsv", cross_entropy());
    d_heads.push(of.unpinned(&name("head.weight.grad"), [last, d_logits], head));
    let d_last = of.einsum(&name("head.backward"), [d_logits, head], "bsh");
    of.each(&name("norm.backward"), &[x, d_last], NORM)
}

/// Sizes of the dimensions of a layer.
fn resize(of: &mut Lettered, card: &TransformerCard) {
    of.resize(&attention::sizes(card));
    of.resize(&feed_forward::sizes(card));
}

fn forward<'a>(
    of: &mut Lettered,
    card: &'a TransformerCard,
    (layer, times, n_sequences): (String, u32, u64),
    before: usize,
) -> (Layer<'a>, usize) {
    resize(of, card);
    let name = |of: &str| format!("{layer}.{of}");
    let input = match times {
        1 => before,
        _ => of.repeated(&name("input"), before, times),
    };
    let again = if of.run.recomputes { 2 } else { 1 };
    of.times = of.copies * again;
    let first = of.each(&name("attention_norm"), &[input], NORM);
    let (attention, back) = attention::forward(of, &name, (card, n_sequences), first);
    let middle = of.sum(&name("attention.residual"), &[input, back], SUM);
    let second = of.each(&name("mlp_norm"), &[middle], NORM);
    let (feed_forward, added) = feed_forward::forward(of, &name, card, second);
    let next = of.sum(&name("mlp.residual"), &[vec![middle], added].concat(), SUM);
    of.times = of.copies;
    let norms = [first, second].map(|norm| of.saved(norm));
    let (input, middle) = (of.store(input), of.saved(middle));
    let next = if times > 1 { of.ended(&name("output"), next) } else { next };
    (Layer { card, name: layer, times, attention, feed_forward, input, middle, norms }, next)
}

fn backward(of: &mut Lettered, layer: &Layer<'_>, before: usize) -> usize {
    resize(of, layer.card);
    let name = |of: &str| format!("{}.{of}", layer.name);
    let d_next = match layer.times {
        1 => before,
        times => of.repeated(&name("output.grad"), before, times),
    };
    let saved = (&layer.feed_forward, layer.norms[1]);
    let parts = feed_forward::backward(of, &name, saved, d_next);
    let d_norm = of.sum(&name("mlp_norm.sum"), &parts, SUM);
    let d_second = of.each(&name("mlp_norm.backward"), &[layer.middle, d_norm], NORM);
    let d_middle = of.sum(&name("mlp.residual.backward"), &[d_next, d_second], SUM);
    let saved = (layer.card, &layer.attention);
    let parts = attention::backward(of, &name, saved, d_middle);
    let d_norm = of.sum(&name("attention_norm.sum"), &parts, SUM);
    let d_first = of.each(&name("attention_norm.backward"), &[layer.input, d_norm], NORM);
    let d_input = of.sum(&name("attention.residual.backward"), &[d_middle, d_first], SUM);
    if layer.times > 1 { of.ended(&name("input.grad"), d_input) } else { d_input }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use cost_model::runs::counts;
    use ir::card::{Attention, ExpertCard, FeedForward};

    use super::super::graph::Op;
    use super::super::mesh::{Collective, Part};

    use super::super::goldens::{mesh, solved};
    use super::super::plan;
    use super::*;
    use crate::run::{Control, Limits};

    pub(crate) fn llama(n_layers: u32) -> TransformerCard {
        TransformerCard {
            name: "llama".to_owned(),
            n_layers,
            hidden: 4096,
            n_heads: 32,
            n_kv_heads: 8,
            feed_forward: 14_336,
            form: FeedForward::Gated,
            sequence: 4096,
            vocabulary: 128_256,
            experts: None,
            attention: Attention::Even,
            head: Head::Separate,
        }
    }

    fn timed(card: &TransformerCard, n_sequences: u64, is_collapsed: bool) -> Graph {
        let model = ModelCard::uniform(card.clone());
        step(&model, &Run::timed(n_sequences, is_collapsed)).unwrap().graph
    }

    const FAST: (u64, f64, f64) = (8, 10e-6, 300e9);

    /// DeepSeek-V3 (arXiv:2412.19437) without its module that predicts a second token.
    fn deepseek(n_dense: u32, n_mixtures: u32) -> ModelCard {
        let dense = TransformerCard {
            hidden: 7168,
            n_heads: 128,
            n_kv_heads: 128,
            feed_forward: 18_432,
            vocabulary: 129_280,
            attention: Attention::Latent {
                query_rank: Some(1536),
                key_value_rank: 512,
                plain: 128,
                rotary: 64,
                value: 128,
            },
            ..llama(n_dense)
        };
        let experts = ExpertCard {
            n_experts: 256,
            per_token: 8,
            feed_forward: 2048,
            n_shared: 1,
            ..ExpertCard::default()
        };
        let mixture = TransformerCard { experts: Some(experts), ..dense.clone() };
        let groups = vec![
            BlockGroup::of_card(dense.clone(), n_dense),
            BlockGroup::of_card(mixture, n_mixtures),
        ];
        ModelCard { groups, ..ModelCard::uniform(dense) }
    }

    /// Products by weights, with those of routers, three times those of the forward pass.
    #[test]
    fn work_is_that_of_the_cards() {
        let of_later = {
            let mut model = deepseek(3, 58);
            let layer = model.groups[1].card.clone();
            let joins = 2 * 7168 * 7168;
            model.groups.push(BlockGroup { extra_weights: joins, ..BlockGroup::of_card(layer, 1) });
            ModelCard { n_predictions: 2, ..model }
        };
        let cards = [ModelCard::uniform(llama(3)), deepseek(3, 58), of_later];
        let routers = [0.0, 58.0, 59.0].map(|layers| 2.0 * 7168.0 * 256.0 * layers);
        for (model, router) in cards.iter().zip(routers) {
            let graph = step(model, &Run::timed(8, true)).unwrap().graph;
            let is_product = |op: &&Op| {
                !op.name.ends_with("attention") && !op.name.ends_with("attention.backward")
            };
            let products = graph.ops.iter().filter(is_product);
            let flops: f64 = products.map(|op| f64::from(op.times) * op.flops).sum();
            let blocks = model.groups.iter();
            let blocks: f64 = blocks
                .map(|group| f64::from(group.n_blocks) * counts::forward_flops(&group.card)[0])
                .sum();
            let card = &model.groups[0].card;
            let head = 2.0 * (card.hidden * card.vocabulary) as f64;
            let head = f64::from(model.n_predictions) * head;
            let joins: u64 = model.groups.iter().map(|group| group.extra_weights).sum();
            let head = head + 2.0 * joins as f64;
            let all = 3.0 * 8.0 * card.sequence as f64 * (blocks + head + router);
            // Cards count the weights of narrow norms.
            assert!((flops / all - 1.0).abs() < 1e-4, "{flops} {all}");
        }
    }

    /// Tokens go to experts on all devices, and nothing else of a layer is split but sequences.
    #[test]
    fn a_mixture_splits_its_experts() {
        let graph = step(&deepseek(3, 58), &Run::timed(64, true)).unwrap().graph;
        let found = solved(&graph, &[(8, 20e-6, 25e9), FAST]).unwrap();
        assert!(
            (found.seconds - found.bound_s).abs() < 1e-9,
            "{} {}",
            found.seconds,
            found.bound_s
        );
        let placements = |name: &str| {
            let op = graph.ops.iter().position(|op| op.name == format!("layers.3-60.{name}"));
            found.strategies[op.unwrap()].placements.clone()
        };
        let (first, whole) = (vec![Part::Split(0); 2], vec![Part::Replicated; 2]);
        for product in ["experts.up", "experts.gate", "experts.down"] {
            assert_eq!(placements(product), vec![first.clone(); 3]);
        }
        for product in ["attention.q", "attention.o", "shared.up", "router"] {
            assert_eq!(placements(product), [&first, &whole, &first].map(Clone::clone));
        }
        let of_slots = found.steps.iter().filter(|step| graph.tensors[step.tensor].dims.len() == 4);
        let is_exchange = |(_, of): &(usize, Collective)| *of == Collective::AllToAll;
        let exchanges = of_slots.filter(|step| step.collectives.iter().all(is_exchange));
        // There and back, in both passes.
        assert_eq!(exchanges.count(), 4);
    }

    /// All layers one by one are as fast as copies of equal ones.
    #[test]
    fn two_kinds_of_layers_are_exact() {
        let [one, all] = [true, false].map(|is_collapsed| {
            let graph = step(&deepseek(2, 3), &Run::timed(64, is_collapsed)).unwrap().graph;
            solved(&graph, &[(8, 20e-6, 25e9), FAST]).unwrap()
        });
        assert!((one.seconds - all.seconds).abs() < 1e-9, "{} {}", one.seconds, all.seconds);
        for of in [&one, &all] {
            assert!((of.seconds - of.bound_s).abs() < 1e-9, "{} {}", of.seconds, of.bound_s);
        }
    }

    /// One copy of equal layers is as fast as all of them, and the bounds meet.
    #[track_caller]
    fn is_exact(card: &TransformerCard, n_sequences: u64, axes: &[(u64, f64, f64)]) -> [usize; 2] {
        let [one, all] = [true, false]
            .map(|is_collapsed| solved(&timed(card, n_sequences, is_collapsed), axes).unwrap());
        assert!((one.seconds - all.seconds).abs() < 1e-9, "{} {}", one.seconds, all.seconds);
        for of in [&one, &all] {
            assert!((of.seconds - of.bound_s).abs() < 1e-9, "{} {}", of.seconds, of.bound_s);
        }
        [one.n_columns, all.n_columns]
    }

    #[test]
    fn one_layer_for_all_is_exact() {
        for n_layers in [1, 2, 5] {
            is_exact(&llama(n_layers), 8, &[FAST]);
        }
        // The shape of a model of 70 billion parameters.
        let card = TransformerCard { hidden: 8192, n_heads: 64, feed_forward: 28_672, ..llama(80) };
        assert_eq!(is_exact(&card, 64, &[FAST]), [2298, 150_579]);
        assert_eq!(is_exact(&card, 64, &[(8, 20e-6, 25e9), FAST]), [37_816, 2_567_093]);
    }

    /// Where time ends, the best so far with its bound.
    #[test]
    fn limits_of_time_leave_a_bound() {
        let axes = [(2, 20e-6, 25e9), (4, 15e-6, 100e9), FAST];
        let (mesh, prices) = mesh(&axes);
        let graph = timed(&llama(32), 64, true);
        let limits = Limits { time: Some(Duration::ZERO), ..Limits::default() };
        let found = plan(&graph, &mesh, &prices, &Control::new(&limits)).unwrap();
        assert!(found.bound_s > 0.0 && found.bound_s < found.seconds, "{}", found.bound_s);
        let best = plan(&graph, &mesh, &prices, &Control::default()).unwrap();
        assert!((best.seconds - best.bound_s).abs() < 1e-9, "{} {}", best.seconds, best.bound_s);
        assert!(found.bound_s < best.seconds && best.seconds <= found.seconds);
    }
}
