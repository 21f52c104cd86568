//! The p-norm that joins parts of a kernel's time that overlap in part.

/// `(a^p + b^p)^(1/p)` of two times that are not negative, scaled by the greater so that no power
/// leaves the range.
#[must_use]
pub fn joined(a: f64, b: f64, p: f64) -> f64 {
    let (greater, less) = if a >= b { (a, b) } else { (b, a) };
    if less <= 0.0 {
        return greater;
    }
    greater * (1.0 + (less / greater).powf(p)).powf(1.0 / p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_sum_and_maximum() {
        assert_eq!(joined(3.0, 4.0, 1.0), 7.0);
        assert!((joined(3.0, 4.0, 2.0) - 5.0).abs() < 1e-12);
        assert!((joined(3.0, 4.0, 1e3) - 4.0).abs() < 1e-12);
        assert_eq!(joined(0.0, 4.0, 2.0), 4.0);
        assert_eq!(joined(0.0, 0.0, 2.0), 0.0);
    }
}
