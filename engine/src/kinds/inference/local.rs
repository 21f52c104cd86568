//! Pipelines under llama.cpp: the host of the devices as a place before them, the experts that it keeps, what
//! prompts take, and the context that fits.

use std::sync::Arc;

use cost_model::runs::served::bound::{EVERY, SPREAD, spread};
use cost_model::runs::served::llama_cpp::{self, Host, UBATCH};
use cost_model::runs::served::priced::Batch;
use cost_model::runs::served::{Costs, Goal, Judged, Piece};
use exporters::serving::stages::Local as LocalSource;
use importers::cluster::catalogue;
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::units::Bytes;
use ir::workload::StepPhase;
use planner::run::Control;
use planner::serving::{Found, Plan, Serves};

use super::setting::Setting;
use crate::inputs::run::setting::Setting as Run;

/// Bytes a second of a host's memory where its cluster file states none: two channels of DDR5-5600.
const USUAL_BYTES_PER_S: f64 = 89.6e9;
/// Bytes of it.
const USUAL_MEMORY: u64 = 64 << 30;
/// Share of it that other programs leave.
const SHARE: f64 = 0.9;

/// Longest context that is looked for.
const LONGEST_CONTEXT: u64 = 1 << 20;

/// What llama.cpp has beside devices.
#[derive(Clone)]
pub struct Local {
    /// The host; `None` where its devices are of several, or share its memory.
    pub host: Option<Host>,
    /// What its memory is called.
    pub name: String,
    /// Number of first blocks with experts in host memory.
    pub n_host_experts: u32,
    /// Tokens that the model was made for.
    pub positions: u64,
}

impl Local {
    /// Reads the host of a cluster, and what was assumed of it.
    ///
    /// # Errors
    /// Those of the catalogue.
    pub fn read(run: &Run, n_host_experts: u32) -> Result<(Self, Option<Diagnostic>), Diagnostic> {
        let positions = run.hyperparameters.as_ref().map_or(u64::MAX, |stated| stated.positions);
        let cluster = &run.cluster;
        let mut local = Self { host: None, name: "host".to_owned(), n_host_experts, positions };
        if !llama_cpp::has_host(cluster) {
            return Ok((local, None));
        }
        let node = cluster.devices.first().and_then(|device| device.node);
        let node = node.and_then(|node| cluster.nodes.get(node.index()));
        if let Some(node) = node {
            local.name = format!("{}.cpu", node.name);
        }
        let memory = node.and_then(|node| node.host_memory).map(Bytes::get);
        let bandwidth = node.and_then(|node| node.host_bandwidth).map(|rate| rate.get());
        let [link_bytes_per_s, link_s] =
            link(cluster, node.and_then(|node| node.to_device.as_ref()))?;
        local.host = Some(Host {
            memory: Some((memory.unwrap_or(USUAL_MEMORY) as f64 * SHARE) as u64),
            bytes_per_s: bandwidth.unwrap_or(USUAL_BYTES_PER_S),
            link_bytes_per_s,
            link_s,
        });
        let missing: Vec<&str> = [
            (memory.is_none(), "host_memory_bytes"),
            (bandwidth.is_none(), "host_memory_bytes_per_s"),
        ]
        .into_iter()
        .filter_map(|(is_missing, key)| is_missing.then_some(key))
        .collect();
        let assumed = (!missing.is_empty()).then(|| {
            let assumed = [
                memory.is_none().then(|| Bytes(USUAL_MEMORY).to_string()),
                bandwidth.is_none().then(|| format!("{:.1} GB/s", USUAL_BYTES_PER_S / 1e9)),
            ];
            let message = format!(
                "the cluster file states no {}: assumed {}",
                missing.join(" and "),
                assumed.into_iter().flatten().collect::<Vec<_>>().join(", ")
            );
            Diagnostic::warning("assumed-host", message).hint("state them for the host in `nodes`")
        });
        Ok((local, assumed))
    }

    /// What pipelines cost whose first blocks leave so many blocks' experts in the host's memory.
    #[must_use]
    pub fn costs(&self, run: &Run, batch: Batch, n_host_experts: u32) -> Option<Costs> {
        let on = (&run.cluster, &run.profile);
        let host = (self.host.as_ref(), n_host_experts);
        llama_cpp::costs(&run.pricing(), on, batch, host, |memory| run.room(memory))
    }
}

/// Bytes a second between the host's memory and a device, and seconds until a transfer begins.
fn link(
    cluster: &Cluster,
    stated: Option<&ir::cluster::RouteKind>,
) -> Result<[f64; 2], Diagnostic> {
    if let Some(way) = stated {
        return Ok([way.bandwidth.get(), way.latency_ns * 1e-9]);
    }
    /// That of most cards.
    const USUAL: &str = "pcie4_x16";
    let catalogue = catalogue()?;
    let kind = cluster.kinds.first().and_then(|kind| catalogue.device(&kind.name));
    let link = catalogue.link(kind.map_or(USUAL, |row| &row.host_link)).or(catalogue.link(USUAL));
    Ok(link.map_or([25e9, 5e-6], |link| [link.rate().get(), link.latency_ns * 1e-9]))
}

impl Setting {
    /// How many of the first blocks may leave their experts in the host's memory: none, or one more each.
    fn host_experts(&self) -> Vec<u32> {
        let has_host = self.local.as_ref().is_some_and(|local| local.host.is_some());
        match has_host && self.run.model.has_experts() {
            true => (0..=self.costs.n_blocks()).collect(),
            false => vec![0],
        }
    }

    /// The costs for each number of blocks that may leave their experts in the host's memory.
    pub(super) fn variants(&self) -> impl Iterator<Item = (u32, Costs)> + use<'_> {
        self.host_experts().into_iter().filter_map(|n| match (&self.local, n) {
            (Some(local), _) => Some((n, local.costs(&self.run, self.batch, n)?)),
            (None, _) => Some((n, self.costs.clone())),
        })
    }

    /// The same where so many blocks do.
    pub(super) fn with_host_experts(&mut self, n: u32) {
        if let Some(local) = &mut self.local
            && let Some(costs) = local.costs(&self.run, self.batch, n)
        {
            local.n_host_experts = n;
            self.costs = costs;
        }
    }

    /// Where layers lie under llama.cpp.
    #[must_use]
    pub fn places(&self, pieces: &[Piece]) -> Option<String> {
        self.local.as_ref()?;
        let n_devices = self.run.cluster.devices.len();
        let place = |(at, piece): (usize, &Piece)| {
            let n = piece.blocks.end.saturating_sub(piece.blocks.start);
            let layers = match (at, n) {
                (0, 1) => " layer",
                (0, _) => " layers",
                _ => "",
            };
            match piece.device < n_devices {
                true => format!("{n}{layers} on {}", self.called(piece.device)),
                false => format!("{n}{layers} in the host's memory"),
            }
        };
        Some(pieces.iter().enumerate().map(place).collect::<Vec<_>>().join(", "))
    }

    /// Where experts lie that their layers are not beside.
    #[must_use]
    pub fn experts(&self) -> Option<String> {
        let n = self.local.as_ref()?.n_host_experts;
        (n > 0).then(|| format!("of the first {n} layers in host memory"))
    }

    /// Tokens per second of prompts through a pipeline of llama.cpp.
    #[must_use]
    pub fn prompt_tokens_per_s(&self, pieces: &[Piece]) -> Option<f64> {
        let local = self.local.as_ref()?;
        let batch = Batch { phase: StepPhase::Prefill, samples: 1, tokens: UBATCH, cached: 0 };
        let costs = local.costs(&self.run, batch, local.n_host_experts)?;
        let judged = costs.judge(pieces, Goal::Latency).ok()?;
        Some(UBATCH as f64 * 1e9 / judged.latency.max(1) as f64)
    }

    /// Tokens of the longest context whose keys and values every stage of llama.cpp has room for.
    #[must_use]
    pub fn longest_context(&self, pieces: &[Piece], judged: &Judged) -> Option<u64> {
        let local = self.local.as_ref()?;
        let pricing = self.run.pricing();
        let samples = self.batch.samples.max(1) as f64;
        let fits = |tokens: u64| {
            let of_block = |at: u32| llama_cpp::cache_of(&pricing, at as usize, tokens);
            pieces.iter().zip(&judged.stages).all(|(piece, stage)| {
                let cache = samples * piece.blocks.clone().map(of_block).sum::<f64>();
                let others = stage.peak.saturating_sub(stage.cache);
                stage.limit.is_none_or(|limit| cache <= limit.saturating_sub(others) as f64)
            })
        };
        if fits(local.positions) {
            return Some(local.positions);
        }
        // Layers with a window take no more beyond it.
        let (mut low, mut high) = (0, local.positions);
        while high - low > 1 {
            let middle = low.midpoint(high);
            if fits(middle) { low = middle } else { high = middle }
        }
        Some(low)
    }

    /// Tokens that the server's cache has room for.
    #[must_use]
    pub fn context(&self) -> u64 {
        self.batch.cached.saturating_add(self.batch.tokens)
    }

    /// What the script of llama.cpp states beside devices: the host is no device of it.
    #[must_use]
    pub fn local_source(&self, pieces: &[Piece]) -> Option<LocalSource> {
        let local = self.local.as_ref()?;
        let n_devices = self.run.cluster.devices.len();
        let on_host = pieces.iter().filter(|piece| piece.device >= n_devices);
        Some(LocalSource {
            host_layers: on_host.map(|piece| piece.blocks.end - piece.blocks.start).sum(),
            host_experts: local.n_host_experts,
            context: self.context().saturating_mul(self.batch.samples.max(1)),
            samples: self.batch.samples.max(1),
        })
    }
}

/// What its prices rest on.
pub(super) const BASED_ON: &str = "kernel rates of published llama.cpp runs on 1 or 2 equal GPUs; mixed GPUs, experts on the host and prompts not validated; no interval";

/// What a split is the fastest of.
pub(super) fn proof(setting: &Setting, margin: &str) -> String {
    let has_host = setting.local.as_ref().is_some_and(|local| local.host.is_some());
    let host = if has_host { " and, the first ones, in the host's memory" } else { "" };
    let experts = match setting.host_experts().len() {
        1 => "",
        _ => "; experts of any number of first layers there",
    };
    format!("the fastest of all splits{margin}: layers on devices in any order{host}{experts}")
}

/// The best over all numbers of blocks whose experts the host keeps, with that number; its bound is that of all.
pub(super) fn search(setting: &Setting, door: &Serves, control: &Arc<Control>) -> (u32, Found) {
    if setting.local.is_none() {
        return (0, door.0(&setting.costs, setting.goal, control));
    }
    let mut all: Vec<(u32, Found)> = Vec::new();
    let mut formula = u64::MAX;
    for (n, costs) in setting.variants() {
        formula = formula.min(spread(&costs, setting.goal));
        all.push((n, door.0(&costs, setting.goal, control)));
    }
    let is_open = |found: &Found| !found.stop.is_complete();
    let stop = all.iter().find(|row| is_open(&row.1)).map(|row| row.1.stop);
    let fits = |row: &&(u32, Found)| row.1.best.is_some();
    let least = all.iter().filter(fits).map(|row| row.1.bound).min();
    let period = |found: &Found| found.best.as_ref().map_or(u64::MAX, |plan| plan.judged.period);
    let is_alone = all.len() == 1;
    let best = all.into_iter().min_by_key(|row| period(&row.1));
    let Some((n, found)) = best else { return (0, door.0(&setting.costs, setting.goal, control)) };
    let found = Found { best: widest(setting, (n, &found), (door, control)), ..found };
    if is_alone {
        return (n, found);
    }
    let (bound, bound_method) = match least.filter(|_| stop.is_none()) {
        Some(least) => (least, EVERY),
        None => (formula, SPREAD),
    };
    (n, Found { bound, bound_method, stop: stop.unwrap_or(found.stop), ..found })
}

/// Most contexts that are tried: halvings of the longest.
const MOST_CONTEXTS: usize = 24;

/// Of the splits that are as fast as the best one, one with room for the longest context.
fn widest(
    setting: &Setting,
    (n, found): (u32, &Found),
    (door, control): (&Serves, &Arc<Control>),
) -> Option<Plan> {
    let mut best = found.best.clone()?;
    let (Some(local), period) = (&setting.local, best.judged.period) else { return Some(best) };
    let costs = local.costs(&setting.run, setting.batch, n)?;
    let (mut low, mut high) = (setting.context(), local.positions.min(LONGEST_CONTEXT));
    for tried in 0..MOST_CONTEXTS {
        if low >= high || control.stop().is_some() {
            break;
        }
        // The longest first: mostly it fits.
        let context = if tried == 0 { high } else { low + (high - low).div_ceil(2) };
        let times = context as f64 / setting.context().max(1) as f64;
        let mut wide = costs.clone();
        wide.held.cache.iter_mut().for_each(|bytes| *bytes = (*bytes as f64 * times) as u64);
        let pieces = door.0(&wide, setting.goal, control).best.map(|plan| plan.pieces);
        let judged = pieces.and_then(|pieces| {
            let judged = costs.judge(&pieces, setting.goal).ok()?;
            (judged.period <= period).then_some(Plan { pieces, judged })
        });
        match judged {
            Some(plan) => (low, best) = (context, plan),
            None => high = context - 1,
        }
    }
    Some(best)
}
