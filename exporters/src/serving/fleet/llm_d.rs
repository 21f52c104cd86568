//! A fleet as values of llm-d's Helm chart `llm-d-modelservice` (0.4.12): one set of decode pods, which also
//! serve whole requests, and one of prefill pods, all of vLLM on one host each.
//!
//! The chart itself writes `--tensor-parallel-size`, `--data-parallel-size`, the model and the port.

use documents::plan::fleet::RoleDocument::{Aggregated, Decode, Prefill};
use ir::diagnostic::Diagnostic;
use serde_json::{Value, json};

use super::dynamo::{label, of_kinds, placed, selector};
use super::facts::{Facts, facts, is_disaggregated};
use super::source::{DYNAMO, FleetSource, yaml};
use super::words::{DATA, TENSOR, VLLM_ENGINE};
use crate::format::Export;
use crate::modules::refusal;
use crate::serving::VLLM;

/// The target's name.
pub(crate) const LLM_D: &str = "llm-d";

/// vLLM's image of llm-d.
const IMAGE: &str = "ghcr.io/llm-d/llm-d-cuda:latest";

pub(crate) fn llm_d(source: &FleetSource<'_>) -> Result<Export, Diagnostic> {
    if source.fleet.engine != VLLM {
        let message =
            format!("llm-d's values start vLLM, and the fleet is one of {}", source.fleet.engine);
        return Err(refusal(LLM_D, message).hint(format!("plan for {VLLM}, or export {DYNAMO}")));
    }
    let (all, mut warnings) = facts(source, &VLLM_ENGINE, LLM_D)?;
    let of = |role| all.iter().filter(move |facts| facts.worker.role == role);
    let count = |role| of(role).count();
    let message = match [Prefill, Decode, Aggregated].map(count) {
        [0 | 1, 1, 0] | [0, 0, 1] => None,
        [_, _, 0] => Some("has one type of prefill and one of decode workers, and the fleet more"),
        [0, 0, _] => Some("has one type of aggregated workers, and the fleet more"),
        _ => Some("has no aggregated workers beside prefill and decode ones"),
    };
    if let Some(message) = message {
        return Err(refusal(LLM_D, format!("llm-d's chart {message}")).hint(format!(
            "export {DYNAMO}, or install the chart once for each fleet of one type"
        )));
    }
    warnings.push(placed(source, &all));
    let pods = |role| of(role).next().map(|facts| pods(source, facts)).transpose();
    let whole = pods(Aggregated)?;
    let document = json!({
        "modelArtifacts": {
            "name": source.model,
            "uri": format!("hf://{}", source.model),
            "labels": {"llm-d.ai/inference-serving": "true", "llm-d.ai/model": label(source.model)},
        },
        "multinode": false,
        // The proxy beside decode workers sends prompts to prefill workers.
        "routing": {"servicePort": 8000, "proxy": {"enabled": whole.is_none(), "connector": "nixlv2"}},
        "decode": pods(Decode)?.or(whole),
        "prefill": pods(Prefill)?.unwrap_or_else(|| json!({"create": false, "replicas": 0})),
    });
    let head = "# llm-d-modelservice 0.4.12: helm install NAME llm-d-modelservice/llm-d-modelservice -f \
                llm-d.yaml\n";
    let text = format!("{head}{}{}", of_kinds(source), yaml(&document)?);
    Ok(Export { warnings, ..Export::from(text) })
}

/// Values of the pods of a type of workers.
fn pods(source: &FleetSource<'_>, facts: &Facts<'_>) -> Result<Value, Diagnostic> {
    if facts.n_hosts(LLM_D)? > 1 {
        let message =
            format!("llm-d's chart starts vLLM on one host, and {} has several", facts.name);
        return Err(
            refusal(LLM_D, message).hint(format!("export {DYNAMO}, or plan workers on one host"))
        );
    }
    let both = facts.arguments(&VLLM_ENGINE);
    let mut arguments = Vec::new();
    let mut words = both.into_iter();
    while let Some(word) = words.next() {
        match word == TENSOR || word == DATA {
            true => drop(words.next()),
            false => arguments.push(word),
        }
    }
    let mut variables = Vec::new();
    if is_disaggregated(facts.worker) {
        let field = json!({"fieldRef": {"fieldPath": "status.podIP"}});
        variables.push(json!({"name": "VLLM_NIXL_SIDE_CHANNEL_HOST", "valueFrom": field}));
    }
    if let Some((name, layers)) = facts.partition(&VLLM_ENGINE) {
        variables.push(json!({"name": name, "value": layers}));
    }
    let devices = json!({"nvidia.com/gpu": facts.devices().to_string()});
    let data = facts.worker.data;
    let mut pods = json!({
        "create": true,
        "replicas": facts.replicas.len(),
        "parallelism": {"tensor": facts.worker.tensor, "data": data, "dataLocal": data, "workers": 1},
        "containers": [{
            "name": "vllm", "image": IMAGE, "modelCommand": "vllmServe", "args": arguments,
            "env": variables, "mountModelVolume": true,
            "resources": {"limits": devices, "requests": devices},
        }],
    });
    if let Some(selector) = selector(source, facts) {
        pods["nodeSelector"] = selector;
    }
    Ok(pods)
}
