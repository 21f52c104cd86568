//! The README's demo is what `make demo` prints; `MESHWRIGHT_BLESS=1` writes it anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The commands of a target of the Makefile that run the program, without its name.
fn commands(target: &str) -> Vec<String> {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap().replace("\\\n", " ");
    let (_, rest) = makefile.split_once(&format!("\n{target}:")).unwrap();
    let recipe = rest.lines().skip(1).take_while(|line| line.starts_with('\t'));
    recipe
        .filter_map(|line| line.trim().strip_prefix("target/release/meshwright "))
        .map(str::to_owned)
        .collect()
}

/// What both commands print, with the launcher's flags between them as the recipe shows them.
fn demo() -> String {
    let folder = TempDir::new().unwrap();
    std::os::unix::fs::symlink(root().join("examples"), folder.path().join("examples")).unwrap();
    fs::create_dir(folder.path().join("out")).unwrap();
    let printed = |command: &String| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_meshwright"));
        let done = program.args(command.split_whitespace()).current_dir(&folder).output().unwrap();
        assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let printed: Vec<String> = commands("demo").iter().map(printed).collect();
    let [training, placement] = printed.as_slice() else { panic!("{printed:?}") };
    let flags = fs::read_to_string(folder.path().join("out/megatron.args")).unwrap();
    format!("{training}\n{flags}\n{placement}")
}

/// The text between two others, left out.
fn without(text: &str, from: &str, to: &str) -> String {
    let (before, rest) = text.split_once(from).unwrap_or_else(|| panic!("no {from:?} in {text}"));
    let (_, after) = rest.split_once(to).unwrap_or_else(|| panic!("no {to:?} in {text}"));
    format!("{before}{from}..{to}{after}")
}

/// The text without what depends on this machine's speed: how long a search took and how far it came,
/// and, of one that ends with its time limit, every figure.
fn lasting(text: &str) -> Vec<String> {
    let (training, placement) = text.split_once("\n\n--").unwrap();
    let (flags, placement) = placement.split_once("\n\n").unwrap();
    let joined = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let training = without(&joined(training), "found in ", " interval: ");
    let mut lines: Vec<String> = vec![training];
    lines.extend(flags.lines().map(str::to_owned));
    // A slower machine finds another plan by then; what the model is and how it is priced stays.
    let last = placement.trim_end().rsplit("origin of times").next().unwrap_or_default();
    lines.extend(last.lines().map(str::to_owned));
    lines
}

#[test]
fn the_demo_of_the_readme_is_what_it_prints() {
    let path: &Path = &root().join("README.md");
    let readme = fs::read_to_string(path).unwrap();
    let (before, rest) = readme.split_once("$ make demo\n").unwrap();
    let (stated, after) = rest.split_once("```").unwrap();
    let printed = demo();
    if std::env::var_os("MESHWRIGHT_BLESS").is_some() {
        fs::write(path, format!("{before}$ make demo\n{printed}```{after}")).unwrap();
        return;
    }
    assert_eq!(lasting(stated), lasting(&printed), "MESHWRIGHT_BLESS=1 writes it anew:\n{printed}");
}
