//! Scripts that start a launcher.

use ir::diagnostic::Diagnostic;

use super::flags::{QUOTES, quoted};
use super::launchers::Launcher;
use super::shell;

/// A script with its values in place of variables; with its here-documents where the launch is in one.
///
/// # Errors
/// `bad-settings` where no command that runs has flags of the launcher, and those of [`shell::expanded`].
pub(super) fn substituted(launcher: Launcher, text: &str) -> Result<shell::Expanded, Diagnostic> {
    let mut expanded = shell::expanded(text, &[])?;
    if is_lost(launcher, text, &expanded.text) {
        expanded = shell::with_written(text)?;
    }
    expanded.check()?;
    check_lost(launcher, text, &expanded.text)?;
    Ok(expanded)
}

/// Whether a script has flags of a launcher, but in no command that it is known to run.
fn is_lost(launcher: Launcher, text: &str, words: &str) -> bool {
    // Quoted strings are text to print or other scripts; variables are already substituted.
    let is_run = |word: &&str| {
        let is_string = word.starts_with(QUOTES) && word.contains(char::is_whitespace);
        !is_string && (launcher.serves() || !shell::is_assignment(word))
    };
    let run: Vec<&str> = quoted(words).into_iter().filter(is_run).collect();
    // Assignments alone are an excerpt of a script.
    let is_script = !run.is_empty() || words.trim().is_empty();
    is_script
        && Launcher::guess(text) == Some(launcher)
        && Launcher::guess(&run.join(" ")).is_none()
}

/// Refuses such a script.
fn check_lost(launcher: Launcher, text: &str, words: &str) -> Result<(), Diagnostic> {
    if !is_lost(launcher, text, words) {
        return Ok(());
    }
    let message = "the script runs no command with flags of this launcher";
    Err(Diagnostic::input("bad-settings", message)
        .hint("give the flags as the program gets them, such as `bash -x` prints them"))
}

/// Refuses a variable without value.
pub(super) fn may_add(word: &str) -> Diagnostic {
    let shown: String = word.chars().take(60).collect();
    let message =
        format!("`{shown}` is not set here and may add flags of parallelism, batch or dtype");
    Diagnostic::input("bad-settings", message)
        .hint("give the flags as the program gets them, such as `bash -x` prints them")
}
