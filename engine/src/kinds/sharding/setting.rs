//! What is sharded: a step of a model of equal layers, on a mesh of equal devices.

use std::collections::BTreeSet;
use std::path::Path;

use cost_model::kernels::precision;
use cost_model::kernels::step_constants::Constant;
use cost_model::runs::forms::hosts;
use cost_model::runs::memory::states::state_bytes;
use ir::card::ZeroStage;
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::stack::Launch;
use ir::workload::Optimizer;
use planner::sharding::decoder;
use planner::sharding::memory::Memory;
use planner::sharding::priced::{Priced, spreads};
use planner::sharding::replay::{Overlap, Running};
use planner::sharding::{Axis, Mesh, Part, Pinned, Question, Source};

use super::decided;
use super::ops::Ops;
use crate::inputs::pattern::Pattern;
use crate::inputs::run::setting::Setting as Run;
use crate::request::ModelRequest;

/// Bytes of a logit beside its own where its loss is computed: a 32-bit copy.
const LOGIT: f64 = cost_model::kernels::rates::WIDE_LOGIT;

/// Model, devices and software.
#[derive(Clone)]
pub struct Setting {
    /// Model, devices and software.
    pub run: Run,
    /// Its ops, where it is a graph of which splits are known.
    pub ops: Option<Ops>,
    /// Its devices.
    pub mesh: Mesh,
    /// Placements that are fixed, by `--pin`.
    pub pins: Vec<Pinned>,
}

fn refused(code: &'static str, message: String, hint: &str) -> Diagnostic {
    Diagnostic::usage(code, message).hint(hint.to_owned())
}

/// Names of `n` axes, the outermost first: of hosts and devices where the axes are these.
fn names(n: usize, is_of_hosts: bool) -> &'static [&'static str] {
    match (n, is_of_hosts) {
        (..=1, _) => &["device"],
        (2, true) => &["host", "device"],
        (2, false) => &["outer", "inner"],
        _ => &["outer", "middle", "inner"],
    }
}

/// Refuses devices that would not all do the same in the same time.
fn devices(cluster: &Cluster, n: u64) -> Result<(), Diagnostic> {
    let kinds = cluster.kind_names();
    if kinds.len() > 1 {
        let kinds: Vec<&str> = kinds.into_iter().collect();
        let message =
            format!("all devices run the same sharding, and these differ: {}", kinds.join(", "));
        let hint = "give a cluster of one kind, or leave --algorithm out";
        return Err(refused("unlike-devices", message, hint));
    }
    let equal = "give a cluster file of the equal hosts alone";
    hosts::check(cluster, n).map_err(|mut error| {
        // `--devices` is not for shardings.
        error.hints.retain(|hint| !hint.contains("--devices"));
        error.hint(equal)
    })?;
    let per_host = hosts::per_host(cluster) as u64;
    if n > per_host && !n.is_multiple_of(per_host) {
        let message = format!("{n} devices are no whole number of hosts of {per_host}");
        return Err(refused("unlike-hosts", message, equal));
    }
    Ok(())
}

impl Setting {
    /// A step of all devices of a cluster, on axes of these sizes or on hosts and devices of a host.
    ///
    /// # Errors
    /// `no-rules`, `mesh`, `unlike-hosts`.
    pub fn of(
        (mut run, path, flags): (Run, &Path, &ModelRequest),
        sizes: Option<Vec<u64>>,
    ) -> Result<Self, Diagnostic> {
        let mut ops = None;
        if run.graph.is_some() {
            let flags = ModelRequest { dtype: Some(run.numbers.dtype), ..flags.clone() };
            let sequence = run.has_tokens.then_some(run.sequence);
            if let Some((found, warnings)) = Ops::of((path, flags), (run.global_batch, sequence))? {
                // That is of reading one sample.
                run.warnings.retain(|warning| warning.code != "batch-scaled");
                run.warnings.extend(warnings);
                ops = Some(found);
            }
        }
        check(&run, ops.is_some())?;
        let n = run.cluster.devices.len() as u64;
        devices(&run.cluster, n)?;
        let per_host = run.system.per_host.clamp(1, n.max(1));
        let usual: Vec<u64> =
            [n / per_host, per_host].into_iter().filter(|size| *size > 1).collect();
        let is_usual = sizes.as_ref().is_none_or(|sizes| *sizes == usual);
        let sizes = sizes.unwrap_or(usual);
        if sizes.is_empty() {
            let hint = "give a cluster of two devices or more";
            return Err(refused("one-device", "one device shares nothing out".to_owned(), hint));
        }
        if sizes.iter().copied().fold(1, u64::saturating_mul) != n {
            let shown: Vec<String> = sizes.iter().map(u64::to_string).collect();
            let message = format!("a mesh of {} is not the cluster's {n} devices", shown.join("x"));
            return Err(refused("mesh", message, "name sizes whose product is that number"));
        }
        let axis = |(name, size): (&&str, u64)| Axis { name: (*name).to_owned(), size };
        let names = names(sizes.len(), is_usual);
        let mesh = Mesh { axes: names.iter().zip(sizes).map(axis).collect(), is_ordered: true };
        if spreads(&mesh, per_host).is_none() {
            let message = format!("groups of an axis would lie unevenly on hosts of {per_host}");
            return Err(refused("mesh", message, "have the last axes fill whole hosts"));
        }
        let mut setting = Self { run, ops, mesh, pins: Vec::new() };
        setting.pins = setting.with(|question| {
            let step = question.step(1, false);
            let pin = |text: &String| pinned(text, question.mesh, step.as_ref());
            setting.run.request.pin.iter().map(pin).collect::<Result<_, _>>()
        })?;
        Ok(setting)
    }

    /// Has a step of all samples planned or judged.
    pub fn with<T>(&self, then: impl FnOnce(&Question<'_>) -> T) -> T {
        let pricing = self.run.pricing();
        let (system, dtype) = (pricing.system, pricing.dtype);
        let rates = |dtype| system.rates(pricing.stack, pricing.constants, dtype);
        let prices = Priced {
            system,
            rates: rates(dtype),
            beside: rates(precision::beside(dtype)),
            network: pricing.constants.get(Constant::Network),
            spreads: spreads(&self.mesh, system.per_host).unwrap_or_default(),
        };
        let states = state_bytes(pricing.format, pricing.optimizer, ZeroStage::None, 1.0);
        let moved = precision::optimizer_bytes(dtype, pricing.optimizer, pricing.format);
        let step = decoder::Run {
            n_sequences: self.run.global_batch,
            is_collapsed: true,
            stores: true,
            recomputes: false,
            element_bytes: [precision::element(dtype), pricing.gradients.exchanged()],
            update_bytes: moved + pricing.stack.update_bytes,
        };
        let memory = Memory {
            state_bytes: states.total() - states.parameters,
            logit_bytes: LOGIT,
            resident_bytes: pricing.resident,
            most_bytes: pricing.limit.map_or(f64::INFINITY, |limit| limit.as_f64()),
        };
        let stack = pricing.stack;
        let is_recorded = stack.launch == Launch::CudaGraphs;
        let floor_s = pricing.constants.get(Constant::LaunchFloor);
        let leaves_host: Vec<bool> = prices.spreads.iter().map(|of| of.leaves_host()).collect();
        let read = |samples| self.ops.as_ref().and_then(|ops| ops.read(samples));
        let source = match self.ops {
            Some(_) => Source::Graph(&read),
            None => Source::Card(&self.run.model),
        };
        then(&Question {
            source,
            mesh: &self.mesh,
            prices: &prices,
            run: step,
            memory,
            running: Running {
                leaves_host: &leaves_host,
                overlap: Overlap {
                    data: stack.overlap_data,
                    shared: 1.0 - stack.ring_exposed,
                    tensor: stack.overlap_tensor,
                },
                launch_s: if is_recorded { 0.0 } else { floor_s },
            },
            pins: &self.pins,
        })
    }
}

/// A placement on an axis, or what is wrong with it, and what to state.
fn part(place: &str) -> Result<Part, (&'static str, String)> {
    match decided::read(place) {
        Some(Part::Strided(dim, _)) => {
            Err((": the search chooses the order of axes", format!("S({dim})")))
        }
        Some(part) => Ok(part),
        None => Err((", which is no placement", "R, P, or S(0), S(1) and so on".to_owned())),
    }
}

/// `NAME=PLACEMENT` or `NAME=PLACEMENT@AXIS`, of tensors that ops of a step produce.
fn pinned(text: &str, mesh: &Mesh, step: Option<&decoder::Step>) -> Result<Pinned, Diagnostic> {
    let bad = |why: String, hint: &str| {
        Err(refused("bad-pin", format!("`--pin {text}` {why}"), hint).fact("pin", text))
    };
    let form = "such as --pin 'layers.*.mlp.up.weight=S(1)@device'";
    let Some((name, place)) = text.split_once('=') else {
        return bad("is no NAME=PLACEMENT".to_owned(), form);
    };
    let (place, axis) = match place.split_once('@') {
        Some((place, axis)) => (place, Some(axis)),
        None => (place, None),
    };
    let part = match part(place) {
        Ok(part) => part,
        Err((why, hint)) => return bad(format!("names `{place}`{why}"), &hint),
    };
    let number = |name: &str| mesh.axes.iter().position(|axis| axis.name == name);
    let axis = match axis.map(|axis| (axis, number(axis))) {
        Some((axis, None)) => {
            let names = mesh.axes.iter().map(|axis| axis.name.as_str()).collect::<Vec<_>>();
            let why = format!("names `{axis}`, which is no axis of the mesh");
            return bad(why, &format!("the axes are {}", names.join(", ")));
        }
        axis => axis.and_then(|(_, number)| number),
    };
    let pattern = Pattern::new(name);
    let covers = |name: &str| {
        let of_layer = name.strip_prefix("layers.").and_then(|rest| rest.split_once('.'));
        pattern.matches(name) || of_layer.is_some_and(|(_, name)| pattern.matches(name))
    };
    let graph = step.map(|step| &step.graph);
    let mut tensors = BTreeSet::new();
    for op in graph.iter().flat_map(|graph| &graph.ops) {
        for (place, tensor) in op.outputs.iter().enumerate() {
            let name = &graph.map_or(&op.name, |graph| &graph.tensors[*tensor].name);
            if !covers(name) && !(place == 0 && covers(&op.name)) {
                continue;
            }
            let all: BTreeSet<String> = op
                .rules
                .iter()
                .map(|rule| decided::part(rule.parts[op.inputs.len() + place]))
                .collect();
            if !all.contains(&decided::part(part)) {
                let all: Vec<String> = all.into_iter().collect();
                let why = format!("also covers `{name}`, which no strategy places so");
                return bad(why, &format!("it may be {}", all.join(", ")));
            }
            tensors.insert((*name).clone());
        }
    }
    if tensors.is_empty() {
        let why = "names no tensor or op of the step".to_owned();
        return bad(why, "`explain PLAN --all` of a plan without it lists them");
    }
    Ok(Pinned { tensors, axis, part })
}

/// Refuses what has no rules.
fn check(run: &Run, is_by_ops: bool) -> Result<(), Diagnostic> {
    if run.numbers.optimizer == Optimizer::Muon {
        let message = "shardings do not support Muon, which needs whole matrices".to_owned();
        return Err(refused("no-rules", message, "name another --optimizer"));
    }
    let no_rules = |what: &str| {
        let message = format!("sharding has no rules for {what}");
        let hint = "leave --algorithm out: degrees are searched for every model";
        Err(refused("no-rules", message, hint))
    };
    let model = &run.model;
    match () {
        () if run.layers.is_some() => no_rules("measured layers"),
        () if !model.tuning.is_whole() => no_rules("adapters and frozen modules"),
        () if is_by_ops => Ok(()),
        () if model.is_of_parts() || !run.has_tokens => no_rules("a graph's own blocks"),
        () if model.n_predictions <= 1 && model.groups.iter().any(|of| of.extra_weights > 0) => {
            no_rules("blocks with products of their own")
        }
        () => Ok(()),
    }
}
