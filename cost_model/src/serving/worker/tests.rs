use ir::card::BlockGroup;
use ir::card::part::PartCard;
use ir::card::stored::Stored;

use super::super::cases_tests::{deepseek_v3, llama2_70b, qwen3_235b, windowed};
use super::*;

#[test]
fn devices_are_products_of_degrees() {
    let model = deepseek_v3();
    let shape =
        Shape { tensor: 2, data: 4, context: 1, expert_tensor: 1, expert: 8, stages: vec![20, 41] };
    assert_eq!((shape.stage_devices(), shape.expert_devices(), shape.devices()), (8, 8, 16));
    assert_eq!(shape.check(&model), Ok(()));
    assert_eq!(Shape::one(&model).check(&model), Ok(()));
    assert_eq!(Shape::of_tensor(&model, 8).check(&model), Ok(()));
    // 61 = 16 + 15 + 15 + 15.
    assert_eq!(Shape::one(&model).in_stages(4).stages, [16, 15, 15, 15]);
}

#[test]
fn every_rule_states_its_numbers() {
    let (dense, mixed) = (llama2_70b(), qwen3_235b());
    let of = |model: &ModelCard, change: fn(&mut Shape)| {
        let mut shape = Shape::one(model);
        change(&mut shape);
        shape.check(model)
    };
    let zero = Err(Invalid::Zero { axis: Axis::Data });
    assert_eq!(of(&dense, |s| s.data = 0), zero);
    assert_eq!(of(&dense, |s| s.stages.clear()), Err(Invalid::Zero { axis: Axis::Pipeline }));
    assert_eq!(of(&dense, |s| s.context = 2), Err(Invalid::Context { context: 2 }));
    assert_eq!(of(&dense, |s| s.expert = 2), Err(Invalid::NoExperts { experts: 2 }));
    let width = Invalid::Width { attention: 2, experts: 8 };
    assert_eq!(of(&mixed, |s| (s.tensor, s.expert) = (2, 8)), Err(width));
    let heads = Invalid::Heads { heads: 64, tensor: 3 };
    assert_eq!(of(&dense, |s| s.tensor = 3), Err(heads));
    let experts = Invalid::Experts { experts: 128, expert: 3 };
    assert_eq!(of(&mixed, |s| (s.data, s.expert) = (3, 3)), Err(experts));
    let width = Invalid::ExpertWidth { width: 1536, expert_tensor: 5 };
    assert_eq!(of(&mixed, |s| (s.data, s.expert_tensor) = (5, 5)), Err(width));
    let layers = Invalid::Layers { stated: 79, layers: 80 };
    assert_eq!(of(&dense, |s| s.stages = vec![40, 39]), Err(layers));
    assert_eq!(of(&dense, |s| s.stages = vec![80, 0]), Err(Invalid::EmptyStage { stage: 1 }));
    let stages = Invalid::Stages { stages: 81, layers: 80 };
    assert_eq!(of(&dense, |s| s.stages = vec![1; 81]), Err(stages));
    let mut odd = llama2_70b();
    odd.groups[0].card.feed_forward = 28_673;
    assert_eq!(of(&odd, |s| s.tensor = 2), Err(Invalid::FeedForward { width: 28_673, tensor: 2 }));
    let mut parts = llama2_70b();
    parts.groups[0] =
        BlockGroup { part: Some(Box::new(PartCard::default())), ..parts.groups[0].clone() };
    assert_eq!(of(&parts, |_| ()), Err(Invalid::Parts));
}

/// vLLM and SGLang refuse Qwen3-235B-A22B-FP8 with TP 8 and no EP ("192 is not divisible by weight quantization
/// block_n = 128"), and start it with TP 4, or with EP.
#[test]
fn what_shares_a_scale_is_not_split() {
    let mut model = qwen3_235b();
    model.stored = Some(Box::new(Stored { scale_block: 128, ..Stored::default() }));
    let of = |expert_tensor: u32, expert: u32| {
        let shape = Shape { expert_tensor, expert, ..Shape::of_tensor(&model, 8) };
        shape.check(&model)
    };
    let refused = Invalid::ScaleBlock { width: 1_536, parts: 8, block: 128 };
    assert_eq!([of(8, 1), of(4, 2), of(1, 8)], [Err(refused), Ok(()), Ok(())]);
    // Qwen2-72B's width of AWQ groups was padded for this: 29,568 is 231 groups.
    let mut dense = llama2_70b();
    dense.stored.clone_from(&model.stored);
    dense.groups[0].card.feed_forward = 29_568;
    let refused = Invalid::ScaleBlock { width: 29_568, parts: 2, block: 128 };
    assert_eq!(Shape::of_tensor(&dense, 2).check(&dense), Err(refused));
    assert_eq!(Shape::one(&dense).check(&dense), Ok(()));
}

#[test]
fn key_and_value_heads_divide_or_are_copied() {
    let mut model = windowed(1024);
    // Eight of them on 16 and 32 ranks: two and four copies; six on four ranks: neither.
    for tensor in [1, 2, 8, 16, 32] {
        assert_eq!(Shape::of_tensor(&model, tensor).check(&model), Ok(()));
    }
    let card = &model.groups[0].card;
    assert_eq!(Shape::of_tensor(&model, 16).with_copies(card).n_kv_heads, 16);
    assert_eq!(Shape::of_tensor(&model, 4).with_copies(card).n_kv_heads, 8);
    for group in &mut model.groups {
        group.card.n_kv_heads = 6;
    }
    let refused = Invalid::KeyValueHeads { heads: 6, tensor: 4 };
    assert_eq!(Shape::of_tensor(&model, 4).check(&model), Err(refused));
    // What is latent has no heads to share out.
    let latent = deepseek_v3();
    let card = &latent.groups[0].card;
    assert_eq!(Shape::of_tensor(&latent, 16).with_copies(card).n_kv_heads, 128);
}
