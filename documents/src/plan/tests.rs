//! Laws of the plan document.

use ir::plan::Plan;
use ir::profile::Profile;
use ir::tensor::DType;
use ir::workload::{Mode, Workload};
use serde_json::Value;

use super::render::Context;
use super::request::RequestDocument;
use super::{CostDocument, PlanDocument};
use crate::tests::sample;

fn document(plan: &Plan, workload: &Workload) -> PlanDocument {
    let context = Context {
        graph: &sample::graph(),
        cluster: &sample::cluster(),
        profile: &Profile::default(),
        workload,
        request: &RequestDocument::default(),
        objective: "step-time",
        algorithm: "m-etf",
    };
    PlanDocument::from_ir(plan, &context, Some(CostDocument::new(55, 44, "critical-path")))
}

fn refused(change: impl Fn(&mut Value)) -> &'static str {
    let mut value = serde_json::to_value(document(&sample::plan(), &Workload::default())).unwrap();
    change(&mut value);
    let text = value.to_string();
    match PlanDocument::parse(text.as_bytes()) {
        Err(diagnostic) => diagnostic.code,
        Ok(document) => document.to_ir(&sample::graph(), &sample::cluster()).unwrap_err().code,
    }
}

#[test]
fn a_plan_survives_json() {
    let mut plan = sample::plan();
    plan.parallelism.n_micro_batches = 4;
    let workload = Workload {
        mode: Mode::Training,
        dtype: Some(DType::Bf16),
        batch: Some(8),
        micro_batch: Some(2),
        ..Workload::default()
    };
    let written = document(&plan, &workload);
    let text = written.to_json().unwrap();
    let read = PlanDocument::parse(text.as_bytes()).unwrap();
    assert_eq!(read, written);
    assert_eq!(read.to_ir(&sample::graph(), &sample::cluster()).unwrap(), plan);
    assert_eq!(read.to_json().unwrap(), text);
    assert_eq!(read.cost.unwrap().gap, Some(0.25));
}

#[test]
fn names_that_do_not_resolve_are_refused_by_their_own_code() {
    assert_eq!(refused(|v| v["placement"][0]["op"] = "nope".into()), "unknown-op");
    assert_eq!(refused(|v| v["placement"][0]["device"] = "gpu7".into()), "unknown-device");
    assert_eq!(refused(|v| v["placement"][1]["op"] = "view".into()), "view-placed");
    assert_eq!(
        refused(|v| v["placement"][1] = v["placement"][0].clone()),
        "duplicate-name",
        "an op with two devices"
    );
    assert_eq!(
        refused(|v| v["schedule"]["devices"][1] = v["schedule"]["devices"][0].clone()),
        "duplicate-name"
    );
    assert_eq!(
        refused(|v| v["schedule"]["channels"][1] = v["schedule"]["channels"][0].clone()),
        "duplicate-name"
    );
    assert_eq!(refused(|v| v["schedule"]["channels"][0]["channel"] = "".into()), "unknown-channel");
    assert_eq!(
        refused(|v| v["schedule"]["channels"][0]["transfers"][0]["tensor"] = "".into()),
        "unknown-tensor"
    );
    assert_eq!(refused(|v| v["schedule"]["after"][0]["task"]["op"] = "".into()), "unknown-op");
}

#[test]
fn two_things_of_one_name_are_not_guessed() {
    let mut graph = sample::graph();
    graph.ops[2].name = graph.ops[0].name.clone();
    let document = document(&sample::plan(), &Workload::default());
    assert_eq!(document.to_ir(&graph, &sample::cluster()).unwrap_err().code, "ambiguous-name");
}

#[test]
fn other_versions_and_other_documents_are_told_apart() {
    assert_eq!(refused(|v| v["format"] = "meshwright.plan/2".into()), "version-mismatch");
    assert_eq!(refused(|v| v["format"] = "recipe".into()), "bad-plan");
    assert_eq!(refused(|v| v["surprise"] = 1.into()), "bad-plan");
    assert_eq!(refused(|v| v["parallelism"]["data"] = 1.5.into()), "bad-plan");
}

#[test]
fn hostile_text_is_refused_with_its_place() {
    let deep = format!("{{\"format\":\"meshwright.plan/1\",\"x\":{}", "[".repeat(100_000));
    let twice = "{\"format\":\"meshwright.plan/1\",\n\"format\":\"meshwright.plan/1\"}";
    for text in ["", "{", "null", "\u{feff}{}", deep.as_str(), twice, "{\"format\":3}"] {
        let diagnostic = PlanDocument::parse(text.as_bytes()).unwrap_err();
        assert_eq!(diagnostic.code, "bad-plan", "{text:.40}");
        assert!(diagnostic.facts.iter().any(|(name, _)| *name == "line"));
    }
    assert_eq!(PlanDocument::parse(b"{\"format\":\"\xff\"}").unwrap_err().code, "bad-plan");
}

#[test]
fn ids_of_another_graph_stay_visibly_broken() {
    let mut plan = sample::plan();
    plan.placement.device.push(Some(ir::id::DeviceId(9)));
    let document = document(&plan, &Workload::default());
    let last = document.placement.last().unwrap();
    assert_eq!((last.op.as_str(), last.device.as_str()), ("op3", "device9"));
    assert_eq!(
        document.to_ir(&sample::graph(), &sample::cluster()).unwrap_err().code,
        "unknown-op"
    );
}

fn parse_error(change: impl Fn(&mut Value)) -> ir::diagnostic::Diagnostic {
    let workload = Workload { batch: Some(8), micro_batch: Some(2), ..Workload::default() };
    let mut value = serde_json::to_value(document(&sample::plan(), &workload)).unwrap();
    change(&mut value);
    PlanDocument::parse(value.to_string().as_bytes()).unwrap_err()
}

#[test]
fn values_that_no_plan_has_are_refused_by_member() {
    let member = |path: &str, new: Value| {
        let error = parse_error(|value| *value.pointer_mut(path).unwrap() = new.clone());
        assert_eq!(error.code, "bad-plan");
        let name = path.trim_start_matches('/').replace('/', ".");
        assert!(error.message.contains(&format!("`{name}`")), "{}", error.message);
    };
    for path in ["/workload/batch", "/workload/micro_batch"] {
        member(path, 0.into());
    }
    member("/workload/micro_batch", 3.into());
    for degree in ["data", "tensor", "pipeline", "expert", "context", "n_micro_batches"] {
        member(&format!("/parallelism/{degree}"), 0.into());
    }
    member("/parallelism/n_micro_batches", 7.into());
}

#[test]
fn faults_of_form_are_told_in_words_of_json() {
    let message = |path: &str, new: Value| {
        parse_error(|value| *value.pointer_mut(path).unwrap() = new.clone()).message
    };
    for (path, new, words) in [
        ("/workload/batch", Value::from("x"), "expected a whole number from 0 up"),
        ("/parallelism/data", Value::from(1.5), "expected a whole number from 0 up"),
        ("/parallelism", Value::from(3), "expected an object"),
        ("/placement", Value::from(3), "expected a list"),
        ("/schedule/after/0/task", Value::from(3), "another kind"),
        ("/schedule/after/0/task", Value::from("x"), "unknown variant"),
    ] {
        let message = message(path, new);
        assert!(message.contains(words), "{message}");
        assert!(!message.contains("struct") && !message.contains("enum"), "{message}");
    }
    let error = PlanDocument::parse(b"3").unwrap_err();
    assert!(error.message.contains("expected an object"), "{}", error.message);
}

#[test]
fn a_name_that_is_nearly_right_is_proposed() {
    let mut written = document(&sample::plan(), &Workload::default());
    let right = written.placement[0].device.clone();
    written.placement[0].device.push('x');
    let error = written.to_ir(&sample::graph(), &sample::cluster()).unwrap_err();
    assert_eq!(error.code, "unknown-device");
    assert!(error.hints[0].contains(&format!("`{right}`")), "{:?}", error.hints);
}
