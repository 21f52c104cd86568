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

/// Where the fitted constants come from.
const FITTED: &str = "fitted on aiconfigurator@095f58a5 gemm tables";
/// The same for 8 and 4 bits.
const FITTED_NARROW: &str = "fitted on aiconfigurator 0.12.0 gemm tables";
/// The same for 32 bits.
const FITTED_WIDE: &str = "share of the peak rate from steps of NeuSight@6945927d";
/// Where the generic constants come from.
const GENERIC: &str = "generic constants for kinds outside the aiconfigurator gemm tables";

/// What the rows of constants tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Single,
    Half,
    Eighth,
    EighthBlocks,
    Fourth,
}

impl Class {
    const fn of(dtype: DType, scaling: Scaling) -> Self {
        match (dtype, scaling) {
            (DType::F32 | DType::F64, _) => Self::Single,
            (DType::F8, Scaling::Block) => Self::EighthBlocks,
            (DType::F8, _) => Self::Eighth,
            (DType::F4, _) => Self::Fourth,
            _ => Self::Half,
        }
    }

    const fn source(self) -> &'static str {
        match self {
            Self::Single => FITTED_WIDE,
            Self::Half => FITTED,
            _ => FITTED_NARROW,
        }
    }
}

/// One row of constants.
struct Fit {
    chip: Chip,
    class: Class,
    /// Name of the GPU in the tables.
    gpu: &'static str,
    /// Launch in microseconds, compute and memory efficiency, p, k0, small-tile penalty, extra
    /// microseconds of the split-k escape.
    figures: [f64; 7],
}

const fn fit(chip: Chip, class: Class, gpu: &'static str, figures: [f64; 7]) -> Fit {
    Fit { chip, class, gpu, figures }
}

const H100: [f64; 7] = [2.58, 0.79, 0.82, 2.84, 40.0, 0.0, 3.4];
const H100_SINGLE: [f64; 7] = [2.58, 0.82, 0.82, 2.84, 40.0, 0.0, 3.4];
const H100_EIGHTH: [f64; 7] = [3.0, 0.77, 0.84, 1.60, 223.0, 0.12, 5.2];
const H100_BLOCKS: [f64; 7] = [3.0, 0.57, 0.51, 1.62, 87.0, 1.0, 60.0];
const A100_SINGLE: [f64; 7] = [2.55, 0.95, 0.75, 1.68, 103.0, 0.64, 4.1];
const T4_SINGLE: [f64; 7] = [2.6, 0.59, 0.77, 2.65, 0.0, 0.0, 0.0];

const FITS: [Fit; 16] = [
    fit(Chip::A100, Class::Half, "A100 SXM", [2.55, 0.82, 0.75, 1.68, 103.0, 0.64, 4.1]),
    fit(Chip::H100, Class::Half, "H100 SXM", H100),
    fit(Chip::B200, Class::Half, "B200", [2.11, 0.68, 0.74, 2.45, 17.0, 0.28, 3.6]),
    fit(Chip::Gb200, Class::Half, "GB200", [2.16, 0.66, 0.76, 2.53, 0.0, 0.20, 3.6]),
    fit(Chip::RtxPro6000, Class::Half, "RTX PRO 6000", [0.0, 0.76, 0.94, 3.19, 485.0, 0.0, 4.6]),
    fit(Chip::H100, Class::Eighth, "H100 SXM", H100_EIGHTH),
    fit(Chip::H100, Class::EighthBlocks, "H100 SXM", H100_BLOCKS),
    fit(Chip::B200, Class::Eighth, "B200", [3.0, 0.67, 0.68, 2.43, 50.0, 0.29, 15.8]),
    fit(Chip::B200, Class::EighthBlocks, "B200", [3.0, 0.65, 0.40, 2.96, 0.0, 0.0, 0.15]),
    fit(Chip::B200, Class::Fourth, "B200", [3.0, 0.46, 0.61, 2.46, 385.0, 1.0, 33.0]),
    fit(Chip::Gb200, Class::Eighth, "GB200", [3.0, 0.60, 0.80, 1.92, 0.0, 0.64, 0.0]),
    fit(Chip::Gb200, Class::EighthBlocks, "GB200", [3.0, 0.64, 0.40, 4.27, 0.0, 0.0, 30.6]),
    fit(Chip::Gb200, Class::Fourth, "GB200", [3.0, 0.47, 0.74, 1.75, 338.0, 1.0, 41.8]),
    fit(Chip::A100, Class::Single, "A100", A100_SINGLE),
    fit(Chip::H100, Class::Single, "H100", H100_SINGLE),
    fit(Chip::T4, Class::Single, "T4", T4_SINGLE),
];

fn microseconds(value: f64) -> Seconds {
    Seconds::new(value * 1e-6).unwrap_or_default()
}

/// Nominal constants for products of a type on a chip.
fn nominal(chip: Chip, dtype: DType, scaling: Scaling) -> KernelConstants {
    let class = Class::of(dtype, scaling);
    let of = |class| FITS.iter().find(|fit| fit.chip == chip && fit.class == class);
    // Kinds without a row of a type take that of 16 bits, as the same share of their own rate.
    let found = of(class).or_else(|| of(Class::Half));
    let Some(fit) = found else {
        return KernelConstants {
            launch: microseconds(2.6),
            compute_efficiency: 0.78,
            memory_efficiency: 0.77,
            p_norm: 2.65,
            tile: None,
            provenance: Provenance::Nominal { source: GENERIC.to_owned() },
        };
    };
    let [launch_us, compute, memory, p_norm, k0, small_tile_penalty, split_k_us] = fit.figures;
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
        provenance: Provenance::Nominal { source: format!("{}, {}", fit.class.source(), fit.gpu) },
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
        let mut own = self.of(dtype, scaling);
        if self.measured(dtype).is_some() {
            let of_type = self.rates.peak.get(&dtype).map_or(peak, |rate| rate.get());
            let of_memory = self.rates.memory_bandwidth.map_or(bandwidth, |rate| rate.get());
            own.compute_efficiency *= of_type / peak;
            own.memory_efficiency *= of_memory / bandwidth;
        }
        own
    }

    /// The profile's constants for a type, or for the kind; products of 8 and fewer bits are other
    /// kernels, and say nothing of wider ones, nor these of them.
    #[must_use]
    pub fn measured(&self, dtype: DType) -> Option<&KernelConstants> {
        let is_narrow = |own: &&KernelConstants| {
            let narrow = self.measured_of.iter().filter(|(of, _)| of.bits() <= 8);
            narrow.map(|(_, constants)| constants).any(|narrow| narrow == *own)
        };
        let of_kind = self.measured.as_ref().filter(|own| dtype.bits() > 8 && !is_narrow(own));
        self.measured_of.get(&dtype).or(of_kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(kind: &str) -> KernelConstants {
        nominal(Chip::of_catalogue(kind), DType::Bf16, Scaling::Tensor)
    }

    #[test]
    fn each_catalogue_family_finds_its_row() {
        assert_eq!(half("a100_sxm4_80gb").compute_efficiency, 0.82);
        assert_eq!(half("gb200_gpu_186gb").compute_efficiency, 0.66);
        assert_eq!(half("b200_sxm_180gb").compute_efficiency, 0.68);
        assert_eq!(half("h20_sxm_96gb"), half("h100_sxm5_80gb"));
        assert_eq!(half("h200_sxm5_141gb").p_norm, half("h100_pcie_80gb").p_norm);
        assert!(half("rtx_pro_6000_server").tile.is_some());
        assert_eq!(half("rtx_3090").tile, None);
        assert_eq!(half("rtx_3090").launch, microseconds(2.6));
    }

    #[test]
    fn types_have_constants_of_their_own_where_they_were_fitted() {
        let of = |kind, dtype, scaling| {
            nominal(Chip::of_catalogue(kind), dtype, scaling).compute_efficiency
        };
        assert_eq!(of("h100_sxm5_80gb", DType::F8, Scaling::Tensor), 0.77);
        assert_eq!(of("h100_sxm5_80gb", DType::F8, Scaling::Row), 0.77);
        assert_eq!(of("h100_sxm5_80gb", DType::F8, Scaling::Block), 0.57);
        assert_eq!(of("b200_sxm_180gb", DType::F4, Scaling::Block), 0.46);
        assert_eq!(of("a100_pcie_80gb", DType::F32, Scaling::Tensor), 0.95);
        // No rows of it: what 16 bits reach of their rate.
        assert_eq!(of("rtx_pro_6000_server", DType::F8, Scaling::Tensor), 0.76);
        assert_eq!(of("l4", DType::F8, Scaling::Tensor), 0.78);
    }

    #[test]
    fn a_profile_wins() {
        let mut profile = Profile::default();
        let measured = KernelConstants { compute_efficiency: 0.5, ..half("t4") };
        let single = KernelConstants { compute_efficiency: 0.25, ..half("t4") };
        profile.kinds.insert("t4".to_owned(), measured.clone());
        profile.by_dtype.entry("t4".to_owned()).or_default().insert(DType::F32, single.clone());
        let device = |name: &str| DeviceKind {
            name: name.to_owned(),
            chip: Chip::of_catalogue(name),
            ..DeviceKind::default()
        };
        let of =
            |kind, dtype| StepProducts::new(&profile, &device(kind)).of(dtype, Scaling::Tensor);
        assert_eq!(of("t4", DType::F16), measured);
        assert_eq!(of("t4", DType::F32), single);
        assert_eq!(of("l4", DType::F16), half("l4"));
        assert_eq!(of("t4", DType::F8), nominal(Chip::T4, DType::F8, Scaling::Tensor));
        // Nor do products of 8 bits, where they are all that was measured, stand in for wider ones.
        let mut narrow = Profile::default();
        narrow.kinds.insert("t4".to_owned(), measured.clone());
        let types = narrow.by_dtype.entry("t4".to_owned()).or_default();
        types.insert(DType::F8, measured.clone());
        let peak = ir::units::FlopsPerSecond::new(1e14).unwrap();
        narrow.rates.entry("t4".to_owned()).or_default().peak.insert(DType::F8, peak);
        let of = StepProducts::new(&narrow, &device("t4"));
        assert_eq!(of.of(DType::F16, Scaling::Tensor), half("t4"));
        // A share of the rate that was measured, of a device that states four times as much.
        let own = of.on((4e14, 1e12), DType::F8, Scaling::Tensor);
        assert_eq!(
            (own.compute_efficiency, own.memory_efficiency),
            (0.125, half("t4").memory_efficiency)
        );
    }
}
