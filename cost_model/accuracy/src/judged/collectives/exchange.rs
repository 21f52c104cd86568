//! Published throughput of data-parallel training on 8 hosts of 4 V100: what the link model says
//! about exchange of gradients after, beside and merged beside the backward pass.
//!
//! Source: result table of HKBU-HPML/ddl-benchmarks (2020-05-29), samples per second.

use cost_model::links::collective::gradient::{
    AllReduceCost, Gradient, merged, wait_free, without_overlap,
};
use cost_model::numeric::score::score;

use super::models::{Tensor, bert_base, bert_large, resnet_50};
use crate::line::{Bound, Goal, Line};

/// Group sizes of the columns.
pub const GPUS: [f64; 3] = [8.0, 16.0, 32.0];
/// 10 Gb/s in bytes per second.
const TEN_GIGABIT: f64 = 1.25e9;
/// 100 Gb/s in bytes per second.
const HUNDRED_GIGABIT: f64 = 12.5e9;
/// Bytes of a gradient's element.
const ELEMENT: f64 = 4.0;
/// Share of a training step on one GPU that is its forward pass: backward does twice the products.
const FORWARD_SHARE: f64 = 1.0 / 3.0;

/// Samples per second on 8, 16 and 32 GPUs.
pub type Rates = [f64; 3];

/// A trained model and what was measured.
pub struct Trained {
    /// Its name.
    pub name: &'static str,
    tensors: fn() -> Vec<Tensor>,
    /// Samples per GPU and step.
    pub batch: f64,
    /// Samples per second on one GPU.
    pub alone: f64,
    /// 10 Gb/s Ethernet: all-reduce after the backward pass.
    pub after: Rates,
    /// 10 Gb/s Ethernet: wait-free, then merged, where measured.
    pub beside: Option<(Rates, Rates)>,
    /// 100 Gb/s InfiniBand: all-reduce after the backward pass.
    pub fast_after: Rates,
    /// 100 Gb/s InfiniBand: wait-free, then merged.
    pub fast_beside: (Rates, Rates),
}

/// The models of the table.
pub const TRAINED: [Trained; 3] = [
    Trained {
        name: "ResNet-50",
        tensors: resnet_50,
        batch: 64.0,
        alone: 253.1,
        after: [1282.3, 2485.1, 4920.8],
        beside: Some(([1795.7, 3146.8, 5113.2], [1980.6, 3785.0, 6883.6])),
        fast_after: [1821.0, 3603.0, 7127.0],
        fast_beside: ([2017.0, 3946.0, 7327.0], [2002.0, 3987.0, 7876.0]),
    },
    Trained {
        name: "BERT-Base",
        tensors: bert_base,
        batch: 64.0,
        alone: 212.8,
        after: [518.9, 984.9, 1926.6],
        beside: Some(([582.3, 1069.5, 2013.4], [611.4, 1153.2, 1925.8])),
        fast_after: [1082.0, 2113.0, 4184.0],
        fast_beside: ([1196.0, 2217.0, 4099.0], [1235.0, 2515.0, 4940.0]),
    },
    Trained {
        name: "BERT-Large",
        tensors: bert_large,
        batch: 8.0,
        alone: 49.0,
        after: [28.96, 54.30, 105.1],
        beside: None,
        fast_after: [99.2, 191.6, 375.2],
        fast_beside: ([101.7, 185.4, 339.8], [106.8, 205.8, 400.2]),
    },
];

/// One model on one group: its gradients and how long it computes.
pub struct Run {
    name: String,
    gpus: f64,
    /// Samples of a step on all GPUs.
    pub samples: f64,
    /// Seconds of both passes.
    pub compute_s: f64,
    /// In the order of readiness, times from the start of the step.
    pub gradients: Vec<Gradient>,
}

impl Run {
    /// A model on so many GPUs.
    #[must_use]
    pub fn new(trained: &Trained, gpus: f64) -> Self {
        let compute_s = trained.batch / trained.alone;
        let tensors = (trained.tensors)();
        let work: f64 = tensors.iter().map(|tensor| tensor.work).sum();
        let mut ready_s = compute_s * FORWARD_SHARE;
        let mut gradients = Vec::new();
        // Backward time is spread by the multiply-adds of the tensors, last tensor first.
        for tensor in tensors.iter().rev() {
            ready_s += compute_s * (1.0 - FORWARD_SHARE) * tensor.work / work;
            gradients.push(Gradient { ready_s, bytes: tensor.elements * ELEMENT });
        }
        let name = format!("{} on {gpus} GPUs", trained.name);
        Self { name, gpus, samples: gpus * trained.batch, compute_s, gradients }
    }

    /// A ring at this rate, in bytes per second.
    #[must_use]
    pub fn cost(&self, start_up_s: f64, rate: f64) -> AllReduceCost {
        AllReduceCost { start_up_s, per_byte_s: 2.0 * (self.gpus - 1.0) / self.gpus / rate }
    }

    fn after_s(&self, rate: f64) -> f64 {
        without_overlap(self.compute_s, &self.gradients, self.cost(0.0, rate))
    }

    fn wait_free_s(&self, start_up_s: f64, rate: f64) -> f64 {
        wait_free(self.compute_s, &self.gradients, self.cost(start_up_s, rate))
    }

    fn merged_s(&self, start_up_s: f64, rate: f64) -> f64 {
        let cost = self.cost(start_up_s, rate);
        wait_free(self.compute_s, &merged(&self.gradients, cost), cost)
    }

    /// The rate at which exchange after the backward pass takes the measured step.
    fn rate(&self, after_s: f64) -> f64 {
        let exchange_s = (after_s - self.compute_s).max(1e-9);
        (self.after_s(1.0) - self.compute_s) / exchange_s
    }

    /// The start-up at which the wait-free exchange takes the measured step, 0 if it is too long
    /// without any.
    #[must_use]
    pub fn start_up_s(&self, wait_free_s: f64, rate: f64) -> f64 {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if self.wait_free_s(middle, rate) > wait_free_s { high = middle } else { low = middle }
        }
        low
    }
}

/// A predicted step, a measured one, and the run's name.
type Pair = (f64, f64, String);

/// Calls `row` for each model and group with the measured steps of one kind.
fn pairs(
    models: &[Trained],
    mut row: impl FnMut(&Trained, usize, &Run) -> Option<Pair>,
) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for trained in models {
        for (column, gpus) in GPUS.into_iter().enumerate() {
            pairs.extend(row(trained, column, &Run::new(trained, gpus)));
        }
    }
    pairs
}

fn line(part: &str, way: &'static str, rows: Vec<Pair>, n_constants: u32, most: f64) -> Line {
    let score = score(rows.into_iter());
    Line {
        table: "gradient exchange",
        part: part.to_owned(),
        way,
        goals: vec![Goal {
            what: "worst row",
            figure: score.worst,
            bound: Some(Bound::AtMost(most)),
        }],
        score,
        n_constants,
        ..Line::default()
    }
}

/// Exchange after the backward pass at the nominal rate.
fn nominal() -> Line {
    let rows = pairs(&TRAINED, |trained, column, run| {
        Some((run.after_s(TEN_GIGABIT), run.samples / trained.after[column], run.name.clone()))
    });
    line("10 Gb/s, no overlap", "nothing fitted", rows, 0, 10.0)
}

/// Start-up costs of the wait-free rows of one model on 8, 16 and 32 GPUs at the nominal rate.
fn start_ups(trained: &Trained, wait_free: &Rates) -> [f64; 3] {
    let mut start_ups = [0.0; 3];
    for ((start_up_s, gpus), samples) in start_ups.iter_mut().zip(GPUS).zip(wait_free) {
        let run = Run::new(trained, gpus);
        *start_up_s = run.start_up_s(run.samples / samples, TEN_GIGABIT);
    }
    start_ups
}

/// Wait-free on 32 GPUs with a start-up that grows along a line through 8 and 16 GPUs.
fn extrapolated() -> Line {
    let rows = pairs(&TRAINED, |trained, column, run| {
        let (wait_free, _) = trained.beside.as_ref()?;
        let [on_8, on_16, _] = start_ups(trained, wait_free);
        let start_up_s = on_8 + (on_16 - on_8) * (run.gpus - 8.0) / 8.0;
        let time_s = run.wait_free_s(start_up_s, TEN_GIGABIT);
        (column == 2).then(|| (time_s, run.samples / wait_free[column], run.name.clone()))
    });
    line("10 Gb/s, wait-free on 32 GPUs", "start-up of 8 and 16 GPUs", rows, 2, 5.0)
}

/// Merged with the start-up of the wait-free row; the one row that merging made slower apart.
fn merged_rows() -> Line {
    let mut outlier = String::new();
    let rows = pairs(&TRAINED, |trained, column, run| {
        let (wait_free, merged) = trained.beside.as_ref()?;
        let start_up_s = start_ups(trained, wait_free)[column];
        let time_s = run.merged_s(start_up_s, TEN_GIGABIT);
        let measured_s = run.samples / merged[column];
        if merged[column] < wait_free[column] {
            let error = 100.0 * (time_s / measured_s - 1.0);
            outlier = format!("outlier {} ({error:+.1} %): merging made it slower", run.name);
            return None;
        }
        Some((time_s, measured_s, run.name.clone()))
    });
    let mut line = line("10 Gb/s, merged", "start-up of the wait-free row", rows, 1, 20.0);
    line.note.push_str(&outlier);
    line
}

/// Order of the three with the rate of the no-overlap row and the start-up of the wait-free row.
fn order() -> Line {
    let (mut n, mut n_ordered) = (0_u32, 0_u32);
    let rows = pairs(&TRAINED, |trained, column, run| {
        let (wait_free, merged) = trained.beside.as_ref()?;
        let rate = run.rate(run.samples / trained.after[column]);
        let measured_s = run.samples / wait_free[column];
        let start_up_s = run.start_up_s(measured_s, rate);
        let beside_s = run.wait_free_s(start_up_s, rate);
        let merged_s = run.merged_s(start_up_s, rate);
        n += 1;
        n_ordered += u32::from(run.after_s(rate) > beside_s && beside_s >= merged_s);
        Some((merged_s, run.samples / merged[column], run.name.clone()))
    });
    let way = "rate of the no-overlap row";
    let mut line = line("10 Gb/s, merged and ordered", way, rows, 2, 20.0);
    let figure = 100.0 * f64::from(n_ordered) / f64::from(n);
    let bound = Some(Bound::AtLeast(100.0));
    line.goals = vec![Goal { what: "rows in this order", figure, bound }];
    line.note = format!("no overlap < wait-free <= merged predicted on {n_ordered} of {n} rows");
    line
}

/// Exchange after the backward pass at the nominal rate of the faster network, which no ring
/// reaches there: the line says so and asks for nothing.
fn nominal_fast() -> Line {
    let mut worst: f64 = 0.0;
    let rows = pairs(&TRAINED, |trained, column, run| {
        let measured_s = run.samples / trained.fast_after[column];
        let time_s = run.after_s(HUNDRED_GIGABIT);
        // Throughput over the measured one.
        worst = worst.max(100.0 * (measured_s / time_s - 1.0));
        Some((time_s, measured_s, run.name.clone()))
    });
    let mut line = line("100 Gb/s, no overlap", "nominal link speed", rows, 0, 0.0);
    line.goals.clear();
    line.note = format!(
        "warning: nominal, throughput up to {worst:.0} % too high; calibrate the link before it is \
         relied on"
    );
    line
}

/// Exchange after the backward pass at the rate that one row of the faster network has, on the
/// others; and that rate.
fn at_rate_of(fitted: &Trained, fitted_column: usize) -> (Vec<Pair>, f64) {
    let first = Run::new(fitted, GPUS[fitted_column]);
    let rate = first.rate(first.samples / fitted.fast_after[fitted_column]);
    let rows = pairs(&TRAINED, |trained, column, run| {
        let time_s = run.after_s(rate);
        let is_fitted = run.name == first.name;
        (!is_fitted).then(|| (time_s, run.samples / trained.fast_after[column], run.name.clone()))
    });
    (rows, rate)
}

/// Calibrated on the largest model on 8 GPUs.
fn calibrated() -> Line {
    let large = &TRAINED[2];
    let (rows, rate) = at_rate_of(large, 0);
    let on_32 = Run::new(large, GPUS[2]);
    let efficiency = 100.0 * on_32.compute_s / on_32.after_s(rate);
    let mut line = line("100 Gb/s, no overlap", "rate of BERT-Large on 8", rows, 1, 5.0);
    line.goals.push(Goal {
        what: "efficiency of BERT-Large on 32 GPUs",
        figure: efficiency,
        bound: Some(Bound::AtMost(30.0)),
    });
    line.note = format!(
        "{:.1} GB/s; efficiency of BERT-Large on 32 GPUs {efficiency:.1} % (measured 23.9 %)",
        rate / 1e9
    );
    line
}

/// Calibrated on a row of ResNet-50, which tells the rate worse: most of its step is no exchange.
fn calibrated_on_small() -> Line {
    let (rows, rate) = at_rate_of(&TRAINED[0], 0);
    let errors = |rows: &[Pair]| {
        let error = |(time_s, measured_s, _): &Pair| 100.0 * (time_s / measured_s - 1.0);
        let errors: Vec<f64> = rows.iter().map(error).collect();
        let least = errors.iter().copied().fold(f64::INFINITY, f64::min);
        (least, errors.iter().copied().fold(f64::NEG_INFINITY, f64::max))
    };
    let (least, most) = errors(&rows);
    let (large_rows, _) = at_rate_of(&TRAINED[2], 0);
    let (large_least, large_most) = errors(&large_rows);
    let mut line = line("100 Gb/s, no overlap", "rate of ResNet-50 on 8", rows, 1, 0.0);
    line.goals.clear();
    line.note = format!(
        "{:.1} GB/s; larger spread: errors from {least:+.1} to {most:+.1} %, where the rate of \
         BERT-Large gives {large_least:+.1} to {large_most:+.1} %",
        rate / 1e9
    );
    line
}

/// The lines of the table.
pub(super) fn lines() -> Vec<Line> {
    let fast = [nominal_fast(), calibrated(), calibrated_on_small()];
    [nominal(), extrapolated(), merged_rows(), order()].into_iter().chain(fast).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nominal_ten_gigabit_rows_are_within_ten_percent() {
        let line = nominal();
        assert_eq!(line.score.n, 9);
        assert!(line.score.worst < 10.0, "{line:?}");
    }

    #[test]
    fn the_start_up_grows_linearly_with_the_group() {
        let line = extrapolated();
        assert_eq!(line.score.n, 2);
        assert!(line.score.worst < 5.0, "{line:?}");
    }

    #[test]
    fn merged_rows_are_within_twenty_percent_but_one() {
        let line = merged_rows();
        assert_eq!(line.score.n, 5);
        assert!(line.score.worst < 20.0, "{line:?}");
        assert!(line.note.contains("outlier BERT-Base on 32 GPUs"), "{line:?}");
    }

    #[test]
    fn methods_keep_their_order() {
        assert!(order().note.contains("on 6 of 6 rows"), "{:?}", order());
    }

    #[test]
    fn one_row_calibrates_the_faster_network() {
        let line = calibrated();
        assert_eq!(line.score.n, 8);
        assert!(line.score.worst < 5.0, "{line:?}");
        assert!(line.goals[1].figure < 30.0 && line.reached(), "{line:?}");
    }

    #[test]
    fn the_nominal_rate_of_the_faster_network_warns() {
        let line = nominal_fast();
        assert_eq!((line.score.n, line.is_judged()), (9, false));
        // BERT-Large by 84 % (published analysis), so no bound could hold.
        assert!(
            line.note.starts_with("warning: nominal") && line.note.contains("84 %"),
            "{line:?}"
        );
    }

    #[test]
    fn a_row_of_the_smallest_model_tells_the_rate_worse_and_says_so() {
        let (small, large) = (calibrated_on_small(), calibrated());
        assert_eq!(small.score.n, 8);
        assert!(small.score.worst > 2.0 * large.score.worst, "{small:?}");
        assert!(small.note.contains("larger spread"), "{small:?}");
        assert!(!small.is_judged());
    }
}
