//! What of a plan is asked about.

use super::ExplainRequest;

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
}

impl Subject {
    /// What a request asks about: the first that it names.
    #[must_use]
    pub fn of(request: &ExplainRequest) -> Self {
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
            Self::Step { longest: Some(_) } => Some("--longest"),
            Self::Step { longest: None } => None,
        }
    }
}
