//! What plans of experts share: copies on devices, by entry of layers, and what is stated of the step.

use std::collections::{BTreeSet, HashMap};

use cost_model::experts::Copies;
use documents::digest;
use documents::plan::experts::ExpertLayersDocument;
use documents::plan::{PlanDocument, Reference};
use ir::card::Skew;
use ir::diagnostic::Diagnostic;
use ir::plan_kind::PlanKind;
use ir::profile::Profile;
use ir::workload::StepPhase;

use super::kind::{Target, illegal, refused};
use crate::answer::differences::difference;
use crate::answer::suggest;
use crate::answer::words::ranges;
use crate::inputs::experts::Setting;
use crate::inputs::plan_file;
use crate::request::fields::Honours;
use crate::request::subject::Subject;
use crate::request::value::Written;

/// What figures may be off by, as a part of them: they went through decimal digits.
pub const TOLERANCE: f64 = 1e-9;

/// Where copies of experts lie.
#[derive(Clone, Debug, Default)]
pub struct Placed {
    /// By entry the devices of each expert; numbers past those of the cluster are of [`Self::unknown`].
    pub copies: Vec<Copies>,
    /// Names that the cluster has not.
    pub unknown: Vec<String>,
}

impl Placed {
    /// As a plan states it.
    #[must_use]
    pub fn of(setting: &Setting, plan: &PlanDocument) -> Self {
        let numbers: HashMap<&str, usize> =
            setting.cluster.devices.iter().map(|device| device.name.as_str()).zip(0..).collect();
        let mut unknown = Vec::new();
        let mut number = |name: &String| match numbers.get(name.as_str()) {
            Some(number) => *number,
            None => {
                unknown.push(name.clone());
                numbers.len() + unknown.len() - 1
            }
        };
        let mut of = |entry: &ExpertLayersDocument| -> Copies {
            let each = entry.devices_of_expert.iter();
            each.map(|names| names.iter().map(&mut number).collect()).collect()
        };
        let copies = plan.experts.layers.iter().map(&mut of).collect();
        Self { copies, unknown }
    }

    /// The name of a device.
    #[must_use]
    pub fn device<'d>(&'d self, setting: &'d Setting, number: usize) -> &'d str {
        let devices = &setting.cluster.devices;
        let unknown = || self.unknown.get(number.checked_sub(devices.len())?).map(String::as_str);
        devices.get(number).map(|device| device.name.as_str()).or_else(unknown).unwrap_or_default()
    }
}

/// Model and devices of a plan.
///
/// # Errors
/// Those of [`Setting::read`].
pub fn read(plan: &PlanDocument, target: Target<'_>) -> Result<Setting, Diagnostic> {
    let problem = &target.flags.problem;
    let read = (target.model, &problem.model, plan.experts.sequence_length);
    Setting::read(read, problem.cluster.as_deref())
}

/// Model and cluster; nothing of them is measured.
#[must_use]
pub fn references(setting: &Setting) -> [Reference; 3] {
    let profile = Profile::default();
    [
        Reference::new(&setting.model.name, digest::card(&setting.model)),
        Reference::new(&setting.cluster.name, digest::cluster(&setting.cluster)),
        Reference::new(&profile.name, digest::profile(&profile)),
    ]
}

/// Refuses subjects that no placement of experts has.
///
/// # Errors
/// `not-for-experts`.
pub fn check_subject(subject: &Subject) -> Result<(), Diagnostic> {
    let (message, hint) = match subject {
        Subject::Op(_) | Subject::Transfer(_) => (
            "a placement of experts has no ops: `--op` and `--transfer` name none",
            "leave them out, or name a device with --device",
        ),
        Subject::Step { longest: Some(_) } => {
            ("a placement of experts has no critical path: `--longest` names none", "leave it out")
        }
        Subject::Device(_) | Subject::Step { .. } | Subject::BreakEven(_) | Subject::WhyNot(_) => {
            return Ok(());
        }
    };
    Err(refused(PlanKind::Experts, message, hint))
}

/// The position of a device of the cluster.
///
/// # Errors
/// `unknown-device`.
pub fn device(setting: &Setting, name: &str) -> Result<usize, Diagnostic> {
    let names = || setting.cluster.devices.iter().map(|device| device.name.as_str());
    names().position(|known| known == name).ok_or_else(|| {
        Diagnostic::usage("unknown-device", format!("the plan uses no device `{name}`"))
            .hint(suggest::hint(name, names()))
    })
}

/// What is stated of the step.
#[must_use]
pub fn of_step(setting: &Setting, plan: &PlanDocument) -> Vec<Diagnostic> {
    let experts = &plan.experts;
    let mut found = Vec::new();
    let mut check = |field: &str, stated: String, derived: String| {
        if stated != derived {
            found.push(difference(field, &stated, &derived));
        }
    };
    check(
        "parallelism.n_micro_batches",
        plan.parallelism.n_micro_batches.to_string(),
        "1".to_owned(),
    );
    let n_devices = setting.host.len();
    check("parallelism.expert", plan.parallelism.expert.to_string(), n_devices.to_string());
    let degrees = &plan.parallelism;
    for (name, degree) in [
        ("data", degrees.data),
        ("tensor", degrees.tensor),
        ("pipeline", degrees.pipeline),
        ("context", degrees.context),
    ] {
        check(&format!("parallelism.{name}"), degree.to_string(), "1".to_owned());
    }
    if let (Some(phase), Some(batch)) = (experts.phase, plan.workload.batch) {
        let mode = StepPhase::from(phase).mode();
        let stated = plan_file::workload(&plan.workload);
        let stated =
            stated.map_or_else(|_| "none".to_owned(), |workload| workload.mode.name().to_owned());
        check("workload.mode", stated, mode.name().to_owned());
        let derived = setting.tokens(phase.into(), batch);
        let derived = derived.map_or_else(|_| "too many".to_owned(), |tokens| tokens.to_string());
        if experts.host.as_ref().is_some_and(|host| host.is_traced) {
            return found;
        }
        check("experts.tokens", experts.tokens.unwrap_or_default().to_string(), derived);
    }
    found
}

/// Whether every layer of experts is placed, once.
#[must_use]
pub fn of_layers(setting: &Setting, plan: &PlanDocument) -> Vec<Diagnostic> {
    let mut placed = BTreeSet::new();
    let mut found = Vec::new();
    for layer in plan.experts.layers.iter().flat_map(|entry| &entry.layers) {
        if !placed.insert(*layer) {
            found.push(illegal("layer-twice", format!("layer {layer} is placed twice")));
        }
        if !setting.layers.contains(layer) {
            let message = format!("layer {layer} of the plan has no experts in the model");
            found.push(illegal("no-such-layer", message));
        }
    }
    let missing: Vec<u32> =
        setting.layers.iter().filter(|layer| !placed.contains(layer)).copied().collect();
    if !missing.is_empty() {
        let message = format!("the layers {} are not placed", ranges(&missing));
        found.push(illegal("layers-missing", message));
    }
    found
}

/// Whether routed tokens follow the requested law.
#[must_use]
pub fn by_law(
    (setting, plan): (&Setting, &PlanDocument),
    entry: &ExpertLayersDocument,
    field: &str,
) -> Option<Diagnostic> {
    let text = plan.request.expert_skew.as_ref()?;
    let Ok(skew) = Skew::read(text) else {
        return Some(difference("request.expert_skew", text, "balanced or zipf:S"));
    };
    let mut each = setting.law(skew).into_iter().zip(&entry.visits).enumerate();
    let wrong = each.find(|(_, (law, stated))| (law - **stated).abs() > TOLERANCE * law.abs());
    wrong.map(|(expert, (law, stated))| {
        difference(&format!("{field}[{expert}]"), &stated.to_string(), &law.to_string())
    })
}

/// What plans of experts honour of a request.
pub const HONOURS: Honours = Honours {
    hint: |_| "leave it out: experts are placed by routed tokens alone",
    ..Honours::new(
        "experts",
        PlanKind::Experts,
        "cluster batch sequence_length expert_skew phase routing_trace gap node_budget \
     export",
    )
};
