//! Graph, cluster, profile and workload become a problem.

use std::collections::BTreeSet;
use std::sync::Arc;

use ir::cluster::{Check, Cluster, MAX_PLACES};
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::OpId;
use ir::op::{Op, Work};
use ir::profile::{Profile, Provenance};
use ir::units::{Bytes, Nanos};
use ir::workload::{Mode, Workload};

use crate::kernels::origin::Origin;
use crate::kernels::plain_product::Missing;
use crate::kernels::price::kind::KindCosts;
use crate::kernels::price::{Costs, temporary};
use crate::kernels::rates::RESIDENT;
use crate::ops::origins::Origins;
use crate::ops::problem::{Constraints, Objective, Problem, UNSUPPORTED};
use crate::ops::workload::fusion::pass::priced;

/// A problem, and what is worth knowing about its costs.
#[derive(Clone, Debug)]
pub struct Annotated {
    /// The problem.
    pub problem: Problem,
    /// `nominal-costs`, `sibling-costs`, `recalled-figures`, `missing-figure`.
    pub warnings: Vec<Diagnostic>,
}

/// Gives every op its duration on every kind of device and every byte its place.
///
/// # Errors
/// `too-many-devices` past [`MAX_PLACES`]; `out-of-range` where all of it, one after the other on the
/// slowest devices and links, would take longer than the clock counts; `no-device` where an op or a
/// group can run nowhere. It carries a fact `missing_figure` where
/// that is because a kind does not state what the cost model needs.
pub fn annotate(
    graph: Arc<Graph>,
    cluster: Arc<Cluster>,
    profile: &Profile,
    workload: Workload,
    objective: Objective,
    constraints: Constraints,
) -> Result<Annotated, Diagnostic> {
    let annotated = costed(graph, cluster, profile, workload, objective, constraints)?;
    check_clock(&annotated.problem)?;
    Ok(annotated)
}

impl Problem {
    /// The same problem on its cluster with other memory of devices and other rates of ways: as
    /// [`annotate`] makes it there, because no duration of an op, no warning and no place where an op
    /// can run hangs on these.
    ///
    /// # Errors
    /// `out-of-range`.
    pub fn at_other_rates(&self, cluster: Arc<Cluster>) -> Result<Self, Diagnostic> {
        let problem = self.with_cluster(cluster);
        check_clock(&problem)?;
        Ok(problem)
    }
}

/// As [`annotate`], for a problem that is yet to go to the rates at which it is looked at
/// ([`Problem::at_other_rates`]): its times may be longer than the clock counts.
///
/// # Errors
/// As [`annotate`], without `out-of-range`.
pub fn costed(
    graph: Arc<Graph>,
    cluster: Arc<Cluster>,
    profile: &Profile,
    workload: Workload,
    objective: Objective,
    constraints: Constraints,
) -> Result<Annotated, Diagnostic> {
    if cluster.n_devices() > MAX_PLACES {
        let n = cluster.n_devices();
        let message = format!("operators are placed on at most {MAX_PLACES} devices, not on {n}");
        return Err(Diagnostic::input("too-many-devices", message)
            .hint("plan a training run with --global-batch, or describe fewer hosts"));
    }
    let mode = workload.mode;
    let costs = {
        let fused = priced(&graph, mode);
        Costs::new([&graph, &fused], &cluster, profile, mode)
    };
    let origins = origins(&costs, &cluster, profile);
    let warnings: Vec<Diagnostic> = missing_figures(&graph, &cluster, &costs)
        .into_iter()
        .chain(nominal_costs((&graph, mode), (&cluster, profile), &costs, &origins))
        .chain(sibling_costs(&cluster, &costs))
        .chain(recalled_figures(&cluster, &costs))
        .collect();
    let ops = Arc::clone(&graph);
    let problem = Problem::new(
        graph,
        cluster,
        workload,
        objective,
        constraints,
        |op, kind| costs.op(op, kind),
        |op| scratch(ops.op(op), mode),
    )
    .map_err(|error| match warnings.iter().find(|w| w.code == "missing-figure") {
        Some(missing) => error.fact("missing_figure", missing.message.clone()),
        None => error,
    })?;
    let problem = problem.with_origins(origins);
    Ok(Annotated { problem, warnings })
}

/// Bytes beside its tensors that a device holds while an op runs: its scratch, and in training what
/// the allocator of a stack keeps.
fn scratch(op: &Op, mode: Mode) -> Bytes {
    let of_stack = match (mode, &op.work) {
        (Mode::Training, Work::Kernel(_)) => Bytes(RESIDENT as u64),
        _ => Bytes::ZERO,
    };
    temporary(&op.work) + of_stack
}

/// The clock counts nanoseconds in 64 bits; half of that, 292 years, leaves room for sums.
const LONGEST_NS: u128 = 1 << 63;

/// Refuses durations that no sum could hold: from here on nothing overflows, and no time that is
/// only too long to count is taken for one that no plan has.
fn check_clock(problem: &Problem) -> Result<(), Diagnostic> {
    let cluster = &problem.cluster;
    let mut total = 0u128;
    let mut longest: (u64, String) = (0, String::new());
    for &op in &problem.actions {
        let times = (0..cluster.kinds.len()).map(|kind| (problem.time_on_kind_ns(op, kind), kind));
        let Some((time, kind)) = times.filter(|(time, _)| *time != UNSUPPORTED).max() else {
            continue;
        };
        total += u128::from(time);
        if time > longest.0 {
            let (op, kind) = (&problem.graph.op(op).name, &cluster.kinds[kind].name);
            longest = (time, format!("op `{op}` on `{kind}`"));
        }
    }
    let moved = problem.actions.iter().flat_map(|op| problem.outputs(*op));
    let to_others = cluster.n_devices().saturating_sub(1) as u128;
    for tensor in moved {
        let bytes = Bytes(problem.bytes(*tensor));
        let times = cluster.links.kinds.iter().map(|kind| (kind.time(bytes).get(), &kind.name));
        let Some((time, kind)) = times.max() else { continue };
        total += u128::from(time) * to_others;
        if time > longest.0 {
            let tensor = &problem.graph.tensor(*tensor).name;
            longest = (time, format!("`{tensor}` over the link `{kind}`"));
        }
    }
    if total < LONGEST_NS {
        return Ok(());
    }
    let (time, what) = longest;
    let message = format!("{what} takes longer than the clock counts, or all of it together does");
    Err(Diagnostic::input("out-of-range", message)
        .fact("seconds", Nanos(time).seconds())
        .fact("most_seconds", (LONGEST_NS / 1_000_000_000) as f64)
        .hint("correct the rates of the cluster or of the profile, or the times of the model"))
}

fn missing_figures(graph: &Graph, cluster: &Cluster, costs: &Costs) -> Vec<Diagnostic> {
    let describe = |((kind, missing), gap): (&(usize, Missing), &crate::kernels::price::Gap)| {
        let kind = &cluster.kinds[*kind].name;
        let what = match missing {
            Missing::Peak(dtype) => format!("no rate for {} products", dtype.name()),
            Missing::MemoryBandwidth => "no memory bandwidth".to_owned(),
        };
        Diagnostic::warning(
            "missing-figure",
            format!("the kind `{kind}` states {what}, so {} ops can't run on it", gap.n_ops),
        )
        .fact("kind", kind.clone())
        .fact("ops", gap.n_ops)
        .fact("first_op", graph.op(gap.first).name.clone())
    };
    costs.gaps().iter().map(describe).collect()
}

fn origins(costs: &Costs, cluster: &Cluster, profile: &Profile) -> Origins {
    let n_ops = costs.n_ops();
    let kinds = 0..cluster.kinds.len();
    let ops = kinds.flat_map(|kind| {
        let origin = move |op| costs.origin(OpId::new(op), kind).unwrap_or(Origin::Given);
        (0..n_ops).map(origin)
    });
    let measured = profile
        .links
        .iter()
        .filter(|(_, link)| matches!(link.provenance, Provenance::Measured { .. }));
    Origins {
        ops: ops.collect(),
        measured_links: measured.map(|(name, _)| name.clone()).collect(),
        knows_links: true,
    }
}

/// One warning that names all kinds and links whose costs nobody measured.
fn nominal_costs(
    workload: (&Graph, Mode),
    (cluster, profile): (&Cluster, &Profile),
    costs: &Costs,
    origins: &Origins,
) -> Option<Diagnostic> {
    let (mut kinds, mut sources) = (Vec::new(), Vec::new());
    for (position, kind) in cluster.kinds.iter().enumerate() {
        if costs.n_of(position, Origin::Nominal) > 0 {
            kinds.push(kind.name.clone());
            sources.push(KindCosts::of_workload(cluster, kind, profile, workload).source());
        }
    }
    let links = cluster.links.kinds.iter().filter(|way| origins.route(way) == Origin::Nominal);
    let links: BTreeSet<String> = links.map(|way| way.name.clone()).collect();
    let links: Vec<String> = links.into_iter().collect();
    sources.sort();
    sources.dedup();
    let message = match (kinds.is_empty(), links.is_empty()) {
        (true, true) => return None,
        _ if costs.n_kernels() == 0 => return None,
        (false, true) => format!("no profile for {}; durations are nominal", quoted(&kinds)),
        (false, false) => format!(
            "no profile for {} and {}; their times are nominal",
            quoted(&kinds),
            quoted(&links)
        ),
        (true, false) => {
            format!("no profile has the links {}; transfers over them are nominal", quoted(&links))
        }
    };
    let mut warning = Diagnostic::warning("nominal-costs", message);
    for (name, list) in [("kinds", kinds), ("links", links), ("sources", sources)] {
        if !list.is_empty() {
            warning = warning.fact(name, list);
        }
    }
    Some(warning)
}

/// One warning that names all kinds that borrow what was measured on another.
fn sibling_costs(cluster: &Cluster, costs: &Costs) -> Option<Diagnostic> {
    let transferred = cluster.kinds.iter().enumerate();
    let transferred =
        transferred.filter(|(position, _)| costs.n_of(*position, Origin::Sibling) > 0);
    let kinds: Vec<String> = transferred.map(|(_, kind)| kind.name.clone()).collect();
    (!kinds.is_empty()).then(|| {
        let message =
            format!("no profile for {}; a measured sibling lends its own", quoted(&kinds));
        Diagnostic::warning("sibling-costs", message).fact("kinds", kinds)
    })
}

/// One warning that names all kinds and links whose figures were not read in their source.
fn recalled_figures(cluster: &Cluster, costs: &Costs) -> Option<Diagnostic> {
    let mut names: Vec<String> = Vec::new();
    if costs.n_kernels() > 0 {
        let recalled = cluster.kinds.iter().filter(|kind| kind.check == Check::Recalled);
        names.extend(recalled.map(|kind| kind.name.clone()));
    }
    for route in &cluster.links.kinds {
        if route.check == Check::Recalled && !names.contains(&route.name) {
            names.push(route.name.clone());
        }
    }
    (!names.is_empty()).then(|| {
        Diagnostic::warning(
            "recalled-figures",
            format!(
                "some catalogue figures of {} were not checked in their source",
                quoted(&names)
            ),
        )
        .fact("names", names)
        .hint("state figures of your own under `kinds` and `link_kinds` of the cluster file")
    })
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
