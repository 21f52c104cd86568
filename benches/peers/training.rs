//! Training runs beside what other systems publish: Merak over all degrees, Galvatron on its own
//! measured layers.

use std::path::Path;

use cost_model::kernels::stack::megatron_deepspeed_2021;
use cost_model::runs::forms::constants::Constants;
use cost_model::runs::forms::model::Pricing;
use cost_model::runs::forms::system::System;
use cost_model::runs::memory::Reserve;
use ir::card::{
    Attention, FeedForward, Head, ModelCard, SequenceParallel, StateFormat, TransformerCard,
    ZeroStage,
};
use ir::cluster::Device;
use ir::plan::Mesh;
use ir::profile::Profile;
use ir::stack::Stack;
use ir::units::Nanos;
use planner::training::order::Order;
use planner::training::search_3d::space::{Pins, RecomputeRule, Space, Split};
use planner::training::search_3d::{Options, solve};

use crate::{Asked, head, meshwright, percent, row, rows};

/// Samples of a step: those of GPT-2 (Radford et al. 2019). The publication's own are not known.
const GLOBAL_BATCH: u64 = 512;

/// Merak's testbed: from equal stages, late 1F1B, full recompute and no overlap to the whole space,
/// one freedom after the other. By the library, as no preset hides tensor-parallel collectives.
pub(crate) fn merak(options: &Asked) {
    let parts = "recompute: | partition: | schedule: | overlap: | degrees, ZeRO:";
    head(&format!("model | published: | ours: | {parts} | baseline step:"));
    type Published = (String, u32, u64, u64, f64);
    for (name, n_layers, hidden, n_heads, published) in rows::<Published>(include_str!("merak.csv"))
    {
        if !name.contains(&options.only) {
            continue;
        }
        let model = ModelCard::uniform(TransformerCard {
            name: name.clone(),
            n_layers,
            hidden,
            n_heads,
            n_kv_heads: n_heads,
            feed_forward: 4 * hidden,
            form: FeedForward::Plain,
            sequence: 1024,
            vocabulary: 50_257,
            experts: None,
            attention: Attention::Even,
            head: Head::Tied,
        });
        let steps = freedoms().map(|(pins, stack)| fastest(&model, pins, &stack));
        let factor = |slow: usize, fast: usize| {
            format!("{:.2}", steps[slow].seconds() / steps[fast].seconds())
        };
        let mut cells = vec![name, format!("{published:.2}"), factor(0, 5)];
        cells.extend((1..6).map(|at| factor(at - 1, at)));
        cells.push(steps[0].to_string());
        row(&cells);
    }
}

/// What is searched, and the software: each with one freedom more than the one before.
fn freedoms() -> [(Pins, Stack); 6] {
    let plain = megatron_deepspeed_2021();
    // *Nominal*: gradients as in the preset `megatron-core`; one half of a block's collectives runs
    // beside the other half's products.
    let overlapped = Stack { overlap_data: 0.9, overlap_tensor: 0.5, ..plain.clone() };
    let base = Pins {
        context: Some(1),
        orders: vec![Order::OneFOneB],
        recompute: RecomputeRule::Full,
        zero: Some(ZeroStage::None),
        sequence: Some(SequenceParallel::Off),
        split: Some(Split::Equal),
        mesh: Some(Mesh::TpCpDpPp),
        ..Pins::default()
    };
    let fitted = Pins { recompute: RecomputeRule::Fitted, ..base.clone() };
    let balanced = Pins { split: None, ..fitted.clone() };
    let ordered = Pins { orders: Vec::new(), ..balanced.clone() };
    [
        (base, plain.clone()),
        (fitted, plain.clone()),
        (balanced, plain.clone()),
        (ordered.clone(), plain),
        (ordered, overlapped.clone()),
        (Pins::default(), overlapped),
    ]
}

/// The least step time.
fn fastest(model: &ModelCard, pins: Pins, stack: &Stack) -> Nanos {
    let text = include_str!("../../examples/clusters/merak.yaml");
    let cluster = importers::cluster::parse(text, "merak.yaml", None).unwrap();
    let system = System::of(&cluster, &Profile::default()).unwrap();
    let constants = Constants::nominal(stack);
    let pricing = Pricing {
        format: StateFormat::HalfGradients,
        resident: Reserve::allocator_peak().allocator,
        limit: cluster.devices.iter().filter_map(Device::memory_limit).min(),
        ..Pricing::unlimited(model, &system, stack, &constants)
    };
    let devices = vec![u32::try_from(cluster.devices.len()).unwrap()];
    let space = Space { devices, global_batch: GLOBAL_BATCH, pins };
    let one = Options { n_plans: 1, ..Options::default() };
    solve(&pricing, &space, &one).plans[0].step
}

/// Galvatron's llama2-7b case on its own measured layers, its plan and ours judged alike.
pub(crate) fn galvatron(data: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let theirs = root.join("examples/galvatron/llama2-7b-20gib.json");
    let model = data.join("models/hf_configs/llama-2-7b.json");
    let profile = data.join("bench/parallelism/galvatron");
    let cluster = root.join("examples/clusters/a100-node.yaml");
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.json");
    let steps = "its plan, our judge: | our plan, our judge: | ours is faster by:";
    head(&format!("limit | flag | Galvatron, CPU s | ours, s: | {steps} | our plan"));
    for (limit, flag, said) in rows::<(String, String, String)>(include_str!("galvatron.csv")) {
        let sizes = "--global-batch 64 --sequence-length 2048";
        let words = format!("plan {sizes} --max-memory-per-device {limit} {flag} --force");
        let on = [Path::new("--cluster"), &cluster, Path::new("--profile"), &profile];
        let output = [Path::new("-o"), &plan, &model];
        let ran = meshwright(&words, &[&on[..], &output].concat());
        let mut cells = vec![limit, flag, said, format!("{:.3}", ran.seconds)];
        if ran.error().is_some() {
            let short = &ran.fact("shortfall_bytes").unwrap()[0]["bytes"];
            cells.extend(["", "", "", &format!("none: bytes short, {short}")].map(str::to_owned));
        } else {
            let model = [Path::new("--model"), &model, &theirs, &plan];
            let compared = meshwright("compare", &[&on[..], &model].concat()).json;
            let step = |side: &str| compared[side]["step_time_ns"].as_u64().map(Nanos);
            let steps = [step("now"), step("plan")];
            cells.extend(steps.map(|step| step.map_or_else(String::new, |step| step.to_string())));
            let [now, plan] = steps.map(|step| step.map(Nanos::seconds));
            let gain = now.zip(plan).map(|(now, plan)| percent(now / plan - 1.0, 1));
            cells.push(gain.unwrap_or_default());
            cells.push(ran.json["best"]["degrees"].as_str().unwrap().to_owned());
        }
        row(&cells);
    }
}
