//! The worked examples of the benchmark data, read as instance files: every time, byte, order and
//! wait that they state.

use std::collections::BTreeMap;
use std::sync::Arc;

use cost_model::ops::annotate::annotate;
use cost_model::ops::problem::{Constraints, Objective, Problem};
use importers::ImportOptions;
use ir::id::{OpId, TensorId};
use ir::profile::Profile;
use ir::schedule::{Action, Task};
use ir::workload::Workload;
use planner::registry;
use planner::run::{Outcome, Request, solve};
use serde_json::{Value, json};

use crate::data;

/// Says things in the numbers of the file.
struct Names<'a> {
    problem: &'a Problem,
    outcome: &'a Outcome,
}

impl Names<'_> {
    fn op(&self, op: OpId) -> u64 {
        self.problem.graph.source_op_ids[op.index()]
    }

    fn tensor(&self, tensor: TensorId) -> u64 {
        self.problem.graph.source_tensor_ids[tensor.index()]
    }

    fn task(&self, task: Task) -> Value {
        match task {
            Task::Op(op) => json!(["op", self.op(op)]),
            Task::Transfer(t) => json!(["tr", self.tensor(t.tensor), t.to.index()]),
        }
    }

    fn placement(&self) -> Value {
        let ops = self.problem.actions.iter();
        let pairs = ops.map(|op| {
            (self.op(*op).to_string(), self.outcome.plan.placement.of(*op).unwrap().index())
        });
        json!(pairs.collect::<BTreeMap<_, _>>())
    }

    fn orders(&self) -> Value {
        let of = |actions: &Vec<Action>| {
            actions.iter().map(|Action::Op(op)| self.op(*op)).collect::<Vec<_>>()
        };
        let devices = self.outcome.plan.schedule.actions.iter().enumerate();
        json!(devices.map(|(d, a)| (d.to_string(), of(a))).collect::<BTreeMap<_, _>>())
    }

    /// Transfers in the order of each channel, sorted by channel content: names are ours.
    fn channels(&self) -> Vec<Value> {
        let channels = self.outcome.plan.schedule.channels.values();
        let mut all: Vec<Value> = channels
            .map(|transfers| {
                let pair =
                    |t: &ir::schedule::Transfer| json!([self.tensor(t.tensor), t.to.index()]);
                json!(transfers.iter().map(pair).collect::<Vec<_>>())
            })
            .collect();
        all.sort_by_key(Value::to_string);
        all
    }

    fn waits(&self) -> Value {
        let waits = &self.outcome.plan.schedule.after;
        json!(
            waits
                .iter()
                .map(|wait| {
                    let after: Vec<Value> = wait.after.iter().map(|t| self.task(*t)).collect();
                    json!([self.task(wait.task), after])
                })
                .collect::<Vec<_>>()
        )
    }

    fn spans(&self) -> Vec<Value> {
        let timeline = &self.outcome.timeline;
        let ops = self.problem.actions.iter().map(|op| {
            let span = timeline.ops[op.index()].unwrap();
            json!(["op", self.op(*op), span.start, span.end])
        });
        let transfers = timeline.transfers.iter().map(|sent| {
            let (tensor, to) = (self.tensor(sent.transfer.tensor), sent.transfer.to.index());
            json!(["tr", tensor, to, sent.span.start, sent.span.end])
        });
        let mut all: Vec<Value> = ops.chain(transfers).collect();
        all.sort_by_key(Value::to_string);
        all
    }
}

fn problem(example: &Value) -> Arc<Problem> {
    let bytes = example["problem"].to_string();
    let options = ImportOptions::default();
    let import = importers::read_bytes("example.json", bytes.as_bytes(), &options).unwrap();
    let annotated = annotate(
        Arc::new(import.graph),
        Arc::new(import.cluster.unwrap()),
        &Profile::default(),
        Workload::default(),
        Objective::STEP_TIME,
        Constraints::default(),
    );
    Arc::new(annotated.unwrap().problem)
}

fn sorted(values: &Value) -> Vec<Value> {
    let mut all: Vec<Value> = match values {
        Value::Object(map) => map.values().cloned().collect(),
        _ => values.as_array().unwrap().clone(),
    };
    all.sort_by_key(Value::to_string);
    all
}

fn check(name: &str, algorithm: &str, problem: &Arc<Problem>, expected: &Value) {
    let what = format!("{name}: {algorithm}");
    let request = Request::new(registry::recipe(algorithm).unwrap());
    let outcome = solve(Arc::clone(problem), &request, &mut |_| {}).unwrap();
    assert_eq!(json!(outcome.timeline.step_time.get()), expected["makespan"], "{what}");
    if expected.get("placement").is_none() {
        return;
    }
    let names = Names { problem, outcome: &outcome };
    let peaks = outcome.report.devices.iter().map(|d| (d.device.index().to_string(), d.peak.bytes));
    assert_eq!(json!(peaks.collect::<BTreeMap<_, _>>()), expected["peak"], "{what}");
    assert_eq!(names.placement(), expected["placement"], "{what}");
    assert_eq!(names.orders(), expected["order"], "{what}");
    assert_eq!(names.channels(), sorted(&expected["channels"]), "{what}");
    assert_eq!(names.waits(), expected["after"], "{what}");
    assert_eq!(names.spans(), sorted(&expected["spans"]), "{what}");
}

#[test]
fn the_examples_come_out_to_the_nanosecond() {
    let Some(folder) = data::folder() else { return };
    let text = std::fs::read_to_string(folder.join("specs/examples.json")).unwrap();
    let examples: Value = serde_json::from_str(&text).unwrap();
    let examples = examples.as_array().unwrap();
    assert_eq!(examples.len(), 10);
    for example in examples {
        let problem = problem(example);
        for (algorithm, expected) in example["expect"].as_object().unwrap() {
            check(example["name"].as_str().unwrap(), algorithm, &problem, expected);
        }
    }
}
