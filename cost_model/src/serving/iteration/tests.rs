//! Laws, arithmetic by hand, and published times.

mod aiconfigurator;

use ir::card::{BlockGroup, Skew};
use ir::stack::Dispatcher;
use ir::tensor::DType;
use ir::workload::StepPhase;

use super::super::Chunk;
use super::super::cases_tests::{
    a100, deepseek_v3, hopper, llama2_70b, llama31_8b, qwen3_32b, qwen3_235b, windowed,
};
use super::super::engine::{Engine, stack};
use super::*;
use crate::runs::forms::block::served::touched;
use crate::runs::forms::constants::Constants;
use crate::runs::forms::system::System;

const NOTHING: Overhead = Overhead {
    iteration_s: 0.0,
    layer_s: 0.0,
    graph_requests: u64::MAX,
    small_reduce: None,
    hopper_decode: None,
    mixed_rows: 1,
    dispatcher: Dispatcher::AllGather,
    overlaps: false,
};

fn priced(
    (model, dtype): (&ModelCard, DType),
    system: &System,
    shape: &Shape,
    overhead: Overhead,
) -> WorkerPrices {
    let stack = stack();
    let constants = Constants::nominal(&stack);
    let base = Pricing { dtype, ..Pricing::unlimited(model, system, &stack, &constants) };
    WorkerPrices::new(&base, shape, overhead).unwrap()
}

fn half(model: &ModelCard, system: &System, shape: &Shape) -> WorkerPrices {
    priced((model, DType::Bf16), system, shape, NOTHING)
}

fn prompt(new: u64, cached: u64) -> Iteration {
    Iteration { prompts: vec![Chunk { new, cached }], ..Iteration::default() }
}

fn decode(n_decoding: u64, each: u64) -> Iteration {
    Iteration { n_decoding, decoding_cached: n_decoding * each, ..Iteration::default() }
}

fn near(value: f64, wanted: f64, share: f64) {
    assert!((value / wanted - 1.0).abs() < share, "{value} is not {wanted}");
}

/// Models of all families with shapes that they are served in.
fn workers() -> Vec<(String, WorkerPrices)> {
    let (dense, mixed, latent, near) = (qwen3_32b(), qwen3_235b(), deepseek_v3(), windowed(1024));
    let h200 = hopper(4.8e12);
    let split = |model: &ModelCard, tensor, data, expert_tensor, expert| Shape {
        tensor,
        data,
        expert_tensor,
        expert,
        ..Shape::one(model)
    };
    let shapes = [
        (&dense, Shape::of_tensor(&dense, 1)),
        (&dense, Shape::of_tensor(&dense, 4)),
        (&dense, Shape::of_tensor(&dense, 2).in_stages(3)),
        (&mixed, split(&mixed, 4, 2, 1, 8)),
        (&mixed, split(&mixed, 8, 1, 2, 4)),
        (&latent, split(&latent, 1, 8, 1, 8)),
        (&latent, split(&latent, 8, 1, 8, 1)),
        (&near, Shape::of_tensor(&near, 2)),
    ];
    let of = |(model, shape): (&ModelCard, Shape)| {
        (format!("{} {shape:?}", model.name), half(model, &h200, &shape))
    };
    shapes.into_iter().map(of).collect()
}

#[test]
fn nothing_takes_nothing_and_more_takes_no_less() {
    for (name, worker) in workers() {
        assert_eq!(worker.seconds(&Iteration::default()), 0.0, "{name}");
        assert_eq!(worker.period_s(&Iteration::default()), 0.0, "{name}");
        let rising = |name: &str, of: &dyn Fn(u64) -> Iteration| {
            let sizes =
                [1, 2, 7, 8, 9, 31, 64, 65, 127, 200, 512, 1000, 2048, 5000, 16_384, 20_000];
            let times: Vec<f64> = sizes.iter().map(|n| worker.seconds(&of(*n))).collect();
            for pair in times.windows(2) {
                assert!(pair[1] >= pair[0] * (1.0 - 1e-9), "{name}: {times:?}");
            }
        };
        rising(&name, &|n| prompt(n, 0));
        rising(&name, &|n| prompt(100, n));
        rising(&name, &|n| decode(n, 1000));
        rising(&name, &|n| decode(32, n));
        rising(&name, &|n| Iteration { prompts: prompt(n, 500).prompts, ..decode(20, 3000) });
        // Both at once take less than one after the other, and no less than each.
        let (a, b) = (prompt(600, 0), decode(50, 2000));
        let both = Iteration { prompts: a.prompts.clone(), ..b.clone() };
        let (a, b, both) = (worker.seconds(&a), worker.seconds(&b), worker.seconds(&both));
        assert!(both < a + b && both >= a.max(b), "{name}: {a} {b} {both}");
    }
}

#[test]
fn chunks_of_a_prompt_have_its_operations_and_take_no_less() {
    for (name, worker) in workers() {
        let whole = prompt(4096, 0);
        for n in [2, 4, 16] {
            let each = 4096 / n;
            let chunks = || (0..n).map(|at| prompt(each, at * each));
            let flops: f64 = chunks().map(|chunk| worker.attention_flops(&chunk)).sum();
            near(flops, worker.attention_flops(&whole), 1e-9);
            let seconds: f64 = chunks().map(|chunk| worker.seconds(&chunk)).sum();
            assert!(seconds > 0.999 * worker.seconds(&whole), "{name}: {n} chunks {seconds}");
        }
    }
    // 2 x 2 x 64 heads x 128 x 4096^2 / 2 in 64 layers of one of four ranks.
    let model = qwen3_32b();
    let worker = half(&model, &hopper(4.8e12), &Shape::of_tensor(&model, 4));
    let by_hand = 64.0 * 16.0 * 2.0 * 256.0 * 4096.0 * 4096.0 / 2.0;
    near(worker.attention_flops(&prompt(4096, 0)), by_hand, 1e-12);
}

#[test]
fn pairs_of_windows_by_hand() {
    let model = windowed(1024);
    let prices = LayerPrices {
        system: a100(),
        stack: stack(),
        constants: Constants::nominal(&stack()),
        dtype: DType::Bf16,
    };
    let card = &model.groups[0].card;
    let attending = Attending::of(&prices, card, Held::default(), 1);
    // Within the window all is seen: 512^2 / 2 and 512 x 100.
    assert_eq!(attending.pairs(512, 100), [131_072.0, 51_200.0]);
    // 2,048 tokens: 1,024^2 / 2 in the triangle and 1,024^2 behind it.
    assert_eq!(attending.pairs(2048, 0), [1_572_864.0, 0.0]);
    // Behind 5,000 each of 2,048 new ones sees 1,024 in all.
    assert_eq!(attending.pairs(2048, 5000).iter().sum::<f64>(), 2048.0 * 1024.0);
    // Behind 600: 424 of them see all of those, the next 600 one fewer each.
    assert_eq!(attending.pairs(2048, 600)[1], 424.0 * 600.0 + 600.0 * 600.0 / 2.0);
    // Token by token: the x-th of n new ones sees min(x + p, w).
    let counted: u64 = (0..3000).map(|x: u64| (x + 700).min(1024)).sum();
    near(attending.pairs(3000, 700).iter().sum(), counted as f64, 1e-3);
    // Keys of a decoding request behind its window are read no further.
    assert_eq!(attending.decode_s(8, 8 * 5000, 1.0), attending.decode_s(8, 8 * 9000, 1.0));
    assert!(attending.decode_s(8, 8 * 500, 1.0) < attending.decode_s(8, 8 * 1000, 1.0));
}

#[test]
fn one_device_exchanges_nothing_and_links_cost_what_they_carry() {
    let model = qwen3_32b();
    let (fast, mut slow) = (hopper(4.8e12), hopper(4.8e12));
    let a_tenth = slow.inside.rate.get() / 10.0;
    slow.inside.rate = ir::units::BytesPerSecond::new(a_tenth).unwrap();
    let of = |system: &System, tensor, at: &Iteration| {
        half(&model, system, &Shape::of_tensor(&model, tensor)).seconds(at)
    };
    for at in [prompt(4096, 0), decode(64, 1000)] {
        assert_eq!(of(&fast, 1, &at), of(&slow, 1, &at));
    }
    // 128 all-reduces and that of the embedding of 4,096 x 5,120 elements of 2 bytes by four ranks: 1.5
    // times as many bytes at nine tenths of a tenth less; logits of one token are gathered too.
    let at = prompt(4096, 0);
    let bytes = 129.0 * 1.5 * 2.0 * 4096.0 * 5120.0 + 0.75 * 2.0 * 151_936.0;
    let more = of(&slow, 4, &at) - of(&fast, 4, &at);
    near(more, bytes * (1.0 / a_tenth - 0.1 / a_tenth), 1e-6);
}

/// Tokens of eight attention ranks are gathered by all and scattered again: an all-reduce of all of them in
/// each of 94 layers; the embedding and the head are whole on every rank.
#[test]
fn tokens_of_attention_ranks_reach_experts() {
    let model = qwen3_235b();
    let shape = Shape { data: 8, expert: 8, ..Shape::one(&model) };
    let (fast, mut slow) = (hopper(4.8e12), hopper(4.8e12));
    let half_rate = slow.inside.rate.get() / 2.0;
    slow.inside.rate = ir::units::BytesPerSecond::new(half_rate).unwrap();
    let more = |overhead: Overhead, at: &Iteration| {
        let of = |system| priced((&model, DType::Bf16), system, &shape, overhead).seconds(at);
        of(&slow) - of(&fast)
    };
    let at = prompt(1000, 0);
    let all = 94.0 * 2.0 * 7.0 / 8.0 * 8.0 * 1000.0 * 4096.0 * 2.0;
    near(more(NOTHING, &at), all / half_rate / 2.0, 1e-6);
    // All to all each of eight visits goes by itself, seven eighths of them to another device, and back.
    let exchanged = Overhead { dispatcher: Dispatcher::AllToAll, ..NOTHING };
    let visits = 94.0 * 2.0 * 7.0 / 8.0 * 8.0 * 1000.0 * 4096.0 * 2.0 / (330.0 / 445.0);
    near(more(exchanged, &at), visits / half_rate / 2.0, 1e-6);
}

/// No iteration beats its operations at the peak rate, nor its bytes at the bandwidth of memory; large ones
/// take less than twice as long, beside what tensor ranks exchange.
#[test]
fn light_is_never_beaten_by_hand() {
    let h100 = hopper(3.35e12);
    // Hidden size, heads and those of keys, width, vocabulary, layers; heads have 128 elements.
    let cases = [
        (llama31_8b(), [4096.0, 32.0, 8.0, 14_336.0, 128_256.0, 32.0]),
        (qwen3_32b(), [5120.0, 64.0, 8.0, 25_600.0, 151_936.0, 64.0]),
        (llama2_70b(), [8192.0, 64.0, 8.0, 28_672.0, 32_000.0, 80.0]),
    ];
    for (model, [h, a, g, f, v, layers]) in cases {
        let block = h * (a + 2.0 * g) * 128.0 + a * 128.0 * h + 3.0 * h * f;
        for tensor in [1_u32, 2, 4, 8] {
            let worker = half(&model, &h100, &Shape::of_tensor(&model, tensor));
            let light = |tokens: f64, sampled: f64, pairs: f64, keys: f64| {
                let products = 2.0 * (tokens * block * layers + sampled * v * h);
                let attention = 4.0 * pairs * a * 128.0 * layers;
                let weights = 2.0 * (block * layers + v * h);
                let cache = 4.0 * keys * g * 128.0 * layers;
                let ranks = f64::from(tensor);
                [(products + attention) / 989.4e12, (weights + cache) / 3.35e12].map(|s| s / ranks)
            };
            let n = 8192.0;
            let [work_s, read_s] = light(n, 1.0, n * n / 2.0, n);
            let seconds = worker.seconds(&prompt(8192, 0));
            // Two all-reduces a layer, and that of the embedding.
            let others = f64::from(tensor - 1) / f64::from(tensor);
            let reduce_s = 20e-6 + 2.0 * others * 2.0 * n * h / (0.8 * 445e9);
            // Two norms and two residuals of the whole width are on every rank.
            let whole_s = layers * 20.0 * n * h / (0.8 * 3.35e12);
            let exchanged_s = if tensor > 1 { (2.0 * layers + 1.0) * reduce_s } else { 0.0 };
            let most = 2.0 * work_s + whole_s + exchanged_s;
            assert!(seconds > work_s.max(read_s) && seconds < most, "{tensor} {seconds} {most}");
            let [work_s, read_s] = light(64.0, 64.0, 64.0 * 4000.0, 64.0 * 4000.0);
            let seconds = worker.seconds(&decode(64, 4000));
            assert!(seconds > work_s.max(read_s), "{tensor} {seconds} {read_s}");
            // Nine kernels, one that decodes and two all-reduces a layer have their starts; logits are
            // written and read in 32 bits.
            let starts = layers * (9.0 * 2.58e-6 + 12e-6 + 2.0 * 25e-6);
            let logits_s = 64.0 * v * 8.0 / (0.8 * 3.35e12);
            assert!(seconds < 1.4 * read_s + starts + logits_s, "{tensor} {seconds} {read_s}");
        }
    }
}

/// DeepSeek-V3 on 96 H100 with SGLang, DeepEP and two-batch overlap (LMSYS, 5 May 2025): 54.5k tokens of
/// prompts of 2,048 a second and node on four nodes, 22.3k tokens a second and node of 256 requests a GPU
/// with prompts of 2,000 tokens on nine. Nine nodes had 32 copies of experts; here eight have none.
#[test]
fn deepseek_on_many_hosts_as_published() {
    let model = deepseek_v3();
    let mut system = hopper(3.35e12);
    // A card of 400 Gb/s a GPU, as achieved (`links.csv`, ib_ndr_400).
    system.network.rate = ir::units::BytesPerSecond::new(45e9).unwrap();
    let overhead =
        Overhead { dispatcher: Dispatcher::Flex, overlaps: true, ..Engine::Sglang.overhead() };
    let on = |devices: u32| {
        let shape = Shape { data: devices, expert: devices, ..Shape::one(&model) };
        priced((&model, DType::F8), &system, &shape, overhead)
    };
    let chunks = vec![Chunk { new: 2048, cached: 0 }; 8];
    let prompts = Iteration { prompts: chunks, ..Iteration::default() };
    near(8.0 * 16_384.0 / on(32).seconds(&prompts), 54.5e3, 0.1);
    near(8.0 * 256.0 / on(64).seconds(&decode(256, 2050)), 22.3e3, 0.1);
}

#[test]
fn faster_devices_take_no_longer() {
    let (model, latent) = (qwen3_32b(), deepseek_v3());
    let (slow, memory) = (hopper(3.35e12), hopper(4.8e12));
    let mut both = memory.clone();
    for rate in both.device.peak.values_mut() {
        *rate = ir::units::FlopsPerSecond::new(1.5 * rate.get()).unwrap();
    }
    for model in [&model, &latent] {
        let workers = [&slow, &memory, &both].map(|system| half(model, system, &Shape::one(model)));
        for at in [prompt(5000, 700), decode(64, 4000), prompt(3, 0)] {
            let times = workers.each_ref().map(|worker| worker.seconds(&at));
            assert!(times[0] >= times[1] && times[1] >= times[2], "{times:?}");
        }
    }
}

#[test]
fn stages_are_one_after_the_other_and_periods_their_slowest() {
    let model = llama2_70b();
    let system = a100();
    let at = prompt(2048, 0);
    let of = |stages: Vec<u32>| {
        let worker = half(&model, &system, &Shape { stages, ..Shape::of_tensor(&model, 2) });
        (worker.seconds(&at), worker.period_s(&at))
    };
    let (whole, same) = of(vec![80]);
    assert_eq!(whole, same);
    let (even, even_period) = of(vec![40, 40]);
    let (odd, odd_period) = of(vec![60, 20]);
    // A hop of half of 2,048 x 8,192 elements from each rank and a gather of all of them, inside a host.
    let bytes = 2.0 * 2048.0 * 8192.0;
    let hop = 20e-6 + bytes / 2.0 / 228e9 + (20e-6 + bytes / 228e9) / 2.0;
    near(even - whole, hop, 1e-6);
    near(odd, even, 1e-9);
    assert!(even_period < 0.52 * even && odd_period > 0.73 * odd && odd_period < 0.77 * odd);
    // Five stages of two devices leave the first host of eight behind the fourth.
    let shape = Shape::of_tensor(&model, 2).in_stages(5);
    assert_eq!(hops(&shape, 8), [false, false, false, true]);
}

#[test]
fn hosts_bound_what_is_not_recorded() {
    let model = llama31_8b();
    let system = hopper(3.35e12);
    let overhead = Overhead { layer_s: 1.0, iteration_s: 0.5, graph_requests: 16, ..NOTHING };
    let worker = priced((&model, DType::Bf16), &system, &Shape::one(&model), overhead);
    let bare = half(&model, &system, &Shape::one(&model));
    assert_eq!(worker.seconds(&prompt(10, 0)), 32.5);
    assert_eq!(worker.seconds(&decode(17, 100)), 32.5);
    near(worker.seconds(&decode(16, 100)) - 0.5, bare.seconds(&decode(16, 100)), 1e-12);
}

#[test]
fn experts_are_read_once_they_are_touched() {
    let card = qwen3_235b().groups[0].card.experts.unwrap();
    // One token of eight experts in 128; two touch 8 + 8 x 120 / 128 on average.
    near(touched(card, 1), 8.0 / 128.0, 1e-12);
    near(touched(card, 2) * 128.0, 8.0 + 8.0 * 120.0 / 128.0, 1e-12);
    assert!(touched(card, 10_000) > 0.999);
    let skewed = ir::card::ExpertCard { skew: Skew::Zipf { thousandths: 1000 }, ..card };
    for tokens in [1, 8, 64] {
        assert!(touched(skewed, tokens) < touched(card, tokens) + 1e-12);
    }
    // Tokens of other attention ranks visit the experts of a rank too.
    let model = qwen3_235b();
    let system = hopper(4.8e12);
    let of = |data: u32| {
        let shape = Shape { data, expert: data, ..Shape::one(&model) };
        half(&model, &system, &shape).seconds(&decode(4, 1000))
    };
    // Of 128 experts a sixteenth each token: 4 tokens touch 22.7 % of all, 32 tokens 87.3 % of an eighth;
    // an expert has 3 x 4096 x 1536 weights of 2 bytes, in 94 layers at 0.8 of the memory's rate.
    let each = 94.0 * 3.0 * 4096.0 * 1536.0 * 2.0 / (0.8 * 4.8e12);
    let share = |tokens: i32| 1.0 - (15.0_f64 / 16.0).powi(tokens);
    let (alone, together) = (128.0 * share(4) * each, 16.0 * share(32) * each);
    let less = of(1) - of(8);
    // What ranks exchange takes back less than half of it.
    assert!(less < alone - together && less > 0.5 * (alone - together), "{less} {alone}");
}

/// On one device an iteration of equal requests is a step of an inference pipeline, less starts of kernels,
/// what a causal core of one token takes, and what kernels that decode are apart from other cores.
#[test]
fn iterations_are_steps_of_inference_pipelines() {
    use crate::runs::served::priced::{Batch, costs};
    use ir::cluster::{Cluster, Device};

    let model = llama31_8b();
    let system = hopper(3.35e12);
    let cluster = Cluster {
        kinds: vec![system.device.clone()],
        devices: vec![Device {
            name: "gpu".to_owned(),
            kind: ir::id::KindId::new(0),
            class: ir::id::ClassId::new(0),
            node: None,
            capacity: None,
            context: ir::units::Bytes::ZERO,
            reserve: ir::units::Bytes::ZERO,
            is_reserve_stated: false,
        }],
        ..Cluster::default()
    };
    let (stack, profile) = (stack(), ir::profile::Profile::default());
    let constants = Constants::nominal(&stack);
    let base = Pricing::unlimited(&model, &system, &stack, &constants);
    let worker = half(&model, &system, &Shape::one(&model));
    let starts = 32.0 * 6.0 * system.rates(&stack, &constants, DType::Bf16).start();
    let step = |phase, samples, tokens, cached| {
        let batch = Batch { phase, samples, tokens, cached };
        let costs = costs(&base, (&cluster, &profile), batch, |bytes| bytes).unwrap();
        costs.stage_ns(0, &(0..32), [true; 2]) as f64 * 1e-9
    };
    for (samples, tokens, cached) in [(1, 2048, 0), (1, 512, 4096), (4, 1024, 0)] {
        let chunk = Chunk { new: tokens, cached };
        let at = Iteration { prompts: vec![chunk; samples as usize], ..Iteration::default() };
        let wanted = step(StepPhase::Prefill, samples, tokens, cached) + starts;
        near(worker.seconds(&at), wanted, 1e-3);
    }
    // A kernel that decodes has 12 us, and reads at 0.88 of the bandwidth instead of 0.8.
    let more = 32.0 * (12e-6 - system.rates(&stack, &constants, DType::Bf16).start());
    for (samples, cached) in [(1, 1000), (32, 2000), (128, 500)] {
        let read = (samples * (cached + 1)) as f64 * 131_072.0 / 3.35e12;
        let wanted = step(StepPhase::Decode, samples, 1, cached) + starts + more
            - read * (1.0 / 0.8 - 1.0 / 0.88);
        near(worker.seconds(&decode(samples, cached)), wanted, 0.02);
    }
}

#[test]
fn weights_and_caches_are_priced_as_they_are_held() {
    use ir::card::stored::{CacheType, Extent, Stored, StoredBlock};
    let model = llama31_8b();
    let system = hopper(3.35e12);
    let plain = half(&model, &system, &Shape::one(&model));
    let elements = 218_103_808;
    let block = StoredBlock {
        others: Extent { elements, bytes: elements / 2 },
        products: Extent { elements, bytes: elements / 2 },
        ..StoredBlock::default()
    };
    let of = |stored: Stored| {
        let model = ModelCard { stored: Some(Box::new(stored)), ..model.clone() };
        half(&model, &system, &Shape::one(&model)).seconds(&decode(1, 1))
    };
    // 4 bits of 16: three quarters of the bytes of blocks fewer, where reading them is all.
    let quantised =
        of(Stored { blocks: vec![block; 32], cache: Some(CacheType::F8), ..Stored::default() });
    let saved = 32.0 * 1.5 * elements as f64 / 3.35e12;
    let less = plain.seconds(&decode(1, 1)) - quantised;
    assert!(less > saved && less < saved / 0.75, "{less} {saved}");
    // Keys and values in 8 bits are read in half the time.
    let narrow = ModelCard {
        stored: Some(Box::new(Stored { cache: Some(CacheType::F8), ..Stored::default() })),
        ..model.clone()
    };
    let narrow = half(&narrow, &system, &Shape::one(&narrow));
    let read = |worker: &WorkerPrices| {
        worker.seconds(&decode(64, 8000)) - worker.seconds(&decode(64, 2000))
    };
    near(read(&narrow), read(&plain) / 2.0, 1e-6);
    // 64 x 6,000 tokens of 131,072 bytes.
    near(read(&plain), 64.0 * 6000.0 * 131_072.0 / (0.88 * 3.35e12), 1e-6);
}

/// `collectives.csv`, vLLM_custom_graph 0.24.0 on H100: us of so many bytes on 2, 4 and 8 GPUs.
#[test]
fn small_all_reduces_are_those_of_engines() {
    let rows = [
        (2, 65_536.0, 4.515),
        (4, 65_536.0, 5.234),
        (8, 65_536.0, 6.411),
        (4, 262_144.0, 7.178),
        (4, 1_048_576.0, 12.757),
        (8, 1_048_576.0, 14.968),
        (8, 2_097_152.0, 19.390),
        (2, 1_048_576.0, 8.34),
    ];
    for (ranks, bytes, measured_us) in rows {
        let seconds =
            small_reduce_s(Engine::Vllm.overhead().small_reduce.unwrap(), ranks, bytes, 445e9);
        near(1e6 * seconds, measured_us, 0.2);
    }
    // Beyond eight GPUs, 8 MiB or a host NCCL's are taken.
    let model = qwen3_32b();
    let of = |small_reduce, tokens| {
        let overhead = Overhead { small_reduce, ..NOTHING };
        let shape = Shape::of_tensor(&model, 8);
        priced((&model, DType::Bf16), &hopper(4.8e12), &shape, overhead).seconds(&prompt(tokens, 0))
    };
    let free = SmallReduce { start_s: [0.0; 2], share: [1.0; 2], is_by_size: true };
    assert_eq!(of(None, 1024), of(Some(free), 1024));
    assert!(of(None, 512) > of(Some(free), 512));
}

/// TensorRT-LLM's take the faster of both kernels (aiconfigurator 0.12.0, H200).
#[test]
fn small_reduces_of_tensorrt_llm_are_near_its_table() {
    let rows = [
        (8, 262_144.0, 10.1),
        (8, 1_048_576.0, 25.7),
        (8, 2_097_152.0, 30.5),
        (8, 4_194_304.0, 47.5),
        (4, 1_048_576.0, 12.8),
        (4, 2_097_152.0, 21.9),
        (2, 2_097_152.0, 9.2),
    ];
    for (ranks, bytes, measured_us) in rows {
        let of = Engine::TrtLlm.overhead().small_reduce.unwrap();
        let seconds = small_reduce_s(of, ranks, bytes, 445e9);
        near(seconds / (1e-6 * measured_us), 1.0, 0.2);
    }
}

#[test]
fn devices_without_rates_are_refused() {
    let model = llama31_8b();
    let (mut system, stack) = (a100(), stack());
    system.device.memory_bandwidth = None;
    let constants = Constants::nominal(&stack);
    let base = Pricing::unlimited(&model, &system, &stack, &constants);
    let refused = WorkerPrices::new(&base, &Shape::one(&model), Engine::Vllm.overhead());
    assert_eq!(refused.err(), Some(Invalid::NoRate));
    let odd = Shape::of_tensor(&model, 3);
    let refused = WorkerPrices::new(&base, &odd, Engine::Vllm.overhead());
    assert_eq!(refused.err(), Some(Invalid::Heads { heads: 32, tensor: 3 }));
}

/// Layers of one kind count once, wherever they stand.
#[test]
fn kinds_of_layers_are_told_apart() {
    let model = windowed(512);
    let shape = Shape::one(&model);
    let worker = half(&model, &hopper(3.35e12), &shape);
    assert_eq!((worker.shared.kinds.len(), worker.attention.len()), (2, 2));
    assert_eq!(worker.stages[0].attention, [(0, 16.0), (1, 16.0)]);
    let sorted = |model: &ModelCard| {
        let mut groups: Vec<BlockGroup> = model.groups.clone();
        groups.sort_by_key(|group| group.card.attention);
        ModelCard { groups, ..model.clone() }
    };
    let again = half(&sorted(&model), &hopper(3.35e12), &shape);
    near(again.seconds(&prompt(3000, 10)), worker.seconds(&prompt(3000, 10)), 1e-12);
    assert_eq!(worker.devices(), 1);
}
