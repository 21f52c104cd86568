//! Flags of `plan` by kind of plan: each one is honoured, or refused by its name.

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use ir::diagnostic::Diagnostic;

use crate::cli::{Cli, Command, PlanArgs};

/// What is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Where each op of a model runs.
    Ops,
    /// The degrees of a training run.
    Degrees,
    /// A training run on measured layers.
    Layers,
    /// An instance with given costs.
    Instance,
}

use Mode::{Degrees, Instance, Layers, Ops};

impl Mode {
    /// All.
    const ALL: [Self; 4] = [Ops, Degrees, Layers, Instance];

    /// In words, and the code of what it refuses.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Ops => ("a placement of ops", "not-for-placements"),
            Degrees => ("a training run", "not-for-training"),
            Layers => ("a training run on measured layers", "not-for-training"),
            Instance => ("an instance with given costs", "not-for-instances"),
        }
    }
}

/// A flag.
struct Row {
    /// Its name in the parser.
    id: &'static str,
    /// What honours it.
    by: &'static [Mode],
    /// What to do where it is not honoured.
    hint: &'static str,
}

const fn row(id: &'static str, by: &'static [Mode], hint: &'static str) -> Row {
    Row { id, by, hint }
}

const EVERY: &[Mode] = &Mode::ALL;
const MODELS: &[Mode] = &[Ops, Degrees, Layers];
const TRAINING: &[Mode] = &[Degrees, Layers];
const GIVEN: &str = "leave it out: the file states its costs, devices and work";
const DEGREES_ONLY: &str = "leave it out, or pin degrees, such as --pin tensor=8";
const LAYERS_STATE: &str = "leave it out: the layers were measured with their own";
const FOR_TRAINING: &str = "leave it out, or plan a training run of a model with --cluster";

/// All flags of `plan`.
const FLAGS: [Row; 39] = [
    row("model", EVERY, ""),
    row("cluster", MODELS, GIVEN),
    row("profile", MODELS, GIVEN),
    row("dims", MODELS, GIVEN),
    row("batch", MODELS, GIVEN),
    row("micro_batch", MODELS, GIVEN),
    row("batch_axis", MODELS, GIVEN),
    row("dtype", &[Ops, Degrees], LAYERS_STATE),
    row("workload", MODELS, GIVEN),
    row("optimizer", &[Ops, Degrees], LAYERS_STATE),
    row("pin", MODELS, GIVEN),
    row("forbid", &[Ops], DEGREES_ONLY),
    row("colocate", &[Ops], DEGREES_ONLY),
    row("constraints", &[Ops], DEGREES_ONLY),
    row("accelerators", &[Instance], "a model's devices come from --cluster"),
    row("global_batch", TRAINING, FOR_TRAINING),
    row("sequence_length", TRAINING, FOR_TRAINING),
    row("tokens_per_step", TRAINING, FOR_TRAINING),
    row("devices", TRAINING, FOR_TRAINING),
    row("max_memory_per_device", TRAINING, FOR_TRAINING),
    row("memory_margin", TRAINING, FOR_TRAINING),
    row("stack", &[Degrees], LAYERS_STATE),
    row("no_offload", TRAINING, FOR_TRAINING),
    row("algorithm", EVERY, ""),
    row("objective", EVERY, ""),
    row("executor", MODELS, GIVEN),
    row("time_limit", EVERY, ""),
    row("gap", EVERY, ""),
    row("node_budget", EVERY, ""),
    row("seed", EVERY, ""),
    row("threads", EVERY, ""),
    row("deterministic", EVERY, ""),
    row("output", EVERY, ""),
    row("progress", EVERY, ""),
    row("plot", EVERY, ""),
    row("export", MODELS, GIVEN),
    row("force", EVERY, ""),
    row("all", EVERY, ""),
    row("json", EVERY, ""),
];

/// Refuses what was given on the command line and is not honoured by a mode. What only the
/// environment states holds where it can.
///
/// # Errors
/// `not-for-placements`, `not-for-training`, `not-for-instances`.
pub(crate) fn check(args: &PlanArgs, mode: Mode) -> Result<(), Diagnostic> {
    let refused = |row: &&Row| !row.by.contains(&mode) && args.given.contains(&row.id.to_owned());
    let Some(row) = FLAGS.iter().find(refused) else { return Ok(()) };
    let (what, code) = mode.names();
    let message = format!("`{}` has no effect on {what}", flag(row.id));
    Err(Diagnostic::usage(code, message).hint(row.hint))
}

/// The first flag on the command line that only training runs honour.
pub(crate) fn asks_for_training(args: &PlanArgs) -> Option<String> {
    let is_training = |row: &&Row| !row.by.contains(&Ops) && row.by.contains(&Degrees);
    let mut rows = FLAGS.iter().filter(is_training);
    rows.find(|row| args.given.contains(&row.id.to_owned())).map(|row| flag(row.id))
}

/// `--batch-axis`.
fn flag(id: &str) -> String {
    let cli = Cli::command();
    let plan = cli.find_subcommand("plan");
    let own = plan.and_then(|plan| plan.get_arguments().find(|argument| argument.get_id() == id));
    own.and_then(clap::Arg::get_long).map_or_else(|| id.to_owned(), |long| format!("--{long}"))
}

/// Parses the command line, and notes which flags of `plan` stand on it.
///
/// # Errors
/// Those of the parser.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    let matches = Cli::command().try_get_matches()?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    if let (Some(Command::Plan(args)), Some(own)) =
        (&mut cli.command, matches.subcommand_matches("plan"))
    {
        args.given = given(own);
    }
    Ok(cli)
}

fn given(matches: &ArgMatches) -> Vec<String> {
    let ids = matches.ids().map(clap::Id::as_str);
    ids.filter(|id| matches.value_source(id) == Some(ValueSource::CommandLine))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {

    use super::*;
    use engine::executor::Executor;

    /// The page of docs that says which flag goes with what.
    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/plan-flags.md");

    #[test]
    fn every_flag_of_plan_has_a_row() {
        let cli = Cli::command();
        let plan = cli.find_subcommand("plan").unwrap();
        let ids: Vec<&str> = plan.get_arguments().map(|own| own.get_id().as_str()).collect();
        for id in &ids {
            let rows = FLAGS.iter().filter(|row| row.id == *id).count();
            assert!(rows == 1 || *id == "help", "{id} has {rows} rows");
        }
        for row in &FLAGS {
            assert!(ids.contains(&row.id) || row.id == "json", "{} is no flag", row.id);
            assert!(row.by.len() == 4 || !row.hint.is_empty(), "{} has no hint", row.id);
        }
    }

    #[test]
    fn the_page_of_flags_is_this_table() {
        let mut page = String::from(
            "# Flags of `plan` by kind of plan\n\n`yes`: it is honoured; a value that means \
             nothing there is refused by name. `refused`: the run ends with exit code 2 and names \
             the flag. A value that only the environment states (`MESHWRIGHT_SEED` and the like) \
             holds where it can.\n\n",
        );
        let pins = crate::commands::training::PINS.join(", ");
        let executors = Executor::ALL.iter().map(|executor| executor.target());
        let executors = executors.collect::<Vec<_>>().join(", ");
        page.push_str(&format!(
            "`--pin` takes `PATTERN=DEVICE` for ops and `FIELD=VALUE` for training runs, with the \
             fields {pins}. `--for` takes {executors}; `any` searches what no launcher may be able \
             to run as well.\n\n",
        ));
        page.push_str(
            "| flag | ops of a model | \
             training run | on measured layers | given costs |\n|---|---|---|---|---|\n",
        );
        for row in FLAGS.iter().filter(|row| row.id != "model") {
            let cells = Mode::ALL.map(|mode| match row.by.contains(&mode) {
                true => "yes",
                false => "refused",
            });
            page.push_str(&format!("| `{}` | {} |\n", flag(row.id), cells.join(" | ")));
        }
        if std::env::var_os("MESHWRIGHT_BLESS").is_some() {
            std::fs::write(PAGE, &page).unwrap();
        }
        assert_eq!(std::fs::read_to_string(PAGE).unwrap(), page);
    }
}
