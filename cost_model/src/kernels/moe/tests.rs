use super::*;

const FACTS: GpuFacts = GpuFacts {
    memory_bandwidth: 2e12,
    peak: 3e14,
    n_multiprocessors: 100,
    last_level_cache: None,
    clock: None,
};
const TRUTH: [f64; 10] = [30.0, 0.5, 0.8, 1.3, 1.2, 0.3, 100.0, 0.1, 10.0, 0.9];

#[test]
fn loads_by_hand() {
    assert_eq!(loads(4, 2, 4, ExpertLoad::Balanced), [2.0, 2.0, 2.0, 2.0]);
    assert_eq!(loads(1, 3, 4, ExpertLoad::Balanced), [1.0, 1.0, 1.0, 0.0]);
    // Ranks 1, 1/2, 1/3, 1/4 scaled to 4 pairs of 4 tokens: 1.92, 0.96, 0.64, 0.48.
    assert_eq!(loads(4, 1, 4, ExpertLoad::PowerLaw(1.0)), [2.0, 1.0, 1.0, 0.0]);
    // A single token never asks an expert twice.
    assert_eq!(loads(1, 2, 4, ExpertLoad::PowerLaw(3.0)), [1.0, 1.0, 0.0, 0.0]);
}

#[test]
fn loads_keep_the_pairs_and_the_limit() {
    for (tokens, topk, experts) in [(1, 8, 256), (16, 8, 128), (1024, 8, 256), (16384, 2, 8)] {
        for a in [0.5, 1.0, 1.01, 1.2, 2.0] {
            let loads = loads(tokens, topk, experts, ExpertLoad::PowerLaw(a));
            assert_eq!(loads.iter().sum::<f64>(), (tokens * topk) as f64, "{tokens} {a}");
            assert!(loads.iter().all(|load| *load <= tokens as f64), "{tokens} {a}");
            assert_eq!(loads.len() as u64, experts);
        }
    }
}

#[test]
fn the_quantiles_span_the_range() {
    for a in [0.5, 1.0, 1.2] {
        assert!((power_quantile(0.0, a, 100.0) - 1.0).abs() < 1e-9);
        assert!((power_quantile(1.0, a, 100.0) - 100.0).abs() < 1e-6);
    }
    assert!((power_quantile(0.5, 1.0, 100.0) - 10.0).abs() < 1e-9);
}

fn rows() -> Vec<(Layer, f64)> {
    let mut rows = Vec::new();
    for tokens in [1, 16, 128, 4096] {
        for (experts, topk) in [(8, 2), (128, 8)] {
            for moe_ep in [1, 4, 8] {
                for load in [ExpertLoad::Balanced, ExpertLoad::PowerLaw(1.2)] {
                    let row = MoeRow {
                        gpu: "a".to_owned(),
                        tokens,
                        hidden: 4096,
                        expert_ffn: 2048 / topk,
                        topk,
                        experts,
                        moe_tp: 2,
                        moe_ep,
                        load,
                        time_s: 1.0,
                    };
                    let layer = Layer::from(&row);
                    rows.push((layer, seconds(&FACTS, &TRUTH, &layer)));
                }
            }
        }
    }
    rows
}

#[test]
fn a_fit_recovers_the_times() {
    let rows = rows();
    let model = Model::fit(FACTS, &rows);
    for (layer, time) in &rows {
        let predicted = model.closed().predict(layer).seconds;
        assert!((predicted / time - 1.0).abs() < 0.05, "{layer:?} {predicted} {time}");
        assert_eq!(model.predict(layer).origin, Origin::Measured);
    }
}

#[test]
fn a_skewed_load_takes_longer_than_a_balanced_one() {
    let rows = rows();
    let skewed = |(layer, _): &&(Layer, f64)| layer.skewed && layer.ranks > 1.0;
    let mut n_pairs = 0;
    for (layer, time) in rows.iter().filter(skewed).filter(|(layer, _)| layer.tokens > 1000.0) {
        let mut even = *layer;
        even.deviation = 0.0;
        assert!(*time > seconds(&FACTS, &TRUTH, &even));
        n_pairs += 1;
    }
    assert_eq!(n_pairs, 4);
}
