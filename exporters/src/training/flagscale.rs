//! A configuration of FlagScale (`run.py`, read by hydra): a process mesh for each stage, or for neighbours
//! that are alike, with layers of its own (`flagscale/train/arguments.py`, `flagscale/train/hetero`), the
//! model in Megatron's words, and devices by host (`flagscale/runner`).

use ir::card::{Head, Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::{Parallelism, Partition, Plan, Stage};
use ir::stack::Launch;
use ir::tensor::DType;
use serde_json::{Map, Value, json};

use super::field::fields;
use super::megatron;
use super::program::{Place, Program, Start, agents};
use super::target::{Lack, TrainingSource, TrainingTarget, blocks, is_outside, only_one, refused};
use crate::format::Export;

const TARGET: &str = "flagscale";

/// Its row.
pub(crate) const ROW: TrainingTarget = TrainingTarget {
    versions: &["0.9"],
    file_name: "flagscale.yaml",
    summary: "configuration of FlagScale with a process mesh for each stage",
    expresses: fields![
        Data Tensor Pipeline Blocks Schedule MicroBatch GlobalBatch Zero Sequence Recompute
        ElementType Optimizer Devices
    ],
    lacks: &[Lack::Parts, Lack::Predicting, Lack::Adafactor],
    types: Some(&[DType::Bf16, DType::F16, DType::F8, DType::F32]),
    program: Some(Program {
        start: Start::Hydra,
        members: &[],
        words: "\"${FLAGSCALE:?the folder of FlagScale}/run.py\"",
        environment: megatron::environment,
        yours: "data, tokenizer, learning rate, length and `save_interval` of the run, as hydra's overrides (such as \
                `++train.data.data_path=/data/text`); `FLAGSCALE`, its folder, the same on all hosts, which \
                its runner reaches by ssh",
    }),
    // Nothing is planned for it by name: plans go to it by what they are, of unlike nodes.
    ..TrainingTarget::of(TARGET, accepts, export)
};

/// It runs 1F1B and shares out optimizer states at most.
fn accepts(degrees: &Parallelism, schedule: &str) -> bool {
    let is_plain = degrees.context == 1 && degrees.expert == 1 && degrees.virtual_stages == 1;
    let is_known = degrees.pipeline == 1 || schedule == "1f1b";
    is_plain && is_known && degrees.zero <= ZeroStage::Optimizer && !is_outside(degrees)
}

/// Longest name of a host: it is part of names of files.
const LONGEST_HOST: usize = 128;

/// Ranks that FlagScale cuts alike.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ProcessMesh {
    tensor: u32,
    data: u32,
    stages: u32,
    device_type: String,
}

fn export(source: &TrainingSource<'_>) -> Result<Export, Diagnostic> {
    check(source)?;
    let layers = blocks(source.plan)?;
    if let Some(stage) = layers.iter().position(|n| *n == 0) {
        let why = format!("stage {stage} holds no block");
        return Err(refused(TARGET, "empty stages", &why, "give each stage a block"));
    }
    let (stages, samples) = stages(source)?;
    let meshes = meshes(&stages);
    let untied = source.model.groups.first().is_none_or(|group| group.card.head == Head::Separate);
    let shares = shares_states(source, &stages);
    let mut system = Map::new();
    if !untied {
        tied(&stages, shares, &mut system)?;
    }
    let (flags, warnings) = flags(source, &stages, samples)?;
    let (mut model, system_flags): (Map<_, _>, Map<_, _>) =
        flags.into_iter().partition(|(name, _)| !is_of_system(name));
    system.extend(system_flags);
    let run = &source.plan.parallelism;
    // Where its examples have it, beside what is the user's to say of the optimizer.
    if let Some(optimizer) = model.remove("optimizer") {
        model.insert("optimizer".to_owned(), json!({ "optimizer": optimizer }));
    }
    let total: u64 = samples * u64::from(stages[0].data) * run.n_micro_batches;
    model.insert("global_batch_size".to_owned(), json!(total));
    system.insert("tensor_model_parallel_size".to_owned(), json!(stages[0].tensor));
    recompute(&source.plan.partition.stages, run.n_micro_batches, &mut system)?;
    let cut = meshes.iter().flat_map(|mesh| [mesh.tensor, 1, 1, mesh.data, mesh.stages]);
    system.insert(
        "hetero".to_owned(),
        json!({
            "enable_hetero": true,
            "hetero_process_meshes": cut.collect::<Vec<u32>>(),
            "hetero_device_types": meshes.iter().map(|mesh| &mesh.device_type).collect::<Vec<_>>(),
            "hetero_current_device_type": meshes[0].device_type,
            "hetero_pipeline_layer_split": layers,
        }),
    );
    let mut export = Export { warnings, ..Export::from(String::new()) };
    // It numbers layers from 1 again in each later mesh of one stage (`get_transformer_layer_offset`).
    if meshes.iter().skip(1).any(|mesh| mesh.stages == 1) {
        system.insert("ckpt_format".to_owned(), json!("torch"));
        let message = "FlagScale numbers the layers of later meshes of one stage from 1 again";
        export.warnings.push(Diagnostic::warning("layer-numbers", message).hint(
            "keep `ckpt_format: torch`, whose files are by rank: others name tensors by their layers",
        ));
    }
    let document = json!({
        "defaults": ["_self_"],
        "experiment": experiment(source),
        "train": { "system": system, "model": model, "data": {} },
        "action": "run",
        "hydra": { "run": { "dir": "${experiment.exp_dir}/hydra" } },
    });
    let text = serde_yaml::to_string(&document)
        .map_err(|error| Diagnostic::input("bad-plan", error.to_string()))?;
    export.bytes = text.into_bytes();
    Ok(export)
}

/// Refuses what meshes can't say.
fn check(source: &TrainingSource<'_>) -> Result<(), Diagnostic> {
    let degrees = &source.plan.parallelism;
    only_one(TARGET, "context", degrees.context)?;
    only_one(TARGET, "expert", degrees.expert)?;
    only_one(TARGET, "virtual-stages", degrees.virtual_stages)?;
    let part = |part: &str, why: &str, hint: &str| Err(refused(TARGET, part, why, hint));
    if degrees.zero > ZeroStage::Optimizer {
        return part("ZeRO 2 or 3", "replicas share optimizer states", "plan with `--pin zero=1`");
    }
    if is_outside(degrees) {
        let why = "replicas of a stage are neighbours in its meshes";
        let hint = "plan with `--pin mesh=data-inside`";
        return part("replicas outside the pipeline", why, hint);
    }
    if degrees.pipeline > 1 && source.schedule != "1f1b" {
        let named = format!("the schedule `{}`", source.schedule);
        return part(&named, "meshes run 1F1B", "plan with `--pin schedule=1f1b`");
    }
    if source.stack.launch == Launch::CudaGraphs {
        let why = "its Megatron has other words for them";
        return part("graphs of launches", why, "plan with `--stack megatron-core`");
    }
    Ok(())
}

/// Each stage as a mesh, and samples of each replica of the first one.
fn stages(source: &TrainingSource<'_>) -> Result<(Vec<ProcessMesh>, u64), Diagnostic> {
    let degrees = &source.plan.parallelism;
    let labels = labels(source.places)?;
    let (mut first, mut found) = (0_usize, Vec::new());
    let mut samples = None;
    for (at, stage) in source.plan.partition.stages.iter().enumerate() {
        let (tensor, shares) = match &stage.mesh {
            Some(mesh) => (mesh.tensor.max(1), mesh.samples.clone()),
            None => (degrees.tensor, vec![degrees.micro_batch; degrees.data as usize]),
        };
        let each = shares.first().copied().unwrap_or_default();
        if let Some(other) = shares.iter().find(|share| **share != each) {
            let why = format!("replicas of stage {at} get {each} and {other}");
            let hint =
                "make the global batch a multiple of the replicas, or draw the plan with svg";
            return Err(refused(TARGET, "unequal samples of replicas", &why, hint));
        }
        samples.get_or_insert(each);
        let n = shares.len() * tensor as usize;
        let of_stage = labels.get(first..first + n).unwrap_or_default();
        let device_type = of_stage.first().cloned().unwrap_or_else(|| "device".to_owned());
        if let Some(other) = of_stage.iter().find(|label| **label != device_type) {
            let why = format!("stage {at} has {device_type} and {other}");
            let hint = "place a stage on hosts of one kind, or draw the plan with svg";
            return Err(refused(TARGET, "a stage on several kinds of hosts", &why, hint));
        }
        first += n;
        let data = u32::try_from(shares.len()).unwrap_or(u32::MAX);
        found.push(ProcessMesh { tensor, data, stages: 1, device_type });
    }
    match (samples, found.is_empty()) {
        (Some(samples), false) => Ok((found, samples)),
        _ => Err(Diagnostic::input("bad-plan", "the plan has no stages")),
    }
}

/// By rank a name of the hosts that are next to each other and have one kind of device: ranks are sorted by
/// the first mesh of their type, so hosts that are apart need names of their own.
fn labels(places: &[Place<'_>]) -> Result<Vec<String>, Diagnostic> {
    let (mut found, mut seen): (Vec<String>, Vec<&str>) = (Vec::new(), Vec::new());
    // Runs of hosts of a kind, with the name of that as a type has it.
    let mut runs: Vec<(&str, String)> = Vec::new();
    for run in places.chunk_by(|a, b| a.host == b.host) {
        let (host, kind) = (run[0].host, run[0].kind);
        if seen.contains(&host) {
            let why = format!("ranks of `{host}` do not follow each other");
            let hint = "read devices from the plan's `partition.stages`, or draw it with svg";
            return Err(refused(TARGET, "a host at two places of the pipeline", &why, hint));
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let begins = host.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !begins || host.len() > LONGEST_HOST || !host.chars().all(is_plain) {
            let why = format!("`{}`", host.escape_debug());
            let hint = "name hosts in the cluster's file by at most 128 letters, digits, `.`, `_` and `-`, \
                        a letter or digit first";
            return Err(refused(TARGET, "such a name of a host", &why, hint));
        }
        seen.push(host);
        if runs.last().is_none_or(|last| last.0 != kind) {
            let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
            runs.push((kind, kind.chars().map(plain).collect()));
        }
        let name = runs.last().map_or("", |last| &last.1);
        let n = runs.iter().filter(|earlier| earlier.1 == name).count();
        let label = if n > 1 { format!("{name}-{n}") } else { name.to_owned() };
        found.extend(run.iter().map(|_| label.clone()));
    }
    Ok(found)
}

/// Neighbours that are alike as one mesh, where each has one replica or they are the last: a mesh before
/// another has one stage or one replica (`logical_coords_to_physical_ranks`).
fn meshes(stages: &[ProcessMesh]) -> Vec<ProcessMesh> {
    let runs: Vec<&[ProcessMesh]> = stages.chunk_by(|a, b| a == b).collect();
    let last = runs.len() - 1;
    let of_run = |(at, run): (usize, &&[ProcessMesh])| match run[0].data == 1 || at == last {
        true => {
            let stages = u32::try_from(run.len()).unwrap_or(u32::MAX);
            vec![ProcessMesh { stages, ..run[0].clone() }]
        }
        false => run.to_vec(),
    };
    runs.iter().enumerate().flat_map(of_run).collect()
}

/// Whether replicas share out optimizer states: those of stages with devices of their own do.
fn shares_states(source: &TrainingSource<'_>, stages: &[ProcessMesh]) -> bool {
    let has_replicas = stages.iter().any(|mesh| mesh.data > 1);
    match source.plan.partition.has_own_devices() {
        true => has_replicas,
        false => source.plan.parallelism.zero >= ZeroStage::Optimizer,
    }
}

/// Weights that the first and the last stage have both are summed up between equal tensor ranks, and states
/// of unequal numbers of replicas where one divides the other.
fn tied(
    stages: &[ProcessMesh],
    shares: bool,
    system: &mut Map<String, Value>,
) -> Result<(), Diagnostic> {
    let (first, last) = (&stages[0], &stages[stages.len() - 1]);
    let part = "tied embeddings on such ends";
    let hint = "plan a model with a head of its own, or draw the plan with svg";
    if first.tensor != last.tensor {
        let why = format!("they have {} and {} tensor ranks", first.tensor, last.tensor);
        return Err(refused(TARGET, part, &why, hint));
    }
    let (few, many) = (first.data.min(last.data), first.data.max(last.data));
    if shares && few != many {
        if !many.is_multiple_of(few) {
            let why = format!("of {few} and {many} replicas none divides the other");
            return Err(refused(TARGET, part, &why, hint));
        }
        system.insert("use_partial_reduce_for_shared_embedding".to_owned(), json!(true));
    }
    Ok(())
}

/// Beginnings of flags that the Megatron of its version does not have (8479eb35, September 2025, of which
/// all others of `megatron` were found in its parser).
const UNKNOWN: [&str; 4] =
    ["moe_flex_dispatcher_backend", "moe_router_padding_for_quantization", "yarn_", "no_yarn_"];

/// Megatron's flags of a run of equal stages, in FlagScale's spelling.
fn flags(
    source: &TrainingSource<'_>,
    stages: &[ProcessMesh],
    samples: u64,
) -> Result<(Map<String, Value>, Vec<Diagnostic>), Diagnostic> {
    let degrees = &source.plan.parallelism;
    let most = |of: fn(&ProcessMesh) -> u32| stages.iter().map(of).max().unwrap_or(1);
    let tensor = most(|mesh| mesh.tensor);
    let (sequence, zero) = match source.plan.partition.has_own_devices() {
        true if tensor > 1 => (SequenceParallel::On, ZeroStage::None),
        true => (SequenceParallel::Off, ZeroStage::None),
        false => (degrees.sequence, degrees.zero),
    };
    let zero = if shares_states(source, stages) { ZeroStage::Optimizer } else { zero };
    let data = most(|mesh| mesh.data);
    let parallelism =
        Parallelism { data, tensor, micro_batch: samples, sequence, zero, ..degrees.clone() };
    let bare = |stage: &Stage| Stage { mesh: None, recompute: Recompute::None, ..stage.clone() };
    let partition = Partition { stages: source.plan.partition.stages.iter().map(bare).collect() };
    let plan = Plan { parallelism, partition, ..source.plan.clone() };
    let exported = megatron::export(&TrainingSource { plan: &plan, ..*source })?;
    let mut flags = Map::new();
    for line in String::from_utf8_lossy(&exported.bytes).lines() {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        let name = name.trim_start_matches('-').replace('-', "_");
        // The split of layers says it.
        if name == "pipeline_model_parallel_layout" {
            continue;
        }
        if UNKNOWN.iter().any(|prefix| name.starts_with(prefix)) {
            let why = "its Megatron has no such flag";
            let hint = "export to megatron, or plan another model or with `--stack megatron-core`";
            return Err(refused(TARGET, &format!("`{name}`"), why, hint));
        }
        let value = match value {
            "" => json!(true),
            text => serde_json::from_str(text)
                .ok()
                .filter(Value::is_number)
                .unwrap_or_else(|| json!(text)),
        };
        flags.insert(name, value);
    }
    let mut warnings = exported.warnings;
    // It wants sequences split in every mesh (`validate_args`).
    let has_single = stages.iter().any(|mesh| mesh.tensor == 1);
    if has_single && flags.remove("tp_comm_overlap").is_some() {
        let message = "beside meshes of one tensor rank FlagScale runs no collectives of tensor ranks beside \
                       products, as the plan does";
        warnings.push(
            Diagnostic::warning("no-tensor-overlap", message).hint(
                "expect a longer step than the plan's, or plan with --stack megatron-lm-tests",
            ),
        );
    }
    Ok((flags, warnings))
}

/// Whether FlagScale's own examples have a flag under `system`, where the others are the model's.
fn is_of_system(name: &str) -> bool {
    const PARTS: [&str; 10] = [
        "parallel",
        "overlap",
        "distributed",
        "bf16",
        "fp16",
        "fp8",
        "cpu_offload",
        "grad",
        "ckpt",
        "recompute",
    ];
    PARTS.iter().any(|part| name.contains(part))
}

/// What each stage computes again: flags where all do the same, else lists of one entry a stage, `[stages,
/// micro-batches, value]`. Nothing is switched on again once it was off, so no stage changes.
fn recompute(
    stages: &[Stage],
    n_micro_batches: u64,
    system: &mut Map<String, Value>,
) -> Result<(), Diagnostic> {
    let first = stages.first().map_or(Recompute::None, |stage| stage.recompute);
    if stages.iter().all(|stage| stage.recompute == first) {
        for line in megatron::recompute_flags(first)?.lines() {
            let (name, value) = line.split_once(' ').unwrap_or((line, ""));
            let value = value.parse::<u64>().map_or_else(|_| json!(value), |n| json!(n));
            system.insert(name.trim_start_matches('-').replace('-', "_"), value);
        }
        return Ok(());
    }
    let mut lists = [Vec::new(), Vec::new(), Vec::new()];
    for stage in stages {
        // Whether, by which method (uniform 0, block 1), and how many layers.
        let values = match stage.recompute {
            Recompute::None => [0, 0, 1],
            Recompute::Full => [1, 0, 1],
            Recompute::Uniform { blocks } => [1, 0, blocks],
            Recompute::Block { blocks } => [1, 1, blocks],
            Recompute::Selective | Recompute::PerOp => {
                let why = "stages that differ in it compute whole layers again";
                let hint = "plan with `--pin recompute=full`, or draw the plan with svg";
                return Err(refused(TARGET, "recompute of parts of some stages", why, hint));
            }
        };
        for (list, value) in lists.iter_mut().zip(values) {
            list.push(json!([1, n_micro_batches, value]));
        }
    }
    system.insert("recompute_granularity".to_owned(), json!("full"));
    system.insert("recompute_method".to_owned(), json!("uniform"));
    system.insert("recompute_num_layers".to_owned(), json!(1));
    for (what, list) in ["granularity", "method", "num_layers"].into_iter().zip(lists) {
        system.insert(format!("recompute_{what}_per_stage_micro_batch"), json!(list));
    }
    Ok(())
}

/// How its runner starts the processes: by host, the devices in the order of their ranks.
fn experiment(source: &TrainingSource<'_>) -> Value {
    let mut environment: Map<String, Value> = megatron::environment(source)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    environment.insert("CUDA_DEVICE_ORDER".to_owned(), json!("PCI_BUS_ID"));
    let slots = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let by_host: Map<String, Value> = agents(source.places)
        .iter()
        .map(|agent| {
            (agent.host.to_owned(), json!({ "CUDA_VISIBLE_DEVICES": slots(&agent.slots) }))
        })
        .collect();
    environment.insert("node_specific".to_owned(), Value::Object(by_host));
    json!({
        "exp_name": "meshwright",
        "exp_dir": "./outputs",
        "task": {
            "type": "train", "backend": "megatron", "entrypoint": "./flagscale/train/train_gpt.py",
        },
        "runner": {
            "backend": "torchrun", "hostfile": "hostfile", "rdzv_backend": "static",
        },
        "envs": environment,
    })
}

/// Lines of its hostfile.
pub(super) fn hostfile(source: &TrainingSource<'_>) -> Result<String, Diagnostic> {
    let labels = labels(source.places)?;
    let mut first = 0;
    let lines = agents(source.places).into_iter().map(|agent| {
        let label = labels.get(first).map_or("device", String::as_str);
        first += agent.slots.len();
        format!("{} slots={} type={label}\n", agent.host, agent.slots.len())
    });
    Ok(lines.collect())
}
