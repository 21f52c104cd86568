//! What a model that serves holds, as its checkpoint states it: bytes by block, where weights are quantised
//! and where not.

use std::fmt;

/// Type of the keys and values that a server caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CacheType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 16-bit brain floats.
    Bf16,
    /// 8-bit floats.
    F8,
    /// 4-bit floats, of which 16 share a scale of 8 bits.
    F4,
    /// 8-bit integers, of which 32 share a scale of 16 bits (llama.cpp, `block_q8_0`).
    Q8,
    /// 4-bit integers, of which 32 share a scale of 16 bits (llama.cpp, `block_q4_0`).
    Q4,
}

impl CacheType {
    /// All, with their names and the bytes of a number with its share of a scale.
    pub const ROWS: [(Self, &'static str, f64); 7] = [
        (Self::F32, "fp32", 4.0),
        (Self::F16, "fp16", 2.0),
        (Self::Bf16, "bf16", 2.0),
        (Self::F8, "fp8", 1.0),
        (Self::F4, "nvfp4", 0.5625),
        (Self::Q8, "q8_0", 1.0625),
        (Self::Q4, "q4_0", 0.5625),
    ];

    /// Its name on the command line and in documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ROWS.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }

    /// The one with a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ROWS.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// Bytes of a number with its share of a scale.
    #[must_use]
    pub fn bytes(self) -> f64 {
        Self::ROWS.iter().find(|row| row.0 == self).map_or(2.0, |row| row.2)
    }
}

impl fmt::Display for CacheType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Elements and bytes of weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Elements.
    pub elements: u64,
    /// Bytes, scales included.
    pub bytes: u64,
}

impl Extent {
    /// With one more weight.
    #[must_use]
    pub const fn with(self, elements: u64, bytes: u64) -> Self {
        Self {
            elements: self.elements.saturating_add(elements),
            bytes: self.bytes.saturating_add(bytes),
        }
    }

    /// Bytes of an element; `None` where there is none.
    #[must_use]
    pub fn each(self) -> Option<f64> {
        (self.elements > 0).then(|| self.bytes as f64 / self.elements as f64)
    }
}

/// A block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StoredBlock {
    /// All but its experts.
    pub others: Extent,
    /// Of these, weights of products.
    pub products: Extent,
    /// All of its experts.
    pub experts: Extent,
    /// Bytes of the largest of them.
    pub largest_expert: u64,
}

/// Bytes that each number takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Held {
    /// A weight of products; `None` = as the type of the run says.
    pub weight: Option<f64>,
    /// A weight of experts; `None` = as the type of the run says.
    pub expert: Option<f64>,
    /// A cached key or value; `None` = as the type of the run says.
    pub cache: Option<CacheType>,
}

/// Weights of a checkpoint, and how keys and values beside them are cached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stored {
    /// By block, as the checkpoint has them.
    pub blocks: Vec<StoredBlock>,
    /// Before the first block and behind the last one.
    pub ends: [Extent; 2],
    /// How weights are quantised, where they are.
    pub method: Option<String>,
    /// Whether most are in blocks of blocks (k-quants and their like), which take more work to unpack.
    pub has_super_blocks: bool,
    /// Elements along a width that share a scale, which engines don't split over tensor ranks; 0 = none.
    pub scale_block: u64,
    /// Keys and values; `None` = in the type of the run.
    pub cache: Option<CacheType>,
}

impl Stored {
    /// What the numbers of a block take; of blocks that the checkpoint lacks as of the last one.
    #[must_use]
    pub fn held(&self, block: usize) -> Held {
        let block = self.block(block);
        Held { weight: block.products.each(), expert: block.experts.each(), cache: self.cache }
    }

    /// A block; of those that the checkpoint lacks the last one.
    #[must_use]
    pub fn block(&self, block: usize) -> StoredBlock {
        self.blocks.get(block).or(self.blocks.last()).copied().unwrap_or_default()
    }
}
