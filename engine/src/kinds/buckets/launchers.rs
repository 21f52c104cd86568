//! Buckets of gradients in the forms that data-parallel training takes.

use cost_model::given::gradients::{Buckets, least_kept};
use exporters::given_costs::{self, DEEPSPEED_BUCKETS, MEGATRON_BUCKETS, TORCH_HOOK};
use ir::diagnostic::Diagnostic;
use ir::instance::{Exchange, GradientInstance, GradientTensor, Lossy};
use planner::given::bucket_cap::{Closes, sizes};
use serde_json::{Value, json};

use super::communication;

/// The buckets for who exchanges gradients: arguments of PyTorch's `DistributedDataParallel`, the table of a
/// hook, or the best single size of Megatron-Core and DeepSpeed, by the rule by which each closes a bucket.
///
/// # Errors
/// `cannot-express` for servers, which they have none of, and for parts that they can't send;
/// `unknown-version`.
pub fn exported(
    target: &str,
    instance: &GradientInstance,
    buckets: &Buckets,
) -> Result<Vec<u8>, Diagnostic> {
    let refused =
        |message: String, hint| Err(Diagnostic::usage("cannot-express", message).hint(hint));
    let name = target.split('@').next().unwrap_or_default();
    if buckets.exchange != Exchange::AllReduce {
        let message = format!("`{target}` sums up gradients by all-reduce alone");
        return refused(message, "leave the parameter server out of `exchange`, and plan again");
    }
    if name == TORCH_HOOK {
        return hook_table(instance, buckets);
    }
    if buckets.parts.iter().any(Option::is_some) {
        let message = format!("`{target}` sends gradients as they are, and the plan sends parts");
        return refused(message, "use --target torch-hook, or plan without --allow-lossy");
    }
    let best = |closes| sizes(instance, buckets.exchange, closes, &|| false);
    let elements = |bytes: u64| bytes.div_ceil(instance.element_bytes.max(1));
    match name {
        MEGATRON_BUCKETS => {
            // The largest of sizes that make the same buckets: it pads parameters and counts that too.
            let all: u64 = instance.tensors.iter().map(|tensor| tensor.bytes).sum();
            let size = elements(best(Closes::OnceFull).1.min(all));
            Ok(format!("--overlap-grad-reduce\n--ddp-bucket-size {size}\n").into_bytes())
        }
        DEEPSPEED_BUCKETS => {
            let size = elements(best(Closes::BeforeMore).0);
            let zero = json!({ "overlap_comm": true, "reduce_bucket_size": size });
            Ok(format!("{:#}\n", json!({ "zero_optimization": zero })).into_bytes())
        }
        _ => {
            let stated = communication(instance, buckets).buckets;
            let sizes: Vec<u64> = stated.iter().map(|bucket| bucket.bytes).collect();
            given_costs::torch_ddp(target, &sizes, best(Closes::OnceFull).0)
        }
    }
}

/// Bytes of an element in fp32, and of one that is sent with its index in int32.
const HOOK_BYTES: [u64; 2] = [4, 8];

/// The table that `meshwright.torch.exchange` reads: by bucket how it is exchanged, its parameters with
/// their elements, and how many of those are sent.
///
/// # Errors
/// `cannot-express` for servers' compression, other sizes of elements or indices, and parts of elements.
fn hook_table(instance: &GradientInstance, buckets: &Buckets) -> Result<Vec<u8>, Diagnostic> {
    let refused = |what: String| {
        let message = format!("`{TORCH_HOOK}` has no words for {what}");
        Diagnostic::usage("cannot-express", message)
            .hint("it sends fp32 values with int32 indices: plan for those")
    };
    if instance.element_bytes != HOOK_BYTES[0] {
        return Err(refused(format!("elements of {} bytes", instance.element_bytes)));
    }
    let mut left = instance.tensors.as_slice();
    let mut table = Vec::with_capacity(buckets.lengths.len());
    for (at, stated) in communication(instance, buckets).buckets.iter().enumerate() {
        let (tensors, rest) = left.split_at(stated.tensors.len());
        left = rest;
        if let Some(tensor) =
            tensors.iter().find(|tensor| tensor.bytes % instance.element_bytes != 0)
        {
            return Err(refused(format!("{} bytes of `{}`", tensor.bytes, tensor.name)));
        }
        let elements: Vec<u64> =
            tensors.iter().map(|tensor| tensor.bytes / instance.element_bytes).collect();
        let part = buckets.part(at);
        let cost = part.and_then(|part| instance.lossy.iter().find(|cost| cost.by == part.by));
        if part.is_some_and(|part| part.by == Lossy::TwoWay) {
            return Err(refused(format!("bucket {at}, which servers compress (`two-way`)")));
        }
        if let Some(cost) = cost.filter(|cost| cost.sent_element_bytes != HOOK_BYTES[1]) {
            return Err(refused(format!("{} bytes of an element sent", cost.sent_element_bytes)));
        }
        let layer_wise = cost.zip(part).filter(|pair| pair.0.by == Lossy::LayerWise);
        let n_sent =
            layer_wise.map(|(cost, part)| kept_of_each(cost.density, part.kept, &elements));
        let tensor = |(at, (tensor, elements)): (usize, (&GradientTensor, &u64))| match &n_sent {
            Some(n_sent) => {
                json!({ "name": tensor.name, "elements": elements, "kept": n_sent[at] })
            }
            None => json!({ "name": tensor.name, "elements": elements }),
        };
        let tensors: Vec<Value> = tensors.iter().zip(&elements).enumerate().map(tensor).collect();
        let mut row = json!({
            "method": stated.lossy.as_deref().unwrap_or("as-is"),
            "bytes": stated.bytes,
            "sent_bytes": stated.sent_bytes.unwrap_or(stated.bytes),
            "tensors": tensors,
        });
        if let Some(n_kept) = stated.kept {
            row["kept"] = json!(n_kept);
        }
        table.push(row);
    }
    let document = json!({
        "format": "meshwright-gradient-exchange", "version": 1, "replicas": instance.replicas,
        "buckets": table,
    });
    Ok(format!("{document:#}\n").into_bytes())
}

/// Elements that are sent of each tensor of a bucket: its share at least, and of what is sent beyond that
/// as its size goes.
fn kept_of_each(density: f64, n_kept: u64, elements: &[u64]) -> Vec<u64> {
    let mut counts: Vec<u64> = elements.iter().map(|n| least_kept(density, *n)).collect();
    let room: Vec<u64> = elements.iter().zip(&counts).map(|(all, count)| all - count).collect();
    let (mut more, mut all) =
        (n_kept.saturating_sub(counts.iter().sum()), room.iter().sum::<u64>());
    for (count, room) in counts.iter_mut().zip(room) {
        // What is left over goes to those that come last: all of it has room.
        let share = u128::from(more) * u128::from(room) / u128::from(all.max(1));
        *count += share as u64;
        (more, all) = (more - share as u64, all - room);
    }
    counts
}
