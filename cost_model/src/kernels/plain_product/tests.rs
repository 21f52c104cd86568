use std::collections::BTreeMap;

use ir::cluster::Check;
use ir::profile::Provenance;
use ir::units::{Bytes, BytesPerSecond, Seconds};

use super::*;

/// A100 80GB as in its data sheet.
const FACTS: GpuFacts = GpuFacts {
    memory_bandwidth: 2.039e12,
    peak: 3.12e14,
    n_multiprocessors: 108,
    last_level_cache: None,
    clock: None,
};

/// The tile form fitted on the A100 table (cost-model notes: 9.4 % mean error).
fn tiled() -> KernelConstants {
    KernelConstants {
        launch: Seconds::new(2.55e-6).unwrap(),
        compute_efficiency: 0.82,
        memory_efficiency: 0.75,
        p_norm: 1.68,
        tile: Some(TileConstants {
            k0: 103.0,
            small_tile_penalty: 0.64,
            split_k: Seconds::new(4.1e-6).unwrap(),
        }),
        provenance: Provenance::Nominal { source: String::new() },
    }
}

fn gemm(m: u64, k: u64, n: u64) -> Kernel {
    Kernel {
        products: vec![Product { count: 1, m, k, n }],
        bytes_read: Bytes(2 * (m * k + k * n)),
        bytes_written: Bytes(2 * m * n),
        dtype: Some(DType::Bf16),
        ..Kernel::default()
    }
}

fn of(kernel: &Kernel, constants: &KernelConstants) -> (f64, f64) {
    let bytes = (kernel.bytes_read + kernel.bytes_written).as_f64();
    let (compute, memory) = parts(kernel, bytes, &FACTS, constants);
    (compute * 1e9, memory * 1e9)
}

#[test]
fn a_gemm_by_hand() {
    // 4096^3 on an A100. 256 x 128: 16 x 32 = 512 tiles over 108 = 4.7407 waves, mean with the
    // ceiling 4.8704, penalty 1 + .64 (.5 - 1) / 4 = 0.92:
    // 4.8704 x 108 x 32768 x 2 x 4199 / (3.12e14 x .82) x .92 = 520.5 us.
    // Split-k: 2 x 4096^3 / 2.5584e14 + 4.1 us = 541.3 us. Memory: 100.66 MB / 1.52925e12 = 65.8 us.
    let (compute, memory) = of(&gemm(4096, 4096, 4096), &tiled());
    assert!((compute / 1e3 - 520.5).abs() < 0.5, "{compute}");
    assert!((memory / 1e3 - 65.8).abs() < 0.1, "{memory}");
}

#[test]
fn a_small_gemm_takes_the_split_k_escape() {
    // One 64 x 64 tile: 108 x 4096 x 2 x (8192 + 103) / 2.5584e14 x (1 + .64 x 3 / 4) = 42.5 us;
    // split-k: 2 x 64 x 64 x 8192 / 2.5584e14 + 4.1 us = 4.362 us.
    let (compute, _) = of(&gemm(64, 8192, 64), &tiled());
    assert!((compute - 4_362.3).abs() < 1.0, "{compute}");
}

#[test]
fn without_tile_constants_the_form_is_plain() {
    // 2^30 FLOP over 3.12e14 x .82; 1,529,250 bytes at 2.039e12 x .75 take 1 us.
    let mut kernel = gemm(1024, 512, 1024);
    kernel.bytes_written = Bytes::ZERO;
    kernel.bytes_read = Bytes(1_529_250);
    let (compute, memory) = of(&kernel, &KernelConstants { tile: None, ..tiled() });
    assert!((compute - 4_196.926).abs() < 0.01, "{compute}");
    assert!((memory - 1_000.0).abs() < 0.01, "{memory}");
}

#[test]
fn types_stand_in_for_narrower_ones() {
    let rates = [(DType::F32, 1.95e13), (DType::F16, 3.12e14), (DType::Bf16, 3.12e14)];
    let rate = |(dtype, rate)| (dtype, FlopsPerSecond::new(rate).unwrap());
    let mut kind = DeviceKind {
        name: "a".to_owned(),
        memory: None,
        memory_bandwidth: BytesPerSecond::new(2e12),
        peak: rates.into_iter().map(rate).collect(),
        n_multiprocessors: Some(108),
        last_level_cache: None,
        clock: None,
        power: None,
        source: String::new(),
        check: Check::Given,
        ..DeviceKind::default()
    };
    let of = |kind: &DeviceKind, dtype| peak(kind, dtype).map(|(stand_in, _)| stand_in);
    assert_eq!(of(&kind, DType::F8), Some(DType::Bf16));
    kind.peak.remove(&DType::Bf16);
    assert_eq!(of(&kind, DType::F8), Some(DType::F16));
    assert_eq!(of(&kind, DType::F64), None);
    kind.peak = BTreeMap::new();
    assert_eq!(of(&kind, DType::Bf16), None);
}

#[test]
fn more_work_never_takes_less_time() {
    let mut last = 0.0;
    for m in [1, 16, 64, 65, 128, 512, 1000, 4096, 10_000] {
        let (compute, memory) = of(&gemm(m, 1024, 1024), &tiled());
        assert!(compute + memory >= last, "m = {m}");
        last = compute + memory;
    }
}
