//! The types that products are computed in: those of a graph, and what devices make of them.

use std::collections::{BTreeMap, BTreeSet};

use cost_model::kernels::plain_product;
use ir::cluster::{Cluster, DeviceKind};
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::op::Work;
use ir::tensor::DType;
use ir::workload::{Mode, Workload};

/// The type that training takes where nobody names one.
pub const USUAL: DType = DType::Bf16;

/// What is taken in place of a type that a device has no rate for, the first that it has.
pub const INSTEAD: [DType; 3] = [USUAL, DType::F16, DType::F32];

/// Types whose absence is told; the rates that stand in for integers are a rule of the cost model.
const FLOATS: [DType; 6] = [DType::F64, DType::F32, DType::F16, DType::Bf16, DType::F8, DType::F4];

/// The floats that a model may compute in.
pub const NAMED: [DType; 6] = FLOATS;

/// One of [`NAMED`], by name.
pub fn named(text: &str) -> Result<DType, String> {
    DType::float_named(text)
        .ok_or_else(|| format!("needs one of {}", NAMED.map(DType::name).join(", ")))
}

/// Whether a kind states a rate of products of this type.
pub fn has(kind: &DeviceKind, dtype: DType) -> bool {
    kind.peak.contains_key(&dtype)
}

/// That a device does not compute in a type that a flag names.
pub fn refused(message: String, kind: &DeviceKind, known: &[DType]) -> Diagnostic {
    let known = known.iter().filter(|dtype| has(kind, **dtype)).map(|dtype| dtype.name());
    Diagnostic::usage("dtype", message)
        .fact("device", kind.name.clone())
        .fact("computes_in", known.collect::<Vec<_>>().join(", "))
        .hint("name one of these with --dtype, or another device")
}

/// `x` does not compute in a type.
pub fn lacks(kind: &str, dtype: DType) -> String {
    format!("`{kind}` does not compute in {dtype}")
}

/// That another type runs than the one that was meant.
pub fn replaced(kind: &str, wanted: DType, instead: DType) -> Diagnostic {
    let message = format!("{}: {instead} runs instead", lacks(kind, wanted));
    Diagnostic::warning("dtype-replaced", message).hint("name a type with --dtype")
}

/// Kinds of a cluster.
fn kinds(cluster: &Cluster) -> Vec<&DeviceKind> {
    let kinds = cluster.device_ids().map(|device| cluster.kind_of(device));
    kinds.map(|kind| (kind.name.as_str(), kind)).collect::<BTreeMap<_, _>>().into_values().collect()
}

/// The usual type of training, or the first in its place that all devices compute in.
pub fn usual(cluster: &Cluster) -> (DType, Option<Diagnostic>) {
    let kinds = kinds(cluster);
    let lacking = kinds.iter().find(|kind| !has(kind, USUAL));
    let all = |dtype: &DType| kinds.iter().all(|kind| has(kind, *dtype));
    match (lacking, INSTEAD.into_iter().find(all)) {
        (Some(kind), Some(instead)) => (instead, Some(replaced(&kind.name, USUAL, instead))),
        _ => (USUAL, None),
    }
}

/// Types of the products of a graph, those of the most work first.
pub fn types(graph: &Graph) -> Vec<DType> {
    let mut flops: BTreeMap<DType, u128> = BTreeMap::new();
    for op in &graph.ops {
        if let Work::Kernel(kernel) = &op.work
            && let (Some(dtype), false) = (kernel.dtype, kernel.products.is_empty())
        {
            *flops.entry(dtype).or_default() += u128::from(kernel.flops().get());
        }
    }
    let mut types: Vec<(DType, u128)> = flops.into_iter().collect();
    types.sort_by_key(|(_, flops)| std::cmp::Reverse(*flops));
    types.into_iter().map(|(dtype, _)| dtype).collect()
}

/// Refuses a type of `--dtype` that no device computes in, and warns where a device has products at
/// the rate of another type.
///
/// # Errors
/// `dtype`.
pub fn check(
    graph: &Graph,
    cluster: &Cluster,
    named: Option<DType>,
) -> Result<Vec<Diagnostic>, Diagnostic> {
    let kinds = kinds(cluster);
    let mut warnings = Vec::new();
    for dtype in types(graph).into_iter().filter(|dtype| FLOATS.contains(dtype)) {
        let lacking: Vec<_> = kinds.iter().filter(|kind| !has(kind, dtype)).collect();
        if let (true, [kind, ..]) = (lacking.len() == kinds.len(), lacking.as_slice())
            && named == Some(dtype)
        {
            return Err(refused(lacks(&kind.name, dtype), kind, &FLOATS));
        }
        for kind in lacking {
            let Some((other, _)) = plain_product::peak(kind, dtype) else { continue };
            let message = format!("{}: priced at its rate of {other}", lacks(&kind.name, dtype));
            warnings.push(
                Diagnostic::warning("dtype-replaced", message)
                    .fact("kind", kind.name.clone())
                    .hint(format!("name a type with --dtype, such as {other}")),
            );
        }
    }
    Ok(warnings)
}

/// `computes in bf16 (default), adamw`; nothing for a graph without products.
pub fn words(graph: &Graph, workload: &Workload, named: Option<DType>) -> Option<String> {
    let types: BTreeSet<DType> = types(graph).into_iter().collect();
    let names: Vec<&str> = types.iter().map(|dtype| dtype.name()).collect();
    let by = match (named, workload.dtype) {
        (Some(_), _) => "--dtype",
        (None, Some(_)) => "default",
        (None, None) => "the file",
    };
    let optimizer = match workload.mode {
        Mode::Training => format!(", {}", workload.optimizer.name()),
        Mode::Inference => String::new(),
    };
    (!names.is_empty()).then(|| format!("computes in {} ({by}){optimizer}", names.join(", ")))
}
