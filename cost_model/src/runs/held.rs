//! What each device of a training run holds of weights and optimizer states, and what has to move
//! where another plan goes on with them.
//!
//! ```text
//! weights  split by tensor ranks, by replicas too under ZeRO 3
//! states   master weights and moments: split by tensor ranks, by replicas too from ZeRO 1 on
//! ```
//! Tensors are split evenly: norms, which each tensor rank has all of, count as if they were split too.

use std::collections::BTreeMap;
use std::ops::Range;

use ir::card::{ModelCard, StateFormat, ZeroStage};
use ir::cluster::Cluster;
use ir::id::DeviceId;
use ir::plan::{Parallelism, Plan, StageMesh};
use ir::units::Bytes;
use ir::workload::Optimizer;

use super::forms::model::counts::held;
use super::forms::rank_groups;
use super::memory::states::state_bytes;
use super::oracle::{Place, ranks_of};

/// What a device holds a part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The device.
    pub device: DeviceId,
    /// Its blocks.
    pub blocks: Vec<Range<u32>>,
    /// Whether it has the first stage, and whether the last.
    pub ends: [bool; 2],
    /// Its tensor rank, and how many there are.
    pub tensor: [u32; 2],
    /// Its replica, and how many there are.
    pub replica: [u32; 2],
    /// What replicas share out.
    pub zero: ZeroStage,
}

/// What each device of a plan holds, in the order of the devices; `None` for a plan without a grid.
#[must_use]
pub fn holdings(plan: &Plan) -> Option<Vec<Holding>> {
    let stages = &plan.partition.stages;
    let last = stages.len().checked_sub(1)?;
    let of_stage = |at: usize| [at == 0, at == last];
    let mut found: BTreeMap<DeviceId, Holding> = BTreeMap::new();
    let mut add = |at: usize, holding: Holding| {
        let [first, last] = of_stage(at);
        let known =
            found.entry(holding.device).or_insert(Holding { blocks: Vec::new(), ..holding });
        known.blocks.push(stages[at].blocks.clone());
        known.ends = [known.ends[0] || first, known.ends[1] || last];
    };
    let empty = |device| Holding {
        device,
        blocks: Vec::new(),
        ends: [false; 2],
        tensor: [0, 1],
        replica: [0, 1],
        zero: ZeroStage::None,
    };
    if plan.partition.has_own_devices() {
        for (at, stage) in stages.iter().enumerate() {
            for (seat, device) in seats(stage.mesh.as_ref()?) {
                add(at, Holding { zero: ZeroStage::Optimizer, ..own_of(empty(device), seat) });
            }
        }
    } else {
        let degrees = &plan.parallelism;
        let ranks = ranks_of(plan.schedule.grid.as_ref()?, stages.len())?;
        let n = rank_groups::n_devices(degrees);
        for device in 0..u32::try_from(n).ok()? {
            let rank = rank_groups::rank_of(degrees, u64::from(device));
            let seat = rank_groups::seat_of(degrees, u64::from(device));
            for (at, _) in ranks.iter().enumerate().filter(|(_, other)| **other == rank) {
                add(at, Holding { zero: degrees.zero, ..own_of(empty(DeviceId(device)), seat) });
            }
        }
    }
    Some(found.into_values().collect())
}

fn own_of(holding: Holding, [tensor, replica]: [[u32; 2]; 2]) -> Holding {
    Holding { tensor, replica, ..holding }
}

/// Tensor rank and replica, each of so many, of the devices of a stage.
fn seats(mesh: &StageMesh) -> impl Iterator<Item = ([[u32; 2]; 2], DeviceId)> + '_ {
    let (tensor, n) = (mesh.tensor.max(1), u32::try_from(mesh.samples.len()).unwrap_or(u32::MAX));
    (0..)
        .zip(&mesh.devices)
        .map(move |(at, device)| ([[at % tensor, tensor], [at / tensor, n]], *device))
}

/// A tensor that is held, or what the optimizer keeps of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tensor {
    /// The words of the embedding.
    Words,
    /// The rest of the embedding.
    Positions,
    /// All weights of a block.
    Block(u32),
    /// The head, and norms behind the last block.
    Head,
}

impl std::fmt::Display for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Words => f.write_str("embedding"),
            Self::Positions => f.write_str("positions"),
            Self::Block(at) => write!(f, "block {at}"),
            Self::Head => f.write_str("head"),
        }
    }
}

/// A tensor, and whether what the optimizer keeps of it is meant.
type Key = (Tensor, bool);

/// How large the tensors of a model are, and what is kept of each of their elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Sizes {
    /// Elements.
    elements: BTreeMap<Tensor, u64>,
    /// Whether the last stage has the words too.
    is_tied: bool,
    /// Bytes of an element's weight, and of what the optimizer keeps of it.
    bytes: [u64; 2],
}

impl Sizes {
    /// Those of a model that is trained so. What Adafactor keeps by row and column is not counted.
    #[must_use]
    pub fn of(model: &ModelCard, format: StateFormat, optimizer: Optimizer) -> Self {
        let end = |first, last| held(model, &(0..0), Place { first, last }, false);
        let (first, last) = (end(true, false), end(false, true));
        let card = model.groups.first().map(|group| &group.card);
        let words = card.map_or(0, |card| card.vocabulary.saturating_mul(card.hidden));
        let words = words.min(first.n_parameters);
        let middle = Place { first: false, last: false };
        let block = |at| held(model, &(at..at + 1), middle, false).n_parameters;
        let mut elements: BTreeMap<Tensor, u64> =
            (0..model.n_blocks()).map(|at| (Tensor::Block(at), block(at))).collect();
        elements.insert(Tensor::Words, words);
        elements.insert(Tensor::Positions, first.n_parameters - words);
        elements.insert(Tensor::Head, last.n_parameters);
        let bytes = state_bytes(format, optimizer, ZeroStage::None, 1.0);
        let states = bytes.master_weights + bytes.optimizer_states;
        Self {
            elements,
            is_tied: last.n_tied_copies > 0,
            bytes: [bytes.parameters as u64, states as u64],
        }
    }

    /// What of which tensors a device holds: their weights, or (`true`) what the optimizer keeps.
    fn parts(&self, holding: &Holding) -> BTreeMap<Key, Range<u64>> {
        let [first, last] = holding.ends;
        let blocks = holding.blocks.iter().cloned().flatten().map(Tensor::Block);
        let ends = [
            (Tensor::Words, first || last && self.is_tied),
            (Tensor::Positions, first),
            (Tensor::Head, last),
        ];
        let ends = ends.into_iter().filter(|(_, is)| *is).map(|(tensor, _)| tensor);
        let mut found = BTreeMap::new();
        for tensor in blocks.chain(ends) {
            let n = self.elements.get(&tensor).copied().unwrap_or_default();
            let of_rank = part(&(0..n), holding.tensor);
            for (is_state, least) in [(false, ZeroStage::Parameters), (true, ZeroStage::Optimizer)]
            {
                let range = match holding.zero >= least {
                    true => part(&of_rank, holding.replica),
                    false => of_rank.clone(),
                };
                if range.start < range.end && self.bytes[usize::from(is_state)] > 0 {
                    found.insert((tensor, is_state), range);
                }
            }
        }
        found
    }
}

/// The part of one of so many ranks.
fn part(all: &Range<u64>, [rank, n]: [u32; 2]) -> Range<u64> {
    let (size, n) = (u128::from(all.end - all.start), u128::from(n.max(1)));
    let at = |rank: u32| all.start + (size * u128::from(rank) / n) as u64;
    at(rank)..at(rank.saturating_add(1)).min(all.end)
}

/// Part of a tensor that a device does not hold yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The tensor.
    pub tensor: Tensor,
    /// Whether it is what the optimizer keeps, not the weights.
    pub is_state: bool,
    /// Which of its elements.
    pub elements: Range<u64>,
    /// Who has it; `None` where nobody does any more, and a checkpoint has to.
    pub from: Option<DeviceId>,
    /// Who needs it.
    pub to: DeviceId,
    /// How much that is.
    pub bytes: Bytes,
}

/// What devices that held something have to get to hold what they shall, each part over the fastest
/// way that leads to it.
#[must_use]
pub fn moves(cluster: &Cluster, sizes: &Sizes, [old, new]: [&[Holding]; 2]) -> Vec<Move> {
    let mut holders: BTreeMap<Key, Vec<(DeviceId, Range<u64>)>> = BTreeMap::new();
    for holding in old {
        for (key, range) in sizes.parts(holding) {
            holders.entry(key).or_default().push((holding.device, range));
        }
    }
    let mut found = Vec::new();
    for holding in new {
        for ((tensor, is_state), range) in sizes.parts(holding) {
            let known = holders.get(&(tensor, is_state)).map_or(&[][..], Vec::as_slice);
            let present = known.iter().find(|(device, _)| *device == holding.device);
            let mut missing = without(vec![range], present.map(|(_, range)| range));
            let mut sources: Vec<_> =
                known.iter().filter(|own_of| own_of.0 != holding.device).collect();
            let seconds =
                |from: DeviceId| cluster.transfer_time(Bytes(1 << 30), from, holding.device);
            sources
                .sort_by_key(|(from, _)| (seconds(*from).map_or(u64::MAX, |time| time.0), *from));
            let mut add = |from: Option<DeviceId>, elements: Range<u64>| {
                let n = elements.end - elements.start;
                let bytes = Bytes(n.saturating_mul(sizes.bytes[usize::from(is_state)]));
                found.push(Move { tensor, is_state, elements, from, to: holding.device, bytes });
            };
            for (from, has) in sources.into_iter().filter(|(from, _)| seconds(*from).is_some()) {
                for piece in &missing {
                    let both = piece.start.max(has.start)..piece.end.min(has.end);
                    if both.start < both.end {
                        add(Some(*from), both);
                    }
                }
                missing = without(missing, Some(has));
            }
            missing.into_iter().for_each(|piece| add(None, piece));
        }
    }
    found
}

/// What of some ranges another one does not cover.
fn without(ranges: Vec<Range<u64>>, other: Option<&Range<u64>>) -> Vec<Range<u64>> {
    let Some(other) = other else { return ranges };
    let left = ranges.into_iter().flat_map(|range| {
        let before = range.start..range.end.min(other.start);
        let after = range.start.max(other.end)..range.end;
        [before, after]
    });
    left.filter(|range| range.start < range.end).collect()
}

/// Seconds that moves between devices take at least: those of the channel that is busy longest, with the
/// least start-up of what it carries.
#[must_use]
pub fn moving_s(cluster: &Cluster, moves: &[Move]) -> f64 {
    let mut channels: BTreeMap<_, (f64, f64)> = BTreeMap::new();
    for transfer in moves {
        let Some(way) = transfer.from.and_then(|from| cluster.route(from, transfer.to)) else {
            continue;
        };
        for channel in [(false, way.send), (true, way.receive)] {
            let (busy, start_up) = channels.entry(channel).or_insert((0.0, f64::INFINITY));
            *busy += transfer.bytes.as_f64() / way.kind.bandwidth.get();
            *start_up = start_up.min(way.kind.latency_ns * 1e-9);
        }
    }
    channels.into_values().map(|(busy, start_up)| busy + start_up).fold(0.0, f64::max)
}

/// A plan whose stages have devices of their own, on devices that hold as much of what they shall as can
/// be found: devices of one class and host change places. The most useful places are given first, then
/// pairs change as long as that saves bytes. `None` for plans without such stages.
#[must_use]
pub fn with_fewest_moves(
    cluster: &Cluster,
    sizes: &Sizes,
    old: &[Holding],
    plan: &Plan,
) -> Option<Plan> {
    if !plan.partition.has_own_devices() {
        return None;
    }
    let new = holdings(plan)?;
    let before: BTreeMap<DeviceId, BTreeMap<_, Range<u64>>> =
        old.iter().map(|holding| (holding.device, sizes.parts(holding))).collect();
    let mut in_host: BTreeMap<_, usize> = BTreeMap::new();
    cluster.devices.iter().for_each(|device| *in_host.entry(device.node).or_default() += 1);
    let mut alike: BTreeMap<_, Vec<DeviceId>> = BTreeMap::new();
    for device in cluster.device_ids() {
        let facts = &cluster.devices[device.index()];
        // A stage may need its devices on one host.
        let host = facts.node.filter(|_| in_host[&facts.node] > 1);
        alike.entry((facts.class, host)).or_default().push(device);
    }
    let mut at: BTreeMap<DeviceId, DeviceId> = BTreeMap::new();
    for devices in alike.values() {
        let places = new.iter().filter(|holding| devices.contains(&holding.device));
        let places: Vec<_> = places.map(|holding| (holding.device, sizes.parts(holding))).collect();
        let shared = |place: &BTreeMap<Key, Range<u64>>, device: DeviceId| -> u64 {
            let Some(has) = before.get(&device) else { return 0 };
            let both = place.iter().filter_map(|(key, range)| {
                let other = has.get(key)?;
                let n = range.end.min(other.end).saturating_sub(range.start.max(other.start));
                Some(n.saturating_mul(sizes.bytes[usize::from(key.1)]))
            });
            both.fold(0, u64::saturating_add)
        };
        let table: Vec<Vec<u64>> = places
            .iter()
            .map(|(_, place)| devices.iter().map(|device| shared(place, *device)).collect())
            .collect();
        for (place, device) in assigned(&table).into_iter().enumerate() {
            at.insert(places[place].0, devices[device]);
        }
    }
    let mut plan = plan.clone();
    for mesh in plan.partition.stages.iter_mut().filter_map(|stage| stage.mesh.as_mut()) {
        for device in &mut mesh.devices {
            *device = at.get(device).copied().unwrap_or(*device);
        }
    }
    Some(plan)
}

/// Most devices that are alike of which pairs change places.
const MOST_SWAPPED: usize = 256;

/// By row, a column of its own, of a large sum.
fn assigned(table: &[Vec<u64>]) -> Vec<usize> {
    let n = table.first().map_or(0, Vec::len);
    let mut cells: Vec<(u64, usize, usize)> = table
        .iter()
        .enumerate()
        .flat_map(|(row, columns)| {
            columns.iter().enumerate().map(move |(column, value)| (*value, row, column))
        })
        .collect();
    cells.sort_by_key(|(value, row, column)| {
        (std::cmp::Reverse(*value), row.abs_diff(*column), *row)
    });
    let mut of_row: Vec<Option<usize>> = vec![None; table.len()];
    let mut row_of: Vec<Option<usize>> = vec![None; n];
    for (_, row, column) in cells {
        if of_row[row].is_none() && row_of[column].is_none() {
            (of_row[row], row_of[column]) = (Some(column), Some(row));
        }
    }
    let mut of_row: Vec<usize> = of_row.into_iter().map(Option::unwrap_or_default).collect();
    let mut is_better = n <= MOST_SWAPPED;
    while is_better {
        is_better = false;
        for a in 0..table.len() {
            for column in 0..n {
                let (current, other) = (of_row[a], row_of[column]);
                let now = table[a][current] + other.map_or(0, |b| table[b][column]);
                let then = table[a][column] + other.map_or(0, |b| table[b][current]);
                if then > now {
                    of_row[a] = column;
                    (row_of[column], row_of[current]) = (Some(a), other);
                    other.into_iter().for_each(|b| of_row[b] = current);
                    is_better = true;
                }
            }
        }
    }
    of_row
}

/// A run of equal stages as one whose stages have devices of their own; itself where they have. `None`
/// where such stages can't say it: ranks of several stages, context or expert ranks, parameters or
/// gradients that replicas share out, a vocabulary or blocks with settings of their own.
#[must_use]
pub fn restated(plan: &Plan) -> Option<Plan> {
    if plan.partition.has_own_devices() {
        return Some(plan.clone());
    }
    let degrees = &plan.parallelism;
    let is_plain = degrees.context == 1
        && degrees.expert == 1
        && degrees.virtual_stages == 1
        && degrees.vocabulary.is_none()
        && !degrees.expert_overlap
        && degrees.zero <= ZeroStage::Optimizer
        && plan.partition.stages.iter().all(|stage| stage.each.is_empty());
    if !is_plain {
        return None;
    }
    let mut seats: Vec<_> = holdings(plan)?
        .into_iter()
        .map(|holding| {
            (
                rank_groups::rank_of(degrees, u64::from(holding.device.0)),
                holding.replica[0],
                holding,
            )
        })
        .collect();
    seats.sort_by_key(|(rank, replica, holding)| (*rank, *replica, holding.tensor[0]));
    let mut restated = plan.clone();
    for (rank, stage) in (0..).zip(&mut restated.partition.stages) {
        let devices =
            seats.iter().filter(|(of, ..)| *of == rank).map(|(.., holding)| holding.device);
        let samples = vec![degrees.micro_batch; degrees.data as usize];
        let (tensor, devices) = (degrees.tensor, devices.collect());
        stage.mesh = Some(StageMesh { devices, tensor, samples, edge_ratio: 1 });
    }
    restated.parallelism = Parallelism {
        pipeline: degrees.pipeline,
        n_micro_batches: degrees.n_micro_batches,
        micro_batch: degrees.micro_batch.checked_mul(u64::from(degrees.data))?,
        ..Parallelism::default()
    };
    Some(restated)
}

#[cfg(test)]
mod tests;
