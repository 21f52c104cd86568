//! Runs of `calibrate --steps`.

use std::fmt::Write as _;

use super::folder::{Folder, diamond};

const HEADER: &str = "gpu,model,gpus,tp,pp,micro_batch,global_batch,hidden,heads,layers,seq,vocab,\
                      recompute,iter_s";

/// Steps at 45 % of an A100's rate, with full recompute, and 5 ms per micro-batch.
pub(super) fn steps(n: u64) -> String {
    let mut text = format!("{HEADER}\n");
    for i in 0..n {
        let (hidden, layers, tensor, pipeline) = (1024 << (i % 3), 8, 1 << (i / 3 % 3), 1 + i % 2);
        let (micro_batch, rounds) = (1 + i % 4, 4 + i / 12);
        let tokens = (micro_batch * rounds * 1024) as f64;
        let size = (hidden * hidden) as f64 * 12.0 * layers as f64 + 51_200.0 * hidden as f64;
        let gpus = tensor * pipeline;
        let time = 8.0 * tokens * size / (0.45 * 312e12 * gpus as f64) + 5e-3 * rounds as f64;
        writeln!(
            text,
            "A100,gpt,{gpus},{tensor},{pipeline},{micro_batch},{},{hidden},16,{layers},1024,51200,\
             full,{time}",
            micro_batch * rounds
        )
        .unwrap();
    }
    text
}

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("steps.csv", &steps(24));
    folder.write("two.csv", &steps(2));
    folder.write(
        "cluster.yaml",
        "name: c\nnodes:\n  - {count: 2, device: a100_sxm4_80gb, devices: 4, scaleup: nvlink3, \
         host: pcie4_x16, nics: 4}\nnetwork: {link: ib_hdr_200}\n",
    );
    folder
}

#[test]
fn steps_become_constants_of_a_stack_that_read_back() {
    let folder = folder();
    let ran = folder
        .run("calibrate --steps steps.csv -o p.json --stack megatron-deepspeed-2021")
        .exits(0);
    for part in ["24 steps of steps.csv", "nominal", "calibrated", "launch_floor_s", "worst row"] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    assert!(ran.stdout.contains("no: no row depends on it"), "{}", ran.stdout);
    assert!(ran.stdout.trim_end().ends_with("wrote p.json"), "{}", ran.stdout);
    assert!(ran.stdout.lines().all(|line| line.chars().count() <= 100), "{}", ran.stdout);
    let json = folder
        .run("calibrate --steps steps.csv -o q.json --json --stack megatron-deepspeed-2021")
        .exits(0)
        .json();
    let constants = &json["profile"]["stacks"]["megatron-deepspeed-2021"]["constants"];
    assert_eq!(json["steps"]["constants"].as_array().unwrap().len(), 11);
    for constant in json["steps"]["constants"].as_array().unwrap() {
        assert_eq!(constants[constant["name"].as_str().unwrap()], constant["fitted"]);
        if constant["told"] == false {
            assert_eq!(constant["fitted"], constant["nominal"], "{constant}");
        }
    }
    let error = |way: &str| json["steps"]["error"][way]["mean"].as_f64().unwrap();
    assert!(error("calibrated") < error("nominal"), "{}", json["steps"]["error"]);
    assert_eq!(folder.read("p.json"), folder.read("q.json"));
    // The base's constants are the nominal ones of the next run.
    let line = "calibrate --steps steps.csv --base p.json -o r.json --json --stack megatron-deepspeed-2021";
    let again = folder.run(line).exits(0).json();
    let nominal = again["steps"]["error"]["nominal"]["mean"].as_f64().unwrap();
    let with_table = json["steps"]["error"]["with_table"]["mean"].as_f64();
    assert!((nominal - with_table.unwrap_or(error("calibrated"))).abs() < 1e-9, "{again}");
}

#[test]
fn two_steps_are_warned_of() {
    let ran = folder().run("calibrate --steps two.csv -o p.json").exits(0);
    assert!(ran.stderr.contains("warning[few-steps]"), "{}", ran.stderr);
    assert!(ran.stderr.contains("dangerously few") && ran.stderr.contains("two.csv"));
}

#[test]
fn cluster_and_kernels_go_with_steps() {
    let folder = folder();
    let line = "calibrate --steps steps.csv --cluster cluster.yaml -o p.json";
    let ran = folder.run(line).exits(0);
    assert!(ran.stdout.contains("hosts of 4 a100_sxm4_80gb"), "{}", ran.stdout);
    let mut reduces = String::from("op,library,gpus,gpus_per_node,message_bytes,time_us\n");
    for power in 10..30 {
        let bytes = 1_u64 << power;
        writeln!(reduces, "all_reduce,nccl/2,4,4,{bytes},{}", 20.0 + bytes as f64 / 1.5e5).unwrap();
    }
    folder.write("nccl.csv", &reduces);
    let line = "calibrate nccl.csv --kind a100_sxm4_80gb --steps steps.csv -o q.json";
    let ran = folder.run(line).exits(0);
    assert!(ran.stdout.contains("all-reduces of 4 measured"), "{}", ran.stdout);
    assert!(ran.stdout.contains("all-reduce 4x4"), "{}", ran.stdout);
}

#[test]
fn hostile_steps_name_file_row_and_column() {
    let folder = folder();
    let good = "A100,gpt,8,2,2,1,8,1024,16,8,1024,51200,full,1.5";
    let with = |from: &str, to: &str| format!("{HEADER}\n{good}\n{}\n", good.replacen(from, to, 1));
    let cases = [
        ("empty", String::new(), "empty-table", ""),
        ("header", format!("{HEADER}\n"), "empty-table", ""),
        ("column", "gpu,model\nA100,a\n".to_owned(), "missing-column", "column"),
        ("nan", with("1.5", "NaN"), "bad-cell", "column iter_s"),
        ("negative", with("1.5", "-1"), "bad-cell", "column iter_s"),
        ("zero", with("1.5", "0"), "bad-cell", "column iter_s"),
        ("eternal", with("1.5", "1e300"), "step-out-of-range", "column iter_s"),
        ("ragged", with(",1.5", ""), "bad-table", "row 3"),
        ("odd", with("gpt,8", "gpt,7"), "bad-cell", "column gpus"),
        ("mixed", with("A100", "V100"), "mixed-devices", "column gpu"),
        ("wide", with("1024", "999999999999999"), "step-out-of-range", "column hidden"),
        ("deep", with("16,8,", "16,4294967295,"), "step-out-of-range", "column layers"),
        ("thin", with("16,8,", "16,1,"), "step-out-of-range", "column pp"),
        ("long", with("1,8,", "1,999999999999998,"), "step-out-of-range", "column global_batch"),
        ("garbage", "\u{0}\u{1},\n\u{3}".to_owned(), "bad-table", "row"),
    ];
    for (name, text, code, place) in cases {
        let file = format!("{name}.csv");
        folder.write(&file, &text);
        let ran = folder.run(&format!("calibrate --steps {file} -o never.json")).exits(3);
        assert!(ran.stderr.contains(&format!("error[{code}]")), "{name}: {}", ran.stderr);
        assert!(ran.stderr.contains(place) && ran.stderr.contains(&file), "{name}: {}", ran.stderr);
        assert!(!folder.list().contains(&"never.json".to_owned()));
    }
}

#[test]
fn what_steps_need_is_asked_for() {
    let folder = folder();
    folder.write("v100.csv", &steps(20).replace("A100", "V100"));
    let ran = folder.run("calibrate --steps v100.csv -o p.json").exits(2);
    assert!(ran.stderr.contains("error[no-cluster]"), "{}", ran.stderr);
    assert!(ran.stderr.contains("--cluster"), "{}", ran.stderr);
    let ran = folder.run("calibrate --steps steps.csv --stack megatron -o p.json").exits(2);
    assert!(ran.stderr.contains("error[unknown-stack]"), "{}", ran.stderr);
    assert!(ran.stderr.contains("megatron-core"), "{}", ran.stderr);
    folder.run("calibrate steps.csv --stack compiled -o p.json").exits(2);
    folder.run("calibrate --steps steps.csv -o steps.csv --force").exits(2);
    assert_eq!(folder.read("steps.csv"), steps(24));
}

/// Of a few rows one that is far off is named as well, and moves nothing.
#[test]
fn a_row_of_a_few_that_no_run_explains_is_named() {
    let folder = folder();
    let table = steps(6);
    for (factor, is_named) in [(1.0, false), (10.0, true), (1e3, true)] {
        let mut lines: Vec<String> = table.lines().map(str::to_owned).collect();
        let (before, time) = lines[2].rsplit_once(',').unwrap();
        lines[2] = format!("{before},{}", time.parse::<f64>().unwrap() * factor);
        folder.write("few.csv", &lines.join("\n"));
        let ran = folder.run("calibrate --steps few.csv -o p.json --force --json").exits(0).json();
        let warnings = ran["warnings"].as_array().unwrap();
        let outlier = warnings.iter().find(|warning| warning["code"] == "outlier-steps");
        assert_eq!(outlier.is_some(), is_named, "{factor}: {warnings:?}");
        assert!(warnings.iter().any(|warning| warning["code"] == "few-steps"), "{warnings:?}");
        let named =
            outlier.is_none_or(|warning| warning["message"].as_str().unwrap().ends_with(": 3"));
        assert!(named, "{outlier:?}");
    }
}
