//! What is said of a setting's plans beside their figures.

use cost_model::kernels::origin::Origin;
use cost_model::runs::forms::interval::{self, Basis, Figure, JUDGED, Likeness, Spread, Trait};
use cost_model::runs::forms::model::Offload;
use cost_model::runs::forms::model::counts::model_flops;
use cost_model::runs::forms::rank_groups::{self, Group};
use cost_model::runs::judge::judge_plan;
use cost_model::runs::judge::report::Report;
use documents::report::training::TrainingRunDocument;
use documents::report::{IntervalDocument, PeakIntervalDocument};
use ir::card::ZeroStage;
use ir::diagnostic::{Blame, Diagnostic};
use ir::measured::CollectiveOperation;
use ir::plan::{Parallelism, Plan};
use ir::profile::ModelKind;
use ir::stack::Dispatcher;
use ir::tensor::DType;
use ir::units::{Bytes, Nanos};

use super::screen::ON_HOSTS;
use crate::answer::words::range;
use crate::inputs::run::measured;
use crate::inputs::run::setting::Setting;

/// Sets of published runs that are named.
const SETS: usize = 2;
/// Terms of plans that no published run has, beside traits of runs.
pub(super) const CONTEXT: &str = "CP";
pub(super) const SPLIT_BACKWARD: &str = "split backward passes";

/// That the judge finds another step than the search.
pub fn unconfirmed() -> Diagnostic {
    let message = "the judge does not confirm the plan that the search found";
    Diagnostic::error(Blame::Internal, "internal", message)
}

/// What a user can measure of the devices, beside steps.
pub enum Measurable {
    /// Products of a type.
    Products(DType),
    /// Collectives of a group.
    Collectives(Vec<CollectiveOperation>, rank_groups::Spread),
}

impl Setting {
    /// A plan, judged with so much memory a device.
    ///
    /// # Errors
    /// Those of pricing and of the judge.
    pub fn report(&self, plan: &Plan, limit: Option<Bytes>) -> Result<Report, Diagnostic> {
        let costs = self.costs(plan, limit)?;
        Ok(judge_plan(&costs, plan).map_err(|violation| violation.diagnostic())?.report)
    }

    /// The same of a plan that a search found.
    ///
    /// # Errors
    /// `internal` where the judge does not confirm its step.
    pub fn confirmed(&self, plan: &Plan, step: Nanos) -> Result<Report, Diagnostic> {
        let report = self.report(plan, self.limit)?;
        match report.step_time == step {
            true => Ok(report),
            false => Err(unconfirmed()),
        }
    }

    /// Tokens per second; samples, where the model has no tokens.
    pub fn tokens_per_s(&self, step: Nanos) -> f64 {
        self.global_batch as f64 * self.sequence as f64 / step.seconds()
    }

    /// Share of the peak rate of so many devices that the model's own operations take
    /// (docs/conventions.md, P8).
    pub fn utilisation(&self, step: Nanos, n_devices: u64) -> f64 {
        let flops = model_flops(&self.model, self.global_batch);
        flops / (step.seconds() * n_devices as f64 * self.peak())
    }

    /// The figures of a plan.
    pub fn figures(
        &self,
        degrees: String,
        n_devices: u64,
        (step, peak_bytes): (Nanos, u64),
    ) -> TrainingRunDocument {
        let utilisation = Some(self.utilisation(step, n_devices));
        TrainingRunDocument {
            degrees,
            n_devices,
            step_time_ns: step.0,
            step_time_s: step.seconds(),
            tokens_per_s: self.tokens_per_s(step),
            model_flops_utilisation: utilisation.filter(|share| share.is_finite()),
            peak_bytes,
            ..TrainingRunDocument::default()
        }
    }

    /// What a device needs in all, and what the flags must allow, for so many bytes of a plan.
    pub fn room_for(&self, bytes: Bytes) -> String {
        let whole = Bytes(bytes.0.saturating_add(1));
        // A reserve grows with the memory that it is a share of.
        let needed = |device: &ir::cluster::Device| {
            let capacity = device.capacity.filter(|capacity| *capacity > device.reserve)?;
            let left = 1.0 - device.reserve.as_f64() / capacity.as_f64();
            let memory = (whole.as_f64() + device.context.as_f64()) / left;
            Some((memory.ceil() as u64).saturating_add(1))
        };
        let memory = self.cluster.devices.iter().filter_map(needed).max().unwrap_or(whole.0);
        let has = self.cluster.devices.iter().filter_map(ir::cluster::Device::memory_limit).min();
        let factor = self.cluster.memory_factor(whole);
        let scale = factor.map_or_else(String::new, |factor| format!(", --scale memory={factor}"));
        let device = format!(
            "{} of memory on each device, margin and context included ({memory} bytes{scale})",
            Bytes(memory)
        );
        let flag = format!("--max-memory-per-device {}", bytes.0);
        match (self.request.max_memory_bytes, has) {
            (None, _) => device,
            (Some(_), Some(has)) if has < whole => format!("{device} and {flag}"),
            (Some(_), _) => flag,
        }
    }

    /// How far published runs like it were from what was predicted of them, where terms of some traits
    /// were measured on its devices.
    pub fn spread(
        &self,
        figure: Figure,
        degrees: &Parallelism,
        measured: &[Trait],
    ) -> Spread<'static> {
        let names = (self.stack.name.as_str(), self.system.device.chip);
        let like = Likeness::of(names, self.numbers.dtype, degrees, self.model.has_experts());
        interval::spread(figure, (&like, measured), &JUDGED)
    }

    /// As what the step of a plan was judged.
    pub fn basis(&self, degrees: &Parallelism) -> Basis {
        let hidden = self.model.groups.first().map_or(0, |group| group.card.hidden);
        let on = (self.stack.name.as_str(), self.system.device.name.as_str());
        measured::basis(&self.profile, on, (ModelKind::of(&self.model), hidden), degrees)
    }

    /// What can be measured of the devices for each trait, under these degrees.
    pub fn measurable(&self, degrees: &Parallelism) -> Vec<(Trait, Measurable)> {
        use CollectiveOperation::{AllGather, AllToAll, ReduceScatter};
        let per_host = self.system.per_host;
        let among = |group: Group, operations: &[CollectiveOperation]| {
            let group = group.spread(per_host);
            (group.ranks > 1).then(|| Measurable::Collectives(operations.to_vec(), group))
        };
        let replicas = |operations: &[_]| among(Group::replicas(degrees), operations);
        let sharding = match degrees.zero {
            ZeroStage::Parameters => replicas(&[AllGather, ReduceScatter]),
            ZeroStage::Gradients => replicas(&[ReduceScatter]),
            ZeroStage::None | ZeroStage::Optimizer => None,
        };
        let goes_by_nccl =
            self.model.has_experts() && self.stack.experts.dispatcher != Dispatcher::Flex;
        let experts = goes_by_nccl.then(|| among(Group::experts(degrees), &[AllToAll])).flatten();
        let products = Some(Measurable::Products(self.numbers.dtype));
        let all =
            [(Trait::Operands, products), (Trait::Sharding, sharding), (Trait::Experts, experts)];
        all.into_iter().filter_map(|(feature, what)| Some((feature, what?))).collect()
    }

    /// Traits whose terms the profile has measured.
    pub fn measured(&self, degrees: &Parallelism) -> Vec<Trait> {
        let is_there = |what: &Measurable| match what {
            Measurable::Products(dtype) => self.system.products.measured(*dtype).is_some(),
            Measurable::Collectives(operations, group) => operations
                .iter()
                .all(|operation| self.system.measured_s(*operation, *group, 1.0, 1.0).is_some()),
        };
        let all = self.measurable(degrees).into_iter();
        all.filter(|(_, what)| is_there(what)).map(|(feature, _)| feature).collect()
    }

    /// Where the step time of a plan is expected to lie; the figures of measured layers were not
    /// judged so.
    pub fn interval(&self, step: Nanos, degrees: &Parallelism) -> IntervalDocument {
        let basis = self.basis(degrees);
        let of_runs = || self.spread(basis.figure(), degrees, &self.measured(degrees)).interval();
        let interval = basis.corrected().unwrap_or_else(of_runs);
        let [low, high] = interval.around(step.seconds()).map(|s| (s * 1e9).round() as u64);
        let origin = match basis {
            Basis::Nominal => Origin::Nominal,
            Basis::Fitted | Basis::Corrected => Origin::Interpolated,
        };
        IntervalDocument::new(low, high, origin.name())
    }

    /// Where the largest peak of a plan's ranks is expected to lie.
    pub fn peak_interval(&self, peak: Bytes, degrees: &Parallelism) -> PeakIntervalDocument {
        let spread = self.spread(Figure::Peak, degrees, &[]);
        let [low, high] = spread.interval().around(peak.as_f64()).map(|bytes| bytes.round() as u64);
        let judged_on = spread.sets.into_iter().map(str::to_owned).collect();
        PeakIntervalDocument { low_bytes: low, high_bytes: high, judged_on }
    }

    /// `peak 69.1 GiB, 10-90 %: 60.1 to 79.4 GiB, by 3 models of ...`.
    pub fn peak_line(&self, peak: Bytes, degrees: &Parallelism) -> String {
        let interval = self.peak_interval(peak, degrees);
        let range = range(Bytes(interval.low_bytes), Bytes(interval.high_bytes));
        format!("peak {peak}, 10-90 %: {range}, by {}", self.judged_on(Figure::Peak, degrees))
    }

    /// What of a plan is like none of the runs on which the interval of a figure was found.
    pub fn unlike(&self, figure: Figure, degrees: &Parallelism) -> Vec<String> {
        let named = |feature: Trait| match feature {
            Trait::Stack => self.stack.name.clone(),
            Trait::Architecture => self.system.device.name.clone(),
            Trait::Operands => self.numbers.dtype.to_string(),
            Trait::Sharding if degrees.zero >= ZeroStage::Gradients => {
                format!("ZeRO {}", degrees.zero as u8)
            }
            Trait::Sharding => "replicated parameters".to_owned(),
            Trait::Experts if self.model.has_experts() => "experts".to_owned(),
            Trait::Experts => "dense layers".to_owned(),
        };
        let others = [
            (self.model.is_of_parts(), "models that are no transformers"),
            (degrees.context > 1, CONTEXT),
            (self.offload == Offload::Optimizer, ON_HOSTS),
        ];
        let others = others.iter().filter(|(is, _)| *is).map(|(_, what)| (*what).to_owned());
        self.spread(figure, degrees, &[]).unlike.into_iter().map(named).chain(others).collect()
    }

    /// On which runs the interval of a figure was found, and what of a plan is like none of them.
    pub fn judged_on(&self, figure: Figure, degrees: &Parallelism) -> String {
        let Spread { sets, n_models, .. } = self.spread(figure, degrees, &[]);
        let unlike = self.unlike(figure, degrees);
        let none: String = unlike.iter().map(|feature| format!(", none with {feature}")).collect();
        let models = if n_models == 1 { "model" } else { "models" };
        let sets = match sets.len() {
            n if n > SETS => format!("in {n} sets"),
            _ => {
                let names: Vec<&str> = sets.iter().map(|set| in_words(set)).collect();
                format!("({})", names.join(", "))
            }
        };
        format!("{n_models} published {models} {sets}{none}")
    }

    /// What its times rest on, in words.
    pub fn costs_from(&self) -> String {
        measured::words(
            &self.profile,
            (&self.system, self.numbers.dtype),
            (&self.stack.name, ModelKind::of(&self.model)),
        )
    }
}

/// A set of published runs as its readers know it.
fn in_words(set: &str) -> &str {
    let name = set.split_once(' ').map_or(set, |(_, name)| name);
    match name {
        "golden" | "golden over 0.3 s" => "Megatron-LM tests",
        "golden, experts" => "Megatron-LM MoE tests",
        "Bridge experts" => "Megatron-Bridge MoE",
        "Bridge FP8 dense" => "Megatron-Bridge FP8",
        other => other,
    }
}
