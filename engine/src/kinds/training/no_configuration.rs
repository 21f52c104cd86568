//! Where pins and sizes leave no configuration at all: which pin it is, what limits it, and the
//! nearest values that work.

use std::collections::BTreeSet;

use cost_model::runs::forms::model::expert_overlap::obstacle;
use ir::diagnostic::{Blame, Diagnostic};
use ir::plan::Parallelism;
use planner::training::per_layer;
use planner::training::search_3d::space::{Pins, Space, leaves, shapes};

use super::nothing_fits::{first_pins, loosened};
use crate::inputs::run::setting::Setting;

/// Pins that are counts, with what of a configuration they fix.
type Count = (&'static str, fn(&Pins) -> Option<u64>, fn(&Parallelism) -> u64);

const COUNTS: [Count; 8] = [
    ("data", |pins| pins.data.map(u64::from), |degrees| u64::from(degrees.data)),
    ("tensor", |pins| pins.tensor.map(u64::from), |degrees| u64::from(degrees.tensor)),
    ("pipeline", |pins| pins.pipeline.map(u64::from), |degrees| u64::from(degrees.pipeline)),
    ("context", |pins| pins.context.map(u64::from), |degrees| u64::from(degrees.context)),
    ("expert", |pins| pins.expert.map(u64::from), |degrees| u64::from(degrees.expert)),
    (
        "expert-tensor",
        |pins| pins.expert_tensor.map(u64::from),
        |degrees| u64::from(degrees.of_expert()),
    ),
    ("micro-batch", |pins| pins.micro_batch, |degrees| degrees.micro_batch),
    (
        "virtual-stages",
        |pins| pins.virtual_stages.map(u64::from),
        |degrees| u64::from(degrees.virtual_stages),
    ),
];

/// The answer, with the exit code of what has no plan.
pub(super) fn answer(setting: &Setting, space: &Space, is_over: &dyn Fn() -> bool) -> Diagnostic {
    let pins = &space.pins;
    let mut named: Vec<(String, String)> = Vec::new();
    for (name, free) in loosened(pins) {
        let open = Space { pins: free, ..space.clone() };
        let row = COUNTS.iter().find(|row| row.0 == name);
        let values = works(setting, &open, is_over, row.map(|row| row.2));
        let pin = row.and_then(|row| (row.1)(pins));
        let hint = match (pin, values) {
            (_, values) if values.is_empty() => continue,
            (Some(pin), values) => format!("{} works", nearest(name, pin, &values)),
            (None, _) => format!("without --pin {name} there are configurations"),
        };
        let flag = pin.map_or_else(|| name.to_owned(), |pin| format!("{name}={pin}"));
        named.push((flag, hint));
    }
    let for_target = pins.capabilities.filter(|_| {
        let open = Space { pins: Pins { capabilities: None, ..pins.clone() }, ..space.clone() };
        !works(setting, &open, is_over, None).is_empty()
    });
    let diagnostic = |message: String| {
        Diagnostic::error(Blame::Infeasible, "no-configuration", message)
            .fact("devices", space.devices.iter().map(u32::to_string).collect::<Vec<_>>())
            .fact("global_batch", setting.global_batch)
    };
    // The first one that nothing is left with, given those before it, is the one whose rule is broken.
    let is_left =
        |pins: Pins| !works(setting, &Space { pins, ..space.clone() }, is_over, None).is_empty();
    let broken = first_pins(pins).into_iter().find(|(_, pins)| !is_left(pins.clone()));
    let blamed = |(flag, _): &(String, String)| {
        broken.as_ref().is_some_and(|(name, _)| flag.split('=').next() == Some(*name))
    };
    named.sort_by_key(|entry| !blamed(entry));
    let Some((first, _)) = named.first() else {
        let pinned: Vec<&str> = loosened(pins).into_iter().map(|(name, _)| name).collect();
        let message = match (for_target, pinned.is_empty()) {
            (Some(capabilities), _) => {
                format!("{} can run no configuration of these sizes", capabilities.target)
            }
            (None, true) => "the sizes leave no configuration at all".to_owned(),
            (None, false) => {
                format!("the pins together leave no configuration: {}", pinned.join(", "))
            }
        };
        return diagnostic(message).hint(
            "degrees must divide the devices, and replicas and micro-batch the global batch",
        );
    };
    let name = first.split('=').next().unwrap_or_default();
    let limit = limit(setting, space, name);
    let message = format!("`--pin {first}` leaves no configuration: {limit}");
    let error = Diagnostic { blame: blame(setting, space, name), ..diagnostic(message) };
    let error = error.fact("limit", limit);
    named.into_iter().fold(error, |error, (flag, hint)| error.hint(format!("for {flag}: {hint}")))
}

/// Some launchers run expert ranks across tensor ranks and have no words for it: nothing is proved of them.
fn blame(setting: &Setting, space: &Space, name: &str) -> Blame {
    let experts = setting.model.groups.iter().find_map(|group| group.card.experts);
    let is_open = space.pins.capabilities.is_some_and(|capabilities| !capabilities.expert_tensor);
    let pin = space.pins.expert.filter(|_| name == "expert" && is_open);
    let is_run = pin.zip(experts).is_some_and(|(ranks, experts)| {
        experts.n_experts.is_multiple_of(u64::from(ranks))
            && space.devices.iter().any(|n_devices| n_devices.is_multiple_of(ranks))
    });
    if is_run { Blame::Usage } else { Blame::Infeasible }
}

/// Values of a field over all configurations of a space; of no field, whether there is one.
fn works(
    setting: &Setting,
    space: &Space,
    is_over: &dyn Fn() -> bool,
    field: Option<fn(&Parallelism) -> u64>,
) -> BTreeSet<u64> {
    let value = |degrees: &Parallelism| field.map_or(0, |field| field(degrees));
    if let Some(pricing) = setting.layer_pricing() {
        return per_layer::shapes::shapes(&pricing, space).iter().map(value).collect();
    }
    let mut values = BTreeSet::new();
    for shape in shapes(&setting.pricing(), space) {
        let is_known = field.is_none() && !values.is_empty();
        if is_known || is_over() {
            break;
        }
        let (configurations, _) = leaves(&shape, space, &setting.pricing());
        values.extend(configurations.iter().map(|configuration| value(&configuration.degrees)));
    }
    values
}

/// The nearest values on both sides, as flags.
fn nearest(name: &str, pin: u64, values: &BTreeSet<u64>) -> String {
    let below = values.range(..pin).next_back();
    let above = values.range(pin..).next();
    let flags: Vec<String> =
        below.into_iter().chain(above).map(|value| format!("--pin {name}={value}")).collect();
    flags.join(" or ")
}

/// What an expert tensor degree must be.
fn of_expert_tensor(has_experts: bool, space: &Space) -> String {
    match (has_experts, space.pins.capabilities) {
        (false, _) => "the model has no experts".to_owned(),
        (true, Some(of)) if !of.expert_tensor => {
            format!("{} has one tensor degree for all layers", of.target)
        }
        (true, _) => "it divides the tensor degree, tensor ranks split sequences, and expert ranks divide data x \
                      context x (tensor / expert tensor)"
            .to_owned(),
    }
}

/// What limits a field.
fn limit(setting: &Setting, space: &Space, name: &str) -> String {
    let devices: Vec<String> = space.devices.iter().map(u32::to_string).collect();
    let devices = devices.join(" or ");
    let n_blocks = setting.model.n_blocks();
    let batch = setting.global_batch;
    let card = setting.model.groups.first().map(|group| &group.card);
    let experts = setting.model.groups.iter().find_map(|group| group.card.experts);
    match (name, card) {
        ("data", _) => {
            format!("replicas divide the {devices} devices and the global batch of {batch}")
        }
        ("tensor", Some(card)) => format!(
            "tensor ranks divide the {devices} devices and the {} attention heads, and divide the \
             {} heads of keys and values or are a multiple of them",
            card.n_heads, card.n_kv_heads
        ),
        ("pipeline", _) => format!(
            "pipeline ranks divide the {devices} devices, and each holds at least one of the \
             {n_blocks} blocks"
        ),
        ("context", Some(card)) => format!(
            "context ranks divide the {devices} devices, and twice as many divide the sequence of {}",
            card.sequence
        ),
        ("expert", _) => match experts {
            Some(experts) => format!(
                "expert ranks divide data x context x (tensor / expert tensor), which hold them, and the \
                 {} experts",
                experts.n_experts
            ),
            None => "the model has no experts".to_owned(),
        },
        ("expert-tensor", _) => of_expert_tensor(experts.is_some(), space),
        ("expert-overlap", _) => {
            let shared = Parallelism { expert: 2, n_micro_batches: 2, ..Parallelism::default() };
            let obstacle = obstacle(
                &setting.stack,
                (setting.numbers.dtype, setting.model.n_predictions),
                &shared,
            );
            let ours = "it takes expert parallelism, several micro-batches, no recomputed blocks, \
                        and no pipeline or one with virtual stages";
            obstacle.unwrap_or(ours).to_owned()
        }
        ("micro-batch", _) => {
            format!("a micro-batch divides the samples of a replica, {batch} over data")
        }
        ("virtual-stages", _) => format!(
            "each chunk of each pipeline rank holds at least one of the {n_blocks} blocks, and the \
             schedule says how many chunks it takes"
        ),
        ("zero", _) => {
            "ZeRO shards states over data x context ranks, of which it takes several".to_owned()
        }
        _ => "no other size or pin goes with it".to_owned(),
    }
}
