//! The model that a path stands for: a file, or the config of a checkpoint folder.

use std::path::{Path, PathBuf};

use ir::diagnostic::Diagnostic;

use crate::source::{FileSource, unreadable};

/// What Transformers calls the config of a checkpoint.
const CONFIG: &str = "config.json";

/// Entries of a folder that are looked at, and of those how many are named.
const MOST_ENTRIES: usize = 10_000;
const MOST_NAMED: usize = 3;

/// A model's file and what it is called: under its own name, or under that of its folder.
///
/// # Errors
/// `unreadable-file`, and `no-config` for a folder without `config.json`.
pub(crate) fn open(path: &Path) -> Result<(FileSource, String), Diagnostic> {
    if !path.is_dir() {
        return Ok((FileSource::open(path)?, path.to_string_lossy().into_owned()));
    }
    let config = path.join(CONFIG);
    if !config.is_file() {
        return Err(without_config(path));
    }
    let folder = path.canonicalize().ok();
    let name = folder
        .as_deref()
        .and_then(Path::file_name)
        .map_or_else(|| CONFIG.to_owned(), |name| format!("{}.json", name.to_string_lossy()));
    Ok((FileSource::open(&config)?, name))
}

fn without_config(folder: &Path) -> Diagnostic {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return unreadable(&error),
    };
    let is_model = |path: &PathBuf| {
        let extension = path.extension().map(|end| end.to_string_lossy().to_ascii_lowercase());
        extension.is_some_and(|end| ["onnx", "json"].contains(&end.as_str()))
    };
    let paths = entries.take(MOST_ENTRIES).flatten().map(|entry| entry.path());
    let mut models: Vec<PathBuf> = paths.filter(is_model).collect();
    // What is surely a model comes first.
    models.sort_by_key(|path| (path.extension().is_none_or(|end| end != "onnx"), path.clone()));
    let names: Vec<String> =
        models.iter().take(MOST_NAMED).map(|path| format!("`{}`", path.display())).collect();
    let error = Diagnostic::input("no-config", format!("this folder holds no `{CONFIG}`"));
    if names.is_empty() {
        return error.hint(format!(
            "a checkpoint folder is planned by its `{CONFIG}`; put the model's there, or give an \
             ONNX file"
        ));
    }
    error.hint(format!("give one of its files: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::import::ImportOptions;
    use crate::{config, is_config, read};

    const LLAMA: &str = r#"{"model_type":"llama","hidden_size":64,"num_hidden_layers":2,
        "num_attention_heads":4,"intermediate_size":128,"vocab_size":100,
        "max_position_embeddings":32}"#;

    #[test]
    fn a_checkpoint_folder_is_its_config() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = folder.path().join("Llama-64");
        fs::create_dir(&checkpoint).unwrap();
        fs::write(checkpoint.join("config.json"), LLAMA).unwrap();
        fs::write(checkpoint.join("model.safetensors"), [2, 0, 0, 0, 0, 0, 0, 0, b'{', b'}'])
            .unwrap();
        let options = ImportOptions::default();
        let by_folder = read(&checkpoint, &options).unwrap();
        let file = checkpoint.join("config.json");
        let by_file = read(&file, &options).unwrap();
        assert_eq!(by_folder.graph.ops, by_file.graph.ops);
        assert_eq!(by_folder.graph.name, "Llama-64");
        assert!(is_config(&checkpoint));
        let cards = [&checkpoint, &file].map(|path| config::card::card(path, None).unwrap().0);
        assert_eq!(cards[0].groups[0].card.name, "Llama-64");
        assert_eq!(cards[0].groups[0].card.n_layers, cards[1].groups[0].card.n_layers);
    }

    #[test]
    fn a_folder_without_one_says_what_to_give() {
        let folder = tempfile::tempdir().unwrap();
        let error = read(folder.path(), &ImportOptions::default()).unwrap_err();
        assert_eq!(error.code, "no-config");
        assert!(error.hints[0].contains("config.json"), "{error:?}");
        fs::write(folder.path().join("a.onnx"), "").unwrap();
        let error = read(folder.path(), &ImportOptions::default()).unwrap_err();
        assert!(error.hints[0].contains("a.onnx"), "{error:?}");
    }
}
