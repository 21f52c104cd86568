use super::*;

const FACTS: GpuFacts = GpuFacts {
    memory_bandwidth: 2e12,
    peak: 3e14,
    n_multiprocessors: 100,
    last_level_cache: Some(4e7),
    clock: Some(1.4e9),
};

const TRUTH: Constants = Constants {
    launch: 2e-6,
    compute_efficiency: 0.8,
    memory_efficiency: 0.7,
    p_norm: 2.0,
    k0: 60.0,
    small_tile_penalty: 0.3,
    split_k: 2e-6,
    whole_waves: 0.6,
    split_step: 0.3e-6,
    cache_gain: 1.2,
    narrow_gain: 0.2,
};

fn rows() -> Vec<GemmRow> {
    let mut rows = Vec::new();
    for m in [1, 16, 256, 4096] {
        for n in [64, 512, 3072, 8192] {
            for k in [128, 1024, 8192, 65536] {
                let time_s = TRUTH.seconds(&FACTS, Shape { m, n, k });
                rows.push(GemmRow { gpu: "a".to_owned(), m, n, k, time_s });
            }
        }
    }
    rows
}

#[test]
fn a_large_product_runs_near_the_reachable_rate() {
    let shape = Shape { m: 25_600, n: 12_800, k: 65_536 };
    let ideal = 2.0 * 25_600.0 * 12_800.0 * 65_536.0 / (3e14 * 0.8);
    let time = TRUTH.seconds(&FACTS, shape);
    assert!((0.95 * ideal..1.05 * ideal).contains(&time), "{time} {ideal}");
}

#[test]
fn a_tiny_product_takes_little_more_than_the_launch() {
    let time = TRUTH.seconds(&FACTS, Shape { m: 1, n: 32, k: 32 });
    assert!(time > 2e-6 && time < 3e-6, "{time}");
}

#[test]
fn without_splits_and_extras_it_is_the_form_of_the_planner() {
    use ir::op::{Kernel, Product};
    use ir::profile::{KernelConstants, Provenance, TileConstants};
    use ir::units::Seconds;
    let ours = Constants {
        split_k: f64::INFINITY,
        whole_waves: 0.5,
        cache_gain: 1.0,
        narrow_gain: 0.0,
        ..TRUTH
    };
    let theirs = KernelConstants {
        launch: Seconds::new(TRUTH.launch).unwrap_or_default(),
        compute_efficiency: TRUTH.compute_efficiency,
        memory_efficiency: TRUTH.memory_efficiency,
        p_norm: TRUTH.p_norm,
        tile: Some(TileConstants {
            k0: TRUTH.k0,
            small_tile_penalty: TRUTH.small_tile_penalty,
            split_k: Seconds::new(1.0).unwrap_or_default(),
        }),
        provenance: Provenance::Nominal { source: String::new() },
    };
    for (m, n, k) in [(1, 64, 512), (4096, 4096, 4096), (300, 7168, 51_200)] {
        let products = vec![Product { count: 1, m, k, n }];
        let kernel = Kernel { products, ..Kernel::default() };
        let bytes = 2.0 * (m * k + k * n + m * n) as f64;
        let (compute, memory) =
            crate::kernels::plain_product::parts(&kernel, bytes, &FACTS, &theirs);
        let planner = TRUTH.launch + crate::numeric::p_norm::joined(compute, memory, TRUTH.p_norm);
        let here = ours.seconds(&FACTS, Shape { m, n, k });
        assert!((planner / here - 1.0).abs() < 1e-12, "{m} {n} {k}");
    }
}

#[test]
fn kernels_of_several_products_add_up_and_of_none_move_memory() {
    let product = |count| Product { count, m: 512, k: 512, n: 512 };
    let bytes = 1e6;
    let once = TRUTH.parts(&FACTS, &[product(4)], bytes, Units::Tensor);
    let twice = TRUTH.parts(&FACTS, &[product(4), product(4)], bytes, Units::Tensor);
    assert!((twice.compute_s / once.compute_s - 2.0).abs() < 1e-12);
    assert!(TRUTH.parts(&FACTS, &[product(8)], bytes, Units::Tensor).compute_s > once.compute_s);
    assert_eq!(TRUTH.parts(&FACTS, &[product(0)], bytes, Units::Tensor).compute_s, 0.0);
    let none = TRUTH.parts(&FACTS, &[], bytes, Units::Tensor);
    assert_eq!((none.compute_s, none.tiling), (0.0, None));
    assert!(none.seconds(TRUTH.p_norm) > TRUTH.launch);
}

#[test]
fn a_fit_recovers_the_times() {
    let rows = rows();
    let model = Model::fit(FACTS, &rows);
    for row in &rows {
        let predicted = model.closed().predict(row.into()).seconds;
        assert!((predicted / row.time_s - 1.0).abs() < 0.05, "{row:?} {predicted}");
        let seen = model.predict(row.into());
        assert_eq!(seen.origin, Origin::Measured);
        assert!((seen.seconds / row.time_s - 1.0).abs() < 0.01);
    }
    assert_eq!(model.predict(Shape { m: 3, n: 5, k: 7 }).origin, Origin::Interpolated);
}

fn model(facts: GpuFacts, launch: f64) -> Model {
    let constants = Constants { launch, ..TRUTH };
    Model { facts, constants, residual: Residual::new([], NEAREST), fitted_here: true }
}

#[test]
fn a_sibling_lends_its_constants_else_the_median_family_does() {
    let near = model(GpuFacts { peak: 3.2e14, ..FACTS }, 2e-6);
    let far = model(GpuFacts { peak: 9e14, clock: None, ..FACTS }, 4e-6);
    let furthest = model(GpuFacts { peak: 30e14, clock: Some(2.8e9), ..FACTS }, 3e-6);
    let unseen = Model::unseen(FACTS, &[&far, &near]);
    assert_eq!(unseen.as_ref().map(|model| model.constants.launch), Some(2e-6));
    let origin = unseen.map(|model| model.predict(Shape { m: 1, n: 1, k: 1 }).origin);
    assert_eq!(origin, Some(Origin::Sibling));
    // Families at 4 us (clock unknown) and 3 us at twice our clock, 6 us here: 5 us.
    let unseen = Model::unseen(FACTS, &[&far, &furthest]);
    assert!(unseen.is_some_and(|model| (model.constants.launch - 5e-6).abs() < 1e-12));
    assert_eq!(Model::unseen(FACTS, &[]), None);
}

#[test]
fn a_large_cache_is_read_faster_by_a_nominal_factor() {
    let far = model(GpuFacts { peak: 9e14, ..FACTS }, 4e-6);
    let gain = |cache| {
        let facts = GpuFacts { last_level_cache: cache, ..FACTS };
        Model::unseen(facts, &[&far]).map(|model| model.constants.cache_gain)
    };
    assert_eq!(gain(None), Some(1.0));
    assert_eq!(gain(Some(5e7)), Some(1.0));
    assert_eq!(gain(Some(1.2e8)), Some(LARGE_CACHE_GAIN));
}

/// A product of one column reads its matrix once and does two operations for each of its elements:
/// in fp32 at 16 operations a byte of any card, memory binds it.
#[test]
fn memory_binds_a_product_of_one_column_on_vector_units() {
    let facts = GpuFacts { peak: FACTS.memory_bandwidth * 8.0, ..FACTS };
    let (m, k) = (8192, 8192);
    let bytes = 4.0 * (m * k + m + k) as f64;
    for (m, n) in [(m, 1), (1, m)] {
        let product = Product { count: 1, m, k, n };
        let vector = TRUTH.parts(&facts, &[product], bytes, Units::Vector);
        let tensor = TRUTH.parts(&facts, &[product], bytes, Units::Tensor);
        assert!(vector.compute_s < vector.memory_s, "{vector:?}");
        assert!(tensor.compute_s > 3.0 * tensor.memory_s, "{tensor:?}");
        let least = 2.0 * (m * n * k) as f64 / (facts.peak * TRUTH.compute_efficiency);
        assert!(vector.compute_s >= least, "{vector:?}");
    }
    let wide = Product { count: 1, m, k, n: 512 };
    let [vector, tensor] =
        [Units::Vector, Units::Tensor].map(|units| TRUTH.parts(&facts, &[wide], bytes, units));
    assert_eq!(vector, tensor);
}
