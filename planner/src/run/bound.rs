//! Values that no legal solution is below, and what stands behind them.

use cost_model::ops::bound;
use ir::units::Nanos;

/// A value that no legal solution is below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The value.
    pub value: Nanos,
    /// How it was found.
    pub method: &'static str,
    /// What stands behind it.
    pub standing: Standing,
}

impl Bound {
    /// Nothing is known.
    pub const NONE: Self = Self { value: Nanos::ZERO, method: "none", standing: Standing::Derived };
}

impl From<bound::Bound> for Bound {
    fn from(bound: bound::Bound) -> Self {
        Self { value: bound.value, method: bound.method, standing: Standing::Derived }
    }
}

impl From<Bound> for bound::Bound {
    fn from(bound: Bound) -> Self {
        Self { value: bound.value, method: bound.method }
    }
}

/// What stands behind a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It follows from the problem, or from a search of all that there is.
    Derived,
    /// A second program has checked the search's certificate.
    Checked,
    /// The search proved it; its certificate is too large to check again.
    TooLarge,
    /// The search proved it; there was no time to check its certificate.
    NoTime,
}

impl Standing {
    /// Every standing.
    pub const ALL: [Self; 4] = [Self::Derived, Self::Checked, Self::TooLarge, Self::NoTime];

    /// Its name in documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Derived => "derived",
            Self::Checked => "certificate-checked",
            Self::TooLarge => "certificate-too-large-to-check",
            Self::NoTime => "certificate-not-checked-in-time",
        }
    }

    /// What people have to know of it.
    #[must_use]
    pub fn caveat(self) -> Option<&'static str> {
        match self {
            Self::Derived | Self::Checked => None,
            Self::TooLarge => Some("certificate too large to check again"),
            Self::NoTime => Some("no time to check the certificate again"),
        }
    }
}

/// Value over bound, less 1; infinite where only the bound is 0.
#[must_use]
pub fn gap(value: Nanos, bound: Nanos) -> f64 {
    match (value.get(), bound.get()) {
        (value, bound) if value <= bound => 0.0,
        (_, 0) => f64::INFINITY,
        (value, bound) => value as f64 / bound as f64 - 1.0,
    }
}
