//! Constants fitted on all rows of each GPU of the tables of aiconfigurator at commit 095f58a5, on
//! 2026-11-20, by `cargo run --release -p accuracy --example published` (`docs/data.md` says
//! where the tables come from). The errors of these forms are in `docs/accuracy.md`.

use ir::measured::GpuFacts;

use crate::{kernels::attention, kernels::matrix_product, kernels::moe};

/// Where the fitted constants come from.
pub(super) const TABLES: &str = "aiconfigurator@095f58a5";

/// A GPU of the tables, with its data sheet's figures at the time of the fit.
pub(super) struct Gpu {
    /// Its name in sources.
    pub(super) name: &'static str,
    pub(super) facts: GpuFacts,
    /// Constants of matrix products, in the order of [`matrix_product::Constants`], times in
    /// microseconds.
    pub(super) products: [f64; matrix_product::N_CONSTANTS as usize],
    pub(super) prefill: Option<attention::Constants>,
    pub(super) decode: Option<attention::Constants>,
    pub(super) experts: Option<moe::Constants>,
}

const fn facts(
    bandwidth: f64,
    peak: f64,
    n: u32,
    cache: Option<f64>,
    clock: Option<f64>,
) -> GpuFacts {
    GpuFacts {
        memory_bandwidth: bandwidth,
        peak,
        n_multiprocessors: n,
        last_level_cache: cache,
        clock,
    }
}

/// The GPUs of the tables.
pub(super) static GPUS: [Gpu; 5] = [
    Gpu {
        name: "A100 SXM",
        facts: facts(2.039e12, 3.12e14, 108, Some(41_943_040.0), Some(1.41e9)),
        products: [
            2.3020, 0.8519, 0.8966, 2.3699, 174.1043, 0.7137, 1.5582, 0.8869, 0.1660, 1.0000,
            0.0184,
        ],
        prefill: Some([
            11.9172, 0.4888, 0.3655, 1.0000, 1.2000, 1.1000, 1.9014, 0.9283, 0.0000, 0.1121, 1.0000,
        ]),
        decode: Some([
            9.4157, 1.1289, 2.1064, 1.6291, 5.3350, 1.9320, 2.2158, 0.5000, 0.1867, 2.4140, 0.1250,
        ]),
        experts: Some([
            33.1832, 0.5676, 0.8532, 1.2030, 1.2561, 0.1336, 127.7744, 0.1609, 5.0299, 1.0000,
        ]),
    },
    Gpu {
        name: "H100 SXM",
        facts: facts(3.35e12, 9.894e14, 132, Some(52_428_800.0), Some(1.83e9)),
        products: [
            2.5378, 0.8190, 0.8127, 3.2530, 101.3262, 0.0279, 2.7143, 0.5365, 0.0000, 1.0058,
            0.1107,
        ],
        prefill: Some([
            14.2604, 0.5898, 0.4113, 1.0748, 1.2775, 0.9867, 2.7864, 0.9119, 0.4084, 0.2039, 1.0000,
        ]),
        decode: Some([
            6.4665, 0.8538, 2.1032, 2.3371, 4.1459, 1.4270, 1.5044, 0.2758, 0.3941, 1.6612, 0.0950,
        ]),
        experts: Some([
            31.9458, 0.9888, 0.9665, 1.1395, 1.3367, 0.2699, 473.9935, 0.0105, 13.7394, 0.0339,
        ]),
    },
    Gpu {
        name: "B200",
        facts: facts(8e12, 2.25e15, 148, None, None),
        products: [
            2.0600, 0.6596, 0.7407, 2.4448, 32.0274, 0.4061, 2.9016, 0.0030, 0.0000, 1.5000, 0.2571,
        ],
        prefill: Some([
            13.6620, 0.5604, 0.2886, 1.0000, 1.6260, 0.9161, 3.0049, 0.8324, 0.0000, 0.1269, 1.0000,
        ]),
        decode: Some([
            9.6625, 0.9046, 3.2147, 0.8449, 1.3934, 1.7822, 0.5396, 0.4988, 0.3937, 6.0000, 0.0873,
        ]),
        experts: None,
    },
    Gpu {
        name: "GB200",
        facts: facts(8e12, 2.5e15, 152, None, None),
        products: [
            2.1051, 0.6306, 0.7622, 2.5518, 0.0049, 0.3749, 2.7841, 0.0044, 0.0000, 1.5000, 0.2638,
        ],
        prefill: None,
        decode: None,
        experts: None,
    },
    Gpu {
        name: "RTX PRO 6000",
        facts: facts(1.597e12, 5.038e14, 188, Some(134_217_728.0), Some(2.6e9)),
        products: [
            1.4298, 0.8180, 0.8973, 6.0000, 127.6445, 0.2596, 0.1969, 0.7332, 0.2243, 1.3431,
            0.3806,
        ],
        prefill: None,
        decode: None,
        experts: None,
    },
];
