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
//! up in a step is its generation's [`Generation::hot`].

use ir::chip::Chip;
use ir::cluster::DeviceKind;

/// Static share of the power at full load; judgement.
const STATIC: f64 = 0.15;
/// Exponent of the clock in dynamic power: fitted on steps of torchtitan on an H100 at 500 W and of
/// Megatron on one at 700 W (nominally 2).
const EXPONENT: f64 = 1.72;

/// A generation of devices by its part that is limited least.
struct Generation {
    chip: Chip,
    /// Rate of large products in a step over that of the same kernel alone, over [`USUAL`].
    hot: f64,
    /// Watts, multiprocessors and gigahertz of that part (data sheets).
    part: [f64; 3],
}

/// Share that an A100 keeps up in a step: what stacks' deratings say.
const USUAL: f64 = 0.9;

/// `hot`: H100 0.855 and Blackwell 0.828, fitted on published steps of Llama 3 in fp8 (Megatron-Bridge
/// at 067f987d), of GPT in bf16 (Megatron-Core r0.8.0) and of torchtitan.
const GENERATIONS: [Generation; 6] = [
    Generation { chip: Chip::H100, hot: 0.855, part: [700.0, 132.0, 1.83] },
    Generation { chip: Chip::B200, hot: 0.828, part: [1000.0, 148.0, 1.965] },
    Generation { chip: Chip::Gb200, hot: 0.828, part: [1200.0, 152.0, 2.062] },
    Generation { chip: Chip::A100, hot: USUAL, part: [400.0, 108.0, 1.41] },
    Generation { chip: Chip::L40, hot: USUAL, part: [350.0, 142.0, 2.52] },
    Generation { chip: Chip::T4, hot: USUAL, part: [250.0, 68.0, 1.545] },
];

/// Factor on the rate of large products of a kind in a step, over that of an A100 SXM; 1 where
/// nothing is known of it. What a lower limit of its board leaves is in its peak ([`lowered`]).
#[must_use]
pub fn sustained(device: &DeviceKind) -> f64 {
    let generation = GENERATIONS.iter().find(|own| own.chip == device.chip);
    let Some(generation) = generation else { return 1.0 };
    let [watts, multiprocessors, gigahertz] = generation.part;
    let [hot, most] = [generation.hot, 1.0].map(|share| share / USUAL);
    let power = device.full_power.or(device.power);
    let (Some(own), Some(power)) = (device.n_multiprocessors, power) else { return hot };
    let clock = device.clock.map_or(gigahertz, |clock| clock.get() * 1e-9);
    let full = watts * f64::from(own) * clock / (multiprocessors * gigahertz);
    (hot * at_share(power.get() / full)).min(most)
}

/// Factor on the rate of products of a board that is limited to less than its data sheet says, were that
/// what its chip draws at full load.
#[must_use]
pub fn lowered(device: &DeviceKind) -> f64 {
    match (device.power, device.full_power) {
        (Some(own), Some(full)) => limited(own.get() / full.get()),
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
    use ir::units::{Hertz, Watts};

    use super::*;

    fn device(name: &str, watts: f64, multiprocessors: u32, gigahertz: f64) -> DeviceKind {
        DeviceKind {
            name: name.to_owned(),
            chip: Chip::of_catalogue(name),
            n_multiprocessors: Some(multiprocessors),
            clock: Hertz::new(gigahertz * 1e9),
            power: Watts::new(watts),
            ..DeviceKind::default()
        }
    }

    #[test]
    fn limits_by_hand() {
        // (500 / 700 - 0.15) / 0.85 = 0.664; to the power of 1 / 1.72.
        let own = sustained(&device("h100_96gb_500w", 500.0, 132, 1.83)) * USUAL / 0.855;
        assert!((own - 0.788).abs() < 0.001, "{own}");
        let own = sustained(&device("a100_sxm4_80gb", 400.0, 108, 1.41));
        assert!((own - 1.0).abs() < 1e-12, "{own}");
        // However much it may draw, a step is no faster than its kernels alone.
        assert_eq!(sustained(&device("a100_sxm4_80gb", 4000.0, 108, 1.41)), 1.0 / USUAL);
        // A GB300's 160 multiprocessors would draw 1,263 W as those of a GB200 do, and may draw 1,400:
        // (1,400 / 1,263.2 - 0.15) / 0.85 = 1.1275; to the power of 1 / 1.72.
        let sheet = |name, watts, n| sustained(&device(name, watts, n, 2.062));
        let more = sheet("gb300_gpu_277gb", 1400.0, 160) / sheet("gb200_gpu_186gb", 1200.0, 152);
        assert!((more - 1.0723).abs() < 1e-3, "{more}");
        assert_eq!(sustained(&device("rtx_4090", 450.0, 128, 2.52)), 1.0);
        // A T4 draws 70 W of the 151 that its multiprocessors and clock would.
        let t4 = sustained(&device("t4", 70.0, 40, 1.59));
        assert!((0.5..0.65).contains(&t4), "{t4}");
        // An L4, 72 of about 116.
        let l4 = sustained(&device("l4", 72.0, 58, 2.04));
        assert!((0.65..0.8).contains(&l4), "{l4}");
        assert!(sustained(&device("l4", 1.0, 58, 2.04)) > 0.0);
    }
}
