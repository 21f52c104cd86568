//! Manifests of Kubernetes, parsed as YAML.

use super::*;

/// Words of a list.
fn words(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

fn variable(container: &Value, name: &str) -> Option<String> {
    let all = container["env"].as_array().into_iter().flatten();
    let mut named = all.filter(|of| of["name"] == name);
    named.next().map(|of| of["value"].as_str().unwrap_or("").to_owned())
}

fn layers(worker: &WorkerDocument) -> Option<String> {
    let all: Vec<String> = worker.stages.iter().map(u32::to_string).collect();
    (all.len() > 1).then(|| all.join(","))
}

#[test]
fn dynamo_says_what_fleets_say() {
    for seed in 0..60 {
        for engine in ["vllm", "sglang", "trtllm"] {
            let fleet = drawn(engine, seed);
            let graph: Value = serde_yaml::from_str(&text("dynamo", &fleet)).unwrap();
            assert_eq!(graph["kind"], "DynamoGraphDeployment");
            assert_eq!(graph["apiVersion"], "nvidia.com/v1beta1");
            assert_eq!(graph["metadata"]["name"], "org-model-1b");
            assert_eq!(graph["spec"]["backendFramework"], engine);
            let components = graph["spec"]["components"].as_array().unwrap();
            assert_eq!(components.len(), 1 + fleet.workers.len());
            for (component, (name, worker)) in components.iter().skip(1).zip(names(&fleet)) {
                judge(engine, component, (&name, worker));
            }
        }
    }
}

fn judge(engine: &str, component: &Value, (name, worker): (&str, &WorkerDocument)) {
    assert_eq!(component["name"], name);
    let kind = if worker.role == Aggregated { "worker" } else { worker.role.name() };
    assert_eq!(component["type"], kind);
    assert_eq!(component["replicas"], worker.replicas.len());
    assert_eq!(component["multinode"], Value::Null);
    let container = &component["podTemplate"]["spec"]["containers"][0];
    let devices = container["resources"]["limits"]["nvidia.com/gpu"].as_str().unwrap();
    assert_eq!(devices, worker.replicas[0].len().to_string());
    assert_eq!(words(&container["command"])[2], format!("dynamo.{engine}"));
    let flags = flags(&words(&container["args"]));
    let mode = flags.get("--disaggregation-mode").map(String::as_str);
    assert_eq!(mode, (worker.role != Aggregated).then(|| worker.role.name()));
    match engine {
        "vllm" => {
            assert_eq!(flags["--model"], "org/Model-1B");
            assert_eq!(variable(container, "VLLM_PP_LAYER_PARTITION"), layers(worker));
            judge_vllm(worker, &flags);
        }
        "sglang" => {
            assert_eq!(variable(container, "SGLANG_PP_LAYER_PARTITION"), layers(worker));
            judge_sglang(worker, &flags);
        }
        _ => {
            let options = &flags["--override-engine-args"];
            judge_trtllm(worker, &serde_json::from_str(options).unwrap());
        }
    }
}

#[test]
fn llm_d_says_what_fleets_say() {
    for seed in 0..60 {
        let fleet = drawn("vllm", seed);
        let values: Value = serde_yaml::from_str(&text("llm-d", &fleet)).unwrap();
        assert_eq!(values["modelArtifacts"]["uri"], "hf://org/Model-1B");
        let is_pair = fleet.workers.len() > 1;
        assert_eq!(values["routing"]["proxy"]["enabled"], is_pair);
        assert_eq!(values["prefill"]["create"], is_pair);
        for worker in &fleet.workers {
            let pods = &values[if worker.role == Prefill { "prefill" } else { "decode" }];
            let container = &pods["containers"][0];
            let mut arguments = words(&container["args"]);
            // What the chart writes itself (`vllmServeModelCommand`).
            for (name, degree) in
                [("--tensor-parallel-size", "tensor"), ("--data-parallel-size", "data")]
            {
                assert!(!arguments.iter().any(|word| word == name));
                arguments.extend([name.to_owned(), pods["parallelism"][degree].to_string()]);
            }
            judge_vllm(worker, &flags(&arguments));
            assert_eq!(pods["replicas"], worker.replicas.len());
            let devices = container["resources"]["limits"]["nvidia.com/gpu"].as_str().unwrap();
            assert_eq!(devices, worker.replicas[0].len().to_string());
            assert_eq!(variable(container, "VLLM_PP_LAYER_PARTITION"), layers(worker));
        }
    }
}

#[test]
fn kinds_of_devices_are_told_apart_by_a_label() {
    let mut next = 0;
    let mut of = |role| worker(role, [2, 1, 1, 1], &[61], 1, &mut next);
    let mut workers = vec![of(Prefill), of(Decode)];
    workers[1].kind = "h200_sxm".to_owned();
    let fleet = fleet("vllm", workers);
    let graph: Value = serde_yaml::from_str(&text("dynamo", &fleet)).unwrap();
    let kind = |at: usize| {
        graph["spec"]["components"][at]["podTemplate"]["spec"]["nodeSelector"]["device-kind"]
            .clone()
    };
    assert_eq!((kind(1), kind(2)), ("h100-sxm5-80gb".into(), "h200-sxm".into()));
    let values = text("llm-d", &fleet);
    assert!(values.contains("label node NODE device-kind=h200-sxm"), "{values}");
    let values: Value = serde_yaml::from_str(&values).unwrap();
    assert_eq!(values["decode"]["nodeSelector"]["device-kind"], "h200-sxm");
}

#[test]
fn wide_workers_have_a_pod_on_each_host() {
    let mut next = 0;
    let wide = worker(Aggregated, [8, 1, 1, 1], &[31, 30], 2, &mut next);
    let graph: Value = serde_yaml::from_str(&text("dynamo", &fleet("trtllm", vec![wide]))).unwrap();
    let component = &graph["spec"]["components"][1];
    assert_eq!(component["multinode"]["nodeCount"], 2);
    let container = &component["podTemplate"]["spec"]["containers"][0];
    assert_eq!(container["resources"]["limits"]["nvidia.com/gpu"], "8");
}
