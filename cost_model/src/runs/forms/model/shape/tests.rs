use ir::card::{Attention, ExpertCard, FeedForward, Head, TransformerCard};
use ir::diagnostic::Value;

use super::*;

/// Forty heads, eight of keys and values, six blocks, samples of 2,048 tokens.
fn card(n_experts: u64) -> ModelCard {
    let experts =
        ExpertCard { n_experts, per_token: 2, feed_forward: 64, n_shared: 0, ..Default::default() };
    ModelCard::uniform(TransformerCard {
        name: "forty".to_owned(),
        n_layers: 6,
        hidden: 5120,
        n_heads: 40,
        n_kv_heads: 8,
        feed_forward: 64,
        form: FeedForward::Gated,
        sequence: 2048,
        vocabulary: 1000,
        experts: Some(experts).filter(|experts| experts.n_experts > 0),
        attention: Attention::Even,
        head: Head::Separate,
    })
}

/// Two replicas of four samples, eight times: a global batch of 64.
fn degrees() -> Parallelism {
    Parallelism { data: 2, micro_batch: 4, n_micro_batches: 8, ..Parallelism::default() }
}

type Change = fn(&mut Parallelism);

/// What is refused, with the nearest values that work; each derived by hand.
#[test]
fn each_rule_names_the_field_the_limit_and_the_nearest_values() {
    /// Batch, change, field, value, limit, nearest values.
    type Case<'c> = (u64, Change, &'c str, u64, &'c str, &'c [&'c str]);
    let cases: &[Case<'_>] = &[
        // 40 heads and 8 of keys and values: 1, 2, 4, 8 and 40 share both out.
        (0, |d| d.tensor = 5, "tensor", 5, "40 heads, 8 of keys and values", &["4", "8"]),
        (0, |d| d.tensor = 20, "tensor", 20, "40 heads", &["8", "40"]),
        (0, |d| d.tensor = u32::MAX, "tensor", u64::from(u32::MAX), "40 heads", &["40"]),
        (0, |d| d.tensor = 0, "tensor", 0, "40 heads", &["1"]),
        (0, |d| d.context = 3, "context", 3, "2048", &["2", "4"]),
        (0, |d| d.context = u32::MAX, "context", u64::from(u32::MAX), "2048", &["1024"]),
        (0, |d| d.pipeline = 7, "pipeline", 7, "6 blocks", &["6"]),
        (0, |d| d.pipeline = 0, "pipeline", 0, "6 blocks", &["1"]),
        (
            0,
            |d| (d.pipeline, d.virtual_stages) = (2, 4),
            "virtual-stages",
            4,
            "6 blocks on 2",
            &["3"],
        ),
        (0, |d| d.data = 3, "data", 3, "global batch of 64", &["2", "4"]),
        (0, |d| d.data = 65, "data", 65, "64", &["64"]),
        (0, |d| d.micro_batch = 5, "micro-batch", 5, "64 on 2 replicas", &["4", "8"]),
        (0, |d| d.micro_batch = u64::MAX, "micro-batch", u64::MAX, "64", &["32"]),
        (0, |d| d.n_micro_batches = 3, "micro-batches", 3, "64 on 2 replicas of 4", &["8"]),
        (0, |d| d.n_micro_batches = u64::MAX, "micro-batches", u64::MAX, "64", &["8"]),
        (0, |d| d.expert = 7, "expert", 7, "no experts", &["1"]),
        (0, |d| d.expert = u32::MAX, "expert", u64::from(u32::MAX), "no experts", &["1"]),
        (12, |d| (d.data, d.n_micro_batches, d.expert) = (16, 1, 8), "expert", 8, "12", &["4"]),
        (12, |d| d.expert = 3, "expert", 3, "2 replicas of 1 context ranks", &["2"]),
        (12, |d| d.expert = 0, "expert", 0, "12 experts", &["1"]),
        (12, |d| d.expert_tensor = Some(2), "expert-tensor", 2, "1 tensor ranks", &["1"]),
        (0, |d| d.expert_tensor = Some(1), "expert-tensor", 1, "no experts", &[]),
        (0, |d| d.vocabulary = Some(3), "vocabulary", 3, "2 replicas of 1 tensor", &["2"]),
    ];
    for (n_experts, change, field, value, limit, nearest) in cases {
        let model = card(*n_experts);
        assert!(broken(&model, &degrees(), 64).is_empty());
        let mut wrong = degrees();
        change(&mut wrong);
        let error = check(&model, &wrong, 64).unwrap_err();
        assert!(!broken(&model, &wrong, 64).is_empty());
        assert_eq!(error.code, "shape-rule");
        let fact = |name: &str| error.facts.iter().find(|fact| fact.0 == name).unwrap().1.clone();
        assert_eq!(fact("field"), Value::from(*field), "{error}");
        assert_eq!(fact("value"), Value::from(*value), "{error}");
        let expected = nearest.iter().map(|near| (*near).to_owned()).collect::<Vec<_>>();
        assert_eq!(fact("nearest"), Value::from(expected), "{error}");
        assert!(error.message.contains(limit), "{error}");
    }
}

#[test]
fn every_broken_rule_is_told_once() {
    let mut wrong = degrees();
    (wrong.tensor, wrong.context, wrong.expert) = (5, 3, 7);
    let found = broken(&card(0), &wrong, 64);
    let fields: Vec<&Value> = found.iter().map(|error| &error.facts[0].1).collect();
    assert_eq!(fields, ["tensor", "context", "expert"].map(Value::from).each_ref());
    assert_eq!(n_devices(&Parallelism { data: 2, tensor: 3, ..Parallelism::default() }), 6);
    let most = Parallelism { data: u32::MAX, tensor: u32::MAX, pipeline: u32::MAX, ..wrong };
    assert_eq!(n_devices(&most), u64::MAX);
}
