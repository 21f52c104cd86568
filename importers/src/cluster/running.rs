//! What kinds of devices draw and cost.

use documents::cluster::{ClusterDocument, RunningDocument};
use ir::cluster::{DeviceKind, Running};
use ir::diagnostic::Diagnostic;
use ir::nearest;

use super::ranges::checked;
use super::values::watts;

/// The least share of its data sheet's power that a board is limited to: below it none runs.
const LEAST_LIMIT: f64 = 0.2;

/// Gives the kinds of a cluster what its file says that they draw and cost.
///
/// # Errors
/// `unknown-kind` for one that no device is of, `duplicate-kind`, `kind-power` and `kind-price` for what
/// is out of range, `power-order` for what can't be the case together.
pub(super) fn apply(
    document: &ClusterDocument,
    kinds: &mut [DeviceKind],
) -> Result<(), Diagnostic> {
    for (at, entry) in document.running.iter().enumerate() {
        if document.running.iter().take(at).any(|other| other.kind == entry.kind) {
            let message = format!("`running` names the kind `{}` twice", entry.kind);
            return Err(Diagnostic::input("duplicate-kind", message).hint("leave one of them out"));
        }
        let names: Vec<String> = kinds.iter().map(|kind| kind.name.clone()).collect();
        let Some(kind) = kinds.iter_mut().find(|kind| kind.name == entry.kind) else {
            let message =
                format!("`running` names `{}`, and no device is of that kind", entry.kind);
            let error = Diagnostic::input("unknown-kind", message);
            return Err(nearest::hint(error, &entry.kind, names.iter().map(String::as_str)));
        };
        given(entry, kind)?;
    }
    Ok(())
}

fn given(entry: &RunningDocument, kind: &mut DeviceKind) -> Result<(), Diagnostic> {
    let name = entry.kind.as_str();
    let stated = |key, value: Option<f64>| value.map(|value| checked(key, name, value)).transpose();
    kind.running = Running {
        idle: stated("idle_w", entry.idle_w)?,
        products: stated("products_w", entry.products_w)?,
        memory: stated("memory_w", entry.memory_w)?,
        transfers: stated("transfers_w", entry.transfers_w)?,
        price_per_hour: stated("price_per_hour", entry.price_per_hour)?,
    };
    if let Some(limit) = entry.power_w {
        limited(limit, kind)?;
    }
    let Running { idle, products, memory, transfers, .. } = kind.running;
    // What a board draws at work was stated for its data sheet's limit, a lower one cuts it off.
    let full = kind.full_power.or(kind.power).map(ir::units::Watts::get);
    let limit = ("the power limit", full);
    let [idle, memory, transfers] =
        [("idle_w", idle), ("memory_w", memory), ("transfers_w", transfers)];
    let products = ("products_w", products);
    for (less, more) in [
        (products, limit),
        (memory, limit),
        (transfers, limit),
        (idle, limit),
        (memory, products),
        (idle, memory),
        (idle, transfers),
        (idle, products),
    ] {
        if let (Some(this), Some(other)) = (less.1, more.1)
            && this > other
        {
            let message =
                format!("`{}` of `{name}` is {this} W, more than {} of {other} W", less.0, more.0);
            return Err(Diagnostic::input("power-order", message).hint("correct one of them"));
        }
    }
    Ok(())
}

/// Sets what a board is limited to.
fn limited(limit: f64, kind: &mut DeviceKind) -> Result<(), Diagnostic> {
    let limit = watts(limit, "power_w", &kind.name)?;
    if let Some(full) = kind.power {
        let share = limit.get() / full.get();
        if !(LEAST_LIMIT..=1.0).contains(&share) {
            let message = format!(
                "`{}` is limited to {} W, and its data sheet says {} W",
                kind.name,
                limit.get(),
                full.get()
            );
            let [least, most] = [full.get() * LEAST_LIMIT, full.get()];
            return Err(Diagnostic::input("kind-power", message)
                .hint(format!("state a limit from {least} to {most} W")));
        }
        kind.full_power = (share < 1.0).then_some(full);
    }
    kind.power = Some(limit);
    Ok(())
}
