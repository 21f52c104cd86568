//! Published figures of Korthikanti et al. 2022, and laws.

use ir::card::{
    Attention, FeedForward, Head, SequenceParallel, StateFormat, TransformerCard, ZeroStage,
};
use ir::tensor::DType;

use super::activations::{Kept, block_bytes};
use super::*;
use crate::runs::counts::block_parameters;

const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;

/// A model of the paper: layers, hidden, heads; micro-batch; tensor, pipeline, virtual; and its
/// figures.
struct Published {
    model: [u64; 3],
    micro_batch: u64,
    degrees: [u32; 3],
    /// MiB per layer: tensor parallel, with sequence parallel, selective, both, full recompute.
    layer_mib: [f64; 5],
    /// GiB of the first stage: nothing recomputed, sequence parallel and selective.
    first_gib: [f64; 2],
    states_gib: f64,
    /// Percent of the tensor-parallel baseline (figure 7): sequence, selective, both, full.
    percent: [f64; 4],
}

/// Table 3 and figures 1 and 7; MiB and GiB recomputed from the formulas.
const PUBLISHED: [Published; 4] = [
    Published {
        model: [48, 6144, 64],
        micro_batch: 4,
        degrees: [8, 1, 1],
        layer_mib: [1264.0, 844.0, 624.0, 204.0, 96.0],
        first_gib: [59.25, 9.5625],
        states_gib: 45.5625,
        percent: [66.84, 49.42, 16.18, 7.64],
    },
    Published {
        model: [96, 12_288, 96],
        micro_batch: 1,
        degrees: [8, 8, 3],
        layer_mib: [552.0, 342.0, 312.0, 102.0, 48.0],
        first_gib: [66.843_75, 12.351_562_5],
        states_gib: 45.5625,
        percent: [62.04, 56.53, 18.49, 8.71],
    },
    Published {
        model: [105, 20_480, 128],
        micro_batch: 1,
        degrees: [8, 35, 3],
        layer_mib: [840.0, 490.0, 520.0, 170.0, 80.0],
        first_gib: [114.023_437_5, 23.076_171_875],
        states_gib: 31.640_625,
        percent: [58.31, 62.04, 20.27, 9.42],
    },
    Published {
        model: [128, 25_600, 160],
        micro_batch: 1,
        degrees: [8, 64, 1],
        layer_mib: [1050.0, 612.5, 650.0, 212.5, 100.0],
        first_gib: [131.25, 26.5625],
        states_gib: 32.958_984_375,
        percent: [58.33, 61.90, 20.24, 9.52],
    },
];

impl Published {
    fn card(&self) -> TransformerCard {
        let [layers, hidden, heads] = self.model;
        TransformerCard {
            name: String::new(),
            n_layers: u32::try_from(layers).expect("few layers"),
            hidden,
            n_heads: heads,
            n_kv_heads: heads,
            feed_forward: 4 * hidden,
            form: FeedForward::Plain,
            sequence: 2048,
            vocabulary: 51_200,
            experts: None,
            attention: Attention::Even,
            head: Head::Tied,
        }
    }

    fn parallelism(&self, sequence: SequenceParallel) -> Parallelism {
        let [tensor, pipeline, virtual_stages] = self.degrees;
        Parallelism {
            tensor,
            pipeline,
            virtual_stages,
            sequence,
            micro_batch: self.micro_batch,
            n_micro_batches: 8 * u64::from(pipeline),
            ..Parallelism::default()
        }
    }

    /// Bytes per layer in the order of the table's columns.
    fn layer_bytes(&self) -> [f64; 5] {
        let card = self.card();
        [
            (SequenceParallel::Off, Kept::All),
            (SequenceParallel::On, Kept::All),
            (SequenceParallel::Off, Kept::WithoutCore),
            (SequenceParallel::On, Kept::WithoutCore),
            (SequenceParallel::Off, Kept::Input),
        ]
        .map(|(sequence, kept)| {
            block_bytes(
                &card,
                &self.parallelism(sequence),
                (AttentionKernel::Unfused, DType::Bf16),
                kept,
            )
        })
    }
}

fn line(lines: &[MemoryLine], kind: LineKind) -> f64 {
    lines.iter().find(|line| line.kind == kind).map_or(0.0, |line| line.bytes)
}

fn near(value: f64, wanted: f64) {
    assert!((value / wanted - 1.0).abs() < 1e-9, "{value} is not {wanted}");
}

#[test]
fn bytes_of_a_layer() {
    for published in &PUBLISHED {
        for (bytes, mib) in published.layer_bytes().iter().zip(published.layer_mib) {
            near(*bytes, mib * MIB);
        }
    }
}

#[test]
fn shares_of_the_baseline() {
    for published in &PUBLISHED {
        let [baseline, others @ ..] = published.layer_bytes();
        for (bytes, percent) in others.iter().zip(published.percent) {
            assert!((100.0 * bytes / baseline - percent).abs() < 0.2, "{percent}");
        }
    }
}

#[test]
fn the_first_stage() {
    let kernel = AttentionKernel::Unfused;
    for published in &PUBLISHED {
        let card = published.card();
        for (sequence, recompute, gib) in [
            (SequenceParallel::Off, Recompute::None, published.first_gib[0]),
            (SequenceParallel::On, Recompute::Selective, published.first_gib[1]),
        ] {
            let parallelism = published.parallelism(sequence);
            let run = run(&card, &parallelism, kernel, recompute);
            let first = equal_shares(&card, &parallelism)[0];
            near(line(&run.lines(first), LineKind::Activations), gib * GIB);
        }
    }
}

#[test]
fn weights_and_optimizer() {
    let kernel = AttentionKernel::Unfused;
    for published in &PUBLISHED {
        let card = published.card();
        let parallelism = published.parallelism(SequenceParallel::Off);
        let run = run(&card, &parallelism, kernel, Recompute::None);
        let lines = run.lines(equal_shares(&card, &parallelism)[0]);
        let states: f64 = [
            LineKind::Parameters,
            LineKind::Gradients,
            LineKind::MasterWeights,
            LineKind::OptimizerStates,
        ]
        .iter()
        .map(|kind| line(&lines, *kind))
        .sum();
        // The paper counts the matrices alone: 12 h^2 of 12 h^2 + 13 h.
        let h = card.hidden as f64;
        let matrices = 12.0 * h * h / block_parameters(&card).total() as f64;
        near(states * matrices, published.states_gib * GIB);
    }
}

fn run<'a>(
    card: &'a TransformerCard,
    parallelism: &'a Parallelism,
    attention: AttentionKernel,
    recompute: Recompute,
) -> TrainingRun<'a> {
    TrainingRun {
        card,
        parallelism,
        recompute,
        attention,
        format: StateFormat::Megatron,
        features: &[],
        reserve: Reserve::NONE,
    }
}

#[test]
fn ranks_differ() {
    let card = PUBLISHED[0].card();
    let parallelism =
        Parallelism { pipeline: 4, ..PUBLISHED[0].parallelism(SequenceParallel::Off) };
    let kernel = AttentionKernel::Flash;
    let run = run(&card, &parallelism, kernel, Recompute::None);
    let of_ranks: Vec<_> =
        equal_shares(&card, &parallelism).iter().map(|share| run.lines(*share)).collect();
    let activations: Vec<f64> =
        of_ranks.iter().map(|lines| line(lines, LineKind::Activations)).collect();
    assert!(activations.is_sorted_by(|a, b| a > b), "{activations:?}");
    let has = |kind| of_ranks.iter().map(|l| line(l, kind) > 0.0).collect::<Vec<_>>();
    assert_eq!(has(LineKind::Logits), [false, false, false, true]);
    assert_eq!(has(LineKind::Embedding), [true, false, false, true]);
    near(run.peak(RankShare { rank: 1, blocks: 12 }), of_ranks[1].iter().map(|l| l.bytes).sum());
}

#[test]
fn logits_count_on_the_last_rank_with_what_features_add() {
    let card = PUBLISHED[0].card();
    let parallelism = PUBLISHED[0].parallelism(SequenceParallel::Off);
    let kernel = AttentionKernel::Flash;
    let plain = run(&card, &parallelism, kernel, Recompute::None);
    let share = RankShare { rank: 0, blocks: 48 };
    let logits = 2048.0 * 4.0 * 51_200.0 / 8.0;
    let inputs = 4.0 * 2048.0 * 4.0 * 6144.0;
    near(line(&plain.lines(share), LineKind::Logits), 6.0 * logits + inputs);
    let features = [MemoryFeature::LossFusion, MemoryFeature::DeferredEmbeddingGradient];
    let both = TrainingRun { features: &features, ..plain };
    near(both.peak(share) - plain.peak(share), 12.5 * logits);
    let features = [MemoryFeature::TunableOverlap];
    let ahead = TrainingRun { features: &features, ..plain };
    assert!(ahead.peak(share) > plain.peak(share));
}

#[test]
fn recompute_trades_kept_activations_for_one_block() {
    let card = PUBLISHED[0].card();
    let parallelism =
        Parallelism { pipeline: 4, ..PUBLISHED[0].parallelism(SequenceParallel::Off) };
    let kernel = AttentionKernel::Unfused;
    let share = RankShare { rank: 0, blocks: 12 };
    let [all, _, selective, _, input] = PUBLISHED[0].layer_bytes();
    for (recompute, kept, again) in [
        (Recompute::None, 48.0 * all, 0.0),
        (Recompute::Selective, 48.0 * selective, all - selective),
        (Recompute::Full, 48.0 * input, all),
        (Recompute::Uniform { blocks: 5 }, 12.0 * input, 5.0 * all),
        (Recompute::Block { blocks: 3 }, 4.0 * (3.0 * input + 9.0 * all), all),
        (Recompute::Block { blocks: 99 }, 48.0 * input, all),
    ] {
        let lines = run(&card, &parallelism, kernel, recompute).lines(share);
        near(line(&lines, LineKind::Activations), kept);
        assert!((line(&lines, LineKind::Recomputed) - again).abs() < 1.0, "{recompute:?}");
    }
}

#[test]
fn experts_are_shared_out_among_those_that_hold_them() {
    let experts =
        ir::card::ExpertCard { n_experts: 8, per_token: 2, feed_forward: 1024, n_shared: 0 };
    let card = TransformerCard { experts: Some(experts), ..PUBLISHED[0].card() };
    let kernel = AttentionKernel::Flash;
    let parallelism =
        Parallelism { data: 8, expert: 4, zero: ZeroStage::Optimizer, ..Parallelism::default() };
    let lines =
        run(&card, &parallelism, kernel, Recompute::None).lines(RankShare { rank: 0, blocks: 48 });
    let block = block_parameters(&card);
    let wanted = 48.0 * (block.dense as f64 * 8.0 / 8.0 + block.experts as f64 / 4.0 * 8.0 / 2.0);
    near(line(&lines, LineKind::OptimizerStates), wanted);
}

#[test]
fn what_a_device_sets_aside_has_lines() {
    let card = PUBLISHED[0].card();
    let parallelism = PUBLISHED[0].parallelism(SequenceParallel::Off);
    let kernel = AttentionKernel::Flash;
    let bare = run(&card, &parallelism, kernel, Recompute::None);
    let share = RankShare { rank: 0, blocks: 48 };
    let lines = TrainingRun { reserve: Reserve::device(), ..bare }.lines(share);
    near(line(&lines, LineKind::Fragmentation), 0.05 * bare.peak(share));
    for kind in
        [LineKind::Allocator, LineKind::Workspace, LineKind::Context, LineKind::Communicators]
    {
        assert!(line(&lines, kind) > 0.0, "{kind:?}");
    }
    assert!(lines.is_sorted_by_key(|line| line.kind));
}

#[test]
fn hostile_cards_give_finite_lines() {
    let card = TransformerCard {
        n_layers: u32::MAX,
        hidden: u64::MAX,
        n_heads: 0,
        vocabulary: u64::MAX,
        ..PUBLISHED[0].card()
    };
    let parallelism = Parallelism {
        tensor: 0,
        pipeline: 0,
        context: 0,
        virtual_stages: 0,
        n_micro_batches: u64::MAX,
        micro_batch: u64::MAX,
        ..Parallelism::default()
    };
    let kernel = AttentionKernel::Unfused;
    let run = run(&card, &parallelism, kernel, Recompute::Uniform { blocks: 0 });
    assert_eq!(equal_shares(&card, &parallelism).len(), 1);
    assert!(run.peak(RankShare { rank: u32::MAX - 1, blocks: u32::MAX }).is_finite());
}
