//! How long kernels of a training step take under a software stack, the same for ops of a graph, for
//! blocks and for parts: products by the form of [`crate::kernels::plain_product`], the rest by bytes.

use ir::chip::{Architecture, Chip};
use ir::cluster::DeviceKind;
use ir::measured::GpuFacts;
use ir::op::{Kernel, Product};
use ir::profile::KernelConstants;
use ir::stack::{Scaling, Stack};
use ir::tensor::DType;
use ir::units::Bytes;

use super::attention_rate::CoreRate;
use super::generation::{Operands, generation};
use super::power;
use super::precision;
use super::step_constants::{Constant, Constants};
use super::step_products::StepProducts;
use crate::kernels::plain_product;
use crate::numeric::p_norm;

/// Bytes that tensor cores want rows of the operands of a product in multiples of (NVIDIA, Matrix
/// Multiplication Background User's Guide, section 4.1).
const ALIGNED: u64 = 16;
/// Operations of fused attention's backward pass over those of its forward pass (Dao et al. 2022:
/// five products instead of two).
const FUSED_BACKWARD: f64 = 2.5;
/// Share of the scores that causal attention computes.
const CAUSAL: f64 = 0.5;
/// Bytes per logit beside its own: a 32-bit copy written and read, and the gradient; nominal.
pub const LOGIT_BYTES: f64 = 12.0;
/// Time of a product scaled by rows over that of one scaled by tensors; found on torchtitan's steps
/// with rowwise scaling, nominally 1.3.
const BY_ROWS: f64 = 1.39;
/// Bytes per logit at the peak beside its own: a single-precision copy that loss and gradient
/// overwrite (found on the allocator peaks of Megatron-LM d98e8a64, whose tables 4 bytes more would
/// miss).
pub const WIDE_LOGIT: f64 = 4.0;

/// Bytes that allocator peaks of Megatron-LM's functional tests (d98e8a64) show beyond states,
/// activations and logits, workspace of product libraries included: 50 to 110 MB on A100, 30 MB
/// more on later GPUs.
pub const RESIDENT: f64 = 0.075e9;

/// Rates of one device of a system under given constants.
#[derive(Clone, Debug)]
pub struct Rates {
    facts: GpuFacts,
    /// Of the operands of products.
    dtype: DType,
    /// Bytes of a weight as it is held; `None` = those of an operand.
    weight: Option<f64>,
    kernels: KernelConstants,
    /// Constants of products outside the tensor cores, up to the factor.
    cool: KernelConstants,
    unaligned: f64,
    /// Factor on products by how their operands are scaled.
    scaled: f64,
    /// Bytes that casting an element of an operand moves.
    cast: f64,
    /// Bytes per second of pointwise kernels.
    pointwise: f64,
    /// Of fused attention alone, and what a step leaves of it in either pass.
    core: CoreRate,
    core_share: [f64; 2],
}

/// A core of attention over all positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Core {
    /// Operations of its two products, of all heads, were nothing masked.
    pub flops: f64,
    /// Positions that a query would see.
    pub sequence: f64,
    /// Elements of a head.
    pub head_dim: f64,
}

impl Rates {
    /// Rates of a device for kernels of a type under a stack. A rate that the device does not state
    /// is not a number.
    #[must_use]
    pub fn new(
        device: &DeviceKind,
        products: &StepProducts,
        stack: &Stack,
        constants: &Constants,
        dtype: DType,
    ) -> Self {
        let bandwidth = device.memory_bandwidth.map_or(f64::NAN, |rate| rate.get());
        let peak =
            |dtype| plain_product::peak(device, dtype).map_or(f64::NAN, |(_, rate)| rate.get());
        let cool = products.on((peak(dtype), bandwidth), dtype, stack.scaling);
        let is_single = matches!(dtype, DType::F32 | DType::F64);
        let sustained = if is_single { 1.0 } else { power::sustained(device, dtype) };
        let path = |dtype| {
            generation(device.chip).share_of(stack.path, Operands::of(dtype, stack.scaling))
        };
        let derated = constants.get(Constant::Derating) * sustained;
        let hot = derated * path(dtype);
        // The power that a step leaves is that of its products, the code that of its own operands.
        let of_core = derated * path(precision::beside(dtype)) * constants.get(Constant::Attention);
        let attention_rate = match (device.chip.architecture(), device.chip) {
            (Architecture::Hopper, _) | (Architecture::Blackwell, Chip::B200 | Chip::Gb200) => {
                stack.attention_rate
            }
            _ => stack.attention_rate_elsewhere.unwrap_or(stack.attention_rate),
        };
        let mut kernels = cool.clone();
        kernels.compute_efficiency *= hot;
        let facts = GpuFacts {
            memory_bandwidth: bandwidth,
            peak: peak(dtype),
            n_multiprocessors: device.n_multiprocessors.unwrap_or(0),
            last_level_cache: None,
            clock: None,
        };
        Self {
            facts,
            dtype,
            weight: None,
            kernels,
            cool,
            unaligned: constants.get(Constant::Unaligned),
            // What was measured was scaled as it is.
            scaled: match (dtype, stack.scaling, products.measured(dtype)) {
                (DType::F8, Scaling::Row, None) => BY_ROWS,
                _ => 1.0,
            },
            cast: precision::cast_bytes(dtype, stack.scaling, is_transposed_apart(device)),
            pointwise: bandwidth * constants.get(Constant::Elementwise),
            core: CoreRate::of(device, precision::beside(dtype)),
            core_share: attention_rate.map(|rate| rate * of_core),
        }
    }

    /// The same where weights of products are held in so many bytes each, such as those of a quantised
    /// checkpoint.
    #[must_use]
    pub fn of_weights(self, weight: Option<f64>) -> Self {
        Self { weight, ..self }
    }

    /// Seconds of `count` products of `m x k` by `k x n`; not a number where the device states no
    /// rate.
    #[must_use]
    pub fn product(&self, count: u64, extents: [u64; 3]) -> f64 {
        self.aligned_product(count, extents, (&extents, None))
    }

    /// Seconds of `m` tokens by a weight of `k x n`: tokens lie one after the other, whatever their number.
    #[must_use]
    pub fn by_weight(&self, count: u64, extents: [u64; 3]) -> f64 {
        self.aligned_product(count, extents, (&extents[1..], self.weight))
    }

    /// Seconds of products whose stated extents have to be aligned; weights may be held in so many bytes.
    fn aligned_product(
        &self,
        count: u64,
        [m, n, k]: [u64; 3],
        (aligned, weight): (&[u64], Option<f64>),
    ) -> f64 {
        let operand = precision::operand(self.dtype);
        let read = match weight {
            None => bytes(count, m.saturating_mul(k).saturating_add(k.saturating_mul(n)), operand),
            Some(weight) => {
                let weights = bytes(count, k.saturating_mul(n), weight).0;
                Bytes(bytes(count, m.saturating_mul(k), operand).0.saturating_add(weights))
            }
        };
        let kernel = Kernel {
            products: vec![Product { count, m, k, n }],
            bytes_read: read,
            bytes_written: bytes(count, m.saturating_mul(n), precision::element(self.dtype)),
            dtype: Some(self.dtype),
            ..Kernel::default()
        };
        self.joined(&kernel, self.is_aligned(aligned))
    }

    /// Seconds of an op's products with the bytes that it moves.
    #[must_use]
    pub fn kernel(&self, kernel: &Kernel) -> f64 {
        let first = kernel.products.first();
        self.joined(kernel, first.is_none_or(|first| self.is_aligned(&[first.n, first.k])))
    }

    fn is_aligned(&self, extents: &[u64]) -> bool {
        // 32-bit products have no tensor cores to miss.
        let multiple = match self.dtype {
            DType::F32 => 1,
            _ => ALIGNED * 8 / self.dtype.bits().max(1),
        };
        extents.iter().all(|extent| extent.is_multiple_of(multiple))
    }

    fn joined(&self, kernel: &Kernel, is_aligned: bool) -> f64 {
        let (constants, factor) =
            if is_aligned { (&self.kernels, self.scaled) } else { (&self.cool, self.unaligned) };
        let bytes = kernel.bytes_read.as_f64() + kernel.bytes_written.as_f64();
        let (compute, memory) = plain_product::parts(kernel, bytes, &self.facts, constants);
        let launch = constants.launch.get();
        factor * (launch + p_norm::joined(compute, memory, constants.p_norm))
    }

    /// Seconds of so many operations of large products at a share of the peak rate, before what a hot
    /// step leaves of it.
    #[must_use]
    pub fn share_of_peak(&self, flops: f64, share: f64) -> f64 {
        let hot = self.kernels.compute_efficiency / self.cool.compute_efficiency;
        flops / (self.facts.peak * share * hot)
    }

    /// Seconds between the end of one kernel and the first work of the next one.
    #[must_use]
    pub fn start(&self) -> f64 {
        self.kernels.launch.get()
    }

    /// Seconds of moving so many bytes in pointwise kernels.
    #[must_use]
    pub fn pointwise(&self, bytes: f64) -> f64 {
        bytes / self.pointwise
    }

    /// Seconds of reading so many bytes at a share of the bandwidth of memory.
    #[must_use]
    pub fn reading(&self, bytes: f64, share: f64) -> f64 {
        bytes / (self.facts.memory_bandwidth * share)
    }

    /// Bytes that casting an element of an operand from 16 bits moves; 0 where nothing is cast.
    #[must_use]
    pub const fn cast_bytes(&self) -> f64 {
        self.cast
    }

    /// Seconds of one kernel of causal attention, or of its gradients.
    #[must_use]
    pub fn fused_attention(&self, core: Core, is_backward: bool) -> f64 {
        let passes = if is_backward { FUSED_BACKWARD } else { 1.0 };
        passes * (CAUSAL * core.flops) / self.core_rate(core, is_backward)
    }

    /// Operations per second of a fused core, or of its gradients, in a step.
    #[must_use]
    pub fn core_rate(&self, core: Core, is_backward: bool) -> f64 {
        self.core.at(core.sequence, core.head_dim) * self.core_share[usize::from(is_backward)]
    }
}

/// Whether its 8-bit tensor cores read operands in one order only, so that a transposed copy is made:
/// all but Blackwell's (NVIDIA, CUDA C++ Programming Guide, `wgmma` and `tcgen05`).
fn is_transposed_apart(device: &DeviceKind) -> bool {
    device.chip.architecture() != Architecture::Blackwell
}

fn bytes(count: u64, elements: u64, each: f64) -> Bytes {
    // Half of the range, so that a sum of two stays inside it.
    let elements = count.saturating_mul(elements) as f64;
    Bytes(((elements * each) as u64).min(u64::MAX / 2))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ir::chip::Chip;
    use ir::cluster::Check;
    use ir::profile::Profile;
    use ir::units::{BytesPerSecond, FlopsPerSecond};

    use super::*;
    use crate::kernels::stack::megatron_deepspeed_2021;

    /// An A100 of the data sheet.
    fn a100(dtype: DType) -> Rates {
        let device = DeviceKind {
            name: "a100_sxm4_80gb".to_owned(),
            chip: Chip::A100,
            memory: None,
            memory_bandwidth: BytesPerSecond::new(2.039e12),
            peak: BTreeMap::from([(DType::Bf16, FlopsPerSecond::new(312e12).unwrap())]),
            n_multiprocessors: Some(108),
            last_level_cache: None,
            clock: None,
            power: None,
            source: String::new(),
            check: Check::Recalled,
            ..DeviceKind::default()
        };
        let stack = megatron_deepspeed_2021();
        let products = StepProducts::new(&Profile::default(), &device);
        Rates::new(&device, &products, &stack, &Constants::nominal(&stack), dtype)
    }

    #[test]
    fn unaligned_and_derated_products_are_slower_by_their_factors() {
        let rates = a100(DType::Bf16);
        let aligned = rates.product(1, [8192, 50_256, 1024]);
        let odd = rates.product(1, [8192, 50_257, 1024]);
        // A token more is a token more.
        let more = rates.by_weight(1, [8193, 50_256, 1024]);
        assert!(more >= aligned && more < 1.02 * aligned, "{more} {aligned}");
        assert!((odd / aligned / 4.0 / 0.9 - 1.0).abs() < 0.02, "{odd} {aligned}");
        // 8,192^3 on an A100: between 70 and 95 % of the derated peak.
        let large = rates.product(1, [8192; 3]);
        let share = 2.0 * 8192_f64.powi(3) / large / 312e12;
        assert!((0.63..0.86).contains(&share), "{share}");
        assert!((rates.pointwise(2.039e12 * 0.75) - 1.0).abs() < 1e-9);
        // 661 positions: half of 152 TFLOP/s.
        let core = Core { flops: 2.0 * 76e12, sequence: 661.0, head_dim: 128.0 };
        assert!((rates.fused_attention(core, false) * 0.9 - 1.0).abs() < 1e-9);
        assert!((rates.fused_attention(core, true) * 0.9 - 2.5).abs() < 1e-9);
    }

    #[test]
    fn absurd_extents_stay_finite() {
        let rates = a100(DType::Bf16);
        assert!(rates.product(u64::MAX, [u64::MAX; 3]).is_finite());
        assert!(rates.product(1, [0; 3]).is_finite());
    }
}
