//! A temporary folder with a small model in it, and runs of the program there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with a small instance in it, and what is run there.
pub(super) struct Folder(TempDir);

/// What a run left behind.
pub(super) struct Ran {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Ran {
    /// All that was said on stderr, as one line.
    pub(super) fn talk(&self) -> String {
        self.stderr.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}:\n{}", self.stdout))
    }

    #[track_caller]
    pub(super) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

impl Folder {
    pub(super) fn new(model: &Value) -> Self {
        let folder = Self(TempDir::new().unwrap());
        folder.write("model.json", &model.to_string());
        folder
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Names of what lies in it, sorted.
    pub(super) fn list(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.path()).unwrap().map(|e| e.unwrap().file_name());
        let mut names: Vec<String> = names.map(|n| n.into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(super) fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    /// Takes from a plan file where its inputs are, so that no verb finds them.
    pub(super) fn forget_inputs(&self, name: &str) {
        let mut plan = self.json(name);
        plan.as_object_mut().unwrap().remove("inputs");
        self.write(name, &plan.to_string());
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(super) fn run(&self, line: &str) -> Ran {
        let words: Vec<&str> = line.split_whitespace().collect();
        run_in(self.0.path(), &words)
    }

    /// Plans with a row that is quick and sure.
    pub(super) fn planned(&self, name: &str) -> Value {
        self.run(&format!("plan model.json --algorithm m-etf -o {name}")).exits(0);
        serde_json::from_str(&self.read(name)).unwrap()
    }
}

/// What could change a run from outside, less its prefix.
pub(super) const VARIABLES: [&str; 8] =
    ["CLUSTER", "ALGORITHM", "TIME_LIMIT", "NODE_BUDGET", "SEED", "THREADS", "SERVER", "TOKEN"];

pub(super) fn run_in(folder: &Path, words: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshwright"));
    for name in VARIABLES {
        command.env_remove(format!("MESHWRIGHT_{name}"));
    }
    let Output { status, stdout, stderr } =
        command.args(words).env("COLUMNS", "100").current_dir(folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) }
}

pub(super) fn run(line: &str) -> Ran {
    run_in(Path::new("."), &line.split_whitespace().collect::<Vec<_>>())
}

/// `a` feeds `b` and `c`, which feed `d`; two equal devices.
pub(super) fn diamond() -> Value {
    let op = |id: u64, name: &str, inputs: &[u64]| {
        json!({
            "id": id,
            "name": name,
            "time_ns": { "k": 1000 },
            "persistent": 100,
            "temp": 0,
            "inputs": inputs,
            "outputs": [{ "tensor": 10 + id, "bytes": 10 }],
        })
    };
    instance(
        vec![op(0, "a", &[]), op(1, "b", &[10]), op(2, "c", &[10]), op(3, "d", &[11, 12])],
        1000,
    )
}

pub(super) fn instance(ops: Vec<Value>, limit: u64) -> Value {
    json!({
        "ops": ops,
        "devices": [
            { "id": 0, "kind": "k", "limit": limit },
            { "id": 1, "kind": "k", "limit": limit },
        ],
        "link": { "latency_ns": 1, "bytes_per_s": 1e9, "duplex": "full" },
    })
}

pub(super) fn alone(id: u64, persistent: u64) -> Value {
    json!({
        "id": id,
        "name": format!("op{id}"),
        "time_ns": { "k": 10 },
        "persistent": persistent,
        "temp": 0,
        "inputs": [],
        "outputs": [],
    })
}
