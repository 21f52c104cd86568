//! Calibration on samples whose law is known.

use ir::form::Form;
use ir::measured::{CollectiveOperation, CollectiveRow, GpuFacts, ProductRow, TransferRow};
use ir::profile::SizeLaw;
use ir::tensor::DType;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::kernels::matrix_product::{Constants, Shape};

const FACTS: GpuFacts = GpuFacts {
    memory_bandwidth: 2e12,
    peak: 3e14,
    n_multiprocessors: 108,
    last_level_cache: Some(4e7),
    clock: None,
};

fn context() -> Context {
    Context {
        facts: BTreeMap::from([("box".to_owned(), FACTS)]),
        base: Profile { name: "test".to_owned(), ..Profile::default() },
        source: "test".to_owned(),
        date: "2026-01-02".to_owned(),
    }
}

/// Times by the form of eleven constants, off by up to 2 %.
fn products(constants: &Constants, n: usize, least: u64) -> Vec<ProductRow> {
    let mut random = SmallRng::seed_from_u64(3);
    (0..n)
        .map(|i| {
            let [m, n, k] = [0; 3].map(|_: i32| least << random.random_range(0..9));
            let time_s = constants.seconds(&FACTS, Shape { m, n, k });
            let time_s = time_s * (1.0 + 0.01 * (i % 5) as f64 - 0.02);
            ProductRow { device: "box".to_owned(), dtype: DType::Bf16, m, n, k, time_s }
        })
        .collect()
}

fn truth() -> Constants {
    Constants::from_figures(&[4.0, 0.6, 0.9, 1.8, 100.0, 0.2, 3.0, 0.3, 1.0, 2.0, 0.2])
}

fn transfers(n: u32, time: impl Fn(f64) -> f64) -> Measurements {
    let row = |power: u32| TransferRow {
        link: "net".to_owned(),
        bytes: 1 << power,
        time_s: time(f64::from(1 << power)),
    };
    Measurements { transfers: (10..10 + n).map(row).collect(), ..Measurements::default() }
}

#[test]
fn the_constants_of_products_are_found() {
    let rows = Measurements { products: products(&truth(), 400, 32), ..Measurements::default() };
    let calibration = calibrate(&rows, &context()).unwrap();
    let profile = &calibration.profile;
    let found = &profile.forms["box"][&Form::MatrixProduct];
    assert!((found.values[0] / 4e-6 - 1.0).abs() < 0.1, "{:?}", found.values);
    assert!((found.values[1] / 0.6 - 1.0).abs() < 0.05, "{:?}", found.values);
    let quality = &profile.quality["matrix-product box"];
    assert!(quality.r_squared > 0.999 && quality.median_error < 0.03, "{quality:?}");
    assert_eq!(quality.n_samples, 400);
    assert_eq!(profile.facts["box"], FACTS);
    let plain = &profile.kinds["box"];
    assert!((plain.launch.get() / 4e-6 - 1.0).abs() < 0.3, "{plain:?}");
    assert_eq!(profile.by_dtype["box"][&DType::Bf16], *plain);
    assert_eq!(calibrate(&rows, &context()).unwrap().profile, *profile);
}

#[test]
fn large_products_alone_do_not_tell_the_launch() {
    let rows = Measurements { products: products(&truth(), 200, 4096), ..Measurements::default() };
    let calibration = calibrate(&rows, &context()).unwrap();
    let quality = &calibration.profile.quality["matrix-product box"];
    assert!(quality.unidentified.iter().any(|name| name == "launch_s"), "{quality:?}");
    let launch = calibration.profile.forms["box"][&Form::MatrixProduct].values[0];
    assert!((launch - 2.5e-6).abs() < 1e-12, "nominal, not {launch}");
    let mut with_base = context();
    with_base.base = calibration.profile.clone();
    let forms = with_base.base.forms.get_mut("box").unwrap();
    forms.get_mut(&Form::MatrixProduct).unwrap().values[0] = 3.5e-6;
    let again = calibrate(&rows, &with_base).unwrap();
    let launch = again.profile.forms["box"][&Form::MatrixProduct].values[0];
    assert!((launch - 3.5e-6).abs() < 1e-12, "the base's, not {launch}");
}

#[test]
fn few_products_leave_most_constants_nominal() {
    let rows = Measurements { products: products(&truth(), 8, 32), ..Measurements::default() };
    let calibration = calibrate(&rows, &context()).unwrap();
    let quality = &calibration.profile.quality["matrix-product box"];
    assert!(quality.unidentified.len() >= 7, "{quality:?}");
    let rows = Measurements { products: products(&truth(), 5, 32), ..Measurements::default() };
    assert_eq!(calibrate(&rows, &context()).unwrap_err().code, "nothing-calibrated");
}

#[test]
fn a_line_is_a_line_and_a_kink_a_table() {
    let line = calibrate(&transfers(16, |n| 2e-5 + n / 1e10), &context()).unwrap();
    let link = &line.profile.links["net"];
    assert!((link.latency.get() / 2e-5 - 1.0).abs() < 0.01, "{link:?}");
    assert!((link.bandwidth.get() / 1e10 - 1.0).abs() < 0.01 && link.table.is_empty());
    let kink = |n: f64| if n < 3e5 { 1e-6 } else { 1e-3 + n / 1e10 };
    let kinked = calibrate(&transfers(16, kink), &context()).unwrap();
    assert_eq!(kinked.profile.links["net"].table.len(), 16);
    assert!(kinked.parts[0].quality.r_squared < 0.99);
    assert!(kinked.parts[0].refused.as_ref().is_some_and(|why| why.contains("r^2")));
}

#[test]
fn small_transfers_alone_do_not_tell_the_rate() {
    let small = calibrate(&transfers(6, |n| 2e-5 + n / 1e12), &context()).unwrap();
    let part = &small.parts[0];
    assert_eq!(part.quality.unidentified, ["rate"]);
    assert!(part.refused.as_ref().is_some_and(|why| why.contains("rate")), "{part:?}");
    let large = transfers(16, |n| 1e-9 + n / 1e8);
    let large = calibrate(&large, &context()).unwrap();
    assert_eq!(large.parts[0].quality.unidentified, ["start-up"]);
    assert_eq!(large.profile.links["net"].latency.get(), 0.0);
}

#[test]
fn collectives_stand_apart_by_group_and_library() {
    let row = |ranks: u64, power: u32| {
        let n = f64::from(1 << power);
        CollectiveRow {
            system: "box".to_owned(),
            library: "x".to_owned(),
            operation: CollectiveOperation::AllReduce,
            ranks,
            ranks_per_node: ranks,
            bytes: 1 << power,
            time_s: 1e-5 * ranks as f64 + n / 1e11 + 1e-8 * n.sqrt(),
        }
    };
    let collectives = [2, 8].iter().flat_map(|r| (10..28).map(move |p| row(*r, p))).collect();
    let rows = Measurements { collectives, ..Measurements::default() };
    let calibration = calibrate(&rows, &context()).unwrap();
    let of_kind = &calibration.profile.collectives["box"];
    assert_eq!(of_kind.len(), 2);
    for (key, constants) in of_kind {
        let SizeLaw::Curve { start_up, bandwidth, per_root_s } = &constants.law else {
            panic!("{constants:?}");
        };
        assert!((start_up.get() / (1e-5 * key.ranks as f64) - 1.0).abs() < 0.02, "{constants:?}");
        assert!((bandwidth.get() / 1e11 - 1.0).abs() < 0.02, "{constants:?}");
        assert!((per_root_s / 1e-8 - 1.0).abs() < 0.1, "{constants:?}");
    }
}

#[test]
fn a_kind_without_a_data_sheet_gets_the_few_constants() {
    let mut rows = products(&truth(), 100, 32);
    rows.iter_mut().for_each(|row| row.device = "unknown".to_owned());
    let rows = Measurements { products: rows, ..Measurements::default() };
    let calibration = calibrate(&rows, &context()).unwrap();
    assert!(calibration.profile.kinds.contains_key("unknown"));
    assert!(calibration.profile.forms.is_empty() && calibration.profile.facts.is_empty());
    assert_eq!(calibration.warnings[0].code, "no-data-sheet");
}
