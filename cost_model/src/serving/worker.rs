//! The shape of a worker: how one copy of a model that serves is split over devices of one kind.
//!
//! ```text
//! devices of a stage   tensor x data x context = expert tensor x expert (Megatron-Core's folded mesh)
//! devices              those of a stage x stages
//! ```
//!
//! Attention is split by heads over tensor ranks, and by requests over attention data-parallel ranks.
//! Experts are split by width and by number over all devices of a stage.

use std::fmt;

use ir::card::{Attention, ModelCard, TransformerCard};

/// Degrees of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape {
    /// Tensor ranks: parts of the heads and of the dense feed-forward width.
    pub tensor: u32,
    /// Attention data-parallel ranks, each with requests of its own.
    pub data: u32,
    /// Context-parallel ranks.
    pub context: u32,
    /// Parts of the width of each expert.
    pub expert_tensor: u32,
    /// Parts of the experts of a layer.
    pub expert: u32,
    /// Layers of each pipeline stage.
    pub stages: Vec<u32>,
}

/// An axis of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Axis {
    /// Tensor ranks.
    Tensor,
    /// Attention data-parallel ranks.
    Data,
    /// Context-parallel ranks.
    Context,
    /// Parts of the width of experts.
    ExpertTensor,
    /// Parts of the experts.
    Expert,
    /// Pipeline stages.
    Pipeline,
}

/// Why a model cannot be served in a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Invalid {
    /// A degree is zero.
    Zero {
        /// Of which axis.
        axis: Axis,
    },
    /// The model is a chain of parts without heads or widths to split.
    Parts,
    /// Context parallelism has no price in serving.
    Context {
        /// Context-parallel ranks.
        context: u32,
    },
    /// Attention and experts are not on the same devices of a stage.
    Width {
        /// Tensor x data x context ranks.
        attention: u64,
        /// Expert tensor x expert ranks.
        experts: u64,
    },
    /// Expert degrees of a model without experts.
    NoExperts {
        /// Expert tensor x expert ranks.
        experts: u64,
    },
    /// Query heads do not divide.
    Heads {
        /// Query heads.
        heads: u64,
        /// Tensor ranks.
        tensor: u32,
    },
    /// Key and value heads neither divide nor are whole copies.
    KeyValueHeads {
        /// Key and value heads.
        heads: u64,
        /// Tensor ranks.
        tensor: u32,
    },
    /// The width of a dense feed-forward part, or of shared experts, does not divide.
    FeedForward {
        /// Its width.
        width: u64,
        /// Tensor ranks.
        tensor: u32,
    },
    /// The width of an expert does not divide.
    ExpertWidth {
        /// Its width.
        width: u64,
        /// Parts of it.
        expert_tensor: u32,
    },
    /// Quantised weights share scales over more of a width than a rank has.
    ScaleBlock {
        /// The width of a feed-forward part or an expert.
        width: u64,
        /// Parts of it.
        parts: u32,
        /// Elements that share a scale.
        block: u64,
    },
    /// Experts do not divide.
    Experts {
        /// Experts of a layer.
        experts: u64,
        /// Parts of them.
        expert: u32,
    },
    /// More stages than layers.
    Stages {
        /// Stages.
        stages: u64,
        /// Layers of the model.
        layers: u64,
    },
    /// A stage has no layer.
    EmptyStage {
        /// Position of the stage.
        stage: u64,
    },
    /// Layers of all stages are not those of the model.
    Layers {
        /// Layers of all stages.
        stated: u64,
        /// Layers of the model.
        layers: u64,
    },
    /// The kind of device states no rate that kernels are priced by.
    NoRate,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Zero { axis } => write!(f, "a degree is 0: {axis:?}"),
            Self::Parts => write!(f, "the model has no heads or widths to split"),
            Self::Context { context } => write!(f, "CP {context} has no price in serving"),
            Self::Width { attention, experts } => {
                write!(f, "attention on {attention} devices of a stage, experts on {experts}")
            }
            Self::NoExperts { experts } => write!(f, "EP {experts} of a model without experts"),
            Self::Heads { heads, tensor } => {
                write!(f, "{heads} query heads do not divide by TP {tensor}")
            }
            Self::KeyValueHeads { heads, tensor } => {
                write!(f, "{heads} key/value heads do not divide by TP {tensor}")
            }
            Self::FeedForward { width, tensor } => {
                write!(f, "feed-forward width {width} does not divide by TP {tensor}")
            }
            Self::ExpertWidth { width, expert_tensor } => {
                write!(f, "expert width {width} does not divide by {expert_tensor}")
            }
            Self::ScaleBlock { width, parts, block } => {
                let each = width / u64::from(parts.max(1));
                write!(f, "quantised weights: {each} of width {width} is no multiple of {block}")
            }
            Self::Experts { experts, expert } => {
                write!(f, "{experts} experts do not divide by EP {expert}")
            }
            Self::Stages { stages, layers } => write!(f, "PP {stages} of {layers} layers"),
            Self::EmptyStage { stage } => write!(f, "stage {stage} has no layer"),
            Self::Layers { stated, layers } => {
                write!(f, "the stages have {stated} of {layers} layers")
            }
            Self::NoRate => write!(f, "the device states no rate that kernels are priced by"),
        }
    }
}

impl Shape {
    /// One device with all layers of a model.
    #[must_use]
    pub fn one(model: &ModelCard) -> Self {
        Self {
            tensor: 1,
            data: 1,
            context: 1,
            expert_tensor: 1,
            expert: 1,
            stages: vec![model.n_blocks()],
        }
    }

    /// Tensor ranks alone, which share out the width of experts too.
    #[must_use]
    pub fn of_tensor(model: &ModelCard, tensor: u32) -> Self {
        let expert_tensor = if model.has_experts() { tensor } else { 1 };
        Self { tensor, expert_tensor, ..Self::one(model) }
    }

    /// The same with layers in so many stages of equal length; the first ones have one more where they do
    /// not divide (TensorRT-LLM; vLLM lets the first stage and the last have fewer).
    #[must_use]
    pub fn in_stages(self, n_stages: u32) -> Self {
        let layers = self.stages.iter().fold(0_u32, |sum, n| sum.saturating_add(*n));
        let n = n_stages.clamp(1, layers.max(1));
        let stages = (0..n).map(|stage| layers / n + u32::from(stage < layers % n)).collect();
        Self { stages, ..self }
    }

    /// Devices of one stage.
    #[must_use]
    pub fn stage_devices(&self) -> u64 {
        product([self.tensor, self.data, self.context])
    }

    /// Devices of the worker.
    #[must_use]
    pub fn devices(&self) -> u64 {
        self.stage_devices().saturating_mul(self.stages.len() as u64)
    }

    /// Degrees that split experts.
    #[must_use]
    pub fn expert_devices(&self) -> u64 {
        product([self.expert_tensor, self.expert])
    }

    /// Whether a model can be served in this shape.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn check(&self, model: &ModelCard) -> Result<(), Invalid> {
        self.check_degrees(model)?;
        let block = model.stored.as_ref().map_or(0, |stored| stored.scale_block);
        for group in &model.groups {
            self.check_layer(&group.card)?;
            self.check_scales(&group.card, block)?;
        }
        let (n_stages, layers) = (self.stages.len() as u64, u64::from(model.n_blocks()));
        if n_stages > layers {
            return Err(Invalid::Stages { stages: n_stages, layers });
        }
        if let Some(stage) = self.stages.iter().position(|n| *n == 0) {
            return Err(Invalid::EmptyStage { stage: stage as u64 });
        }
        let stated = self.stages.iter().fold(0_u64, |sum, n| sum.saturating_add(u64::from(*n)));
        if stated == layers { Ok(()) } else { Err(Invalid::Layers { stated, layers }) }
    }

    fn check_degrees(&self, model: &ModelCard) -> Result<(), Invalid> {
        let axes = [
            (Axis::Tensor, self.tensor as usize),
            (Axis::Data, self.data as usize),
            (Axis::Context, self.context as usize),
            (Axis::ExpertTensor, self.expert_tensor as usize),
            (Axis::Expert, self.expert as usize),
            (Axis::Pipeline, self.stages.len()),
        ];
        if let Some((axis, _)) = axes.into_iter().find(|(_, degree)| *degree == 0) {
            return Err(Invalid::Zero { axis });
        }
        if model.is_of_parts() {
            return Err(Invalid::Parts);
        }
        if self.context > 1 {
            return Err(Invalid::Context { context: self.context });
        }
        let (attention, experts) = (self.stage_devices(), self.expert_devices());
        match model.has_experts() {
            true if attention != experts => Err(Invalid::Width { attention, experts }),
            false if experts != 1 => Err(Invalid::NoExperts { experts }),
            _ => Ok(()),
        }
    }

    fn check_layer(&self, card: &TransformerCard) -> Result<(), Invalid> {
        let tensor = self.tensor;
        let divides = |n: u64, parts: u32| n.is_multiple_of(u64::from(parts));
        if !divides(card.n_heads, tensor) {
            return Err(Invalid::Heads { heads: card.n_heads, tensor });
        }
        let heads = card.n_kv_heads;
        let is_latent = matches!(card.attention, Attention::Latent { .. });
        let is_copied = heads > 0 && u64::from(tensor).is_multiple_of(heads);
        if !(is_latent || divides(heads, tensor) || is_copied) {
            return Err(Invalid::KeyValueHeads { heads, tensor });
        }
        let Some(experts) = card.experts else {
            return match divides(card.feed_forward, tensor) {
                true => Ok(()),
                false => Err(Invalid::FeedForward { width: card.feed_forward, tensor }),
            };
        };
        let shared = experts.n_shared.saturating_mul(experts.feed_forward);
        let (width, expert_tensor) = (experts.feed_forward, self.expert_tensor);
        if !divides(shared, tensor) {
            Err(Invalid::FeedForward { width: shared, tensor })
        } else if !divides(width, expert_tensor) {
            Err(Invalid::ExpertWidth { width, expert_tensor })
        } else if !divides(experts.n_experts, self.expert) {
            Err(Invalid::Experts { experts: experts.n_experts, expert: self.expert })
        } else {
            Ok(())
        }
    }

    /// Engines refuse to split what shares a scale.
    fn check_scales(&self, card: &TransformerCard, block: u64) -> Result<(), Invalid> {
        let widths = match card.experts {
            None => [(card.feed_forward, self.tensor), (0, 1)],
            Some(experts) => [
                (experts.n_shared.saturating_mul(experts.feed_forward), self.tensor),
                (experts.feed_forward, self.expert_tensor),
            ],
        };
        let is_split = |(width, parts): &(u64, u32)| {
            *parts > 1 && block > 1 && !(width / u64::from(*parts)).is_multiple_of(block)
        };
        match widths.into_iter().find(is_split) {
            Some((width, parts)) => Err(Invalid::ScaleBlock { width, parts, block }),
            None => Ok(()),
        }
    }

    /// A layer as one tensor rank computes it: key and value heads that are fewer than ranks are copied
    /// (vLLM `QKVParallelLinear`, SGLang and TensorRT-LLM alike).
    #[must_use]
    pub fn with_copies(&self, card: &TransformerCard) -> TransformerCard {
        let n_kv_heads = match card.attention {
            Attention::Latent { .. } => card.n_kv_heads,
            _ => card.n_kv_heads.max(u64::from(self.tensor)),
        };
        TransformerCard { n_kv_heads, ..card.clone() }
    }
}

fn product<const N: usize>(degrees: [u32; N]) -> u64 {
    degrees.into_iter().fold(1, |product, degree| product.saturating_mul(u64::from(degree)))
}

#[cfg(test)]
mod tests;
