//! One weight under two names. Where two initializers name the same bytes of an external file they
//! are one; where two matrices inside the file hold the same values, one perhaps turned round, as
//! exporters leave a head that is tied to a table of words, that is worth a warning.

use std::collections::{HashMap, HashSet};

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;
use ir::units::Bytes;

use crate::onnx::raw::{Place, RawAttribute, RawGraph, RawModel, RawTensor};
use crate::source::Source;

/// Matrices with fewer elements are not compared: equal ones are coincidence, or not worth it.
const MIN_ELEMENTS: u64 = 1024;

/// Elements of a matrix that are compared.
const SAMPLES: u64 = 24;

/// Different values that the compared elements must have: a constant matrix is no tied weight.
const MIN_DISTINCT: usize = 8;

/// Pairs that are named.
const NAMED: usize = 5;

/// Makes initializers that name the same external bytes one.
pub(crate) fn merge(model: &mut RawModel) {
    let results: HashSet<&str> = model.graph.outputs.iter().map(|v| v.name.as_str()).collect();
    let mut first: HashMap<(&str, u64, u64, DType, &[u64]), &str> = HashMap::new();
    let mut renamed: HashMap<String, String> = HashMap::new();
    for tensor in &model.graph.initializers {
        let Some(Place::External { location, offset, length }) = &tensor.place else { continue };
        let key = (location.as_str(), *offset, *length, tensor.dtype, tensor.dims.as_slice());
        match first.get(&key) {
            Some(original) if *length > 0 && !results.contains(tensor.name.as_str()) => {
                renamed.insert(tensor.name.clone(), (*original).to_owned());
            }
            Some(_) => {}
            None => drop(first.insert(key, &tensor.name)),
        }
    }
    if renamed.is_empty() {
        return;
    }
    model.graph.initializers.retain(|tensor| !renamed.contains_key(&tensor.name));
    rename(&mut model.graph, &renamed, &HashSet::new());
}

/// Names in a graph and those inside it, but for names that an inner graph defines itself.
fn rename(graph: &mut RawGraph, renamed: &HashMap<String, String>, hidden: &HashSet<String>) {
    for node in &mut graph.nodes {
        for input in &mut node.inputs {
            if let Some(original) = renamed.get(input).filter(|_| !hidden.contains(input)) {
                input.clone_from(original);
            }
        }
        for attribute in node.attributes.values_mut() {
            let inner = match attribute {
                RawAttribute::Graph(graph) => std::slice::from_mut(graph),
                RawAttribute::Graphs(graphs) => graphs.as_mut_slice(),
                _ => &mut [],
            };
            for graph in inner {
                let mut hidden = hidden.clone();
                hidden.extend(graph.inputs.iter().map(|value| value.name.clone()));
                hidden.extend(graph.initializers.iter().map(|tensor| tensor.name.clone()));
                hidden.extend(graph.nodes.iter().flat_map(|node| node.outputs.iter().cloned()));
                rename(graph, renamed, &hidden);
                for value in &mut graph.outputs {
                    if let Some(original) =
                        renamed.get(&value.name).filter(|n| !hidden.contains(*n))
                    {
                        value.name.clone_from(original);
                    }
                }
            }
        }
    }
}

/// A matrix that may be another one's copy: rows at least as many as columns, turned round if need
/// be.
struct Matrix<'a> {
    tensor: &'a RawTensor,
    offset: u64,
    /// Bytes of an element.
    width: u64,
    rows: u64,
    columns: u64,
    is_turned: bool,
}

impl<'a> Matrix<'a> {
    fn of(tensor: &'a RawTensor) -> Option<Self> {
        let (Some(Place::Inline { offset }), &[first, second]) = (&tensor.place, &*tensor.dims)
        else {
            return None;
        };
        let is_large = tensor.n_elements >= MIN_ELEMENTS && tensor.dtype.is_wide_float();
        let (rows, columns) = (first.max(second), first.min(second));
        is_large.then_some(Self {
            tensor,
            offset: *offset,
            width: tensor.dtype.bits() / 8,
            rows,
            columns,
            is_turned: first < second,
        })
    }

    /// The bytes of some elements, spread over the matrix; `None` where the values hardly differ.
    fn sample(&self, source: &dyn Source, is_turned: bool) -> Option<Vec<u8>> {
        let width = usize::try_from(self.width).ok()?;
        let mut bytes = vec![0; width * usize::try_from(SAMPLES).ok()?];
        let mut distinct = HashSet::new();
        for (at, element) in bytes.chunks_exact_mut(width).enumerate() {
            // Steps without a common factor with most extents reach all over the matrix.
            let at = at as u64 + 1;
            let (row, column) = (at * 7919 % self.rows, at * 104_729 % self.columns);
            let position =
                if is_turned { column * self.rows + row } else { row * self.columns + column };
            let offset = self.offset.checked_add(position.checked_mul(self.width)?)?;
            let n = source.read_at(offset, element).ok()?;
            if n < element.len() {
                return None;
            }
            distinct.insert(element.to_vec());
        }
        (distinct.len() >= MIN_DISTINCT).then_some(bytes)
    }
}

/// A warning of matrices inside the file that hold the same values.
pub(crate) fn copies(model: &RawModel, source: &dyn Source) -> Option<Diagnostic> {
    let matrices: Vec<Matrix<'_>> =
        model.graph.initializers.iter().filter_map(Matrix::of).collect();
    let mut alike: HashMap<(DType, u64, u64), usize> = HashMap::new();
    for matrix in &matrices {
        *alike.entry((matrix.tensor.dtype, matrix.rows, matrix.columns)).or_default() += 1;
    }
    let mut seen: HashMap<(DType, u64, u64, Vec<u8>), &str> = HashMap::new();
    let (mut pairs, mut bytes) = (Vec::new(), Bytes::ZERO);
    for matrix in &matrices {
        let (dtype, rows, columns) = (matrix.tensor.dtype, matrix.rows, matrix.columns);
        if alike.get(&(dtype, rows, columns)).is_none_or(|n| *n < 2) {
            continue;
        }
        let Some(sample) = matrix.sample(source, matrix.is_turned) else { continue };
        let mut keys = vec![(dtype, rows, columns, sample)];
        // A square may be turned round without showing it.
        if rows == columns {
            let turned = matrix.sample(source, true);
            keys.extend(turned.map(|turned| (dtype, rows, columns, turned)));
        }
        match keys.iter().find_map(|key| seen.get(key)) {
            Some(first) => {
                pairs.push(format!("`{}` of `{first}`", matrix.tensor.name));
                bytes += matrix.tensor.bytes;
            }
            None => drop(seen.insert(keys.swap_remove(0), &matrix.tensor.name)),
        }
    }
    let count = pairs.len();
    let more = if count > NAMED { ", ..." } else { "" };
    pairs.truncate(NAMED);
    (count > 0).then(|| {
        let message = format!(
            "weights hold the values of others, and count {bytes} twice if they are tied: {}{more}",
            pairs.join(", ")
        );
        Diagnostic::warning("possible-tied-weights", message)
            .fact("count", count)
            .fact("bytes", bytes.get())
            .hint("export with `dynamo=True`, which keeps a tied weight once, or tie them in the file")
    })
}

#[cfg(test)]
mod tests {
    use super::{copies, merge};
    use crate::onnx::raw::{Place, RawGraph, RawModel, RawNode, RawTensor};
    use ir::tensor::DType;
    use ir::units::Bytes;

    fn tensor(name: &str, dims: [u64; 2], place: Place) -> RawTensor {
        RawTensor {
            name: name.into(),
            dtype: DType::F32,
            dims: dims.to_vec(),
            n_elements: dims[0] * dims[1],
            bytes: Bytes(4 * dims[0] * dims[1]),
            values: None,
            place: Some(place),
        }
    }

    fn model(initializers: Vec<RawTensor>) -> RawModel {
        RawModel { graph: RawGraph { initializers, ..RawGraph::default() }, ..RawModel::default() }
    }

    #[test]
    fn a_head_that_is_the_table_turned_round_is_noticed() {
        let (rows, columns) = (96u64, 32u64);
        let value = |row: u64, column: u64| ((row * 131 + column * 17) as f32).to_le_bytes();
        let mut file: Vec<u8> = Vec::new();
        for row in 0..rows {
            (0..columns).for_each(|column| file.extend(value(row, column)));
        }
        for column in 0..columns {
            (0..rows).for_each(|row| file.extend(value(row, column)));
        }
        // A third of the same extents with values of its own, a fourth of nothing but zeros.
        (0..rows * columns).for_each(|at| file.extend((at as f32 * 0.37).to_le_bytes()));
        file.extend(vec![0; 2 * 4 * 96 * 32]);
        let size = 4 * rows * columns;
        let at = |n: u64| Place::Inline { offset: n * size };
        let names = vec![
            tensor("table", [rows, columns], at(0)),
            tensor("head", [columns, rows], at(1)),
            tensor("apart", [rows, columns], at(2)),
            tensor("zeros", [rows, columns], at(3)),
            tensor("more_zeros", [rows, columns], at(4)),
        ];
        let warning = copies(&model(names), &file.as_slice()).unwrap();
        assert_eq!(warning.code, "possible-tied-weights");
        assert!(warning.message.contains("`head` of `table`"), "{}", warning.message);
        assert!(!warning.message.contains("apart") && !warning.message.contains("zeros"));
    }

    #[test]
    fn two_names_of_the_same_external_bytes_are_one_weight() {
        let place =
            |offset| Place::External { location: "w.bin".into(), offset, length: 4 * 64 * 64 };
        let mut model = model(vec![
            tensor("a", [64, 64], place(0)),
            tensor("b", [64, 64], place(0)),
            tensor("c", [64, 64], place(4 * 64 * 64)),
        ]);
        model.graph.nodes.push(RawNode {
            inputs: vec!["x".into(), "b".into(), "c".into()],
            ..RawNode::default()
        });
        merge(&mut model);
        let names: Vec<_> = model.graph.initializers.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["a", "c"]);
        assert_eq!(model.graph.nodes[0].inputs, ["x", "a", "c"]);
    }
}
