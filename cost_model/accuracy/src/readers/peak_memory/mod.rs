//! Readers of the tables that state memory of training runs.

use importers::measurements::Fields;
use ir::card::{Attention, FeedForward, Head, Recompute, TransformerCard};
use ir::diagnostic::Diagnostic;

use super::{GIB, small};

pub mod bigscience;
pub mod golden;
pub mod korthikanti;
pub mod torchtitan;

/// A plain card of the columns `layers`, `hidden` and `seq`, with an inner width of 4h.
fn plain_card(
    fields: &Fields,
    n_heads: u64,
    vocabulary: u64,
) -> Result<TransformerCard, Diagnostic> {
    let hidden = fields.count("hidden")?;
    let too_wide = || fields.bad("hidden", "small enough for 64 bits of 4h");
    Ok(TransformerCard {
        name: String::new(),
        n_layers: small(fields, "layers")?,
        hidden,
        n_heads,
        n_kv_heads: n_heads,
        feed_forward: hidden.checked_mul(4).ok_or_else(too_wide)?,
        form: FeedForward::Plain,
        sequence: fields.count("seq")?,
        vocabulary,
        experts: None,
        attention: Attention::Even,
        head: Head::Tied,
    })
}

/// The same, 1 where the cell is blank.
fn small_or_one(fields: &Fields, column: &str) -> Result<u32, Diagnostic> {
    if fields.text(column)?.is_empty() { Ok(1) } else { small(fields, column) }
}

/// The column `recompute`.
fn recompute(fields: &Fields) -> Result<Recompute, Diagnostic> {
    match fields.text("recompute")? {
        "" | "none" => Ok(Recompute::None),
        "full" => Ok(Recompute::Full),
        "selective" | "attn_only" => Ok(Recompute::Selective),
        _ => Err(fields.bad("recompute", "`full`, `selective`, `attn_only`, `none` or blank")),
    }
}

/// Ranks left for data parallelism, at least one; blank degrees count as 1.
fn replicas(n_devices: u64, degrees: &[u32]) -> u32 {
    let taken = degrees.iter().fold(1_u64, |all, degree| all.saturating_mul(u64::from(*degree)));
    u32::try_from(n_devices / taken.max(1)).unwrap_or(u32::MAX).max(1)
}

/// Micro-batches of a step on each replica, at least one.
fn micro_batches(global_batch: u64, micro_batch: u64, data: u32) -> u64 {
    (global_batch / micro_batch.saturating_mul(u64::from(data)).max(1)).max(1)
}
