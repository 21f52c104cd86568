//! Typed units. Arithmetic exists only where physics allows it, and saturates: a sum past the top
//! of the range stays at the top, which no limit admits, instead of wrapping into a small number.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(0);
            /// The maximum, which means "unlimited".
            pub const MAX: Self = Self(u64::MAX);

            /// The bare number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// As a float, for rates and display.
            #[must_use]
            pub fn as_f64(self) -> f64 {
                self.0 as f64
            }

            /// The product with a count, or `None` past 64 bits.
            #[must_use]
            pub fn checked_mul(self, count: u64) -> Option<Self> {
                self.0.checked_mul(count).map(Self)
            }
        }

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }
        impl Sub for $name {
            type Output = Self;
            /// Saturates at zero.
            fn sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }
        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
                iter.fold(Self::ZERO, Add::add)
            }
        }
    };
}

quantity!(
    /// A size in bytes.
    Bytes
);
quantity!(
    /// A duration or an instant in whole nanoseconds.
    Nanos
);
quantity!(
    /// A count of floating-point operations; one multiply-add is two.
    Flops
);

impl Nanos {
    /// A duration computed in `f64` nanoseconds, rounded half up; at least 1 ns where there is
    /// work. Not a number and negative values become zero work.
    #[must_use]
    pub fn rounded(nanoseconds: f64, work: Work) -> Self {
        let floor = match work {
            Work::Some => 1,
            Work::None => 0,
        };
        if nanoseconds.is_nan() || nanoseconds <= 0.0 {
            return Self(floor);
        }
        // Adding a half first would round once more: 0.49999999999999994 + 0.5 is 1. A float cast
        // saturates.
        let whole = nanoseconds.floor();
        let up = u64::from(nanoseconds - whole >= 0.5);
        Self((whole as u64).saturating_add(up).max(floor))
    }

    /// In seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

/// Whether a duration is that of any work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Something is done: the duration is at least 1 ns.
    Some,
    /// Nothing is done: the duration may be 0.
    None,
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 1023.95 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        let digits = usize::from(value < 99.95);
        write!(f, "{value:.digits$} {}", UNITS[unit])
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0 as f64;
        let (value, unit) = if self.0 < 1_000 {
            return write!(f, "{} ns", self.0);
        } else if ns < 999_950.0 {
            (ns / 1e3, "us")
        } else if ns < 999_950_000.0 {
            (ns / 1e6, "ms")
        } else {
            (ns / 1e9, "s")
        };
        let digits = if value < 9.995 { 2 } else { 1 };
        write!(f, "{value:.digits$} {unit}")
    }
}

impl fmt::Display for Flops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["", " k", " M", " G", " T", " P", " E"];
        let mut value = self.0 as f64;
        let mut unit = 0;
        while value >= 999.95 && unit + 1 < UNITS.len() {
            value /= 1000.0;
            unit += 1;
        }
        if unit == 0 {
            return write!(f, "{} FLOP", self.0);
        }
        write!(f, "{value:.1}{}FLOP", UNITS[unit])
    }
}

/// A rate in bytes per second, positive and finite.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct BytesPerSecond(f64);

/// A rate in floating-point operations per second, positive and finite.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct FlopsPerSecond(f64);

/// A frequency in cycles per second, positive and finite.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Hertz(f64);

/// A power in watts, positive and finite.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Watts(f64);

macro_rules! rate {
    ($name:ident) => {
        impl $name {
            /// Such a quantity, or `None` if it is not positive and finite.
            #[must_use]
            pub fn new(value: f64) -> Option<Self> {
                (value.is_finite() && value > 0.0).then_some(Self(value))
            }

            /// The bare number.
            #[must_use]
            pub fn get(self) -> f64 {
                self.0
            }
        }
    };
}
rate!(BytesPerSecond);
rate!(FlopsPerSecond);
rate!(Hertz);
rate!(Watts);

/// A duration in seconds as data sheets and profiles give it, finite and not negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Seconds(f64);

impl Seconds {
    /// A duration, or `None` if it is negative or not finite.
    #[must_use]
    pub fn new(seconds: f64) -> Option<Self> {
        (seconds.is_finite() && seconds >= 0.0).then_some(Self(seconds))
    }

    /// The bare number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_half_up_and_work_lasts_at_least_a_nanosecond() {
        assert_eq!(Nanos::rounded(2.5, Work::Some), Nanos(3));
        assert_eq!(Nanos::rounded(2.4999, Work::Some), Nanos(2));
        assert_eq!(Nanos::rounded(0.2, Work::Some), Nanos(1));
        assert_eq!(Nanos::rounded(0.499_999_999_999_999_94, Work::None), Nanos(0));
        assert_eq!(Nanos::rounded(4_503_599_627_370_497.0, Work::None), Nanos((1 << 52) + 1));
        assert_eq!(Nanos::rounded(0.2, Work::None), Nanos(0));
        assert_eq!(Nanos::rounded(f64::NAN, Work::None), Nanos(0));
        assert_eq!(Nanos::rounded(f64::INFINITY, Work::None), Nanos::MAX);
    }

    #[test]
    fn sums_saturate() {
        assert_eq!(Bytes::MAX + Bytes(1), Bytes::MAX);
        assert_eq!(Bytes(1) - Bytes(2), Bytes::ZERO);
    }

    #[test]
    fn display_has_units() {
        assert_eq!(Bytes(1023).to_string(), "1023 B");
        assert_eq!(Bytes(1536).to_string(), "1.5 KiB");
        assert_eq!(Nanos(1_234_567).to_string(), "1.23 ms");
        assert_eq!(Flops(2_000_000_000).to_string(), "2.0 GFLOP");
        assert_eq!(Flops(12).to_string(), "12 FLOP");
    }
}
