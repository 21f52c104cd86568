//! Exchanges of experts beside the work of another micro-batch: chosen where they pay, told to the
//! launcher that has words for them, refused where they can't be.

use serde_json::{Value, json};

use super::experts::config;
use super::folder::{Folder, diamond};
use super::training::CLUSTER;

type Edit<'a> = &'a dyn Fn(&mut Value);

const LINE: &str = "plan experts.json --cluster c.yaml --global-batch 64 --sequence-length 2048";
const ON: &str = "--model experts.json --cluster c.yaml";

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("experts.json", &config().to_string());
    folder.write("c.yaml", CLUSTER);
    folder
}

fn planned(folder: &Folder, more: &str, name: &str) -> (Value, f64) {
    folder.run(&format!("{LINE} {more} -o {name}")).exits(0);
    let plan: Value = folder.json(name);
    let seconds = plan["cost"]["step_time_s"].as_f64().unwrap();
    (plan, seconds)
}

#[test]
fn the_search_is_no_worse_than_either_choice_and_its_bound_holds_for_both() {
    let folder = folder();
    let pins = "--pin expert=4 --pin expert-overlap";
    let (free, best_s) = planned(&folder, "", "free.json");
    let (on, on_s) = planned(&folder, &format!("{pins}=on"), "on.json");
    let (off, off_s) = planned(&folder, &format!("{pins}=off"), "off.json");
    let bound_s = free["cost"]["bound_ns"].as_f64().unwrap() * 1e-9;
    assert!(bound_s <= best_s && best_s <= on_s.min(off_s), "{bound_s} {best_s} {on_s} {off_s}");
    assert_eq!(on["parallelism"]["training"]["expert_overlap"], true);
    assert_eq!(off["parallelism"]["training"]["expert_overlap"], Value::Null);
    assert!(on["parallelism"]["n_micro_batches"].as_u64().unwrap() > 1, "one has no other beside");
    let stdout = folder.run(&format!("{LINE} {pins}=on")).exits(0).stdout;
    assert!(stdout.contains("EP 4, ZeRO 1, overlapped all-to-all"), "{stdout}");
}

#[test]
fn the_same_degrees_are_faster_with_exchanges_beside_work_and_say_so() {
    let folder = folder();
    let degrees = "--pin data=8 --pin tensor=1 --pin pipeline=1 --pin context=1 --pin expert=8 \
                   --pin micro-batch=1 --pin zero=1 --pin recompute=none --pin expert-overlap";
    let (_, on_s) = planned(&folder, &format!("{degrees}=on"), "on.json");
    let (_, off_s) = planned(&folder, &format!("{degrees}=off"), "off.json");
    assert!(on_s < off_s, "{on_s} {off_s}");
    for name in ["on", "off"] {
        folder.run(&format!("verify {name}.json {ON}")).exits(0);
    }
    let stdout = folder.run(&format!("compare off.json on.json {ON}")).exits(10).stdout;
    assert!(stdout.contains("EP communication"), "{stdout}");
    for (name, otherwise_s) in [("on", off_s), ("off", on_s)] {
        let answer = folder.run(&format!("explain {name}.json {ON} --json")).exits(0).json();
        let overlap = &answer["expert_overlap"];
        assert_eq!(overlap["beside"], name == "on");
        let told_s = overlap["otherwise_step_time_ns"].as_f64().unwrap() * 1e-9;
        assert!((told_s - otherwise_s).abs() < 2e-9, "{answer} {otherwise_s}");
    }
    let flag = "--overlap-moe-expert-parallel-comm";
    let exported = |name: &str, target: &str| {
        let to = format!("{name}-{target}.txt");
        let ran = folder.run(&format!("export {name}.json {ON} --target {target} -o {to}"));
        (ran.code, if ran.code == 0 { folder.read(&to) } else { ran.stderr })
    };
    let (code, text) = exported("on", "megatron");
    assert!(code == 0 && text.contains(flag) && !text.contains("--recompute"), "{text}");
    assert!(!exported("off", "megatron").1.contains(flag));
    // What runs by these flags is priced as the plan is.
    folder.write("now.args", &text);
    let answer = folder.run(&format!("compare now.args on.json {ON} --json")).exits(0).json();
    assert_eq!(answer["changes"], json!([]), "{answer}");
    let (code, text) = exported("on", "megatron-bridge");
    assert!(code == 0 && text.contains("model.overlap_moe_expert_parallel_comm=true"), "{text}");
    for target in ["torch-pipelining", "jax"] {
        let (code, text) = exported("on", target);
        assert!(code != 0 && text.contains("expert-overlap=off"), "{target}: {text}");
    }
}

/// Megatron-Core d98e8a64, `get_pp_rank_microbatches`: with two ranks of two chunks and passes that run
/// together, rank `r` has `2 (2 - 1 - r) + (2 - 1) 2 + 1` forward passes behind it when it alternates.
#[test]
fn pipelines_run_one_forward_pass_more_before_they_alternate() {
    let folder = folder();
    let degrees = "--pin data=4 --pin tensor=1 --pin pipeline=2 --pin context=1 --pin expert=4 \
                   --pin micro-batch=1 --pin zero=1 --pin recompute=none --pin virtual-stages=2 \
                   --pin schedule=interleaved --pin split=equal --pin expert-overlap";
    let (on, _) = planned(&folder, &format!("{degrees}=on"), "on.json");
    let (off, _) = planned(&folder, &format!("{degrees}=off"), "off.json");
    let row =
        |plan: &Value, rank: usize| plan["schedule"]["grid"][rank].as_str().unwrap().to_owned();
    let first = |row: String| row.split(',').position(|cell| cell.contains('B')).unwrap();
    for (rank, ahead) in [(0, 5), (1, 3)] {
        // The pass that runs together with the first backward one stands before it.
        assert_eq!(first(row(&on, rank)), ahead + 1, "{}", row(&on, rank));
        assert_eq!(first(row(&off, rank)), ahead, "{}", row(&off, rank));
    }
    // A chunk is a block: that of the micro-batch more is what the rank holds besides.
    let figure = |plan: &Value, name: &str| -> Vec<u64> {
        let ranks = plan["training"]["memory"].as_array().unwrap();
        ranks.iter().map(|rank| rank[name].as_u64().unwrap()).collect()
    };
    let peaks = (figure(&on, "peak_bytes"), figure(&off, "peak_bytes"));
    // Bytes of a block's activations (Korthikanti et al. 2022: 34 bytes a token and width of a dense
    // block with plain attention) are more than 20 a token and width, less than 200.
    let element = 2048 * 1024;
    for (on, off) in peaks.0.iter().zip(&peaks.1) {
        assert!((off + 20 * element..off + 200 * element).contains(on), "{on} {off}");
    }
    folder.run(&format!("verify on.json {ON}")).exits(0);
    // The order of passes that runs otherwise is no plan by this name.
    let mut edited = on;
    edited["schedule"]["grid"] = off["schedule"]["grid"].clone();
    folder.write("edited.json", &edited.to_string());
    folder.run(&format!("verify edited.json {ON}")).exits(6);
    // What Megatron runs by the flags is priced as the plan is, order and peaks included.
    folder.run(&format!("export on.json {ON} --target megatron -o now.args")).exits(0);
    let answer = folder.run(&format!("compare now.args on.json {ON} --json")).exits(0).json();
    assert_eq!(answer["changes"], json!([]), "{answer}");
}

#[test]
fn plans_that_can_not_run_them_so_are_refused() {
    let folder = folder();
    let (plan, _) = planned(&folder, "--pin expert=8 --pin expert-overlap=on", "on.json");
    let edits: [(&str, Edit); 3] = [
        ("recomputed", &|plan| {
            for stage in plan["partition"]["stages"].as_array_mut().unwrap() {
                stage["blocks"]["recompute"] = json!("full");
            }
        }),
        ("share out no experts", &|plan| plan["parallelism"]["expert"] = json!(1)),
        ("fill the pipeline", &|plan| {
            let m = plan["parallelism"]["n_micro_batches"].as_u64().unwrap();
            let training = &mut plan["parallelism"]["training"];
            training["micro_batch"] = json!(m * training["micro_batch"].as_u64().unwrap());
            plan["parallelism"]["n_micro_batches"] = json!(1);
        }),
    ];
    for (why, edit) in edits {
        let mut edited = plan.clone();
        edit(&mut edited);
        folder.write("edited.json", &edited.to_string());
        let ran = folder.run(&format!("verify edited.json {ON}")).exits(6);
        let text = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(why), "{why}: {text}");
    }
    let none = format!("{LINE} --pin expert-overlap=on --stack torchtitan");
    let text = folder.run(&none).exits(4).talk();
    assert!(text.contains("the stack does not leave that to the plan"), "{text}");
}
