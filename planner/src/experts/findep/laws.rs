//! Laws of layers on two groups of devices, and of how steps are shared out over them.

use std::sync::Arc;

use cost_model::streams::bound::bound;
use cost_model::streams::groups::{
    Cut, Groups, Line, PartTimes, Prices, Split, Times, Turns, bound_s, chain, closed_form_s,
    layer, replayed_s, seconds,
};
use cost_model::streams::replay::replay;
use cost_model::streams::{Slowdowns, verify::verify};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::published::{deepseek_v2, qwen3_235b};
use super::{MOST_PARTS, Planned, Problem, Scope, least_s, search, solve};

fn times(random: &mut SmallRng) -> Times {
    // A part of what is drawn takes no time at all, or as long as something else.
    let mut of = |most: f64| match random.random_range(0..10) {
        0 => 0.0,
        1 => 1.0,
        _ => random.random_range(0.0..most),
    };
    let (attention_s, shared_s) = (of(4.0) + 0.01, of(3.0));
    let experts = Some(PartTimes { exchange_s: of(1.5), experts_s: of(2.0) });
    Times { attention_s, shared_s, experts }
}

fn cut(random: &mut SmallRng, turns: Turns) -> Cut {
    Cut { micro_batches: random.random_range(1..=6), parts: random.random_range(1..=5), turns }
}

fn near(found: f64, wanted: f64) -> bool {
    (found - wanted).abs() <= 1e-9 * wanted.abs().max(1.0)
}

#[test]
fn the_closed_form_of_asas_is_the_replay() {
    let mut random = SmallRng::seed_from_u64(1);
    for case in 0..10_000 {
        let (times, cut) = (times(&mut random), cut(&mut random, Turns::Asas));
        let layers = [(random.random_range(1..=5), times)];
        let wanted = replayed_s(&layers, &cut);
        let found = closed_form_s(&times, layers[0].0, &cut);
        assert!(near(found, wanted), "{case}: {found} {wanted} {layers:?} {cut:?}");
        assert!(near(seconds(&layers, &cut), wanted), "{case}");
    }
}

#[test]
fn either_order_through_layers_of_any_kind_is_the_replay_and_above_its_bounds() {
    let mut random = SmallRng::seed_from_u64(2);
    for case in 0..10_000_usize {
        let mut layers = Vec::new();
        for _ in 0..random.random_range(1..=3) {
            let times = times(&mut random);
            let experts = times.experts.filter(|_| random.random_bool(0.7));
            layers.push((random.random_range(1..=3), Times { experts, ..times }));
        }
        let cut = cut(&mut random, Turns::ALL[case % 2]);
        let wanted = replayed_s(&layers, &cut);
        let found = seconds(&layers, &cut);
        assert!(near(found, wanted), "{case}: {found} {wanted} {layers:?} {cut:?}");
        let least = bound_s(&layers, &cut);
        assert!(least <= wanted * (1.0 + 1e-9), "{case}: {least} {wanted} {layers:?} {cut:?}");
    }
}

#[test]
fn chained_layers_are_legal_and_above_the_bound_of_cells() {
    let mut random = SmallRng::seed_from_u64(3);
    for case in 0..500 {
        let (sparse, cut) = (times(&mut random), cut(&mut random, Turns::ALL[case % 2]));
        let dense = Times { experts: None, ..times(&mut random) };
        let cells = [layer(&dense, &cut), layer(&sparse, &cut)];
        let all = chain([&cells[0], &cells[1], &cells[1]]);
        let found = replay(&all, &Slowdowns::default()).unwrap();
        assert_eq!(verify(&all, &found, &Slowdowns::default()), []);
        assert!(bound(&all) <= found.seconds() * (1.0 + 1e-12), "{case}");
    }
}

/// By hand: attention 2, shared 1, a part 1 each way and 2 at its experts, two micro-batches in two
/// parts. ASAS: attention at 0-2 and 3-5, sent at 2-4 and 5-7, experts 3-5-7-9-11, back by 12.
/// AASS: attention at 0-2 and 2-4, sent at 2-4 and 4-6, experts the same, shared at 4-6.
#[test]
fn layers_by_hand() {
    let experts = Some(PartTimes { exchange_s: 1.0, experts_s: 2.0 });
    let times = Times { attention_s: 2.0, shared_s: 1.0, experts };
    let cut = |turns| Cut { micro_batches: 2, parts: 2, turns };
    assert_eq!(Turns::ALL.map(|turns| replayed_s(&[(1, times)], &cut(turns))), [12.0; 2]);
    // A second layer starts with the first micro-batch's last combine, at 8.
    assert_eq!(closed_form_s(&times, 2, &cut(Turns::Asas)), 20.0);
    assert_eq!(Turns::ALL.map(|turns| seconds(&[(2, times)], &cut(turns))), [20.0; 2]);
    let whole = |micro_batches| Cut { micro_batches, parts: 1, turns: Turns::Asas };
    let experts = Some(PartTimes { exchange_s: 2.0, experts_s: 4.0 });
    let layers = [(1, Times { experts, ..times })];
    assert_eq!([1, 2].map(|n| seconds(&layers, &whole(n))), [10.0, 14.0]);
}

/// Linear prices that memory limits by the number of devices.
#[derive(Clone, Debug)]
struct Drawn {
    layers: Vec<(u32, usize)>,
    tokens: u64,
    attention: [(f64, f64); 2],
    exchange: Line,
    experts: Line,
    most: u64,
}

impl Drawn {
    fn new(random: &mut SmallRng) -> Self {
        let mut line = |most: f64| (random.random_range(0.0..most), random.random_range(0.0..most));
        let attention = [line(1.0), line(0.7)];
        let mut per_token = |most: f64| {
            let (start_up_s, per_token_s) = line(most);
            // Few tokens take as long as reading weights.
            let least_s = if start_up_s < 0.1 { 0.5 } else { 0.0 };
            Line { start_up_s, per_token_s, least_s }
        };
        let (exchange, experts) = (per_token(0.5), per_token(1.0));
        let mut layers = vec![(random.random_range(1..=8), 0)];
        if random.random_bool(0.3) {
            layers.insert(0, (1, 1));
        }
        let most = random.random_range(1..=8);
        Self { layers, tokens: random.random_range(1..=8), attention, exchange, experts, most }
    }

    fn problem(&self, devices: u32, samples: u64) -> Problem {
        Problem {
            prices: Arc::new(self.clone()),
            devices,
            samples,
            groups: None,
            control: Arc::default(),
        }
    }
}

impl Prices for Drawn {
    fn layers(&self) -> &[(u32, usize)] {
        &self.layers
    }

    fn tokens(&self) -> u64 {
        self.tokens
    }

    fn attention_s(&self, _: usize, samples: u64) -> [f64; 2] {
        self.attention.map(|(start_up_s, each)| start_up_s + each * samples as f64)
    }

    fn experts(&self, kind: usize, [_, devices]: Groups) -> Option<[Line; 2]> {
        let shared_out =
            |line: Line| Line { per_token_s: line.per_token_s / f64::from(devices), ..line };
        (kind == 0).then(|| [self.exchange, self.experts].map(shared_out))
    }

    fn most_samples(&self, [attention, _]: Groups) -> u64 {
        self.most * u64::from(attention) / 2
    }
}

/// The least seconds of a step over its samples of all that there is.
fn enumerated(problem: &Problem) -> f64 {
    let mut best = f64::INFINITY;
    for attention in 1..problem.devices {
        let groups = [attention, problem.devices - attention];
        let most = problem.prices.most_samples(groups).min(problem.samples / u64::from(attention));
        for samples in 1..=most {
            for micro_batches in 1..=(most / samples) as u32 {
                let whole = Split { groups, samples, ..Split::default() };
                for parts in 1..=(whole.tokens(&*problem.prices).min(MOST_PARTS.into()) as u32) {
                    for turns in Turns::ALL {
                        let cut = Cut { micro_batches, parts, turns };
                        let split = Split { cut, ..whole };
                        let seconds = replayed_s(&split.times(&*problem.prices), &cut);
                        best = best.min(seconds / split.of_step() as f64);
                    }
                }
            }
        }
    }
    best
}

#[test]
fn what_is_found_is_the_best_of_all_and_no_bound_is_beaten() {
    let mut random = SmallRng::seed_from_u64(5);
    for case in 0..60 {
        let drawn = Drawn { most: random.random_range(1..=3), ..Drawn::new(&mut random) };
        let problem = drawn.problem(random.random_range(2..=4), random.random_range(1..=6));
        let wanted = enumerated(&problem);
        match solve(&problem) {
            None => assert!(wanted.is_infinite(), "{case}"),
            Some(found) => {
                let ratio = found.sample_s() / wanted;
                assert!((1.0 - 1e-9..1.0 + 2e-4).contains(&ratio), "{case}: {found:?} {wanted}");
                assert!(least_s(&problem) <= wanted * (1.0 + 1e-9), "{case}");
            }
        }
    }
}

fn each(problem: &Problem) -> Option<[Planned; 3]> {
    let found = solve(problem)?;
    Some([found, search(problem, Scope::Whole)?, search(problem, Scope::Largest)?])
}

#[test]
fn none_of_its_baselines_has_more_samples_per_second() {
    let mut random = SmallRng::seed_from_u64(6);
    let mut n_better = 0;
    for case in 0..1000 {
        let drawn = Drawn::new(&mut random);
        let problem = drawn.problem(random.random_range(2..=6), random.random_range(1..=48));
        let Some(found) = each(&problem) else { continue };
        let [findep, ping_pong, naive] = found.map(|planned| planned.sample_s());
        assert!(findep <= ping_pong && ping_pong <= naive, "{case}: {findep} {ping_pong} {naive}");
        n_better += usize::from(findep < 0.99 * ping_pong);
    }
    assert!(n_better > 100, "{n_better}");
}

#[test]
fn without_shared_experts_the_order_says_nothing() {
    let mut random = SmallRng::seed_from_u64(7);
    for _ in 0..1000 {
        let times = Times { shared_s: 0.0, ..times(&mut random) };
        let asas = cut(&mut random, Turns::Asas);
        let aass = Cut { turns: Turns::Aass, ..asas };
        assert_eq!(layer(&times, &asas), layer(&times, &aass));
    }
    let problem = |prices| Problem {
        prices,
        devices: 8,
        samples: 64,
        groups: Some([2, 6]),
        control: Arc::default(),
    };
    let qwen = solve(&problem(Arc::new(qwen3_235b(48, 2048, 8)))).unwrap();
    assert_eq!(qwen.split.cut.turns, Turns::Asas);
}

/// The paper's tables of monotony, on its testbeds C and D: more samples in a micro-batch and more
/// micro-batches have no fewer samples per second after parts and order are the best ones.
#[test]
fn larger_and_more_micro_batches_have_no_fewer_samples_per_second() {
    let rate = |prices: &dyn Prices, groups: Groups, samples: u64, micro_batches: u32| {
        let of = |(parts, turns)| {
            let cut = Cut { micro_batches, parts, turns };
            let split = Split { groups, samples, cut };
            split.of_step() as f64 / seconds(&split.times(prices), &cut)
        };
        let all = (1..=MOST_PARTS).flat_map(|parts| Turns::ALL.map(|turns| (parts, turns)));
        all.map(of).fold(0.0, f64::max)
    };
    let mut random = SmallRng::seed_from_u64(8);
    let deepseek = deepseek_v2(2, 2048, 4);
    let check = |prices: &dyn Prices, groups: Groups| {
        let by_samples = [1, 2, 4].map(|n| rate(prices, groups, n, 1));
        let by_number = [1, 2, 4].map(|n| rate(prices, groups, 1, n));
        for rates in [by_samples, by_number] {
            assert!(rates.is_sorted_by(|a, b| *a <= *b * (1.0 + 1e-9)), "{rates:?}");
        }
        [by_samples, by_number]
    };
    check(&deepseek, [3, 5]);
    check(&deepseek, [8, 24]);
    for _ in 0..200 {
        // Parts of whole tokens are as many times as small.
        let drawn = Drawn {
            tokens: 960 * 64,
            layers: vec![(random.random_range(1..=8), 0)],
            ..Drawn::new(&mut random)
        };
        check(&drawn, [random.random_range(1..=4), random.random_range(1..=4)]);
    }
}

#[test]
fn published_sizes_are_shared_out_better_than_by_ping_pong() {
    for (devices, samples) in [(8, 64), (32, 256)] {
        for prices in [deepseek_v2(16, 2048, 8), qwen3_235b(48, 2048, 8)] {
            let problem = Problem {
                prices: Arc::new(prices),
                devices,
                samples,
                groups: None,
                control: Arc::default(),
            };
            let [findep, ping_pong, naive] =
                each(&problem).unwrap().map(|planned| planned.sample_s());
            assert!(findep <= ping_pong && ping_pong < naive);
            assert!(naive / findep > 1.02, "{naive} {findep}");
        }
    }
}
