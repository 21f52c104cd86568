//! What an engine is told of the workers of a type.

use std::collections::HashMap;

use documents::plan::fleet::{FleetDocument, RoleDocument, WorkerDocument};
use ir::cluster::{Cluster, Device};
use ir::diagnostic::Diagnostic;
use ir::id::DeviceId;
use serde_json::Value;

use super::source::FleetSource;
use super::words::{Engine, Order};
use crate::modules::devices::{Place, places};
use crate::modules::refusal;
use crate::serving::stages::{cache_name, host, numbers, runs_on};

/// Ranks of a replica on a host.
#[derive(Debug, PartialEq)]
pub(super) struct Share {
    /// The host's name.
    pub(super) host: String,
    /// By rank the number of its device in the host.
    pub(super) numbers: Vec<u64>,
}

/// Workers of a type, in the words that engines share.
pub(super) struct Facts<'a> {
    /// `prefill-0`, `decode-1`, `aggregated-0` and so on.
    pub(super) name: String,
    /// The fleet.
    pub(super) fleet: &'a FleetDocument,
    /// Degrees and settings.
    pub(super) worker: &'a WorkerDocument,
    /// Tokens of the longest request, and of its prompt.
    pub(super) longest: (u64, u64),
    /// Type of products, and of cached keys and values, where the engine is told.
    pub(super) types: (Option<&'static str>, Option<&'static str>),
    /// Memory of a device, where the plan uses less of it than the engine would by default.
    pub(super) whole_memory: Option<u64>,
    /// By replica its ranks, in the engine's order, host by host.
    pub(super) replicas: Vec<Vec<Share>>,
}

impl Facts<'_> {
    /// Devices of a pipeline stage.
    pub(super) const fn stage_devices(&self) -> u64 {
        self.worker.tensor as u64 * self.worker.data as u64
    }

    /// Devices of a replica.
    pub(super) const fn devices(&self) -> u64 {
        self.stage_devices().saturating_mul(self.worker.stages.len() as u64)
    }

    /// Parts of the experts of a layer.
    pub(super) const fn expert_devices(&self) -> u64 {
        self.worker.expert as u64 * self.worker.expert_tensor as u64
    }

    /// What the engine calls each fact that it is told of.
    pub(super) fn said(&self, engine: &Engine) -> Vec<(&'static str, Value)> {
        let rows = engine.words.iter().map(|word| (word.name, (word.of)(self)));
        rows.filter(|(_, value)| !value.is_null()).collect()
    }

    /// The same as arguments of a command line.
    pub(super) fn arguments(&self, engine: &Engine) -> Vec<String> {
        let both = |(name, value): (&'static str, Value)| match value {
            Value::Bool(true) => vec![name.to_owned()],
            Value::String(text) => vec![name.to_owned(), text],
            other => vec![name.to_owned(), other.to_string()],
        };
        self.said(engine).into_iter().flat_map(both).collect()
    }

    /// The same as options by name.
    pub(super) fn options(&self, engine: &Engine) -> Value {
        self.said(engine).into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The variable with the layers of each stage, where the engine reads one.
    pub(super) fn partition(&self, engine: &Engine) -> Option<(&'static str, String)> {
        let variable = engine.partition.filter(|_| self.worker.stages.len() > 1)?;
        let layers: Vec<String> = self.worker.stages.iter().map(u32::to_string).collect();
        Some((variable, layers.join(",")))
    }

    /// Hosts of a replica, where all have as many.
    ///
    /// # Errors
    /// `cannot-express` where they have not.
    pub(super) fn n_hosts(&self, target: &'static str) -> Result<u64, Diagnostic> {
        let of = |replica: &Vec<Share>| replica.len() as u64;
        let first = self.replicas.first().map_or(1, of);
        if self.replicas.iter().all(|replica| of(replica) == first) {
            return Ok(first);
        }
        let message = format!(
            "replicas of {} span different numbers of hosts; {target} takes one number",
            self.name
        );
        Err(refusal(target, message).hint("plan workers on one host, or on whole hosts"))
    }

    fn check(&self, engine: &Engine, target: &'static str) -> Result<(), Diagnostic> {
        let broken = engine.limits.iter().find(|limit| !(limit.holds)(self));
        broken.map_or(Ok(()), |limit| {
            let message = format!("{} {}: {}", engine.name, limit.message, self.shape());
            Err(refusal(target, message).hint(limit.hint))
        })?;
        for replica in self.replicas.iter().filter(|replica| replica.len() > 1) {
            let each = replica.first().map_or(0, |share| share.numbers.len() as u64);
            if !(engine.starts_on)(self, each) {
                let message = format!(
                    "{} cannot cut {} over {} hosts of {each} devices",
                    engine.name,
                    self.shape(),
                    replica.len()
                );
                return Err(refusal(target, message)
                    .hint("plan stages or data-parallel ranks on whole hosts"));
            }
        }
        Ok(())
    }

    /// Its name and degrees, for messages.
    fn shape(&self) -> String {
        let WorkerDocument { tensor, data, expert, expert_tensor, .. } = *self.worker;
        let stages = self.worker.stages.len();
        format!(
            "{} (TP {tensor}, DP {data}, EP {expert} x {expert_tensor}, PP {stages})",
            self.name
        )
    }
}

/// Facts of all types of workers for an engine, and what it will do differently.
///
/// # Errors
/// `cannot-express` with what the engine or `target` cannot be told.
pub(super) fn facts<'a>(
    source: &FleetSource<'a>,
    engine: &Engine,
    target: &'static str,
) -> Result<(Vec<Facts<'a>>, Vec<Diagnostic>), Diagnostic> {
    let fleet = source.fleet;
    let longest = fleet.lengths.iter().map(|length| {
        let input = u64::from(length.input_tokens);
        (input.saturating_add(u64::from(length.output_tokens)), input)
    });
    let longest = longest.fold((0, 0), |(all, prompt): (u64, u64), length| {
        (all.max(length.0), prompt.max(length.1))
    });
    let mut warnings = Vec::new();
    let dtype = DTYPES.iter().find(|row| row.0 == source.dtype).map(|row| row.1);
    if dtype.is_none() {
        let message = format!(
            "{} reads {} from the checkpoint: serve one that is quantized to it",
            engine.name, source.dtype
        );
        warnings.push(Diagnostic::warning("checkpoint-type", message));
    }
    if fleet.engine != engine.target {
        let message = format!(
            "the fleet was planned for {}; times and memory of {} differ",
            fleet.engine, engine.target
        );
        warnings.push(
            Diagnostic::warning("other-engine", message)
                .hint(format!("plan it for {}", engine.target)),
        );
    }
    let types = (dtype, cache_name(source.cache, &engine.cache)?);
    let on = Known::of(source.cluster);
    let of = |(name, worker): (String, &'a WorkerDocument)| {
        let ranks = |devices: &Vec<String>| shares(&on, worker, devices, (engine, target));
        let replicas = worker.replicas.iter().map(ranks).collect::<Result<Vec<_>, _>>()?;
        let whole_memory = whole_memory(source.cluster, worker);
        let facts = Facts { name, fleet, worker, longest, types, whole_memory, replicas };
        facts.check(engine, target).map(|()| facts)
    };
    let all = named(fleet).map(of).collect::<Result<Vec<_>, _>>()?;
    let has = |role| fleet.workers.iter().any(|worker| worker.role == role);
    if has(RoleDocument::Prefill) != has(RoleDocument::Decode) {
        let message = "the fleet has prefill or decode workers without the other".to_owned();
        return Err(refusal(target, message).hint("plan the fleet again"));
    }
    warnings.extend(all.iter().filter_map(|facts| (engine.rounds)(facts)));
    Ok((all, warnings))
}

/// Types of products as vLLM, SGLang and TensorRT-LLM name them; others are the checkpoint's own.
const DTYPES: [(&str, &str); 3] = [("bf16", "bfloat16"), ("fp16", "float16"), ("fp32", "float32")];

/// Types of workers by role and number among those of the role.
fn named(fleet: &FleetDocument) -> impl Iterator<Item = (String, &WorkerDocument)> {
    fleet.workers.iter().enumerate().map(|(at, worker)| {
        let before = fleet.workers.iter().take(at).filter(|of| of.role == worker.role).count();
        (format!("{}-{before}", worker.role.name()), worker)
    })
}

/// Whether workers hand requests over.
pub(super) fn is_disaggregated(worker: &WorkerDocument) -> bool {
    worker.role != RoleDocument::Aggregated
}

/// Devices of a cluster by name, and their places in their hosts.
struct Known<'c> {
    cluster: &'c Cluster,
    ids: HashMap<&'c str, DeviceId>,
    places: Vec<Place>,
}

impl<'c> Known<'c> {
    fn of(cluster: &'c Cluster) -> Self {
        let name = |(at, device): (usize, &'c Device)| (device.name.as_str(), DeviceId::new(at));
        let ids = cluster.devices.iter().enumerate().map(name).collect();
        Self { cluster, ids, places: places(cluster) }
    }
}

/// Ranks of a replica in the engine's order, host by host.
fn shares(
    on: &Known<'_>,
    worker: &WorkerDocument,
    devices: &[String],
    (engine, target): (&Engine, &'static str),
) -> Result<Vec<Share>, Diagnostic> {
    let (tensor, data) = (worker.tensor as usize, worker.data as usize);
    let n = tensor.saturating_mul(data).saturating_mul(worker.stages.len());
    if n == 0 || devices.len() != n {
        let message = format!(
            "a replica has {} devices instead of TP {tensor} x DP {data} x PP {}",
            devices.len(),
            worker.stages.len()
        );
        return Err(refusal(target, message).hint("plan the fleet again"));
    }
    let id = |name: &String| {
        on.ids.get(name.as_str()).copied().ok_or_else(|| {
            refusal(target, format!("the cluster has no device `{name}`"))
                .hint("name the cluster that the fleet was planned for")
        })
    };
    let ids = devices.iter().map(id).collect::<Result<Vec<_>, _>>()?;
    // Devices lie stage by stage, in a stage by data-parallel rank.
    let ids: Vec<DeviceId> = match engine.order {
        Order::Stages => ids,
        Order::Replicas => {
            let at = |rank: usize| {
                let (copy, stage) = (rank / (tensor * worker.stages.len()), rank / tensor);
                let stage = stage % worker.stages.len();
                ids.get(stage * tensor * data + copy * tensor + rank % tensor).copied()
            };
            (0..n).filter_map(at).collect()
        }
    };
    let numbers = numbers((on.cluster, &on.places), &ids, (target, ""))?;
    runs_on((on.cluster, &ids), (engine.target, target))?;
    let mut shares: Vec<Share> = Vec::new();
    for (id, number) in ids.iter().zip(numbers) {
        let host = host(on.cluster, *id);
        match shares.last_mut().filter(|share| share.host == host) {
            Some(share) => share.numbers.push(number),
            None => shares.push(Share { host, numbers: vec![number] }),
        }
    }
    let each = n / shares.len();
    let is_again = |(at, share): (usize, &Share)| {
        share.numbers.len() != each || shares.iter().skip(at + 1).any(|of| of.host == share.host)
    };
    if shares.iter().enumerate().any(is_again) {
        let message = format!(
            "{} needs equal numbers of consecutive ranks on each host; the replica with `{}` has others",
            engine.name,
            devices.first().map_or("", String::as_str)
        );
        return Err(refusal(target, message).hint("plan workers on one host, or on whole hosts"));
    }
    Ok(shares)
}

/// Memory of the devices of a worker, where the plan begins with less.
fn whole_memory(cluster: &Cluster, worker: &WorkerDocument) -> Option<u64> {
    let first = worker.replicas.first()?.first()?;
    let device = cluster.devices.iter().find(|device| device.name == *first)?;
    device.capacity.map(|bytes| bytes.0).filter(|bytes| worker.memory.capacity < *bytes)
}
