//! Models by their configs on data sheets of devices.

use std::collections::BTreeMap;

use cost_model::kernels::step_products::StepProducts;
use cost_model::links::collective::Link as Way;
use cost_model::runs::forms::constants::Constants;
use cost_model::runs::forms::system::System;
use cost_model::serving::arrivals::Length;
use cost_model::serving::engine::{Engine, stack};
use ir::card::{Attention, BlockGroup, ExpertCard, FeedForward, Head, ModelCard, TransformerCard};
use ir::chip::Chip;
use ir::cluster::DeviceKind;
use ir::measured::GpuFacts;
use ir::profile::Profile;
use ir::stack::Stack;
use ir::tensor::DType;
use ir::units::{BytesPerSecond, FlopsPerSecond};

use super::*;
use crate::run::Limits;
use crate::serving::fleet::{Objective, Pool, Role, Verdict};

/// Bytes of an H200 (`nvidia-smi`: 143,771 MiB).
pub(super) const H200: u64 = 143_771 << 20;
/// Bytes/s of a network card of 400 Gbit/s.
pub(super) const CARD: f64 = 50e9;

pub(super) fn free() -> Control {
    Control::new(&Limits::default())
}

pub(super) fn card(name: &str, sizes: (u64, [u64; 3], u64, u64, u32)) -> TransformerCard {
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

pub(super) fn qwen3_32b() -> ModelCard {
    ModelCard::uniform(card("qwen3-32b", (5120, [64, 8, 128], 25_600, 151_936, 64)))
}

/// Qwen3 30B-A3B.
pub(super) fn qwen3_30b() -> ModelCard {
    let card = card("qwen3-30b-a3b", (2048, [32, 4, 128], 6144, 151_936, 48));
    let experts =
        ExpertCard { n_experts: 128, per_token: 8, feed_forward: 768, ..ExpertCard::default() };
    ModelCard::uniform(TransformerCard { experts: Some(experts), ..card })
}

/// DeepSeek-V3 (arXiv:2412.19437) without the layer that predicts a later token.
pub(super) fn deepseek_v3() -> ModelCard {
    let card = card("deepseek-v3", (7168, [128, 128, 128], 18_432, 129_280, 61));
    let attention = Attention::Latent {
        query_rank: Some(1536),
        key_value_rank: 512,
        plain: 128,
        rotary: 64,
        value: 128,
    };
    let dense = TransformerCard { attention, ..card };
    let experts = ExpertCard {
        n_experts: 256,
        per_token: 8,
        feed_forward: 2048,
        n_shared: 1,
        ..ExpertCard::default()
    };
    let mixed = TransformerCard { experts: Some(experts), ..dense.clone() };
    let groups = vec![BlockGroup::of_card(dense.clone(), 3), BlockGroup::of_card(mixed, 58)];
    ModelCard { groups, ..ModelCard::uniform(dense) }
}

/// Hosts of eight H200 by data sheets (4.8 TB/s, 989 and 1,979 TFLOP/s).
pub(super) fn h200() -> System {
    let rate = |rate| FlopsPerSecond::new(rate).unwrap();
    let facts = GpuFacts {
        memory_bandwidth: 4.8e12,
        peak: 989.4e12,
        n_multiprocessors: 132,
        last_level_cache: None,
        clock: None,
    };
    let device = DeviceKind {
        name: "h200".to_owned(),
        chip: Chip::H100,
        memory_bandwidth: BytesPerSecond::new(4.8e12),
        peak: BTreeMap::from([(DType::Bf16, rate(989.4e12)), (DType::F8, rate(1978.9e12))]),
        n_multiprocessors: Some(132),
        ..DeviceKind::default()
    };
    let inside = Way { start_up_s: 20e-6, rate: BytesPerSecond::new(445e9 * 0.8).unwrap() };
    let products = StepProducts::new(&Profile::default(), &device);
    let system = System::a100_hosts("h200", &facts, BTreeMap::new(), CARD).unwrap();
    System { device, products, inside, ..system }
}

pub(super) fn devices(hosts: Option<u32>, devices_per_host: u32, memory: u64) -> Devices {
    Devices { pool: Pool { hosts, devices_per_host, price_per_hour: None }, memory }
}

pub(super) fn link(bytes_per_s: f64) -> Link {
    Link { from: 0, to: 0, bytes_per_s, start_up_s: 1e-3 }
}

/// 4,000 tokens in, 1,000 out; TTFT 2 s, TPOT 30 ms; hosts of eight H200.
pub(super) fn on_h200(model: &ModelCard, rate: f64) -> Question<'_> {
    Question {
        devices: vec![devices(None, 8, H200)],
        links: vec![link(CARD)],
        promises: Promises { ttft_s: Some(2.0), tpot_s: Some(0.03), ..Promises::default() },
        ..Question::new(model, vec![Length { n_input: 4000, n_output: 1000, share: 1.0 }], rate)
    }
}

/// Asks with the price of blocks on H200.
pub(super) fn asked(question: &Question) -> Answer {
    let (system, stack): (System, Stack) = (h200(), stack());
    let constants = Constants::nominal(&stack);
    let base = Pricing {
        dtype: question.dtype,
        ..Pricing::unlimited(question.model, &system, &stack, &constants)
    };
    let price = |_: usize, shape: &Shape| priced(&base, shape, question.engine.overhead());
    let control = free();
    let answer = plan(question, &price, &control).unwrap();
    check(&answer);
    answer
}

/// What holds of every answer.
pub(super) fn check(answer: &Answer) {
    let types = &answer.types;
    let n_rejected: u64 = types.counts().values().sum();
    assert_eq!(types.n_accepted + n_rejected, types.n_enumerated, "{:?}", types.counts());
    for found in [&answer.predicted, &answer.found] {
        let Some(best) = &found.best else { continue };
        let named = best.counts.iter().all(|(at, n)| *at < types.workers.len() && *n > 0);
        assert!(named, "{best:?}");
    }
}

pub(super) fn show(answer: &Answer) {
    println!("{:?} of {}", answer.types.counts(), answer.types.n_enumerated);
    println!("types {}, rounds {}", answer.types.workers.len(), answer.n_rounds);
    for (name, found) in [("predicted", &answer.predicted), ("replayed", &answer.found)] {
        println!("{name}: {:?} {:?} bound {:?}", found.verdict, found.proof, found.bound);
        let Some(best) = &found.best else { continue };
        println!("  {:?}", best.figures);
        for (at, n) in &best.counts {
            let worker = &answer.types.workers[*at];
            println!(
                "  {n} x {:?} {} devices TP {} DP {} EP {} x {} stages {:?}: seqs {} budget {} kv {}; {:?} eff {}",
                worker.figures.role,
                worker.figures.n_devices,
                worker.shape.tensor,
                worker.shape.data,
                worker.shape.expert,
                worker.shape.expert_tensor,
                worker.shape.stages,
                worker.max_num_seqs,
                worker.max_num_batched_tokens,
                worker.kv_tokens,
                worker.figures,
                answer.program.types[*at].efficiency
            );
        }
    }
    for replayed in &answer.replays {
        println!("  replayed {replayed:?}");
    }
}

/// Seconds of this thread, where the system tells.
pub(super) fn cpu_s() -> f64 {
    let of = std::fs::read_to_string("/proc/thread-self/stat").unwrap_or_default();
    let fields: Vec<&str> = of.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / 100.0
}

#[test]
fn qwen_on_h200() {
    let model = qwen3_32b();
    let question = on_h200(&model, 50.0);
    let from = cpu_s();
    let answer = asked(&question);
    println!("{:.2} CPU s", cpu_s() - from);
    show(&answer);
    let best = answer.found.best.as_ref().unwrap();
    // 52 devices are enough by the closed form, and missed by less than three standard errors of replays.
    assert_eq!((best.figures.n_devices, answer.found.bound), (53, Some(52.0)));
    assert!(answer.is_kept());
    // 4,000 tokens of 2 x 8 x 128 elements of 2 bytes in 64 layers.
    assert_eq!(answer.bytes_per_request, 4000.0 * 4096.0 * 64.0);
}

#[test]
fn a_slow_link_flips_to_aggregated() {
    let model = qwen3_32b();
    let on = |bytes_per_s: f64| {
        let question = Question {
            links: vec![link(bytes_per_s)],
            devices: vec![devices(None, 8, H200)],
            ..on_h200(&model, 50.0)
        };
        let answer = asked(&question);
        show(&answer);
        let best = answer.found.best.clone().unwrap();
        let roles = best.counts.iter().map(|(at, _)| answer.types.workers[*at].figures.role);
        (best.figures.n_devices, roles.collect::<Vec<Role>>())
    };
    let (fast, slow) = (on(CARD), on(1e9));
    assert!(fast.1.contains(&Role::Prefill), "{fast:?}");
    assert!(slow.1.iter().all(|role| *role == Role::Aggregated), "{slow:?}");
    assert!(slow.0 >= fast.0);
}

#[test]
fn deepseek_on_two_h200_is_short_of_bytes() {
    let model = deepseek_v3();
    let question = Question {
        dtype: DType::F8,
        engine: Engine::Sglang,
        devices: vec![devices(Some(1), 2, H200)],
        ..on_h200(&model, 1.0)
    };
    let answer = asked(&question);
    println!("{:?}", answer.shortfalls);
    assert_eq!((answer.types.n_accepted, answer.found.verdict), (0, Verdict::Infeasible));
    let [shortfall] = &answer.shortfalls[..] else { panic!("{:?}", answer.shortfalls) };
    // A quarter of 671 GB does not fit in 141 GiB; three stages on a host of two devices each do.
    assert_eq!(shortfall.smallest.as_ref().map(|(devices, _)| *devices), Some(6));
    let Reason::Memory { missing } = shortfall.reason else { panic!("{:?}", shortfall.reason) };
    let halves = 671e9 / 2.0;
    assert!((missing as f64) > halves - H200 as f64 && (missing as f64) < halves, "{missing}");
}

#[test]
fn experts_are_spread_in_all_shapes() {
    let model = qwen3_30b();
    let question = Question { engine: Engine::Sglang, ..on_h200(&model, 50.0) };
    let from = cpu_s();
    let answer = asked(&question);
    println!("{:.2} CPU s", cpu_s() - from);
    show(&answer);
    assert!(answer.is_kept());
}

/// vLLM numbers ranks by data-parallel rank, then stage: on two hosts a stage each, the stages of every
/// data-parallel rank would take turns on both.
#[test]
fn vllm_has_no_data_parallel_pipelines_over_hosts() {
    let model = qwen3_32b();
    let of = |engine, data, per_host| {
        let question = Question { engine, ..on_h200(&model, 1.0) };
        let one = cost_model::serving::worker::Shape::one(&model);
        let shape = cost_model::serving::worker::Shape { data, stages: vec![32, 32], ..one };
        question.lacks(Role::Aggregated, &shape, per_host).is_some()
    };
    assert!(of(Engine::Vllm, 2, 2));
    assert!(!of(Engine::Vllm, 2, 4) && !of(Engine::Vllm, 1, 1) && !of(Engine::Sglang, 2, 2));
}

#[test]
fn what_is_no_question_is_refused() {
    let model = qwen3_32b();
    let refused = |change: &dyn Fn(&mut Question)| {
        let mut question = on_h200(&model, 1.0);
        change(&mut question);
        let price = |_: usize, _: &Shape| Err(Reason::Stopped);
        plan(&question, &price, &free()).map(|_| ()).unwrap_err()
    };
    assert_eq!(refused(&|q| q.mix.clear()), Refused::Figure("lengths"));
    assert_eq!(refused(&|q| q.budgets.clear()), Refused::Figure("token budget"));
    assert_eq!(refused(&|q| q.links[0].to = 3), Refused::Figure("link"));
    assert_eq!(refused(&|q| q.promises.ttft_s = Some(0.0)), Refused::Figure("promise"));
    let percent = Statistic::Percentile(0.0);
    assert_eq!(refused(&|q| q.promises.statistic = percent), Refused::Figure("percentile"));
    let alone = |q: &mut Question| (q.aggregated, q.links) = (false, Vec::new());
    assert_eq!(refused(&alone), Refused::NoWorkers);
    let rate = Refused::Fleet(fleet::Refused::Rate);
    assert_eq!(refused(&|q| q.objective = Objective::Throughput), rate);
}

#[test]
fn a_search_that_is_stopped_says_what_it_left_out() {
    let model = qwen3_32b();
    let question = on_h200(&model, 50.0);
    let price = |_: usize, _: &Shape| panic!("nothing is priced after the deadline");
    let limits = Limits { time: Some(std::time::Duration::ZERO), ..Limits::default() };
    let control = Control::new(&limits);
    let answer = plan(&question, &price, &control).unwrap();
    check(&answer);
    assert_eq!(answer.types.counts().get("not searched"), Some(&answer.types.n_enumerated));
}

/// Two tenths of a second for DeepSeek-V3 on 64 devices, of which the search alone takes more than one.
#[test]
fn a_limit_of_time_is_kept() {
    let model = deepseek_v3();
    let question = Question {
        dtype: DType::F8,
        devices: vec![devices(Some(8), 8, H200)],
        most_devices_of_worker: 16,
        objective: Objective::Throughput,
        requests_per_s: None,
        ..on_h200(&model, 1.0)
    };
    let (system, stack): (System, Stack) = (h200(), stack());
    let constants = Constants::nominal(&stack);
    let base = Pricing {
        dtype: question.dtype,
        ..Pricing::unlimited(question.model, &system, &stack, &constants)
    };
    let price = |_: usize, shape: &Shape| priced(&base, shape, question.engine.overhead());
    for seconds in [0.05, 0.2] {
        let limits =
            Limits { time: Some(std::time::Duration::from_secs_f64(seconds)), ..Limits::default() };
        let from = cpu_s();
        let control = Control::new(&limits);
        let answer = plan(&question, &price, &control).unwrap();
        let (wall_s, cpu_s) = (control.elapsed().as_secs_f64(), cpu_s() - from);
        check(&answer);
        println!("{seconds} s: {wall_s:.3} s, {cpu_s:.2} CPU s, {:?}", answer.types.counts());
        assert!(answer.types.counts().contains_key("not searched") && !answer.is_kept());
        // Others may have the processor meanwhile.
        assert!(cpu_s < seconds + 0.3, "{cpu_s}");
    }
}

/// Where `MESHWRIGHT_AIC` names AIConfigurator's package: its tables and composition as the price.
#[test]
fn qwen_on_h200_by_aiconfigurators_tables() {
    use cost_model::serving::aic::{Composition, Memo, Prices, Worker as Degrees};
    use importers::aiconfigurator::{Named, read, root};
    use ir::engine_tables::NumberFormat;
    let Some(folder) = benchmark_data::aiconfigurator() else { return };
    let tables = read(&root(&folder).unwrap(), &Named::parse("h200_sxm/vllm").unwrap()).unwrap();
    let model = qwen3_32b();
    let question = on_h200(&model, 50.0);
    let price = |_: usize, shape: &Shape| -> Result<Box<dyn IterationTime + '_>, Reason> {
        let is_even = shape.stages.iter().all(|n| *n == shape.stages[0]);
        if !is_even {
            return Err(Reason::Unpriced("stages of unequal length".to_owned()));
        }
        let degrees = Degrees {
            norms_heads: true,
            pipeline: shape.stages.len() as u32,
            ..Degrees::dense(NumberFormat::Bf16, shape.tensor)
        };
        match Composition::new(&tables, &model.groups[0].card, &degrees) {
            Ok(composition) => Ok(Box::new(Prices::own(composition, Memo::default()))),
            Err(diagnostic) => Err(Reason::Unpriced(diagnostic.code.to_string())),
        }
    };
    let from = cpu_s();
    let control = free();
    let answer = plan(&question, &price, &control).unwrap();
    println!("{:.2} CPU s", cpu_s() - from);
    check(&answer);
    show(&answer);
    assert!(answer.is_kept());
}
