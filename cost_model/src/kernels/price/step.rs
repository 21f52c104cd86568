//! Ops of a training step, priced as blocks of a training run are: by the rates of a software stack.

use std::collections::BTreeMap;

use ir::cluster::DeviceKind;
use ir::graph::Graph;
use ir::id::OpId;
use ir::op::{Fused, Kernel, Op, Phase, Product, Work};
use ir::profile::{KernelConstants, Profile, Provenance};
use ir::stack::{Elementwise, Launch, Stack};
use ir::tensor::DType;
use ir::workload::Mode;

use super::evaluate::{Breakdown, Detail, nothing};
use super::task::{self, Form};
use crate::kernels::origin::{Origin, Sourced};
use crate::kernels::plain_product::{self, Missing};
use crate::kernels::precision::Gradients;
use crate::kernels::rates::{Core, Rates};
use crate::kernels::stack;
use crate::kernels::step_constants::{Constant, Constants};
use crate::kernels::step_products::StepProducts;

/// Kernels of a launch floor, which is that of the forward pass of a transformer block, where
/// pointwise ops run one by one: two norms, four products by weights, two of attention, scores with
/// their mask and their dropout, two biases with dropout and residual, GELU (Megatron-LM of 2021).
pub const BLOCK_KERNELS: f64 = 13.0;
/// The same where chains and attention are fused: two norms with a residual, four products, attention
/// in two halves, GELU.
pub const FUSED_BLOCK_KERNELS: f64 = 9.0;

/// What prices the ops of a training step on one kind of device.
#[derive(Clone, Debug)]
pub struct StepCosts {
    mode: Mode,
    /// The software.
    pub stack: Stack,
    /// Constants of the stack, as the profile corrects them.
    pub constants: Constants,
    /// By type, constants of products before the stack derates them.
    products: BTreeMap<DType, Sourced<KernelConstants>>,
    device: DeviceKind,
    rates: BTreeMap<DType, Rates>,
    /// See [`StepCosts::wait`]; empty where nothing waits.
    waits: Vec<f64>,
}

/// Seconds of an op without its launch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seconds {
    /// Products, or a core of attention.
    pub products: f64,
    /// Bytes that are moved.
    pub moved: f64,
}

impl StepCosts {
    /// Of a step, or of a forward pass, under the stack that each is priced with where none is named.
    #[must_use]
    pub fn new(device: &DeviceKind, profile: &Profile, (graph, mode): (&Graph, Mode)) -> Self {
        let stack = Self::stack_of(mode, graph);
        let constants = Constants::held(&stack, profile.stacks.get(&stack.name));
        let by_type = StepProducts::new(profile, device);
        let sourced = |(dtype, ..): (DType, _, _)| {
            let of_type = by_type.of(dtype, stack.scaling);
            let origin = match &of_type.provenance {
                Provenance::Measured { .. } => Origin::Measured,
                Provenance::Nominal { .. } => Origin::Nominal,
            };
            (dtype, Sourced::of_profile(of_type.clone(), &of_type.provenance, origin))
        };
        let products = DType::ROWS.into_iter().map(sourced).collect();
        let rates = DType::ROWS
            .into_iter()
            .map(|(dtype, ..)| (dtype, Rates::new(device, &by_type, &stack, &constants, dtype)));
        let rates = rates.collect();
        let device = device.clone();
        let waits = Vec::new();
        let mut costs = Self { mode, stack, constants, products, device, rates, waits };
        costs.waits = costs.waits(graph);
        costs
    }

    /// The stack that a graph is priced with.
    #[must_use]
    pub fn stack_of(mode: Mode, graph: &Graph) -> Stack {
        match mode {
            Mode::Training => stack::of_training(),
            Mode::Inference if graph.is_compiled => stack::compiled(),
            Mode::Inference => stack::of_inference(),
        }
    }

    /// By op, how many times longer it takes where it waits for launches, at least 1.
    ///
    /// Launches run ahead of the device by a block, so they are felt where those of as many kernels as
    /// a block has take longer than their work. Gradients take twice as many as the forward pass.
    fn waits(&self, graph: &Graph) -> Vec<f64> {
        let of_block = match self.stack.elementwise {
            Elementwise::Fused => FUSED_BLOCK_KERNELS,
            Elementwise::Separate | Elementwise::Eager => BLOCK_KERNELS,
        };
        let each = match self.stack.launch {
            Launch::CudaGraphs => return Vec::new(),
            Launch::Eager | Launch::Inline => self.constants.get(Constant::LaunchFloor) / of_block,
        };
        let launched = [0, 1].map(|pass| {
            let ops = graph.ops.iter().filter(|op| self::pass(op) == Some(pass));
            ops.map(n_launched).sum::<f64>()
        });
        let n_windows = (launched[0] / of_block).max(1.0);
        let floor = [each, 2.0 * each * launched[0] / launched[1].max(1.0)];
        let mut of_op = vec![None; graph.ops.len()];
        let mut sums: BTreeMap<(usize, u64), [f64; 2]> = BTreeMap::new();
        let mut before = [0.0; 2];
        for (op, window) in graph.ops.iter().zip(&mut of_op) {
            let (Some(pass), Work::Kernel(kernel)) = (pass(op), &op.work) else { continue };
            let seconds = self.seconds(op, kernel).unwrap_or_default();
            let at = (pass, (before[pass] * n_windows / launched[pass].max(1.0)) as u64);
            let [work, floors] = sums.entry(at).or_default();
            *work += seconds.products + seconds.moved;
            *floors += n_launched(op) * floor[pass];
            before[pass] += n_launched(op);
            *window = Some(at);
        }
        let wait = |window: Option<(usize, u64)>| {
            let found = window.and_then(|window| sums.get(&window));
            found.map_or(1.0, |[work, floor]| match *work > 0.0 {
                true => self.stack.launch.joined(*work, *floor) / work,
                false => 1.0,
            })
        };
        of_op.into_iter().map(wait).collect()
    }

    /// Whether it prices an op of this form: fused ops of a forward pass have kernels of their own.
    pub(super) fn has(&self, form: Form) -> bool {
        self.mode == Mode::Training || !matches!(form, Form::Attention(_) | Form::Experts)
    }

    /// How many times longer an op takes where it waits for launches, at least 1.
    #[must_use]
    pub fn wait(&self, op: OpId) -> f64 {
        self.waits.get(op.index()).copied().unwrap_or(1.0)
    }

    /// Constants of the products of a type.
    #[must_use]
    pub fn products(&self, dtype: DType) -> Option<&Sourced<KernelConstants>> {
        self.products.get(&dtype)
    }

    /// Operations per second of an op that is a fused core of attention.
    #[must_use]
    pub fn core_rate(&self, op: &Op, kernel: &Kernel) -> Option<f64> {
        let rates = self.rates.get(&kernel.dtype.unwrap_or(DType::F32))?;
        let core = core(op, kernel)?;
        Some(rates.core_rate(core, op.phase != Phase::Forward))
    }

    /// Seconds of an op, launched in time.
    ///
    /// # Errors
    /// The figure that the kind does not state.
    pub fn seconds(&self, op: &Op, kernel: &Kernel) -> Result<Seconds, Missing> {
        let dtype = kernel.dtype.unwrap_or(DType::F32);
        let bytes = (kernel.bytes_read + kernel.bytes_written).as_f64();
        let rates = self.rates.get(&dtype).ok_or(Missing::Peak(dtype))?;
        if self.device.memory_bandwidth.is_none() {
            return Err(Missing::MemoryBandwidth);
        }
        if kernel.products.is_empty() {
            return Ok(Seconds { products: 0.0, moved: rates.pointwise(bytes) });
        }
        if plain_product::peak(&self.device, dtype).is_none() {
            return Err(Missing::Peak(dtype));
        }
        let others = kernel.products.get(n_core(op, kernel)..).unwrap_or_default();
        if self.mode == Mode::Inference {
            let core = core(op, kernel).map(|core| rates.fused_attention(core, false));
            let products = core.unwrap_or_else(|| rates.kernel(kernel));
            return Ok(Seconds { products, moved: 0.0 });
        }
        let is_backward = op.phase != Phase::Forward;
        let others = others.iter().map(|product| {
            let (whole, share) = whole(op, kernel, *product);
            share * rates.product(whole.count, [whole.m, whole.n, whole.k])
        });
        let attention_s =
            core(op, kernel).map_or(0.0, |core| rates.fused_attention(core, is_backward));
        let products = attention_s + others.sum::<f64>();
        let moved = match op.phase {
            Phase::BackwardWeight => rates
                .pointwise(Gradients::of(dtype, &self.stack).added(dtype) * n_added(kernel) as f64),
            _ => 0.0,
        };
        Ok(Seconds { products, moved })
    }

    /// Where the time of an op goes that is launched in time.
    ///
    /// # Errors
    /// The figure that the kind does not state.
    pub(super) fn breakdown(&self, op: &Op, kernel: &Kernel) -> Result<Breakdown, Missing> {
        let form = Form::of(op, kernel);
        if form == Form::Nothing {
            return Ok(nothing());
        }
        let Seconds { products, moved } = self.seconds(op, kernel)?;
        let is_moving = kernel.products.is_empty();
        Ok(Breakdown {
            form,
            launch_s: 0.0,
            compute_s: products,
            memory_s: moved,
            p_norm: 1.0,
            origin: match self.products(kernel.dtype.unwrap_or(DType::F32)) {
                Some(products) if !is_moving => products.origin,
                _ => Origin::Nominal,
            },
            detail: Detail::Step,
        })
    }
}

/// Forward 0, backward 1.
fn pass(op: &Op) -> Option<usize> {
    match op.phase {
        Phase::Forward => Some(0),
        Phase::BackwardInput | Phase::BackwardWeight => Some(1),
        Phase::Optimizer => None,
    }
}

/// Kernels that are launched for an op.
fn n_launched(op: &Op) -> f64 {
    let Work::Kernel(kernel) = &op.work else { return 0.0 };
    match kernel.fused {
        Fused::Chain | Fused::Beside { is_first: false, .. } => 0.0,
        _ if Form::of(op, kernel) == Form::Nothing => 0.0,
        Fused::Alone | Fused::Attention | Fused::Beside { .. } => 1.0,
    }
}

/// How many products, from the first on, one kernel of attention does.
#[must_use]
pub fn n_core(op: &Op, kernel: &Kernel) -> usize {
    match Form::of(op, kernel) {
        _ if kernel.fused == Fused::Attention => kernel.products.len(),
        Form::Attention(masking) => {
            let op_type = op.op_type.rsplit("::").next().unwrap_or_default();
            task::call(op_type, kernel, masking).map_or(0, |(_, n_core)| n_core)
        }
        _ => 0,
    }
}

/// The core of attention that one kernel of an op does.
fn core(op: &Op, kernel: &Kernel) -> Option<Core> {
    let products = kernel.products.get(..n_core(op, kernel))?;
    let [sequence, head_dim] = positions_and_head(products.first()?).map(|extent| extent as f64);
    let flops: f64 = products.iter().map(task::flops).sum();
    // The gradients of two products are four.
    let flops = if op.phase == Phase::Forward { flops } else { flops / 2.0 };
    Some(Core { flops, sequence, head_dim })
}

/// Positions that a query of a core sees, and elements of a head, from one of its products: scores have
/// positions on both sides and contract a head, all others contract positions or have them on one
/// side.
#[must_use]
pub fn positions_and_head(product: &Product) -> [u64; 2] {
    let extents = [product.m, product.k, product.n];
    [extents.into_iter().fold(0, u64::max), extents.into_iter().fold(u64::MAX, u64::min)]
}

/// The product that one of an op is a part of, and its share of it.
#[must_use]
pub fn whole(op: &Op, kernel: &Kernel, product: Product) -> (Product, f64) {
    let Fused::Beside { columns, .. } = kernel.fused else { return (product, 1.0) };
    let share = |part: u64| part as f64 / columns.max(1) as f64;
    match op.phase {
        // The gradient of what all of them read contracts their columns.
        Phase::BackwardInput => (Product { k: columns, ..product }, share(product.k)),
        _ => (Product { n: columns, ..product }, share(product.n)),
    }
}

/// Elements of the gradients of weights that a product writes, in 32 bits or 64.
#[must_use]
pub fn n_added(kernel: &Kernel) -> u64 {
    let is_wide = kernel.dtype == Some(DType::F64);
    kernel.bytes_written.get() / if is_wide { 8 } else { 4 }
}
