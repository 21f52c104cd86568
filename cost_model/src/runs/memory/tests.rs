//! Published figures of Korthikanti et al. 2022, and laws.

use ir::card::{
    Attention, FeedForward, Head, MemoryFeature, Recompute, SequenceParallel, StateFormat,
    TransformerCard, ZeroStage,
};
use ir::plan::Parallelism;
use ir::stack::{AttentionKernel, Dispatcher, Stack, UpdateBuffers};
use ir::tensor::DType;

use super::activations::{Kept, Software, block_bytes};
use crate::kernels::stack::{DEEPSPEED_UPDATE, megatron_core};
use crate::runs::counts::block_parameters;
use crate::runs::forms::constants::Constants;
use crate::runs::forms::model::Pricing;
use crate::runs::forms::run::Run;
use crate::runs::forms::system::tests::a100;
use crate::runs::oracle::{Place, StageFigures, StageOracle};

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
        .map(|(sequence, what)| {
            block_bytes(
                &card,
                &self.parallelism(sequence),
                software(AttentionKernel::Unfused),
                what,
            )
        })
    }
}

/// A kernel of the attention core in bf16.
fn software(attention: AttentionKernel) -> Software {
    Software { attention, dtype: DType::Bf16, dispatcher: Dispatcher::AllToAll }
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

/// Figures of the first of a run's stages.
fn first(run: &Run, attention: AttentionKernel, features: &[MemoryFeature]) -> StageFigures {
    let stack = Stack { attention, ..megatron_core() };
    let (system, constants) = (a100(), Constants::nominal(&stack));
    let pricing =
        Pricing { features, ..Pricing::unlimited(&run.model, &system, &stack, &constants) };
    let priced = pricing.price(run.degrees(), false).unwrap();
    let stages = &run.plan.partition.stages;
    priced.stage(&stages[0], Place::of(0, stages.len())).unwrap()
}

/// Chunks of micro-batches that the first rank holds under 1F1B: one for each rank; interleaved
/// `(v - 1) p + 2 (p - 1) + 1` (Narayanan et al. 2021, sections 2.2 and 2.3).
fn in_flight([_, p, v]: [u32; 3]) -> f64 {
    f64::from(if v > 1 { (v - 1) * p + 2 * (p - 1) + 1 } else { p })
}

#[test]
fn the_first_stage() {
    for published in &PUBLISHED {
        for (sequence, recompute, gib) in [
            (SequenceParallel::Off, Recompute::None, published.first_gib[0]),
            (SequenceParallel::On, Recompute::Selective, published.first_gib[1]),
        ] {
            let run = Run::equal(published.card(), published.parallelism(sequence), recompute);
            let figures = first(&run, AttentionKernel::Unfused, &[]);
            near(in_flight(published.degrees) * figures.activation, gib * GIB);
        }
    }
}

#[test]
fn weights_and_optimizer() {
    for published in &PUBLISHED {
        let (card, parallelism) = (published.card(), published.parallelism(SequenceParallel::Off));
        let n_chunks = f64::from(parallelism.virtual_stages);
        let run = Run::equal(card.clone(), parallelism, Recompute::None);
        let figures = first(&run, AttentionKernel::Unfused, &[]);
        // The paper counts the matrices alone: 12 h^2 of 12 h^2 + 13 h.
        let h = card.hidden as f64;
        let matrices = 12.0 * h * h / block_parameters(&card).total() as f64;
        near(n_chunks * figures.states * matrices, published.states_gib * GIB);
    }
}

#[test]
fn logits_count_on_the_last_stage_with_what_features_add() {
    let parallelism = PUBLISHED[0].parallelism(SequenceParallel::Off);
    let run = Run::equal(PUBLISHED[0].card(), parallelism, Recompute::None);
    let of = |features: &[MemoryFeature]| first(&run, AttentionKernel::Flash, features);
    let logits = 2048.0 * 4.0 * 51_200.0 / 8.0;
    let inputs = 4.0 * 2048.0 * 4.0 * 6144.0;
    // The copy in single precision is kept from the forward to the backward pass.
    near(of(&[]).temporary, 2.0 * logits + inputs);
    let both = of(&[MemoryFeature::LossFusion, MemoryFeature::DeferredEmbeddingGradient]);
    near(both.temporary - of(&[]).temporary, 12.5 * logits);
    // 4 + 4 + 2, and 4 + 2 as eight ranks share it out.
    near(of(&[MemoryFeature::SeparateLoss]).temporary - of(&[]).temporary, 16.0 * logits);
    let two = Parallelism { pipeline: 2, ..run.degrees().clone() };
    let two = Run::equal(PUBLISHED[0].card(), two, Recompute::None);
    let not_last = first(&two, AttentionKernel::Flash, &[]);
    assert_eq!(not_last.temporary, 0.0);
    near(of(&[]).end_activation - not_last.end_activation, 4.0 * logits);
}

#[test]
fn recompute_trades_kept_activations_for_one_block() {
    let parallelism =
        Parallelism { pipeline: 4, ..PUBLISHED[0].parallelism(SequenceParallel::Off) };
    let [all, _, selective, _, input] = PUBLISHED[0].layer_bytes();
    for (recompute, expected, again) in [
        (Recompute::None, 12.0 * all, 0.0),
        (Recompute::Selective, 12.0 * selective, all - selective),
        (Recompute::Full, 12.0 * input, all),
        (Recompute::Uniform { blocks: 5 }, 3.0 * input, 5.0 * all),
        (Recompute::Block { blocks: 3 }, 3.0 * input + 9.0 * all, all),
        (Recompute::Block { blocks: 99 }, 12.0 * input, all),
    ] {
        let run = Run::equal(PUBLISHED[0].card(), parallelism.clone(), recompute);
        let figures = first(&run, AttentionKernel::Unfused, &[]);
        near(figures.activation, expected);
        assert!((figures.recompute - again).abs() < 1.0, "{recompute:?}");
    }
}

#[test]
fn states_are_shared_out_among_those_that_hold_them() {
    let experts = ir::card::ExpertCard {
        n_experts: 8,
        per_token: 2,
        feed_forward: 1024,
        n_shared: 0,
        ..Default::default()
    };
    let card = TransformerCard { experts: Some(experts), ..PUBLISHED[0].card() };
    let block = block_parameters(&card);
    let of = |zero, features: &[MemoryFeature]| {
        let parallelism = Parallelism { data: 8, expert: 4, zero, ..Parallelism::default() };
        let run = Run::equal(card.clone(), parallelism, Recompute::None);
        first(&run, AttentionKernel::Flash, features).states
    };
    // Master weights and moments, 12 of 18 bytes; two devices hold the same experts.
    let (dense, expert) = (48.0 * block.dense as f64, 48.0 * block.experts as f64 / 4.0);
    let saved = 12.0 * (dense * (1.0 - 1.0 / 8.0) + expert * (1.0 - 1.0 / 2.0));
    let saves = |features| of(ZeroStage::None, &[]) - of(ZeroStage::Optimizer, features);
    near(saves(&[]), saved);
    // Two whole sets of shards: four replicas share out each, and nobody an expert.
    near(saves(&[MemoryFeature::OptimizerInstances(2)]), 12.0 * dense * (1.0 - 1.0 / 4.0));
}

/// Llama 3 8B at 8,192 tokens of two samples: input, queries, values, the gate and the last product's
/// output, the fused core's output and 4 bytes per head.
#[test]
fn recompute_by_op_keeps_every_second_product() {
    let card = TransformerCard {
        hidden: 4096,
        n_heads: 32,
        n_kv_heads: 8,
        feed_forward: 14_336,
        form: FeedForward::Gated,
        sequence: 8192,
        ..PUBLISHED[0].card()
    };
    let bytes = |tensor| {
        let degrees = Parallelism {
            tensor,
            micro_batch: 2,
            sequence: SequenceParallel::On,
            ..Parallelism::default()
        };
        block_bytes(&card, &degrees, software(AttentionKernel::Flash), Kept::PerOp) / 16_384.0
    };
    let split = 2.0 * (4096.0 + 4096.0 + 1024.0 + 14_336.0 + 4096.0) + 4.0 * 32.0;
    near(bytes(1), 2.0 * 4096.0 + split);
    // Tensor ranks add up what the last product gives, so each has all of it before.
    near(bytes(8), 2.0 * 4096.0 + split / 8.0);
}

#[test]
fn hostile_cards_give_finite_bytes() {
    let card = TransformerCard {
        n_layers: 1,
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
    let run = Run::equal(card, parallelism, Recompute::Uniform { blocks: 0 });
    let figures = first(&run, AttentionKernel::Unfused, &[]);
    let bytes = figures.persistent() + figures.stash() + figures.temporary + figures.recompute;
    assert!(bytes.is_finite() && bytes > 0.0, "{figures:?}");
}

/// Bytes that the first stage of two holds more under a stack than under one without its habits.
fn more(habits: Stack, parallelism: Parallelism, format: StateFormat) -> f64 {
    let parallelism = Parallelism { pipeline: 2, ..parallelism };
    let run = Run::equal(PUBLISHED[0].card(), parallelism, Recompute::None);
    let of = |stack: &Stack| {
        let (system, constants) = (a100(), Constants::nominal(stack));
        let unlimited = Pricing::unlimited(&run.model, &system, stack, &constants);
        let pricing = Pricing { format, ..unlimited };
        let priced = pricing.price(run.degrees(), false).unwrap();
        priced.stage(&run.plan.partition.stages[0], Place::of(0, 2)).unwrap().persistent()
    };
    of(&habits) - of(&megatron_core())
}

#[test]
fn stacks_hold_what_their_code_keeps() {
    use StateFormat::{Megatron, Single};
    let degrees =
        |sequence| Parallelism { n_micro_batches: 16, ..PUBLISHED[0].parallelism(sequence) };
    // What comes back to the first stage, of 2048 tokens of 4 samples in 16 bits each.
    let message = 2.0 * 2048.0 * 4.0 * 6144.0;
    let posts = Stack { posts_receives: true, ..megatron_core() };
    near(more(posts.clone(), degrees(SequenceParallel::Off), Megatron), 16.0 * message);
    near(more(posts, degrees(SequenceParallel::On), Megatron), 16.0 * message / 8.0);
    let zero = |zero, data| Parallelism { zero, data, ..degrees(SequenceParallel::Off) };
    let keeps = Stack { keeps_shards: true, ..megatron_core() };
    let whole = more(
        Stack { update: UpdateBuffers { whole: 1.0, ..Default::default() }, ..megatron_core() },
        zero(ZeroStage::None, 4),
        Megatron,
    );
    assert!(whole > 0.0);
    near(more(keeps.clone(), zero(ZeroStage::Gradients, 4), Single), whole);
    let nothing = [
        more(keeps.clone(), zero(ZeroStage::Gradients, 4), Megatron),
        more(keeps, zero(ZeroStage::Parameters, 4), Single),
        more(
            Stack { update: DEEPSPEED_UPDATE, ..megatron_core() },
            zero(ZeroStage::None, 4),
            Single,
        ),
    ];
    assert_eq!(nothing, [0.0; 3]);
    let update = Stack { update: DEEPSPEED_UPDATE, ..megatron_core() };
    near(more(update.clone(), zero(ZeroStage::None, 4), Megatron), 8.0 * whole);
    near(more(update, zero(ZeroStage::Optimizer, 4), Megatron), 6.0 / 4.0 * whole);
}
