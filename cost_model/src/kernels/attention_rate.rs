//! Rate of one fused kernel of causal attention, by kind of device, length of the sequence and size of
//! a head:
//!
//! ```text
//! rate(s) = large s / (s + half)
//! ```
//!
//! where `large` is the rate that long sequences near and `half` the tokens at which half of it is
//! reached. Fitted on the causal prefill rows in 16 bits of `attention.csv` (aiconfigurator at
//! 095f58a5), off by 4 to 9 % there; between the sizes of heads that the table holds, constants are
//! straight lines over the logarithm of the size.

use ir::cluster::DeviceKind;
use ir::tensor::DType;

use super::generation::generation;
use super::plain_product;

/// Of kinds outside the table, share of the peak rate in 16 bits and tokens: those of the A100;
/// *nominal*.
const OTHERS: [f64; 2] = [152.0 / 312.0, 661.0];

/// What one kind of device makes of fused attention in one element type.
#[derive(Clone, Debug)]
pub(super) struct CoreRate {
    /// By growing size of heads: elements, operations per second, tokens.
    rows: Vec<[f64; 3]>,
}

impl CoreRate {
    /// Of a type that is computed in; not a number where the device states no rate of it.
    pub(super) fn of(device: &DeviceKind, dtype: DType) -> Self {
        let device_peak =
            plain_product::peak(device, dtype).map_or(f64::NAN, |(_, rate)| rate.get());
        let rows = match generation(device.chip).attention {
            // Wider types and slower boards take longer as their products do.
            Some((peak, rows)) => {
                rows.iter().map(|[d, rate, s]| [*d, rate * device_peak / peak, *s]).collect()
            }
            None => vec![[128.0, OTHERS[0] * device_peak, OTHERS[1]]],
        };
        Self { rows }
    }

    /// Operations per second at a length of sequences and a size of heads.
    pub(super) fn at(&self, sequence: f64, head_dim: f64) -> f64 {
        let [large, half] = self.constants(head_dim);
        large * sequence / (sequence + half)
    }

    fn constants(&self, head_dim: f64) -> [f64; 2] {
        let after = self.rows.partition_point(|[d, ..]| *d <= head_dim);
        let row = |at: usize| self.rows.get(at).copied().unwrap_or([head_dim, f64::NAN, 0.0]);
        match (after.checked_sub(1).map(row), self.rows.get(after).copied()) {
            (Some([d, large, half]), Some([next, next_large, next_half])) => {
                let share = (head_dim / d).ln() / (next / d).ln();
                [large + share * (next_large - large), half + share * (next_half - half)]
            }
            (Some([_, large, half]), None) | (None, Some([_, large, half])) => [large, half],
            (None, None) => [f64::NAN, 0.0],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ir::chip::Chip;
    use ir::units::FlopsPerSecond;

    use super::*;

    fn device(chip: Chip) -> DeviceKind {
        let peak = [(DType::Bf16, 989.4e12), (DType::F32, 66.9e12)];
        let peak = peak.map(|(dtype, rate)| (dtype, FlopsPerSecond::new(rate).unwrap()));
        DeviceKind { chip, peak: BTreeMap::from(peak), ..DeviceKind::default() }
    }

    #[test]
    fn rates_grow_with_length_and_size_of_heads() {
        let rate = CoreRate::of(&device(Chip::H100), DType::Bf16);
        assert!((rate.at(1100.0, 128.0) / 280e12 - 1.0).abs() < 1e-9);
        let ranks = [64.0, 80.0, 96.0, 128.0, 192.0, 256.0].map(|dim| rate.at(8192.0, dim));
        assert!(ranks.is_sorted(), "{ranks:?}");
        assert_eq!(rate.at(8192.0, 32.0), rate.at(8192.0, 64.0));
        assert_eq!(rate.at(8192.0, 512.0), rate.at(8192.0, 256.0));
        let wide = CoreRate::of(&device(Chip::H100), DType::F32).at(8192.0, 128.0);
        assert!((rate.at(8192.0, 128.0) / wide - 989.4 / 66.9).abs() < 1e-9);
    }

    #[test]
    fn published_rates_of_long_sequences_are_near() {
        // Shah et al. 2024 (arXiv:2407.08608), figure 5: cuDNN 9, causal, heads of 128, 16k tokens,
        // about 600 TFLOP/s on an H100; the table's kernel reaches 534.
        let rate = CoreRate::of(&device(Chip::H100), DType::Bf16).at(16_384.0, 128.0);
        assert!((rate / 534e12 - 1.0).abs() < 0.03, "{rate}");
    }

    #[test]
    fn kinds_outside_the_table_take_a_share_of_their_peak() {
        let rate = CoreRate::of(&device(Chip::Mi300), DType::Bf16).at(661.0, 128.0);
        assert!((rate / 989.4e12 / (152.0 / 312.0) - 0.5).abs() < 1e-9);
    }
}
