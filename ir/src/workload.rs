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
    /// AdamW that updates 16-bit weights in place, with two 16-bit moments (`torch.optim.AdamW` on 16-bit
    /// parameters).
    AdamW16,
    /// The same with two 8-bit moments and a factor for every 256 of them (Dettmers et al. 2022,
    /// arXiv:2110.02861; bitsandbytes, torchao).
    AdamW8,
    /// [`Self::AdamW`] on 16-bit weights whose single-precision moments are paged out to the host
    /// (bitsandbytes).
    PagedAdamW,
    /// [`Self::AdamW8`] whose moments are paged out to the host.
    PagedAdamW8,
    /// One fp32 moment per parameter (Chen et al. 2023, arXiv:2302.06675).
    Lion,
    /// The same on 16-bit weights, in 8 bits (bitsandbytes).
    Lion8,
    /// One fp32 moment of matrices of blocks, whose update is orthogonalised; AdamW for all else (Jordan et al.
    /// 2024; Liu et al. 2025, arXiv:2502.16982).
    Muon,
    /// AdamW with one second moment for each row (Zhang et al. 2024, arXiv:2406.16793).
    AdamMini,
}

/// Bytes of an 8-bit moment, with its share of the single-precision factor of a block of 256.
const EIGHT_BITS: f64 = 1.0 + 4.0 / 256.0;

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
    pub const ALL: [Self; 11] = [
        Self::AdamW,
        Self::Sgd,
        Self::Adafactor,
        Self::AdamW16,
        Self::AdamW8,
        Self::PagedAdamW,
        Self::PagedAdamW8,
        Self::Lion,
        Self::Lion8,
        Self::Muon,
        Self::AdamMini,
    ];

    /// Its name on the command line and in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AdamW => "adamw",
            Self::Sgd => "sgd",
            Self::Adafactor => "adafactor",
            Self::AdamW16 => "adamw-16bit",
            Self::AdamW8 => "adamw-8bit",
            Self::PagedAdamW => "paged-adamw",
            Self::PagedAdamW8 => "paged-adamw-8bit",
            Self::Lion => "lion",
            Self::Lion8 => "lion-8bit",
            Self::Muon => "muon",
            Self::AdamMini => "adam-mini",
        }
    }

    /// Bytes of moments per parameter of a matrix of a block, whatever it keeps by row and column, and of any
    /// other parameter.
    #[must_use]
    pub const fn moments(self) -> [f64; 2] {
        match self {
            Self::AdamW | Self::PagedAdamW => [8.0; 2],
            Self::AdamW16 | Self::Lion | Self::AdamMini => [4.0; 2],
            Self::AdamW8 | Self::PagedAdamW8 => [2.0 * EIGHT_BITS; 2],
            Self::Lion8 => [EIGHT_BITS; 2],
            Self::Muon => [4.0, 8.0],
            Self::Sgd | Self::Adafactor => [0.0; 2],
        }
    }

    /// Whether 16-bit weights are updated in place, without a copy in single precision.
    #[must_use]
    pub const fn is_in_place(self) -> bool {
        matches!(
            self,
            Self::AdamW16 | Self::AdamW8 | Self::PagedAdamW | Self::PagedAdamW8 | Self::Lion8
        )
    }

    /// Whether moments are paged out to the host.
    #[must_use]
    pub const fn is_paged(self) -> bool {
        matches!(self, Self::PagedAdamW | Self::PagedAdamW8)
    }

    /// Whether it keeps a number for each row of a matrix, or for each row and column.
    #[must_use]
    pub const fn keeps_lines(self) -> bool {
        matches!(self, Self::Adafactor | Self::AdamMini)
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
