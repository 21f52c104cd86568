//! What of a plan is asked about, and on what it is asked.

use documents::shell::quoted;

use super::{ExplainRequest, PlanRequest};

/// What is asked about.
#[derive(Clone, Debug)]
pub enum Subject {
    /// The step as a whole.
    Step {
        /// So many tasks of its critical path, the longest; `None` = all.
        longest: Option<u64>,
    },
    /// An op, by name.
    Op(String),
    /// The transfers of a tensor, by its name.
    Transfer(String),
    /// A device, by name.
    Device(String),
    /// At which rate a boundary of a training run takes as long as a stage, at a share of the peak.
    BreakEven(String),
    /// Why a training run does not have some settings, each `FIELD=VALUE`.
    WhyNot(Vec<String>),
}

impl Subject {
    /// What a request asks about: the first that it names.
    #[must_use]
    pub fn of(request: &ExplainRequest) -> Self {
        if !request.why_not.is_empty() {
            return Self::WhyNot(request.why_not.clone());
        }
        match (&request.op, &request.transfer, &request.break_even, &request.device) {
            (Some(name), ..) => Self::Op(name.clone()),
            (None, Some(name), ..) => Self::Transfer(name.clone()),
            (None, None, Some(share), _) => Self::BreakEven(share.clone()),
            (None, None, None, Some(name)) => Self::Device(name.clone()),
            (None, None, None, None) => Self::Step { longest: request.longest },
        }
    }

    /// The flag by which it is named; `None` = the step as a whole.
    #[must_use]
    pub const fn flag(&self) -> Option<&'static str> {
        match self {
            Self::Op(_) => Some("--op"),
            Self::Transfer(_) => Some("--transfer"),
            Self::Device(_) => Some("--device"),
            Self::BreakEven(_) => Some("--break-even"),
            Self::WhyNot(_) => Some("--why-not"),
            Self::Step { longest: Some(_) } => Some("--longest"),
            Self::Step { longest: None } => None,
        }
    }
}

impl PlanRequest {
    /// The flags by which other verbs find the model, and what it was planned on; none where the plan states it.
    #[must_use]
    pub fn on(&self) -> String {
        if self.states_inputs {
            return String::new();
        }
        let problem = &self.problem;
        let files = [("--cluster", &problem.cluster), ("--profile", &problem.profile)];
        let files = files.into_iter().filter_map(|(flag, file)| Some((flag, file.as_deref()?)));
        let traces = problem.model.traces.iter().map(|file| ("--trace", file.as_path()));
        let paths = std::iter::once(("--model", self.model.as_path())).chain(files).chain(traces);
        let paths = paths.map(|(flag, path)| (flag, path.to_string_lossy().into_owned()));
        let scales = problem.scale.iter().map(|scale| ("--scale", scale.clone()));
        paths.chain(scales).map(|(flag, value)| format!(" {flag} {}", quoted(&value))).collect()
    }
}
