//! Hints for flags of launchers and for values that people write first.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use ir::diagnostic::Diagnostic;

/// What stands for a flag of launchers here, and the names that launchers give it; `N` is the value that
/// was given.
const FLAGS: [(&str, &[&str]); 13] = [
    (
        "--pin tensor=N",
        &[
            "--tp",
            "--tp-size",
            "--tensor-parallel",
            "--tensor-parallel-size",
            "--tensor-model-parallel-size",
            "--tensor-parallel-degree",
        ],
    ),
    (
        "--pin pipeline=N",
        &[
            "--pp",
            "--pp-size",
            "--pipeline-parallel",
            "--pipeline-parallel-size",
            "--pipeline-model-parallel-size",
            "--pipeline-parallel-degree",
        ],
    ),
    (
        "--pin data=N",
        &["--dp", "--dp-size", "--data-parallel", "--data-parallel-size", "--replicas"],
    ),
    (
        "--pin expert=N",
        &[
            "--ep",
            "--ep-size",
            "--expert-parallel",
            "--expert-parallel-size",
            "--expert-model-parallel-size",
        ],
    ),
    ("--pin context=N", &["--cp", "--cp-size", "--context-parallel", "--context-parallel-size"]),
    ("--pin zero=N", &["--zero", "--zero-stage", "--zero-optimization"]),
    ("--pin micro-batch=N", &["--micro-batch-size", "--mbs", "--per-device-train-batch-size"]),
    (
        "--devices N",
        &["--num-gpus", "--gpus", "--ngpus", "--n-gpus", "--num-devices", "--world-size"],
    ),
    ("--global-batch N", &["--global-batch-size", "--gbs", "--batch-size"]),
    (
        "--sequence-length N",
        &["--seq-length", "--seq-len", "--max-seq-len", "--max-seq-length", "--context-length"],
    ),
    ("--pin sequence-parallel=on", &["--sequence-parallel", "--sp"]),
    (
        "--pin recompute=full",
        &[
            "--recompute",
            "--recompute-activations",
            "--activation-checkpointing",
            "--gradient-checkpointing",
        ],
    ),
    ("--dtype bf16", &["--bf16", "--precision", "--mixed-precision"]),
];

/// A value where none was given.
const EXAMPLE: &str = "8";

/// The diagnostic of a flag or a value that has a hint of its own.
pub(crate) fn of(error: &clap::Error, words: &[OsString]) -> Option<Diagnostic> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(value)) => Some(value.as_str()),
        _ => None,
    };
    let flag = text(ContextKind::InvalidArg)?;
    match error.kind() {
        ErrorKind::UnknownArgument => negative(words).or_else(|| unknown(flag, words)),
        ErrorKind::ValueValidation => {
            let reason = std::error::Error::source(error)?.to_string();
            let value = text(ContextKind::InvalidValue)?.trim();
            let flag = flag.split(' ').next()?;
            reason.starts_with("has no unit").then(|| {
                let message = format!("`{value}` of `{flag}` {reason}");
                Diagnostic::usage("usage", message).hint(format!("{flag} {value}GiB"))
            })
        }
        _ => None,
    }
}

/// A negative value, such as `-1ms`, which clap takes for a flag.
fn negative(words: &[OsString]) -> Option<Diagnostic> {
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let is_negative = |word: &str| {
        word.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let pair = words.windows(2).find(|pair| pair[0].starts_with("--") && is_negative(pair[1]))?;
    let message = format!("`{}` of `{}` is negative", pair[1], pair[0]);
    Some(Diagnostic::usage("usage", message).hint("--help says what values it takes"))
}

fn unknown(flag: &str, words: &[OsString]) -> Option<Diagnostic> {
    let words: Vec<&str> = words.iter().skip(1).filter_map(|word| word.to_str()).collect();
    let (ours, _) = FLAGS.iter().find(|(_, names)| names.contains(&flag))?;
    // Only runs of training have degrees that are chosen.
    let trains = words.iter().find(|word| !["submit", "--json"].contains(word));
    let trains = matches!(trains, Some(&("train" | "plan")));
    let message = format!("unknown flag `{flag}`");
    let diagnostic = Diagnostic::usage("usage", message);
    if !trains {
        let shared = ["--dtype bf16"].contains(ours);
        return shared.then(|| diagnostic.hint((*ours).to_owned()));
    }
    let number = |text: &&str| text.parse::<u64>().is_ok();
    let after = words.iter().position(|word| *word == flag).and_then(|at| words.get(at + 1));
    let beside = words.iter().find_map(|word| word.strip_prefix(flag)?.strip_prefix('='));
    let value = after.copied().or(beside).filter(number).unwrap_or(EXAMPLE);
    Some(diagnostic.hint(ours.replace('N', value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_of_launchers_stands_once_and_is_none_of_ours() {
        let all: Vec<&str> = FLAGS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let command = <crate::cli::Cli as clap::CommandFactory>::command();
        let train =
            ["train", "plan"].iter().find_map(|verb| command.find_subcommand(verb)).unwrap();
        let flags: Vec<String> = train
            .get_arguments()
            .filter_map(|arg| arg.get_long().map(|long| format!("--{long}")))
            .collect();
        for (at, name) in all.iter().enumerate() {
            assert!(!all[..at].contains(name) && !flags.iter().any(|flag| flag == name), "{name}");
        }
        for (ours, _) in FLAGS {
            let flag = ours.split(' ').next().unwrap();
            assert!(flags.iter().any(|known| known == flag), "{ours}");
        }
    }
}
