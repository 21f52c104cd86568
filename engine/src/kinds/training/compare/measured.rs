//! `compare` where the second file says how the first one ran: predicted beside measured.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use cost_model::runs::judge::report::RankReport;
use documents::digest;
use documents::measured::{FORMAT, MeasuredDocument, MeasuredRankDocument};
use documents::plan::PlanDocument;
use documents::quantity::seconds;
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use ir::units::{Bytes, Nanos, Work};
use serde_json::{Value, json};

use super::super::Training;
use crate::answer::exit::{CommandResult, Exit};
use crate::answer::files::input_file;
use crate::answer::page::{Column, Page};
use crate::kinds::frame::{self, documents};
use crate::kinds::kind::Target;
use crate::request::CompareRequest;

/// Longest file of a measured run, in bytes.
const LONGEST_FILE: u64 = 1 << 26;

/// The measured run that a file holds; `None` where it holds none.
///
/// # Errors
/// `bad-measured`.
pub fn read(path: &Path) -> Option<Result<MeasuredDocument, Diagnostic>> {
    let text = input_file::read(path, LONGEST_FILE).ok()?;
    let mark = format!("\"{FORMAT}\"");
    let is_measured = text.windows(mark.len()).any(|window| window == mark.as_bytes());
    is_measured.then(|| {
        MeasuredDocument::parse(&text)
            .map_err(|error| error.fact("file", path.display().to_string()))
    })
}

/// Sets what a plan predicts beside how it ran: step and peaks as it states them; with the model also
/// where the step goes, judged again.
///
/// # Errors
/// `other-plan` where it is not this plan that ran, `bad-measured` where its processes are not the plan's;
/// those of reading.
pub fn compare(
    document: &Arc<PlanDocument>,
    measured: &MeasuredDocument,
    args: &CompareRequest,
    page: &Page,
) -> CommandResult {
    check(measured, args)?;
    check_places(document, measured)?;
    let (reports, warnings) = match args.model.as_deref() {
        None => (Vec::new(), Vec::new()),
        Some(model) => {
            let read = frame::on_model::<Training>(document, Target::of(model, &args.target))?;
            let on = read.setting;
            (on.setting.report(&on.plan, on.setting.limit)?.ranks, read.warnings)
        }
    };
    let stated = document.training.iter().flat_map(|run| &run.memory).map(|rank| rank.peak_bytes);
    let peaks: Vec<u64> = stated.collect();
    page.warnings(&warnings);
    table(measured, (&reports, &peaks), page);
    let step_time = told(document, measured);
    page.line(&step_time.0);
    let rank = |(at, rank): (usize, &MeasuredRankDocument)| {
        let of = rank.pipeline_rank as usize;
        json!({
            "rank": at,
            "measured": rank,
            "predicted": predicted(reports.get(of), peaks.get(of).copied()),
        })
    };
    page.document(&json!({
        "step_time": step_time.1,
        "ranks": measured.ranks.iter().enumerate().map(rank).collect::<Vec<_>>(),
        "warnings": documents(&warnings),
    }));
    Ok(Exit::DONE)
}

/// Refuses the run of another plan.
fn check(measured: &MeasuredDocument, args: &CompareRequest) -> Result<(), Diagnostic> {
    let digest = input_file::read(&args.a, LONGEST_FILE).map(|bytes| digest::bytes(&bytes));
    let digest = digest.unwrap_or_default();
    if digest == measured.plan.sha256 || args.target.allow_mismatch {
        return Ok(());
    }
    Err(Diagnostic::input("other-plan", "it is another plan that ran")
        .fact("ran", measured.plan.sha256.clone())
        .fact("plan", digest)
        .hint("give the plan that ran, or add --model and --allow-mismatch"))
}

/// Refuses processes that are not those of the plan, each once.
fn check_places(document: &PlanDocument, measured: &MeasuredDocument) -> Result<(), Diagnostic> {
    let Parallelism { data, pipeline, .. } = document.to_training(None)?.parallelism;
    let wrong = |message: String| {
        Diagnostic::input("bad-measured", message)
            .hint("give what `Run.measure` wrote of this plan")
    };
    let (n, wanted) = (measured.ranks.len() as u64, u64::from(data) * u64::from(pipeline));
    if n != wanted {
        return Err(wrong(format!(
            "it has {n} processes, and the plan {data} replicas of {pipeline} pipeline ranks"
        )));
    }
    let mut seen = BTreeSet::new();
    for (at, rank) in measured.ranks.iter().enumerate() {
        let MeasuredRankDocument { replica, pipeline_rank, .. } = rank;
        let is_there = *replica < data && *pipeline_rank < pipeline;
        if !is_there || !seen.insert((replica, pipeline_rank)) {
            return Err(wrong(format!(
                "process {at} is pipeline rank {pipeline_rank} of replica {replica}, which {}",
                if is_there { "another one is too" } else { "the plan does not have" }
            )));
        }
    }
    Ok(())
}

/// Step times, in a sentence and for programs.
fn told(document: &PlanDocument, measured: &MeasuredDocument) -> (String, Value) {
    let text = |s: f64| Nanos::rounded(s * 1e9, Work::Some).to_string();
    let ran = measured.step_time_s;
    let Some(cost) = &document.cost else {
        let line = format!("measured {} a step; the plan states none", text(ran));
        return (line, json!({ "measured_s": ran }));
    };
    let predicted = seconds(cost.step_time_ns);
    let error = predicted / ran - 1.0;
    let inside = cost.interval.as_ref().map(|of| (of.low_s..=of.high_s).contains(&ran));
    let where_ = match inside {
        Some(true) => ", inside its interval",
        Some(false) => ", outside its interval",
        None => "",
    };
    let line = format!(
        "predicted {}, measured {} a step: {:+.1} %{where_} ({} steps)",
        text(predicted),
        text(ran),
        100.0 * error,
        measured.n_steps
    );
    let value =
        json!({ "predicted_s": predicted, "measured_s": ran, "error": error, "inside": inside });
    (line, value)
}

fn predicted(report: Option<&RankReport>, peak: Option<u64>) -> Value {
    json!({
        "compute_s": report.map(|report| seconds(report.compute_ns)),
        "transfer_s": report.map(|report| seconds(report.communication_ns)),
        "waiting_s": report.map(|report| seconds(report.idle_ns)),
        "peak_bytes": report.map(|report| report.peak.bytes).or(peak),
    })
}

fn table(measured: &MeasuredDocument, (reports, peaks): (&[RankReport], &[u64]), page: &Page) {
    let pair = |predicted: Option<u64>, ran: f64| {
        let text = |ns: f64| Nanos::rounded(ns, Work::None).to_string();
        match predicted {
            Some(ns) => format!("{} / {}", text(ns as f64), text(ran * 1e9)),
            None => text(ran * 1e9),
        }
    };
    let row = |(at, rank): (usize, &MeasuredRankDocument)| {
        let of = rank.pipeline_rank as usize;
        let report = reports.get(of);
        let peak = report.map(|report| report.peak.bytes).or(peaks.get(of).copied());
        let ran = Bytes(rank.peak_bytes);
        vec![
            at.to_string(),
            pair(report.map(|report| report.compute_ns), rank.compute_s),
            pair(report.map(|report| report.idle_ns), rank.waiting_s),
            pair(report.map(|report| report.communication_ns), rank.transfer_s),
            peak.map_or_else(|| ran.to_string(), |peak| format!("{} / {ran}", Bytes(peak))),
        ]
    };
    let columns = Column::row("#rank | #compute | #waiting | #transfer | #peak");
    page.line("predicted / measured");
    page.table(&columns, measured.ranks.iter().enumerate().map(row).collect());
}
