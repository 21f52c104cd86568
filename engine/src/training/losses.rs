//! Devices that come and go: a plan that goes on from one that lost some, what moves for it, and which
//! device stands in for which.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use cost_model::runs::held::{Holding, Move, Sizes, holdings, moves, moving_s, with_fewest_moves};
use cost_model::runs::oracle::nanos;
use documents::plan::losses::{HoldingDocument, MoveDocument, ReplacedDocument};
use documents::plan::{CommunicationDocument, PlanDocument};
use ir::card::ZeroStage;
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::id::DeviceId;
use ir::plan::Plan;
use ir::units::{Bytes, Nanos};

use super::replay::read_on;
use super::setting::Setting;
use super::spares;
use crate::executor::Executor;
use crate::ops::replay;
use crate::page::{Column, Page};
use crate::request::{PlanRequest, ReplayRequest};

/// Where parts of tensors come from that no device has any more.
const CHECKPOINT: &str = "checkpoint";

/// Moves that a page lists.
const SHOWN: usize = 16;

/// A request to go on from a running plan, with that plan's settings where it states none.
///
/// # Errors
/// Those of the plan's reader; `needs-both` for a plan without lost devices or the other way round,
/// `bad-plan` where it is none of a training run.
pub fn filled(request: &PlanRequest) -> Result<Cow<'_, PlanRequest>, Diagnostic> {
    let (Some(path), false) = (&request.training.replace, request.training.lost.is_empty()) else {
        if request.training.replace.is_none() && request.training.lost.is_empty() {
            return Ok(Cow::Borrowed(request));
        }
        let message = "`--replace` and `--lost` go together";
        return Err(Diagnostic::usage("needs-both", message)
            .hint("name the plan that runs, and each device that it lost"));
    };
    let document = replay::document(path)?;
    let Some(training) = &document.training else {
        return Err(Diagnostic::input(
            "bad-plan",
            "the plan to go on from is none of a training run",
        )
        .fact("file", path.display().to_string()));
    };
    let workload = replay::workload(&document.workload)?;
    let (asked, mut own) = (&document.request, request.clone());
    let (flags, problem) = (&mut own.training, &mut own.problem);
    if flags.tokens_per_step.is_none() && problem.model.batch.is_none() {
        flags.global_batch.get_or_insert(training.global_batch);
    }
    flags.sequence_length.get_or_insert(training.sequence_length);
    flags.stack.get_or_insert_with(|| training.stack.clone());
    flags.memory_margin = flags.memory_margin.or(asked.memory_margin);
    flags.max_memory_per_device = flags.max_memory_per_device.or(asked.max_memory_bytes.map(Bytes));
    flags.no_offload |= asked.no_offload;
    flags.lost = asked.lost.iter().chain(&request.training.lost).cloned().collect();
    problem.model.dtype = problem.model.dtype.or(workload.dtype);
    problem.optimizer = problem.optimizer.or(Some(workload.optimizer));
    if problem.pin.is_empty() {
        problem.pin.clone_from(&asked.pin);
    }
    if problem.model.dims.is_empty() {
        problem.model.dims = asked.dims.clone().into_iter().collect();
    }
    own.executor = own.executor.or(asked.executor.as_deref().and_then(Executor::named));
    own.problem.lost.clone_from(&own.training.lost);
    Ok(Cow::Owned(own))
}

/// What the devices that are left hold of the plan that a request goes on from.
///
/// # Errors
/// Those of the plan on its model and cluster; `not-replaced` for plans whose states are not known to
/// lie on devices.
pub fn replaced(
    request: &PlanRequest,
    setting: &Setting,
) -> Result<Option<Arc<ReplacedDocument>>, Diagnostic> {
    let Some(path) = &request.training.replace else { return Ok(None) };
    let document = replay::document(path)?;
    let mut problem = request.problem.clone();
    // It states itself what it was made for.
    (problem.pin, problem.model.dims) = Default::default();
    (problem.model.batch, problem.model.micro_batch, problem.workload) = (None, None, None);
    let target = ReplayRequest { problem, ..ReplayRequest::default() };
    let on = read_on(&document, &request.model, &target)?;
    let refused = |why: &str| {
        let message = format!("what moves is not known: {why}");
        Err(Diagnostic::input("not-replaced", message)
            .hint("plan the devices that are left without --replace, and load a checkpoint"))
    };
    if on.setting.model.has_experts() {
        return refused("experts are spread over devices by a rule of their own");
    }
    if on.training.offloads_optimizer {
        return refused("hosts keep the optimizer states");
    }
    let Some(held) = holdings(&on.plan) else { return refused("the plan has no grid") };
    let name =
        |device: DeviceId| on.setting.cluster.devices.get(device.index()).map(|own| &own.name);
    let works = |name: &&String| setting.cluster.devices.iter().any(|own| own.name == **name);
    let devices = held.iter().filter_map(|own| Some((name(own.device).filter(works)?, own)));
    let step = document.cost.as_ref().map_or(0, |cost| cost.step_time_ns);
    Ok(Some(Arc::new(ReplacedDocument {
        step_time_ns: step,
        devices: devices.map(|(name, own)| holding_document(name, own)).collect(),
    })))
}

fn holding_document(name: &str, own: &Holding) -> HoldingDocument {
    HoldingDocument {
        device: name.to_owned(),
        blocks: own.blocks.iter().map(|blocks| [blocks.start, blocks.end - blocks.start]).collect(),
        ends: own.ends,
        tensor: own.tensor,
        replica: own.replica,
        zero: own.zero as u8,
    }
}

/// What a document says that devices held; of each once, within the model.
fn holding(own: &HoldingDocument, setting: &Setting) -> Result<Holding, Diagnostic> {
    let bad = |why: &str| {
        let message =
            format!("what `{}` held is none of this model and cluster: {why}", own.device);
        Diagnostic::input("bad-plan", message).fact("member", "communication.replaced")
    };
    let devices = &setting.cluster.devices;
    let device = devices.iter().position(|known| known.name == own.device);
    let device = device.ok_or_else(|| bad("there is no such device, or it is lost"))?;
    let n_blocks = setting.model.n_blocks();
    let is_inside =
        |[first, n]: &[u32; 2]| first.checked_add(*n).is_some_and(|end| end <= n_blocks);
    if own.blocks.len() > n_blocks as usize || !own.blocks.iter().all(is_inside) {
        return Err(bad("blocks"));
    }
    if [own.tensor, own.replica].iter().any(|[rank, n]| rank >= n) {
        return Err(bad("ranks"));
    }
    let stages =
        [ZeroStage::None, ZeroStage::Optimizer, ZeroStage::Gradients, ZeroStage::Parameters];
    let zero = stages.get(usize::from(own.zero)).ok_or_else(|| bad("ZeRO stages are 0 to 3"))?;
    Ok(Holding {
        device: DeviceId::new(device),
        blocks: own.blocks.iter().map(|[first, n]| *first..first + n).collect(),
        ends: own.ends,
        tensor: own.tensor,
        replica: own.replica,
        zero: *zero,
    })
}

fn held_before(replaced: &ReplacedDocument, setting: &Setting) -> Result<Vec<Holding>, Diagnostic> {
    let held = replaced.devices.iter().map(|own| holding(own, setting));
    let held: BTreeMap<DeviceId, Holding> =
        held.map(|own| own.map(|own| (own.device, own))).collect::<Result<_, _>>()?;
    if held.len() != replaced.devices.len() {
        return Err(Diagnostic::input("bad-plan", "a device held something twice")
            .fact("member", "communication.replaced"));
    }
    Ok(held.into_values().collect())
}

/// Sizes of the tensors of a run.
pub(super) fn sizes(setting: &Setting) -> Sizes {
    let format = setting.numbers.format(&setting.stack);
    Sizes::of(&setting.model, format, setting.numbers.optimizer)
}

/// The same plan on devices of which as little as can be found has to move: those that are alike
/// change places.
pub fn arranged(setting: &Setting, plan: &Plan, step: Nanos) -> Option<Plan> {
    let old = held_before(setting.replaced.as_deref()?, setting).ok()?;
    let own = with_fewest_moves(&setting.cluster, &sizes(setting), &old, plan)?;
    let costs = setting.costs(&own, setting.limit).ok()?;
    let judged = cost_model::runs::judge::judge_plan(&costs, &own).ok()?;
    (judged.report.step_time == step).then_some(own)
}

/// What a plan states of devices that come and go.
///
/// # Errors
/// `bad-plan` where a plan that it goes on from does not fit.
pub(super) fn communication(
    setting: &Setting,
    plan: &Plan,
    step: Nanos,
) -> Result<CommunicationDocument, Diagnostic> {
    let spares = spares::documents(setting, plan, step)?;
    let mut own = CommunicationDocument { spares, ..CommunicationDocument::default() };
    let Some(replaced) = &setting.replaced else { return Ok(own) };
    let old = held_before(replaced, setting)?;
    let new = holdings(plan).unwrap_or_default();
    let found = moves(&setting.cluster, &sizes(setting), [&old, &new]);
    own.moving_ns = Some(nanos(moving_s(&setting.cluster, &found)).0);
    own.moves = found.iter().map(|own| move_document(own, &setting.cluster)).collect();
    own.replaced = Some(ReplacedDocument::clone(replaced));
    Ok(own)
}

fn move_document(own: &Move, cluster: &Cluster) -> MoveDocument {
    let name = |device: DeviceId| {
        cluster.devices.get(device.index()).map_or_else(String::new, |own| own.name.clone())
    };
    let what = if own.is_state { "optimizer" } else { "weights" };
    MoveDocument {
        tensor: format!("{} {what}", own.tensor),
        elements: [own.elements.start, own.elements.end],
        from: own.from.map_or_else(|| CHECKPOINT.to_owned(), name),
        to: name(own.to),
        bytes: own.bytes.0,
    }
}

/// Prints what a plan says of devices that come and go.
pub fn print(document: &PlanDocument, page: &Page) {
    let own = &document.communication;
    spares::print(&own.spares, page);
    let Some(replaced) = &own.replaced else { return };
    let mut ways: BTreeMap<[&str; 2], u64> = BTreeMap::new();
    for one in &own.moves {
        let way = ways.entry([&one.to, &one.from]).or_default();
        *way = way.saturating_add(one.bytes);
    }
    let row = |([to, from], bytes): (&[&str; 2], &u64)| {
        vec![(*to).to_owned(), (*from).to_owned(), Bytes(*bytes).to_string()]
    };
    let columns = [Column::Text("gets"), Column::Text("from"), Column::Number("bytes")];
    page.table(&columns, ways.iter().take(SHOWN).map(row).collect());
    if ways.len() > SHOWN {
        page.line(&format!("and {} more", ways.len() - SHOWN));
    }
    let sum = |is_lost: bool| {
        let own = own.moves.iter().filter(|own| (own.from == CHECKPOINT) == is_lost);
        Bytes(own.fold(0, |sum: u64, own| sum.saturating_add(own.bytes)))
    };
    let step = document.cost.as_ref().map_or(0, |cost| cost.step_time_ns);
    page.line(&format!(
        "step time {} with {} lost, {} before; {} move between devices, in {} at least (nominal); {} that \
         no device has any more come from a checkpoint",
        Nanos(step),
        document.request.lost.join(", "),
        Nanos(replaced.step_time_ns),
        sum(false),
        Nanos(own.moving_ns.unwrap_or_default()),
        sum(true)
    ));
}
