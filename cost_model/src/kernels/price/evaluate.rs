//! How long an op takes on a kind of device, and where that time goes.

use std::sync::Arc;

use ir::chip::Architecture;
use ir::id::OpId;
use ir::measured::GpuFacts;
use ir::op::{Kernel, Op};
use ir::tensor::DType;
use ir::units::{Nanos, Work};

use super::kind::{KindCosts, ProductConstants, Products};
use super::task::{self, Form, Stream};
use crate::kernels::attention::{self, CallParts};
use crate::kernels::matrix_product::{Parts, Units};
use crate::kernels::moe;
use crate::kernels::origin::Origin;
use crate::kernels::plain_product::{self, Missing};
use crate::numeric::p_norm::joined;

/// Where the time of an op goes: `launch + (compute^p + memory^p)^(1/p)`, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Breakdown {
    /// Which form it takes.
    pub form: Form,
    /// Start-up.
    pub launch_s: f64,
    /// Products alone.
    pub compute_s: f64,
    /// Memory traffic alone.
    pub memory_s: f64,
    /// Exponent that joins the two.
    pub p_norm: f64,
    /// The least certain of the constants' origins.
    pub origin: Origin,
    /// What the form worked out on the way.
    pub detail: Detail,
}

/// What a form works out on the way.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// Nothing to do.
    Nothing,
    /// Bytes over a rate: of this family of the profile, or of products.
    Stream(Option<&'static str>),
    /// Matrix products in the plain form.
    Plain(Arc<Products>),
    /// Matrix products in the form of eleven constants, and how the longest is cut.
    Tiled(Arc<Products>, Parts),
    /// A fused attention core, and the seconds of products that project into it.
    Attention(attention::Call, CallParts, f64),
    /// A fused layer of experts.
    Experts(moe::RankLoad),
    /// An op of a training step.
    Step,
}

impl Breakdown {
    /// The same where an op of a training step waits for its launch.
    #[must_use]
    pub(super) fn waiting(mut self, costs: &KindCosts, op: OpId) -> Self {
        let wait = costs.step().map_or(1.0, |step| step.wait(op));
        self.launch_s += (wait - 1.0) * self.seconds();
        self
    }

    /// The whole in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.launch_s + joined(self.compute_s, self.memory_s, self.p_norm)
    }

    /// The whole, as the planner counts it.
    #[must_use]
    pub fn total(&self) -> Nanos {
        let work = if self.form == Form::Nothing { Work::None } else { Work::Some };
        Nanos::rounded(self.seconds() * 1e9, work)
    }
}

/// How long an op of a graph takes whose work is `kernel`.
///
/// # Errors
/// The figure that the kind does not state.
pub fn breakdown(
    (id, op): (OpId, &Op),
    kernel: &Kernel,
    costs: &KindCosts,
) -> Result<Breakdown, Missing> {
    Ok(of_form(Form::of(op, kernel), op, kernel, costs)?.waiting(costs, id))
}

/// As [`breakdown`], for the op's form.
pub(super) fn of_form(
    form: Form,
    op: &Op,
    kernel: &Kernel,
    costs: &KindCosts,
) -> Result<Breakdown, Missing> {
    if let Some(step) = costs.step().filter(|step| step.has(form)) {
        return step.breakdown(op, kernel);
    }
    let bytes = (kernel.bytes_read + kernel.bytes_written).as_f64();
    if bytes > 0.0 && costs.kind.memory_bandwidth.is_none() {
        return Err(Missing::MemoryBandwidth);
    }
    match form {
        Form::Nothing => Ok(nothing()),
        Form::Stream(stream) => Ok(streamed(stream, bytes, costs)),
        Form::Products => products(kernel, bytes, costs),
        Form::Attention(masking) => {
            let op_type = op.op_type.rsplit("::").next().unwrap_or_default();
            match task::call(op_type, kernel, masking) {
                Some((call, n_core)) => attention(kernel, bytes, (call, n_core), costs),
                None => products(kernel, bytes, costs),
            }
        }
        Form::Experts => experts(kernel, bytes, costs),
    }
}

pub(super) fn nothing() -> Breakdown {
    Breakdown {
        form: Form::Nothing,
        launch_s: 0.0,
        compute_s: 0.0,
        memory_s: 0.0,
        p_norm: 1.0,
        origin: Origin::Given,
        detail: Detail::Nothing,
    }
}

fn streamed(stream: Stream, bytes: f64, costs: &KindCosts) -> Breakdown {
    let form = Form::Stream(stream);
    if let Some((family, constants, origin)) = costs.stream(stream) {
        let (launch_s, memory_s) = constants.value.parts(bytes);
        return Breakdown {
            form,
            launch_s,
            memory_s,
            origin,
            detail: Detail::Stream(Some(family)),
            ..nothing()
        };
    }
    let constants = costs.memory();
    let (launch_s, efficiency) = constants.value;
    let bandwidth = costs.kind.memory_bandwidth.map_or(f64::INFINITY, |rate| rate.get());
    Breakdown {
        form,
        launch_s,
        memory_s: bytes / (bandwidth * efficiency),
        origin: constants.origin,
        detail: Detail::Stream(None),
        ..nothing()
    }
}

fn products(kernel: &Kernel, bytes: f64, costs: &KindCosts) -> Result<Breakdown, Missing> {
    let products = costs.products(kernel.dtype.unwrap_or(DType::F32))?;
    let origin = products.constants.origin;
    Ok(match &products.constants.value {
        ProductConstants::Plain(constants) => {
            let (compute_s, memory_s) =
                plain_product::parts(kernel, bytes, &products.facts, constants);
            Breakdown {
                form: Form::Products,
                launch_s: constants.launch.get(),
                compute_s,
                memory_s,
                p_norm: constants.p_norm,
                origin,
                detail: Detail::Plain(Arc::clone(products)),
            }
        }
        ProductConstants::Tiled(constants) => {
            let is_old = matches!(
                costs.kind.chip.architecture(),
                Architecture::Kepler | Architecture::Pascal
            );
            let units = match products.rate_of {
                DType::F32 | DType::F64 => Units::Vector,
                _ if is_old => Units::Vector,
                _ => Units::Tensor,
            };
            let parts = constants.parts(&products.facts, &kernel.products, bytes, units);
            Breakdown {
                form: Form::Products,
                launch_s: parts.launch_s,
                compute_s: parts.compute_s,
                memory_s: parts.memory_s,
                p_norm: constants.p_norm,
                origin,
                detail: Detail::Tiled(Arc::clone(products), parts),
            }
        }
    })
}

/// The core by its own form, where there is one; products that project into it come on top.
fn attention(
    kernel: &Kernel,
    bytes: f64,
    (call, n_core): (attention::Call, usize),
    costs: &KindCosts,
) -> Result<Breakdown, Missing> {
    let Some(constants) = costs.attention(call.queries) else {
        return products(kernel, bytes, costs);
    };
    let facts = facts_of(kernel, costs)?;
    let parts = if call.queries <= 1.0 {
        attention::decode(&facts, &constants.value, &call)
    } else {
        attention::prefill(&facts, &constants.value, &call)
    };
    let rest = Kernel {
        products: kernel.products.iter().skip(n_core).copied().collect(),
        dtype: kernel.dtype,
        ..Kernel::default()
    };
    let projected_s =
        if rest.products.is_empty() { 0.0 } else { products(&rest, 0.0, costs)?.compute_s };
    Ok(Breakdown {
        form: Form::Attention(call.masking),
        launch_s: parts.launch_s,
        compute_s: parts.compute_s + projected_s,
        memory_s: parts.memory_s,
        p_norm: parts.p_norm,
        origin: constants.origin,
        detail: Detail::Attention(call, parts, projected_s),
    })
}

fn experts(kernel: &Kernel, bytes: f64, costs: &KindCosts) -> Result<Breakdown, Missing> {
    let Some(constants) = costs.experts() else {
        return products(kernel, bytes, costs);
    };
    let facts = facts_of(kernel, costs)?;
    let load = moe::RankLoad {
        flops: kernel.products.iter().map(task::flops).sum(),
        bytes,
        experts: kernel.products.iter().map(|p| p.count).max().unwrap_or(1) as f64,
        ffn: kernel.products.first().map_or(1, |p| p.n) as f64,
    };
    let parts = moe::on_rank(&facts, &constants.value, &load);
    Ok(Breakdown {
        form: Form::Experts,
        launch_s: parts.launch_s,
        compute_s: parts.compute_s,
        memory_s: parts.memory_s,
        p_norm: parts.p_norm,
        origin: constants.origin,
        detail: Detail::Experts(load),
    })
}

fn facts_of(kernel: &Kernel, costs: &KindCosts) -> Result<GpuFacts, Missing> {
    Ok(costs.products(kernel.dtype.unwrap_or(DType::F32))?.facts)
}
