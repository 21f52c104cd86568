//! The command line, and which flags of `plan` stand on it.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};

use engine::request::task::Task;

use crate::cli::{Cli, Command};
use crate::plan_flags::{PlanArgs, ProblemFlags};
use crate::task_flags;

/// Parses the command line, and notes which flags stand on it.
///
/// # Errors
/// Those of the parser.
pub(crate) fn parse(words: &[OsString]) -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches_from(words)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    let problem = cli.command.as_mut().and_then(problem);
    if let (Some(problem), Some((verb, of_verb))) = (problem, matches.subcommand()) {
        let of_task = of_verb.subcommand().filter(|_| verb == "submit").map(|(_, inner)| inner);
        problem.given = given(of_task.unwrap_or(of_verb));
    }
    Ok(cli)
}

/// The parser: each verb shows its own flags.
pub(crate) fn command() -> clap::Command {
    task_flags::shaped(Cli::command())
}

/// The flags of a problem, where a verb has them; the verb of a question states it.
fn problem(command: &mut Command) -> Option<&mut ProblemFlags> {
    let of_task = |args, task| -> Option<&mut ProblemFlags> {
        let args: &mut PlanArgs = args;
        args.task = Some(task);
        Some(&mut args.problem)
    };
    match command {
        Command::Train(args) => of_task(args, Task::Train),
        Command::Place(args) => of_task(args, Task::Place),
        Command::Infer(args) => of_task(args, Task::Infer),
        Command::Solve(args) => of_task(args, Task::Solve),
        Command::Plan(args) => Some(&mut args.problem),
        Command::Submit(args) => args.args().map(|submit| &mut submit.plan.problem),
        Command::Simulate(args) => Some(&mut args.replay.target.problem),
        Command::Verify(args) => Some(&mut args.replay.target.problem),
        Command::Explain(args) => Some(&mut args.replay.target.problem),
        Command::Export(args) => Some(&mut args.replay.target.problem),
        Command::Compare(args) => Some(&mut args.target.problem),
        _ => None,
    }
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
    use engine::inputs::run::pins;
    use engine::kinds::fleet::setting::HONOURS as FLEET;
    use engine::plan::honours;
    use engine::request::fields::{self, FIELDS, Honours};

    use super::*;

    /// The page of docs that says which flag goes with what.
    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/plan-flags.md");
    /// What only the command line knows; pages are drawn where there is no answer of its own.
    const OUTPUT: [(&str, bool); 5] =
        [("output", true), ("progress", true), ("html", false), ("force", true), ("json", true)];
    /// Columns with pages.
    const PAGES: [&Honours; 4] = [&fields::OPS, &fields::DEGREES, &fields::LAYERS, &FLEET];

    #[test]
    fn every_flag_of_plan_is_a_field() {
        let cli = command();
        let plan = cli.find_subcommand("plan").unwrap();
        for flag in plan.get_arguments().filter(|flag| flag.get_id() != "help") {
            let fields = FIELDS.iter().filter(|field| flag.get_id() == field.name);
            let fields: Vec<_> = fields.collect();
            match fields.as_slice() {
                [field] => {
                    let long = flag.get_long().map(|long| format!("--{long}"));
                    assert!(long.is_none_or(|long| long == field.flag()), "{}", field.name);
                }
                _ => {
                    assert!(
                        OUTPUT.iter().any(|(name, _)| flag.get_id() == name),
                        "{}",
                        flag.get_id()
                    )
                }
            }
        }
        for field in &FIELDS {
            let is_own = |flag: &clap::Arg| flag.get_id() == field.name;
            assert!(plan.get_arguments().any(is_own), "{} is no flag", field.name);
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
        page.push_str(&format!(
            "`--pin` takes `PATTERN=DEVICE` for ops and `FIELD=VALUE` for training runs, with the \
             fields {}. `--for` takes `accelerate`, a launcher of [targets.md](targets.md) (except `flagscale`) or \
             `any`, which also searches plans that no launcher can run. `--scale` takes \
             `NAME=FACTOR` and scales a cluster value: `memory` (capacity and margin of each device), `power` (the \
             power limit of each board, at least a fifth of the data sheet's; rates follow), `links` (all links) \
             or one link by name, such as `--scale ib_ndr_400=0.5`. `verify`, `simulate` and `export` need the \
             same `--scale`. On heterogeneous nodes, and with `--algorithm unlike-nodes`, a training run refuses \
             `--micro-batch`, `--pin`, `--devices`, `--for` and `--expert-skew`. `--allow-lossy` \
             takes the compression methods of an instance file; for a model it needs `--algorithm \
             gradient-buckets`, or, for a pipeline on heterogeneous nodes (`--algorithm unlike-nodes`), \
             `ada-top-k=SHARE` without `--power-cap` and without an energy objective.\n\n",
            pins::FIELDS.join(", ")
        ));
        let all = honours();
        let columns: Vec<&str> = all.iter().map(|honours| honours.column).collect();
        page.push_str(&format!("| flag | {} |\n", columns.join(" | ")));
        page.push_str(&format!("|{}\n", "---|".repeat(all.len() + 1)));
        let cell = |is_honoured: bool| if is_honoured { "yes" } else { "refused" };
        let mut line = |flag: &str, is_honoured: &dyn Fn(&Honours) -> bool| {
            let cells: Vec<&str> = all.iter().map(|honours| cell(is_honoured(honours))).collect();
            page.push_str(&format!("| `{flag}` | {} |\n", cells.join(" | ")));
        };
        for field in FIELDS.iter().filter(|field| field.name != "model") {
            line(&field.flag(), &|honours| honours.takes(field));
        }
        for (flag, of_all) in OUTPUT {
            let has_page =
                |honours: &Honours| PAGES.iter().any(|page| page.column == honours.column);
            line(&format!("--{flag}"), &|honours| of_all || has_page(honours));
        }
        if std::env::var_os("MESHWRIGHT_BLESS").is_some() {
            std::fs::write(PAGE, &page).unwrap();
        }
        assert_eq!(std::fs::read_to_string(PAGE).unwrap(), page);
    }
}
