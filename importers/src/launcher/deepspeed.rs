//! DeepSpeed's JSON: a `ds_config`, or what is written for it.

use ir::card::{Recompute, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;
use ir::tensor::DType;
use ir::workload::Optimizer;
use serde_json::Value;

use super::flags::not_judged;
use super::limits::{MOST_DEGREE, MOST_LAYERS, MOST_SAMPLES, bad};

/// Members of a `ds_config` that are read; others say nothing about parallelism.
const MEMBERS: &[&str] = &[
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "train_batch_size",
    "zero_optimization",
    "bf16",
    "fp16",
    "optimizer",
];
/// Likeness from which on another member is a slip of one of them.
const LIKENESS: f64 = 0.75;

pub(super) fn read(text: &str) -> Result<LaunchSettings, Diagnostic> {
    let document: Value = serde_json::from_str(text).map_err(|error| {
        Diagnostic::input("bad-settings", format!("this is no valid JSON: {error}"))
            .hint("give the ds_config, or what `export deepspeed` writes")
    })?;
    let config = document.get("ds_config").unwrap_or(&document);
    let topology = document.get("topology").unwrap_or(&Value::Null);
    let degree = |member: &str| {
        let value = count(topology, member)?.map(u32::try_from).transpose();
        let value = value.ok().filter(|n| n.is_none_or(|n| u64::from(n) <= MOST_DEGREE));
        value.ok_or_else(|| bad(member, "more", &format!("give at most {MOST_DEGREE}")))
    };
    known(config)?;
    let sharing = config.get("zero_optimization").unwrap_or(&Value::Null);
    Ok(LaunchSettings {
        offloads: Some(offloads(sharing)?),
        data: degree("num_dp")?,
        tensor: degree("num_mp")?,
        pipeline: degree("num_pp")?,
        micro_batch: count(config, "train_micro_batch_size_per_gpu")?,
        n_micro_batches: count(config, "gradient_accumulation_steps")?,
        global_batch: count(config, "train_batch_size")?,
        zero: Some(match sharing.get("stage").map_or(Some(0), Value::as_u64) {
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
        dtype: dtype(config)?,
        optimizer: optimizer(config)?,
        // Its pipeline runs no other one.
        schedule: Some("1f1b".to_owned()),
        ..LaunchSettings::default()
    })
}

fn count(from: &Value, member: &str) -> Result<Option<u64>, Diagnostic> {
    let Some(value) = from.get(member) else { return Ok(None) };
    let count = value.as_u64().filter(|n| (1..=MOST_SAMPLES).contains(n)).ok_or_else(|| {
        bad(member, &value.to_string(), &format!("give a whole number from 1 to {MOST_SAMPLES}"))
    });
    count.map(Some)
}

/// Whether hosts keep the optimizer states.
fn offloads(sharing: &Value) -> Result<bool, Diagnostic> {
    let keeper = |part: &str| {
        let to = sharing.get(part).and_then(|own| own.get("device")?.as_str());
        to.filter(|device| *device != "none")
    };
    match (keeper("offload_param"), keeper("offload_optimizer")) {
        (None, None) => Ok(false),
        (None, Some("cpu")) => Ok(true),
        (Some(_), _) => {
            let why = "parameters stay on the devices";
            Err(not_judged("zero_optimization.offload_param", why))
        }
        (None, Some(_)) => {
            let why = "optimizer states stay on the devices or with the host";
            Err(not_judged("zero_optimization.offload_optimizer", why))
        }
    }
}

/// Refuses members that look like one that is read.
fn known(config: &Value) -> Result<(), Diagnostic> {
    // The older name of `bf16`, and a member of its own.
    const OTHERS: [&str; 2] = ["bfloat16", "gradient_clipping"];
    let names = config.as_object().into_iter().flat_map(|members| members.keys());
    for name in names.filter(|name| !OTHERS.contains(&name.as_str())) {
        let scored = MEMBERS
            .iter()
            .map(|known| (strsim::normalized_damerau_levenshtein(name, known), *known));
        let nearest = scored.max_by(|a, b| a.0.total_cmp(&b.0));
        let slip = nearest.filter(|(score, known)| *score >= LIKENESS && known != name);
        if let Some((_, nearest)) = slip {
            let shown: String = name.chars().take(60).collect();
            let message = format!("`{shown}` is no member of a `ds_config`");
            return Err(Diagnostic::input("unknown-flag", message).fact("flag", shown).hint(
                format!("the nearest that is read is `{nearest}`; correct it or leave it out"),
            ));
        }
    }
    Ok(())
}

/// What products are computed in: of two sections the one that is enabled, else single precision.
fn dtype(config: &Value) -> Result<Option<DType>, Diagnostic> {
    let section = |names: &[&str]| names.iter().find_map(|name| config.get(*name));
    let enabled = |section: Option<&Value>| {
        section.map(|own| own.get("enabled").and_then(Value::as_bool).unwrap_or(false))
    };
    let (bf16, fp16) = (enabled(section(&["bf16", "bfloat16"])), enabled(section(&["fp16"])));
    match (bf16, fp16) {
        (Some(true), Some(true)) => Err(bad("fp16", "enabled", "enable one of bf16 and fp16")),
        (Some(true), _) => Ok(Some(DType::Bf16)),
        (_, Some(true)) => Ok(Some(DType::F16)),
        (None, None) => Ok(None),
        _ => Ok(Some(DType::F32)),
    }
}

fn optimizer(config: &Value) -> Result<Option<Optimizer>, Diagnostic> {
    let Some(kind) = config.get("optimizer").and_then(|own| own.get("type")) else {
        return Ok(None);
    };
    let name = kind.as_str().unwrap_or_default();
    match name.to_lowercase().as_str() {
        "adam" | "adamw" => Ok(Some(Optimizer::AdamW)),
        "sgd" => Ok(Some(Optimizer::Sgd)),
        _ => Err(not_judged(&format!("optimizer.type {kind}"), "Adam, AdamW and SGD are")),
    }
}

/// Blocks between the bounds; the first layer is the embedding, the last the head.
fn parts(document: &Value) -> Result<Option<Vec<u32>>, Diagnostic> {
    let Some(value) = document.get("parts") else { return Ok(None) };
    let wrong = || bad("parts", &value.to_string(), "give growing bounds that begin with 0");
    let bounds: Vec<u32> = serde_json::from_value(value.clone()).map_err(|_| wrong())?;
    if bounds.last().is_some_and(|last| u64::from(*last) > MOST_LAYERS + 2) {
        return Err(wrong());
    }
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
