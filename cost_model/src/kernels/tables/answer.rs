//! The time of a kernel, and how certain it is.

/// How a time was found, from most to least certain; a sum has the least certain class of its terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// From rates of the system: pointwise kernels and pipeline hops.
    #[default]
    Analytic,
    /// Measured at this size.
    Measured,
    /// Interpolated between measured sizes.
    Interpolated,
    /// From the utilisation of GEMMs with similar (n, k).
    Transferred,
    /// From the utilisation at the end of the measured range.
    Extrapolated,
    /// From a published utilisation of this kind of kernel; nothing similar was measured.
    Guessed,
}

impl Class {
    /// Its number and name in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Analytic => "from rates",
            Self::Measured => "1 measured",
            Self::Interpolated => "2 interpolated",
            Self::Transferred => "3 transferred",
            Self::Extrapolated => "4 extrapolated",
            Self::Guessed => "5 guessed",
        }
    }
}

/// Time of a kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Answer {
    /// Seconds.
    pub seconds: f64,
    /// How the time was found.
    pub class: Class,
    /// Index of the file in [`ir::engine_tables::EngineTables::sources`]; `None` where none was read.
    pub source: Option<u16>,
}

impl Answer {
    pub(super) fn guessed(seconds: f64) -> Self {
        Self { seconds, class: Class::Guessed, source: None }
    }

    pub(super) fn scaled(self, factor: f64) -> Self {
        Self { seconds: self.seconds * factor, ..self }
    }

    /// Sum of two kernels, with class and source of the less certain one.
    #[must_use]
    pub fn then(self, other: Self) -> Self {
        let worse = if other.class > self.class { other } else { self };
        Self { seconds: self.seconds + other.seconds, ..worse }
    }
}
