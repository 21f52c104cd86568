//! Copies of experts on devices, layer by layer.

use ir::card::ModelCard;
use ir::cluster::Cluster;
use ir::profile::Profile;
use ir::workload::{Mode, StepPhase};
use serde::{Deserialize, Serialize};

use super::disaggregated::{DisaggregatedDocument, PieceSecondsDocument};
use super::head::Head;
use super::nano_batches::{NanoBatchesDocument, ServingDocument};
pub use super::phase::PhaseDocument;
use super::request::RequestDocument;
use super::{CellDocument, CostDocument, ModeDocument, PlanDocument, Reference, WorkloadDocument};
use crate::digest;

/// Layers that are planned alike. Expert placement has loads and bounds, overlap `r_fwd` and what follows,
/// expert offload `resident`, `prefetch` and `cache`, disaggregation `piece_seconds`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct ExpertLayersDocument {
    /// Positions of the layers in the model, from 0.
    pub layers: Vec<u32>,
    /// Experts that each device holds of one of these layers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub slots: u32,
    /// Routed tokens of each expert, in any unit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub visits: Vec<f64>,
    /// By expert the devices of its copies, each as often as it holds one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices_of_expert: Vec<Vec<String>>,
    /// Share of a layer's routed tokens on the busiest device, where those of an expert are split
    /// equally over its copies.
    #[serde(default, skip_serializing_if = "is_default")]
    pub greatest_load: f64,
    /// Share that no placement in these slots is below.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bound: f64,
    /// Which bound it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bound_method: String,
    /// Parts that tokens go through the experts in, forward; 0 where the layers have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r_fwd: Option<u32>,
    /// The same of the backward pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r_bwd: Option<u32>,
    /// Bytes of gradients that are summed up beside the backward pass of the experts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_bytes: Option<u64>,
    /// The same beside that of all else in a layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others_gradient_bytes: Option<u64>,
    /// Experts in the slots of their devices before the first step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resident: Vec<u32>,
    /// Experts that are not, in the order in which they are fetched ahead for the first time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefetch: Vec<u32>,
    /// What steps need of the layer, and fetch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheDocument>,
    /// Seconds of the pieces of one of these layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub piece_seconds: Option<PieceSecondsDocument>,
    /// How their samples go through them, and what takes how long then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nano_batches: Option<NanoBatchesDocument>,
}

/// Whether a member stands for nothing.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What steps need of a layer, and fetch from the memory of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct CacheDocument {
    /// Experts that steps need, each once a step, summed over steps.
    pub needed: u64,
    /// Of these, experts that are not in slots when the layer begins.
    pub missed: u64,
    /// Experts that are fetched before the layer begins.
    pub ahead: u64,
    /// Turns in which the experts of a step go through the slots of the device that has most of them,
    /// summed over steps.
    pub waves: u64,
}

/// Experts in the memory of a host, from which its devices fetch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct HostDocument {
    /// Whether steps are those of a trace; else they are drawn.
    pub is_traced: bool,
    /// Steps.
    pub steps: u64,
    /// Of what is drawn.
    pub seed: u64,
    /// Link between a device and the host's memory.
    pub link: String,
    /// Its rate, in one direction.
    pub bytes_per_s: f64,
    /// Seconds before the first byte of an expert arrives.
    pub start_up_s: f64,
    /// Weights of one expert.
    pub expert_bytes: u64,
    /// Weights on a device: slots, room for the expert that arrives, and all that are no experts.
    pub memory_bytes: u64,
    /// Seconds that all steps compute for in these layers.
    pub compute_s: f64,
    /// Seconds that they wait for experts.
    pub exposed_s: f64,
    /// Where tokens of several steps may change places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regrouped: Option<RegroupedDocument>,
}

/// Steps of a trace whose tokens may change places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct RegroupedDocument {
    /// So many steps that follow each other: a step begins with the first token that is left of theirs,
    /// and takes those that add fewest experts to it, the first of several, up to its number of tokens.
    pub steps: u64,
    /// Whether they do: whether that misses fewer, or as many and fetches fewer.
    pub is_done: bool,
    /// Experts that the steps of the trace need as they are.
    pub needed_in_order: u64,
    /// Experts that no places need less than.
    pub needed_at_least: u64,
    /// Experts that are missed as the steps are.
    pub missed_in_order: u64,
}

/// Expert placement: nothing in other plans.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "an object")]
pub struct ExpertsDocument {
    /// What a step does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<PhaseDocument>,
    /// Tokens of a sample, where they were stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence_length: Option<u64>,
    /// Tokens that go through each layer in a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Groups of experts that stay on one host each; 1 = experts may be anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<u32>,
    /// Where experts lie in the memory of the host, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostDocument>,
    /// Where attention and experts lie on devices of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disaggregated: Option<DisaggregatedDocument>,
    /// Where pieces of a serving step run beside each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<ServingDocument>,
    /// All layers of experts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<ExpertLayersDocument>,
}

/// What a placement of experts was made of and for.
#[derive(Clone, Copy, Debug)]
pub struct ExpertsContext<'a> {
    /// The model.
    pub model: &'a ModelCard,
    /// The cluster, all of whose devices hold experts.
    pub cluster: &'a Cluster,
    /// What a step does.
    pub phase: StepPhase,
    /// Samples of a step.
    pub batch: u64,
    /// What was asked for.
    pub request: &'a RequestDocument,
    /// What was minimised.
    pub objective: &'a str,
    /// The row that placed them.
    pub algorithm: &'a str,
}

impl PlanDocument {
    /// The document of a placement of experts.
    #[must_use]
    pub fn from_experts(experts: ExpertsDocument, context: &ExpertsContext<'_>) -> Self {
        let profile = Profile::default();
        let n_devices = u32::try_from(context.cluster.devices.len()).unwrap_or(u32::MAX);
        let mode = match context.phase.mode() {
            Mode::Training => ModeDocument::Training,
            Mode::Inference => ModeDocument::Inference,
        };
        let mut plan = Self::new(Head {
            model: Reference::new(&context.model.name, digest::card(context.model)),
            cluster: Reference::new(&context.cluster.name, digest::cluster(context.cluster)),
            profile: Reference::new(&profile.name, digest::profile(&profile)),
            workload: WorkloadDocument::of(mode, context.batch),
            request: context.request.clone(),
            objective: context.objective.to_owned(),
            algorithm: context.algorithm.to_owned(),
        });
        plan.parallelism.expert = n_devices;
        plan.experts = ExpertsDocument { phase: Some(context.phase.into()), ..experts };
        plan
    }

    /// The document of a plan of parts: pieces on streams.
    #[must_use]
    pub fn from_streams(
        experts: ExpertsDocument,
        cells: Vec<CellDocument>,
        (hosts, per_host): (u32, u32),
        (profile, cost): (&Profile, CostDocument),
        context: &ExpertsContext<'_>,
    ) -> Self {
        let mut plan = Self::from_experts(experts, context);
        plan.profile = Reference::new(&profile.name, digest::profile(profile));
        (plan.parallelism.data, plan.parallelism.expert) = (hosts, hosts);
        plan.parallelism.tensor = per_host;
        plan.schedule.cells = cells;
        plan.cost = Some(cost);
        plan
    }
}

/// A placement of experts in figures. Loads are those of the device that has most in each layer, over
/// the mean of all devices, and the mean of all layers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExpertsFigures {
    /// Layers of experts.
    pub n_layers: u64,
    /// Greatest loads, in means.
    pub load: f64,
    /// What no placement is below, in means.
    pub bound: f64,
    /// `load / bound - 1`.
    pub gap: f64,
    /// Greatest loads as `eplb` places the same experts, in means.
    pub eplb_load: f64,
    /// Routed tokens (pairs of a token and an expert) of the busiest devices, of all layers in a step.
    pub busiest_visits: f64,
    /// The same if all devices had as many.
    pub even_visits: f64,
}

/// Expert offload in figures; those of layers and seconds are in the plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SlotsFigures {
    /// Layers of experts.
    pub n_layers: u64,
    /// Share of the experts that steps need which lie in slots when a layer begins.
    pub hit_ratio: f64,
    /// Experts that are fetched when they are needed, of all steps and layers.
    pub missed: u64,
    /// Experts that are fetched before they are needed.
    pub ahead: u64,
    /// Seconds that a step waits for experts, the mean of all.
    pub exposed_s: f64,
    /// Weights on a device.
    pub memory_bytes: u64,
}
