//! The plan that a launcher's settings describe.

use cost_model::runs::forms::model::shape;
use cost_model::runs::forms::run::equal_blocks;
use ir::card::{ModelCard, Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;
use ir::plan::{Mesh, Parallelism, Partition, Plan, Stage};
use ir::schedule::Schedule;
use planner::training::order::Order;

/// What settings are put on.
pub(in super::super) struct Target<'a> {
    pub(in super::super) n_devices: u64,
    pub(in super::super) model: &'a ModelCard,
    pub(in super::super) global_batch: u64,
    /// What the settings leave open is as here.
    pub(in super::super) beside: &'a Parallelism,
}

/// Most passes of a schedule, over all ranks: those of a million micro-batches on 16 ranks.
const MOST_PASSES: u64 = 1 << 25;

/// The plan that the settings describe; what they leave open is as beside them, or the launcher's
/// default.
///
/// # Errors
/// `bad-settings`, `shape-rule` for degrees that the model can't have, and those of the schedule.
pub(in super::super) fn plan_of(
    settings: &LaunchSettings,
    on: &Target<'_>,
) -> Result<Plan, Diagnostic> {
    let wrong = |why: String, hint: &str| Diagnostic::input("bad-settings", why).hint(hint);
    let one = |degree: Option<u32>| degree.unwrap_or(1);
    let (tensor, pipeline) = (one(settings.tensor), one(settings.pipeline));
    let (context, expert) = (one(settings.context), one(settings.expert));
    let n_devices = on.n_devices;
    let group = [tensor, pipeline, context]
        .iter()
        .fold(1_u64, |product, n| product.saturating_mul(u64::from(*n)));
    let data = match settings.data {
        Some(data) => data,
        None if group > 0 && n_devices.is_multiple_of(group) => {
            u32::try_from(n_devices / group).unwrap_or(u32::MAX)
        }
        None => {
            let why = format!("{n_devices} devices are no multiple of groups of {group}");
            return Err(wrong(why, "use degrees that divide the devices of the cluster"));
        }
    };
    let n_used = group.saturating_mul(u64::from(data));
    if n_used > n_devices {
        let why = format!("the settings use {n_used} devices of {n_devices}");
        return Err(wrong(why, "give the cluster that the launcher runs on"));
    }
    let global = on.global_batch;
    let stated = settings.micro_batch.or_else(|| {
        let parts = settings.n_micro_batches?.checked_mul(u64::from(data)).filter(|n| *n > 0)?;
        global.is_multiple_of(parts).then(|| global / parts)
    });
    let is_open = settings.n_micro_batches.is_none();
    let stated = stated.or_else(|| is_open.then_some(on.beside.micro_batch));
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
        sequence: match tensor {
            1 => SequenceParallel::Off,
            _ => settings.sequence.unwrap_or(on.beside.sequence),
        },
        zero: settings.zero.unwrap_or(ZeroStage::None),
        mesh: match data == 1 || pipeline == 1 {
            true => Mesh::DataInside,
            false => settings.mesh.unwrap_or(on.beside.mesh),
        },
        vocabulary: settings.vocabulary,
    };
    shape::check(on.model, &degrees, global)?;
    let recompute = settings.recompute.unwrap_or(Recompute::None);
    let n_stages = pipeline.saturating_mul(virtual_stages);
    let n_passes = u64::from(n_stages).saturating_mul(n_micro_batches).saturating_mul(2);
    if n_passes > MOST_PASSES {
        let why = format!("a schedule of {n_passes} passes, at most {MOST_PASSES} are judged");
        return Err(wrong(why, "use larger micro-batches"));
    }
    let n_blocks = on.model.n_blocks();
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
