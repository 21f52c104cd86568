//! `galvatron_config_*.json` of Hetu-Galvatron: one parallel strategy per layer
//! (`utils/config_utils.py` and `core/runtime/hybrid_parallel_config.py`, Apache-2.0).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;
use ir::plan::{BlockPolicy, Mesh};
use serde_json::Value;

use super::limits::{MOST_DEGREE, bad};

/// Most layers of a file.
const MOST_LAYERS: usize = 1 << 16;

pub(super) fn read(text: &str) -> Result<LaunchSettings, Diagnostic> {
    let document: Value = serde_json::from_str(text).map_err(|error| {
        Diagnostic::input("bad-settings", format!("this is no valid JSON: {error}"))
            .hint("give a galvatron_config_*.json")
    })?;
    let config = Config { document: &document, asked: RefCell::default() };
    let pipeline = config.count("pp_deg")?.unwrap_or(1);
    let degrees = config.list("tp_sizes_enc")?.unwrap_or_default();
    let n = degrees.len();
    let tensor = config.uniform("tp_sizes_enc", &degrees)?;
    if tensor == 0 {
        return Err(bad("tp_sizes_enc", "0", "give degrees of at least 1"));
    }
    let per_layer = |key: &'static str| match config.list(key)? {
        None => Ok(vec![0; n]),
        Some(list) if list.len() == n => Ok(list),
        Some(list) => {
            Err(bad(key, &list.len().to_string(), &format!("give one number per layer, {n}")))
        }
    };
    let ulysses = config.uniform("use_sp", &per_layer("use_sp")?)?;
    config.neighbours(tensor)?;
    config.no_context()?;
    let default = config.default_zero()?;
    let (zeros, again) = (per_layer("dp_types_enc")?, per_layer("checkpoint")?);
    let of = |(zero, again): (&u32, &u32)| BlockPolicy {
        recompute: if *again == 0 { Recompute::None } else { Recompute::Full },
        zero: if *zero == 0 { default } else { ZeroStage::Parameters },
    };
    let each: Vec<BlockPolicy> = zeros.iter().zip(&again).map(of).collect();
    let is_shared = config.count_or_zero("embed_sdp")? != 0;
    let zero = if is_shared { ZeroStage::Parameters } else { default };
    // Blocks that are all alike, and share out what the ends do, are no choices by block.
    let alike = each
        .first()
        .copied()
        .filter(|first| first.zero == zero && each.iter().all(|other| other == first));
    let sequence = match (tensor, ulysses) {
        (1, _) => SequenceParallel::Off,
        (_, 0) => SequenceParallel::On,
        _ => SequenceParallel::Ulysses,
    };
    let settings = LaunchSettings {
        tensor: Some(tensor),
        pipeline: Some(pipeline),
        n_micro_batches: config.count("chunks")?.map(u64::from),
        global_batch: config.count("global_bsz")?.map(u64::from),
        sequence: Some(sequence),
        zero: Some(zero),
        recompute: alike.map(|layer| layer.recompute),
        mesh: Some(Mesh::TpCpDpPp),
        each: alike.is_none().then_some(each),
        vocabulary: config.vocabulary(tensor, sequence)?,
        blocks: config.list("pp_division")?,
        schedule: Some(config.schedule()?),
        no_effect: config.idle(tensor, ulysses)?,
        ..LaunchSettings::default()
    };
    Ok(LaunchSettings { not_planned: config.not_planned(), ..settings })
}

struct Config<'a> {
    document: &'a Value,
    /// Keys that were asked for.
    asked: RefCell<BTreeSet<&'static str>>,
}

impl Config<'_> {
    fn text(&self, key: &'static str) -> Option<String> {
        self.asked.borrow_mut().insert(key);
        self.document.get(key).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    }

    /// Keys that nobody asked for. To be called when all were asked for.
    fn not_planned(&self) -> BTreeSet<String> {
        let known = self.asked.borrow();
        let keys = self.document.as_object().into_iter().flat_map(|members| members.keys());
        let unread = keys.filter(|key| !known.contains(key.as_str()));
        unread.map(|key| key.chars().take(120).collect()).collect()
    }

    /// A whole number; `None` where the key is missing.
    fn count_or_zero(&self, key: &'static str) -> Result<u32, Diagnostic> {
        let Some(text) = self.text(key) else { return Ok(0) };
        text.parse().map_err(|_| bad(key, &text, "give a whole number"))
    }

    /// A whole number of at least 1; `None` where the key is missing.
    fn count(&self, key: &'static str) -> Result<Option<u32>, Diagnostic> {
        let Some(text) = self.text(key) else { return Ok(None) };
        match text.parse() {
            Ok(n) if n > 0 && u64::from(n) <= MOST_DEGREE => Ok(Some(n)),
            _ => Err(bad(key, &text, &format!("give a whole number from 1 to {MOST_DEGREE}"))),
        }
    }

    /// Numbers between commas, one per layer or stage.
    fn list(&self, key: &'static str) -> Result<Option<Vec<u32>>, Diagnostic> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let numbers: Result<Vec<u32>, _> =
            text.split(',').take(MOST_LAYERS).map(|number| number.trim().parse()).collect();
        let numbers = numbers
            .ok()
            .filter(|numbers: &Vec<u32>| numbers.iter().all(|n| u64::from(*n) <= MOST_DEGREE));
        let hint = format!("give whole numbers up to {MOST_DEGREE} between commas");
        numbers.map(Some).ok_or_else(|| bad(key, &text, &hint))
    }

    /// The one value of a list.
    fn uniform(&self, key: &'static str, list: &[u32]) -> Result<u32, Diagnostic> {
        let Some(first) = list.first().copied() else {
            return Err(bad(key, "", "give one number per layer"));
        };
        if list.iter().any(|other| *other != first) {
            let text = self.text(key).unwrap_or_default();
            return Err(bad(key, &text, "degrees that differ between layers are not judged"));
        }
        Ok(first)
    }

    /// Refuses tensor groups of ranks that are no neighbours.
    fn neighbours(&self, tensor: u32) -> Result<(), Diagnostic> {
        let key = "tp_consecutive_flags";
        let flags = self.list(key)?.unwrap_or_default();
        if tensor > 1 && flags.contains(&0) {
            let text = self.text(key).unwrap_or_default();
            return Err(bad(key, &text, "tensor ranks that are no neighbours are not judged"));
        }
        Ok(())
    }

    fn no_context(&self) -> Result<(), Diagnostic> {
        for key in ["cp_sizes_enc", "ep_sizes_enc"] {
            let sizes = self.list(key)?.unwrap_or_default();
            if sizes.iter().any(|size| *size > 1) {
                let text = self.text(key).unwrap_or_default();
                return Err(bad(key, &text, "context and expert ranks are not judged"));
            }
        }
        Ok(())
    }

    fn default_zero(&self) -> Result<ZeroStage, Diagnostic> {
        let key = "default_dp_type";
        match self.text(key).as_deref() {
            None | Some("ddp") => Ok(ZeroStage::None),
            Some("zero2") => Ok(ZeroStage::Gradients),
            Some("zero3") => Ok(ZeroStage::Parameters),
            Some(other) => Err(bad(key, other, "use ddp, zero2 or zero3")),
        }
    }

    /// Ranks that split the vocabulary, where they are not those of the layers.
    fn vocabulary(
        &self,
        tensor: u32,
        sequence: SequenceParallel,
    ) -> Result<Option<u32>, Diagnostic> {
        let degree = self.count("vtp")?.unwrap_or(1);
        let is_ulysses = degree > 1 && self.count_or_zero("vsp")? != 0;
        let layers_are = sequence == SequenceParallel::Ulysses;
        match (degree == tensor, is_ulysses) {
            (true, _) if degree == 1 || is_ulysses == layers_are => Ok(None),
            (_, false) => Ok(Some(degree)),
            (_, true) => {
                let hint = "a sequence that only the ends split is not judged";
                Err(bad("vsp", "1", hint))
            }
        }
    }

    /// Members that do nothing as the others are, by what each needs.
    fn idle(&self, tensor: u32, ulysses: u32) -> Result<BTreeMap<String, String>, Diagnostic> {
        let [degree, vocabulary] = [self.count("vtp")?.unwrap_or(1), self.count_or_zero("vsp")?];
        let apart = self.list("tp_consecutive_flags")?.unwrap_or_default().contains(&0);
        let rows = [
            (tensor == 1 && ulysses != 0, "use_sp", "tensor ranks in `tp_sizes_enc`"),
            (tensor == 1 && apart, "tp_consecutive_flags", "tensor ranks in `tp_sizes_enc`"),
            (degree == 1 && vocabulary != 0, "vsp", "tensor ranks in `vtp`"),
        ];
        let rows = rows.into_iter().filter(|(is_idle, ..)| *is_idle);
        Ok(rows.map(|(_, key, needed)| (key.to_owned(), needed.to_owned())).collect())
    }

    fn schedule(&self) -> Result<String, Diagnostic> {
        let key = "pipeline_type";
        match self.text(key).as_deref() {
            None | Some("gpipe") => Ok("gpipe".to_owned()),
            Some("pipedream_flush") => Ok("1f1b".to_owned()),
            Some(other) => Err(bad(key, other, "use gpipe or pipedream_flush")),
        }
    }
}
