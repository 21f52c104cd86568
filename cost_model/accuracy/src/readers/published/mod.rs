//! Readers of published runs: each row becomes a plan of a model on hosts of the catalogue.

use importers::measurements::Fields;
use ir::card::{Attention, FeedForward, Head, ModelCard, TransformerCard};
use ir::diagnostic::Diagnostic;

use super::small;
use crate::readers::run::Hosts;

pub(in crate::readers) use models::{BLOOM, LLAMA_8B, LLAMA_70B, LLAMA2_70B, QWEN3_32B, card};

pub mod bridge;
pub mod foundry;
pub mod golden;
pub mod megatron_core;
mod models;
pub mod nanotron;
pub mod neusight;
pub mod sc21;
pub mod simumax;
pub mod torchtitan;

/// DGX H100 and HGX H100: eight devices, a card of 400 Gb/s each (NVIDIA DGX H100 data sheet).
const H100: Hosts = hosts("h100_sxm5_80gb", 8, "nvlink4", "ib_ndr_400");
/// Eight A100 with eight cards of 200 Gb/s (Selene; arXiv:2104.04473, section 5).
const A100: Hosts = hosts("a100_sxm4_80gb", 8, "nvlink3", "ib_hdr_200");
/// HGX B200 (NVIDIA DGX B200 data sheet).
const B200: Hosts = hosts("b200_sxm_180gb", 8, "nvlink5", "ib_ndr_400");
/// HGX B300 (NVIDIA DGX B300 data sheet): cards of 800 Gb/s.
const B300: Hosts = hosts("b300_sxm_270gb", 8, "nvlink5", "ib_xdr_800");
/// Racks of GB200 NVL72 (data sheet), 64 of 72 devices: the recipes' launcher asks for segments of as many
/// hosts of four as divide all, at most 18, which are 16 of 16 and of 64 (Megatron-Bridge v0.1.0rc4 to
/// v0.4.1, `scripts/performance/utils/executors.py`).
const GB200: Hosts = hosts("gb200_gpu_186gb", 64, "nvlink5_nvl72", "ib_ndr_400");
/// The same of GB300 NVL72, whose cards have 800 Gb/s (data sheet).
const GB300: Hosts = hosts("gb300_gpu_277gb", 64, "nvlink5_nvl72", "ib_xdr_800");

const fn hosts(
    device: &'static str,
    per_host: u32,
    scaleup: &'static str,
    network: &'static str,
) -> Hosts {
    Hosts { device, per_host, scaleup, network, by_hosts: &[] }
}

/// A count of at least 1 that fits 32 bits, 1 where the cell is blank or `n/a`.
fn degree(fields: &Fields, column: &str) -> Result<u32, Diagnostic> {
    match fields.text(column)? {
        "" | "n/a" => Ok(1),
        _ => small(fields, column),
    }
}

/// Replicas of so many devices over degrees that divide them.
fn replicas(fields: &Fields, gpus: u64, degrees: &[u32]) -> Result<u32, Diagnostic> {
    let taken = degrees.iter().fold(1_u64, |all, degree| all.saturating_mul(u64::from(*degree)));
    match u32::try_from(gpus / taken) {
        Ok(data) if gpus.is_multiple_of(taken) => Ok(data),
        _ => Err(fields.bad("gpus", "a multiple of the degrees")),
    }
}

/// Micro-batches of each replica.
fn micro_batches(
    fields: &Fields,
    column: &str,
    (global, micro, data): (u64, u64, u32),
) -> Result<u64, Diagnostic> {
    match micro.checked_mul(u64::from(data)) {
        Some(round) if round > 0 && global.is_multiple_of(round) => Ok(global / round),
        _ => Err(fields.bad(column, "a multiple of replicas x micro-batch")),
    }
}

/// A GPT of blocks of 4h.
fn gpt(
    name: &str,
    [hidden, n_heads, sequence, vocabulary]: [u64; 4],
    n_layers: u32,
    head: Head,
) -> ModelCard {
    ModelCard::uniform(TransformerCard {
        name: name.to_owned(),
        n_layers,
        hidden,
        n_heads,
        n_kv_heads: n_heads,
        feed_forward: hidden.saturating_mul(4),
        form: FeedForward::Plain,
        sequence,
        vocabulary,
        experts: None,
        attention: Attention::Even,
        head,
    })
}

#[cfg(test)]
mod tests;
