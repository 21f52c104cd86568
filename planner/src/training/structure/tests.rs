mod sketch;

use std::collections::BTreeSet;

use cost_model::ops::workload::passes::Passes;
use cost_model::runs::forms::model::counts::{model_flops, n_parameters};
use ir::card::{Attention, FeedForward, Head};
use ir::graph::Graph;
use ir::id::{OpId, TensorId};
use ir::units::{Bytes, Flops};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::figures::{Figures, Sums};
use super::*;
use sketch::{Sketch, decoder, encoder_decoder, random, shuffled};

fn found(graph: &Graph) -> (Structure, Sums, Option<Passes>) {
    let structure = find(&Line::of(graph));
    let passes = Passes::of(graph.clone()).ok().map(|(passes, _)| passes);
    let sums = figures::of(graph, &structure, passes.as_ref());
    (structure, sums, passes)
}

/// Every op is in one segment, in an order in which it can run, and reads from no later one.
fn assert_chain(graph: &Graph, structure: &Structure) {
    let mut seen = BTreeSet::new();
    let makers = graph.producers();
    for (number, segment) in structure.segments.iter().enumerate() {
        assert!(!segment.ops.is_empty());
        for op in &segment.ops {
            assert_eq!(structure.segment_of[op.index()], number);
            for input in &graph.op(*op).inputs {
                assert!(makers[input.index()].is_none_or(|maker| seen.contains(&maker)));
            }
            assert!(seen.insert(*op));
        }
    }
    assert_eq!(seen.len(), graph.ops.len());
    for (number, run) in structure.runs.iter().enumerate() {
        assert!(run.segments.len() >= 2 && run.segments.is_sorted());
        assert!(run.segments.iter().all(|at| structure.segments[*at].run == Some(number)));
    }
}

/// Figures by their definitions, one boundary at a time.
fn assert_sums(graph: &Graph, structure: &Structure, sums: &Sums) {
    let flops: Flops = sums.segments.iter().map(|figures| figures.flops).sum();
    assert_eq!(flops, graph.flops());
    let roots = graph.roots();
    let makers = graph.producers();
    for cut in 0..structure.segments.len() {
        let mut crossing = BTreeSet::new();
        for op in graph.op_ids().filter(|op| structure.segment_of[op.index()] > cut) {
            for input in &graph.op(op).inputs {
                let root = roots[input.index()];
                let maker = makers[root.index()];
                if maker.is_some_and(|maker| structure.segment_of[maker.index()] <= cut) {
                    crossing.insert(root);
                }
            }
        }
        let bytes: Bytes = crossing.iter().map(|root| graph.tensor(*root).bytes).sum();
        assert_eq!(sums.segments[cut].behind, bytes, "behind segment {cut}");
        let next = sums.segments.get(cut + 1);
        assert!(next.is_none_or(|next| next.before == bytes && next.input <= bytes));
    }
}

/// What does not depend on ids and names.
fn told(structure: &Structure, sums: &Sums) -> Vec<(Option<usize>, usize, Figures)> {
    let pairs = structure.segments.iter().zip(&sums.segments);
    pairs.map(|(segment, figures)| (segment.run, segment.ops.len(), figures.clone())).collect()
}

#[test]
fn a_decoder_is_a_chain_of_equal_blocks() {
    for n_layers in [2, 3, 12] {
        let graph = decoder(n_layers, Head::Tied);
        let (structure, sums, passes) = found(&graph);
        assert_chain(&graph, &structure);
        assert_sums(&graph, &structure, &sums);
        assert_eq!(structure.runs.len(), 1);
        assert_eq!(structure.runs[0].segments, (1..=n_layers).collect::<Vec<_>>());
        // Of few layers the head is a large part, which is cut.
        assert!(n_layers < 12 || structure.segments.len() == n_layers + 2);
        let blocks = &sums.segments[1..=n_layers];
        assert!(blocks.iter().all(|block| {
            (block.flops, block.n_parameters, block.stash)
                == (blocks[0].flops, blocks[0].n_parameters, blocks[0].stash)
        }));
        // The hidden state and the mask that all blocks share.
        assert_eq!(sums.segments[1].behind, Bytes(2 * 16 * 32 + 2 * 16 * 16));
        let passes = passes.unwrap();
        let trained = (0..passes.graph.tensors.len()).map(TensorId::new);
        let trained = trained.filter(|tensor| passes.is_trained(*tensor));
        let all: u64 = trained.map(|tensor| passes.elements(tensor)).sum();
        assert_eq!(sums.n_parameters(), all);
        let [tied] = &sums.tied[..] else { panic!("{:?}", sums.tied) };
        assert_eq!((tied.n_elements, tied.segments[0]), (100 * 32, 0));
        assert!(tied.segments[1] > n_layers);
    }
}

#[test]
fn names_and_order_change_nothing() {
    let graphs = [decoder(6, Head::Tied), encoder_decoder(4, 3), random(7, 120)];
    for (number, graph) in graphs.iter().enumerate() {
        let (structure, sums, _) = found(graph);
        let before = told(&structure, &sums);
        for seed in 0..20 {
            let other = shuffled(graph, seed);
            let (structure, sums, _) = found(&other);
            assert_chain(&other, &structure);
            assert_eq!(told(&structure, &sums), before, "graph {number}, seed {seed}");
        }
    }
}

#[test]
fn encoder_and_decoder_are_two_runs_and_the_memory_crosses_the_second() {
    let graph = encoder_decoder(4, 3);
    let (structure, sums, _) = found(&graph);
    assert_chain(&graph, &structure);
    assert_sums(&graph, &structure, &sums);
    let lengths: Vec<usize> = structure.runs.iter().map(|run| run.segments.len()).collect();
    assert_eq!(lengths, [4, 3]);
    let last_encoder = *structure.runs[0].segments.last().unwrap();
    let first_decoder = structure.runs[1].segments[0];
    assert!(last_encoder < first_decoder);
    let hidden = 2 * 16 * 32;
    assert!(sums.segments[last_encoder].behind >= Bytes(hidden));
    assert!(sums.segments[first_decoder].behind >= Bytes(2 * hidden));
}

#[test]
fn any_graph_becomes_a_chain() {
    for seed in 0..300 {
        let mut of_seed = SmallRng::seed_from_u64(seed);
        let graph = random(seed, of_seed.random_range(1..200));
        let (structure, sums, _) = found(&graph);
        assert_chain(&graph, &structure);
        assert_sums(&graph, &structure, &sums);
    }
    let empty = find(&Line::of(&Graph::default()));
    assert!(empty.segments.is_empty() && empty.runs.is_empty());
}

#[test]
fn long_parts_without_blocks_are_cut() {
    let mut sketch = Sketch::default();
    let mut value = sketch.input("x", &[16, 64]);
    // Widths that never come again, so that nothing repeats.
    for at in 0..80 {
        value = sketch.linear(value, 64 + at);
    }
    let graph = sketch.returning(&[value]);
    let (structure, sums, _) = found(&graph);
    assert_chain(&graph, &structure);
    assert_sums(&graph, &structure, &sums);
    assert!(structure.runs.is_empty());
    assert!((16..=80).contains(&structure.segments.len()), "{}", structure.segments.len());
}

#[test]
fn the_card_is_read_off_the_blocks() {
    for head in [Head::Tied, Head::Separate] {
        let graph = decoder(5, head);
        let (structure, sums, _) = found(&graph);
        let (model, blocks) = template::model(&Line::of(&graph), &structure, &sums).unwrap();
        assert_eq!(blocks, 1..6);
        let card = &model.groups[0].card;
        let heads = (card.n_heads, card.n_kv_heads, card.attention);
        assert_eq!(heads, (4, 4, Attention::Even));
        assert_eq!((card.hidden, card.feed_forward, card.form), (32, 128, FeedForward::Plain));
        assert_eq!((card.sequence, card.vocabulary, card.head), (16, 100, head));
        // The last normalisation.
        assert_eq!(model.other_parameters, [0, 2 * 32]);
        assert_eq!(n_parameters(&model), sums.n_parameters());
    }
}

#[test]
fn cross_attention_is_no_template_and_becomes_parts() {
    let graph = encoder_decoder(4, 3);
    let (structure, sums, passes) = found(&graph);
    let passes = passes.unwrap();
    assert!(template::model(&Line::of(&graph), &structure, &sums).is_err());
    let model = parts::model(&graph, &structure, &sums, [&passes, &passes]);
    assert_eq!(model.n_blocks() as usize, structure.segments.len());
    assert_eq!(n_parameters(&model), sums.n_parameters());
    let all: f64 = (0..passes.graph.ops.len())
        .map(|op| match &passes.graph.op(OpId::new(op)).work {
            ir::op::Work::Kernel(kernel) => kernel.flops().as_f64(),
            _ => 0.0,
        })
        .sum();
    assert!((model_flops(&model, 3) / (3.0 * all) - 1.0).abs() < 1e-12);
}

#[test]
fn a_hundred_thousand_ops_take_no_quadratic_time() {
    // Quadratic time would be hours.
    let graph = decoder(6_000, Head::Tied);
    assert!(graph.ops.len() > 100_000);
    assert_eq!(find(&Line::of(&graph)).runs[0].segments.len(), 6_000);
}
