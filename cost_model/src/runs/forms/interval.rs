//! Between which times a predicted step is expected to lie: deciles of measured over predicted on
//! published steps.

/// What the constants behind a prediction rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Basis {
    /// Data sheets, presets and a description of the cluster.
    Nominal,
    /// Constants fitted to steps of other models on the same cluster and stack.
    Fitted,
    /// The same, and a correction for this hidden size, tensor size and micro-batch.
    Corrected,
}

/// Factors on a predicted time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// One measured step in ten was below this many times the predicted one.
    pub low: f64,
    /// One in ten was above this many times.
    pub high: f64,
}

impl Interval {
    /// The interval of a predicted time, both in seconds.
    #[must_use]
    pub fn around(self, predicted_s: f64) -> [f64; 2] {
        [predicted_s * self.low, predicted_s * self.high]
    }
}

/// Deciles of measured over predicted, less one, in percent, of the sets with more than fifty rows:
/// vTrain single, vTrain multi, BigScience A100; nothing fitted, and leaving one model out.
///
/// From the notes of `meshwright validate DIR --detail` on the tables of docs/data.md.
const NOMINAL: [[f64; 2]; 3] = [[-14.5, 11.0], [-2.0, 30.8], [-2.3, 28.5]];
const FITTED: [[f64; 2]; 3] = [[-10.7, 10.8], [-4.8, 27.5], [-6.3, 8.3]];
/// The same of vTrain single leaving one model out with the table of corrections.
const CORRECTED: [[f64; 2]; 1] = [[-2.3, 1.9]];

/// The interval of 10 to 90 % for predictions of a kind: the widest of the published sets, because
/// a user's cluster is none of them.
#[must_use]
pub fn interval(basis: Basis) -> Interval {
    let sets: &[[f64; 2]] = match basis {
        Basis::Nominal => &NOMINAL,
        Basis::Fitted => &FITTED,
        Basis::Corrected => &CORRECTED,
    };
    let low = sets.iter().map(|[low, _]| *low).fold(0.0, f64::min);
    let high = sets.iter().map(|[_, high]| *high).fold(0.0, f64::max);
    Interval { low: 1.0 + low / 100.0, high: 1.0 + high / 100.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rests_on_more_is_narrower() {
        let [nominal, fitted, corrected] =
            [Basis::Nominal, Basis::Fitted, Basis::Corrected].map(interval);
        assert!(nominal.low <= fitted.low && fitted.low <= corrected.low && corrected.low < 1.0);
        assert!(nominal.high >= fitted.high && fitted.high >= corrected.high);
        assert_eq!(corrected.around(2.0), [2.0 * corrected.low, 2.0 * corrected.high]);
    }
}
