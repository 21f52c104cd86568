//! Training runs on unlike nodes: a pipeline whose stages have devices of their own, of any kinds, with
//! tensor degrees of their own. Each micro-batch is shared out over the replicas of a stage.
//!
//! A pass of a stage ends when that of its slowest replica does. Gradients are exchanged between the
//! replicas of a stage, which share out optimizer states; tensor ranks split the sequence. Bytes are
//! those of the replica that has least room. Between stages every sample goes from the replica that
//! has it to the one that takes it, in parts as many as the smaller of both tensor degrees; the
//! channel that is busy longest counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use ir::card::{SequenceParallel, ZeroStage};
use ir::cluster::Cluster;
use ir::diagnostic::{Blame, Diagnostic};
use ir::id::{ChannelId, DeviceId, KindId, NodeId};
use ir::plan::{Parallelism, Plan, Stage, StageMesh};
use ir::profile::Profile;
use ir::stack::Stack;
use ir::units::{Bytes, Nanos};

mod crossings;
mod edges;

use super::forms::model::Pricing;
use super::forms::model::priced::{Passes, Priced};
use crate::links::collective::Link as Way;

use super::forms::system::{System, slower, slowest_between};
use super::judge::costs::{Boundary, HostCosts, Nic, PipelineCosts, RankCosts, StageCosts};
use super::oracle::{Offload, Place, Prices, Seat, StageFigures, bytes, nanos, stage_costs};

/// Devices of one node and kind, with the same memory, which reach each other, and others by the same ways.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeGroup {
    /// Its devices, in the order of the file.
    pub devices: Vec<DeviceId>,
    /// Their kind.
    pub kind: KindId,
    /// What a plan may use of each.
    pub limit: Option<Bytes>,
    node: Option<NodeId>,
    /// By group, the slowest way between a device of this one and one of it; none to unreachable ones.
    pub ways: Vec<Option<Way>>,
    /// The stack as its devices run it, where that is not as all do.
    pub stack: Option<Stack>,
}

/// The node groups of a cluster, in the order of their first devices.
#[must_use]
pub fn groups_of(cluster: &Cluster, limit: impl Fn(Bytes) -> Bytes) -> Vec<NodeGroup> {
    let mut groups: Vec<NodeGroup> = Vec::new();
    let others = cluster.representatives(cluster.device_ids());
    for (id, device) in cluster.device_ids().zip(&cluster.devices) {
        let allowed = device.memory_limit().map(&limit);
        let is_own = |group: &&mut NodeGroup| {
            (group.node, group.kind, group.limit) == (device.node, device.kind, allowed)
                && group
                    .devices
                    .first()
                    .is_some_and(|first| are_alike(cluster, &others, (*first, id)))
                && group.devices.iter().all(|member| reach_each_other(cluster, *member, id))
        };
        match groups.iter_mut().find(is_own) {
            Some(group) => group.devices.push(id),
            None => groups.push(NodeGroup {
                devices: vec![id],
                kind: device.kind,
                limit: allowed,
                node: device.node,
                ways: Vec::new(),
                stack: None,
            }),
        }
    }
    let ends: Vec<Vec<DeviceId>> =
        groups.iter().map(|group| cluster.representatives(group.devices.iter().copied())).collect();
    let ways: Vec<Vec<_>> = ends
        .iter()
        .map(|from| ends.iter().map(|to| slowest_between(cluster, from, to)).collect())
        .collect();
    groups.iter_mut().zip(ways).for_each(|(group, ways)| group.ways = ways);
    groups
}

fn reach_each_other(cluster: &Cluster, a: DeviceId, b: DeviceId) -> bool {
    cluster.route(a, b).is_some() && cluster.route(b, a).is_some()
}

/// Whether two devices reach all others by the same ways: those of other nodes, or of none.
fn are_alike(cluster: &Cluster, others: &[DeviceId], (a, b): (DeviceId, DeviceId)) -> bool {
    let places = &cluster.links.places;
    let place = |device: DeviceId| places.get(device.index());
    if place(a).is_some() && place(a) == place(b) {
        return true;
    }
    let node =
        |device: DeviceId| cluster.devices.get(device.index()).and_then(|device| device.node);
    let way = |from: DeviceId, to: DeviceId| {
        cluster.links.position(cluster.devices.len(), from.index(), to.index())
    };
    let others = others.iter().copied();
    others
        .filter(|other| {
            *other != a && *other != b && (node(a).is_none() || node(*other) != node(a))
        })
        .all(|other| way(a, other) == way(b, other) && way(other, a) == way(other, b))
}

/// Prices stages on a cluster of unlike nodes.
#[derive(Clone, Copy)]
pub struct Fleet<'a> {
    /// Model, software and numbers; its system and limit are not looked at.
    pub base: Pricing<'a>,
    /// The devices.
    pub cluster: &'a Cluster,
    /// What was measured of them.
    pub profile: &'a Profile,
    /// Their groups.
    pub groups: &'a [NodeGroup],
    /// What a search takes of all edges: elements over those that are sent, which are chosen in no time.
    /// No plan whose edges send no fewer is faster than the best one of that space; 1 = all are sent.
    pub edge_ratio: u32,
}

/// Costs of a stage for each micro-batch, and of its rank; boundary and tied ends are not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StagePrice {
    /// The stage.
    pub stage: StageCosts,
    /// Its rank.
    pub rank: RankCosts,
    /// Bytes of a device at its peak.
    pub peak: u64,
    /// Bytes of gradients of an embedding that both ends hold.
    pub tie_bytes: f64,
}

fn broken(message: String) -> Diagnostic {
    Diagnostic::error(Blame::IllegalPlan, "stage-devices", message)
        .hint("give each stage whole replicas of its own devices, and each sample to one of them")
}

/// How many micro-batches a stage of a 1F1B pipeline keeps at most.
#[must_use]
pub fn in_flight(n_micro_batches: u64, stages_after: usize) -> u64 {
    n_micro_batches.min(stages_after as u64 + 1)
}

impl Fleet<'_> {
    /// The same where hosts keep something else.
    #[must_use]
    pub fn keeping(self, offload: Offload) -> Self {
        Self { base: Pricing { offload, ..self.base }, ..self }
    }

    /// The group of a device.
    #[must_use]
    pub fn group_of(&self, device: DeviceId) -> Option<usize> {
        self.groups.iter().position(|group| group.devices.contains(&device))
    }

    fn node(&self, device: DeviceId) -> Option<NodeId> {
        self.cluster.devices.get(device.index())?.node
    }

    /// Whether a stage can lie so.
    ///
    /// # Errors
    /// `stage-devices`.
    fn check(&self, mesh: &StageMesh, micro_batch: u64) -> Result<Vec<usize>, Diagnostic> {
        let t = mesh.tensor as usize;
        if t == 0 || mesh.samples.is_empty() || mesh.devices.len() / t != mesh.samples.len() {
            let n = mesh.devices.len();
            return Err(broken(format!(
                "{n} devices are no {} replicas of {t}",
                mesh.samples.len()
            )));
        }
        if !mesh.devices.len().is_multiple_of(t) || mesh.samples.contains(&0) {
            return Err(broken("a replica lacks devices or samples".to_owned()));
        }
        let sum = mesh.samples.iter().fold(0_u64, |sum, share| sum.saturating_add(*share));
        if sum != micro_batch {
            return Err(broken(format!("{sum} samples are shared out of {micro_batch}")));
        }
        let is_of_parts = self.base.model.is_of_parts();
        if is_of_parts && t > 1 {
            return Err(broken("parts of a graph are not shared out over tensor ranks".to_owned()));
        }
        let heads = is_of_parts
            || self.base.model.groups.iter().all(|group| {
                let (t, kv) = (u64::from(mesh.tensor), group.card.n_kv_heads.max(1));
                group.card.n_heads.is_multiple_of(t)
                    && (kv.is_multiple_of(t) || t.is_multiple_of(kv))
            });
        if !heads {
            return Err(broken(format!("{t} tensor ranks do not split the heads")));
        }
        let of_replica = |devices: &[DeviceId]| {
            let group = devices.first().and_then(|first| self.group_of(*first));
            group
                .filter(|group| devices.iter().all(|device| self.group_of(*device) == Some(*group)))
        };
        let found: Option<Vec<usize>> = mesh.devices.chunks(t).map(of_replica).collect();
        found.ok_or_else(|| {
            broken("a replica lies on devices that are not alike, or not of one node".to_owned())
        })
    }

    /// By group of a stage, its devices and links as one of its replicas sees them.
    ///
    /// # Errors
    /// `stage-devices`, `unreachable-devices`.
    pub fn systems(
        &self,
        mesh: &StageMesh,
        micro_batch: u64,
    ) -> Result<BTreeMap<usize, System>, Diagnostic> {
        let replicas = self.check(mesh, micro_batch)?;
        let mut sets: BTreeMap<usize, Vec<DeviceId>> = BTreeMap::new();
        for (group, devices) in replicas.iter().zip(mesh.devices.chunks(mesh.tensor as usize)) {
            sets.entry(*group).or_default().extend(devices);
        }
        let n = sets.values().next().map_or(0, Vec::len);
        if sets.values().any(|devices| devices.len() != n) {
            return Err(broken(
                "a stage over several nodes, or sorts of devices, has unequal parts of them"
                    .to_owned(),
            ));
        }
        let apart = || {
            let message = "devices of a stage don't reach each other";
            Diagnostic::error(Blame::IllegalPlan, "unreachable-devices", message)
        };
        let way = |a: usize, b: usize| self.groups.get(a)?.ways.get(b).copied().flatten();
        let mut network = None;
        for (a, b) in sets.keys().flat_map(|a| sets.keys().map(move |b| (*a, *b))) {
            if a != b {
                network = slower(network, Some(way(a, b).ok_or_else(apart)?));
            }
        }
        let mut systems = BTreeMap::new();
        for (group, devices) in &sets {
            // All parts of a node are alike: they are as near as the farthest two of its devices.
            let is_alone = self.groups.get(*group).is_none_or(|group| group.devices.len() < 2);
            let inside = if is_alone { None } else { Some(way(*group, *group).ok_or_else(apart)?) };
            let other = sets.iter().find(|(other, _)| *other != group);
            let other = other.and_then(|(_, devices)| devices.first().copied());
            let priced = (self.cluster, self.profile);
            let system = System::of_group(priced, (devices, other), [inside, network]);
            systems.insert(*group, system.ok_or_else(apart)?);
        }
        Ok(systems)
    }

    /// One replica of each group and number of samples of a stage.
    ///
    /// # Errors
    /// `stage-devices`.
    pub fn replicas<'s>(
        &'s self,
        systems: &'s BTreeMap<usize, System>,
        (mesh, run): (&StageMesh, &Parallelism),
    ) -> Result<Vec<Priced<'s>>, Diagnostic> {
        self.by_replica(systems, (mesh, run)).map(|found| found.0)
    }

    /// The same, and by replica which of them it is.
    fn by_replica<'s>(
        &'s self,
        systems: &'s BTreeMap<usize, System>,
        (mesh, run): (&StageMesh, &Parallelism),
    ) -> Result<(Vec<Priced<'s>>, Vec<usize>), Diagnostic> {
        let groups = self.check(mesh, run.micro_batch)?;
        // Groups with the same devices, limit and ways cost the same: one stands for all.
        let facts = |group: usize| {
            let (group, system) = (self.groups.get(group)?, systems.get(&group)?);
            Some((group.kind, group.limit, system.inside, system.network, system.per_card))
        };
        let mut first: Vec<usize> = Vec::new();
        let mut stands_for: BTreeMap<usize, usize> = BTreeMap::new();
        for group in systems.keys() {
            let known = first.iter().find(|other| facts(**other) == facts(*group)).copied();
            if known.is_none() {
                first.push(*group);
            }
            stands_for.insert(*group, known.unwrap_or(*group));
        }
        let groups =
            groups.into_iter().map(|group| stands_for.get(&group).copied().unwrap_or(group));
        let all: Vec<(usize, u64)> = groups.zip(mesh.samples.iter().copied()).collect();
        let mut kinds = all.clone();
        kinds.sort_unstable();
        kinds.dedup();
        let priced = |(group, samples): &(usize, u64)| {
            let node_group = self.groups.get(*group)?;
            let stack = node_group.stack.as_ref().unwrap_or(self.base.stack);
            let system = systems.get(group)?;
            let pricing = Pricing { system, stack, limit: node_group.limit, ..self.base };
            let degrees = self.degrees((mesh, run), *samples);
            let passes = Arc::new(Passes::of(&pricing, &degrees));
            Some(Priced::new(pricing, degrees, passes))
        };
        let of = all.iter().map(|kind| kinds.binary_search(kind).unwrap_or_default()).collect();
        Ok((kinds.iter().filter_map(priced).collect(), of))
    }

    /// Degrees of a stage as one of its replicas has them.
    fn degrees(&self, (mesh, run): (&StageMesh, &Parallelism), samples: u64) -> Parallelism {
        let data = u32::try_from(mesh.samples.len()).unwrap_or(u32::MAX);
        Parallelism {
            data,
            tensor: mesh.tensor,
            pipeline: run.pipeline.min(2),
            n_micro_batches: run.n_micro_batches,
            micro_batch: samples,
            sequence: if mesh.tensor > 1 { SequenceParallel::On } else { SequenceParallel::Off },
            zero: if data > 1 { ZeroStage::Optimizer } else { ZeroStage::None },
            ..Parallelism::default()
        }
    }

    /// Costs of a stage on its replicas, where it keeps so many micro-batches at most.
    #[must_use]
    pub fn stage<'r, 'p: 'r>(
        replicas: impl IntoIterator<Item = &'r Priced<'p>>,
        stage: &Stage,
        (place, in_flight): (Place, u64),
    ) -> StagePrice {
        let mut all = StagePrice::default();
        let mut least_room = i128::MAX;
        for priced in replicas {
            let limit = priced.pricing.limit;
            let figures = priced.figures(&stage.blocks, stage.recompute, place);
            let price = of_replica(priced, &figures, (limit, in_flight));
            // What has no limit has all room.
            let room =
                limit.map_or(i128::MAX >> 1, |limit| i128::from(limit.0)) - i128::from(price.peak);
            let mut next = if room < least_room { price } else { all };
            least_room = least_room.min(room);
            let (a, b) = (&all.stage, &price.stage);
            next.stage.forward = a.forward.max(b.forward);
            next.stage.backward = a.backward.max(b.backward);
            next.stage.recompute = a.recompute.max(b.recompute);
            next.stage.exchange = a.exchange.max(b.exchange);
            next.stage.overlapped = a.overlapped.max(b.overlapped).min(next.stage.exchange);
            next.rank.optimizer = all.rank.optimizer.max(price.rank.optimizer);
            next.stage.on_host = all.stage.on_host.max(price.stage.on_host);
            next.tie_bytes = all.tie_bytes.max(price.tie_bytes);
            all = next;
        }
        all
    }

    /// Whether stages of as many blocks cost the same, whichever these are.
    #[must_use]
    pub fn is_uniform(&self) -> bool {
        self.base.model.groups.len() == 1 && !self.base.model.is_of_parts()
    }

    /// Seconds in which the ends of a pipeline add up the gradients of an embedding that both hold:
    /// each device sends its part to its counterpart.
    ///
    /// `None` where one does not reach the other.
    #[must_use]
    pub fn tie_s(&self, ends: [(&StageMesh, StagePrice); 2]) -> Option<f64> {
        if ends[0].1.tie_bytes <= 0.0 {
            return Some(0.0);
        }
        let n = ends.map(|(mesh, _)| mesh.devices.len());
        let at = |end: usize, pair: usize| {
            ends[end].0.devices.get(pair * n[end] / n[0].max(n[1])).copied()
        };
        let to = |from: usize| {
            let (n_own, bytes) = (n[from], ends[from].1.tie_bytes);
            (0..n_own).map(move |index| {
                let pair = (index * n[0].max(n[1])).div_ceil(n_own);
                Some((at(from, pair)?, at(1 - from, pair)?, bytes))
            })
        };
        let (bytes, link) = self.busiest(to(0).chain(to(1)))?;
        Some(2e-9 * link.latency_ns + bytes / link.bandwidth?.get())
    }

    /// Puts stages with their devices and numbers of blocks, first to last, together; `None` where one
    /// does not reach the next.
    #[must_use]
    pub fn together(
        &self,
        stages: &[(&StageMesh, u32, StagePrice)],
        run: &Parallelism,
    ) -> Option<PipelineCosts> {
        let mut costs = PipelineCosts {
            n_micro_batches: u32::try_from(run.n_micro_batches).unwrap_or(u32::MAX),
            ..PipelineCosts::default()
        };
        let (first, last) = (stages.first()?, stages.last()?);
        let tie = match stages.len() {
            1 => Nanos(0),
            _ => nanos(self.tie_s([(first.0, first.2), (last.0, last.2)])?),
        };
        let mut cards: Vec<ChannelId> = Vec::new();
        let (mut block, mut after) = (0, Nanos(0));
        for (at, (mesh, n_blocks, price)) in stages.iter().enumerate() {
            block += n_blocks;
            let mut stage = StageCosts { rank: at as u32, ..price.stage };
            if at == 0 || at + 1 == stages.len() {
                stage.tied = tie;
            }
            // The gradient of what it received is chosen from once its backward pass has ended.
            stage.backward += std::mem::take(&mut after);
            if let Some((next, ..)) = stages.get(at + 1) {
                stage.next = self.boundary(mesh, next, block)?;
                let chosen = self.choosing(mesh, next, block)?;
                stage.forward += chosen[0];
                after = chosen[1];
            }
            costs.stages.push(stage);
            let neighbours = [at.checked_sub(1), at.checked_add(1)].into_iter().flatten();
            let others =
                neighbours.filter_map(|other| stages.get(other)).map(|neighbour| neighbour.0);
            let nic = self.card(mesh, others).map(|card| {
                let known = cards.iter().position(|other| *other == card);
                let place = known.unwrap_or_else(|| {
                    cards.push(card);
                    cards.len() - 1
                });
                u32::try_from(place).unwrap_or(u32::MAX)
            });
            costs.ranks.push(RankCosts { nic, ..price.rank });
        }
        costs.nics = vec![Nic::default(); cards.len()];
        costs.hosts = self.hosts(stages.iter().map(|stage| stage.0));
        Some(costs)
    }

    /// Hosts with the devices of each stage on them, where they keep states.
    fn hosts<'m>(&self, stages: impl Iterator<Item = &'m StageMesh>) -> Vec<HostCosts> {
        if self.base.offload == Offload::Nothing && !self.base.optimizer.is_paged() {
            return Vec::new();
        }
        let mut devices: BTreeMap<Option<NodeId>, BTreeMap<u32, u32>> = BTreeMap::new();
        for (rank, mesh) in (0..).zip(stages) {
            for device in &mesh.devices {
                let ranks = devices.entry(self.node(*device)).or_default();
                *ranks.entry(rank).or_default() += 1;
            }
        }
        let host = |(node, ranks): (Option<NodeId>, BTreeMap<u32, u32>)| {
            let at = node.map_or(0, NodeId::index);
            let limit = node.and_then(|_| self.cluster.nodes.get(at)?.host_memory);
            let host = u32::try_from(at).unwrap_or(u32::MAX);
            HostCosts { host, limit, devices: ranks.into_iter().collect() }
        };
        devices.into_iter().map(host).collect()
    }

    /// The channel by which a stage leaves its node for its neighbours.
    fn card<'m>(
        &self,
        mesh: &StageMesh,
        mut others: impl Iterator<Item = &'m StageMesh>,
    ) -> Option<ChannelId> {
        let first = *mesh.devices.first()?;
        let node = self.node(first);
        let other = others
            .find_map(|other| other.devices.iter().find(|device| self.node(**device) != node))?;
        Some(self.cluster.route(first, *other)?.send)
    }

    /// By stage of a plan, seconds of a step's passes in which it waits for collectives.
    ///
    /// # Errors
    /// `stage-devices`, `unreachable-devices`.
    pub fn waits(&self, plan: &Plan) -> Result<Vec<f64>, Diagnostic> {
        let slowest = |replicas: Vec<[f64; 2]>| {
            replicas.into_iter().map(|seconds| seconds[1]).fold(0.0, f64::max)
        };
        Ok(self.passes(plan)?.into_iter().map(slowest).collect())
    }

    /// By stage of a plan and replica, seconds of a step's passes in which its devices compute, and in
    /// which they wait for collectives.
    ///
    /// # Errors
    /// `stage-devices`, `unreachable-devices`.
    pub fn passes(&self, plan: &Plan) -> Result<Vec<Vec<[f64; 2]>>, Diagnostic> {
        let (stages, run) = (&plan.partition.stages, &plan.parallelism);
        let of = |(at, stage): (usize, &Stage)| {
            let mesh = stage.mesh.as_ref();
            let mesh = mesh.ok_or_else(|| broken(format!("stage {at} has no devices")))?;
            let systems = self.systems(mesh, run.micro_batch)?;
            let place = Place::of(at, stages.len());
            let (priced, of) = self.by_replica(&systems, (mesh, run))?;
            let seconds = priced.into_iter().map(|replica| {
                let figures = replica.figures(&stage.blocks, stage.recompute, place);
                let waits = figures.collectives_s + figures.waited_s;
                [figures.seconds() - waits, waits].map(|time_s| run.n_micro_batches as f64 * time_s)
            });
            let seconds: Vec<[f64; 2]> = seconds.collect();
            Ok(of.into_iter().filter_map(|at| seconds.get(at).copied()).collect())
        };
        stages.iter().enumerate().map(of).collect()
    }

    /// Costs of a plan whose stages all have devices of their own, in 1F1B order.
    ///
    /// # Errors
    /// `stage-devices`, `stages-lose-blocks`, `unreachable-devices`.
    pub fn costs(&self, plan: &Plan) -> Result<PipelineCosts, Diagnostic> {
        let (stages, run) = (&plan.partition.stages, &plan.parallelism);
        let (pipeline, m, b) = (run.pipeline, run.n_micro_batches, run.micro_batch);
        let only =
            Parallelism { pipeline, n_micro_batches: m, micro_batch: b, ..Default::default() };
        if *run != only {
            return Err(broken(
                "degrees of the run are stated beside those of its stages".to_owned(),
            ));
        }
        let mut used: Vec<DeviceId> = Vec::new();
        let mut priced: Vec<(&StageMesh, u32, StagePrice)> = Vec::new();
        let mut next = 0;
        for (at, stage) in stages.iter().enumerate() {
            if stage.blocks.start != next || stage.blocks.end <= next || !stage.each.is_empty() {
                let message = format!("stage {at} does not begin at block {next}, or has none");
                return Err(Diagnostic::error(Blame::IllegalPlan, "stages-lose-blocks", message));
            }
            next = stage.blocks.end;
            let mesh = stage.mesh.as_ref();
            let mesh = mesh.ok_or_else(|| broken(format!("stage {at} has no devices")))?;
            used.extend(&mesh.devices);
            let seat = (
                Place::of(at, stages.len()),
                in_flight(run.n_micro_batches, stages.len() - at - 1),
            );
            let systems = self.systems(mesh, run.micro_batch)?;
            let replicas = self.replicas(&systems, (mesh, run))?;
            let n_blocks = stage.blocks.end - stage.blocks.start;
            priced.push((mesh, n_blocks, Self::stage(&replicas, stage, seat)));
        }
        self.check_edges(stages)?;
        if next != self.base.model.n_blocks() {
            let message = format!("the stages end at block {next}");
            return Err(Diagnostic::error(Blame::IllegalPlan, "stages-lose-blocks", message));
        }
        let n = used.len();
        used.sort_unstable();
        used.dedup();
        if used.len() != n {
            return Err(broken("a device is in two stages".to_owned()));
        }
        self.together(&priced, run).ok_or_else(|| {
            let message = "a stage does not reach the next one";
            Diagnostic::error(Blame::IllegalPlan, "unreachable-devices", message)
        })
    }
}

fn of_replica(
    priced: &Priced<'_>,
    figures: &StageFigures,
    (limit, in_flight): (Option<Bytes>, u64),
) -> StagePrice {
    // The ends of a pipeline are tied by a way that only the whole plan knows: this is neither.
    let seat = Seat { stage: 1, n_stages: 3, rank: 0, next: 0 };
    let (mut stage, optimizer_s) = stage_costs(priced, figures, seat, false);
    stage.next = Boundary::default();
    let beside = bytes(priced.beside_stages(&mut std::iter::once(figures)));
    let rank = RankCosts { optimizer: nanos(optimizer_s), limit, persistent: beside, nic: None };
    let stash = stage.stash.0.saturating_mul(in_flight);
    let peak = [stage.forward_temporary.0.max(stage.backward_temporary.0), stash, beside.0]
        .into_iter()
        .fold(stage.persistent.0, u64::saturating_add);
    let tie_bytes = match priced.is_tied_across() {
        true => priced.pricing.gradients.exchanged() * priced.passes.end_parameters,
        false => 0.0,
    };
    StagePrice { stage, rank, peak, tie_bytes }
}
