//! vLLM and SGLang: layers of each pipeline rank (`VLLM_PP_LAYER_PARTITION` and
//! `SGLANG_PP_LAYER_PARTITION`, read by their `get_pp_indices`: whole numbers between commas, one for
//! each rank, that sum up to the layers of the model). Rank i runs on the i-th device that
//! `CUDA_VISIBLE_DEVICES` names; embeddings lie on the first rank, the head on the last.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::OpId;
use ir::launch::{DeviceMap, MapPlace};

use super::HEAD;
use super::layers::{Layers, Part};
use crate::format::{Export, Placed, Source};
use crate::modules::devices::{Devices, Place};
use crate::modules::layout::Owner;

pub(crate) const VLLM: &str = "vllm";
pub(crate) const SGLANG: &str = "sglang";

/// Layers lie whole on one device, what is before them beside the first and the head beside the last.
fn slot(part: Part, n_layers: usize) -> Option<usize> {
    match part {
        Part::Before => Some(0),
        Part::Layer(number) | Part::Experts(number) => Some(number),
        Part::After => n_layers.checked_sub(1),
        Part::Free => None,
    }
}

/// Ops that a rank of a server holds together.
///
/// # Errors
/// Those of [`Layers::new`].
fn colocation(graph: &Graph, target: &'static str) -> Result<Vec<Vec<OpId>>, Diagnostic> {
    Ok(Layers::new(graph, target)?.groups(slot))
}

/// What a server reads its layers from, and how it is started.
pub(super) struct Words {
    variable: &'static str,
    program: &'static str,
    flag: &'static str,
    yours: &'static str,
}

pub(super) const VLLM_WORDS: Words = Words {
    variable: "VLLM_PP_LAYER_PARTITION",
    program: "vllm serve",
    flag: "--pipeline-parallel-size",
    yours: "the model first",
};
pub(super) const SGLANG_WORDS: Words = Words {
    variable: "SGLANG_PP_LAYER_PARTITION",
    program: "python -m sglang.launch_server",
    flag: "--pp-size",
    yours: "such as --model-path MODEL",
};

pub(crate) const VLLM_PLACED: Placed = Placed {
    is_executor: true,
    serves: true,
    shards: true,
    computes: |cluster, device| cluster.storage(device).is_none(),
    export: |source| script(source, VLLM, &VLLM_WORDS),
    colocation: |graph| colocation(graph, VLLM),
};

pub(crate) const SGLANG_PLACED: Placed = Placed {
    is_executor: true,
    serves: true,
    shards: true,
    computes: |cluster, device| cluster.storage(device).is_none(),
    export: |source| script(source, SGLANG, &SGLANG_WORDS),
    colocation: |graph| colocation(graph, SGLANG),
};

fn script(source: &Source<'_>, target: &'static str, words: &Words) -> Result<Export, Diagnostic> {
    let layers = Layers::new(&source.problem.graph, target)?;
    let devices = Devices::new(source, target)?;
    let places = layers.places(source, &devices, (slot, layers.names.len()))?;
    let mut numbers = Vec::new();
    let mut counts = Vec::new();
    for (device, n_layers) in layers.rows(&places, &devices)? {
        let Place::Accelerator(number) = devices.place(device) else {
            let name = devices.name(device);
            let message = format!("{target} holds no layers on `{name}`, which is no accelerator");
            return Err(layers.refused(message, &name));
        };
        numbers.push(number.to_string());
        counts.push(n_layers.to_string());
    }
    Ok(started(words, (&numbers, &counts), ""))
}

/// The script of ranks by the numbers of their devices and layers, with further flags of the server.
pub(super) fn started(
    words: &Words,
    (numbers, counts): (&[String], &[String]),
    flags: &str,
) -> Export {
    let Words { variable, program, flag, yours } = words;
    let (n_ranks, numbers, counts) = (counts.len(), numbers.join(","), counts.join(","));
    Export::from(format!(
        "{HEAD}# Rank i of the pipeline runs on the i-th of these devices and holds the i-th number of \
         layers.\nexport CUDA_VISIBLE_DEVICES={numbers}\nexport {variable}={counts}\n\
         # Words behind this script go to the server, {yours}.\n\
         exec {program} \"$@\" {flag} {n_ranks}{flags}\n"
    ))
}

/// What a server runs now: its ranks, the layers of each and the number of its device, where stated.
#[derive(Clone, Debug, Default)]
pub struct Ranks {
    /// How many there are.
    pub n: u32,
    /// Layers of each; all the same where nothing is stated.
    pub layers: Option<Vec<u32>>,
    /// Devices in the order of ranks; the first ones where nothing is stated.
    pub devices: Option<Vec<u32>>,
}

/// The device of each module under a server.
///
/// # Errors
/// `bad-settings` where these are not the layers of the model; those of [`Layers::new`].
pub fn device_map(graph: &Graph, target: &str, ranks: &Ranks) -> Result<DeviceMap, Diagnostic> {
    let target = if target == SGLANG { SGLANG } else { VLLM };
    let layers = Layers::new(graph, target)?;
    let n_layers = layers.names.len();
    let place = on_devices(n_layers, ranks, target)?;
    let mut entries = BTreeMap::new();
    for (op, part) in layers.parts.iter().enumerate() {
        let slot = slot(*part, n_layers).and_then(|slot| place.get(slot));
        let unit = layers.layout.unit.get(op).copied().flatten();
        if let (Some(place), Some(unit)) =
            (slot, unit.and_then(|unit| layers.layout.units.get(unit)))
        {
            entries.insert(unit.clone(), *place);
        }
    }
    // Parameters that no op of their own module reads lie where the first one reads them.
    for parameter in &layers.layout.parameters {
        let is_listed = match parameter.owner {
            Owner::Unit(unit) => {
                layers.layout.units.get(unit).is_some_and(|name| entries.contains_key(name))
            }
            Owner::Container => false,
        };
        let reader = parameter.readers.first().and_then(|op| layers.parts.get(op.index()));
        let slot = reader.and_then(|part| slot(*part, n_layers)).unwrap_or(0);
        if let (false, Some(place)) = (is_listed, place.get(slot)) {
            entries.insert(parameter.name.clone(), *place);
        }
    }
    Ok(DeviceMap { entries })
}

/// Layers of each rank where nobody states them (`get_pp_indices` of each server): what ranks don't
/// divide goes to the last ranks of SGLang, and in vLLM to those before the last one.
fn equal_layers(n_layers: usize, n_ranks: usize, target: &str) -> Vec<u32> {
    let (each, rest) = (n_layers / n_ranks, n_layers % n_ranks);
    let end = if target == SGLANG { n_ranks } else { n_ranks - 1 };
    let has_more = |rank: usize| rank < end && rank + rest >= end;
    (0..n_ranks).map(|rank| (each + usize::from(has_more(rank))) as u32).collect()
}

/// The device of each layer.
fn on_devices(n_layers: usize, ranks: &Ranks, target: &str) -> Result<Vec<MapPlace>, Diagnostic> {
    let wrong = |message: String, hint: &str| {
        Err(Diagnostic::input("bad-settings", message).hint(hint.to_owned()))
    };
    let n_ranks = ranks.n.max(1);
    let counts = match &ranks.layers {
        Some(counts) => counts.clone(),
        None => equal_layers(n_layers, n_ranks as usize, target),
    };
    let total = counts.iter().fold(0u64, |sum, n| sum + u64::from(*n));
    if total != n_layers as u64 {
        let message = format!("ranks of {total} layers for a model of {n_layers}");
        return wrong(message, "give the settings of this model");
    }
    let numbers = ranks.devices.clone().unwrap_or_else(|| (0..n_ranks).collect());
    if counts.len() > numbers.len() {
        let message = format!("{} ranks on {} devices", counts.len(), numbers.len());
        return wrong(message, "name a device for each rank in CUDA_VISIBLE_DEVICES");
    }
    let mut seen = std::collections::BTreeSet::new();
    if let Some(twice) = numbers.iter().find(|number| !seen.insert(**number)) {
        let message = format!("device {twice} is named twice");
        return wrong(message, "name each device of CUDA_VISIBLE_DEVICES once");
    }
    let ranks = counts.iter().zip(numbers);
    let places = ranks.flat_map(|(n, number)| std::iter::repeat_n(number, *n as usize));
    Ok(places.map(MapPlace::Accelerator).collect())
}

#[cfg(test)]
mod tests {
    use super::{SGLANG, VLLM, equal_layers};

    /// `get_pp_indices` of both, by hand.
    #[test]
    fn layers_that_ranks_do_not_divide_go_where_servers_put_them() {
        for (layers, ranks, vllm, sglang) in [
            (32, 3, vec![11, 11, 10], vec![10, 11, 11]),
            (33, 4, vec![8, 8, 9, 8], vec![8, 8, 8, 9]),
            (31, 2, vec![16, 15], vec![15, 16]),
            (12, 5, vec![2, 2, 3, 3, 2], vec![2, 2, 2, 3, 3]),
            (32, 4, vec![8; 4], vec![8; 4]),
            (7, 1, vec![7], vec![7]),
        ] {
            assert_eq!(equal_layers(layers, ranks, VLLM), vllm, "{layers} on {ranks}");
            assert_eq!(equal_layers(layers, ranks, SGLANG), sglang, "{layers} on {ranks}");
        }
    }
}
