//! A fleet as a Dynamo graph: a component for each type of workers.
//!
//! Dynamo 1.6 (`DynamoGraphDeployment` of `nvidia.com/v1beta1`; arguments of `dynamo.vllm`, `dynamo.sglang`
//! and `dynamo.trtllm`): components have a type, replicas, nodes of a replica and a pod template whose
//! container `main` is told what the engine itself is told. TensorRT-LLM's options stand in
//! `--override-engine-args` as JSON.

use std::collections::BTreeSet;

use documents::plan::fleet::RoleDocument::{Aggregated, Decode, Prefill};
use ir::diagnostic::Diagnostic;
use serde_json::{Value, json};

use super::facts::{Facts, facts};
use super::routes::{hosts_within, unequal};
use super::source::{DYNAMO, FleetSource, yaml};
use super::words::{Engine, SGLANG_ENGINE, TRTLLM, TRTLLM_ENGINE, VLLM_ENGINE, engine};
use crate::format::Export;
use crate::modules::refusal;
use crate::serving::{SGLANG, VLLM};

/// What Dynamo runs an engine with.
struct Runtime {
    engine: &'static Engine,
    image: &'static str,
    module: &'static str,
    model: &'static str,
    /// Whether Dynamo is told of the role; SGLang is told itself.
    has_mode: bool,
}

const RUNTIMES: [Runtime; 3] = [
    Runtime {
        engine: &VLLM_ENGINE,
        image: "nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.6.1",
        module: "dynamo.vllm",
        model: "--model",
        has_mode: true,
    },
    Runtime {
        engine: &SGLANG_ENGINE,
        image: "nvcr.io/nvidia/ai-dynamo/sglang-runtime:1.6.1",
        module: "dynamo.sglang",
        model: "--model-path",
        has_mode: false,
    },
    Runtime {
        engine: &TRTLLM_ENGINE,
        image: "nvcr.io/nvidia/ai-dynamo/tensorrtllm-runtime:1.6.1",
        module: "dynamo.trtllm",
        model: "--model-path",
        has_mode: true,
    },
];

/// The node label by which workers of several kinds of devices are told apart.
pub(super) const KIND: &str = "device-kind";

pub(crate) fn dynamo(source: &FleetSource<'_>) -> Result<Export, Diagnostic> {
    let name = source.fleet.engine.as_str();
    let runtime =
        engine(name).and_then(|of| RUNTIMES.iter().find(|row| row.engine.target == of.target));
    let runtime = runtime.ok_or_else(|| {
        refusal(DYNAMO, format!("Dynamo runs no `{name}`"))
            .hint(format!("plan for {VLLM}, {SGLANG} or {TRTLLM}"))
    })?;
    let (all, mut warnings) = facts(source, runtime.engine, DYNAMO)?;
    warnings.push(placed(source, &all));
    warnings.extend(unequal(&all));
    let frontend = json!({
        "name": "frontend", "type": "frontend", "replicas": 1,
        "podTemplate": {"spec": {"containers": [{"name": "main", "image": runtime.image}]}},
    });
    let mut components = vec![frontend];
    for facts in &all {
        components.push(component(source, runtime, facts)?);
    }
    let document = json!({
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": label(source.model)},
        "spec": {"backendFramework": runtime.engine.target, "components": components},
    });
    let head = "# Dynamo 1.6: kubectl apply -f dynamo.yaml\n";
    let text = format!("{head}{}{}", of_kinds(source), yaml(&document)?);
    Ok(Export { warnings, ..Export::from(text) })
}

/// That devices are not those of the plan, and what that means for hand-overs within a host.
pub(super) fn placed(source: &FleetSource<'_>, all: &[Facts<'_>]) -> Diagnostic {
    let message = "Kubernetes chooses the nodes of replicas, not the plan";
    let warning = Diagnostic::warning("places-itself", message);
    let n_hosts = hosts_within(all).map_or(0, |hosts| hosts.len());
    match n_hosts > 0 && source.cluster.nodes.len() > 1 {
        true if n_hosts == 1 => warning.hint(
            "run prefill and decode pods on one node: the planned TTFT has KV transfers within a host",
        ),
        true => warning.hint(format!(
            "run equal prefill and decode pods on each of {n_hosts} nodes, with a router each: the planned TTFT \
             has KV transfers within a host"
        )),
        false => warning,
    }
}

/// Whether workers have devices of several kinds.
fn has_kinds(source: &FleetSource<'_>) -> bool {
    source.fleet.workers.windows(2).any(|pair| pair[0].kind != pair[1].kind)
}

/// A comment about the label of nodes, where several kinds of devices are told apart.
pub(super) fn of_kinds(source: &FleetSource<'_>) -> String {
    let kinds: BTreeSet<&str> =
        source.fleet.workers.iter().map(|worker| worker.kind.as_str()).collect();
    let of = |kind: &&str| {
        format!("# First: kubectl label node NODE {KIND}={} # each of them\n", label(kind))
    };
    if has_kinds(source) { kinds.iter().map(of).collect() } else { String::new() }
}

/// The selector of nodes of a worker's kind, where there are several.
pub(super) fn selector(source: &FleetSource<'_>, facts: &Facts<'_>) -> Option<Value> {
    has_kinds(source).then(|| json!({KIND: label(&facts.worker.kind)}))
}

/// A name as Kubernetes takes it: lower case, digits and dashes.
pub(super) fn label(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(plain).take(50).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "fleet".to_owned() } else { name.to_owned() }
}

fn component(
    source: &FleetSource<'_>,
    runtime: &Runtime,
    facts: &Facts<'_>,
) -> Result<Value, Diagnostic> {
    let (engine, role) = (runtime.engine, facts.worker.role);
    let n_hosts = facts.n_hosts(DYNAMO)?;
    let mut arguments = vec![runtime.model.to_owned(), source.model.to_owned()];
    if runtime.has_mode && role != Aggregated {
        arguments.extend(["--disaggregation-mode".to_owned(), role.name().to_owned()]);
    }
    if engine.target == TRTLLM {
        let options = facts.options(engine).to_string();
        arguments.extend(["--override-engine-args".to_owned(), options]);
    } else {
        arguments.extend(facts.arguments(engine));
    }
    let mut container = json!({
        "name": "main", "image": runtime.image,
        "command": ["python3", "-m", runtime.module], "args": arguments,
        "resources": {"limits": {"nvidia.com/gpu": (facts.devices() / n_hosts.max(1)).to_string()}},
    });
    if let Some((name, layers)) = facts.partition(engine) {
        container["env"] = json!([{"name": name, "value": layers}]);
    }
    let mut spec = json!({"containers": [container]});
    if let Some(selector) = selector(source, facts) {
        spec["nodeSelector"] = selector;
    }
    let mut component = json!({
        "name": facts.name,
        "type": match role { Prefill => "prefill", Decode => "decode", Aggregated => "worker" },
        "replicas": facts.replicas.len(),
        "podTemplate": {"spec": spec},
    });
    if n_hosts > 1 {
        component["multinode"] = json!({"nodeCount": n_hosts});
    }
    Ok(component)
}
