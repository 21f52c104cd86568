//! Reads a plan back and puts it on its model and cluster again.

use std::fs;
use std::path::Path;

use cost_model::judge::{Timeline, replay};
use cost_model::report::{Report, report};
use documents::plan::{ModeDocument, OptimizerDocument, PlanDocument, WorkloadDocument};
use ir::diagnostic::{Diagnostic, Severity};
use ir::plan::Plan;
use ir::tensor::DType;
use ir::workload::{Mode, Optimizer, Workload};

use crate::cli::{ReplayArgs, ReplayFlags};
use crate::load::{self, Loaded};

/// Longest plan file that is read, in bytes.
const LONGEST_FILE: u64 = 1 << 30;

/// A plan on its problem.
pub(crate) struct OnProblem {
    /// The problem.
    pub(crate) loaded: Loaded,
    /// The plan, with names resolved.
    pub(crate) plan: Plan,
    /// Of the problem, and of digests that differ.
    pub(crate) warnings: Vec<Diagnostic>,
}

/// A plan on its problem, replayed.
pub(crate) struct Replayed {
    /// The plan on its problem.
    pub(crate) on: OnProblem,
    /// When everything happens.
    pub(crate) timeline: Timeline,
    /// Where time and memory go.
    pub(crate) report: Report,
}

/// Reads a plan file.
///
/// # Errors
/// `unreadable-file` and those of [`PlanDocument::parse`], with the file named.
pub(crate) fn document(path: &Path) -> Result<PlanDocument, Diagnostic> {
    let file = path.display().to_string();
    let unreadable = |why: String| {
        Diagnostic::input("unreadable-file", format!("`{file}` can not be read"))
            .fact("reason", why)
            .hint("give a plan that `meshwright plan -o plan.json` wrote")
    };
    let size = fs::metadata(path).map_err(|e| unreadable(e.to_string()))?.len();
    if size > LONGEST_FILE {
        return Err(unreadable(format!("it is {size} bytes long, more than {LONGEST_FILE}")));
    }
    let text = fs::read(path).map_err(|e| unreadable(e.to_string()))?;
    PlanDocument::parse(&text).map_err(|e| e.fact("file", file.clone()))
}

/// Puts a plan on its model and cluster. What it was made for is checked by digest.
///
/// # Errors
/// Those of reading, `digest-mismatch` unless `--allow-mismatch`, and names that do not resolve.
pub(crate) fn on_problem(
    document: &PlanDocument,
    model: &Path,
    flags: &ReplayFlags,
) -> Result<OnProblem, Diagnostic> {
    let planned = workload(&document.workload)?;
    let mut loaded = load::problem_of_plan(model, &flags.problem, planned)?;
    let mut warnings = std::mem::take(&mut loaded.warnings);
    let problem = &loaded.problem;
    for mismatch in document.mismatches(&problem.graph, &problem.cluster, &loaded.profile) {
        if !flags.allow_mismatch {
            return Err(mismatch.hint(
                "give the same --dim and --batch flags as when it was planned, or add \
                 --allow-mismatch to go on all the same",
            ));
        }
        warnings.push(Diagnostic { severity: Severity::Warning, ..mismatch });
    }
    let plan = document.to_ir(&problem.graph, &problem.cluster)?;
    Ok(OnProblem { loaded, plan, warnings })
}

/// Reads, resolves and replays a plan.
///
/// # Errors
/// Those of [`document`] and [`on_problem`]; a plan that can't be replayed is illegal.
pub(crate) fn replayed(args: &ReplayArgs) -> Result<Replayed, Diagnostic> {
    let document = document(&args.plan)?;
    on(on_problem(&document, &args.model, &args.target)?)
}

/// Replays a plan.
///
/// # Errors
/// A plan that can't be replayed is illegal.
pub(crate) fn on(on: OnProblem) -> Result<Replayed, Diagnostic> {
    let problem = &on.loaded.problem;
    let timeline = replay(problem, &on.plan).map_err(|v| v.diagnostic(problem))?;
    let report = report(problem, &on.plan, &timeline);
    Ok(Replayed { on, timeline, report })
}

fn workload(document: &WorkloadDocument) -> Result<Workload, Diagnostic> {
    const DTYPES: [DType; 4] = [DType::F64, DType::F32, DType::F16, DType::Bf16];
    let dtype = |name: &String| {
        DTYPES.into_iter().find(|d| d.name() == name).ok_or_else(|| {
            Diagnostic::input("bad-plan", format!("the plan names an unknown float type `{name}`"))
        })
    };
    Ok(Workload {
        mode: match document.mode {
            ModeDocument::Inference => Mode::Inference,
            ModeDocument::Training => Mode::Training,
        },
        optimizer: match document.optimizer {
            Some(OptimizerDocument::AdamW) | None => Optimizer::AdamW,
            Some(OptimizerDocument::Sgd) => Optimizer::Sgd,
            Some(OptimizerDocument::Adafactor) => Optimizer::Adafactor,
        },
        dtype: document.dtype.as_ref().map(dtype).transpose()?,
        batch: document.batch,
        micro_batch: document.micro_batch,
    })
}
