//! The backward ops of one forward op.
//!
//! A product of an activation by a weight, `m x k` by `k x n`, has two gradients of the same work:
//! `m x n` by `n x k` for the activation (`BackwardInput`) and `k x m` by `m x n` for the weight
//! (`BackwardWeight`), so that a schedule can put them apart. A product of two activations
//! (attention) has both in its `BackwardInput` op. Any other op moves bytes: it reads the gradients
//! of its outputs and what [`gradient`](super::gradient) says was saved, and writes the gradients
//! of its inputs. The gradient of a sum is another name of the gradient of its result, where the
//! shapes agree.

use ir::id::{OpId, TensorId};
use ir::op::{Fused, Kernel, Op, Origin, Phase, Product, Work};
use ir::units::Bytes;

use super::gradient::{Saved, is_recurrent, saved};
use super::parameters::is_float;
use super::states::elements;
use super::training::{Operands, Step, blank};

/// What the backward ops of one op are made from.
struct Site<'a> {
    op: OpId,
    rule: Saved,
    kernel: Kernel,
    operands: Operands,
    /// Gradients of its outputs.
    gradients: &'a [TensorId],
    /// Activations whose gradient is wanted.
    wanted: Vec<TensorId>,
    /// Parameters that training updates.
    trained: Vec<TensorId>,
}

/// Products of the two backward ops.
#[derive(Default)]
struct Products {
    input: Vec<Product>,
    weight: Vec<Product>,
}

/// Adds the backward ops of a forward op whose outputs have these gradients.
pub(super) fn add(step: &mut Step, op: OpId, gradients: &[TensorId]) {
    let node = step.graph.op(op);
    let Work::Kernel(kernel) = node.work.clone() else {
        return;
    };
    let operands = step.operands(op);
    let mut site = Site {
        op,
        rule: saved(&node.op_type),
        kernel,
        gradients,
        wanted: operands.activations.iter().copied().filter(|t| step.needs_gradient(*t)).collect(),
        trained: operands.parameters.iter().copied().filter(|p| step.is_trained(*p)).collect(),
        operands,
    };
    pass_sums(step, &mut site);
    let products = products(step, &site);
    if !site.wanted.is_empty() {
        add_input(step, &site, products.input);
    }
    if !site.trained.is_empty() {
        add_weight(step, &site, products.weight);
    }
}

/// Adds the gradient of a tensor of which parts or repetitions were seen: parts are put into a whole,
/// repetitions added up.
pub(super) fn add_part(step: &mut Step, op: OpId, gradients: &[TensorId], source: TensorId) {
    let site = Site {
        op,
        rule: Saved::Nothing,
        kernel: Kernel::default(),
        operands: Operands::default(),
        gradients,
        wanted: vec![source],
        trained: Vec::new(),
    };
    add_input(step, &site, Vec::new());
}

/// Terms of a sum that have its shape take its gradient as it is.
fn pass_sums(step: &mut Step, site: &mut Site<'_>) {
    let node = step.graph.op(site.op);
    let is_sum = matches!(node.op_type.as_str(), "Add" | "Sum" | "Identity");
    let (&[gradient], true) = (site.gradients, is_sum) else {
        return;
    };
    let (shape, dtype) = {
        let tensor = step.graph.tensor(gradient);
        (tensor.shape.clone(), tensor.dtype)
    };
    let mut rest = Vec::new();
    for term in std::mem::take(&mut site.wanted) {
        let tensor = step.graph.tensor(term);
        if tensor.shape == shape && tensor.dtype == dtype {
            step.pass_view(site.op, gradient, term);
        } else {
            rest.push(term);
        }
    }
    site.wanted = rest;
}

fn products(step: &Step, site: &Site<'_>) -> Products {
    let forward = &site.kernel.products;
    let of_input = || forward.iter().map(|p| Product { k: p.n, n: p.k, ..*p });
    let of_weight = || forward.iter().map(|p| Product { m: p.k, k: p.m, ..*p });
    let both = || of_input().chain(of_weight()).collect();
    let has_weight =
        site.operands.parameters.iter().any(|p| step.graph.tensor(*p).shape.len() >= 2);
    if !has_weight {
        // Both factors are activations; one gradient where only one of two is wanted.
        let is_float = |t: &&TensorId| is_float(step.graph.tensor(**t).dtype);
        let n_factors = site.operands.activations.iter().filter(is_float).count();
        let one = site.rule == Saved::Inputs && n_factors == 2 && site.wanted.len() == 1;
        let input = if one { of_input().collect() } else { both() };
        return Products { input, weight: Vec::new() };
    }
    let trains_weight = site.trained.iter().any(|p| step.graph.tensor(*p).shape.len() >= 2);
    let alone = site.operands.activations.is_empty()
        || (site.wanted.is_empty() && is_recurrent(&step.graph.op(site.op).op_type));
    match (trains_weight, alone) {
        (true, true) => Products { input: Vec::new(), weight: both() },
        (true, false) => Products { input: of_input().collect(), weight: of_weight().collect() },
        (false, _) => Products { input: of_input().collect(), weight: Vec::new() },
    }
}

/// Forward activations that the gradients read.
fn saved_activations(step: &Step, site: &Site<'_>) -> Vec<TensorId> {
    let inputs = &site.operands.activations;
    let outputs = &step.graph.op(site.op).outputs;
    let no_float = |t: &TensorId| !is_float(step.graph.tensor(*t).dtype);
    match site.rule {
        Saved::Nothing | Saved::Stop => Vec::new(),
        Saved::Indices => inputs.iter().chain(outputs).copied().filter(no_float).collect(),
        Saved::Inputs => inputs.clone(),
        Saved::Outputs => outputs.clone(),
        Saved::InputsAndOutputs | Saved::Unknown => inputs.iter().chain(outputs).copied().collect(),
        Saved::OtherFactors => {
            let is_square = inputs.len() == 1 && site.operands.parameters.is_empty();
            let partner_wants = |t: &TensorId| {
                !site.trained.is_empty() || site.wanted.iter().any(|other| other != t)
            };
            inputs.iter().copied().filter(|t| is_square || partner_wants(t)).collect()
        }
    }
}

fn origin(site: &Site<'_>) -> Origin {
    if site.rule == Saved::Unknown { Origin::Guessed } else { site.kernel.origin }
}

fn add_input(step: &mut Step, site: &Site<'_>, products: Vec<Product>) {
    let by_weight = !products.is_empty()
        && site.rule == Saved::Inputs
        && site.operands.parameters.iter().any(|p| step.graph.tensor(*p).shape.len() >= 2);
    let mut inputs = site.gradients.to_vec();
    if !by_weight {
        inputs.extend(saved_activations(step, site));
    }
    let parameters = match site.rule {
        Saved::Nothing | Saved::Outputs | Saved::Stop => Vec::new(),
        Saved::Indices => {
            let no_float = |p: &TensorId| !is_float(step.graph.tensor(*p).dtype);
            site.operands.parameters.iter().copied().filter(no_float).collect()
        }
        // A bias shifts a product and leaves its gradient alone.
        _ if by_weight => {
            let is_weight = |p: &TensorId| step.graph.tensor(*p).shape.len() >= 2;
            site.operands.parameters.iter().copied().filter(is_weight).collect()
        }
        _ => site.operands.parameters.clone(),
    };
    dedup(&mut inputs);
    // Gradients of what is inside a kernel of attention are inside the kernel of its gradients.
    let is_inside = site.kernel.fused == Fused::Chain;
    let kernel = Kernel {
        dtype: if products.is_empty() { None } else { site.kernel.dtype },
        products,
        bytes_read: if is_inside {
            Bytes::ZERO
        } else {
            step.bytes(&inputs) + step.bytes(&parameters)
        },
        bytes_written: if is_inside { Bytes::ZERO } else { step.bytes(&site.wanted) },
        temporary: site.kernel.temporary,
        origin: origin(site),
        fused: site.kernel.fused,
        ..Kernel::default()
    };
    let outputs: Vec<TensorId> = site.wanted.iter().map(|t| step.gradient_of(*t)).collect();
    let op = Op {
        inputs,
        parameters,
        outputs: outputs.clone(),
        ..companion(step, site, Phase::BackwardInput, kernel)
    };
    step.add_op(op, Some(site.op));
    for (tensor, gradient) in site.wanted.iter().zip(outputs) {
        step.contribute(*tensor, gradient);
    }
}

fn add_weight(step: &mut Step, site: &Site<'_>, products: Vec<Product>) {
    let mut inputs = site.gradients.to_vec();
    inputs.extend(saved_activations(step, site));
    dedup(&mut inputs);
    let written: Bytes = site.trained.iter().map(|p| touched(step, site, *p)).sum();
    // From the second micro-batch on the buffer holds a sum; all are costed alike.
    let buffer = if step.n_micro_batches > 1 { written } else { Bytes::ZERO };
    let kernel = Kernel {
        dtype: if products.is_empty() { None } else { site.kernel.dtype },
        products,
        bytes_read: step.bytes(&inputs) + buffer,
        bytes_written: written,
        temporary: site.kernel.temporary,
        origin: origin(site),
        fused: site.kernel.fused,
        ..Kernel::default()
    };
    let token = step.token(site.op, &site.trained);
    let op = Op {
        inputs,
        parameters: site.trained.clone(),
        outputs: vec![token],
        ..companion(step, site, Phase::BackwardWeight, kernel)
    };
    step.add_op(op, Some(site.op));
}

/// Bytes of the gradient buffer that the op writes: all of it, or the rows that a gather read.
fn touched(step: &Step, site: &Site<'_>, parameter: TensorId) -> Bytes {
    let all = step.gradient_bytes(parameter);
    if !step.graph.op(site.op).op_type.starts_with("Gather") {
        return all;
    }
    let n_all = elements(step.graph.tensor(parameter)).max(1);
    let read: u64 =
        site.gradients.iter().map(|t| elements(step.graph.tensor(*t))).fold(0, u64::saturating_add);
    Bytes((all.get() / n_all).saturating_mul(read)).min(all)
}

fn companion(step: &Step, site: &Site<'_>, phase: Phase, kernel: Kernel) -> Op {
    let forward = step.graph.op(site.op);
    let suffix = if phase == Phase::BackwardWeight { "weight" } else { "input" };
    let name = step.named(format_args!("{}@backward-{suffix}", forward.name));
    let module = forward.module.clone();
    let op_type = format!("{}Grad", forward.op_type);
    Op { module, ..blank(name, &op_type, phase, Work::Kernel(kernel)) }
}

fn dedup(tensors: &mut Vec<TensorId>) {
    let mut seen = std::collections::HashSet::new();
    tensors.retain(|tensor| seen.insert(*tensor));
}
