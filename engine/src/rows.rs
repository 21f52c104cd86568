//! How much of a long table is shown.

/// Rows that are shown without `--all`.
pub const LISTED: usize = 16;

/// Which rows of a long table are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// The first few, and how many are left.
    Few,
    /// `--all`.
    All,
}

impl Rows {
    /// From the flag.
    pub fn of(flag: bool) -> Self {
        if flag { Self::All } else { Self::Few }
    }

    /// How many of `n` rows to show.
    pub fn shown(self, n: usize) -> usize {
        match self {
            Self::Few => n.min(LISTED),
            Self::All => n,
        }
    }
}
