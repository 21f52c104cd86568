//! Which launchers run a plan, and what the nearest plans of the others cost at the same prices.

use std::time::Duration;

use documents::report::training::RunnersDocument;
use exporters::training::targets;
use ir::units::Nanos;
use planner::run::Limits;
use planner::training::search_3d::judge::Judged;
use planner::training::search_3d::{Cuts, Options, solve};

use super::{capabilities, export};
use crate::executor::Executor;
use crate::training::setting::Setting;

/// What the search for one launcher's plan may take: it only says how far that one is off.
const SLICE: Duration = Duration::from_millis(200);
const SLICE_NODES: u64 = 2_000;
/// Columns of the narrowest terminal.
const COLUMNS: usize = 80;

/// Targets that run a plan, and the others by the step of the nearest plan that they run.
pub struct Runners {
    runs: Vec<&'static str>,
    others: Vec<(Nanos, &'static str)>,
}

/// Who runs the first of some plans.
pub fn runners(setting: &Setting, plans: &[&Judged], limits: &Limits) -> Option<Runners> {
    let best = *plans.first()?;
    let (mut runs, mut others) = (Vec::new(), Vec::new());
    for row in targets().iter().filter(|row| row.launches.is_some()) {
        if is_told(setting, row.name, best) {
            runs.push(row.name);
        } else if let Some(step) = nearest(setting, row.name, plans, limits) {
            others.push((step, row.name));
        }
    }
    others.sort_unstable();
    Some(Runners { runs, others })
}

impl Runners {
    /// `runs on: megatron; nearest: torchtitan +2.1 %, galvatron +13 %`, in one line.
    pub fn line(&self, best: Nanos) -> String {
        let share = |step: Nanos| step.seconds() / best.seconds() - 1.0;
        let other = |(step, name): &(Nanos, _)| format!("{name} {}", percent(share(*step)));
        fitted(&self.runs, &self.others.iter().map(other).collect::<Vec<_>>())
    }

    /// For programs.
    pub fn document(&self) -> RunnersDocument {
        let nearest = self.others.iter().map(|(step, own)| ((*own).to_owned(), step.seconds()));
        RunnersDocument {
            targets: self.runs.iter().map(|own| (*own).to_owned()).collect(),
            nearest_s: nearest.collect(),
        }
    }
}

/// As many names as fit; the nearest of the others always does.
fn fitted(runs: &[&str], others: &[String]) -> String {
    const MORE: &str = ", ..";
    let nearest = others.first().map_or_else(String::new, |own| format!("; nearest: {own}"));
    let tail = nearest.len() + if others.len() > 1 { MORE.len() } else { 0 };
    let mut line = "runs on: ".to_owned() + runs.first().unwrap_or(&"none");
    for (position, name) in runs.iter().enumerate().skip(1) {
        let rest = if position + 1 < runs.len() { MORE.len() } else { 0 };
        if line.len() + ", ".len() + name.len() + rest + tail > COLUMNS {
            line += MORE;
            break;
        }
        line += &format!(", {name}");
    }
    line += &nearest;
    for (position, other) in others.iter().enumerate().skip(1) {
        let rest = if position + 1 < others.len() { MORE.len() } else { 0 };
        if line.len() + ", ".len() + other.len() + rest > COLUMNS {
            return line + MORE;
        }
        line += &format!(", {other}");
    }
    line
}

fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if percent < 9.95 { format!("{percent:+.1} %") } else { format!("{percent:+.0} %") }
}

/// Whether a launcher has words for a plan.
fn is_told(setting: &Setting, target: &str, plan: &Judged) -> bool {
    let schedule = plan.configuration.order.name();
    plan.plan()
        .and_then(|own| export::exported(target, setting, &own, (schedule, Nanos(0))))
        .is_ok()
}

/// The step of the best plan that a launcher runs, as far as a short search finds any; `None` where it
/// runs no such model.
fn nearest(
    setting: &Setting,
    target: &'static str,
    plans: &[&Judged],
    limits: &Limits,
) -> Option<Nanos> {
    let known = plans.iter().filter(|plan| is_told(setting, target, plan));
    let known = known.min_by_key(|plan| plan.step);
    let executor = Executor::named(target)?;
    if !capabilities::says(target, setting.numbers.dtype) {
        return None;
    }
    let space = setting.space_for(executor)?;
    let time = (!limits.deterministic).then_some(SLICE);
    let limits = Limits { time, nodes: Some(SLICE_NODES), ..limits.clone() };
    let known_plan = known.map(|known| Box::new((*known).clone()));
    let options =
        Options { n_plans: 1, cuts: Cuts::OfPlans, known: known_plan, ..Options::within(&limits) };
    let found = solve(&setting.pricing(), &space, &options).plans;
    let found = found.iter().filter(|plan| is_told(setting, target, plan)).map(|plan| plan.step);
    found.chain(known.map(|known| known.step)).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_fits_and_names_the_nearest_first() {
        let others = |n: usize| -> Vec<String> {
            (0..n).map(|at| format!("torch-split-points {}", percent(0.05 * at as f64))).collect()
        };
        assert_eq!(fitted(&["megatron"], &[]), "runs on: megatron");
        assert!(fitted(&[], &others(1)).ends_with("none; nearest: torch-split-points +0.0 %"));
        for n in 0..8 {
            let runs = ["torch-pipelining", "megatron", "megatron-bridge", "deepspeed"];
            let line = fitted(&runs, &others(n));
            assert!(line.chars().count() <= COLUMNS, "{line}");
            assert_eq!(line.contains("; nearest: torch-split-points +0.0 %"), n > 0, "{line}");
        }
    }
}
