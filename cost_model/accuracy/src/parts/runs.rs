//! Published runs: reads the tables, and makes of the hosts that they name what prices see.

use std::collections::BTreeMap;
use std::path::Path;

use cost_model::runs::forms::run::Timed;
use cost_model::runs::forms::system::System;
use engine::request::executor::named_stack;
use importers::cluster;
use ir::diagnostic::Diagnostic;
use ir::profile::Profile;
use ir::tensor::DType;
use ir::units::Bytes;

use super::Found;
use crate::judged::passes;
use crate::judged::runs::{Machine, RunTables, lines};
use crate::readers::Left;
use crate::readers::published::{
    bridge, foundry, golden, megatron_core, nanotron, neusight, sc21, simumax, torchtitan,
};
use crate::readers::run::{Hosts, RunRow};

/// Hosts that tell ways inside one from ways between them.
const TWO: u64 = 2;

/// Judges the step-time model on the tables of the data folder.
pub(super) fn judge(data: &Path) -> Result<Found, Diagnostic> {
    let mut left = Left::default();
    let tables = tables(&data.join("steptimes"), &mut left);
    let mut machines = BTreeMap::new();
    for row in rows(&tables) {
        named_stack(row.stack)?;
        if !machines.contains_key(&row.hosts) {
            machines.extend(machine(&row.hosts)?.map(|machine| (row.hosts.clone(), machine)));
        }
    }
    let (mut lines, residuals) = lines(&tables, &machines);
    let [inference, _] = &tables.neusight;
    if !inference.is_empty() {
        lines.push(passes::line(inference)?);
    }
    Ok(Found { lines, residuals, left })
}

fn tables(folder: &Path, left: &mut Left) -> RunTables {
    let apart = |rows: Vec<RunRow>, is_first: fn(&RunRow) -> bool| {
        let (first, second) = rows.into_iter().partition(is_first);
        [first, second]
    };
    let bridge = ["megatron_bridge.csv", "megatron_bridge_2.csv"].map(|name| folder.join(name));
    RunTables {
        bridge_dense: bridge::newest(&bridge[..1], bridge::Part::Dense, left),
        bridge_systems: bridge::newest(&bridge, bridge::Part::Dense, left),
        bridge_experts: bridge::agreed(&bridge, bridge::Part::Experts, left),
        b200: simumax::read(&folder.join("megatron_b200.csv"), left),
        megatron_core: megatron_core::read(&folder.join("megatron_core_h100.csv"), left),
        torchtitan: torchtitan::read(&folder.join("torchtitan.csv"), left),
        sc21: apart(sc21::read(&folder.join("megatron_sc21_table2.csv"), left), |row| {
            row.technique == sc21::SHARDED
        }),
        neusight: apart(neusight::read(&folder.join("neusight.csv"), left), |row| {
            row.timed != Timed::Passes
        }),
        foundry: by_device(foundry::read(&folder.join("llm_foundry.csv"), left)),
        nanotron: nanotron::read(&folder.join("playbook_nanotron.csv"), left),
        golden: golden::read(&folder.join("megatron_golden.csv"), left),
    }
}

/// Rows of A100 of 40 and of 80 GB, and of H100 in 16 and in 8 bits.
fn by_device(rows: Vec<RunRow>) -> [Vec<RunRow>; 4] {
    let mut parts = <[Vec<RunRow>; 4]>::default();
    for row in rows {
        let part = match (row.hosts.device, row.dtype) {
            ("a100_sxm4_40gb", _) => 0,
            ("a100_sxm4_80gb", _) => 1,
            (_, DType::F8) => 3,
            _ => 2,
        };
        parts[part].push(row);
    }
    parts
}

fn rows(tables: &RunTables) -> impl Iterator<Item = &RunRow> {
    let RunTables {
        bridge_dense,
        bridge_systems,
        bridge_experts,
        b200,
        megatron_core,
        torchtitan,
        sc21,
        neusight,
        foundry,
        nanotron,
        golden,
    } = tables;
    let sets = [bridge_dense, bridge_systems, b200, megatron_core, torchtitan, nanotron, golden];
    sets.into_iter().chain(bridge_experts).chain(sc21).chain(neusight).chain(foundry).flatten()
}

/// Two such hosts of the catalogue, of which nothing was measured, as a cluster file has them.
fn machine(hosts: &Hosts) -> Result<Option<Machine>, Diagnostic> {
    let Hosts { device, per_host, scaleup, network, by_hosts } = hosts;
    let by_hosts: Vec<String> = by_hosts
        .iter()
        .map(|(hosts, rate)| format!("{{hosts: {hosts}, bytes_per_s: {rate}}}"))
        .collect();
    let text = format!(
        "nodes: [{{count: {TWO}, device: {device}, devices: {per_host}, scaleup: {scaleup}}}]\n\
         network: {{link: {network}, by_hosts: [{}]}}\n",
        by_hosts.join(", ")
    );
    let cluster = cluster::parse(&text, device, None)?;
    let limits = cluster.devices.iter().filter_map(ir::cluster::Device::memory_limit);
    let limit = limits.map(Bytes::get).min();
    let system = System::of(&cluster, &Profile::default());
    Ok(system.map(|system| Machine { system, limit }))
}
