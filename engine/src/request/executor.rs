//! Executors by name.

use std::collections::BTreeMap;

use cost_model::kernels::stack::{dispatching_on, megatron_deepspeed_2021, preset, presets};
use exporters::runs::targets;
use exporters::training::{Lack, TrainingTarget};
use exporters::{Takes, Target};
use importers::cluster::{LinkScope, catalogue};
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::{DeviceId, KindId, NodeId, TensorId};
use ir::op::Op;
use ir::plan_kind::PlanKind;
use ir::stack::Stack;
use ir::workload::{Mode, Workload};

use crate::answer::suggest;

/// What runs plans, by the name of its format in the tables of exporters: a plan can be kept to its
/// limits.
#[derive(Clone, Copy, Debug)]
pub struct Executor {
    name: &'static str,
    /// Where it was named with one; a plan for one version is one for all.
    version: Option<&'static str>,
}

impl PartialEq for Executor {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Executor {}

/// Launchers of training runs, with the software stacks that they launch.
fn launchers() -> impl Iterator<Item = (Executor, &'static [&'static str])> {
    targets().filter_map(|row| Some((Executor::plain(row.name), row.launches?)))
}

impl Executor {
    /// None in particular: nothing is left out.
    pub const ANY: Self = Self::plain("any");

    const fn plain(name: &'static str) -> Self {
        Self { name, version: None }
    }

    /// All executors by name, with how each takes its settings.
    fn rows() -> impl Iterator<Item = (Self, &'static Takes)> {
        exporters::targets().iter().filter_map(|row| Some((Self::plain(row.name), row.runs()?)))
    }

    /// Every way to write one, with and without versions.
    #[must_use]
    pub fn spellings() -> Vec<String> {
        let versions = |(executor, row): (Self, &'static Takes)| {
            let known = row
                .versions
                .iter()
                .map(move |version| Self { version: Some(*version), ..executor });
            [executor].into_iter().chain(known)
        };
        Self::rows().flat_map(versions).chain([Self::ANY]).map(Self::text).collect()
    }

    /// The executor of a text, `name` or `name@version`.
    ///
    /// # Errors
    /// `unknown-executor` with those that there are, `unknown-target` for other versions than are known.
    pub fn of(text: &str) -> Result<Self, Diagnostic> {
        let name = text.split('@').next().unwrap_or_default();
        if text == Self::ANY.name {
            return Ok(Self::ANY);
        }
        let Some((executor, row)) = Self::rows().find(|(executor, _)| executor.name == name) else {
            let is_picture = exporters::row(name).is_some_and(|row| row.placed().is_some());
            let message = match is_picture {
                true => format!("`{name}` is a file about a plan and runs none"),
                false => format!("there is no executor `{name}`"),
            };
            let names = Self::rows().map(|(executor, _)| executor.name).chain([Self::ANY.name]);
            return Err(
                Diagnostic::usage("unknown-executor", message).hint(suggest::hint(name, names))
            );
        };
        let version = row.version(text)?;
        Ok(Self { version: text.contains('@').then_some(version), ..executor })
    }

    /// The executor of a text that was checked before.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        Self::of(text).ok()
    }

    /// As people write it, with the version that they named.
    #[must_use]
    pub fn text(self) -> String {
        self.version
            .map_or_else(|| self.name.to_owned(), |version| format!("{}@{version}", self.name))
    }

    /// What launches a stack.
    #[must_use]
    pub fn of_stack(stack: &str) -> Option<Self> {
        launchers().find(|(_, stacks)| stacks.contains(&stack)).map(|(executor, _)| executor)
    }

    /// What launches parts of a graph.
    #[must_use]
    pub fn of_parts() -> Option<Self> {
        let runs =
            |row: &&TrainingTarget| row.launches.is_some() && !row.lacks.contains(&Lack::Parts);
        targets().find(runs).map(|row| Self::plain(row.name))
    }

    /// The stack that its training runs are priced as, where it has one.
    #[must_use]
    pub fn stack(self) -> Option<&'static str> {
        launchers().find(|(executor, _)| *executor == self)?.1.first().copied()
    }

    /// The name of its format in the tables of exporters.
    #[must_use]
    pub fn target(self) -> &'static str {
        self.name
    }
}

/// What to know where a launcher is priced as software much older than what people run now.
#[must_use]
pub fn dated_stack(executor: Option<Executor>, stack: &str) -> Option<Diagnostic> {
    let executor = executor.filter(|_| stack == megatron_deepspeed_2021().name)?;
    let message =
        format!("{} is priced as `{stack}`: runs of 2021 on V100 and A100", executor.name);
    let hint = "choose newer software with --stack, such as --stack megatron-core";
    Some(Diagnostic::warning("dated-stack", message).hint(hint))
}

/// The software stack of a name.
///
/// # Errors
/// `unknown-stack`.
pub fn named_stack(name: &str) -> Result<Stack, Diagnostic> {
    preset(name).ok_or_else(|| {
        let known = presets().into_iter().map(|stack| stack.name).collect::<Vec<_>>();
        Diagnostic::usage("unknown-stack", format!("`{name}` is no software stack"))
            .fact("known", known)
            .hint("name one of these with --stack")
    })
}

/// The same as devices of a cluster run it.
///
/// # Errors
/// `unknown-stack`.
pub fn stack_on(name: &str, cluster: &Cluster) -> Result<Stack, Diagnostic> {
    Ok(dispatching_on(named_stack(name)?, cluster.kinds.iter().map(|kind| kind.chip)))
}

/// The first target that also runs tensor, expert and data parallelism, which placements of layers leave out.
fn sharding_server(targets: &[&str]) -> Option<&'static str> {
    let shards = |target: &&Target| target.placed().is_some_and(|placed| placed.shards);
    targets.iter().filter_map(|name| exporters::row(name)).find(shards).map(|target| target.name)
}

/// What the search for such a server leaves out.
#[must_use]
pub fn left_out(targets: &[&str]) -> Option<Diagnostic> {
    let server = sharding_server(targets)?;
    let message = format!(
        "pipeline parallelism only, one device a stage: {server}'s tensor, expert and data \
         parallelism were not searched"
    );
    Some(Diagnostic::warning("pipeline-only", message))
}

/// Refuses a plan for a server whose tensor, expert and data parallelism the search leaves out, on
/// devices that are made for it: equal ones in one scale-up domain of a host. vLLM's guide to parallelism
/// recommends tensor ranks there and pipelines where cards lack such links.
///
/// # Errors
/// `pipeline-only`; `no-effect` where it is accepted and no such server is named.
pub fn check_pipeline_only(
    targets: &[&str],
    cluster: &Cluster,
    is_accepted: bool,
) -> Result<(), Diagnostic> {
    let Some(server) = sharding_server(targets) else {
        let message = "`--pipeline-only` has no effect without a server";
        let error = Diagnostic::usage("no-effect", message);
        return if is_accepted {
            Err(error.hint("add --for vllm or --for sglang"))
        } else {
            Ok(())
        };
    };
    let Some((device, n)) = scale_up_domain(cluster).filter(|_| !is_accepted) else {
        return Ok(());
    };
    let message = format!(
        "{server} also runs tensor, expert and data parallelism, which are not searched here: a \
         pipeline over {n} linked `{device}` is likely slower"
    );
    Err(Diagnostic::usage("pipeline-only", message)
        .hint("--pipeline-only plans a pipeline with one device a stage"))
}

/// Kind and number of the equal devices that share the largest scale-up domain of a host.
fn scale_up_domain(cluster: &Cluster) -> Option<(&str, usize)> {
    let known = catalogue().ok()?;
    let is_scale_up =
        |name: &str| known.link(name).is_none_or(|row| row.scope == LinkScope::ScaleUp);
    let mut equal: BTreeMap<(NodeId, KindId), Vec<DeviceId>> = BTreeMap::new();
    for id in cluster.device_ids() {
        let device = &cluster.devices[id.index()];
        if let Some(node) = device.node {
            equal.entry((node, device.kind)).or_default().push(id);
        }
    }
    let joined = |devices: &Vec<DeviceId>| {
        let first = devices[0];
        let is_joined = |other: &&DeviceId| {
            let route = cluster.route(first, **other);
            route.is_some_and(|route| route.kind.tier == 0 && is_scale_up(&route.kind.name))
        };
        (first, 1 + devices.iter().filter(is_joined).count())
    };
    let (first, n) = equal.values().map(joined).max_by_key(|(_, n)| *n).filter(|(_, n)| *n > 1)?;
    Some((cluster.kind_of(first).name.as_str(), n))
}

/// Refuses a workload that an executor of placements has no words for: training, for one of inference, and
/// micro-batches. By its file each batch goes through the model whole, and what a pipeline of parts of
/// it would cost is not what runs.
///
/// # Errors
/// `not-for-training`, `whole-batches`.
pub fn check_workload(target: &str, workload: &Workload) -> Result<(), Diagnostic> {
    let n_micro_batches = workload.n_micro_batches();
    let row = exporters::row(target).and_then(|row| Some((row.name, row.placed()?)));
    let Some((name, placed)) = row.filter(|(_, placed)| placed.is_executor) else { return Ok(()) };
    if placed.serves && workload.mode == Mode::Training {
        return exporters::find(PlanKind::Training, target).map(drop);
    }
    if n_micro_batches <= 1 {
        return Ok(());
    }
    let message = format!("by the file of {name} each batch runs whole: it has no micro-batches");
    Err(Diagnostic::usage("whole-batches", message)
        .fact("target", name)
        .fact("micro_batches", n_micro_batches)
        .hint(format!("leave out --micro-batch, or plan without --for and --export {name}")))
}

/// That keys and values are not counted, where what is placed writes words one after the other: its last
/// product has a result for each row of an embedding.
#[must_use]
pub fn without_cache(target: &str, workload: &Workload, graph: &Graph) -> Option<Diagnostic> {
    let words = |op: &&Op| ["Embedding", "Gather"].contains(&op.op_type.as_str());
    let tables = graph.ops.iter().filter(words).flat_map(|op| &op.parameters);
    let mut rows = tables.filter_map(|id| graph.tensor(*id).shape.first());
    let of = |id: &TensorId| graph.tensor(*id).shape.last();
    let generates = rows.any(|rows| graph.outputs.iter().any(|id| of(id) == Some(rows)));
    (generates && workload.mode == Mode::Inference).then(|| {
        let message = format!(
            "one pass is placed: keys and values that {target} caches while it generates are not counted"
        );
        Diagnostic::warning("no-kv-cache", message).hint(
            "leave room for them: lower `memory_bytes` in the cluster file, or plan with `meshwright infer \
             config.json --phase decode`",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judged software that no exporter writes files of: its plans say that no launcher runs them.
    const WITHOUT: [&str; 7] = [
        "llm-foundry",
        "llm-foundry-pure",
        "nanotron",
        "torchtune",
        "torchtune-eager",
        "torchtune-in-backward",
        "torchtune-eager-in-backward",
    ];

    #[test]
    fn every_stack_has_a_launcher() {
        for stack in presets().into_iter().filter(|stack| !WITHOUT.contains(&stack.name.as_str())) {
            assert!(Executor::of_stack(&stack.name).is_some(), "{}", stack.name);
        }
        for stack in launchers().flat_map(|(_, stacks)| stacks) {
            assert!(preset(stack).is_some(), "{stack}");
        }
    }
}
