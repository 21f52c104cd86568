//! What lies in the memory of a device.

/// The most that lies on a device at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Peak {
    /// Bytes at that instant; stays at the top of the range instead of wrapping.
    pub bytes: u64,
    /// The earliest instant with that many bytes, in nanoseconds.
    pub at: u64,
}

/// Why some bytes lie on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HoldingKind {
    /// A parameter with its gradient and optimizer state (M1).
    Parameter,
    /// A copy of a tensor that the caller feeds (M4).
    GraphInput,
    /// A tensor on the device of its producer (M2).
    Output,
    /// A tensor received from another device (M2).
    Copy,
    /// Scratch bytes of a running op (M2).
    Temporary,
}

impl HoldingKind {
    /// All, in the order of their declaration: position `i` is the kind whose discriminant is `i`.
    pub const ALL: [Self; 5] =
        [Self::Parameter, Self::GraphInput, Self::Output, Self::Copy, Self::Temporary];

    /// The word used in reports and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parameter => "parameter",
            Self::GraphInput => "graph input",
            Self::Output => "output",
            Self::Copy => "copy",
            Self::Temporary => "temporary",
        }
    }
}

/// Something that lies on a device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Holding {
    /// Why it is there.
    pub what: HoldingKind,
    /// Name of the tensor, or of the op that owns temporary bytes.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}
