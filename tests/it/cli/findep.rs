//! Attention and experts on devices of their own: planned, read back, and what is wrong with them named.

use serde_json::{Value, json};

use super::experts::{config, visits};
use super::folder::{Folder, diamond};
use super::training::CLUSTER;

/// One dense layer and five of 16 experts, two of them for each token beside one of all.
pub(super) fn deepseek() -> Value {
    json!({
        "model_type": "deepseek_v2", "hidden_size": 1024, "num_hidden_layers": 6,
        "num_attention_heads": 16, "num_key_value_heads": 16, "intermediate_size": 2816,
        "moe_intermediate_size": 704, "n_routed_experts": 16, "num_experts_per_tok": 2,
        "n_shared_experts": 1, "first_k_dense_replace": 1, "moe_layer_freq": 1,
        "q_lora_rank": null, "kv_lora_rank": 256, "qk_nope_head_dim": 64,
        "qk_rope_head_dim": 32, "v_head_dim": 64, "vocab_size": 32000,
        "max_position_embeddings": 4096, "tie_word_embeddings": false
    })
}

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("mixed.json", &deepseek().to_string());
    folder.write("experts.json", &config().to_string());
    folder.write("visits.json", &visits().to_string());
    folder.write("c.yaml", CLUSTER);
    folder
}

const LINE: &str = "plan mixed.json --cluster c.yaml --phase prefill --batch 64 \
    --sequence-length 2048 --algorithm findep";
const ON: &str = "--model mixed.json --cluster c.yaml";

fn planned(folder: &Folder, line: &str, name: &str) -> Value {
    folder.run(&format!("{line} -o {name}")).exits(0);
    folder.json(name)
}

fn rate(folder: &Folder, line: &str) -> f64 {
    let answer = folder.run(&format!("{line} --json")).exits(0).json();
    let figure = |name: &str| answer[name].as_f64().unwrap();
    let samples_per_s = figure("samples_per_s");
    assert!(samples_per_s <= figure("bound_samples_per_s") * (1.0 + 1e-9), "{answer}");
    assert!(samples_per_s >= figure("naive_samples_per_s") * (1.0 - 1e-9), "{answer}");
    samples_per_s
}

#[test]
fn a_step_over_two_groups_is_replayed_explained_and_no_worse_than_its_baselines() {
    let folder = folder();
    let plan = planned(&folder, LINE, "own.json");
    let groups = &plan["experts"]["disaggregated"];
    let count = |name: &str| groups[name].as_array().unwrap().len() as u64;
    assert_eq!(count("attention") + count("experts"), 8);
    let step = |name: &str| groups["step"][name].as_u64().unwrap();
    let samples = step("samples") * step("micro_batches") * count("attention");
    assert_eq!(groups["step_samples"], samples);
    assert!(samples <= 64);
    let visits = groups["tokens_per_expert"].as_f64().unwrap() * (step("parts") * 16) as f64;
    let wanted = (step("samples") * count("attention") * 2048 * 2) as f64;
    assert!((visits / wanted - 1.0).abs() < 1e-9, "{visits} {wanted}");
    let layers = plan["experts"]["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    assert_eq!(layers[0]["devices_of_expert"], Value::Null);
    assert_eq!(layers[1]["devices_of_expert"].as_array().unwrap().len(), 16);
    let lengths = groups["by_length"].as_array().unwrap().iter();
    let lengths: Vec<u64> = lengths.map(|row| row["tokens"].as_u64().unwrap()).collect();
    assert_eq!(lengths, [256, 512, 1024, 2048, 4096, 8192]);
    let stdout = folder.run(&format!("verify own.json {ON}")).exits(0).stdout;
    assert!(stdout.contains("6 layers on") && stdout.contains("conserved"), "{stdout}");
    let answer = folder.run(&format!("explain own.json {ON} --json")).exits(0).json();
    let seconds = answer["seconds"].as_f64().unwrap();
    let stated = plan["cost"]["step_time_s"].as_f64().unwrap();
    assert!((seconds - stated).abs() < 2e-9, "{seconds} {stated}");
    let answer = folder.run(&format!("explain own.json {ON} --layer 5 --json")).exits(0).json();
    let pieces = answer["pieces"].as_array().unwrap();
    assert_eq!(pieces.len() as u64, step("micro_batches") * (2 + 3 * step("parts")), "{answer}");
    let last = pieces.iter().map(|piece| piece["end_s"].as_f64().unwrap()).fold(0.0, f64::max);
    assert!((last - seconds).abs() < 1e-9, "{last} {seconds}");
    for phase in ["prefill", "decode"] {
        let line = LINE.replace("prefill", phase);
        let [searched, ping_pong, naive] =
            ["findep", "ping-pong", "naive"].map(|row| rate(&folder, &line.replace("findep", row)));
        let is_no_less = |a: f64, b: f64| a >= b * (1.0 - 1e-9);
        assert!(
            is_no_less(searched, ping_pong) && is_no_less(ping_pong, naive),
            "{phase}: {searched} {ping_pong}"
        );
    }
}

#[test]
fn skewed_visits_are_placed_and_priced_at_the_busiest_device() {
    let folder = folder();
    let even = rate(&folder, LINE);
    assert!(rate(&folder, &format!("{LINE} --expert-skew zipf:1.2")) < even);
    let line = LINE.replace("mixed.json", "experts.json") + " --expert-skew visits.json";
    let plan = planned(&folder, &line, "own.json");
    // Layers of one histogram are one entry.
    assert_eq!(plan["experts"]["layers"].as_array().unwrap().len(), 3);
    let on = "--model experts.json --cluster c.yaml";
    folder.run(&format!("verify own.json {on}")).exits(0);
}

/// Of near ties the search on given groups may find another one than the free search: the plan's own length is
/// stated with its own step.
#[test]
fn a_plan_states_its_own_step_of_its_own_length() {
    let folder = Folder::new(&diamond());
    for (name, heads, layers) in [("one", 16, 3), ("two", 32, 3), ("three", 16, 4)] {
        let model = json!({
            "architectures": ["MixtralForCausalLM"], "model_type": "mixtral",
            "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
            "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": 8,
            "num_local_experts": 8, "num_experts_per_tok": 2, "max_position_embeddings": 32768,
            "rope_theta": 1e6, "hidden_act": "silu", "tie_word_embeddings": false,
            "torch_dtype": "bfloat16"
        });
        folder.write("mixed.json", &model.to_string());
        folder.write(
            "c.yaml",
            "name: x\nlink_kinds:\n  - {name: su, bytes_per_s: 200000000000.0, latency_s: 5e-6}\n\
             nodes:\n  - {name: a, count: 3, device: a100_sxm4_80gb, devices: 1, scaleup: su, nics: 1}\n\
             network: {bytes_per_s: 1000000000.0, latency_s: 2e-05}\n",
        );
        let line = "plan mixed.json --cluster c.yaml --algorithm findep --phase prefill --batch 256 \
                    --sequence-length 1024 --force";
        let plan = planned(&folder, line, "own.json");
        folder.run(&format!("verify own.json {ON}")).exits(0);
        let groups = &plan["experts"]["disaggregated"];
        let rows = groups["by_length"].as_array().unwrap();
        let row = rows.iter().find(|row| row["tokens"] == 1024).unwrap();
        // Sums of the same terms in another order differ in the last digit.
        for (field, stated) in groups["step"].as_object().unwrap() {
            match (row["step"][field].as_f64(), stated.as_f64()) {
                (Some(a), Some(b)) => {
                    assert!((a - b).abs() <= 1e-12 * b, "{name} {field}: {a} {b}")
                }
                _ => assert_eq!(row["step"][field], *stated, "{name} {field}"),
            }
        }
    }
}

#[test]
fn what_is_changed_in_a_plan_is_named() {
    let folder = folder();
    let plan = planned(&folder, LINE, "own.json");
    let check = |what: &str, change: &dyn Fn(&mut Value), code: i32, word: &str| {
        let mut changed = plan.clone();
        change(&mut changed);
        folder.write("changed.json", &changed.to_string());
        let ran = folder.run(&format!("verify changed.json {ON}"));
        assert_eq!(ran.code, code, "{what}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(word), "{what}: {}", ran.stderr);
    };
    let groups = |change: fn(&mut Value)| {
        move |plan: &mut Value| change(&mut plan["experts"]["disaggregated"])
    };
    check(
        "devices",
        &groups(|g| drop(g["attention"].as_array_mut().unwrap().pop())),
        6,
        "bad-groups",
    );
    check("parts", &groups(|g| g["step"]["parts"] = json!(65)), 6, "bad-parts");
    check("none", &groups(|g| g["step"]["micro_batches"] = json!(0)), 6, "bad-parts");
    check("order", &groups(|g| g["step"]["order"] = json!("sasa")), 6, "bad-parts");
    check("samples", &groups(|g| g["step"]["samples"] = json!(999)), 6, "too-many-samples");
    check("visits", &groups(|g| g["tokens_per_expert"] = json!(1.0)), 6, "not-conserved");
    check("rate", &groups(|g| g["step"]["samples_per_s"] = json!(1.0)), 6, "stated-wrong");
    check("bytes", &groups(|g| g["expert_bytes"] = json!(1)), 6, "stated-wrong");
    check("length", &groups(|g| g["by_length"][0]["step"]["parts"] = json!(0)), 6, "bad-parts");
    check("longest", &groups(|g| g["by_length"][5]["tokens"] = json!(1u64 << 40)), 6, "memory");
    let shorter = |groups: &mut Value| drop(groups["by_length"].as_array_mut().unwrap().pop());
    check("shorter", &groups(shorter), 6, "bad-lengths");
    let layer = |plan: &mut Value| plan["experts"]["layers"][1].take();
    check(
        "layers",
        &|plan| plan["experts"]["layers"][0]["layers"] = json!([0, 9]),
        6,
        "no-such-layer",
    );
    check("kinds", &|plan| plan["experts"]["layers"][0] = layer(plan), 3, "bad-plan");
    check(
        "nowhere",
        &|plan| plan["experts"]["layers"][1]["devices_of_expert"][3] = json!([]),
        6,
        "bad-experts",
    );
    check(
        "seconds",
        &|plan| plan["experts"]["layers"][1]["piece_seconds"]["experts"] = json!(1e-9),
        6,
        "stated-wrong",
    );
    check("cost", &|plan| plan["cost"]["step_time_ns"] = json!(1), 6, "stated-wrong");
    check("bound", &|plan| plan["cost"]["bound_ns"] = json!(1), 6, "stated-wrong");
    check("algorithm", &|plan| plan["algorithm"] = json!("findeps"), 3, "bad-plan");
    check("another", &|plan| plan["algorithm"] = json!("fsmoe"), 6, "stated-wrong");
    let pieces = |plan: &mut Value, change: &dyn Fn(&mut Vec<Value>)| {
        change(plan["schedule"]["cells"][1]["streams"][1]["pieces"].as_array_mut().unwrap());
    };
    check("piece", &|plan| pieces(plan, &|pieces| drop(pieces.pop())), 6, "bad-cell");
    check(
        "twice",
        &|plan| pieces(plan, &|all| all[0] = all.last().unwrap().clone()),
        6,
        "bad-cell",
    );
    check("name", &|plan| pieces(plan, &|pieces| pieces[0]["op"] = json!("gather")), 6, "bad-cell");
    check("late", &|plan| pieces(plan, &|pieces| pieces.reverse()), 6, "bad-cell");
    check("missing", &|plan| drop(plan.as_object_mut().unwrap().remove("cost")), 3, "bad-plan");
    check("no cells", &|plan| plan["schedule"]["cells"] = json!([]), 3, "bad-plan");
    check("r_fwd", &|plan| plan["experts"]["layers"][1]["r_fwd"] = json!(1), 3, "bad-plan");
}

#[test]
fn what_means_nothing_beside_two_groups_is_refused() {
    let folder = folder();
    planned(&folder, LINE, "own.json");
    folder.write(
        "one.yaml",
        &CLUSTER
            .replace("count: 2", "count: 1")
            .replace("devices: 4", "devices: 1")
            .replace("nics: 4", "nics: 1"),
    );
    let mut dense = config();
    dense.as_object_mut().unwrap().remove("num_local_experts");
    dense["model_type"] = json!("llama");
    folder.write("dense.json", &dense.to_string());
    let mut large = deepseek();
    large["hidden_size"] = json!(65536);
    large["moe_intermediate_size"] = json!(65536);
    folder.write("large.json", &large.to_string());
    // 16 experts are shared out over 16 of 32 devices at most.
    folder.write("wide.yaml", &CLUSTER.replace("count: 2", "count: 8"));
    let two = CLUSTER.to_owned()
        + "  - {count: 1, device: h100_sxm5_80gb, devices: 4, scaleup: nvlink4, host: pcie5_x16, nics: 4}\n";
    let mixed = two.replace("network: {link: ib_hdr_200}\n", "") + "network: {link: ib_hdr_200}\n";
    folder.write("mixed.yaml", &mixed);
    let line = |from: &str, to: &str| LINE.replace(from, to);
    for (line, code, exit) in [
        (line("--phase prefill", "--phase training"), "not-for-streams", 2),
        (line("--phase prefill", ""), "no-phase", 2),
        (line("--batch 64", ""), "no-batch", 2),
        (line("--batch 64", "--batch 99999999"), "batch", 2),
        (line("c.yaml", "one.yaml"), "one-device", 2),
        (line("c.yaml", "mixed.yaml"), "unlike-devices", 3),
        (line("mixed.json", "dense.json"), "no-experts", 2),
        (line("mixed.json", "large.json"), "nothing-fits", 5),
        (line("c.yaml", "wide.yaml").replace("--batch 64", "--batch 8"), "nothing-fits", 5),
        (format!("{LINE} --expert-skew visits.json"), "bad-histogram", 3),
        (format!("{LINE} --export sglang=x"), "unknown-target", 2),
        (format!("{LINE} --dtype fp32"), "not-for-streams", 2),
        (format!("{LINE} --routing-trace t.jsonl"), "not-for-streams", 2),
        (format!("explain own.json {ON} --op a"), "not-for-streams", 2),
        (format!("explain own.json {ON} --layer 6"), "unknown-layer", 2),
        (format!("verify own.json {ON} --batch 3"), "not-for-streams", 2),
        (format!("export own.json {ON} --target vllm -o out"), "unknown-target", 2),
    ] {
        let ran = folder.run(&line);
        assert!(ran.stderr.contains(&format!("error[{code}]")), "{line}: {}", ran.stderr);
        assert_eq!(ran.code, exit, "{line}: {}", ran.stderr);
        assert!(ran.stderr.contains("hint"), "{line}: {}", ran.stderr);
    }
}

#[test]
fn two_plans_of_groups_are_compared_and_drawn() {
    let folder = folder();
    let plan = planned(&folder, LINE, "own.json");
    planned(&folder, &LINE.replace("findep", "naive"), "naive.json");
    assert!(folder.run("compare own.json own.json").exits(0).stdout.contains("decide the same"));
    let answer = folder.run("compare own.json naive.json --json").exits(10).json();
    assert_eq!(answer["step"]["b"]["micro_batches"], 1, "{answer}");
    let rate = |of: &str| answer[of]["samples_per_s"].as_f64().unwrap();
    assert!(rate("a") > rate("b"), "{answer}");
    assert_eq!(rate("a"), plan["experts"]["disaggregated"]["step"]["samples_per_s"]);
    let words = folder.run(&format!("compare own.json naive.json {ON}")).exits(10).stdout;
    assert!(words.contains("micro_batches") && words.contains("less in B"), "{words}");
    // What is illegal is named before anything is compared.
    let mut other = plan.clone();
    other["experts"]["disaggregated"]["step"]["micro_batches"] = json!(7);
    folder.write("other.json", &other.to_string());
    folder.run(&format!("compare own.json other.json {ON}")).exits(6);
    planned(&folder, &LINE.replace("--batch 64", "--batch 32"), "half.json");
    let stderr = folder.run("compare own.json half.json").stderr;
    assert!(stderr.contains("warning[other-setting]") && stderr.contains("samples"), "{stderr}");
    folder.run(&format!("{LINE} --export svg=a.svg")).exits(0);
    folder.run(&format!("export own.json {ON} --target svg -o b.svg")).exits(0);
    folder.run(&format!("export other.json {ON} --target svg -o c.svg")).exits(6);
    let picture = folder.read("a.svg");
    assert_eq!(picture, folder.read("b.svg"));
    // All pieces of a layer of each kind, what others do meanwhile, and a title.
    let cells = plan["schedule"]["cells"].as_array().unwrap().iter();
    let streams = cells.flat_map(|cell| cell["streams"].as_array().unwrap());
    let n: usize = streams.map(|stream| stream["pieces"].as_array().unwrap().len()).sum();
    assert!(picture.matches("<title>").count() > n, "{picture}");
}
