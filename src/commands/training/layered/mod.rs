//! `plan` of a training run on measured layers (`--profile` names a folder).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use cost_model::runs::measured::LayerPricing;
use ir::diagnostic::Diagnostic;
use ir::units::Nanos;
use planner::run::watch::Watch;
use planner::run::{Control, StopReason};
use planner::training::order::Order;
use planner::training::per_layer::{Counts, Found, Judged, Options, Search, solve_observed};
use planner::training::search::{Asked, Settled};
use planner::training::search_3d::space::Space;

use super::followed::{follow, none, others, stopped, write};
use crate::cli::PlanArgs;
use crate::commands::plan::interrupted;
use engine::training::searched::Better;

use crate::printer::Printer;
use crate::publisher::Publisher;
use engine::escape;
use engine::exit::{CommandResult, Exit};
use engine::page::Format;
use engine::training::document;
use engine::training::layered::found::Answer;
use engine::training::layered::{ALGORITHM, nothing_fits, pricing};
use engine::training::nothing_fits::too_early;
use engine::training::setting::Setting;

/// Searches with optimizer states on the devices, then, if they fit nowhere, on the hosts.
fn searched(
    setting: &Setting,
    space: &Space,
    (options, search): (&Options, Search),
    tell: &dyn Fn(Better<Judged>),
) -> Result<Settled<Found>, Diagnostic> {
    let pricing = pricing(setting)?;
    let asked = Asked { free: space, launcher: None, may_offload: !setting.request.no_offload };
    let is_settled = |found: &Found| found.best.is_some() || !found.stop.is_complete();
    asked.until_it_fits(is_settled, |space, _, offload| {
        let mut observe = |plan: &Judged, bound: Nanos| {
            tell(Better { plan: plan.clone(), step: plan.step, bound, offload });
        };
        let pricing = LayerPricing { offload, ..pricing };
        let found = search(&pricing, space, options, &mut observe)?;
        let is_measured = found.counts.n_unmeasured < found.counts.n_shapes;
        match &found.lacking {
            Some(lacking) if !is_settled(&found) && !is_measured => Err(lacking.clone()),
            _ => Ok(found),
        }
    })
}

/// What is known of a search that told of a plan and did not end.
fn cut_short(told: &Better<Judged>, stop: StopReason) -> Found {
    Found {
        best: Some(told.plan.clone()),
        bound: told.bound,
        stop,
        counts: Counts::default(),
        others: Vec::new(),
        lacking: None,
    }
}

/// Plans a training run.
pub(super) fn plan(
    args: &PlanArgs,
    (mut setting, space): (Setting, Space),
    exports: &[(&str, PathBuf)],
    (watch, publisher): (&Watch, &mut Publisher<'_>),
    printer: &Printer,
) -> CommandResult {
    let start = Instant::now();
    let limits = args.limits.request().within(watch, None);
    let options = Options { control: Arc::new(Control::new(&limits)), ..Options::default() };
    let row = super::row(&args.algorithm, &setting)?;
    let solve = row.on_layers().unwrap_or(solve_observed);
    let (own, among, limits) = (setting.clone(), space.clone(), options.clone());
    let work = move |tell: &dyn Fn(Better<Judged>)| {
        let settled = searched(&own, &among, (&options, solve), tell)?;
        Ok::<_, Diagnostic>((settled.found, settled.offload))
    };
    let document_of = |told: &Better<Judged>| {
        let own = setting.keeping(told.offload);
        let made_by = (ALGORITHM, told.bound.min(told.step));
        let document = document::of(&own, &told.plan.plan()?, Order::OneFOneB.name(), made_by)?;
        Ok(escape::json(document.to_json()?).into_bytes())
    };
    let mut followed = follow((ALGORITHM, args), watch, publisher, work, &document_of);
    let (found, offload) = match (followed.done.take(), followed.last.take()) {
        (Some(done), _) => done?,
        (None, Some(told)) => (cut_short(&told, stopped(watch)), told.offload),
        (None, None) if watch.is_cancelled() => return Ok(interrupted(printer)),
        (None, None) => return Err(too_early(StopReason::Deadline, 0)),
    };
    setting.offload = offload;
    let Some(best) = &found.best else {
        return none((found.stop, found.counts.n_judged), printer, || {
            printer.page(|page| nothing_fits::answer(&setting, &space, &limits, page))
        });
    };
    let elapsed = (!args.limits.deterministic).then(|| start.elapsed());
    followed.ended((best.step, found.bound));
    let plan = best.plan()?;
    let made = (&plan, (Order::OneFOneB.name(), found.bound));
    let others = others(args, &setting, made, (exports, followed.trace.as_slice()));
    let unsaid = others.as_ref().map_or(&[][..], |(_, warnings)| warnings.as_slice());
    setting.warnings.extend_from_slice(unsaid);
    let answer = Answer::new(&setting, best, &found, elapsed)?;
    let document = document::of(&setting, &plan, Order::OneFOneB.name(), (ALGORITHM, found.bound))?;
    let text = escape::json(document.to_json()?);
    let written = write((args, exports), publisher, text, others)?;
    printer.warnings(&setting.warnings);
    match printer.format {
        Format::Text => printer.page(|page| answer.print(page)),
        Format::Json => printer.document(&answer.document(&document)?),
    }
    for path in &written {
        printer.talk(&format!("wrote {}", path.display()));
    }
    Ok(Exit::DONE)
}
