//! The instances of a folder, what each is solved for, and what peers reach on it.

use std::path::{Path, PathBuf};

use cost_model::given::Goal;
use importers::{Content, ImportOptions};
use ir::diagnostic::Diagnostic;
use ir::instance::{Instance, Split};
use ir::units::{Bytes, BytesPerSecond};

use super::peers::{self, EXPERIMENT_BANDWIDTH, EXPERIMENTS, Peer};

/// Devices of a straight pipeline in the peer's experiments.
pub(crate) const STRAIGHT_DEVICES: usize = 4;

/// An instance with one goal.
pub(crate) struct Case {
    /// Path inside the folder, without extensions, and limits that replace the file's.
    pub(crate) name: String,
    /// The instance.
    pub(crate) instance: Instance,
    /// What it is solved for.
    pub(crate) goal: Goal,
    /// A person's split, where the folder has one.
    pub(crate) expert: Option<Split>,
    /// Results of others.
    pub(crate) peers: Vec<Peer>,
}

/// Endings of instance files; splits lie in a folder of their own.
const ENDINGS: [&str; 3] = [".json.gz", ".json", ".graph.txt"];
const SPLITS: &str = "experts";

/// Folders inside folders that are looked into.
const MOST_DEPTH: usize = 8;

/// All cases of a folder whose names hold `only`, by name.
///
/// # Errors
/// `unreadable-folder`, `no-instances`, and those of the importers.
pub(crate) fn read(folder: &Path, only: &str) -> Result<Vec<Case>, Diagnostic> {
    let mut files = Vec::new();
    collect(folder, MOST_DEPTH, &mut files)?;
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let inside = file.strip_prefix(folder).unwrap_or(&file).to_string_lossy().into_owned();
        let Some(name) = ENDINGS.iter().find_map(|ending| inside.strip_suffix(ending)) else {
            continue;
        };
        let is_split = Path::new(&inside).components().any(|part| part.as_os_str() == SPLITS);
        if is_split || !name.contains(only) {
            continue;
        }
        match importers::read_any(&file, &ImportOptions::default())? {
            Content::Instance(instance) => add(folder, name, instance, &mut cases)?,
            Content::Model(_) => {}
        }
    }
    if cases.is_empty() {
        let message = format!("`{}` holds no instance", folder.display());
        return Err(Diagnostic::input("no-instances", message)
            .hint("docs/data.md says where the placement instances come from"));
    }
    Ok(cases)
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Diagnostic> {
    let unreadable = |error: std::io::Error| {
        let message = format!("the folder `{}` can't be read: {error}", folder.display());
        Diagnostic::input("unreadable-folder", message).hint("check the path")
    };
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let kind = entry.file_type().map_err(unreadable)?;
        if kind.is_file() {
            files.push(entry.path());
        } else if kind.is_dir() && depth > 0 {
            collect(&entry.path(), depth - 1, files)?;
        }
    }
    Ok(())
}

fn add(
    folder: &Path,
    name: &str,
    instance: Instance,
    cases: &mut Vec<Case>,
) -> Result<(), Diagnostic> {
    let mut push = |name: &str, instance: Instance, goal, expert, peers| {
        cases.push(Case { name: name.to_owned(), instance, goal, expert, peers });
    };
    match &instance {
        Instance::Load(_) => {
            let goals: &[Goal] = if name.split('/').any(|part| part == "latency") {
                &[Goal::Latency]
            } else {
                &[Goal::ContiguousMaxLoad, Goal::MaxLoad]
            };
            for &goal in goals {
                let expert = expert(folder, name)?;
                push(name, instance.clone(), goal, expert, peers::on(name, goal));
            }
        }
        Instance::Profile(_) => {
            let peers = peers::on(name, Goal::SlowestStage);
            push(name, instance, Goal::SlowestStage, None, peers);
        }
        Instance::Stages(stages) => {
            let mut own = EXPERIMENTS.iter().filter(|e| name.ends_with(e.path)).peekable();
            if own.peek().is_none() {
                push(name, instance.clone(), Goal::TimePerSample, None, Vec::new());
            }
            for experiment in own {
                let mut stages = stages.clone();
                stages.n_devices = experiment.n_devices;
                stages.device_memory = Bytes(experiment.memory_gib << 30);
                stages.bandwidth =
                    BytesPerSecond::new(EXPERIMENT_BANDWIDTH).unwrap_or(stages.bandwidth);
                let name =
                    format!("{name}, {} x {} GiB", experiment.n_devices, experiment.memory_gib);
                let peer = Peer {
                    name: "Piper",
                    value: experiment.value,
                    seconds: Some(experiment.seconds),
                };
                push(&name, Instance::Stages(stages), Goal::TimePerSample, None, vec![peer]);
            }
        }
    }
    Ok(())
}

/// The split `experts/NAME_expert.json` beside the folders of an instance; that of inference
/// extends to training.
fn expert(folder: &Path, name: &str) -> Result<Option<Split>, Diagnostic> {
    let stem = name.rsplit('/').next().unwrap_or(name);
    if name.split('/').any(|part| part == "operator") {
        return Ok(None);
    }
    for stem in [stem.to_owned(), stem.replace("training", "inference")] {
        let places = Path::new(name).ancestors().skip(1);
        for place in places {
            let file = folder.join(place).join(SPLITS).join(format!("{stem}_expert.json"));
            if file.is_file() {
                return importers::read_split(&file).map(Some);
            }
        }
    }
    Ok(None)
}
