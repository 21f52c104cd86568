//! Work of classical models. Their parameters are attributes: they are read with the data.

use ir::diagnostic::Diagnostic;
use ir::op::{Product, Work};
use ir::units::Bytes;

use crate::onnx::infer::learned::{entries, rows};
use crate::onnx::raw::RawAttribute;
use crate::onnx::rules::rule::Job;

type Done = Result<Work, Diagnostic>;

/// Bytes of the lists that the node carries.
fn carried(job: &Job<'_>) -> Bytes {
    let bytes = job.call.node.attributes.values().map(|value| match value {
        RawAttribute::Ints(list) => Bytes(list.len() as u64 * 8),
        RawAttribute::Floats(list) => Bytes(list.len() as u64 * 4),
        RawAttribute::Tensor(tensor) => tensor.bytes,
        _ => Bytes::ZERO,
    });
    bytes.sum()
}

/// Streams data and parameters: trees, tables. Comparisons are no floating-point operations.
pub(crate) fn table(job: &Job<'_>) -> Done {
    let mut kernel = job.kernel();
    kernel.bytes_read += carried(job);
    Ok(Work::Kernel(kernel))
}

/// A product of the rows with the vectors in attribute `name`.
fn product(job: &Job<'_>, name: &str) -> Done {
    let products = match rows(&job.call) {
        Some((m, k)) if k > 0 => {
            vec![Product { count: 1, m, k, n: entries(&job.call, name) / k }]
        }
        _ => Vec::new(),
    };
    let mut kernel = job.product_kernel(products, 0);
    kernel.bytes_read += carried(job);
    Ok(Work::Kernel(kernel))
}

/// `LinearClassifier`, `LinearRegressor`: a vector of coefficients per class or target.
pub(crate) fn linear(job: &Job<'_>) -> Done {
    product(job, "coefficients")
}

/// `SVMClassifier`, `SVMRegressor`: rows against support vectors, or, where there are none,
/// against the coefficients of a linear machine.
pub(crate) fn support_vectors(job: &Job<'_>) -> Done {
    let has_vectors = entries(&job.call, "support_vectors") > 0;
    product(job, if has_vectors { "support_vectors" } else { "coefficients" })
}
