//! What is shared out over two groups of devices: a model with experts on equal hosts, at the prices of
//! blocks.

use std::path::Path;
use std::sync::Arc;

use cost_model::experts::{Copies, Shape, greatest, shares};
use cost_model::runs::forms::block::groups::{Kind, Priced, Step};
use cost_model::streams::groups::Groups;
use ir::card::stored::CacheType;
use ir::diagnostic::Diagnostic;
use ir::workload::StepPhase;
use planner::experts::eplb;
use planner::experts::findep::Problem;
use planner::run::Control;

use crate::inputs::experts::{Setting as Experts, Visits};
use crate::inputs::run::setting::Setting as Run;
use crate::inputs::run::step;
use crate::request::{ExpertSkew, ModelRequest, ProblemRequest};

/// Software that steps are priced with: launches are recorded.
const STACK: &str = "compiled";

/// Model and devices, and how often experts are visited.
#[derive(Clone)]
pub struct Setting {
    /// Model, devices and software.
    pub run: Run,
    /// Layers that have experts, and these.
    pub experts: Experts,
    /// Layers that are planned alike.
    pub kinds: Vec<Kind>,
    /// By kind how often each expert is visited; nothing where layers have none.
    pub visits: Vec<Vec<f64>>,
    /// By layer its kind.
    pub layers: Vec<usize>,
    /// What a step does.
    pub phase: StepPhase,
    /// Most samples of a step.
    pub batch: u64,
}

/// How often experts are visited.
#[derive(Clone, Debug)]
pub enum Visited {
    /// As it was asked for.
    Asked(Option<ExpertSkew>),
    /// As a plan states it.
    Stated(Visits),
}

impl Setting {
    /// Reads a model, of samples of so many tokens where they are stated, on the cluster of the flags.
    ///
    /// # Errors
    /// Those of the readers; `batch`, `no-experts`, `one-device`, `not-for-streams`.
    pub fn read(
        (path, sequence): (&Path, Option<u64>),
        flags: &ProblemRequest,
        visited: &Visited,
        (phase, batch, kv_dtype): (StepPhase, u64, Option<CacheType>),
    ) -> Result<Self, Diagnostic> {
        // The size of a step is none of the graph's that a model is read from.
        let model = ModelRequest { batch: None, ..flags.model.clone() };
        let experts = Experts::read((path, &model, sequence), flags.cluster.as_deref())?;
        experts.check_sizes()?;
        let run =
            step::read((path, sequence), flags, (batch, STACK), step::Step::Serves(kv_dtype))?;
        let n_devices = run.cluster.devices.len();
        if n_devices < 2 {
            let message = "one device can't hold attention while another one holds the experts";
            return Err(Diagnostic::usage("one-device", message)
                .hint("give a cluster of two devices or more"));
        }
        let visits = match visited {
            Visited::Asked(skew) => experts.visits(skew.as_ref())?,
            Visited::Stated(visits) => visits.clone(),
        };
        let (kinds, visits, layers) = kinds(&run, &visits, n_devices as u32);
        Ok(Self { run, experts, kinds, visits, layers, phase, batch })
    }

    /// Prices of samples of so many tokens.
    #[must_use]
    pub fn priced(&self, tokens: u64) -> Priced {
        let pricing = self.run.pricing();
        let step = match self.phase {
            StepPhase::Decode => Step::Decode(tokens),
            StepPhase::Training | StepPhase::Prefill => Step::Prefill(tokens),
        };
        Priced::new(
            (pricing.model, pricing.dtype, pricing.gradients),
            (pricing.system, pricing.stack, pricing.constants),
            (&self.kinds, &self.layers),
            (step, pricing.limit.map(|limit| limit.0)),
        )
    }

    /// What is planned of samples of so many tokens, on groups that can't be others.
    #[must_use]
    pub fn problem(
        &self,
        tokens: u64,
        (groups, control): (Option<Groups>, &Arc<Control>),
    ) -> Problem {
        let devices = u32::try_from(self.run.cluster.devices.len()).unwrap_or(u32::MAX);
        let control = Arc::clone(control);
        Problem {
            prices: Arc::new(self.priced(tokens)),
            devices,
            samples: self.batch,
            groups,
            control,
        }
    }

    /// Copies of the experts of a kind on so many devices.
    #[must_use]
    pub fn copies(&self, kind: usize, devices: u32) -> Copies {
        self.visits.get(kind).map_or_else(Vec::new, |visits| placed(visits, devices))
    }

    /// Lengths of samples beside which a plan is stated.
    #[must_use]
    pub fn lengths(&self) -> Vec<u64> {
        let sequence = self.run.sequence;
        let shorter = [8, 4, 2].into_iter().map(|n| sequence / n).filter(|tokens| *tokens > 0);
        let longer = [1, 2, 4].into_iter().map(|n| sequence.saturating_mul(n));
        let mut all: Vec<u64> = shorter.chain(longer).collect();
        all.dedup();
        all
    }
}

/// One copy of each expert, and more where devices have room for as many experts each.
fn placed(visits: &[f64], devices: u32) -> Copies {
    let devices = devices.max(1) as usize;
    let slots = visits.len().div_ceil(devices);
    let shape = Shape { host: vec![0; devices], slots, groups: 1 };
    shares(visits).map_or_else(Vec::new, |shares| eplb::place(&shares, &shape))
}

/// Kinds of layers, with their routed tokens, and by layer its kind.
fn kinds(run: &Run, visits: &Visits, n_devices: u32) -> (Vec<Kind>, Vec<Vec<f64>>, Vec<usize>) {
    let mut found: Vec<(usize, Option<usize>)> = Vec::new();
    let mut layers = Vec::new();
    for (layer, group) in (0..).zip(step::kinds(run)) {
        let kind = (group, visits.iter().position(|(layers, _)| layers.contains(&layer)));
        let at = found.iter().position(|other| *other == kind);
        layers.push(at.unwrap_or(found.len()));
        if at.is_none() {
            found.push(kind);
        }
    }
    let visits = |at: &Option<usize>| at.map_or_else(Vec::new, |at| visits[at].1.clone());
    let visits: Vec<Vec<f64>> = found.iter().map(|(_, at)| visits(at)).collect();
    let mut known: Vec<(&Vec<f64>, Vec<f64>)> = Vec::new();
    let mut kinds = Vec::new();
    for ((group, _), tokens) in found.iter().zip(&visits) {
        let at = known.iter().position(|(other, _)| *other == tokens).unwrap_or_else(|| {
            known.push((tokens, loads(tokens, n_devices)));
            known.len() - 1
        });
        kinds.push(Kind { group: *group, loads: known[at].1.clone() });
    }
    (kinds, visits, layers)
}

/// The greatest load of a device, by their number from 1.
fn loads(visits: &[f64], n_devices: u32) -> Vec<f64> {
    let most = n_devices.min(u32::try_from(visits.len()).unwrap_or(u32::MAX));
    let shares = shares(visits).unwrap_or_default();
    (1..=most).map(|n| greatest(&shares, &placed(visits, n), n as usize)).collect()
}
