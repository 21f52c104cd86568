//! `allreduce_bandwidth_*.json`, `p2p_bandwidth_*.json` and `sp_time_*.json`.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;
use ir::layers::{Hosts, LinkRates, Ranks};
use ir::measured::CollectiveOperation;
use ir::profile::SizePoint;
use ir::units::Bytes;

use super::numbers::{count, milliseconds, rate};
use super::{Files, OneFile};

/// Reads all counts of hosts.
///
/// # Errors
/// `profile-file` where no file states an all-reduce; `profile-value`.
pub(super) fn read(files: &Files) -> Result<BTreeMap<Hosts, LinkRates>, Diagnostic> {
    let mut links: BTreeMap<Hosts, LinkRates> = BTreeMap::new();
    for (prefix, add) in
        [("allreduce_bandwidth_", all_reduce as Add), ("p2p_bandwidth_", next), ("sp_time_", sized)]
    {
        for file in files.all(prefix) {
            let Some(hosts) = hosts(file.stem(), prefix) else { continue };
            let rates = links.entry(hosts).or_default();
            add(file, rates).map_err(|error| file.named(error))?;
        }
    }
    if links.values().all(|rates| rates.all_reduce.is_empty()) {
        let message = "there is no `allreduce_bandwidth_Nnodes_Ggpus_per_node.json` with a rate";
        return Err(Diagnostic::input("profile-file", message)
            .fact("file", files.folder.display().to_string())
            .hint("give a folder with the files of Galvatron's hardware profiler"));
    }
    Ok(links)
}

type Add = fn(&OneFile, &mut LinkRates) -> Result<(), Diagnostic>;

/// Hosts and devices of `sp_time_1nodes_8gpus_per_node`.
fn hosts(stem: &str, prefix: &str) -> Option<Hosts> {
    let (n_hosts, rest) = stem.strip_prefix(prefix)?.split_once("nodes_")?;
    let per_host = rest.strip_suffix("gpus_per_node")?;
    let number = |text: &str| count(text).and_then(|n| u32::try_from(n).ok());
    Some(Hosts { n_hosts: number(n_hosts)?, per_host: number(per_host)? })
}

fn ranks(text: &str) -> Option<u32> {
    count(text).and_then(|n| u32::try_from(n).ok())
}

fn all_reduce(file: &OneFile, rates: &mut LinkRates) -> Result<(), Diagnostic> {
    for (key, value) in file.object()? {
        let parts =
            key.strip_prefix("allreduce_size_").and_then(|rest| rest.split_once("_consec_"));
        let Some((size, place)) = parts else { continue };
        let Some(size) = ranks(size) else { continue };
        let place = if place == "0" { Ranks::Apart } else { Ranks::Neighbours };
        rates.all_reduce.insert((size, place), rate(&key, &value)?);
    }
    Ok(())
}

fn next(file: &OneFile, rates: &mut LinkRates) -> Result<(), Diagnostic> {
    for (key, value) in file.object()? {
        if let Some(size) = key.strip_prefix("pp_size_").and_then(ranks) {
            rates.next.insert(size, rate(&key, &value)?);
        }
    }
    Ok(())
}

fn sized(file: &OneFile, rates: &mut LinkRates) -> Result<(), Diagnostic> {
    let kinds = [
        ("allreduce_size_", CollectiveOperation::AllReduce),
        ("all2all_size_", CollectiveOperation::AllToAll),
    ];
    let mut found: BTreeMap<(CollectiveOperation, u32), BTreeMap<u64, SizePoint>> = BTreeMap::new();
    for (key, value) in file.object()? {
        let kind = kinds.iter().find_map(|(prefix, kind)| Some((key.strip_prefix(prefix)?, *kind)));
        let Some((rest, kind)) = kind else { continue };
        let parts = rest.strip_suffix("MB_time").and_then(|rest| rest.split_once('_'));
        let Some((size, megabytes)) = parts else { continue };
        let (Some(size), Some(megabytes)) = (ranks(size), count(megabytes)) else { continue };
        let bytes = Bytes(megabytes << 20);
        let point = SizePoint { bytes, time: milliseconds(&key, &value, 1.0)? };
        found.entry((kind, size)).or_default().insert(bytes.0, point);
    }
    let lists = found.into_iter().map(|(key, points)| (key, points.into_values().collect()));
    rates.sized.extend(lists);
    Ok(())
}
