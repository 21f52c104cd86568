//! What a plan says of elastic devices: what moves where it goes on from one that lost some,
//! and which device stands in for which.

use std::collections::BTreeMap;

use cost_model::runs::held::{Holding, Move, Sizes, holdings, moves, moving_s, with_fewest_moves};
use cost_model::runs::oracle::nanos;
use documents::plan::losses::{HeldByDocument, MoveDocument, ReplacedDocument};
use documents::plan::{CommunicationDocument, PlanDocument};
use ir::card::ZeroStage;
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::id::DeviceId;
use ir::plan::Plan;
use ir::units::{Bytes, Nanos};

use super::spares;
use crate::answer::page::{Column, Page};
use crate::inputs::run::edges;
use crate::inputs::run::setting::Setting;

/// Where parts of tensors come from that no device has any more.
const CHECKPOINT: &str = "checkpoint";

/// Moves that a page lists.
const SHOWN: usize = 16;

/// What a device held, as a document.
pub(super) fn holding_document(name: &str, holding: &Holding) -> HeldByDocument {
    HeldByDocument {
        device: name.to_owned(),
        blocks: holding
            .blocks
            .iter()
            .map(|blocks| [blocks.start, blocks.end - blocks.start])
            .collect(),
        ends: holding.ends,
        tensor: holding.tensor,
        replica: holding.replica,
        zero: holding.zero as u8,
    }
}

/// What a document says that devices held; of each once, within the model.
fn holding(document: &HeldByDocument, setting: &Setting) -> Result<Holding, Diagnostic> {
    let bad = |why: &str| {
        let message =
            format!("what `{}` held is none of this model and cluster: {why}", document.device);
        Diagnostic::input("bad-plan", message).fact("member", "communication.replaced")
    };
    let devices = &setting.working().devices;
    let device = devices.iter().position(|known| known.name == document.device);
    let device = device.ok_or_else(|| bad("there is no such device, or it is lost"))?;
    let n_blocks = setting.model.n_blocks();
    let is_inside =
        |[first, n]: &[u32; 2]| first.checked_add(*n).is_some_and(|end| end <= n_blocks);
    if document.blocks.len() > n_blocks as usize || !document.blocks.iter().all(is_inside) {
        return Err(bad("blocks"));
    }
    if [document.tensor, document.replica].iter().any(|[rank, n]| rank >= n) {
        return Err(bad("ranks"));
    }
    let stages =
        [ZeroStage::None, ZeroStage::Optimizer, ZeroStage::Gradients, ZeroStage::Parameters];
    let zero =
        stages.get(usize::from(document.zero)).ok_or_else(|| bad("ZeRO stages are 0 to 3"))?;
    Ok(Holding {
        device: DeviceId::new(device),
        blocks: document.blocks.iter().map(|[first, n]| *first..first + n).collect(),
        ends: document.ends,
        tensor: document.tensor,
        replica: document.replica,
        zero: *zero,
    })
}

fn held_before(replaced: &ReplacedDocument, setting: &Setting) -> Result<Vec<Holding>, Diagnostic> {
    let holdings = replaced.devices.iter().map(|document| holding(document, setting));
    let holdings: BTreeMap<DeviceId, Holding> = holdings
        .map(|read| read.map(|holding| (holding.device, holding)))
        .collect::<Result<_, _>>()?;
    if holdings.len() != replaced.devices.len() {
        return Err(Diagnostic::input("bad-plan", "a device held something twice")
            .fact("member", "communication.replaced"));
    }
    Ok(holdings.into_values().collect())
}

/// The same on another cluster that has the device too.
fn on(holding: Holding, cluster: &Cluster, other: &Cluster) -> Option<Holding> {
    let name = &cluster.devices.get(holding.device.index())?.name;
    let device = other.devices.iter().position(|device| device.name == *name)?;
    Some(Holding { device: DeviceId::new(device), ..holding })
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
    let old: Vec<Holding> = old
        .into_iter()
        .filter_map(|holding| on(holding, setting.working(), &setting.cluster))
        .collect();
    let arranged = with_fewest_moves(&setting.cluster, &sizes(setting), &old, plan)?;
    setting.confirmed(&arranged, step).ok().map(|_| arranged)
}

/// What a plan states of elastic devices.
///
/// # Errors
/// `bad-plan` where a plan that it goes on from does not fit.
pub(super) fn communication(
    setting: &Setting,
    plan: &Plan,
    step: Nanos,
) -> Result<CommunicationDocument, Diagnostic> {
    let spares = spares::documents(setting, plan, step)?;
    let (lossy, edges) = (edges::lossy(setting), edges::documents(setting, plan));
    let mut document =
        CommunicationDocument { lossy, edges, spares, ..CommunicationDocument::default() };
    let Some(replaced) = &setting.replaced else { return Ok(document) };
    let old = held_before(replaced, setting)?;
    let working = setting.working();
    let new = holdings(plan).unwrap_or_default();
    let new: Vec<Holding> =
        new.into_iter().filter_map(|holding| on(holding, &setting.cluster, working)).collect();
    let found = moves(working, &sizes(setting), [&old, &new]);
    document.moving_ns = Some(nanos(moving_s(working, &found)).0);
    document.moves = found.iter().map(|transfer| move_document(transfer, working)).collect();
    document.replaced = Some(ReplacedDocument::clone(replaced));
    Ok(document)
}

fn move_document(transfer: &Move, cluster: &Cluster) -> MoveDocument {
    let name = |device: DeviceId| {
        cluster.devices.get(device.index()).map_or_else(String::new, |device| device.name.clone())
    };
    let what = if transfer.is_state { "optimizer" } else { "weights" };
    MoveDocument {
        tensor: format!("{} {what}", transfer.tensor),
        elements: [transfer.elements.start, transfer.elements.end],
        from: transfer.from.map_or_else(|| CHECKPOINT.to_owned(), name),
        to: name(transfer.to),
        bytes: transfer.bytes.0,
    }
}

/// Prints what a plan says of elastic devices.
pub fn print(document: &PlanDocument, page: &Page) {
    let communication = &document.communication;
    spares::print(&communication.spares, page);
    if communication.replaced.is_none() {
        return;
    }
    let mut ways: BTreeMap<[&str; 2], u64> = BTreeMap::new();
    for one in &communication.moves {
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
    moved(document).iter().for_each(|line| page.line(line));
}

/// Who stands in for lost devices, or what moves after some were lost, in short.
pub(super) fn fact(document: &PlanDocument) -> Option<String> {
    moved(document).or_else(|| spares::fact(&document.communication.spares))
}

/// What moves after devices were lost.
fn moved(document: &PlanDocument) -> Option<String> {
    let communication = &document.communication;
    let replaced = communication.replaced.as_ref()?;
    let sum = |is_lost: bool| {
        let transfers =
            communication.moves.iter().filter(|transfer| (transfer.from == CHECKPOINT) == is_lost);
        Bytes(transfers.fold(0, |sum: u64, transfer| sum.saturating_add(transfer.bytes)))
    };
    let step = document.cost.as_ref().map_or(0, |cost| cost.step_time_ns);
    Some(format!(
        "step time {} with {} lost, {} before; {} move between devices in at least {} (nominal), {} come \
         from a checkpoint",
        Nanos(step),
        document.request.lost.join(", "),
        Nanos(replaced.step_time_ns),
        sum(false),
        Nanos(communication.moving_ns.unwrap_or_default()),
        sum(true)
    ))
}
