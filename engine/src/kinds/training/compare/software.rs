//! What settings change in the software stack of a plan.

use cost_model::kernels::precision::Gradients;
use cost_model::kernels::stack::{megatron_core, torchtitan, torchtitan_async, torchtitan_eager};
use ir::card::SequenceParallel;
use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;
use ir::stack::{AttentionKernel, Dispatcher, Elementwise, Launch, Scaling, Stack};
use ir::tensor::DType;

use super::Facts;
use super::changes::Change;
use crate::answer::differences::{self, no_effect, not_planned};
use crate::inputs::run::setting::Setting;

/// The stack of the plan with what the settings say of it.
fn as_set(settings: &LaunchSettings, planned: &Stack) -> Stack {
    let stated = &settings.stack;
    let mut stack = planned.clone();
    stack.gradients = settings.gradients.unwrap_or(stack.gradients);
    stack.scaling = stated.scaling.unwrap_or(stack.scaling);
    stack.launch = stated.launch.unwrap_or(stack.launch);
    stack.attention = stated.attention.unwrap_or(stack.attention);
    stack.experts.dispatcher = stated.dispatcher.unwrap_or(stack.experts.dispatcher);
    // Where a plan says so, the plan of what runs does.
    stack.experts.overlaps = match stated.overlaps_experts {
        Some(true) if stack.experts.may_overlap => false,
        overlaps => overlaps.unwrap_or(stack.experts.overlaps),
    };
    if settings.overlaps == Some(false) {
        stack.overlap_data = 0.0;
    }
    // What the stack of the plan runs beside nothing is run as the usual one of its code does.
    stack.overlap_tensor = match stated.overlaps_tensor {
        Some(false) => 0.0,
        Some(true) if planned.overlap_tensor == 0.0 => {
            let usual = if stack.name.starts_with("torchtitan") {
                torchtitan_async()
            } else {
                megatron_core()
            };
            usual.overlap_tensor
        }
        _ => planned.overlap_tensor,
    };
    let is_compiled = stack.elementwise == Elementwise::Fused;
    if let Some(compiled) = stated.compiled.filter(|compiled| *compiled != is_compiled) {
        let of = if compiled { torchtitan() } else { torchtitan_eager() };
        stack.elementwise = of.elementwise;
        stack.launch_floor = of.launch_floor;
        stack.loss_bytes = of.loss_bytes;
    }
    stack
}

/// The setting of what runs, or that of the plan, under the stack that the settings leave; `None` where it
/// is the plan's.
pub(super) fn set(
    requested: Option<Setting>,
    planned: &Setting,
    settings: &LaunchSettings,
) -> Option<Setting> {
    let used = requested.as_ref().unwrap_or(planned);
    let stack = as_set(settings, &used.stack);
    if stack == used.stack {
        return requested;
    }
    let mut setting = used.clone();
    setting.stack = stack;
    setting.fit_stack();
    let stack = setting.stack.clone();
    if stack == used.stack {
        return requested;
    }
    let sums = |stack| Gradients::of(used.numbers.dtype, stack);
    if sums(&stack) != sums(&used.stack) {
        let (name, now, planned) = (&stack.name, stack.gradients, used.stack.gradients);
        let message =
            format!("the current setup sums gradients in {now}, the stack {name} in {planned}");
        let warning = Diagnostic::warning("sums-otherwise", message);
        setting.warnings.push(warning.hint("each side is priced with its own"));
    }
    Some(setting)
}

/// Settings that nothing is priced by, as warnings.
pub(super) fn not_judged(
    settings: &LaunchSettings,
    stack: &Stack,
    [n_used, n_devices]: [u64; 2],
) -> Vec<Diagnostic> {
    let is_unknown = settings.overlaps == Some(true) && stack.overlap_data == 0.0;
    let of_overlap = is_unknown.then(|| {
        let message = format!(
            "the current setup exchanges gradients beside the backward pass, and the stack {} does not \
             say how much that hides",
            stack.name
        );
        Diagnostic::warning("not-judged", message).hint("both sides are priced without it")
    });
    let on = match settings.n_processes {
        Some(n) if n != n_used => {
            Some(format!("starts {n} processes and is priced on {n_used} devices"))
        }
        None if settings.open_processes => Some(format!(
            "leaves open how many processes it starts and is priced on {n_used} devices"
        )),
        _ if n_used < n_devices => Some(format!("uses {n_used} of {n_devices} devices")),
        _ => None,
    };
    let of_devices = on.map(|on| {
        let warning = Diagnostic::warning("other-devices", format!("the current setup {on}"));
        warning.hint("give a cluster file with exactly the devices of this launch")
    });
    let all = differences::not_judged(settings).chain(of_overlap).chain(no_effect(settings));
    all.chain(of_devices).chain(not_planned(settings)).collect()
}

/// What the stack of what runs does otherwise than that of the plan, where it does anything.
pub(super) fn changes(now: &Facts, plan: &Facts) -> Vec<Change> {
    let (Some(running), Some(planned)) = (&now.software, &plan.software) else { return Vec::new() };
    let degrees = &now.plan.parallelism;
    let is_narrow = matches!(now.dtype, Some(DType::F8 | DType::F4));
    let is_split = degrees.tensor > 1 && degrees.sequence == SequenceParallel::On;
    let has_replicas = degrees.data.saturating_mul(degrees.context) > 1;
    let sums = |stack: &Stack| match now.dtype.map(|dtype| Gradients::of(dtype, stack)) {
        Some(Gradients::Half) => "in 16 bits",
        _ => "in 32 bits",
    };
    let overlap = |is: bool| if is { "overlapped" } else { "exposed" };
    let row = |what: &'static str, is_used: bool, of: &dyn Fn(&Stack) -> &'static str| {
        let (a, b) = (of(running), of(planned));
        (is_used && a != b).then(|| (what, a.to_owned(), b.to_owned()))
    };
    let rows = [
        row("gradients", true, &sums),
        row("scaling", is_narrow, &|stack| scaling(stack.scaling)),
        row("launches", true, &|stack| launches(stack.launch)),
        row("pointwise kernels", true, &|stack| pointwise(stack.elementwise)),
        row("attention", true, &|stack| attention(stack.attention)),
        row("dispatcher", true, &|stack| dispatcher(stack.experts.dispatcher)),
        row("EP communication", true, &|stack| overlap(stack.experts.overlaps)),
        row("DP communication", has_replicas, &|stack| overlap(stack.overlap_data > 0.0)),
        row("TP communication", is_split, &|stack| overlap(stack.overlap_tensor > 0.0)),
    ];
    rows.into_iter().flatten().collect()
}

const fn scaling(scaling: Scaling) -> &'static str {
    match scaling {
        Scaling::Tensor => "by tensors",
        Scaling::Row => "by rows",
        Scaling::Block => "by blocks",
    }
}

const fn launches(launch: Launch) -> &'static str {
    match launch {
        Launch::Eager | Launch::Inline => "one by one",
        Launch::CudaGraphs => "as graphs",
    }
}

const fn pointwise(elementwise: Elementwise) -> &'static str {
    match elementwise {
        Elementwise::Fused => "fused",
        Elementwise::Separate | Elementwise::Eager => "one by one",
    }
}

const fn attention(kernel: AttentionKernel) -> &'static str {
    match kernel {
        AttentionKernel::Unfused => "unfused",
        AttentionKernel::Flash => "flash",
    }
}

const fn dispatcher(dispatcher: Dispatcher) -> &'static str {
    match dispatcher {
        Dispatcher::AllToAll => "all-to-all",
        Dispatcher::Padded => "padded",
        Dispatcher::Flex => "flex",
        Dispatcher::AllGather => "all-gather",
    }
}
