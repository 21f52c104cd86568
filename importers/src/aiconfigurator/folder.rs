//! Folders and versions of tables, and their precedence.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ir::diagnostic::Diagnostic;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::rows::Kind;
use super::system::System;
use super::{Named, unknown, version};
use crate::source::{self, FileSource};
use crate::{parquet, yaml};

/// Where the folder of systems may lie.
const BELOW: [&str; 4] =
    ["", "systems", "aiconfigurator_core/systems", "site-packages/aiconfigurator_core/systems"];
/// A file of every folder of systems.
const VERSIONS: &str = "query_versions.yaml";
/// End-to-end measurements for evaluation, never an input.
const TRUTH: &str = "silicon_sample.csv";
/// Largest YAML file, bytes.
const MAX_YAML: u64 = 1 << 20;
/// Most entries of a folder.
const MAX_ENTRIES: usize = 10_000;

/// Finds the folder of systems in that folder itself, in the package `aiconfigurator_core`, in the
/// site-packages folder of the package, or in a virtual environment.
///
/// # Errors
/// `no-aiconfigurator` where there is none; `not-an-input` for the package's evaluation data.
pub fn root(given: &Path) -> Result<PathBuf, Diagnostic> {
    if given.file_name().is_some_and(|name| name == TRUTH) {
        let message = format!("`{TRUTH}` is evaluation data, not a table of kernels");
        return Err(Diagnostic::usage("not-an-input", message)
            .hint("give the folder of the package: SITE_PACKAGES/aiconfigurator_core"));
    }
    let libraries = names(&given.join("lib")).unwrap_or_default();
    let environments = libraries.iter().map(|python| given.join("lib").join(python));
    let mut folders = std::iter::once(given.to_owned()).chain(environments);
    let found = folders.find_map(|folder| {
        let below = BELOW.iter().map(|below| folder.join(below));
        below.into_iter().find(|systems| systems.join(VERSIONS).is_file())
    });
    found.ok_or_else(|| {
        let message = "AIConfigurator's tables were not found";
        Diagnostic::usage("no-aiconfigurator", message)
            .fact("folder", given.display().to_string())
            .hint("pip install aiconfigurator-core, then give its site-packages folder")
    })
}

/// A table file.
#[derive(Clone, Debug)]
pub(super) struct TableFile {
    pub(super) kind: Kind,
    pub(super) version: String,
    /// Path below the folder of systems.
    pub(super) name: String,
    path: PathBuf,
}

impl TableFile {
    /// Reads the file.
    ///
    /// # Errors
    /// `unreadable-file`, `size-budget`.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, Diagnostic> {
        bytes(&self.path, parquet::MAX_BYTES)
    }
}

/// The tables of a system under an engine.
#[derive(Clone, Debug)]
pub(super) struct Folder<'a> {
    root: &'a Path,
    system: &'a System,
    engine: String,
    /// The version with precedence.
    pub(super) version: String,
    /// Default attention kernel of this version on this system; empty = not stated.
    pub(super) preferred: String,
}

#[derive(Deserialize)]
struct Versions {
    defaults: BTreeMap<String, Current>,
    #[serde(default)]
    overrides: BTreeMap<String, BTreeMap<String, Current>>,
}

#[derive(Clone, Deserialize)]
struct Current {
    current: String,
    previous: Option<String>,
}

impl<'a> Folder<'a> {
    /// Resolves the version.
    pub(super) fn open(
        root: &'a Path,
        system: &'a System,
        named: &Named,
    ) -> Result<Self, Diagnostic> {
        let versions: Versions = document(root, VERSIONS)?;
        let own = versions.overrides.get(&named.system).and_then(|of| of.get(&named.engine));
        let Some(known) = own.or_else(|| versions.defaults.get(&named.engine)) else {
            let engines: Vec<String> = versions.defaults.keys().cloned().collect();
            return Err(unknown("unknown-engine", "engine", &named.engine, &engines));
        };
        let engine = named.engine.clone();
        let mut folder =
            Self { root, system, engine, version: known.current.clone(), preferred: String::new() };
        match named.version.as_deref() {
            None | Some("current") => {}
            Some("previous") if known.previous.is_some() => {
                folder.version = known.previous.clone().unwrap_or_default();
            }
            Some(version) => {
                let there = folder.versions()?;
                if !there.iter().any(|found| found == version) {
                    return Err(unknown("unknown-version", "version", version, &there));
                }
                version.clone_into(&mut folder.version);
            }
        }
        folder.preferred = folder.preferred()?;
        Ok(folder)
    }

    fn data(&self) -> PathBuf {
        self.root.join(&self.system.data)
    }

    /// Versions of the engine with tables of the system.
    fn versions(&self) -> Result<Vec<String>, Diagnostic> {
        let mut versions = Vec::new();
        for kind in Kind::ALL {
            versions.extend(names(&self.data().join(kind.place().0).join(&self.engine))?);
        }
        versions.sort_by(|a, b| version::order(a, b));
        versions.dedup();
        Ok(versions)
    }

    /// Default attention kernel, from the latest entry up to this version.
    fn preferred(&self) -> Result<String, Diagnostic> {
        const FILE: &str = "attention_lane_defaults.yaml";
        type Kernels = BTreeMap<String, BTreeMap<String, BTreeMap<u32, String>>>;
        if !self.root.join(FILE).is_file() {
            return Ok(String::new());
        }
        let kernels: Kernels = document(self.root, FILE)?;
        let of_engine = kernels.get(&self.engine).into_iter().flatten();
        let earlier = of_engine.filter(|(found, _)| version::order(found, &self.version).is_le());
        let latest = earlier.max_by(|a, b| version::order(a.0, b.0));
        let kernel = latest.and_then(|(_, kernels)| kernels.get(&self.system.rates.capability));
        Ok(kernel.filter(|kernel| *kernel != "default").cloned().unwrap_or_default())
    }

    /// Table files in order of precedence.
    pub(super) fn files(&self) -> Result<Vec<TableFile>, Diagnostic> {
        let mut files = Vec::new();
        for kind in Kind::ALL {
            let (engine, mut versions) = match (kind, &self.system.nccl) {
                (Kind::Collectives, None) => continue,
                (Kind::Collectives, Some(nccl)) => ("nccl", vec![nccl.clone()]),
                _ => {
                    let there = names(&self.data().join(kind.place().0).join(&self.engine))?;
                    let not_later = |found: &String| version::order(found, &self.version).is_le();
                    (self.engine.as_str(), there.into_iter().filter(not_later).collect())
                }
            };
            versions.sort_by(|a, b| version::order(b, a));
            for version in versions {
                let name = format!(
                    "{}/{}/{engine}/{version}/{}.parquet",
                    self.system.data,
                    kind.place().0,
                    kind.place().1,
                );
                let path = self.root.join(&name);
                if path.is_file() {
                    files.push(TableFile { kind, version, name, path });
                }
            }
        }
        Ok(files)
    }
}

/// Systems of a folder.
pub(super) fn systems(root: &Path) -> Result<Vec<String>, Diagnostic> {
    let data = names(&root.join("data"))?;
    let is_described = |name: &String| root.join(format!("{name}.yaml")).is_file();
    Ok(data.into_iter().filter(is_described).collect())
}

/// Names in a folder, sorted; none where there is no such folder.
fn names(folder: &Path) -> Result<Vec<String>, Diagnostic> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let names =
        entries.take(MAX_ENTRIES).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

fn bytes(path: &Path, limit: u64) -> Result<Vec<u8>, Diagnostic> {
    let read = || source::read_all(&FileSource::open(path)?, limit);
    read().map_err(|error| error.fact("file", path.display().to_string()))
}

/// Reads a YAML file of the folder.
pub(super) fn document<T: DeserializeOwned>(root: &Path, file: &str) -> Result<T, Diagnostic> {
    let path = root.join(file);
    let text = bytes(&path, MAX_YAML)?;
    let read = || {
        let text = std::str::from_utf8(&text)
            .map_err(|_| Diagnostic::input("bad-system", "the file is no UTF-8"))?;
        serde_yaml::from_str(text)
            .map_err(|error| yaml::fault(&error, ("bad-system", "file of a system"), |_| None))
    };
    read().map_err(|error| error.fact("file", path.display().to_string()))
}
