//! `calibrate --steps`: corrects the constants of a software stack on a cluster.

use std::collections::BTreeMap;
use std::path::Path;

use cost_model::calibrate::steps::identified::Identified;
use cost_model::calibrate::steps::next::NextRun;
use cost_model::calibrate::steps::table::Table;
use cost_model::calibrate::steps::{Context, Corrected, StepCalibration, calibrate};
use cost_model::kernels::attention_kernel::on_chips;
use cost_model::kernels::stack::dispatching_on;
use cost_model::numeric::score::Score;
use cost_model::runs::forms::hosts;
use cost_model::runs::forms::run::Gradients;
use cost_model::runs::forms::system::{System, measured_collectives};
use importers::measurements::{devices, steps};
use ir::diagnostic::Diagnostic;
use ir::measured::{CollectiveOperation, StepRow};
use ir::profile::Profile;
use ir::tensor::DType;
use planner::training::schedule;
use serde_json::{Value, json};

use crate::answer::page::Column;
use crate::answer::page::Page;
use crate::inputs::load;
use crate::request::CalibrateRequest;
use crate::request::executor::named_stack;

const ALL_REDUCE: CollectiveOperation = CollectiveOperation::AllReduce;
/// The kind that rows of an A100 are taken for.
const A100: &str = "a100_sxm4_80gb";
/// Bytes per second of network per device where no cluster is named: one port of 200 Gb/s
/// InfiniBand each, as achieved (`links.csv`, `ib_hdr_200`).
const NETWORK: f64 = 22.5e9;

/// What steps said, and what they were taken to have run on.
pub(super) struct OfSteps {
    pub(super) found: StepCalibration,
    file: String,
    system: String,
    noted: Vec<Diagnostic>,
}

impl OfSteps {
    pub(super) fn warnings(&self) -> impl Iterator<Item = Diagnostic> + '_ {
        self.noted.iter().chain(&self.found.warnings).cloned()
    }
}

/// Corrects the constants of the stack that `args` names.
pub(super) fn correct(
    args: &CalibrateRequest,
    path: &Path,
    base: &Profile,
) -> Result<OfSteps, Diagnostic> {
    let steps::OneKind { rows, called } = steps::read_one_kind(path)?;
    let mut noted = Vec::new();
    let kind = args.kind.as_deref().or(called.as_deref());
    let system = system((args.cluster.as_deref(), kind), &rows, base, &mut noted)?;
    let described = describe(&system, args);
    let (file, stack) = (path.display().to_string(), (args.stack.as_str(), args.gradients));
    let found = calibrated((path, &rows), (system, stack), base)?;
    Ok(OfSteps { found, file, system: described, noted })
}

/// Steps of a table on a cluster, judged by the constants of a stack before and after a calibration.
///
/// # Errors
/// Those of the cluster file, of an unknown stack, and of rows that are no runs.
pub fn judged(
    table: &Path,
    rows: &[StepRow],
    (cluster, stack): (&Path, &str),
) -> Result<StepCalibration, Diagnostic> {
    let (base, mut noted) = (Profile::default(), Vec::new());
    let system = system((Some(cluster), None), rows, &base, &mut noted)?;
    let mut found = calibrated((table, rows), (system, (stack, None)), &base)?;
    found.warnings.extend(noted);
    Ok(found)
}

fn calibrated(
    (path, rows): (&Path, &[StepRow]),
    (system, (stack, gradients)): (System, (&str, Option<Gradients>)),
    base: &Profile,
) -> Result<StepCalibration, Diagnostic> {
    // Steps tell their type by row; what is older than a kernel is that in all of them.
    let chip = system.device.chip;
    let stack = dispatching_on(named_stack(stack)?, [chip]);
    let (stack, _) = on_chips(stack, [chip], DType::Bf16, 0);
    let context = Context {
        system,
        stack,
        gradients,
        grid_of: schedule::megatron,
        base: base.clone(),
        source: super::source(&[path]),
        date: profiler::date::today(),
    };
    let file = path.display().to_string();
    let in_file = |diagnostic: Diagnostic| diagnostic.fact("file", file.as_str());
    let mut found = calibrate(rows, &context).map_err(in_file)?;
    found.warnings = found.warnings.into_iter().map(in_file).collect();
    Ok(found)
}

/// Devices and links of the steps: those of the cluster file, else hosts of eight A100.
fn system(
    (path, kind): (Option<&Path>, Option<&str>),
    rows: &[StepRow],
    base: &Profile,
    noted: &mut Vec<Diagnostic>,
) -> Result<System, Diagnostic> {
    let Some(path) = path else { return a100_hosts(kind, base) };
    let (mut cluster, strange) = load::cluster(path)?;
    noted.extend(strange);
    if base.kind_names().len() + base.links.len() > 0 {
        let (rated, unused) = importers::profile::rated(base, cluster)?;
        noted.extend(unused);
        cluster = rated;
    }
    let unusable = |message: &str| {
        let file = path.display().to_string();
        Diagnostic::input("no-system", message).fact("file", file)
    };
    let kinds: BTreeMap<_, _> =
        cluster.device_ids().map(|id| (cluster.kind_of(id).name.clone(), id)).collect();
    let (Some((kind, device)), 1) = (kinds.first_key_value(), kinds.len()) else {
        return Err(unusable("steps are calibrated on a cluster of one kind of device")
            .fact("kinds", kinds.into_keys().collect::<Vec<_>>()));
    };
    let sheet = cluster.kind_of(*device);
    if sheet.memory_bandwidth.is_none() || sheet.peak.is_empty() {
        return Err(unusable("the device has no peak rate or no memory bandwidth")
            .fact("device", kind.as_str()));
    }
    let most = rows.iter().max_by_key(|row| row.gpus);
    if let Some(row) = most.filter(|row| row.gpus > cluster.devices.len() as u64) {
        let message = format!(
            "steps ran on up to {} devices, the cluster has {}; its hosts and links are taken to go on",
            row.gpus,
            cluster.devices.len()
        );
        noted.push(Diagnostic::warning("cluster-smaller", message).fact("row", row.line));
    }
    hosts::check(&cluster, most.map_or(1, |row| row.gpus))
        .map_err(|error| error.fact("file", path.display().to_string()))?;
    System::of(&cluster, base).ok_or_else(|| unusable("the cluster has no device"))
}

fn a100_hosts(called: Option<&str>, base: &Profile) -> Result<System, Diagnostic> {
    let is_a100 = called.is_some_and(|called| called.to_ascii_lowercase().contains("a100"));
    let facts = if is_a100 { devices::facts(A100)? } else { None };
    let measured = measured_collectives(base, A100);
    let system = facts.and_then(|facts| System::a100_hosts(A100, &facts, measured, NETWORK));
    system.ok_or_else(|| {
        let message = match called {
            Some(called) => format!("the links and hosts of `{called}` are not stated"),
            None => "the table does not say which devices ran its steps".to_owned(),
        };
        Diagnostic::usage("no-cluster", message)
            .hint("add --cluster cluster.yaml")
            .hint(format!("or --kind {A100} for hosts of eight with a 200 Gb/s port each"))
    })
}

fn describe(system: &System, args: &CalibrateRequest) -> String {
    let gigabytes = |rate: f64| format!("{:.1} GB/s", rate / 1e9);
    let all_reduces = system.measured.keys().filter(|(operation, ..)| *operation == ALL_REDUCE);
    let measured: Vec<String> = all_reduces.map(|(_, ranks, _)| ranks.to_string()).collect();
    format!(
        "hosts of {} {}, {} between devices of a host, {} of network each{}; all-reduces {}",
        system.per_host,
        system.device.name,
        gigabytes(system.inside.rate.get()),
        gigabytes(system.network.rate.get()),
        if args.cluster.is_some() { "" } else { " (nominal, --cluster states others)" },
        if measured.is_empty() {
            "by formula".to_owned()
        } else {
            format!("of {} measured", measured.join(", "))
        }
    )
}

/// Tables for people.
pub(super) fn print(of: &OfSteps, page: &Page) {
    let found = &of.found;
    page.line(&format!("{} steps of {}, stack {}", found.n_rows, of.file, found.stack));
    page.line(&of.system);
    page.line("");
    let columns = Column::row("step time error | #mean | #median | #worst | ~worst row");
    let errors = [("nominal", Some(&found.before)), ("calibrated", Some(&found.after))];
    let errors = errors.into_iter().chain([("with table", found.with_table.as_ref())]);
    let row = |(name, score): (&str, Option<&Score>)| {
        let Score { mape, median, worst, worst_row, .. } = score?;
        let figures = [mape, median, worst].map(|figure| format!("{figure:.1} %"));
        Some([vec![name.to_owned()], figures.to_vec(), vec![worst_row.clone()]].concat())
    };
    page.table(&columns, errors.filter_map(row).collect());
    page.line("");
    let columns =
        Column::row("@constant | #nominal | #fitted | #change | determined by your data?");
    page.table(&columns, found.constants.iter().map(constant_row).collect());
    if let Table::Left(why) = &found.table {
        page.line("");
        page.line(&format!("no table of corrections: {why}"));
    }
    if !found.next.is_empty() {
        page.line("");
        let columns = Column::row("runs worth measuring next | determine | #from | #to within");
        page.table(&columns, found.next.iter().map(next_row).collect());
    }
}

fn next_row(run: &NextRun) -> Vec<String> {
    let within = run.log_errors.map(|error| format!("{:.0} %", 100.0 * error.exp_m1()));
    let what = format!("row {} with {} = {}", run.line, run.column, run.value);
    [vec![what, run.constant.name().to_owned()], within.to_vec()].concat()
}

fn constant_row(corrected: &Corrected) -> Vec<String> {
    let Corrected { constant, nominal, value, identified } = corrected;
    let name = constant.name();
    let shown = |value: f64| match name.ends_with("_s") {
        true => format!("{:.3} ms", 1e3 * value),
        false => format!("{value:.3}"),
    };
    let (fitted, change) = match identified {
        Identified::Fitted { .. } => {
            (shown(*value), format!("{:+.1} %", 100.0 * (value / nominal - 1.0)))
        }
        Identified::TooLittle | Identified::NoEffect => ("-".to_owned(), "-".to_owned()),
    };
    vec![name.to_owned(), shown(*nominal), fitted, change, identified_words(*identified)]
}

fn identified_words(identified: Identified) -> String {
    match identified {
        Identified::Fitted { log_error } => format!("yes, to {:.0} %", 100.0 * log_error.exp_m1()),
        Identified::TooLittle => "no: too uncertain".to_owned(),
        Identified::NoEffect => "no: no row depends on it".to_owned(),
    }
}

/// The last line for people.
pub(super) fn sentence(of: &OfSteps, path: &str) -> String {
    let found = &of.found;
    let identified = |one: &&Corrected| matches!(one.identified, Identified::Fitted { .. });
    let table = match &found.table {
        Table::Kept(table) => format!(" and a table of {} cells", table.cells().count()),
        Table::Left(_) => String::new(),
    };
    format!(
        "calibrated {} of {} constants{table} on {} steps, wrote {path}",
        found.constants.iter().filter(identified).count(),
        found.constants.len(),
        found.n_rows
    )
}

/// The same facts for programs.
pub(super) fn document(of: &OfSteps) -> Value {
    let found = &of.found;
    let error = |score: &Score| {
        json!({
            "mean": score.mape / 100.0,
            "median": score.median / 100.0,
            "worst": score.worst / 100.0,
            "worst_row": score.worst_row,
        })
    };
    let constant = |one: &Corrected| {
        let log_error = match one.identified {
            Identified::Fitted { log_error } => Some(log_error),
            Identified::TooLittle | Identified::NoEffect => None,
        };
        json!({
            "name": one.constant.name(),
            "nominal": one.nominal,
            "fitted": one.value,
            "told": log_error.is_some(),
            "relative_error": log_error.map(f64::exp_m1),
            "words": identified_words(one.identified),
        })
    };
    let next = |run: &NextRun| {
        json!({
            "row": run.line,
            "column": run.column,
            "value": run.value,
            "constant": run.constant.name(),
            "relative_error": run.log_errors[1].exp_m1(),
            "relative_error_before": run.log_errors[0].exp_m1(),
        })
    };
    let (cells, left) = match &found.table {
        Table::Kept(table) => (table.cells().count(), None),
        Table::Left(why) => (0, Some(why)),
    };
    json!({
        "stack": found.stack,
        "system": of.system,
        "file": of.file,
        "rows": found.n_rows,
        "error": {
            "nominal": error(&found.before),
            "calibrated": error(&found.after),
            "with_table": found.with_table.as_ref().map(error),
        },
        "constants": found.constants.iter().map(constant).collect::<Vec<_>>(),
        "table": { "cells": cells, "left_out": left },
        "next": found.next.iter().map(next).collect::<Vec<_>>(),
    })
}
