//! A chain of segments as a model card of parts: for graphs that no transformer's figures describe.

use std::collections::BTreeMap;

use cost_model::kernels::price::step;
use cost_model::ops::workload::passes::Passes;
use ir::card::part::{Grows, PartCard, PartCore, PartPass, PartProduct};
use ir::card::{Attention, BlockGroup, FeedForward, Head, ModelCard, TransformerCard};
use ir::graph::Graph;
use ir::id::OpId;
use ir::op::{Fused, Op, Phase, Product, Work};
use ir::units::Flops;

use super::Structure;
use super::figures::{self, Sums};
use super::products::Factors;

/// The card of a graph of one sample: a part for each segment. `passes` are those of its ops one by one
/// and as a stack runs them that fuses.
#[must_use]
pub fn model(
    graph: &Graph,
    structure: &Structure,
    sums: &Sums,
    [passes, fused]: [&Passes; 2],
) -> ModelCard {
    let mut parts = listed(graph, structure, sums, passes);
    let stashes = figures::kept(structure, fused);
    let fused_parts = listed(graph, structure, sums, fused);
    for ((part, mut fused_part), (stash, before)) in parts.iter_mut().zip(fused_parts).zip(stashes)
    {
        fused_part.stash = stash.get();
        fused_part.kept_before = before.into_iter().map(|(at, bytes)| (at, bytes.get())).collect();
        part.fused = Some(Box::new(fused_part));
    }
    let groups = parts.into_iter().map(|part| BlockGroup {
        part: Some(Box::new(part)),
        ..BlockGroup::of_card(blank(&graph.name), 1)
    });
    ModelCard {
        name: graph.name.clone(),
        groups: groups.collect(),
        n_predictions: 1,
        other_parameters: [0; 2],
        dtype: None,
        stored: None,
        tuning: Default::default(),
    }
}

/// A part for each segment, with the kernels of some passes.
fn listed(graph: &Graph, structure: &Structure, sums: &Sums, passes: &Passes) -> Vec<PartCard> {
    let mut parts: Vec<PartCard> = (0..structure.segments.len())
        .map(|segment| PartCard {
            n_parameters: sums.segments[segment].n_parameters,
            n_lines: sums.segments[segment].n_lines,
            stash: sums.segments[segment].stash.map_or(0, |bytes| bytes.get()),
            input: sums.segments[segment].input.get(),
            behind: sums.segments[segment].behind.get(),
            ..PartCard::default()
        })
        .collect();
    for tied in &sums.tied {
        for pair in tied.segments.windows(2) {
            parts[pair[1]].tied.push((pair[0] as u32, tied.n_elements));
        }
    }
    add_work(graph, structure, passes, &mut parts);
    parts
}

/// Kernels of all passes, each in the part of its forward op; those of a loss over several results
/// in the last.
fn add_work(graph: &Graph, structure: &Structure, passes: &Passes, parts: &mut [PartCard]) {
    let last = parts.len().saturating_sub(1);
    let factors = Factors::of(graph);
    let mut products: Vec<[BTreeMap<(Product, Grows), u64>; 3]> =
        vec![Default::default(); parts.len()];
    let forward = (0..passes.n_forward).map(OpId::new);
    for op in forward.chain(passes.backward()) {
        let owner = passes.owner.get(op.index()).copied().flatten();
        let segment = owner.map_or(last, |owner| structure.segment_of[owner.index()]);
        let node = passes.graph.op(op);
        let Work::Kernel(kernel) = &node.work else { continue };
        let [forward, input, weight] = all(&mut parts[segment]);
        let pass = match number(node.phase) {
            0 => forward,
            1 => input,
            _ => weight,
        };
        if kernel.products.is_empty() {
            let bytes = (kernel.bytes_read + kernel.bytes_written).get();
            let is_fixed = owner.is_some_and(|owner| factors.is_of_weights(owner));
            let sum = if is_fixed { &mut pass.fixed_bytes } else { &mut pass.bytes };
            *sum = sum.saturating_add(bytes);
            pass.n_kernels += u64::from(kernel.fused == Fused::Alone);
            continue;
        }
        let (core, others) = kernel.products.split_at(step::n_core(node, kernel));
        add_core(pass, core, node.phase);
        if node.phase == Phase::BackwardWeight {
            pass.added = pass.added.saturating_add(step::n_added(kernel));
        }
        let by = owner.map(|owner| (graph.op(owner), factors.is_by_weight(owner)));
        for product in others {
            // What lies side by side is one product.
            if !matches!(kernel.fused, Fused::Beside { is_first: false, .. }) {
                let key = (step::whole(node, kernel, *product).0, grows(product, by));
                *products[segment][number(node.phase)].entry(key).or_default() += 1;
            }
        }
    }
    for (part, by_pass) in parts.iter_mut().zip(products) {
        for (pass, counts) in all(part).into_iter().zip(by_pass) {
            let listed = counts.into_iter().map(|((product, grows), n_kernels)| PartProduct {
                product,
                grows,
                n_kernels,
            });
            pass.products = listed.collect();
        }
    }
}

/// Products of a core of attention; the gradients of two are four.
fn add_core(pass: &mut PartPass, core: &[Product], phase: Phase) {
    let Some(first) = core.first() else { return };
    let flops =
        core.iter().map(|product| product.flops().unwrap_or(Flops::MAX)).sum::<Flops>().get();
    let flops = if phase == Phase::Forward { flops } else { flops / 2 };
    let [sequence, head_dim] = step::positions_and_head(first);
    let is_alike = |known: &&mut PartCore| (known.sequence, known.head_dim) == (sequence, head_dim);
    match pass.attention.iter_mut().find(is_alike) {
        Some(known) => known.flops = known.flops.saturating_add(flops),
        None => pass.attention.push(PartCore { flops, sequence, head_dim }),
    }
    pass.n_kernels += 1;
}

/// Its passes, in the order of [`number`].
fn all(part: &mut PartCard) -> [&mut PartPass; 3] {
    [&mut part.forward, &mut part.backward_input, &mut part.backward_weight]
}

fn number(phase: Phase) -> usize {
    match phase {
        Phase::Forward | Phase::Optimizer => 0,
        Phase::BackwardInput => 1,
        Phase::BackwardWeight => 2,
    }
}

/// Which extent of a product of some pass grows with the samples, from the forward op that it
/// belongs to.
fn grows(product: &Product, owner: Option<(&Op, bool)>) -> Grows {
    let Some((owner, true)) = owner else { return Grows::Count };
    let Work::Kernel(forward) = &owner.work else { return Grows::Count };
    let is_gradient_of_weight = forward
        .products
        .iter()
        .any(|other| other.m == product.k && other.k == product.m && other.n == product.n);
    let is_like_forward = forward.products.iter().any(|other| other.m == product.m);
    if is_gradient_of_weight && !is_like_forward { Grows::Contracted } else { Grows::Rows }
}

/// A card that says nothing: one head, one token.
fn blank(name: &str) -> TransformerCard {
    TransformerCard {
        name: name.to_owned(),
        n_layers: 0,
        hidden: 1,
        n_heads: 1,
        n_kv_heads: 1,
        feed_forward: 0,
        form: FeedForward::Gated,
        sequence: 1,
        vocabulary: 0,
        experts: None,
        attention: Attention::Even,
        head: Head::Tied,
    }
}
