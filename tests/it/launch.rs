//! Plans of training runs in the words of launchers, and back.

use std::ops::Range;

use cost_model::kernels::stack::megatron_core;
use exporters::runs::{export, targets};
use exporters::training::{Blocks, Field, TrainingSource};
use importers::launcher::{Launcher, read};
use ir::card::{
    Attention, FeedForward, Head, ModelCard, Recompute, SequenceParallel, TransformerCard,
    ZeroStage,
};
use ir::grid::Grid;
use ir::hyperparameters::Hyperparameters;
use ir::launch::LaunchSettings;
use ir::plan::{BlockPolicy, Mesh, Parallelism, Partition, Plan, Stage};
use ir::schedule::Schedule;
use ir::tensor::DType;
use ir::workload::Optimizer;
use planner::training::schedule::{early_recompute, interleaved, one_f_one_b, zb_h1};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

mod huggingface;

const N_PLANS: u64 = 1_200;
/// Plans that each target takes and that are read back.
const N_EACH: u64 = 200;

/// A plan, the name of its schedule, and blocks that predict a later token.
struct Case {
    plan: Plan,
    schedule: &'static str,
    n_predicting: u32,
    offloads: bool,
    dtype: DType,
    optimizer: Optimizer,
}

/// A small model of equal blocks.
pub(crate) fn small() -> ModelCard {
    ModelCard::uniform(TransformerCard {
        name: "small".to_owned(),
        n_layers: 4,
        hidden: 256,
        n_heads: 8,
        n_kv_heads: 2,
        feed_forward: 1_024,
        form: FeedForward::Gated,
        sequence: 128,
        vocabulary: 1_000,
        experts: None,
        attention: Attention::Even,
        head: Head::Separate,
    })
}

fn random(rng: &mut SmallRng) -> Case {
    let pipeline = rng.random_range(1..=6u32);
    let virtual_stages = if pipeline > 1 { rng.random_range(1..=3u32) } else { 1 };
    let n_micro_batches = u64::from(pipeline * rng.random_range(1..=4));
    let zeros = match pipeline {
        1 => [ZeroStage::None, ZeroStage::Optimizer, ZeroStage::Gradients, ZeroStage::Parameters],
        _ => [ZeroStage::None, ZeroStage::Optimizer, ZeroStage::None, ZeroStage::Optimizer],
    };
    let data = 1 << rng.random_range(0..4);
    let parallelism = Parallelism {
        data,
        tensor: 1 << rng.random_range(0..4),
        pipeline,
        expert: if rng.random_range(0..4) == 0 { data } else { 1 },
        context: if rng.random_range(0..4) == 0 { 2 } else { 1 },
        n_micro_batches,
        micro_batch: rng.random_range(1..=4),
        virtual_stages,
        sequence: [SequenceParallel::Off, SequenceParallel::On][rng.random_range(0..2)],
        zero: zeros[rng.random_range(0..4)],
        mesh: [Mesh::TpCpDpPp, Mesh::TpCpPpDp][rng.random_range(0..2)],
        vocabulary: None,
        expert_overlap: false,
        expert_tensor: None,
    };
    let policies = [
        Recompute::None,
        Recompute::Selective,
        Recompute::PerOp,
        Recompute::Full,
        Recompute::Uniform { blocks: 2 },
        Recompute::Block { blocks: 3 },
    ];
    let recompute = policies[rng.random_range(0..policies.len())];
    let mut next = 0;
    let stages = (0..pipeline * virtual_stages).map(|_| {
        let blocks: Range<u32> = next..next + rng.random_range(1..=5);
        next = blocks.end;
        Stage { ops: Vec::new(), blocks, recompute, each: Vec::new(), mesh: None }
    });
    let stages: Vec<Stage> = stages.collect();
    let m = n_micro_batches as u32;
    let (schedule, grid) = match virtual_stages {
        1 if pipeline > 1 && rng.random_range(0..4) == 0 => ("zb-h1", zb_h1::grid(pipeline, m)),
        1 => ("1f1b", one_f_one_b::grid(pipeline, m)),
        _ => ("interleaved", interleaved::grid(pipeline, virtual_stages, m)),
    };
    let last = stages.last().unwrap().blocks.clone();
    // States that nobody shares out are left on hosts under another stage of ZeRO.
    let offloads = parallelism.zero != ZeroStage::None && rng.random_range(0..5) == 0;
    let n_predicting = u32::from(last.len() > 1 && rng.random_range(0..4) == 0);
    Case {
        plan: Plan {
            parallelism,
            partition: Partition { stages },
            placement: Default::default(),
            schedule: Schedule { grid: Some(grid.unwrap()), ..Schedule::default() },
        },
        schedule,
        n_predicting,
        offloads,
        dtype: DType::Bf16,
        optimizer: Optimizer::AdamW,
    }
}

impl Case {
    fn export(&self, target: &str) -> Result<String, String> {
        self.export_with(target, self.optimizer)
    }

    fn export_with(&self, target: &str, optimizer: Optimizer) -> Result<String, String> {
        let model = ModelCard { n_predictions: 1 + self.n_predicting, ..small() };
        let source = TrainingSource {
            version: "",
            model: &model,
            hyperparameters: None,
            optimizer,
            dtype: self.dtype,
            stack: &megatron_core(),
            offloads: self.offloads,
            plan: &self.plan,
            schedule: self.schedule,
            sequence_length: 4_096,
            blocks: Blocks::Layers,
            starts: &[],
            places: &[],
        };
        match export(target, &source) {
            Ok(file) => Ok(String::from_utf8(file.bytes).unwrap()),
            Err(error) => {
                assert_eq!(error.code, "cannot-express", "{error}");
                Err(error.message)
            }
        }
    }

    fn counts(&self) -> Vec<u32> {
        self.plan.partition.stages.iter().map(|stage| stage.blocks.len() as u32).collect()
    }
}

/// Field by field: what was read is what was planned, and each field that the target expresses was
/// read. What has no meaning in a plan may be left out.
fn agrees(case: &Case, settings: &LaunchSettings, target: &str, text: &str) {
    let degrees = &case.plan.parallelism;
    let global = degrees.micro_batch * degrees.n_micro_batches * u64::from(degrees.data);
    let counts = case.counts();
    let is_cut = counts.len() > 1;
    // A file of torch holds the schedule where it has no name there.
    let has_own_file = text.contains("schedule_csv");
    let row = targets().find(|row| row.name == target).unwrap();
    let same = |field: Field, is_meant: bool, read: Option<String>, planned: String| {
        let is_said = row.expresses.contains(&field) && is_meant;
        assert!(!is_said || read.is_some(), "{target} did not say {}:\n{text}", field.name());
        if is_meant && let Some(read) = read {
            assert_eq!(read, planned, "{} of {target}:\n{text}", field.name());
        }
    };
    fn shown<T: std::fmt::Debug>(value: &Option<T>) -> Option<String> {
        value.as_ref().map(|value| format!("{value:?}"))
    }
    fn own<T: std::fmt::Debug>(value: T) -> String {
        format!("{value:?}")
    }
    same(Field::Data, true, shown(&settings.data), own(degrees.data));
    same(Field::Tensor, true, shown(&settings.tensor), own(degrees.tensor));
    same(Field::Pipeline, true, shown(&settings.pipeline), own(degrees.pipeline));
    same(Field::Context, true, shown(&settings.context), own(degrees.context));
    let is_apart = degrees.expert_tensor.is_some();
    let of_expert = own(degrees.of_expert());
    same(Field::ExpertTensor, is_apart, shown(&settings.expert_tensor), of_expert);
    same(Field::Expert, true, shown(&settings.expert), own(degrees.expert));
    let chunks = shown(&settings.virtual_stages);
    same(Field::VirtualStages, true, chunks, own(degrees.virtual_stages));
    same(Field::MicroBatch, true, shown(&settings.micro_batch), own(degrees.micro_batch));
    let n_micro_batches = shown(&settings.n_micro_batches);
    same(Field::MicroBatches, true, n_micro_batches, own(degrees.n_micro_batches));
    same(Field::GlobalBatch, true, shown(&settings.global_batch), own(global));
    // A single replica has nobody to share with.
    same(Field::Zero, degrees.data > 1, shown(&settings.zero), own(degrees.zero));
    // Which of the two is nearer means something only where there are both.
    let has_both = degrees.pipeline > 1 && degrees.data > 1;
    same(Field::Mesh, has_both, shown(&settings.mesh), own(degrees.mesh));
    let policy = case.plan.partition.stages[0].recompute;
    let by_block = row.expresses.contains(&Field::BlockPolicies);
    same(Field::Recompute, !by_block, shown(&settings.recompute), own(policy));
    let is_named = degrees.pipeline > 1 && !has_own_file;
    same(Field::Schedule, is_named, shown(&settings.schedule), own(case.schedule));
    same(Field::Sequence, degrees.tensor > 1, shown(&settings.sequence), own(degrees.sequence));
    same(Field::Blocks, is_cut, shown(&settings.blocks), own(&counts));
    same(Field::Offload, true, shown(&settings.offloads), own(case.offloads));
    same(Field::ElementType, true, shown(&settings.dtype), own(case.dtype));
    same(Field::Optimizer, true, shown(&settings.optimizer), own(case.optimizer));
    if by_block {
        let stages = case.plan.partition.stages.iter();
        let planned: Vec<BlockPolicy> =
            stages.flat_map(|stage| stage.policies(degrees.zero)).collect();
        let alike =
            || BlockPolicy { recompute: settings.recompute.unwrap(), zero: settings.zero.unwrap() };
        let read = settings.each.clone().unwrap_or_else(|| vec![alike(); planned.len()]);
        assert_eq!(read, planned, "{text}");
    }
    if target == "deepspeed" {
        // This stack sums in 32 bits, which its ZeRO optimizers alone do of 16-bit runs.
        let wide = degrees.zero >= ZeroStage::Optimizer;
        let summed = if wide { DType::F32 } else { case.dtype };
        let is_short = case.dtype != DType::F32;
        assert_eq!(settings.gradients, is_short.then_some(summed), "{text}");
    }
    if target == "megatron" {
        assert_eq!(settings.n_predicting.unwrap_or(0), case.n_predicting);
    }
}

#[test]
fn plans_come_back_from_every_launcher() {
    let mut rng = SmallRng::seed_from_u64(1);
    let mut n_written = [0u64; Launcher::ALL.len()];
    let mut n_grids = 0u64;
    // Few of these plans have words in Galvatron's strategies, which have a test of their own.
    let is_written = |launcher: Launcher| !launcher.serves() && !launcher.is_read_alone();
    let is_counted = |launcher: Launcher| launcher != Launcher::Galvatron && is_written(launcher);
    let mut n_plans = 0;
    while Launcher::ALL
        .iter()
        .zip(n_written)
        .any(|(launcher, n)| is_counted(*launcher) && n < N_EACH)
        || n_grids < N_EACH
    {
        n_plans += 1;
        assert!(n_plans < 50 * N_PLANS, "{n_written:?} {n_grids}");
        let mut case = random(&mut rng);
        case.dtype = [DType::Bf16, DType::F16, DType::F32][rng.random_range(0..3)];
        case.optimizer = [Optimizer::AdamW, Optimizer::Sgd][rng.random_range(0..2)];
        let train = Launcher::ALL.into_iter().zip(&mut n_written);
        for (launcher, n_written) in train.filter(|(launcher, _)| is_written(*launcher)) {
            let Ok(text) = case.export(launcher.name()) else { continue };
            *n_written += 1;
            assert_eq!(Launcher::guess(&text), Some(launcher), "{text}");
            let settings = read(launcher, &text).unwrap();
            agrees(&case, &settings, launcher.name(), &text);
        }
        let Ok(text) = case.export("torch-pipelining") else { continue };
        n_grids += 1;
        let grid = Grid::parse(&text).unwrap();
        assert_eq!(Some(&grid), case.plan.schedule.grid.as_ref());
    }
}

/// Megatron's flags in Bridge's words: the same plans are refused, no key stands twice, and each degree is
/// there.
#[test]
fn overrides_of_bridge_are_the_flags_of_megatron() {
    let mut rng = SmallRng::seed_from_u64(4);
    for _ in 0..N_PLANS {
        let case = random(&mut rng);
        let flags = case.export("megatron");
        let Ok(text) = case.export("megatron-bridge") else {
            assert!(flags.is_err());
            continue;
        };
        let flags = flags.unwrap();
        let pairs: Vec<(&str, &str)> =
            text.lines().map(|line| line.split_once('=').unwrap()).collect();
        let said: std::collections::BTreeMap<_, _> = pairs.iter().copied().collect();
        assert_eq!(said.len(), pairs.len(), "{text}");
        let degrees = &case.plan.parallelism;
        let global = degrees.micro_batch * degrees.n_micro_batches * u64::from(degrees.data);
        let is = |key: &str, value: String| assert_eq!(said[key], value, "{key}: {text}");
        is("model.tensor_model_parallel_size", degrees.tensor.to_string());
        is("model.pipeline_model_parallel_size", degrees.pipeline.to_string());
        is("model.context_parallel_size", degrees.context.to_string());
        is("model.expert_model_parallel_size", degrees.expert.to_string());
        is("train.micro_batch_size", degrees.micro_batch.to_string());
        is("train.global_batch_size", global.to_string());
        is("model.seq_length", "4096".to_owned());
        is("dataset.seq_length", "4096".to_owned());
        is("model.sequence_parallel", (degrees.sequence == SequenceParallel::On).to_string());
        is("dist.use_tp_pp_dp_mapping", (degrees.mesh == Mesh::TpCpPpDp).to_string());
        let layout =
            flags.lines().find_map(|line| line.strip_prefix("--pipeline-model-parallel-layout "));
        is("model.pipeline_model_parallel_layout", layout.unwrap_or("null").to_owned());
        let shares = degrees.zero >= ZeroStage::Optimizer || case.offloads;
        is("ddp.use_distributed_optimizer", shares.to_string());
        is("optimizer.use_distributed_optimizer", shares.to_string());
        is("dist.use_megatron_fsdp", (degrees.zero >= ZeroStage::Gradients).to_string());
        // This stack sums gradients in 32 bits.
        is("ddp.grad_reduce_in_fp32", "true".to_owned());
    }
}

/// Megatron's optimizer on hosts is Adam; DeepSpeed takes another one where it is told to, but ZeRO leaves
/// Adafactor no rows.
#[test]
fn optimizers_that_do_not_run_there_are_refused() {
    let mut rng = SmallRng::seed_from_u64(6);
    let mut n = [0; 2];
    for _ in 0..N_PLANS {
        let case = random(&mut rng);
        for target in ["megatron", "megatron-bridge"] {
            if case.export(target).is_ok() {
                let sgd = case.export_with(target, Optimizer::Sgd);
                assert_eq!(sgd.is_ok(), !case.offloads, "{sgd:?}");
                n[0] += u32::from(case.offloads);
            }
        }
        if case.export("deepspeed").is_ok() {
            let sgd = case.export_with("deepspeed", Optimizer::Sgd).unwrap();
            let file: serde_json::Value = serde_json::from_str(&sgd).unwrap();
            let config = &file["ds_config"];
            let has_zero = config["zero_optimization"]["stage"] != 0;
            assert_eq!(config["zero_allow_untested_optimizer"] == true, has_zero);
            assert_eq!(config["zero_force_ds_cpu_optimizer"] == false, case.offloads);
            n[1] += u32::from(case.offloads);
            assert!(case.export_with("deepspeed", Optimizer::Adafactor).is_err());
        }
    }
    assert!(n.iter().all(|n| *n > 1), "{n:?}");
}

/// What of a plan DeepSpeed reads itself: AutoTP's size and no batch that it would count otherwise
/// without a pipeline, intervals and the batch in one.
#[test]
fn deepspeed_is_told_where_it_reads() {
    let mut rng = SmallRng::seed_from_u64(5);
    let mut n = [0; 2];
    for _ in 0..N_PLANS {
        let case = random(&mut rng);
        let degrees = &case.plan.parallelism;
        let Ok(text) = case.export("deepspeed") else { continue };
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        let config = &file["ds_config"];
        let again = case.plan.partition.stages[0].recompute == Recompute::Full;
        let in_pipeline = degrees.pipeline > 1;
        n[usize::from(in_pipeline)] += 1;
        let global = degrees.micro_batch * degrees.n_micro_batches * u64::from(degrees.data);
        if in_pipeline {
            assert_eq!(config["pipeline"]["activation_checkpoint_interval"], u8::from(again));
            assert_eq!(config["train_batch_size"], global);
            assert!(config.get("tensor_parallel").is_none());
            assert!(degrees.zero == ZeroStage::Optimizer || degrees.data == 1, "{text}");
            continue;
        }
        assert_eq!(file["gradient_checkpointing"], again);
        assert!(file.get("parts").is_none() && config.get("pipeline").is_none());
        let is_split = degrees.tensor > 1;
        assert_eq!(config.get("train_batch_size").is_none(), is_split, "{text}");
        assert_eq!(config["tensor_parallel"]["autotp_size"] == degrees.tensor, is_split);
        assert!(!is_split || degrees.sequence == SequenceParallel::Off);
        // Gradients of this stack are summed in 32 bits, which ZeRO alone does.
        let wide = degrees.zero >= ZeroStage::Optimizer;
        assert_eq!(config["data_types"]["grad_accum_dtype"] == "fp32", wide);
    }
    assert!(n.iter().all(|n| *n > 10), "{n:?}");
}

/// Hyperparameters whose parameter names are known.
pub(crate) fn names_of_llama() -> Hyperparameters {
    Hyperparameters {
        model_type: "llama".to_owned(),
        positions: 4_096,
        states_positions: true,
        rotary: None,
        has_rms_norms: true,
        norm_epsilon: 1e-6,
        activation: "silu".to_owned(),
        biases: [false; 3],
        normalises_heads: false,
        window: None,
        dropout: [0.0; 2],
        router: None,
        others: Vec::new(),
    }
}

/// What planning asks of the row is what the export refuses: degrees, schedule, equal parts, recompute.
#[test]
fn jax_is_told_what_its_row_runs() {
    let mut rng = SmallRng::seed_from_u64(7);
    let row = targets().find(|row| row.name == "jax").unwrap();
    let hyperparameters = names_of_llama();
    let mut n = [0; 2];
    for _ in 0..N_PLANS {
        let Case { plan, schedule, .. } = random(&mut rng);
        let degrees = &plan.parallelism;
        // Replicas of sizes that no width is a multiple of.
        let data = if rng.random_bool(0.3) { 3 * degrees.data } else { degrees.data };
        let plan = Plan { parallelism: Parallelism { data, ..degrees.clone() }, ..plan };
        let (degrees, model) = (&plan.parallelism, small());
        let source = TrainingSource {
            version: "",
            model: &model,
            hyperparameters: Some(&hyperparameters),
            optimizer: Optimizer::AdamW,
            dtype: DType::Bf16,
            stack: &megatron_core(),
            offloads: false,
            plan: &plan,
            schedule,
            sequence_length: 128,
            blocks: Blocks::Layers,
            starts: &[],
            places: &[],
        };
        let again = plan.partition.stages[0].recompute;
        let is_whole = matches!(again, Recompute::None | Recompute::Selective | Recompute::Full);
        let splits = row.splits.unwrap();
        let is_taken = is_whole && (row.accepts)(degrees, schedule) && splits(&model, degrees);
        // Two heads of keys and values, widths of 2^8 and 2^10, samples of 2^7 tokens; sums of whole
        // gradients are not put off to the last micro-batch.
        let falls_apart = degrees.tensor <= 2 && (degrees.zero == ZeroStage::None || data % 3 > 0);
        let sums_at_once =
            data == 1 || degrees.n_micro_batches == 1 || degrees.zero >= ZeroStage::Gradients;
        let is_flat = degrees.pipeline == 1 && degrees.context == 1;
        let runs = is_whole && is_flat && falls_apart && sums_at_once;
        assert_eq!(is_taken, runs, "{degrees:?} {again:?}");
        let written = export("jax", &source);
        assert_eq!(written.is_ok(), runs, "{degrees:?} {again:?} {written:?}");
        n[usize::from(runs)] += 1;
    }
    assert!(n.iter().all(|n| *n >= 10), "{n:?}");
}

/// The table of the docs is the one that the program goes by.
#[test]
fn the_docs_list_what_each_target_expresses() {
    let docs = include_str!("../../docs/targets.md");
    for row in targets() {
        let fields: Vec<&str> = row.expresses.iter().map(|field| field.name()).collect();
        let line = format!("| `{}` | {} |", row.name, fields.join(", "));
        assert!(docs.contains(&line), "docs/targets.md lacks\n{line}");
    }
    let (_, folders) = docs.split_once("writes a folder").unwrap();
    let (folders, _) = folders.split_once(')').unwrap();
    for row in targets() {
        assert_eq!(folders.contains(&format!("`{}`", row.name)), row.has_folder(), "{}", row.name);
    }
}

/// Whose settings are read back is a target under the same name.
#[test]
fn readers_and_targets_have_one_name() {
    for launcher in Launcher::ALL.into_iter().filter(|launcher| !launcher.is_read_alone()) {
        let row = exporters::row(launcher.name()).unwrap();
        assert_eq!(row.placed().is_some_and(|row| row.serves), launcher.serves(), "{}", row.name);
    }
}

#[test]
fn strategies_by_block_come_back_from_galvatron() {
    let mut rng = SmallRng::seed_from_u64(3);
    let mut n_alike = 0;
    for _ in 0..N_PLANS {
        let mut case = random(&mut rng);
        case.schedule = "1f1b";
        case.n_predicting = 0;
        let default = [ZeroStage::None, ZeroStage::Gradients][rng.random_range(0..2)];
        let degrees = &mut case.plan.parallelism;
        degrees.virtual_stages = 1;
        (degrees.context, degrees.expert, degrees.mesh) = (1, 1, Mesh::TpCpDpPp);
        degrees.vocabulary = match degrees.tensor {
            1 => [None, Some(2)][rng.random_range(0..2)],
            _ => [None, Some(1)][rng.random_range(0..2)],
        };
        degrees.zero = if rng.random() { default } else { ZeroStage::Parameters };
        degrees.sequence = match degrees.tensor {
            1 => SequenceParallel::Off,
            _ => [SequenceParallel::On, SequenceParallel::Ulysses][rng.random_range(0..2)],
        };
        case.plan.partition.stages.truncate(degrees.pipeline as usize);
        for stage in &mut case.plan.partition.stages {
            stage.recompute = Recompute::None;
            let policy = |rng: &mut SmallRng| BlockPolicy {
                recompute: [Recompute::None, Recompute::Full][rng.random_range(0..2)],
                zero: [default, ZeroStage::Parameters][rng.random_range(0..2)],
            };
            stage.each = stage.blocks.clone().map(|_| policy(&mut rng)).collect();
        }
        let text = case.export("galvatron").unwrap();
        assert_eq!(Launcher::guess(&text), Some(Launcher::Galvatron));
        let settings = read(Launcher::Galvatron, &text).unwrap();
        let degrees = &case.plan.parallelism;
        assert_eq!(settings.tensor, Some(degrees.tensor));
        assert_eq!(settings.pipeline, Some(degrees.pipeline));
        assert_eq!(settings.n_micro_batches, Some(degrees.n_micro_batches));
        let global = degrees.micro_batch * degrees.n_micro_batches * u64::from(degrees.data);
        assert_eq!(settings.global_batch, Some(global));
        assert_eq!(settings.sequence, Some(degrees.sequence));
        assert_eq!(settings.blocks, Some(case.counts()));
        assert_eq!(settings.vocabulary, degrees.vocabulary);
        let each: Vec<BlockPolicy> =
            case.plan.partition.stages.iter().flat_map(|stage| stage.each.clone()).collect();
        let first = each[0];
        let is_alike = first.zero == degrees.zero && each.iter().all(|policy| *policy == first);
        n_alike += u32::from(is_alike);
        let wanted = if is_alike { (Some(first.recompute), None) } else { (None, Some(each)) };
        assert_eq!((settings.recompute, settings.each), wanted);
        assert_eq!(settings.zero, Some(degrees.zero), "{text}");
        assert_eq!(settings.schedule.as_deref(), Some("1f1b"));
        for target in ["megatron", "torchtitan", "deepspeed"] {
            assert!(case.export(target).is_err(), "{target} loses the choices by block");
        }
    }
    assert!(n_alike > 10, "{n_alike}");
    let wrong = [
        ("{\"tp_sizes_enc\": \"1,2\"}", "tp_sizes_enc"),
        ("{\"tp_sizes_enc\": \"1,1\", \"vtp\": 2, \"vsp\": 1}", "vsp"),
        (
            "{\"tp_sizes_enc\": \"2\", \"vtp\": 2, \"tp_consecutive_flags\": \"0\"}",
            "tp_consecutive",
        ),
        ("{\"tp_sizes_enc\": \"1,1\", \"checkpoint\": \"1\"}", "checkpoint"),
        ("{\"tp_sizes_enc\": \"1\", \"default_dp_type\": \"zero9\"}", "default_dp_type"),
        ("{\"tp_sizes_enc\": \"1\", \"cp_sizes_enc\": \"2\"}", "cp_sizes_enc"),
        ("{\"tp_sizes_enc\": [1]}", "tp_sizes_enc"),
        ("{\"tp_sizes_enc\": \"1\", \"chunks\": -1}", "chunks"),
        ("{}", "tp_sizes_enc"),
    ];
    for (text, key) in wrong {
        let error = read(Launcher::Galvatron, text).unwrap_err();
        assert_eq!(error.code, "bad-settings");
        assert!(error.message.contains(key), "{}", error.message);
    }
}

#[test]
fn what_a_target_has_no_words_for_is_named() {
    let mut rng = SmallRng::seed_from_u64(2);
    let mut case = loop {
        let case = random(&mut rng);
        let degrees = &case.plan.parallelism;
        if degrees.pipeline > 2 && case.schedule == "1f1b" && degrees.context == 1 {
            break case;
        }
    };
    case.plan.parallelism.zero = ZeroStage::Optimizer;
    case.plan.parallelism.mesh = Mesh::TpCpDpPp;
    let stages = case.plan.partition.stages.len();
    for stage in &mut case.plan.partition.stages {
        stage.recompute = Recompute::Full;
    }
    assert!(case.export("megatron").is_ok() && case.export("torch-pipelining").is_ok());
    case.n_predicting = 1;
    assert!(case.export("torchtitan").unwrap_err().contains("predict a later token"));
    case.n_predicting = 0;
    assert!(case.export("torchtitan").unwrap_err().contains("ZeRO 1"));
    let grid = case.plan.schedule.grid.take().unwrap();
    let early = early_recompute::insert(&grid, early_recompute::Early::CoolDown, |_| true);
    case.plan.schedule.grid = Some(early);
    assert!(case.export("torch-pipelining").unwrap_err().contains("recompute"));
    case.plan.schedule.grid = Some(grid);
    case.plan.partition.stages[stages - 1].recompute = Recompute::None;
    assert!(case.export("megatron").unwrap_err().contains("recompute"));
    case.schedule = "zb-h1";
    assert!(case.export("deepspeed").unwrap_err().contains("zb-h1"));
}

#[test]
fn uneven_layers_are_never_lost() {
    let thirty = "--pipeline-model-parallel-size 4 --num-layers 30";
    assert_eq!(read(Launcher::Megatron, thirty).unwrap_err().code, "bad-settings");
    let ends = format!(
        "{thirty} --decoder-first-pipeline-num-layers 7 --decoder-last-pipeline-num-layers 7"
    );
    assert_eq!(read(Launcher::Megatron, &ends).unwrap().blocks, Some(vec![7, 8, 8, 7]));
    let layout = format!("{thirty} --pipeline-model-parallel-layout=Et*7|t*8|t*8|t*7L");
    assert_eq!(read(Launcher::Megatron, &layout).unwrap().blocks, Some(vec![7, 8, 8, 7]));
    let short = format!("{thirty} --pipeline-model-parallel-layout Et*7|t*7|t*7|t*7L");
    assert_eq!(read(Launcher::Megatron, &short).unwrap_err().code, "bad-settings");
}

#[test]
fn settings_that_mean_nothing_are_refused() {
    let wrong = [
        (Launcher::Megatron, "--tensor-model-parallel-size 0"),
        (Launcher::Megatron, "--tensor-model-parallel-size -4"),
        (Launcher::Megatron, "--recompute-granularity half"),
        (Launcher::Megatron, "--pipeline-model-parallel-size 4294967295 --num-layers 3"),
        (Launcher::Torchtitan, "--parallelism.module_fqns_per_model_part [[\"layers.1\"]]"),
        (Launcher::Torchtitan, "--parallelism.module_fqns_per_model_part nonsense"),
        (Launcher::DeepSpeed, "{\"parts\":[0,3,2]}"),
        (Launcher::DeepSpeed, "{\"train_micro_batch_size_per_gpu\":-1}"),
        (Launcher::DeepSpeed, "{"),
        (Launcher::Vllm, "VLLM_PP_LAYER_PARTITION=1,2 --pipeline-parallel-size 3"),
        (Launcher::Sglang, "SGLANG_PP_LAYER_PARTITION=1,x --pp-size 2"),
    ];
    for (launcher, text) in wrong {
        assert_eq!(read(launcher, text).unwrap_err().code, "bad-settings", "{text}");
    }
}
