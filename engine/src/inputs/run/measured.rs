//! What of a profile prices training runs.

use std::collections::BTreeSet;

use cost_model::calibrate::steps::stored;
use cost_model::runs::forms::constants::{Constant, Constants};
use cost_model::runs::forms::corrections::Corrections;
use cost_model::runs::forms::interval::Basis;
use cost_model::runs::forms::system::System;
use documents::digest;
use documents::plan::Reference;
use ir::card::ModelCard;
use ir::diagnostic::Diagnostic;
use ir::form::Form;
use ir::measured::CollectiveOperation;
use ir::plan::Parallelism;
use ir::profile::{ModelKind, Profile, Quality, StackConstants};
use ir::stack::{Dispatcher, Stack};
use ir::tensor::DType;

use super::setting::Setting;

/// What measured steps of a stack say of a kind of model.
fn of_stack<'p>(profile: &'p Profile, stack: &str, kind: ModelKind) -> Option<&'p StackConstants> {
    profile.stacks.get(stack).filter(|measured| measured.price(kind))
}

/// Constants of a stack for a model, and corrections of blocks, as measured steps left them.
///
/// # Errors
/// `unknown-constant` for a name that the step model does not have, `profile-value` for what no
/// stack can have.
pub fn constants(
    stack: &Stack,
    profile: &Profile,
    model: &ModelCard,
) -> Result<(Constants, Corrections), Diagnostic> {
    let measured = profile.stacks.get(&stack.name);
    for (name, value) in measured.iter().flat_map(|measured| &measured.constants) {
        let constant = Constant::of(name).ok_or_else(|| {
            let known = Constant::ALL.map(|constant| constant.name().to_owned()).to_vec();
            let message = format!("the profile states `{name}`, which no stack has");
            Diagnostic::input("unknown-constant", message)
                .fact("stack", stack.name.clone())
                .fact("known", known)
                .hint("write the profile anew with `meshwright calibrate --steps`")
        })?;
        let [least, most] = constant.range();
        if !(least..=most).contains(value) {
            let message = format!("`{name}` of the profile is {value:e}");
            return Err(Diagnostic::input("profile-value", message)
                .fact("stack", stack.name.clone())
                .fact("range", format!("{least:e} to {most:e}"))
                .hint("write the profile anew with `meshwright calibrate --steps`"));
        }
    }
    Ok(stored(stack, of_stack(profile, &stack.name, ModelKind::of(model))))
}

/// What the profile holds that no training run under this stack, on these devices, in this type uses.
pub fn unused(
    profile: &Profile,
    (stack, system, dtype): (&Stack, &System, DType),
) -> Option<Diagnostic> {
    let groups =
        [("streams", profile.streams.is_empty()), ("overlaps", profile.overlaps.is_empty())];
    let groups = groups.into_iter().filter(|(_, is_empty)| !is_empty);
    let mut parts: Vec<String> = groups.map(|(name, _)| name.to_owned()).collect();
    // Products are priced by constants that stand beside their form.
    let forms: BTreeSet<Form> = profile.forms.values().flat_map(|of| of.keys().copied()).collect();
    let forms = forms.into_iter().filter(|form| *form != Form::MatrixProduct);
    parts.extend(forms.map(|form| format!("form {}", form.name())));
    if system.products.measured(dtype).is_none() {
        let types = profile.by_dtype.get(&system.device.name).into_iter().flatten();
        parts.extend(
            types.map(|(other, _)| format!("products of {other} (it computes in {dtype})")),
        );
    }
    use CollectiveOperation::{AllToAll, Broadcast, PointToPoint};
    let operations: BTreeSet<_> =
        system.measured.keys().map(|(operation, ..)| *operation).collect();
    parts.extend(operations.into_iter().filter_map(|operation| match operation {
        PointToPoint => Some("point-to-point (state the rate of links in the cluster)".to_owned()),
        Broadcast => Some("broadcast".to_owned()),
        AllToAll if stack.experts.dispatcher == Dispatcher::Flex => {
            Some(format!("all-to-all (kernels of their own move tokens under `{}`)", stack.name))
        }
        _ => None,
    }));
    let others = profile.stacks.keys().filter(|name| **name != stack.name);
    parts.extend(others.map(|name| format!("stack `{name}`")));
    (!parts.is_empty()).then(|| {
        let message = "the profile holds more than this training run uses";
        Diagnostic::warning("profile-unused", message)
            .fact("unused", parts)
            .hint("name a stack of the profile with --stack")
    })
}

/// That layers which were measured under one name price a model of another one.
pub fn of_another(measured: &str, model: &str, device: &str) -> Option<Diagnostic> {
    let plain = |name: &str| -> String {
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase()
    };
    (!plain(measured).contains(&plain(model))).then(|| {
        let message = format!(
            "layers measured as `{measured}`, on a device that their folder does not name, price \
             `{model}` on {device}"
        );
        Diagnostic::warning("measured-of-another", message)
            .hint("give the folder that was measured of this model on this device")
    })
}

/// Median error of steps, as a share of the measured time, from which they are not of the stack that
/// they were calibrated as: twice the widest half of an interval of like runs.
const OFF: f64 = 0.2;

fn is_off(quality: &Quality) -> bool {
    quality.median_error > OFF
}

/// The device on which a profile's steps of a stack were taken, where it is another one.
fn elsewhere<'p>(profile: &'p Profile, part: &str, device: &str) -> Option<&'p str> {
    profile.notes.get(part).map(String::as_str).filter(|other| *other != device)
}

/// That the steps of a stack were taken of other models or on another device, or contradict its forms,
/// calibrated as they are.
pub fn doubted(
    profile: &Profile,
    (stack, system): (&Stack, &System),
    model: &ModelCard,
) -> Option<Diagnostic> {
    let (stack, device) = (stack.name.as_str(), system.device.name.as_str());
    let (part, kind) = (format!("steps {stack}"), ModelKind::of(model));
    if profile.stacks.get(stack).is_some_and(|measured| !measured.price(kind)) {
        let (measured, this) = match kind {
            ModelKind::Dense => ("mixtures of experts", "this dense model"),
            ModelKind::Experts => ("dense models", "this mixture of experts"),
        };
        let message = format!(
            "the profile's steps of `{stack}` are of {measured}: {this} is priced with nominal constants"
        );
        return Some(
            Diagnostic::warning("profile-other-models", message)
                .hint("add steps of such a model to the table of `meshwright calibrate --steps`"),
        );
    }
    if let Some(other) = elsewhere(profile, &part, device) {
        let message = format!(
            "the profile's steps of `{stack}` were taken on {other}, not on {device}: they narrow no \
             interval"
        );
        return Some(
            Diagnostic::warning("profile-elsewhere", message)
                .hint("calibrate on steps of this cluster"),
        );
    }
    let quality = profile.quality.get(&part).filter(|quality| is_off(quality))?;
    let message = format!(
        "the profile's steps are off by {:.0} % from what `{stack}` takes for them: they narrow no \
         interval",
        100.0 * quality.median_error
    );
    Some(
        Diagnostic::warning("profile-off", message)
            .hint("check their units, the cluster, and whether another --stack is what ran"),
    )
}

/// Whether whole steps were measured under a stack, and not its launches alone.
fn has_steps(measured: &StackConstants) -> bool {
    measured.constants.keys().any(|name| name != Constant::LaunchFloor.name())
}

/// What the step time rests on. Steps of another device, that determined no constant, or that the forms
/// contradict, tell nothing of a plan.
pub fn basis(
    profile: &Profile,
    (stack, device): (&str, &str),
    (kind, hidden): (ModelKind, u64),
    degrees: &Parallelism,
) -> Basis {
    let Some(measured) = of_stack(profile, stack, kind) else { return Basis::Nominal };
    let part = format!("steps {stack}");
    if elsewhere(profile, &part, device).is_some() {
        return Basis::Nominal;
    }
    let quality = profile.quality.get(&part);
    let tells = |quality: &Quality| {
        quality.unidentified.len() < measured.constants.len() && !is_off(quality)
    };
    if !has_steps(measured) || !quality.is_none_or(tells) {
        return Basis::Nominal;
    }
    let holds = measured.corrections.iter().any(|cell| {
        cell.hidden == hidden
            && cell.tensor == u64::from(degrees.tensor)
            && cell.micro_batch == degrees.micro_batch
    });
    if holds { Basis::Corrected } else { Basis::Fitted }
}

/// `nominal costs`, or what of them was measured.
pub fn words(
    profile: &Profile,
    (system, dtype): (&System, DType),
    (stack, kind): (&str, ModelKind),
) -> String {
    let of_stack = of_stack(profile, stack, kind);
    let launches = of_stack.filter(|measured| !has_steps(measured)).map(|_| ("launches", true));
    let parts = launches.into_iter().chain([
        ("stack", of_stack.is_some_and(has_steps)),
        ("products", system.products.measured(dtype).is_some()),
        ("collectives", !system.measured.is_empty()),
        ("links", !profile.links.is_empty()),
    ]);
    let parts: Vec<(&str, bool)> = parts.collect();
    let named = |wanted: bool| -> Vec<&str> {
        parts.iter().filter(|(_, is)| *is == wanted).map(|(name, _)| *name).collect()
    };
    match (named(true), named(false)) {
        (measured, _) if measured.is_empty() => "nominal costs".to_owned(),
        (measured, nominal) if nominal.is_empty() => format!("{} measured", measured.join(", ")),
        (measured, nominal) => {
            format!("{} measured; {} nominal", measured.join(", "), nominal.join(", "))
        }
    }
}

impl Setting {
    /// Model, cluster and profile, by which plans say what they were made for.
    #[must_use]
    pub fn references(&self) -> [Reference; 3] {
        let (model, cluster) = (&self.model, &self.cluster);
        [
            Reference::new(&model.name, digest::card(model)),
            Reference::new(&cluster.name, digest::cluster(cluster)),
            self.measured_by(),
        ]
    }

    /// Name and digest of what its costs were measured by.
    pub fn measured_by(&self) -> Reference {
        match &self.layers {
            Some(layers) => Reference { name: layers.name.clone(), digest: digest::layers(layers) },
            None => Reference {
                name: self.profile.name.clone(),
                digest: digest::profile(&self.profile),
            },
        }
    }
}
