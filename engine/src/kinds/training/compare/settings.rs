//! The plan that a launcher's settings describe.

use cost_model::runs::forms::model::shape;
use cost_model::runs::forms::run::equal_blocks;
use importers::launcher::cut_by_ends;
use ir::card::{
    Attention, Head, ModelCard, Recompute, SequenceParallel, TransformerCard, ZeroStage,
};
use ir::diagnostic::Diagnostic;
use ir::grid::Grid;
use ir::launch::LaunchSettings;
use ir::plan::{Mesh, Parallelism, Partition, Plan, Stage};
use ir::schedule::Schedule;
use planner::training::order::Order;

use super::schedule;
use crate::inputs::run::setting::{MOST_PASSES, MOST_SAMPLES};

/// What settings are put on.
pub(super) struct Target<'a> {
    pub n_devices: u64,
    pub model: &'a ModelCard,
    pub global_batch: u64,
    /// What the settings leave open is as here.
    pub beside: &'a Parallelism,
    /// Whether the stack runs exchanges of experts beside other work where a plan says so.
    pub may_overlap: bool,
    /// The schedule, where a file beside the settings holds it.
    pub grid: Option<Grid>,
}

/// The plan that the settings describe; what they leave open is as beside them, or the launcher's
/// default.
///
/// # Errors
/// `bad-settings`, `shape-rule` for degrees that the model can't have, and those of the schedule.
pub(super) fn plan_of(settings: &LaunchSettings, on: &Target<'_>) -> Result<Plan, Diagnostic> {
    same_model(settings, on.model)?;
    let degrees = degrees(settings, on)?;
    shape::check(on.model, &degrees, on.global_batch)?;
    let Parallelism { pipeline, virtual_stages, n_micro_batches, .. } = degrees;
    let n_stages = pipeline.saturating_mul(virtual_stages);
    let n_passes = u64::from(n_stages).saturating_mul(n_micro_batches).saturating_mul(2);
    if n_passes > MOST_PASSES {
        let why = format!("a schedule of {n_passes} passes, at most {MOST_PASSES} are judged");
        return Err(wrong(why, "use larger micro-batches"));
    }
    let stages = stages(settings, on.model.n_blocks(), n_stages)?;
    let grid = match &on.grid {
        Some(grid) => {
            schedule::check(grid, pipeline)?;
            grid.clone()
        }
        None => grid_of(settings, &degrees)?,
    };
    Ok(Plan {
        partition: Partition { stages },
        parallelism: degrees,
        placement: Default::default(),
        schedule: Schedule { grid: Some(grid), ..Schedule::default() },
    })
}

/// The grid of the schedule that the settings name.
fn grid_of(settings: &LaunchSettings, degrees: &Parallelism) -> Result<Grid, Diagnostic> {
    let name = settings.schedule.as_deref().unwrap_or("1f1b");
    let order = Order::of(name).ok_or_else(|| {
        wrong(format!("the schedule `{name}` is not known"), "use one that meshwright plans")
    })?;
    let m = u32::try_from(degrees.n_micro_batches).unwrap_or(u32::MAX);
    let again = settings.recompute.is_some_and(|policy| policy != Recompute::None);
    order.grid(degrees, m, |_| again)
}

/// Refuses settings that state sizes of another model.
fn same_model(settings: &LaunchSettings, model: &ModelCard) -> Result<(), Diagnostic> {
    let Some(first) = model.groups.first().map(|group| &group.card) else { return Ok(()) };
    let dense = model.groups.iter().find(|group| group.card.experts.is_none());
    let experts = model.groups.iter().find_map(|group| group.card.experts);
    let is_latent = matches!(first.attention, Attention::Latent { .. });
    let window = model.groups.iter().find_map(|group| match group.card.attention {
        Attention::Window { tokens, .. } => Some(tokens),
        _ => None,
    });
    let model_size = |flag: &str| {
        Some(match flag {
            "--hidden-size" => first.hidden,
            "--num-attention-heads" => first.n_heads,
            "--num-query-groups" if !is_latent => first.n_kv_heads,
            "--kv-channels" if !is_latent => first.head_dims().0,
            "--ffn-hidden-size" => dense?.card.feed_forward,
            "--vocab-size" => first.vocabulary,
            "--num-experts" => experts.map_or(0, |experts| experts.n_experts),
            "--moe-ffn-hidden-size" => experts?.feed_forward,
            "--moe-router-topk" => experts?.per_token,
            "--moe-shared-expert-intermediate-size" => {
                experts.map(|experts| experts.n_shared * experts.feed_forward)?
            }
            "--swiglu" => u64::from(first.form.is_gated()),
            "--untie-embeddings-and-output-weights" => u64::from(first.head == Head::Separate),
            "--multi-latent-attention" => u64::from(is_latent),
            "--mtp-num-layers" => u64::from(model.n_predictions.saturating_sub(1)),
            // One that no sample fills is none.
            "--window-size" if window.is_none_or(|tokens| tokens < first.sequence) => {
                window.unwrap_or(0)
            }
            other => return of_latent(other, first.attention),
        })
    };
    let sizes = settings.sizes.iter().map(|(flag, stated)| (*flag, *stated, model_size(flag)));
    let differs = |(flag, stated, of_model): (_, u64, Option<u64>)| {
        Some((flag, stated, of_model.filter(|size| *size != stated)?))
    };
    match sizes.into_iter().find_map(differs) {
        None => same_layers(settings, model),
        Some((flag, stated, of_model)) => {
            let why = format!("`{flag}` is {stated} in the settings and {of_model} of the model");
            Err(wrong(why, "give the settings of this model, or the model that they are of"))
        }
    }
}

/// A size of latent attention by its flag.
fn of_latent(flag: &str, attention: Attention) -> Option<u64> {
    let Attention::Latent { query_rank, key_value_rank, plain, rotary, value } = attention else {
        return None;
    };
    Some(match flag {
        "--q-lora-rank" => query_rank.unwrap_or(0),
        "--kv-lora-rank" => key_value_rank,
        "--qk-head-dim" => plain,
        "--qk-pos-emb-head-dim" => rotary,
        "--v-head-dim" => value,
        _ => return None,
    })
}

/// Refuses settings that put experts or windows into other layers.
fn same_layers(settings: &LaunchSettings, model: &ModelCard) -> Result<(), Diagnostic> {
    let has_experts = |card: &TransformerCard| card.experts.is_some();
    let has_window = |card: &TransformerCard| match card.attention {
        Attention::Window { tokens, .. } => tokens < card.sequence,
        _ => false,
    };
    let of_layers = |has: &dyn Fn(&TransformerCard) -> bool| -> Vec<bool> {
        let has = |kind: usize| model.groups.get(kind).is_some_and(|group| has(&group.card));
        model.kinds().map(has).collect()
    };
    let parts = [
        ("experts", "--moe-layer-freq", &settings.with_experts, of_layers(&has_experts)),
        ("a window", "--window-attn-skip-freq", &settings.windowed, of_layers(&has_window)),
    ];
    for (part, flag, stated, mut of_model) in parts {
        let Some(stated) = stated else { continue };
        of_model.truncate(stated.len());
        if of_model.contains(&true) && of_model != *stated {
            let count = |layers: &[bool]| layers.iter().filter(|has| **has).count();
            let (stated, of_model) = (count(stated), count(&of_model));
            let why =
                format!("{stated} layers have {part} in the settings and {of_model} of the model");
            let why = format!("{why}, or others of them");
            return Err(wrong(why, &format!("give `{flag}` as the model has it")));
        }
    }
    Ok(())
}

fn wrong(why: String, hint: &str) -> Diagnostic {
    Diagnostic::input("bad-settings", why).hint(hint)
}

fn degrees(settings: &LaunchSettings, on: &Target<'_>) -> Result<Parallelism, Diagnostic> {
    let [tensor, pipeline, context, expert, virtual_stages] = [
        settings.tensor,
        settings.pipeline,
        settings.context,
        settings.expert,
        settings.virtual_stages,
    ]
    .map(|degree| degree.unwrap_or(1));
    let data = replicas(settings, on.n_devices, [tensor, pipeline, context])?;
    let (micro_batch, n_micro_batches) = micro_batches(settings, on, data)?;
    Ok(Parallelism {
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
            true => Mesh::TpCpDpPp,
            false => settings.mesh.unwrap_or(on.beside.mesh),
        },
        vocabulary: settings.vocabulary,
        expert_overlap: on.may_overlap && settings.stack.overlaps_experts == Some(true),
        expert_tensor: settings.expert_tensor.filter(|ranks| *ranks != tensor),
    })
}

/// Replicas as stated or as the processes make them, else as many groups as the devices hold.
fn replicas(
    settings: &LaunchSettings,
    n_devices: u64,
    degrees: [u32; 3],
) -> Result<u32, Diagnostic> {
    let group = degrees.iter().fold(1u64, |product, n| product.saturating_mul(u64::from(*n)));
    // The number of hosts may be a default that is too small for the expert degree.
    let [tensor, _, context] = degrees.map(u64::from);
    let takes =
        |n: u64| u64::from(settings.expert.unwrap_or(1)) <= n / group.max(1) * tensor * context;
    let processes = settings.n_processes.filter(|n| *n <= n_devices && takes(*n));
    let data = match (settings.data, processes) {
        (Some(data), _) => data,
        (None, Some(n)) if group > 0 && n.is_multiple_of(group) => {
            u32::try_from(n / group).unwrap_or(u32::MAX)
        }
        (None, Some(n)) => {
            let why = format!("{n} processes are no multiple of groups of {group}");
            return Err(wrong(why, "use degrees that divide the processes that the script starts"));
        }
        (None, None) if group > 0 && n_devices.is_multiple_of(group) => {
            u32::try_from(n_devices / group).unwrap_or(u32::MAX)
        }
        (None, None) => {
            let why = format!("{n_devices} devices are no multiple of groups of {group}");
            return Err(wrong(why, "use degrees that divide the devices of the cluster"));
        }
    };
    let n_used = group.saturating_mul(u64::from(data));
    if n_used > n_devices {
        let why = format!("the settings use {n_used} devices of {n_devices}");
        return Err(wrong(why, "give the cluster that the launcher runs on"));
    }
    Ok(data)
}

/// Samples of a step, as stated or as all replicas' micro-batches make them.
///
/// # Errors
/// `bad-settings`.
pub(super) fn global_batch(
    settings: &LaunchSettings,
    n_devices: u64,
) -> Result<Option<u64>, Diagnostic> {
    let stated = (settings.global_batch, settings.micro_batch, settings.n_micro_batches);
    let (None, Some(micro_batch), Some(n)) = stated else { return Ok(settings.global_batch) };
    let axes = [settings.tensor, settings.pipeline, settings.context];
    let data = replicas(settings, n_devices, axes.map(|degree| degree.unwrap_or(1)))?;
    let made = micro_batch.checked_mul(n).and_then(|samples| samples.checked_mul(u64::from(data)));
    let made = made.filter(|samples| *samples <= MOST_SAMPLES);
    made.map(Some).ok_or_else(|| {
        wrong(format!("a step has more than {MOST_SAMPLES} samples"), "use smaller micro-batches")
    })
}

/// Samples of a micro-batch, and how many of them a replica runs; one follows from the other.
fn micro_batches(
    settings: &LaunchSettings,
    on: &Target<'_>,
    data: u32,
) -> Result<(u64, u64), Diagnostic> {
    let (global, data) = (on.global_batch, u64::from(data));
    let Some(n) = settings.n_micro_batches else {
        let micro_batch = settings.micro_batch.unwrap_or(on.beside.micro_batch);
        let each = micro_batch.saturating_mul(data);
        if each == 0 || !global.is_multiple_of(each) {
            let why = format!("{global} samples are no multiple of {data} x {micro_batch}");
            return Err(wrong(why, "use a global batch that replicas can share out"));
        }
        return Ok((micro_batch, global / each));
    };
    let parts = n.checked_mul(data).filter(|parts| *parts > 0);
    let micro_batch = settings.micro_batch.or_else(|| Some(global / parts?));
    let micro_batch =
        micro_batch.filter(|size| size.checked_mul(parts.unwrap_or(0)) == Some(global));
    micro_batch.map(|size| (size, n)).ok_or_else(|| {
        let each = settings.micro_batch.map_or_else(String::new, |size| format!(" of {size}"));
        wrong(
            format!("{global} samples a step are not {n} micro-batches{each} on {data} replicas"),
            "state sizes that agree; gradients of several runs of a pipeline are not judged",
        )
    })
}

/// The model's blocks by stage.
fn stages(
    settings: &LaunchSettings,
    n_blocks: u32,
    n_stages: u32,
) -> Result<Vec<Stage>, Diagnostic> {
    let other = |why: String| wrong(why, "give the settings of this model");
    let sizes = match (&settings.blocks, settings.ends) {
        (Some(blocks), _) => blocks.clone(),
        (None, Some(ends)) => cut_by_ends(n_blocks, n_stages, ends)?,
        (None, None) => equal_blocks(n_blocks, n_stages),
    };
    let total = sizes.iter().fold(0u64, |sum, n| sum + u64::from(*n));
    if total != u64::from(n_blocks) || sizes.len() != n_stages as usize {
        let n_own = sizes.len();
        return Err(other(format!("{n_own} stages of {total} blocks for a model of {n_blocks}")));
    }
    let each = settings.each.as_deref().unwrap_or_default();
    if !each.is_empty() && each.len() != n_blocks as usize {
        return Err(other(format!("choices for {} blocks of a model of {n_blocks}", each.len())));
    }
    let recompute = settings.recompute.unwrap_or(Recompute::None);
    let mut next = 0;
    let stage = |n: &u32| {
        let blocks = next..next + n;
        next = blocks.end;
        let policies = each.get(blocks.start as usize..blocks.end as usize).unwrap_or_default();
        Stage { ops: Vec::new(), blocks, recompute, each: policies.to_vec(), mesh: None }
    };
    Ok(sizes.iter().map(stage).collect())
}
