//! Least sum of relative errors, exactly: few constants, none negative, linear in them.

/// Rows that take part; more are thinned, evenly by rank, so that the search stays small.
const MAX_ROWS: usize = 64;

/// The constants `c >= 0` with the least sum of `|sum of c x row - 1|`, and that sum over all rows.
///
/// A row holds the terms of the form at one point, divided by the measured value. Some optimum lies
/// where as many equations hold as there are constants, each saying that a row is met exactly or
/// that a constant is 0, so all such points are tried. Without rows, constants and sum are 0.
pub(super) fn least_relative<const K: usize>(rows: &[[f64; K]]) -> ([f64; K], f64) {
    let n = rows.len().min(MAX_ROWS);
    let thin: Vec<[f64; K]> =
        (0..n).filter_map(|i| rows.get(i * rows.len() / n).copied()).collect();
    let mut scale = [0.0_f64; K];
    for row in &thin {
        for (scale, term) in scale.iter_mut().zip(row) {
            *scale = scale.max(term.abs());
        }
    }
    let mut equations: Vec<([f64; K], f64)> = Vec::with_capacity(n + K);
    for row in &thin {
        let mut scaled = *row;
        for (term, scale) in scaled.iter_mut().zip(scale) {
            *term /= scale.max(f64::MIN_POSITIVE);
        }
        equations.push((scaled, 1.0));
    }
    for constant in 0..K {
        let mut unit = [0.0; K];
        unit[constant] = 1.0;
        equations.push((unit, 0.0));
    }
    let mut best = ([0.0; K], n as f64);
    let mut chosen: [usize; K] = std::array::from_fn(|i| i);
    loop {
        let system = chosen.map(|index| equations[index]);
        if let Some(point) = solve(system) {
            let loss = loss(&equations[..n], &point, best.1);
            if loss < best.1 {
                best = (point, loss);
            }
        }
        if !next_choice(&mut chosen, equations.len()) {
            break;
        }
    }
    let mut constants = best.0;
    for (constant, scale) in constants.iter_mut().zip(scale) {
        *constant /= scale.max(f64::MIN_POSITIVE);
    }
    let error = |row: &[f64; K]| (dot(row, &constants) - 1.0).abs();
    (constants, rows.iter().map(error).sum())
}

fn dot<const K: usize>(a: &[f64; K], b: &[f64; K]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The sum of errors at a point, or anything not below `limit` once it is passed.
fn loss<const K: usize>(equations: &[([f64; K], f64)], point: &[f64; K], limit: f64) -> f64 {
    let mut sum = 0.0;
    for (row, value) in equations {
        sum += (dot(row, point) - value).abs();
        if sum >= limit {
            return f64::INFINITY;
        }
    }
    sum
}

/// The next increasing choice of `K` of `n` in lexical order, if there is one.
fn next_choice<const K: usize>(chosen: &mut [usize; K], n: usize) -> bool {
    for position in (0..K).rev() {
        if chosen[position] + K - position < n {
            chosen[position] += 1;
            for later in position + 1..K {
                chosen[later] = chosen[later - 1] + 1;
            }
            return true;
        }
    }
    false
}

/// Solves a small linear system by elimination with the greatest pivot; `None` if it is singular
/// or a value is negative.
fn solve<const K: usize>(mut system: [([f64; K], f64); K]) -> Option<[f64; K]> {
    for column in 0..K {
        let greatest = (column..K)
            .max_by(|a, b| system[*a].0[column].abs().total_cmp(&system[*b].0[column].abs()))?;
        system.swap(column, greatest);
        let (pivot_row, pivot_value) = system[column];
        if pivot_row[column].abs() < 1e-12 {
            return None;
        }
        for (row, (terms, value)) in system.iter_mut().enumerate() {
            if row == column {
                continue;
            }
            let factor = terms[column] / pivot_row[column];
            for (term, pivot) in terms.iter_mut().zip(pivot_row) {
                *term -= factor * pivot;
            }
            *value -= factor * pivot_value;
        }
    }
    let mut point = [0.0; K];
    for (index, (terms, value)) in system.iter().enumerate() {
        point[index] = value / terms[index];
        if !point[index].is_finite() || point[index] < -1e-12 {
            return None;
        }
        point[index] = point[index].max(0.0);
    }
    Some(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(points: &[(f64, f64)]) -> Vec<[f64; 2]> {
        points.iter().map(|(x, y)| [1.0 / y, x / y]).collect()
    }

    #[test]
    fn a_line_is_found_despite_an_outlier() {
        let line = [(1.0, 5.0), (2.0, 7.0), (3.0, 90.0), (4.0, 11.0), (5.0, 13.0)];
        let ([a, b], _) = least_relative(&rows(&line));
        assert!((a - 3.0).abs() < 1e-9 && (b - 2.0).abs() < 1e-9, "{a} {b}");
    }

    #[test]
    fn constants_are_never_negative() {
        let ([a, b], loss) = least_relative(&rows(&[(1.0, 4.0), (2.0, 2.0), (4.0, 2.0)]));
        assert_eq!(b, 0.0);
        assert!((a - 2.0).abs() < 1e-12 && (loss - 0.5).abs() < 1e-12, "{a} {loss}");
    }

    #[test]
    fn many_and_no_rows() {
        let points: Vec<(f64, f64)> =
            (1..500).map(|x| (f64::from(x), f64::from(x) + 1.0)).collect();
        let ([a, b], loss) = least_relative(&rows(&points));
        assert!((a - 1.0).abs() < 1e-9 && (b - 1.0).abs() < 1e-9 && loss < 1e-9);
        assert_eq!(least_relative::<2>(&[]), ([0.0, 0.0], 0.0));
    }

    #[test]
    fn choices_are_all_different() {
        let mut chosen = [0, 1, 2];
        let mut count = 1;
        while next_choice(&mut chosen, 6) {
            count += 1;
        }
        assert_eq!((count, chosen), (20, [3, 4, 5]));
    }
}
