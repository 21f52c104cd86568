//! PyTorch, in a child process that prints its samples as JSON.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ir::diagnostic::{Blame, Diagnostic};
use ir::tensor::DType;
use serde::Deserialize;

use crate::measurement::{Sample, Task};
use crate::options::{Clock, Options, Part};

/// The script that measures, unless the user names another.
const SCRIPT: &str = include_str!("../../python/profile_torch.py");
/// How long a child may take past its own limit: torch starts slowly.
const GRACE: Duration = Duration::from_secs(60);
/// How often a child is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Most bytes of output that are read.
const MAX_OUTPUT: u64 = 16 << 20;

/// What a child said.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) kind: String,
    pub(crate) source: String,
    pub(crate) notes: BTreeMap<String, String>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) block_s: Option<f64>,
    pub(crate) n_skipped: usize,
}

#[derive(Deserialize)]
struct Output {
    torch: String,
    device: String,
    name: String,
    threads: u64,
    skipped: usize,
    block_s: Option<f64>,
    samples: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(flatten)]
    task: TaskRow,
    median_s: f64,
    dispersion: f64,
    batches: usize,
}

#[derive(Deserialize)]
#[serde(tag = "task", rename_all = "lowercase")]
enum TaskRow {
    Product { dtype: String, m: u64, k: u64, n: u64 },
    Stream { family: String, bytes: u64 },
    Transfer { link: String, bytes: u64 },
}

/// Runs the script and reads what it prints.
///
/// # Errors
/// `no-python`, `torch-failed` with the last line that the child wrote, `torch-timeout`,
/// `torch-output` for samples that cannot be.
pub(crate) fn measure(
    python: &Path,
    script: Option<&Path>,
    clock: Clock,
    options: &Options,
) -> Result<Answer, Diagnostic> {
    let folder = tempfile::tempdir().map_err(io)?;
    let script = match script {
        Some(path) => path.to_owned(),
        None => embedded(folder.path())?,
    };
    let mut command = Command::new(python);
    command
        .arg(script)
        .args(["--products", &options.n_products.to_string()])
        .args(["--repeats", &options.repeats.to_string()])
        .args(["--seed", &options.seed.to_string()])
        .args(["--seconds", &options.time.as_secs_f64().to_string()]);
    if options.part == Part::Products {
        command.arg("--only-products");
    }
    if clock == Clock::Processor {
        command.arg("--cpu-time");
    }
    let text = run(command, options.time + GRACE, folder.path())?;
    parse(&text)
}

fn embedded(folder: &Path) -> Result<PathBuf, Diagnostic> {
    let path = folder.join("profile_torch.py");
    File::create(&path).and_then(|mut file| file.write_all(SCRIPT.as_bytes())).map_err(io)?;
    Ok(path)
}

/// Output goes through files, so that a child that prints a lot never waits for us.
fn run(mut command: Command, time: Duration, folder: &Path) -> Result<String, Diagnostic> {
    let open = |name: &str| {
        File::options().create(true).truncate(true).read(true).write(true).open(folder.join(name))
    };
    let (mut output, mut errors) = (open("output").map_err(io)?, open("errors").map_err(io)?);
    command.stdin(Stdio::null());
    command.stdout(output.try_clone().map_err(io)?).stderr(errors.try_clone().map_err(io)?);
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|error| {
        Diagnostic::input("no-python", format!("`{program}` does not start: {error}"))
            .hint("name a Python interpreter that can import torch")
    })?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(io)? {
            break status;
        }
        if start.elapsed() > time {
            child.kill().and_then(|()| child.wait().map(drop)).map_err(io)?;
            let message = format!("`{program}` did not end within {} s", time.as_secs());
            return Err(Diagnostic::input("torch-timeout", message));
        }
        thread::sleep(LOOK);
    };
    if !status.success() {
        let text = contents(&mut errors)?;
        let last = text.lines().last().unwrap_or("it said nothing").trim_end_matches('.');
        let message = format!("the measuring script failed: {last}");
        return Err(Diagnostic::input("torch-failed", message)
            .fact("python", program)
            .hint("name a Python interpreter that can import torch"));
    }
    contents(&mut output)
}

fn contents(file: &mut File) -> Result<String, Diagnostic> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    file.take(MAX_OUTPUT).read_to_end(&mut bytes).map_err(io)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn io(error: std::io::Error) -> Diagnostic {
    Diagnostic::error(Blame::Input, "temporary-files", format!("a temporary file failed: {error}"))
}

/// The last line of the output; warnings of libraries may stand before it.
fn parse(text: &str) -> Result<Answer, Diagnostic> {
    let line = text.lines().last().unwrap_or_default();
    let output: Output = serde_json::from_str(line)
        .map_err(|error| wrong(&format!("the last line is no list of samples: {error}")))?;
    let mut samples = Vec::with_capacity(output.samples.len());
    for row in output.samples {
        samples.push(sample(row)?);
    }
    let notes = BTreeMap::from([
        ("torch".to_owned(), output.torch.clone()),
        ("torch-device".to_owned(), output.name),
        ("torch-threads".to_owned(), output.threads.to_string()),
    ]);
    Ok(Answer {
        kind: format!("torch-{}", output.device),
        source: format!("torch {} on {}", output.torch, output.device),
        notes,
        samples,
        block_s: output.block_s.map(positive).transpose()?,
        n_skipped: output.skipped,
    })
}

fn sample(row: Row) -> Result<Sample, Diagnostic> {
    let task = match row.task {
        TaskRow::Product { dtype, m, k, n } => {
            let known = [DType::F64, DType::F32, DType::F16, DType::Bf16, DType::F8];
            let dtype = known
                .into_iter()
                .find(|known| known.name() == dtype)
                .ok_or_else(|| wrong(&format!("`{dtype}` is no element type")))?;
            Task::Product { dtype, m, k, n }
        }
        TaskRow::Stream { family, bytes } => Task::Stream { family, bytes },
        TaskRow::Transfer { link, bytes } => Task::Transfer { link, bytes },
    };
    if !row.dispersion.is_finite() || row.dispersion < 0.0 {
        return Err(wrong("a sample has no spread"));
    }
    if task.bytes() <= 0.0 {
        return Err(wrong("a sample moves no bytes"));
    }
    Ok(Sample {
        task,
        median_s: positive(row.median_s)?,
        dispersion: row.dispersion,
        n_batches: row.batches,
    })
}

fn positive(seconds: f64) -> Result<f64, Diagnostic> {
    let is_time = seconds.is_finite() && seconds > 0.0;
    is_time.then_some(seconds).ok_or_else(|| wrong("a sample has no positive time"))
}

fn wrong(what: &str) -> Diagnostic {
    Diagnostic::input("torch-output", format!("the measuring script printed nonsense: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Engine;

    const GOOD: &str = r#"{"torch":"2","device":"cpu","name":"cpu","threads":2,"skipped":0,"block_s":1e-4,"samples":[{"task":"product","dtype":"fp32","m":1,"k":2,"n":3,"median_s":1e-6,"dispersion":0.0,"batches":3},{"task":"stream","family":"copy","bytes":8,"median_s":1e-6,"dispersion":0.1,"batches":3}]}"#;

    #[test]
    fn samples_are_read_and_nonsense_is_refused() {
        let answer = parse(&format!("a warning\n{GOOD}\n")).unwrap();
        assert_eq!((answer.kind.as_str(), answer.samples.len()), ("torch-cpu", 2));
        for (from, to) in [
            ("1e-6", "0"),
            ("1e-6", "-1"),
            ("1e-6", "NaN"),
            ("fp32", "fp31"),
            ("\"bytes\":8", "\"bytes\":0"),
            ("1e-4", "0"),
            ("\"task\":\"stream\"", "\"task\":\"dream\""),
            ("}]}", "}]"),
        ] {
            let error = parse(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert_eq!(error.code, "torch-output", "{to}");
        }
    }

    #[test]
    fn a_child_that_cannot_start_fails_or_hangs_is_reported() {
        let options = |python: &str| {
            let python = PathBuf::from(python);
            Options::new(Engine::Torch { python, script: None, clock: Clock::Wall })
        };
        let run = |python: &str, script: Option<&str>| {
            measure(Path::new(python), script.map(Path::new), Clock::Wall, &options(python))
                .unwrap_err()
                .code
        };
        assert_eq!(run("/nowhere/python", None), "no-python");
        assert_eq!(run("false", Some("x")), "torch-failed");
        assert_eq!(run("true", Some("x")), "torch-output");
        let folder = tempfile::tempdir().unwrap();
        let mut sleeper = Command::new("sleep");
        sleeper.arg("30");
        let error = super::run(sleeper, Duration::from_millis(10), folder.path()).unwrap_err();
        assert_eq!(error.code, "torch-timeout");
    }
}
