//! What servers are started with: vLLM and SGLang.

mod others;

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;

use super::flags::{Flags, spelled};
use super::limits::bad;
use others::Known;

/// Flags of vLLM 0.33 and earlier, and of SGLang 0.5.23, beside those that are read, by what they change
/// (`AsyncEngineArgs.add_cli_args` and the flags of the API server; `ServerArgs.add_cli_args`).
const VLLM: Known = Known(include_str!("serving/vllm.txt"));
const SGLANG: Known = Known(include_str!("serving/sglang.txt"));

pub(super) fn vllm(text: &str) -> Result<LaunchSettings, Diagnostic> {
    // Its parser takes names with underscores too.
    let text = spelled(text, '_', "-");
    let flags = Flags::new(&text);
    let tensor = flags.degree(&["--tensor-parallel-size", "-tp"])?;
    let data = flags.degree(&["--data-parallel-size", "-dp"])?;
    let pipeline = &["--pipeline-parallel-size", "-pp"];
    let group = tensor.unwrap_or(1).saturating_mul(data.unwrap_or(1));
    let shares = "--enable-expert-parallel";
    let has_shares = flags.has(shares) || flags.has("-ep");
    let mut no_effect = BTreeMap::new();
    if has_shares && group == 1 {
        let needed = "`--tensor-parallel-size` or `--data-parallel-size`";
        no_effect.insert(shares.to_owned(), needed.to_owned());
    }
    let local = "--data-parallel-size-local";
    if flags.has(local) && data.is_none() {
        no_effect.insert(local.to_owned(), "`--data-parallel-size`".to_owned());
    }
    let settings = LaunchSettings {
        tensor,
        data,
        pipeline: flags.degree(pipeline)?,
        expert: Some(if has_shares { group } else { 1 }),
        blocks: partition(&flags, "VLLM_PP_LAYER_PARTITION", pipeline)?,
        devices: numbers(&flags, "CUDA_VISIBLE_DEVICES")?,
        no_effect,
        ..LaunchSettings::default()
    };
    VLLM.judged(&flags, settings)
}

pub(super) fn sglang(text: &str) -> Result<LaunchSettings, Diagnostic> {
    let flags = Flags::new(text);
    let pipeline = &["--pp-size", "--pipeline-parallel-size"];
    let tensor = flags.degree(&["--tp-size", "--tensor-parallel-size", "--tp"])?;
    let data = flags.degree(&["--dp-size", "--data-parallel-size", "--dp"])?;
    let mut no_effect = BTreeMap::new();
    let attends = "--enable-dp-attention";
    if flags.has(attends) && data.unwrap_or(1) == 1 {
        no_effect.insert(attends.to_owned(), "`--dp-size`".to_owned());
    }
    let settings = LaunchSettings {
        tensor,
        data,
        no_effect,
        pipeline: flags.degree(pipeline)?,
        expert: flags.degree(&["--ep-size", "--expert-parallel-size", "--ep"])?,
        blocks: partition(&flags, "SGLANG_PP_LAYER_PARTITION", pipeline)?,
        devices: numbers(&flags, "CUDA_VISIBLE_DEVICES")?,
        ..LaunchSettings::default()
    };
    SGLANG.judged(&flags, settings)
}

/// Layers of each rank, as many as there are ranks.
fn partition(
    flags: &Flags<'_>,
    name: &str,
    ranks: &[&str],
) -> Result<Option<Vec<u32>>, Diagnostic> {
    let Some(counts) = numbers(flags, name)? else { return Ok(None) };
    let n_ranks = flags.degree(ranks)?.unwrap_or(1);
    if counts.len() != n_ranks as usize {
        let hint = format!("give one number per pipeline rank, {n_ranks} of them");
        return Err(bad(name, flags.variable(name).unwrap_or_default(), &hint));
    }
    Ok(Some(counts))
}

/// The whole numbers of a variable.
fn numbers(flags: &Flags<'_>, name: &str) -> Result<Option<Vec<u32>>, Diagnostic> {
    let Some(text) = flags.variable(name) else { return Ok(None) };
    let numbers: Result<Vec<u32>, _> =
        text.split(',').map(|number| number.trim().parse()).collect();
    let hint = "give whole numbers between commas";
    numbers.map(Some).map_err(|_| bad(name, text, hint))
}
