//! Plan files that were made elsewhere, as plans of a service.

use serde_json::{Value, json};

use super::many::small;
use super::server::{Answer, Served};
use crate::cli::training::{CLUSTER, config};

/// A service, and the text of a plan of `model.json` that the command line made beside it.
fn served(stores_model: bool) -> (Served, String) {
    let served = Served::new(&[]);
    std::fs::write(served.path("model.json"), small(0).to_string()).unwrap();
    if stores_model {
        served.stored("model.json", &small(0));
    }
    served.program(&["plan", "model.json", "--algorithm", "m-etf", "-o", "plan.json"]);
    let plan = std::fs::read_to_string(served.path("plan.json")).unwrap();
    (served, plan)
}

fn opened(served: &Served, query: &str, plan: &str) -> Answer {
    served.post(&format!("/v1/plans/opened?name=plan.json{query}"), plan)
}

fn place(answer: &Answer) -> String {
    format!("/v1/plans/{}", answer.json()["id"].as_str().unwrap_or_else(|| panic!("{answer:?}")))
}

#[test]
fn a_plan_file_alone_is_shown_as_it_states() {
    let (served, plan) = served(false);
    let brought = opened(&served, "", &plan);
    assert_eq!(brought.status, 201, "{brought:?}");
    let (status, stated): (Value, Value) = (brought.json(), serde_json::from_str(&plan).unwrap());
    assert_eq!((&status["state"], &status["exit_code"]), (&json!("done"), &json!(0)));
    assert_eq!(status["opened"]["is_judged"], false);
    assert_eq!(status["opened"]["model"], stated["model"]["name"]);
    assert_eq!(status["value_ns"], stated["cost"]["step_time_ns"]);
    let place = place(&brought);
    assert_eq!(served.get(&format!("{place}/plan")).body, plan);
    assert_eq!(served.get(&format!("{place}/answer")).json()["plan"], stated);
    for view in ["view", "timeline", "memory?device=0", "graph", "explain", "artefacts/svg"] {
        let refused = served.get(&format!("{place}/{view}"));
        assert_eq!((refused.status, &refused.json()["code"]), (422, &json!("needs-model")));
    }
    let again = opened(&served, "", &plan);
    assert_eq!((again.status, &again.json()["id"]), (200, &status["id"]));
}

#[test]
fn on_its_model_a_plan_file_is_judged_and_has_all_views() {
    let (served, plan) = served(true);
    let brought = opened(&served, "&model=model.json", &plan);
    assert_eq!(brought.status, 201, "{brought:?}");
    let (status, place) = (brought.json(), place(&brought));
    assert_eq!(status["opened"]["is_judged"], true);
    let simulated = served.program(&["simulate", "plan.json", "--model", "model.json", "--json"]);
    let simulated: Value = serde_json::from_str(&simulated).unwrap();
    let answer = served.get(&format!("{place}/answer")).json();
    assert_eq!(answer["report"], simulated["report"]);
    assert_eq!(answer["plan"], serde_json::from_str::<Value>(&plan).unwrap());
    let view = served.get(&format!("{place}/view")).json();
    assert_eq!(view["step_time_ns"], answer["plan"]["cost"]["step_time_ns"]);
    for view in ["timeline", "graph", "explain", "artefacts/svg"] {
        assert_eq!(served.get(&format!("{place}/{view}")).status, 200, "{view}");
    }
    let listed = served.get(&place).json()["artefacts"].as_array().unwrap().clone();
    assert!(listed.len() >= 3, "{listed:?}");
    for name in &listed {
        let name = name.as_str().unwrap();
        assert_eq!(served.get(&format!("{place}/artefacts/{name}")).status, 200, "{name}");
    }
    let what_if = served.post("/v1/simulate", &json!({ "plan": status["id"] }).to_string());
    assert_eq!(what_if.json()["report"], simulated["report"]);
    // As a string of the same file under another name: what it says counts.
    let again = served.post("/v1/plans/opened?name=b.json&model=model.json", &plan);
    assert_eq!((again.status, &again.json()["id"]), (200, &status["id"]));
}

#[test]
fn a_plan_of_a_problem_that_was_planned_here_finds_its_model() {
    let (served, plan) = served(true);
    let request = json!({ "model": "model.json", "algorithm": "single" }).to_string();
    let made = served.post("/v1/plans?wait=30", &request);
    assert_eq!(made.json()["state"], "done", "{made:?}");
    assert_eq!(made.json()["opened"], Value::Null);
    let brought = opened(&served, "", &plan).json();
    assert_eq!(brought["opened"]["is_judged"], true, "{brought}");
    assert_eq!(brought["request"]["model"], "model.json");
}

#[test]
fn a_plan_of_a_changed_cluster_is_judged_on_that() {
    let (served, _) = served(true);
    let words = ["plan", "model.json", "--algorithm", "m-etf", "--scale", "memory=2"];
    served.program(&[&words as &[&str], &["--scale", "links=0.5", "-o", "scaled.json"]].concat());
    let plan = std::fs::read_to_string(served.path("scaled.json")).unwrap();
    let refused = opened(&served, "&model=model.json", &plan);
    assert_eq!(refused.json()["code"], "digest-mismatch", "{refused:?}");
    let brought = opened(&served, "&model=model.json&scale=memory=2,links=0.5", &plan);
    assert_eq!(brought.json()["opened"]["is_judged"], true, "{brought:?}");
    for (query, code) in [("&scale=memory=2", "needs-model"), ("&model=model.json&scale=x", "")] {
        let refused = opened(&served, query, &plan);
        let found = refused.json()["code"].as_str().unwrap_or_default().to_owned();
        assert!(refused.status == 422 && (code.is_empty() || found == code), "{refused:?}");
    }
}

#[test]
fn a_bound_that_nobody_could_have_proved_is_refused() {
    let served = Served::new(&[]);
    for (name, text) in [("config.json", &config().to_string() as &str), ("node.yaml", CLUSTER)] {
        std::fs::write(served.path(name), text).unwrap();
    }
    served.stored("config.json", &config());
    assert_eq!(served.post("/v1/clusters?name=node.yaml", CLUSTER).status, 201);
    let words = ["plan", "config.json", "--cluster", "node.yaml", "--algorithm", "m-topo"];
    served.program(&[&words as &[&str], &["-o", "plan.json"]].concat());
    let mut plan: Value =
        serde_json::from_slice(&std::fs::read(served.path("plan.json")).unwrap()).unwrap();
    assert!(plan["cost"]["gap"].as_f64().unwrap() > 0.0, "{}", plan["cost"]);
    plan["cost"]["bound_ns"] = plan["cost"]["step_time_ns"].clone();
    plan["cost"]["bound_s"] = plan["cost"]["step_time_s"].clone();
    plan["cost"]["gap"] = json!(0.0);
    plan["cost"]["bound_method"] = "exhaustive search".into();
    let refused = opened(&served, "&model=config.json&cluster=node.yaml", &plan.to_string());
    assert_eq!((refused.status, &refused.json()["code"]), (422, &json!("illegal-plan")));
    assert!(refused.body.contains("cost.bound_ns"), "{refused:?}");
    // Alone it is nobody's prediction.
    plan["cluster"]["digest"] = "0".repeat(64).into();
    let alone = opened(&served, "", &plan.to_string()).json();
    assert_eq!(alone["opened"]["is_judged"], false, "{alone}");
    let run = json!({ "plan": alone["id"], "step_s": 0.1 }).to_string();
    assert_eq!(served.post("/v1/measurements", &run).json()["predicted_s"], Value::Null);
}

#[test]
fn files_that_are_no_plans_are_refused_and_the_service_lives() {
    let (served, plan) = served(true);
    let stated: Value = serde_json::from_str(&plan).unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut changed = stated.clone();
        change(&mut changed);
        changed.to_string()
    };
    let broken = [
        String::new(),
        "{}".to_owned(),
        "[".repeat(100_000),
        "{\"format\":".repeat(50_000),
        plan[..plan.len() / 2].to_owned(),
        small(0).to_string(),
        "tensor-model-parallel-size: 8".to_owned(),
        "\u{0}\u{fffd}".to_owned(),
        format!("{{\"format\":\"{}\"}}", "<script>".repeat(10_000)),
        with(&|document| document["format"] = "meshwright.plan/99".into()),
        with(&|document| document["format"] = "meshwright.solution/1".into()),
        with(&|document| document["placement"] = Value::Null),
        with(&|document| document["parallelism"]["data"] = json!(-1)),
        with(&|document| document["parallelism"]["tensor"] = json!(1e300)),
        with(&|document| document["algorithm"] = "no-such".into()),
        with(&|document| document["surprise"] = true.into()),
        plan.replacen("\"format\"", "\"format\":\"x\",\"format\"", 1),
    ];
    let wrong = [
        with(&|document| document["cost"]["step_time_ns"] = json!(1)),
        with(&|document| document["placement"][0]["device"] = "<b>nowhere</b>".into()),
        with(&|document| document["placement"][0]["op"] = "\u{202e}x".into()),
        with(&|document| document["schedule"]["devices"] = json!([])),
        with(&|document| document["model"]["digest"] = "0".repeat(64).into()),
        with(&|document| document["model"]["name"] = "other".into()),
    ];
    let queries = |query| broken.iter().map(move |plan| (query, plan));
    let all = queries("").chain(queries("&model=model.json"));
    for (query, plan) in all.chain(wrong.iter().map(|plan| ("&model=model.json", plan))) {
        let refused = opened(&served, query, plan);
        let code = refused.json()["code"].as_str().map(str::to_owned);
        let shown: String = plan.chars().take(80).collect();
        assert!(refused.status == 422 && code.is_some(), "{shown}: {refused:?}");
    }
    let problem = opened(&served, "&model=model.json", &wrong[0]).json();
    assert!(problem["facts"][0]["value"].as_str().unwrap().contains("step_time_ns"), "{problem}");
    for (query, code) in [
        ("&model=none.onnx", "unknown-file"),
        ("&cluster=model.json", "needs-model"),
        ("&flag=1", "bad-query"),
    ] {
        let refused = opened(&served, query, &plan);
        assert_eq!((refused.status, &refused.json()["code"]), (422, &json!(code)), "{refused:?}");
    }
    assert_eq!(served.post("/v1/plans/opened?name=../a", &plan).json()["code"], "bad-name");
    assert_eq!(served.get("/v1/plans").json()["plans"], json!([]));
}
