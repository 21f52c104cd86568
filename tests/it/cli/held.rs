//! Limits of time, signals, and files: what a run was told it keeps, and nothing that was found is
//! lost.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::folder::{Folder, diamond, instance};
use super::followed::layers;
use super::training::CLUSTER;

/// The whole time of a run, from the first byte that it reads to the last that it writes.
#[test]
fn a_time_limit_counts_from_the_first_byte_to_the_last() {
    let folder = Folder::new(&layers(4_000, 3));
    for limit in [0.2, 1.0] {
        let started = Instant::now();
        let ran = folder.run(&format!("plan model.json --time-limit {limit} --json"));
        let took = started.elapsed().as_secs_f64();
        assert!([0, 5].contains(&ran.code), "{}", ran.stdout);
        // Only a run that does not look at the clock takes so long.
        assert!(took <= 10.0 + limit, "{took} s of {limit} s");
    }
}

/// Ways out are looked for within the limit as well.
#[test]
fn a_time_limit_holds_where_nothing_fits() {
    let mut model = layers(3_000, 4);
    for device in model["devices"].as_array_mut().unwrap() {
        device["limit"] = json!(100);
    }
    let folder = Folder::new(&model);
    let started = Instant::now();
    folder.run("plan model.json --time-limit 3").exits(4);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

#[cfg(unix)]
#[test]
fn a_signal_ends_a_run_with_the_best_plan() {
    let folder = Folder::new(&layers(600, 5));
    for (wait, signal) in [(1_500, "INT"), (1_500, "TERM")] {
        let run = Command::new(env!("CARGO_BIN_EXE_meshwright"))
            .args(["plan", "model.json", "--force", "-o", "plan.json", "--time-limit", "60"])
            .current_dir(folder.path("."))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        let signalled_at = Instant::now();
        let id = run.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
        let output = run.wait_with_output().unwrap();
        assert!(signalled_at.elapsed() < Duration::from_secs(20), "{:?}", signalled_at.elapsed());
        let code = output.status.code();
        assert_eq!(code, Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        folder.run("verify plan.json --model model.json").exits(0);
    }
}

#[test]
fn a_limit_that_no_clock_holds_is_refused() {
    let folder = Folder::new(&diamond());
    let ran = folder.run("plan model.json --time-limit 1e19").exits(2);
    assert!(ran.stderr.contains("too long"), "{}", ran.stderr);
    folder.run("plan model.json --algorithm m-etf --time-limit 1e6").exits(0);
}

#[test]
fn times_that_no_clock_counts_are_no_proof() {
    let mut slow = diamond();
    slow["ops"][1]["time_ns"]["k"] = json!(u64::MAX / 2);
    let mut link = diamond();
    link["link"]["bytes_per_s"] = json!(1e-30);
    for model in [slow, link] {
        let folder = Folder::new(&model);
        let ran = folder.run("plan model.json --json").exits(3).json();
        assert_eq!(ran["error"]["code"], "out-of-range", "{ran}");
    }
}

#[test]
fn nothing_to_plan_is_refused() {
    let folder = Folder::new(&instance(Vec::new(), 100));
    folder.run("plan model.json").exits(3);
    folder.write("empty.json", "");
    folder.run("plan empty.json").exits(3);
}

#[test]
fn no_input_is_overwritten() {
    let folder = Folder::new(&diamond());
    folder.write("cluster.yaml", CLUSTER);
    folder.write("c.yaml", "forbid: {}\n");
    folder.write("profile.json", "{}");
    let line = "plan model.json --algorithm m-etf --force --cluster cluster.yaml --constraints \
        c.yaml --profile profile.json";
    for input in ["model.json", "cluster.yaml", "c.yaml", "profile.json"] {
        for way in ["-o", "--export trace=", "--plot"] {
            let way =
                if way.ends_with('=') { format!("{way}{input}") } else { format!("{way} {input}") };
            let ran = folder.run(&format!("{line} {way}")).exits(2);
            assert!(ran.stderr.contains("error[same-file]"), "{way}: {}", ran.stderr);
        }
    }
    let ran = folder
        .run("calibrate table.csv --base profile.json --kind k -o profile.json --force")
        .exits(2);
    assert!(ran.stderr.contains("error[same-file]"), "{}", ran.stderr);
}

/// An export that the format can't take: no file appears, and the plan is kept all the same.
#[test]
fn files_appear_together_or_not_at_all() {
    let folder = Folder::new(&diamond());
    let line = "plan model.json --algorithm m-etf -o plan.json --export trace=t.json --export";
    // No launcher of training runs takes a placement of ops.
    let ran = folder.run(&format!("{line} megatron=m.args"));
    assert_ne!(ran.code, 0);
    let files = folder.list();
    assert!(!files.contains(&"plan.json".to_owned()), "{files:?}");
    assert!(!files.contains(&"t.json".to_owned()), "{files:?}");
    if let Some(name) = files.iter().find(|name| name.starts_with("plan.json.kept-")) {
        assert!(ran.stderr.contains(name), "{}", ran.stderr);
        folder.run(&format!("verify {name} --model model.json")).exits(0);
    }
}

/// A file that may not grow: a sentence and exit code 1 or 2, and the plan on stderr.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_loses_no_plan() {
    let folder = Folder::new(&layers(200, 6));
    let program = env!("CARGO_BIN_EXE_meshwright");
    let line = format!("ulimit -f 4; {program} plan model.json --algorithm m-etf -o plan.json");
    let output = Command::new("bash")
        .args(["-c", &line])
        .env("TMPDIR", folder.path("."))
        .current_dir(folder.path("."))
        .output()
        .unwrap();
    assert!(matches!(output.status.code(), Some(1 | 2)), "{:?}", output.status);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("error[write-failed]"), "{stderr}");
    assert!(stderr.contains("meshwright.plan/1"), "the plan itself: {stderr}");
    assert_eq!(folder.list(), ["model.json"]);
}

/// Memory that is not there: a sentence and exit code 1.
#[cfg(target_os = "linux")]
#[test]
fn out_of_memory_ends_with_a_sentence() {
    let folder = Folder::new(&layers(40_000, 7));
    let program = env!("CARGO_BIN_EXE_meshwright");
    let line = format!("ulimit -v 120000; {program} import model.json");
    let ran = Command::new("bash").args(["-c", &line]).current_dir(folder.path(".")).output();
    let output = ran.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        assert_eq!(output.status.code(), Some(1), "{:?} {stderr}", output.status);
        assert!(stderr.contains("error["), "{stderr}");
    }
}

/// Of plans that are equally good by any cost model, the simplest.
#[test]
fn a_hair_of_time_is_not_worth_a_device() {
    // One long chain, and an op beside it that takes a thousandth of the time.
    let op = |id: u64, time: u64, inputs: &[u64]| {
        json!({
            "id": id, "name": format!("op{id}"), "time_ns": { "k": time }, "persistent": 1,
            "temp": 0, "inputs": inputs, "outputs": [{ "tensor": 100 + id, "bytes": 10 }],
        })
    };
    let mut ops: Vec<Value> = (0..12)
        .map(|id| if id == 0 { op(0, 10_000, &[]) } else { op(id, 10_000, &[99 + id]) })
        .collect();
    ops.push(op(12, 300, &[100]));
    let folder = Folder::new(&instance(ops, 1_000_000));
    let ran = folder.run("plan model.json --json").exits(0).json();
    let used: std::collections::BTreeSet<String> = ran["plan"]["placement"]
        .as_array()
        .unwrap()
        .iter()
        .map(|placed| placed["device"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(used.len(), 1, "{used:?}");
    let (value, best) = (ran["plan"]["cost"]["step_time_ns"].clone(), ran["fastest_ns"].clone());
    assert_eq!((value.as_u64(), best.as_u64()), (Some(120_300), Some(120_000)));
    let stdout = folder.run("plan model.json").exits(0).stdout;
    assert!(stdout.lines().take(8).any(|line| line.starts_with("  step     120")), "{stdout}");
    let words: Vec<&str> = stdout.split_whitespace().collect();
    assert!(words.join(" ").contains("simplest within 0.5 %"), "{stdout}");
    assert!(stdout.lines().count() <= 24, "one page: {stdout}");
    assert!(folder.run("plan model.json --all").exits(0).stdout.contains("m-topo"));
    // A gap that was asked for is kept.
    let ran = folder.run("plan model.json --gap 0.1% --json").exits(0).json();
    assert!(ran["gap"].as_f64().unwrap() <= 0.001, "{}", ran["gap"]);
}

/// Each answer says what it is priced by, and how the same is planned otherwise.
#[test]
fn an_answer_names_its_price_and_the_other_way() {
    let model = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/onnx_features/tied_embedding_head.onnx");
    let folder = Folder::new(&diamond());
    folder.write("cluster.yaml", CLUSTER);
    let model = model.to_str().unwrap();
    let line =
        format!("plan {model} --cluster cluster.yaml --workload training --algorithm single --all");
    let ran = folder.run(&line).exits(0);
    assert!(ran.stdout.contains("priced as megatron-core"), "{}", ran.stdout);
    assert!(ran.stdout.contains("--global-batch"), "{}", ran.stdout);
}

/// One op that no rule knows, 64 x 64 floats in and out, as ONNX writes it.
fn unknown_op() -> Vec<u8> {
    fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
        [&[field << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
    }
    fn number(field: u8, value: u8) -> Vec<u8> {
        vec![field << 3, value]
    }
    let extent = bytes(1, &number(1, 64));
    let shape = bytes(2, &[extent.clone(), extent].concat());
    let matrix = bytes(2, &bytes(1, &[number(1, 1), shape].concat()));
    let value = |name: &str| [bytes(1, name.as_bytes()), matrix.clone()].concat();
    let node = [(1, "x"), (2, "y"), (3, "odd"), (4, "Odd"), (7, "com.example")];
    let node: Vec<u8> = node.iter().flat_map(|(id, text)| bytes(*id, text.as_bytes())).collect();
    let graph =
        [bytes(1, &node), bytes(2, b"g"), bytes(11, &value("x")), bytes(12, &value("y"))].concat();
    let operators = |domain: &str, version| {
        bytes(8, &[bytes(1, domain.as_bytes()), number(2, version)].concat())
    };
    [number(1, 8), bytes(7, &graph), operators("", 17), operators("com.example", 1)].concat()
}

/// Nothing is proved of times that were guessed, and the answer says so where people look.
#[test]
fn an_answer_that_rests_on_guesses_says_so_and_is_no_optimum() {
    let folder = Folder::new(&diamond());
    folder.write("cluster.yaml", CLUSTER);
    std::fs::write(folder.path("odd.onnx"), unknown_op()).unwrap();
    for objective in ["step-time", "max-load"] {
        let line = format!("plan odd.onnx --cluster cluster.yaml --objective {objective}");
        let stdout = folder.run(&line).exits(0).stdout;
        let answer = stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(answer.contains("100 % of the ops have guessed times"), "{stdout}");
        assert!(!answer.contains("optim"), "{stdout}");
    }
    let known = folder.run("plan model.json --algorithm single").exits(0).stdout;
    assert!(known.contains("than the best of all") && !known.contains("guessed times"), "{known}");
}

/// Where the system starts no thread, the one that there is does all the work. Limits of processes
/// do not bind root, so the run is another user's.
#[cfg(target_os = "linux")]
#[test]
fn a_run_without_threads_is_answered_all_the_same() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;

    const NOBODY: u32 = 65_534;
    let folder = Folder::new(&diamond());
    folder.write("config.json", &super::training::config().to_string());
    folder.write("cluster.yaml", CLUSTER);
    folder.write("load.json", crate::given_costs::LOAD);
    std::fs::copy(env!("CARGO_BIN_EXE_meshwright"), folder.path("program")).unwrap();
    let all = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path("."), all).unwrap();
    let is_root = std::fs::metadata(folder.path(".")).unwrap().uid() == 0;
    for line in [
        "plan model.json",
        "plan load.json --algorithm milp --time-limit 2s",
        "plan config.json --cluster cluster.yaml --global-batch 8 --sequence-length 512",
        "plan config.json --cluster cluster.yaml --global-batch 8 --sequence-length 512 --threads 4",
    ] {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("ulimit -u 1; exec ./program {line}")]);
        if is_root {
            command.uid(NOBODY);
        }
        let output = command.current_dir(folder.path(".")).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{line}: {stderr}");
    }
}
