//! Durations of all ops on all kinds of a cluster, each distinct kernel computed once.

use std::collections::{BTreeMap, HashMap};

use ir::cluster::Cluster;
use ir::graph::Graph;
use ir::id::OpId;
use ir::op::{Fused, Kernel, Op, Phase, Product, Work};
use ir::profile::Profile;
use ir::tensor::DType;
use ir::units::{Bytes, Nanos};
use ir::workload::Mode;

use crate::kernels::origin::Origin;
use crate::kernels::plain_product::Missing;

pub mod evaluate;
pub mod kind;
mod measured;
pub mod step;
pub mod task;

use evaluate::{Breakdown, of_form};
use kind::KindCosts;
use task::Form;

/// What decides the duration of a kernel.
type Signature<'a> = (Form, &'a [Product], Bytes, Bytes, Option<DType>, bool, Phase, Fused);

fn signature<'a>(op: &'a Op, kernel: &'a Kernel) -> Signature<'a> {
    let form = Form::of(op, kernel);
    // The products of a gradient mean something else to a fused kernel.
    let is_fused_gradient = matches!(form, Form::Attention(_)) && op.op_type.ends_with("Grad");
    (
        form,
        &kernel.products,
        kernel.bytes_read,
        kernel.bytes_written,
        kernel.dtype,
        is_fused_gradient,
        op.phase,
        kernel.fused,
    )
}

/// Ops that a kind can't run because it does not state a figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// How many.
    pub n_ops: usize,
    /// The first of them.
    pub first: OpId,
}

/// Durations by op and kind.
#[derive(Clone, Debug, Default)]
pub struct Costs {
    n_ops: usize,
    /// `kind * n_ops + op`.
    time: Vec<Option<(Nanos, Origin)>>,
    /// By kind (its position in the cluster) and missing figure.
    gaps: BTreeMap<(usize, Missing), Gap>,
    n_kernels: usize,
}

impl Costs {
    /// Computes all durations. Views have none. `fused` is the graph with the kernels that a stack runs its ops
    /// in; kinds with kernels measured one by one run its ops alone.
    #[must_use]
    pub fn new(
        [graph, fused]: [&Graph; 2],
        cluster: &Cluster,
        profile: &Profile,
        mode: Mode,
    ) -> Self {
        let n_ops = graph.ops.len();
        let mut costs = Self {
            n_ops,
            time: vec![None; n_ops * cluster.kinds.len()],
            gaps: BTreeMap::new(),
            n_kernels: graph.ops.iter().filter(|op| matches!(op.work, Work::Kernel(_))).count(),
        };
        for (position, kind) in cluster.kinds.iter().enumerate() {
            let of_kind = KindCosts::of_workload(cluster, kind, profile, (fused, mode));
            let priced = if of_kind.step().is_some() { fused } else { graph };
            let mut known: HashMap<Signature<'_>, Result<Breakdown, Missing>> = HashMap::new();
            for (index, op) in priced.ops.iter().enumerate() {
                let time = match &op.work {
                    // What a fused kernel reads in another order takes no time by itself.
                    Work::View if graph.ops[index].work != Work::View => {
                        Some((Nanos(0), Origin::Given))
                    }
                    Work::View => None,
                    Work::Given(given) => {
                        given.time.get(&kind.name).map(|time| (*time, Origin::Given))
                    }
                    Work::Kernel(kernel) if kernel.measured.contains_key(&kind.name) => {
                        kernel.measured.get(&kind.name).map(|time| (*time, Origin::Measured))
                    }
                    Work::Kernel(kernel) => {
                        let signature = signature(op, kernel);
                        let result = known
                            .entry(signature)
                            .or_insert_with(|| of_form(signature.0, op, kernel, &of_kind));
                        let waiting = |found: &Breakdown| {
                            let found = found.clone().waiting(&of_kind, OpId::new(index));
                            (found.total(), found.origin)
                        };
                        result
                            .as_ref()
                            .map(waiting)
                            .map_err(|missing| *missing)
                            .inspect_err(|missing| costs.gap(position, *missing, index))
                            .ok()
                    }
                };
                costs.time[position * n_ops + index] = time;
            }
        }
        costs
    }

    fn gap(&mut self, position: usize, missing: Missing, op_idx: usize) {
        let first = OpId::new(op_idx);
        let gap = self.gaps.entry((position, missing)).or_insert(Gap { n_ops: 0, first });
        gap.n_ops += 1;
    }

    /// Duration of an op on a kind (its position in the cluster); `None` where it can't run, for
    /// views and for ids of another graph.
    #[must_use]
    pub fn op(&self, op: OpId, kind: usize) -> Option<Nanos> {
        self.entry(op, kind).map(|(time, _)| time)
    }

    /// Where that duration comes from.
    #[must_use]
    pub fn origin(&self, op: OpId, kind: usize) -> Option<Origin> {
        self.entry(op, kind).map(|(_, origin)| origin)
    }

    fn entry(&self, op: OpId, kind: usize) -> Option<(Nanos, Origin)> {
        self.time.get(kind * self.n_ops + op.index()).copied().flatten()
    }

    /// Number of ops, views included.
    #[must_use]
    pub fn n_ops(&self) -> usize {
        self.n_ops
    }

    /// How many ops have a duration of an origin on a kind (its position in the cluster).
    #[must_use]
    pub fn n_of(&self, kind: usize, origin: Origin) -> usize {
        let of_kind = self.time.iter().skip(kind * self.n_ops).take(self.n_ops);
        of_kind.flatten().filter(|(_, found)| *found == origin).count()
    }

    /// What kinds don't state, by position of the kind.
    #[must_use]
    pub fn gaps(&self) -> &BTreeMap<(usize, Missing), Gap> {
        &self.gaps
    }

    /// Ops whose duration was computed, not given.
    #[must_use]
    pub fn n_kernels(&self) -> usize {
        self.n_kernels
    }
}

/// Scratch bytes that an op holds while it runs.
#[must_use]
pub fn temporary(work: &Work) -> Bytes {
    match work {
        Work::View => Bytes::ZERO,
        Work::Kernel(kernel) => kernel.temporary,
        Work::Given(given) => given.temporary,
    }
}
