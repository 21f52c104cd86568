//! Seconds that no order of a cell's pieces is below.
//!
//! ```text
//! chain   the longest way through pieces that wait for each other
//! stream  of a stream all its pieces, after the least that comes before one of them and before the
//!         least that comes after one
//! ```
//!
//! Slowdowns make nothing shorter, so it holds with them, too.

use super::Cell;

/// The greater of both bounds in seconds; 0 where pieces wait for each other in a circle.
#[must_use]
pub fn bound(cell: &Cell) -> f64 {
    let Some(sorted) = sorted(cell) else { return 0.0 };
    let n = cell.pieces.len();
    let seconds = |piece: usize| cell.pieces[piece].seconds.max(0.0);
    // The longest ways to the start and from the end of each piece.
    let (mut head, mut tail) = (vec![0.0_f64; n], vec![0.0_f64; n]);
    for &piece in &sorted {
        for &before in &cell.pieces[piece].after {
            head[piece] = head[piece].max(head[before] + seconds(before));
        }
    }
    for &piece in sorted.iter().rev() {
        for &before in &cell.pieces[piece].after {
            tail[before] = tail[before].max(tail[piece] + seconds(piece));
        }
    }
    let chain = (0..n).map(|piece| head[piece] + seconds(piece) + tail[piece]).fold(0.0, f64::max);
    let of_stream = |stream: usize| {
        let pieces = || (0..n).filter(move |piece| cell.pieces[*piece].stream == stream);
        let first = pieces().map(|piece| head[piece]).reduce(f64::min).unwrap_or_default();
        let last = pieces().map(|piece| tail[piece]).reduce(f64::min).unwrap_or_default();
        first + pieces().map(seconds).sum::<f64>() + last
    };
    (0..cell.streams.len()).map(of_stream).fold(chain, f64::max)
}

/// Pieces after their predecessors; `None` where there is a circle or no such predecessor.
fn sorted(cell: &Cell) -> Option<Vec<usize>> {
    let n = cell.pieces.len();
    let mut followers = vec![Vec::new(); n];
    let mut n_before = vec![0; n];
    for (piece, this) in cell.pieces.iter().enumerate() {
        for before in &this.after {
            followers.get_mut(*before)?.push(piece);
            n_before[piece] += 1;
        }
    }
    let mut sorted: Vec<usize> = (0..n).filter(|piece| n_before[*piece] == 0).collect();
    let mut at = 0;
    while let Some(piece) = sorted.get(at).copied() {
        at += 1;
        for follower in &followers[piece] {
            n_before[*follower] -= 1;
            if n_before[*follower] == 0 {
                sorted.push(*follower);
            }
        }
    }
    (sorted.len() == n).then_some(sorted)
}
