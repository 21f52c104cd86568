//! What each rank of a pipeline does, in order: the schedule of a training run.
//!
//! The text form is that of PyTorch's schedule files: one line per rank, cells between commas, such
//! as `2F0` for the forward pass of stage 2 on micro-batch 0. A blank cell is an idle slot and says
//! nothing, because only the order of a row counts. `R` (recompute) is ours.

use std::fmt::{self, Write as _};

use crate::diagnostic::Diagnostic;
use crate::id::StageId;

/// Most cells of a grid in text form.
pub const MOST_CELLS: usize = 1 << 24;
/// Most rows of a grid in text form.
pub const MOST_ROWS: usize = 1 << 16;

/// What is done with one micro-batch at one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pass {
    /// Forward.
    Forward,
    /// The whole backward pass: gradients of the stage's input and of its weights.
    Backward,
    /// The gradient of the stage's input alone.
    BackwardInput,
    /// The gradient of the stage's weights alone.
    BackwardWeight,
    /// Computes again what the forward pass did not keep, before the backward pass asks for it.
    Recompute,
}

impl Pass {
    /// All passes, in the order of their declaration.
    pub const ALL: [Self; 5] =
        [Self::Forward, Self::Backward, Self::BackwardInput, Self::BackwardWeight, Self::Recompute];

    /// Its letter in the text form.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Forward => 'F',
            Self::Backward => 'B',
            Self::BackwardInput => 'I',
            Self::BackwardWeight => 'W',
            Self::Recompute => 'R',
        }
    }
}

/// One pass of one micro-batch through one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// The stage: a chunk of the model, numbered in model order over all ranks.
    pub stage: StageId,
    /// What is done.
    pub pass: Pass,
    /// Which micro-batch, from 0.
    pub micro_batch: u32,
}

impl Cell {
    /// A cell.
    #[must_use]
    pub const fn new(stage: u32, pass: Pass, micro_batch: u32) -> Self {
        Self { stage: StageId(stage), pass, micro_batch }
    }

    fn parse(text: &str) -> Option<Self> {
        let at = text.find(|c: char| !c.is_ascii_digit())?;
        let (stage, rest) = text.split_at(at);
        let letter = rest.chars().next()?;
        let pass = Pass::ALL.into_iter().find(|pass| pass.letter() == letter)?;
        let micro_batch = &rest[letter.len_utf8()..];
        let is_number = !micro_batch.is_empty() && micro_batch.bytes().all(|b| b.is_ascii_digit());
        let micro_batch = is_number.then(|| micro_batch.parse().ok()).flatten()?;
        Some(Self { stage: StageId(stage.parse().ok()?), pass, micro_batch })
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.stage.0, self.pass.letter(), self.micro_batch)
    }
}

/// Per pipeline rank, what it does in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Grid {
    /// By rank.
    pub rows: Vec<Vec<Cell>>,
}

impl Grid {
    /// Cells of all rows.
    #[must_use]
    pub fn n_cells(&self) -> usize {
        self.rows.iter().map(Vec::len).sum()
    }

    /// Reads the text form. Blank cells are left out; empty lines at the end too.
    ///
    /// # Errors
    /// `grid-cell` for a cell that is none, `grid-too-large` past [`MOST_ROWS`] or [`MOST_CELLS`];
    /// both name row and column, counted from 1.
    pub fn parse(text: &str) -> Result<Self, Diagnostic> {
        let mut rows = Vec::new();
        let mut n_cells = 0usize;
        for (row_idx, line) in text.trim_end().lines().enumerate() {
            if row_idx >= MOST_ROWS {
                return Err(too_large(row_idx, 0, "rows", MOST_ROWS));
            }
            let mut row = Vec::new();
            for (column_idx, cell) in line.split(',').enumerate() {
                // Blank cells count too: a line of commas must not take for ever.
                n_cells += 1;
                if n_cells > MOST_CELLS {
                    return Err(too_large(row_idx, column_idx, "cells", MOST_CELLS));
                }
                let cell = cell.trim();
                if !cell.is_empty() {
                    row.push(Cell::parse(cell).ok_or_else(|| bad(row_idx, column_idx, cell))?);
                }
            }
            rows.push(row);
        }
        Ok(Self { rows })
    }
}

impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            for (column_idx, cell) in row.iter().enumerate() {
                if column_idx > 0 {
                    f.write_char(',')?;
                }
                write!(f, "{cell}")?;
            }
            f.write_char('\n')?;
        }
        Ok(())
    }
}

fn too_large(row_idx: usize, column_idx: usize, what: &str, most: usize) -> Diagnostic {
    Diagnostic::input("grid-too-large", format!("the grid has more than {most} {what}"))
        .fact("row", row_idx + 1)
        .fact("column", column_idx + 1)
        .hint("split the step into fewer micro-batches")
}

fn bad(row_idx: usize, column_idx: usize, cell: &str) -> Diagnostic {
    const LONGEST: usize = 40;
    let shown: String = cell.chars().take(LONGEST).collect();
    Diagnostic::input("grid-cell", format!("`{shown}` is no cell of a pipeline grid"))
        .fact("row", row_idx + 1)
        .fact("column", column_idx + 1)
        .hint("write stage, one of F, B, I, W, R, and micro-batch, such as `2F0`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Value;

    #[test]
    fn text_and_back() {
        let text = "0F0,0F1,,,0B0, 0F2 ,0B1\n,1F0,1I0,1W0,1R1,1B1\n\n";
        let grid = Grid::parse(text).unwrap();
        assert_eq!(grid.rows[0].len(), 5);
        assert_eq!(grid.rows[1][2], Cell::new(1, Pass::BackwardWeight, 0));
        assert_eq!(grid.to_string(), "0F0,0F1,0B0,0F2,0B1\n1F0,1I0,1W0,1R1,1B1\n");
        assert_eq!(Grid::parse(&grid.to_string()).unwrap(), grid);
        assert_eq!(Grid::parse("").unwrap(), Grid::default());
    }

    #[test]
    fn an_idle_rank_in_the_middle_keeps_its_row() {
        let grid = Grid::parse("0F0\n\n1F0").unwrap();
        assert_eq!(grid.rows.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 1]);
        assert_eq!(Grid::parse(&grid.to_string()).unwrap(), grid);
    }

    #[test]
    fn what_is_no_cell_is_named_by_row_and_column() {
        let wrong = [
            "F0",
            "0F",
            "0f0",
            "0Q0",
            "0F0x",
            "-1F0",
            "0F-1",
            "0F+1",
            "0BW1",
            "99999999999F0",
            "0F4294967296",
            "0SEND_F1",
            "0\u{e9}1",
            "(0F1;1B0)OVERLAP_F_B",
            "0 F0",
        ];
        for cell in wrong {
            let error = Grid::parse(&format!("0F0\n0F1,{cell}")).unwrap_err();
            assert_eq!(error.code, "grid-cell", "{cell}");
            assert!(error.facts.contains(&("row", Value::Count(2))), "{cell}");
            assert!(error.facts.contains(&("column", Value::Count(2))), "{cell}");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        let error = Grid::parse(&",".repeat(MOST_CELLS)).unwrap_err();
        assert_eq!(error.code, "grid-too-large");
        let lines = format!("{}0F0", "\n".repeat(MOST_ROWS));
        assert_eq!(Grid::parse(&lines).unwrap_err().code, "grid-too-large");
    }
}
