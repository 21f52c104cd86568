//! Corrects the constants of a software stack on a cluster from measured training steps.
//!
//! Constants are pulled towards their priors ([`Constant::log_sd`]), so a handful of rows changes
//! little, and only what they determine: a constant whose standard error stays above [`UNTOLD`] of
//! its prior stays nominal and is named ([`told`]). Where rows allow, a
//! table of factors by hidden size, tensor ranks and micro-batch takes what the form leaves over
//! ([`table`]). Fits use closed forms; the errors that are reported are those of replayed steps.
//!
//! Rows of several clusters must not be mixed: one calibration over five published sets is worse on
//! each of them than its own.

use std::collections::BTreeSet;

use ir::diagnostic::Diagnostic;
use ir::measured::StepRow;
use ir::profile::{ModelKind, Profile, Provenance, StackConstants, StackCorrection};
use ir::stack::Stack;

use super::quality::quality;
use crate::numeric::score::{Score, score};
use crate::runs::forms::constants::{Constant, Constants};
use crate::runs::forms::corrections::{Corrections, cell};
use crate::runs::forms::fit::Sample;
use crate::runs::forms::run::Gradients;
use crate::runs::forms::system::System;

pub mod identified;
pub mod next;
pub mod rows;
pub mod set;
mod strange;
pub mod table;

use identified::{BELIEVED_OF_FEW, Identified, identified};
use next::{NextRun, next};
use set::{GridOf, Set};
use table::Table;

/// Rows below which a calibration is dangerous (two rows of a published set made it worse).
pub const DANGEROUS: usize = 8;
/// Rows that make a useful calibration, and a good one: figures of random rows of one stack.
pub const USEFUL: usize = 16;
/// See [`USEFUL`].
pub const GOOD: usize = 32;
/// Standard error of a constant, as a share of the one believed beforehand, above which the rows do
/// not tell it: they say less about it than was believed (half of the variance is left at 0.71).
pub const UNTOLD: f64 = 0.7;
/// Standard deviation of a normal law over the median of absolute values.
const NORMAL: f64 = 1.4826;

/// What is calibrated, and what it may look up.
#[derive(Clone, Debug)]
pub struct Context {
    /// The devices and links.
    pub system: System,
    /// The software, with nominal constants.
    pub stack: Stack,
    /// Numbers of the gradients; `None` = those of the stack.
    pub gradients: Option<Gradients>,
    /// Makes schedules.
    pub grid_of: GridOf,
    /// Profile that is extended; where it knows the stack, its constants are the nominal ones.
    pub base: Profile,
    /// What measured.
    pub source: String,
    /// ISO 8601 date of the calibration or of the measurements.
    pub date: String,
}

/// A constant after the calibration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Corrected {
    /// Which one.
    pub constant: Constant,
    /// Value before.
    pub nominal: f64,
    /// Value after.
    pub value: f64,
    /// What the rows say about it.
    pub identified: Identified,
}

/// Stack constants calibrated from steps.
#[derive(Clone, Debug)]
pub struct StepCalibration {
    /// The base with the stack's constants.
    pub profile: Profile,
    /// Name of the stack in the profile.
    pub stack: String,
    /// Rows that took part.
    pub n_rows: usize,
    /// Every constant.
    pub constants: Vec<Corrected>,
    /// Error with nominal constants, those of the base and its table where it knows the stack.
    pub before: Score,
    /// Error with calibrated constants, in sample.
    pub after: Score,
    /// Error with the table as well, in sample, where there is one.
    pub with_table: Option<Score>,
    /// The table, or why there is none.
    pub table: Table,
    /// Runs that would tell most of what these leave open.
    pub next: Vec<NextRun>,
    /// What is worth knowing.
    pub warnings: Vec<Diagnostic>,
}

/// Constants and corrections that a profile holds for a stack; what it does not name is nominal.
#[must_use]
pub fn stored(stack: &Stack, measured: Option<&StackConstants>) -> (Constants, Corrections) {
    let constants = Constants::held(stack, measured);
    let Some(measured) = measured else { return (constants, Corrections::default()) };
    let factors = measured.corrections.iter().filter_map(|correction| {
        let tensor = u32::try_from(correction.tensor).ok()?;
        Some(((correction.hidden, tensor, correction.micro_batch), correction.factor))
    });
    (constants, Corrections::new(factors))
}

/// Calibrates a stack's constants on measured steps of one cluster.
///
/// # Errors
/// `step-out-of-range` for a row that no run has (see [`rows::check`]), `no-schedule` for a row
/// whose micro-batches cannot be scheduled, `nothing-calibrated` if no row is left; each with the
/// line of the row as far as there is one.
pub fn calibrate(measured: &[StepRow], context: &Context) -> Result<StepCalibration, Diagnostic> {
    let mut warnings = Vec::new();
    let usable = rows::usable(measured, &mut warnings)?;
    let system = (context.system.clone(), context.stack.clone());
    let set = Set::new("steps", &usable, context.gradients, system, context.grid_of);
    rows::check_set(&set, &mut warnings)?;
    let kinds: BTreeSet<ModelKind> =
        set.rows.iter().map(|row| ModelKind::of(&row.run.model)).collect();
    let base = context.base.stacks.get(&context.stack.name);
    let (base, others) = match base {
        Some(base) if !kinds.iter().all(|kind| base.price(*kind)) => (None, Some(base)),
        base => (base, None),
    };
    warnings.extend(others.map(|base| of_other_models(base, &context.stack)));
    let (nominal, corrections) = stored(&context.stack, base);
    let all = set.samples(|_| true);
    let (samples, (constants, identified)) = fitted(&set, context, &nominal, &mut warnings);
    let n_identified = identified
        .iter()
        .filter(|identified| matches!(identified, Identified::Fitted { .. }))
        .count();
    let table = Table::of(&samples, &context.stack, &constants, n_identified);
    let before = judged(&set, &set.predict(&nominal, &corrections))?;
    let predicted = set.predict(&constants, &Corrections::default());
    let after = judged(&set, &predicted)?;
    let with_table = match &table {
        Table::Kept(corrections) => Some(judged(&set, &set.predict(&constants, corrections))?),
        Table::Left(_) => None,
    };
    if after.mape > before.mape {
        let message = "calibrated constants describe these rows no better than the nominal ones";
        warnings.push(
            Diagnostic::warning("no-better", message).hint(
                "check that all rows are of one cluster, and that --stack names its software",
            ),
        );
    }
    let corrected =
        Constant::ALL.into_iter().zip(&identified).map(|(constant, identified)| Corrected {
            constant,
            nominal: nominal.get(constant),
            value: constants.get(constant),
            identified: *identified,
        });
    let corrected: Vec<Corrected> = corrected.collect();
    let models = base.into_iter().flat_map(|base| &base.models).copied().chain(kinds).collect();
    let profile = profile(context, &all, (models, &corrected), &table, &predicted);
    Ok(StepCalibration {
        profile,
        stack: context.stack.name.clone(),
        n_rows: samples.len(),
        constants: corrected,
        before,
        after,
        with_table,
        table,
        next: next(&set, context, &constants),
        warnings,
    })
}

/// That the base has constants of other kinds of models, which those of these rows replace.
fn of_other_models(base: &StackConstants, stack: &Stack) -> Diagnostic {
    let names: Vec<&str> = base.models.iter().map(|kind| kind.name()).collect();
    let message = format!(
        "the base's constants of `{}` are of other models ({}): the fit starts from nominal values, and \
         replaces them",
        stack.name,
        names.join(", ")
    );
    Diagnostic::warning("base-other-models", message)
        .hint("calibrate once on a table with the steps of both kinds of models")
}

/// The rows that agree, and constants fitted on them.
fn fitted<'s>(
    set: &'s Set,
    context: &Context,
    nominal: &Constants,
    warnings: &mut Vec<Diagnostic>,
) -> (Vec<Sample<'s>>, (Constants, Vec<Identified>)) {
    let rows: Vec<&StepRow> = set.rows.iter().map(|row| &row.measured).collect();
    let n_told = strange::n_configurations(rows.iter().copied());
    warnings.extend(few(rows.len(), n_told));
    warnings.extend(strange::of_one_kind(&rows));
    let all = set.samples(|_| true);
    let found = identified(&all, n_told, &context.stack, nominal);
    let out = strange::outliers(&all, &context.stack, &found.0);
    if out.is_empty() {
        return (all, found);
    }
    let lines: Vec<u64> = out.iter().map(|at| rows[*at].line).collect();
    warnings.extend(strange::left_out(&lines));
    let n_told =
        strange::n_configurations(rows.into_iter().filter(|row| !lines.contains(&row.line)));
    let samples = set.samples(|row| !lines.contains(&row.measured.line));
    let found = identified(&samples, n_told, &context.stack, nominal);
    (samples, found)
}

/// What is to be said about so few rows, `n_told` of which are of different configurations.
fn few(n_rows: usize, n_told: usize) -> Option<Diagnostic> {
    if n_told >= USEFUL {
        return None;
    }
    let how = if n_told < DANGEROUS { "dangerously few" } else { "few" };
    let are = match (n_rows, n_told) {
        (1, _) => "1 row is".to_owned(),
        (n_rows, n_told) if n_told < n_rows => {
            format!("{n_rows} rows of {n_told} configurations are")
        }
        _ => format!("{n_rows} rows are"),
    };
    let message = format!(
        "{are} {how} for a calibration: {USEFUL} random rows of one stack make a useful one, {GOOD} \
         a good one"
    );
    let warning = Diagnostic::warning("few-steps", message).fact("rows", n_rows as u64);
    Some(if n_told < DANGEROUS {
        warning.hint(format!(
            "measure more configurations: on so few a constant moves by {BELIEVED_OF_FEW} standard \
             deviation of what is believed of it at most"
        ))
    } else {
        warning
    })
}

/// Errors of predictions of a set.
fn judged(set: &Set, predicted: &[f64]) -> Result<Score, Diagnostic> {
    if let Some((row, _)) = set.rows.iter().zip(predicted).find(|(_, time)| !time.is_finite()) {
        let message = "no schedule, or no time, follows from the row: ranks that hold several \
                       chunks take micro-batches in rounds of one per rank";
        return Err(Diagnostic::input("no-schedule", message)
            .fact("row", row.measured.line)
            .fact("step", Set::name(row)));
    }
    let rows = set.rows.iter().zip(predicted);
    Ok(score(rows.map(|(row, time)| (*time, row.measured.time_s, Set::name(row)))))
}

fn profile(
    context: &Context,
    samples: &[Sample<'_>],
    (models, constants): (BTreeSet<ModelKind>, &[Corrected]),
    table: &Table,
    predicted: &[f64],
) -> Profile {
    let rows_of = |of| samples.iter().filter(|sample| cell(sample.run) == of).count() as u64;
    let corrections = match table {
        Table::Left(_) => Vec::new(),
        Table::Kept(table) => table
            .cells()
            .map(|(of, factor)| StackCorrection {
                hidden: of.0,
                tensor: u64::from(of.1),
                micro_batch: of.2,
                factor,
                n_rows: rows_of(of),
            })
            .collect(),
    };
    let named = |corrected: &Corrected| (corrected.constant.name().to_owned(), corrected.value);
    let source = context.source.clone();
    let stack_constants = StackConstants {
        models,
        constants: constants.iter().map(named).collect(),
        corrections,
        provenance: Provenance::Measured { source, date: context.date.clone() },
    };
    let unidentified =
        constants.iter().filter(|one| !matches!(one.identified, Identified::Fitted { .. }));
    let unidentified = unidentified.map(|one| one.constant.name().to_owned()).collect();
    let measured: Vec<f64> = samples.iter().map(|sample| sample.time_s).collect();
    let mut profile = context.base.clone();
    let part = format!("steps {}", context.stack.name);
    profile.notes.insert(part.clone(), context.system.device.name.clone());
    profile.quality.insert(part, quality(predicted, &measured, unidentified));
    profile.stacks.insert(context.stack.name.clone(), stack_constants);
    profile
}

#[cfg(test)]
mod tests;
