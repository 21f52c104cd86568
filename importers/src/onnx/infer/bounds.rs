//! Operators whose output sizes depend on data, at the most that the graph allows, and what follows
//! from such sizes.

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;

use crate::onnx::infer::call::{Call, one};
use crate::onnx::infer::{Facts, elements};
use crate::onnx::rules::rule::Rule;

type Inferred = Result<Vec<Facts>, Diagnostic>;

/// `NonZero`: a column for every element.
pub(crate) fn non_zero(call: &Call<'_>) -> Inferred {
    let shape = match call.shape(0) {
        Some(shape) => {
            let columns = elements(shape).ok_or_else(|| call.overflow())?;
            Some(vec![shape.len() as u64, columns])
        }
        None => None,
    };
    Ok(vec![Facts::at_most(Some(DType::I64), shape)])
}

/// `NonMaxSuppression`: per sample and class as many boxes as there are, or as may be kept.
pub(crate) fn suppression(call: &Call<'_>) -> Inferred {
    let limit = match call.input(2) {
        None => Some(0),
        Some(facts) => {
            facts.ints().and_then(<[i64]>::first).map(|n| u64::try_from(*n).unwrap_or(0))
        }
    };
    let shape = match call.extents::<3>(1) {
        Some([samples, classes, boxes]) => {
            let count = limit.map_or(boxes, |limit| limit.min(boxes));
            let rows = elements(&[samples, classes, count]).ok_or_else(|| call.overflow())?;
            Some(vec![rows, 3])
        }
        None => None,
    };
    Ok(vec![Facts::at_most(Some(DType::I64), shape)])
}

/// `Unique`: every element, or every slice of the axis, may be one of its own.
pub(crate) fn unique(call: &Call<'_>) -> Inferred {
    let (mut values, mut count) = (None, None);
    if let Some(shape) = call.shape(0) {
        let mut extents = shape.to_vec();
        if call.node.attributes.contains_key("axis") {
            count = shape.get(call.axis(call.int("axis", 0)?, shape.len())?).copied();
        } else {
            count = Some(elements(shape).ok_or_else(|| call.overflow())?);
            extents = count.into_iter().collect();
        }
        values = Some(extents);
    }
    let index = |at_most| {
        let shape = count.map(|count| vec![count]);
        let facts = Facts::tensor(Some(DType::I64), shape);
        Facts { at_most: at_most && count.is_some(), ..facts }
    };
    Ok(vec![Facts::at_most(call.dtype(0), values), index(true), index(false), index(true)])
}

/// `Compress`: as many as there are, and as the condition is long.
pub(crate) fn compress(call: &Call<'_>) -> Inferred {
    let Some(shape) = call.shape(0) else { return one(call.dtype(0), None) };
    let mut extents = shape.to_vec();
    let position = if call.node.attributes.contains_key("axis") {
        call.axis(call.int("axis", 0)?, shape.len())?
    } else {
        extents = vec![elements(shape).ok_or_else(|| call.overflow())?];
        0
    };
    if let (Some(extent), Some([flags])) = (extents.get_mut(position), call.extents::<1>(1)) {
        *extent = flags.min(*extent);
    }
    Ok(vec![Facts::at_most(call.dtype(0), Some(extents))])
}

/// The outputs of a node as if sizes that depend on data were the greatest. Where they contradict
/// each other, as two counts do that are equal only at run time, the outputs have no size.
pub(crate) fn infer(rule: &Rule, call: &Call<'_>) -> Inferred {
    if call.inputs.iter().flatten().all(|facts| !facts.at_most) {
        return (rule.infer)(call);
    }
    let blank = |facts: &Facts| Facts { shape: None, value: None, ..facts.clone() };
    let blanks: Vec<Option<Facts>> =
        call.inputs.iter().map(|facts| facts.filter(|facts| facts.at_most).map(blank)).collect();
    let inputs = blanks.iter().zip(&call.inputs);
    let without = Call {
        node: call.node,
        inputs: inputs.map(|(blank, facts)| blank.as_ref().or(*facts)).collect(),
        opset: call.opset,
    };
    let known = (rule.infer)(&without);
    let mut outputs = match (rule.infer)(call) {
        Err(error) if matches!(error.code, "shape-mismatch" | "invalid-attribute") => {
            return known.map_err(|_| error);
        }
        outputs => outputs?,
    };
    // What is the same whatever the greatest sizes are does not depend on them.
    let known = known.unwrap_or_default();
    for (index, facts) in outputs.iter_mut().enumerate() {
        let same = known.get(index).is_some_and(|known| known.shape == facts.shape);
        facts.at_most |= facts.shape.is_some() && !same;
    }
    Ok(outputs)
}
