//! What flags say of the model.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;

use super::super::flags::Flags;
use super::super::limits::{MOST_LAYERS, bad};

/// Sizes of a model.
const SIZES: &[&str] = &[
    "--hidden-size",
    "--num-attention-heads",
    "--num-query-groups",
    "--kv-channels",
    "--ffn-hidden-size",
    "--vocab-size",
    "--num-experts",
    "--moe-ffn-hidden-size",
    "--moe-router-topk",
    "--moe-shared-expert-intermediate-size",
    "--q-lora-rank",
    "--kv-lora-rank",
    "--qk-head-dim",
    "--qk-pos-emb-head-dim",
    "--v-head-dim",
];

/// Switches of a model.
const SWITCHES: [&str; 2] = ["--untie-embeddings-and-output-weights", "--multi-latent-attention"];

/// Sizes of latent attention by default; without a narrow query.
const OF_LATENT: [(&str, u64); 5] = [
    ("--q-lora-rank", 0),
    ("--kv-lora-rank", 32),
    ("--qk-head-dim", 128),
    ("--qk-pos-emb-head-dim", 64),
    ("--v-head-dim", 128),
];

const LAYERS: &str = "--moe-layer-freq";
const WINDOW: &str = "--window-size";
const WINDOWED: &str = "--window-attn-skip-freq";

/// Sizes of the model. Where its width is stated, what no flag says has Megatron's default.
pub(super) fn sizes(flags: &Flags<'_>) -> Result<BTreeMap<&'static str, u64>, Diagnostic> {
    let mut sizes = BTreeMap::new();
    for flag in SIZES {
        if let Some(size) = flags.count(flag)? {
            sizes.insert(*flag, size);
        }
    }
    // Its other gate is named as one that no plan has.
    let is_gated = flags.has("--swiglu") | flags.is_there("--quick-geglu");
    let is_grouped = flags.has("--group-query-attention");
    let switches = SWITCHES.map(|flag| (flag, u64::from(flags.has(flag))));
    let window = window(flags)?;
    let heads = sizes.get("--num-attention-heads").copied();
    match (is_grouped, heads) {
        (true, _) => drop(sizes.entry("--num-query-groups").or_insert(1)),
        (false, Some(heads)) => drop(sizes.insert("--num-query-groups", heads)),
        (false, None) => drop(sizes.remove("--num-query-groups")),
    }
    let inner = sizes.get("--ffn-hidden-size").copied();
    let Some(hidden) = sizes.get("--hidden-size").copied() else {
        // Of experts too, where nothing says more.
        if let Some(inner) = inner {
            sizes.entry("--moe-ffn-hidden-size").or_insert(inner);
        }
        let switches = switches.into_iter().chain([("--swiglu", u64::from(is_gated))]);
        sizes.extend(switches.filter(|(_, is_on)| *is_on > 0));
        sizes.extend(window.map(|tokens| (WINDOW, tokens)));
        return Ok(sizes);
    };
    sizes.extend(switches);
    sizes.extend([("--swiglu", u64::from(is_gated)), (WINDOW, window.unwrap_or(0))]);
    // The swish gate alone narrows what no flag says.
    let usual = if flags.has("--swiglu") { hidden * 8 / 3 / 64 * 64 } else { hidden * 4 };
    let inner = *sizes.entry("--ffn-hidden-size").or_insert(usual);
    if let Some(heads) = sizes.get("--num-attention-heads").copied() {
        sizes.entry("--kv-channels").or_insert(hidden / heads.max(1));
    }
    let of_experts = [
        ("--moe-ffn-hidden-size", inner),
        ("--moe-router-topk", 2),
        ("--moe-shared-expert-intermediate-size", 0),
    ];
    let has_experts = *sizes.entry("--num-experts").or_insert(0) > 0;
    let is_latent = sizes.get("--multi-latent-attention") == Some(&1);
    let usual = [(has_experts, &of_experts[..]), (is_latent, &OF_LATENT[..])];
    for (flag, usual) in usual.into_iter().filter(|(is, _)| *is).flat_map(|(_, usual)| usual) {
        sizes.entry(*flag).or_insert(*usual);
    }
    Ok(sizes)
}

/// Tokens that a token attends to, itself included: `N,0` are those before it.
fn window(flags: &Flags<'_>) -> Result<Option<u64>, Diagnostic> {
    let Some(text) = flags.text(WINDOW)? else { return Ok(None) };
    let first = text.trim_start_matches('(').split(',').next().and_then(|first| first.parse().ok());
    let tokens = first.and_then(|n: u64| n.checked_add(1));
    tokens.map(Some).ok_or_else(|| bad(WINDOW, text, "write the tokens before a token as `N,0`"))
}

/// Which layers have experts or a window, and how many predict a later token.
pub(super) fn layers(
    flags: &Flags<'_>,
    n_layers: Option<u32>,
    settings: &mut LaunchSettings,
) -> Result<(), Diagnostic> {
    let n = n_layers.unwrap_or(0) as usize;
    let with_experts = pattern(flags, LAYERS, &|each| (0..n).map(|at| at % each == 0).collect())?;
    // Every so many-th has none.
    let windowed = pattern(flags, WINDOWED, &|each| (1..=n).map(|at| at % each != 0).collect())?;
    let is_whole = settings.sizes.contains_key("--hidden-size");
    if let Some(later) = settings.n_predicting.or(is_whole.then_some(0)) {
        settings.sizes.insert("--mtp-num-layers", u64::from(later));
    }
    let has = |flag: &str| settings.sizes.get(flag).is_some_and(|n| *n > 0);
    let (has_experts, has_windows) = (has("--num-experts"), has(WINDOW));
    let patterns = [(LAYERS, &with_experts), (WINDOWED, &windowed)];
    for (flag, pattern) in
        patterns.into_iter().filter_map(|(flag, pattern)| Some((flag, pattern.as_ref()?)))
    {
        if n > 0 && pattern.len() != n {
            let hint = format!("it has {} layers of {n}", pattern.len());
            return Err(bad(flag, &flags.words(flag).concat(), &hint));
        }
    }
    let of_all = |pattern: Option<Vec<bool>>| pattern.or_else(|| is_whole.then(|| vec![true; n]));
    settings.with_experts = of_all(with_experts).filter(|_| n > 0 && (has_experts || !is_whole));
    settings.windowed = of_all(windowed).filter(|_| n > 0 && has_windows);
    Ok(())
}

/// The layers that a flag names: a list, or what a number stands for.
fn pattern(
    flags: &Flags<'_>,
    flag: &str,
    of_number: &dyn Fn(usize) -> Vec<bool>,
) -> Result<Option<Vec<bool>>, Diagnostic> {
    let text = flags.words(flag).concat();
    let wrong = || bad(flag, &text, "give a number, or a list such as `([0]*3+[1]*58)`");
    Ok(Some(match text.parse::<usize>() {
        _ if text.is_empty() => return Ok(None),
        Ok(0) => return Err(wrong()),
        Ok(each) => of_number(each),
        Err(_) => sum(text.replace(' ', "").as_str())
            .filter(|(_, rest)| rest.is_empty())
            .map(|(pattern, _)| pattern)
            .ok_or_else(wrong)?,
    }))
}

/// Lists of Python after one another, and what follows them.
fn sum(text: &str) -> Option<(Vec<bool>, &str)> {
    let (mut all, mut rest) = product(text)?;
    while let Some(next) = rest.strip_prefix('+') {
        let (more, later) = product(next)?;
        all.extend(more);
        rest = later;
        if all.len() as u64 > MOST_LAYERS {
            return None;
        }
    }
    Some((all, rest))
}

/// A list or a sum in parentheses, so many times. Parentheses don't nest.
fn product(text: &str) -> Option<(Vec<bool>, &str)> {
    let (list, mut rest) = match text.strip_prefix('(') {
        Some(inside) => {
            let (body, later) = inside.split_once(')')?;
            let (list, left) = sum(Some(body).filter(|body| !body.contains('('))?)?;
            (list, Some(later).filter(|_| left.is_empty())?)
        }
        None => {
            let (body, later) = text.strip_prefix('[')?.split_once(']')?;
            let each = body.split(',').filter(|item| !item.is_empty()).map(|item| match item {
                "0" => Some(false),
                "1" => Some(true),
                _ => None,
            });
            (each.collect::<Option<Vec<bool>>>()?, later)
        }
    };
    let mut n = 1;
    if let Some(digits) = rest.strip_prefix('*') {
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        n = digits[..end].parse().ok()?;
        rest = &digits[end..];
    }
    let is_short = (list.len() as u64).checked_mul(n)? <= MOST_LAYERS;
    is_short.then(|| (list.repeat(n as usize), rest))
}
