//! `--for TARGET` of a training run: only what the launcher has words for is searched.

use std::sync::LazyLock;

use exporters::runs::targets;
use exporters::training::{Field, Lack, Policy, TrainingTarget};
use ir::diagnostic::{Blame, Diagnostic};
use ir::plan_kind::PlanKind;
use ir::tensor::DType;
use ir::workload::Optimizer;
use planner::training::search_3d::space::{Capabilities, Pins, RecomputeRule};

use crate::request::ProblemRequest;
use crate::request::executor::Executor;

/// By target, what its stages may compute again.
static RECOMPUTES: LazyLock<Vec<Vec<RecomputeRule>>> = LazyLock::new(|| {
    let again = |policy: &Policy| match policy {
        Policy::None => RecomputeRule::None,
        Policy::Selective => RecomputeRule::Selective,
        Policy::PerOp => RecomputeRule::PerOp,
        Policy::Block => RecomputeRule::Alike,
        Policy::Full => RecomputeRule::Full,
    };
    let lack = |rule: &RecomputeRule| match rule {
        RecomputeRule::Selective => Some(Lack::Selective),
        RecomputeRule::PerOp => Some(Lack::PerOp),
        _ => None,
    };
    let of = |row: &TrainingTarget| match row.recomputes {
        Some(policies) => policies.iter().map(again).collect(),
        None => {
            let says =
                |rule: &&RecomputeRule| !lack(rule).is_some_and(|lack| row.lacks.contains(&lack));
            RecomputeRule::FREE.iter().filter(says).copied().collect()
        }
    };
    targets().map(of).collect()
});

/// The pins with what the launcher can say.
///
/// # Errors
/// `not-for-training` for an executor that runs no training runs, `cannot-express` where a pin is
/// nothing that it can say.
pub fn limited(
    pins: Pins,
    (executor, keeps): (Option<Executor>, (Optimizer, bool)),
    needs: &[Lack],
) -> Result<Pins, Diagnostic> {
    let Some(executor) = executor.filter(|executor| *executor != Executor::ANY) else {
        return Ok(pins);
    };
    let named = |row: &&TrainingTarget| row.launches.is_some();
    let names = |row: &dyn Fn(&TrainingTarget) -> bool| -> String {
        let rows = targets().filter(named).filter(|target| row(target)).map(|target| target.name);
        rows.collect::<Vec<_>>().join(", ")
    };
    exporters::find(PlanKind::Training, executor.target())?;
    let Some(capabilities) = of(executor, keeps) else { return Ok(pins) };
    let part_of_blocks = match pins.recompute {
        RecomputeRule::Selective => Some(Lack::Selective),
        RecomputeRule::PerOp => Some(Lack::PerOp),
        _ => None,
    };
    let needed: Vec<Lack> = needs.iter().copied().chain(part_of_blocks).collect();
    if let Some(lack) = lacking(executor, &needed) {
        let others = names(&|row| row.lacking(|lack| needed.contains(&lack)).is_none());
        let hint = match others.is_empty() {
            true => "no launcher has words for it: leave --for away".to_owned(),
            false => format!("choose from {others}, any"),
        };
        let error = lack.refusal(capabilities.target, &hint);
        return Err(Diagnostic { blame: Blame::Usage, ..error });
    }
    check(&pins, &capabilities)?;
    Ok(Pins { capabilities: Some(capabilities), ..pins })
}

/// What an executor has no words for, of what a run needs.
pub fn lacking(executor: Executor, needs: &[Lack]) -> Option<Lack> {
    let row = targets().find(|row| row.name == executor.target())?;
    row.lacking(|lack| needs.contains(&lack))
}

/// Whether an executor of a name runs an element type, as far as its file says any.
pub fn says(executor: &str, dtype: DType) -> bool {
    let name = executor.split('@').next();
    let row = targets().find(|row| Some(row.name) == name);
    row.and_then(|row| row.types).is_none_or(|types| types.contains(&dtype))
}

/// What an executor has words for with an optimizer, and adapters or none, where it runs training runs.
pub fn of(
    executor: Executor,
    (optimizer, has_adapters): (Optimizer, bool),
) -> Option<Capabilities> {
    let mut rows = targets().zip(RECOMPUTES.iter());
    let (row, recomputes) = rows.find(|(row, _)| row.name == executor.target())?;
    let keeps_any = !row.lacks.contains(&Lack::OffloadedSgd);
    Some(Capabilities {
        target: row.name,
        accepts: row.accepts,
        splits: row.splits,
        offloaded: row
            .offloaded
            .filter(|_| optimizer != Optimizer::Sgd || keeps_any)
            .filter(|_| has_adapters || !row.lacks.contains(&Lack::OffloadedWhole)),
        recomputes,
        by_block: row.expresses.contains(&Field::BlockPolicies),
        expert_overlap: row.expresses.contains(&Field::ExpertOverlap),
        expert_tensor: row.expresses.contains(&Field::ExpertTensor),
    })
}

/// The flags with an element type that the launcher can say, where the config alone names another
/// one, and a warning about that.
///
/// # Errors
/// `cannot-express` where a flag names one that it can't say.
pub fn typed(
    flags: &ProblemRequest,
    model: Option<DType>,
    executor: Option<Executor>,
) -> Result<(ProblemRequest, Option<Diagnostic>), Diagnostic> {
    let mut flags = flags.clone();
    let row = executor.and_then(|executor| targets().find(|row| row.name == executor.target()));
    let Some((row, types)) = row.and_then(|row| Some((row, row.types?))) else {
        return Ok((flags, None));
    };
    let said = |dtype: DType| types.contains(&dtype);
    if let Some(dtype) = flags.model.dtype.filter(|dtype| !said(*dtype)) {
        let names: Vec<&str> = types.iter().map(|dtype| dtype.name()).collect();
        let message = format!("{} has no words for {dtype}", row.name);
        return Err(Diagnostic::usage("cannot-express", message)
            .fact("target", row.name)
            .hint(format!("name one of {} with --dtype", names.join(", "))));
    }
    let (None, Some(stated)) = (flags.model.dtype, model.filter(|dtype| !said(*dtype))) else {
        return Ok((flags, None));
    };
    flags.model.dtype = types.first().copied();
    let instead = types.first().map_or("", |dtype| dtype.name());
    let message = format!("{} has no words for {stated}: {instead} runs instead", row.name);
    let warning = Diagnostic::warning("dtype-replaced", message);
    Ok((flags, Some(warning.hint("name a type with --dtype"))))
}

/// Refuses a pinned schedule or policy of recompute that the launcher never runs.
fn check(pins: &Pins, capabilities: &Capabilities) -> Result<(), Diagnostic> {
    let refused = |what: String| {
        let message = format!("{} has no words for {what}", capabilities.target);
        Diagnostic::usage("cannot-express", message)
            .fact("target", capabilities.target)
            .hint("take the pin or --for away")
    };
    if pins.recompute != RecomputeRule::Fitted && !capabilities.recomputes(pins.recompute) {
        return Err(refused(format!("the pinned recompute `{:?}`", pins.recompute).to_lowercase()));
    }
    let degrees = |chunks| ir::plan::Parallelism {
        pipeline: 2,
        virtual_stages: chunks,
        ..ir::plan::Parallelism::default()
    };
    let runs = |name: &str| (1..=2).any(|chunks| (capabilities.accepts)(&degrees(chunks), name));
    match pins.orders.iter().find(|order| !runs(order.name())) {
        Some(order) => Err(refused(format!("the pinned schedule `{}`", order.name()))),
        None => Ok(()),
    }
}
