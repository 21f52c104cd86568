use super::*;

const FACTS: GpuFacts = GpuFacts {
    memory_bandwidth: 2e12,
    peak: 3e14,
    n_multiprocessors: 100,
    last_level_cache: Some(4e7),
    clock: Some(1.4e9),
};

fn rows(phase: AttentionPhase, constants: &[f64; N_CONSTANTS as usize]) -> Vec<AttentionRow> {
    let mut rows = Vec::new();
    for batch in [1, 8, 64] {
        for seq_len in [16, 256, 1024, 8192] {
            for (heads, kv_heads) in [(8, 8), (32, 8), (64, 1)] {
                for head_dim in [64, 128, 256] {
                    let mut row = AttentionRow {
                        gpu: "a".to_owned(),
                        phase,
                        batch,
                        seq_len,
                        heads,
                        kv_heads,
                        head_dim,
                        step: 0,
                        time_s: 1.0,
                    };
                    row.time_s = seconds(&FACTS, phase, constants, &Shape::from(&row));
                    rows.push(row);
                }
            }
        }
    }
    rows
}

const PREFILL_TRUTH: [f64; 11] = [11.0, 0.5, 0.5, 1.2, 1.3, 1.1, 2.0, 0.9, 0.3, 0.1, 0.8];
const DECODE_TRUTH: [f64; 11] = [9.0, 0.9, 2.0, 1.5, 4.0, 1.0, 1.0, 0.3, 0.3, 1.5, 0.1];

#[test]
fn fits_recover_both_phases() {
    for (phase, truth) in
        [(AttentionPhase::Prefill, PREFILL_TRUTH), (AttentionPhase::Decode, DECODE_TRUTH)]
    {
        let rows = rows(phase, &truth);
        let model = Model::fit(FACTS, phase, &rows);
        for row in &rows {
            let predicted = model.closed().predict(&row.into()).seconds;
            assert!((predicted / row.time_s - 1.0).abs() < 0.05, "{row:?} {predicted}");
            assert_eq!(model.predict(&row.into()).origin, Origin::Measured);
        }
    }
}

#[test]
fn a_long_prompt_runs_at_the_reachable_rate() {
    let shape =
        Shape { batch: 16.0, length: 16384.0, heads: 64.0, kv_heads: 64.0, head_dim: 128.0 };
    let ideal = 16.0 * 64.0 * 2.0 * 16384.0 * 16385.0 * 128.0 / (3e14 * 0.5);
    let time = seconds(&FACTS, AttentionPhase::Prefill, &PREFILL_TRUTH, &shape);
    assert!(time > ideal && time < 1.1 * ideal, "{time} {ideal}");
}

#[test]
fn a_large_cache_is_read_at_the_reachable_bandwidth_once_per_cached_head() {
    let shape = Shape { batch: 64.0, length: 65536.0, heads: 8.0, kv_heads: 8.0, head_dim: 128.0 };
    let ideal = 4.0 * 64.0 * 8.0 * 65536.0 * 128.0 / (2e12 * 0.9);
    let time = |heads| {
        let shape = Shape { heads, ..shape };
        seconds(&FACTS, AttentionPhase::Decode, &DECODE_TRUTH, &shape)
    };
    assert!(time(8.0) > ideal && time(8.0) < 1.02 * ideal);
    assert!(time(256.0) < 1.02 * ideal, "a group of 32 shares the cache");
    assert!(time(264.0) > 20.0 * ideal, "a group of 33 reads it again for each query head");
}
