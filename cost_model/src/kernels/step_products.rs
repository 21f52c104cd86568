//! Constants of the products of a training run: the plain form of seven constants by kind of device and
//! element type, which a stack's derating scales as a whole.
//!
//! 16 bits: fitted per GPU on the GEMM tables of aiconfigurator at commit 095f58a5, mean absolute
//! error 6 to 13 % of time there. Step times don't tell this form from the one of eleven constants
//! ([`crate::kernels::constants`]), and have been fitted with this one. Kinds that were not in the tables
//! take the generic constants, whose error on GPUs left out of the fit was 9 to 17 %, 25 to 32 % on
//! workstation cards.
//!
//! 8 and 4 bits: fitted on `gemm_fp8.csv` (aiconfigurator 0.12.0), products of 2e10 operations or more
//! on 512 rows or more, with the cast of the first operand that those rows hold as a term of its own
//! (about 6 bytes an element on every device), which is left out here because a step casts in
//! pointwise kernels; with that term the mean error of time is 3 to 7 %, without it 10 to 15 %. A
//! launch inside a step is taken as 3 us. The rows tell neither scaling by rows from scaling by
//! tensors nor MXFP8 from blocks of 128 x 128.
//!
//! 32 bits: shares of the peak rate that steps on single devices show (NeuSight at 6945927d, models
//! left out in turn: 0.855 on Ampere, 0.737 on Hopper, 0.53 on Turing), over the usual derating.

use std::collections::BTreeMap;

use ir::chip::Chip;
use ir::cluster::DeviceKind;
use ir::profile::{KernelConstants, MeasuredRates, Profile, Provenance, TileConstants};
use ir::stack::Scaling;
use ir::tensor::DType;
use ir::units::Seconds;

use super::generation::{Operands, generation};

/// Where the fitted constants come from.
const FITTED: &str = "fitted on aiconfigurator@095f58a5 gemm tables";
/// The same for 8 and 4 bits.
const FITTED_NARROW: &str = "fitted on aiconfigurator 0.12.0 gemm tables";
/// The same for 32 bits.
const FITTED_WIDE: &str = "share of the peak rate from steps of NeuSight@6945927d";
/// Where the generic constants come from.
const GENERIC: &str = "generic constants for kinds outside the aiconfigurator gemm tables";

/// Where the row of some operands comes from.
const fn source(operands: Operands) -> &'static str {
    match operands {
        Operands::Single => FITTED_WIDE,
        Operands::Half => FITTED,
        _ => FITTED_NARROW,
    }
}

fn microseconds(value: f64) -> Seconds {
    Seconds::new(value * 1e-6).unwrap_or_default()
}

/// Nominal constants for products of a type on a chip.
fn nominal(chip: Chip, dtype: DType, scaling: Scaling) -> KernelConstants {
    let row = generation(chip);
    let of = |operands| Some((operands, row.products(operands)?));
    // Kinds without a row of a type take that of 16 bits, as the same share of their own rate.
    let found = of(Operands::of(dtype, scaling)).or_else(|| of(Operands::Half));
    let Some((operands, (gpu, figures))) = found else {
        return KernelConstants {
            launch: microseconds(2.6),
            compute_efficiency: 0.78,
            memory_efficiency: 0.77,
            p_norm: 2.65,
            tile: None,
            provenance: Provenance::Nominal { source: GENERIC.to_owned() },
        };
    };
    let [launch_us, compute, memory, p_norm, k0, small_tile_penalty, split_k_us] = figures;
    let split_k = microseconds(split_k_us);
    KernelConstants {
        launch: microseconds(launch_us),
        compute_efficiency: compute,
        memory_efficiency: memory,
        p_norm,
        tile: (k0 > 0.0 || split_k_us > 0.0).then_some(TileConstants {
            k0,
            small_tile_penalty,
            split_k,
        }),
        provenance: Provenance::Nominal { source: format!("{}, {}", source(operands), gpu) },
    }
}

/// Constants of the products of a kind of device, by element type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepProducts {
    chip: Chip,
    measured: Option<KernelConstants>,
    measured_of: BTreeMap<DType, KernelConstants>,
    rates: MeasuredRates,
}

impl StepProducts {
    /// What a profile holds of a kind; the rest is nominal.
    #[must_use]
    pub fn new(profile: &Profile, device: &DeviceKind) -> Self {
        let kind = &device.name;
        Self {
            chip: device.chip,
            measured: profile.kinds.get(kind).cloned(),
            measured_of: profile.by_dtype.get(kind).cloned().unwrap_or_default(),
            rates: profile.rates.get(kind).cloned().unwrap_or_default(),
        }
    }

    /// Constants for a type and a scaling: measured, or nominal.
    #[must_use]
    pub fn of(&self, dtype: DType, scaling: Scaling) -> KernelConstants {
        let measured = self.measured(dtype).cloned();
        measured.unwrap_or_else(|| nominal(self.chip, dtype, scaling))
    }

    /// The same for a device of these operations and bytes per second: efficiencies that were measured
    /// refer to the rates that were measured with them.
    #[must_use]
    pub fn on(
        &self,
        (peak, bandwidth): (f64, f64),
        dtype: DType,
        scaling: Scaling,
    ) -> KernelConstants {
        let mut constants = self.of(dtype, scaling);
        if self.measured(dtype).is_some() {
            let of_type = self.rates.peak.get(&dtype).map_or(peak, |rate| rate.get());
            let of_memory = self.rates.memory_bandwidth.map_or(bandwidth, |rate| rate.get());
            constants.compute_efficiency *= of_type / peak;
            constants.memory_efficiency *= of_memory / bandwidth;
        }
        constants
    }

    /// The profile's constants for a type, or for the kind; products of 8 and fewer bits are other
    /// kernels, and say nothing of wider ones, nor these of them.
    #[must_use]
    pub fn measured(&self, dtype: DType) -> Option<&KernelConstants> {
        let is_narrow = |candidate: &&KernelConstants| {
            let narrow = self.measured_of.iter().filter(|(of, _)| of.bits() <= 8);
            narrow.map(|(_, constants)| constants).any(|narrow| narrow == *candidate)
        };
        let of_kind =
            self.measured.as_ref().filter(|constants| dtype.bits() > 8 && !is_narrow(constants));
        self.measured_of.get(&dtype).or(of_kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(chip: Chip) -> KernelConstants {
        nominal(chip, DType::Bf16, Scaling::Tensor)
    }

    #[test]
    fn each_chip_finds_its_row() {
        assert_eq!(half(Chip::A100).compute_efficiency, 0.82);
        assert_eq!(half(Chip::Gb200).compute_efficiency, 0.66);
        assert_eq!(half(Chip::B200).compute_efficiency, 0.68);
        assert!(half(Chip::RtxPro6000).tile.is_some());
        assert_eq!(half(Chip::Rtx30).tile, None);
        assert_eq!(half(Chip::Rtx30).launch, microseconds(2.6));
    }

    #[test]
    fn types_have_constants_of_their_own_where_they_were_fitted() {
        let of = |chip, dtype, scaling| nominal(chip, dtype, scaling).compute_efficiency;
        assert_eq!(of(Chip::H100, DType::F8, Scaling::Tensor), 0.77);
        assert_eq!(of(Chip::H100, DType::F8, Scaling::Row), 0.77);
        assert_eq!(of(Chip::H100, DType::F8, Scaling::Block), 0.57);
        assert_eq!(of(Chip::B200, DType::F4, Scaling::Block), 0.46);
        assert_eq!(of(Chip::A100, DType::F32, Scaling::Tensor), 0.95);
        // No rows of it: what 16 bits reach of their rate.
        assert_eq!(of(Chip::RtxPro6000, DType::F8, Scaling::Tensor), 0.76);
        assert_eq!(of(Chip::L40, DType::F8, Scaling::Tensor), 0.78);
    }

    #[test]
    fn a_profile_wins() {
        let mut profile = Profile::default();
        let measured = KernelConstants { compute_efficiency: 0.5, ..half(Chip::T4) };
        let single = KernelConstants { compute_efficiency: 0.25, ..half(Chip::T4) };
        profile.kinds.insert("t4".to_owned(), measured.clone());
        profile.by_dtype.entry("t4".to_owned()).or_default().insert(DType::F32, single.clone());
        let device =
            |name: &str, chip| DeviceKind { name: name.to_owned(), chip, ..DeviceKind::default() };
        let (t4, l4) = (device("t4", Chip::T4), device("l4", Chip::L40));
        let of = |kind, dtype| StepProducts::new(&profile, kind).of(dtype, Scaling::Tensor);
        assert_eq!(of(&t4, DType::F16), measured);
        assert_eq!(of(&t4, DType::F32), single);
        assert_eq!(of(&l4, DType::F16), half(Chip::L40));
        assert_eq!(of(&t4, DType::F8), nominal(Chip::T4, DType::F8, Scaling::Tensor));
        // Nor do products of 8 bits, where they are all that was measured, stand in for wider ones.
        let mut narrow = Profile::default();
        narrow.kinds.insert("t4".to_owned(), measured.clone());
        let types = narrow.by_dtype.entry("t4".to_owned()).or_default();
        types.insert(DType::F8, measured.clone());
        let peak = ir::units::FlopsPerSecond::new(1e14).unwrap();
        narrow.rates.entry("t4".to_owned()).or_default().peak.insert(DType::F8, peak);
        let of = StepProducts::new(&narrow, &t4);
        assert_eq!(of.of(DType::F16, Scaling::Tensor), half(Chip::T4));
        // A share of the rate that was measured, of a device that states four times as much.
        let constants = of.on((4e14, 1e12), DType::F8, Scaling::Tensor);
        assert_eq!(
            (constants.compute_efficiency, constants.memory_efficiency),
            (0.125, half(Chip::T4).memory_efficiency)
        );
    }
}
