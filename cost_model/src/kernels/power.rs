//! What the limit of power leaves of the rate of large products in 16 bits and less.
//!
//! At full load a chip draws a static share and a dynamic part, which grows with the clock like a power
//! of it. A card that may draw `P` of the `F` watts that its chip would keep up full load with runs at
//!
//! ```text
//! rate = ((P / F - static) / (1 - static))^(1 / exponent)
//! ```
//!
//! of the rate of the part that draws `F`, and no more than the same kernel reaches alone. `F` follows from a
//! part of its generation that is limited
//! least: multiprocessors, times boost clock, times watts of one of them. What that part itself keeps
//! up in a step is in [`super::generation`].

use ir::cluster::DeviceKind;
use ir::tensor::DType;

use super::generation::{USUAL, generation};

/// Static share of the power at full load; judgement.
const STATIC: f64 = 0.15;
/// Exponent of the clock in dynamic power: fitted on steps of torchtitan on an H100 at 500 W and of
/// Megatron on one at 700 W (nominally 2).
const EXPONENT: f64 = 1.72;

/// Factor on the rate of large products of a kind in a step in a type, over that of an A100 SXM; 1 where
/// nothing is known of it. What a lower limit of its board leaves is in its peak ([`lowered`]).
#[must_use]
pub fn sustained(device: &DeviceKind, dtype: DType) -> f64 {
    let row = generation(device.chip);
    let Some((hot, part)) = row.power else { return 1.0 };
    let hot = if dtype.bits() == 16 { hot * row.in_16_bits } else { hot };
    let [watts, multiprocessors, gigahertz] = part;
    let [hot, most] = [hot, 1.0].map(|share| share / USUAL);
    let power = device.full_power.or(device.power);
    let (Some(n_multiprocessors), Some(power)) = (device.n_multiprocessors, power) else {
        return hot;
    };
    let clock = device.clock.map_or(gigahertz, |clock| clock.get() * 1e-9);
    let full = watts * f64::from(n_multiprocessors) * clock / (multiprocessors * gigahertz);
    (hot * at_share(power.get() / full)).min(most)
}

/// Factor on the rate of products of a board that is limited to less than its data sheet says, were that
/// what its chip draws at full load.
#[must_use]
pub fn lowered(device: &DeviceKind) -> f64 {
    match (device.power, device.full_power) {
        (Some(power), Some(full)) => limited(power.get() / full.get()),
        _ => 1.0,
    }
}

/// Rate at a share of the power of full load, at most 1.
fn limited(share: f64) -> f64 {
    at_share(share).min(1.0)
}

/// Rate at a share of the power of full load; above 1 for boards that may draw more than that.
fn at_share(share: f64) -> f64 {
    ((share - STATIC) / (1.0 - STATIC)).max(f64::MIN_POSITIVE).powf(1.0 / EXPONENT)
}

#[cfg(test)]
mod tests {
    use ir::chip::Chip;
    use ir::units::{Hertz, Watts};

    use super::*;

    fn sustained(device: &DeviceKind) -> f64 {
        super::sustained(device, DType::F8)
    }

    fn device(chip: Chip, watts: f64, multiprocessors: u32, gigahertz: f64) -> DeviceKind {
        DeviceKind {
            chip,
            n_multiprocessors: Some(multiprocessors),
            clock: Hertz::new(gigahertz * 1e9),
            power: Watts::new(watts),
            ..DeviceKind::default()
        }
    }

    #[test]
    fn limits_by_hand() {
        // (500 / 700 - 0.15) / 0.85 = 0.664; to the power of 1 / 1.72.
        let share = sustained(&device(Chip::H100, 500.0, 132, 1.83)) * USUAL / 0.855;
        assert!((share - 0.788).abs() < 0.001, "{share}");
        let share = sustained(&device(Chip::A100, 400.0, 108, 1.41));
        assert!((share - 1.0).abs() < 1e-12, "{share}");
        // However much it may draw, a step is no faster than its kernels alone.
        assert_eq!(sustained(&device(Chip::A100, 4000.0, 108, 1.41)), 1.0 / USUAL);
        // A GB300's 160 multiprocessors would draw 1,263 W as those of a GB200 do, and may draw 1,400:
        // (1,400 / 1,263.2 - 0.15) / 0.85 = 1.1275; to the power of 1 / 1.72.
        let sheet = |watts, n| sustained(&device(Chip::Gb200, watts, n, 2.062));
        let more = sheet(1400.0, 160) / sheet(1200.0, 152);
        assert!((more - 1.0723).abs() < 1e-3, "{more}");
        // Products in 16 bits leave less of a B200's rate, and nothing less of a GB200's.
        let halves =
            |device: &DeviceKind| super::sustained(device, DType::Bf16) / sustained(device);
        assert!((halves(&device(Chip::B200, 1000.0, 148, 1.965)) - 0.85).abs() < 1e-12);
        assert_eq!(halves(&device(Chip::Gb200, 1200.0, 152, 2.062)), 1.0);
        assert_eq!(sustained(&device(Chip::Rtx40, 450.0, 128, 2.52)), 1.0);
        // A T4 draws 70 W of the 151 that its multiprocessors and clock would.
        let t4 = sustained(&device(Chip::T4, 70.0, 40, 1.59));
        assert!((0.5..0.65).contains(&t4), "{t4}");
        // An L4, 72 of about 116.
        let l4 = sustained(&device(Chip::L40, 72.0, 58, 2.04));
        assert!((0.65..0.8).contains(&l4), "{l4}");
        assert!(sustained(&device(Chip::L40, 1.0, 58, 2.04)) > 0.0);
    }
}
