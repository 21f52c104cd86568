//! What prices a training run: cards that hosts share, where ranks lie, types of numbers, optimizers,
//! constants of measured steps, memory of hosts. Figures are derived by hand.

use serde_json::{Value, json};

use super::folder::{Folder, diamond};
use super::training::config;

/// Parameters of a block of [`config`], and of its embedding: two norms, four products of attention
/// (keys and values of half the width), three of the feed-forward part.
const BLOCK: f64 = 2.0 * 2048.0 + 3.0 * 2048.0 * 2048.0 + 3.0 * 2048.0 * 5632.0;
const WORDS: f64 = 32_000.0 * 2048.0;
const PARAMETERS: f64 = 10.0 * BLOCK + 2.0 * WORDS;
/// Bytes of the placeholders of gradients in 16 bits: one for each shape of a block's products, and the head's
/// (`get_dummy_wgrad` of Transformer Engine).
const PLACEHOLDERS: f64 = 2.0 * (BLOCK - 2.0 * 2048.0 + WORDS);

/// Two hosts of four A100, with so many network cards of 2 GB/s each.
fn cluster(nics: u32, more: &str) -> String {
    format!(
        "name: shared\nnodes:\n  - {{count: 2, device: a100_sxm4_80gb, devices: 4, scaleup: nvlink3, \
         host: pcie4_x16, nics: {nics}{more}}}\nnetwork: {{bytes_per_s: 2e9, latency_s: 5e-6}}\n"
    )
}

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("config.json", &config().to_string());
    for nics in [1, 2, 4] {
        folder.write(&format!("nics{nics}.yaml"), &cluster(nics, ""));
    }
    folder
}

fn best(folder: &Folder, cluster: &str, more: &str) -> Value {
    let line = format!(
        "plan config.json --cluster {cluster} --global-batch 8 --sequence-length 1024 --json {more}"
    );
    folder.run(&line).exits(0).json()["best"].clone()
}

fn seconds(best: &Value) -> f64 {
    best["step_time_s"].as_f64().unwrap()
}

/// Eight replicas on two hosts scatter their gradients, of four bytes each, and gather the weights, of
/// two, in rings: through each host's cards go `(8 - 1) / 8` of both in each direction, whoever sends
/// them.
#[test]
fn a_card_that_a_host_shares_carries_all_its_gradients() {
    let folder = folder();
    let pins = "--pin data=8 --pin tensor=1 --pin zero=1 --pin pipeline=1 --pin context=1";
    let step = |nics: u32| seconds(&best(&folder, &format!("nics{nics}.yaml"), pins));
    let through = |n_cards: f64| 7.0 / 8.0 * (4.0 + 2.0) * PARAMETERS / (n_cards * 2e9);
    let compute = step(4) - through(4.0);
    assert!(compute > 0.0 && compute < 0.5, "{compute}");
    for nics in [1, 2] {
        let wanted = through(f64::from(nics)) + compute;
        let step_s = step(nics);
        assert!(step_s > through(f64::from(nics)), "{nics} cards: {step_s}");
        // What hides behind the backward pass may differ by the pass.
        assert!((step_s / wanted - 1.0).abs() < 0.03, "{nics} cards: {step_s} {wanted}");
    }
}

/// What no kernel computes is no computing: on other networks the same passes wait longer for sharded
/// parameters and gradients, and nothing else changes.
#[test]
fn waiting_for_sharded_parameters_is_communication() {
    let folder = folder();
    let pins = "--pin data=8 --pin tensor=1 --pin zero=3 --pin pipeline=1 --pin context=1 \
                --pin micro-batch=1 --pin recompute=none";
    let parts = |nics: u32| {
        let best = best(&folder, &format!("nics{nics}.yaml"), pins);
        let part = |name: &str| best["parts"][name].as_f64().unwrap();
        let sum: f64 = best["parts"].as_object().unwrap().values().filter_map(Value::as_f64).sum();
        assert!((sum / seconds(&best) - 1.0).abs() < 1e-6, "{best}");
        (part("compute_s"), part("exposed_transfers_s"))
    };
    let (slow, fast) = (parts(1), parts(4));
    assert!((slow.0 / fast.0 - 1.0).abs() < 1e-6, "{slow:?} {fast:?}");
    // Both passes gather weights, and gradients are scattered; all but what runs beside them waits,
    // and 7 % of that.
    let sent = 7.0 / 8.0 * (2.0 * 2.0 + 4.0) * PARAMETERS / 2e9;
    let exposed = sent - 0.93 * slow.0;
    assert!(slow.1 > 0.99 * exposed && slow.1 < 1.02 * sent, "{slow:?} {sent}");
}

/// All that leaves a host goes through its card, one after the other: in both passes tokens to and
/// from the experts, `4 / 8` of each to the other host, and gathered weights; gradients once. Experts
/// have no replicas.
#[test]
fn a_card_carries_tokens_and_sharded_parameters_one_after_the_other() {
    let folder = folder();
    let mut mixture = config();
    mixture["model_type"] = json!("mixtral");
    mixture["num_local_experts"] = json!(8);
    mixture["num_experts_per_tok"] = json!(2);
    folder.write("config.json", &mixture.to_string());
    let pins = "--pin data=8 --pin expert=8 --pin tensor=1 --pin zero=3 --pin pipeline=1 \
                --pin context=1 --pin micro-batch=1 --pin recompute=none";
    let step = seconds(&best(&folder, "nics1.yaml", pins));
    let visits = 10.0 * 4.0 * 2.0 * 1024.0 * 2048.0 * 2.0 * 4.0 / 8.0;
    let dense = 10.0 * (BLOCK - 3.0 * 2048.0 * 5632.0 + 2048.0 * 8.0) + 2.0 * WORDS;
    let shared_out = 7.0 / 8.0 * (2.0 * 2.0 + 4.0) * dense;
    let carried = (4.0 * visits + shared_out) / 2e9;
    assert!(step > carried, "{step} {carried}");
}

/// The distributed optimizer keeps weights and gradients of every parameter and shares out master
/// weights and moments: 2 + 4 + 12 / 8 bytes where gradients are summed in 32 bits, 2 + 2 + 12 / 8
/// where in 16, as Megatron-Bridge's recipes do (`grad_reduce_in_fp32 = False` in its
/// `perf_recipes/_common.py` at 067f987d; Megatron-LM, distributed optimizer documentation).
#[test]
fn stacks_keep_gradients_in_the_type_that_they_sum_in() {
    let folder = folder();
    let pins = "--pin data=8 --pin tensor=1 --pin zero=1 --pin pipeline=1 --pin context=1";
    for (stack, bytes) in [("megatron-core", 7.5), ("megatron-bridge", 5.5)] {
        let line = format!(
            "plan config.json --cluster nics4.yaml --global-batch 8 --sequence-length 1024 --json \
             {pins} --stack {stack}"
        );
        let answer = folder.run(&line).exits(0).json();
        let persistent =
            answer["plan"]["training"]["memory"][0]["persistent_bytes"].as_f64().unwrap();
        let wanted = bytes * PARAMETERS + PLACEHOLDERS + 75e6;
        assert!((persistent / wanted - 1.0).abs() < 0.005, "{stack}: {persistent} {wanted}");
    }
}

/// Forward and backward passes take 6 operations a token and weight, the head's included and the
/// embedding's not, and 12 per block, token, token of the sample and element of the width.
#[test]
fn the_share_of_the_peak_counts_the_operations_of_the_model() {
    let best = best(&folder(), "nics4.yaml", "--pin recompute=full");
    let weights = 10.0 * (BLOCK - 2.0 * 2048.0) + WORDS;
    let flops = 8.0 * 1024.0 * (6.0 * weights + 12.0 * 10.0 * 1024.0 * 2048.0);
    let wanted = flops / (seconds(&best) * 8.0 * 312e12);
    let utilisation = best["model_flops_utilisation"].as_f64().unwrap();
    assert!((utilisation / wanted - 1.0).abs() < 1e-6, "{utilisation} {wanted}");
}

/// Stages on two hosts: all four devices of a rank send their part through the one card at once.
#[test]
fn a_card_that_ranks_share_carries_all_their_messages() {
    let folder = folder();
    let pins = "--pin data=1 --pin tensor=4 --pin pipeline=2 --pin schedule=gpipe --pin zero=0 \
                --pin micro-batch=8 --pin context=1 --pin recompute=none --pin split=equal";
    let step = |nics: u32| seconds(&best(&folder, &format!("nics{nics}.yaml"), pins));
    // One activation forward, one gradient back, 16 bits each.
    let message = 2.0 * 8.0 * 1024.0 * 2048.0;
    let wanted = 2.0 * message * (1.0 / 2e9 - 1.0 / (4.0 * 2e9));
    let more = step(1) - step(4);
    assert!((more / wanted - 1.0).abs() < 0.02, "{more} {wanted}");
    // The verifier counts the sharers again.
    let plan = format!(
        "plan config.json --cluster nics1.yaml --global-batch 8 --sequence-length 1024 {pins} -o p.json"
    );
    folder.run(&plan).exits(0);
    folder.run("verify p.json --model config.json --cluster nics1.yaml").exits(0);
    // Made for four cards, it is wrong on one.
    let on = "verify p.json --model config.json --cluster nics4.yaml --allow-mismatch";
    folder.run(on).exits(0);
    folder.run("verify p.json --model config.json --cluster nics4.yaml").exits(3);
}

/// With pipeline ranks inside a host the two ranks that share out experts lie on two hosts.
#[test]
fn experts_are_exchanged_between_the_hosts_where_they_lie() {
    let folder = folder();
    let mut mixture = config();
    mixture["model_type"] = json!("mixtral");
    mixture["num_local_experts"] = json!(4);
    mixture["num_experts_per_tok"] = json!(2);
    folder.write("config.json", &mixture.to_string());
    let pins = "--pin data=2 --pin expert=2 --pin pipeline=4 --pin tensor=1 --pin schedule=1f1b \
                --pin micro-batch=1 --pin zero=1 --pin recompute=none --pin split=equal --pin mesh=";
    let collectives = |mesh: &str| {
        let best = best(&folder, "nics4.yaml", &format!("{pins}{mesh}"));
        best["parts"]["collectives_s"].as_f64().unwrap()
    };
    let (near, far) = (collectives("data-inside"), collectives("pipeline-inside"));
    // Two of four exchanges go forward, two back; each sends the halves of both visits of every
    // token to the other rank; a rank has 2 or 3 blocks and 4 micro-batches.
    let sent = 2.0 * 1024.0 * 2048.0 * 2.0 / 2.0;
    let at = |rate: f64, start_up: f64| 4.0 * (sent / rate + start_up);
    let (low, high) = (2.0 * 4.0 * at(2e9, 5e-6), 3.0 * 4.0 * at(2e9, 5e-6));
    assert!(far > 0.99 * low && far < 1.01 * high, "{far} {low} {high}");
    assert!(near < far / 20.0, "{near} {far}");
}

#[test]
fn types_of_numbers_and_optimizers_have_their_times_and_bytes() {
    let folder = folder();
    let pins = "--pin data=1 --pin tensor=8 --pin pipeline=1 --pin context=1 --pin recompute=none";
    let planned = |more: &str| {
        let line = format!(
            "plan config.json --cluster nics4.yaml --global-batch 8 --sequence-length 1024 --json \
             {pins} {more}"
        );
        folder.run(&line).exits(0).json()
    };
    let states = |answer: &Value| {
        answer["plan"]["training"]["memory"][0]["persistent_bytes"].as_f64().unwrap()
    };
    let step = |answer: &Value| seconds(&answer["best"]);
    let half = planned("--dtype bf16");
    let single = planned("--dtype fp32");
    assert_eq!(half["plan"]["workload"]["dtype"], "bf16");
    assert_eq!(planned("")["plan"]["workload"]["dtype"], "bf16");
    // Data sheet: 312 and 19.5 TFLOP/s; no product may gain more, and all else gains half.
    let ratio = step(&single) / step(&half);
    assert!(ratio > 2.0 && ratio < 16.0, "{ratio}");
    // 2 + 4 + 4 + 8 bytes, or 4 + 4 + 8; a card of eight has its part.
    let share = PARAMETERS / 8.0;
    let near = |bytes: f64, (each, placeholders): (f64, f64)| {
        let left = bytes - each * share - placeholders / 8.0;
        assert!(left > 0.0 && left < 0.1e9, "{bytes} {each}: {left}");
    };
    near(states(&half), (18.0, PLACEHOLDERS));
    // In single precision placeholders are too.
    near(states(&single), (16.0, 2.0 * PLACEHOLDERS));
    near(states(&planned("--optimizer sgd")), (10.0, PLACEHOLDERS));
    near(states(&planned("--optimizer adafactor")), (10.0, PLACEHOLDERS));
    assert!(states(&planned("--optimizer adafactor")) > states(&planned("--optimizer sgd")));
    assert!(step(&planned("--optimizer sgd")) < step(&half));
    // The config's type counts where no flag does.
    let mut stated = config();
    stated["torch_dtype"] = json!("float32");
    folder.write("config.json", &stated.to_string());
    assert_eq!(step(&planned("")), step(&single));
    let refused = "plan config.json --cluster nics4.yaml --global-batch 8 --dtype fp8";
    assert!(folder.run(refused).exits(2).stderr.contains("does not compute in fp8"));
}

#[test]
fn constants_of_measured_steps_price_plans() {
    let folder = folder();
    let slow = json!({
        "version": 1, "name": "mine", "kinds": {}, "links": {},
        "stacks": {"megatron-core": {
            "constants": {"derating": 0.45},
            "provenance": {"how": "measured", "source": "test", "date": "2026-01-01"}
        }}
    });
    folder.write("profile.json", &slow.to_string());
    let nominal = best(&folder, "nics4.yaml", "--devices 4 --pin tensor=4");
    let measured = best(&folder, "nics4.yaml", "--devices 4 --pin tensor=4 --profile profile.json");
    let ratio = seconds(&measured) / seconds(&nominal);
    // Half the derating of 0.9: products take twice as long, the rest as before.
    assert!(ratio > 1.2 && ratio < 2.0, "{ratio}");
    let line = "plan config.json --cluster nics4.yaml --global-batch 8 --profile profile.json";
    let ran = folder.run(&format!("{line} -o p.json")).exits(0);
    assert!(ran.stdout.contains("stack measured"), "{}", ran.stdout);
    assert!(ran.stdout.contains("80 %: "), "{}", ran.stdout);
    let on = "verify p.json --model config.json --cluster nics4.yaml";
    folder.run(&format!("{on} --profile profile.json")).exits(0);
    folder.run(on).exits(0);
    folder.forget_inputs("p.json");
    folder.run(on).exits(3);
    let other = folder.run(&format!("{line} --stack torchtitan --all")).exits(0);
    assert!(other.stderr.contains("stack `megatron-core`"), "{}", other.stderr);
}

/// States of 18 bytes on one device of 11.5 GB do not fit; those that hosts may keep take 24 bytes a
/// parameter (16 times 1.5, `estimate_zero2_model_states_mem_needs` of DeepSpeed), and all devices of a host
/// share its memory.
#[test]
fn hosts_hold_no_more_than_they_have() {
    let folder = folder();
    let more = |bytes: f64| format!(", memory_bytes: 11.5e9, host_memory_bytes: {}", bytes as u64);
    let enough = 4.0 * 24.0 * PARAMETERS * 1.01;
    let line = "plan config.json --global-batch 8 --sequence-length 1024 --pin data=8 --pin zero=0 \
                --pin tensor=1 --cluster";
    folder.write("large.yaml", &cluster(4, &more(enough)));
    folder.write("small.yaml", &cluster(4, &more(enough * 0.98)));
    folder.run(&format!("{line} large.yaml -o p.json")).exits(0);
    let plan: Value = folder.json("p.json");
    assert_eq!(plan["training"]["offloads_optimizer"], true);
    let refused = folder.run(&format!("{line} small.yaml")).exits(4);
    assert!(refused.stderr.contains("host"), "{}", refused.stderr);
    let on = "verify p.json --model config.json --cluster small.yaml --allow-mismatch";
    let answer = folder.run(&format!("{on} --json")).exits(6).json();
    assert_eq!(answer["violations"][0]["code"], "host-memory-exceeded", "{answer}");
}
