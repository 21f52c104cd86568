//! From flags and files to what a search over degrees needs.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use cost_model::energy::limited;
use cost_model::kernels::plain_product::peak;
use cost_model::runs::forms::constants::{Constant, Constants};
use cost_model::runs::forms::corrections::Corrections;
use cost_model::runs::forms::hosts;
use cost_model::runs::forms::model::{Offload, Pricing, shape};
use cost_model::runs::forms::system::System;
use cost_model::runs::judge::costs::PipelineCosts;
use cost_model::runs::measured::LayerPricing;
use cost_model::runs::oracle::{self, StageOracle};
use cost_model::runs::unlike::{Fleet, NodeGroup, groups_of};
use documents::plan::losses::ReplacedDocument;
use documents::plan::request::RequestDocument;
use exporters::training::Lack;
use ir::card::{ModelCard, SequenceParallel, Skew};
use ir::cluster::{Cluster, Device, DeviceKind};
use ir::diagnostic::Diagnostic;
use ir::hyperparameters::Hyperparameters;
use ir::layers::LayerProfile;
use ir::plan::Plan;
use ir::profile::Profile;
use ir::stack::Stack;
use ir::units::Bytes;
use planner::training::search_3d::space::{Capabilities, Pins, Space, device_counts};

use super::model::{self, GraphFacts, Model};
use super::numbers::Numbers;
use super::{capabilities, edges, global_batch, measured, pins, tuned};
use crate::answer::energy;
use crate::inputs::{asked, load, scale};
use crate::request::executor::{self, Executor};
use crate::request::fields;
use crate::request::value::Written;
use crate::request::{PlanRequest, ProblemRequest};

/// The stack where none is named and all is trained.
pub const STACK: &str = "megatron-core";

/// Most samples of one step that are planned: a thousand times the largest published batches.
pub const MOST_SAMPLES: u64 = 1 << 24;

/// Most passes of a schedule that is judged, over all ranks: those of a million micro-batches on 16.
pub(crate) const MOST_PASSES: u64 = 1 << 25;

/// Model, devices and software of a training run.
#[derive(Clone)]
pub struct Setting {
    /// The model.
    pub model: ModelCard,
    /// Where the model is from a graph.
    pub graph: Option<GraphFacts>,
    /// How the model is built, where it is from a config.
    pub hyperparameters: Option<Hyperparameters>,
    /// Of reading the model.
    pub warnings: Vec<Diagnostic>,
    /// The cluster.
    pub cluster: Cluster,
    /// With its spares, where it has some.
    pub whole: Option<Arc<Cluster>>,
    /// With those that are left out, where others were lost.
    pub(crate) left: Option<Arc<Cluster>>,
    /// The plan that is gone on from, where devices were lost.
    pub replaced: Option<Arc<ReplacedDocument>>,
    /// That plan, with others in the places of those that were lost.
    pub stand_in: Option<Arc<Plan>>,
    /// Of what goes between stages, the least share of elements that is sent; `None` = all are.
    pub edge_density: Option<f64>,
    /// Whether its documents state moves and failover targets.
    pub tells_losses: bool,
    /// What was measured of it.
    pub profile: Profile,
    /// Measured layers, where `--profile` names a folder of them.
    pub layers: Option<LayerProfile>,
    /// Devices and links as the step model sees them.
    pub system: System,
    /// The software.
    pub stack: Stack,
    pub(super) constants: Constants,
    pub(super) corrections: Corrections,
    /// What it computes in.
    pub numbers: Numbers,
    /// What a device may hold.
    pub limit: Option<Bytes>,
    /// What hosts keep.
    pub offload: Offload,
    /// Samples of one step.
    pub global_batch: u64,
    /// Tokens of a sample; 1 where it has none.
    pub sequence: u64,
    /// Whether samples are of tokens.
    pub has_tokens: bool,
    /// What was asked for.
    pub request: RequestDocument,
    /// The model as it was read, where that may serve again.
    pub(super) source: Option<Arc<Model>>,
}

impl Setting {
    /// Reads what the flags of `plan` name.
    ///
    /// # Errors
    /// Those of the readers, and `global-batch` where the step has no size.
    pub fn of(args: &PlanRequest) -> Result<Self, Diagnostic> {
        let flags = (args.training.sequence_length, &args.problem.model);
        Self::of_model(args, Arc::new(model::read(&args.model, flags.0, flags.1)?))
    }

    /// The same for another request of the same model, which is not read again.
    ///
    /// # Errors
    /// Those of [`Self::of`].
    pub fn again(&self, args: &PlanRequest) -> Result<Self, Diagnostic> {
        self.source.clone().map_or_else(|| Self::of(args), |source| Self::of_model(args, source))
    }

    fn of_model(args: &PlanRequest, source: Arc<Model>) -> Result<Self, Diagnostic> {
        let flags = &args.training;
        let mut model = Model::clone(&source);
        let sequence = model.tokens.unwrap_or(1);
        let global_batch = global_batch::samples(args, model.tokens, model.graph.is_some())?;
        if global_batch > MOST_SAMPLES {
            let message = format!("{global_batch} samples of one step, at most {MOST_SAMPLES}");
            return Err(Diagnostic::usage("global-batch", message));
        }
        if flags.sequence_length.is_none() && model.tokens.is_some() && model.graph.is_none() {
            let message = format!("samples of {sequence} tokens are assumed");
            model.warnings.push(
                Diagnostic::warning("assumed-length", message)
                    .hint("state the length of a sample with --sequence-length"),
            );
        }
        let usual = tuned::usual_stack(args);
        let stack = flags.stack.as_deref().unwrap_or(usual);
        let stated = model.card.dtype;
        let launcher = tuned::launcher_of_types(args);
        let (mut problem, replaced) = capabilities::typed(&args.problem, stated, launcher)?;
        if args.executor.is_none() && replaced.is_some() {
            model.card.dtype = problem.model.dtype.take();
        }
        let sharded = std::mem::take(&mut model.pins);
        let mut setting = Self::on(model, &problem, stack, global_batch)?;
        if flags.stack.is_none() {
            setting.warnings.extend(executor::dated_stack(args.executor, stack));
        }
        if let Some(replaced) = replaced.filter(|_| Some(setting.numbers.dtype) != stated) {
            setting.numbers.named_by = args.executor.map_or("launcher", |_| "--for");
            setting.warnings.push(replaced);
        }
        let mut request = asked::of_training(args)?;
        request.pin = pins::with(request.pin, sharded);
        setting.ask(request)?;
        setting.source = Some(source);
        setting.edge_density = edges::asked(&args.allow_lossy)?;
        Ok(setting)
    }

    /// The same, whose documents say nothing of elastic devices: those on the way to a plan.
    pub fn on_the_way(&self) -> Self {
        Self { tells_losses: false, ..self.clone() }
    }

    /// The same where a constant is so many times as large.
    pub fn scaled(&self, constant: Constant, factor: f64) -> Self {
        let value = self.constants.get(constant) * factor;
        let constants = self.constants.clone().with(constant, value);
        Self { constants, ..self.clone() }
    }

    /// The same where hosts keep something else.
    pub fn keeping(&self, offload: Offload) -> Self {
        Self { offload, ..self.clone() }
    }

    /// Takes on what was asked for: of each device's memory a share stays free, and no more than
    /// was allowed is used; experts are visited as unevenly as was stated.
    ///
    /// # Errors
    /// `bad-plan` for a skew that is none, or of a model without experts.
    pub fn ask(&mut self, request: RequestDocument) -> Result<(), Diagnostic> {
        energy::check(&request, &self.cluster)?;
        if let Some(text) = &request.expert_skew {
            self.skew(text)?;
        }
        tuned::tune(self, (request.adapter.as_deref(), request.freeze.as_deref()))?;
        self.request = request;
        self.keep_margin();
        let request = &self.request;
        let most = request.devices.map_or(usize::MAX, |[_, most]| most as usize);
        let used = self.cluster.devices.iter().take(most);
        let room = used.filter_map(Device::memory_limit).min().map(|limit| self.less(limit));
        if let (Some(stated), Some(room)) = (request.max_memory_bytes.map(Bytes), room)
            && stated > room
        {
            let message =
                format!("`--max-memory-per-device` allows {stated}, but a device has {room}");
            let warning = Diagnostic::warning("no-effect", message);
            self.warnings.push(warning.hint("the margin, --memory-margin, is taken off before"));
        }
        self.limit = room.into_iter().chain(request.max_memory_bytes.map(Bytes)).min();
        self.fit_stack();
        Ok(())
    }

    fn skew(&mut self, text: &str) -> Result<(), Diagnostic> {
        let skew = Skew::read(text).map_err(|needed| {
            let message = format!("invalid expert distribution `{text}`: it {needed}");
            Diagnostic::input("bad-plan", message).fact("member", "request.expert_skew")
        })?;
        let groups = self.model.groups.iter_mut();
        let experts: Vec<_> = groups.filter_map(|group| group.card.experts.as_mut()).collect();
        if experts.is_empty() && skew != Skew::Balanced {
            let message = "`--expert-skew` means nothing for a model without experts";
            return Err(Diagnostic::usage("no-experts", message).hint("leave it out"));
        }
        for card in experts {
            card.skew = skew;
        }
        Ok(())
    }

    /// A model on the cluster that the flags name.
    ///
    /// # Errors
    /// Those of the readers; `no-cluster`, `no-system`, `unknown-stack`.
    pub fn on(
        model: Model,
        flags: &ProblemRequest,
        stack: &str,
        global_batch: u64,
    ) -> Result<Self, Diagnostic> {
        let path = flags.cluster.as_deref().ok_or_else(no_cluster)?;
        let machines = load::machines(path, gone(flags))?;
        let load::Machines { cluster, whole, left, warnings: of_machines } = machines;
        let Model { card: model, graph, hyperparameters, tokens, mut warnings, .. } = model;
        let sequence = tokens.unwrap_or(1);
        let (folder, file) = folder_or_file(flags.profile.as_deref());
        let layers = folder.map(|folder| measured_layers(folder, sequence, flags)).transpose()?;
        let (profile, cluster, unused) = load::rated(file, &factors(flags), cluster)?;
        let rated = |cluster: Cluster| Ok(Arc::new(load::rated(file, &factors(flags), cluster)?.1));
        let (whole, left) = (whole.map(rated).transpose()?, left.map(rated).transpose()?);
        warnings.extend(of_machines.into_iter().chain(unused));
        let kinds = kinds(&cluster, path, layers.is_some())?;
        let stack = executor::stack_on(stack, &cluster)?;
        let (numbers, noted) = numbers(flags, &model, &kinds, layers.as_ref())?;
        let none = || unusable(path, "the cluster has no device");
        let system = System::of(&cluster, &profile).ok_or_else(none)?;
        if file.is_some() {
            warnings.extend(measured::unused(&profile, (&stack, &system, numbers.dtype)));
            warnings.extend(measured::doubted(&profile, (&stack, &system), &model));
        }
        warnings.extend(noted.into_iter().chain(hosts::unlike(&cluster)));
        let limit = cluster.devices.iter().filter_map(Device::memory_limit).min();
        let (constants, corrections) = measured::constants(&stack, &profile, &model)?;
        let mut setting = Self {
            model,
            graph,
            hyperparameters,
            warnings,
            cluster,
            whole,
            left,
            replaced: None,
            stand_in: None,
            edge_density: None,
            tells_losses: true,
            profile,
            layers,
            system,
            stack,
            constants,
            corrections,
            numbers,
            limit,
            offload: Offload::Nothing,
            global_batch,
            sequence,
            has_tokens: tokens.is_some(),
            request: RequestDocument::default(),
            source: None,
        };
        setting.layer_pricing().map_or(Ok(()), |pricing| pricing.check())?;
        setting.fit_stack();
        Ok(setting)
    }

    /// What prices its plans on measured layers, where there are any.
    pub fn layer_pricing(&self) -> Option<LayerPricing<'_>> {
        Some(LayerPricing {
            profile: self.layers.as_ref()?,
            model: &self.model,
            per_host: u32::try_from(self.system.per_host).unwrap_or(u32::MAX),
            limit: self.limit,
            host_memory: &self.system.host_memory,
            offload: self.offload,
        })
    }

    /// Costs of a plan for the judge, within a limit of each device.
    ///
    /// # Errors
    /// Those of [`hosts::check`] and [`oracle::costs`].
    pub fn costs(&self, plan: &Plan, limit: Option<Bytes>) -> Result<PipelineCosts, Diagnostic> {
        if plan.partition.has_own_devices() {
            let groups = self.groups(limit.is_some());
            return self.fleet(&groups).costs(plan);
        }
        one_kind(&self.cluster)?;
        hosts::check(&self.cluster, shape::n_devices(&plan.parallelism))?;
        oracle::costs(&*self.oracle(limit), plan)
    }

    /// By pipeline rank, seconds of a step's passes in which it waits for collectives.
    ///
    /// # Errors
    /// As [`Self::costs`].
    pub fn waits(&self, plan: &Plan) -> Result<Vec<f64>, Diagnostic> {
        match plan.partition.has_own_devices() {
            true => self.fleet(&self.groups(false)).waits(plan),
            false => oracle::waits_in_passes(&*self.oracle(None), plan),
        }
    }

    /// The node groups of the cluster, with what a plan may use of their devices, or all of it.
    pub fn groups(&self, is_limited: bool) -> Vec<NodeGroup> {
        self.groups_on(&self.cluster, is_limited)
    }

    /// The same of another cluster.
    pub fn groups_on(&self, cluster: &Cluster, is_limited: bool) -> Vec<NodeGroup> {
        let mut groups = groups_of(cluster, |limit| self.room(limit));
        for group in &mut groups {
            group.stack =
                cluster.kinds.get(group.kind.index()).and_then(|kind| self.stack_on(kind.chip));
            group.limit = group.limit.filter(|_| is_limited);
        }
        groups
    }

    /// What prices stages on devices of their own.
    pub fn fleet<'s>(&'s self, groups: &'s [NodeGroup]) -> Fleet<'s> {
        self.fleet_on(&self.cluster, groups)
    }

    /// The same on another cluster.
    pub fn fleet_on<'s>(&'s self, cluster: &'s Cluster, groups: &'s [NodeGroup]) -> Fleet<'s> {
        Fleet { base: self.pricing(), cluster, profile: &self.profile, groups, edge_ratio: 1 }
    }

    /// The devices that still work, those that are left out among them.
    pub fn working(&self) -> &Cluster {
        self.left.as_deref().unwrap_or(&self.cluster)
    }

    /// How many devices a plan may use.
    ///
    /// # Errors
    /// `device-count` where none is left.
    pub fn usable(&self) -> Result<u32, Diagnostic> {
        let has = u32::try_from(self.cluster.devices.len()).unwrap_or(u32::MAX);
        let spares = self.request.spares.unwrap_or(0);
        has.checked_sub(spares).filter(|n| *n > 0).ok_or_else(|| {
            let message = format!("`--spares {spares}` leaves none of {has} devices");
            Diagnostic::usage("device-count", message).hint("hold back fewer")
        })
    }

    /// What prices its plans, within a limit of each device.
    pub fn oracle(&self, limit: Option<Bytes>) -> Box<dyn StageOracle + '_> {
        match self.layer_pricing() {
            Some(pricing) => Box::new(LayerPricing { limit, ..pricing }),
            None => Box::new(Pricing { limit, ..self.pricing() }),
        }
    }

    /// What prices its plans.
    pub fn pricing(&self) -> Pricing<'_> {
        Pricing {
            model: &self.model,
            system: &self.system,
            stack: &self.stack,
            constants: &self.constants,
            corrections: &self.corrections,
            dtype: self.numbers.dtype,
            optimizer: self.numbers.optimizer,
            gradients: self.numbers.gradients(&self.stack),
            format: tuned::format(self),
            features: &[],
            resident: self.stack.resident,
            limit: self.limit,
            offload: self.offload,
        }
    }

    /// What is searched.
    ///
    /// # Errors
    /// Those of the pins and of [`hosts::check`], and `device-count` for more devices than the
    /// cluster has.
    pub fn space(&self) -> Result<Space, Diagnostic> {
        one_kind(&self.cluster)?;
        let has = self.usable()?;
        let per_host = u32::try_from(self.system.per_host).unwrap_or(u32::MAX);
        let pins = pins::of(&self.request.pin)?;
        tuned::check_pins(&self.model.tuning, &pins)?;
        let needs_all = self.layers.is_some() && self.request.spares.is_none();
        let devices = match self.request.devices {
            None if !self.request.lost.is_empty() => self.counts_left(has, per_host),
            None if needs_all => vec![has],
            None => device_counts(&(1..=has), per_host),
            Some([_, most]) if most > has => {
                let message = format!("the cluster has {has} devices to use, fewer than {most}");
                return Err(Diagnostic::usage("device-count", message)
                    .hint(format!("state --devices {has} at most")));
            }
            Some([least, most]) => device_counts(&(least..=most), per_host),
        };
        let most = devices.iter().copied().max().unwrap_or(has);
        hosts::check(&self.cluster, u64::from(most))?;
        let executor = self.request.executor.as_deref().and_then(Executor::named);
        let needs = self.needs(&pins);
        let keeps = (self.numbers.optimizer, self.model.tuning.adapter.is_some());
        let mut pins = capabilities::limited(pins, (executor, keeps), &needs)?;
        pins.may_offload = !self.request.no_offload && tuned::may_offload(self);
        if pins.sequence == Some(SequenceParallel::Ulysses) && self.layers.is_none() {
            return Err(oracle::needs_layers("Ulysses ranks (`--pin sequence-parallel=ulysses`)"));
        }
        Ok(Space { devices, global_batch: self.global_batch, pins })
    }

    /// How many of the devices that are left may be used: on hosts that are equal as far as they go.
    fn counts_left(&self, has: u32, per_host: u32) -> Vec<u32> {
        let mut counts = device_counts(&(1..=has), per_host);
        counts.retain(|n| hosts::check(&self.cluster, u64::from(*n)).is_ok());
        if counts.is_empty() { vec![has] } else { counts }
    }

    /// What is searched for a launcher; `None` where it runs nothing of the kind.
    pub fn space_for(&self, executor: Executor) -> Option<Space> {
        let request = RequestDocument { executor: Some(executor.text()), ..self.request.clone() };
        let space = Self { request, ..self.clone() }.space().ok()?;
        space.keeping(self.offload)
    }

    /// What a launcher needs words for.
    fn needs(&self, pins: &Pins) -> Vec<Lack> {
        let is_whole = pins.sequence == Some(SequenceParallel::Off) && pins.tensor != Some(1);
        let needs = [
            (Lack::Parts, self.model.is_of_parts()),
            (Lack::Config, self.graph.is_none()),
            (Lack::ByBlock, self.layers.is_some()),
            (Lack::WholeSequences, is_whole && self.model.has_experts()),
        ];
        let (optimizer, built) = (self.numbers.optimizer, self.hyperparameters.as_ref());
        let of_run = Lack::OF_RUNS.into_iter().filter(|n| n.is_of(&self.model, optimizer, built));
        needs.into_iter().filter(|(_, is)| *is).map(|(need, _)| need).chain(of_run).collect()
    }

    /// What the launcher of the stack has words for, where no executor was named: it limits the
    /// search as long as it leaves a plan. Parts of a graph are launched by torch.
    pub fn launcher(&self) -> Option<Capabilities> {
        if self.request.executor.is_some() || self.layers.is_some() {
            return None;
        }
        let executor = match self.model.is_of_parts() {
            true => Executor::of_parts(),
            false => Executor::of_stack(&self.stack.name),
        };
        let needs = pins::of(&self.request.pin).map_or(Vec::new(), |pins| self.needs(&pins));
        let executor =
            executor.filter(|executor| capabilities::lacking(*executor, &needs).is_none());
        let keeps = (self.numbers.optimizer, self.model.tuning.adapter.is_some());
        executor.and_then(|executor| capabilities::of(executor, keeps))
    }

    /// What the samples of a step are counted in: tokens, where the model has any.
    pub fn unit(&self) -> &'static str {
        if self.has_tokens { "tokens" } else { "samples" }
    }

    /// Peak operations of one device per second by its data sheet, in the type that products run in.
    pub fn peak(&self) -> f64 {
        let device = &self.system.device;
        let full = device.full_power.and_then(|full| limited(device, full));
        let rate = peak(full.as_ref().unwrap_or(device), self.numbers.dtype);
        rate.map_or(f64::NAN, |(_, rate)| rate.get())
    }

    /// Of what plans are proved fastest.
    pub fn search_space(&self) -> &'static str {
        match crate::answer::energy::is_decided_by(&self.request) {
            true => "the search space on these devices at these board limits",
            false => "the search space",
        }
    }
}

/// A profile as a folder of measured layers, or as a file.
fn folder_or_file(profile: Option<&Path>) -> (Option<&Path>, Option<&Path>) {
    match profile {
        Some(path) if importers::layers::is_folder(path) => (Some(path), None),
        path => (None, path),
    }
}

/// Devices and hosts that were lost, and that are left out.
fn gone(flags: &ProblemRequest) -> (&[String], &[String]) {
    (&flags.lost, &flags.without)
}

/// What of a cluster is so many times what its file says, limits of boards that were decided included.
fn factors(flags: &ProblemRequest) -> Vec<String> {
    let limit = flags.board_limit.map(|limit| format!("{}={limit}", scale::POWER));
    flags.scale.iter().cloned().chain(limit).collect()
}

fn no_cluster() -> Diagnostic {
    Diagnostic::usage("no-cluster", "no cluster file is given")
        .hint("add --cluster cluster.yaml")
        .hint(importers::cluster::example(Path::new("cluster.yaml")))
}

fn unusable(path: &Path, message: &str) -> Diagnostic {
    Diagnostic::input("no-system", message).fact("file", path.display().to_string())
}

/// What a run computes in, and a warning of what that replaces.
fn numbers(
    flags: &ProblemRequest,
    model: &ModelCard,
    kinds: &[&DeviceKind],
    layers: Option<&LayerProfile>,
) -> Result<(Numbers, Option<Diagnostic>), Diagnostic> {
    let (numbers, noted) = Numbers::of(flags, model.dtype, kinds)?;
    Ok(match layers {
        None => (numbers, noted),
        Some(layers) => {
            let other = measured::of_another(&layers.name, &model.name, &kinds[0].name);
            (numbers.of_layers(&layers.name), other)
        }
    })
}

/// Measured layers, which are those of their own cluster.
fn measured_layers(
    folder: &Path,
    sequence: u64,
    flags: &ProblemRequest,
) -> Result<LayerProfile, Diagnostic> {
    let given = (!flags.scale.is_empty()).then(|| "scale".to_owned());
    fields::check(given.as_slice(), &fields::LAYERS)?;
    importers::layers::read(folder, sequence)
}

/// The kinds of devices; measured layers allow one only.
fn kinds<'c>(
    cluster: &'c Cluster,
    path: &Path,
    is_measured: bool,
) -> Result<Vec<&'c DeviceKind>, Diagnostic> {
    if is_measured {
        one_kind(cluster)?;
    }
    usable_kinds(cluster, path)
}

/// The kinds of the devices, in their order, where all can be priced.
fn usable_kinds<'c>(cluster: &'c Cluster, path: &Path) -> Result<Vec<&'c DeviceKind>, Diagnostic> {
    let usable = |sheet: &DeviceKind| sheet.memory_bandwidth.is_some() && !sheet.peak.is_empty();
    let kinds = || cluster.device_ids().map(|device| cluster.kind_of(device));
    if let Some(kind) = kinds().find(|kind| !usable(kind)) {
        return Err(unusable(path, "the device has no peak rate or no memory bandwidth")
            .fact("device", kind.name.clone()));
    }
    let mut seen = BTreeSet::new();
    let all: Vec<&DeviceKind> = kinds().filter(|kind| seen.insert(&kind.name)).collect();
    match all.is_empty() {
        true => Err(unusable(path, "the cluster has no device")),
        false => Ok(all),
    }
}

/// Refuses clusters of several kinds of devices.
fn one_kind(cluster: &Cluster) -> Result<(), Diagnostic> {
    let kinds = cluster.kind_names();
    if kinds.len() <= 1 {
        return Ok(());
    }
    let named: Vec<String> = kinds.into_iter().map(str::to_owned).collect();
    let message =
        "stages without devices of their own are planned on clusters of one kind of device";
    Err(Diagnostic::input("no-system", message)
        .fact("kinds", named)
        .hint("plan a config.json with unlike-nodes, without pins, for nodes of several kinds"))
}
