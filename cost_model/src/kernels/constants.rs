//! Nominal constants of the forms, for kinds that were never profiled.
//!
//! Fitted per GPU on public tables (`constants::published`). A kind takes those of its nearest
//! sibling among these GPUs (most kinds are one of them), else medians over all, by the one rule of
//! [`crate::kernels::donor`]. A kind whose data sheet has no count of multiprocessors takes the generic
//! constants of the plain form, whose error on GPUs left out of the fit was 9 to 17 %, 25 to 32 %
//! on workstation cards.

use ir::measured::GpuFacts;
use ir::profile::{KernelConstants, Provenance};
use ir::units::Seconds;

use crate::kernels::donor::{self, Donor};
use crate::kernels::origin::Sourced;
use crate::kernels::price::kind::ProductConstants;
use crate::{kernels::attention, kernels::matrix_product, kernels::moe};

mod published;

use published::{GPUS, Gpu, TABLES};

/// What was published for a kind of device.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// Matrix products.
    pub products: Sourced<ProductConstants>,
    /// Fused attention over prompts; `None` without a data sheet that says enough.
    pub prefill: Option<Sourced<attention::Constants>>,
    /// Fused attention of one query per sequence.
    pub decode: Option<Sourced<attention::Constants>>,
    /// Fused mixture of experts.
    pub experts: Option<Sourced<moe::Constants>>,
}

/// Nominal constants for a device with this data sheet; its rate is that of 16-bit products.
#[must_use]
pub fn published(facts: &GpuFacts) -> Published {
    let is_known = facts.n_multiprocessors > 0 && facts.peak > 0.0;
    if !is_known || !facts.memory_bandwidth.is_finite() {
        return Published { products: generic(), prefill: None, decode: None, experts: None };
    }
    Published {
        products: products(facts).unwrap_or_else(generic),
        prefill: transferred(facts, "attention", |gpu| gpu.prefill),
        decode: transferred(facts, "attention", |gpu| gpu.decode),
        experts: transferred(facts, "moe", |gpu| gpu.experts),
    }
}

fn products(facts: &GpuFacts) -> Option<Sourced<ProductConstants>> {
    let sources: Vec<_> = GPUS
        .iter()
        .map(|gpu| (gpu.facts, matrix_product::Constants::from_figures(&gpu.products)))
        .collect();
    let (constants, donor) = matrix_product::Constants::transferred(facts, &sources)?;
    let gpus: Vec<&Gpu> = GPUS.iter().collect();
    let source = source("gemm", &gpus, facts, donor);
    Some(Sourced::nominal(ProductConstants::Tiled(constants), source))
}

/// Constants that some of the GPUs have.
fn transferred<const N: usize>(
    facts: &GpuFacts,
    table: &str,
    constants: impl Fn(&Gpu) -> Option<[f64; N]>,
) -> Option<Sourced<[f64; N]>> {
    let gpus: Vec<&Gpu> = GPUS.iter().filter(|gpu| constants(gpu).is_some()).collect();
    let sources: Vec<_> =
        gpus.iter().filter_map(|gpu| Some((gpu.facts, constants(gpu)?))).collect();
    let (found, donor) = donor::transfer(facts, &sources, &[0])?;
    Some(Sourced::nominal(found, source(table, &gpus, facts, donor)))
}

fn source(table: &str, gpus: &[&Gpu], facts: &GpuFacts, donor: Donor) -> String {
    match donor {
        Donor::Sibling(at) => match gpus.get(at) {
            Some(gpu) if donor::distance(&gpu.facts, facts) == Some(0.0) => {
                format!("fitted on the {table} table of {TABLES}, {}", gpu.name)
            }
            gpu => {
                let name = gpu.map_or("?", |gpu| gpu.name);
                format!("fitted on the {table} table of {TABLES}, {name}, a sibling")
            }
        },
        Donor::Medians => format!("medians over the GPUs of the {table} table of {TABLES}"),
    }
}

/// Constants of a kind that tells nothing of itself.
fn generic() -> Sourced<ProductConstants> {
    let source = format!("generic constants over the GPUs of the gemm table of {TABLES}");
    let constants = KernelConstants {
        launch: Seconds::new(2.6e-6).unwrap_or_default(),
        compute_efficiency: 0.78,
        memory_efficiency: 0.77,
        p_norm: 2.65,
        tile: None,
        provenance: Provenance::Nominal { source: source.clone() },
    };
    Sourced::nominal(ProductConstants::Plain(constants), source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(memory_bandwidth: f64, peak: f64, n_multiprocessors: u32) -> GpuFacts {
        GpuFacts { memory_bandwidth, peak, n_multiprocessors, last_level_cache: None, clock: None }
    }

    fn source(facts: &GpuFacts) -> String {
        match published(facts).products.provenance {
            Provenance::Nominal { source } => source,
            Provenance::Measured { .. } => String::new(),
        }
    }

    #[test]
    fn kinds_take_their_own_row_a_siblings_or_medians() {
        for gpu in &published::GPUS {
            let text = source(&gpu.facts);
            assert!(text.ends_with(gpu.name), "{text}");
        }
        // Data sheets of the A100 40GB, the H200 and the H100 PCIe; the L4; a kind that says little.
        assert!(source(&facts(1.555e12, 3.12e14, 108)).ends_with("A100 SXM, a sibling"));
        assert!(source(&facts(4.8e12, 9.894e14, 132)).ends_with("H100 SXM, a sibling"));
        assert!(source(&facts(2e12, 7.56e14, 114)).ends_with("H100 SXM, a sibling"));
        assert!(source(&facts(3e11, 1.21e14, 58)).starts_with("medians"));
        assert!(source(&facts(3e11, 1.21e14, 0)).starts_with("generic"));
        assert!(published(&facts(3e11, 1.21e14, 0)).prefill.is_none());
    }
}
