//! The model that a path stands for: a file, or the config of a checkpoint folder.

use std::path::{Path, PathBuf};

use ir::diagnostic::Diagnostic;

use crate::source::{FileSource, unreadable};

/// What Transformers calls the config of a checkpoint.
const CONFIG: &str = "config.json";

/// What the Hub's cache calls the folder of commits of a model.
const SNAPSHOTS: &str = "snapshots";

/// Entries of a folder that are looked at, and of those how many are named.
const MOST_ENTRIES: usize = 10_000;
const MOST_NAMED: usize = 3;

/// A model's file, opened, and what it is called: under its own name, or under that of its folder.
///
/// # Errors
/// `unreadable-file`, and `no-config` for a folder without `config.json`.
pub(crate) fn open(path: &Path) -> Result<(FileSource, String), Diagnostic> {
    let (file, name) = file(path)?;
    Ok((FileSource::open(&file)?, name))
}

/// A model's file, and what it is called.
///
/// # Errors
/// `no-config` for a folder without `config.json`, `unreadable-file` for a name of the Hub.
pub(crate) fn file(path: &Path) -> Result<(PathBuf, String), Diagnostic> {
    if let Some(error) = hub_id(path) {
        return Err(error);
    }
    if !path.is_dir() {
        return Ok((path.to_owned(), path.to_string_lossy().into_owned()));
    }
    let Some(config) = config_in(path) else { return Err(without_config(path)) };
    let folder = config.parent().and_then(|folder| folder.canonicalize().ok());
    let name = folder
        .as_deref()
        .and_then(model_name)
        .map_or_else(|| CONFIG.to_owned(), |name| format!("{name}.json"));
    Ok((config, name))
}

/// How files of models end; names of the Hub's models do not.
const ENDS: [&str; 12] =
    ["gguf", "json", "jsonl", "onnx", "pt2", "mlir", "txt", "csv", "et", "gz", "yaml", "toml"];

/// Where a path is no file here but may be the name of a model on the Hub, `OWNER/NAME`.
fn hub_id(path: &Path) -> Option<Diagnostic> {
    let id = path.to_str()?;
    let (owner, name) = id.split_once('/')?;
    let is_part = |part: &str| {
        let is_of_hub = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(is_of_hub)
    };
    let is_file = path.extension().is_some_and(|end| ENDS.iter().any(|known| end == *known));
    let is_here = Path::new(owner).exists();
    (is_part(owner) && is_part(name) && !is_file && !is_here).then(|| {
        let message = format!("no file `{id}`; it looks like a model of the Hugging Face hub");
        Diagnostic::input("unreadable-file", message).hint(format!(
            "save its config: hf download {id} config.json --local-dir {name}; then {name} is the model"
        ))
    })
}

/// The config of a checkpoint folder, or of a model in the Hub's cache, where a folder of the model
/// holds one for each commit and the names that stand for commits.
fn config_in(folder: &Path) -> Option<PathBuf> {
    let path = folder.join(CONFIG);
    if path.is_file() {
        return Some(path);
    }
    let commits = folder.join(SNAPSHOTS);
    let main = std::fs::read_to_string(folder.join("refs/main")).unwrap_or_default();
    let is_name = |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric());
    let stated = Some(main.trim()).filter(is_name).map(|name| commits.join(name).join(CONFIG));
    if let Some(config) = stated.filter(|config| config.is_file()) {
        return Some(config);
    }
    let all = std::fs::read_dir(&commits).ok()?.take(MOST_ENTRIES).flatten();
    let configs = all.map(|entry| entry.path().join(CONFIG)).filter(|config| config.is_file());
    let changed =
        |config: &PathBuf| config.metadata().and_then(|metadata| metadata.modified()).ok();
    configs.max_by_key(|config| (changed(config), config.clone()))
}

/// What the model of a folder is called; a folder of the Hub's cache has a commit for a name.
fn model_name(folder: &Path) -> Option<String> {
    let name_of =
        |folder: &Path| folder.file_name().map(|name| name.to_string_lossy().into_owned());
    let parent = folder.parent()?;
    let cached =
        (name_of(parent)? == SNAPSHOTS).then(|| parent.parent().and_then(name_of)).flatten();
    let cached = cached
        .and_then(|name| Some(name.strip_prefix("models--")?.rsplit("--").next()?.to_owned()));
    cached.or_else(|| name_of(folder))
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

    /// `models--org--name/snapshots/commit/config.json`, `refs/main` with the commit.
    #[test]
    fn a_folder_of_the_hubs_cache_is_the_config_of_its_commit() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("models--org--Llama-64");
        let commits = model.join("snapshots");
        for (commit, n_layers) in [("0a1b", 2), ("9f8e", 3)] {
            fs::create_dir_all(commits.join(commit)).unwrap();
            let text = LLAMA.replace("layers\":2", &format!("layers\":{n_layers}"));
            fs::write(commits.join(commit).join("config.json"), text).unwrap();
        }
        fs::create_dir(model.join("refs")).unwrap();
        fs::write(model.join("refs/main"), "0a1b\n").unwrap();
        let options = ImportOptions::default();
        let of = |path: &std::path::Path| read(path, &options).unwrap().graph;
        let main = of(&model);
        assert_eq!(main.name, "Llama-64");
        assert_eq!(main.ops, of(&commits.join("0a1b")).ops);
        assert_ne!(main.ops.len(), of(&commits.join("9f8e")).ops.len());
        assert_eq!(of(&commits.join("9f8e")).name, "Llama-64");
        // A name that leads out of the folder is none.
        fs::write(model.join("refs/main"), "../../x").unwrap();
        assert_eq!(of(&model).name, "Llama-64");
        assert!(is_config(&model));
    }

    #[test]
    fn a_name_of_the_hub_says_how_its_config_is_saved() {
        let said = |path: &str| read(path.as_ref(), &ImportOptions::default()).unwrap_err();
        let error = said("meta-llama/Llama-3.1-8B");
        let hint = "hf download meta-llama/Llama-3.1-8B config.json --local-dir Llama-3.1-8B";
        assert!(error.code == "unreadable-file" && error.hints[0].contains(hint), "{error:?}");
        for path in ["no/such.json", "no/such/file", "/no/such", "../no", "gpt2", "src/no-model"] {
            let error = said(path);
            assert!(error.code == "unreadable-file" && !error.hints[0].contains("hf "), "{path}");
        }
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
