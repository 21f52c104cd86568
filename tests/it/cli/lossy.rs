//! Gradients of which a part is sent: which way pays for what, read back, told, and what is wrong named.

use serde_json::{Value, json};

use super::folder::{Folder, diamond};
use super::gradients::{on_ten_gigabit, resnet_50};

/// One tensor of 26,214,400 elements on a link of 0.436 ms and 3.6e-5 ms an element, a part of 0.001 of it
/// sent (HKBU-HPML/gtopkssgd).
pub(super) fn one_gigabit(replicas: u64) -> Value {
    let way = |by: &str| {
        json!({
            "by": by, "latency_s": 0.436e-3, "bytes_per_s": 4.0 / 3.6e-8, "density": 0.001,
        })
    };
    json!({
        "replicas": replicas, "forward_s": 0,
        "gradients": [{ "name": "all", "bytes": 4 * 26_214_400, "ready_s": 0 }],
        "exchange": [{ "by": "all-reduce", "latency_s": 0.436e-3, "bytes_per_s": 4.0 / 3.6e-8 }],
        "lossy": [way("top-k"), way("global-top-k")],
    })
}

/// Milliseconds of a plan and how its first bucket is sent.
fn planned(folder: &Folder, file: &str, flags: &str) -> (f64, Option<String>) {
    folder.run(&format!("plan {file} {flags} -o p.json --force")).exits(0);
    let plan = folder.json("p.json");
    folder.run(&format!("verify p.json --model {file}")).exits(0);
    let first = plan["communication"]["buckets"][0]["lossy"].as_str().map(str::to_owned);
    (plan["value_ns"].as_f64().unwrap() / 1e6, first)
}

/// `2 (P - 1) alpha + 2 (P - 1) / P m beta`, `alpha log2 P + 2 (P - 1) k beta` and `2 alpha log2 P + 4 k
/// log2 P beta`, each to the digit that was computed elsewhere.
#[test]
fn six_rows_and_where_the_tree_overtakes() {
    let folder = Folder::new(&diamond());
    for (replicas, dense, top_k, global) in [
        (4, 1418.0, 6.5, 9.3),
        (8, 1658.0, 14.5, 13.9),
        (16, 1783.0, 30.1, 18.6),
        (32, 1855.0, 60.7, 23.2),
        (64, 1913.0, 121.5, 27.9),
        (128, 1983.0, 242.8, 32.5),
    ] {
        folder.write("g.json", &one_gigabit(replicas).to_string());
        let ms = |flags: &str| planned(&folder, "g.json", flags).0;
        let tenth = |ms: f64| (ms * 10.0).round() / 10.0;
        assert_eq!(ms("").round(), dense);
        assert_eq!(tenth(ms("--allow-lossy top-k")), top_k);
        assert_eq!(tenth(ms("--allow-lossy global-top-k")), global);
        let (best, by) = planned(&folder, "g.json", "--allow-lossy");
        assert_eq!(tenth(best), top_k.min(global));
        assert_eq!(by.unwrap(), if replicas < 8 { "top-k" } else { "global-top-k" });
    }
}

/// Tensors in the order of their gradients, each there when so many multiply-adds are done.
fn file(tensors: &[(String, u64, u64)], step_s: f64, lossy: &Value) -> String {
    let work: u64 = tensors.iter().map(|tensor| tensor.2).sum();
    let mut done = 0;
    let gradient = |tensor: &(String, u64, u64)| {
        done += tensor.2;
        let ready_s = 2.0 / 3.0 * step_s * done as f64 / work as f64;
        json!({ "name": tensor.0, "bytes": 4 * tensor.1, "ready_s": ready_s })
    };
    json!({
        "replicas": 8, "forward_s": step_s / 3.0,
        "gradients": tensors.iter().rev().map(gradient).collect::<Vec<_>>(),
        // Half as many servers as replicas: each byte goes over a link twice.
        "exchange": [{
            "by": "parameter-server", "start_up_s": 0, "bytes_per_s": 3.125e9, "servers": 4,
        }],
        "lossy": [lossy],
    })
    .to_string()
}

/// Parameters of VGG-16 (Simonyan and Zisserman 2015): 138,357,544.
fn vgg_16() -> Vec<(String, u64, u64)> {
    let mut all = Vec::new();
    let (mut input, mut side) = (3, 224);
    for (stage, (n, width)) in
        [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)].into_iter().enumerate()
    {
        for at in 0..n {
            let weights = 9 * input * width;
            all.push((format!("{stage}.{at}.weight"), weights, weights * side * side));
            all.push((format!("{stage}.{at}.bias"), width, 0));
            input = width;
        }
        side /= 2;
    }
    for (at, (input, output)) in
        [(25_088, 4096), (4096, 4096), (4096, 1000)].into_iter().enumerate()
    {
        all.push((format!("head.{at}.weight"), input * output, input * output));
        all.push((format!("head.{at}.bias"), output, 0));
    }
    all
}

/// Parameters of BERT-base (Devlin et al. 2019), the pooler among them: 109,482,240.
fn bert_base() -> Vec<(String, u64, u64)> {
    let mut all = vec![
        ("words".to_owned(), 30_522 * 768, 0),
        ("positions".to_owned(), 512 * 768, 0),
        ("types".to_owned(), 2 * 768, 0),
        ("norm".to_owned(), 2 * 768, 0),
    ];
    for layer in 0..12 {
        let mut product = |name: &str, input: u64, output: u64| {
            all.push((format!("{layer}.{name}.weight"), input * output, input * output));
            all.push((format!("{layer}.{name}.bias"), output, 0));
        };
        ["query", "key", "value", "output"].iter().for_each(|name| product(name, 768, 768));
        product("up", 768, 3072);
        product("down", 3072, 768);
        all.push((format!("{layer}.norms"), 4 * 768, 0));
    }
    all.push(("pooler".to_owned(), 768 * 769, 768 * 768));
    all
}

/// Compression that encodes in no time and sends a 32nd, at 25 Gb/s, against gradients sent and fetched as
/// they are.
#[test]
fn two_way_compression_pays_for_vgg_most() {
    let folder = Folder::new(&diamond());
    let two_way = json!({
        "by": "two-way", "start_up_s": 0, "bytes_per_s": 3.125e9, "servers": 4, "ratio": 32,
    });
    let sums = |tensors: &[(String, u64, u64)]| tensors.iter().map(|tensor| tensor.1).sum::<u64>();
    assert_eq!(sums(&vgg_16()), 138_357_544);
    assert_eq!(sums(&bert_base()), 109_482_240);
    let speed_up = |tensors: Vec<(String, u64, u64)>, step_s: f64| {
        folder.write("g.json", &file(&tensors, step_s, &two_way));
        let raw = planned(&folder, "g.json", "").0;
        let (sent, _) = planned(&folder, "g.json", "--allow-lossy two-way");
        assert!(sent <= raw && sent >= step_s * 1e3);
        raw / sent
    };
    // All gradients there at once, as the figures were computed.
    let at_once = |tensors: &[(String, u64, u64)], step_s: f64| {
        speed_up(vec![("none".to_owned(), 1, 1), ("all".to_owned(), sums(tensors), 0)], step_s)
    };
    for (tensors, step_s, published) in
        [(vgg_16(), 0.2, 2.1), (bert_base(), 0.3, 1.27), (resnet_50(), 0.253, 1.0)]
    {
        let found = at_once(&tensors, step_s);
        assert!((found / published - 1.0).abs() < 0.01, "{found} {published}");
    }
    // Where each is there with its layer, the order stays.
    let cases = [(vgg_16(), 0.2), (bert_base(), 0.3), (resnet_50(), 0.253)];
    let speed_ups = cases.map(|(tensors, step_s)| speed_up(tensors, step_s));
    assert!(
        speed_ups[0] > speed_ups[1] && speed_ups[1] > speed_ups[2] && speed_ups[2] >= 1.0,
        "{speed_ups:?}"
    );
}

/// Compressing pays where its slowest part is faster than sending as it is: by hand, 8 replicas on 8 servers
/// at 1 GB/s, 1 ms to start either way.
#[test]
fn encoders_thresholds_and_cores_decide() {
    let folder = Folder::new(&diamond());
    let with = |two_way: &str, tensors: &str| {
        let text = format!(
            r#"{{"replicas": 8, "forward_s": 0, "backward_s": 0, "gradients": [{tensors}],
            "exchange": [{{"by": "parameter-server", "start_up_s": 1e-3, "bytes_per_s": 1e9,
                "servers": 8}}],
            "lossy": [{{"by": "two-way", "start_up_s": 1e-3, "bytes_per_s": 1e9, "servers": 8,
                "ratio": 10 {two_way}}}]}}"#
        );
        folder.write("g.json", &text);
        planned(&folder, "g.json", "--allow-lossy")
    };
    let one = r#"{"name": "a", "bytes": 100000000, "ready_s": 0}"#;
    // 100 ms as it is, 10 ms compressed.
    assert_eq!(with("", one), (11.0, Some("two-way".to_owned())));
    // Encoding at 2 GB/s takes 50 ms, on 4 cores 12.5; at .5 GB/s it never pays.
    let cores = r#", "encode_bytes_per_s": 2e9"#;
    assert_eq!(with(cores, one).0, 51.0);
    assert_eq!(with(&format!(r#"{cores}, "cores": 4"#), one).0, 13.5);
    assert_eq!(with(r#", "decode_bytes_per_s": 0.5e9"#, one), (101.0, None));
    // Below the threshold it stays as it is, and what is beside it is not joined with it.
    assert_eq!(with(r#", "threshold_bytes": 100000001"#, one), (101.0, None));
    let two = format!(r#"{one}, {{"name": "b", "bytes": 1000000, "ready_s": 0}}"#);
    assert_eq!(with(r#", "threshold_bytes": 1000001"#, &two).0, 11.0 + 2.0);
    assert_eq!(with("", &two).0, 1.0 + 10.1);
}

/// What is sent in part is flagged, told, and read back; what is edited is named.
#[test]
fn parts_are_flagged_read_back_and_what_is_changed_is_named() {
    let folder = Folder::new(&diamond());
    let mut file = on_ten_gigabit(32, 0.98e-3);
    let way = |by: &str| {
        json!({
            "by": by, "start_up_s": 5e-4, "bytes_per_s": 1.25e9, "density": 0.01,
            "software_s_per_element": 1e-11,
        })
    };
    file["lossy"] = json!([way("top-k"), way("global-top-k"), way("layer-wise")]);
    folder.write("g.json", &file.to_string());
    let ran = folder.run("plan g.json -o dense.json").exits(0);
    assert!(ran.stderr.contains("lossy-left-out"), "{}", ran.stderr);
    assert_eq!(folder.json("dense.json")["communication"].get("lossy"), None);
    let ran = folder.run("plan g.json --allow-lossy -o p.json --all").exits(0);
    assert!(ran.stderr.contains("the result changes"), "{}", ran.stderr);
    let plan = folder.json("p.json");
    let buckets = plan["communication"]["buckets"].as_array().unwrap();
    // Some tensors don't bind.
    let n_lossy = buckets.iter().filter(|bucket| bucket.get("lossy").is_some()).count();
    assert!(0 < n_lossy && n_lossy < buckets.len(), "{buckets:?}");
    for bucket in buckets.iter().filter(|bucket| bucket.get("lossy").is_some()) {
        assert_eq!(bucket["sent_bytes"].as_u64(), bucket["kept"].as_u64().map(|n| 8 * n));
    }
    for line in ["verify p.json --model g.json", "explain p.json --model g.json"] {
        let ran = folder.run(line).exits(0);
        assert!(ran.stderr.contains("warning[lossy]"), "{line}: {}", ran.stderr);
    }
    let answer = folder.run("explain p.json --model g.json --json").exits(0).json();
    assert!(answer["overlap_gain"].as_f64() <= answer["most_overlap_gain"].as_f64(), "{answer}");
    let stdout = folder.run("compare dense.json p.json --model g.json").exits(10).stdout;
    assert!(stdout.contains("MB, of ") && stdout.contains("a part"), "{stdout}");
    folder.run("export p.json --model g.json --target torch-ddp -o x.json").exits(2);
    folder.run("export p.json --model g.json --target torch-hook@1 -o x.json").exits(2);
    folder.run("export p.json --model g.json --target torch-hook -o table.json").exits(0);
    let table = folder.json("table.json");
    for (row, bucket) in table["buckets"].as_array().unwrap().iter().zip(buckets) {
        let tensors = row["tensors"].as_array().unwrap();
        let sum =
            |name: &str| tensors.iter().filter_map(|tensor| tensor[name].as_u64()).sum::<u64>();
        assert_eq!(bucket["bytes"], json!(4 * sum("elements")));
        assert_eq!(row["method"], *bucket.get("lossy").unwrap_or(&json!("as-is")));
        assert_eq!(row["sent_bytes"], *bucket.get("sent_bytes").unwrap_or(&bucket["bytes"]));
        assert_eq!(row.get("kept"), bucket.get("kept"));
        if row["method"] == "layer-wise" {
            assert_eq!(row["kept"], json!(sum("kept")));
        }
        let names: Vec<&Value> = tensors.iter().map(|tensor| &tensor["name"]).collect();
        assert_eq!(json!(names), bucket["tensors"]);
    }
    for rule in ["mg-wfbp", "bucket-cap(bytes=1)"] {
        folder.run(&format!("plan g.json --allow-lossy --algorithm {rule}")).exits(2);
    }
    let at = buckets.iter().position(|bucket| bucket.get("lossy").is_some()).unwrap();
    let check = |what: &str, change: &dyn Fn(&mut Value), codes: &[i32]| {
        let mut changed = plan.clone();
        change(&mut changed["communication"]);
        folder.write("changed.json", &changed.to_string());
        let ran = folder.run("verify changed.json --model g.json");
        assert!(codes.contains(&ran.code), "{what}: {} {}", ran.code, ran.stderr);
    };
    let n_kept = buckets[at]["kept"].as_u64().unwrap();
    check("fewer", &|part| part["buckets"][at]["kept"] = json!(n_kept / 2), &[6]);
    check("none", &|part| part["buckets"][at]["kept"] = json!(0), &[6]);
    check("all", &|part| part["buckets"][at]["kept"] = json!(u64::MAX), &[6]);
    check("sent", &|part| part["buckets"][at]["sent_bytes"] = json!(8 * n_kept - 8), &[6]);
    check("way", &|part| part["buckets"][at]["lossy"] = json!("two-way"), &[6]);
    check("word", &|part| part["buckets"][at]["lossy"] = json!("topk"), &[3]);
    check("allowed", &|part| part["lossy"] = json!([]), &[6]);
    check("density", &|part| part["lossy"][0]["density"] = json!(0), &[3]);
    check("twice", &|part| part["lossy"][1] = part["lossy"][0].clone(), &[3]);
    check("whole", &|part| drop(part["buckets"][at].as_object_mut().unwrap().remove("kept")), &[3]);
}

/// Replicas of a model on a cluster: ways of the same links, the largest elements chosen at a nominal cost.
#[test]
fn models_on_slow_links_send_parts_where_that_is_allowed() {
    let folder = Folder::new(&diamond());
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/models/gpt2_small.onnx");
    let cluster = "name: desks\nnodes:\n  - {count: 4, device: rtx_4090, devices: 2}\nnetwork: \
        {bytes_per_s: 125e6, latency_s: 50e-6}\n";
    folder.write("c.yaml", cluster);
    let on = format!("{model} --cluster c.yaml");
    let line = format!("plan {on} --algorithm gradient-buckets --workload training --batch 32");
    let step = |flags: &str| {
        let answer = folder.run(&format!("{line} {flags} --json")).exits(0).json();
        answer["seconds"].as_f64().unwrap()
    };
    let dense = step("");
    let names = ["top-k", "global-top-k", "layer-wise"];
    let each = names.map(|name| step(&format!("--allow-lossy {name}")));
    let all = step("--allow-lossy");
    assert!(
        each.iter().all(|seconds| all <= *seconds && *seconds < dense),
        "{dense} {each:?} {all}"
    );
    assert!(step("--allow-lossy top-k=0.1") > step("--allow-lossy top-k=0.0001"));
    folder.run(&format!("{line} --allow-lossy -o p.json")).exits(0);
    folder.run(&format!("verify p.json --model {on}")).exits(0);
    folder.run(&format!("explain p.json --model {on}")).exits(0);
    folder.run(&format!("{line} -o dense.json")).exits(0);
    let stdout = folder.run("compare dense.json p.json").exits(10).stdout;
    assert!(stdout.contains("sent, MB"), "{stdout}");
    for (flags, word) in [
        ("--allow-lossy two-way", "bad-lossy"),
        ("--allow-lossy top-k=1.5", "bad-lossy"),
        ("--allow-lossy top-k=x", "bad-lossy"),
        ("--allow-lossy top-k,top-k", "bad-lossy"),
    ] {
        let ran = folder.run(&format!("{line} {flags}")).exits(2);
        assert!(ran.stderr.contains(word), "{flags}: {}", ran.stderr);
    }
}

/// The example of docs/networks.md: only the last and largest tensor binds, and it alone is sent in part.
#[test]
fn what_does_not_bind_goes_as_it_is() {
    let folder = Folder::new(&diamond());
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/gradients/gpt2-four-desks.json");
    folder.run(&format!("plan {file} --allow-lossy -o p.json")).exits(0);
    folder.run(&format!("verify p.json --model {file}")).exits(0);
    let plan = folder.json("p.json");
    let buckets = plan["communication"]["buckets"].as_array().unwrap();
    let lossy: Vec<&Value> =
        buckets.iter().filter(|bucket| bucket.get("lossy").is_some()).collect();
    assert_eq!((buckets.len(), lossy.len()), (13, 1));
    assert_eq!(lossy[0]["tensors"], json!(["embeddings"]));
    // Both passes, two messages, choosing, and a hundredth of the elements to three others.
    let elements: f64 = 157_535_232.0 / 4.0;
    let by_hand =
        0.405 + 2.0 * 5e-5 + elements * 3e-10 + 3.0 * 8.0 * (elements / 100.0).ceil() / 3.125e9;
    let value = plan["value_ns"].as_f64().unwrap() / 1e9;
    assert!((value - by_hand).abs() < 1e-9, "{value} {by_hand}");
}
