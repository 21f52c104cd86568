//! The planning problem: a graph on a cluster, with every duration and byte known.
//!
//! Views are dissolved here (`docs/conventions.md`, M3): algorithms and judge see only *actions*
//! (ops that are no views) and *root* tensors. Ids stay those of the graph, so a plan needs no
//! translation.

mod open;

use std::sync::{Arc, OnceLock};

use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::{DeviceId, GroupId, OpId, TensorId};
use ir::op::{Op, Work};
use ir::units::{Bytes, Nanos};
use ir::workload::Workload;

use crate::kernels::price::task::Form;
use crate::numeric::device_set::DeviceSet;
use crate::ops::flow::Flow;
use crate::ops::groups;
use crate::ops::origins::Origins;

/// Duration of an op on a kind that can't run it.
pub const UNSUPPORTED: u64 = u64::MAX;

/// What is minimised: the name of a row of [`crate::ops::objective`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Objective {
    /// Its name on the command line and in documents.
    pub(super) name: &'static str,
    /// Its name in sentences.
    pub(super) label: &'static str,
}

impl Objective {
    /// Nanoseconds from the start of the first action to the end of the last.
    pub const STEP_TIME: Self = Self { name: "step-time", label: "step time" };
    /// Nanoseconds for which the busiest device works on one step ([`crate::ops::max_load`]).
    pub const MAX_LOAD: Self = Self { name: "max-load", label: "max load" };

    /// Its name on the command line and in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Its name in sentences.
    #[must_use]
    pub const fn label(self) -> &'static str {
        self.label
    }
}

impl Default for Objective {
    fn default() -> Self {
        Self::STEP_TIME
    }
}

/// What the user fixed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Constraints {
    /// This op runs only on these devices (several entries of one op intersect).
    pub pins: Vec<(OpId, Vec<DeviceId>)>,
    /// This op does not run on these devices.
    pub forbids: Vec<(OpId, Vec<DeviceId>)>,
    /// These ops share a device.
    pub colocate: Vec<Vec<OpId>>,
}

/// A graph on a cluster with all costs. Immutable: a transform makes a new one, and shares the long
/// tables with it.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The graph, views included.
    pub graph: Arc<Graph>,
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// What is planned for.
    pub workload: Workload,
    /// What is minimised.
    pub objective: Objective,
    /// What the user fixed (already merged into `groups` and [`Problem::can_place`]).
    pub constraints: Constraints,
    /// Ops that are no views, in increasing order of id.
    pub actions: Vec<OpId>,
    /// Colocation groups with at least one action: members in increasing order. A group is
    /// numbered by its first member.
    pub groups: Vec<Vec<OpId>>,
    group_of: Arc<[Option<GroupId>]>,
    /// `kind * n_ops + op`, [`UNSUPPORTED`] where the kind can't run the op.
    time: Arc<[u64]>,
    temporary: Arc<[u64]>,
    flow: Arc<Flow>,
    bytes: Arc<[u64]>,
    persistent: Arc<[u64]>,
    device_sets: Vec<DeviceSet>,
    /// Position in `device_sets` by op.
    placeable: Arc<[u32]>,
    pub(crate) origins: Arc<Origins>,
    /// By op, once one is asked for.
    forms: Arc<OnceLock<Vec<Option<Form>>>>,
}

impl Problem {
    /// Builds the problem.
    ///
    /// `time(op, kind)` is the duration of an action on a kind of device (its position in
    /// `cluster.kinds`), `None` where that kind can't run it; `temporary(op)` its scratch bytes.
    /// It is not called for views.
    ///
    /// # Errors
    /// `no-device` if an op or group is left without any device, with the op named; proved, so
    /// [`ir::diagnostic::Blame::Infeasible`].
    pub fn new(
        graph: Arc<Graph>,
        cluster: Arc<Cluster>,
        workload: Workload,
        objective: Objective,
        constraints: Constraints,
        time: impl Fn(OpId, usize) -> Option<Nanos>,
        temporary: impl Fn(OpId) -> Bytes,
    ) -> Result<Self, Diagnostic> {
        let n_ops = graph.ops.len();
        let actions: Vec<OpId> =
            graph.op_ids().filter(|op| graph.op(*op).work != Work::View).collect();
        let mut times = vec![UNSUPPORTED; cluster.kinds.len() * n_ops];
        let mut temporaries = vec![0; n_ops];
        for &op in &actions {
            for kind in 0..cluster.kinds.len() {
                if let Some(duration) = time(op, kind) {
                    times[kind * n_ops + op.index()] = duration.get().min(UNSUPPORTED - 1);
                }
            }
            temporaries[op.index()] = temporary(op).get();
        }
        let (group_of, groups) = groups::merge(&graph, &constraints, &actions);
        let mut problem = Self {
            workload,
            objective,
            constraints,
            groups,
            group_of: group_of.into(),
            time: times.into(),
            temporary: temporaries.into(),
            flow: Arc::new(Flow::of(&graph, &actions)),
            bytes: graph.tensors.iter().map(|t| t.bytes.get()).collect(),
            persistent: graph.tensors.iter().map(|t| (t.bytes + t.state_bytes).get()).collect(),
            device_sets: Vec::new(),
            placeable: Arc::default(),
            actions,
            graph,
            cluster,
            origins: Arc::default(),
            forms: Arc::default(),
        };
        problem.intern_device_sets()?;
        Ok(problem)
    }

    /// The same problem under another objective.
    #[must_use]
    pub fn with_objective(self, objective: Objective) -> Self {
        Self { objective, ..self }
    }

    /// The same problem on the same devices and ways at other limits and rates.
    #[must_use]
    pub(crate) fn with_cluster(&self, cluster: Arc<Cluster>) -> Self {
        Self { cluster, ..self.clone() }
    }

    /// The same problem on another cluster with the same kinds of devices. Pins and forbids keep
    /// their device ids.
    ///
    /// # Errors
    /// As [`Problem::new`].
    pub fn on_cluster(&self, cluster: Arc<Cluster>) -> Result<Self, Diagnostic> {
        Self::new(
            Arc::clone(&self.graph),
            cluster,
            self.workload.clone(),
            self.objective,
            self.constraints.clone(),
            |op, kind| match self.time.get(kind * self.n_ops() + op.index()) {
                None | Some(&UNSUPPORTED) => None,
                Some(&time) => Some(Nanos(time)),
            },
            |op| Bytes(self.temporary(op)),
        )
        .map(|problem| Self { origins: Arc::clone(&self.origins), ..problem })
    }

    /// Number of ops, views included: the length of per-op tables.
    #[must_use]
    pub fn n_ops(&self) -> usize {
        self.graph.ops.len()
    }

    /// Number of tensors, views' outputs included: the length of per-tensor tables.
    #[must_use]
    pub fn n_tensors(&self) -> usize {
        self.graph.tensors.len()
    }

    /// Nanoseconds of an action on a device; [`UNSUPPORTED`] where its kind can't run it.
    #[must_use]
    pub fn time_ns(&self, op: OpId, device: DeviceId) -> u64 {
        let kind = self.cluster.devices[device.index()].kind.index();
        self.time[kind * self.n_ops() + op.index()]
    }

    /// Nanoseconds of an action on a kind of device; [`UNSUPPORTED`] where it can't run it.
    #[must_use]
    pub fn time_on_kind_ns(&self, op: OpId, kind: usize) -> u64 {
        self.time[kind * self.n_ops() + op.index()]
    }

    /// Least nanoseconds of an action over the devices where it can be placed.
    #[must_use]
    pub fn least_time_ns(&self, op: OpId) -> u64 {
        self.placeable(op).iter().map(|d| self.time_ns(op, d)).min().unwrap_or(UNSUPPORTED)
    }

    /// The form by which an action is priced; `None` where its duration is given, and for views.
    #[must_use]
    pub fn form(&self, op: OpId) -> Option<Form> {
        let of = |op: &Op| match &op.work {
            Work::Kernel(kernel) => Some(Form::of(op, kernel)),
            Work::View | Work::Given(_) => None,
        };
        self.forms.get_or_init(|| self.graph.ops.iter().map(of).collect())[op.index()]
    }

    /// Scratch bytes held while the op runs.
    #[must_use]
    pub fn temporary(&self, op: OpId) -> u64 {
        self.temporary[op.index()]
    }

    /// Produced root tensors that the action reads, each once, in its own order.
    #[must_use]
    pub fn inputs(&self, op: OpId) -> &[TensorId] {
        self.flow.inputs.of(op.index())
    }

    /// Root tensors fed by the caller that the action reads, each once.
    #[must_use]
    pub fn graph_inputs(&self, op: OpId) -> &[TensorId] {
        self.flow.graph_inputs.of(op.index())
    }

    /// Parameters that the action reads (through views or not), each once.
    #[must_use]
    pub fn parameters(&self, op: OpId) -> &[TensorId] {
        self.flow.parameters.of(op.index())
    }

    /// Tensors that the action writes.
    #[must_use]
    pub fn outputs(&self, op: OpId) -> &[TensorId] {
        self.flow.outputs.of(op.index())
    }

    /// Actions that read a root tensor (through views or not), each once, in increasing order.
    #[must_use]
    pub fn consumers(&self, tensor: TensorId) -> &[OpId] {
        self.flow.consumers.of(tensor.index())
    }

    /// The action that writes a root tensor; `None` for graph inputs and parameters.
    #[must_use]
    pub fn producer(&self, tensor: TensorId) -> Option<OpId> {
        self.flow.producer[tensor.index()]
    }

    /// Bytes of one copy of a tensor.
    #[must_use]
    pub fn bytes(&self, tensor: TensorId) -> u64 {
        self.bytes[tensor.index()]
    }

    /// Bytes of one copy of a parameter with all that it drags along (gradient, states).
    #[must_use]
    pub fn persistent_bytes(&self, tensor: TensorId) -> u64 {
        self.persistent[tensor.index()]
    }

    /// Whether a root tensor lives to the end.
    #[must_use]
    pub fn is_output(&self, tensor: TensorId) -> bool {
        self.flow.is_output[tensor.index()]
    }

    /// The tensor whose memory a tensor names.
    #[must_use]
    pub fn root(&self, tensor: TensorId) -> TensorId {
        self.flow.roots[tensor.index()]
    }

    /// The colocation group of an action (graph's and user's groups merged).
    #[must_use]
    pub fn group_of(&self, op: OpId) -> Option<GroupId> {
        self.group_of[op.index()]
    }

    /// Devices where an action can be placed: its kind and those of all members of its group run
    /// there, and no pin or forbid stands against it.
    #[must_use]
    pub fn placeable(&self, op: OpId) -> &DeviceSet {
        &self.device_sets[self.placeable[op.index()] as usize]
    }

    /// Whether an action can be placed on a device; see [`Problem::placeable`].
    #[must_use]
    pub fn can_place(&self, op: OpId, device: DeviceId) -> bool {
        self.placeable(op).contains(device)
    }

    /// Memory limit of a device, `u64::MAX` where unlimited.
    #[must_use]
    pub fn memory_limit(&self, device: DeviceId) -> u64 {
        self.cluster.devices[device.index()].memory_limit().map_or(u64::MAX, Bytes::get)
    }

    /// Nanoseconds of a transfer; [`UNSUPPORTED`] without a way, 0 to the device itself.
    #[must_use]
    pub fn transfer_ns(&self, tensor: TensorId, from: DeviceId, to: DeviceId) -> u64 {
        if from == to {
            return 0;
        }
        self.cluster
            .transfer_time(Bytes(self.bytes(tensor)), from, to)
            .map_or(UNSUPPORTED, Nanos::get)
    }

    /// Ops by Kahn's algorithm, first in first out, sources and successors by op id
    /// (`docs/conventions.md`, T1). Views are not in it.
    #[must_use]
    pub fn topological_order(&self) -> Vec<OpId> {
        let mut missing = vec![0usize; self.n_ops()];
        for &op in &self.actions {
            missing[op.index()] = self.inputs(op).len();
        }
        let mut order: Vec<OpId> =
            self.actions.iter().copied().filter(|op| missing[op.index()] == 0).collect();
        let mut at = 0;
        let mut freed = Vec::new();
        while let Some(&op) = order.get(at) {
            at += 1;
            freed.clear();
            for &tensor in self.outputs(op) {
                for &consumer in self.consumers(tensor) {
                    missing[consumer.index()] -= 1;
                    if missing[consumer.index()] == 0 {
                        freed.push(consumer);
                    }
                }
            }
            freed.sort_unstable();
            order.extend_from_slice(&freed);
        }
        order
    }
}
