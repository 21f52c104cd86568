//! Nodes that average their models: rounds and shares, held against the instance, and what is wrong with
//! files named.

use serde_json::{Value, json};

use super::folder::{Folder, diamond};

/// Five nodes, one of which each round leaves over.
pub(super) const PAIRS: &str = r#"{"kind": "averaging", "nodes": ["a", "b", "c", "d", "e"],
    "bytes": 100000000, "kept": 0.01, "rounds": 3,
    "bytes_per_s": [[null, 9e6, 1e6, 2e6, 5e6], [8e6, 0, 7e6, 1e6, 1e6], [1e6, 7e6, 0, 6e6, 0],
                    [2e6, 1e6, 6e6, 0, 4e6], [5e6, 1e6, 3e6, 5e6, 0]]}"#;

/// Three clients of a server.
pub(super) const CLIENTS: &str = r#"{"kind": "averaging", "nodes": ["a", "b", "c"],
    "bytes": [100000000, 100000000, 50000000], "kept": 0.01, "bytes_per_s": [1e6, 3e6, 1e9]}"#;

/// Eight replicas on a link of 1 Gb/s: 100 MB are 1.4 s on the ring.
pub(super) const REPLICAS: &str = r#"{"kind": "averaging", "replicas": 8, "bytes": 100000000,
    "bytes_per_s": 1.25e8, "latency_s": 1e-4, "compute_s": 0.25, "least_sent": 0.02,
    "sync": [{"by": "cser", "every": [1, 8, 64], "r1": [16, 64, 256], "r2": [1, 8]},
             {"by": "local-adaalter", "every": [16, 64, 128]},
             {"by": "outer-steps", "every": [16, 32, 256], "r2": [1, 2]}]}"#;

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

#[test]
fn rounds_are_planned_and_held_against_the_instance() {
    let folder = Folder::new(&diamond());
    folder.write("m.json", PAIRS);
    let answer = folder.run("plan m.json -o p.json --json").exits(0).json();
    assert_eq!(
        (&answer["objective"], &answer["proved_optimal"]),
        (&json!("slowest-round"), &json!(true))
    );
    // By hand: c and e reach each other one way only; a tree needs 4e6, of d and e: 1e6 bytes in 0.25 s,
    // or 5e6, of a and e, along with a-b at 8e6, b-c at 7e6 and c-d at 6e6: 0.2 s.
    assert_eq!(answer["value_ns"], 200_000_000);
    let rounds = list(&answer["communication"]["matchings"]);
    assert_eq!(rounds.len(), 3);
    let file: Value = serde_json::from_str(PAIRS).unwrap();
    let names = list(&file["nodes"]);
    let at = |node: &Value| names.iter().position(|name| name == node).unwrap();
    let mut part: Vec<usize> = (0..5).collect();
    for round in rounds {
        let mut seen = Vec::new();
        assert_eq!(list(round).len(), 2);
        for pair in list(round) {
            let [a, b] = [at(&pair["nodes"][0]), at(&pair["nodes"][1])];
            assert!(!seen.contains(&a) && !seen.contains(&b) && a != b, "{round}");
            seen.extend([a, b]);
            let rate = |from: usize, to: usize| file["bytes_per_s"][from][to].as_f64().unwrap();
            let seconds = 1e6 / rate(a, b).min(rate(b, a));
            let stated = pair["time_ns"].as_f64().unwrap() * 1e-9;
            assert!((seconds - stated).abs() < 1e-9 && pair["weight"] == 0.5, "{pair}");
            let (this, other) = (part[a], part[b]);
            part.iter_mut().filter(|part| **part == other).for_each(|part| *part = this);
        }
    }
    assert!(part.iter().all(|component| *component == part[0]), "{rounds:?}");
    assert_eq!(list(&answer["communication"]["joined_by"]).len(), 4);

    folder.run("verify p.json --model m.json").exits(0);
    let shown = folder.run("explain p.json --model m.json").exits(0);
    assert!(shown.stdout.contains("joined") && shown.stdout.contains("random"), "{}", shown.stdout);
    let node = folder.run("explain p.json --model m.json --op c").exits(0);
    assert!(node.stdout.contains("averages with"), "{}", node.stdout);
    folder.run("explain p.json --model m.json --device \"round 1\"");
    folder.run("compare p.json p.json --model m.json").exits(0);
    folder.run("export p.json --model m.json --target split -o out").exits(2);
    let plan: Value = folder.json("p.json");
    let verdict = |pointer: &str, value: Value| {
        let mut changed = plan.clone();
        *changed.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
        folder.write("q.json", &changed.to_string());
        let code = folder.run("verify q.json --model m.json").code;
        assert!([3, 6].contains(&code), "{pointer} {code}");
    };
    verdict("/communication/matchings/0/0/time_ns", json!(1));
    verdict("/communication/matchings/0/0/weight", json!(0.4));
    verdict("/communication/matchings/0/0/nodes/0", json!("z"));
    verdict("/communication/matchings/0", json!([]));
    verdict("/communication/matchings", json!([]));
    verdict("/communication/joined_by/0/round", json!(2));
    verdict("/communication/joined_by", json!([]));
    verdict("/value_ns", json!(100_000_000));
    verdict("/bound_ns", json!(300_000_000));
    let one = plan["communication"]["matchings"][0].clone();
    verdict("/communication/matchings", json!([one, one, one]));
    // Shares of clients are no rounds, and the other way round.
    let uploads = json!({ "uploads": [{ "client": "a", "bytes": 1, "kept": 0.1, "time_ns": 1 }] });
    verdict("/communication", uploads);
    folder.write("clients.json", CLIENTS);
    folder.run("verify p.json --model clients.json").exits(3);
}

#[test]
fn uploads_end_together() {
    let folder = Folder::new(&diamond());
    folder.write("m.json", CLIENTS);
    let answer = folder.run("plan m.json -o p.json --json").exits(0).json();
    let sent: Vec<u64> = list(&answer["communication"]["uploads"])
        .iter()
        .map(|upload| upload["bytes"].as_u64().unwrap())
        .collect();
    // 1 % of 100 MB at 1 MB/s is 1 s, in which the others send 3 MB and all they have.
    assert_eq!(sent, [1_000_000, 3_000_000, 50_000_000]);
    assert_eq!(
        (&answer["value_ns"], &answer["proved_optimal"]),
        (&json!(1_000_000_000), &json!(true))
    );
    folder.run("verify p.json --model m.json").exits(0);
    folder.run("explain p.json --model m.json").exits(0);
    folder.run("explain p.json --model m.json --op b").exits(0);
    for (pointer, value) in [
        ("/communication/uploads/1/bytes", json!(999_999)),
        ("/communication/uploads/1/kept", json!(0.5)),
        ("/communication/uploads/1/time_ns", json!(5)),
        ("/communication/uploads/1/client", json!("a")),
    ] {
        let mut changed: Value = folder.json("p.json");
        *changed.pointer_mut(pointer).unwrap() = value;
        folder.write("q.json", &changed.to_string());
        let code = folder.run("verify q.json --model m.json").code;
        assert!([3, 6].contains(&code), "{pointer} {code}");
    }
}

/// Of drawn rates: whoever is not sending its whole model ends within 1 % of all others, and the round is
/// no longer than with equal shares.
#[test]
fn drawn_uploads_end_within_a_hundredth() {
    let folder = Folder::new(&diamond());
    let mut rate = 1.0_f64;
    let rates: Vec<f64> = (0..50)
        .map(|_| {
            rate = (rate * 7.31 + 0.37) % 97.0;
            (1.0 + rate) * 1e5
        })
        .collect();
    let file =
        json!({ "kind": "averaging", "bytes": 40_000_000, "kept": 0.02, "bytes_per_s": rates });
    folder.write("m.json", &file.to_string());
    let answer = folder.run("plan m.json --json").exits(0).json();
    let uploads = list(&answer["communication"]["uploads"]);
    let uniform = rates.iter().map(|rate| 800_000.0 / rate).fold(0.0, f64::max);
    let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
    for (upload, rate) in uploads.iter().zip(&rates) {
        let bytes = upload["bytes"].as_f64().unwrap();
        most = most.max(bytes / rate);
        if bytes < 40_000_000.0 {
            least = least.min(bytes / rate);
        }
    }
    assert!(least >= 0.99 * most && most <= uniform * (1.0 + 1e-9), "{least} {most} {uniform}");
}

#[test]
fn files_that_leave_no_rounds_are_named() {
    let folder = Folder::new(&diamond());
    let refused = |file: Value, code: i32, words: &[&str]| {
        folder.write("m.json", &file.to_string());
        let stderr = folder.run("plan m.json").exits(code).stderr;
        assert!(
            words.iter().all(|word| stderr.contains(word)) && stderr.contains("hint"),
            "{stderr}"
        );
    };
    let of = |rates: Value, rounds: u64| json!({ "kind": "averaging", "bytes": 1000, "bytes_per_s": rates, "rounds": rounds });
    // A star of four: one node in the middle.
    let star = json!([[0, 1, 1, 1], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]);
    refused(of(star, 3), 4, &["no-matching"]);
    // Two pairs, and no way between them.
    let apart = json!([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]);
    refused(of(apart, 3), 4, &["not-joined", "0 1", "2 3"]);
    let all = json!([[0, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]]);
    refused(of(all.clone(), 1), 4, &["window-too-short", "enough 2"]);
    // Squares on one edge: a round that leaves the edge out opens one of 25 squares, so that each needs one.
    let (n, mut book) = (52, vec![vec![0; 52]; 52]);
    for a in (2..n).step_by(2) {
        for (a, b) in [(0, a), (1, a + 1), (a, a + 1), (0, 1)] {
            (book[a][b], book[b][a]) = (1, 1);
        }
    }
    // Two rounds are proved to be too few, 24 are not found: too many to try.
    for (rounds, code) in [(2, 4), (24, 5)] {
        refused(
            of(json!(book), rounds),
            code,
            &["window-too-short", "enough 25", "\"rounds\": 25"],
        );
    }
    folder.write("m.json", &of(json!(book), 25).to_string());
    folder.run("plan m.json").exits(0);
    refused(of(json!([[0, 1], [1, 0, 1]]), 1), 3, &["not-square"]);
    refused(of(json!([[0, 1], [-1, 0]]), 1), 3, &["bytes_per_s"]);
    folder.write("m.json", &of(all, 2).to_string());
    folder.run("plan m.json").exits(0);
    folder.run("plan m.json --cluster c.yaml").exits(2);
    folder.run("plan m.json --accelerators 2").exits(2);
    folder.run("plan m.json --objective makespan").exits(2);
}

/// What changes what is computed is left out with a warning, allowed by name, flagged, and held against the
/// file; the step is that of the published formulas.
#[test]
fn periods_are_chosen_where_they_are_allowed() {
    let folder = Folder::new(&diamond());
    folder.write("m.json", REPLICAS);
    // Seven eighths twice, at 1.25e8 bytes/s, and 14 messages.
    let (ring_s, start_up_s) = (1e8 * 1.75 / 1.25e8, 14e-4);
    let step = |flags: &str| {
        let ran = folder.run(&format!("plan m.json {flags} -o p.json --force")).exits(0);
        folder.run("verify p.json --model m.json").exits(0);
        let plan = folder.json("p.json");
        assert_eq!(plan["proved_optimal"], true);
        let sync = plan["communication"]["sync"].clone();
        assert_eq!(
            ran.talk().contains("convergence is not predicted"),
            sync.get("by").is_some(),
            "{}",
            ran.stderr
        );
        assert_eq!(ran.stderr.contains("lossy-left-out"), flags.is_empty(), "{}", ran.stderr);
        (plan["value_ns"].as_f64().unwrap() * 1e-9, sync)
    };
    let is_near = |a: f64, b: f64| (a - b).abs() < 1e-8;
    let (dense, sync) = step("");
    assert!(is_near(dense, 0.25 + ring_s + start_up_s), "{dense}");
    assert_eq!(sync, json!({ "every": 1, "r1": 1.0, "sent_share": 1.0 }));
    // Of choices that send a fiftieth of a model in a step at least, those that send 1/32 are the fastest.
    for (flags, by, every, seconds) in [
        ("--allow-lossy cser", "cser", 64, 0.25 + ring_s / 32.0 + start_up_s * (1.0 + 1.0 / 64.0)),
        ("--allow-lossy outer-steps", "outer-steps", 32, 0.25 + ring_s / 32.0 + start_up_s / 32.0),
        ("--allow-lossy", "local-adaalter", 64, 0.25 + ring_s / 32.0 + start_up_s / 64.0),
    ] {
        let (found, sync) = step(flags);
        assert!(is_near(found, seconds), "{flags}: {found} {seconds}");
        assert_eq!((&sync["by"], &sync["every"]), (&json!(by), &json!(every)));
        assert_eq!(sync["sent_share"], json!(1.0 / 32.0));
    }
    let stdout = folder.run("explain p.json --model m.json").exits(0).stdout;
    assert!(stdout.contains("chosen") && stdout.contains("outer-steps"), "{stdout}");
    folder.run("plan m.json -o dense.json").exits(0);
    let stdout = folder.run("compare dense.json p.json --model m.json").exits(10).stdout;
    assert!(stdout.contains("times as fast"), "{stdout}");
    let plan = folder.json("p.json");
    let check = |change: &dyn Fn(&mut Value), codes: &[i32]| {
        let mut changed = plan.clone();
        change(&mut changed["communication"]);
        folder.write("changed.json", &changed.to_string());
        let ran = folder.run("verify changed.json --model m.json");
        assert!(codes.contains(&ran.code), "{} {}", ran.code, ran.stderr);
    };
    check(&|part| part["sync"]["every"] = json!(128), &[6]);
    check(&|part| part["sync"]["sent_share"] = json!(1.0), &[6]);
    check(&|part| part["sync"]["by"] = json!("gossip"), &[3]);
    check(&|part| part["lossy"] = json!([]), &[6]);
    check(&|part| part["lossy"][0]["density"] = json!(0.5), &[3]);
    for (flags, word) in [("gossip", "cser, local-adaalter"), ("cser=0.1", "cser=0.1")] {
        let ran = folder.run(&format!("plan m.json --allow-lossy {flags}")).exits(2);
        assert!(ran.talk().contains(word), "{}", ran.stderr);
    }
    folder.write("pairs.json", PAIRS);
    folder.run("plan pairs.json --allow-lossy").exits(2);
}
