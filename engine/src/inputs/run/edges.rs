//! What stages of a training run may leave out of what they send each other.

use cost_model::kernels::selection;
use documents::plan::{EdgeDocument, LossyDocument, PlanDocument};
use ir::diagnostic::Diagnostic;
use ir::plan::{Plan, StageMesh};
use ir::units::Bytes;

use super::setting::Setting;
use crate::answer::differences::difference;
use crate::answer::page::{Column, Page};

/// How: of FusionLLM (Tang et al. 2024).
const NAME: &str = documents::plan::EDGES_BY;

/// The least share of the elements of a message that `--allow-lossy` allows.
///
/// # Errors
/// `bad-lossy`.
pub fn asked(words: &[String]) -> Result<Option<f64>, Diagnostic> {
    let bad = |why: String| {
        Diagnostic::usage("bad-lossy", why).hint(format!(
            "use --allow-lossy {NAME}=0.01: of what goes between stages at least 1 element in 100 is sent"
        ))
    };
    let word = match words {
        [] => return Ok(None),
        [word] => word,
        [_, other, ..] => return Err(bad(format!("`{other}` is a second way, and there is one"))),
    };
    let (name, share) = match word.split_once('=') {
        Some((name, share)) => (name, Some(share)),
        None => (word.as_str(), None),
    };
    if name != NAME && name != ALL {
        return Err(bad(format!("`{name}` is no way to send less between stages")));
    }
    let Some(share) = share.filter(|_| name == NAME) else {
        return Err(bad(format!("`{word}` does not state the least share that is sent")));
    };
    let density = share.parse().map_err(|_| bad(format!("the share `{share}` is no number")))?;
    check(density).map_err(bad)?;
    Ok(Some(density))
}

fn check(density: f64) -> Result<(), String> {
    match density > 0.0 && most_ratio(density) > 1 {
        true => Ok(()),
        false => Err(format!("`{density}` of the elements is not in (0, 0.5]: one in 2 or fewer")),
    }
}

/// The least share that a plan states as allowed.
///
/// # Errors
/// `bad-plan`.
pub(crate) fn allowed(stated: &[LossyDocument]) -> Result<Option<f64>, Diagnostic> {
    let bad =
        |why: String| Diagnostic::input("bad-plan", why).fact("member", "communication.lossy");
    match stated {
        [] => Ok(None),
        [lossy] if lossy.by == NAME => {
            check(lossy.density).map_err(bad)?;
            Ok(Some(lossy.density))
        }
        [first, ..] => Err(bad(format!("`{}` is not the one way, `{NAME}`", first.by))),
    }
}

/// Most elements over those that are sent.
pub fn most_ratio(density: f64) -> u32 {
    // Ratios that are whole but for rounding are whole.
    (1.0 / density * (1.0 + 1e-12)) as u32
}

fn meshes(plan: &Plan) -> impl Iterator<Item = (&StageMesh, u32)> {
    let stages = plan.partition.stages.iter();
    stages.filter_map(|stage| Some((stage.mesh.as_ref()?, stage.blocks.end)))
}

/// Whether a plan compresses an edge.
pub fn are_lossy(plan: &Plan) -> bool {
    meshes(plan).any(|(mesh, _)| mesh.edge_ratio > 1)
}

/// A plan some of whose edges send all that goes there: those that leave out more than is allowed.
pub fn kept(plan: &Plan, setting: &Setting) -> Plan {
    let mut plan = plan.clone();
    let most = setting.edge_density.map_or(1, most_ratio);
    let meshes = plan.partition.stages.iter_mut().filter_map(|stage| stage.mesh.as_mut());
    for mesh in meshes.filter(|mesh| mesh.edge_ratio > most) {
        mesh.edge_ratio = 1;
    }
    plan
}

/// The compressed edges of a plan.
pub(crate) fn documents(setting: &Setting, plan: &Plan) -> Vec<EdgeDocument> {
    // The ways between thousands of hosts take seconds to look at.
    if !are_lossy(plan) {
        return Vec::new();
    }
    let groups = setting.groups(false);
    let fleet = setting.fleet(&groups);
    let meshes: Vec<_> = meshes(plan).collect();
    let of = |(at, pair): (usize, &[(&StageMesh, u32)])| {
        let [(from, block), (to, _)] = pair else { return None };
        let [bytes, sent_bytes] = fleet.edge_bytes(from, to, *block)?;
        let from_stage = u32::try_from(at).ok()?;
        (from.edge_ratio > 1).then(|| EdgeDocument {
            from: from_stage,
            to: from_stage + 1,
            by: NAME.to_owned(),
            ratio: from.edge_ratio,
            bytes,
            sent_bytes,
        })
    };
    meshes.windows(2).enumerate().filter_map(of).collect()
}

/// What was allowed, as a document.
pub(crate) fn lossy(setting: &Setting) -> Vec<LossyDocument> {
    let of = |density| LossyDocument { by: NAME.to_owned(), density };
    setting.edge_density.map(of).into_iter().collect()
}

/// Edges that leave out more than was allowed.
pub(crate) fn broken(setting: &Setting, plan: &Plan) -> Option<Diagnostic> {
    let most = setting.edge_density.map_or(1, most_ratio);
    let (mesh, _) = meshes(plan).find(|(mesh, _)| mesh.edge_ratio > most)?;
    let ratio = mesh.edge_ratio.to_string();
    Some(difference("communication.edges.ratio", &ratio, &format!("{most} at most is allowed")))
}

/// Warnings of a plan whose edges are compressed, or could be.
pub fn warnings(setting: &Setting, plan: &Plan) -> Vec<Diagnostic> {
    if setting.edge_density.is_none() {
        return Vec::new();
    }
    if !are_lossy(plan) {
        let message = "no edge is compressed: the step would be no shorter";
        let hint = "leave --allow-lossy out, or allow a smaller share";
        return vec![Diagnostic::warning("lossy-not-used", message).hint(hint)];
    }
    let n = meshes(plan).filter(|(mesh, _)| mesh.edge_ratio > 1).count();
    let message = format!(
        "{n} of {} edges between stages are compressed: the result changes, and convergence is not \
         predicted",
        plan.partition.stages.len() - 1
    );
    let chosen_on = meshes(plan).flat_map(|(mesh, _)| &mesh.devices);
    let is_measured =
        |device| selection::is_measured(setting.cluster.kind_of(device), &setting.profile);
    let is_nominal = chosen_on.copied().any(|device| !is_measured(device));
    let nominal = is_nominal.then(selection_is_nominal);
    let lossy =
        Diagnostic::warning("lossy", message).hint("leave --allow-lossy out for exact activations");
    std::iter::once(lossy).chain(nominal).collect()
}

/// That nobody measured what choosing elements takes.
pub fn selection_is_nominal() -> Diagnostic {
    let message = "what choosing the largest elements takes is nominal: that of one P102-100, by the memory \
                   bandwidth of the device";
    Diagnostic::warning("nominal-selection", message).hint(
        "measure it: rows of the family `top-k` for `calibrate`, whose profile --profile then names",
    )
}

/// Prints the compressed edges of a plan.
pub fn print(document: &PlanDocument, page: &Page) {
    let edges = &document.communication.edges;
    if edges.is_empty() {
        return;
    }
    let row = |edge: &EdgeDocument| {
        vec![
            format!("{} to {}", edge.from, edge.to),
            edge.by.clone(),
            format!("1 in {}", edge.ratio),
            Bytes(edge.bytes).to_string(),
            Bytes(edge.sent_bytes).to_string(),
        ]
    };
    let columns = Column::row("stages | by | #sent | #of a micro-batch | #with indices");
    page.table(&columns, edges.iter().map(row).collect());
}

/// Selects every lossy compression method of known cost.
pub const ALL: &str = "all";
