//! Where a predicted time comes from.

/// Where a predicted time comes from, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// This very shape was measured on this device.
    Measured,
    /// A form fitted on this device, or interpolated between shapes measured on it.
    Interpolated,
    /// Constants that were fitted on another device.
    Sibling,
    /// Data sheet and generic constants only.
    Nominal,
}

impl Origin {
    /// Its name in tables, such as `sibling`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Interpolated => "interpolated",
            Self::Sibling => "sibling",
            Self::Nominal => "nominal",
        }
    }
}
