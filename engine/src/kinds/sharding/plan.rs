//! A sharding of a training step.

use std::sync::Arc;

use documents::plan::sharding::ShardingFigures;
use documents::report::FoundDocument;
use ir::diagnostic::{Blame, Diagnostic};
use planner::run::Control;
use planner::sharding::{Mesh, Refused, Shards, sizes};

use super::Sharding;
use super::decided::{document, part};
use super::explain::{axes, table};
use super::setting::Setting;
use crate::answer::exit::CommandResult;
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::answer::screen::{Screen, figure};
use crate::inputs::load;
use crate::inputs::run::setting::Setting as Run;
use crate::kinds::frame::found;
use crate::request::PlanRequest;
use crate::search::row;
use crate::search::run::{Run as Progress, interrupted};
use crate::search::watched::{proved, stop, watched};

/// Sizes of a mesh.
#[must_use]
pub fn mesh(mesh: &Mesh) -> String {
    let sizes = mesh.axes.iter().map(|axis| format!("{} {}s", axis.size, axis.name));
    sizes.collect::<Vec<_>>().join(" x ")
}

/// Plans a step by a row of the registry.
pub(crate) fn plan(request: &PlanRequest, run: &mut Progress<'_>) -> CommandResult {
    let (used, door) = row::known::<Shards>(request.recipe())?;
    let sizes = sizes(&used.options)?;
    let read = move |request: &PlanRequest| Setting::of(Run::of(request)?, sizes);
    let shard = door.0;
    let search = move |setting: &Setting, control: &Arc<Control>| {
        Some(setting.with(|question| shard(question, control)))
    };
    let planned = watched((request, used.entry.name), run, read, search)?;
    let Some((setting, planned, elapsed_s)) = planned else { return Ok(interrupted(run.page)) };
    let planned = match planned {
        Ok(planned) => planned,
        Err(_) if run.watch.is_cancelled() => return Ok(interrupted(run.page)),
        Err(refused) => return Err(none(&setting, refused)),
    };
    let plan = document(&setting, &planned, &used.to_string());
    let replayed = planned.replayed;
    let collective_s = replayed.parameters_s + replayed.activations_s;
    let n = planned.accumulation as f64;
    let figures = ShardingFigures {
        seconds: planned.seconds(),
        priced_seconds: planned.priced_s(),
        bound_seconds: planned.bound_s(),
        collective_seconds: n * collective_s,
        exposed_seconds: n * (replayed.seconds - replayed.ops_s - replayed.update_s),
        n_micro_batches: planned.accumulation,
        peak_memory_bytes: planned.peak.0.round() as u64,
        n_strategies: planned.sharding.n_strategies as u64,
        n_columns: planned.sharding.n_columns as u64,
    };
    let stop = stop(planned.priced_s(), planned.bound_s()).name();
    let warnings = setting.run.warnings.clone();
    let (on, made) = ((&setting, &planned), (plan, figures, stop, elapsed_s));
    found::<Sharding, _>((request, run), on, made, warnings, |report, page| {
        screen(&setting, report, page)
    })
}

/// Why there is no plan.
fn none(setting: &Setting, (refused, ops): (Refused, Vec<String>)) -> Diagnostic {
    match refused {
        Refused::Infeasible => {
            let message = "no sharding fits the memory of a device, in any number of micro-batches \
                           that is a power of two, with layers run again or not";
            let error = Diagnostic::error(Blame::Infeasible, "memory", message);
            let error = if ops.is_empty() { error } else { error.fact("ops", ops) };
            let devices = setting.run.cluster.devices.len() as u64;
            error.fact("devices", devices).hint("give more devices, or devices of more memory")
        }
        Refused::NotSolved => {
            Diagnostic::error(Blame::NotFound, "no-plan", "no plan was found in time")
                .hint("raise --time-limit")
        }
        other => Diagnostic::usage("no-rules", other.to_string())
            .hint("leave --algorithm out: degrees are searched for every model"),
    }
}

fn screen(setting: &Setting, found: &FoundDocument<ShardingFigures>, page: &Page) -> Screen {
    let figures = &found.figures;
    let run = &setting.run;
    let step = format!("training step of {} x {} tokens", run.global_batch, run.sequence);
    let mut screen = Screen::of_step(&found.plan, &step, &load::describe(&run.cluster));
    let stated = found.plan.sharding.clone().unwrap_or_default();
    let again = if stated.recompute { ", full recompute" } else { "" };
    let of = found.plan.workload.micro_batch.unwrap_or_default();
    let batches = match figures.n_micro_batches {
        1 => "one batch".to_owned(),
        n => format!("{n} micro-batches of {of}"),
    };
    screen.fact("plan", format!("sharded over {}; {batches}{again}", mesh(&setting.mesh)));
    for line in axes(setting, &stated) {
        screen.fact("", line);
    }
    let ms = |seconds: f64| format!("{:.3} ms", 1e3 * seconds);
    let rest = format!(
        "replayed; collectives {}, exposed {}",
        ms(figures.collective_seconds),
        ms(figures.exposed_seconds)
    );
    screen.fact("time", figure(ms(figures.seconds), None, &rest));
    let memory = figures.peak_memory_bytes as f64 / 2_f64.powi(30);
    let at = format!("GiB of a device at most, at `{}`", stated.peak_memory_at);
    screen.fact("memory", format!("{memory:.2} {at}"));
    let space = "shardings of these micro-batches at the program's price";
    let ended = (found.stop_reason.as_str(), found.elapsed_s);
    screen.fact("proof", proved((figures.priced_seconds, figures.bound_seconds), space, ended));
    let share = 100.0 * stated.exposed_share;
    screen.fact(
        "",
        format!(
            "the program's price is {}: ops and collectives one after another, {share:.0} % of those of \
             parameters and gradients",
            ms(figures.priced_seconds)
        ),
    );
    screen.fact("scope", "no collective spans two axes; no pipeline".to_owned());
    screen.take(page, |page| {
        table(&stated, Rows::All, page);
    });
    screen
}

/// A placement in a word, such as `S(0)R`.
pub(super) fn word(of: &[String]) -> String {
    of.concat()
}

/// What each axis does to a tensor.
pub(super) fn of_parts(of: &[planner::sharding::Part]) -> String {
    of.iter().copied().map(part).collect::<Vec<_>>().concat()
}
