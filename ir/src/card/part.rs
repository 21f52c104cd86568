//! A part of an imported graph by what its ops do, for one sample.

use crate::op::Product;
use crate::units::Flops;

/// Which extent of a product grows with the samples of a micro-batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grows {
    /// Rows: activations by a weight.
    Rows,
    /// The contracted extent: the gradient of a weight.
    Contracted,
    /// The number of products: both factors are activations.
    Count,
}

/// Equal products of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PartProduct {
    /// One of them, for one sample.
    pub product: Product,
    /// What grows with the samples.
    pub grows: Grows,
    /// Kernels of this shape.
    pub n_kernels: u64,
}

impl PartProduct {
    /// The product for `samples` samples (saturating).
    #[must_use]
    pub fn of_samples(&self, samples: u64) -> Product {
        let Product { count, m, k, n } = self.product;
        match self.grows {
            Grows::Rows => Product { count, m: m.saturating_mul(samples), k, n },
            Grows::Contracted => Product { count, m, k: k.saturating_mul(samples), n },
            Grows::Count => Product { count: count.saturating_mul(samples), m, k, n },
        }
    }
}

/// Cores of attention of one shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PartCore {
    /// Operations of the forward pass over all positions of one sample (in a backward pass: of the forward pass
    /// that it differentiates).
    pub flops: u64,
    /// Positions that a query would see.
    pub sequence: u64,
    /// Elements of a head.
    pub head_dim: u64,
}

/// One pass through a part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PartPass {
    /// Its products, each shape once.
    pub products: Vec<PartProduct>,
    /// Bytes that kernels without products move for one sample, in the elements of the graph.
    pub bytes: u64,
    /// Bytes that kernels without products move however many samples there are: weights that are
    /// transposed, say.
    pub fixed_bytes: u64,
    /// Kernels without products.
    pub n_kernels: u64,
    /// Cores of attention, where one kernel does all of a core, each shape once.
    pub attention: Vec<PartCore>,
    /// Weight elements for which its products accumulate gradients.
    pub added: u64,
}

impl PartPass {
    /// Operations for one sample (saturating).
    #[must_use]
    pub fn flops(&self) -> Flops {
        let of = |product: &PartProduct| {
            let one = product.product.flops().unwrap_or(Flops::MAX);
            Flops(one.0.saturating_mul(product.n_kernels))
        };
        self.products.iter().map(of).sum()
    }
}

/// A part of a model: a layer of a run of equal layers, or what lies between such runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PartCard {
    /// Forward pass.
    pub forward: PartPass,
    /// Gradients of activations.
    pub backward_input: PartPass,
    /// Gradients of weights.
    pub backward_weight: PartPass,
    /// Trained parameters that no earlier part has.
    pub n_parameters: u64,
    /// Rows and columns of these, where they are matrices, else elements: what Adafactor keeps a
    /// number for.
    pub n_lines: u64,
    /// Weights that an earlier part has too: the nearest such part, by its block, and elements. A
    /// stage that does not hold that part needs a copy.
    pub tied: Vec<(u32, u64)>,
    /// Bytes that the backward pass needs of the forward pass, for one sample, in the elements of
    /// the graph.
    pub stash: u64,
    /// Bytes that it reads of earlier parts, for one sample.
    pub input: u64,
    /// Bytes of all tensors that cross the boundary behind it, for one sample.
    pub behind: u64,
    /// What it needs of the forward pass beside `stash`, where an earlier part keeps it too: the
    /// nearest such part, by its block, and bytes for one sample. A stage that does not hold that part
    /// keeps it as well.
    pub kept_before: Vec<(u32, u64)>,
    /// The same part as a stack runs it that fuses attention, products side by side and chains of
    /// pointwise kernels.
    pub fused: Option<Box<PartCard>>,
}
