//! A folder for one request, in which its files lie under the names that people gave them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::access;
use crate::content::{self, Shelf, unwritten};
use crate::problem::Problem;
use crate::queue;
use crate::store::Store;

/// The folder; it goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(place: &Path) -> Result<Self, Problem> {
        let path = place.join(access::id("job-"));
        fs::create_dir_all(&path).map_err(unwritten)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Puts a stored file there.
    pub(crate) fn link(&self, file: &Path, name: &str) -> Result<(), Problem> {
        symlink(file, self.0.join(name)).map_err(unwritten)
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Problem> {
        fs::write(self.0.join(name), bytes).map_err(unwritten)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A folder with files: by name, the digest of a stored file, `plan:ID` for a plan, or
/// `holder:HOLDER` for one that is not kept yet.
pub(crate) fn laid_out(
    store: &Store,
    shelf: &Shelf,
    place: &Path,
    files: &Value,
) -> Result<Folder, Problem> {
    let folder = Folder::new(place)?;
    for (name, reference) in files.as_object().into_iter().flatten() {
        let reference = reference.as_str().unwrap_or_default();
        match reference.split_once(':') {
            Some(("plan", id)) => {
                let plan = store.read_here(|sql| queue::artefact(sql, id, "plan"))?;
                let plan = plan.ok_or_else(|| Problem::missing("plan file of", id))?;
                folder.write(name, &plan)?;
            }
            Some(("holder", holder)) => content::write(store, holder, &folder.0.join(name))?,
            _ => folder.link(&shelf.file(store, reference)?, name)?,
        }
    }
    Ok(folder)
}
