//! What shows that a run was of another model, of other sizes or in another mode.

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::op::{Op, Phase, Work};

use super::Share;

/// One in so many pairs may have other extents: what exporters lay out anew.
const RESHAPED: usize = 4;

/// A warning of operators that the model has none like.
pub(super) fn others(share: &Share, of_time: f64) -> Option<Diagnostic> {
    let names: Vec<String> = share.names.iter().take(5).cloned().collect();
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let more = if share.names.len() > names.len() { ", ..." } else { "" };
    let of_ops = share.n_others as f64 / share.n_ran.max(1) as f64;
    let what = format!(
        "{} of the run's {} ops ({:.1} % of its time) are operators that the model has none like in \
         their place: {}{more}; their time has no place",
        share.n_others,
        share.n_ran,
        of_time * 100.0,
        quoted.join(", ")
    );
    (share.n_others > 0).then(|| {
        Diagnostic::warning("other-operators", what)
            .fact("names", names)
            .fact("share_of_time", of_time)
            .fact("share_of_ops", of_ops)
            .hint("give the model that ran")
    })
}

/// A warning of results that are as large and of other extents.
pub(super) fn other_extents(
    share: &Share,
    (traced, graph): (&Graph, &Graph),
) -> Option<Diagnostic> {
    let (ran, planned) = share.reshaped.first().copied()?;
    let extents = |graph: &Graph, at: usize| {
        let op = &graph.ops[at];
        let shape = op.outputs.first().map(|output| graph.tensor(*output).shape.clone());
        let extents: Vec<String> = shape.iter().flatten().map(u64::to_string).collect();
        (extents.join(" x "), op.name.clone())
    };
    let ((ran, _), (planned, name)) = (extents(traced, ran), extents(graph, planned));
    let what = format!(
        "{} of {} results have other extents in the run, such as {ran} where \
         `{name}` has {planned}: its batch or lengths are others",
        share.reshaped.len(),
        share.told
    );
    (share.reshaped.len() * RESHAPED > share.told).then(|| {
        Diagnostic::warning("other-extents", what)
            .fact("results", share.reshaped.len())
            .fact("compared", share.told)
            .hint("give the same model at the batch and lengths of the traced run")
    })
}

/// A warning of a run that dropped elements where the graph drops none.
pub(super) fn mode((traced, graph): (&Graph, &Graph), trains: bool) -> Option<Diagnostic> {
    let drops = |op: &&Op| {
        op.op_type == "Dropout" && op.phase == Phase::Forward && matches!(op.work, Work::Kernel(_))
    };
    let n = traced.ops.iter().filter(drops).count();
    let is_other = n > 0 && !trains && graph.ops.iter().find(drops).is_none();
    let what = format!(
        "the run drew {n} masks of dropout and the graph draws none: it ran in training mode, and \
         their time is on the ops beside them"
    );
    is_other.then(|| {
        Diagnostic::warning("training-mode", what)
            .fact("dropouts", n)
            .hint("record the run after `model.eval()`, or export the model in training mode")
    })
}
