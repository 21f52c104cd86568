//! What was asked for: the flags that shape a problem, for the plan document and back from it.

use documents::plan::request::RequestDocument;
use ir::diagnostic::Diagnostic;

use crate::inputs::{constraints, costs, model_options};
use crate::request::executor::Executor;
use crate::request::value::Written;
use crate::request::{ExpertSkew, ModelRequest, PlanRequest, ProblemRequest};

/// What the flags of a problem ask for, constraints of a file included.
///
/// # Errors
/// Those of the constraints file; `duplicate-flag`, `batch-axis` for flags that contradict each
/// other.
pub fn of_problem(
    flags: &ProblemRequest,
    executor: Option<Executor>,
) -> Result<RequestDocument, Diagnostic> {
    let options = model_options::options(&flags.model)?;
    let axes = options.batch_axis.into_iter();
    let mut request = RequestDocument {
        dims: options.dims,
        batch_axis: axes.map(|(input, axis)| (input, axis as u64)).collect(),
        qdq_as_written: options.qdq_as_written,
        executor: executor.map(Executor::text),
        kept_free: flags.margin,
        costs: flags.costs.as_deref().map(costs::list).transpose()?.unwrap_or_default(),
        ..RequestDocument::default()
    };
    constraints::list(flags, &mut request)?;
    Ok(request)
}

/// What the flags of `plan` ask of a training run.
///
/// # Errors
/// As [`of_problem`].
pub fn of_training(args: &PlanRequest) -> Result<RequestDocument, Diagnostic> {
    let flags = &args.training;
    let mut problem = of_problem(&args.problem, args.executor)?;
    problem.pin.extend(
        args.problem.model.micro_batch.map(|micro_batch| format!("micro-batch={micro_batch}")),
    );
    Ok(RequestDocument {
        devices: flags.devices.as_ref().map(|range| [*range.start(), *range.end()]),
        max_memory_bytes: flags.max_memory_per_device.map(|bytes| bytes.0),
        kept_free: flags.memory_margin.or(args.problem.margin),
        no_offload: flags.no_offload,
        lost: flags.lost.clone(),
        spares: flags.spares.map(|n| u32::try_from(n).unwrap_or(u32::MAX)),
        expert_skew: flags.expert_skew.as_ref().map(law).transpose()?,
        adapter: flags.adapter.as_ref().map(Written::text),
        freeze: flags.freeze.as_ref().map(Written::text),
        ..of_energy(args, problem)
    })
}

/// The same with what is asked of energy and prices, and decided for them.
pub fn of_energy(args: &PlanRequest, request: RequestDocument) -> RequestDocument {
    let least = args.objective.filter(|objective| objective.is_of_energy());
    RequestDocument {
        least: least.map(|objective| objective.name().to_owned()),
        pue: args.pue.map(|pue| pue.0),
        power_cap_w: args.power_cap.map(ir::units::Watts::get),
        board_limit: args.problem.board_limit,
        without: args.problem.without.clone(),
        ..request
    }
}

/// The expert distribution of a training run.
fn law(skew: &ExpertSkew) -> Result<String, Diagnostic> {
    match skew {
        ExpertSkew::Law(skew) => Ok(skew.text()),
        ExpertSkew::File(file) => {
            let message = format!(
                "`--expert-skew {}` is a file, which no training run reads: degrees are priced for \
                 balanced or zipf:S",
                file.display()
            );
            Err(Diagnostic::usage("not-for-training", message)
                .hint("state a law, or place experts with --algorithm expert-placement"))
        }
    }
}

/// What a plan was made for, where the flags say nothing else.
///
/// # Errors
/// As [`of_problem`]; `bad-plan` for an executor that does not exist.
pub fn merged(
    flags: &ProblemRequest,
    planned: &RequestDocument,
) -> Result<RequestDocument, Diagnostic> {
    if let Some(name) = planned.executor.as_deref().filter(|name| Executor::named(name).is_none()) {
        let message = format!("the plan was made for the executor `{name}`, which does not exist");
        return Err(Diagnostic::input("bad-plan", message).fact("member", "request.executor"));
    }
    let mut stated = of_problem(flags, None)?;
    let mut merged = planned.clone();
    merged.dims.append(&mut stated.dims);
    merged.batch_axis.append(&mut stated.batch_axis);
    merged.qdq_as_written |= stated.qdq_as_written;
    let lists = [(stated.pin, &mut merged.pin), (stated.forbid, &mut merged.forbid)];
    for (list, planned) in lists {
        if !list.is_empty() {
            *planned = list;
        }
    }
    if !stated.costs.is_empty() {
        merged.costs = stated.costs;
    }
    if !stated.colocate.is_empty() {
        merged.colocate = stated.colocate;
    }
    Ok(merged)
}

/// Flags of a model with the dimensions and axes of a request.
pub fn model(flags: &ModelRequest, request: &RequestDocument) -> ModelRequest {
    let pairs = |map: &std::collections::BTreeMap<String, u64>| {
        map.iter().map(|(name, value)| (name.clone(), *value)).collect()
    };
    ModelRequest {
        dims: pairs(&request.dims),
        batch_axis: pairs(&request.batch_axis),
        qdq_as_written: request.qdq_as_written,
        ..flags.clone()
    }
}
