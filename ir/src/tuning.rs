//! What a run trains of a model that was trained before: adapters beside frozen weights, or all but
//! frozen parts.

/// Weights of a block, and its surroundings, by the role that they play.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Module {
    /// Query projection; of latent attention both of its products.
    Query,
    /// Key projection; of latent attention the one to the narrow keys and values.
    Key,
    /// Value projection; of latent attention the one from the narrow keys and values.
    Value,
    /// Output projection of attention.
    Output,
    /// Gate of the feed-forward part, of each expert.
    Gate,
    /// Its first product.
    Up,
    /// Its last product.
    Down,
    /// Norms, biases and the router.
    Norms,
    /// Embedding, with positions.
    Embedding,
    /// Language-model head; an embedding that it is tied to.
    Head,
}

/// A set of modules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Modules(u16);

impl Module {
    /// All, in the order in which a block uses them.
    pub const ALL: [Self; 10] = [
        Self::Query,
        Self::Key,
        Self::Value,
        Self::Output,
        Self::Gate,
        Self::Up,
        Self::Down,
        Self::Norms,
        Self::Embedding,
        Self::Head,
    ];

    /// Its name on the command line and in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Query => "q",
            Self::Key => "k",
            Self::Value => "v",
            Self::Output => "o",
            Self::Gate => "gate",
            Self::Up => "up",
            Self::Down => "down",
            Self::Norms => "norms",
            Self::Embedding => "embedding",
            Self::Head => "head",
        }
    }
}

impl Modules {
    /// Projections of attention.
    pub const ATTENTION: Self = Self(0b1111);
    /// Products of the feed-forward part.
    pub const FEED_FORWARD: Self = Self(0b111 << 4);
    /// Every linear layer of a block.
    pub const LINEAR: Self = Self(0b111_1111);

    /// With one more.
    #[must_use]
    pub const fn with(self, module: Module) -> Self {
        Self(self.0 | 1 << module as u16)
    }

    /// All of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a module is among them.
    #[must_use]
    pub const fn has(self, module: Module) -> bool {
        self.0 >> module as u16 & 1 == 1
    }

    /// Whether all of some are among them.
    #[must_use]
    pub const fn has_all(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that are there.
    pub fn iter(self) -> impl Iterator<Item = Module> {
        Module::ALL.into_iter().filter(move |module| self.has(*module))
    }
}

/// How an adapter changes the weight beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AdapterKind {
    /// By the product of two narrow matrices (Hu et al. 2021, arXiv:2106.09685).
    #[default]
    Lora,
    /// The same, with lengths of columns of their own (Liu et al. 2024, arXiv:2402.09353).
    Dora,
}

/// How frozen linear weights are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BaseWeights {
    /// In the type of the run.
    #[default]
    Wide,
    /// 4 bits, with double quantisation (NF4, Dettmers et al. 2023, arXiv:2305.14314).
    Nf4,
    /// 4 bits, with factors in single precision.
    Nf4Single,
    /// 8 bits by rows, with outliers of the inputs in 16 bits (LLM.int8(), Dettmers et al. 2022, arXiv:2208.07339).
    Int8,
}

impl BaseWeights {
    /// Bytes of a weight; `None` where it has the type of the run.
    ///
    /// NF4 has an 8-bit factor for 64 weights, and for 256 such factors one in single precision (Dettmers et al.
    /// 2023, section 3); without double quantisation a factor in single precision for 64 weights. `Int8` has one
    /// in single precision for each output, which is not counted.
    #[must_use]
    pub const fn bytes(self) -> Option<f64> {
        match self {
            Self::Wide => None,
            Self::Nf4 => Some(0.5 + 1.0 / 64.0 + 4.0 / (64.0 * 256.0)),
            Self::Nf4Single => Some(0.5 + 4.0 / 64.0),
            Self::Int8 => Some(1.0),
        }
    }

    /// Whether replicas can share the weights out: FSDP and ZeRO 3 gather weights of floating types, as which
    /// bitsandbytes stores 4 bits, not 8.
    #[must_use]
    pub const fn is_gathered(self) -> bool {
        !matches!(self, Self::Int8)
    }
}

/// Narrow matrices that are trained beside frozen weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Adapter {
    /// How they change the weights.
    pub kind: AdapterKind,
    /// Width of the narrow side; at least 1.
    pub rank: u32,
    /// Weights that have one.
    pub targets: Modules,
    /// Embedding and head, where they are trained whole besides (`modules_to_save` of PEFT).
    pub whole: Modules,
    /// How frozen linear weights of blocks are stored.
    pub base: BaseWeights,
    /// Whether adapters are kept in single precision, as PEFT does unless told otherwise.
    pub is_wide: bool,
}

/// What of a model is trained; all of it where nothing is stated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tuning {
    /// Adapters, beside which all is frozen.
    pub adapter: Option<Adapter>,
    /// Parts that are frozen.
    pub frozen: Modules,
    /// The first so many blocks are frozen.
    pub frozen_blocks: u32,
}

impl Tuning {
    /// Whether all is trained.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a module of a block, or an end, is trained itself.
    #[must_use]
    pub fn trains(&self, module: Module) -> bool {
        match &self.adapter {
            Some(adapter) => adapter.whole.has(module),
            None => !self.frozen.has(module),
        }
    }

    /// Whether the gradient of a weight, or of an adapter beside it, needs the input of its product.
    #[must_use]
    pub fn needs_input(&self, module: Module) -> bool {
        self.trains(module) || self.adapter.is_some_and(|adapter| adapter.targets.has(module))
    }

    /// How frozen linear weights of blocks are stored.
    #[must_use]
    pub fn base(&self) -> BaseWeights {
        self.adapter.map_or(BaseWeights::Wide, |adapter| adapter.base)
    }

    /// Width of the adapters of a module; 0 where it has none.
    #[must_use]
    pub fn rank(&self, module: Module) -> u64 {
        let adapter = self.adapter.filter(|adapter| adapter.targets.has(module));
        adapter.map_or(0, |adapter| u64::from(adapter.rank))
    }

    /// Whether no gradient goes through a block whose predecessors are those before it.
    #[must_use]
    pub fn skips(&self, block: u32) -> bool {
        self.adapter.is_none() && block < self.frozen_blocks && !self.trains(Module::Embedding)
    }
}
