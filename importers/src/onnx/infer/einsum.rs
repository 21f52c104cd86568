//! `Einsum`: the equation, its extents, and the product that it is.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;
use ir::op::Product;

use crate::onnx::infer::Facts;
use crate::onnx::infer::call::{Call, one};

/// Labels of each operand and of the output, with the extent of each label. Axes under an
/// ellipsis carry labels of their own, outside the alphabet.
pub(crate) struct Equation {
    operands: Vec<Vec<u32>>,
    output: Vec<u32>,
    extents: BTreeMap<u32, u64>,
}

/// First label of the axes under an ellipsis, counted from the last such axis.
const ELLIPSIS: u32 = 0x0011_0000;

/// What is wrong with an equation.
pub(crate) enum Fault {
    /// It is none, or not one of so many operands.
    Invalid(String),
    /// It does not fit the extents of its operands.
    Mismatch(String),
}

/// The equation of a node; `None` where a shape is unknown.
pub(crate) fn equation(call: &Call<'_>) -> Result<Option<Equation>, Diagnostic> {
    let shapes: Option<Vec<&[u64]>> = (0..call.inputs.len()).map(|at| call.shape(at)).collect();
    let Some(shapes) = shapes else { return Ok(None) };
    Equation::of(call.text("equation", ""), &shapes).map(Some).map_err(|fault| match fault {
        Fault::Invalid(what) => call.invalid(what),
        Fault::Mismatch(what) => call.mismatch(what),
    })
}

impl Equation {
    /// The equation of operands with these extents.
    pub(crate) fn of(text: &str, shapes: &[&[u64]]) -> Result<Self, Fault> {
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (text.as_str(), None),
        };
        let terms: Vec<&str> = left.split(',').collect();
        if terms.len() != shapes.len() {
            return Err(Fault::Invalid(format!("equation of {} operands", terms.len())));
        }
        let mut extents = BTreeMap::new();
        let mut operands = Vec::with_capacity(terms.len());
        for (term, shape) in terms.iter().zip(shapes) {
            let labels = labels(term, shape.len()).ok_or_else(|| {
                Fault::Mismatch(format!("term `{term}` does not fit its operand"))
            })?;
            for (label, extent) in labels.iter().zip(*shape) {
                let known = extents.entry(*label).or_insert(*extent);
                if *known == 1 {
                    *known = *extent;
                } else if *extent != 1 && known != extent {
                    return Err(Fault::Mismatch("a label has two extents".to_owned()));
                }
            }
            operands.push(labels);
        }
        let covered = extents.keys().filter(|label| **label >= ELLIPSIS).count();
        let output = match right {
            Some(right) => output_labels(right, covered),
            None => Some(implicit(&operands, covered)),
        };
        let output = output
            .filter(|output| output.iter().all(|label| extents.contains_key(label)))
            .ok_or_else(|| Fault::Invalid("the output term has a label of its own".to_owned()))?;
        Ok(Self { operands, output, extents })
    }
}

/// Labels of a term for an operand with `rank` axes.
fn labels(term: &str, rank: usize) -> Option<Vec<u32>> {
    let Some((front, back)) = term.split_once("...") else {
        let labels: Vec<u32> = term.chars().map(u32::from).collect();
        return (labels.len() == rank).then_some(labels);
    };
    let named = front.chars().count() + back.chars().count();
    let covered = u32::try_from(rank.checked_sub(named)?).ok()?;
    let hidden = (0..covered).rev().map(|i| ELLIPSIS + i);
    Some(front.chars().map(u32::from).chain(hidden).chain(back.chars().map(u32::from)).collect())
}

fn output_labels(term: &str, covered: usize) -> Option<Vec<u32>> {
    let named = term.replace("...", "").chars().count();
    labels(term, if term.contains("...") { named + covered } else { named })
}

/// Without an arrow: the ellipsis, then labels that occur once, in alphabetical order.
fn implicit(operands: &[Vec<u32>], covered: usize) -> Vec<u32> {
    let mut counts = BTreeMap::new();
    for label in operands.iter().flatten().filter(|label| **label < ELLIPSIS) {
        *counts.entry(*label).or_insert(0usize) += 1;
    }
    let hidden = (0..covered).rev().filter_map(|i| u32::try_from(i).ok()).map(|i| ELLIPSIS + i);
    hidden.chain(counts.into_iter().filter(|(_, n)| *n == 1).map(|(label, _)| label)).collect()
}

/// `Einsum`.
pub(crate) fn einsum(call: &Call<'_>) -> Result<Vec<Facts>, Diagnostic> {
    let Some(equation) = equation(call)? else { return one(call.dtype(0), None) };
    let shape = equation.output.iter().map(|label| equation.extents[label]).collect();
    one(call.dtype(0), Some(shape))
}

impl Equation {
    /// The contractions of the operands from left to right: labels of both that stay are independent
    /// products, labels of one side that stay are rows or columns, labels of both that go are
    /// contracted; what only one of them has and nothing else wants is summed before. One operand is
    /// a sum, not a product. `None` past 64 bits.
    pub(crate) fn products(&self) -> Option<Vec<Product>> {
        let Some((first, rest)) = self.operands.split_first() else { return Some(Vec::new()) };
        let mut left: Vec<u32> = first.clone();
        let mut products = Vec::with_capacity(rest.len());
        for (at, right) in rest.iter().enumerate() {
            let later = &rest[at + 1..];
            let stays = |label: &u32| {
                self.output.contains(label) || later.iter().any(|labels| labels.contains(label))
            };
            let mut product = Product { count: 1, m: 1, k: 1, n: 1 };
            let mut labels = Vec::new();
            for (label, extent) in &self.extents {
                let (in_left, in_right) = (left.contains(label), right.contains(label));
                let factor = match (stays(label), in_left, in_right) {
                    (false, true, true) => &mut product.k,
                    (true, true, true) => &mut product.count,
                    (true, true, false) => &mut product.m,
                    (true, false, true) => &mut product.n,
                    _ => continue,
                };
                *factor = factor.checked_mul(*extent)?;
                if stays(label) {
                    labels.push(*label);
                }
            }
            products.push(product);
            left = labels;
        }
        Some(products)
    }
}

#[cfg(test)]
mod tests {
    use super::{einsum, equation};
    use crate::onnx::infer::call::testing::{call, node, tensor};
    use crate::onnx::raw::RawAttribute;
    use ir::op::Product;

    fn check(text: &str, shapes: [&[u64]; 2], shape: &[u64], product: [u64; 4]) {
        let mut op = node("Einsum", &[]);
        op.attributes.insert("equation".to_owned(), RawAttribute::Text(text.to_owned()));
        let facts = shapes.map(tensor);
        let call = call(&op, &[&facts[0], &facts[1]]);
        assert_eq!(einsum(&call).unwrap()[0].shape.as_deref(), Some(shape), "{text}");
        let [count, m, k, n] = product;
        let expected = Some(vec![Product { count, m, k, n }]);
        assert_eq!(equation(&call).unwrap().unwrap().products(), expected);
    }

    #[test]
    fn two_operands_are_one_product() {
        let (q, k): (&[u64], &[u64]) = (&[2, 12, 64, 32], &[2, 12, 96, 32]);
        check("bhqd,bhkd->bhqk", [q, k], &[2, 12, 64, 96], [24, 64, 32, 96]);
        check("... q d, ... k d -> ... q k", [q, k], &[2, 12, 64, 96], [24, 64, 32, 96]);
        check("ij,jk", [&[3, 4], &[4, 5]], &[3, 5], [1, 3, 4, 5]);
    }

    /// As `torch.einsum` runs them: 2 x 5 x 2 x 6 x 7, and 2 x 3 x (4 x 5 + 5).
    #[test]
    fn sums_go_first_and_operands_one_by_one() {
        let flops = |text: &str, shapes: &[&[u64]]| -> u64 {
            let equation = super::Equation::of(text, shapes).ok().unwrap();
            equation.products().unwrap().iter().map(|product| product.flops().unwrap().get()).sum()
        };
        assert_eq!(flops("bijd,bjke->bde", &[&[2, 3, 5, 6], &[2, 5, 8, 7]]), 2 * 2 * 6 * 5 * 7);
        assert_eq!(flops("bi,ij,bj->b", &[&[3, 4], &[4, 5], &[3, 5]]), 2 * 3 * (4 * 5 + 5));
        assert_eq!(flops("ij->i", &[&[3, 4]]), 0);
    }

    #[test]
    fn labels_must_agree() {
        let mut op = node("Einsum", &[]);
        op.attributes.insert("equation".to_owned(), RawAttribute::Text("ij,jk->iz".to_owned()));
        let (a, b) = (tensor(&[3, 4]), tensor(&[4, 5]));
        assert!(equation(&call(&op, &[&a, &b])).is_err());
        op.attributes.insert("equation".to_owned(), RawAttribute::Text("ij,jk->ik".to_owned()));
        assert!(equation(&call(&op, &[&a, &a])).is_err());
    }
}
