//! With `--deterministic`, the plan is the same to the byte: from run to run, and with one thread or
//! two. Every row of the registry, on a model or an instance that it serves.

use cost_model::given::Goal;
use planner::algorithm::Kind;
use planner::given::runner::Method;
use planner::registry::{Entry, entries};
use planner::serving::SERVING;
use planner::training::doors::{Card, Layers, Unlike};

use super::folder::{Folder, diamond};
use super::followed::{layers, load_instance};
use super::gradients::on_ten_gigabit;
use super::kinds::{self, KINDS, Small};
use super::{averaging, layered, tasks, training, unlike};

pub(super) const PIPELINE: &str = r#"{"maxDevices":3,"maxMemoryPerDevice":50.0,"bandwidth":1.0,"mbsInBatch":4,
    "nodes":[{"id":0,"TMPCs":{"1":[{"id":"a","timePerSample":3.0,"parameterSize":1.0,
    "memoryUsageA":1.0,"memoryUsageB":1.0}]}},{"id":1,"TMPCs":{"1":[{"id":"a","timePerSample":4.0,
    "parameterSize":1.0,"memoryUsageA":1.0,"memoryUsageB":1.0}],"2":[{"id":"a","timePerSample":2.5,
    "parameterSize":1.0,"memoryUsageA":1.0,"memoryUsageB":1.0}]}}],
    "edges":[{"sourceId":0,"destId":1,"communicationCost":1.0}]}"#;

pub(super) const PROFILE: &str = "\
node1 -- Layer(1) -- forward_compute_time=3.0, backward_compute_time=1.0, \
activation_size=4.0, parameter_size=4.0
node2 -- Layer(2) -- forward_compute_time=1.0, backward_compute_time=2.0, \
activation_size=4.0, parameter_size=4.0
node3 -- Layer(3) -- forward_compute_time=2.0, backward_compute_time=2.5, \
activation_size=4.0, parameter_size=4.0
\tnode1 -- node2
\tnode2 -- node3
";

/// Lines that try a row: what follows `plan`.
fn lines(entry: &Entry) -> Vec<String> {
    let mut lines = Vec::new();
    if entry.build().is_some() {
        let recipe = match entry.kind {
            Kind::Decide => entry.name.to_owned(),
            Kind::Transform => format!("{},m-etf", entry.name),
            Kind::Improve => format!("m-etf,{}", entry.name),
        };
        for file in ["model.json", "layers.json"] {
            lines.push(format!("{file} --algorithm {recipe}"));
        }
    }
    for goal in entry.door::<Method>().iter().flat_map(|method| method.goals) {
        let file = match goal {
            Goal::MaxLoad | Goal::ContiguousMaxLoad | Goal::Latency => "load.json",
            Goal::TimePerSample => "pipeline.json",
            Goal::SlowestStage => "profile.graph.txt",
            Goal::StepTime => "gradients.json",
            Goal::Makespan => "tasks.json",
            Goal::SlowestRound => "pairs.json",
            Goal::UploadTime => "clients.json",
            Goal::AveragedStep => "replicas.json",
        };
        let objective = cost_model::given::row(*goal).name;
        lines.push(format!("{file} --objective {objective} --algorithm {}", entry.name));
    }
    let on_card = "config.json --cluster nodes.yaml --sequence-length 2048";
    let on_layers = "blocks.json --cluster node.yaml --sequence-length 512 --profile measured";
    let takes = [entry.door::<Card>().is_some(), entry.door::<Layers>().is_some()];
    for (run, _) in [on_card, on_layers].iter().zip(takes).filter(|(_, takes)| *takes) {
        lines.push(format!("{run} --global-batch 24 --algorithm {}", entry.name));
    }
    if entry.door::<Unlike>().is_some() {
        lines.push(format!(
            "unlike.json --cluster unlike.yaml --global-batch 8 --sequence-length 256 \
             --algorithm {}",
            entry.name
        ));
    }
    if entry.takes(SERVING) {
        lines.push(format!(
            "unlike.json --cluster unlike.yaml --phase decode --batch 2 --cached 100 --dtype f16 \
             --algorithm {}",
            entry.name
        ));
    }
    let ends = entry.plans_training();
    // Searches of all degrees end by themselves.
    let budget = if ends { "" } else { " --node-budget 300000" };
    lines.iter().map(|line| format!("plan {line} --deterministic{budget}")).collect()
}

/// The row that a line names.
fn named(line: &str) -> Option<&str> {
    line.split([' ', '(']).skip_while(|word| *word != "--algorithm").nth(1)
}

/// Lines of small plans that name a row, or those of another row for the same problems.
fn small(entry: &Entry) -> Vec<String> {
    let lines = || KINDS.iter().flat_map(|kind| kind.plans).map(Small::line);
    let of_entry: Vec<String> = lines().filter(|line| named(line) == Some(entry.name)).collect();
    let like = |line: String| {
        let name = named(&line)?;
        let row = entries().iter().find(|row| row.name == name)?;
        let is_like = entry.doors.iter().any(|door| row.takes(door.takes()));
        is_like.then(|| line.replace(name, entry.name))
    };
    if of_entry.is_empty() { lines().filter_map(like).collect() } else { of_entry }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let folder = Folder::new(&diamond());
    folder.write("pairs.json", averaging::PAIRS);
    folder.write("clients.json", averaging::CLIENTS);
    folder.write("replicas.json", averaging::REPLICAS);
    folder.write("config.json", &training::config().to_string());
    folder.write("nodes.yaml", training::CLUSTER);
    folder.write("unlike.json", &unlike::config().to_string());
    folder.write("unlike.yaml", unlike::MIXED);
    folder.write("blocks.json", &layered::config(12).to_string());
    folder.write("node.yaml", layered::CLUSTER);
    layered::measured(&folder);
    folder.write("layers.json", &layers(40, 3).to_string());
    folder.write("load.json", &load_instance(14, 5).to_string());
    folder.write("pipeline.json", PIPELINE);
    folder.write("profile.graph.txt", PROFILE);
    folder.write("tasks.json", tasks::FILE);
    folder.write("gradients.json", &on_ten_gigabit(8, 0.36e-3).to_string());
    let of_kinds = kinds::folder();
    for entry in entries() {
        // Rows that stand alone are named by the small plans of their kind.
        let lines = lines(entry).into_iter().map(|line| (&folder, line));
        let mut lines: Vec<_> = lines.collect();
        if lines.is_empty() {
            lines.extend(small(entry).into_iter().map(|line| (&of_kinds, line)));
        }
        let mut n_plans = 0;
        for (folder, line) in lines {
            let planned = |threads: u32| {
                let ran = folder
                    .run(&format!("{line} --seed 7 --threads {threads} -o plan.json --force"));
                assert_ne!(ran.code, 1, "{line}: {}", ran.stderr);
                (ran.code == 0).then(|| folder.read("plan.json"))
            };
            let first = planned(1);
            for threads in [2, 1, 2] {
                assert!(planned(threads) == first, "{line} with {threads} threads differs");
            }
            n_plans += usize::from(first.is_some());
        }
        assert!(n_plans > 0, "`{}` planned nothing", entry.name);
    }
}
