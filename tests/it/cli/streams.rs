//! Parts of layers and slices of gradients: planned, read back, and what is wrong with them named.

use serde_json::{Value, json};

use super::experts::config;
use super::folder::{Folder, diamond};
use super::training::CLUSTER;

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("experts.json", &config().to_string());
    folder.write("c.yaml", CLUSTER);
    folder
}

const LINE: &str = "plan experts.json --cluster c.yaml --phase training --batch 256 \
    --sequence-length 2048 --algorithm fsmoe";
const ON: &str = "--model experts.json --cluster c.yaml";

fn planned(folder: &Folder, line: &str, name: &str) -> Value {
    folder.run(&format!("{line} -o {name}")).exits(0);
    folder.json(name)
}

#[test]
fn a_plan_of_streams_is_replayed_explained_and_no_worse_than_its_baselines() {
    let folder = folder();
    let plan = planned(&folder, LINE, "own.json");
    let layers = plan["experts"]["layers"].as_array().unwrap();
    let n: usize = layers.iter().map(|layer| layer["layers"].as_array().unwrap().len()).sum();
    assert_eq!(n, 4);
    assert_eq!(plan["parallelism"]["expert"], 2);
    // The last layer's backward pass comes first: no gradients exist.
    let of = |layer: u32| {
        let is_own = |entry: &&Value| entry["layers"].as_array().unwrap().contains(&json!(layer));
        layers.iter().find(is_own).unwrap()
    };
    assert_eq!(of(3)["gradient_bytes"], 0);
    assert!((0..3).any(|layer| of(layer)["gradient_bytes"].as_u64().unwrap() > 0), "{layers:?}");
    let cell = &plan["schedule"]["cells"][0];
    assert_eq!(cell["cell"], "0F");
    let resources: Vec<&str> = cell["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stream| stream["resource"].as_str().unwrap())
        .collect();
    assert_eq!(resources, ["compute", "intra-node", "inter-node"]);
    let stdout = folder.run(&format!("verify own.json {ON}")).exits(0).stdout;
    assert!(stdout.contains("4 layers on 2 hosts"), "{stdout}");
    let answer = folder.run(&format!("explain own.json {ON} --json")).exits(0).json();
    let seconds = answer["seconds"].as_f64().unwrap();
    let stated = plan["cost"]["step_time_s"].as_f64().unwrap();
    assert!((seconds - stated).abs() < 2e-9, "{seconds} {stated}");
    let answer = folder.run(&format!("explain own.json {ON} --layer 1 --json")).exits(0).json();
    let pieces = answer["pieces"].as_array().unwrap();
    let n = of(1)["r_fwd"].as_u64().unwrap() + of(1)["r_bwd"].as_u64().unwrap();
    let slice = u64::from(of(1)["gradient_bytes"] != 0);
    assert_eq!(pieces.len() as u64, 5 * n + slice, "{answer}");
    let stdout = folder.run(&format!("explain own.json {ON} --layer 1")).exits(0).stdout;
    assert!(stdout.contains("dispatch") && stdout.contains("inter-node"), "{stdout}");
    let answer = folder.run(&format!("{LINE} --json")).exits(0).json();
    let figure = |name: &str| answer[name].as_f64().unwrap();
    assert!(figure("bound_seconds") <= figure("seconds"), "{answer}");
    assert!(figure("seconds") < figure("unsplit_seconds"), "{answer}");
    let closed = folder.run(&format!("{LINE}-closed-form --json")).exits(0).json();
    assert!(figure("seconds") <= closed["seconds"].as_f64().unwrap() * (1.0 + 1e-9));
    // Gradients that nothing hides are counted, so that little is left between plan and bound.
    assert!(figure("seconds") <= 1.02 * figure("bound_seconds"), "{answer}");
    for line in
        [LINE, &format!("explain own.json {ON}"), &format!("explain own.json {ON} --layer 1")]
    {
        let stdout = folder.run(line).exits(0).stdout;
        let table = stdout.lines().take_while(|line| !line.starts_with("ms of"));
        let widest = table.map(|line| line.chars().count()).max();
        assert!(widest <= Some(88), "{line}: {stdout}");
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
    let first = |plan: &Value| plan["experts"]["layers"][0].clone();
    let entry = first(&plan);
    check("parts", &|plan| plan["experts"]["layers"][0]["r_fwd"] = json!(65), 6, "bad-parts");
    let other = json!(entry["r_fwd"].as_u64().unwrap() % 8 + 1);
    check("fewer", &|plan| plan["experts"]["layers"][0]["r_fwd"] = other.clone(), 6, "bad-cell");
    check(
        "early",
        &|plan| {
            let layers = plan["experts"]["layers"].as_array_mut().unwrap();
            for layer in layers {
                layer["gradient_bytes"] = json!(1u64 << 40);
            }
        },
        6,
        "gradients-too-early",
    );
    check(
        "no layer",
        &|plan| plan["experts"]["layers"][0]["layers"] = json!([9]),
        6,
        "no-such-layer",
    );
    check("cost", &|plan| plan["cost"]["step_time_ns"] = json!(1), 6, "stated-wrong");
    check("algorithm", &|plan| plan["algorithm"] = json!("fsmo"), 3, "bad-plan");
    let stream = |plan: &mut Value, change: &dyn Fn(&mut Vec<Value>)| {
        let cells = plan["schedule"]["cells"].as_array_mut().unwrap();
        let cut = cells
            .iter_mut()
            .find(|cell| cell["streams"][0]["pieces"].as_array().unwrap().len() > 1)
            .expect("no layer is cut");
        change(cut["streams"][0]["pieces"].as_array_mut().unwrap());
    };
    check("piece", &|plan| stream(plan, &|pieces| drop(pieces.pop())), 6, "bad-cell");
    check("order", &|plan| stream(plan, &|pieces| pieces.reverse()), 6, "bad-cell");
    check("name", &|plan| stream(plan, &|pieces| pieces[0]["op"] = json!("x")), 6, "bad-cell");
    check("slots", &|plan| plan["experts"]["layers"][0]["slots"] = json!(3), 3, "bad-plan");
    check("missing", &|plan| drop(plan.as_object_mut().unwrap().remove("cost")), 3, "bad-plan");
}

#[test]
fn what_means_nothing_beside_parts_is_refused() {
    let folder = folder();
    planned(&folder, LINE, "own.json");
    let one = CLUSTER.replace("count: 2", "count: 1");
    folder.write("one.yaml", &one);
    let mut dense = config();
    dense.as_object_mut().unwrap().remove("num_local_experts");
    dense["model_type"] = json!("llama");
    folder.write("dense.json", &dense.to_string());
    let mut odd = config();
    odd["num_local_experts"] = json!(7);
    folder.write("odd.json", &odd.to_string());
    let line = |from: &str, to: &str| LINE.replace(from, to);
    for (line, code) in [
        (line("--phase training", "--phase decode"), "not-for-streams"),
        (line("--phase training", ""), "no-phase"),
        (line("--batch 256", ""), "no-batch"),
        (line("--batch 256", "--batch 3"), "uneven-batch"),
        (line("c.yaml", "one.yaml"), "one-host"),
        (line("experts.json", "odd.json"), "uneven-experts"),
        (line("experts.json", "dense.json"), "no-experts"),
        (format!("{LINE} --expert-skew visits.json"), "not-for-streams"),
        (format!("{LINE} --export megatron=x"), "unknown-target"),
        (format!("{LINE} --dtype fp32"), "not-for-streams"),
        (format!("{LINE}:slots=3"), "unknown-option"),
        (format!("{LINE}(slots=3)"), "unknown-option"),
        (LINE.replace("fsmoe", "expert-placement:slots=3"), "unknown-algorithm"),
        (format!("explain own.json {ON} --op a"), "not-for-streams"),
        (format!("explain own.json {ON} --layer 4"), "unknown-layer"),
        (format!("verify own.json {ON} --batch 3"), "not-for-streams"),
        (format!("export own.json {ON} --target megatron -o out"), "unknown-target"),
    ] {
        let ran = folder.run(&line);
        assert!(ran.stderr.contains(&format!("error[{code}]")), "{line}: {}", ran.stderr);
        assert!(ran.code == 2, "{line}: {} {}", ran.code, ran.stderr);
        // Only one flag says of how many bits numbers are.
        assert_eq!(ran.stderr.contains("16 bits"), line.contains("--dtype"), "{line}");
    }
    let stderr = folder.run(&format!("{LINE} --micro-batch 2")).exits(2).stderr;
    assert!(
        stderr.contains("`--micro-batch` has no effect") && !stderr.contains("bits"),
        "{stderr}"
    );
}

#[test]
fn a_picture_has_a_bar_for_each_piece() {
    let folder = folder();
    let plan = planned(&folder, LINE, "own.json");
    folder.run(&format!("{LINE} --export svg=a.svg")).exits(0);
    folder.run(&format!("export own.json {ON} --target svg -o b.svg")).exits(0);
    let picture = folder.read("a.svg");
    assert_eq!(picture, folder.read("b.svg"));
    // A bar for each piece, and a title.
    let cells = plan["schedule"]["cells"].as_array().unwrap().iter();
    let streams = cells.flat_map(|cell| cell["streams"].as_array().unwrap());
    let n: usize = streams.map(|stream| stream["pieces"].as_array().unwrap().len()).sum();
    assert_eq!(picture.matches("<title>").count(), n + 1, "{picture}");
}

#[test]
fn what_differs_between_two_plans_is_told() {
    let folder = folder();
    planned(&folder, LINE, "own.json");
    // A plan on its model is judged before it is compared.
    folder.forget_inputs("own.json");
    let plan = folder.json("own.json");
    let stdout = folder.run("compare own.json own.json").exits(0).stdout;
    assert!(stdout.contains("the plans decide the same"), "{stdout}");
    let mut other = plan.clone();
    let entry = &mut other["experts"]["layers"][0];
    let layers = entry["layers"].clone();
    let was = entry["r_fwd"].clone();
    entry["r_fwd"] = json!(63);
    entry["gradient_bytes"] = json!(12_345);
    folder.write("other.json", &other.to_string());
    let answer = folder.run("compare own.json other.json --json").exits(10).json();
    assert_eq!(answer["equal"], false);
    let layer = &answer["layers"][0];
    assert_eq!(layer["layers"], layers);
    assert_eq!((&layer["a"]["r_fwd"], &layer["b"]["r_fwd"]), (&was, &json!(63)));
    assert_eq!(layer["b"]["gradient_bytes"], 12_345);
    assert_eq!(answer["layers"].as_array().unwrap().len(), 1, "{answer}");
    let stdout = folder.run("compare own.json other.json").exits(10).stdout;
    assert!(
        stdout.contains("r_fwd") && stdout.contains("12345") && !stdout.contains("r_bwd"),
        "{stdout}"
    );
    // What is illegal is named before anything is compared.
    folder.run("compare own.json other.json --model experts.json --cluster c.yaml").exits(6);
    let mut other = plan;
    let cells = other["schedule"]["cells"].as_array_mut().unwrap();
    cells[0]["streams"][1]["pieces"].as_array_mut().unwrap().reverse();
    folder.write("order.json", &other.to_string());
    let stdout = folder.run("compare own.json order.json").exits(10).stdout;
    assert!(stdout.contains("order of pieces"), "{stdout}");
    planned(&folder, &LINE.replace("--batch 256", "--batch 128"), "half.json");
    let stderr = folder.run("compare own.json half.json").stderr;
    assert!(stderr.contains("warning[other-setting]") && stderr.contains("samples"), "{stderr}");
}
