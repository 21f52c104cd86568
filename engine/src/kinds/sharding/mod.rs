//! Shardings of a training step: each tensor split over the axes of a mesh.

pub mod decided;
pub mod explain;
pub mod ops;
pub mod plan;
pub mod setting;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use documents::plan::PlanDocument;
use exporters::Export;
use exporters::shardings::ShardingSource;
use ir::diagnostic::Diagnostic;
use ir::plan_kind::PlanKind;
use ir::units::{Bytes, Nanos};
use planner::run::{Control, Limits};
use planner::sharding::{Planned, Shards};
use serde_json::json;

use self::setting::Setting;
use crate::answer::differences;
use crate::answer::exit::CommandResult;
use crate::answer::page::{Column, Page};
use crate::inputs::run::model;
use crate::inputs::run::setting::Setting as Run;
use crate::inputs::{asked, plan_file};
use crate::kinds::frame;
use crate::kinds::kind::{
    ChecksSubject, Compared, Explains, IsRow, Kind, Legal, Pair, Plans, Read, Target, Told, refused,
};
use crate::request::fields::Honours;
use crate::request::subject::Subject;
use crate::search::row;

/// Splits of the tensors of a step.
pub struct Sharding;

impl Kind for Sharding {
    const KIND: PlanKind = PlanKind::Sharding;
    const ROWS: &'static str = "a row that shards training steps";
    const HONOURS: &'static Honours = &HONOURS;
    const IS_ROW: IsRow = row::is::<Shards>;
    const PLAN: Plans = plan::plan;
    const EXPLAIN: Explains<Self> = explain::explain;
    const CHECK_SUBJECT: ChecksSubject = check_subject;
    const ELSEWHERE: &'static str =
        "placements are in the plan (`sharding.ops`), collectives in `sharding.redistributions`";

    type Setting = Setting;
    type Judged = Planned;

    fn read(plan: &Arc<PlanDocument>, target: Target<'_>) -> Result<Read<Setting>, Diagnostic> {
        let Some(sharding) = &plan.sharding else {
            return Err(Diagnostic::input("bad-plan", "the plan is no sharding"));
        };
        let planned = plan_file::workload(&plan.workload)?;
        let request = asked::merged(&target.flags.problem, &plan.request)?;
        let mut flags = target.flags.problem.clone();
        flags.model = asked::model(&flags.model, &request);
        (flags.model.dtype, flags.optimizer) = (planned.dtype, Some(planned.optimizer));
        let read = model::read(target.model, Some(sharding.sequence_length), &flags.model)?;
        let batch = plan.workload.batch.unwrap_or(1);
        let mut run = Run::on(read, &flags, &sharding.stack, batch)?;
        run.ask(request)?;
        let others = target.others(plan, &run.references());
        let sizes = sharding.mesh.iter().map(|axis| axis.size).collect();
        let setting = Setting::of((run, target.model, &flags.model), Some(sizes))?;
        Ok(Read { warnings: setting.run.warnings.clone(), others, setting })
    }

    fn judge(setting: &mut Setting, plan: &PlanDocument) -> Result<Planned, Vec<Diagnostic>> {
        decided::judged(setting, plan)
    }

    fn stated_wrong(on: Legal<'_, Self>, proof: Option<&Arc<AtomicBool>>) -> Vec<Diagnostic> {
        let mut judged = on.judged.clone();
        if let Some(stop) = proof {
            judged.sharding.bound_s = proved(on, stop);
        }
        let mut derived = decided::document(on.setting, &judged, &on.plan.algorithm);
        let mut stated = on.plan.clone();
        if proof.is_none() {
            stated.cost = stated.cost.map(unproved);
            derived.cost = derived.cost.map(unproved);
        }
        differences::of_plans(&stated, &derived)
    }

    fn told(on: Legal<'_, Self>) -> Told {
        let seconds = on.judged.seconds();
        Told {
            sentence: format!(
                "the plan is legal: {} ops and {} redistributions checked on a mesh of {}; step {}, peak {} \
                 per device",
                on.judged.step.graph.ops.len(),
                on.judged.sharding.steps.len(),
                plan::mesh(&on.setting.mesh),
                Nanos((seconds * 1e9).round() as u64),
                Bytes(on.judged.peak.0.round() as u64)
            ),
            figures: vec![("seconds", json!(seconds))],
        }
    }

    fn export(on: Legal<'_, Self>, target: &str) -> Result<Export, Diagnostic> {
        exporters::export(target, &ShardingSource(on.plan))
    }

    fn compare(pair: Pair<'_>, page: &Page) -> CommandResult {
        frame::compare::<Self>(pair, None, |_| compared((pair.a, pair.b), page), page)
    }
}

/// Seconds of a micro-batch that no sharding is below: what the plan states, where a search proves as much.
fn proved(on: Legal<'_, Sharding>, stop: &Arc<AtomicBool>) -> f64 {
    let cost = on.plan.cost.as_ref();
    let stated = cost.map_or(0.0, |cost| cost.bound_ns as f64 / 1e9);
    let stated = stated / on.judged.accumulation.max(1) as f64;
    let control = Control::new(&Limits { cancel: Arc::clone(stop), ..Limits::default() });
    let enough_s = stated * (1.0 - PROVED);
    let step = &on.judged.step;
    let least_s = on.setting.with(|question| question.least_s(step, enough_s, &control));
    if least_s >= enough_s { stated } else { least_s }
}

/// Part of a bound that its digits may be beyond it.
const PROVED: f64 = 1e-9;

/// A cost without its bound, which a search has to prove.
fn unproved(cost: documents::plan::CostDocument) -> documents::plan::CostDocument {
    documents::plan::CostDocument { bound_ns: 0, bound_s: 0.0, gap: None, ..cost }
}

/// What shardings honour of a request.
const HONOURS: Honours = Honours {
    hint: |field| match field.name {
        "devices" => "leave it out: all devices of --cluster are planned on",
        "micro_batch" => "leave it out: micro-batches follow from memory",
        _ => "leave it out: a sharding does not depend on it",
    },
    ..Honours::new(
        "sharding",
        PlanKind::Sharding,
        "cluster profile batch dims batch_axis dtype workload optimizer global_batch sequence_length \
         tokens_per_step max_memory_per_device memory_margin stack pin gap node_budget export",
    )
};

/// Refuses subjects that its plans have none of.
fn check_subject(subject: &Subject) -> Result<(), Diagnostic> {
    match subject.flag() {
        None | Some("--op") => Ok(()),
        Some(flag) => {
            let message = format!("all devices run the same sharding: `{flag}` does not apply");
            Err(refused(PlanKind::Sharding, message, "name an op with --op, or leave it out"))
        }
    }
}

fn compared((a, b): (&PlanDocument, &PlanDocument), page: &Page) -> Compared {
    let step = |plan: &PlanDocument| plan.cost.as_ref().map_or(0, |cost| cost.step_time_ns);
    let of = |name: &str, text: &dyn Fn(&PlanDocument) -> String| {
        vec![name.to_owned(), text(a), text(b)]
    };
    let sharding = |plan: &PlanDocument| plan.sharding.clone().unwrap_or_default();
    let mesh = |plan: &PlanDocument| {
        let sizes = sharding(plan).mesh.into_iter().map(|axis| axis.size.to_string());
        sizes.collect::<Vec<_>>().join("x")
    };
    let differing = (sharding(a).ops.iter())
        .filter(|op| !sharding(b).ops.contains(op))
        .map(|op| op.op.clone())
        .collect::<Vec<_>>();
    let rows = vec![
        of("step, ms", &|plan| format!("{:.3}", step(plan) as f64 / 1e6)),
        of("mesh", &mesh),
        of("micro-batches", &|plan| plan.parallelism.n_micro_batches.to_string()),
        of("recompute", &|plan| if sharding(plan).recompute { "full" } else { "none" }.to_owned()),
        of("redistributions", &|plan| sharding(plan).redistributions.len().to_string()),
        of("peak memory, GiB", &|plan| {
            format!("{:.2}", sharding(plan).peak_memory_bytes as f64 / 2_f64.powi(30))
        }),
    ];
    page.table(&[Column::Name("of"), Column::Number("A"), Column::Number("B")], rows);
    let is_equal = a.sharding.as_ref().map(|of| (&of.ops, &of.mesh))
        == b.sharding.as_ref().map(|of| (&of.ops, &of.mesh))
        && a.parallelism == b.parallelism;
    let gain = step(a) as f64 / (step(b) as f64).max(1.0);
    let differs =
        format!("{} ops are sharded otherwise; B is {gain:.3} times as fast as A", differing.len());
    let document = json!({
        "gain": gain, "differing_ops": differing,
        "a": { "step_ns": step(a) }, "b": { "step_ns": step(b) },
    });
    Compared { is_equal, differs, document }
}
