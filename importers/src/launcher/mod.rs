//! Settings of launchers: what a run that exists says about its parallelism.

mod deepspeed;
pub mod device_map;
mod flags;
mod galvatron;
mod keys;
mod launchers;
pub mod layout;
mod limits;
mod megatron;
mod peft;
mod programs;
mod recipes;
mod script;
mod servers;
mod serving;
mod shell;
mod torchtitan;

use std::io::Read;
use std::path::Path;

use ir::diagnostic::Diagnostic;
use ir::launch::{LaunchSettings, ServerStart};
use ir::tensor::DType;
use ir::tuning::Adapter;
pub use launchers::Launcher;
use limits::MAX_BYTES;
pub use recipes::with_deepspeed;
use script::substituted;
pub use torchtitan::cut_by_ends;

/// Reads the `adapter_config.json` of PEFT.
///
/// # Errors
/// `unreadable-file`, and those of its members, with the file named.
pub fn adapter(path: &Path) -> Result<Adapter, Diagnostic> {
    let file = path.display().to_string();
    let unreadable = |why: String| {
        let message = format!("`{file}` can not be read: {why}");
        Diagnostic::input("unreadable-file", message).hint("give the adapter_config.json of PEFT")
    };
    let open = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut text = String::new();
    let mut limited = open.take(peft::LONGEST + 1);
    limited.read_to_string(&mut text).map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > peft::LONGEST {
        return Err(unreadable(format!("it is longer than {} bytes", peft::LONGEST)));
    }
    peft::read(&text).map_err(|error| error.fact("file", file.clone()))
}

/// What is known of the model that settings are of; `None` = nothing is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelFacts {
    /// Its layers, those that predict a later token aside.
    pub n_layers: Option<u32>,
    /// Layers that predict a later token.
    pub n_predicting: Option<u32>,
    /// Whether any of them has experts.
    pub has_experts: Option<bool>,
}

/// Reads settings of a model of which nothing is known, as [`read_for`].
///
/// # Errors
/// Those of [`read_for`].
pub fn read(launcher: Launcher, text: &str) -> Result<LaunchSettings, Diagnostic> {
    read_for(launcher, text, ModelFacts::default())
}

/// Reads the servers that a script of vLLM, or else of SGLang, starts, in order; flags alone are one.
///
/// # Errors
/// `bad-settings` with the flag and its value, `unknown-flag`, `file-too-large`.
pub fn servers(launcher: Launcher, text: &str) -> Result<Vec<ServerStart>, Diagnostic> {
    check_length(text)?;
    servers::starts(launcher, text)
}

/// Reads settings; what they leave open of the model is as it is. Flags that say nothing about parallelism are passed over, but Megatron's, all of which
/// have a class.
///
/// # Errors
/// `bad-settings` with the flag and its value, `unknown-flag` for one that looks like one that is
/// read (for Megatron, for any that it has not), `not-judged` for one that changes what runs in a way that no plan has, `bad-layout`,
/// `file-too-large`.
pub fn read_for(
    launcher: Launcher,
    text: &str,
    model: ModelFacts,
) -> Result<LaunchSettings, Diagnostic> {
    check_length(text)?;
    check_manifest(text)?;
    let of_flags = |read: &dyn Fn(&str) -> Result<LaunchSettings, Diagnostic>| {
        let shell::Expanded { text: words, unset, .. } = substituted(launcher, text)?;
        let command = programs::command(&words)?;
        let n_processes =
            programs::processes((command.as_deref().unwrap_or(&words), &words), text)?;
        let mut settings = read(&command.as_deref().map_or(words, programs::own))?;
        settings.n_processes = n_processes;
        settings.open_processes =
            n_processes.is_none() && programs::is_launched(command.as_deref().unwrap_or_default());
        settings.not_planned.retain(|flag| !programs::is_of_processes(flag));
        check_unset(launcher, &settings, &unset)?;
        if !unset.is_empty() {
            settings.not_judged.insert(shell::UNSET, unset);
        }
        Ok(behind_ends(settings, text))
    };
    match launcher {
        Launcher::Megatron => {
            of_flags(&|text| megatron::read(text, model)).and_then(|read| stated(read, text))
        }
        Launcher::Torchtitan if torchtitan::document::is(text) => torchtitan::document::read(text),
        Launcher::Torchtitan => of_flags(&torchtitan::read),
        Launcher::DeepSpeed => deepspeed::read(text),
        Launcher::Vllm | Launcher::Sglang => {
            servers::only(launcher, text).map(|settings| behind_ends(settings, text))
        }
        Launcher::Galvatron => galvatron::read(text),
        Launcher::Accelerate => recipes::accelerate(text),
        Launcher::Axolotl => recipes::axolotl(text),
        Launcher::LlamaFactory => recipes::llama_factory(text),
    }
}

fn check_length(text: &str) -> Result<(), Diagnostic> {
    if text.len() > MAX_BYTES {
        let message = format!("settings of {} bytes, more than {MAX_BYTES}", text.len());
        return Err(Diagnostic::input("file-too-large", message).hint("give the flags alone"));
    }
    if shell::nesting(text) > limits::MAX_NESTING {
        let message = format!("substitutions nested deeper than {}", limits::MAX_NESTING);
        return Err(Diagnostic::input("file-too-large", message).hint("give the flags alone"));
    }
    Ok(())
}

/// Refuses a script with an unset variable that may add the TP degree, the micro-batch or the dtype.
fn check_unset(
    launcher: Launcher,
    settings: &LaunchSettings,
    unset: &[String],
) -> Result<(), Diagnostic> {
    let is_open = settings.tensor.is_none()
        || settings.micro_batch.is_none()
        || settings.dtype == Some(DType::F32);
    // Other files and programs set variables, not flags.
    let sets = |word: &&String| {
        ["source ", "eval ", "export ", "declare "].iter().any(|start| word.starts_with(start))
    };
    let word = unset.iter().find(|word| !sets(word) && !word.contains("+="));
    let Some(word) = word.filter(|_| launcher == Launcher::Megatron && is_open) else {
        return Ok(());
    };
    Err(script::may_add(word))
}

/// Notes the lines behind the end of a command, which run as commands of their own.
fn behind_ends(mut settings: LaunchSettings, text: &str) -> LaunchSettings {
    let behind = shell::behind_ends(text);
    if !behind.is_empty() {
        settings.not_judged.insert(shell::BEHIND_ENDS, behind);
    }
    settings
}

/// Refuses a script of which no degree and no size is known: what holds its flags is set where the file
/// does not decide it.
fn stated(settings: LaunchSettings, text: &str) -> Result<LaunchSettings, Diagnostic> {
    let LaunchSettings { tensor, pipeline, micro_batch, global_batch, sequence_length, .. } =
        settings;
    let is_empty = tensor.or(pipeline).is_none()
        && micro_batch.or(global_batch).or(sequence_length).is_none()
        && settings.blocks.is_none();
    if !(is_empty && text.contains('$')) {
        return Ok(settings);
    }
    let message = "the script sets the flags of its program where the file does not decide it";
    Err(Diagnostic::input("bad-settings", message)
        .hint("give the flags as the program gets them, such as `bash -x` prints them"))
}

/// Refuses files with commands of containers, which are no scripts: lists of words, with an environment of their own.
fn check_manifest(text: &str) -> Result<(), Diagnostic> {
    let lines = || text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let has_key = |key: &str| {
        lines().any(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':')))
    };
    let is_build = || {
        let first = lines().find(|line| !line.trim().is_empty());
        let starts = |line: &str| line.starts_with("CMD ") || line.starts_with("ENTRYPOINT ");
        first.is_some_and(|line| line.starts_with("FROM ") || line.starts_with("ARG "))
            && lines().any(starts)
    };
    let what = match () {
        () if has_key("apiVersion") => "a Kubernetes manifest",
        () if has_key("services") => "a Compose file",
        () if has_key("servingEngineSpec") => "values of a Helm chart",
        () if has_key("run") && (has_key("envs") || has_key("resources")) => "a SkyPilot task",
        () if is_build() => "a Dockerfile",
        () => return Ok(()),
    };
    Err(Diagnostic::input("manifest", format!("{what} is not read"))
        .hint("give the command that it runs as a shell script, with its variables set"))
}
