//! Durations of all ops on all kinds of a cluster, each distinct kernel computed once.

use std::collections::{BTreeMap, HashMap};

use ir::cluster::Cluster;
use ir::graph::Graph;
use ir::id::OpId;
use ir::op::{Kernel, Product, Work};
use ir::profile::Profile;
use ir::tensor::DType;
use ir::units::{Bytes, Nanos};

use crate::compute::{self, Missing};
use crate::constants::constants;

/// What decides the duration of a kernel.
type Signature<'a> = (&'a [Product], u64, Option<DType>);

fn signature(kernel: &Kernel) -> Signature<'_> {
    (&kernel.products, (kernel.bytes_read + kernel.bytes_written).get(), kernel.dtype)
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
    time: Vec<Option<Nanos>>,
    /// By kind (its position in the cluster) and missing figure.
    gaps: BTreeMap<(usize, Missing), Gap>,
    n_kernels: usize,
}

impl Costs {
    /// Computes all durations. Views have none.
    #[must_use]
    pub fn new(graph: &Graph, cluster: &Cluster, profile: &Profile) -> Self {
        let n_ops = graph.ops.len();
        let mut costs = Self {
            n_ops,
            time: vec![None; n_ops * cluster.kinds.len()],
            gaps: BTreeMap::new(),
            n_kernels: graph.ops.iter().filter(|op| matches!(op.work, Work::Kernel(_))).count(),
        };
        for (position, kind) in cluster.kinds.iter().enumerate() {
            let constants = constants(profile, &kind.name);
            let mut known: HashMap<Signature<'_>, Result<Nanos, Missing>> = HashMap::new();
            for (index, op) in graph.ops.iter().enumerate() {
                let time = match &op.work {
                    Work::View => None,
                    Work::Given(given) => given.time.get(&kind.name).copied(),
                    Work::Kernel(kernel) => {
                        let result = *known
                            .entry(signature(kernel))
                            .or_insert_with(|| compute::duration(kernel, kind, &constants));
                        result
                            .inspect_err(|missing| {
                                let first = OpId::new(index);
                                let gap = costs
                                    .gaps
                                    .entry((position, *missing))
                                    .or_insert(Gap { n_ops: 0, first });
                                gap.n_ops += 1;
                            })
                            .ok()
                    }
                };
                costs.time[position * n_ops + index] = time;
            }
        }
        costs
    }

    /// Duration of an op on a kind (its position in the cluster); `None` where it can't run, for
    /// views and for ids of another graph.
    #[must_use]
    pub fn op(&self, op: OpId, kind: usize) -> Option<Nanos> {
        self.time.get(kind * self.n_ops + op.index()).copied().flatten()
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
