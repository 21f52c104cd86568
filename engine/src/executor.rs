//! Executors by name.

use cost_model::kernels::stack::{preset, presets};
use exporters::training::{Lack, TrainingTarget, targets};
use ir::diagnostic::Diagnostic;
use ir::stack::Stack;
use ir::workload::Workload;

/// What runs plans, by the name of its format in the tables of exporters: a plan can be kept to its
/// limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executor(&'static str);

/// Launchers of training runs, with the software stacks that they launch.
fn launchers() -> impl Iterator<Item = (Executor, &'static [&'static str])> {
    targets().iter().filter_map(|row| Some((Executor(row.name), row.launches?)))
}

impl Executor {
    /// None in particular: nothing is left out.
    pub const ANY: Self = Self("any");

    /// All, in the order of listings.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let placements = exporters::targets().iter().filter(|row| row.is_executor);
        let launchers = launchers().map(|(own, _)| own);
        placements.map(|row| Self(row.name)).chain(launchers).chain([Self::ANY]).collect()
    }

    /// The executor of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|executor| executor.target() == name)
    }

    /// What launches a stack.
    #[must_use]
    pub fn of_stack(stack: &str) -> Option<Self> {
        launchers().find(|(_, stacks)| stacks.contains(&stack)).map(|(own, _)| own)
    }

    /// What launches parts of a graph.
    #[must_use]
    pub fn of_parts() -> Option<Self> {
        let runs =
            |row: &&TrainingTarget| row.launches.is_some() && !row.lacks.contains(&Lack::Parts);
        targets().iter().find(runs).map(|row| Self(row.name))
    }

    /// The stack that its training runs are priced as, where it has one.
    #[must_use]
    pub fn stack(self) -> Option<&'static str> {
        launchers().find(|(own, _)| *own == self)?.1.first().copied()
    }

    /// The name of its format in the tables of exporters.
    #[must_use]
    pub fn target(self) -> &'static str {
        self.0
    }
}

/// The software stack of a name.
///
/// # Errors
/// `unknown-stack`.
pub fn named_stack(name: &str) -> Result<Stack, Diagnostic> {
    preset(name).ok_or_else(|| {
        let known = presets().into_iter().map(|stack| stack.name).collect::<Vec<_>>();
        Diagnostic::usage("unknown-stack", format!("`{name}` is no software stack"))
            .fact("known", known)
            .hint("name one of these with --stack")
    })
}

/// Refuses micro-batches for an executor that has none: by a device map, each batch goes through the
/// model whole, one device after the other, and what a pipeline would cost is not what runs.
///
/// # Errors
/// `whole-batches`.
pub fn check_batches(target: &str, workload: &Workload) -> Result<(), Diagnostic> {
    let n_micro_batches = workload.n_micro_batches();
    let is_whole = |row: &exporters::Target| row.name == target && row.is_executor;
    if !exporters::targets().iter().any(is_whole) || n_micro_batches <= 1 {
        return Ok(());
    }
    let message = format!("{target} runs each batch whole and has no micro-batches");
    Err(Diagnostic::usage("whole-batches", message)
        .fact("target", target)
        .fact("micro_batches", n_micro_batches)
        .hint("leave out --micro-batch, or plan without --for and --export accelerate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stack_has_a_launcher() {
        for stack in presets() {
            assert!(Executor::of_stack(&stack.name).is_some(), "{}", stack.name);
        }
        for stack in launchers().flat_map(|(_, stacks)| stacks) {
            assert!(preset(stack).is_some(), "{stack}");
        }
    }
}
