//! How much of a long table is shown.

use crate::answer::page::{Column, Page};

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

    /// Prints a table as far as it is shown, and how many rows are left.
    pub fn table(
        self,
        columns: &[Column],
        rows: impl ExactSizeIterator<Item = Vec<String>>,
        page: &Page,
    ) {
        let all = rows.len();
        let shown = self.shown(all);
        page.table(columns, rows.take(shown).collect());
        if shown < all {
            page.line(&format!("... and {} more (--all)", all - shown));
        }
    }
}
