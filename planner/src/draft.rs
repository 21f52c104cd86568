//! A plan in the making: six fields, each decided or not.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use cost_model::ops::problem::{Problem, UNSUPPORTED};
use ir::id::{DeviceId, OpId, TensorId};
use ir::order::topological;
use ir::plan::{Parallelism, Partition, Placement, Plan};
use ir::schedule::{Action, Schedule, Transfer};

/// What is decided of the schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Orders {
    /// Per device (by id), its ops in order; transfers are left to [`Draft::finish`].
    Ops(Vec<Vec<OpId>>),
    /// Everything: op orders, transfer orders, waits.
    Full(Schedule),
}

/// A plan in the making. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// Degrees and batch sizes; undecided: all 1.
    pub parallelism: Option<Arc<Parallelism>>,
    /// Stages; undecided: one.
    pub partition: Option<Arc<Partition>>,
    /// Where each op runs; undecided ops run nowhere, which no plan survives.
    pub placement: Option<Arc<Placement>>,
    /// Orders; undecided: the sweep of [`finish`].
    pub schedule: Option<Arc<Orders>>,
}

impl Draft {
    /// A draft with everything decided.
    #[must_use]
    pub fn from_plan(plan: Plan) -> Self {
        Self {
            parallelism: Some(Arc::new(plan.parallelism)),
            partition: Some(Arc::new(plan.partition)),
            placement: Some(Arc::new(plan.placement)),
            schedule: Some(Arc::new(Orders::Full(plan.schedule))),
        }
    }

    /// This draft with a placement.
    #[must_use]
    pub fn placed(self, placement: Placement) -> Self {
        Self { placement: Some(Arc::new(placement)), ..self }
    }

    /// This draft with orders.
    #[must_use]
    pub fn scheduled(self, orders: Orders) -> Self {
        Self { schedule: Some(Arc::new(orders)), ..self }
    }

    /// The whole plan, undecided fields filled with their defaults.
    #[must_use]
    pub fn finish(&self, problem: &Problem) -> Plan {
        let placement = self
            .placement
            .as_deref()
            .cloned()
            .unwrap_or_else(|| Placement { device: vec![None; problem.n_ops()] });
        let mut plan = match self.schedule.as_deref() {
            Some(Orders::Full(schedule)) => plan_of(problem, placement, schedule.clone()),
            Some(Orders::Ops(orders)) => finish(problem, placement, Some(orders.clone())),
            None => finish(problem, placement, None),
        };
        if let Some(parallelism) = self.parallelism.as_deref() {
            plan.parallelism = parallelism.clone();
        }
        if let Some(partition) = self.partition.as_deref() {
            plan.partition = partition.clone();
        }
        plan
    }
}

fn plan_of(problem: &Problem, placement: Placement, schedule: Schedule) -> Plan {
    // The graph holds all micro-batches; the count is for the reader.
    let n_micro_batches = problem.workload.n_micro_batches();
    Plan {
        parallelism: Parallelism { n_micro_batches, ..Parallelism::default() },
        partition: Partition::whole(),
        placement,
        schedule,
    }
}

/// The plan of a placement: missing op orders by topological position, transfer orders by one
/// sweep in time (`docs/conventions.md`, Transfers).
///
/// Ops without a device are in no order. Orders that contradict the graph are kept as they are: the
/// judge names the cycle.
#[must_use]
pub fn finish(problem: &Problem, placement: Placement, orders: Option<Vec<Vec<OpId>>>) -> Plan {
    let n_devices = problem.cluster.n_devices();
    let (position, orders) = match orders {
        Some(mut orders) => {
            orders.resize(n_devices, Vec::new());
            (positions(problem, &topological_order_with(problem, &orders)), orders)
        }
        None => {
            let order = problem.topological_order();
            let mut orders = vec![Vec::new(); n_devices];
            for &op in &order {
                if let Some(list) =
                    placement.of(op).and_then(|device| orders.get_mut(device.index()))
                {
                    list.push(op);
                }
            }
            (positions(problem, &order), orders)
        }
    };
    let channels = Sweep::new(problem, &placement, &orders, &position).run();
    let actions = orders.into_iter().map(|ops| ops.into_iter().map(Action::Op).collect()).collect();
    plan_of(problem, placement, Schedule { actions, channels, after: Vec::new(), grid: None })
}

fn positions(problem: &Problem, order: &[OpId]) -> Vec<usize> {
    let mut position = vec![usize::MAX; problem.n_ops()];
    for (index, op) in order.iter().enumerate() {
        position[op.index()] = index;
    }
    position
}

/// A topological order that contains the device orders: Kahn, least position of T1 first. Ops on
/// a cycle, and ops that wait for one, follow in the order of T1.
fn topological_order_with(problem: &Problem, orders: &[Vec<OpId>]) -> Vec<OpId> {
    let base = problem.topological_order();
    let rank = positions(problem, &base);
    let n_ops = problem.n_ops();
    let mut missing = vec![0usize; n_ops];
    let mut next_on_device = vec![None; n_ops];
    for &op in &base {
        missing[op.index()] = problem.inputs(op).len();
    }
    for pair in orders.iter().flat_map(|ops| ops.windows(2)) {
        if let (Some(next), Some(count)) =
            (next_on_device.get_mut(pair[0].index()), missing.get_mut(pair[1].index()))
        {
            *next = Some(pair[1]);
            *count += 1;
        }
    }
    let after = |op| {
        let outputs = problem.outputs(OpId::new(op)).iter();
        let readers = outputs.flat_map(|tensor| problem.consumers(*tensor)).copied();
        readers.chain(next_on_device[op]).map(OpId::index)
    };
    let actions = base.iter().map(|op| op.index());
    let order = topological(actions, &mut missing, after, |op, _| rank[op]);
    let mut order: Vec<OpId> = order.into_iter().map(OpId::new).collect();
    order.extend(base.iter().copied().filter(|op| missing[op.index()] > 0));
    order
}

/// What the sweep takes next; the order of variants and fields is the order at one (time,
/// position).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Transfer(TensorId, DeviceId),
    OpEnd(OpId),
}

/// The sweep in time that appends each transfer to its channels.
struct Sweep<'a> {
    problem: &'a Problem,
    placement: &'a Placement,
    orders: &'a [Vec<OpId>],
    position: &'a [usize],
    /// Inputs that have not arrived yet, plus one until the op is at the head of its device.
    waiting: Vec<usize>,
    /// Latest of the arrivals so far and the end of the op before it.
    earliest: Vec<u64>,
    clock: Vec<u64>,
    channels: BTreeMap<ir::id::ChannelId, Vec<Transfer>>,
    head: Vec<usize>,
    events: BinaryHeap<Reverse<(u64, usize, Event)>>,
    firsts: Vec<(DeviceId, usize)>,
}

impl<'a> Sweep<'a> {
    fn new(
        problem: &'a Problem,
        placement: &'a Placement,
        orders: &'a [Vec<OpId>],
        position: &'a [usize],
    ) -> Self {
        let mut waiting = vec![usize::MAX; problem.n_ops()];
        for &op in &problem.actions {
            waiting[op.index()] = problem.inputs(op).len() + 1;
        }
        Self {
            problem,
            placement,
            orders,
            position,
            waiting,
            earliest: vec![0; problem.n_ops()],
            clock: vec![0; problem.cluster.links.channels.len()],
            channels: BTreeMap::new(),
            head: vec![0; orders.len()],
            events: BinaryHeap::new(),
            firsts: Vec::new(),
        }
    }

    fn run(mut self) -> BTreeMap<ir::id::ChannelId, Vec<Transfer>> {
        for device in 0..self.orders.len() {
            self.advance(device, 0);
        }
        while let Some(Reverse((time, _, event))) = self.events.pop() {
            match event {
                Event::OpEnd(op) => self.end_op(op, time),
                Event::Transfer(tensor, to) => self.send(tensor, to, time),
            }
        }
        self.channels
    }

    /// The op at the head of a device's order may start from `time` on, as far as the device goes.
    fn advance(&mut self, device: usize, time: u64) {
        if let Some(&op) = self.orders[device].get(self.head[device]) {
            self.arrive(op, time);
        }
    }

    fn arrive(&mut self, op: OpId, time: u64) {
        let Some(waiting) = self.waiting.get_mut(op.index()) else { return };
        let earliest = &mut self.earliest[op.index()];
        *earliest = time.max(*earliest);
        // An order that names an op twice would end it twice.
        if *waiting == 0 {
            return;
        }
        *waiting -= 1;
        if *waiting == 0
            && let Some(device) = self.placement.of(op)
        {
            let end = earliest.saturating_add(self.problem.time_ns(op, device));
            self.events.push(Reverse((end, self.position[op.index()], Event::OpEnd(op))));
        }
    }

    fn end_op(&mut self, op: OpId, time: u64) {
        let Some(from) = self.placement.of(op) else { return };
        for &tensor in self.problem.outputs(op) {
            self.firsts.clear();
            for &consumer in self.problem.consumers(tensor) {
                let Some(to) = self.placement.of(consumer) else { continue };
                let position = self.position[consumer.index()];
                match self.firsts.iter_mut().find(|(device, _)| *device == to) {
                    Some((_, first)) => *first = position.min(*first),
                    None => self.firsts.push((to, position)),
                }
            }
            for &(to, first) in self.firsts.iter().filter(|(to, _)| *to != from) {
                self.events.push(Reverse((time, first, Event::Transfer(tensor, to))));
            }
            if self.firsts.iter().any(|(to, _)| *to == from) {
                self.deliver(tensor, from, time);
            }
        }
        self.head[from.index()] += 1;
        self.advance(from.index(), time);
    }

    fn send(&mut self, tensor: TensorId, to: DeviceId, time: u64) {
        let producer = self.problem.producer(tensor).and_then(|op| self.placement.of(op));
        let Some(from) = producer else { return };
        let mut end = UNSUPPORTED;
        if let Some(route) = self.problem.cluster.route(from, to) {
            let start =
                time.max(self.clock[route.send.index()]).max(self.clock[route.receive.index()]);
            end = start.saturating_add(self.problem.transfer_ns(tensor, from, to));
            for channel in
                [Some(route.send), (route.receive != route.send).then_some(route.receive)]
                    .into_iter()
                    .flatten()
            {
                self.clock[channel.index()] = end;
                self.channels.entry(channel).or_default().push(Transfer { tensor, to });
            }
        }
        self.deliver(tensor, to, end);
    }

    fn deliver(&mut self, tensor: TensorId, to: DeviceId, time: u64) {
        for &consumer in self.problem.consumers(tensor) {
            if self.placement.of(consumer) == Some(to) {
                self.arrive(consumer, time);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::list_schedule::sketch::Sketch;
    use ir::id::ChannelId;

    fn placed(devices: &[usize]) -> Placement {
        Placement { device: devices.iter().map(|d| Some(DeviceId::new(*d))).collect() }
    }

    fn order(plan: &Plan, channel: usize) -> Vec<usize> {
        let transfers = &plan.schedule.channels[&ChannelId::new(channel)];
        transfers.iter().map(|transfer| transfer.tensor.index()).collect()
    }

    /// A writes x over [0,4) on d0, B writes y over [0,3) on d1, C on d2 reads both.
    fn join() -> Problem {
        let devices = Sketch::new(1.0).device("a", 99).device("a", 99).device("a", 99);
        let senders = devices.op("A", "a", 4, "", "x:3").op("B", "a", 3, "", "y:2");
        senders.op("C", "a", 4, "x y", "").problem()
    }

    #[test]
    fn transfers_go_in_the_order_in_which_their_producers_end() {
        let plan = finish(&join(), placed(&[0, 1, 2]), None);
        assert_eq!(order(&plan, 5), [1, 0]);
        assert_eq!(plan.schedule.actions[2], [Action::Op(OpId(2))]);
    }

    #[test]
    fn at_one_end_the_first_consumer_on_the_destination_decides() {
        // y (tensor 1) is read first.
        let devices = Sketch::new(1.0).device("a", 99).device("a", 99);
        let ops = devices.op("A", "a", 4, "", "x:1 y:1").op("B", "a", 1, "y", "");
        let problem = ops.op("C", "a", 1, "x", "").problem();
        assert_eq!(order(&finish(&problem, placed(&[0, 1, 1]), None), 3), [1, 0]);
        let reversed = Some(vec![vec![OpId(0)], vec![OpId(2), OpId(1)]]);
        let plan = finish(&problem, placed(&[0, 1, 1]), reversed);
        assert_eq!(order(&plan, 3), [0, 1]);
        assert_eq!(plan.schedule.actions[1], [Action::Op(OpId(2)), Action::Op(OpId(1))]);
    }

    #[test]
    fn orders_that_can_not_be_kept_come_through_for_the_judge_to_name() {
        let orders = vec![vec![OpId(2), OpId(0), OpId(0), OpId(1)], Vec::new(), Vec::new()];
        let plan = finish(&join(), placed(&[0, 0, 0]), Some(orders));
        assert_eq!(plan.schedule.actions[0].len(), 4);
        assert!(cost_model::ops::judge::replay::replay(&join(), &plan).is_err());
    }
}
