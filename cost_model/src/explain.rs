//! Why a duration is what it is: its formula with the numbers put in, and every constant with its
//! unit, origin, source and date.
//!
//! An explanation is made by the very code that the planner's durations come from, and its total is
//! the planner's to the nanosecond.

use ir::cluster::{Check, Route};
use ir::id::OpId;
use ir::op::{Kernel, Op};
use ir::profile::Provenance;
use ir::units::{Bytes, Nanos};

use crate::kernels::origin::{Origin, Sourced};
use crate::kernels::plain_product::Missing;
use crate::kernels::price::evaluate::{Breakdown, Detail, breakdown};
use crate::kernels::price::kind::KindCosts;
use crate::ops::origins::Origins;

mod attention;
pub mod memory;
mod products;
pub mod quantity;
mod step;

use quantity::{Unit, number};

/// A constant of a formula, or a figure of a data sheet.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What it is, such as `launch`.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// In which unit.
    pub unit: Unit,
    /// Where it comes from.
    pub origin: Origin,
    /// What measured or published it.
    pub source: String,
    /// When it was measured, as an ISO 8601 date.
    pub date: Option<String>,
    /// Whether a figure of the catalogue was checked in its source.
    pub check: Option<Check>,
}

impl Figure {
    fn new<T>(name: impl Into<String>, value: f64, unit: Unit, sourced: &Sourced<T>) -> Self {
        let (source, date) = match &sourced.provenance {
            Provenance::Nominal { source } => (source.clone(), None),
            Provenance::Measured { source, date } => (source.clone(), Some(date.clone())),
        };
        let origin = sourced.origin;
        Self { name: name.into(), value, unit, origin, source, date, check: None }
    }

    /// The same as a figure of a data sheet, whose check state is known.
    fn checked(self, check: Check) -> Self {
        let is_sheet = self.date.is_none();
        Self { check: is_sheet.then_some(check), ..self }
    }
}

/// One line of a formula: `name value = text`.
#[derive(Clone, Debug, PartialEq)]
pub struct Formula {
    /// What it gives, such as `compute`.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
    /// In which unit.
    pub unit: Unit,
    /// The right-hand side with the numbers put in.
    pub text: String,
}

/// Why an op or a transfer takes as long as it does.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Which form of the cost model it is, such as `matrix product`.
    pub form: &'static str,
    /// The duration, as the planner counts it.
    pub total: Nanos,
    /// The least certain of the constants' origins.
    pub origin: Origin,
    /// The sum: `0.91 ms = 2.60 us launch + ...`, without its left-hand side.
    pub sum: String,
    /// The parts of the sum, and what goes into them.
    pub formulas: Vec<Formula>,
    /// Every number of the formulas that is not an extent of the op.
    pub figures: Vec<Figure>,
}

/// Why an op takes as long as it does on a kind of device, where its work is computed.
///
/// # Errors
/// The figure that the kind does not state.
pub fn op(op: (OpId, &Op), kernel: &Kernel, costs: &KindCosts) -> Result<Explanation, Missing> {
    let found = breakdown(op, kernel, costs)?;
    let mut explanation = Explanation {
        form: found.form.name(),
        total: found.total(),
        origin: found.origin,
        sum: match found.detail {
            Detail::Step => step::sum(&found),
            _ => sum(&found),
        },
        formulas: Vec::new(),
        figures: Vec::new(),
    };
    match &found.detail {
        Detail::Nothing => {}
        Detail::Stream(family) => stream(&mut explanation, &found, kernel, *family, costs),
        Detail::Plain(products) => {
            products::plain(&mut explanation, &found, kernel, products, costs);
        }
        Detail::Tiled(products, parts) => {
            products::tiled(&mut explanation, kernel, products, parts, costs);
        }
        Detail::Attention(call, parts, projected_s) => {
            attention::call(&mut explanation, kernel, (call, parts, *projected_s), costs);
        }
        Detail::Step => {
            if let Some(step_costs) = costs.step() {
                step::step(&mut explanation, &found, (op.1, kernel), (step_costs, costs));
            }
        }
        Detail::Experts(load) => attention::experts(&mut explanation, kernel, load, costs),
    }
    Ok(explanation)
}

/// `2.60 us launch + p-norm 2.65 (0.83 ms compute, 0.21 ms memory)`.
fn sum(found: &Breakdown) -> String {
    let seconds = |value| Unit::Seconds.show(value);
    let launch = format!("{} launch", seconds(found.launch_s));
    match (found.compute_s > 0.0, found.memory_s > 0.0) {
        (false, false) if found.launch_s <= 0.0 => "nothing to do".to_owned(),
        (false, false) => launch,
        (false, true) => format!("{launch} + {} memory", seconds(found.memory_s)),
        (true, false) => format!("{launch} + {} compute", seconds(found.compute_s)),
        (true, true) => format!(
            "{launch} + p-norm {} ({} compute, {} memory)",
            number(found.p_norm),
            seconds(found.compute_s),
            seconds(found.memory_s)
        ),
    }
}

fn stream(
    explanation: &mut Explanation,
    found: &Breakdown,
    kernel: &Kernel,
    family: Option<&'static str>,
    costs: &KindCosts,
) {
    let crate::kernels::price::task::Form::Stream(kind) = found.form else { return };
    match costs.stream(kind).filter(|(name, ..)| Some(*name) == family) {
        Some((name, constants, origin)) => {
            let constants = Sourced { origin, ..constants.clone() };
            let rate = constants.value.bandwidth.get();
            let text = match constants.value.table.len() {
                0 => format!("{} / {}", moved(kernel), Unit::BytesPerSecond.show(rate)),
                n => format!("{}, between the times of {n} measured blocks", moved(kernel)),
            };
            explanation.formula("memory", found.memory_s, Unit::Seconds, text);
            let launch = constants.value.launch.get();
            let of = |what: &str| format!("{what} of family `{name}`");
            explanation.figures.extend([
                Figure::new(of("launch"), launch, Unit::Seconds, &constants),
                Figure::new(of("rate"), rate, Unit::BytesPerSecond, &constants),
            ]);
        }
        None => {
            let constants = costs.memory();
            let (launch, efficiency) = constants.value;
            let rate = costs.bandwidth().map_or(f64::INFINITY, |rate| rate.value);
            let text = format!("{} / {}", moved(kernel), share(rate, efficiency));
            explanation.formula("memory", found.memory_s, Unit::Seconds, text);
            explanation.figures.extend([
                Figure::new("launch", launch, Unit::Seconds, constants),
                Figure::new("memory efficiency", efficiency, Unit::One, constants),
            ]);
            explanation.bandwidth(costs);
        }
    }
}

/// `(2.04 TB/s x 0.897)`.
fn share(rate: f64, efficiency: f64) -> String {
    format!("({} x {})", Unit::BytesPerSecond.show(rate), number(efficiency))
}

/// `(1048576 + 4096) bytes`.
fn moved(kernel: &Kernel) -> String {
    match (kernel.bytes_read.get(), kernel.bytes_written.get()) {
        (0, written) => format!("{written} bytes"),
        (read, 0) => format!("{read} bytes"),
        (read, written) => format!("({read} + {written}) bytes"),
    }
}

impl Explanation {
    fn formula(&mut self, name: &'static str, value: f64, unit: Unit, text: String) {
        self.formulas.push(Formula { name, value, unit, text });
    }

    fn bandwidth(&mut self, costs: &KindCosts) {
        if let Some(rate) = costs.bandwidth() {
            let figure = Figure::new("memory bandwidth", rate.value, Unit::BytesPerSecond, &rate);
            self.figures.push(figure.checked(costs.sheet().check));
        }
    }

    fn sheet(&mut self, name: &str, value: f64, unit: Unit, costs: &KindCosts) {
        let sheet = Sourced::nominal((), costs.sheet().source.clone());
        self.figures.push(Figure::new(name, value, unit, &sheet).checked(costs.sheet().check));
    }
}

/// An op whose duration the model file states.
#[must_use]
pub fn given(total: Nanos) -> Explanation {
    Explanation {
        form: "given",
        total,
        origin: Origin::Given,
        sum: "given by the model file".to_owned(),
        formulas: Vec::new(),
        figures: Vec::new(),
    }
}

/// An op whose duration a trace recorded on this kind of device.
#[must_use]
pub fn recorded(total: Nanos) -> Explanation {
    Explanation {
        form: "recorded",
        origin: Origin::Measured,
        sum: "recorded in a trace, with what the device waited before it".to_owned(),
        ..given(total)
    }
}

/// Why a transfer of so many bytes over a way takes as long as it does.
#[must_use]
pub fn transfer(bytes: Bytes, route: Route<'_>, origins: &Origins) -> Explanation {
    let way = route.kind;
    let origin = origins.route(way);
    let rate = way.bandwidth.get();
    let sent_s = bytes.as_f64() / rate;
    let latency_s = way.latency_ns * 1e-9;
    let (source, date) = match (origin, way.source.rsplit_once(", ")) {
        (Origin::Measured, Some((source, date))) => (source.to_owned(), Some(date.to_owned())),
        _ => (way.source.clone(), None),
    };
    let check = (origin != Origin::Measured).then_some(way.check);
    let figure = |name: &str, value, unit| Figure {
        name: format!("{name} of {}", way.name),
        value,
        unit,
        origin,
        source: source.clone(),
        date: date.clone(),
        check,
    };
    let (latency, sent) = (Unit::Seconds.show(latency_s), Unit::Seconds.show(sent_s));
    Explanation {
        form: "transfer",
        total: way.time(bytes),
        origin,
        sum: format!("{latency} latency + {sent} sending"),
        formulas: vec![Formula {
            name: "sending",
            value: sent_s,
            unit: Unit::Seconds,
            text: format!("{} bytes / {}", bytes.get(), Unit::BytesPerSecond.show(rate)),
        }],
        figures: vec![
            figure("latency", latency_s, Unit::Seconds),
            figure("rate", rate, Unit::BytesPerSecond),
        ],
    }
}

#[cfg(test)]
mod tests;
