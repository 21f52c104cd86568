//! Solutions of instances with given costs, in the forms of the collections that they come from.

use ir::diagnostic::Diagnostic;
use ir::instance::{Instance, LayerProfile, LoadInstance, TimeUnit};
use ir::units::Nanos;
use serde_json::json;

/// A form.
pub struct Form {
    /// Its name as an export target.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
}

/// The forms that there are.
pub const FORMS: [Form; 6] = [
    Form {
        name: "split",
        summary: "nodes of each accelerator and core, as the splits of msr-fiddle/dnn-partitioning",
    },
    Form {
        name: "pipedream",
        summary: "`graph.txt` with the stage of each layer, as msr-fiddle/pipedream's optimizer writes it",
    },
    Form {
        name: TORCH_DDP,
        summary: "arguments of torch's `DistributedDataParallel`: sizes of buckets",
    },
    Form {
        name: TORCH_HOOK,
        summary: "table of `meshwright.torch.exchange`: what of which gradients goes together",
    },
    Form {
        name: MEGATRON_BUCKETS,
        summary: "`--ddp-bucket-size` of Megatron-Core: the best size of all buckets",
    },
    Form {
        name: DEEPSPEED_BUCKETS,
        summary: "`reduce_bucket_size` of DeepSpeed: the best size of all buckets",
    },
];

/// Arguments of `torch.nn.parallel.DistributedDataParallel`.
pub const TORCH_DDP: &str = "torch-ddp";
/// A table for the communication hook of the Python package.
pub const TORCH_HOOK: &str = "torch-hook";
/// A flag of Megatron-Core.
pub const MEGATRON_BUCKETS: &str = "megatron-buckets";
/// A part of DeepSpeed's configuration.
pub const DEEPSPEED_BUCKETS: &str = "deepspeed-buckets";
/// Forms of gradients in buckets.
pub const OF_BUCKETS: [&str; 4] = [TORCH_DDP, TORCH_HOOK, MEGATRON_BUCKETS, DEEPSPEED_BUCKETS];
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
            let mut numbers = version.split('.').map(|own| own.parse::<u64>().ok());
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
            json!({ "bucket_cap_mb_list": sizes.iter().map(|own| mib(*own)).collect::<Vec<_>>() })
        }
        false => json!({ "bucket_cap_mb": mib(cap) }),
    };
    Ok(format!("{document:#}\n").into_bytes())
}

/// Writes the device (or stage) of each node in a form; `loads` are those of the devices.
///
/// # Errors
/// `unknown-target`, and `cannot-express` where the form has no words for the instance.
pub fn write(
    target: &str,
    instance: &Instance,
    devices: Option<&[u32]>,
    loads: &[Nanos],
) -> Result<Vec<u8>, Diagnostic> {
    match (target, instance, devices) {
        ("split", Instance::Load(instance), Some(devices)) => Ok(split(instance, devices, loads)),
        ("pipedream", Instance::Profile(profile), Some(stages)) => Ok(graph(profile, stages)),
        _ if FORMS.iter().any(|form| form.name == target) => {
            let message = format!("`{target}` has no words for a solution of this instance");
            Err(Diagnostic::usage("cannot-express", message).hint(match instance {
                Instance::Load(_) => "use --target split",
                Instance::Profile(_) => "use --target pipedream",
                Instance::Gradients(_) => {
                    "use --target torch-ddp, torch-hook, megatron-buckets or deepspeed-buckets"
                }
                Instance::Tasks(_) => "`plan -o FILE` writes a queue for each device",
                Instance::Averaging(_) => "`plan -o FILE` writes rounds, or what clients send",
                Instance::Stages(_) => {
                    "`plan -o FILE` writes its stages, degrees and configurations"
                }
            }))
        }
        _ => {
            let names: Vec<&str> = FORMS.iter().map(|form| form.name).collect();
            let message = format!("there is no format `{target}` for instances with given costs");
            Err(Diagnostic::usage("unknown-target", message)
                .hint(format!("choose from {}", names.join(", "))))
        }
    }
}

fn split(instance: &LoadInstance, devices: &[u32], loads: &[Nanos]) -> Vec<u8> {
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
    format!("{document:#}\n").into_bytes()
}

fn graph(profile: &LayerProfile, stages: &[u32]) -> Vec<u8> {
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
    text.into_bytes()
}
