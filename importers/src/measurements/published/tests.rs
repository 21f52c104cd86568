use super::super::parse_table;
use super::*;

#[test]
fn cells_of_degrees_are_read_or_refused() {
    let read = |text: &str| {
        let text = format!("gpus,tp,gbs\n{text}\n");
        parse_table(text.as_bytes(), "t.csv", |fields| {
            let tensor = degree(fields, "tp")?;
            let data = replicas(fields, fields.count("gpus")?, &[tensor])?;
            let count = micro_batches(fields, "gbs", (fields.count("gbs")?, 2, data))?;
            Ok(Some((tensor, data, count)))
        })
    };
    assert_eq!(read("8,n/a,32").unwrap(), [(1, 8, 2)]);
    assert_eq!(read("8,4,32").unwrap(), [(4, 2, 8)]);
    for text in ["8,3,32", "8,4,33", "8,0,32", "8,x,32"] {
        assert_eq!(read(text).unwrap_err().code, "bad-cell", "{text}");
    }
}

#[test]
fn every_published_config_is_a_card_of_the_stated_size() {
    // Billions of parameters as the model cards state them.
    for (config, stated) in [
        (models::LLAMA_8B, 8.03),
        (models::LLAMA_70B, 70.6),
        (models::LLAMA_405B, 405.8),
        (models::QWEN3_30B, 30.5),
        (models::GPT_OSS_120B, 116.8),
        (models::DEEPSEEK_V3, 671.0),
        (models::GPT2_LARGE, 0.774),
        (models::BERT_LARGE, 0.335),
        (models::GPT3_2_7B, 2.65),
    ] {
        let card = models::card(config, "m", 512).unwrap();
        let blocks: f64 =
            card.groups.iter().map(|group| weights(group) * f64::from(group.n_blocks)).sum();
        let own = &card.groups[0].card;
        let ends = if own.head == Head::Tied { 1.0 } else { 2.0 };
        let all = blocks + ends * (own.vocabulary * own.hidden) as f64;
        assert!((all / 1e9 / stated - 1.0).abs() < 0.01, "{config}: {all}");
    }
}

/// Weights of products of a block, by its figures alone.
fn weights(group: &ir::card::BlockGroup) -> f64 {
    let card = &group.card;
    let [h, a, g] = [card.hidden, card.n_heads, card.n_kv_heads].map(|n| n as f64);
    let attention = match card.attention {
        Attention::Latent { query_rank, key_value_rank, plain, rotary, value } => {
            let [q, kv, plain, rotary, value] =
                [query_rank.unwrap(), key_value_rank, plain, rotary, value].map(|n| n as f64);
            h * (q + kv + rotary) + a * (q * (plain + rotary) + kv * (plain + value) + h * value)
        }
        _ => 2.0 * h * (a + g) * card.head_dims().0 as f64,
    };
    let products = if card.form == FeedForward::Plain { 2.0 } else { 3.0 };
    let inner = card.experts.map_or(card.feed_forward, |experts| {
        (experts.n_experts + experts.n_shared) * experts.feed_forward
    });
    attention + products * h * inner as f64 + group.other_parameters as f64
}
