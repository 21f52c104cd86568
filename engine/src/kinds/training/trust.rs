//! How far the figures of a plan can be trusted, what makes that wide, and what would narrow it.

use cost_model::runs::forms::constants::Constant;
use cost_model::runs::forms::interval::{Basis, Figure, Trait};
use documents::report::{IntervalDocument, PeakIntervalDocument};
use ir::measured::CollectiveOperation;
use ir::plan::{Parallelism, Plan};
use ir::units::{Bytes, Nanos};
use serde_json::{Value, json};

use super::told::Measurable;
use crate::answer::words::range;
use crate::inputs::run::setting::Setting;

/// Terms of a step that are named, at most.
const NAMED: usize = 3;
/// Share of a step that a term must be able to move to be named.
const LEAST: f64 = 0.005;

/// The intervals of a plan's figures.
pub(super) struct Trust {
    step: Nanos,
    interval: IntervalDocument,
    judged_on: String,
    peak: PeakIntervalDocument,
    peak_line: String,
    terms: Vec<Term>,
    ways: Vec<Way>,
    rests_on: Vec<Basic>,
}

/// What can be measured of the devices, whether it was, and the parts of the step that rest on it.
struct Basic {
    what: String,
    is_measured: bool,
    parts: &'static [&'static str],
}

/// A term of the step that may be off.
struct Term {
    constant: Constant,
    /// Change of the step, as a share, where the constant is off by one deviation of its belief.
    moves: f64,
}

/// A measurement that would narrow the interval.
struct Way {
    what: String,
    how: String,
    interval: [Nanos; 2],
}

impl Trust {
    /// Of a step and the largest peak of a plan; `None` on measured layers and heterogeneous nodes, which
    /// were not judged.
    pub(super) fn of(setting: &Setting, plan: &Plan, (step, peak): (Nanos, Bytes)) -> Option<Self> {
        if plan.partition.has_own_devices() {
            return None;
        }
        let degrees = &plan.parallelism;
        let figure = setting.basis(degrees).figure();
        setting.layers.is_none().then(|| Self {
            step,
            interval: setting.interval(step, degrees),
            judged_on: setting.judged_on(figure, degrees),
            peak: setting.peak_interval(peak, degrees),
            peak_line: setting.peak_line(peak, degrees),
            terms: terms(setting, plan, step),
            ways: ways(setting, plan, step),
            rests_on: rests_on(setting, degrees),
        })
    }

    /// In words.
    pub(super) fn lines(&self) -> Vec<String> {
        let Self { step, interval, judged_on, .. } = self;
        let between = range(Nanos(interval.low_ns), Nanos(interval.high_ns));
        let origin = &interval.origin;
        let mut lines =
            vec![format!("step time {step}, 10-90 %: {between} ({origin}), by {judged_on}")];
        let moves = |term: &Term| {
            format!(
                "{} ({}) by {:.1} %",
                words(term.constant),
                term.constant.name(),
                100.0 * term.moves
            )
        };
        let terms: Vec<String> = self.terms.iter().map(moves).collect();
        if !terms.is_empty() {
            lines.push(format!("what may move the step most: {}", terms.join(", ")));
        }
        let way = |way: &Way| {
            let [low, high] = way.interval;
            format!("measure {}: {} by {}", way.what, range(low, high), way.how)
        };
        lines.extend(self.ways.iter().map(way));
        lines.push(self.peak_line.clone());
        lines
    }

    /// For programs.
    pub(super) fn document(&self) -> Value {
        let term = |term: &Term| {
            json!({ "term": words(term.constant), "constant": term.constant.name(),
                "moves": term.moves })
        };
        let way = |way: &Way| {
            let [low, high] = way.interval.map(Nanos::get);
            json!({ "measure": way.what, "by": way.how, "low_ns": low, "high_ns": high })
        };
        let basic = |basic: &Basic| {
            json!({ "what": basic.what, "measured": basic.is_measured,
                "parts": basic.parts })
        };
        json!({
            "rests_on": self.rests_on.iter().map(basic).collect::<Vec<_>>(),
            "interval": self.interval,
            "judged_on": self.judged_on,
            "terms": self.terms.iter().map(term).collect::<Vec<_>>(),
            "narrower": self.ways.iter().map(way).collect::<Vec<_>>(),
            "peak": self.peak,
        })
    }
}

/// What of a step a constant is of.
const fn words(constant: Constant) -> &'static str {
    match constant {
        Constant::Derating => "products",
        Constant::LaunchFloor | Constant::WideLaunch => "launches",
        Constant::Ends => "launches of embedding and loss",
        Constant::Elementwise => "pointwise kernels",
        Constant::TensorCollectives | Constant::PartCollectives => "tensor collectives",
        Constant::Network => "what leaves hosts",
        Constant::Neighbour => "what stages send",
        Constant::Unaligned => "products of odd extents",
        Constant::Attention => "fused attention",
    }
}

/// The terms that move the step most where each constant is off by one deviation of what is believed.
fn terms(setting: &Setting, plan: &Plan, step: Nanos) -> Vec<Term> {
    let term = |constant: Constant| {
        // Downwards: a derating may be at its greatest value.
        let moved = setting.scaled(constant, (-constant.log_sd()).exp());
        let there = moved.report(plan, None).ok()?.step_time;
        let moves = (there.seconds() / step.seconds()).ln().abs();
        (moves > LEAST).then_some(Term { constant, moves })
    };
    let mut terms: Vec<Term> = Constant::ALL.into_iter().filter_map(term).collect();
    terms.sort_by(|a, b| b.moves.total_cmp(&a.moves));
    terms.truncate(NAMED);
    terms
}

/// Measurements that leave a narrower interval than there is, the narrowest last.
fn ways(setting: &Setting, plan: &Plan, step: Nanos) -> Vec<Way> {
    let degrees = &plan.parallelism;
    let basis = setting.basis(degrees);
    let measured = setting.measured(degrees);
    let now = setting.spread(basis.figure(), degrees, &measured);
    let around = |figure, measured: &[Trait]| {
        let spread = setting.spread(figure, degrees, measured);
        let is_narrower = spread.deviation < now.deviation;
        let interval = spread.interval().around(step.seconds());
        is_narrower.then(|| interval.map(|s| Nanos((s * 1e9).round() as u64)))
    };
    let mut ways = Vec::new();
    if basis == Basis::Corrected {
        return ways;
    }
    for (feature, what) in setting.measurable(degrees) {
        let with = [measured.as_slice(), &[feature]].concat();
        if let Some(interval) = around(basis.figure(), &with) {
            let how = "`meshwright calibrate FILE` and `--profile`".to_owned();
            ways.push(Way { what: named(&what), how, interval });
        }
    }
    if basis == Basis::Nominal
        && let Some(interval) = around(Figure::Calibrated, &measured)
    {
        let how = format!(
            "`meshwright calibrate --steps FILE --stack {} --cluster CLUSTER` and `--profile`",
            setting.stack.name
        );
        ways.push(Way { what: "up to eight steps of your own".to_owned(), how, interval });
    }
    ways
}

fn rests_on(setting: &Setting, degrees: &Parallelism) -> Vec<Basic> {
    let measured = setting.measured(degrees);
    let basic = |(feature, what): (Trait, Measurable)| Basic {
        is_measured: measured.contains(&feature),
        parts: match what {
            Measurable::Products(_) => &["compute_s", "recompute_s"],
            Measurable::Collectives(..) => &["collectives_s"],
        },
        what: named(&what),
    };
    setting.measurable(degrees).into_iter().map(basic).collect()
}

/// `all-gathers, reduce-scatters of 64 ranks, 8 of a host`.
fn named(what: &Measurable) -> String {
    match what {
        Measurable::Products(dtype) => format!("products in {dtype}"),
        Measurable::Collectives(operations, group) => {
            let name = |operation: &CollectiveOperation| match operation {
                CollectiveOperation::AllGather => "all-gathers",
                CollectiveOperation::ReduceScatter => "reduce-scatters",
                CollectiveOperation::AllToAll => "all-to-alls",
                CollectiveOperation::AllReduce => "all-reduces",
                CollectiveOperation::Broadcast => "broadcasts",
                CollectiveOperation::PointToPoint => "transfers",
            };
            let names: Vec<&str> = operations.iter().map(name).collect();
            format!("{} of {} ranks, {} of a host", names.join(" and "), group.ranks, group.most)
        }
    }
}
