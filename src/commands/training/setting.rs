//! From flags and files to what a search over degrees needs.

use std::collections::BTreeSet;
use std::path::Path;

use cost_model::compute::peak;
use cost_model::layers::{self, LayerPricing};
use cost_model::pipeline::costs::PipelineCosts;
use cost_model::stack::{preset, presets};
use cost_model::training_memory::Reserve;
use cost_model::transformer::constants::Constants;
use cost_model::transformer::model::{Offload, Pricing, judged};
use cost_model::transformer::run::Gradients;
use cost_model::transformer::system::{System, measured_all_reduces};
use documents::digest;
use documents::plan::Reference;
use ir::card::{ModelCard, StateFormat};
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::layers::LayerProfile;
use ir::plan::Plan;
use ir::profile::Profile;
use ir::stack::Stack;
use ir::tensor::DType;
use ir::units::Bytes;
use planner::parallelism::search_3d::space::{Space, device_counts};

use super::model::{self, GraphFacts, Model};
use super::{pins, words};
use crate::cli::{PlanArgs, ProblemFlags};
use crate::load;

/// The stack where none is named.
const STACK: &str = "megatron-core";

/// Most samples of one step that are planned: a thousand times the largest published batches.
const MOST_SAMPLES: u64 = 1 << 24;

/// Model, devices and software of a training run.
pub(super) struct Setting {
    pub(super) model: ModelCard,
    /// Where the model is from a graph.
    pub(super) graph: Option<GraphFacts>,
    /// Of reading the model.
    pub(super) warnings: Vec<Diagnostic>,
    pub(super) cluster: Cluster,
    pub(super) profile: Profile,
    /// Measured layers, where `--profile` names a folder of them.
    pub(super) layers: Option<LayerProfile>,
    pub(super) system: System,
    pub(super) stack: Stack,
    constants: Constants,
    /// What a device may hold.
    pub(super) limit: Option<Bytes>,
    /// What hosts keep.
    pub(super) offload: Offload,
    pub(super) global_batch: u64,
    /// Tokens of a sample; 1 where it has none.
    pub(super) sequence: u64,
    /// Whether samples are of tokens.
    pub(super) has_tokens: bool,
}

impl Setting {
    /// Reads what the flags of `plan` name.
    ///
    /// # Errors
    /// Those of the readers, and `global-batch` where the step has no size.
    pub(super) fn of(args: &PlanArgs) -> Result<Self, Diagnostic> {
        let flags = &args.training;
        let model = model::read(&args.model, flags.sequence_length, &args.problem.model)?;
        let sequence = model.tokens.unwrap_or(1);
        let global_batch =
            match (flags.global_batch, flags.tokens_per_step, args.problem.model.batch) {
                (Some(batch), _, _) | (None, None, Some(batch)) => batch,
                (None, Some(tokens), _) if sequence > 0 && tokens.is_multiple_of(sequence) => {
                    tokens / sequence
                }
                (None, Some(tokens), _) => {
                    let message =
                        format!("{tokens} tokens are no whole number of samples of {sequence}");
                    return Err(Diagnostic::usage("global-batch", message)
                        .hint("give a multiple of --sequence-length"));
                }
                (None, None, None) => {
                    let message = "the samples of one step are not stated";
                    return Err(Diagnostic::usage("global-batch", message)
                        .hint("add --global-batch N or --tokens-per-step N"));
                }
            };
        if global_batch > MOST_SAMPLES {
            let message = format!("{global_batch} samples of one step, at most {MOST_SAMPLES}");
            return Err(Diagnostic::usage("global-batch", message));
        }
        let stack = flags.stack.as_deref().unwrap_or(STACK);
        let mut setting = Self::on(model, &args.problem, stack, global_batch)?;
        if let Some(most) = flags.max_memory_per_device {
            setting.limit = Some(setting.limit.map_or(most, |limit| limit.min(most)));
        }
        Ok(setting)
    }

    /// A model on the cluster that the flags name.
    ///
    /// # Errors
    /// Those of the readers; `no-cluster`, `no-system`, `unknown-stack`.
    pub(super) fn on(
        model: Model,
        flags: &ProblemFlags,
        stack: &str,
        global_batch: u64,
    ) -> Result<Self, Diagnostic> {
        let path = flags.cluster.as_deref().ok_or_else(|| {
            Diagnostic::usage("no-cluster", "neither a config nor a graph carries a cluster")
                .hint("add --cluster cluster.yaml")
        })?;
        let stack = preset(stack).ok_or_else(|| {
            let known = presets().map(|stack| stack.name).to_vec();
            Diagnostic::usage("unknown-stack", format!("`{stack}` is no software stack"))
                .fact("known", known)
                .hint("name one of these with --stack")
        })?;
        let cluster = load::cluster(path)?;
        let Model { card: model, graph, tokens, warnings } = model;
        // Samples without tokens are counted themselves.
        let sequence = tokens.unwrap_or(1);
        let (folder, file) = match flags.profile.as_deref() {
            Some(path) if importers::layers::is_folder(path) => (Some(path), None),
            path => (None, path),
        };
        let read = |folder| importers::layers::read(folder, sequence);
        let layers = folder.map(read).transpose()?;
        let profile = file.map(importers::profile::read).transpose()?;
        let (profile, cluster) = match profile {
            None => (Profile::default(), cluster),
            Some(profile) => {
                let (cluster, _) = importers::profile::rated(&profile, cluster)?;
                (profile, cluster)
            }
        };
        let system = system(&cluster, &profile, path)?;
        let limits = cluster.devices.iter().map(ir::cluster::Device::memory_limit);
        let limit = limits.flatten().min();
        let constants = Constants::nominal(&stack);
        let setting = Self {
            model,
            graph,
            warnings,
            cluster,
            profile,
            layers,
            system,
            stack,
            constants,
            limit,
            offload: Offload::Nothing,
            global_batch,
            sequence,
            has_tokens: tokens.is_some(),
        };
        setting.layer_pricing().map_or(Ok(()), |pricing| pricing.check())?;
        Ok(setting)
    }

    /// What prices its plans on measured layers, where there are any.
    pub(super) fn layer_pricing(&self) -> Option<LayerPricing<'_>> {
        Some(LayerPricing {
            profile: self.layers.as_ref()?,
            model: &self.model,
            per_host: u32::try_from(self.system.per_host).unwrap_or(u32::MAX),
            limit: self.limit,
            offload: self.offload,
        })
    }

    /// Costs of a plan for the judge, within a limit of each device.
    ///
    /// # Errors
    /// Those of [`judged::costs`] and [`layers::judged::costs`].
    pub(super) fn costs(
        &self,
        plan: &Plan,
        limit: Option<Bytes>,
    ) -> Result<PipelineCosts, Diagnostic> {
        match self.layer_pricing() {
            Some(pricing) => layers::judged::costs(&LayerPricing { limit, ..pricing }, plan),
            None => judged::costs(Pricing { limit, ..self.pricing() }, plan),
        }
    }

    /// Name and digest of what its costs were measured by.
    pub(super) fn measured_by(&self) -> Reference {
        match &self.layers {
            Some(layers) => Reference { name: layers.name.clone(), digest: digest::layers(layers) },
            None => Reference {
                name: self.profile.name.clone(),
                digest: digest::profile(&self.profile),
            },
        }
    }

    /// What prices its plans.
    pub(super) fn pricing(&self) -> Pricing<'_> {
        Pricing {
            model: &self.model,
            system: &self.system,
            stack: &self.stack,
            constants: &self.constants,
            gradients: Gradients::Half,
            format: StateFormat::Megatron,
            resident: Reserve::allocator_peak().allocator,
            limit: self.limit,
            offload: self.offload,
        }
    }

    /// What is searched.
    ///
    /// # Errors
    /// Those of the pins, and `device-count` for more devices than the cluster has.
    pub(super) fn space(&self, args: &PlanArgs) -> Result<Space, Diagnostic> {
        let has = u32::try_from(self.cluster.devices.len()).unwrap_or(u32::MAX);
        let per_host = u32::try_from(self.system.per_host).unwrap_or(u32::MAX);
        let devices = match &args.training.devices {
            None => vec![has],
            Some(range) if *range.end() > has => {
                let message = format!("the cluster has {has} devices, fewer than {}", range.end());
                return Err(Diagnostic::usage("device-count", message)
                    .hint("name at most as many with --devices"));
            }
            Some(range) if range.start() == range.end() => vec![*range.start()],
            Some(range) => device_counts(range, per_host),
        };
        let pins = words::limited(pins::of(&args.problem.pin)?, args.executor)?;
        Ok(Space { devices, global_batch: self.global_batch, pins })
    }

    /// What the samples of a step are counted in: tokens, where the model has any.
    pub(super) fn unit(&self) -> &'static str {
        if self.has_tokens { "tokens" } else { "samples" }
    }

    /// Peak operations of one device per second, in 16 bits.
    pub(super) fn peak(&self) -> f64 {
        peak(&self.system.device, DType::Bf16).map_or(f64::NAN, |(_, rate)| rate.get())
    }
}

fn system(cluster: &Cluster, profile: &Profile, path: &Path) -> Result<System, Diagnostic> {
    let unusable = |message: &str| {
        let file = path.display().to_string();
        Diagnostic::input("no-system", message).fact("file", file)
    };
    let kinds: BTreeSet<&str> =
        cluster.device_ids().map(|device| cluster.kind_of(device).name.as_str()).collect();
    let (Some(kind), 1) = (kinds.first(), kinds.len()) else {
        let named: Vec<String> = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        return Err(unusable("training runs are planned on clusters of one kind of device")
            .fact("kinds", named));
    };
    let sheet = cluster.kinds.iter().find(|sheet| sheet.name == *kind);
    let has_no_rate = |sheet: &ir::cluster::DeviceKind| {
        sheet.memory_bandwidth.is_none() || peak(sheet, DType::Bf16).is_none()
    };
    if sheet.is_none_or(has_no_rate) {
        return Err(unusable("the device has no peak rate or no memory bandwidth")
            .fact("device", (*kind).to_owned()));
    }
    System::of(cluster, profile, measured_all_reduces(profile, kind))
        .ok_or_else(|| unusable("the cluster has no device, or no way between two of them"))
}
