//! What the model is planned for.

use crate::tensor::DType;

/// Inference or training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// One forward pass.
    #[default]
    Inference,
    /// Forward, backward and the parameter update.
    Training,
}

/// The optimizer, which decides how many bytes of state each parameter drags along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Optimizer {
    /// Two fp32 moments per parameter (Loshchilov and Hutter 2019).
    #[default]
    AdamW,
    /// No state (plain stochastic gradient descent, no momentum).
    Sgd,
    /// Factored second moment: a row and a column vector per matrix (Shazeer and Stern 2018).
    Adafactor,
}

/// What a step of a model with experts does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StepPhase {
    /// A forward and a backward pass of all tokens.
    Training,
    /// A forward pass of all tokens of new prompts.
    #[default]
    Prefill,
    /// A forward pass of the last token of each sample.
    Decode,
}

impl StepPhase {
    /// All.
    pub const ALL: [Self; 3] = [Self::Training, Self::Prefill, Self::Decode];

    /// Its name on the command line and in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
        }
    }

    /// Tokens per layer and step of `batch` samples of `sequence` tokens.
    #[must_use]
    pub const fn tokens(self, batch: u64, sequence: u64) -> u64 {
        match self {
            Self::Training | Self::Prefill => batch.saturating_mul(sequence),
            Self::Decode => batch,
        }
    }

    /// Whether anything is trained.
    #[must_use]
    pub const fn mode(self) -> Mode {
        match self {
            Self::Training => Mode::Training,
            Self::Prefill | Self::Decode => Mode::Inference,
        }
    }
}

impl Mode {
    /// All.
    pub const ALL: [Self; 2] = [Self::Inference, Self::Training];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Training => "training",
        }
    }
}

impl Optimizer {
    /// All.
    pub const ALL: [Self; 3] = [Self::AdamW, Self::Sgd, Self::Adafactor];

    /// Its name on the command line and in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AdamW => "adamw",
            Self::Sgd => "sgd",
            Self::Adafactor => "adafactor",
        }
    }
}

/// What is planned for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Workload {
    /// Inference or training.
    pub mode: Mode,
    /// For training.
    pub optimizer: Optimizer,
    /// Replaces the wide floats of the file; `None` keeps them.
    pub dtype: Option<DType>,
    /// Samples of one step over all devices; `None` = as in the file.
    pub batch: Option<u64>,
    /// Samples that go through the model at once; `None` = the whole batch.
    pub micro_batch: Option<u64>,
}

impl Workload {
    /// Micro-batches of one step; 1 where no sizes were given.
    #[must_use]
    pub fn n_micro_batches(&self) -> u64 {
        match (self.batch, self.micro_batch) {
            (Some(batch), Some(micro)) if micro > 0 => batch.div_ceil(micro),
            _ => 1,
        }
    }
}
