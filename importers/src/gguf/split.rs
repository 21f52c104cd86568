//! Models in several GGUF files, as `llama-gguf-split` of llama.cpp writes them: the first has the metadata,
//! each has the directory of its own tensors (`src/llama-model-loader.cpp`: `split.no`, `split.count`,
//! `split.tensors.count`).

use std::path::Path;

use ir::diagnostic::Diagnostic;

use super::wire::{self, Header};
use crate::source::{FileSource, Source};

/// Most files of a model (`llama_split_path` writes five digits).
const MOST_FILES: u64 = 99_999;

/// The header of a model: of one in several files that of the first, with the tensors of all, which lie beside it.
///
/// # Errors
/// Those of [`wire::header`]; `split-gguf` where it is not the first file or another one is missing.
pub(super) fn header(source: &dyn Source) -> Result<Header, Diagnostic> {
    let first = wire::header(source)?;
    match first.whole("split.count") {
        Some(n) if n > 1 => joined(source.path(), first, n),
        _ => Ok(first),
    }
}

fn joined(path: Option<&Path>, mut all: Header, n: u64) -> Result<Header, Diagnostic> {
    let number = all.whole("split.no").unwrap_or(0);
    let first = format!("-00001-of-{n:05}.gguf");
    let text = path.and_then(|path| path.file_name()?.to_str());
    let prefix = text.and_then(|name| name.strip_suffix(&first));
    let (Some(path), Some(prefix), 0, ..=MOST_FILES) = (path, prefix, number, n) else {
        let message = format!("this is one of the {n} files of a model, and not the first");
        return Err(wrong(message).hint(format!("give the file whose name ends in `{first}`")));
    };
    for at in 2..=n {
        let name = format!("{prefix}-{at:05}-of-{n:05}.gguf");
        let file = path.with_file_name(&name);
        let named = |error: Diagnostic| error.fact("file", name.clone());
        if !file.is_file() {
            let message = format!("file {at} of the {n} of a model is missing");
            return Err(named(wrong(message)).hint("put all files of the model into one folder"));
        }
        let part = FileSource::open(&file).and_then(|part| wire::header(&part)).map_err(named)?;
        if (part.whole("split.no"), part.whole("split.count")) != (Some(at - 1), Some(n)) {
            let message = format!("this is not file {at} of the {n} of a model");
            return Err(named(wrong(message)).hint("fetch all files of one model again"));
        }
        all.tensors.extend(part.tensors);
        all.is_alone |= part.is_alone;
        wire::check_tensors(all.tensors.len() as u64)?;
    }
    let stated = all.whole("split.tensors.count");
    if let Some(stated) = stated.filter(|stated| *stated != all.tensors.len() as u64) {
        let message = format!("the files have {} tensors, not {stated}", all.tensors.len());
        return Err(wrong(message).hint("fetch all files of one model again"));
    }
    Ok(all)
}

fn wrong(message: String) -> Diagnostic {
    Diagnostic::input("split-gguf", message)
}
