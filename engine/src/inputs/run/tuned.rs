//! What a training run trains of its model: checks, and what follows from it for types and software.

use ir::card::{BlockGroup, Head, ModelCard, StateFormat, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::tensor::DType;
use ir::tuning::{BaseWeights, Module, Modules, Tuning};
use ir::workload::Optimizer;
use planner::training::search_3d::space::Pins;

use super::setting::{STACK, Setting};
use crate::request::PlanRequest;
use crate::request::executor::Executor;
use crate::request::tuning::stated;

/// Default stack of runs with adapters, or with weights updated in 16 bits.
const TUNING_STACK: &str = "peft";

/// The stack where none is named: that of the launcher; PEFT's for what it alone runs.
pub(super) fn usual_stack(args: &PlanRequest) -> &'static str {
    let optimizer = args.problem.optimizer.unwrap_or_default();
    let tunes = args.training.adapter.is_some() || optimizer.is_in_place();
    let of_launcher = args.executor.and_then(Executor::stack);
    let is_peft = args.executor.is_none_or(|executor| {
        Executor::of_stack(TUNING_STACK).is_some_and(|launches| launches == executor)
    });
    match tunes && is_peft {
        true => TUNING_STACK,
        false => of_launcher.unwrap_or(STACK),
    }
}

/// The launcher that limits the element types of a run: the requested one, or for adapters without a stated stack
/// or type that of their default stack.
pub(super) fn launcher_of_types(args: &PlanRequest) -> Option<Executor> {
    let is_named = args.training.stack.is_some() || args.problem.model.dtype.is_some();
    let usual = usual_stack(args);
    let tunes = usual == TUNING_STACK && !is_named;
    args.executor.or(Executor::of_stack(usual).filter(|_| tunes))
}

/// Takes on what is trained of the model.
///
/// # Errors
/// `adapter` for what the model, its type or its optimizer does not have.
pub(super) fn tune(
    setting: &mut Setting,
    (adapter, frozen): (Option<&str>, Option<&str>),
) -> Result<(), Diagnostic> {
    in_place(setting)?;
    let tuning = stated(adapter, frozen)?;
    if tuning.is_whole() {
        return Ok(());
    }
    let wrong = |message: String, hint: &str| {
        Err(Diagnostic::usage("adapter", message).hint(hint.to_owned()))
    };
    if setting.model.is_of_parts() || setting.layers.is_some() {
        let what = if setting.model.is_of_parts() { "parts of a graph" } else { "measured layers" };
        let message =
            format!("`--adapter` and `--freeze` name modules of a transformer, not {what}");
        return wrong(message, "plan its config.json, or leave them out");
    }
    let dtype = setting.numbers.dtype;
    if !matches!(dtype, DType::Bf16 | DType::F16 | DType::F32) {
        let message = format!("adapters and frozen weights are not planned in {dtype}");
        return wrong(message, "choose --dtype bf16");
    }
    check_modules(&setting.model, &tuning)?;
    split(&mut setting.model, tuning.frozen_blocks)?;
    if let Some(adapter) = &tuning.adapter {
        let least = setting.model.groups.iter().map(|group| group.card.hidden).min().unwrap_or(0);
        if u64::from(adapter.rank) > least {
            let message =
                format!("adapters of rank {} are wider than the model, {least}", adapter.rank);
            return wrong(message, "choose a smaller rank");
        }
    }
    if tuning.base() == BaseWeights::Int8 {
        let message = "8-bit frozen weights: no measured run judges their memory and time";
        setting.warnings.push(Diagnostic::warning("unmeasured-base", message));
    }
    setting.model.tuning = tuning;
    Ok(())
}

/// Refuses ZeRO 3 for weights that it does not share out.
///
/// # Errors
/// `adapter`.
pub(super) fn check_pins(tuning: &Tuning, pins: &Pins) -> Result<(), Diagnostic> {
    match pins.zero {
        Some(ZeroStage::Parameters) if !tuning.base().is_gathered() => {
            let message = "ZeRO 3 and FSDP do not shard weights that bitsandbytes stores in 8 bits";
            Err(Diagnostic::usage("adapter", message).hint("pin zero=2, or store them as base=nf4"))
        }
        _ => Ok(()),
    }
}

/// Refuses optimizers that update 16-bit weights in place for weights that are not.
fn in_place(setting: &Setting) -> Result<(), Diagnostic> {
    let (optimizer, dtype) = (setting.numbers.optimizer, setting.numbers.dtype);
    let is_narrow = matches!(dtype, DType::Bf16 | DType::F16);
    if optimizer == Optimizer::AdamW16 && !is_narrow
        || optimizer.is_in_place() && matches!(dtype, DType::F8 | DType::F4)
    {
        let message = format!("the optimizer {} is not planned in {dtype}", optimizer.name());
        return Err(Diagnostic::usage("optimizer", message)
            .hint("choose --dtype bf16, or --optimizer adamw"));
    }
    Ok(())
}

/// Refuses modules that no block has.
fn check_modules(model: &ModelCard, tuning: &Tuning) -> Result<(), Diagnostic> {
    let is_gated = model.groups.iter().any(|group| group.card.form.is_gated());
    let named = tuning.adapter.map_or(tuning.frozen, |adapter| adapter.targets);
    // Groups such as `all` and `mlp` name the gate where there is one.
    let is_alone = !named.has_all(Modules::FEED_FORWARD);
    if !is_gated && named.has(Module::Gate) && is_alone {
        let message = "the model has no gate: its feed-forward parts are two products";
        return Err(Diagnostic::usage("adapter", message).hint("name up and down"));
    }
    let all = Module::ALL.iter().fold(Modules::default(), |all, module| all.with(*module));
    let ends = Modules::default().with(Module::Embedding).with(Module::Head);
    if tuning.adapter.is_none()
        && (tuning.frozen.has_all(all)
            || tuning.frozen_blocks >= model.n_blocks() && tuning.frozen.has_all(ends))
    {
        let message = "all parts are frozen, so that nothing is trained";
        return Err(Diagnostic::usage("adapter", message).hint("freeze fewer parts with --freeze"));
    }
    let is_tied = model.groups.first().is_some_and(|group| group.card.head == Head::Tied);
    let is_frozen = |module| tuning.frozen.has(module);
    if tuning.adapter.is_none()
        && is_tied
        && is_frozen(Module::Embedding) != is_frozen(Module::Head)
    {
        let message = "embedding and head of this model are one tensor";
        return Err(Diagnostic::usage("adapter", message).hint("freeze both: embedding+head"));
    }
    if tuning.frozen_blocks > model.n_blocks() {
        let message =
            format!("`layers={}`: the model has {} layers", tuning.frozen_blocks, model.n_blocks());
        return Err(Diagnostic::usage("adapter", message).hint("freeze fewer layers"));
    }
    Ok(())
}

/// Splits the group of blocks in which frozen ones end.
fn split(model: &mut ModelCard, frozen: u32) -> Result<(), Diagnostic> {
    let mut groups: Vec<BlockGroup> = Vec::with_capacity(model.groups.len() + 1);
    let mut start = 0_u32;
    for group in &model.groups {
        let inside = frozen.saturating_sub(start).min(group.n_blocks);
        start = start.saturating_add(group.n_blocks);
        let parts = match inside {
            0 => vec![group.n_blocks],
            n if n == group.n_blocks => vec![n],
            n => vec![n, group.n_blocks - n],
        };
        groups.extend(parts.into_iter().map(|n_blocks| BlockGroup { n_blocks, ..group.clone() }));
    }
    model.groups = groups;
    Ok(())
}

/// Formats of what is trained: adapters as they are stated, else as the stack has them.
pub(super) fn format(setting: &Setting) -> StateFormat {
    match (setting.model.tuning.adapter, setting.numbers.dtype) {
        (_, DType::F32) => StateFormat::Single,
        (Some(adapter), _) if adapter.is_wide => StateFormat::Single,
        (Some(_), _) => StateFormat::Half,
        (None, _) => setting.numbers.format(&setting.stack),
    }
}

/// Bytes of a frozen parameter at least, of any module; nothing where hosts may keep it.
pub(super) fn least_bytes(setting: &Setting) -> f64 {
    let may_move = !setting.request.no_offload && may_offload(setting);
    match setting.model.tuning.adapter {
        Some(_) if may_move => 0.0,
        Some(adapter) => adapter.base.bytes().unwrap_or(2.0),
        None => 2.0,
    }
}

/// Whether hosts may keep states: not those of optimizers that run on devices alone.
pub(super) fn may_offload(setting: &Setting) -> bool {
    let optimizer = setting.numbers.optimizer;
    setting.model.tuning.adapter.is_some()
        || !optimizer.is_in_place() && !matches!(optimizer, Optimizer::Muon | Optimizer::AdamMini)
}
