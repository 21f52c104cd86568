//! Which flags of a plan the verb of a question shows.

use clap::{Arg, Command};
use engine::plan::honours_of;
use engine::request::fields::FIELDS;
use engine::request::task::Task;

/// Flags of every verb that `-h` shows.
const COMMON: [&str; 8] =
    ["cluster", "output", "export", "executor", "time_limit", "algorithm", "json", "help"];

/// What `-h` of a verb shows beside them; `--help` shows all that the verb honours.
const fn common(task: Task) -> &'static [&'static str] {
    match task {
        Task::Train => &[
            "global_batch",
            "sequence_length",
            "tokens_per_step",
            "devices",
            "pin",
            "profile",
            "memory_margin",
            "no_offload",
            "objective",
        ],
        Task::Place => {
            &["batch", "dims", "dtype", "workload", "objective", "pin", "colocate", "profile"]
        }
        Task::Infer => &[
            "rate",
            "ttft",
            "tpot",
            "percentile",
            "input_tokens",
            "output_tokens",
            "mode",
            "devices",
            "objective",
            "kv_dtype",
            "quantization",
            "phase",
        ],
        Task::Solve => &["accelerators", "objective", "gap", "allow_lossy", "plot"],
    }
}

/// Flags of `explain` that its `-h` shows.
const EXPLAIN: [&str; 14] = [
    "plan",
    "model",
    "cluster",
    "profile",
    "op",
    "transfer",
    "device",
    "longest",
    "layer",
    "break_even",
    "why_not",
    "all",
    "json",
    "help",
];

/// Flags of `infer` that the deprecated `plan` did not have.
const SERVING: [&str; 13] = [
    "rate",
    "concurrency",
    "requests",
    "ttft",
    "tpot",
    "request_latency",
    "percentile",
    "input_tokens",
    "output_tokens",
    "lengths",
    "prefix_tokens",
    "quantization",
    "mode",
];

/// What a flag means under one verb, where that is less than under all.
const MEANINGS: [(Task, &str, &str); 17] = [
    (Task::Train, "algorithm", "Algorithm, such as search-3d or fsmoe"),
    (Task::Train, "objective", "step-time, energy-per-token or cost-per-token"),
    (
        Task::Train,
        "pin",
        "Fix a setting, such as tensor=8; with --algorithm sharding a placement: mlp.up.weight=S(1)@device",
    ),
    (Task::Train, "executor", "Limit to what a launcher runs, such as megatron; or any"),
    (Task::Train, "phase", "training, with an algorithm of streams or experts"),
    (Task::Place, "pin", "Run these ops only on this device"),
    (Task::Place, "executor", "Plan for a launcher, such as vllm; any: operator by operator"),
    (Task::Place, "objective", "What is minimized [default: step-time]"),
    (Task::Infer, "algorithm", "Algorithm, such as expert-placement or dynaflow"),
    (Task::Infer, "objective", "fewest-devices, lowest-price, throughput; latency with --phase"),
    (Task::Infer, "phase", "Plan a pipeline for prefill or decode alone"),
    (Task::Infer, "batch", "Sequences in a batch, with --phase"),
    (Task::Infer, "cached_tokens", "Cached tokens of each sequence, with --phase"),
    (Task::Infer, "devices", "Use at most N devices"),
    (Task::Infer, "time_limit", "Stop after this long, such as 2m [default: 30s]"),
    (Task::Infer, "executor", "Engine: vllm, sglang, trtllm or llama.cpp [default: vllm]"),
    (Task::Solve, "objective", "What is minimized [default: the instance's own]"),
];

/// Whether a verb honours a flag; flags that are no field of a request are of every verb.
fn is_of(task: Task, flag: &Arg) -> bool {
    let is_named = |name: &str| flag.get_id() == name;
    if is_named("phase") {
        return matches!(task, Task::Train | Task::Infer);
    }
    if is_named("html") {
        return matches!(task, Task::Train | Task::Place | Task::Infer);
    }
    let field = FIELDS.iter().find(|field| is_named(field.name));
    field.is_none_or(|field| honours_of(task).iter().any(|honours| honours.takes(field)))
}

/// The flags of the verbs of questions: others are hidden, and refused by name where they are given.
pub(crate) fn shaped(command: Command) -> Command {
    let shape = |command: Command, task: Task| {
        command.mut_subcommand(task.name(), |verb| {
            verb.mut_args(|flag| {
                let is_common = |name: &&str| flag.get_id() == *name;
                let is_short = COMMON.iter().chain(common(task)).any(|name| is_common(&name));
                let is_own = is_of(task, &flag);
                let is_setting = task == Task::Train && is_common(&"pin");
                let is_limit = task == Task::Infer && is_common(&"devices");
                let mut meant = MEANINGS.iter().filter(|meaning| meaning.0 == task);
                let flag = match meant.find(|meaning| is_common(&meaning.1)) {
                    Some((_, _, help)) => flag.help(*help),
                    None => flag,
                };
                let flag = match is_setting {
                    true => flag.value_name("FIELD=VALUE").help_heading("Training run"),
                    false => flag,
                };
                let flag = match is_limit {
                    true => flag.help_heading("Serving"),
                    false => flag,
                };
                flag.hide(!is_own).hide_short_help(!is_short)
            })
        })
    };
    let of_tasks = |command| Task::ALL.into_iter().fold(command, shape);
    // Its verbs list the flags of a plan.
    let is_listed = |flag: &Arg| FIELDS.iter().any(|field| flag.get_id() == field.name);
    let of_explain = |verb: Command| {
        verb.mut_args(|flag| {
            let is_short = EXPLAIN.iter().any(|name| flag.get_id() == *name);
            flag.hide_short_help(!is_short)
        })
    };
    let command = of_tasks(command).mut_subcommand("explain", of_explain);
    // `plan` is deprecated: it takes them, and lists those that it had.
    let of_plan = |verb: Command| {
        verb.mut_args(|flag| {
            let is_new = SERVING.iter().any(|name| flag.get_id() == *name);
            if is_new { flag.hide(true) } else { flag }
        })
    };
    let command = command.mut_subcommand("plan", of_plan);
    command.mut_subcommand("submit", |submit| {
        of_tasks(submit).mut_args(|flag| {
            let is_hidden = flag.get_id() != "model" && is_listed(&flag);
            flag.hide(is_hidden)
        })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    /// What a verb prints on a terminal of 80 columns.
    fn help(verb: &str, is_long: bool) -> String {
        let mut command = crate::given_flags::command().term_width(80);
        command.build();
        let verb = command.find_subcommand_mut(verb).unwrap();
        let help = if is_long { verb.render_long_help() } else { verb.render_help() };
        help.to_string()
    }

    #[test]
    fn short_help_fits_on_a_screen_with_two_examples() {
        for verb in Task::ALL.map(Task::name).into_iter().chain(["explain"]) {
            let help = help(verb, false);
            let n_lines = help.lines().count();
            assert!(n_lines <= 45, "{verb}: {n_lines} lines\n{help}");
            assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
            let example = format!("  meshwright {verb} ");
            assert_eq!(help.matches(&example).count(), 2, "{help}");
        }
    }

    #[test]
    fn long_help_lists_the_flags_of_its_verb_alone() {
        for task in Task::ALL {
            let help = help(task.name(), true);
            for field in FIELDS.iter().filter(|field| !["model", "phase"].contains(&field.name)) {
                let is_own = honours_of(task).iter().any(|honours| honours.takes(field));
                let flag = format!("{} ", field.flag());
                let is_listed = help.lines().any(|line| {
                    let line = line.trim_start();
                    let line = line.split_once(", ").map_or(line, |(_, long)| long);
                    format!("{line} ").starts_with(&flag)
                });
                assert_eq!(is_listed, is_own, "{} {flag}\n{help}", task.name());
            }
        }
    }
}
