//! A request to go on from a running plan that lost devices.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use cost_model::runs::held::holdings;
use documents::plan::PlanDocument;
use documents::plan::losses::ReplacedDocument;
use ir::diagnostic::{Blame, Diagnostic};
use ir::id::DeviceId;
use ir::plan::Plan;
use ir::units::{Bytes, Watts};

use super::Training;
use super::losses::{holding_document, sizes};
use super::spares;
use crate::inputs::plan_file;
use crate::inputs::run::setting::Setting;
use crate::kinds::frame;
use crate::kinds::kind::Target;
use crate::request::executor::Executor;
use crate::request::{ObjectiveName, PlanRequest, Pue, ReplayRequest};

/// What is taken over from a running plan beside its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// Its pins and its launcher.
    Pins,
    /// Neither: they leave no plan on what is left.
    Neither,
}

/// A request to go on from a running plan, with that plan's settings where it states none.
///
/// # Errors
/// Those of the plan's reader; `needs-both` for a plan without lost devices, `bad-plan` where it is none of a
/// training run.
pub fn filled(request: &PlanRequest, keeps: Keeps) -> Result<Cow<'_, PlanRequest>, Diagnostic> {
    let lost = &request.training.lost;
    let path = match &request.training.replace {
        Some(path) if !lost.is_empty() => path,
        None if lost.is_empty() => return Ok(Cow::Borrowed(request)),
        None => return Ok(Cow::Owned(without_lost(request))),
        Some(_) => {
            let message = "`--replace` needs `--lost`";
            return Err(Diagnostic::usage("needs-both", message)
                .hint("name each lost device or host with --lost"));
        }
    };
    let document = plan_file::document(path)?;
    let Some(training) = &document.training else {
        return Err(Diagnostic::input(
            "bad-plan",
            "the plan to go on from is none of a training run",
        )
        .fact("file", path.display().to_string()));
    };
    let workload = plan_file::workload(&document.workload)?;
    let (stated, mut filled) = (&document.request, request.clone());
    let (flags, problem) = (&mut filled.training, &mut filled.problem);
    if flags.tokens_per_step.is_none() && problem.model.batch.is_none() {
        flags.global_batch.get_or_insert(training.global_batch);
    }
    flags.sequence_length.get_or_insert(training.sequence_length);
    flags.stack.get_or_insert_with(|| training.stack.clone());
    flags.memory_margin = flags.memory_margin.or(stated.kept_free);
    flags.max_memory_per_device =
        flags.max_memory_per_device.or(stated.max_memory_bytes.map(Bytes));
    flags.no_offload |= stated.no_offload;
    let mut seen = BTreeSet::new();
    let lost = stated.lost.iter().chain(&request.training.lost);
    flags.lost = lost.filter(|name| seen.insert(*name)).cloned().collect();
    problem.model.dtype = problem.model.dtype.or(workload.dtype);
    problem.optimizer = problem.optimizer.or(Some(workload.optimizer));
    if problem.pin.is_empty() && keeps == Keeps::Pins {
        problem.pin.clone_from(&stated.pin);
    }
    if problem.model.dims.is_empty() {
        problem.model.dims = stated.dims.clone().into_iter().collect();
    }
    filled.pue = filled.pue.or(stated.pue.map(Pue));
    filled.power_cap = filled.power_cap.or(stated.power_cap_w.and_then(Watts::new));
    filled.objective =
        filled.objective.or(stated.least.as_deref().and_then(ObjectiveName::of_energy));
    let executor = stated.executor.as_deref().filter(|_| keeps == Keeps::Pins);
    filled.executor = filled.executor.or(executor.and_then(Executor::named));
    if filled.allow_lossy.is_empty() {
        let lossy = document.communication.lossy.iter();
        filled.allow_lossy = lossy
            .map(|compression| format!("{}={}", compression.by, compression.density))
            .collect();
    }
    filled.problem.lost.clone_from(&filled.training.lost);
    Ok(Cow::Owned(filled))
}

/// A request that plans without the devices that it names.
fn without_lost(request: &PlanRequest) -> PlanRequest {
    let mut filled = request.clone();
    filled.problem.without.append(&mut filled.training.lost);
    filled
}

/// Whether what a plan could not be made for are pins or the launcher of the running plan, which nobody
/// stated.
pub fn may_be_freed(request: &PlanRequest, (filled, error): (&PlanRequest, &Diagnostic)) -> bool {
    let is_kept = (request.problem.pin.is_empty() && !filled.problem.pin.is_empty())
        || (request.executor.is_none() && filled.executor.is_some());
    let is_of_it = error.blame == Blame::Infeasible
        || ["memory-exceeded", "not-for-unlike-nodes"].contains(&error.code);
    request.training.replace.is_some() && is_kept && is_of_it
}

/// What the flags of `plan` name, with what is gone on from.
///
/// # Errors
/// Those of [`Setting::of`] and of the plan on its model and cluster; `not-replaced`.
pub fn setting(request: &PlanRequest) -> Result<Setting, Diagnostic> {
    with_replaced(request, Setting::of(request)?)
}

/// The same of another request for the model of a setting, which is not read again.
///
/// # Errors
/// Those of [`setting`].
pub fn again(request: &PlanRequest, of: &Setting) -> Result<Setting, Diagnostic> {
    with_replaced(request, of.again(request)?)
}

fn with_replaced(request: &PlanRequest, mut setting: Setting) -> Result<Setting, Diagnostic> {
    if let Some(path) = &request.training.replace {
        let document = plan_file::document(path)?;
        let (replaced, stand_in) = replaced(request, &document, &setting)?;
        (setting.replaced, setting.stand_in) = (Some(Arc::new(replaced)), stand_in.map(Arc::new));
        setting.warnings.extend(dropped_devices(&document, request));
        setting.warnings.extend(dropped_pins(&document, request));
    }
    Ok(setting)
}

/// What the devices that are left hold of the plan that a request goes on from, and that plan with others in
/// the places of those that are lost, where that can be.
///
/// # Errors
/// Those of the plan on its model and cluster; `not-replaced` for plans whose states are not known to
/// lie on devices.
fn replaced(
    request: &PlanRequest,
    document: &Arc<PlanDocument>,
    setting: &Setting,
) -> Result<(ReplacedDocument, Option<Plan>), Diagnostic> {
    let mut problem = request.problem.clone();
    // It states itself what it was made for.
    (problem.pin, problem.model.dims) = Default::default();
    (problem.model.batch, problem.model.micro_batch, problem.workload) = (None, None, None);
    (problem.model.dtype, problem.optimizer) = (None, None);
    let target = ReplayRequest { problem, ..ReplayRequest::default() };
    let on = Target::of(&request.model, &target);
    let on = frame::on_model::<Training>(document, on).map_err(|mut error| {
        if error.code == "digest-mismatch" {
            error.hints =
                vec!["give the model, cluster and profile that it was made for".to_owned()];
        }
        error
    })?;
    let on = on.setting;
    let refused = |why: &str| {
        let message = format!("what moves is not known: {why}");
        Err(Diagnostic::input("not-replaced", message).hint(
            "take the lost devices out of the cluster file, plan on it, and load a checkpoint",
        ))
    };
    if on.setting.model.has_experts() {
        return refused("experts are spread over devices by a rule of their own");
    }
    if on.training.offloads_optimizer {
        return refused("hosts keep the optimizer states");
    }
    let numbers = |side: &Setting| (side.numbers.optimizer, side.numbers.dtype, sizes(side));
    if numbers(&on.setting) != numbers(setting) {
        let [this, other] = [&on.setting, setting].map(|setting| {
            format!(
                "{} in {} ({})",
                setting.numbers.optimizer.name(),
                setting.numbers.dtype,
                setting.stack.name
            )
        });
        let message = format!(
            "the running plan holds weights and states of {this}: none of {other} are there to move"
        );
        return Err(Diagnostic::usage("not-replaced", message)
            .hint("leave out --optimizer, --dtype and --stack"));
    }
    let Some(holdings) = holdings(&on.plan) else { return refused("the plan has no grid") };
    let name = |device: DeviceId| on.setting.cluster.devices.get(device.index()).map(|d| &d.name);
    let works = |name: &&String| setting.working().devices.iter().any(|d| d.name == **name);
    let devices =
        holdings.iter().filter_map(|holding| Some((name(holding.device).filter(works)?, holding)));
    let step = document.cost.as_ref().map_or(0, |cost| cost.step_time_ns);
    let replaced = ReplacedDocument {
        step_time_ns: step,
        devices: devices.map(|(name, holding)| holding_document(name, holding)).collect(),
    };
    Ok((replaced, spares::stood_in(&on.setting, &on.plan, &setting.cluster)))
}

/// Warns of what of the running plan leaves no plan on what is left.
fn dropped_pins(document: &PlanDocument, request: &PlanRequest) -> Option<Diagnostic> {
    let pins = document.request.pin.iter().map(|pin| format!("--pin {pin}"));
    let launcher = document.request.executor.iter().map(|name| format!("--for {name}"));
    let all = pins.chain(launcher).collect::<Vec<_>>().join(" ");
    let message =
        format!("the running plan was asked for with {all}, which leaves none on what is left");
    let are_dropped = (request.problem.pin.is_empty() && !document.request.pin.is_empty())
        || (request.executor.is_none() && document.request.executor.is_some());
    are_dropped.then(|| {
        Diagnostic::warning("dropped-pins", message)
            .hint("state --pin or --for to choose among what is left")
    })
}

/// Warns that the numbers of devices that the running plan was asked for are asked for no more.
fn dropped_devices(document: &PlanDocument, request: &PlanRequest) -> Option<Diagnostic> {
    let [least, most] = document.request.devices.filter(|_| request.training.devices.is_none())?;
    let message = format!(
        "the running plan was asked for with --devices {least}..{most}; of what is left, as many as \
         are of use"
    );
    Some(
        Diagnostic::warning("dropped-devices", message)
            .hint("state --devices to use fewer of those that are left"),
    )
}
