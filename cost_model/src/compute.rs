//! How long a kernel takes on a kind of device.
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
use ir::op::{Kernel, Product};
use ir::profile::{KernelConstants, Provenance, TileConstants};
use ir::tensor::DType;
use ir::units::{FlopsPerSecond, Nanos, Work};

const TILES: [(f64, f64); 4] = [(64.0, 64.0), (128.0, 64.0), (128.0, 128.0), (256.0, 128.0)];

/// A figure that a kind of device does not state, so that an op has no duration there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Missing {
    /// The rate of products of this type, and of those that stand in for it.
    Peak(DType),
    /// The memory bandwidth.
    MemoryBandwidth,
}

/// Where the time of a kernel goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Breakdown {
    /// The whole, as the planner counts it.
    pub total: Nanos,
    /// Start-up cost in nanoseconds.
    pub launch_ns: f64,
    /// Time of the products alone in nanoseconds.
    pub compute_ns: f64,
    /// Time of the memory traffic alone in nanoseconds.
    pub memory_ns: f64,
    /// Exponent that joins the two.
    pub p_norm: f64,
    /// Type whose rate was taken for the products; `None` without products.
    pub rate_of: Option<DType>,
    /// How the constants were come by.
    pub provenance: Provenance,
}

impl Breakdown {
    /// The whole in seconds, not rounded to what the planner counts in.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        (self.launch_ns + p_norm(self.compute_ns, self.memory_ns, self.p_norm)) * 1e-9
    }
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

/// Where the time of a kernel goes on a kind of device.
///
/// # Errors
/// The figure that the kind does not state.
pub fn explain(
    kernel: &Kernel,
    kind: &DeviceKind,
    constants: &KernelConstants,
) -> Result<Breakdown, Missing> {
    let bytes = kernel.bytes_read + kernel.bytes_written;
    let has_work = !kernel.products.is_empty() || bytes.get() > 0;
    let memory_s = match (bytes.get(), kind.memory_bandwidth) {
        (0, _) => 0.0,
        (_, None) => return Err(Missing::MemoryBandwidth),
        (_, Some(rate)) => bytes.as_f64() / (rate.get() * constants.memory_efficiency),
    };
    let mut rate_of = None;
    let mut compute_s = 0.0;
    if !kernel.products.is_empty() {
        let dtype = kernel.dtype.unwrap_or(DType::F32);
        let (stand_in, rate) = peak(kind, dtype).ok_or(Missing::Peak(dtype))?;
        rate_of = Some(stand_in);
        let reachable = rate.get() * constants.compute_efficiency;
        let tile = constants.tile.zip(kind.n_multiprocessors);
        compute_s =
            kernel.products.iter().map(|product| product_seconds(product, reachable, tile)).sum();
    }
    let launch_s = if has_work { constants.launch.get() } else { 0.0 };
    let work = if has_work { Work::Some } else { Work::None };
    let total_s = launch_s + p_norm(compute_s, memory_s, constants.p_norm);
    Ok(Breakdown {
        total: Nanos::rounded(total_s * 1e9, work),
        launch_ns: launch_s * 1e9,
        compute_ns: compute_s * 1e9,
        memory_ns: memory_s * 1e9,
        p_norm: constants.p_norm,
        rate_of,
        provenance: constants.provenance.clone(),
    })
}

/// How long a kernel takes on a kind of device; see [`explain`].
///
/// # Errors
/// The figure that the kind does not state.
pub fn duration(
    kernel: &Kernel,
    kind: &DeviceKind,
    constants: &KernelConstants,
) -> Result<Nanos, Missing> {
    explain(kernel, kind, constants).map(|breakdown| breakdown.total)
}

/// `(a^p + b^p)^(1/p)`, scaled by the greater so that no power leaves the range.
fn p_norm(a: f64, b: f64, p: f64) -> f64 {
    let (greater, less) = if a >= b { (a, b) } else { (b, a) };
    if less <= 0.0 {
        return greater;
    }
    greater * (1.0 + (less / greater).powf(p)).powf(1.0 / p)
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
