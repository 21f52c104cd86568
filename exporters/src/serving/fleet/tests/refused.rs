//! Workers over several hosts, and what is refused or warned about.

use super::*;

fn one(engine: &str, role: RoleDocument, shape: [u32; 4], stages: &[u32]) -> FleetDocument {
    fleet(engine, vec![worker(role, shape, stages, 1, &mut 0)])
}

fn refusal(target: &str, fleet: &FleetDocument) -> String {
    exported(target, fleet, "bf16", None).unwrap_err()
}

fn warnings(target: &str, fleet: &FleetDocument, dtype: &str) -> Vec<&'static str> {
    let export = exported(target, fleet, dtype, None).unwrap();
    export.warnings.iter().map(|warning| warning.code).collect()
}

/// vLLM's ranks: data-parallel outermost, then stages, then tensor.
#[test]
fn devices_are_in_the_order_of_ranks() {
    let fleet = |engine: &str| one(engine, Aggregated, [2, 2, 4, 1], &[31, 30]);
    let numbers = |target: &str| read(&text(target, &fleet(target)), "aggregated-0").1[0].0.clone();
    assert_eq!(numbers("vllm"), "0,1,4,5,2,3,6,7");
    assert_eq!(numbers("sglang"), "0,1,2,3,4,5,6,7");
}

#[test]
fn each_host_of_a_wide_worker_has_its_part() {
    let script = text("vllm", &one("vllm", Aggregated, [8, 1, 1, 8], &[31, 30]));
    let hosts: Vec<&str> =
        script.lines().filter(|line| line.starts_with("aggregated-0/")).collect();
    assert!(
        hosts[0].starts_with("aggregated-0/0/0) devices=0,1,2,3,4,5,6,7 port=8000"),
        "{script}"
    );
    assert!(hosts[0].contains("--nnodes 2 --node-rank 0 --master-addr \"${MASTER_ADDR:-node0}\""));
    assert!(hosts[1].contains("--node-rank 1") && hosts[1].contains("--headless"), "{script}");
    let script = text("sglang", &one("sglang", Aggregated, [1, 16, 16, 1], &[61]));
    assert!(script.contains("--nnodes 2 --node-rank 1 --dist-init-addr"), "{script}");
    assert!(script.contains("# aggregated-0: 0 on node0+node1 (on each"), "{script}");
    let error = refusal("trtllm", &one("trtllm", Aggregated, [16, 1, 1, 16], &[61]));
    assert!(error.contains("starts TensorRT-LLM on one host; aggregated-0 spans"), "{error}");
    let error = refusal("llm-d", &one("vllm", Aggregated, [16, 1, 1, 16], &[61]));
    assert!(error.contains("starts vLLM on one host"), "{error}");
    // Each stage on a host, and each data-parallel rank on both.
    let error = refusal("vllm", &one("vllm", Aggregated, [4, 2, 8, 1], &[31, 30]));
    assert!(error.contains("consecutive ranks"), "{error}");
    // Three stages of six devices on two hosts.
    let mut cut = one("sglang", Aggregated, [4, 1, 1, 4], &[21, 20, 20]);
    let names = (0..6).chain(8..14).map(|at| format!("node{}.gpu{}", at / 8, at % 8));
    cut.workers[0].replicas = vec![names.collect()];
    assert!(refusal("sglang", &cut).contains("cannot cut"), "{}", refusal("sglang", &cut));
}

#[test]
fn what_engines_cannot_be_told_is_refused_by_name() {
    let error = refusal("vllm", &one("vllm", Aggregated, [4, 1, 2, 2], &[61]));
    assert!(error.contains("aggregated-0 (TP 4, DP 1, EP 2 x 2, PP 1)"), "{error}");
    let error = refusal("vllm", &one("vllm", Decode, [2, 1, 1, 1], &[31, 30]));
    assert!(error.contains("NixlConnector"), "{error}");
    let error = refusal("trtllm", &one("trtllm", Aggregated, [2, 2, 4, 1], &[61]));
    assert!(error.contains("attention DP"), "{error}");
    let mut next = 0;
    let mut of = |role, stages: &[u32]| worker(role, [1, 1, 1, 1], stages, 1, &mut next);
    let pair = fleet("sglang", vec![of(Prefill, &[61]), of(Decode, &[31, 30])]);
    assert!(refusal("sglang", &pair).contains("transfers KV cache only"));
    let mut few = one("vllm", Aggregated, [1, 1, 1, 1], &[61]);
    few.workers[0].max_num_batched_tokens = 32;
    assert!(refusal("vllm", &few).contains("max_num_batched_tokens of at least"));
    let mut lost = one("vllm", Aggregated, [1, 1, 1, 1], &[61]);
    lost.workers[0].replicas = vec![vec!["elsewhere".to_owned()]];
    assert!(refusal("vllm", &lost).contains("`elsewhere`"));
    let mut cluster = cluster(1);
    cluster.nodes[0].name = "node0\nrm -rf".to_owned();
    let plain = one("vllm", Aggregated, [1, 1, 1, 1], &[61]);
    let source =
        FleetSource { model: "m", cluster: &cluster, fleet: &plain, dtype: "bf16", cache: None };
    assert!(export("vllm", &source).unwrap_err().message.contains("is no host name"));
    let whole = one("trtllm", Aggregated, [1, 1, 1, 1], &[61]);
    let error = exported("trtllm", &whole, "bf16", Some(CacheType::Q8)).unwrap_err();
    assert!(error.contains("no KV cache in q8_0"), "{error}");
    assert!(refusal("llm-d", &whole).contains("vLLM"));
    let mut of = |role| worker(role, [1, 1, 1, 1], &[61], 1, &mut next);
    let both = fleet("vllm", vec![of(Prefill), of(Decode), of(Aggregated)]);
    assert!(refusal("llm-d", &both).contains("no aggregated workers beside"));
    let half = one("vllm", Prefill, [1, 1, 1, 1], &[61]);
    assert!(refusal("vllm", &half).contains("without the other"));
    assert!(refusal("megatron", &both).starts_with("unknown-target"));
}

#[test]
fn what_engines_do_differently_is_warned_about() {
    let mut odd = one("trtllm", Aggregated, [1, 1, 1, 1], &[31, 30]);
    odd.workers[0].max_num_seqs = 7;
    assert_eq!(warnings("trtllm", &odd, "bf16"), ["rounded"]);
    let whole = one("sglang", Aggregated, [1, 1, 1, 1], &[61]);
    assert_eq!(warnings("vllm", &whole, "fp8"), ["checkpoint-type", "other-engine"]);
    assert_eq!(warnings("dynamo", &whole, "bf16"), ["places-itself"]);
    let mut next = 0;
    let mut of = |role| worker(role, [1, 1, 1, 1], &[61], 1, &mut next);
    let mut many = fleet("vllm", vec![of(Prefill), of(Decode), of(Prefill), of(Aggregated)]);
    many.workers[2].requests_per_s = 1.0;
    assert_eq!(warnings("vllm", &many, "bf16"), ["unequal-shares"]);
    // Two prefill types feed 2.5 requests/s of decode, and as many are served whole.
    let script = text("vllm", &many);
    assert_eq!(script.matches("# 50 % of requests: vllm-router").count(), 2, "{script}");
    assert_eq!(read(&script, "prefill-1").1[0].1, "8002", "{script}");
    let script = text("trtllm", &fleet("trtllm", many.workers[..2].to_vec()));
    let file = script.split("cat > \"$config\" <<'END'\n").nth(1).unwrap();
    let routes: Value = serde_yaml::from_str(file.split("END\n").next().unwrap()).unwrap();
    assert_eq!(routes["context_servers"]["urls"][0], "node0:8000");
    assert_eq!(routes["generation_servers"]["urls"][0], "node0:8001");
}

#[test]
fn options_of_trtllm_say_what_fleets_say() {
    for seed in 0..60 {
        let fleet = drawn("trtllm", seed);
        let script = text("trtllm", &fleet);
        for (name, worker) in names(&fleet) {
            let file =
                script.split(&format!("\n{name}) cat > \"$config\" <<'END'\n")).nth(1).unwrap();
            let options = file.split("END\n").next().unwrap();
            judge_trtllm(worker, &serde_yaml::from_str(options).unwrap());
        }
    }
}
