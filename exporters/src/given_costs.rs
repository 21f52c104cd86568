//! Solutions of instances with given costs, in the forms of the collections that they come from.

use ir::diagnostic::Diagnostic;
use ir::instance::{Instance, TimeUnit};
use ir::units::Nanos;
use serde_json::json;

/// Arguments of `torch.nn.parallel.DistributedDataParallel`.
pub const TORCH_DDP: &str = "torch-ddp";
/// A table for the communication hook of the Python package.
pub const TORCH_HOOK: &str = "torch-hook";
/// A flag of Megatron-Core.
pub const MEGATRON_BUCKETS: &str = "megatron-buckets";
/// A part of DeepSpeed's configuration.
pub const DEEPSPEED_BUCKETS: &str = "deepspeed-buckets";
/// The first version that is known to take a list of sizes.
const LISTS_SINCE: (u64, u64) = (2, 13);

/// Sizes of buckets for `DistributedDataParallel`: a list where the version that the target names takes one
/// (`torch-ddp@2.13`), else the cap that is best for all. Sizes are in MiB, of which PyTorch takes whole
/// bytes; a bucket closes when it holds its size.
///
/// # Errors
/// `unknown-version` for what is no version.
pub fn torch_ddp(target: &str, sizes: &[u64], cap: u64) -> Result<Vec<u8>, Diagnostic> {
    let takes_list = match target.split_once('@') {
        None => false,
        Some((_, version)) => {
            let mut numbers = version.split('.').map(|part| part.parse::<u64>().ok());
            let (Some(Some(major)), Some(Some(minor))) = (numbers.next(), numbers.next()) else {
                let message = format!("`{version}` is no version of PyTorch");
                return Err(Diagnostic::usage("unknown-version", message)
                    .hint("name it as torch-ddp@2.13, or leave it out"));
            };
            (major, minor) >= LISTS_SINCE
        }
    };
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let document = match takes_list {
        true => {
            json!({ "bucket_cap_mb_list": sizes.iter().map(|size| mib(*size)).collect::<Vec<_>>() })
        }
        false => json!({ "bucket_cap_mb": mib(cap) }),
    };
    Ok(format!("{document:#}\n").into_bytes())
}

pub(crate) fn split(instance: &Instance, devices: &[u32], loads: &[Nanos]) -> Option<Vec<u8>> {
    let Instance::Load(instance) = instance else { return None };
    let mut nodes: Vec<Vec<u64>> = vec![Vec::new(); instance.n_devices()];
    for (node, device) in instance.nodes.iter().zip(devices) {
        nodes[*device as usize].push(node.source_id);
    }
    let shares: Vec<_> = nodes
        .iter()
        .zip(loads)
        .map(|(nodes, load)| json!({ "load": TimeUnit::UNSTATED.of(*load), "nodes": nodes }))
        .collect();
    let (accelerators, cores) = shares.split_at(instance.n_accelerators.min(shares.len()));
    let most = loads.iter().max().copied().unwrap_or(Nanos::ZERO);
    let document = json!({
        "maxLoad": TimeUnit::UNSTATED.of(most), "fpgas": accelerators, "cpus": cores,
    });
    Some(format!("{document:#}\n").into_bytes())
}

pub(crate) fn pipedream(instance: &Instance, stages: &[u32], _: &[Nanos]) -> Option<Vec<u8>> {
    let Instance::Profile(profile) = instance else { return None };
    let unit = TimeUnit::MILLISECOND;
    let mut text = String::new();
    for (node, stage) in profile.nodes.iter().zip(stages) {
        text += &format!(
            "{} -- {} -- forward_compute_time={:.6}, backward_compute_time={:.6}, \
             activation_size={}.000, parameter_size={}.000, stage_id={stage}\n",
            node.id,
            node.description,
            unit.of(node.forward),
            unit.of(node.backward),
            node.activations.get(),
            node.parameters.get(),
        );
    }
    for (from, to) in &profile.edges {
        let id = |at: &u32| &profile.nodes[*at as usize].id;
        text += &format!("\t{} -- {}\n", id(from), id(to));
    }
    Some(text.into_bytes())
}
