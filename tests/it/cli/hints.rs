//! Hints of refused questions, followed: each leads to a plan, or to the figure that it names.

use serde_json::json;

use super::folder::{Folder, diamond};

/// Hosts of two small devices.
fn cluster(hosts: u64, network: &str) -> String {
    format!(
        "\
name: small
kinds:
  - {{name: small, memory_bytes: 6000000000, memory_bytes_per_s: 9e11, peak_bf16_flops: 1e14, peak_fp32_flops: 5e13}}
link_kinds:
  - {{name: way, bytes_per_s: 100000000000.0, latency_s: 5e-6}}
nodes:
  - {{name: a, count: {hosts}, device: small, devices: 2, scaleup: way, nics: 1}}
{network}
"
    )
}

const NETWORK: &str = "network: {bytes_per_s: 25000000000.0, latency_s: 1e-5}";

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    let model = json!({
        "model_type": "llama", "hidden_size": 2048, "num_hidden_layers": 20,
        "num_attention_heads": 16, "num_key_value_heads": 8, "intermediate_size": 5632,
        "vocab_size": 32000, "max_position_embeddings": 4096, "tie_word_embeddings": false
    });
    folder.write("dense.json", &model.to_string());
    let model = json!({
        "model_type": "mixtral", "hidden_size": 512, "num_hidden_layers": 4,
        "num_attention_heads": 8, "num_key_value_heads": 4, "intermediate_size": 1024,
        "num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 8000,
        "max_position_embeddings": 4096, "tie_word_embeddings": false
    });
    folder.write("mixture.json", &model.to_string());
    for hosts in 1..=64 {
        folder.write(&format!("c{hosts}.yaml"), &cluster(hosts, NETWORK));
    }
    folder.write("alone.yaml", &cluster(1, "").replace("devices: 2", "devices: 1"));
    folder
}

/// Hints of a refusal.
fn hints(folder: &Folder, line: &str) -> Vec<String> {
    let ran = folder.run(&format!("{line} --json"));
    assert!([2, 4].contains(&ran.code), "{line}: {}\n{}", ran.code, ran.stderr);
    let error = ran.json();
    let hints = error["error"]["hints"].as_array().or(error["hints"].as_array());
    let hints = hints.unwrap_or_else(|| panic!("{error}")).iter();
    hints.map(|hint| hint.as_str().unwrap().to_owned()).collect()
}

/// Flags of a hint, as they stand in it.
fn flags(hint: &str) -> Vec<String> {
    let words: Vec<&str> = hint.split([' ', '(', ')', ',', ';']).collect();
    let of = |pair: &[&str]| format!("{} {}", pair[0], pair[1]);
    words.windows(2).filter(|pair| pair[0].starts_with("--")).map(of).collect()
}

/// A line without one of its pins.
fn without(line: &str, field: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut left = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let is_pin = words[at] == "--pin"
            && words.get(at + 1).is_some_and(|word| word.split('=').next() == Some(field));
        if is_pin {
            at += 2;
        } else {
            left.push(words[at]);
            at += 1;
        }
    }
    left.join(" ")
}

/// What a hint says to ask instead; nothing of one that names no flag and no number.
fn followed(line: &str, hint: &str) -> Vec<String> {
    if let Some(rest) = hint.strip_prefix("on ") {
        let n: u64 = rest.split(' ').next().unwrap().parse().unwrap();
        let pins = flags(hint).join(" ");
        return vec![format!("{} {pins}", line.replace("c1.yaml", &format!("c{}.yaml", n / 2)))];
    }
    let freed = hint.split("without --pin ").nth(1).map(|rest| rest.split(' ').next().unwrap());
    if let Some(field) = freed {
        return vec![without(line, field)];
    }
    if hint.contains("without --no-offload") {
        return vec![line.replace("--no-offload", "")];
    }
    let pins = flags(hint).into_iter();
    pins.map(|flag| {
        let field = flag.strip_prefix("--pin ").and_then(|pin| pin.split('=').next());
        format!("{} {flag}", field.map_or_else(|| line.to_owned(), |field| without(line, field)))
    })
    .collect()
}

#[test]
fn hints_of_refused_runs_lead_to_plans() {
    let folder = folder();
    let of = |model: &str, flags: &str| {
        format!(
            "plan {model}.json --cluster c1.yaml --global-batch 16 --sequence-length 1024 {flags}"
        )
    };
    let mut n_followed = 0;
    for line in [
        of("dense", "--no-offload"),
        of("dense", "--no-offload --pin tensor=1"),
        of("dense", "--no-offload --dtype fp32"),
        of("dense", "--no-offload --pin tensor=2 --pin recompute=none"),
        of("mixture", "--pin expert=4"),
        of("mixture", "--pin tensor=3"),
        of("mixture", "--pin tensor=2 --pin zero=1"),
        of("mixture", "--pin pipeline=5"),
    ] {
        for hint in hints(&folder, &line) {
            for again in followed(&line, &hint) {
                let ran = folder.run(&again);
                assert_eq!(ran.code, 0, "{line}\n  {hint}\n  {again}\n{}", ran.stderr);
                n_followed += 1;
            }
        }
    }
    assert!(n_followed >= 12, "{n_followed}");
}

/// Of devices that nothing joins no number of them is offered.
#[test]
fn no_more_devices_are_offered_where_nothing_joins_them() {
    let folder = folder();
    let line = "plan dense.json --cluster alone.yaml --global-batch 16 --sequence-length 1024 \
                --no-offload";
    let found = hints(&folder, line);
    assert!(
        !found.is_empty() && found.iter().all(|hint| !hint.contains("such devices")),
        "{found:?}"
    );
    // Of one host, links of others are those that are known.
    let joined = hints(&folder, &line.replace("alone", "c1"));
    let more = joined.iter().find(|hint| hint.contains("such devices")).unwrap();
    assert!(more.contains("all joined by") && more.contains("--pin data="), "{more}");
}

/// What newcomers write first: the code of the refusal or the warning, and its hint.
#[test]
fn first_mistakes_have_a_hint_that_names_what_to_write() {
    let folder = folder();
    folder.write(
        "run.toml",
        "[model]\nname = \"llama3\"\n[parallelism]\ntensor_parallel_degree = 8\n",
    );
    folder.write("accelerate.yaml", "compute_environment: LOCAL_MACHINE\ndistributed_type: FSDP\n");
    folder.write("boards.yaml", "nodes: [{count: 1, device: h100_sxm5_80gb, devices: 8}]");
    folder.write("apart.yaml", &cluster(1, "").replace("devices: 2, scaleup: way", "devices: 2"));
    let on = "--global-batch 16 --sequence-length 1024";
    let example = "devices: 8, scaleup: nvlink4}]}' > ";
    for (line, code, hint) in [
        ("train dense.json --cluster c1.yaml --tp 4", "usage", "--pin tensor=4"),
        ("train dense.json --cluster c1.yaml --tp=2", "usage", "--pin tensor=2"),
        ("train dense.json --cluster c1.yaml --pp", "usage", "--pin pipeline=8"),
        ("train dense.json --dp 2 --cluster c1.yaml", "usage", "--pin data=2"),
        ("train dense.json --cluster c1.yaml --ep 2", "usage", "--pin expert=2"),
        ("train dense.json --cluster c1.yaml --cp 2", "usage", "--pin context=2"),
        ("train dense.json --cluster c1.yaml --zero 3", "usage", "--pin zero=3"),
        ("train dense.json --cluster c1.yaml --micro-batch-size 1", "usage", "--pin micro-batch=1"),
        ("train dense.json --cluster c1.yaml --num-gpus 2", "usage", "--devices 2"),
        (
            "plan dense.json --cluster c1.yaml --max-memory-per-device 40",
            "usage",
            "--max-memory-per-device 40GiB",
        ),
        (
            "plan meta-llama/Llama-3.1-8B --cluster c1.yaml",
            "unreadable-file",
            "hf download meta-llama/Llama-3.1-8B config.json --local-dir Llama-3.1-8B",
        ),
        ("train dense.json --cluster none.yaml", "cluster-unreadable", example),
        ("train dense.json", "no-cluster", example),
        ("train run.toml --cluster c1.yaml", "unsupported-format", "meshwright compare run.toml"),
        ("train accelerate.yaml --cluster c1.yaml", "unsupported-format", "config.json"),
        ("train c1.yaml --cluster c1.yaml", "unsupported-format", "--cluster c1.yaml"),
        ("train dense.json --cluster run.toml", "not-a-cluster", example),
        ("train dense.json --cluster accelerate.yaml", "not-a-cluster", example),
        ("compare accelerate.yaml accelerate.yaml", "not-read-back", "--pin zero=3"),
        ("train dense.json --cluster apart.yaml", "unreachable-devices", "scaleup: nvlink4"),
    ] {
        let line = if line.starts_with("train") { format!("{line} {on}") } else { line.to_owned() };
        let ran = folder.run(&format!("{line} --json"));
        let error = &ran.json()["error"];
        assert!([2, 3].contains(&ran.code) && error["code"] == code, "{line}: {error}");
        let hints = error["hints"].as_array().unwrap().iter();
        let has = hints.map(|text| text.as_str().unwrap()).any(|text| text.contains(hint));
        assert!(has, "{line}: {error}");
    }
    let line = format!("train dense.json --cluster boards.yaml {on}");
    let ran = folder.run(&format!("{line} --json")).exits(0).json();
    let warnings = ran["warnings"].as_array().unwrap();
    let warning = warnings.iter().find(|warning| warning["code"] == "no-scaleup").unwrap();
    assert!(warning["hints"][0].as_str().unwrap().contains("add `scaleup: nvlink4`"), "{warning}");
    // The file that the hint writes is one.
    folder.write(
        "cluster.yaml",
        "{nodes: [{count: 1, device: h100_sxm5_80gb, devices: 8, scaleup: nvlink4}]}",
    );
    folder.run(&format!("train dense.json --cluster cluster.yaml {on}")).exits(0);
}
