//! DeepSpeed's JSON: a `ds_config`, or what is written for it.

mod members;

use std::collections::BTreeMap;

use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;
use ir::plan::Mesh;
use ir::tensor::DType;
use ir::workload::Optimizer;
use serde_json::Value;

use super::flags::not_judged;
use super::limits::{MOST_DEGREE, MOST_LAYERS, MOST_SAMPLES, bad};
use crate::json;

fn document(text: &str) -> Result<Value, Diagnostic> {
    serde_json::from_str(text).map_err(|error| {
        let is_script = text.contains("<<") || text.starts_with("#!");
        let message = match is_script {
            true => "the script writes its own ds_config; only separate ds_config files are read"
                .to_owned(),
            false => format!("this is no valid JSON: {error}"),
        };
        Diagnostic::input("bad-settings", message)
            .hint("give that ds_config, or what `export deepspeed` writes")
    })
}

pub(super) fn read(text: &str) -> Result<LaunchSettings, Diagnostic> {
    let mut document = document(text)?;
    switches(&mut document);
    // It refuses keys that stand twice, wherever they do.
    json::top_keys(&text.as_bytes())?;
    let config = document.get("ds_config").unwrap_or(&document);
    members::check(config)?;
    let topology = document.get("topology").unwrap_or(&Value::Null);
    let (data, pipeline) = (degree(topology, "num_dp")?, degree(topology, "num_pp")?);
    let automatic = automatic(config, pipeline)?;
    let tensor = tensor(topology, automatic)?;
    let (dtype, stage) = (dtype(config)?, stage(config)?);
    persists(config, stage)?;
    let micro_batch = count(config, "train_micro_batch_size_per_gpu")?;
    let global_batch = samples(config, automatic)?;
    let n_micro_batches = accumulated(config, (micro_batch, global_batch))?;
    let product = || micro_batch?.checked_mul(n_micro_batches?)?.checked_mul(u64::from(data?));
    if let (Some(stated), Some(product)) = (global_batch, product())
        && stated != product
    {
        let hint = format!("micro-batches of all replicas are {product} samples");
        return Err(bad("train_batch_size", &stated.to_string(), &hint));
    }
    let not_planned = members::not_planned(config)?;
    let data = data.or_else(|| implied(micro_batch, n_micro_batches, global_batch));
    Ok(LaunchSettings {
        not_planned,
        offloads: Some(offloads(config, stage)?),
        offloads_parameters: parameters_move(config, stage)?,
        no_effect: idle(config, stage, pipeline),
        overlaps: overlaps(config, stage, pipeline)?,
        data,
        tensor,
        pipeline,
        expert: experts(config, tensor)?,
        micro_batch,
        n_micro_batches,
        global_batch: global_batch.or_else(product),
        sequence: sequence(&document, automatic),
        // Its optimizer for bf16 shares the states out in a pipeline, whatever the stage.
        zero: Some(match (stage, pipeline.is_some_and(|n| n > 1), dtype) {
            (ZeroStage::None, true, Some(DType::Bf16)) => ZeroStage::Optimizer,
            _ => stage,
        }),
        recompute: recompute(&document, config, pipeline)?,
        blocks: parts(&document)?,
        gradients: gradients(config, (dtype, stage))?,
        dtype,
        optimizer: optimizer(config)?,
        // Pipeline ranks are the outermost axis of its topologies.
        mesh: Some(Mesh::TpCpDpPp),
        // Its pipeline runs no other one.
        schedule: Some("1f1b".to_owned()),
        trains_elsewhere: true,
        ..LaunchSettings::default()
    })
}

/// Tensor ranks of the topology, or of AutoTP.
fn tensor(topology: &Value, automatic: Option<u32>) -> Result<Option<u32>, Diagnostic> {
    let tensor = degree(topology, "num_mp")?;
    if automatic.is_some_and(|automatic| tensor.is_some_and(|tensor| tensor != automatic)) {
        return Err(bad("tensor_parallel.autotp_size", "", "give the `num_mp` of the topology"));
    }
    Ok(tensor.or(automatic))
}

/// Replicas, to which three sizes that are all stated leave no choice.
fn implied(micro_batch: Option<u64>, n: Option<u64>, global_batch: Option<u64>) -> Option<u32> {
    let samples = micro_batch?.checked_mul(n?)?;
    let all = global_batch.filter(|all| all.is_multiple_of(samples))?;
    u32::try_from(all / samples).ok()
}

/// Whether tensor ranks split the sequence, which those of AutoTP don't unless it is stated.
fn sequence(document: &Value, automatic: Option<u32>) -> Option<SequenceParallel> {
    match (document.get("sequence_parallel").and_then(Value::as_bool), automatic) {
        (Some(true), _) => Some(SequenceParallel::On),
        (Some(false), _) | (None, Some(_)) => Some(SequenceParallel::Off),
        (None, None) => None,
    }
}

fn degree(from: &Value, member: &str) -> Result<Option<u32>, Diagnostic> {
    let value = count(from, member)?.map(u32::try_from).transpose();
    let value = value.ok().filter(|n| n.is_none_or(|n| u64::from(n) <= MOST_DEGREE));
    value.ok_or_else(|| bad(member, "more", &format!("give at most {MOST_DEGREE}")))
}

/// A count; `None` where it is left out, or to who fills the file in.
fn count(from: &Value, member: &str) -> Result<Option<u64>, Diagnostic> {
    let Some(value) = from.get(member).filter(|value| *value != "auto") else { return Ok(None) };
    let count = value.as_u64().filter(|n| (1..=MOST_SAMPLES).contains(n)).ok_or_else(|| {
        bad(member, &value.to_string(), &format!("give a whole number from 1 to {MOST_SAMPLES}"))
    });
    count.map(Some)
}

/// Micro-batches of a step (`_set_batch_related_parameters`): one, unless they are stated or follow from
/// the two sizes; left open where who fills the file in says one of them.
fn accumulated(
    config: &Value,
    (micro_batch, global_batch): (Option<u64>, Option<u64>),
) -> Result<Option<u64>, Diagnostic> {
    let name = "gradient_accumulation_steps";
    let members = ["train_batch_size", "train_micro_batch_size_per_gpu", name];
    let is_open =
        members.iter().any(|member| config.get(*member).is_some_and(|value| value == "auto"));
    let follows = micro_batch.is_some() == global_batch.is_some();
    let stated = count(config, name)?;
    Ok(stated.or((!follows && !is_open).then_some(1)))
}

/// Whether gradients are exchanged beside the backward pass: by its ZeRO optimizers outside of pipelines,
/// by default where they share out parameters (`runtime/zero/config.py`).
fn overlaps(
    config: &Value,
    stage: ZeroStage,
    pipeline: Option<u32>,
) -> Result<Option<bool>, Diagnostic> {
    let stated = match of(config, "zero_optimization", "overlap_comm") {
        None | Some(Value::Null) => Some(stage == ZeroStage::Parameters),
        Some(Value::Bool(is_on)) => Some(*is_on),
        Some(value) if value == "auto" => None,
        Some(other) => {
            let hint = "give true or false";
            return Err(bad("zero_optimization.overlap_comm", &other.to_string(), hint));
        }
    };
    let can = stage >= ZeroStage::Optimizer && pipeline.is_none_or(|n| n == 1);
    // Shared-out parameters are gathered beside the passes under any stack.
    let says_nothing = stage == ZeroStage::Parameters && stated == Some(true);
    Ok(if !can { Some(false) } else { stated.filter(|_| !says_nothing) })
}

/// Makes switches of what DeepSpeed takes for some: words for true and false, and 0 and 1 where a section is enabled.
fn switches(value: &mut Value) {
    let is_one_of = |word: &str, all: &[&str]| all.contains(&word.to_lowercase().as_str());
    match value {
        Value::Array(all) => all.iter_mut().for_each(switches),
        Value::Object(members) => {
            for (name, value) in members.iter_mut() {
                let is_switch = name == "enabled";
                let word = match &*value {
                    Value::String(word) => word.clone(),
                    Value::Number(number) if is_switch => number.to_string(),
                    _ => String::new(),
                };
                let is = |usual: &[&str], others: &[&str]| {
                    is_one_of(&word, usual) || is_switch && is_one_of(&word, others)
                };
                if is(&["true"], &["t", "yes", "y", "on", "1"]) {
                    *value = Value::Bool(true);
                } else if is(&["false"], &["f", "no", "n", "off", "0"]) {
                    *value = Value::Bool(false);
                }
                switches(value);
            }
        }
        _ => {}
    }
}

/// A member of a section.
fn of<'a>(config: &'a Value, section: &str, member: &str) -> Option<&'a Value> {
    config.get(section)?.get(member)
}

/// Tensor ranks of AutoTP, where it splits the model.
fn automatic(config: &Value, pipeline: Option<u32>) -> Result<Option<u32>, Diagnostic> {
    let path = "tensor_parallel.autotp_size";
    let section = config.get("tensor_parallel").unwrap_or(&Value::Null);
    if section.get("autotp_size").is_none_or(|size| *size == 0) {
        return Ok(None);
    }
    let found = degree(section, "autotp_size")?.filter(|n| *n > 1);
    if found.is_some() && pipeline.is_some_and(|n| n > 1) {
        return Err(not_judged(path, "the layers of a pipeline are split by who writes them"));
    }
    Ok(found)
}

/// Samples of a step. With AutoTP every process counts for a replica.
fn samples(config: &Value, automatic: Option<u32>) -> Result<Option<u64>, Diagnostic> {
    let member = "train_batch_size";
    let Some(stated) = count(config, member)? else { return Ok(None) };
    let ranks = u64::from(automatic.unwrap_or(1));
    if !stated.is_multiple_of(ranks) {
        let hint = format!("it counts each of {ranks} tensor ranks: give a multiple of them");
        return Err(bad(member, &stated.to_string(), &hint));
    }
    Ok(Some(stated / ranks))
}

/// Ranks that share out the experts.
fn experts(config: &Value, tensor: Option<u32>) -> Result<Option<u32>, Diagnostic> {
    let section = config.get("expert_parallel").unwrap_or(&Value::Null);
    if section.get("enabled") != Some(&Value::Bool(true)) {
        return Ok(None);
    }
    let found = degree(section, "autoep_size")?;
    if found.is_some_and(|n| n > 1) && tensor.is_some_and(|n| n > 1) {
        let why = "experts are shared out over replicas, not over tensor ranks";
        return Err(not_judged("expert_parallel.autoep_size", why));
    }
    Ok(found)
}

/// The stage of ZeRO; a switch is its older form.
fn stage(config: &Value) -> Result<ZeroStage, Diagnostic> {
    let sharing = config.get("zero_optimization").unwrap_or(&Value::Null);
    let number = match sharing {
        Value::Bool(is_on) => Some(u64::from(*is_on)),
        object => object.get("stage").map_or(Some(0), Value::as_u64),
    };
    match number {
        Some(0) => Ok(ZeroStage::None),
        Some(1) => Ok(ZeroStage::Optimizer),
        Some(2) => Ok(ZeroStage::Gradients),
        Some(3) => Ok(ZeroStage::Parameters),
        _ => Err(bad("zero_optimization.stage", "", "use 0, 1, 2 or 3")),
    }
}

/// Elements below which ZeRO 3 leaves a parameter whole on each replica, where nobody states others: norms
/// and biases.
const PERSISTENT: f64 = 1e5;

/// Refuses a threshold of more elements, below which products would be left whole too.
fn persists(config: &Value, stage: ZeroStage) -> Result<(), Diagnostic> {
    let names = ["stage3_param_persistence_threshold", "param_persistence_threshold"];
    let is_above = |name: &&&str| {
        let threshold = of(config, "zero_optimization", name).and_then(Value::as_f64);
        threshold.is_some_and(|threshold| threshold > PERSISTENT)
    };
    match names.iter().find(is_above).filter(|_| stage == ZeroStage::Parameters) {
        None => Ok(()),
        Some(name) => {
            let why = "parameters of so many elements stay whole on each replica, and plans share out all";
            Err(not_judged(&format!("zero_optimization.{name}"), why))
        }
    }
}

/// Where a part of the states goes; `None` where it stays on the devices.
fn keeper<'a>(config: &'a Value, part: &str) -> Option<&'a str> {
    let to =
        of(config, "zero_optimization", part).and_then(|section| section.get("device")?.as_str());
    to.filter(|device| *device != "none")
}

fn is_on(config: &Value, part: &str) -> bool {
    of(config, "zero_optimization", part) == Some(&Value::Bool(true))
}

/// Whether the file moves parameters off the devices; `cpu_offload_param` is the older form.
fn moves_parameters(config: &Value) -> bool {
    keeper(config, "offload_param").is_some() || is_on(config, "cpu_offload_param")
}

/// Members that do nothing as the others are, by what each needs.
fn idle(config: &Value, stage: ZeroStage, pipeline: Option<u32>) -> BTreeMap<String, String> {
    let moves_states =
        keeper(config, "offload_optimizer").is_some() || is_on(config, "cpu_offload");
    let shares = of(config, "expert_parallel", "autoep_size").is_some();
    let is_shared = of(config, "expert_parallel", "enabled") == Some(&Value::Bool(true));
    let interval = of(config, "pipeline", "activation_checkpoint_interval").is_some();
    let [none, whole] = [stage == ZeroStage::None, stage == ZeroStage::Parameters];
    let stages = "`zero_optimization.stage` 1, 2 or 3";
    let rows = [
        (moves_states && none, "zero_optimization.offload_optimizer", stages),
        (
            moves_parameters(config) && !whole,
            "zero_optimization.offload_param",
            "`zero_optimization.stage` 3",
        ),
        (is_on(config, "overlap_comm") && none, "zero_optimization.overlap_comm", stages),
        (shares && !is_shared, "expert_parallel.autoep_size", "`expert_parallel.enabled`"),
        (
            interval && pipeline == Some(1),
            "pipeline.activation_checkpoint_interval",
            "several pipeline ranks",
        ),
    ];
    let rows = rows.into_iter().filter(|(is_idle, ..)| *is_idle);
    rows.map(|(_, member, needed)| (member.to_owned(), needed.to_owned())).collect()
}

/// Whether hosts keep parameters too, which is judged where they keep the optimizer states.
fn parameters_move(config: &Value, stage: ZeroStage) -> Result<bool, Diagnostic> {
    let path = "zero_optimization.offload_param";
    if !moves_parameters(config) || stage != ZeroStage::Parameters {
        return Ok(false);
    }
    if let Some(other) = keeper(config, "offload_param").filter(|device| *device != "cpu") {
        let why = "hosts keep parameters in their memory";
        return Err(not_judged(&format!("{path}.device: {other}"), why));
    }
    match offloads(config, stage)? {
        true => Ok(true),
        false => Err(not_judged(path, "hosts that keep parameters keep the optimizer states too")),
    }
}

/// Whether hosts keep the optimizer states; `cpu_offload` is the older form. Only ZeRO moves any.
fn offloads(config: &Value, stage: ZeroStage) -> Result<bool, Diagnostic> {
    let path = |part: &str| format!("zero_optimization.{part}");
    let is_on = |part: &str| is_on(config, part);
    if stage == ZeroStage::None {
        return Ok(false);
    }
    let states = of(config, "zero_optimization", "offload_optimizer");
    let share = states.and_then(|states| states.get("ratio")?.as_f64()).unwrap_or(1.0);
    let is_super =
        states.and_then(|states| states.get("super_offload")?.as_bool()).unwrap_or(false);
    match keeper(config, "offload_optimizer") {
        None => Ok(is_on("cpu_offload")),
        Some("cpu") if share == 1.0 && !is_super => Ok(true),
        Some("cpu") => {
            let why = "hosts keep all states or none, and update them after the last gradient";
            Err(not_judged(&path("offload_optimizer"), why))
        }
        Some(_) => {
            let why = "optimizer states stay on the devices or with the host";
            Err(not_judged(&path("offload_optimizer"), why))
        }
    }
}

/// What every layer computes again, in a pipeline by intervals of layers; `None` where the program
/// decides it.
fn recompute(
    document: &Value,
    config: &Value,
    pipeline: Option<u32>,
) -> Result<Option<Recompute>, Diagnostic> {
    if let Some(again) = document.get("gradient_checkpointing").and_then(Value::as_bool) {
        return Ok(Some(if again { Recompute::Full } else { Recompute::None }));
    }
    let member = "activation_checkpoint_interval";
    let inside = of(config, "pipeline", member).filter(|_| pipeline.is_none_or(|n| n > 1));
    // That of the file wins where it is more than 0.
    let value = inside.filter(|value| **value != 0).or_else(|| document.get(member)).or(inside);
    match value.map(Value::as_u64) {
        None => Ok(None),
        Some(Some(0)) => Ok(Some(Recompute::None)),
        Some(Some(1)) => Ok(Some(Recompute::Full)),
        Some(Some(blocks)) if u32::try_from(blocks).is_ok() => {
            Ok(Some(Recompute::Uniform { blocks: blocks as u32 }))
        }
        Some(_) => Err(bad(member, "", "give a count")),
    }
}

/// What products are computed in: of two sections the one that is enabled, else single precision, also
/// where there is neither (`_configure_distributed_model`); `None` where it is left to who fills the file in.
fn dtype(config: &Value) -> Result<Option<DType>, Diagnostic> {
    let section = |names: &[&str]| names.iter().find_map(|name| config.get(*name));
    let enabled = |section: Option<&Value>| {
        let flag =
            section.and_then(|section| section.get("enabled")).unwrap_or(&Value::Bool(false));
        if flag == "auto" { None } else { Some(flag.as_bool().unwrap_or(false)) }
    };
    let (bf16, fp16) = (enabled(section(&["bf16", "bfloat16"])), enabled(section(&["fp16"])));
    match (bf16, fp16) {
        (Some(true), Some(true)) => Err(bad("fp16", "enabled", "enable one of bf16 and fp16")),
        (Some(true), _) => Ok(Some(DType::Bf16)),
        (_, Some(true)) => Ok(Some(DType::F16)),
        (Some(false), Some(false)) => Ok(Some(DType::F32)),
        _ => Ok(None),
    }
}

/// What gradients of a 16-bit run are summed in: the type of the run unless the file says another.
fn gradients(
    config: &Value,
    (dtype, stage): (Option<DType>, ZeroStage),
) -> Result<Option<DType>, Diagnostic> {
    let Some(dtype) = dtype.filter(|dtype| *dtype != DType::F32) else { return Ok(None) };
    let path = "data_types.grad_accum_dtype";
    let named = |value: &Value| match value.as_str() {
        Some("fp32" | "float32" | "float" | "torch.float32") => Ok(DType::F32),
        Some("bf16" | "bfloat16" | "torch.bfloat16") => Ok(DType::Bf16),
        Some("fp16" | "float16" | "half" | "torch.float16") => Ok(DType::F16),
        _ => Err(bad(path, &value.to_string(), "use fp32, bf16 or fp16")),
    };
    let stated = |value: Option<&Value>| match value.filter(|value| !value.is_null()) {
        None => Ok(dtype),
        Some(value) => named(value),
    };
    let summed = stated(of(config, "data_types", "grad_accum_dtype"))?;
    let sent = stated(config.get("communication_data_type"))?;
    if summed != sent {
        let why = "gradients are exchanged in the type that they are summed in";
        return Err(not_judged("communication_data_type", why)
            .hint(format!("state it beside `{path}`, the same")));
    }
    if summed != dtype && stage == ZeroStage::None {
        let hint = "without ZeRO it sums gradients in the type of the run";
        return Err(bad(path, summed.name(), hint));
    }
    Ok(Some(summed))
}

fn optimizer(config: &Value) -> Result<Option<Optimizer>, Diagnostic> {
    let Some(kind) = config.get("optimizer").and_then(|section| section.get("type")) else {
        return Ok(None);
    };
    let name = kind.as_str().unwrap_or_default();
    let params = of(config, "optimizer", "params");
    let momentum = params.and_then(|params| params.get("momentum")?.as_f64()).unwrap_or(0.0);
    match name.to_lowercase().as_str() {
        "adam" | "adamw" => Ok(Some(Optimizer::AdamW)),
        "sgd" if momentum != 0.0 => {
            let why = "its momentum is a state, and plans have none of SGD's";
            Err(not_judged("optimizer.params.momentum", why))
        }
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
