//! One question, one answer: a training run is planned as degrees of parallelism and as a placement
//! of whole ops, and the better is returned with a bound on both.

use serde_json::{Value, json};

use super::folder::{Folder, diamond, instance};
use crate::data;

fn cluster(n_devices: u32) -> String {
    format!(
        "name: pod\nnodes:\n  - {{count: 1, device: a100_sxm4_80gb, devices: {n_devices}, \
         scaleup: nvlink3, host: pcie4_x16, nics: 8, memory_bytes: 400GB}}\n"
    )
}

/// The answer without what depends on the moment, how the search went, and launchers, searched by the clock.
fn lasting(mut answer: Value) -> Value {
    for name in ["elapsed_s", "run", "warnings", "runs_on"] {
        answer.as_object_mut().unwrap().remove(name);
    }
    answer
}

#[test]
fn both_spellings_are_one_question() {
    let Some(data) = data::folder() else { return };
    let folder = Folder::new(&diamond());
    for (model, batch, n_devices) in
        [("gpt2_small", 16, 8), ("resnet50", 64, 1), ("resnet50", 256, 8), ("llama3_8b", 8, 8)]
    {
        folder.write("pod.yaml", &cluster(n_devices));
        let path = data.join(format!("models/onnx/{model}.onnx"));
        let plan = format!("plan {} --cluster pod.yaml --json", path.display());
        let one = folder.run(&format!("{plan} --workload training --batch {batch}")).exits(0);
        let two = folder.run(&format!("{plan} --global-batch {batch}")).exits(0);
        assert_eq!(lasting(one.json()), lasting(two.json()), "{model} on {n_devices}");
    }
}

/// Whatever either way finds alone is no better than the answer, and not below its bound.
#[test]
fn the_answer_is_the_better_and_its_bound_covers_both() {
    let Some(data) = data::folder() else { return };
    let folder = Folder::new(&diamond());
    let mut n_with_gap = 0;
    for (model, batch) in [("gpt2_small", 1), ("gpt2_small", 64), ("resnet50", 8), ("llama3_8b", 8)]
    {
        for n_devices in [1, 8] {
            folder.write("pod.yaml", &cluster(n_devices));
            let path = data.join(format!("models/onnx/{model}.onnx"));
            let plan = format!("plan {} --cluster pod.yaml --json", path.display());
            let answer_to = |rest: &str| folder.run(&format!("{plan} {rest}")).exits(0).json();
            let both = answer_to(&format!("--global-batch {batch}"));
            let placed = |rest: &str| {
                let rest = format!("--workload training --batch {batch} --algorithm {rest}");
                answer_to(&rest)["report"]["step_time_ns"].as_u64().unwrap()
            };
            let (single, listed) = (placed("single"), placed("m-etf"));
            let degrees = answer_to(&format!("--global-batch {batch} --algorithm search-3d"));
            let degrees = degrees["best"]["step_time_ns"].as_u64().unwrap();
            let answer = &both["plan"]["cost"]["step_time_ns"].as_u64().unwrap();
            let bound = both["plan"]["cost"]["bound_ns"].as_u64().unwrap();
            for alone in [single, listed, degrees] {
                let case = format!("{model} {batch} on {n_devices}");
                assert!(alone >= bound, "{case}: {alone} is below {bound}");
                // Where prices differ by less than 2 % on one device, degrees are kept.
                assert!(alone as f64 >= 0.98 * *answer as f64, "{case}: {alone} beats {answer}");
            }
            let other = &both["other_space"];
            assert!(other["bound_s"].as_f64().is_some_and(|bound| bound > 0.0), "{other}");
            n_with_gap += u32::from(bound < *answer);
        }
    }
    assert!(n_with_gap > 0, "no bound was put to the test");
}

/// Where the two price one device apart, a placement does not win by the lower price alone.
#[test]
fn a_lower_price_is_no_better_plan() {
    let Some(data) = data::folder() else { return };
    let folder = Folder::new(&diamond());
    folder.write("pod.yaml", &cluster(8));
    let path = data.join("models/onnx/t5_base.onnx");
    let plan = format!("plan {} --cluster pod.yaml --json", path.display());
    let both = folder.run(&format!("{plan} --global-batch 16 --time-limit 6s")).exits(0).json();
    let other = &both["other_space"];
    let ratio = other["price_ratio"].as_f64().unwrap();
    let is_placed = other["space"] == "degrees-of-parallelism";
    let [placed, degrees] = match is_placed {
        true => [&both["report"]["step_time_s"], &other["step_time_s"]],
        false => [&other["step_time_s"], &both["best"]["step_time_s"]],
    };
    let (placed, degrees) = (placed.as_f64().unwrap(), degrees.as_f64().unwrap());
    assert_eq!(is_placed, placed / ratio.min(1.0) < 0.98 * degrees, "{placed} {degrees} {ratio}");
}

/// What only one space knows chooses it.
#[test]
fn flags_of_one_space_leave_the_other_out() {
    let Some(data) = data::folder() else { return };
    let folder = Folder::new(&diamond());
    folder.write("pod.yaml", &cluster(2));
    let path = data.join("models/onnx/resnet50.onnx");
    let plan = format!("plan {} --cluster pod.yaml --json", path.display());
    for (rest, is_both) in [
        ("--global-batch 8", true),
        ("--workload training --batch 8 --for any", true),
        ("--global-batch 8 --pin data=2", false),
        ("--global-batch 8 --stack compiled", false),
        ("--global-batch 8 --algorithm search-3d", false),
        ("--workload training --batch 8 --algorithm m-etf", false),
        ("--workload training --batch 8 --forbid *=node0.gpu0", false),
        ("--workload training --algorithm single", false),
    ] {
        let answer = folder.run(&format!("{plan} {rest}")).exits(0).json();
        assert_eq!(!answer["other_space"].is_null(), is_both, "{rest}: {}", answer["other_space"]);
    }
}

/// What neither honours, or what contradicts itself, is refused, whichever way it is spelled.
#[test]
fn what_means_nothing_to_either_is_refused() {
    let folder = Folder::new(&diamond());
    folder.write("pod.yaml", &cluster(2));
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/models/gpt2_small.onnx");
    let plan = format!("plan {model} --cluster pod.yaml");
    for (rest, why) in [
        ("--batch 8 --global-batch 16", "contradicts"),
        ("--workload training --batch 8 --global-batch 16", "contradicts"),
        ("--global-batch 8 --accelerators 3", "--accelerators"),
        ("--workload training --batch 8 --accelerators 3", "--accelerators"),
        ("--global-batch 8 --workload inference", "--workload inference"),
        ("--workload training --batch 8 --objective latency", "no-objective"),
    ] {
        let ran = folder.run(&format!("{plan} {rest}")).exits(2);
        assert!(ran.stderr.contains(why), "{rest}: {}", ran.stderr);
    }
}

/// Ops with given costs have no degrees: they are placed, and the answer says why.
#[test]
fn where_one_space_can_not_be_read_the_other_answers() {
    let mut model = instance(
        vec![json!({
            "id": 0, "name": "a", "time_ns": { "k": 10 }, "persistent": 1, "temp": 0,
            "inputs": [], "outputs": [],
        })],
        1000,
    );
    model["name"] = json!("given");
    let folder = Folder::new(&model);
    let ran = folder.run("plan model.json --workload training --batch 8 --json");
    let other = folder.run("plan model.json --global-batch 8 --json");
    assert_eq!(ran.code, other.code, "{}{}", ran.stdout, other.stdout);
}
