//! Numbers of instances, each checked against its range before anything is added to it: what
//! passes here can be summed in any way that a judge does without leaving 64 bits.

use std::ops::RangeInclusive;

use ir::diagnostic::Diagnostic;
use ir::instance::TimeUnit;
use ir::units::{Bytes, BytesPerSecond, Nanos, Work};

/// Greatest sum of all times of an instance as often as a plan can pay them, in nanoseconds: far
/// from where 64 bits overflow.
const MAX_TOTAL_NS: u64 = 1 << 60;

/// Greatest number of bytes of anything: an exbibyte, all of them together.
const MAX_TOTAL_BYTES: u64 = 1 << 60;

/// Bytes per unit of time that a device may send: below a byte every transfer takes longer than
/// any clock counts, above an exabyte none takes time.
const BANDWIDTHS: RangeInclusive<f64> = 1.0..=1e18;

/// Adds up what an instance holds, so that no later sum overflows.
pub(super) struct Totals {
    unit: TimeUnit,
    ns: u64,
    bytes: u64,
}

impl Totals {
    /// Nothing yet, of a file whose times have this unit.
    pub(super) fn new(unit: TimeUnit) -> Self {
        Self { unit, ns: 0, bytes: 0 }
    }

    /// A time in the file's unit; at least 1 ns where it is not zero.
    ///
    /// # Errors
    /// `number-out-of-range` for negative times, and where all times together are too long.
    pub(super) fn time(&mut self, units: f64, what: &str) -> Result<Nanos, Diagnostic> {
        self.time_often(units, 1, what)
    }

    /// [`Totals::time`] that a plan may pay as often as `times`.
    ///
    /// # Errors
    /// As [`Totals::time`].
    pub(super) fn time_often(
        &mut self,
        units: f64,
        times: u64,
        what: &str,
    ) -> Result<Nanos, Diagnostic> {
        if units.is_nan() || units < 0.0 {
            return Err(negative(what, units));
        }
        let work = if units > 0.0 { Work::Some } else { Work::None };
        let time = Nanos::rounded(units * self.unit.ns as f64, work);
        let paid = time.get().checked_mul(times).and_then(|paid| self.ns.checked_add(paid));
        match paid.filter(|total| *total <= MAX_TOTAL_NS) {
            Some(total) => self.ns = total,
            None => return Err(too_much(what, units)),
        }
        Ok(time)
    }

    /// A size in bytes, rounded up.
    ///
    /// # Errors
    /// `number-out-of-range` for negative sizes, and where all sizes together are too large.
    pub(super) fn bytes(&mut self, bytes: f64, what: &str) -> Result<Bytes, Diagnostic> {
        if bytes.is_nan() || bytes < 0.0 {
            return Err(negative(what, bytes));
        }
        // A float cast saturates.
        let whole = bytes.ceil() as u64;
        match self.bytes.checked_add(whole).filter(|total| *total <= MAX_TOTAL_BYTES) {
            Some(total) => self.bytes = total,
            None => return Err(too_much(what, bytes)),
        }
        Ok(Bytes(whole))
    }

    /// A bandwidth at which all bytes so far pass within what the clock counts.
    ///
    /// # Errors
    /// `number-out-of-range`.
    pub(super) fn bandwidth(&self, rate: f64, what: &str) -> Result<BytesPerSecond, Diagnostic> {
        let wrong =
            |message: String| Diagnostic::input("number-out-of-range", message).fact("field", what);
        let bandwidth = BytesPerSecond::new(rate).filter(|_| BANDWIDTHS.contains(&rate));
        let bandwidth = bandwidth.ok_or_else(|| {
            let (least, most) = (BANDWIDTHS.start(), BANDWIDTHS.end());
            wrong(format!("`{what}` is {rate:?}, not in {least}..={most} bytes per unit of time"))
        })?;
        // Both ends of an edge pay for it there and back, and replicas exchange gradients.
        let longest = 8.0 * self.bytes as f64 / rate * self.unit.ns as f64;
        if longest > MAX_TOTAL_NS as f64 {
            return Err(wrong(format!(
                "at `{what}` = {rate:?} the transfers take longer than the clock counts"
            )));
        }
        Ok(bandwidth)
    }
}

/// Refuses an instance without nodes: there is nothing to plan.
///
/// # Errors
/// `empty-instance`.
pub(super) fn some_nodes(count: usize, what: &str) -> Result<(), Diagnostic> {
    if count > 0 {
        return Ok(());
    }
    Err(Diagnostic::input("empty-instance", format!("the file has no {what}: nothing to plan"))
        .hint("check that the file was written to its end"))
}

/// A memory limit, rounded down; a limit past the top of the range is none.
///
/// # Errors
/// `number-out-of-range` for a negative limit.
pub(super) fn limit(bytes: f64, what: &str) -> Result<Bytes, Diagnostic> {
    if bytes.is_nan() || bytes < 0.0 {
        return Err(negative(what, bytes));
    }
    Ok(Bytes(bytes.floor() as u64))
}

/// A number of devices, 0 included.
///
/// # Errors
/// `too-many-devices`.
pub(crate) fn devices(count: u64, what: &str) -> Result<usize, Diagnostic> {
    if count > super::MAX_DEVICES {
        return Err(Diagnostic::input(
            "too-many-devices",
            format!("`{what}` is {count}, more than {}", super::MAX_DEVICES),
        )
        .fact("limit", super::MAX_DEVICES));
    }
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

fn negative(what: &str, value: f64) -> Diagnostic {
    Diagnostic::input(
        "number-out-of-range",
        format!("`{what}` is {value:?}, but has to be 0 or more"),
    )
    .fact("field", what)
}

fn too_much(what: &str, value: f64) -> Diagnostic {
    Diagnostic::input(
        "number-out-of-range",
        format!("with `{what}` = {value:?} the sum over the instance is more than 2^60, the most that is counted"),
    )
    .fact("field", what)
}
/// A number of a field that is out of its range.
pub(super) fn out_of_range(field: &'static str, message: String) -> Diagnostic {
    Diagnostic::input("number-out-of-range", message).fact("field", field)
}
