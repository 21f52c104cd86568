//! Every command in README.md and docs/ that shows its output prints that output; `MESHWRIGHT_BLESS=1`
//! writes the outputs anew.
//!
//! A block begins with ```` ```console ````, its commands with `$ `. The blocks of a page run in one
//! folder, in order, with the repository's `examples` in it. A block shows stdout, and stderr too where
//! the command fails. Commands that need a GPU, a server or minutes are ```` ```sh ```` blocks.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::folder::VARIABLES;

/// Columns of the terminal that blocks show.
const COLUMNS: &str = "88";

/// What depends on the speed of this machine or on its time limit: `#` is any number, `~` any one word (a unit).
const TRANSIENT: [&str; 11] = [
    "found in # ~",
    "planned in # ~",
    "# s; stopped:",
    "(# of # parallelism settings expanded, # plans simulated, # layer splits improved)",
    "(# of # parallelism settings expanded, # plans simulated)",
    "(# plans simulated)",
    "(# plans simulated, # s)",
    "(# plan simulated, # s)",
    "(finished, # ~",
    "(proved-optimal, # ~",
    "(# priced, # ~",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> =
        docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    pages.sort();
    pages.insert(0, root().join("README.md"));
    pages
}

/// Commands of the Makefile's `demo` that run the program, as `make` prints them.
fn demo() -> Vec<String> {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let (_, rest) = makefile.split_once("\ndemo:").unwrap();
    let (recipe, _) = rest.split_once("\n\n").unwrap();
    let commands = recipe.split("\n\ttarget/release/").skip(1);
    commands.map(|command| command.split("\n\t@").next().unwrap().replace("\n\t", "\n")).collect()
}

/// What a command line shows in a folder.
fn shown(line: &str, folder: &Path) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_meshwright"));
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new("sh");
    for name in VARIABLES {
        command.env_remove(format!("MESHWRIGHT_{name}"));
    }
    // Searches over degrees end by themselves; a busy machine needs more than the default limit.
    if line.starts_with("meshwright train") && !line.contains("--deterministic") {
        command.env("MESHWRIGHT_TIME_LIMIT", "10m");
    }
    let ran = command
        .args(["-c", line])
        .env("PATH", format!("{}:{path}", program.parent().unwrap().display()))
        .env("COLUMNS", COLUMNS)
        .current_dir(folder)
        .output()
        .unwrap();
    let mut text = String::from_utf8(ran.stdout).unwrap();
    if !ran.status.success() {
        text.push_str(&String::from_utf8_lossy(&ran.stderr));
    }
    text
}

/// What a command of a block prints; `make demo` prints each of its commands before the output.
fn printed(line: &str, folder: &Path) -> String {
    if line != "make demo" {
        return shown(line, folder);
    }
    fs::create_dir(folder.join("out")).unwrap();
    let outputs = demo().into_iter().map(|command| {
        let output = shown(&command, folder);
        format!("target/release/{command}\n{output}")
    });
    outputs.collect::<Vec<_>>().join("\n")
}

/// The commands of a block, each with the output below it.
fn commands(block: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut is_open = false;
    for line in block.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            found.push((command.to_owned(), String::new()));
        } else {
            let (command, output) = found.last_mut().expect("a block begins with `$ `");
            let part = if is_open { command } else { output };
            let _ = if is_open { write!(part, "\n{line}") } else { writeln!(part, "{line}") };
        }
        is_open = (is_open || line.starts_with("$ ")) && line.ends_with('\\');
    }
    found
}

/// Whether a word matches one of a pattern.
fn is_like(pattern: &str, word: &str) -> bool {
    let Some((before, after)) = pattern.split_once('#') else {
        return pattern == "~" || pattern == word;
    };
    let number = word.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    number.is_some_and(|number| number.bytes().all(|c| c.is_ascii_digit() || b".,".contains(&c)))
}

/// Words of a text, those that depend on the machine's speed as their patterns.
fn lasting(text: &str) -> Vec<&str> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    for pattern in TRANSIENT {
        let pattern: Vec<&str> = pattern.split(' ').collect();
        for at in 0..(words.len() + 1).saturating_sub(pattern.len()) {
            let here = &mut words[at..at + pattern.len()];
            if pattern.iter().zip(here.iter()).all(|(part, word)| is_like(part, word)) {
                here.copy_from_slice(&pattern);
            }
        }
    }
    words
}

/// The page with the outputs of today, and the commands that print something else.
fn judged(page: &str) -> (String, Vec<String>) {
    let folder = TempDir::new().unwrap();
    std::os::unix::fs::symlink(root().join("examples"), folder.path().join("examples")).unwrap();
    let mut parts = page.split("```console\n");
    let mut written = parts.next().unwrap().to_owned();
    let mut differing = Vec::new();
    for part in parts {
        let (block, after) = part.split_once("```").unwrap();
        written.push_str("```console\n");
        for (line, stated) in commands(block) {
            let mut output = printed(&line, folder.path());
            let fails = |text: &str| text.lines().any(|line| line.starts_with("error["));
            let is_meant = stated.is_empty() || fails(&stated);
            assert!(is_meant || !fails(&output), "$ {line}\nfails:\n{output}");
            if lasting(&output) != lasting(&stated) {
                differing.push(format!("$ {line}\nstated:\n{stated}printed:\n{output}"));
            } else if output.lines().count() == stated.lines().count() {
                output = stated;
            }
            let _ = write!(written, "$ {line}\n{output}");
        }
        let _ = write!(written, "```{after}");
    }
    (written, differing)
}

#[test]
fn commands_of_readme_and_docs_print_what_the_pages_show() {
    let is_blessing = std::env::var_os("MESHWRIGHT_BLESS").is_some();
    let mut differing = Vec::new();
    let mut n_blocks = 0;
    for path in pages() {
        let page = fs::read_to_string(&path).unwrap();
        n_blocks += page.matches("```console\n").count();
        let (written, differences) = judged(&page);
        if is_blessing && written != page {
            fs::write(&path, written).unwrap();
        }
        differing.extend(
            differences.into_iter().map(|difference| format!("{}:\n{difference}", path.display())),
        );
    }
    assert!(n_blocks > 20, "{n_blocks} blocks");
    assert!(
        is_blessing || differing.is_empty(),
        "MESHWRIGHT_BLESS=1 writes these anew:\n{}",
        differing.join("\n")
    );
}

#[test]
fn commands_without_output_have_flags_that_the_program_takes() {
    let folder = TempDir::new().unwrap();
    for path in pages() {
        let page = fs::read_to_string(&path).unwrap();
        for part in page.split("```sh\n").skip(1) {
            let block = part.split("```").next().unwrap().replace("\\\n", " ");
            for line in block.lines().filter(|line| line.starts_with("meshwright ")) {
                let command = line.split(" #").next().unwrap();
                let output = shown(&format!("{command} --help"), folder.path());
                let is_taken = output.contains("Usage: meshwright");
                assert!(is_taken, "{}: {line}\n{output}", path.display());
            }
        }
    }
}

/// The anchors of a page's headings, as GitHub writes them.
fn anchors(page: &str) -> Vec<String> {
    let outside = page.split("\n```").step_by(2);
    let headings = outside.flat_map(str::lines).filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let marks = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        marks.collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn links_of_readme_and_docs_lead_somewhere() {
    let mut broken = Vec::new();
    for path in pages() {
        let page = fs::read_to_string(&path).unwrap();
        for link in page.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            if link.contains("://") || link.contains(char::is_whitespace) {
                continue;
            }
            let to =
                if file.is_empty() { path.clone() } else { path.with_file_name("").join(file) };
            let is_there = match to.extension().and_then(|extension| extension.to_str()) {
                Some("md") => fs::read_to_string(&to).is_ok_and(|text| {
                    anchor.is_empty() || anchors(&text).iter().any(|heading| heading == anchor)
                }),
                _ => to.exists(),
            };
            if !is_there {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn figures_of_the_moment_are_masked_and_no_others() {
    let masked = |text| lasting(text).join(" ");
    assert_eq!(
        masked("bound 1.2 s; planned in 277.7 ms; stopped"),
        "bound 1.2 s; planned in # ~ stopped"
    );
    assert_eq!(masked("optimal; 0.003 s; stopped: proved"), "optimal; # s; stopped: proved");
    assert_eq!(
        masked("(12 of 5,839 parallelism settings expanded, 2 plans simulated)"),
        "(# of # parallelism settings expanded, # plans simulated)"
    );
    assert_eq!(masked("step 3.61 s found"), "step 3.61 s found");
    let block = "$ one \\\n    two\nout\n$ three\n";
    let line = |command: &str, output: &str| (command.to_owned(), output.to_owned());
    assert_eq!(commands(block), [line("one \\\n    two", "out\n"), line("three", "")]);
}
