//! Which device that a plan leaves unused stands in where one of its devices is lost.

use std::collections::{BTreeMap, BTreeSet};

use cost_model::runs::forms::model::Offload;
use cost_model::runs::held::{Holding, Sizes, holdings, moves, moving_s, restated};
use cost_model::runs::judge::judge_plan;
use cost_model::runs::oracle::nanos;
use cost_model::runs::unlike::{Fleet, NodeGroup};
use documents::plan::losses::SpareDocument;
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::id::DeviceId;
use ir::plan::{Plan, Stage};
use ir::units::{Bytes, Nanos};

use super::losses::sizes;
use crate::answer::page::{Column, Page};
use crate::inputs::run::setting::Setting;

/// Most passes that are judged to find failover targets.
const MOST_PASSES: u64 = 20_000_000;
/// Most devices, times node groups, that are looked at for it.
const MOST_LOOKS: usize = 1 << 26;

/// By stage and devices of it that are alike, who stands in; nothing where no spares were asked for.
///
/// # Errors
/// Those of pricing the plan itself.
pub(super) fn documents(
    setting: &Setting,
    plan: &Plan,
    step: Nanos,
) -> Result<Vec<SpareDocument>, Diagnostic> {
    if !setting.tells_losses || (setting.whole.is_none() && setting.request.spares.is_none()) {
        return Ok(Vec::new());
    }
    let whole = setting.whole.as_deref().unwrap_or(&setting.cluster);
    let groups = setting.groups_on(whole, true);
    let fleet = setting.fleet_on(whole, &groups);
    let Some(placed) = on_whole(setting, whole, plan) else {
        return Ok(vec![unjudged("its stages share devices, experts, or states with hosts")]);
    };
    let judged = |plan: &Plan| -> Option<Nanos> {
        let costs = fleet.costs(plan).ok()?;
        Some(judge_plan(&costs, plan).ok()?.report.step_time)
    };
    if judged(&placed) != Some(step) {
        return Ok(vec![unjudged("its stages cost otherwise with devices of their own")]);
    }
    let holdings = holdings(&placed).unwrap_or_default();
    let search = Search {
        fleet: &fleet,
        groups: &groups,
        sizes: sizes(setting),
        held: holdings,
        plan: &placed,
    };
    Ok(search.documents(&judged))
}

/// A plan with others in the places of devices that are not among those that are left, each the one with which
/// it is fastest; `None` where there is none, or nothing was lost.
pub(super) fn stood_in(setting: &Setting, plan: &Plan, left: &Cluster) -> Option<Plan> {
    let whole = setting.whole.as_deref().unwrap_or(&setting.cluster);
    let groups = setting.groups_on(whole, true);
    let fleet = setting.fleet_on(whole, &groups);
    let by_name: BTreeMap<&str, DeviceId> =
        left.device_ids().map(|id| (left.devices[id.index()].name.as_str(), id)).collect();
    let on_left = |id: DeviceId| by_name.get(whole.devices[id.index()].name.as_str()).copied();
    let mut placed = on_whole(setting, whole, plan)?;
    for n_lost in 0.. {
        let used: BTreeSet<DeviceId> =
            holdings(&placed)?.iter().map(|holding| holding.device).collect();
        let Some(lost) = used.iter().copied().find(|id| on_left(*id).is_none()) else {
            if n_lost == 0 {
                return None;
            }
            break;
        };
        let has =
            |stage: &Stage| stage.mesh.as_ref().is_some_and(|mesh| mesh.devices.contains(&lost));
        let stage = placed.partition.stages.iter().position(has)?;
        let is_free = |id: &DeviceId| !used.contains(id) && on_left(*id).is_some();
        let search = Search {
            fleet: &fleet,
            groups: &groups,
            sizes: sizes(setting),
            held: Vec::new(),
            plan: &placed,
        };
        let stand_ins = groups.iter().enumerate().filter_map(|(at, group)| {
            let free: Vec<DeviceId> = group.devices.iter().copied().filter(is_free).collect();
            let is_own = fleet.group_of(lost) == Some(at);
            let plan = search.stand_in((stage, lost), &free, is_own)?.plan;
            let costs = fleet.costs(&plan).ok()?;
            Some((judge_plan(&costs, &plan).ok()?.report.step_time, plan))
        });
        placed = stand_ins.min_by_key(|stand_in| stand_in.0)?.1;
    }
    for mesh in placed.partition.stages.iter_mut().filter_map(|stage| stage.mesh.as_mut()) {
        for device in &mut mesh.devices {
            *device = on_left(*device)?;
        }
    }
    Some(placed)
}

fn unjudged(why: &str) -> SpareDocument {
    SpareDocument { why: Some(format!("not judged: {why}")), ..SpareDocument::default() }
}

/// The plan with devices of its own, named as the whole cluster has them.
fn on_whole(setting: &Setting, whole: &Cluster, plan: &Plan) -> Option<Plan> {
    if setting.offload != Offload::Nothing
        || setting.model.has_experts()
        || setting.layers.is_some()
    {
        return None;
    }
    let mut placed = restated(plan)?;
    let by_name: BTreeMap<&str, DeviceId> =
        whole.device_ids().map(|id| (whole.devices[id.index()].name.as_str(), id)).collect();
    for mesh in placed.partition.stages.iter_mut().filter_map(|stage| stage.mesh.as_mut()) {
        for device in &mut mesh.devices {
            let name = &setting.cluster.devices.get(device.index())?.name;
            *device = *by_name.get(name.as_str())?;
        }
    }
    Some(placed)
}

struct Search<'s> {
    fleet: &'s Fleet<'s>,
    groups: &'s [NodeGroup],
    sizes: Sizes,
    held: Vec<Holding>,
    plan: &'s Plan,
}

/// A plan in which some devices stand in for others.
struct StandIn {
    plan: Plan,
    devices: Vec<DeviceId>,
}

impl Search<'_> {
    fn documents(&self, judged: &dyn Fn(&Plan) -> Option<Nanos>) -> Vec<SpareDocument> {
        let used: BTreeSet<DeviceId> = self.held.iter().map(|holding| holding.device).collect();
        let free: Vec<Vec<DeviceId>> = self
            .groups
            .iter()
            .map(|group| group.devices.iter().copied().filter(|id| !used.contains(id)).collect())
            .collect();
        let rows = self.rows();
        let run = &self.plan.parallelism;
        let passes = run.n_micro_batches.saturating_mul(2 * u64::from(run.pipeline));
        let n = rows.len() * free.iter().filter(|devices| !devices.is_empty()).count();
        if passes.saturating_mul(n as u64) > MOST_PASSES {
            return vec![unjudged("too many passes")];
        }
        let n_devices = self.fleet.cluster.devices.len();
        if n.saturating_mul(n_devices).saturating_mul(self.groups.len()) > MOST_LOOKS {
            return vec![unjudged("too many devices")];
        }
        let row = |(stage, group, devices): (usize, usize, Vec<DeviceId>)| {
            self.row((stage, group, &devices), &free, judged)
        };
        rows.into_iter().map(row).collect()
    }

    /// By stage, its devices of each group with as many samples.
    fn rows(&self) -> Vec<(usize, usize, Vec<DeviceId>)> {
        let mut rows: BTreeMap<(usize, usize, u64), Vec<DeviceId>> = BTreeMap::new();
        for (stage, of_stage) in self.plan.partition.stages.iter().enumerate() {
            let Some(mesh) = &of_stage.mesh else { continue };
            let replicas = mesh.devices.chunks(mesh.tensor.max(1) as usize).zip(&mesh.samples);
            for (devices, samples) in replicas {
                let group = devices.first().and_then(|first| self.fleet.group_of(*first));
                let key = (stage, group.unwrap_or_default(), *samples);
                rows.entry(key).or_default().extend(devices);
            }
        }
        rows.into_iter().map(|((stage, group, _), devices)| (stage, group, devices)).collect()
    }

    fn row(
        &self,
        (stage, group, devices): (usize, usize, &[DeviceId]),
        free: &[Vec<DeviceId>],
        judged: &dyn Fn(&Plan) -> Option<Nanos>,
    ) -> SpareDocument {
        let names = |ids: &[DeviceId]| -> Vec<String> {
            ids.iter().map(|id| self.fleet.cluster.devices[id.index()].name.clone()).collect()
        };
        let mut document = SpareDocument {
            stage: u32::try_from(stage).unwrap_or(u32::MAX),
            lost: names(devices),
            ..SpareDocument::default()
        };
        let lost = devices[0];
        let stand_ins = free.iter().enumerate().filter_map(|(at, free)| {
            let stand_in = self.stand_in((stage, lost), free, at == group)?;
            let step = judged(&stand_in.plan)?;
            let [between, from_checkpoint] = self.copied(lost, &stand_in);
            Some((step, from_checkpoint.0, between, stand_in.devices))
        });
        let best = stand_ins.min_by_key(|(step, checkpoint, (_, ns), spares)| {
            (*step, *checkpoint, *ns, spares.first().copied())
        });
        match best {
            None => document.why = Some("none fits, or reaches the others".to_owned()),
            Some((step, checkpoint_bytes, (bytes, copy_ns), spares)) => {
                document.spares = names(&spares);
                document.step_time_ns = Some(step.0);
                (document.bytes, document.copy_ns) = (bytes, copy_ns);
                document.checkpoint_bytes = checkpoint_bytes;
            }
        }
        document
    }

    /// The plan with a free device of the same group for a lost one, or with free ones of another group
    /// for all of its replica.
    fn stand_in(
        &self,
        (stage, lost): (usize, DeviceId),
        free: &[DeviceId],
        is_own_group: bool,
    ) -> Option<StandIn> {
        let mut plan = self.plan.clone();
        let mesh = plan.partition.stages.get_mut(stage)?.mesh.as_mut()?;
        let at = mesh.devices.iter().position(|id| *id == lost)?;
        let tensor = mesh.tensor.max(1) as usize;
        let (first, n) = if is_own_group { (at, 1) } else { (at / tensor * tensor, tensor) };
        let devices = free.get(..n)?.to_vec();
        mesh.devices.get_mut(first..first + n)?.copy_from_slice(&devices);
        Some(StandIn { plan, devices })
    }

    /// Bytes that those who stand in get from devices that are left, and how long that takes; bytes that
    /// none has.
    fn copied(&self, lost: DeviceId, stand_in: &StandIn) -> [(u64, u64); 2] {
        let old: Vec<Holding> =
            self.held.iter().filter(|holding| holding.device != lost).cloned().collect();
        let new = holdings(&stand_in.plan).unwrap_or_default();
        let new: Vec<Holding> =
            new.into_iter().filter(|holding| stand_in.devices.contains(&holding.device)).collect();
        let found = moves(self.fleet.cluster, &self.sizes, [&old, &new]);
        let sum = |is_lost: bool| {
            let transfers = found.iter().filter(|transfer| transfer.from.is_none() == is_lost);
            transfers.fold(0_u64, |sum, transfer| sum.saturating_add(transfer.bytes.0))
        };
        [(sum(false), nanos(moving_s(self.fleet.cluster, &found)).0), (sum(true), 0)]
    }
}

/// Why nothing is known of any device.
fn unjudged_why(spares: &[SpareDocument]) -> Option<&str> {
    match spares {
        [SpareDocument { why: Some(why), lost, .. }] if lost.is_empty() => Some(why),
        _ => None,
    }
}

/// Of how many groups of devices one may be lost, and the slowest step with a spare in its place.
pub(super) fn fact(spares: &[SpareDocument]) -> Option<String> {
    if let Some(why) = unjudged_why(spares) {
        return Some(format!("failover targets {why}"));
    }
    let slowest = spares.iter().filter_map(|spare| spare.step_time_ns).max();
    let n = spares.iter().filter(|spare| !spare.spares.is_empty()).count();
    let step = slowest.map_or_else(String::new, |ns| format!(", at most {} a step", Nanos(ns)));
    let of = spares.len();
    (of > 0)
        .then(|| format!("spares replace any one device of {n} of {of} stage groups{step} (--all)"))
}

/// Prints failover targets.
pub(super) fn print(spares: &[SpareDocument], page: &Page) {
    if spares.is_empty() {
        return;
    }
    if let Some(why) = unjudged_why(spares) {
        return page.line(&format!("failover targets: {why}"));
    }
    let row = |spare: &SpareDocument| {
        let step = spare.step_time_ns.map(|ns| Nanos(ns).to_string());
        let figure = |bytes: u64| match spare.spares.is_empty() {
            true => String::new(),
            false => Bytes(bytes).to_string(),
        };
        vec![
            spare.stage.to_string(),
            spare.lost.join(", "),
            spare.why.clone().unwrap_or_else(|| spare.spares.join(", ")),
            step.unwrap_or_default(),
            figure(spare.bytes),
            if spare.bytes == 0 { String::new() } else { Nanos(spare.copy_ns).to_string() },
            figure(spare.checkpoint_bytes),
        ]
    };
    let columns = Column::row(
        "#stage | where one is lost of | stands in | #step time | #copied | #in at least | \
         #from a checkpoint",
    );
    page.table(&columns, spares.iter().map(row).collect());
}
