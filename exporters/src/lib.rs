//! Files that launchers and viewers read: one module per format, one table of all targets.

pub mod accelerate;
pub mod convergence;
pub mod dot;
mod format;
pub mod given_costs;
mod modules;
pub mod runs;
pub mod serving;
pub mod shardings;
pub mod svg;
mod table;
mod target;
pub mod trace;
pub mod training;

#[cfg(test)]
mod tests;

pub use format::{Export, Placed, Source};
use ir::diagnostic::Diagnostic;
use ir::instance::Instance;
use ir::plan_kind::PlanKind;
use ir::units::Nanos;
pub use table::{Found, find, row, targets};
pub use target::{Takes, Target, Told, Writer};

/// Writes the file of a plan and lists what the format cannot express; training runs: [`runs::export`].
///
/// # Errors
/// Those of [`find`]; `cannot-express` where the target cannot express the plan.
pub fn export<P: Told>(target: &str, plan: &P) -> Result<Export, Diagnostic> {
    let found = find(P::KIND, target)?;
    let written = plan.written(found.writer, found.name);
    written.unwrap_or_else(|| Err(table::refused(P::KIND, target)))
}

/// Writes the device (or stage) of each node in the format of a target; `loads` are loads of the devices.
///
/// # Errors
/// Those of [`find`]; `cannot-express` where the format cannot express the instance.
pub fn solution(
    target: &str,
    instance: &Instance,
    devices: Option<&[u32]>,
    loads: &[Nanos],
) -> Result<Vec<u8>, Diagnostic> {
    let written = match (find(PlanKind::Given, target)?.writer, devices) {
        (Writer::Solution(write), Some(devices)) => write(instance, devices, loads),
        _ => None,
    };
    written.ok_or_else(|| {
        let message = format!("`{target}` has no words for a solution of this instance");
        Diagnostic::usage("cannot-express", message).hint(match instance {
            Instance::Load(_) => "use --target split",
            Instance::Profile(_) => "use --target pipedream",
            Instance::Gradients(_) => {
                "use --target torch-ddp, torch-hook, megatron-buckets or deepspeed-buckets"
            }
            Instance::Tasks(_) => "`plan -o FILE` writes a queue for each device",
            Instance::Averaging(_) => "`plan -o FILE` writes rounds, or what clients send",
            Instance::Stages(_) => "`plan -o FILE` writes its stages, degrees and configurations",
        })
    })
}
