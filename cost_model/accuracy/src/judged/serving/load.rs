//! Load tests: a constant number of users, replayed.

use std::collections::BTreeMap;

use cost_model::numeric::score::score;
use cost_model::runs::forms::system::System;
use cost_model::serving::arrivals::Request;
use cost_model::serving::engine::Engine;
use cost_model::serving::memory::Settings;
use cost_model::serving::replay::{Mixing, Traffic, replay};

use super::worker;
use crate::line::{Bound, Goal, Line};
use crate::readers::serving::LoadTest;

/// Requests of each user.
const EACH: u32 = 10;
/// vLLM's share of memory before 0.22.
const FRACTION: f64 = 0.9;
/// Median error of TPOT and mean error of TTFT to reach, in percent.
const TARGETS: [f64; 2] = [17.0, 7.0];
/// Percent of rows that the interval of 10 to 90 % is to contain.
const COVERED: [f64; 2] = [75.0, 90.0];
/// Share of rows within an interval of 10 to 90 %.
const COVERAGE: f64 = 0.8;
/// (1 + sqrt 5) / 2 - 1, and the square of it.
const SPREAD: [f64; 2] = [0.618_033_988_749_895, 0.381_966_011_250_105];

/// A load test with what the replay says: mean TTFT and TPOT in seconds.
#[derive(Clone, Debug)]
pub struct Replayed<'a> {
    /// The test.
    pub test: &'a LoadTest,
    /// Mean TTFT and TPOT.
    pub seconds: [f64; 2],
}

impl Replayed<'_> {
    /// Model, system and engine.
    #[must_use]
    pub fn group(&self) -> String {
        let LoadTest { model, system, engine, dtype, .. } = self.test;
        format!("{} {} {} {}", model.name, dtype.name(), system, engine.name())
    }

    fn name(&self) -> String {
        let LoadTest { tensor, users, tokens: [input, output], .. } = self.test;
        format!("{} t{tensor} {input}/{output} x{users}", self.group())
    }

    fn log(&self, at: usize) -> f64 {
        (self.test.seconds[at] / self.seconds[at]).ln()
    }
}

/// Replays load tests on the systems of their names.
#[must_use]
pub fn replayed<'a>(
    tests: &'a [LoadTest],
    systems: &BTreeMap<String, System>,
) -> Vec<Replayed<'a>> {
    let of = |test: &'a LoadTest| {
        let system = systems.get(&test.system)?;
        let settings = Settings {
            engine: test.engine,
            fraction: (test.engine == Engine::Vllm).then_some(FRACTION),
            max_tokens: test.most[0],
            max_requests: test.most[1],
            graph_requests: test.engine.graph_requests(),
            max_length: test.tokens.into_iter().map(u64::from).sum(),
        };
        let of = (&test.model, test.dtype, test.tensor);
        let (price, mut scheduler) = worker(of, system, &settings)?;
        scheduler.gathering = test.gathering;
        // By default (`enable_chunked_prefill`).
        scheduler.is_chunked = test.engine != Engine::TrtLlm;
        scheduler.mixing = if test.is_mixed { Mixing::Mixed } else { Mixing::PromptsFirst };
        scheduler.shared_prefix =
            test.cached(scheduler.kv_blocks * u64::from(scheduler.block_tokens));
        let requests = requests(test);
        let concurrency = test.users as usize;
        let traffic = Traffic::Closed { concurrency };
        let replay = replay(&requests, traffic, &scheduler, &price).ok()?;
        let summary = replay.summary(&requests, 0..requests.len())?;
        Some(Replayed { test, seconds: [summary.ttft.mean(), summary.tpot?.mean()] })
    };
    tests.iter().filter_map(of).collect()
}

/// Requests whose lengths lie evenly between the least and the most.
fn requests(test: &LoadTest) -> Vec<Request> {
    let length = |most: u32, place: f64| {
        let part = test.least + (1.0 - test.least) * place.fract();
        (f64::from(most) * part).round().max(1.0) as u32
    };
    let of = |at: u32| Request {
        arrival_s: 0.0,
        n_input: length(test.tokens[0], f64::from(at) * SPREAD[0]),
        n_output: length(test.tokens[1], f64::from(at) * SPREAD[1]),
    };
    (0..test.users.saturating_mul(EACH)).map(of).collect()
}

/// Groups by what tells them apart.
type Groups<'r, 'a> = BTreeMap<String, Vec<&'r Replayed<'a>>>;

fn groups<'r, 'a>(
    rows: &'r [Replayed<'a>],
    key: impl Fn(&Replayed<'a>) -> String,
) -> Groups<'r, 'a> {
    let mut groups = Groups::new();
    for row in rows {
        groups.entry(key(row)).or_default().push(row);
    }
    groups
}

/// 80 % quantile of `|ln(measured / predicted)|` over groups but one, each with the same weight. Errors have long
/// tails: a normal distribution of the same variance would contain far more than 80 %.
#[must_use]
pub fn spread(rows: &[Replayed<'_>], at: usize, without: Option<&str>) -> f64 {
    let groups = groups(rows, Replayed::group);
    let others = groups.iter().filter(|(name, _)| without != Some(name.as_str()));
    let mut errors: Vec<(f64, f64)> = others
        .flat_map(|(_, rows)| {
            let weight = 1.0 / rows.len() as f64;
            rows.iter().map(move |row| (row.log(at).abs(), weight))
        })
        .collect();
    errors.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut left = COVERAGE * errors.iter().map(|(_, weight)| weight).sum::<f64>();
    let found = errors.iter().find(|(_, weight)| {
        left -= weight;
        left <= 1e-9
    });
    found.map_or(0.0, |(error, _)| *error)
}

/// Percent of rows within the interval of the other groups: mean of the groups, as the interval weighs them, and of all
/// rows.
fn covered(rows: &[Replayed<'_>], at: usize) -> [f64; 2] {
    let groups = groups(rows, Replayed::group);
    let (mut of_groups, mut of_rows) = (0.0, 0.0);
    for (name, of) in &groups {
        let most = spread(rows, at, Some(name));
        let inside = of.iter().filter(|row| row.log(at).abs() <= most).count() as f64;
        of_groups += inside / of.len() as f64;
        of_rows += inside;
    }
    [of_groups / groups.len().max(1) as f64, of_rows / rows.len().max(1) as f64]
        .map(|share| 100.0 * share)
}

/// Lines by group and by load, and of all rows, for TTFT and TPOT.
#[must_use]
pub fn lines(rows: &[Replayed<'_>], n_tests: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    for (at, what) in ["TTFT", "TPOT"].into_iter().enumerate() {
        let line = |part: String, rows: &[&Replayed<'_>]| Line {
            table: "serving",
            part: format!("{what} {part}"),
            way: "nothing fitted",
            score: score(
                rows.iter().map(|row| (row.seconds[at], row.test.seconds[at], row.name())),
            ),
            ..Line::default()
        };
        for (name, of) in groups(rows, Replayed::group) {
            lines.push(line(name, &of));
        }
        // Each row is listed once, in its group.
        let sum = |part, rows: &[&Replayed<'_>]| {
            let mut line = line(part, rows);
            line.score.rows.clear();
            line
        };
        for (users, of) in groups(rows, |row| format!("of {:03} users", row.test.users)) {
            lines.push(sum(users, &of));
        }
        let mut all = sum("of all load tests".to_owned(), &rows.iter().collect::<Vec<_>>());
        let [of_groups, of_rows] = covered(rows, at);
        let half = 100.0 * (spread(rows, at, None).exp() - 1.0);
        let goal = |what, figure, bound| Goal { what, figure, bound };
        all.goals = vec![
            goal(
                "rows in the 80 % interval of the other groups, mean of groups",
                of_groups,
                Some(Bound::AtLeast(COVERED[0])),
            ),
            goal("the same, at most", of_groups, Some(Bound::AtMost(COVERED[1]))),
            goal("the same, of all rows", of_rows, None),
            goal("upper end of the interval over the prediction, less 1", half, None),
        ];
        match at {
            0 => all.target = Some(TARGETS[0]),
            _ => {
                let median = all.score.median;
                all.goals.push(goal("median error", median, Some(Bound::AtMost(TARGETS[1]))));
            }
        }
        all.note = format!("{} of {n_tests} aggregated rows of known models fit", rows.len());
        lines.push(all);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readers::serving::qwen3_32b;
    use ir::tensor::DType;

    fn test(seconds: [f64; 2]) -> LoadTest {
        LoadTest {
            line: 2,
            engine: Engine::Vllm,
            system: "h100_sxm".to_owned(),
            hosts: ["h100_sxm5_80gb", "nvlink4"],
            per_host: 8,
            model: qwen3_32b().unwrap(),
            dtype: DType::Bf16,
            tensor: 2,
            users: 4,
            tokens: [1000, 100],
            least: 0.8,
            most: [8_192, 4],
            gathering: None,
            is_mixed: true,
            repeated: None,
            seconds,
        }
    }

    #[test]
    fn lengths_lie_between_the_least_and_the_most() {
        let requests = requests(&test([1.0, 0.01]));
        assert_eq!(requests.len(), 40);
        let is_inside =
            |of: &Request| (800..=1000).contains(&of.n_input) && (80..=100).contains(&of.n_output);
        assert!(requests.iter().all(is_inside));
        let mean = requests.iter().map(|of| f64::from(of.n_input)).sum::<f64>() / 40.0;
        assert!((mean - 900.0).abs() < 5.0, "{mean}");
    }

    #[test]
    fn the_spread_of_a_group_is_that_of_the_others() {
        let (one, mut two) = (test([2.0, 2.0]), test([4.0, 1.0]));
        two.system = "h200_sxm".to_owned();
        let rows = [&one, &two].map(|test| Replayed { test, seconds: [2.0, 1.0] });
        let own = rows[0].group();
        assert!((spread(&rows, 0, Some(&own)) - 2.0_f64.ln()).abs() < 1e-12);
        assert!((spread(&rows, 1, None) - 2.0_f64.ln()).abs() < 1e-12);
        // The first is as predicted, and the second off by more than the first says.
        assert!(covered(&rows, 0).into_iter().all(|share| (share - 50.0).abs() < 1e-12));
        // Twice as many rows of the first: groups weigh the same.
        let rows = [&one, &one, &two].map(|test| Replayed { test, seconds: [2.0, 1.0] });
        let [of_groups, of_rows] = covered(&rows, 0);
        assert!((of_groups - 50.0).abs() < 1e-12 && (of_rows - 200.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    #[allow(clippy::print_stdout, reason = "shows the figures")]
    fn load_tests_of_aiconfigurator() {
        let Some(folder) = benchmark_data::aiconfigurator() else { return };
        let file = folder.join("aiconfigurator_core/systems/silicon_sample.csv");
        for line in crate::parts::serving::load_tests(&file).unwrap() {
            let score = &line.score;
            println!(
                "{}: {} rows, mean {:.1}, signed {:+.1}, median {:.1}, p90 {:.1}, worst {:.0} {}",
                line.part,
                score.n,
                score.mape,
                score.signed,
                score.median,
                score.p90,
                score.worst,
                score.worst_row,
            );
            line.goals.iter().for_each(|goal| println!("  {}: {:.1}", goal.what, goal.figure));
        }
    }
}
