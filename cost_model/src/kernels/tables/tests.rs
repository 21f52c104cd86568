use std::collections::BTreeMap;

use ir::engine_tables::{
    AttentionKey, EngineTables, Grid, MoeKey, NumberFormat, Point, SystemRates, Unit,
};
use ir::measured::CollectiveOperation;

use super::*;

/// A device of 1 POP/s and 1 TB/s in a host of eight.
fn tables() -> EngineTables {
    EngineTables {
        rates: SystemRates {
            memory_rate: 1e12,
            pointwise_fraction: 0.8,
            pointwise_s: 3e-6,
            flops: BTreeMap::from([(Unit::Bf16, 1e15), (Unit::Fp8, 2e15)]),
            per_host: 8,
            host_rate: 400e9,
            network_rate: 50e9,
            transfer_s: 1e-5,
            ..SystemRates::default()
        },
        ..EngineTables::default()
    }
}

#[track_caller]
fn answers(found: Answer, seconds: f64, class: Class) {
    assert_eq!(found.class, class, "{found:?}");
    assert!((found.seconds / seconds - 1.0).abs() < 1e-12, "{} not {seconds}", found.seconds);
}

fn gemm(points: Vec<Point<3>>) -> EngineTables {
    let gemm = BTreeMap::from([(NumberFormat::Bf16, Grid::of(points))]);
    EngineTables { gemm, ..tables() }
}

#[test]
fn measured_products_are_untouched_and_others_lie_between() {
    let tables = gemm(vec![([64, 32, 8], 3.0, 0), ([64, 32, 16], 5.0, 1)]);
    let product = Gemm::new(&tables, NumberFormat::Bf16, 64, 32);
    answers(product.of(8.0), 3.0, Class::Measured);
    assert_eq!(product.of(16.0).source, Some(1));
    answers(product.of(10.0), 3.5, Class::Interpolated);
}

#[test]
fn times_below_the_speed_of_light_are_those_of_warm_caches() {
    let (n, k) = (4096, 4096);
    let tables = gemm(vec![([n, k, 1], 1e-6, 0), ([n, k, 3], 1e-6, 0)]);
    let product = Gemm::new(&tables, NumberFormat::Bf16, u64::from(n), u64::from(k));
    let moved = |m: f64| 2.0 * (8192.0 * m + 4096.0 * 4096.0) / 1e12;
    answers(product.of(1.0), moved(1.0), Class::Measured);
    answers(product.of(2.0), moved(2.0), Class::Interpolated);
}

#[test]
fn products_beyond_the_measured_rows_keep_the_utilisation() {
    let (n, k) = (4096, 4096);
    let rows = [(1, 1.0), (2048, 0.6), (4096, 1.0), (8192, 2.2)];
    let tables = gemm(rows.map(|(m, seconds)| ([n, k, m], seconds, 0)).to_vec());
    let product = Gemm::new(&tables, NumberFormat::Bf16, u64::from(n), u64::from(k));
    // Bound by operations from 2,048 rows on: the middle time per row is that of 8,192.
    answers(product.of(16_384.0), 4.4, Class::Extrapolated);
    // Of half a row, weights are moved as of one: 2 (n m + k m + n k) bytes.
    let bytes = |m: f64| 8192.0 * m + 4096.0 * 4096.0;
    answers(product.of(0.5), bytes(0.5) / bytes(1.0), Class::Extrapolated);
}

#[test]
fn widths_that_were_not_measured_take_the_utilisation_of_similar_ones() {
    // Bound by operations, at a half and at a quarter of the rate.
    let (half, quarter) = (4.0 * 4096f64.powi(3) / 1e15, 8.0 * 4096f64.powi(2) * 16_384.0 / 1e15);
    let tables = gemm(vec![([4096, 4096, 4096], half, 0), ([16_384, 4096, 4096], quarter, 1)]);
    // An octave from both: the mean utilisation, of twice the work of the first.
    let product = Gemm::new(&tables, NumberFormat::Bf16, 8192, 4096);
    let bound = 2.0 * 4096f64.powi(2) * 8192.0 / 1e15;
    answers(product.of(4096.0), bound / 0.375, Class::Transferred);
    // Three octaves beyond the widest, as the head of a large vocabulary: that of the nearest.
    let head = Gemm::new(&tables, NumberFormat::Bf16, 131_072, 4096).of(4096.0);
    assert_eq!(head.class, Class::Transferred);
    assert!(head.seconds > 2.0 * 4096f64.powi(2) * 131_072.0 / 1e15 / 0.5);
    // Beyond both axes, or with nothing within two octaves, utilisations of the class are left.
    let product = Gemm::new(&tables, NumberFormat::Bf16, 131_072, 65_536);
    let bound = 2.0 * 4096.0 * 131_072.0 * 65_536.0 / 1e15;
    answers(product.of(4096.0), bound / 0.70, Class::Guessed);
    answers(
        Gemm::new(&tables, NumberFormat::Fp8, 8192, 4096).of(4096.0),
        2.0 * 4096f64.powi(2) * 8192.0 / 2e15 / 0.45,
        Class::Guessed,
    );
}

fn attention(prefill: Vec<Point<3>>, decode: Vec<Point<3>>) -> (EngineTables, AttentionKey) {
    let (number, cache) = (NumberFormat::Bf16, NumberFormat::Bf16);
    let key = AttentionKey { number, cache, kv_heads: 2, head_dim: 128, window: 0 };
    let prefill = BTreeMap::from([(key, Grid::of(prefill))]);
    let decode = BTreeMap::from([(key, Grid::of(decode))]);
    (EngineTables { prefill, decode, ..tables() }, key)
}

#[test]
fn times_of_prompts_are_interpolated_as_squares_of_tokens() {
    let times = |tokens: u32| 1e-9 * f64::from(tokens) * f64::from(tokens);
    let points = [8192, 16_384].map(|tokens| ([16, tokens, 1], times(tokens), 0)).to_vec();
    let (tables, key) = attention(points.clone(), points);
    let attention = Attention::new(&tables, key, 16).unwrap();
    answers(attention.prefill(1.0, 12_288.0, 0.0), times(12_288), Class::Interpolated);
    // Half of the tokens are cached: a quarter of the square.
    answers(attention.prefill(1.0, 4096.0, 4096.0), 0.75 * times(8192), Class::Interpolated);
    assert_eq!(attention.prefill(1.0, 0.0, 4096.0).seconds, 0.0);
    // Twice the tokens at the same utilisation are four times the operations.
    answers(attention.prefill(1.0, 32_768.0, 0.0), 4.0 * times(16_384), Class::Extrapolated);
}

#[test]
fn requests_between_ragged_rows_are_held_where_one_row_ends() {
    // Of 4 requests nothing was measured beyond 1,024 tokens.
    let decode = vec![([16, 1, 1024], 1.0, 0), ([16, 1, 4096], 3.0, 0), ([16, 4, 1024], 2.0, 0)];
    let (tables, key) = attention(decode.clone(), decode);
    let attention = Attention::new(&tables, key, 16).unwrap();
    answers(attention.decode(2.0, 1024.0), 1.0 + 1.0 / 3.0, Class::Interpolated);
    let found = attention.decode(2.0, 4096.0);
    assert_eq!(found.class, Class::Extrapolated);
    // 4 requests of 4,096 tokens take nearly four times what those of 1,024 take.
    let expected = 3.0 + (8.0 - 3.0) / 3.0;
    assert!((found.seconds / expected - 1.0).abs() < 0.02, "{}", found.seconds);
}

#[test]
fn attention_of_other_heads_is_no_silent_number() {
    let (tables, key) = attention(vec![([16, 1, 1], 1.0, 0)], vec![([16, 1, 1], 1.0, 0)]);
    assert!(Attention::new(&tables, key, 16).is_ok());
    for key in [AttentionKey { kv_heads: 16, ..key }, AttentionKey { head_dim: 64, ..key }] {
        assert_eq!(Attention::new(&tables, key, 16).unwrap_err().code, "not-measured");
    }
}

#[test]
fn experts_with_an_unknown_load_are_even_ones() {
    let key = MoeKey {
        number: NumberFormat::Bf16,
        experts: 8,
        per_token: 2,
        hidden: 1024,
        inner: 4096,
        tensor: 1,
        expert: 1,
        load: "uniform".to_owned(),
    };
    let grid = Grid::of(vec![([16], 2.0, 0), ([32], 3.0, 0)]);
    let tables = EngineTables { moe: BTreeMap::from([(key.clone(), grid)]), ..tables() };
    let skewed = MoeKey { load: "power_law_1.2".to_owned(), ..key.clone() };
    answers(Moe::new(&tables, skewed, true).of(24.0), 2.5, Class::Interpolated);
    // Another shape: 32,768 visits, bound by their widths and the weights of 8 experts, 2 bytes each.
    let other = MoeKey { inner: 2048, ..key };
    let elements = 32_768.0 * (2.0 * 1024.0 + 3.0 * 2048.0) + 3.0 * 1024.0 * 2048.0 * 8.0;
    let bound = 2.0 * elements / 1e12;
    answers(Moe::new(&tables, other, true).of(16_384.0), bound / 0.53, Class::Guessed);
}

#[test]
fn all_reduces_beyond_what_was_measured_take_the_rate_of_the_links() {
    let grid = Grid::of(vec![([1 << 20], 1e-4, 0)]);
    let tables = EngineTables { all_reduce: BTreeMap::from([(8, grid)]), ..tables() };
    answers(AllReduce::new(&tables, 8).of(1_048_576.0), 1e-4, Class::Measured);
    assert_eq!(AllReduce::new(&tables, 1).of(1e6), Answer::default());
    // 15/16 over 7/8 of the elements are sent twice, at an eighth of the rate.
    let ratio = (15.0 / 16.0) / (7.0 / 8.0) * 8.0;
    answers(AllReduce::new(&tables, 16).of(1_048_576.0), 1e-4 * ratio, Class::Extrapolated);
    let gather = Collective::new(&tables, CollectiveOperation::AllGather, 8);
    answers(gather.of(1e9), 2e9 * 7.0 / 8.0 / 400e9, Class::Guessed);
}

#[test]
fn pointwise_kernels_and_hops_follow_the_constants_of_the_system() {
    let rates = tables().rates;
    answers(pointwise(&rates, 8e6), 1e-5 + 3e-6, Class::Analytic);
    answers(hop(&rates, 5e5), 1e-5 + 1e-5, Class::Analytic);
}
