//! The file of DeepSpeed that a recipe names.

use std::path::{Component, Path};

use importers::launcher;
use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;

use crate::answer::files::input_file;
use crate::inputs::plan_file::LONGEST_SETTINGS;

/// Folders above the recipe in which the file is looked for: recipes name it from the root of their
/// repository.
const MOST_FOLDERS: usize = 8;

/// Settings with what their file says.
///
/// # Errors
/// `unreadable-file` where there is none beside the recipe or in a folder above it; those of
/// [`launcher::with_deepspeed`], with the file.
pub(super) fn completed(
    settings: LaunchSettings,
    recipe: &Path,
) -> Result<LaunchSettings, Diagnostic> {
    let Some(name) = settings.deepspeed_file.clone() else { return Ok(settings) };
    let recipe = std::path::absolute(recipe).unwrap_or_else(|_| recipe.to_owned());
    let is_below = Path::new(&name)
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let folders = recipe.ancestors().skip(1).take(if is_below { MOST_FOLDERS } else { 0 });
    let file = folders.map(|folder| folder.join(&name)).find(|file| file.is_file());
    let text = file.as_ref().and_then(|file| input_file::read(file, LONGEST_SETTINGS).ok());
    let (Some(file), Some(text)) = (file, text) else {
        let message = format!("`{name}`, the DeepSpeed file of the recipe, can not be read");
        return Err(Diagnostic::input("unreadable-file", message)
            .hint("put it beside the recipe, or where its path begins in a folder above it"));
    };
    launcher::with_deepspeed(settings, &String::from_utf8_lossy(&text))
        .map_err(|error| error.fact("file", file.display().to_string()))
}
