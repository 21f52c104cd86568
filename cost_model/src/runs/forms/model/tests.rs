use std::sync::Arc;

use ir::card::{
    Attention, BlockGroup, ExpertCard, FeedForward, Head, ModelCard, Recompute, SequenceParallel,
    TransformerCard, ZeroStage,
};
use ir::grid::Grid;
use ir::plan::{Parallelism, Partition, Plan, Stage};
use ir::schedule::Schedule;
use ir::stack::{HostShares, Launch};
use ir::units::Bytes;

use super::*;
use crate::kernels::stack::{megatron_core, pytorch_cpu};
use crate::runs::forms::model::priced::{Passes, Priced};
use crate::runs::forms::system::tests::a100;
use crate::runs::oracle::{self, Place, StageFigures};

fn card(form: FeedForward, head: Head) -> TransformerCard {
    TransformerCard {
        name: "gpt".to_owned(),
        n_layers: 8,
        hidden: 2048,
        n_heads: 16,
        n_kv_heads: 16,
        feed_forward: 8192,
        form,
        sequence: 1024,
        vocabulary: 51_200,
        experts: None,
        attention: Attention::Even,
        head,
    }
}

/// 1F1B of two ranks and four micro-batches.
const GRID: &str = "0F0,0F1,0B0,0F2,0B1,0F3,0B2,0B3\n1F0,1B0,1F1,1B1,1F2,1B2,1F3,1B3";

fn plan(parallelism: Parallelism, blocks: &[u32], recompute: Recompute, grid: &str) -> Plan {
    let mut next = 0;
    let stages = blocks.iter().map(|n| {
        let start = next;
        next += n;
        Stage { ops: Vec::new(), blocks: start..next, recompute, each: Vec::new(), mesh: None }
    });
    Plan {
        partition: Partition { stages: stages.collect() },
        parallelism,
        placement: Default::default(),
        schedule: Schedule { grid: Some(Grid::parse(grid).unwrap()), ..Schedule::default() },
    }
}

fn degrees() -> Parallelism {
    Parallelism {
        data: 4,
        tensor: 4,
        pipeline: 2,
        n_micro_batches: 4,
        micro_batch: 2,
        sequence: SequenceParallel::On,
        zero: ZeroStage::Optimizer,
        ..Parallelism::default()
    }
}

fn pricing<'a>(
    model: &'a ModelCard,
    system: &'a System,
    stack: &'a Stack,
    constants: &'a Constants,
) -> Pricing<'a> {
    Pricing {
        resident: 1e6,
        limit: Some(Bytes(80_000_000_000)),
        ..Pricing::unlimited(model, system, stack, constants)
    }
}

/// DeepSeek-V3 (arXiv:2412.19437): 671 billion parameters, of which 37 billion are active; the
/// module that predicts a second token has 14 billion (README of the model).
#[test]
fn parameters_of_deepseek_v3() {
    let dense = TransformerCard {
        n_layers: 61,
        hidden: 7168,
        n_heads: 128,
        n_kv_heads: 128,
        feed_forward: 18_432,
        sequence: 4096,
        vocabulary: 129_280,
        attention: Attention::Latent {
            query_rank: Some(1536),
            key_value_rank: 512,
            plain: 128,
            rotary: 64,
            value: 128,
        },
        ..card(FeedForward::Gated, Head::Separate)
    };
    let experts = ExpertCard {
        n_experts: 256,
        per_token: 8,
        feed_forward: 2048,
        n_shared: 1,
        ..Default::default()
    };
    let mixture = TransformerCard { experts: Some(experts), ..dense.clone() };
    let group = |card: &TransformerCard, n_blocks| BlockGroup::of_card(card.clone(), n_blocks);
    let mut model = ModelCard {
        name: "deepseek-v3".to_owned(),
        groups: vec![group(&dense, 3), group(&mixture, 58)],
        n_predictions: 1,
        other_parameters: [0; 2],
        dtype: None,
        stored: None,
        tuning: Default::default(),
    };
    let billions = counts::n_parameters(&model) as f64 / 1e9;
    assert!((billions - 671.0).abs() < 0.5, "{billions}");
    // One position has next to no attention; the embedding is no product.
    let mut short = model.clone();
    short.groups.iter_mut().for_each(|group| group.card.sequence = 1);
    let active = counts::model_flops(&short, 1) / 6.0 / 1e9;
    assert!((active - (37.0 - 129_280.0 * 7168.0 / 1e9)).abs() < 0.6, "{active}");
    model.groups.push(BlockGroup { extra_weights: 2 * 7168 * 7168, ..group(&mixture, 1) });
    let more = counts::n_parameters(&model) as f64 / 1e9 - billions;
    // Embedding and head are shared with the model and counted there.
    assert!((11.0..12.0).contains(&more), "{more}");
}

#[test]
fn a_lost_block_is_named() {
    let (system, stack) = (a100(), megatron_core());
    let constants = Constants::nominal(&stack);
    let model = ModelCard::uniform(card(FeedForward::Gated, Head::Separate));
    let pricing = pricing(&model, &system, &stack, &constants);
    for blocks in [[4, 3], [4, 5]] {
        let plan = plan(degrees(), &blocks, Recompute::None, GRID);
        assert_eq!(oracle::costs(&pricing, &plan).unwrap_err().code, "stages-lose-blocks");
    }
}

/// What a processor takes for launching what it runs, in floors of 1e-4 s, and what a split backward
/// pass leaves, by hand.
#[test]
fn a_processor_pays_for_what_it_launches() {
    let (system, usual) = (a100(), pytorch_cpu());
    let model = ModelCard::uniform(card(FeedForward::Plain, Head::Separate));
    let figures = |stack: &Stack, zero, recompute, place| {
        let constants = Constants::nominal(stack);
        let degrees = Parallelism { zero, data: 4, ..Parallelism { tensor: 1, ..degrees() } };
        let degrees = Parallelism { sequence: SequenceParallel::Off, ..degrees };
        let pricing = pricing(&model, &system, stack, &constants);
        let passes = Arc::new(Passes::of(&pricing, &degrees));
        Priced::new(pricing, degrees, passes).figures(&(2..6), recompute, place)
    };
    let recorded = Stack { launch: Launch::CudaGraphs, ..usual.clone() };
    let middle = Place { first: false, last: false };
    let ends = Place { first: true, last: true };
    let more = |zero, recompute, place| {
        let [full, less] = [&usual, &recorded].map(|stack| figures(stack, zero, recompute, place));
        let of = |figures: StageFigures| {
            [
                figures.forward_s,
                figures.backward_s,
                figures.recompute_s,
                figures.sharing_s,
                figures.split_s,
            ]
        };
        [0, 1, 2, 3, 4].map(|at| ((of(full)[at] - of(less)[at]) / 1e-4 * 10.0).round() / 10.0)
    };
    let HostShares { messages, pieces, again, split, updates, .. } = usual.host;
    let [half, four] = [messages / 2.0, 4.0];
    let plain = [four + half, 8.0 + half, 0.0, 0.0, four * split];
    use ZeroStage::{Gradients, Optimizer, Parameters};
    assert_eq!(more(ZeroStage::None, Recompute::None, middle), plain);
    let full = more(ZeroStage::None, Recompute::Full, middle);
    assert_eq!(full[2], four + four * again);
    assert_eq!(more(Optimizer, Recompute::None, middle)[3], four * updates);
    let two = more(Gradients, Recompute::None, middle);
    assert_eq!([two[0], two[1], two[3]], [plain[0], plain[1] + four * pieces, four * pieces]);
    let three = more(Parameters, Recompute::None, middle);
    assert_eq!(three[..2], [plain[0] + four * pieces, plain[1] + 2.0 * four * pieces]);
    assert_eq!(more(Optimizer, Recompute::None, ends)[3], 6.0 * updates);
    // 2048 tokens: outputs of the products are 3, 1, 4 and 1 times as wide as the model, both norms as
    // wide; behind them 51,200 logits and the last norm.
    let split = |place| {
        let stage = figures(&usual, ZeroStage::None, Recompute::None, place);
        (stage.split_bytes, stage.backward_s == stage.weight_s)
    };
    let block = 2.0 * 2048.0 * 11.0 * 2048.0;
    let head = 2.0 * 2048.0 * (51_200.0 + 2048.0);
    assert_eq!(split(middle), (four * block, false));
    assert_eq!(split(Place { first: false, last: true }), (four * block + head, false));
    // PyTorch's first stage runs all of it in the second part.
    assert_eq!(split(Place { first: true, last: false }), (0.0, true));
    let freed = figures(&megatron_core(), ZeroStage::None, Recompute::None, middle);
    assert_eq!(freed.split_bytes, 0.0);
}
