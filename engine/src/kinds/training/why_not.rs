//! Why a plan does not have some settings: the fastest plan with them, or what keeps all of them from
//! fitting. The terms of the difference add up to it, in nanoseconds and in bytes.

use std::time::Duration;

use cost_model::runs::forms::model::{Offload, shape};
use cost_model::runs::judge::memory::HoldingKind;
use cost_model::runs::judge::report::Report;
use documents::report::why_not::{
    DifferenceDocument, PinnedDocument, ShortfallDocument, WhyNotDocument,
};
use ir::diagnostic::{Blame, Diagnostic};
use ir::plan::Plan;
use ir::units::{Bytes, Nanos};
use planner::run::{Limits, StopReason};
use planner::training::search::{Planned as Searched, Wider};
use planner::training::search_3d::simplest::EQUAL;
use planner::training::search_3d::terms::TERMS;
use planner::training::search_3d::{Found, Options};
use serde_json::{Value, json};

use super::replay::Planned;
use super::screen::{ON_HOSTS, Shown, micro_batches, recomputed, words};
use super::{answer, figures, nothing_fits, plan, searched};
use crate::answer::energy;
use crate::answer::page::{Column, Page};
use crate::inputs::run::pins;
use crate::inputs::run::setting::Setting;

/// Longest that plans with the settings are searched for, as by `train` where no limit is stated.
const LONGEST: Duration = Duration::from_secs(30);

/// A longer search than that.
const LONGER: &str = "--time-limit 5m ";

/// What lies on a device, in the order of [`HoldingKind::ALL`].
const HELD: [&str; 4] =
    ["weights, gradients, optimizer", "activations", "recomputed activations", "temporary buffers"];

/// `explain --why-not`, of a plan that was judged.
///
/// # Errors
/// `bad-pin`, `no-configuration` and the like for settings that no plan has; `not-for-training` for plans that
/// are not compared by the step of degrees; those of pricing.
pub(super) fn explain(
    on: &Planned,
    (report, pins): (&Report, &[String]),
    page: &Page,
) -> Result<Value, Diagnostic> {
    let pins: Vec<String> = pins.iter().map(|pin| pins::in_full(pin)).collect();
    check(on, &pins)?;
    let read = pins::of(&pins).map_err(|error| said(error, &pins))?;
    let document = WhyNotDocument { pins: pins.clone(), ..WhyNotDocument::default() };
    let document = match pins::broken(&read, &on.plan, &on.training.schedule).is_empty() {
        true => {
            page.line(&format!("the plan has {}", in_words(&pins)));
            WhyNotDocument { is_kept: true, ..document }
        }
        false => compared(on, (report, document), page)?,
    };
    Ok(json!({ "step_time_ns": report.step_time.0, "why_not": document }))
}

/// Refuses plans that were not chosen by step time over parallelism settings.
fn check(on: &Planned, pins: &[String]) -> Result<(), Diagnostic> {
    let why = [
        (on.plan.partition.has_own_devices(), "its stages have devices of their own"),
        (on.setting.layers.is_some(), "its layers were measured"),
        (energy::is_decided_by(&on.setting.request), "it was chosen by energy, cost or power"),
    ];
    let why = why.into_iter().find(|(is, _)| *is);
    why.map_or(Ok(()), |(_, why)| {
        let message = format!("`--why-not` does not compare this plan: {why}");
        Err(Diagnostic::usage("not-for-training", message).hint(again("", pins)))
    })
}

/// What else says it, with more flags.
fn again(flags: &str, pins: &[String]) -> String {
    let pins: Vec<String> = pins.iter().map(|pin| format!("--pin {pin}")).collect();
    format!("plan with `{flags}{}`; `meshwright compare` says what differs", pins.join(" "))
}

/// `tensor 8, pipeline 2`.
fn in_words(pins: &[String]) -> String {
    pins.iter().map(|pin| pin.replacen('=', " ", 1)).collect::<Vec<_>>().join(", ")
}

/// An error of pins by the flags that were given: those of the plan's own request stay `--pin`.
fn said(error: Diagnostic, pins: &[String]) -> Diagnostic {
    let fields = || pins.iter().map(|pin| pin.split('=').next().unwrap_or_default());
    let by_field = |text: String, before: &str| {
        fields().fold(text, |text, field| {
            text.replace(&format!("{before}--pin {field}"), &format!("{before}--why-not {field}"))
        })
    };
    // Other values can be given for pins of the plan too; whether it has them can not.
    let hint = |text: String| match text.contains("without --pin") {
        true => by_field(text, "without "),
        false => text.replace("--pin", "--why-not"),
    };
    let hints = match error.code {
        "cannot-express" => vec![again("--for any ", pins)],
        "memory-exceeded" => vec![again(LONGER, pins)],
        _ => error.hints.into_iter().map(hint).collect(),
    };
    Diagnostic { message: by_field(error.message, ""), hints, ..error }
}

/// Searches the plans with the settings, all else as the plan was asked for.
fn compared(
    on: &Planned,
    (report, document): (&Report, WhyNotDocument),
    page: &Page,
) -> Result<WhyNotDocument, Diagnostic> {
    let pins = &document.pins;
    let mut setting = on.setting.keeping(Offload::Nothing);
    setting.request.pin = pins::with(pins.clone(), setting.request.pin);
    let space = setting.space().map_err(|error| said(error, pins))?;
    let limits = Limits { time: Some(LONGEST), ..Limits::default() };
    let options = Options::within(&limits);
    let found = plan::found((&setting, false), &space, &options)?;
    if !found.settled.found.plans.is_empty() {
        let pinned = Some(pinned(on, &mut setting, (report, pins, &found), page)?);
        return Ok(WhyNotDocument { pinned, ..document });
    }
    let found = &found.settled.found;
    if !found.stop.is_complete() {
        return Err(too_early(found.stop, pins));
    }
    let is_proved = found.is_proved_empty();
    let around = (found, is_proved, &Options::within(&limits));
    let (least, why) =
        nothing_fits::misfit(&setting, &space, around).map_err(|error| said(error, pins))?;
    let what = format!("no plan with {}", in_words(pins));
    page.line(&why.message.replacen("no plan", &what, 1));
    let degrees = answer::degrees(&least.configuration);
    page.line(&format!("the smallest: {degrees}"));
    let fullest = least.ranks.iter().max_by_key(|rank| rank.need);
    let binds = fullest.and_then(|rank| rank.alive.first());
    let short = ShortfallDocument {
        is_proved,
        degrees,
        need_bytes: least.bytes(),
        have_bytes: setting.limit.map_or(u64::MAX, |limit| limit.0),
        binds: binds.map(ToString::to_string).unwrap_or_default(),
    };
    Ok(WhyNotDocument { does_not_fit: Some(short), ..document })
}

fn too_early(stop: StopReason, pins: &[String]) -> Diagnostic {
    let what = in_words(pins);
    let message = format!("the search was stopped before it found a plan with {what} that fits");
    Diagnostic::error(Blame::NotFound, "no-plan", message)
        .fact("stopped", stop.name())
        .hint(again(LONGER, pins))
}

/// Sets the fastest plan with the settings beside the plan.
fn pinned(
    on: &Planned,
    setting: &mut Setting,
    (report, pins, found): (&Report, &[String], &Searched),
    page: &Page,
) -> Result<PinnedDocument, Diagnostic> {
    let Found { plans, stop, .. } = &found.settled.found;
    let best = plans.first().ok_or_else(super::told::unconfirmed)?;
    setting.offload = best.configuration.offload;
    let other = best.plan()?;
    let confirmed = setting.confirmed(&other, best.step)?;
    let beside = [(&on.setting, &on.plan, report), (setting, &other, &confirmed)];
    let of_time = |(setting, plan, report)| figures::in_terms(setting, plan, report);
    let [a, b] = [of_time(beside[0])?, of_time(beside[1])?];
    let terms = differences(TERMS, [a, b]);
    let memory = differences(HELD, [report, &confirmed].map(held));
    let step = difference("step", [report, &confirmed].map(|report| whole(report.step_time.0)));
    let peak = difference("peak memory", [report, &confirmed].map(|report| whole(peak(report))));
    page.line(&sentence(pins, &step, &terms));
    if let Some(Wider::Only(_)) = &found.wider {
        found.wider.iter().for_each(|wider| page.line(&searched::line(wider, best)));
    }
    if !stop.is_complete() {
        page.line(&format!("not finished ({}): a faster plan with it may exist", stop.words()));
    }
    let order = best.configuration.order.name();
    let settings = vec![
        vec!["plan".to_owned(), settings(&on.setting, &on.plan, &on.training.schedule)],
        vec!["pinned".to_owned(), settings(setting, &other, order)],
    ];
    page.table(&Column::row(" | "), settings);
    let columns = Column::row(" | #plan | #pinned | #difference");
    let time = rows((&step, &terms), |ns| Nanos(ns).to_string());
    let bytes = rows((&peak, &memory), |bytes| Bytes(bytes).to_string());
    page.table(&columns, time.into_iter().chain(bytes).collect());
    Ok(PinnedDocument {
        degrees: answer::degrees(&best.configuration),
        n_devices: shape::n_devices(&other.parallelism),
        is_launched: !matches!(found.wider, Some(Wider::Only(_))),
        is_complete: stop.is_complete(),
        step_ns: step,
        terms,
        peak_bytes: peak,
        memory,
    })
}

fn whole(figure: u64) -> i64 {
    i64::try_from(figure).unwrap_or(i64::MAX)
}

fn difference(name: &str, [plan, pinned]: [i64; 2]) -> DifferenceDocument {
    DifferenceDocument { name: name.to_owned(), plan, pinned, difference: pinned - plan }
}

fn differences<const N: usize>(
    names: [&str; N],
    [plan, pinned]: [[i64; N]; 2],
) -> Vec<DifferenceDocument> {
    let all = names.into_iter().zip(plan.into_iter().zip(pinned));
    all.map(|(name, (plan, pinned))| difference(name, [plan, pinned])).collect()
}

/// Most bytes on a device.
fn peak(report: &Report) -> u64 {
    report.ranks.iter().map(|rank| rank.peak.bytes).max().unwrap_or(0)
}

/// By kind, what lies on the device that holds most.
fn held(report: &Report) -> [i64; 4] {
    let most = peak(report);
    let fullest = report.ranks.iter().find(|rank| rank.peak.bytes == most);
    HoldingKind::ALL.map(|kind| {
        let holdings =
            fullest.iter().flat_map(|rank| &rank.alive).filter(|holding| holding.what == kind);
        holdings.map(|holding| whole(holding.bytes)).sum()
    })
}

/// By how much the fastest plan with the settings is slower, and mostly by what.
fn sentence(pins: &[String], step: &DifferenceDocument, terms: &[DifferenceDocument]) -> String {
    let [plan, pinned] = [step.plan, step.pinned].map(|ns| Nanos(ns.unsigned_abs()));
    let share = step.difference as f64 / (step.plan as f64).max(1.0);
    let lead =
        terms.iter().max_by_key(|term| term.difference.saturating_mul(step.difference.signum()));
    let lead = lead.map_or("", |term| term.name.as_str());
    let what = match share {
        _ if step.difference == 0 => "as the plan does".to_owned(),
        _ if share.abs() <= EQUAL => {
            format!("a tie with the plan ({plan}, {:+.1} %)", 100.0 * share)
        }
        _ if share > 0.0 => {
            format!("{:.1} % slower than the plan ({plan}), mostly by {lead}", 100.0 * share)
        }
        _ => format!("{:.1} % faster than the plan ({plan}), mostly by {lead}", -100.0 * share),
    };
    format!("the fastest plan with {} takes {pinned} a step, {what}", in_words(pins))
}

/// Degrees, micro-batches, recomputed layers and what lies on hosts.
fn settings(setting: &Setting, plan: &Plan, schedule: &str) -> String {
    let degrees = &plan.parallelism;
    let stages = plan.partition.stages.iter().map(|stage| (&stage.blocks, &stage.recompute));
    let hosts = if setting.offload == Offload::Optimizer { ON_HOSTS } else { "" };
    let shown = Shown::of(&setting.model);
    let all = [words(degrees, shown), micro_batches(degrees, schedule), recomputed(stages)];
    let all = all.into_iter().chain(Some(hosts.to_owned()).filter(|text| !text.is_empty()));
    all.collect::<Vec<_>>().join(", ")
}

/// A figure of both plans, then its terms as far as there are any.
fn rows(
    (all, terms): (&DifferenceDocument, &[DifferenceDocument]),
    text: impl Fn(u64) -> String,
) -> Vec<Vec<String>> {
    let signed = |figure: i64, positive: &str| match figure {
        0 => "0".to_owned(),
        1.. => format!("{positive}{}", text(figure.unsigned_abs())),
        _ => format!("-{}", text(figure.unsigned_abs())),
    };
    let row = |term: &DifferenceDocument, indent: &str| {
        let figures =
            [signed(term.plan, ""), signed(term.pinned, ""), signed(term.difference, "+")];
        std::iter::once(format!("{indent}{}", term.name)).chain(figures).collect()
    };
    let known = terms.iter().filter(|term| (term.plan, term.pinned) != (0, 0));
    std::iter::once(row(all, "")).chain(known.map(|term| row(term, "  "))).collect()
}
