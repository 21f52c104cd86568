//! Models by their configs, and hosts by their data sheets, that tests of this room share.

use std::collections::BTreeMap;

use ir::card::{Attention, BlockGroup, ExpertCard, FeedForward, Head, ModelCard, TransformerCard};
use ir::chip::Chip;
use ir::cluster::DeviceKind;
use ir::measured::GpuFacts;
use ir::profile::Profile;
use ir::tensor::DType;
use ir::units::{BytesPerSecond, FlopsPerSecond};

use crate::kernels::step_products::StepProducts;
use crate::links::collective::Link;
use crate::runs::forms::system::System;

/// Hidden size, heads, key and value heads, elements of a head, width, vocabulary, layers.
type Sizes = (u64, [u64; 3], u64, u64, u32);

fn dense(name: &str, sizes: Sizes) -> TransformerCard {
    let (hidden, [n_heads, n_kv_heads, dim], feed_forward, vocabulary, n_layers) = sizes;
    TransformerCard {
        name: name.to_owned(),
        n_layers,
        hidden,
        n_heads,
        n_kv_heads,
        feed_forward,
        form: FeedForward::Gated,
        sequence: 4096,
        vocabulary,
        experts: None,
        attention: Attention::Heads { dim },
        head: Head::Separate,
    }
}

/// Llama 2 70B (Touvron et al., arXiv:2307.09288).
pub(super) fn llama2_70b() -> ModelCard {
    ModelCard::uniform(dense("llama2-70b", (8192, [64, 8, 128], 28_672, 32_000, 80)))
}

/// Llama 2 7B.
pub(super) fn llama2_7b() -> ModelCard {
    ModelCard::uniform(dense("llama2-7b", (4096, [32, 32, 128], 11_008, 32_000, 32)))
}

/// Llama 3.1 8B.
pub(super) fn llama31_8b() -> ModelCard {
    ModelCard::uniform(dense("llama3.1-8b", (4096, [32, 8, 128], 14_336, 128_256, 32)))
}

/// Qwen3 32B.
pub(super) fn qwen3_32b() -> ModelCard {
    ModelCard::uniform(dense("qwen3-32b", (5120, [64, 8, 128], 25_600, 151_936, 64)))
}

fn experts(n_experts: u64, per_token: u64, feed_forward: u64, n_shared: u64) -> ExpertCard {
    ExpertCard { n_experts, per_token, feed_forward, n_shared, ..ExpertCard::default() }
}

/// Qwen3 235B-A22B.
pub(super) fn qwen3_235b() -> ModelCard {
    let card = dense("qwen3-235b-a22b", (4096, [64, 4, 128], 12_288, 151_936, 94));
    ModelCard::uniform(TransformerCard { experts: Some(experts(128, 8, 1536, 0)), ..card })
}

/// Qwen3 30B-A3B.
pub(super) fn qwen3_30b() -> ModelCard {
    let card = dense("qwen3-30b-a3b", (2048, [32, 4, 128], 6144, 151_936, 48));
    ModelCard::uniform(TransformerCard { experts: Some(experts(128, 8, 768, 0)), ..card })
}

/// DeepSeek-V3 (arXiv:2412.19437) without the layer that predicts a later token.
pub(super) fn deepseek_v3() -> ModelCard {
    let card = dense("deepseek-v3", (7168, [128, 128, 128], 18_432, 129_280, 61));
    let attention = Attention::Latent {
        query_rank: Some(1536),
        key_value_rank: 512,
        plain: 128,
        rotary: 64,
        value: 128,
    };
    let dense = TransformerCard { attention, ..card };
    let mixed = TransformerCard { experts: Some(experts(256, 8, 2048, 1)), ..dense.clone() };
    let groups = vec![BlockGroup::of_card(dense.clone(), 3), BlockGroup::of_card(mixed, 58)];
    ModelCard { groups, ..ModelCard::uniform(dense) }
}

/// Llama 3.1 8B of which every second layer sees so many tokens.
pub(super) fn windowed(tokens: u64) -> ModelCard {
    let model = llama31_8b();
    let whole = model.groups[0].card.clone();
    let near =
        TransformerCard { attention: Attention::Window { dim: 128, tokens }, ..whole.clone() };
    let groups = (0..32).map(|layer| {
        BlockGroup::of_card(if layer % 2 == 0 { near.clone() } else { whole.clone() }, 1)
    });
    ModelCard { groups: groups.collect(), ..model }
}

/// Hosts of eight A100 with 80 GB, without measured collectives.
pub(super) fn a100() -> System {
    let facts = GpuFacts {
        memory_bandwidth: 2.039e12,
        peak: 312e12,
        n_multiprocessors: 108,
        last_level_cache: None,
        clock: None,
    };
    System::a100_hosts("a100", &facts, BTreeMap::new(), 25e9).unwrap()
}

/// Hosts of eight H100 or, with a faster memory, H200.
pub(super) fn hopper(memory_bandwidth: f64) -> System {
    let rate = |rate| FlopsPerSecond::new(rate).unwrap();
    let device = DeviceKind {
        name: "hopper".to_owned(),
        chip: Chip::H100,
        memory_bandwidth: BytesPerSecond::new(memory_bandwidth),
        peak: BTreeMap::from([(DType::Bf16, rate(989.4e12)), (DType::F8, rate(1978.9e12))]),
        n_multiprocessors: Some(132),
        ..DeviceKind::default()
    };
    let inside = Link { start_up_s: 20e-6, rate: BytesPerSecond::new(445e9 * 0.8).unwrap() };
    let products = StepProducts::new(&Profile::default(), &device);
    System { device, products, inside, ..a100() }
}
