//! Measured kernels of AIConfigurator, read in place from the installed package.
//!
//! The folder `systems` of the package `aiconfigurator_core` has a YAML file of rates per system, and
//! Parquet tables by family, engine and version. Tables of the requested version have precedence;
//! earlier versions of the same engine fill gaps, latest first.

mod folder;
mod rows;
mod system;
mod version;

use std::path::Path;

use ir::diagnostic::Diagnostic;
use ir::engine_tables::EngineTables;
use ir::nearest;

pub use folder::root;

use self::folder::Folder;
use self::rows::Collected;
use self::system::System;

/// What a profile begins with that names tables, not a file.
pub const PREFIX: &str = "aic:";
/// Most rows of all tables together; half a million in the package's largest systems.
const MAX_ROWS: u64 = 8_000_000;

/// Name of a set of tables: `SYSTEM/ENGINE` or `SYSTEM/ENGINE@VERSION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The system, such as `h200_sxm`.
    pub system: String,
    /// The engine, such as `vllm`.
    pub engine: String,
    /// Version of the engine; `None` = the current one of the package.
    pub version: Option<String>,
}

impl Named {
    /// Parses a name.
    ///
    /// # Errors
    /// `bad-profile-name`.
    pub fn parse(name: &str) -> Result<Self, Diagnostic> {
        let parts = name.split_once('/').map(|(system, rest)| match rest.split_once('@') {
            Some((engine, version)) => (system, engine, Some(version)),
            None => (system, rest, None),
        });
        let is_word = |word: &str| {
            let may_stand = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
            !word.is_empty() && !word.starts_with('.') && word.chars().all(may_stand)
        };
        match parts {
            Some((system, engine, version))
                if is_word(system) && is_word(engine) && version.is_none_or(is_word) =>
            {
                let version = version.map(str::to_owned);
                Ok(Self { system: system.to_owned(), engine: engine.to_owned(), version })
            }
            _ => {
                let message = format!("invalid profile name `aic:{name}`");
                Err(Diagnostic::usage("bad-profile-name", message).hint(
                    "give a system and an engine: aic:h200_sxm/vllm or aic:h200_sxm/vllm@0.24.0",
                ))
            }
        }
    }
}

/// Reads the tables of a system under an engine from the folder `systems` (see [`root`]).
///
/// # Errors
/// `unknown-system`, `unknown-engine`, `unknown-version` for absent names, `no-tables` for a system
/// without tables; `missing-column`, `bad-cell`, `bad-parquet` for an unknown or damaged table,
/// `bad-system` for a system's YAML file; `unreadable-file`, `size-budget`.
pub fn read(root: &Path, named: &Named) -> Result<EngineTables, Diagnostic> {
    let system = System::read(root, &named.system)?;
    let folder = Folder::open(root, &system, named)?;
    let (mut collected, mut sources) = (Collected::default(), Vec::new());
    for file in folder.files()? {
        let source = collected.file(&file, sources.len(), &folder.preferred)?;
        sources.push(source);
        let n_rows = sources.iter().fold(0, |sum: u64, source| sum + source.n_rows);
        if n_rows > MAX_ROWS {
            let message = format!("the tables have more than {MAX_ROWS} rows");
            return Err(Diagnostic::input("size-budget", message).fact("limit", MAX_ROWS));
        }
    }
    if sources.is_empty() {
        let message =
            format!("AIConfigurator has no tables of `{}` on `{}`", named.engine, named.system);
        return Err(Diagnostic::input("no-tables", message)
            .hint("choose a system with tables, such as h200_sxm"));
    }
    let mut tables = EngineTables {
        system: named.system.clone(),
        engine: named.engine.clone(),
        version: folder.version.clone(),
        rates: system.rates,
        sources,
        ..EngineTables::default()
    };
    collected.into_tables(&mut tables);
    Ok(tables)
}

/// The error of an absent name.
fn unknown(code: &'static str, what: &str, name: &str, known: &[String]) -> Diagnostic {
    Diagnostic::usage(code, format!("unknown {what} `{name}`"))
        .fact("known", known.to_vec())
        .hint(nearest::among(name, known.iter().map(String::as_str)))
}

#[cfg(test)]
mod tests;
