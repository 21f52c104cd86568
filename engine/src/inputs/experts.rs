//! What experts are placed on: the layers of a model that have some, devices with slots.

use std::collections::BTreeMap;
use std::path::Path;

use cost_model::experts::{Shape, shares, skewed};
use ir::card::{ExpertCard, ModelCard, Skew};
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::workload::StepPhase;

use super::routing::Routing;
use crate::answer::words::ranges;
use crate::inputs::load;
use crate::inputs::run::model;
use crate::request::{ExpertSkew, ModelRequest};

/// Most devices that experts are placed on.
const MOST_DEVICES: usize = 4096;
/// Most samples of one step.
const MOST_SAMPLES: u64 = 1 << 32;

/// A model with experts on devices of one kind.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The model.
    pub model: ModelCard,
    /// The cluster.
    pub cluster: Cluster,
    /// Of reading.
    pub warnings: Vec<Diagnostic>,
    /// Positions of the MoE layers, without MTP layers.
    pub layers: Vec<u32>,
    /// Their experts.
    pub experts: ExpertCard,
    /// By device the number of its host.
    pub host: Vec<usize>,
    /// Tokens of a sample.
    pub sequence: u64,
}

/// Layers that are visited alike, and how often each expert is.
pub type Visits = Vec<(Vec<u32>, Vec<f64>)>;

impl Setting {
    /// Reads a model, of samples of so many tokens where they are stated, and a cluster.
    ///
    /// # Errors
    /// Those of the readers; `no-cluster`, `no-experts`, `experts-differ`, `unlike-devices`,
    /// `device-count`.
    pub fn read(
        (path, flags, sequence): (&Path, &ModelRequest, Option<u64>),
        cluster: Option<&Path>,
    ) -> Result<Self, Diagnostic> {
        let file = cluster.ok_or_else(|| {
            Diagnostic::usage("no-cluster", "experts are placed on the devices of a cluster")
                .hint("add --cluster cluster.yaml")
        })?;
        let read = model::served((path, sequence), flags, None)?;
        let (cluster, strange) = load::cluster(file)?;
        let mut warnings = read.warnings;
        warnings.extend(strange);
        let (layers, experts) = layers(&read.card, &mut warnings)?;
        let host = hosts(&cluster)?;
        let sequence = read.tokens.unwrap_or(1);
        Ok(Self { model: read.card, cluster, warnings, layers, experts, host, sequence })
    }

    /// Refuses experts of several sizes, as checkpoints hold them that are quantised in part.
    ///
    /// # Errors
    /// `experts-differ`.
    pub fn check_sizes(&self) -> Result<(), Diagnostic> {
        let Some(stored) = self.model.weights() else { return Ok(()) };
        let n_experts = self.experts.n_experts.max(1);
        let sizes = |layer: &u32| {
            let block = stored.block(*layer as usize);
            [block.largest_expert, block.experts.bytes / n_experts]
        };
        let Some([largest, _]) = self.layers.first().map(sizes) else { return Ok(()) };
        let other =
            self.layers.iter().find(|layer| sizes(layer).iter().any(|bytes| *bytes != largest));
        let Some(layer) = other else { return Ok(()) };
        let message = "experts of several sizes are not planned: some are quantised and others not";
        let by_bytes = sizes(layer).into_iter().find(|bytes| *bytes != largest).unwrap_or_default();
        Err(Diagnostic::input("experts-differ", message)
            .fact("expert_bytes_first", largest)
            .fact("expert_bytes_other", by_bytes)
            .fact("layer", u64::from(*layer))
            .hint("place the operators of the model instead, without --phase and --algorithm"))
    }

    /// Tokens that go through each layer in a step.
    ///
    /// # Errors
    /// `batch` where they are too many to count.
    pub fn tokens(&self, phase: StepPhase, batch: u64) -> Result<u64, Diagnostic> {
        if batch > MOST_SAMPLES {
            let message = format!("{batch} samples of one step, at most {MOST_SAMPLES}");
            return Err(Diagnostic::usage("batch", message).hint("state fewer with --batch"));
        }
        Ok(phase.tokens(batch, self.sequence))
    }

    /// Slots of each device and groups on hosts; as few slots as hold all experts where none are
    /// stated.
    ///
    /// # Errors
    /// `too-few-slots`, `too-many-slots`, `bad-groups`.
    pub fn shape(&self, slots: Option<usize>, groups: usize) -> Result<Shape, Diagnostic> {
        let (n_experts, n_devices) = (self.experts.n_experts as usize, self.host.len());
        let least = n_experts.div_ceil(n_devices);
        let slots = slots.unwrap_or(least);
        let refused = |code, message: String, hint: String| {
            Err(Diagnostic::usage(code, message)
                .fact("experts", n_experts)
                .fact("devices", n_devices)
                .hint(hint))
        };
        if slots < least {
            let message = format!(
                "{slots} slots on each of {n_devices} devices hold {} of {n_experts} experts",
                slots * n_devices
            );
            return refused("too-few-slots", message, format!("give slots={least} or more"));
        }
        if slots > n_experts {
            let message = format!("{slots} slots on a device, and a layer has {n_experts} experts");
            return refused("too-many-slots", message, format!("give slots={n_experts} at most"));
        }
        let shape = Shape { host: self.host.clone(), slots, groups };
        if groups <= 1 {
            return Ok(shape);
        }
        let n_hosts = shape.n_hosts();
        let of = |host| shape.host.iter().filter(|other| **other == host).count();
        let is_even = (0..n_hosts).all(|host| of(host) == of(0));
        if !is_even || !n_experts.is_multiple_of(groups) || !groups.is_multiple_of(n_hosts) {
            let message = format!(
                "{groups} groups of {n_experts} experts do not lie evenly on {n_hosts} hosts"
            );
            let hint = "groups have as many experts each, hosts as many groups and devices each: \
                        leave groups out to let experts lie anywhere";
            return refused("bad-groups", message, hint.to_owned());
        }
        // Slots of a host hold its own experts alone.
        let of_host = n_experts / n_hosts;
        if slots * of(0) < of_host {
            let least = of_host.div_ceil(of(0));
            let message = format!("{slots} slots do not hold the {of_host} experts of a host");
            return refused("too-few-slots", message, format!("give slots={least} or more"));
        }
        Ok(shape)
    }

    /// Routed tokens by layer.
    ///
    /// # Errors
    /// Those of the file; `bad-histogram` where it is not of this model.
    pub fn visits(&self, skew: Option<&ExpertSkew>) -> Result<Visits, Diagnostic> {
        match skew {
            None => Ok(vec![(self.layers.clone(), self.law(Skew::Balanced))]),
            Some(ExpertSkew::Law(skew)) => Ok(vec![(self.layers.clone(), self.law(*skew))]),
            Some(ExpertSkew::File(file)) => self.recorded(file),
        }
    }

    /// Routed tokens by layer, as a trace counts them.
    ///
    /// # Errors
    /// Those of [`Routing::read`]; `two-sources` where a distribution is stated, too.
    pub fn traced(&self, skew: Option<&ExpertSkew>, file: &Path) -> Result<Visits, Diagnostic> {
        check_sources(skew)?;
        let routing = Routing::read(self, file)?;
        Ok(alike(self.layers.iter().copied().zip(routing.visits)))
    }

    /// Experts of a layer.
    ///
    /// # Errors
    /// `too-many-experts`.
    pub fn n_experts(&self) -> Result<u16, Diagnostic> {
        u16::try_from(self.experts.n_experts).map_err(|_| {
            let message = format!("layers have {} experts", self.experts.n_experts);
            Diagnostic::input("too-many-experts", message)
                .hint(format!("steps are looked at of {} experts at most", u16::MAX))
        })
    }

    /// Routed tokens of a layer's experts by a law.
    #[must_use]
    pub fn law(&self, skew: Skew) -> Vec<f64> {
        skewed(skew, self.experts.n_experts as usize, self.experts.per_token)
    }

    fn recorded(&self, file: &Path) -> Result<Visits, Diagnostic> {
        let histogram = importers::histogram::read(file)?;
        let bad = |message: String| {
            Err(Diagnostic::input("bad-histogram", message)
                .fact("file", file.display().to_string())
                .hint("give the routed tokens of every MoE layer, by its position from 0"))
        };
        if let Some(layer) = histogram.keys().find(|layer| !self.layers.contains(layer)) {
            return bad(format!("layer {layer} of the histogram has no experts in the model"));
        }
        let missing: Vec<u32> = self
            .layers
            .iter()
            .filter(|own_layer| !histogram.contains_key(own_layer))
            .copied()
            .collect();
        if !missing.is_empty() {
            return bad(format!("the histogram lacks the layers {}", ranges(&missing)));
        }
        let n = self.experts.n_experts;
        if let Some((layer, visits)) = histogram.iter().find(|(_, visits)| visits.len() as u64 != n)
        {
            let found = format!("layer {layer} of the histogram has {} experts", visits.len());
            return bad(format!("{found}, and the model {n}"));
        }
        Ok(alike(histogram))
    }
}

/// Routed tokens that no router makes: a token goes to an expert once at most.
#[must_use]
pub fn impossible(visits: &Visits, experts: &ExpertCard) -> Option<Diagnostic> {
    let most = 1.0 / experts.per_token.max(1) as f64;
    let found = visits.iter().find_map(|(layers, visits)| {
        let shares = shares(visits)?;
        let (expert, share) = (0..).zip(&shares).max_by(|a: &(u32, &f64), b| a.1.total_cmp(b.1))?;
        (*share > most * (1.0 + 1e-9)).then_some((layers.clone(), expert, *share))
    });
    found.map(|(layers, expert, share)| {
        let message = format!(
            "expert {expert} of layers {} gets {:.1} % of the routed tokens; with {} experts per token \
             none gets more than {:.1} %",
            ranges(&layers),
            100.0 * share,
            experts.per_token,
            100.0 * most
        );
        Diagnostic::warning("impossible-visits", message)
            .hint("count each token once for each expert that it goes to")
    })
}

/// Layers with their routed tokens; layers of one histogram are placed once.
fn alike(layers: impl IntoIterator<Item = (u32, Vec<f64>)>) -> Visits {
    let mut alike: Visits = Vec::new();
    let mut at: BTreeMap<Vec<u64>, usize> = BTreeMap::new();
    for (layer, visits) in layers {
        let bits = visits.iter().map(|count| count.to_bits()).collect();
        let index = *at.entry(bits).or_insert(alike.len());
        match alike.get_mut(index) {
            Some((layers, _)) => layers.push(layer),
            None => alike.push((vec![layer], visits)),
        }
    }
    alike
}

/// Refuses a distribution beside a trace, which counts routed tokens.
///
/// # Errors
/// `two-sources`.
pub fn check_sources(skew: Option<&ExpertSkew>) -> Result<(), Diagnostic> {
    if skew.is_none() {
        return Ok(());
    }
    let message = "`--expert-skew` has no effect: `--routing-trace` counts the routed tokens";
    Err(Diagnostic::usage("two-sources", message).hint("leave out --expert-skew"))
}

/// Shares of each entry's experts, which were checked when they were read.
#[must_use]
pub fn all_shares(visits: &[(Vec<u32>, Vec<f64>)]) -> Vec<Vec<f64>> {
    visits.iter().map(|(_, visits)| shares(visits).unwrap_or_default()).collect()
}

/// Layers with experts, and these.
fn layers(
    model: &ModelCard,
    warnings: &mut Vec<Diagnostic>,
) -> Result<(Vec<u32>, ExpertCard), Diagnostic> {
    let n_own = model.n_blocks().saturating_sub(model.n_predictions.saturating_sub(1));
    let of = |kind: usize| model.groups.get(kind).and_then(|group| group.card.experts);
    let all: Vec<(u32, ExpertCard)> =
        (0..).zip(model.kinds()).filter_map(|(layer, kind)| Some((layer, of(kind)?))).collect();
    let (placed, later): (Vec<_>, Vec<_>) = all.into_iter().partition(|(layer, _)| *layer < n_own);
    let Some((_, experts)) = placed.first().copied() else {
        let message = "the model has no experts that could be placed";
        return Err(Diagnostic::usage("no-experts", message)
            .hint("give a model with experts, or leave --algorithm out"));
    };
    let shape = |card: &ExpertCard| (card.n_experts, card.per_token);
    if let Some((layer, _)) = placed.iter().find(|(_, other)| shape(other) != shape(&experts)) {
        let message = format!("layer {layer} has another number of experts than the first ones");
        return Err(Diagnostic::input("experts-differ", message));
    }
    if !later.is_empty() {
        let layers: Vec<u32> = later.iter().map(|(layer, _)| *layer).collect();
        let message =
            format!("multi-token-prediction (MTP) layers {} are not placed", ranges(&layers));
        warnings.push(Diagnostic::warning("not-placed", message));
    }
    Ok((placed.into_iter().map(|(layer, _)| layer).collect(), experts))
}

/// By device the number of its host, in the order of the cluster.
fn hosts(cluster: &Cluster) -> Result<Vec<usize>, Diagnostic> {
    let mut kinds: Vec<String> =
        cluster.device_ids().map(|device| cluster.kind_of(device).name.clone()).collect();
    kinds.sort();
    kinds.dedup();
    if kinds.len() != 1 {
        let message = "experts are placed on devices of one kind, all of which hold some";
        return Err(Diagnostic::input("unlike-devices", message)
            .fact("kinds", kinds)
            .hint("give a cluster of the devices that hold experts"));
    }
    if cluster.devices.len() > MOST_DEVICES {
        let message = format!("experts are placed on {MOST_DEVICES} devices at most");
        return Err(
            Diagnostic::usage("device-count", message).fact("devices", cluster.devices.len())
        );
    }
    let mut numbers = BTreeMap::new();
    let number = |device: &ir::cluster::Device| {
        let next = numbers.len();
        *numbers.entry(device.node).or_insert(next)
    };
    Ok(cluster.devices.iter().map(number).collect())
}
