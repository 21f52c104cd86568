//! Graph, cluster, profile and workload become a problem.

use std::sync::Arc;

use ir::cluster::{Check, Cluster};
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::profile::{Profile, Provenance};
use ir::workload::Workload;

use crate::compute::Missing;
use crate::constants::constants;
use crate::costs::{Costs, temporary};
use crate::problem::{Constraints, Objective, Problem};

/// A problem, and what is worth knowing about its costs.
#[derive(Clone, Debug)]
pub struct Annotated {
    /// The problem.
    pub problem: Problem,
    /// `nominal-costs`, `recalled-figures`, `missing-figure`.
    pub warnings: Vec<Diagnostic>,
}

/// Gives every op its duration on every kind of device and every byte its place.
///
/// # Errors
/// `no-device` where an op or a group can run nowhere. It carries a fact `missing_figure` where
/// that is because a kind does not state what the cost model needs.
pub fn annotate(
    graph: Arc<Graph>,
    cluster: Arc<Cluster>,
    profile: &Profile,
    workload: Workload,
    objective: Objective,
    constraints: Constraints,
) -> Result<Annotated, Diagnostic> {
    let costs = Costs::new(&graph, &cluster, profile);
    let warnings: Vec<Diagnostic> = missing_figures(&graph, &cluster, &costs)
        .into_iter()
        .chain(nominal_costs(&cluster, profile, &costs))
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
        |op| temporary(&ops.op(op).work),
    )
    .map_err(|error| match warnings.iter().find(|w| w.code == "missing-figure") {
        Some(missing) => error.fact("missing_figure", missing.message.clone()),
        None => error,
    })?;
    Ok(Annotated { problem, warnings })
}

fn missing_figures(graph: &Graph, cluster: &Cluster, costs: &Costs) -> Vec<Diagnostic> {
    let describe = |((kind, missing), gap): (&(usize, Missing), &crate::costs::Gap)| {
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

/// One warning that names all kinds whose costs nobody measured.
fn nominal_costs(cluster: &Cluster, profile: &Profile, costs: &Costs) -> Option<Diagnostic> {
    let nominal: Vec<(String, String)> = cluster
        .kinds
        .iter()
        .filter_map(|kind| match constants(profile, &kind.name).provenance {
            Provenance::Nominal { source } => Some((kind.name.clone(), source)),
            Provenance::Measured { .. } => None,
        })
        .collect();
    if nominal.is_empty() || costs.n_kernels() == 0 {
        return None;
    }
    let (kinds, mut sources): (Vec<String>, Vec<String>) = nominal.into_iter().unzip();
    sources.sort();
    sources.dedup();
    Some(
        Diagnostic::warning(
            "nominal-costs",
            format!("no profile for {}; durations are nominal", quoted(&kinds)),
        )
        .fact("kinds", kinds)
        .fact("sources", sources),
    )
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
