//! Constants of the products of a training run: the plain form of seven constants, which a stack's
//! derating scales as a whole.
//!
//! Fitted per GPU on the bf16 GEMM tables of aiconfigurator at commit 095f58a5, mean absolute error
//! 6 to 13 % of time there. Step times don't tell this form from the one of eleven constants
//! ([`crate::kernels::constants`]), and have been fitted with this one. Kinds that were not in the tables
//! take the generic constants, whose error on GPUs left out of the fit was 9 to 17 %, 25 to 32 % on
//! workstation cards.

use ir::profile::{KernelConstants, Profile, Provenance, TileConstants};
use ir::units::Seconds;

/// Where the fitted constants come from.
const FITTED: &str = "fitted on aiconfigurator@095f58a5 gemm tables";
/// Where the generic constants come from.
const GENERIC: &str = "generic constants for kinds outside the aiconfigurator@095f58a5 gemm tables";

/// One row of fitted constants.
struct Fit {
    /// Kinds whose name starts so.
    prefix: &'static str,
    /// Name of the GPU in the tables.
    gpu: &'static str,
    /// Start-up cost in microseconds.
    launch_us: f64,
    compute_efficiency: f64,
    memory_efficiency: f64,
    p_norm: f64,
    k0: f64,
    small_tile_penalty: f64,
    /// Extra time of the split-k escape in microseconds.
    split_k_us: f64,
}

const FITS: [Fit; 6] = [
    fit("a100_", "A100 SXM", [2.55, 0.82, 0.75, 1.68, 103.0, 0.64, 4.1]),
    fit("h100_", "H100 SXM", H100),
    fit("h200_", "H100 SXM", H100),
    fit("b200_", "B200", [2.11, 0.68, 0.74, 2.45, 17.0, 0.28, 3.6]),
    fit("gb200_", "GB200", [2.16, 0.66, 0.76, 2.53, 0.0, 0.20, 3.6]),
    fit("rtx_pro_6000", "RTX PRO 6000", [0.0, 0.76, 0.94, 3.19, 485.0, 0.0, 4.6]),
];
/// H200 differs from H100 in memory only, which the data sheet covers.
const H100: [f64; 7] = [2.58, 0.79, 0.82, 2.84, 40.0, 0.0, 3.4];

/// Figures in the order launch, compute and memory efficiency, p, k0, small-tile penalty, split-k.
const fn fit(prefix: &'static str, gpu: &'static str, figures: [f64; 7]) -> Fit {
    Fit {
        prefix,
        gpu,
        launch_us: figures[0],
        compute_efficiency: figures[1],
        memory_efficiency: figures[2],
        p_norm: figures[3],
        k0: figures[4],
        small_tile_penalty: figures[5],
        split_k_us: figures[6],
    }
}

fn microseconds(value: f64) -> Seconds {
    Seconds::new(value * 1e-6).unwrap_or_default()
}

/// Nominal constants for a kind of device, by its name.
#[must_use]
fn nominal(kind: &str) -> KernelConstants {
    match FITS.iter().find(|fit| kind.starts_with(fit.prefix)) {
        Some(fit) => KernelConstants {
            launch: microseconds(fit.launch_us),
            compute_efficiency: fit.compute_efficiency,
            memory_efficiency: fit.memory_efficiency,
            p_norm: fit.p_norm,
            tile: Some(TileConstants {
                k0: fit.k0,
                small_tile_penalty: fit.small_tile_penalty,
                split_k: microseconds(fit.split_k_us),
            }),
            provenance: Provenance::Nominal { source: format!("{FITTED}, {}", fit.gpu) },
        },
        None => KernelConstants {
            launch: microseconds(2.6),
            compute_efficiency: 0.78,
            memory_efficiency: 0.77,
            p_norm: 2.65,
            tile: None,
            provenance: Provenance::Nominal { source: GENERIC.to_owned() },
        },
    }
}

/// Constants for a kind of device: the profile's, else nominal ones.
#[must_use]
pub(super) fn constants(profile: &Profile, kind: &str) -> KernelConstants {
    profile.kinds.get(kind).cloned().unwrap_or_else(|| nominal(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_catalogue_family_finds_its_row() {
        assert_eq!(nominal("a100_sxm4_80gb").compute_efficiency, 0.82);
        assert_eq!(nominal("gb200_gpu_186gb").compute_efficiency, 0.66);
        assert_eq!(nominal("b200_sxm_180gb").compute_efficiency, 0.68);
        assert_eq!(nominal("h200_sxm5_141gb").p_norm, nominal("h100_pcie_80gb").p_norm);
        assert!(nominal("rtx_pro_6000_server").tile.is_some());
        assert_eq!(nominal("rtx_3090").tile, None);
        assert_eq!(nominal("rtx_3090").launch, microseconds(2.6));
    }

    #[test]
    fn a_profile_wins() {
        let mut profile = Profile::default();
        let measured = KernelConstants { compute_efficiency: 0.5, ..nominal("t4") };
        profile.kinds.insert("t4".to_owned(), measured.clone());
        assert_eq!(constants(&profile, "t4"), measured);
        assert_eq!(constants(&profile, "l4"), nominal("l4"));
    }
}
