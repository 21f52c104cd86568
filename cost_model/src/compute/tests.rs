#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::collections::BTreeMap;

use ir::cluster::Check;
use ir::units::{Bytes, BytesPerSecond};

use super::*;
use crate::constants::nominal;

fn a100() -> DeviceKind {
    let rates = [(DType::F32, 1.95e13), (DType::F16, 3.12e14), (DType::Bf16, 3.12e14)];
    DeviceKind {
        name: "a100_sxm4_80gb".to_owned(),
        memory: Some(Bytes(85_899_345_920)),
        memory_bandwidth: BytesPerSecond::new(2.039e12),
        peak: rates.into_iter().map(|(d, r)| (d, FlopsPerSecond::new(r).unwrap())).collect(),
        n_multiprocessors: Some(108),
        source: String::new(),
        check: Check::Given,
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

#[test]
fn a_gemm_by_hand() {
    // 4096^3 on an A100. 256 x 128: 16 x 32 = 512 tiles over 108 = 4.7407 waves, mean with the
    // ceiling 4.8704, penalty 1 + .64 (.5 - 1) / 4 = 0.92:
    // 4.8704 x 108 x 32768 x 2 x 4199 / (3.12e14 x .82) x .92 = 520.5 us.
    // Split-k: 2 x 4096^3 / 2.5584e14 + 4.1 us = 541.3 us. Memory: 100.66 MB / 1.52925e12 = 65.8 us.
    // (520.5^1.68 + 65.8^1.68)^(1/1.68) = 530.0 us, and 2.55 us of launch.
    let got = explain(&gemm(4096, 4096, 4096), &a100(), &nominal("a100_sxm4_80gb")).unwrap();
    assert!((got.compute_ns / 1e3 - 520.5).abs() < 0.5, "{got:?}");
    assert!((got.memory_ns / 1e3 - 65.8).abs() < 0.1, "{got:?}");
    assert!((got.total.as_f64() / 1e3 - 532.0).abs() < 2.0, "{got:?}");
    assert_eq!(got.rate_of, Some(DType::Bf16));
}

#[test]
fn a_small_gemm_takes_the_split_k_escape() {
    // One 64 x 64 tile: 108 x 4096 x 2 x (8192 + 103) / 2.5584e14 x (1 + .64 x 3 / 4) = 42.5 us;
    // split-k: 2 x 64 x 64 x 8192 / 2.5584e14 + 4.1 us = 4.362 us.
    let got = explain(&gemm(64, 8192, 64), &a100(), &nominal("a100_sxm4_80gb")).unwrap();
    assert!((got.compute_ns - 4_362.3).abs() < 1.0, "{got:?}");
}

#[test]
fn without_tile_constants_the_form_is_plain() {
    // 2^30 FLOP over 1.95e13 x .78: 70,594.5 ns; 12 bytes per 2^20 elements x 4 at 2.039e12 x .77.
    let mut kernel = gemm(1024, 512, 1024);
    kernel.dtype = Some(DType::F32);
    kernel.bytes_written = Bytes::ZERO;
    kernel.bytes_read = Bytes(1_570_030);
    let got = explain(&kernel, &a100(), &nominal("other")).unwrap();
    assert!((got.compute_ns - 70_594.47).abs() < 0.1, "{got:?}");
    assert!((got.memory_ns - 1_000.0).abs() < 0.1, "{got:?}");
    assert!(got.total.as_f64() > 73_194.0 && got.total.as_f64() < 73_200.0);
}

#[test]
fn ops_without_products_pay_launch_and_bytes() {
    // 1,570,030 bytes take 1 us at 0.77 of 2.039e12; the launch is 2.6 us.
    let kernel = Kernel { bytes_read: Bytes(1_570_030), ..Kernel::default() };
    assert_eq!(duration(&kernel, &a100(), &nominal("other")), Ok(Nanos(3_600)));
    assert_eq!(duration(&Kernel::default(), &a100(), &nominal("other")), Ok(Nanos(0)));
}

#[test]
fn missing_figures_are_named_and_types_stand_in() {
    let mut kind = a100();
    let constants = nominal("other");
    let mut kernel = gemm(8, 8, 8);
    kernel.dtype = Some(DType::F8);
    assert_eq!(explain(&kernel, &kind, &constants).unwrap().rate_of, Some(DType::Bf16));
    kind.peak.remove(&DType::Bf16);
    assert_eq!(explain(&kernel, &kind, &constants).unwrap().rate_of, Some(DType::F16));
    kernel.dtype = Some(DType::F64);
    assert_eq!(duration(&kernel, &kind, &constants), Err(Missing::Peak(DType::F64)));
    kind.peak = BTreeMap::new();
    kernel.dtype = Some(DType::Bf16);
    assert_eq!(duration(&kernel, &kind, &constants), Err(Missing::Peak(DType::Bf16)));
    kind.memory_bandwidth = None;
    assert_eq!(duration(&kernel, &kind, &constants), Err(Missing::MemoryBandwidth));
}

#[test]
fn more_work_never_takes_less_time() {
    let (kind, constants) = (a100(), nominal("a100_sxm4_80gb"));
    let mut last = 0;
    for m in [1, 16, 64, 65, 128, 512, 1000, 4096, 10_000] {
        let time = duration(&gemm(m, 1024, 1024), &kind, &constants).unwrap().get();
        assert!(time >= last, "m = {m}");
        last = time;
    }
    let huge = Kernel {
        products: vec![Product { count: u64::MAX, m: u64::MAX, k: u64::MAX, n: u64::MAX }],
        dtype: Some(DType::Bf16),
        ..Kernel::default()
    };
    assert_eq!(duration(&huge, &kind, &constants), Ok(Nanos::MAX));
}
