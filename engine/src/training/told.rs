//! What is said of a setting's plans beside their figures.

use cost_model::kernels::origin::Origin;
use cost_model::runs::forms::interval::{self, Basis, JUDGED, Likeness, Spread, Trait};
use cost_model::runs::forms::model::Offload;
use documents::report::IntervalDocument;
use ir::card::ZeroStage;
use ir::plan::Parallelism;
use ir::units::{Bytes, Nanos};

use super::measured;
use super::setting::Setting;

impl Setting {
    /// What a device needs in all, and what the flags must allow, for so many bytes of a plan.
    pub fn room_for(&self, bytes: Bytes) -> String {
        let used = 1.0 - self.request.memory_margin.unwrap_or(0.0);
        // Casts of floats saturate.
        let whole = Bytes(((bytes.as_f64() / used).ceil() as u64).saturating_add(1));
        // A reserve grows with the memory that it is a share of.
        let needed = |device: &ir::cluster::Device| {
            let capacity = device.capacity.filter(|capacity| *capacity > device.reserve)?;
            let left = 1.0 - device.reserve.as_f64() / capacity.as_f64();
            let memory = (whole.as_f64() + device.context.as_f64()) / left;
            Some((memory.ceil() as u64).saturating_add(1))
        };
        let memory = self.cluster.devices.iter().filter_map(needed).max().unwrap_or(whole.0);
        let has = self.cluster.devices.iter().filter_map(ir::cluster::Device::memory_limit).min();
        let device = format!(
            "{} of memory on each device, margin and context included ({memory} bytes)",
            Bytes(memory)
        );
        let flag = format!("--max-memory-per-device {}", bytes.0);
        match (self.request.max_memory_bytes, has) {
            (None, _) => device,
            (Some(_), Some(has)) if has < whole => format!("{device} and {flag}"),
            (Some(_), _) => flag,
        }
    }

    /// How far published runs like it were from what was predicted of them.
    fn spread(&self, degrees: &Parallelism) -> Spread<'static> {
        let has_experts = self.model.groups.iter().any(|group| group.card.experts.is_some());
        let names = (self.stack.name.as_str(), self.system.device.name.as_str());
        let like = Likeness::of(names, self.numbers.dtype, degrees, has_experts);
        interval::spread(&like, &JUDGED)
    }

    /// Where the step time of a plan is expected to lie; the figures of measured layers were not
    /// judged so.
    pub fn interval(&self, step: Nanos, degrees: &Parallelism) -> IntervalDocument {
        let hidden = self.model.groups.first().map_or(0, |group| group.card.hidden);
        let basis = measured::basis(&self.profile, &self.stack.name, hidden, degrees);
        let of_runs = || self.spread(degrees).interval();
        let interval = interval::of_measured(basis).unwrap_or_else(of_runs);
        let [low, high] = interval.around(step.seconds()).map(|s| (s * 1e9).round() as u64);
        let origin = match basis {
            Basis::Nominal => Origin::Nominal,
            Basis::Fitted | Basis::Corrected => Origin::Interpolated,
        };
        IntervalDocument::new(low, high, origin.name())
    }

    /// On which runs the interval was found, and what of a plan is like none of them.
    pub fn judged_on(&self, degrees: &Parallelism) -> String {
        let Spread { sets, n_models, unlike, .. } = self.spread(degrees);
        let named = |own: Trait| match own {
            Trait::Stack => self.stack.name.clone(),
            Trait::Architecture => self.system.device.name.clone(),
            Trait::Operands => self.numbers.dtype.to_string(),
            Trait::Sharding if degrees.zero >= ZeroStage::Gradients => {
                format!("ZeRO {}", degrees.zero as u8)
            }
            Trait::Sharding => "nothing shared out".to_owned(),
            Trait::Experts if self.model.groups.iter().any(|own| own.card.experts.is_some()) => {
                "a mixture of experts".to_owned()
            }
            Trait::Experts => "dense".to_owned(),
        };
        let others = [
            (self.model.is_of_parts(), "no transformer"),
            (degrees.context > 1, "context parallel"),
            (self.offload == Offload::Optimizer, "states on hosts"),
        ];
        let others = others.iter().filter(|(is, _)| *is).map(|(_, what)| (*what).to_owned());
        let unlike: Vec<String> = unlike.into_iter().map(named).chain(others).collect();
        let models = if n_models == 1 { "model" } else { "models" };
        let on = format!("interval: {n_models} {models} of {}", sets.join(", "));
        match unlike.is_empty() {
            true => on,
            false => format!("{on}; none of them was like this one in: {}", unlike.join(", ")),
        }
    }

    /// What its times rest on, in words.
    pub fn costs_from(&self) -> String {
        measured::words(&self.profile, &self.system, &self.stack.name)
    }
}
