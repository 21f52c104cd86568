//! Operators that move, make or pick elements.

use crate::onnx::infer::{bounds, creation, elementwise, fold, indexing, layout, resize, sequence};
use crate::onnx::rules::rule::Rule;
use crate::onnx::rules::traffic::{self, creates, picks, streams};

/// The rows.
pub(super) static ROWS: &[Rule] = &[
    Rule::view("Identity", elementwise::same).folds(fold::unchanged),
    Rule::view("Reshape", layout::reshape).folds(fold::unchanged).steered_by(&[1]),
    Rule::view("BitCast", elementwise::cast),
    Rule::view("Flatten", layout::flatten).folds(fold::unchanged),
    Rule::view("Squeeze", layout::squeeze).folds(fold::unchanged).steered_by(&[1]),
    Rule::view("Unsqueeze", layout::unsqueeze).folds(fold::unchanged).steered_by(&[1]),
    Rule::new("Dropout", elementwise::dropout, traffic::dropout).steered_by(&[1, 2]),
    Rule::new("Transpose", layout::transpose, traffic::transpose).folds(fold::transpose),
    Rule::new("Expand", layout::expand, streams).folds(fold::expand).steered_by(&[1]),
    Rule::new("Tile", layout::tile, streams).steered_by(&[1]),
    Rule::new("Concat", layout::concat, streams).folds(fold::concat),
    Rule::new("Split", indexing::split, streams).folds(fold::split).steered_by(&[1]),
    Rule::new("Slice", indexing::slice, picks).folds(fold::slice).steered_by(&[1, 2, 3, 4]),
    Rule::new("Pad", layout::pad, streams).steered_by(&[1, 2, 3]),
    Rule::new("DepthToSpace", layout::depth_to_space, streams),
    Rule::new("SpaceToDepth", layout::space_to_depth, streams),
    Rule::new("Gather", indexing::gather, picks).folds(fold::gather),
    Rule::new("GatherElements", indexing::gather_elements, picks),
    Rule::new("GatherND", indexing::gather_nd, picks),
    Rule::new(
        "Scatter ScatterElements ScatterND TensorScatter",
        indexing::scatter,
        traffic::scatters,
    ),
    Rule::new("TopK", indexing::top_k, streams).steered_by(&[1]),
    Rule::new("OneHot", indexing::one_hot, streams).folds(fold::one_hot).steered_by(&[1, 2]),
    Rule::new("Trilu", indexing::checked_axes, streams).steered_by(&[1]),
    Rule::new("ReverseSequence", indexing::checked_axes, streams),
    Rule::new("NonZero", bounds::non_zero, streams),
    Rule::new("Unique", bounds::unique, streams),
    Rule::new("Compress", bounds::compress, streams),
    Rule::new("NonMaxSuppression", bounds::suppression, streams).steered_by(&[2, 3, 4]),
    Rule::new("Resize", resize::resize, streams).steered_by(&[1, 2, 3]),
    Rule::new("Upsample", resize::upsample, streams).steered_by(&[1]),
    Rule::new("GridSample", resize::grid_sample, streams),
    Rule::new("RoiAlign", resize::roi_align, streams),
    Rule::new("MaxRoiPool", resize::roi_pool, streams),
    Rule::new("Constant", creation::constant, streams).folds(fold::given),
    Rule::new("Shape", creation::shape, streams).folds(fold::shape),
    Rule::new("Size", creation::size, streams).folds(fold::size),
    Rule::new("Range", creation::range, streams).folds(fold::range).steered_by(&[0, 1, 2]),
    Rule::new("ConstantOfShape", creation::constant_of_shape, streams)
        .folds(fold::constant_of_shape)
        .steered_by(&[0]),
    Rule::new("EyeLike RandomNormalLike RandomUniformLike", creation::like, creates),
    Rule::new("RandomNormal RandomUniform", creation::random, creates),
    Rule::new(
        "SequenceConstruct SequenceEmpty SequenceInsert SequenceErase SplitToSequence",
        sequence::sequence,
        traffic::references,
    ),
    Rule::view("SequenceAt", sequence::unknown).steered_by(&[1]),
    Rule::new("ConcatFromSequence", sequence::unknown, streams),
    Rule::new("SequenceLength", sequence::length, traffic::references),
];
