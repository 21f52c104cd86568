use importers::measurements::parse_table;

use crate::readers::Left;

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
        (models::QWEN3_235B, 235.0),
        (models::DEEPSEEK_V2, 236.0),
        (models::GPT_OSS_120B, 116.8),
        (models::DEEPSEEK_V3, 671.0),
        (models::GPT2_LARGE, 0.774),
        (models::BERT_LARGE, 0.335),
        (models::GPT3_2_7B, 2.65),
    ] {
        let card = models::card(config, "m", 512).unwrap();
        let blocks: f64 =
            card.groups.iter().map(|group| weights(group) * f64::from(group.n_blocks)).sum();
        let first = &card.groups[0].card;
        let ends = if first.head == Head::Tied { 1.0 } else { 2.0 };
        let all = blocks + ends * (first.vocabulary * first.hidden) as f64;
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
    let products = card.form.n_first() as f64 + 1.0;
    let inner = card.experts.map_or(card.feed_forward, |experts| {
        (experts.n_experts + experts.n_shared) * experts.feed_forward
    });
    attention + products * h * inner as f64 + group.other_parameters as f64
}

const BRIDGE: &str = "release,section,system,model,gpus,precision,gbs,mbs,seq,fsdp,tp,pp,cp,vp,ep,\
                      tokens_per_s_per_gpu";

/// Rows of a table of Megatron-Bridge.
fn bridge(lines: &str, part: bridge::Part) -> Result<Vec<crate::readers::run::RunRow>, Diagnostic> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let of_section = |line: &str| line.replacen(',', ",Pre-Training Performance,", 1);
    let lines: Vec<String> = lines.lines().map(of_section).collect();
    let lines = lines.join("\n");
    let name =
        format!("bridge-{}-{}.csv", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, format!("{BRIDGE}\n{lines}\n")).unwrap();
    let mut left = Left::default();
    let rows = bridge::newest(std::slice::from_ref(&path), part, &mut left);
    std::fs::remove_file(&path).unwrap();
    left.0.pop().map_or(Ok(rows), Err)
}

#[test]
fn a_configuration_is_judged_once_by_its_newest_release() {
    use bridge::Part;
    let new = "26.04 NeMo,DGX-H100,LLAMA3_70B,64,FP8,256,1,8192,0,4,8,1,5,n/a,1633";
    let old = "25.11 NeMo,DGX-H100,LLAMA3_70B,64,FP8-CS,256,1,8192,,4,8,1,5,1,1602";
    let rows = bridge(&format!("{new}\n{old}"), Part::Dense).unwrap();
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    // 256 samples of 8,192 tokens at 64 times 1,633 tokens a second.
    assert!((row.time_s - 256.0 * 8192.0 / (64.0 * 1633.0)).abs() < 1e-9);
    let degrees = &row.degrees[0];
    assert_eq!((degrees.data, degrees.n_micro_batches, degrees.virtual_stages), (2, 128, 5));
    assert_eq!((row.stack, row.hosts.device), ("megatron-bridge", "h100_sxm5_80gb"));
    assert_eq!(bridge(new, Part::Experts).unwrap(), []);
    for (from, to) in [
        ("LLAMA3_70B", "LLAMA4"),
        ("DGX-H100", "DGX-A100"),
        (",FP8,", ",FP6,"),
        (",256,", ",255,"),
        (",0,4", ",64,4"),
    ] {
        let error = bridge(&new.replacen(from, to, 1), Part::Dense).unwrap_err();
        assert_eq!(error.code, "bad-cell", "{to}");
    }
}

#[test]
fn recipes_choose_the_stack_of_a_mixture() {
    let line = |release: &str, system: &str, model: &str, precision: &str, degrees: &str| {
        format!("{release} NeMo,{system},{model},64,{precision},1024,1,4096,0,{degrees},5000")
    };
    let stack = |line: &str| bridge(line, bridge::Part::Experts).unwrap()[0].stack;
    let qwen = |release, degrees| line(release, "DGX-H100", "Qwen3_30B_a3B", "FP8", degrees);
    assert_eq!(stack(&qwen("26.02", "1,2,1,12,8")), "megatron-bridge-alltoall-overlap");
    assert_eq!(stack(&qwen("26.02.01", "1,2,1,12,8")), "megatron-bridge-flex-overlap");
    assert_eq!(stack(&qwen("26.06", "1,1,1,n/a,16")), "megatron-bridge-flex-fp8");
    let oss = |release| line(release, "DGX-B200", "GPT OSS 120B", "BF16", "1,1,1,n/a,8");
    assert_eq!(stack(&oss("26.04")), "megatron-bridge-flex");
    assert_eq!(stack(&oss("26.02")), "megatron-bridge");
    let grace = |release| line(release, "DGX-GB200", "GPT OSS 120B", "BF16", "1,1,1,n/a,64");
    assert_eq!(stack(&grace("26.02.01")), "megatron-bridge");
    assert_eq!(stack(&grace("26.04")), "megatron-bridge-flex-overlap");
    let large = |system| line("26.02", system, "Qwen3_235B_a22B", "FP8-MX", "1,8,1,n/a,8");
    assert_eq!(stack(&large("DGX-B300")), "megatron-bridge-mxfp8");
    assert_eq!(stack(&large("DGX-GB300")), "megatron-bridge-flex-graphs");
}

#[test]
fn configurations_that_releases_run_at_different_rates_are_apart() {
    let row = |release: &str, rate: u32| {
        format!(
            "{release} NeMo,Pre-Training Performance,DGX-H100,Qwen3_30B_a3B,16,FP8,1024,1,4096,0,1,2,1,12,8,{rate}"
        )
    };
    let path = std::env::temp_dir().join(format!("bridge-apart-{}.csv", std::process::id()));
    let read = |rates: [u32; 2]| {
        let rows = [row("26.02.01", rates[0]), row("26.02", rates[1])].join("\n");
        std::fs::write(&path, format!("{BRIDGE}\n{rows}\n")).unwrap();
        let mut left = Left::default();
        let paths = std::slice::from_ref(&path);
        let [agreed, apart] = bridge::agreed(paths, bridge::Part::Experts, &mut left);
        assert_eq!(left.0, []);
        (agreed.len(), apart.len())
    };
    assert_eq!(read([9058, 5113]), (0, 2));
    assert_eq!(read([5900, 5113]), (2, 0));
    std::fs::remove_file(&path).unwrap();
}
