//! Matrix products by few constants: what a profile of this machine holds, and what stands in
//! where a data sheet has no count of multiprocessors.
//!
//! `t = launch + (compute^p + memory^p)^(1/p)`, where `memory` is the bytes of the whole op over
//! the reachable bandwidth and `compute` sums over its matrix products. For `count` products of
//! `m x k` by `k x n` on a device with `s` multiprocessors:
//!
//! ```text
//! w(tile)       = count x ceil(m / tm) x ceil(n / tn) / s
//! compute(tile) = max(1, (w + ceil w) / 2) x s x 2 tm tn (k + k0) / (peak x ec)
//!                 x (1 + q (128 x 128 / (tm tn) - 1) / 4)
//! compute       = min(min over tiles of compute(tile), 2 count m n k / (peak x ec) + split_k)
//! ```
//!
//! over the tiles 64 x 64, 128 x 64, 128 x 128 and 256 x 128. Without tile constants, or without a
//! count of multiprocessors, `compute` is `2 count m n k / (peak x ec)`. An op without products
//! takes `launch + memory`; one without bytes either takes no time at all.

use ir::cluster::DeviceKind;
use ir::measured::GpuFacts;
use ir::op::{Kernel, Product};
use ir::profile::{KernelConstants, TileConstants};
use ir::tensor::DType;
use ir::units::FlopsPerSecond;

const TILES: [(f64, f64); 4] = [(64.0, 64.0), (128.0, 64.0), (128.0, 128.0), (256.0, 128.0)];

/// A figure that a kind of device does not state, so that an op has no duration there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Missing {
    /// The rate of products of this type, and of those that stand in for it.
    Peak(DType),
    /// The memory bandwidth.
    MemoryBandwidth,
}

/// The rate at which a kind multiplies matrices of a type, and the type whose rate that is.
///
/// A type without a rate of its own takes that of the next wider one that stands in for it: fp4
/// and 8-bit or smaller integers that of fp8, fp8 that of bf16, bf16 that of fp16 and back, these
/// that of fp32; wider integers that of fp32. fp32 is full fp32, never TF32.
#[must_use]
pub fn peak(kind: &DeviceKind, dtype: DType) -> Option<(DType, FlopsPerSecond)> {
    const NARROW: [DType; 5] = [DType::F4, DType::F8, DType::Bf16, DType::F16, DType::F32];
    let stand_ins: &[DType] = match dtype {
        DType::F4 => &NARROW,
        DType::F8
        | DType::I8
        | DType::U8
        | DType::I4
        | DType::U4
        | DType::I2
        | DType::U2
        | DType::Bool => &NARROW[1..],
        DType::Bf16 => &NARROW[2..],
        DType::F16 => &[DType::F16, DType::Bf16, DType::F32],
        DType::F32
        | DType::I16
        | DType::U16
        | DType::I32
        | DType::U32
        | DType::I64
        | DType::U64 => &NARROW[4..],
        DType::F64 => &[DType::F64],
        DType::C64 | DType::C128 | DType::String => &[],
    };
    stand_ins.iter().find_map(|dtype| kind.peak.get(dtype).map(|rate| (*dtype, *rate)))
}

/// Seconds of the products of a kernel and of its memory traffic, each alone.
#[must_use]
pub fn parts(
    kernel: &Kernel,
    bytes: f64,
    facts: &GpuFacts,
    constants: &KernelConstants,
) -> (f64, f64) {
    let reachable = facts.peak * constants.compute_efficiency;
    let tile = constants.tile.filter(|_| facts.n_multiprocessors > 0);
    let tile = tile.map(|tile| (tile, facts.n_multiprocessors));
    let compute_s =
        kernel.products.iter().map(|product| product_seconds(product, reachable, tile)).sum();
    (compute_s, bytes / (facts.memory_bandwidth * constants.memory_efficiency))
}

/// Seconds of one product at a reachable rate, with the tile term where there is one.
pub(crate) fn product_seconds(
    product: &Product,
    reachable: f64,
    tile: Option<(TileConstants, u32)>,
) -> f64 {
    let [count, m, k, n] = [product.count, product.m, product.k, product.n].map(|x| x as f64);
    let plain = 2.0 * count * m * k * n / reachable;
    let Some((tile, n_multiprocessors)) = tile else {
        return plain;
    };
    if plain <= 0.0 {
        return 0.0;
    }
    let s = f64::from(n_multiprocessors.max(1));
    let tiled = TILES
        .iter()
        .map(|(tm, tn)| {
            let waves = count * (m / tm).ceil() * (n / tn).ceil() / s;
            let penalty = 1.0 + tile.small_tile_penalty * (128.0 * 128.0 / (tm * tn) - 1.0) / 4.0;
            f64::midpoint(waves, waves.ceil()).max(1.0) * s * tm * tn * 2.0 * (k + tile.k0)
                / reachable
                * penalty
        })
        .fold(f64::INFINITY, f64::min);
    tiled.min(plain + tile.split_k.get())
}

#[cfg(test)]
mod tests;
