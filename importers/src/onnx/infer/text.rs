//! Strings and n-grams.

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;

use crate::onnx::infer::Facts;
use crate::onnx::infer::call::{Call, one};

type Inferred = Result<Vec<Facts>, Diagnostic>;

/// `StringNormalizer`: without the stop words, of which any string may be one.
pub(crate) fn normalize(call: &Call<'_>) -> Inferred {
    let mut shape = call.shape(0).map(<[u64]>::to_vec);
    if !call.node.attributes.contains_key("stopwords") {
        return one(Some(DType::String), shape);
    }
    // Nothing left is one empty string.
    if let Some(last) = shape.as_mut().and_then(|shape| shape.last_mut()) {
        *last = (*last).max(1);
    }
    Ok(vec![Facts::at_most(Some(DType::String), shape)])
}

/// `StringSplit`: parts, as many as `maxsplit` allows, and their number.
pub(crate) fn split(call: &Call<'_>) -> Inferred {
    let shape = call.shape(0).map(<[u64]>::to_vec);
    let parts = match call.node.attributes.contains_key("maxsplit") {
        true => u64::try_from(call.int("maxsplit", 0)?).ok().and_then(|n| n.checked_add(1)),
        false => None,
    };
    let split = shape.clone().zip(parts).map(|(mut shape, parts)| {
        shape.push(parts);
        shape
    });
    Ok(vec![Facts::at_most(Some(DType::String), split), Facts::tensor(Some(DType::I64), shape)])
}

/// `TfIdfVectorizer`: a number per n-gram.
pub(crate) fn count_ngrams(call: &Call<'_>) -> Inferred {
    let last = call.ints("ngram_indexes")?.and_then(|indices| indices.iter().max());
    let columns = last.and_then(|last| u64::try_from(*last).ok()).and_then(|n| n.checked_add(1));
    let columns = columns.ok_or_else(|| call.invalid("`ngram_indexes` names no column"))?;
    let shape = match call.shape(0) {
        Some([_]) => Some(vec![columns]),
        Some([n, _]) => Some(vec![*n, columns]),
        Some(_) => return Err(call.mismatch("the data has neither one nor two axes")),
        None => None,
    };
    one(Some(DType::F32), shape)
}

/// `ImageDecoder`: bytes of a picture whose extents are known only when it is read.
pub(crate) fn picture(_: &Call<'_>) -> Inferred {
    one(Some(DType::U8), None)
}
