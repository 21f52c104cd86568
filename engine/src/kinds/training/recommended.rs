//! The rule *simplest of equals* on a request: whether it applies, by what plans are compared, and what
//! is said of the choice.

use cost_model::runs::forms::interval::Figure;
use cost_model::runs::forms::model::Offload;
use documents::report::training::{FastestDocument, RecommendedDocument};
use ir::card::ZeroStage;
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use planner::training::search_3d::judge::Judged;
use planner::training::search_3d::simplest::{Choice, Criterion, Evidence, Recommended};
use planner::training::search_3d::space::Configuration;

use super::answer::degrees;
use super::screen::ON_HOSTS;
use super::told::{CONTEXT, SPLIT_BACKWARD};
use crate::inputs::run::setting::Setting;
use crate::request::PlanRequest;

/// Name of the reason that a plan has fewer terms that no published run judges.
const JUDGED_TERMS: &str = "judged-terms";

/// Whether a request is for the simplest of equal plans.
///
/// # Errors
/// `not-for-training` where `--fastest` turns nothing off: plans on other devices are compared then, by
/// other rules.
pub(super) fn applies(request: &PlanRequest) -> Result<bool, Diagnostic> {
    let training = &request.training;
    let others = [
        ("--objective", request.objective.is_some_and(|objective| objective.is_of_energy())),
        ("--power-cap", request.power_cap.is_some()),
        ("--spares", training.spares.is_some()),
        ("--replace", training.replace.is_some()),
    ];
    let other = others.into_iter().find(|(_, is_given)| *is_given);
    match other {
        Some((flag, _)) if training.fastest => {
            let message = format!("`--fastest` has no effect with `{flag}`");
            Err(Diagnostic::usage("not-for-training", message)
                .hint("leave --fastest out: simpler plans are not preferred there"))
        }
        other => Ok(other.is_none() && !training.fastest),
    }
}

/// What published runs tell of the plans of a setting.
pub(super) struct Known {
    /// By ZeRO stage, terms that no published run judges.
    unlike: [Vec<String>; 4],
    peak_high: [f64; 4],
}

impl Known {
    pub(super) fn of(setting: &Setting) -> Self {
        let figure = setting.basis(&Parallelism::default()).figure();
        let setting = setting.keeping(Offload::Nothing);
        let stages =
            [ZeroStage::None, ZeroStage::Optimizer, ZeroStage::Gradients, ZeroStage::Parameters];
        let degrees = stages.map(|zero| Parallelism { zero, ..Parallelism::default() });
        let high = |degrees| setting.spread(Figure::Peak, degrees, &[]).interval().high;
        Self {
            unlike: degrees.each_ref().map(|degrees| setting.unlike(figure, degrees)),
            peak_high: degrees.each_ref().map(high),
        }
    }

    fn unjudged(&self, configuration: &Configuration) -> Vec<String> {
        let others = [
            (configuration.degrees.context > 1, CONTEXT),
            (configuration.offload == Offload::Optimizer, ON_HOSTS),
            (!configuration.order.is_whole(), SPLIT_BACKWARD),
        ];
        let others = others.into_iter().filter(|(is, _)| *is).map(|(_, term)| term.to_owned());
        self.unlike[configuration.degrees.zero as usize].iter().cloned().chain(others).collect()
    }

    /// Hands it to a search.
    pub(super) fn with<T>(&self, search: impl FnOnce(&Evidence<'_>) -> T) -> T {
        let unjudged = |configuration: &Configuration| self.unjudged(configuration);
        search(&Evidence { unjudged: &unjudged, peak_high: self.peak_high })
    }
}

/// `recommended: 0.6 % slower than the fastest (`--fastest`): no recompute`.
pub(super) fn line(choice: &Choice, fastest: &Judged) -> Option<String> {
    let recommended = choice.simpler()?;
    let percent = 100.0 * than(recommended, fastest);
    let mut text = format!("recommended: {percent:.1} % slower than the fastest (`--fastest`)");
    if !recommended.judged.is_empty() {
        text += &format!(", which no published run judges ({})", recommended.judged.join(", "));
    }
    let simpler: Vec<&str> = recommended.simpler.iter().copied().map(Criterion::words).collect();
    if !simpler.is_empty() {
        text += &format!(": {}", simpler.join(", "));
    }
    Some(text)
}

/// That the fastest plan is recommended because others were not compared with it.
pub(super) fn warning(choice: &Choice) -> Option<Diagnostic> {
    (*choice == Choice::Unknown).then(|| {
        let message = "stopped before simpler plans were compared with the fastest";
        Diagnostic::warning("not-compared", message)
            .hint("raise --time-limit, leave out --gap, or add --fastest")
    })
}

fn than(recommended: &Recommended, fastest: &Judged) -> f64 {
    recommended.plan.step.seconds() / fastest.step.seconds() - 1.0
}

/// For programs.
pub(super) fn document(choice: &Choice, fastest: &Judged) -> Option<RecommendedDocument> {
    let recommended = choice.simpler()?;
    let judged = (!recommended.judged.is_empty()).then_some(JUDGED_TERMS);
    let reasons =
        judged.into_iter().chain(recommended.simpler.iter().copied().map(Criterion::name));
    Some(RecommendedDocument {
        than_fastest: than(recommended, fastest),
        reason: reasons.map(str::to_owned).collect(),
        fastest: FastestDocument {
            degrees: degrees(&fastest.configuration),
            step_time_ns: fastest.step.0,
            step_time_s: fastest.step.seconds(),
        },
    })
}
