//! `auto` on an instance: first solutions in one walk, the quick rows, then the ones that go on to a proof.

use cost_model::given::Goal;
use ir::diagnostic::Diagnostic;

use super::{Effort, Method, Run, first, rows_for};
use crate::run::algorithm::{Guarantee, Options};

/// How `auto` solves instances.
pub(crate) const METHOD: Method = Method {
    goals: &[
        Goal::MaxLoad,
        Goal::ContiguousMaxLoad,
        Goal::Latency,
        Goal::TimePerSample,
        Goal::SlowestStage,
        Goal::StepTime,
        Goal::Makespan,
        Goal::SlowestRound,
        Goal::UploadTime,
        Goal::AveragedStep,
    ],
    effort: Effort::Portfolio,
    guarantee: Guarantee::Bound,
    solve,
};

/// Each row once, with its defaults; a thorough one begins with the best so far.
fn solve(run: &Run, _: &Options) -> Result<(), Diagnostic> {
    first::offer_all(run);
    for effort in [Effort::Quick, Effort::Thorough] {
        for (entry, method) in rows_for(run.rows(), run.goal()).filter(|row| row.1.effort == effort)
        {
            if run.is_over() {
                return Ok(());
            }
            run.execute(entry.name, method, &Options::default())?;
        }
    }
    Ok(())
}
