//! Medians and spreads.

/// Median; the mean of the middle two of an even count. `None` of nothing or of no numbers.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    if values.is_empty() || values.iter().any(|value| value.is_nan()) {
        return None;
    }
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// Median and the median absolute deviation over it.
pub(crate) fn spread(values: Vec<f64>) -> Option<(f64, f64)> {
    let middle = median(values.clone())?;
    let deviations = values.into_iter().map(|value| (value - middle).abs()).collect();
    let deviation = median(deviations)?;
    Some((middle, if middle > 0.0 { deviation / middle } else { 0.0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_by_hand() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![1.0, f64::NAN]), None);
        assert_eq!(spread(vec![1.0, 2.0, 2.0, 3.0, 100.0]), Some((2.0, 0.5)));
    }
}
