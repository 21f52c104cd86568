//! How far a step time can be trusted: what its durations rest on, and how wide its interval is.

use cost_model::kernels::origin::{Origin, Shares};
use cost_model::ops::critical::{self, Step};
use cost_model::ops::interval::{self, Interval};
use cost_model::ops::judge::replay::Timeline;
use cost_model::ops::judge::report::Report;
use cost_model::ops::problem::Problem;
use documents::report::{IntervalDocument, OriginDocument};
use importers::{Recorded, Summary};
use ir::plan::Plan;
use ir::units::Nanos;
use ir::workload::Mode;

use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::answer::words::range;
use crate::inputs::load::Loaded;

/// What a step time rests on.
pub struct Trust {
    /// The critical path.
    pub path: Vec<Step>,
    /// By origin, the nanoseconds of the path.
    pub shares: Shares,
    interval: Option<Interval>,
}

impl Trust {
    /// Of a replayed plan.
    pub fn of(problem: &Problem, plan: &Plan, timeline: &Timeline) -> Self {
        Self::of_path(problem, critical::path(problem, plan, timeline))
    }

    /// Of a critical path.
    pub fn of_path(problem: &Problem, path: Vec<Step>) -> Self {
        let (shares, interval) = (critical::shares(&path), interval::of(problem, &path));
        Self { path, shares, interval }
    }

    /// The interval as a document.
    pub fn interval_document(&self) -> Option<IntervalDocument> {
        self.interval.map(|found| {
            IntervalDocument::new(found.low.get(), found.high.get(), found.origin.name())
        })
    }

    /// What the critical path rests on, as documents.
    pub fn origin_documents(&self) -> Vec<OriginDocument> {
        documents(&self.shares)
    }

    /// `step time 24.5 ms, 80 %: 21.9 to 27.6 ms (nominal)`.
    pub fn sentence(&self, step: Nanos) -> String {
        match &self.interval {
            None => format!("step time {step}"),
            Some(Interval { low, high, origin }) => {
                format!("step time {step}, 80 %: {} ({})", range(*low, *high), origin.name())
            }
        }
    }

    /// `21.9 to 27.6 ms`: where the step lies in eight of ten cases.
    pub fn range(&self) -> Option<String> {
        self.interval.map(|interval| range(interval.low, interval.high))
    }
}

/// What the times of the step's critical path and its interval rest on.
pub fn origins(trust: &Trust, on: &Loaded) -> Option<String> {
    let mode = on.problem.workload.mode;
    let interval = trust.interval.as_ref().map_or_else(String::new, |of| judged_on(of, mode));
    op_times(trust, on).map(|times| times + &interval)
}

/// What the times of the step's critical path rest on.
fn op_times(trust: &Trust, on: &Loaded) -> Option<String> {
    let is_measured = trust.shares.of(Origin::Measured) > 0;
    let idle = if is_measured { idle(&on.summary) } else { String::new() };
    (trust.shares.total() > 0).then(|| format!("op times: {}{idle}", words(&trust.shares)))
}

/// On what measurements the interval of a step rests.
fn judged_on(interval: &Interval, mode: Mode) -> String {
    let of = match interval.origin {
        Origin::Nominal if mode == Mode::Inference => {
            return "; interval: 42 measured passes on T4, A100, H100".to_owned();
        }
        Origin::Given => return String::new(),
        Origin::Measured | Origin::Interpolated => "same GPU",
        Origin::Sibling => "GPU of the same chip",
        Origin::Nominal => "GPU left out of the fit",
    };
    format!("; interval: published kernels, {of}")
}

/// Prints what the times rest on: the step's critical path, and devices that differ from it.
pub fn print(trust: &Trust, on: &Loaded, report: &Report, rows: Rows, page: &Page) {
    let problem = &on.problem;
    let Some(all) = op_times(trust, on) else { return };
    let step = words(&trust.shares);
    let devices: Vec<(&str, String)> = report
        .devices
        .iter()
        .filter(|device| device.origins.total() > 0)
        .map(|device| {
            let name = &problem.cluster.devices[device.device.index()].name;
            (name.as_str(), words(&device.origins))
        })
        .collect();
    if devices.iter().all(|(_, words)| *words == step) {
        page.line(&format!("based on {all}, on every device"));
        return;
    }
    if rows == Rows::Few {
        page.line(&format!("based on {all}, over the step (by device: --all)"));
        return;
    }
    page.line(&format!("based on {all}, over the step"));
    for (name, words) in &devices {
        page.line(&format!("  {name} {words}"));
    }
}

/// ` (72 % of what was recorded is time in which nothing ran)`, where that is half a percent or more.
fn idle(summary: &Summary) -> String {
    let sum = |of: &dyn Fn(&Recorded) -> f64| summary.recorded.iter().map(of).sum::<f64>();
    let idle = sum(&|recorded| recorded.idle_time.get() as f64);
    let ran = sum(&|recorded| recorded.op_time.get() as f64 * recorded.landed_share);
    let percent = if idle > 0.0 { idle / (idle + ran) * 100.0 } else { 0.0 };
    if percent < 0.5 {
        return String::new();
    }
    format!(" ({percent:.0} % of what was recorded is time in which nothing ran)")
}

/// `measured 92 %, nominal 8 %`; less than half a percent is said to be so.
pub fn words(shares: &Shares) -> String {
    let parts: Vec<String> = shares
        .parts()
        .map(|(origin, share)| match share * 100.0 {
            percent if percent < 0.5 => format!("{} under 1 %", origin.name()),
            percent if percent > 99.0 && percent < 100.0 => format!("{} over 99 %", origin.name()),
            percent => format!("{} {percent:.0} %", origin.name()),
        })
        .collect();
    parts.join(", ")
}

/// Shares as documents.
pub fn documents(shares: &Shares) -> Vec<OriginDocument> {
    shares
        .parts()
        .map(|(origin, share)| OriginDocument::new(origin.name(), shares.of(origin), share))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_said_once_and_shares_never_vanish() {
        assert_eq!(range(Nanos(21_900_000), Nanos(27_600_000)), "21.9 to 27.6 ms");
        assert_eq!(range(Nanos(900_000), Nanos(1_100_000)), "900.0 us to 1.10 ms");
        let mut shares = Shares::default();
        shares.add(Origin::Measured, 9_990);
        shares.add(Origin::Nominal, 10);
        assert_eq!(words(&shares), "measured over 99 %, nominal under 1 %");
    }
}
