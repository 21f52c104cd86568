//! Flags of `submit`.

use std::time::Duration;

use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};
use engine::request::task::Task;
use engine::request::value::duration;

use crate::client_flags::{Fallback, ServerFlags};
use crate::plan_flags::PlanArgs;

/// `submit`, with the verb of the question or without.
#[derive(Debug)]
pub(crate) struct Submission {
    of_task: Option<SubmitTask>,
    guessed: Option<SubmitArgs>,
}

impl FromArgMatches for Submission {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(match matches.subcommand_name() {
            Some(_) => {
                Self { of_task: Some(SubmitTask::from_arg_matches(matches)?), guessed: None }
            }
            None => Self { of_task: None, guessed: Some(SubmitArgs::from_arg_matches(matches)?) },
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Not derived: an optional set of flags that holds further sets counts as absent.
impl Args for Submission {
    fn augment_args(command: Command) -> Command {
        SubmitTask::augment_subcommands(SubmitArgs::augment_args(command))
            .subcommand_required(false)
            .arg_required_else_help(false)
            .args_conflicts_with_subcommands(true)
            .subcommand_negates_reqs(true)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The verbs that a service plans.
#[derive(Subcommand, Debug)]
pub(crate) enum SubmitTask {
    /// Have a service plan a training run
    Train(SubmitArgs),
    /// Have a service place the operators of a model
    Place(SubmitArgs),
    /// Have a service plan inference
    Infer(SubmitArgs),
    /// Have a service solve an instance
    Solve(SubmitArgs),
}

/// Flags of a plan, and how the service is asked.
#[derive(Args, Clone, Debug)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    #[command(flatten)]
    pub(crate) server: ServerFlags,
    /// 0 to 9; higher ones are planned first
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Service")]
    #[arg(value_parser = clap::value_parser!(u8).range(0..=9))]
    pub(crate) priority: u8,
    /// Longest that the run takes before the fallback, such as 30s
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1h")]
    #[arg(help_heading = "Service")]
    pub(crate) wait: Duration,
    /// Where the service gives no answer: fail, last (keep the plan of -o if it is legal), or
    /// heuristic (a quick plan, made here)
    #[arg(long, value_name = "HOW", value_enum, default_value = "fail", help_heading = "Service")]
    #[arg(hide_possible_values = true)]
    pub(crate) fallback: Fallback,
    /// Have it planned anew, even where the service has the answer
    #[arg(long, help_heading = "Service")]
    pub(crate) no_cache: bool,
}

impl Submission {
    /// The flags, with the question where a verb states it.
    pub(crate) fn args(&mut self) -> Option<&mut SubmitArgs> {
        let (task, args) = match &mut self.of_task {
            None => return self.guessed.as_mut(),
            Some(SubmitTask::Train(args)) => (Task::Train, args),
            Some(SubmitTask::Place(args)) => (Task::Place, args),
            Some(SubmitTask::Infer(args)) => (Task::Infer, args),
            Some(SubmitTask::Solve(args)) => (Task::Solve, args),
        };
        args.plan.task = Some(task);
        Some(args)
    }
}
