//! Measured layers in the files of Hetu-Galvatron's profilers: a folder of JSON files becomes an
//! [`ir::layers::LayerProfile`].
//!
//! | file | keys | unit |
//! |---|---|---|
//! | `computation_profiling_*.json` | `layertype_0_bszB_seqS`, `layertype_other[_0]_bszB_seqS`: forward pass of one block, and of everything else, on one device | ms per sample |
//! | `memory_profiling_*.json` | `layertype_0[_sp]`, `other_memory_pp_off[_sp]`, `other_memory_pp_on_first[_sp]`, `..._last[_sp]`, by length of a sample | MB of 2^20 bytes |
//! | `allreduce_bandwidth_Nnodes_Ggpus_per_node.json` | `allreduce_size_R_consec_C`: bus bandwidth | GB/s of 10^9 bytes |
//! | `p2p_bandwidth_*.json` | `pp_size_P` | GB/s of 10^9 bytes |
//! | `sp_time_*.json` | `allreduce_size_R_SMB_time`, `all2all_size_R_SMB_time` | ms |
//! | `overlap_coefficient.json` | `overlap_coe` | |
//!
//! Keys of single runs (`layernum[...]`, `1_1_8_sp`), from which the profiler derived the others,
//! are passed over; so are keys of other lengths. The meaning of the keys is that of Galvatron's
//! `core/search_engine/cost_model.py` and `utils/config_utils.py` (Apache-2.0).

mod links;
mod memory;
mod numbers;
mod times;

use std::path::{Path, PathBuf};

use ir::diagnostic::Diagnostic;
use ir::layers::LayerProfile;
use serde_json::{Map, Value};

use crate::json;
use crate::source::{FileSource, Source as _};

/// Largest file that is read, in bytes: a thousand times those of one model.
const MOST_BYTES: u64 = 16 << 20;
/// Most entries of a folder that are looked at.
const MOST_ENTRIES: usize = 4096;

/// Whether a path is a folder of measured layers: `--profile` takes a file else.
#[must_use]
pub fn is_folder(path: &Path) -> bool {
    path.is_dir()
}

/// Reads a folder, for samples of `sequence` tokens.
///
/// # Errors
/// `unreadable-file`; `profile-file` where a file is missing or there are two of a kind;
/// `missing-key` and `profile-value` with file and key; `profile-sequence` where another length was
/// measured; `profile-layers` where the model has several kinds of blocks.
pub fn read(folder: &Path, sequence: u64) -> Result<LayerProfile, Diagnostic> {
    let files = Files::of(folder)?;
    let computation = files.only("computation_profiling_")?;
    let memory = files.only("memory_profiling_")?;
    let name = memory.stem().strip_prefix("memory_profiling_").unwrap_or_default().to_owned();
    let times = times::read(&computation.object()?, sequence).map_err(|e| computation.named(e))?;
    let bytes = memory::read(&memory.object()?, sequence).map_err(|e| memory.named(e))?;
    let overlap = files.only("overlap_coefficient")?;
    let slow_down = numbers::within(&overlap.object()?, "overlap_coe", 1.0, 16.0)
        .map_err(|e| overlap.named(e))?;
    Ok(LayerProfile {
        name,
        sequence,
        block: times.block,
        ends: times.ends,
        block_weights: bytes.weights,
        block_activation: bytes.activation,
        block_input: bytes.input,
        split: bytes.split,
        both_ends: bytes.both_ends,
        first_end: bytes.first_end,
        last_end: bytes.last_end,
        slow_down,
        links: links::read(&files)?,
    })
}

/// JSON files of a folder, by name.
pub(super) struct Files {
    folder: PathBuf,
    files: Vec<OneFile>,
}

/// One of them.
pub(super) struct OneFile {
    path: PathBuf,
    name: String,
}

impl Files {
    fn of(folder: &Path) -> Result<Self, Diagnostic> {
        let failed = |error: std::io::Error| {
            Diagnostic::input("unreadable-file", "the folder of the profile can't be read")
                .fact("file", folder.display().to_string())
                .fact("reason", error.to_string())
                .hint("check the path, and that you may read the folder")
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failed)?.take(MOST_ENTRIES) {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.ends_with(".json") {
                files.push(OneFile { path: entry.path(), name });
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { folder: folder.to_owned(), files })
    }

    /// Files whose name begins so.
    pub(super) fn all<'s>(&'s self, prefix: &'s str) -> impl Iterator<Item = &'s OneFile> + 's {
        self.files.iter().filter(move |file| file.name.starts_with(prefix))
    }

    /// The one file whose name begins so.
    fn only<'s>(&'s self, prefix: &'s str) -> Result<&'s OneFile, Diagnostic> {
        let found: Vec<&OneFile> = self.all(prefix).collect();
        let folder = self.folder.display().to_string();
        match found.as_slice() {
            [only] => Ok(only),
            [] => Err(Diagnostic::input("profile-file", format!("there is no `{prefix}*.json`"))
                .fact("file", folder)
                .hint("give a folder with the files of Galvatron's profilers")),
            several => {
                let names: Vec<String> = several.iter().map(|file| file.name.clone()).collect();
                let message = format!("there are {} files `{prefix}*.json`", several.len());
                Err(Diagnostic::input("profile-file", message)
                    .fact("file", folder)
                    .fact("found", names)
                    .hint("give a folder with the files of one model"))
            }
        }
    }
}

impl OneFile {
    /// Its name without the extension.
    pub(super) fn stem(&self) -> &str {
        self.name.strip_suffix(".json").unwrap_or(&self.name)
    }

    /// Its content.
    ///
    /// # Errors
    /// Those of strict JSON; `profile-value` where it is no object.
    pub(super) fn object(&self) -> Result<Map<String, Value>, Diagnostic> {
        let read = || {
            let source = FileSource::open(&self.path)?;
            if source.len() > MOST_BYTES {
                let message = format!("a file of {} bytes, more than {MOST_BYTES}", source.len());
                return Err(Diagnostic::input("size-budget", message)
                    .hint("give the files of one model on one kind of hosts"));
            }
            json::top_keys(&source)?;
            json::document::<Map<String, Value>>(&source)
        };
        read().map_err(|error| self.named(error))
    }

    /// An error with the file's name.
    pub(super) fn named(&self, error: Diagnostic) -> Diagnostic {
        error.fact("file", self.path.display().to_string())
    }
}

#[cfg(test)]
mod tests;
