//! Kernels that were measured on one system under one serving engine: sorted tables of times.
//!
//! Readers live in `importers`; `cost_model::kernels::tables` answers from them. Times are seconds.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::measured::CollectiveOperation;

/// Data type of stored numbers, and the units that multiply them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NumberFormat {
    /// 16-bit floats.
    Bf16,
    /// 8-bit floats, one factor for a tensor or a row.
    Fp8,
    /// 8-bit floats, a factor for each block.
    Fp8Block,
    /// NVIDIA's 4-bit floats: a factor of 8 bits for every 16 numbers.
    Nvfp4,
    /// 8-bit integers.
    Int8,
    /// Weights in 8-bit integers, multiplied in 16 bits.
    Int8Weights,
    /// Weights in 4-bit integers, multiplied in 16 bits.
    Int4Weights,
    /// Weights in 4-bit integers, multiplied in 8-bit floats.
    Int4Fp8,
    /// Weights in the 4-bit floats of the OCP's microscaling formats, multiplied in 16 bits.
    Mxfp4Weights,
    /// The same, multiplied in 8-bit floats.
    Mxfp4Fp8,
}

/// Matrix units of a device, by data type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// 16-bit floats.
    Bf16,
    /// 8-bit integers.
    Int8,
    /// 8-bit floats.
    Fp8,
    /// 4-bit floats.
    Fp4,
}

impl NumberFormat {
    /// The type of this name in AIConfigurator's tables; `None` for unknown ones.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "bfloat16" | "float16" | "half" => Self::Bf16,
            "fp8" | "float8" => Self::Fp8,
            "fp8_block" => Self::Fp8Block,
            "nvfp4" => Self::Nvfp4,
            "int8" => Self::Int8,
            "int8_wo" => Self::Int8Weights,
            "int4_wo" => Self::Int4Weights,
            "w4afp8" => Self::Int4Fp8,
            "w4a16_mxfp4" => Self::Mxfp4Weights,
            "w4a8_mxfp4_mxfp8" => Self::Mxfp4Fp8,
            _ => return None,
        })
    }

    /// Bytes per element, scaling factors of NVFP4 included.
    #[must_use]
    pub const fn bytes(self) -> f64 {
        match self {
            Self::Bf16 => 2.0,
            Self::Fp8 | Self::Fp8Block | Self::Int8 | Self::Int8Weights => 1.0,
            Self::Nvfp4 => 0.5625,
            Self::Int4Weights | Self::Int4Fp8 | Self::Mxfp4Weights | Self::Mxfp4Fp8 => 0.5,
        }
    }

    /// Units that multiply this type.
    #[must_use]
    pub const fn unit(self) -> Unit {
        match self {
            Self::Bf16 | Self::Int8Weights | Self::Int4Weights | Self::Mxfp4Weights => Unit::Bf16,
            Self::Int8 => Unit::Int8,
            Self::Fp8 | Self::Fp8Block | Self::Int4Fp8 | Self::Mxfp4Fp8 => Unit::Fp8,
            Self::Nvfp4 => Unit::Fp4,
        }
    }
}

/// Rates of a system, from its YAML file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SystemRates {
    /// Memory bandwidth of a device, bytes per second.
    pub memory_rate: f64,
    /// Memory capacity of a device, bytes.
    pub memory_bytes: u64,
    /// Fraction of the memory bandwidth that pointwise kernels reach.
    pub pointwise_fraction: f64,
    /// Constant time of a pointwise kernel, seconds.
    pub pointwise_s: f64,
    /// Peak FLOP/s by matrix unit.
    pub flops: BTreeMap<Unit, f64>,
    /// Devices of a host.
    pub per_host: u32,
    /// Bandwidth of a device inside a host, one direction, bytes per second.
    pub host_rate: f64,
    /// Bandwidth of a device between hosts, one direction, bytes per second.
    pub network_rate: f64,
    /// Devices of a rack, and the bandwidth of a device between racks, bytes per second.
    pub rack: Option<(u32, f64)>,
    /// Constant time of a point-to-point transfer, seconds.
    pub transfer_s: f64,
    /// Compute capability, such as 90.
    pub capability: u32,
    /// Memory of NCCL by number of devices, bytes.
    pub nccl_bytes: BTreeMap<u32, u64>,
    /// Other reserved memory, bytes.
    pub other_bytes: u64,
}

impl SystemRates {
    /// Bandwidth of a device in a group of `devices`, bytes per second.
    #[must_use]
    pub fn group_rate(&self, devices: u32) -> f64 {
        match self.rack {
            _ if devices <= self.per_host => self.host_rate,
            Some((rack, beyond)) if devices > rack => beyond,
            _ => self.network_rate,
        }
    }
}

/// A table file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSource {
    /// Path below the folder of systems.
    pub file: String,
    /// Version of the engine or library that was measured.
    pub version: String,
    /// Rows of the file.
    pub n_rows: u64,
    /// Rows in use: of a known data type, and absent from files with precedence.
    pub n_kept: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// A measured time: coordinates, seconds, index of the source.
pub type Point<const N: usize> = ([u32; N], f64, u16);

/// Measured times over one or more axes, as a sorted tree: below each coordinate of an axis, the
/// coordinates of the next axis that were measured with it. Grids may be ragged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grid {
    levels: Vec<Level>,
    seconds: Vec<f64>,
    sources: Vec<u16>,
}

/// Coordinates on one axis, ascending below each parent.
#[derive(Clone, Debug, Default, PartialEq)]
struct Level {
    positions: Vec<u32>,
    /// Index of the first child of each coordinate on the next axis.
    first: Vec<u32>,
}

impl Grid {
    /// Sorts points; of duplicates the first in the list counts.
    #[must_use]
    pub fn of<const N: usize>(mut points: Vec<Point<N>>) -> Self {
        points.sort_by_key(|point| point.0);
        points.dedup_by_key(|point| point.0);
        let mut levels = vec![Level::default(); N];
        let mut before: Option<[u32; N]> = None;
        for (at, ..) in &points {
            let same = before.map_or(0, |b| b.iter().zip(at).take_while(|(b, a)| a == b).count());
            for depth in same..N {
                let next = levels.get(depth + 1).map_or(0, |level| level.positions.len());
                levels[depth].positions.push(at[depth]);
                levels[depth].first.push(u32::try_from(next).unwrap_or(u32::MAX));
            }
            before = Some(*at);
        }
        for depth in 0..N {
            let end = levels.get(depth + 1).map_or(0, |level| level.positions.len());
            levels[depth].first.push(u32::try_from(end).unwrap_or(u32::MAX));
        }
        let seconds = points.iter().map(|point| point.1).collect();
        Self { levels, seconds, sources: points.iter().map(|point| point.2).collect() }
    }

    /// Number of points.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seconds.len()
    }

    /// Whether nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seconds.is_empty()
    }

    /// Number of axes.
    #[inline]
    #[must_use]
    pub fn n_axes(&self) -> usize {
        self.levels.len()
    }

    /// Coordinates on an axis, parent by parent; those of the last axis are the points.
    #[inline]
    #[must_use]
    pub fn positions(&self, axis: usize) -> &[u32] {
        self.levels.get(axis).map_or(&[], |level| &level.positions)
    }

    /// Range on the next axis of the children of a coordinate.
    #[inline]
    #[must_use]
    pub fn below(&self, axis: usize, index: usize) -> Range<usize> {
        let first = &self.levels[axis].first;
        first[index] as usize..first[index + 1] as usize
    }

    /// Seconds of a point.
    #[inline]
    #[must_use]
    pub fn seconds(&self, point: usize) -> f64 {
        self.seconds[point]
    }

    /// Index of the source of a point.
    #[inline]
    #[must_use]
    pub fn source(&self, point: usize) -> u16 {
        self.sources[point]
    }
}

/// Key of an attention table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttentionKey {
    /// Compute type; [`NumberFormat::Bf16`] for every decode table.
    pub number: NumberFormat,
    /// Type of the KV cache.
    pub cache: NumberFormat,
    /// KV heads; 0 = as many as query heads.
    pub kv_heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// Sliding window in tokens; 0 = none.
    pub window: u32,
}

/// Key of a table of multi-head latent attention (MLA).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MlaKey {
    /// Compute type; [`NumberFormat::Bf16`] for every decode table.
    pub number: NumberFormat,
    /// Type of the KV cache.
    pub cache: NumberFormat,
    /// Type of the projections, where the whole block was measured; `None` = the kernel alone.
    pub weights: Option<NumberFormat>,
}

/// Key of a table of MoE layers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MoeKey {
    /// Type of the experts' weights.
    pub number: NumberFormat,
    /// Experts of the layer.
    pub experts: u32,
    /// Experts per token.
    pub per_token: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Inner width of an expert.
    pub inner: u32,
    /// Tensor-parallel ranks of an expert.
    pub tensor: u32,
    /// Expert-parallel ranks.
    pub expert: u32,
    /// Expert load distribution, as named in the table: `uniform`, `power_law_1.2`.
    pub load: String,
}

/// All tables of a system under a serving engine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineTables {
    /// The system, such as `h200_sxm`.
    pub system: String,
    /// The engine, such as `vllm`.
    pub engine: String,
    /// Version of the engine.
    pub version: String,
    /// Rates of the system.
    pub rates: SystemRates,
    /// Table files in order of precedence.
    pub sources: Vec<TableSource>,
    /// GEMM over n, k, m, by data type.
    pub gemm: BTreeMap<NumberFormat, Grid>,
    /// Prefill attention over query heads, tokens of a prompt, prompts.
    pub prefill: BTreeMap<AttentionKey, Grid>,
    /// Decode attention over query heads, requests, tokens (the new one included).
    pub decode: BTreeMap<AttentionKey, Grid>,
    /// Prefill MLA over heads, tokens of a prompt, prompts.
    pub mla_prefill: BTreeMap<MlaKey, Grid>,
    /// Decode MLA over heads, requests, tokens.
    pub mla_decode: BTreeMap<MlaKey, Grid>,
    /// Batched GEMMs of decode MLA over heads, tokens, by type and side: queries (`true`), values.
    pub mla_bmm: BTreeMap<(NumberFormat, bool), Grid>,
    /// MoE layers over the tokens of all ranks.
    pub moe: BTreeMap<MoeKey, Grid>,
    /// The engine's all-reduce inside a host over 16-bit elements, by devices.
    pub all_reduce: BTreeMap<u32, Grid>,
    /// NCCL collectives over 16-bit elements, by devices.
    pub collectives: BTreeMap<(CollectiveOperation, u32), Grid>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_lie_below_what_they_were_measured_with() {
        let points = vec![
            ([2, 30], 5.0, 0),
            ([1, 10], 1.0, 0),
            ([2, 10], 4.0, 0),
            ([1, 20], 2.0, 0),
            ([1, 10], 9.0, 1),
        ];
        let grid = Grid::of(points);
        assert_eq!((grid.len(), grid.n_axes()), (4, 2));
        assert_eq!(grid.positions(0), [1, 2]);
        assert_eq!(grid.positions(1), [10, 20, 10, 30]);
        assert_eq!((grid.below(0, 0), grid.below(0, 1)), (0..2, 2..4));
        let seconds: Vec<f64> = (0..4).map(|point| grid.seconds(point)).collect();
        assert_eq!(seconds, [1.0, 2.0, 4.0, 5.0]);
        assert_eq!(grid.source(0), 0);
    }

    #[test]
    fn nothing_measured_is_no_grid_to_fall_over() {
        let grid = Grid::of::<3>(Vec::new());
        assert!(grid.is_empty() && grid.positions(0).is_empty());
        assert_eq!(grid.n_axes(), 3);
    }

    #[test]
    fn the_network_serves_groups_beyond_a_host() {
        let rates = SystemRates {
            per_host: 8,
            host_rate: 450e9,
            network_rate: 50e9,
            rack: Some((72, 25e9)),
            ..SystemRates::default()
        };
        let of = |devices| rates.group_rate(devices);
        assert_eq!((of(8), of(9), of(72), of(73)), (450e9, 50e9, 50e9, 25e9));
    }
}
