//! Flags that say nothing about an instance are refused by name: its costs, devices and memory are
//! all given. Every flag stands here, so that a new one has to be thought of.

use std::path::PathBuf;

use ir::diagnostic::Diagnostic;

use crate::cli::{ModelFlags, ProblemFlags, ReplayFlags};

/// A flag, and whether it was given.
pub(crate) type Given = (&'static str, bool);

/// Refuses flags of other verbs that no instance can honour.
///
/// # Errors
/// `not-for-instances`, with all of them.
pub(super) fn check_replay(flags: &ReplayFlags, others: &[Given]) -> Result<(), Diagnostic> {
    let ReplayFlags { problem, allow_mismatch, all: _ } = flags;
    let mut flags = of_problem(problem);
    flags.push(("--allow-mismatch", *allow_mismatch));
    flags.extend(others);
    refuse(&flags)
}

/// Flags of a problem, and whether each stands on the command line.
pub(crate) fn of_problem(problem: &ProblemFlags) -> Vec<Given> {
    let ProblemFlags {
        model,
        cluster,
        profile,
        workload,
        optimizer,
        pin,
        forbid,
        colocate,
        constraints,
    } = problem;
    let ModelFlags { dims, batch, micro_batch, batch_axis, dtype } = model;
    // What the environment says is meant for models and not for this file.
    let is_given = |flag: &Option<PathBuf>, variable: &str| {
        flag.as_ref().is_some_and(|path| std::env::var_os(variable).is_none_or(|v| *path != *v))
    };
    vec![
        ("--dim", !dims.is_empty()),
        ("--batch", batch.is_some()),
        ("--micro-batch", micro_batch.is_some()),
        ("--batch-axis", !batch_axis.is_empty()),
        ("--dtype", dtype.is_some()),
        ("--cluster", is_given(cluster, "MESHWRIGHT_CLUSTER")),
        ("--profile", is_given(profile, "MESHWRIGHT_PROFILE")),
        ("--workload", workload.is_some()),
        ("--optimizer", optimizer.is_some()),
        ("--pin", !pin.is_empty()),
        ("--forbid", !forbid.is_empty()),
        ("--colocate", !colocate.is_empty()),
        ("--constraints", constraints.is_some()),
    ]
}

fn refuse(flags: &[Given]) -> Result<(), Diagnostic> {
    let given: Vec<&str> =
        flags.iter().filter(|(_, given)| *given).map(|(flag, _)| *flag).collect();
    if given.is_empty() {
        return Ok(());
    }
    let given = given.join(", ");
    let message = format!("an instance of another planner has no use for {given}");
    Err(Diagnostic::usage("not-for-instances", message)
        .fact("reason", "its costs, devices and memory are all given, and no executor runs it")
        .hint(format!("leave out {given}")))
}
