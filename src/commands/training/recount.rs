//! What a plan of a training run holds of its model, counted again.

use cost_model::transformer::model::counts::{self, n_parameters};
use cost_model::transformer::model::priced::Place;
use documents::plan::training::HeldDocument;
use ir::card::ModelCard;
use ir::diagnostic::{Blame, Diagnostic};
use ir::plan::{Plan, Stage};

use super::replay::OnModel;

/// What each stage of a plan holds of the model.
pub(super) fn held(model: &ModelCard, plan: &Plan) -> Vec<HeldDocument> {
    let last = plan.partition.stages.len().saturating_sub(1);
    let of = |(index, stage): (usize, &Stage)| {
        let place = Place { first: index == 0, last: index == last };
        let held = counts::held(model, &stage.blocks, place);
        HeldDocument {
            n_parameters: held.n_parameters,
            n_experts: held.n_experts,
            embedding: place.first,
            head: place.last,
            n_tied_copies: held.n_tied_copies,
        }
    };
    plan.partition.stages.iter().enumerate().map(of).collect()
}

/// Blocks, parameters, experts and tied weights, counted before and after: what the document says
/// that each stage holds, what the stages hold by the model, and what the model has.
pub(super) fn broken(on: &OnModel<'_>) -> Vec<Diagnostic> {
    let model = &on.setting.model;
    let n_held: u64 = on
        .plan
        .partition
        .stages
        .iter()
        .map(|stage| u64::from(stage.blocks.end.saturating_sub(stage.blocks.start)))
        .sum();
    let degrees = &on.plan.parallelism;
    let n_devices: u64 = [degrees.data, degrees.tensor, degrees.pipeline, degrees.context]
        .iter()
        .fold(1, |product, degree| product.saturating_mul(u64::from(*degree)));
    let splits = model
        .groups
        .iter()
        .filter_map(|group| group.card.experts)
        .all(|experts| experts.n_experts.is_multiple_of(u64::from(degrees.expert)));
    let sum = |of: fn(&HeldDocument) -> u64| {
        on.training.held.iter().fold(0_u64, |sum, stage| sum.saturating_add(of(stage)))
    };
    let n_experts = model.groups.iter().fold(0_u64, |sum, group| {
        let own = group.card.experts.map_or(0, |experts| experts.n_experts);
        sum.saturating_add(own.saturating_mul(u64::from(group.n_blocks)))
    });
    let of_graph = on.setting.graph.as_ref().map_or(n_parameters(model), |own| own.n_parameters);
    let checks = [
        ("blocks", n_held, u64::from(model.n_blocks())),
        ("blocks of the document", u64::from(on.training.n_blocks), u64::from(model.n_blocks())),
        ("parameters", on.training.n_parameters, n_parameters(model)),
        ("parameters of the graph", n_parameters(model), of_graph),
        ("experts left over", u64::from(!splits), 0),
        ("parameters in its stages", sum(|stage| stage.n_parameters), n_parameters(model)),
        ("experts in its stages", sum(|stage| stage.n_experts), n_experts),
    ];
    let mut broken: Vec<Diagnostic> = checks
        .into_iter()
        .filter(|(_, plan, model)| plan != model)
        .map(|(what, plan, model)| {
            let message = format!("the plan has {plan} {what}, the model {model}");
            Diagnostic::error(Blame::IllegalPlan, "count-wrong", message)
                .fact("plan", plan)
                .fact("model", model)
        })
        .collect();
    let expected = held(model, &on.plan);
    let stages = on.training.held.len().max(expected.len());
    broken.extend((0..stages).filter_map(|stage| {
        let (plan, model) = (on.training.held.get(stage), expected.get(stage));
        (plan != model).then(|| {
            let message = format!("stage {stage} does not hold what it states");
            Diagnostic::error(Blame::IllegalPlan, "count-wrong", message)
                .fact("states", plan.map_or_else(|| "nothing".to_owned(), told))
                .fact("holds", model.map_or_else(|| "nothing".to_owned(), told))
        })
    }));
    let has = on.setting.cluster.devices.len() as u64;
    if n_devices > has {
        let message = format!("the plan uses {n_devices} devices, the cluster has {has}");
        broken.push(Diagnostic::error(Blame::IllegalPlan, "count-wrong", message));
    }
    broken
}

/// What a stage holds, in one line.
fn told(held: &HeldDocument) -> String {
    let end = |is_there, name: &str| if is_there { format!(", {name}") } else { String::new() };
    let (embedding, head) = (end(held.embedding, "embedding"), end(held.head, "head"));
    format!(
        "{} parameters, {} experts, {} copied from a tied weight{embedding}{head}",
        held.n_parameters, held.n_experts, held.n_tied_copies
    )
}
