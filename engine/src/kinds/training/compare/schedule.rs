//! The schedule in a file that a launcher's settings name.

use std::path::{Path, PathBuf};

use ir::diagnostic::{Blame, Diagnostic};
use ir::grid::Grid;
use ir::launch::LaunchSettings;

use crate::answer::files::input_file;

/// Bytes of a file that are read at most.
const LONGEST: u64 = 1 << 26;

/// The file, beside the settings.
pub(super) fn beside(settings: &LaunchSettings, path: &Path) -> Option<PathBuf> {
    let name = settings.schedule_file.as_ref()?;
    Some(path.parent().unwrap_or(Path::new("")).join(name))
}

/// Reads it.
///
/// # Errors
/// `unreadable-file`; those of [`Grid::parse`], with the file.
pub(super) fn read(file: &Path) -> Result<Grid, Diagnostic> {
    let text = input_file::read(file, LONGEST).map_err(|why| {
        let message =
            format!("`{}`, the schedule of the settings, can not be read", file.display());
        Diagnostic::input("unreadable-file", message)
            .fact("reason", why)
            .hint("put the file that the settings name beside them")
    })?;
    let grid = Grid::parse(&String::from_utf8_lossy(&text));
    grid.map_err(|error| error.fact("file", file.display().to_string()))
}

/// Refuses rows of other ranks than the launcher's, which deals stages out in turn: stage s runs on rank
/// s mod ranks.
///
/// # Errors
/// `wrong-schedule`.
pub(super) fn check(grid: &Grid, n_ranks: u32) -> Result<(), Diagnostic> {
    let wrong = |why: String| Err(Diagnostic::error(Blame::IllegalPlan, WRONG, why));
    let n_rows = grid.rows.len();
    if n_rows != n_ranks as usize {
        return wrong(format!("it has {n_rows} rows for {n_ranks} pipeline ranks"));
    }
    for (rank, row) in (0..n_ranks).zip(&grid.rows) {
        if let Some(cell) = row.iter().find(|cell| cell.stage.0 % n_ranks != rank) {
            let of_rank = cell.stage.0 % n_ranks;
            return wrong(format!("row {} has `{cell}`, a stage of rank {of_rank}", rank + 1));
        }
    }
    Ok(())
}

const WRONG: &str = "wrong-schedule";

/// What is wrong with a plan whose schedule is a file's, told of the file.
pub(super) fn blamed(error: Diagnostic, file: &Path) -> Diagnostic {
    if error.blame != Blame::IllegalPlan {
        return error;
    }
    let message =
        format!("`{}` is no schedule of these settings: {}", file.display(), error.message);
    let error =
        Diagnostic { code: WRONG, blame: Blame::Input, message, hints: Vec::new(), ..error };
    error.fact("file", file.display().to_string()).hint(
        "give the one that was written with the settings: a row for each rank, in their order",
    )
}
