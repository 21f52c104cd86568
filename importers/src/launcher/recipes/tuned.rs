//! Adapters and optimizers in the words of Transformers, by which recipes name them.

use ir::diagnostic::Diagnostic;
use ir::tuning::{Adapter, Modules};
use ir::workload::Optimizer;
use serde_json::Value;

use super::super::flags::not_judged;
use super::super::keys::Keys;
use super::super::limits::bad;
use super::super::peft::{by_name, named, of_targets, of_whole};

/// Greatest rank of adapters.
const MOST_RANK: u64 = 1 << 14;

/// Its optimizer; AdamW where none is named.
///
/// # Errors
/// `not-judged` for another one.
pub(super) fn optimizer(keys: &Keys, key: &str) -> Result<Optimizer, Diagnostic> {
    let Some(name) = keys.text(key) else { return Ok(Optimizer::AdamW) };
    Ok(match name.as_str() {
        "adamw_torch" | "adamw_torch_fused" | "adamw_hf" | "adamw_apex_fused" => Optimizer::AdamW,
        "adafactor" => Optimizer::Adafactor,
        "sgd" => Optimizer::Sgd,
        "adamw_bnb_8bit" | "adamw_8bit" | "adamw_torch_8bit" => Optimizer::AdamW8,
        "paged_adamw" | "paged_adamw_32bit" => Optimizer::PagedAdamW,
        "paged_adamw_8bit" => Optimizer::PagedAdamW8,
        "lion_32bit" => Optimizer::Lion,
        "lion_8bit" => Optimizer::Lion8,
        "muon" => Optimizer::Muon,
        other => {
            let shown: String = other.chars().take(60).collect();
            let why = "AdamW, also in 8 bits or paged, SGD, Adafactor, Lion and Muon are";
            return Err(not_judged(&format!("{key}: {shown}"), why));
        }
    })
}

/// Refuses sharding of frozen weights that have no floating type.
///
/// # Errors
/// `not-judged`.
pub(super) fn check_gathered(adapter: Option<&Adapter>, setting: &str) -> Result<(), Diagnostic> {
    match adapter {
        Some(adapter) if !adapter.base.is_gathered() => {
            let why = "weights that bitsandbytes stores in 8 bits are not sharded";
            Err(not_judged(setting, why))
        }
        _ => Ok(()),
    }
}

/// Rank of adapters.
///
/// # Errors
/// `bad-settings`.
pub(super) fn rank(keys: &Keys, key: &str, usual: u32) -> Result<u32, Diagnostic> {
    let rank = keys.count(key)?;
    match rank.filter(|rank| *rank > MOST_RANK) {
        Some(rank) => {
            Err(bad(key, &rank.to_string(), &format!("give a whole number from 1 to {MOST_RANK}")))
        }
        None => Ok(rank.and_then(|rank| u32::try_from(rank).ok()).unwrap_or(usual)),
    }
}

/// Modules of a key: a list of names, or names between commas; `all` and `all-linear` are every linear layer.
///
/// # Errors
/// `bad-settings` for a name that is none.
fn modules(keys: &Keys, key: &str) -> Result<Option<Modules>, Diagnostic> {
    match keys.get(key) {
        None => Ok(None),
        Some(Value::Array(names)) => named(key, names).map(Some),
        Some(Value::String(text)) if text == "all" || text == "all-linear" => {
            Ok(Some(Modules::LINEAR))
        }
        Some(Value::String(text)) => by_name(key, &text.split(',').collect::<Vec<_>>()).map(Some),
        Some(other) => Err(bad(key, &other.to_string(), "give a list of names")),
    }
}

/// Targets of adapters.
///
/// # Errors
/// Those of [`modules`], and `not-judged` for what is no linear layer.
pub(super) fn targets(keys: &Keys, key: &str) -> Result<Option<Modules>, Diagnostic> {
    modules(keys, key)?.map(|found| of_targets(key, found)).transpose()
}

/// What is trained whole beside adapters.
///
/// # Errors
/// Those of [`modules`], and `not-judged` for linear layers of blocks.
pub(super) fn whole(keys: &Keys, key: &str) -> Result<Option<Modules>, Diagnostic> {
    modules(keys, key)?.map(|found| of_whole(key, found)).transpose()
}
