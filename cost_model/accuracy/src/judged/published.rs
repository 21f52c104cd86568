//! Mean errors that others state for models on the tables that are judged here.
//!
//! Their rows and splits are not ours: a figure is what another form reached on the whole table,
//! unless its source says otherwise.

use crate::line::Published;

const fn published(model: &'static str, percent: (f64, f64), source: &'static str) -> Published {
    Published { model, percent, source }
}

/// Source of the first four figures on products.
const GEMM_COMPARISON: &str = "comparison over all GPUs of the table";

/// Matrix products.
pub(super) const GEMM: [Published; 5] = [
    published("constant efficiency", (10.6, 28.0), GEMM_COMPARISON),
    published("whole waves", (15.0, 70.0), GEMM_COMPARISON),
    published("aiconfigurator's interpolation over m", (4.3, 7.2), "sites that are in its table"),
    published("aiconfigurator's interpolation", (5.1, 7.3), "sites that are not in its table"),
    published("split-k form and nearest residuals", (6.4, 6.6), GEMM_COMPARISON),
];

/// Attention, prefill.
pub(super) const PREFILL: [Published; 1] =
    [published("launch and p-norm", (6.6, 20.1), "in sample: A100 least, B200 most")];

/// Attention, decode.
pub(super) const DECODE: [Published; 1] =
    [published("launch and p-norm", (26.0, 33.0), "B200 26, median GPU 33")];

/// Mixture-of-experts layers.
pub(super) const MOE: [Published; 2] = [
    published("roofline", (61.0, 67.0), "A100 and H100"),
    published("mean load of a rank", (25.7, 31.6), "A100 least, H100 most"),
];

/// Collectives of NCCL inside a node: means of curves' medians.
pub(super) const NCCL: [Published; 3] = [
    published("a + n/B", (12.7, 12.7), "median of curves, in sample"),
    published("a + n/B + c sqrt n", (6.6, 6.6), "median of curves, in sample"),
    published("log-log interpolation", (4.9, 4.9), "each point left out"),
];

/// The custom all-reduce.
pub(super) const CUSTOM: [Published; 2] = [
    published("a + n/B", (11.6, 11.6), "in sample"),
    published("a + n/B + c sqrt n", (7.9, 7.9), "in sample"),
];

/// All-reduce from 1 MB on.
pub(super) const FROM_1_MB: [Published; 1] =
    [published("a + n/B", (3.3, 3.3), "vTrain's table, in sample")];

/// Collectives whose sizes carry no unit.
pub(super) const NO_UNIT: [Published; 1] =
    [published("any smooth form", (20.0, 20.0), "Vidur's table, in sample")];

/// Streams that overlap: Mist's comparison of models (its A100-40 and L4 tables).
pub(super) const OVERLAP: [(&str, [Published; 4]); 2] = [
    (
        "a100-sxm4-40gb",
        [
            published("Mist's pairwise slowdowns", (8.2, 8.2), MIST),
            published("longest alone", (15.9, 15.9), MIST),
            published("sum", (67.9, 67.9), MIST),
            published("longest and a share of the rest", (11.5, 11.5), MIST),
        ],
    ),
    (
        "l4",
        [
            published("Mist's pairwise slowdowns", (7.3, 7.3), MIST),
            published("longest alone", (47.7, 47.7), MIST),
            published("sum", (15.2, 15.2), MIST),
            published("longest and a share of the rest", (7.8, 7.8), MIST),
        ],
    ),
];
const MIST: &str = "comparison of overlap models";

/// Peak memory, taking the nearer kernel.
pub(super) const NEARER_KERNEL: [Published; 2] = [
    published("textbook formula", (15.0, 15.0), "same rows, nearer kernel"),
    published("kernel guessed from the test's name", (12.2, 12.2), "same rows"),
];

/// Peak memory, taking the larger kernel.
pub(super) const LARGER_KERNEL: [Published; 1] =
    [published("textbook formula", (39.0, 39.0), "same rows, larger kernel")];
