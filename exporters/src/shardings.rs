//! Shardings of ops as `PartitionSpec`s for JAX (0.10): of each parameter by its name, and of what forward ops read and
//! write. XLA derives the backward pass and all collectives from them; `examples/jax/shardings.py` reads the file.

use std::collections::{BTreeMap, BTreeSet};

use documents::plan::PlanDocument;
use documents::plan::sharding::{
    AxisDocument, PlacementDocument, ShardedOpDocument, ShardingDocument, split,
};
use ir::diagnostic::Diagnostic;
use serde_json::{Map, Value, json};

use crate::format::Export;

/// A judged sharding.
#[derive(Clone, Copy)]
pub struct ShardingSource<'a>(pub &'a PlanDocument);

/// A weight of layers in Transformers 5: the end of its path, and for each of its dimensions the one of the plan's weight
/// that alone may split it. Weights that a checkpoint fuses have several.
struct Weight {
    names: &'static [&'static str],
    path: &'static str,
    dims: &'static [u8],
}

const fn weight(names: &'static [&'static str], path: &'static str, dims: &'static [u8]) -> Weight {
    Weight { names, path, dims }
}

/// A weight is `[out, in]` there (GPT-2's `[in, out]`), heads and their elements are one dimension.
const WEIGHTS: &[Weight] = &[
    weight(&["embedding"], r"(embed_tokens|wte)\.weight$", &[0, 1]),
    weight(&["head"], r"lm_head\.weight$", &[0, 1]),
    weight(&["attention.q"], r"self_attn\.q(_b)?_proj\.weight$", &[1, 0]),
    weight(&["attention.k"], r"self_attn\.k_proj\.weight$", &[1, 0]),
    weight(&["attention.v"], r"self_attn\.v_proj\.weight$", &[1, 0]),
    weight(&["attention.k", "attention.v"], r"self_attn\.kv_b_proj\.weight$", &[1, 0]),
    weight(&["attention.q_narrow"], r"self_attn\.q_a_proj\.weight$", &[1, 0]),
    weight(
        &["attention.kv_narrow", "attention.k_rotary"],
        r"self_attn\.kv_a_proj_with_mqa\.weight$",
        &[1, 0],
    ),
    weight(&["attention.o"], r"self_attn\.o_proj\.weight$", &[2, 0]),
    weight(&["attention.q"], r"attn\.c_attn\.q\.weight$", &[0, 1]),
    weight(&["attention.k"], r"attn\.c_attn\.k\.weight$", &[0, 1]),
    weight(&["attention.v"], r"attn\.c_attn\.v\.weight$", &[0, 1]),
    weight(&["attention.o"], r"attn\.c_proj\.weight$", &[0, 2]),
    weight(&["mlp.up"], r"mlp\.up_proj\.weight$", &[1, 0]),
    weight(&["mlp.gate"], r"mlp\.gate_proj\.weight$", &[1, 0]),
    weight(&["mlp.down"], r"mlp\.down_proj\.weight$", &[1, 0]),
    weight(&["mlp.up"], r"mlp\.c_fc\.weight$", &[0, 1]),
    weight(&["mlp.down"], r"mlp\.c_proj\.weight$", &[0, 1]),
    weight(&["router"], r"mlp\.gate\.weight$", &[1, 0]),
    weight(&["experts.up"], r"mlp\.experts\.up_proj$", &[0, 2, 1]),
    weight(&["experts.gate"], r"mlp\.experts\.gate_proj$", &[0, 2, 1]),
    weight(&["experts.down"], r"mlp\.experts\.down_proj$", &[0, 2, 1]),
    weight(&["shared.up"], r"mlp\.shared_experts?\.up_proj\.weight$", &[1, 0]),
    weight(&["shared.gate"], r"mlp\.shared_experts?\.gate_proj\.weight$", &[1, 0]),
    weight(&["shared.down"], r"mlp\.shared_experts?\.down_proj\.weight$", &[1, 0]),
];

/// Vectors, which the plan does not split.
const VECTORS: &str = r"((norm|ln_[12f])\.weight|\.bias|e_score_correction_bias|wpe\.weight)$";

/// Writes the file for JAX.
///
/// # Errors
/// `cannot-express` for parts of a weight that are no parts of the one in a checkpoint.
pub(crate) fn jax(source: &ShardingSource<'_>) -> Result<Export, Diagnostic> {
    let plan = source.0;
    let Some(sharding) = &plan.sharding else {
        return Err(Diagnostic::input("bad-plan", "the plan is no sharding"));
    };
    let is_graph = sharding.ops.iter().all(|op| op.op != "embedding.weight");
    let rules = if is_graph { of_graph(sharding) } else { of_layers(sharding)? };
    let samples = plan.workload.batch.unwrap_or(1);
    let n_micro_batches = plan.parallelism.n_micro_batches;
    let state = json!({ "split": "shared" });
    let document = json!({
        "format": "meshwright.jax/1",
        "jax": "0.10",
        "mesh": {
            "axes": axes(sharding),
            "shape": sharding.mesh.iter().map(|axis| axis.size).collect::<Vec<_>>(),
        },
        "batch": {
            "samples": samples,
            "tokens": sharding.sequence_length,
            "micro_batches": n_micro_batches,
            "samples_of_a_micro_batch": plan.workload.micro_batch,
        },
        "checkpoint": {
            "around": "block",
            "policy": if sharding.recompute { "nothing_saveable" } else { "everything_saveable" },
        },
        "states": { "parameters": &state, "gradients": &state, "optimizer": &state },
        "rules": rules,
        "activations": activations(sharding),
        "reads": reads(sharding),
    });
    let message =
        "the file states the forward pass; XLA derives the backward pass and its collectives";
    let warnings = vec![Diagnostic::warning("not-in-file", message)];
    Ok(Export { warnings, ..Export::from(format!("{document:#}\n")) })
}

fn axes(sharding: &ShardingDocument) -> Vec<&str> {
    sharding.mesh.iter().map(|axis| axis.axis.as_str()).collect()
}

/// By dimension the axes that split it, the one that does so first first, as a `PartitionSpec` takes them; none of
/// partial sums.
fn spec(mesh: &[AxisDocument], placement: &PlacementDocument) -> Option<Vec<Value>> {
    if placement.iter().any(|part| part == "P") {
        return None;
    }
    Some(by_dim(mesh, placement).into_iter().map(argument).collect())
}

fn by_dim<'m>(mesh: &'m [AxisDocument], placement: &PlacementDocument) -> Vec<Vec<&'m str>> {
    let mut all: Vec<Vec<&AxisDocument>> = Vec::new();
    for (axis, part) in mesh.iter().zip(placement).rev() {
        let Some((dim, before)) = split(part) else { continue };
        let dim = usize::from(dim);
        all.resize(all.len().max(dim + 1), Vec::new());
        // Later axes of so many devices come first.
        let product = |n: usize| all[dim][..n].iter().map(|of| of.size).product::<u64>();
        let at = (0..all[dim].len()).find(|n| product(*n) >= u64::from(before));
        let at = at.unwrap_or(all[dim].len());
        all[dim].insert(at, axis);
    }
    let names = |of: Vec<&'m AxisDocument>| of.into_iter().map(|axis| axis.axis.as_str()).collect();
    all.into_iter().map(names).collect()
}

fn argument(axes: Vec<&str>) -> Value {
    match axes[..] {
        [] => Value::Null,
        [axis] => json!(axis),
        _ => json!(axes),
    }
}

/// Parameters and inputs of a graph by their names.
fn of_graph(sharding: &ShardingDocument) -> Vec<Value> {
    let axes = &sharding.mesh;
    let sources = sharding.ops.iter().filter(|op| op.inputs.is_empty());
    let rule = |op: &ShardedOpDocument| {
        let name = op.tensors.first().unwrap_or(&op.op);
        let path = format!("^{}$", name.replace('.', r"\."));
        Some(rule(&path, &spec(axes, op.outputs.first()?)?))
    };
    sources.filter_map(rule).collect()
}

/// A rule as that of a plan of degrees, of all states alike.
fn rule(path: &str, spec: &[Value]) -> Value {
    json!({ "path": path, "whole": spec, "shared": spec })
}

/// Weights of layers, by the path of a checkpoint.
fn of_layers(sharding: &ShardingDocument) -> Result<Vec<Value>, Diagnostic> {
    let axes = &sharding.mesh;
    // By layers, then by name in them, what lies at rest where.
    let mut weights: BTreeMap<&str, BTreeMap<&str, &PlacementDocument>> = BTreeMap::new();
    for op in sharding.ops.iter().filter(|op| op.inputs.is_empty()) {
        let Some(name) = op.op.strip_suffix(".weight") else { continue };
        let (layers, name) = in_layers(name);
        let Some(placement) = op.outputs.first() else { continue };
        weights.entry(layers).or_default().insert(name, placement);
    }
    let mut rules = Vec::new();
    for (layers, of) in &weights {
        let mut named: BTreeSet<&str> = BTreeSet::new();
        for row in WEIGHTS {
            let parts: Option<Vec<_>> = row.names.iter().map(|name| of.get(name)).collect();
            let Some(parts) = parts else { continue };
            // A checkpoint fuses keys and values of latent ones alone.
            let is_latent = of.contains_key("attention.kv_narrow");
            let is_of_keys = ["attention.k", "attention.v"].contains(&row.names[0]);
            if is_of_keys && is_latent != (row.names.len() > 1) {
                continue;
            }
            named.extend(row.names);
            if parts.iter().any(|part| *part != parts[0]) {
                let names = row.names.join(" and ");
                return Err(cannot(&format!(
                    "{names} in different parts, which a checkpoint fuses"
                )));
            }
            let path = format!("{}{}", numbers(layers), row.path);
            rules.push(rule(&path, &turned(axes, parts[0], row)?));
        }
        if let Some(name) = of.keys().find(|name| !named.contains(*name)) {
            return Err(cannot(&format!("`{name}.weight`, which has no name in a checkpoint")));
        }
    }
    rules.push(rule(VECTORS, &[]));
    Ok(rules)
}

/// The layers of a name, and the rest of it.
fn in_layers(name: &str) -> (&str, &str) {
    name.strip_prefix("layers.").and_then(|name| name.split_once('.')).unwrap_or(("", name))
}

/// A pattern of the numbers of some layers, such as `0-31`.
fn numbers(layers: &str) -> String {
    let (first, last) = layers.split_once('-').unwrap_or((layers, layers));
    let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) else {
        return String::new();
    };
    let all: Vec<String> = (first..=last).map(|number| number.to_string()).collect();
    format!(r"\.({})\.(.*\.)?", all.join("|"))
}

/// The spec of a weight as a checkpoint has it.
fn turned(
    mesh: &[AxisDocument],
    placement: &PlacementDocument,
    row: &Weight,
) -> Result<Vec<Value>, Diagnostic> {
    let all = by_dim(mesh, placement);
    let of_dim = |dim: &u8| argument(all.get(usize::from(*dim)).cloned().unwrap_or_default());
    let is_other = |part: &&String| split(part).is_some_and(|(dim, _)| !row.dims.contains(&dim));
    if let Some(part) = placement.iter().find(is_other) {
        let name = row.names[0];
        // The dimension that is no heads.
        let dim = if name == "attention.o" { 2 } else { 0 };
        return Err(cannot(&format!("`{name}.weight` in parts of {part}, within heads"))
            .hint(format!("such as --pin '{name}.weight=S({dim})'")));
    }
    Ok(row.dims.iter().map(of_dim).collect())
}

fn cannot(what: &str) -> Diagnostic {
    let message = format!("rules for JAX cannot express {what}");
    Diagnostic::usage("cannot-express", message).hint("set another placement with --pin")
}

/// Whether an op is of the forward pass: no gradient, and nothing that is saved for one, has a part in it.
fn is_forward(op: &&ShardedOpDocument) -> bool {
    let marks = [".backward", ".grad", ".stored"];
    let is_of = |name: &str| marks.iter().any(|mark| name.contains(mark));
    !op.tensors.iter().any(|name| is_of(name)) && !is_of(&op.op)
}

/// What forward ops leave, as it is produced; partial sums as their first consumer reads them.
fn activations(sharding: &ShardingDocument) -> Map<String, Value> {
    let axes = &sharding.mesh;
    let mut read: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for op in sharding.ops.iter().filter(is_forward) {
        for (tensor, placement) in op.tensors.iter().zip(&op.inputs) {
            if let Some(spec) = spec(axes, placement) {
                read.entry(tensor).or_insert(spec);
            }
        }
    }
    let mut all = Map::new();
    for op in sharding.ops.iter().filter(is_forward).filter(|op| !op.op.ends_with(".weight")) {
        for (tensor, placement) in op.tensors.iter().skip(op.inputs.len()).zip(&op.outputs) {
            let of = spec(axes, placement).or_else(|| read.get(tensor.as_str()).cloned());
            if let Some(of) = of {
                all.insert(tensor.clone(), json!(of));
            }
        }
    }
    all
}

/// By op and tensor what forward ops read otherwise than it is produced, with weights as they are computed with.
fn reads(sharding: &ShardingDocument) -> Map<String, Value> {
    let axes = &sharding.mesh;
    let mut produced: BTreeMap<&str, &PlacementDocument> = BTreeMap::new();
    let mut all = Map::new();
    for op in sharding.ops.iter().filter(is_forward) {
        let outputs = op.tensors.iter().skip(op.inputs.len()).zip(&op.outputs);
        let others: Map<String, Value> = (op.tensors.iter().zip(&op.inputs))
            .filter(|(tensor, placement)| produced.get(tensor.as_str()) != Some(placement))
            .filter_map(|(tensor, placement)| Some((tensor.clone(), json!(spec(axes, placement)?))))
            .collect();
        if !others.is_empty() {
            all.insert(op.op.clone(), Value::Object(others));
        }
        produced.extend(outputs.map(|(tensor, placement)| (tensor.as_str(), placement)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Weights of layers at rest on `host` and `device`.
    fn sharding(weights: &[(&str, [&str; 2])]) -> ShardingDocument {
        let axis = |axis: &str| AxisDocument { axis: axis.to_owned(), size: 2 };
        let op = |(name, parts): &(&str, [&str; 2])| ShardedOpDocument {
            op: format!("{name}.weight"),
            tensors: vec![format!("{name}.weight")],
            inputs: Vec::new(),
            outputs: vec![parts.map(str::to_owned).to_vec()],
        };
        ShardingDocument {
            mesh: vec![axis("host"), axis("device")],
            ops: weights.iter().map(op).collect(),
            ..ShardingDocument::default()
        }
    }

    /// By hand: `nn.Linear` has `[out, in]`, the plan `[in, heads, head_dim]` and `[heads, head_dim, out]`.
    #[test]
    fn weights_are_those_of_a_checkpoint() {
        let plan = sharding(&[
            ("embedding", ["S(1)", "S(1)"]),
            ("head", ["_S(0,2)", "S(0)"]),
            ("layers.0-1.attention.q", ["S(0)", "S(1)"]),
            ("layers.0-1.attention.o", ["S(2)", "S(0)"]),
            ("layers.0-1.mlp.up", ["R", "S(1)"]),
            ("layers.0-1.experts.down", ["S(0)", "S(1)"]),
        ]);
        let rules = of_layers(&plan).unwrap();
        for (end, wanted) in [
            (r"(embed_tokens|wte)\.weight$", json!([null, ["host", "device"]])),
            (r"lm_head\.weight$", json!([["device", "host"], null])),
            (r"self_attn\.q(_b)?_proj\.weight$", json!(["device", "host"])),
            (r"self_attn\.o_proj\.weight$", json!(["host", "device"])),
            (r"mlp\.up_proj\.weight$", json!(["device", null])),
            (r"mlp\.experts\.down_proj$", json!(["host", null, "device"])),
        ] {
            let is_it =
                |rule: &&Value| rule["path"].as_str().is_some_and(|path| path.ends_with(end));
            assert_eq!(rules.iter().find(is_it).unwrap()["shared"], wanted, "{end}");
        }
        let is_numbered = |rule: &Value| rule["path"].as_str().unwrap().starts_with(r"\.(0|1)\.");
        assert!(rules.iter().any(is_numbered));
    }

    #[test]
    fn what_a_checkpoint_has_no_part_of_is_refused() {
        let within = sharding(&[("layers.0.attention.q", ["R", "S(2)"])]);
        assert!(of_layers(&within).unwrap_err().message.contains("within heads"));
        let latent = [
            ("layers.0.attention.kv_narrow", ["S(0)", "R"]),
            ("layers.0.attention.k_rotary", ["R", "R"]),
        ];
        assert!(of_layers(&sharding(&latent)).unwrap_err().message.contains("fuses"));
        let other = sharding(&[("layers.0.hidden_projection", ["R", "R"])]);
        assert!(of_layers(&other).unwrap_err().message.contains("no name"));
    }
}
