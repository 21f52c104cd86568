//! Runs of `calibrate`, and of `validate` and `plan` on hostile files.

use std::fmt::Write as _;

use super::folder::{Folder, diamond};

/// Products on an A100 at 3 us, 250 TFLOP/s and 1.5 TB/s.
fn products(n: u64) -> String {
    let mut text = String::from("gpu,dtype,m,n,k,time_us\n");
    for i in 0..n {
        let [m, n, k] = [1 << (4 + i % 9), 1 << (5 + (i / 9) % 8), 1 << (6 + (i * 7 + i / 72) % 6)];
        let [mf, nf, kf] = [m, n, k].map(|x: u64| x as f64);
        let compute = 2.0 * mf * nf * kf / 250e12;
        let memory = 2.0 * (mf * kf + kf * nf + mf * nf) / 1.5e12;
        let time_us = 3.0 + 1e6 * compute.hypot(memory);
        writeln!(text, "a100_sxm,bf16,{m},{n},{k},{time_us}").unwrap();
    }
    text
}

fn transfers() -> String {
    let mut text = String::from("link,bytes,time_us\n");
    for power in 10..28 {
        let bytes = 1_u64 << power;
        writeln!(text, "net,{bytes},{}", 20.0 + bytes as f64 / 1e4).unwrap();
        let kinked = if power < 20 { 1.0 } else { 1e3 + bytes as f64 / 1e4 };
        writeln!(text, "kinked,{bytes},{kinked}").unwrap();
    }
    text
}

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("gemm.csv", &products(200));
    folder.write("links.csv", &transfers());
    folder
}

#[test]
fn measurements_become_a_profile_that_reads_back() {
    let folder = folder();
    let ran = folder.run("calibrate gemm.csv links.csv --kind a100_sxm4_80gb -o p.json").exits(0);
    assert!(ran.stdout.contains("matrix-product a100_sxm4_80gb"), "{}", ran.stdout);
    assert!(ran.stdout.contains("link net"), "{}", ran.stdout);
    assert!(ran.stdout.contains("table of 18"), "{}", ran.stdout);
    assert!(ran.stdout.contains("1 line refused"), "{}", ran.stdout);
    assert!(ran.stdout.trim_end().ends_with("wrote p.json"), "{}", ran.stdout);
    assert!(ran.stdout.lines().all(|line| line.chars().count() <= 100), "{}", ran.stdout);
    let again = folder.run("calibrate gemm.csv links.csv --kind a100_sxm4_80gb -o p.json").exits(2);
    assert!(again.stderr.contains("error[file-exists]"), "{}", again.stderr);
    let based = folder.run("calibrate links.csv --base p.json -o q.json --json").exits(0).json();
    assert_eq!(based["parts"].as_array().unwrap().len(), 2);
    assert!(based["profile"]["kinds"]["a100_sxm4_80gb"]["forms"]["matrix-product"].is_object());
    let link = &based["profile"]["links"]["net"];
    assert!((link["latency_s"].as_f64().unwrap() / 20e-6 - 1.0).abs() < 0.01, "{link}");
    assert!(based["profile"]["links"]["kinked"]["table"].as_array().unwrap().len() == 18);
}

#[test]
fn hostile_measurements_name_file_row_and_column() {
    let folder = folder();
    let header = "gpu,dtype,m,n,k,time_us\n";
    let cases = [
        ("empty", String::new(), "empty-table", ""),
        ("header", header.to_owned(), "empty-table", ""),
        ("unit", "gpu,dtype,m,n,k,time\na,bf16,1,2,3,4\n".to_owned(), "missing-unit", "time"),
        ("nan", format!("{header}a,bf16,1,2,3,NaN\n"), "bad-cell", "time_us"),
        ("negative", format!("{header}a,bf16,1,2,3,-4\n"), "bad-cell", "time_us"),
        ("huge", format!("{header}a,bf16,99999999999999999999,2,3,4\n"), "bad-cell", "column m"),
        ("ragged", format!("{header}a,bf16,1,2,3\n"), "bad-table", "row 2"),
        ("mixed", format!("{header}a,bf16,1,2,3,4\nb,bf16,1,2,3,4\n"), "mixed-devices", "row 3"),
        ("garbage", "\u{0}\u{1}\u{2},\n\u{3}".to_owned(), "bad-table", "row"),
        (
            "json",
            "[{\"link\": \"a\", \"bytes\": 1, \"time_s\": NaN}]".to_owned(),
            "invalid-json",
            "line 1",
        ),
        ("few", format!("{header}a,bf16,1,2,3,4\n"), "nothing-calibrated", "because"),
    ];
    for (name, text, code, place) in cases {
        let file = format!("{name}.csv");
        folder.write(&file, &text);
        let ran = folder.run(&format!("calibrate {file} --kind x -o never.json")).exits(3);
        assert!(ran.stderr.contains(&format!("error[{code}]")), "{name}: {}", ran.stderr);
        assert!(ran.stderr.contains(place), "{name}: {}", ran.stderr);
        if code != "nothing-calibrated" {
            assert!(ran.stderr.contains(&file), "{name}: {}", ran.stderr);
        }
        assert!(!folder.list().contains(&"never.json".to_owned()));
    }
    folder.run("calibrate nowhere.csv").exits(3);
    folder.run("calibrate").exits(2);
}

#[test]
fn a_row_that_repeats_is_warned_of() {
    let folder = folder();
    let mut text = products(100);
    let last = text.lines().last().unwrap().to_owned();
    writeln!(text, "{last}").unwrap();
    folder.write("twice.csv", &text);
    let ran = folder.run("calibrate twice.csv -o p.json").exits(0);
    assert!(ran.stderr.contains("warning[duplicate-row]"), "{}", ran.stderr);
    assert!(ran.stderr.contains("row 102") && ran.stderr.contains("twice.csv"), "{}", ran.stderr);
}

#[test]
fn a_million_rows_are_taken() {
    let folder = folder();
    let mut text = String::with_capacity(32 << 20);
    text.push_str("link,bytes,time_us\n");
    for i in 0..1_000_000_u64 {
        let bytes = 1000 + 37 * i;
        writeln!(text, "net,{bytes},{}", 20.0 + bytes as f64 / 1e4).unwrap();
    }
    folder.write("million.csv", &text);
    let ran = folder.run("calibrate million.csv -o p.json --json").exits(0).json();
    assert_eq!(ran["rows"], 1_000_000);
    let rate = ran["profile"]["links"]["net"]["bytes_per_s"].as_f64().unwrap();
    assert!((rate / 1e10 - 1.0).abs() < 0.01, "{rate}");
}

#[test]
fn hostile_profiles_name_the_file_and_the_key() {
    let folder = folder();
    let link = |rest: &str| {
        format!("{{\"version\": 1, \"name\": \"x\", \"links\": {{\"net\": {{{rest}}}}}}}")
    };
    let from = "\"provenance\": {\"how\": \"nominal\", \"source\": \"x\"}";
    let cases = [
        ("", "profile"),
        ("\u{0}\u{1}", "profile-invalid"),
        ("{\"version\": 1, \"name\": \"x\"}", "profile-empty"),
        (&link(&format!("\"latency_s\": 1, \"bytes_per_s\": 0, {from}")), "profile-value"),
        (&link(&format!("\"latency_s\": -1, \"bytes_per_s\": 1, {from}")), "profile-value"),
        (&link(&format!("\"latency_us\": 1, \"bytes_per_s\": 1, {from}")), "unknown-key"),
    ];
    for (text, code) in cases {
        folder.write("bad.json", text);
        for line in
            ["calibrate links.csv --base bad.json -o q.json", "plan model.json --profile bad.json"]
        {
            let ran = folder.run(line).exits(3);
            assert!(ran.stderr.contains(code) && ran.stderr.contains("bad.json"), "{}", ran.stderr);
        }
    }
}

#[test]
fn validate_refuses_the_same_tables() {
    let folder = folder();
    std::fs::create_dir(folder.path("measurements")).unwrap();
    for name in ["gemm", "attention", "moe", "collectives", "overlap"] {
        folder.write(&format!("measurements/{name}.csv"), "a,b\n");
    }
    let ran = folder.run("validate .").exits(3);
    assert!(ran.stderr.contains("error[empty-table]"), "{}", ran.stderr);
    folder.write("measurements/overlap.csv", "gpu,gpus\n\u{0},1\n");
    let ran = folder.run("validate .").exits(3);
    assert!(ran.stderr.contains("overlap.csv"), "{}", ran.stderr);
}
