//! What `accelerate config` writes: processes, and what they share out.

use std::collections::BTreeMap;

use ir::card::ZeroStage;
use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;
use ir::tensor::DType;

use super::super::flags::not_judged;
use super::super::keys::Keys;
use super::super::limits::bad;
use super::command;
use super::fsdp;

/// Keys that change neither time nor memory.
const IDLE: &str = include_str!("accelerate.txt");

/// Keys that change what runs in a way that no plan has.
const REFUSED: [(&str, &str); 9] = [
    ("use_cpu", "plans of this launcher run on accelerators"),
    ("tpu_use_cluster", "its TPUs are started by another program"),
    ("megatron_lm_config", "give the flags of Megatron-LM"),
    ("deepspeed_config.zero_hpz_partition_size", "replicas of shards are in no plan"),
    ("parallelism_config.parallelism_config_sp_size", "no plan splits attention by heads"),
    ("fp8_config", "give the flags of the program that computes in 8 bits"),
    ("mpirun_config", "plans of this launcher run on accelerators"),
    ("ipex_config", "plans of this launcher run on accelerators"),
    ("dynamo_config.dynamo_backend", "kernels are those of the stack"),
];

/// Flags of `accelerate launch` without a value.
const SWITCHES: [&str; 15] = [
    "use_fsdp",
    "use_deepspeed",
    "use_megatron_lm",
    "use_parallelism_config",
    "multi_gpu",
    "module",
    "cpu",
    "use_cpu",
    "tpu",
    "no_python",
    "debug",
    "quiet",
    "same_network",
    "enable_cpu_affinity",
    "downcast_bf16",
];
/// Counts under any kind of run.
const ACCUMULATED: &str = "gradient_accumulation_steps";
/// Other names of the command.
const SPELLINGS: [&str; 2] = ["accelerate-launch", "accelerate.commands.launch"];
const PROCESSES: &str = "num_processes";
const COMMAND: &str = "accelerate launch";

/// The key of a flag of `accelerate launch` in a config file.
fn key(flag: &str) -> String {
    let flag = flag.replace('-', "_");
    let of_deepspeed = ["deepspeed_", "zero_stage", "zero3_", "offload_", "gradient_clipping"];
    let section = match () {
        () if flag == "cpu" => return "use_cpu".to_owned(),
        () if flag.starts_with("fsdp_") => "fsdp_config.",
        () if flag.starts_with("parallelism_config_") => "parallelism_config.",
        () if flag.starts_with("dynamo_") => "dynamo_config.",
        () if of_deepspeed.iter().any(|start| flag.starts_with(start)) => "deepspeed_config.",
        () => "",
    };
    format!("{section}{flag}")
}

/// Reads a config file, or the flags of the one `accelerate launch` of a script.
pub(crate) fn read(text: &str) -> Result<LaunchSettings, Diagnostic> {
    let launches = |words: &[&str]| words.first() == Some(&"launch");
    let text = &SPELLINGS.iter().fold(text.to_owned(), |text, word| text.replace(word, COMMAND));
    let Some(mut found) = command::of(text, ("accelerate", "launch"), &launches)? else {
        return of_keys(&Keys::read(text)?);
    };
    let is_switch = |flag: &str| SWITCHES.contains(&flag.replace('-', "_").as_str());
    let (mut keys, rest) = command::keys(&found.words, &key, &is_switch);
    command::check_files(COMMAND, rest)?;
    if let Some(n) = keys.text(PROCESSES).filter(|n| n.starts_with('$')) {
        found.unset.push(n);
        keys.values.remove(PROCESSES);
    }
    if keys.is_on("tpu")? {
        return Err(not_judged("--tpu", "its TPUs are started by another program"));
    }
    if let Some(file) = keys.text("config_file") {
        return Err(command::elsewhere(COMMAND, &format!("--config_file {file}")));
    }
    let is_one = keys.count("num_machines")?.is_none_or(|n| n == 1);
    if let (None, true, Some(n)) = (keys.text(PROCESSES), is_one, found.n_visible) {
        keys.values.insert(PROCESSES.to_owned(), n.into());
    }
    let kind = kind(&keys)?;
    keys.values.insert("distributed_type".to_owned(), kind.into());
    let mut no_effect = without_switch(&mut keys)?;
    keys.pass(["module".to_owned()]);
    let n_micro_batches = keys.count(ACCUMULATED)?;
    let mut settings = of_keys(&keys)?;
    settings.n_micro_batches = n_micro_batches.or(settings.n_micro_batches);
    settings.no_effect.append(&mut no_effect);
    for (why, words) in command::not_read((text, &found), rest) {
        if !words.is_empty() {
            settings.not_judged.insert(why, words);
        }
    }
    Ok(settings)
}

/// The kind of run that switches choose.
fn kind(keys: &Keys) -> Result<&'static str, Diagnostic> {
    let mut kind = None;
    for (switch, other) in [
        ("use_fsdp", "FSDP"),
        ("use_deepspeed", "DEEPSPEED"),
        ("use_megatron_lm", "MEGATRON_LM"),
        ("multi_gpu", "MULTI_GPU"),
    ] {
        if keys.is_on(switch)? && kind.replace(other).is_some() {
            let hint = "give one of --use_fsdp, --use_deepspeed, --use_megatron_lm and --multi_gpu";
            return Err(bad(&format!("--{switch}"), "true", hint));
        }
    }
    Ok(kind.unwrap_or("MULTI_GPU"))
}

/// Removes flags of sections without their switch, which have no effect; returns each with the switch.
fn without_switch(keys: &mut Keys) -> Result<BTreeMap<String, String>, Diagnostic> {
    let mut no_effect = BTreeMap::new();
    for (section, switch) in [
        ("fsdp_config.", "use_fsdp"),
        ("deepspeed_config.", "use_deepspeed"),
        ("parallelism_config.", "use_parallelism_config"),
    ] {
        if keys.is_on(switch)? {
            continue;
        }
        keys.values.retain(|key, _| match key.strip_prefix(section) {
            Some(flag) => {
                no_effect.insert(format!("--{flag}"), format!("`--{switch}`"));
                false
            }
            None => true,
        });
    }
    Ok(no_effect)
}

fn of_keys(keys: &Keys) -> Result<LaunchSettings, Diagnostic> {
    let kind = keys.text("distributed_type").unwrap_or_else(|| "NO".to_owned());
    let mut settings = LaunchSettings {
        dtype: dtype(keys)?,
        offloads: Some(false),
        trains_elsewhere: true,
        ..LaunchSettings::default()
    };
    if settings.dtype.is_none() {
        let key = "mixed_precision (left out)".to_owned();
        settings.not_judged.insert("the training program may set it", vec![key]);
    }
    match kind.as_str() {
        // Replicas on accelerators of any maker.
        "NO" | "MULTI_GPU" | "MULTI_XPU" | "MULTI_NPU" | "MULTI_MLU" | "MULTI_MUSA"
        | "MULTI_HPU" => {
            settings.zero = Some(ZeroStage::None);
        }
        "FSDP" => {
            let sharded = fsdp::read(keys, None)?;
            (settings.zero, settings.recompute) = (Some(sharded.zero), sharded.recompute);
            settings.offloads = Some(sharded.offloads);
            settings.offloads_parameters = sharded.offloads;
        }
        "DEEPSPEED" => deepspeed(keys, &mut settings)?,
        other => {
            let why = "NO, MULTI_GPU, FSDP and DEEPSPEED are";
            return Err(not_judged(&format!("distributed_type: {other}"), why));
        }
    }
    // Sections of other types than the chosen one.
    for (section, of) in [("fsdp_config.", "FSDP"), ("deepspeed_config.", "DEEPSPEED")] {
        if kind != of {
            let own = keys.values.keys().filter(|key| key.starts_with(section));
            keys.idle(own.cloned().collect::<Vec<_>>());
        }
    }
    degrees(keys, &mut settings)?;
    if kind == "NO" {
        if keys.degree(PROCESSES)?.is_some_and(|n| n > 1) {
            let needed = "`distributed_type: MULTI_GPU`".to_owned();
            settings.no_effect.insert(PROCESSES.to_owned(), needed);
        }
        settings.data = Some(1);
    }
    let of_kind = |row: &&(&str, &str)| kind == "DEEPSPEED" || !row.0.starts_with("deepspeed_");
    keys.refuse(&REFUSED.iter().filter(of_kind).copied().collect::<Vec<_>>())?;
    keys.finish(IDLE)?;
    settings.not_planned = keys.not_planned();
    Ok(settings)
}

fn dtype(keys: &Keys) -> Result<Option<DType>, Diagnostic> {
    match keys.text("mixed_precision").as_deref() {
        None => Ok(None),
        Some("no") => Ok(Some(DType::F32)),
        Some("bf16") => Ok(Some(DType::Bf16)),
        Some("fp16") => Ok(Some(DType::F16)),
        Some(other) => {
            let why = "this file does not say which products run in 8 bits";
            Err(not_judged(&format!("mixed_precision: {other}"), why))
        }
    }
}

/// Processes over the axes of `parallelism_config`; what it leaves are replicas.
fn degrees(keys: &Keys, settings: &mut LaunchSettings) -> Result<(), Diagnostic> {
    let of =
        |axis: &str| keys.degree(&format!("parallelism_config.parallelism_config_{axis}_size"));
    let (tensor, context) = (of("tp")?.unwrap_or(1), of("cp")?.unwrap_or(1));
    let (copies, shards) = (of("dp_replicate")?.unwrap_or(1), of("dp_shard")?);
    if copies > 1 && shards.is_some_and(|shards| shards > 1) {
        let key = format!("parallelism_config.parallelism_config_dp_replicate_size: {copies}");
        return Err(not_judged(&key, "replicas of shards are in no plan"));
    }
    let (key, n) = (PROCESSES, keys.degree(PROCESSES)?);
    let group = u64::from(tensor) * u64::from(context);
    let left = n.map(u64::from).filter(|n| n.is_multiple_of(group)).map(|n| n / group);
    if let (Some(n), None) = (n, left) {
        let hint = format!("give a multiple of {group}, the processes of a replica");
        return Err(bad(key, &n.to_string(), &hint));
    }
    // Shards that are left out are none.
    let stated =
        shards.or((copies > 1).then_some(1)).map(|shards| u64::from(shards) * u64::from(copies));
    if let (Some(stated), Some(left)) = (stated, left)
        && stated != left
    {
        let hint = format!("`parallelism_config` takes {}", stated * group);
        return Err(bad(key, &n.unwrap_or(0).to_string(), &hint));
    }
    settings.data = stated.or(left).and_then(|n| u32::try_from(n).ok());
    (settings.tensor, settings.context, settings.pipeline) = (Some(tensor), Some(context), Some(1));
    Ok(())
}

/// The section, or the file that it names.
fn deepspeed(keys: &Keys, settings: &mut LaunchSettings) -> Result<(), Diagnostic> {
    let path = |name: &str| format!("deepspeed_config.{name}");
    settings.deepspeed_file = keys.text(&path("deepspeed_config_file"));
    settings.n_micro_batches = keys.count(&path("gradient_accumulation_steps"))?;
    let to = keys.text(&path("offload_optimizer_device"));
    let stage = path("zero_stage");
    settings.zero = Some(match keys.text(&stage).as_deref() {
        Some("0") => ZeroStage::None,
        Some("1") => ZeroStage::Optimizer,
        None | Some("2") => ZeroStage::Gradients,
        Some("3") => ZeroStage::Parameters,
        Some(other) => return Err(bad(&stage, other, "use 0, 1, 2 or 3")),
    });
    settings.offloads = match to.as_deref() {
        None | Some("none") => Some(false),
        Some("cpu") => Some(true),
        Some(other) => {
            let key = format!("{}: {other}", path("offload_optimizer_device"));
            return Err(not_judged(&key, "optimizer states stay on the devices or with the host"));
        }
    };
    let parameters = keys.text(&path("offload_param_device"));
    settings.offloads_parameters = match (parameters.as_deref(), settings.zero) {
        (None | Some("none"), _) => false,
        (_, Some(ZeroStage::None | ZeroStage::Optimizer | ZeroStage::Gradients)) => {
            let needed = format!("`{stage}: 3`");
            settings.no_effect.insert(path("offload_param_device"), needed);
            false
        }
        (Some("cpu"), _) if settings.offloads == Some(true) => true,
        (Some(other), _) => {
            let key = format!("{}: {other}", path("offload_param_device"));
            return Err(not_judged(
                &key,
                "hosts keep parameters beside the optimizer states, in memory",
            ));
        }
    };
    Ok(())
}
