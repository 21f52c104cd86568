//! Signals, geometry, strings, classical models and optimizer steps: what stands around networks.

use crate::onnx::infer::{elementwise, learned, sequence, signal, text, window};
use crate::onnx::rules::rule::Rule;
use crate::onnx::rules::traffic::{self, creates, picks, streams};
use crate::onnx::rules::{contraction as work, learned as learn};

/// The rows.
pub(super) static ROWS: &[Rule] = &[
    Rule::new("HannWindow HammingWindow BlackmanWindow", signal::window, creates).steered_by(&[0]),
    Rule::new("MelWeightMatrix", signal::mel_weights, creates).steered_by(&[0, 1, 2, 3, 4]),
    Rule::new("DFT", signal::dft, streams).steered_by(&[1, 2]),
    Rule::new("STFT", signal::stft, streams).steered_by(&[1, 3]),
    Rule::new("com.microsoft::Rfft", signal::real_fft, streams),
    Rule::new("com.microsoft::Irfft", signal::inverse_real_fft, streams),
    Rule::new("com.microsoft::ComplexMul", elementwise::arithmetic, streams),
    Rule::new("com.microsoft::ComplexMulConj", elementwise::arithmetic, streams),
    Rule::new("AffineGrid", signal::affine_grid, work::affine_grid).steered_by(&[1]),
    Rule::new("CenterCropPad", signal::center_crop_pad, picks).steered_by(&[1]),
    Rule::new("Col2Im", signal::columns_to_image, streams).steered_by(&[1, 2]),
    Rule::new("com.microsoft::UnfoldTensor", signal::unfold, streams),
    Rule::new("Det", signal::determinant, streams),
    Rule::new("com.microsoft::Inverse", elementwise::same, streams),
    Rule::new("Multinomial", signal::multinomial, streams),
    Rule::new("DeformConv", window::conv, work::conv),
    Rule::new("MaxUnpool", window::unpool, streams).steered_by(&[2]),
    Rule::new("Optional", sequence::optional, traffic::handed_on),
    Rule::view("OptionalGetElement", elementwise::same),
    Rule::new("OptionalHasElement", sequence::has_element, traffic::references),
    Rule::new("RegexFullMatch", elementwise::test, streams),
    Rule::new("StringConcat", elementwise::arithmetic, streams),
    Rule::new("StringNormalizer", text::normalize, streams),
    Rule::new("StringSplit", text::split, streams),
    Rule::new("TfIdfVectorizer", text::count_ngrams, learn::table),
    Rule::new("ImageDecoder", text::picture, streams),
    Rule::new("ai.onnx.ml::Binarizer ai.onnx.ml::Imputer", elementwise::same, learn::table),
    Rule::new(
        "ai.onnx.ml::Scaler ai.onnx.ml::Normalizer ai.onnx.ml::ZipMap",
        learned::floats,
        learn::table,
    ),
    Rule::new("ai.onnx.ml::LinearClassifier", learned::classify, learn::linear),
    Rule::new("ai.onnx.ml::LinearRegressor", learned::regress, learn::linear),
    Rule::new("ai.onnx.ml::SVMClassifier", learned::classify, learn::support_vectors),
    Rule::new("ai.onnx.ml::SVMRegressor", learned::regress, learn::support_vectors),
    Rule::new("ai.onnx.ml::TreeEnsembleClassifier", learned::classify, learn::table),
    Rule::new("ai.onnx.ml::TreeEnsembleRegressor", learned::regress, learn::table),
    Rule::new("ai.onnx.ml::TreeEnsemble", learned::trees, learn::table),
    Rule::new("ai.onnx.ml::CategoryMapper", learned::map_categories, learn::table),
    Rule::new("ai.onnx.ml::LabelEncoder", learned::encode_labels, learn::table),
    Rule::new("ai.onnx.ml::OneHotEncoder", learned::encode_one_hot, learn::table),
    Rule::new("ai.onnx.ml::ArrayFeatureExtractor", learned::extract, picks),
    Rule::new("ai.onnx.ml::FeatureVectorizer", learned::join_features, streams),
    Rule::new("ai.onnx.ml::DictVectorizer ai.onnx.ml::CastMap", learned::from_map, learn::table),
    Rule::new(
        "ai.onnx.preview.training::Adam ai.onnx.preview.training::Adagrad \
         ai.onnx.preview.training::Momentum",
        learned::optimize,
        streams,
    ),
    Rule::new("ai.onnx.preview.training::Gradient", learned::gradients, streams),
];
