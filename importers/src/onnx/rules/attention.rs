//! Work of attention operators: scores, then their product with the values. Scores stay on the
//! chip, as fused kernels keep them; causal masking halves nothing.

use ir::diagnostic::Diagnostic;
use ir::op::{Product, Work};

use crate::onnx::infer::attention::{self, Reader};
use crate::onnx::infer::recurrent::{self, Recurrence, recurrence};
use crate::onnx::infer::{Facts, serving};
use crate::onnx::rules::rule::Job;

type Done = Result<Work, Diagnostic>;

fn attend(job: &Job<'_>, reader: Reader) -> Done {
    let Some(heads) = reader(&job.call)? else {
        return Ok(Work::Kernel(job.kernel()));
    };
    let count = job.volume(&[heads.batch, heads.query_heads])?;
    let mut products = vec![
        Product { count, m: heads.queries, k: heads.width, n: heads.keys },
        Product { count, m: heads.queries, k: heads.keys, n: heads.value_width },
    ];
    if heads.projected_from > 0 {
        let per_head = job.volume(&[heads.width, 2])?.checked_add(heads.value_width);
        let per_head = per_head.ok_or_else(|| job.call.overflow())?;
        products.push(Product {
            count: 1,
            m: job.volume(&[heads.batch, heads.queries])?,
            k: heads.projected_from,
            n: job.volume(&[heads.query_heads, per_head])?,
        });
    }
    Ok(Work::Kernel(job.product_kernel(products, 0)))
}

/// The work of a recurrence: each step adds `key x value` to the state of its head and reads the state
/// for every query, and once more for the key where the rule corrects the value.
fn recur(job: &Job<'_>, r: Option<Recurrence>) -> Done {
    let Some(r) = r else { return Ok(Work::Kernel(job.kernel())) };
    let states = job.volume(&[r.batch, r.key_heads])?;
    let (width, value_width) = (r.width, r.value_width);
    let read = |count| Product { count, m: r.steps, k: width, n: value_width };
    let mut products = vec![
        Product { count: states, m: width, k: r.steps, n: value_width },
        read(job.volume(&[r.batch, r.heads()])?),
    ];
    if r.corrects {
        products.push(read(states));
    }
    Ok(Work::Kernel(job.product_kernel(products, 0)))
}

/// `LinearAttention`.
pub(crate) fn linear(job: &Job<'_>) -> Done {
    recur(job, recurrence(&job.call)?)
}

/// `com.microsoft::GatedDeltaNet`.
pub(crate) fn delta_net(job: &Job<'_>) -> Done {
    recur(job, recurrent::delta_net(&job.call)?)
}

/// `com.microsoft::GatedRelativePositionBias`: queries against a small matrix.
pub(crate) fn gated_bias(job: &Job<'_>) -> Done {
    let products = match (job.call.input(0).and_then(Facts::elements), job.call.extents(3)) {
        (Some(n), Some([k, columns])) if k > 0 => {
            vec![Product { count: 1, m: n / k, k, n: columns }]
        }
        _ => Vec::new(),
    };
    Ok(Work::Kernel(job.product_kernel(products, 0)))
}

macro_rules! attentions {
    ($($name:ident: $op:literal),* $(,)?) => {
        $(
            #[doc = concat!("`com.microsoft::", $op, "`.")]
            pub(crate) fn $name(job: &Job<'_>) -> Done {
                attend(job, serving::$name)
            }
        )*
    };
}

attentions! {
    quantized: "QAttention",
    masked: "DecoderMaskedMultiHeadAttention",
    packed_projecting: "PackedAttention",
    packed_multi_head: "PackedMultiHeadAttention",
    paged: "PagedAttention",
    sparse_paged: "SparsePagedAttention",
    sparse: "SparseAttention",
    dynamic_sparse: "DynamicSparseAttention",
    longformer: "LongformerAttention",
    ordered_longformer: "QOrderedLongformerAttention",
    ordered: "QOrderedAttention",
}

/// `Attention` of opset 23.
pub(crate) fn standard(job: &Job<'_>) -> Done {
    attend(job, attention::standard)
}

/// `com.microsoft::Attention`.
pub(crate) fn projecting(job: &Job<'_>) -> Done {
    attend(job, attention::projecting)
}

/// `com.microsoft::MultiHeadAttention`.
pub(crate) fn multi_head(job: &Job<'_>) -> Done {
    attend(job, attention::multi_head)
}

/// `com.microsoft::GroupQueryAttention`.
pub(crate) fn group_query(job: &Job<'_>) -> Done {
    attend(job, attention::group_query)
}
