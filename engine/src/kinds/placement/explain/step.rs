//! Where the step time goes: the critical path.

use std::collections::BTreeMap;

use cost_model::ops::critical::Step;
use documents::plan::CostDocument;
use documents::quantity::Duration;
use ir::schedule::Task;
use ir::units::Nanos;
use serde_json::{Value, json};

use super::device_name;
use crate::answer::page::Column;
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::kinds::placement::busiest;
use crate::kinds::placement::replay::Replayed;
use crate::kinds::placement::trust;
use crate::kinds::placement::trust::Trust;

/// Tasks of the path of one type.
#[derive(Default)]
struct Group {
    n: usize,
    ns: u64,
    longest: Option<Step>,
}

/// The critical path by type of op, its longest tasks, and the bound.
pub(super) fn explain(
    replayed: &Replayed,
    (stated, longest): (Option<&CostDocument>, Option<u64>),
    rows: Rows,
    page: &Page,
) -> Value {
    let problem = &replayed.on.loaded.problem;
    let step = replayed.timeline.step_time;
    let trust = replayed.trust();
    page.line(&format!(
        "{} ops and transfers, one after the other, make the step {step} long",
        trust.path.len()
    ));
    table(replayed, &groups(replayed, trust), rows, page);
    let listed = listed(&trust.path, longest);
    if longest.is_some() {
        list(replayed, &listed, page);
    }
    page.text("\n");
    trust::print(trust, &replayed.on.loaded, &replayed.report, rows, page);
    if let Some(cost) = stated {
        page.line(&format!(
            "bound {} ({}) when it was planned: no plan is below it",
            Nanos(cost.bound_ns),
            cost.bound_method
        ));
    }
    let loads = busiest::of(replayed);
    if let Some(loads) = &loads {
        page.line(&busiest::sentence(replayed, loads));
    }
    page.line("explain --op, --transfer or --device says what each figure is made of");
    page.line(&trust.sentence(step));
    json!({
        "report": crate::kinds::placement::report::document(problem, &replayed.report, trust),
        "critical_path": listed.iter().map(|task| document(replayed, task)).collect::<Vec<_>>(),
        "n_critical": trust.path.len(),
        "loads": loads.map(|loads| busiest::document(replayed, &loads)),
        "bound": stated.map(|cost| json!({
            "value": Duration::from_ns(cost.bound_ns),
            "method": cost.bound_method,
        })),
    })
}

/// The longest tasks of a path, in its order; of equal ones the first.
fn listed(path: &[Step], longest: Option<u64>) -> Vec<&Step> {
    let n = longest.map_or(path.len(), |n| usize::try_from(n).unwrap_or(usize::MAX));
    let mut listed: Vec<&Step> = path.iter().collect();
    listed.sort_by_key(|task| std::cmp::Reverse(task.span.end - task.span.start));
    listed.truncate(n);
    listed.sort_by_key(|task| task.span.start);
    listed
}

fn list(replayed: &Replayed, tasks: &[&Step], page: &Page) {
    let columns = Column::row("#from | #for | @on | @longest");
    let line = |task: &&Step| {
        let (from, time) = (Nanos(task.span.start), Nanos(task.span.end - task.span.start));
        let (on, what) = (place(replayed, task).to_owned(), name(replayed, task).to_owned());
        vec![from.to_string(), time.to_string(), on, what]
    };
    page.text("\n");
    page.table(&columns, tasks.iter().map(line).collect());
}

/// Tasks of the path by type, those that take most of the step first.
fn groups<'a>(replayed: &'a Replayed, trust: &Trust) -> Vec<(&'a str, Group)> {
    let graph = &replayed.on.loaded.problem.graph;
    let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
    for task in &trust.path {
        let name = match task.task {
            Task::Op(op) => graph.op(op).op_type.as_str(),
            Task::Transfer(_) => "transfer",
        };
        let group = groups.entry(name).or_default();
        let ns = task.span.end - task.span.start;
        group.n += 1;
        group.ns += ns;
        if group.longest.is_none_or(|longest| ns > longest.span.end - longest.span.start) {
            group.longest = Some(*task);
        }
    }
    let mut groups: Vec<(&str, Group)> = groups.into_iter().collect();
    groups.sort_by(|a, b| b.1.ns.cmp(&a.1.ns).then(a.0.cmp(b.0)));
    groups
}

fn table(replayed: &Replayed, groups: &[(&str, Group)], rows: Rows, page: &Page) {
    let step = replayed.timeline.step_time;
    let columns = [
        Column::Name("on the critical path"),
        Column::Number("count"),
        Column::Number("time"),
        Column::Number("of step"),
        Column::RestName("longest"),
    ];
    let lines = groups.iter().map(|(name, group)| {
        let longest = group.longest.map_or_else(String::new, |task| longest(replayed, &task));
        let (count, time) = (group.n.to_string(), Nanos(group.ns).to_string());
        vec![(*name).to_owned(), count, time, share(group.ns, step), longest]
    });
    rows.table(&columns, lines, page);
}

/// `12.0 us node0.gpu0 linear`.
fn longest(replayed: &Replayed, task: &Step) -> String {
    let time = Nanos(task.span.end - task.span.start);
    format!("{time} {} {}", place(replayed, task), name(replayed, task))
}

fn name<'a>(replayed: &'a Replayed, task: &Step) -> &'a str {
    let graph = &replayed.on.loaded.problem.graph;
    match task.task {
        Task::Op(op) => &graph.op(op).name,
        Task::Transfer(transfer) => &graph.tensor(transfer.tensor).name,
    }
}

fn place<'a>(replayed: &'a Replayed, task: &Step) -> &'a str {
    match task.task {
        Task::Op(op) => {
            let device = replayed.on.plan.placement.of(op);
            device.map_or("nowhere", |device| device_name(replayed, device))
        }
        Task::Transfer(transfer) => device_name(replayed, transfer.to),
    }
}

/// `12.3 %`.
pub(super) fn share(ns: u64, step: Nanos) -> String {
    match step.get() {
        0 => "-".to_owned(),
        step => format!("{:.1} %", ns as f64 / step as f64 * 100.0),
    }
}

fn document(replayed: &Replayed, task: &Step) -> Value {
    let kind = match task.task {
        Task::Op(_) => "op",
        Task::Transfer(_) => "transfer",
    };
    json!({
        kind: name(replayed, task),
        "device": place(replayed, task),
        "start": Duration::from_ns(task.span.start),
        "end": Duration::from_ns(task.span.end),
        "origin": task.origin.name(),
    })
}
