//! Offloaded experts: an expert cache in slots of devices, the others in host memory. What a run needs, and
//! where it lies.

use std::collections::HashMap;

use cost_model::experts::cache::time::{Links, OverLink};
use cost_model::experts::cache::{Fetched, Needs};
use cost_model::runs::serving::{Load, Serving, Weights};
use documents::plan::experts::{
    CacheDocument, ExpertLayersDocument, ExpertsDocument, HostDocument, RegroupedDocument,
};
use ir::cluster::RouteKind;
use ir::diagnostic::Diagnostic;
use ir::tensor::DType;
use planner::experts::expertflow::{Choices, Held, Problem, drawn, homes, least};

use super::figures::sums;
use crate::inputs::experts::{Setting, all_shares};
use crate::inputs::routing::Routing;

/// What a run needs, and where its experts may lie.
#[derive(Clone, Debug)]
pub struct Cached {
    /// Layers whose experts are needed, and slots.
    pub problem: Problem,
    /// By layer, how often each expert is visited.
    pub visits: Vec<Vec<f64>>,
    /// By step its tokens; one number where all have as many.
    pub tokens: Vec<u32>,
    /// Whether a trace was read.
    pub is_traced: bool,
    /// Where tokens changed places: what they need no less than in any.
    pub at_least: Option<u64>,
    weights: Weights,
    link: RouteKind,
    serving: Serving,
}

/// What a device may hold.
struct Room {
    weights: Weights,
    /// Slots of all layers together.
    slots: usize,
    /// Whether its memory says how many.
    is_by_memory: bool,
}

/// The type in which a model's weights lie: its own, or 16 bits.
fn dtype(setting: &Setting) -> DType {
    setting.model.dtype.unwrap_or(DType::Bf16)
}

/// Steps, routed tokens and tokens: of a trace, or drawn.
pub type Steps = (Vec<Needs>, Vec<Vec<f64>>, Vec<u32>, bool);

impl Cached {
    /// Puts the experts that steps need on the devices of a host; steps are drawn from the routed
    /// tokens of entries of layers, and so many tokens, where there are none.
    ///
    /// # Errors
    /// `experts-differ`, `several-hosts`, `no-host-link`, `no-rates`, `too-few-slots`, `too-many-slots`.
    pub fn new(
        setting: &Setting,
        choices: &Choices,
        steps: Steps,
        seed: u64,
    ) -> Result<(Self, Option<Diagnostic>), Diagnostic> {
        setting.check_sizes()?;
        let n_devices = setting.host.len();
        if setting.host.iter().any(|host| *host > 0) {
            let message = "experts are cached on the devices of one host";
            return Err(Diagnostic::usage("several-hosts", message)
                .fact("hosts", setting.host.iter().max().map_or(0, |last| last + 1))
                .hint("give a cluster of one host: each host of several fetches for itself"));
        }
        let link = link(setting)?;
        let serving =
            setting.cluster.kinds.first().and_then(|kind| Serving::of(kind, dtype(setting)));
        let last = setting.layers.last().map_or(0, |layer| *layer as usize);
        let serving = serving.map(|serving| serving.holding(setting.model.held(last)));
        let serving = serving.ok_or_else(|| {
            let message = "the kind of device states no peak rate or no memory bandwidth";
            Diagnostic::input("no-rates", message)
                .hint("give a cluster of devices of the catalogue, or state their rates")
        })?;
        let room = room(setting, choices.slots)?;
        let (needs, visits, tokens, is_traced) = steps;
        let per_token = setting.experts.per_token as usize;
        let problem = Problem { needs, n_devices, slots: room.slots, per_token, seed };
        let (weights, at_least) = (room.weights, None);
        let cached = Self { problem, visits, tokens, is_traced, at_least, weights, link, serving };
        let warning = room.is_by_memory.then(|| {
            let message = format!(
                "a device's memory holds {} experts: keys, values and activations are not counted",
                room.slots
            );
            Diagnostic::warning("no-room-kept", message)
                .hint("leave room for them with fewer slots, such as expertflow(slots=N)")
        });
        Ok((cached, warning))
    }

    /// As [`Self::new`], of a trace as it is read, and with tokens in other places.
    ///
    /// # Errors
    /// Those of [`Self::new`].
    pub fn of_trace(
        setting: &Setting,
        choices: &Choices,
        all: Vec<Routing>,
        seed: u64,
    ) -> Result<(Vec<Self>, Option<Diagnostic>), Diagnostic> {
        let (mut found, mut warning) = (Vec::new(), None);
        for Routing { needs, visits, tokens, at_least } in all {
            let made = Self::new(setting, choices, (needs, visits, tokens, true), seed)?;
            let at_least = (!found.is_empty()).then_some(at_least);
            found.push(Self { at_least, ..made.0 });
            warning = made.1;
        }
        Ok((found, warning))
    }

    /// Steps that are drawn by a law or a histogram, layer by layer.
    #[must_use]
    pub fn drawn(
        setting: &Setting,
        visits: &[(Vec<u32>, Vec<f64>)],
        tokens: u64,
        (choices, seed): (&Choices, u64),
    ) -> Steps {
        let mut by_layer: Vec<(u32, Vec<f64>, Vec<f64>)> = Vec::new();
        for ((layers, visits), shares) in visits.iter().zip(all_shares(visits)) {
            by_layer.extend(layers.iter().map(|layer| (*layer, visits.clone(), shares.clone())));
        }
        by_layer.sort_by_key(|(layer, ..)| *layer);
        let shares: Vec<Vec<f64>> = by_layer.iter().map(|(_, _, shares)| shares.clone()).collect();
        let per_token = setting.experts.per_token as usize;
        let needs = drawn(&shares, (per_token, tokens), (choices.steps, seed));
        let visits = by_layer.into_iter().map(|(_, visits, _)| visits).collect();
        (needs, visits, vec![u32::try_from(tokens).unwrap_or(u32::MAX)], false)
    }

    /// Tokens of a step.
    fn tokens(&self, step: usize) -> u64 {
        self.tokens.get(step).or(self.tokens.first()).copied().unwrap_or(1).into()
    }

    /// Seconds that a device's link carries so many experts for.
    fn over_link_s(&self, experts: u16) -> f64 {
        let each =
            self.link.latency_ns * 1e-9 + self.weights.expert as f64 / self.link.bandwidth.get();
        f64::from(experts) * each
    }

    /// Seconds that all steps compute for, and those that they wait for experts.
    #[must_use]
    pub fn times(&self, setting: &Setting, holdings: &[Held]) -> [f64; 2] {
        let n_devices = self.problem.n_devices.max(1);
        let kinds: Vec<usize> = setting.model.kinds().collect();
        let homes = homes(setting.experts.n_experts as usize, n_devices);
        let mut prices: HashMap<(usize, Load), f64> = HashMap::new();
        let mut steps: Vec<_> = self.problem.needs.iter().map(Needs::steps).collect();
        let n_steps = self.problem.needs.first().map_or(0, Needs::n_steps);
        let (mut compute, mut exposed) = (0.0, 0.0);
        let mut fetched: Vec<Vec<_>> = holdings.iter().map(fetches).collect();
        let mut over = vec![OverLink::default(); n_devices];
        let mut local = vec![0_u64; n_devices];
        for step in 0..n_steps {
            let mut links = Links::new(n_devices);
            let tokens = self.tokens(step);
            let pairs = tokens.saturating_mul(setting.experts.per_token);
            for (at, (steps, fetched)) in steps.iter_mut().zip(&mut fetched).enumerate() {
                local.fill(0);
                for expert in steps.step().unwrap_or_default() {
                    local[homes[usize::from(*expert)]] += 1;
                }
                let kind = setting.layers.get(at).and_then(|layer| kinds.get(*layer as usize));
                let Some(group) = kind.and_then(|kind| setting.model.groups.get(*kind)) else {
                    continue;
                };
                let load = Load {
                    tokens: tokens.div_ceil(n_devices as u64),
                    pairs: pairs.div_ceil(n_devices as u64),
                    experts: local.iter().copied().max().unwrap_or_default(),
                };
                let price = || self.serving.layer_s(&group.card, load, self.weights.expert);
                let key = (kind.copied().unwrap_or_default(), load);
                let seconds = *prices.entry(key).or_insert_with(price);
                for (over, fetches) in over.iter_mut().zip(fetched) {
                    let fetched = fetches.next().unwrap_or_default();
                    over.ahead_s = self.over_link_s(fetched.ahead);
                    over.missed_s = self.over_link_s(fetched.missed);
                }
                compute += seconds;
                exposed += links.exposed_s(seconds, &over);
            }
        }
        [compute, exposed]
    }

    /// What is decided, and its figures.
    #[must_use]
    pub fn document(&self, setting: &Setting, holdings: &[Held]) -> ExpertsDocument {
        let n_devices = self.problem.n_devices;
        let homes = homes(setting.experts.n_experts as usize, n_devices);
        let device = |home: &usize| {
            let device = setting.cluster.devices.get(*home);
            vec![device.map(|device| device.name.clone()).unwrap_or_default()]
        };
        let layer = |(at, holding): (usize, &Held)| ExpertLayersDocument {
            layers: setting.layers.get(at).copied().into_iter().collect(),
            slots: holding.slots as u32,
            visits: self.visits.get(at).cloned().unwrap_or_default(),
            devices_of_expert: homes.iter().map(device).collect(),
            resident: resident(holding),
            prefetch: holding.prefetch.iter().map(|expert| u32::from(*expert)).collect(),
            cache: self
                .problem
                .needs
                .get(at)
                .map(|needs| cache(needs, holding, (&homes, n_devices))),
            ..ExpertLayersDocument::default()
        };
        let [compute_s, exposed_s] = self.times(setting, holdings);
        let slots: usize = holdings.iter().map(|holding| holding.slots).sum();
        let most = self.tokens.iter().copied().max().unwrap_or_default();
        ExpertsDocument {
            tokens: Some(u64::from(most).max(1)),
            groups: Some(1),
            layers: holdings.iter().enumerate().map(layer).collect(),
            host: Some(HostDocument {
                is_traced: self.is_traced,
                steps: self.problem.needs.first().map_or(0, Needs::n_steps) as u64,
                seed: self.problem.seed,
                link: self.link.name.clone(),
                bytes_per_s: self.link.bandwidth.get(),
                start_up_s: self.link.latency_ns * 1e-9,
                expert_bytes: self.weights.expert,
                memory_bytes: memory(&self.weights, slots, setting),
                compute_s,
                exposed_s,
                regrouped: None,
            }),
            ..ExpertsDocument::default()
        }
    }
}

impl Cached {
    /// Bytes of a device with so many slots.
    #[must_use]
    pub fn memory_of(&self, setting: &Setting, slots: usize) -> u64 {
        memory(&self.weights, slots, setting)
    }
}

/// What is decided of steps as they are, or with tokens in other places where that misses fewer, or as many
/// and fetches fewer; `None` where `hold` is told to stop.
#[must_use]
pub fn best(
    setting: &Setting,
    all: &[Cached],
    choices: &Choices,
    hold: &dyn Fn(&Problem) -> Option<Vec<Held>>,
) -> Option<ExpertsDocument> {
    let of = |cached: &Cached| Some(cached.document(setting, &hold(&cached.problem)?));
    let plain = of(all.first()?)?;
    let Some(regrouped) = all.get(1) else { return Some(plain) };
    let other = of(regrouped)?;
    let [in_order, changed] = [&plain, &other].map(sums);
    let is_done = (changed.missed, changed.ahead) < (in_order.missed, in_order.ahead);
    let mut found = if is_done { other } else { plain };
    if let Some(host) = &mut found.host {
        host.regrouped = Some(RegroupedDocument {
            steps: choices.regroup as u64,
            is_done,
            needed_in_order: in_order.needed,
            needed_at_least: regrouped.at_least.unwrap_or_default(),
            missed_in_order: in_order.missed,
        });
    }
    Some(found)
}

/// By device what a layer's steps fetch.
fn fetches(holding: &Held) -> Vec<impl Iterator<Item = Fetched> + '_> {
    holding.devices.iter().map(|device| device.fetched.iter()).collect()
}

/// Bytes of a device: all weights but the experts', slots, and a place for the expert that arrives where
/// any has to.
fn memory(weights: &Weights, slots: usize, setting: &Setting) -> u64 {
    let all =
        setting.layers.len() * (setting.experts.n_experts as usize).div_ceil(setting.host.len());
    let places = slots + usize::from(slots < all);
    weights.others.saturating_add(weights.expert.saturating_mul(places as u64))
}

/// What a layer holds at first, of all devices.
fn resident(holding: &Held) -> Vec<u32> {
    let all = holding.devices.iter().flat_map(|device| &device.resident);
    let mut all: Vec<u32> = all.map(|expert| u32::from(*expert)).collect();
    all.sort_unstable();
    all
}

/// What a layer's steps needed and fetched.
fn cache(needs: &Needs, holding: &Held, (homes, n_devices): (&[usize], usize)) -> CacheDocument {
    let mut local = vec![0_usize; n_devices];
    let mut waves = 0;
    needs.each(|_, step| {
        local.fill(0);
        step.iter().for_each(|expert| local[homes[usize::from(*expert)]] += 1);
        let most = local.iter().max().copied().unwrap_or_default();
        waves += most.div_ceil(holding.slots.max(1)) as u64;
    });
    CacheDocument {
        needed: needs.n_needed() as u64,
        missed: holding.devices.iter().map(|device| device.fetched.missed()).sum(),
        ahead: holding.devices.iter().map(|device| device.fetched.ahead()).sum(),
        waves,
    }
}

fn link(setting: &Setting) -> Result<RouteKind, Diagnostic> {
    let node = setting.cluster.devices.first().and_then(|device| device.node);
    let node = node.and_then(|node| setting.cluster.nodes.get(node.index()));
    node.and_then(|node| node.to_device.clone()).ok_or_else(|| {
        let message =
            "the cluster does not say by which link devices reach the memory of their host";
        Diagnostic::input("no-host-link", message)
            .hint("state it under `nodes`, such as `host: pcie4_x16`")
    })
}

/// Slots of a device: as they are stated, or as its memory holds.
fn room(setting: &Setting, stated: Option<usize>) -> Result<Room, Diagnostic> {
    let n_devices = setting.host.len();
    let n_experts = setting.experts.n_experts as usize;
    let per_token = setting.experts.per_token as usize;
    let n_layers = setting.layers.len();
    let weights = Weights::of(&setting.model, dtype(setting));
    let all = n_layers * n_experts.div_ceil(n_devices);
    let fewest = n_layers * least(n_experts, n_devices, per_token);
    let limits = setting.cluster.devices.iter().filter_map(ir::cluster::Device::memory_limit);
    let holds = limits.map(|limit| limit.get()).min().map_or(all, |limit| {
        let left = limit.saturating_sub(weights.others) / weights.expert.max(1);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        // One more where any has to arrive.
        if left >= all { all } else { left.saturating_sub(1) }
    });
    let refused = |code, message: String, hint: String| {
        Err(Diagnostic::usage(code, message)
            .fact("layers", n_layers)
            .fact("experts_per_token", per_token)
            .fact("expert_bytes", weights.expert)
            .fact("memory_holds", holds)
            .hint(hint))
    };
    let slots = stated.unwrap_or(holds);
    if holds < fewest {
        let message = format!(
            "a device's memory holds {holds} experts, and layers need {fewest}: the experts of \
             one token in each"
        );
        return refused("too-few-slots", message, "give devices with more memory".to_owned());
    }
    if slots < fewest {
        let message = format!(
            "{slots} slots of all layers, which need {fewest}: the experts of one token in each"
        );
        return refused("too-few-slots", message, format!("give slots={fewest} or more"));
    }
    if slots > holds {
        let what = if holds == all { "a device has" } else { "a device's memory holds" };
        let message = format!("{slots} slots, and {what} {holds} experts");
        return refused("too-many-slots", message, format!("give slots={holds} at most"));
    }
    Ok(Room { weights, slots, is_by_memory: stated.is_none() && slots < all })
}
