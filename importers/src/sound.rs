//! What holds of everything that is read, whatever its format: there is something to plan, and no
//! sum over it overflows.

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::instance::Instance;
use ir::op::Work;
use ir::units::{Bytes, Flops};

/// Most operations and bytes of a forward pass: an eighth of 64 bits, so that backward passes,
/// optimizer and sums over both fit too.
const MOST: u64 = 1 << 61;

/// Refuses a graph whose sums do not fit.
///
/// # Errors
/// `size-overflow`.
pub(crate) fn graph(graph: &Graph) -> Result<(), Diagnostic> {
    let add = |sum: Option<u64>, amount: u64| sum?.checked_add(amount).filter(|sum| *sum <= MOST);
    let (mut flops, mut bytes) = (Some(0), Some(0));
    for op in &graph.ops {
        let Work::Kernel(kernel) = &op.work else { continue };
        for product in &kernel.products {
            flops = add(flops, product.flops().unwrap_or(Flops::MAX).get());
        }
        for moved in [kernel.bytes_read, kernel.bytes_written, kernel.temporary] {
            bytes = add(bytes, moved.get());
        }
    }
    for tensor in &graph.tensors {
        bytes = add(bytes, tensor.bytes.get());
    }
    let what = match (flops, bytes) {
        (None, _) => format!("the operations of the model are more than {}", Flops(MOST)),
        (_, None) => format!("the tensors of the model are more than {}", Bytes(MOST)),
        _ => return Ok(()),
    };
    Err(Diagnostic::input("size-overflow", what).fact("limit", MOST))
}

/// Refuses an instance without nodes.
///
/// # Errors
/// `no-ops`.
pub(crate) fn instance(instance: &Instance) -> Result<(), Diagnostic> {
    if instance.n_nodes() == 0 { Err(no_ops()) } else { Ok(()) }
}

/// The error `no-ops`.
pub(crate) fn no_ops() -> Diagnostic {
    Diagnostic::input("no-ops", "the file holds no op: there is nothing to plan")
        .hint("check the program that wrote the file, or export the model again")
}

#[cfg(test)]
mod tests {
    use ir::graph::Graph;
    use ir::op::{Kernel, Op, Phase, Product, Work};

    use crate::import::ImportOptions;
    use crate::read_any_bytes;

    fn code(name: &str, text: &str) -> &'static str {
        read_any_bytes(name, text.as_bytes(), &ImportOptions::default()).unwrap_err().code
    }

    #[test]
    fn files_without_ops_are_refused_in_every_format() {
        for name in ["a.onnx", "a.json", "a.et", "a.pt2", "a.csv", "a"] {
            assert_eq!(code(name, ""), "empty-file", "{name}");
        }
        assert_eq!(code("a.txt", ""), "empty-instance");
        assert_eq!(code("a.txt", "\n\n"), "empty-instance");
        assert_eq!(code("a.json", r#"{"devices":[{"id":4,"kind":"a"}],"ops":[]}"#), "no-ops");
        let dnn = r#"{"maxFPGAs":1,"maxCPUs":1,"maxSizePerFPGA":1,"nodes":[],"edges":[]}"#;
        assert_eq!(code("a.json", dnn), "empty-instance");
    }

    #[test]
    fn sums_have_room_for_backward_passes() {
        // 2 m k n operations, a power of two that is the limit itself.
        let side = 1 << 20;
        let product = Product { count: 1, m: side, k: side, n: side };
        let op = Op {
            name: "a".into(),
            op_type: "MatMul".into(),
            module: None,
            phase: Phase::Forward,
            inputs: vec![],
            parameters: vec![],
            outputs: vec![],
            work: Work::Kernel(Kernel { products: vec![product], ..Kernel::default() }),
            group: None,
            splits: ir::op::Splits::default(),
        };
        let graph = |n| Graph { ops: vec![op.clone(); n], ..Graph::default() };
        assert_eq!(super::graph(&graph(1)).map_err(|error| error.code), Ok(()));
        assert_eq!(super::graph(&graph(2)).map_err(|error| error.code), Err("size-overflow"));
    }
}
