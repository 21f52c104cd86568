//! What verbs answer to plans of every kind, frozen to the byte: exit codes, all that is printed, and the
//! files that are written. Whatever is rebuilt leaves it as it is, or changes tests/data/frozen.json, line
//! by line. `MESHWRIGHT_BLESS=1` writes it anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::flags;
use super::folder::Folder;
use super::kinds::{self, KINDS, Kind, Small};

/// Differing lines of which the new answer is shown, and how much of it.
const SHOWN: usize = 40;
const HEAD: usize = 12;

/// What was answered to a line.
struct Answer {
    code: i32,
    text: String,
}

impl Answer {
    fn digest(&self) -> String {
        let hash = Sha256::digest(&self.text);
        hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    fn head(&self) -> String {
        self.text.lines().take(HEAD).map(|line| format!("    {line}\n")).collect()
    }
}

/// By line, in one folder.
struct Answers {
    folder: Folder,
    all: BTreeMap<String, Answer>,
}

impl Answers {
    /// Runs a line; plans that it writes stay for others.
    fn answer(&self, line: &str) -> Answer {
        let before = self.folder.list();
        let ran = self.folder.run(line);
        let mut text = format!("exit {}\n{}\n{}\n", ran.code, ran.stdout, ran.stderr);
        for name in self.folder.list().into_iter().filter(|name| !before.contains(name)) {
            let path = self.folder.path(&name);
            written(&path, &mut text);
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else if !name.ends_with(".plan") {
                fs::remove_file(path).unwrap();
            }
        }
        Answer { code: ran.code, text: masked(&text, &self.folder.path("")) }
    }

    fn freeze(&mut self, line: &str) -> i32 {
        let answer = self.answer(line);
        let code = answer.code;
        assert!(self.all.insert(line.to_owned(), answer).is_none(), "{line} is there twice");
        code
    }

    /// A plan of a kind, as text, as JSON and as a file; whether there is one.
    fn plan(&mut self, kind: &Kind, index: usize) -> bool {
        let line = kind.plans[index].line();
        self.freeze(&line);
        self.freeze(&format!("{line} --json -o {}", kind.file(index))) == 0
    }

    fn read(&mut self, kind: &Kind, index: usize, other: usize) {
        let (plan, file) = (&kind.plans[index], kind.file(index));
        for verb in ["verify", "simulate", "explain"] {
            self.freeze(&plan.read(verb, &file));
        }
        self.freeze(&format!("{} --json", plan.read("explain", &file)));
        self.freeze(&plan.read("compare", &format!("{file} {file}")));
        if other != index {
            let both = format!("{file} {}", kind.file(other));
            self.freeze(&format!("compare {both}"));
            self.freeze(&plan.read("compare", &both));
        }
    }

    fn export(&mut self, plan: &Small, file: &str, targets: &[&str]) {
        for target in targets {
            self.freeze(&format!("{} --target {target} -o out", plan.read("export", file)));
        }
    }

    /// All formats, its own as folders too, and all flags that it refuses.
    fn all_of(&mut self, kind: &Kind) {
        let (plan, file) = (&kind.plans[0], kind.file(0));
        self.export(plan, &file, &targets());
        for target in kind.targets {
            self.freeze(&format!("{} --target {target} --to out", plan.read("export", &file)));
        }
        let line = plan.line();
        let is_free = |words: &&str| !line.contains(words.split(' ').next().unwrap());
        for words in flags::refused().into_iter().filter(is_free) {
            let line = format!("{line} {words}");
            let answer = self.answer(&line);
            // A page is refused by a program without pages, whatever the kind.
            if answer.code == 2 && !answer.text.contains("error[no-pages]") {
                self.all.insert(line, answer);
            }
        }
    }
}

/// All formats that there are.
fn targets() -> Vec<&'static str> {
    exporters::targets().iter().map(|row| row.name).collect()
}

/// Name and content of a file, or of all files of a folder.
fn written(path: &Path, text: &mut String) {
    *text += &format!("{}\n", path.file_name().unwrap().display());
    if path.is_dir() {
        let mut paths: Vec<_> =
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.iter().for_each(|path| written(path, text));
    } else {
        *text += &String::from_utf8_lossy(&fs::read(path).unwrap());
    }
}

/// Without what the moment, the machine and the build change.
pub(super) fn masked(text: &str, folder: &Path) -> String {
    let folder = folder.display().to_string();
    let text = text.replace(&folder, "FOLDER/").replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let (mut stable, mut is_run) = (String::new(), false);
    for line in text.lines() {
        is_run |= line == "  \"run\": {";
        if !is_run {
            stable += &format!("{line}\n");
        }
        is_run &= !line.starts_with("  }");
    }
    // Over ends of lines, where a time may be cut.
    stable.split(';').filter(|part| !is_time(part)).collect::<Vec<_>>().join(";")
}

fn is_time(part: &str) -> bool {
    match part.split_whitespace().collect::<Vec<_>>()[..] {
        [seconds, "s"] => seconds.parse::<f64>().is_ok(),
        ["planned", "in", ..] => true,
        _ => false,
    }
}

fn frozen(kind: &Kind) -> BTreeMap<String, Answer> {
    let mut answers = Answers { folder: kinds::folder(), all: BTreeMap::new() };
    let made: Vec<usize> =
        (0..kind.plans.len()).filter(|index| answers.plan(kind, *index)).collect();
    for (at, index) in made.iter().enumerate() {
        let other = made[(at + 1) % made.len()];
        answers.read(kind, *index, other);
        if *index > 0 {
            answers.export(&kind.plans[*index], &kind.file(*index), kind.targets);
        }
    }
    answers.all_of(kind);
    answers.all
}

/// Of every kind, two at a time.
fn all_frozen() -> BTreeMap<String, Answer> {
    let (kinds, all) = (Mutex::new(KINDS.iter()), Mutex::new(BTreeMap::new()));
    let next = || kinds.lock().unwrap().next();
    let work = || {
        while let Some(kind) = next() {
            let answers = frozen(kind);
            all.lock().unwrap().extend(answers);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    all.into_inner().unwrap()
}

#[test]
fn answers_are_those_that_were_frozen() {
    let now = all_frozen();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/frozen.json");
    if std::env::var_os("MESHWRIGHT_BLESS").is_some() {
        let digests: BTreeMap<&String, String> =
            now.iter().map(|(line, answer)| (line, answer.digest())).collect();
        fs::write(&file, format!("{:#}\n", json!(digests))).unwrap();
    }
    let frozen = fs::read_to_string(&file).unwrap();
    let frozen: BTreeMap<String, String> = serde_json::from_str(&frozen).unwrap();
    let mut changed = Vec::new();
    for (line, answer) in &now {
        match frozen.get(line) {
            Some(digest) if *digest == answer.digest() => {}
            known => {
                let what = if known.is_some() { "now" } else { "new" };
                changed.push(format!("{line}\n  is {what}:\n{}", answer.head()));
            }
        }
    }
    let gone = frozen.keys().filter(|line| !now.contains_key(*line));
    changed.extend(gone.map(|line| format!("{line}\n  is gone\n")));
    let shown: String = changed.iter().take(SHOWN).map(String::as_str).collect();
    assert!(
        changed.is_empty(),
        "{} of {} changed:\n{shown}Where that is meant, MESHWRIGHT_BLESS=1 writes {} anew.",
        changed.len(),
        now.len(),
        file.display()
    );
}
