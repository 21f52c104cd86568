//! Classical models: `ai.onnx.ml`, and the optimizer steps of `ai.onnx.preview.training`.

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;

use crate::onnx::infer::Facts;
use crate::onnx::infer::call::{Call, one};
use crate::onnx::raw::RawAttribute;

type Inferred = Result<Vec<Facts>, Diagnostic>;

/// Entries of a list attribute, or elements of a tensor attribute; 0 where it is missing.
pub(crate) fn entries(call: &Call<'_>, name: &str) -> u64 {
    match call.node.attributes.get(name) {
        Some(RawAttribute::Ints(list)) => list.len() as u64,
        Some(RawAttribute::Floats(list)) => list.len() as u64,
        Some(RawAttribute::Texts(list)) => list.len() as u64,
        Some(RawAttribute::Tensor(tensor)) => tensor.n_elements,
        _ => 0,
    }
}

/// Rows and features of the data: one row where it has a single axis.
pub(crate) fn rows(call: &Call<'_>) -> Option<(u64, u64)> {
    match call.shape(0)? {
        [features] => Some((1, *features)),
        [rows, features] => Some((*rows, *features)),
        _ => None,
    }
}

/// Labels of a classifier: their type and number.
fn labels(call: &Call<'_>) -> (DType, u64) {
    let of = |names: [&str; 2]| names.iter().map(|name| entries(call, name)).max().unwrap_or(0);
    let texts = of(["classlabels_strings", ""]);
    let ints = of(["classlabels_ints", "classlabels_int64s"]);
    if texts > 0 { (DType::String, texts) } else { (DType::I64, ints) }
}

/// `LinearClassifier`, `SVMClassifier`, `TreeEnsembleClassifier`: the class and the scores of all.
pub(crate) fn classify(call: &Call<'_>) -> Inferred {
    let (dtype, n_classes) = labels(call);
    let rows = rows(call).map(|(rows, _)| rows);
    let scores = rows.filter(|_| n_classes > 0).map(|rows| vec![rows, n_classes]);
    let class = Facts::tensor(Some(dtype), rows.map(|rows| vec![rows]));
    Ok(vec![class, Facts::tensor(Some(DType::F32), scores)])
}

/// `LinearRegressor`, `SVMRegressor`, `TreeEnsembleRegressor`: a number per row and target.
pub(crate) fn regress(call: &Call<'_>) -> Inferred {
    let name = if call.node.op_type == "LinearRegressor" { "targets" } else { "n_targets" };
    let targets = call.positive(name, 1)?;
    one(Some(DType::F32), rows(call).map(|(rows, _)| vec![rows, targets]))
}

/// `TreeEnsemble`: the same in the type of the data.
pub(crate) fn trees(call: &Call<'_>) -> Inferred {
    let targets = call.positive("n_targets", 1)?;
    one(call.dtype(0), rows(call).map(|(rows, _)| vec![rows, targets]))
}

/// `Scaler`, `Normalizer`, `ZipMap`: floats in the shape of the data.
pub(crate) fn floats(call: &Call<'_>) -> Inferred {
    one(Some(DType::F32), call.shape(0).map(<[u64]>::to_vec))
}

/// `CategoryMapper`: strings to integers, or back.
pub(crate) fn map_categories(call: &Call<'_>) -> Inferred {
    let dtype = call.dtype(0).map(|dtype| match dtype {
        DType::String => DType::I64,
        _ => DType::String,
    });
    one(dtype, call.shape(0).map(<[u64]>::to_vec))
}

/// `LabelEncoder`: the type of the values that it maps to.
pub(crate) fn encode_labels(call: &Call<'_>) -> Inferred {
    let has = |name: &str| call.node.attributes.contains_key(name);
    let dtype = match call.tensor("values_tensor") {
        Some(tensor) => Some(tensor.dtype),
        None if has("values_floats") => Some(DType::F32),
        None if has("values_int64s") => Some(DType::I64),
        None if has("values_strings") => Some(DType::String),
        None => call.dtype(0).map(|dtype| match dtype {
            // Version 1 maps `classes_strings` to their positions and back.
            DType::String => DType::I64,
            _ => DType::String,
        }),
    };
    one(dtype, call.shape(0).map(<[u64]>::to_vec))
}

/// `OneHotEncoder`: a last axis of categories.
pub(crate) fn encode_one_hot(call: &Call<'_>) -> Inferred {
    let n = entries(call, "cats_int64s").max(entries(call, "cats_strings"));
    one(Some(DType::F32), call.shape(0).map(|shape| [shape, &[n]].concat()))
}

/// `ArrayFeatureExtractor`: these entries of the last axis.
pub(crate) fn extract(call: &Call<'_>) -> Inferred {
    let n = call.input(1).and_then(Facts::elements);
    let shape = match (call.shape(0), n) {
        (Some([_]), Some(n)) => Some(vec![1, n]),
        (Some([outer @ .., _]), Some(n)) => Some([outer, &[n]].concat()),
        _ => None,
    };
    one(call.dtype(0), shape)
}

/// `FeatureVectorizer`: rows side by side.
pub(crate) fn join_features(call: &Call<'_>) -> Inferred {
    let mut n_rows = 1;
    let mut columns = Some(0u64);
    for index in 0..call.inputs.len() {
        let (rows, features) = match call.shape(index) {
            Some([features]) => (1, *features),
            Some([rows, features]) => (*rows, *features),
            _ => return one(Some(DType::F32), None),
        };
        n_rows = rows.max(n_rows);
        columns = columns.and_then(|columns| columns.checked_add(features));
    }
    let columns = columns.ok_or_else(|| call.overflow())?;
    one(Some(DType::F32), Some(vec![n_rows, columns]))
}

/// `DictVectorizer`: a column per word; `CastMap`: a column per key up to `max_map`.
pub(crate) fn from_map(call: &Call<'_>) -> Inferred {
    let words = entries(call, "int64_vocabulary").max(entries(call, "string_vocabulary"));
    let columns = match call.node.op_type.as_str() {
        "DictVectorizer" => Some(words),
        _ => u64::try_from(call.int("max_map", 1)?).ok(),
    };
    let is_dense = call.node.op_type == "CastMap" && call.text("map_form", "DENSE") == "DENSE";
    one(None, columns.filter(|_| !is_dense).map(|columns| vec![1, columns]))
}

/// `Adam` (four tensors per parameter), `Adagrad`, `Momentum` (three): the parameters, then their
/// states; the gradients, which come second, stay away.
pub(crate) fn optimize(call: &Call<'_>) -> Inferred {
    let groups = if call.node.op_type == "Adam" { 4 } else { 3 };
    let n = call.inputs.len().saturating_sub(2) / groups;
    let inputs = (2..2 + n).chain(2 + 2 * n..2 + groups * n);
    Ok(inputs.map(|index| as_input(call, index)).collect())
}

/// `Gradient`: one for each of the first inputs.
pub(crate) fn gradients(call: &Call<'_>) -> Inferred {
    Ok((0..call.node.outputs.len()).map(|index| as_input(call, index)).collect())
}

/// A tensor like input `index`.
pub(crate) fn as_input(call: &Call<'_>, index: usize) -> Facts {
    Facts::tensor(call.dtype(index), call.shape(index).map(<[u64]>::to_vec))
}
