//! PyTorch's FSDP as Accelerate's `fsdp_config` and the Trainer of Transformers have it.

use ir::card::{Recompute, ZeroStage};
use ir::diagnostic::Diagnostic;

use super::super::flags::not_judged;
use super::super::keys::Keys;
use super::super::limits::bad;

/// What `fsdp_config` says.
pub(super) struct Fsdp {
    /// What replicas share out.
    pub(super) zero: ZeroStage,
    /// Whether FSDP computes blocks again.
    pub(super) recompute: Option<Recompute>,
    /// Whether hosts keep parameters, gradients and optimizer states.
    pub(super) offloads: bool,
}

/// Keys that change what is saved and how weights are loaded, or name the class of a block.
const IDLE: [&str; 9] = [
    "transformer_layer_cls_to_wrap",
    "state_dict_type",
    "final_state_dict_type",
    "cpu_ram_efficient_loading",
    "sync_module_states",
    "use_orig_params",
    "forward_prefetch",
    "limit_all_gathers",
    "ignored_modules",
];

/// Reads the section, whose keys may begin with `fsdp_`.
///
/// # Errors
/// `bad-settings`, `not-judged`.
pub(super) fn read(keys: &Keys, version: Option<&str>) -> Result<Fsdp, Diagnostic> {
    let path = |name: &str| {
        let [plain, long] = ["", "fsdp_"].map(|prefix| format!("fsdp_config.{prefix}{name}"));
        if keys.values.contains_key(&plain) { plain } else { long }
    };
    keys.idle(IDLE.map(&path));
    let wraps = path("auto_wrap_policy");
    let wrapped = keys.text(&wraps);
    if let Some(other) = wrapped.filter(|policy| !policy.starts_with("TRANSFORMER")) {
        let why = "plans share out parameters block by block";
        return Err(not_judged(&format!("{wraps}: {other}"), why));
    }
    let ahead = path("backward_prefetch");
    if let Some(other) = keys.text(&ahead).filter(|when| when != "BACKWARD_PRE") {
        let why = "plans gather parameters ahead of the block that needs them";
        return Err(not_judged(&format!("{ahead}: {other}"), why));
    }
    let offloads = keys.is_on(&path("offload_params"))?;
    let stated = path("version");
    let version = keys.text(&stated).or(version.map(str::to_owned));
    if let Some(other) = version.as_deref().filter(|version| !["1", "2"].contains(version)) {
        return Err(bad("fsdp_version", other, "use 1 or 2"));
    }
    let again = keys.is_on(&path("activation_checkpointing"))?;
    let zero = zero(keys, [&path("reshard_after_forward"), &path("sharding_strategy")], version)?;
    if offloads && zero != ZeroStage::Parameters {
        let why = "parameters that stay whole between the passes stay on the devices";
        return Err(not_judged(&path("offload_params"), why));
    }
    Ok(Fsdp { zero, recompute: again.then_some(Recompute::Full), offloads })
}

/// Version 2 says it by `reshard_after_forward`, version 1 by a strategy.
fn zero(
    keys: &Keys,
    [reshard, strategy]: [&str; 2],
    version: Option<String>,
) -> Result<ZeroStage, Diagnostic> {
    let by_strategy = |key: &str, name: &str| match name {
        "FULL_SHARD" | "1" => Ok(ZeroStage::Parameters),
        "SHARD_GRAD_OP" | "2" => Ok(ZeroStage::Gradients),
        "NO_SHARD" | "3" => Ok(ZeroStage::None),
        "HYBRID_SHARD" | "HYBRID_SHARD_ZERO2" | "4" | "5" => {
            Err(not_judged(&format!("{key}: {name}"), "replicas of shards are in no plan"))
        }
        other => Err(bad(key, other, "use FULL_SHARD, SHARD_GRAD_OP or NO_SHARD")),
    };
    keys.idle([strategy.to_owned(), reshard.to_owned()]);
    if version.as_deref() == Some("2") {
        return Ok(match keys.switch(reshard)? {
            Some(false) => ZeroStage::Gradients,
            Some(true) | None => ZeroStage::Parameters,
        });
    }
    // Releases before version 2 wrote the strategy there.
    let key = if keys.text(strategy).is_some() { strategy } else { reshard };
    match keys.text(key).as_deref() {
        None | Some("true") => Ok(ZeroStage::Parameters),
        Some(name) => by_strategy(key, &name.to_uppercase()),
    }
}
