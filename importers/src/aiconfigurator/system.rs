//! The YAML file of a system: rates of devices and links.

use std::collections::BTreeMap;
use std::path::Path;

use ir::diagnostic::Diagnostic;
use ir::engine_tables::{SystemRates, Unit};
use serde::Deserialize;

use super::folder;
use super::unknown;

/// A system.
#[derive(Clone, Debug)]
pub(super) struct System {
    pub(super) rates: SystemRates,
    /// Folder of tables, below the folder of systems.
    pub(super) data: String,
    /// Version of NCCL in the tables.
    pub(super) nccl: Option<String>,
}

#[derive(Deserialize)]
struct Document {
    data_dir: String,
    gpu: Device,
    node: Host,
    misc: Other,
}

#[derive(Deserialize)]
struct Device {
    mem_bw: f64,
    mem_bw_empirical_scaling_factor: f64,
    mem_empirical_constant_latency: f64,
    mem_capacity: u64,
    bfloat16_tc_flops: Option<f64>,
    int8_tc_flops: Option<f64>,
    fp8_tc_flops: Option<f64>,
    fp4_tc_flops: Option<f64>,
    #[serde(default)]
    sm_version: u32,
}

#[derive(Deserialize)]
struct Host {
    num_gpus_per_node: u32,
    intra_node_bw: f64,
    inter_node_bw: f64,
    num_gpus_per_rack: Option<u32>,
    inter_rack_bw: Option<f64>,
    p2p_latency: f64,
}

#[derive(Deserialize)]
struct Other {
    #[serde(default)]
    nccl_mem: BTreeMap<u32, u64>,
    #[serde(default)]
    other_mem: u64,
    nccl_version: Option<String>,
}

impl System {
    /// Reads the YAML file of a system.
    pub(super) fn read(root: &Path, name: &str) -> Result<Self, Diagnostic> {
        let file = format!("{name}.yaml");
        if !root.join(&file).is_file() {
            return Err(unknown("unknown-system", "system", name, &folder::systems(root)?));
        }
        let document: Document = folder::document(root, &file)?;
        let wrong = |what: &str| {
            Diagnostic::input("bad-system", format!("{what} in the file of a system"))
                .fact("file", root.join(&file).display().to_string())
        };
        // It is joined to the folder of systems, and stays in it.
        let stays = |part: &str| !part.is_empty() && !part.starts_with('.');
        if !document.data_dir.split('/').all(stays) {
            return Err(wrong("`data_dir` leads out of the folder"));
        }
        let rates = rates(&document);
        let numbers = [
            rates.memory_rate,
            rates.pointwise_fraction,
            rates.host_rate,
            rates.network_rate,
            rates.rack.map_or(1.0, |rack| rack.1),
        ];
        let all = numbers.into_iter().chain(rates.flops.values().copied());
        let is_rate = |number: f64| number.is_finite() && number > 0.0;
        let waits = [rates.pointwise_s, rates.transfer_s];
        let is_wait = |number: &f64| number.is_finite() && *number >= 0.0;
        if !all.into_iter().all(is_rate) || !waits.iter().all(is_wait) || rates.per_host == 0 {
            return Err(wrong("a rate is zero, below it or infinite"));
        }
        Ok(Self { rates, data: document.data_dir, nccl: document.misc.nccl_version })
    }
}

fn rates(document: &Document) -> SystemRates {
    let Document { gpu, node, misc, .. } = document;
    let units = [
        (Unit::Bf16, gpu.bfloat16_tc_flops),
        (Unit::Int8, gpu.int8_tc_flops),
        (Unit::Fp8, gpu.fp8_tc_flops),
        (Unit::Fp4, gpu.fp4_tc_flops),
    ];
    SystemRates {
        memory_rate: gpu.mem_bw,
        memory_bytes: gpu.mem_capacity,
        pointwise_fraction: gpu.mem_bw_empirical_scaling_factor,
        pointwise_s: gpu.mem_empirical_constant_latency,
        flops: units.into_iter().filter_map(|(unit, rate)| Some((unit, rate?))).collect(),
        per_host: node.num_gpus_per_node,
        host_rate: node.intra_node_bw,
        network_rate: node.inter_node_bw,
        rack: node.num_gpus_per_rack.zip(node.inter_rack_bw),
        transfer_s: node.p2p_latency,
        capability: gpu.sm_version,
        nccl_bytes: misc.nccl_mem.clone(),
        other_bytes: misc.other_mem,
    }
}
