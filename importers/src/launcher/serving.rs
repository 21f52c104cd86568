//! DeepSpeed's JSON, and what servers are started with: vLLM and SGLang.

use ir::card::{Recompute, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;
use serde_json::Value;

use super::bad;
use super::flags::Flags;

pub(super) fn vllm(text: &str) -> Result<LaunchSettings, Diagnostic> {
    let flags = Flags::new(text);
    let tensor: Option<u32> = flags.count("--tensor-parallel-size")?;
    let data: Option<u32> = flags.count("--data-parallel-size")?;
    let group = tensor.unwrap_or(1).saturating_mul(data.unwrap_or(1));
    Ok(LaunchSettings {
        tensor,
        data,
        pipeline: flags.count("--pipeline-parallel-size")?,
        expert: Some(if flags.has("--enable-expert-parallel") { group } else { 1 }),
        blocks: partition(&flags, "VLLM_PP_LAYER_PARTITION", "--pipeline-parallel-size")?,
        ..LaunchSettings::default()
    })
}

pub(super) fn sglang(text: &str) -> Result<LaunchSettings, Diagnostic> {
    let flags = Flags::new(text);
    Ok(LaunchSettings {
        tensor: flags.count("--tp-size")?,
        data: flags.count("--dp-size")?,
        pipeline: flags.count("--pp-size")?,
        expert: flags.count("--ep-size")?,
        blocks: partition(&flags, "SGLANG_PP_LAYER_PARTITION", "--pp-size")?,
        ..LaunchSettings::default()
    })
}

/// Layers of each rank, as many as there are ranks.
fn partition(flags: &Flags, name: &str, ranks: &str) -> Result<Option<Vec<u32>>, Diagnostic> {
    let Some(text) = flags.variable(name) else { return Ok(None) };
    let counts: Result<Vec<u32>, _> = text.split(',').map(|count| count.trim().parse()).collect();
    let counts = counts.map_err(|_| bad(name, text, "give whole numbers between commas"))?;
    let n_ranks: u32 = flags.count(ranks)?.unwrap_or(1);
    if counts.len() != n_ranks as usize {
        let hint = format!("give one number per pipeline rank, {n_ranks} of them");
        return Err(bad(name, text, &hint));
    }
    Ok(Some(counts))
}

pub(super) fn deepspeed(text: &str) -> Result<LaunchSettings, Diagnostic> {
    let document: Value = serde_json::from_str(text).map_err(|error| {
        Diagnostic::input("bad-settings", format!("this is no valid JSON: {error}"))
            .hint("give the ds_config, or what `export deepspeed` writes")
    })?;
    let config = document.get("ds_config").unwrap_or(&document);
    let count = |from: &Value, member: &str| match from.get(member) {
        None => Ok(None),
        Some(value) => match value.as_u64().filter(|value| *value > 0) {
            Some(value) => Ok(Some(value)),
            None => Err(bad(member, &value.to_string(), "give a whole number of at least 1")),
        },
    };
    let topology = document.get("topology").unwrap_or(&Value::Null);
    let degree = |member: &str| {
        let value = count(topology, member)?;
        value.map(u32::try_from).transpose().map_err(|_| bad(member, "", "give a smaller number"))
    };
    let zero = config.get("zero_optimization").and_then(|zero| zero.get("stage"));
    Ok(LaunchSettings {
        data: degree("num_dp")?,
        tensor: degree("num_mp")?,
        pipeline: degree("num_pp")?,
        micro_batch: count(config, "train_micro_batch_size_per_gpu")?,
        n_micro_batches: count(config, "gradient_accumulation_steps")?,
        global_batch: count(config, "train_batch_size")?,
        zero: Some(match zero.map_or(Some(0), Value::as_u64) {
            Some(0) => ZeroStage::None,
            Some(1) => ZeroStage::Optimizer,
            Some(2) => ZeroStage::Gradients,
            Some(3) => ZeroStage::Parameters,
            _ => return Err(bad("zero_optimization.stage", "", "use 0, 1, 2 or 3")),
        }),
        recompute: match document.get("activation_checkpoint_interval").map(Value::as_u64) {
            None => None,
            Some(Some(0)) => Some(Recompute::None),
            Some(Some(1)) => Some(Recompute::Full),
            Some(Some(blocks)) if u32::try_from(blocks).is_ok() => {
                Some(Recompute::Uniform { blocks: blocks as u32 })
            }
            Some(_) => return Err(bad("activation_checkpoint_interval", "", "give a count")),
        },
        blocks: parts(&document)?,
        // Its pipeline runs no other one.
        schedule: Some("1f1b".to_owned()),
        ..LaunchSettings::default()
    })
}

/// Blocks between the bounds; the first layer is the embedding, the last the head.
fn parts(document: &Value) -> Result<Option<Vec<u32>>, Diagnostic> {
    let Some(value) = document.get("parts") else { return Ok(None) };
    let wrong = || bad("parts", &value.to_string(), "give growing bounds that begin with 0");
    let bounds: Vec<u32> = serde_json::from_value(value.clone()).map_err(|_| wrong())?;
    let is_growing = bounds.windows(2).all(|pair| pair[0] < pair[1]);
    if bounds.first() != Some(&0) || bounds.len() < 2 || !is_growing {
        return Err(wrong());
    }
    let n_stages = bounds.len() - 1;
    let stages = bounds.windows(2).enumerate().map(|(stage, pair)| {
        let ends = u32::from(stage == 0) + u32::from(stage + 1 == n_stages);
        (pair[1] - pair[0]).checked_sub(ends).ok_or_else(wrong)
    });
    stages.collect::<Result<Vec<_>, _>>().map(Some)
}
