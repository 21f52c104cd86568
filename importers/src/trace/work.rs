//! The work of a call, by the table of operators and the sizes that were recorded.

use std::collections::HashSet;

use ir::op::{Kernel, Origin};
use ir::units::Bytes;

use super::calls::{Call, Operand};
use super::forest::{Unit, is_collective};
use super::storages::{created, is_floating, is_real};
use crate::aten::{self, Effect, Scalar};

/// Names of the arguments that products depend on, for traces without schemas; operators apart by
/// blanks.
const ARGUMENTS: [(&str, &[&str]); 10] = [
    ("linear", &["input", "weight", "bias"]),
    ("addmm", &["self", "mat1", "mat2"]),
    ("baddbmm", &["self", "batch1", "batch2"]),
    ("conv1d", &["input", "weight", "bias", "stride", "padding", "dilation", "groups"]),
    ("conv2d", &["input", "weight", "bias", "stride", "padding", "dilation", "groups"]),
    ("conv3d", &["input", "weight", "bias", "stride", "padding", "dilation", "groups"]),
    ("convolution_backward", CONVOLUTION_BACKWARD),
    ("scaled_dot_product_attention", &["query", "key", "value"]),
    (
        "_scaled_dot_product_flash_attention_backward \
         _scaled_dot_product_efficient_attention_backward \
         _scaled_dot_product_cudnn_attention_backward \
         _scaled_dot_product_flash_attention_for_cpu_backward \
         _scaled_dot_product_fused_attention_overrideable_backward",
        &["grad_out", "query", "key", "value"],
    ),
    ("_grouped_mm", &["self", "mat2"]),
];

const CONVOLUTION_BACKWARD: &[&str] = &[
    "grad_output",
    "input",
    "weight",
    "bias_sizes",
    "stride",
    "padding",
    "dilation",
    "transposed",
    "output_padding",
    "groups",
    "output_mask",
];

/// Collectives by what their names hold, without underscores.
const COLLECTIVES: [(&str, &str); 12] = [
    ("allreduce", "AllReduce"),
    ("allgather", "AllGather"),
    ("reducescatter", "ReduceScatter"),
    ("alltoall", "AllToAll"),
    ("broadcast", "Broadcast"),
    ("barrier", "Barrier"),
    ("send", "Send"),
    ("recv", "Receive"),
    ("reduce", "Reduce"),
    ("gather", "Gather"),
    ("scatter", "Scatter"),
    ("recordparamcomms", "Collective"),
];

/// Whether an op of the graph is a message between ranks, and no operator of a model by its name.
pub(super) fn is_message(op_type: &str) -> bool {
    const OPERATORS: [&str; 2] = ["Gather", "Scatter"];
    let is_known = COLLECTIVES.iter().any(|(_, known)| *known == op_type);
    op_type == "Collective" || is_known && !OPERATORS.contains(&op_type)
}

/// The name of an op in the graph.
pub(super) fn op_type(call: &Call, unit: &Unit) -> String {
    if let Some(rule) = unit.rule {
        return rule.op_type.to_owned();
    }
    if is_collective(&call.name) {
        let plain = call.short_name().replace('_', "");
        let known = COLLECTIVES.iter().find(|(mark, _)| plain.contains(mark));
        return known.map_or("Collective", |(_, op_type)| op_type).to_owned();
    }
    call.name.to_string()
}

/// Whether an argument is written by a call.
pub(super) fn is_written(call: &Call, operand: &Operand) -> bool {
    call.writes(operand.position) || (is_collective(&call.name) && !call.name.contains("send"))
}

/// Whether a call gives new values to all of what it writes in place, whatever was there before.
pub(super) fn fills(call: &Call) -> bool {
    const FILLING: [&str; 9] = [
        "copy_",
        "fill_",
        "zero_",
        "bernoulli_",
        "normal_",
        "uniform_",
        "random_",
        "exponential_",
        "one_hot_",
    ];
    // A result that is given as the last argument is only written.
    let is_out = call.signature.as_ref().is_some_and(|signature| {
        signature.written.first().is_some_and(|at| *at > 0) && !call.name.ends_with('_')
    });
    is_out || FILLING.contains(&call.short_name())
}

/// The work of a call that is no view.
pub(super) fn kernel(call: &Call, unit: &Unit) -> Kernel {
    let written: Vec<&Operand> = written(call).collect();
    let bytes_written: Bytes = written.iter().map(|operand| Bytes(operand.bytes())).sum();
    let fills = fills(call);
    let mut seen = HashSet::new();
    let mut read = call
        .inputs
        .iter()
        .filter(|operand| is_real(operand) && !(fills && call.writes(operand.position)))
        .filter(|operand| seen.insert((operand.storage, operand.offset, operand.elements)));
    let effect = unit.rule.map(|rule| rule.effect);
    let bytes_read = match effect {
        Some(Effect::Creates) => Bytes::ZERO,
        Some(Effect::Picks) => {
            let others: Bytes = read.skip(1).map(|operand| Bytes(operand.bytes())).sum();
            bytes_written + others
        }
        Some(Effect::Updates) => {
            read.next();
            read.map(|operand| Bytes(operand.bytes())).sum()
        }
        _ => read.map(|operand| Bytes(operand.bytes())).sum(),
    };
    let mut kernel = Kernel { bytes_read, bytes_written, ..Kernel::default() };
    match effect {
        Some(Effect::Multiplies(products)) => {
            match products(&described(call)) {
                Some(products) if products.iter().all(|product| product.flops().is_some()) => {
                    kernel.products = products;
                }
                _ => kernel.origin = Origin::Guessed,
            }
            let factor = call.inputs.iter().find(|operand| is_floating(operand.dtype));
            kernel.dtype =
                factor.filter(|_| !kernel.products.is_empty()).map(|factor| factor.dtype);
        }
        None if !is_collective(&call.name) => kernel.origin = Origin::Guessed,
        _ => {}
    }
    kernel
}

/// Results in new memory, and arguments that are written.
fn written(call: &Call) -> impl Iterator<Item = &Operand> {
    let in_place = call.inputs.iter().filter(|operand| is_written(call, operand));
    created(call).chain(in_place)
}

/// A call as the table of operators wants it.
fn described(call: &Call) -> aten::Call<'_> {
    let is_own = |names: &str| names.split(' ').any(|name| name == call.short_name());
    let known = ARGUMENTS.iter().find(|(names, _)| is_own(names));
    let name = |position: usize| match (&call.signature, known) {
        (None, Some((_, names))) => names.get(position).copied().unwrap_or(""),
        _ => call.argument(position),
    };
    let tensors =
        call.inputs.iter().filter(|operand| operand.elements > 0 || !operand.shape.is_empty());
    let scalar = |text: &'_ str| -> Option<Scalar<'static>> {
        match text.trim() {
            "true" | "True" => Some(Scalar::Int(1)),
            "false" | "False" => Some(Scalar::Int(0)),
            list if list.starts_with('[') => {
                let flags = list.trim_matches(['[', ']']).split(',');
                let flags: Option<Vec<bool>> = flags
                    .map(|flag| match flag.trim() {
                        "true" | "True" => Some(true),
                        "false" | "False" => Some(false),
                        _ => None,
                    })
                    .collect();
                flags.map(Scalar::Bools)
            }
            number => number.parse().ok().map(Scalar::Int),
        }
    };
    aten::Call {
        tensors: tensors
            .map(|operand| (name(operand.position), Some(operand.shape.as_slice())))
            .collect(),
        scalars: call
            .plain
            .iter()
            .filter_map(|(position, text)| Some((name(*position), scalar(text)?)))
            .collect(),
        outputs: call.outputs.iter().map(|output| Some(output.shape.as_slice())).collect(),
    }
}
