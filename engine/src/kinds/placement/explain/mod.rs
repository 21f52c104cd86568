//! Where the step time of a plan of ops goes, and why an op, a transfer or a device is as it is.

mod device;
mod formula;
mod op;
mod step;
mod transfer;

use std::sync::Arc;

use ir::diagnostic::Diagnostic;
use serde_json::Value;

use super::Placement;
use super::replay::{self, Replayed};
use crate::answer::suggest;
use crate::kinds::kind::{Asked, Legal};
use crate::request::subject::Subject;

/// Explains a part of a plan.
///
/// # Errors
/// `unknown-op`, `unknown-tensor`, `unknown-device` and the like where the plan has none of that
/// name.
pub fn explain(on: Legal<'_, Placement>, query: &Asked<'_>) -> Result<Value, Diagnostic> {
    let Asked { subject, rows, page, .. } = *query;
    let (replayed, cost) = (&replay::on(Arc::clone(on.setting))?, on.plan.cost.as_ref());
    match subject {
        Subject::Op(name) => op::explain(replayed, name, rows, page),
        Subject::Transfer(name) => transfer::explain(replayed, name, rows, page),
        Subject::Device(name) => device::explain(replayed, name, rows, page),
        Subject::Step { longest } => Ok(step::explain(replayed, (cost, *longest), rows, page)),
        Subject::BreakEven(_) | Subject::WhyNot(_) => {
            Ok(step::explain(replayed, (cost, None), rows, page))
        }
    }
}

/// The position of a name in a list, or what is nearest to it.
fn position_of<'a>(
    code: &'static str,
    what: &str,
    name: &str,
    names: impl Iterator<Item = &'a str> + Clone,
) -> Result<usize, Diagnostic> {
    names.clone().position(|other| other == name).ok_or_else(|| {
        Diagnostic::usage(code, format!("the {what} `{name}` does not exist"))
            .hint(suggest::hint(name, names))
    })
}

fn device_name(replayed: &Replayed, device: ir::id::DeviceId) -> &str {
    &replayed.on.loaded.problem.cluster.devices[device.index()].name
}
