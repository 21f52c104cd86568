//! Two sequences aligned: pairs of equal items in order, by Myers' greedy search for the least
//! number of items without a partner ("An O(ND) difference algorithm and its variations", 1986).

/// Items without a partner after which a search settles on what it has, so that time stays linear
/// in the sequences however little they share.
const WINDOW: usize = 512;

/// Pairs in a window below which it is asked whether one sequence has a long stretch that the other
/// has not.
const FEW: usize = 32;

/// Equal items in a row that end such a stretch.
const ROW: usize = 8;

/// Pairs of positions in two sequences of `n` and `m` items that are equal, increasing in both.
/// Fewest items are left alone in each stretch of [`WINDOW`] such. O((n + m) WINDOW), and
/// O((n + m)^2 / WINDOW) quick looks where the sequences share next to nothing.
pub(super) fn align(
    (n, m): (usize, usize),
    is_equal: impl Fn(usize, usize) -> bool,
) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let (mut x, mut y) = (0, 0);
    while x < n && y < m {
        let search = Search { from: (x, y), size: (n - x, m - y), fronts: Vec::new() };
        let found = search.run(&is_equal);
        let is_poor = found.pairs.len() < FEW && found.end.0 < n && found.end.1 < m;
        if is_poor && let Some(next) = behind((x, y), (n, m), &is_equal) {
            (x, y) = next;
            continue;
        }
        pairs.extend(found.pairs);
        (x, y) = found.end;
    }
    pairs
}

/// The first positions from which both are equal for a while, further on in one of the two than a
/// search reaches.
fn behind(
    (x, y): (usize, usize),
    (n, m): (usize, usize),
    is_equal: &impl Fn(usize, usize) -> bool,
) -> Option<(usize, usize)> {
    let meets = |x: usize, y: usize| {
        let row = ROW.min(n - x).min(m - y);
        (0..row).all(|at| is_equal(x + at, y + at))
    };
    (WINDOW..(n - x).max(m - y)).find_map(|skip| {
        let first = (x + skip < n && meets(x + skip, y)).then_some((x + skip, y));
        first.or_else(|| (y + skip < m && meets(x, y + skip)).then_some((x, y + skip)))
    })
}

/// A search from one pair of positions.
struct Search {
    from: (usize, usize),
    size: (usize, usize),
    /// By number of items left alone `d`, by `i` the furthest position in the first sequence on the
    /// diagonal `2 i - d` (first position less second); `None` outside of the sequences.
    fronts: Vec<Vec<Option<usize>>>,
}

/// What a search came to.
struct Found {
    pairs: Vec<(usize, usize)>,
    end: (usize, usize),
}

impl Search {
    fn run(mut self, is_equal: &impl Fn(usize, usize) -> bool) -> Found {
        let (n, m) = self.size;
        let (mut best, mut reach) = ((0usize, 0usize), 0);
        'search: for d in 0..=WINDOW {
            let mut front = vec![None; d + 1];
            for (i, furthest) in front.iter_mut().enumerate() {
                let Some((mut x, _)) = self.step(d, i) else { continue };
                let mut y = x + d - 2 * i;
                while x < n && y < m && is_equal(self.from.0 + x, self.from.1 + y) {
                    (x, y) = (x + 1, y + 1);
                }
                *furthest = Some(x);
                // Without a pair yet, a search that moves on does so evenly.
                if x + y > reach
                    || (x + y == reach && (2 * i).abs_diff(d) < (2 * best.1).abs_diff(best.0))
                {
                    (best, reach) = ((d, i), x + y);
                }
            }
            self.fronts.push(front);
            if reach == n + m {
                break 'search;
            }
        }
        self.back(best)
    }

    /// Where a path of `d` lone items begins on its last diagonal, and whether the last of them is of
    /// the first sequence.
    fn step(&self, d: usize, i: usize) -> Option<(usize, bool)> {
        let Some(before) = d.checked_sub(1).map(|before| &self.fronts[before]) else {
            return Some((0, false));
        };
        let inside = |x: &usize| {
            *x <= self.size.0 && (*x + d).checked_sub(2 * i).is_some_and(|y| y <= self.size.1)
        };
        let first = i.checked_sub(1).and_then(|i| before[i]).map(|x| x + 1).filter(inside);
        let second = before.get(i).copied().flatten().filter(inside);
        match (first, second) {
            (Some(first), Some(second)) if first <= second => Some((second, false)),
            (Some(first), _) => Some((first, true)),
            (None, second) => second.map(|x| (x, false)),
        }
    }

    fn back(self, (d, mut i): (usize, usize)) -> Found {
        let mut pairs = Vec::new();
        let at = |x: usize, d: usize, i: usize| (self.from.0 + x, self.from.1 + x + d - 2 * i);
        let furthest = |d: usize, i: usize| self.fronts[d][i].unwrap_or(0);
        let end = at(furthest(d, i), d, i);
        for d in (0..=d).rev() {
            let (start, is_first) = self.step(d, i).unwrap_or((0, false));
            pairs.extend((start..furthest(d, i)).rev().map(|x| at(x, d, i)));
            i -= usize::from(is_first);
        }
        pairs.reverse();
        Found { pairs, end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(a: &[u32], b: &[u32]) -> Vec<(usize, usize)> {
        let pairs = align((a.len(), b.len()), |x, y| a[x] == b[y]);
        assert!(pairs.iter().all(|(x, y)| a[*x] == b[*y]));
        assert!(pairs.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 < two[1].1));
        pairs
    }

    /// Longest common subsequence by the table of all prefixes.
    fn longest(a: &[u32], b: &[u32]) -> usize {
        let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
        for (x, this) in a.iter().enumerate() {
            for (y, other) in b.iter().enumerate() {
                table[x + 1][y + 1] = if this == other {
                    table[x][y] + 1
                } else {
                    table[x][y + 1].max(table[x + 1][y])
                };
            }
        }
        table[a.len()][b.len()]
    }

    #[test]
    fn as_many_as_the_table_of_prefixes_finds() {
        let mut state = 7u64;
        let mut next = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..500 {
            let letters = 1 + next(5);
            let mut word = || -> Vec<u32> { (0..next(40)).map(|_| next(letters) as u32).collect() };
            let (a, b) = (word(), word());
            assert_eq!(of(&a, &b).len(), longest(&a, &b), "{a:?} {b:?}");
        }
    }

    #[test]
    fn long_sequences_without_much_in_common_end_soon() {
        let a: Vec<u32> = (0..100_000).collect();
        let b: Vec<u32> = (0..100_000).map(|n| n + 50_000_000 * (n % 2)).collect();
        let none: Vec<u32> = (200_000..300_000).collect();
        assert_eq!(of(&a, &none), []);
        // Every second item is shared, each window of them in place.
        assert_eq!(of(&a, &b).len(), 50_000);
        assert_eq!(of(&a, &a).len(), a.len());
        let missing: Vec<u32> = a.iter().copied().filter(|n| !(500..5_000).contains(n)).collect();
        assert!(of(&a, &missing).len() > 90_000);
    }
}
