//! Another batch than the program's: its extents are numbers, so that work and sizes are scaled.

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::op::{Kernel, Origin, Product, Work};
use ir::tensor::Role;
use ir::units::Bytes;

use crate::import::ImportOptions;

/// Scales a graph to the batch asked for; from which one, where it was another.
///
/// # Errors
/// `invalid-batch`.
pub(super) fn scale(
    graph: &mut Graph,
    options: &ImportOptions,
) -> Result<Option<[u64; 2]>, Diagnostic> {
    let Some(to) = options.batch else { return Ok(None) };
    if to == 0 {
        return Err(Diagnostic::usage("invalid-batch", "a batch of 0 samples has no work"));
    }
    let inputs = graph.inputs.iter().map(|id| graph.tensor(*id));
    let named = |name: &str| options.batch_axis.get(name).copied();
    let mut extents = inputs.filter_map(|tensor| {
        let axis = named(&tensor.name);
        Some((axis.is_some(), *tensor.shape.get(axis.unwrap_or(0))?))
    });
    let first = extents.next();
    let stated = extents.chain(first).find(|(is_named, _)| *is_named).or(first);
    let Some((_, from)) = stated else { return Ok(None) };
    if from == 0 {
        return Err(Diagnostic::usage("invalid-batch", "the batch of the file is 0"));
    }
    if from == to {
        return Ok(None);
    }
    let ratio = [from, to];
    for op in &mut graph.ops {
        let fixed: Bytes = op.parameters.iter().map(|id| graph.tensors[id.index()].bytes).sum();
        if let Work::Kernel(kernel) = &mut op.work {
            scale_kernel(kernel, fixed, ratio);
        }
    }
    for tensor in graph.tensors.iter_mut().filter(|tensor| tensor.role != Role::Parameter) {
        let axis = named(&tensor.name).unwrap_or(0);
        if let Some(extent) = tensor.shape.get_mut(axis)
            && *extent % from == 0
            && !(tensor.role == Role::Input && *extent != from)
        {
            *extent = scaled(*extent, ratio);
            tensor.bytes = Bytes(scaled(tensor.bytes.get(), ratio));
        }
    }
    Ok(Some(ratio))
}

fn scaled(amount: u64, [from, to]: [u64; 2]) -> u64 {
    let wide = u128::from(amount) * u128::from(to);
    u64::try_from(wide.div_ceil(u128::from(from))).unwrap_or(u64::MAX)
}

/// Parameters are read once whatever the batch.
fn scale_kernel(kernel: &mut Kernel, parameters: Bytes, ratio: [u64; 2]) {
    let fixed = parameters.min(kernel.bytes_read);
    kernel.bytes_read = Bytes(scaled((kernel.bytes_read - fixed).get(), ratio)) + fixed;
    kernel.bytes_written = Bytes(scaled(kernel.bytes_written.get(), ratio));
    kernel.temporary = Bytes(scaled(kernel.temporary.get(), ratio));
    for product in &mut kernel.products {
        *product = scale_product(*product, ratio);
    }
    kernel.origin = kernel.origin.max(Origin::Scaled);
}

/// Along the extent that holds the batch: rows, independent products, or what is summed over, as in
/// the gradient of a weight.
fn scale_product(product: Product, ratio: [u64; 2]) -> Product {
    let fits =
        |extent: u64| (u128::from(extent) * u128::from(ratio[1])) % u128::from(ratio[0]) == 0;
    match product {
        Product { m, .. } if fits(m) => Product { m: scaled(m, ratio), ..product },
        Product { count, .. } if fits(count) => Product { count: scaled(count, ratio), ..product },
        Product { k, .. } if fits(k) => Product { k: scaled(k, ratio), ..product },
        Product { n, .. } if fits(n) => Product { n: scaled(n, ratio), ..product },
        _ => Product { m: scaled(product.m, ratio), ..product },
    }
}
