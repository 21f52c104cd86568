//! `compare` of what a launcher runs now with a plan of a training run.

use cost_model::pipeline::judge_plan;
use cost_model::pipeline::way::Contention;
use cost_model::transformer::run::equal_blocks;
use documents::plan::PlanDocument;
use importers::launcher::{self, Launcher};
use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;
use ir::plan::{Parallelism, Partition, Plan, Stage};
use ir::schedule::Schedule;
use ir::units::{Bytes, Nanos};
use planner::parallelism::order::Order;
use serde_json::json;

use super::replay::{OnModel, read_on};
use crate::cli::CompareArgs;
use crate::commands::{CommandResult, Exit};
use crate::printer::Printer;
use crate::table::Column;

/// Step time and peaks of one side.
struct Side {
    step: Nanos,
    /// The rank that holds most: bytes, and the limit.
    peak: Bytes,
    /// The rank that exceeds its limit by most, and by how much.
    short: Option<(usize, Bytes)>,
}

/// Sets a launcher's settings beside a plan.
pub(crate) fn compare(
    launcher: Launcher,
    text: &str,
    document: &PlanDocument,
    args: &CompareArgs,
    printer: &Printer,
) -> CommandResult {
    let missing = |what: &str, hint: &str| {
        Diagnostic::usage("not-comparable", format!("a launcher's settings need {what}")).hint(hint)
    };
    if document.training.is_none() {
        return Err(missing("a plan of a training run beside them", "plan a config.json"));
    }
    let model = args.model.as_deref();
    let model = model.ok_or_else(|| missing("the model", "add --model config.json"))?;
    let settings = launcher::read(launcher, text)?;
    let on = read_on(document, model, &args.target)?;
    let target = Target {
        n_devices: on.setting.cluster.devices.len() as u64,
        n_blocks: on.setting.model.n_blocks(),
        global_batch: on.training.global_batch,
    };
    let now = plan_of(&settings, &target)?;
    let (a, b) = (side(&on, &now)?, side(&on, &on.plan)?);
    printer.warnings(&on.warnings);
    let changes = changes(&now, &on.plan);
    print(launcher, &on, (&a, &b), &changes, printer);
    printer.document(&json!({
        "launcher": launcher.name(),
        "equal": changes.is_empty(),
        "now": as_json(&a),
        "plan": as_json(&b),
        "changes": changes.iter().map(|(what, now, plan)| {
            json!({ "field": what, "now": now, "plan": plan })
        }).collect::<Vec<_>>(),
    }));
    Ok(if changes.is_empty() { Exit::DONE } else { Exit::DIFFERS })
}

fn as_json(side: &Side) -> serde_json::Value {
    json!({
        "step_time_ns": side.short.is_none().then_some(side.step.get()),
        "peak_bytes": side.peak.get(),
        "short_of_bytes": side.short.map(|(_, bytes)| bytes.get()),
        "short_rank": side.short.map(|(rank, _)| rank),
    })
}

/// What settings are put on.
pub(super) struct Target {
    pub(super) n_devices: u64,
    pub(super) n_blocks: u32,
    pub(super) global_batch: u64,
}

/// The plan that the settings describe; what they leave open is the launcher's default.
pub(super) fn plan_of(settings: &LaunchSettings, on: &Target) -> Result<Plan, Diagnostic> {
    let wrong = |why: String, hint: &str| Diagnostic::input("bad-settings", why).hint(hint);
    let one = |degree: Option<u32>| degree.unwrap_or(1);
    let (tensor, pipeline) = (one(settings.tensor), one(settings.pipeline));
    let (context, expert) = (one(settings.context), one(settings.expert));
    let n_devices = on.n_devices;
    let group = [tensor, pipeline, context].iter().map(|n| u64::from(*n)).product::<u64>();
    let data = match settings.data {
        Some(data) => data,
        None if group > 0 && n_devices.is_multiple_of(group) => (n_devices / group) as u32,
        None => {
            let why = format!("{n_devices} devices are no multiple of groups of {group}");
            return Err(wrong(why, "use degrees that divide the devices of the cluster"));
        }
    };
    if group.saturating_mul(u64::from(data)) > n_devices {
        let why = format!("the settings use {} devices of {n_devices}", group * u64::from(data));
        return Err(wrong(why, "give the cluster that the launcher runs on"));
    }
    let global = settings.global_batch.unwrap_or(on.global_batch);
    let stated = settings.micro_batch.or_else(|| {
        let parts = settings.n_micro_batches?.checked_mul(u64::from(data)).filter(|n| *n > 0)?;
        global.is_multiple_of(parts).then(|| global / parts)
    });
    let micro_batch = stated.ok_or_else(|| {
        wrong("the settings state no micro-batch".into(), "add the flag of the micro-batch size")
    })?;
    let n_micro_batches = match settings.n_micro_batches {
        Some(n) => n,
        None => {
            let each = micro_batch.saturating_mul(u64::from(data));
            if each == 0 || !global.is_multiple_of(each) {
                let why = format!("{global} samples are no multiple of {data} x {micro_batch}");
                return Err(wrong(why, "use a global batch that replicas can share out"));
            }
            global / each
        }
    };
    let virtual_stages = settings.virtual_stages.unwrap_or(1);
    let degrees = Parallelism {
        data,
        tensor,
        pipeline,
        expert,
        context,
        n_micro_batches,
        micro_batch,
        virtual_stages,
        sequence: settings.sequence.unwrap_or(SequenceParallel::Off),
        zero: settings.zero.unwrap_or(ZeroStage::None),
        mesh: settings.mesh.unwrap_or_default(),
        vocabulary: settings.vocabulary,
    };
    let recompute = settings.recompute.unwrap_or(Recompute::None);
    let n_stages = pipeline.saturating_mul(virtual_stages);
    let n_blocks = on.n_blocks;
    let sizes = settings.blocks.clone().unwrap_or_else(|| equal_blocks(n_blocks, n_stages));
    let held = sizes.iter().fold(0u64, |sum, n| sum + u64::from(*n));
    if held != u64::from(n_blocks) || sizes.len() != n_stages as usize {
        let why = format!("{} stages of {held} blocks for a model of {n_blocks}", sizes.len());
        return Err(wrong(why, "give the settings of this model"));
    }
    let each = settings.each.as_deref().unwrap_or_default();
    if !each.is_empty() && each.len() != n_blocks as usize {
        let why = format!("choices for {} blocks of a model of {n_blocks}", each.len());
        return Err(wrong(why, "give the settings of this model"));
    }
    let mut next = 0;
    let stages = sizes.iter().map(|n| {
        let blocks = next..next + n;
        next = blocks.end;
        let own = each.get(blocks.start as usize..blocks.end as usize).unwrap_or_default();
        Stage { ops: Vec::new(), blocks, recompute, each: own.to_vec() }
    });
    let name = settings.schedule.as_deref().unwrap_or("1f1b");
    let order = Order::of(name).ok_or_else(|| {
        wrong(format!("the schedule `{name}` is not known"), "use one that meshwright plans")
    })?;
    let m = u32::try_from(n_micro_batches).unwrap_or(u32::MAX);
    let grid = order.grid(pipeline, virtual_stages, m, |_| recompute != Recompute::None)?;
    Ok(Plan {
        partition: Partition { stages: stages.collect() },
        parallelism: degrees,
        placement: Default::default(),
        experts: Default::default(),
        communication: Default::default(),
        schedule: Schedule { grid: Some(grid), ..Schedule::default() },
    })
}

fn side(on: &OnModel<'_>, plan: &Plan) -> Result<Side, Diagnostic> {
    let costs = on.setting.costs(plan, on.setting.limit)?;
    let report = judge_plan(&costs, plan, Contention::Static).map_err(|v| v.diagnostic())?.report;
    let over = report.ranks.iter().enumerate().filter_map(|(rank, own)| {
        let short = own.peak.bytes.checked_sub(own.limit?).filter(|short| *short > 0)?;
        Some((rank, Bytes(short)))
    });
    Ok(Side {
        step: report.step_time,
        peak: Bytes(report.ranks.iter().map(|rank| rank.peak.bytes).max().unwrap_or(0)),
        short: over.max_by_key(|(_, short)| *short),
    })
}

/// What the plan decides otherwise: field, now, plan.
fn changes(now: &Plan, plan: &Plan) -> Vec<(&'static str, String, String)> {
    let (a, b) = (&now.parallelism, &plan.parallelism);
    let blocks = |plan: &Plan| {
        let counts = plan.partition.stages.iter().map(|stage| stage.blocks.len().to_string());
        counts.collect::<Vec<_>>().join(",")
    };
    let again = |plan: &Plan| {
        let mut policies: Vec<String> = plan.partition.stages.iter().map(policy).collect();
        policies.dedup();
        policies.join(",")
    };
    let gathered = |plan: &Plan| {
        let zero = plan.parallelism.zero;
        let own = |stage: &Stage| {
            let shared = stage.policies(zero).filter(|own| own.zero == ZeroStage::Parameters);
            shared.count().to_string()
        };
        plan.partition.stages.iter().map(own).collect::<Vec<_>>().join(",")
    };
    let has_each = [now, plan]
        .iter()
        .any(|side| side.partition.stages.iter().any(|stage| !stage.each.is_empty()));
    let on_off = |sequence| match sequence {
        SequenceParallel::Off => "off",
        SequenceParallel::On => "on",
        SequenceParallel::Ulysses => "ulysses",
    };
    let fields = [
        ("data", a.data.to_string(), b.data.to_string()),
        ("tensor", a.tensor.to_string(), b.tensor.to_string()),
        ("pipeline", a.pipeline.to_string(), b.pipeline.to_string()),
        ("virtual stages", a.virtual_stages.to_string(), b.virtual_stages.to_string()),
        ("context", a.context.to_string(), b.context.to_string()),
        ("expert", a.expert.to_string(), b.expert.to_string()),
        ("micro-batch", a.micro_batch.to_string(), b.micro_batch.to_string()),
        ("micro-batches", a.n_micro_batches.to_string(), b.n_micro_batches.to_string()),
        ("zero", (a.zero as u8).to_string(), (b.zero as u8).to_string()),
        ("sequence", on_off(a.sequence).into(), on_off(b.sequence).into()),
        ("blocks", blocks(now), blocks(plan)),
        ("recompute", again(now), again(plan)),
    ];
    let gathered = has_each.then(|| ("ZeRO-3 blocks", gathered(now), gathered(plan)));
    let ends = |plan: &Plan| {
        let own = plan.parallelism.vocabulary.unwrap_or(plan.parallelism.tensor);
        own.to_string()
    };
    // Where nobody states it, it is the tensor degree, which has a row.
    let is_stated = [a, b].iter().any(|side| side.vocabulary.is_some());
    let ends = is_stated.then(|| ("vocabulary", ends(now), ends(plan)));
    let fields = fields.into_iter().chain(gathered).chain(ends);
    let mut changes: Vec<_> = fields.filter(|(_, now, plan)| now != plan).collect();
    if changes.is_empty() && now.schedule.grid != plan.schedule.grid {
        changes.push(("schedule", "as set".into(), "another order of passes".into()));
    }
    changes
}

fn policy(stage: &Stage) -> String {
    if !stage.each.is_empty() {
        let again = stage.each.iter().filter(|own| own.recompute != Recompute::None).count();
        return format!("block {again}");
    }
    match stage.recompute {
        Recompute::None => "none".to_owned(),
        Recompute::Selective => "selective".to_owned(),
        Recompute::Full => "full".to_owned(),
        Recompute::Uniform { blocks } => format!("uniform {blocks}"),
        Recompute::Block { blocks } => format!("block {blocks}"),
    }
}

fn print(
    launcher: Launcher,
    on: &OnModel<'_>,
    (a, b): (&Side, &Side),
    changes: &[(&'static str, String, String)],
    printer: &Printer,
) {
    let step = |side: &Side| match side.short {
        None => side.step.to_string(),
        Some((rank, bytes)) => format!("none: rank {rank} lacks {bytes}"),
    };
    let mut rows = vec![
        vec!["step time".to_owned(), step(a), step(b)],
        vec!["peak memory".to_owned(), a.peak.to_string(), b.peak.to_string()],
    ];
    rows.extend(
        changes.iter().map(|(what, now, plan)| vec![(*what).to_owned(), now.clone(), plan.clone()]),
    );
    let columns = [Column::Name(""), Column::Text(launcher.name()), Column::Text("plan")];
    printer.table(&columns, rows);
    printer.line(&match (a.short, b.short) {
        (Some(_), _) => "what runs now does not fit by this model of memory".to_owned(),
        (None, Some(_)) => "the plan does not fit".to_owned(),
        (None, None) => {
            let gain = a.step.seconds() / b.step.seconds().max(f64::MIN_POSITIVE);
            let costs = match on.setting.layers {
                Some(_) => "on measured layers",
                None => "nominal unless a profile says otherwise",
            };
            format!(
                "the plan is {gain:.3} times as fast as what runs now ({} samples a step, {costs})",
                on.training.global_batch
            )
        }
    });
}
