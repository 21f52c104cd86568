//! From a document to a plan.

use std::collections::BTreeMap;

use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::op::Work;
use ir::plan::{Partition, Placement, Plan, Stage};
use ir::schedule::{Action, Schedule, Task, Transfer, Wait};

use super::names::Names;
use super::read::wrong_format;
use super::{FORMAT, PlacedOp, PlanDocument, ScheduleDocument, TaskDocument, TransferDocument};

impl PlanDocument {
    /// The plan, with names resolved against a graph and a cluster.
    ///
    /// Only what a plan can't hold is refused here; whether it is legal (every op placed and run
    /// once, transfers where needed, memory) is for the verifier to say.
    ///
    /// # Errors
    /// `unknown-op`, `unknown-tensor`, `unknown-device`, `unknown-channel` and `ambiguous-name`
    /// for names; `duplicate-name` where an op has two devices or a device or channel two orders;
    /// `view-placed` where a view, which is no action, has a device; `version-mismatch`.
    pub fn to_ir(&self, graph: &Graph, cluster: &Cluster) -> Result<Plan, Diagnostic> {
        if self.format != FORMAT {
            return Err(wrong_format(&self.format));
        }
        if self.training.is_some() {
            let message = "the plan is that of a training run on a model card, not of a graph";
            return Err(Diagnostic::input("bad-plan", message)
                .hint("give the config.json that it was made for"));
        }
        if self.served.is_some() {
            let message = "the plan is an inference pipeline, not of a graph";
            return Err(Diagnostic::input("bad-plan", message)
                .hint("give the config.json that it was made for"));
        }
        let others = [
            (self.sharding.is_some(), "a sharding of a model"),
            (self.fleet.is_some(), "a fleet of serving workers"),
        ];
        if let Some((_, what)) = others.into_iter().find(|(is_other, _)| *is_other) {
            let message = format!("the plan is {what}, not of a graph");
            return Err(Diagnostic::input("bad-plan", message)
                .hint("give the config.json that it was made for"));
        }
        let names = Names::new(graph, cluster);
        Ok(Plan {
            parallelism: self.parallelism.degrees(),
            partition: self.partition(&names)?,
            placement: placement(&self.placement, &names, graph)?,
            schedule: schedule(&self.schedule, &names, cluster)?,
        })
    }

    fn partition(&self, names: &Names<'_>) -> Result<Partition, Diagnostic> {
        let stages = self
            .partition
            .stages
            .iter()
            .map(|stage| {
                let ops = stage.ops.iter().map(|op| names.op(op)).collect::<Result<_, _>>()?;
                Ok(Stage { ops, ..Stage::default() })
            })
            .collect::<Result<_, Diagnostic>>()?;
        Ok(Partition { stages })
    }
}

fn duplicate(what: &'static str, name: &str, list: &str) -> Diagnostic {
    Diagnostic::input(
        "duplicate-name",
        format!("{what} `{name}` stands twice in the {list} of the plan"),
    )
    .fact(what, name)
}

fn placement(
    placed: &[PlacedOp],
    names: &Names<'_>,
    graph: &Graph,
) -> Result<Placement, Diagnostic> {
    let mut device = vec![None; graph.ops.len()];
    for PlacedOp { op: name, device: on } in placed {
        let op = names.op(name)?;
        if graph.op(op).work == Work::View {
            return Err(Diagnostic::input(
                "view-placed",
                format!("op `{name}` renames a tensor and runs nowhere, but the plan places it"),
            )
            .fact("op", name.clone()));
        }
        let on = names.device(on)?;
        match device.get_mut(op.index()) {
            Some(slot @ None) => *slot = Some(on),
            _ => return Err(duplicate("op", name, "placement")),
        }
    }
    Ok(Placement { device })
}

fn schedule(
    document: &ScheduleDocument,
    names: &Names<'_>,
    cluster: &Cluster,
) -> Result<Schedule, Diagnostic> {
    let mut actions: Vec<Option<Vec<Action>>> = vec![None; cluster.n_devices()];
    for entry in &document.devices {
        let device = names.device(&entry.device)?;
        let ops = entry
            .actions
            .iter()
            .map(|op| names.op(op).map(Action::Op))
            .collect::<Result<Vec<_>, _>>()?;
        match actions.get_mut(device.index()) {
            Some(slot @ None) => *slot = Some(ops),
            _ => return Err(duplicate("device", &entry.device, "schedule")),
        }
    }
    let mut channels = BTreeMap::new();
    for entry in &document.channels {
        let channel = names.channel(&entry.channel)?;
        let transfers = entry
            .transfers
            .iter()
            .map(|entry| transfer(entry, names))
            .collect::<Result<Vec<_>, _>>()?;
        if channels.insert(channel, transfers).is_some() {
            return Err(duplicate("channel", &entry.channel, "schedule"));
        }
    }
    let after = document
        .after
        .iter()
        .map(|wait| {
            Ok(Wait {
                task: task(&wait.task, names)?,
                after: wait
                    .after
                    .iter()
                    .map(|entry| task(entry, names))
                    .collect::<Result<_, Diagnostic>>()?,
            })
        })
        .collect::<Result<_, Diagnostic>>()?;
    let actions = actions.into_iter().map(Option::unwrap_or_default).collect();
    Ok(Schedule { actions, channels, after, grid: None })
}

fn transfer(document: &TransferDocument, names: &Names<'_>) -> Result<Transfer, Diagnostic> {
    Ok(Transfer { tensor: names.tensor(&document.tensor)?, to: names.device(&document.to)? })
}

fn task(document: &TaskDocument, names: &Names<'_>) -> Result<Task, Diagnostic> {
    Ok(match document {
        TaskDocument::Op(name) => Task::Op(names.op(name)?),
        TaskDocument::Transfer(entry) => Task::Transfer(transfer(entry, names)?),
    })
}
