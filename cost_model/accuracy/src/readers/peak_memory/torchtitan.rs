//! Reader of the peaks of torchtitan's runs.

use std::path::Path;

use importers::measurements::Fields;
use ir::card::{
    Attention, FeedForward, Head, MemoryFeature, Recompute, SequenceParallel, StateFormat,
    TransformerCard, ZeroStage,
};
use ir::chip::Chip;
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;

use super::{GIB, micro_batches, recompute, small};
use crate::readers::Left;
use crate::readers::memory::{JudgedRank, MemoryMetric, MemoryRow};

/// Layers, hidden, heads and inner width of the models that the table names (Llama 3.1 model
/// cards); all have 8 key and value heads and 128,256 tokens.
const MODELS: [(&str, u32, [u64; 3]); 3] = [
    ("llama3.1-8b", 32, [4096, 32, 14_336]),
    ("llama3.1-70b", 80, [8192, 64, 28_672]),
    ("llama3.1-405b", 126, [16_384, 128, 53_248]),
];

/// Reads the runs of known models that state a peak, from the columns `model`, `gpus`, `dp_shard`,
/// `tp`, `pp`, `cp`, `micro_batch`, `global_batch`, `seq`, `recompute`, `technique` and
/// `peak_mem_gib`.
pub fn read(path: &Path, left: &mut Left) -> Vec<MemoryRow> {
    left.rows(path, row)
}

fn row(fields: &Fields) -> Result<Option<MemoryRow>, Diagnostic> {
    let group = fields.name("model")?;
    let Some(value) = fields.positive_or_blank("peak_mem_gib")? else { return Ok(None) };
    let Some((_, n_layers, [hidden, n_heads, feed_forward])) =
        MODELS.iter().find(|(name, ..)| *name == group)
    else {
        return Ok(None);
    };
    let data = small(fields, "dp_shard")?;
    let micro_batch = fields.count("micro_batch")?;
    let context = small(fields, "cp")?;
    Ok(Some(MemoryRow {
        name: format!(
            "{group} {} s{} mb{micro_batch} on {}",
            fields.text("technique")?,
            fields.text("seq")?,
            fields.text("gpus")?
        ),
        card: TransformerCard {
            name: group.clone(),
            n_layers: *n_layers,
            hidden: *hidden,
            n_heads: *n_heads,
            n_kv_heads: 8,
            feed_forward: *feed_forward,
            form: FeedForward::Gated,
            sequence: fields.count("seq")?,
            vocabulary: 128_256,
            experts: None,
            attention: Attention::Even,
            head: Head::Separate,
        },
        parallelism: Parallelism {
            data,
            tensor: small(fields, "tp")?,
            pipeline: small(fields, "pp")?,
            context,
            n_micro_batches: micro_batches(fields.count("global_batch")?, micro_batch, data),
            micro_batch,
            // Its tensor parallelism always splits the sequence.
            sequence: SequenceParallel::On,
            zero: ZeroStage::Parameters,
            ..Parallelism::default()
        },
        // What it calls selective goes by op.
        recompute: match fields.text("recompute")? {
            "selective" | "selective per-op" => Recompute::PerOp,
            _ => recompute(fields)?,
        },
        chip: Chip::Other,
        features: vec![MemoryFeature::SeparateLoss],
        format: StateFormat::Single,
        rank: JudgedRank::Largest,
        metric: MemoryMetric::Peak,
        value: value * GIB,
        group,
    }))
}
