//! Which one member of a plan's workload has another value than the one that it was planned for:
//! the one with which the model has the digest that the plan states.

use std::path::Path;
use std::time::{Duration, Instant};

use documents::plan::PlanDocument;
use importers::ImportOptions;
use ir::diagnostic::Diagnostic;
use ir::tensor::DType;
use ir::workload::{Mode, Optimizer, Workload};

use crate::inputs::{asked, model_options};
use crate::request::ProblemRequest;

/// How long values are tried.
const TIME: Duration = Duration::from_secs(2);
/// Most small batches that are tried, and the largest power of two.
const SMALL: u64 = 32;
const LARGE: u32 = 14;

/// A member, what it states, and what it should.
struct Slip {
    member: &'static str,
    stated: String,
    derived: String,
    workload: Workload,
}

/// The refusal of a digest, with the member that explains it where there is one.
pub(super) fn named(
    mismatch: Diagnostic,
    document: &PlanDocument,
    workload: &Workload,
    model: &Path,
    flags: &ProblemRequest,
) -> Diagnostic {
    let model_flags = &flags.model;
    let is_asked = flags.workload.is_some()
        || flags.optimizer.is_some()
        || model_flags.dtype.is_some()
        || model_flags.batch.is_some()
        || model_flags.micro_batch.is_some();
    if is_asked {
        return mismatch;
    }
    let start = Instant::now();
    let found = slips(workload).into_iter().take_while(|_| start.elapsed() < TIME).find(|slip| {
        digest(document, &slip.workload, model, flags) == Some(document.model.digest.clone())
    });
    match found {
        None => mismatch,
        Some(Slip { member, stated, derived, .. }) => mismatch
            .fact("field", member)
            .fact("stated", stated)
            .fact("derived", derived.clone())
            .hint(format!("write {derived} for `{member}` of the plan, which it was planned for")),
    }
}

/// The digest that the model has under a workload.
fn digest(
    document: &PlanDocument,
    workload: &Workload,
    model: &Path,
    flags: &ProblemRequest,
) -> Option<String> {
    let flags = asked::model(&flags.model, &document.request);
    let options = ImportOptions {
        dtype: workload.dtype,
        batch: workload.micro_batch.or(workload.batch),
        trains: workload.mode == Mode::Training,
        ..model_options::options(&flags).ok()?
    };
    let import = importers::read(model, &options).ok()?;
    let (graph, _) = cost_model::ops::workload::apply(import.graph, workload).ok()?;
    Some(documents::digest::graph(&graph))
}

/// Workloads with one member changed, the likely ones first.
fn slips(planned: &Workload) -> Vec<Slip> {
    const DTYPES: [DType; 5] = [DType::Bf16, DType::F16, DType::F32, DType::F8, DType::F64];
    let mut found = Vec::new();
    let mut add = |member, stated: String, derived: String, workload: Workload| {
        if stated != derived {
            found.push(Slip { member, stated, derived, workload });
        }
    };
    let mode = |mode| match mode {
        Mode::Inference => "inference".to_owned(),
        Mode::Training => "training".to_owned(),
    };
    for other in [Mode::Inference, Mode::Training] {
        add(
            "workload.mode",
            mode(planned.mode),
            mode(other),
            Workload { mode: other, ..planned.clone() },
        );
    }
    for other in Optimizer::ALL {
        let workload = Workload { optimizer: other, ..planned.clone() };
        add("workload.optimizer", planned.optimizer.name().into(), other.name().into(), workload);
    }
    let dtype = |dtype: Option<DType>| dtype.map_or("none", DType::name).to_owned();
    for other in DTYPES.map(Some).into_iter().chain([None]) {
        let workload = Workload { dtype: other, ..planned.clone() };
        add("workload.dtype", dtype(planned.dtype), dtype(other), workload);
    }
    let size = |size: Option<u64>| size.map_or("none".to_owned(), |size| size.to_string());
    let powers = (SMALL.ilog2() + 1..=LARGE).map(|power| 1 << power);
    let sizes: Vec<Option<u64>> =
        [None].into_iter().chain((1..=SMALL).chain(powers).map(Some)).collect();
    let divides = |micro: Option<u64>, batch: Option<u64>| match (micro, batch) {
        (Some(micro), Some(batch)) => micro > 0 && batch.is_multiple_of(micro),
        _ => true,
    };
    for other in &sizes {
        if divides(planned.micro_batch, *other) {
            let workload = Workload { batch: *other, ..planned.clone() };
            add("workload.batch", size(planned.batch), size(*other), workload);
        }
        if divides(*other, planned.batch) {
            let workload = Workload { micro_batch: *other, ..planned.clone() };
            add("workload.micro_batch", size(planned.micro_batch), size(*other), workload);
        }
    }
    found
}
