//! Measured kernels of AIConfigurator's packages, read where the package is installed.
//!
//! The folder `systems` of the package `aiconfigurator_core` holds, of each system, a file of rates and
//! tables by family, engine and version. Tables of the version that is asked for come first; of what
//! they lack, those of earlier versions of the same engine, the latest first.

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

/// Rows of all tables that are read; the largest systems of the package have half a million.
const MAX_ROWS: u64 = 8_000_000;

/// Which tables are meant: `SYSTEM/ENGINE` or `SYSTEM/ENGINE@VERSION`.
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
    /// Takes a name apart.
    ///
    /// # Errors
    /// `bad-profile-name` for a name of another form.
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
                let message = format!("invalid name of tables `{name}`");
                Err(Diagnostic::usage("bad-profile-name", message).hint(
                    "name a system and an engine: aic:h200_sxm/vllm, aic:h200_sxm/vllm@0.24.0",
                ))
            }
        }
    }
}

/// Reads the tables of a system under an engine from the folder `systems` (see [`root`]).
///
/// # Errors
/// `unknown-system`, `unknown-engine`, `unknown-version` for what the package doesn't hold; `no-tables`
/// where it holds none; `missing-column` and `bad-cell` for a table of another form, `bad-parquet` for
/// a damaged one, `bad-system` for a system's file; `unreadable-file`, `size-budget`.
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
        let message = format!("there are no tables of `{}` on `{}`", named.engine, named.system);
        return Err(Diagnostic::input("no-tables", message)
            .hint("take a system with tables, such as h200_sxm, or constants of the data sheet"));
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

/// The error of a name that the package doesn't hold.
fn unknown(code: &'static str, what: &str, name: &str, known: &[String]) -> Diagnostic {
    Diagnostic::usage(code, format!("unknown {what} `{name}`"))
        .fact("known", known.to_vec())
        .hint(nearest::among(name, known.iter().map(String::as_str)))
}

#[cfg(test)]
mod tests;
