//! llama.cpp: how many layers lie on devices (`-ngl`), the share of each device (`-ts`) in the order of
//! `-dev`, and tensors elsewhere (`-ot`, a regular expression for their names in the GGUF file).
//!
//! The last `-ngl` of the layers and the head lie on devices, those before in the host's memory. Slot k
//! of n goes to the first device whose shares, summed up, exceed k / n (`llama_model::load_tensors`), so
//! shares are numbers of slots. Embeddings stay in the host's memory unless an expression names them,
//! and a layer's cache is where its slot is.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;
use ir::id::{DeviceId, OpId};

use super::HEAD;
use super::layers::{Layers, Part};
use crate::format::{Export, Placed, Source};
use crate::modules::devices::{Devices, Place};
use crate::modules::refusal;

/// Its name among targets.
pub const LLAMA_CPP: &str = "llama.cpp";

pub(crate) const LLAMA_CPP_PLACED: Placed = Placed {
    is_executor: true,
    serves: true,
    shards: false,
    computes: |cluster, device| cluster.storage(device) != Some("disk"),
    export,
    colocation: |graph| Ok(Layers::new(graph, LLAMA_CPP)?.groups(slot)),
};

/// Layers first, then the head, the experts of each layer, which may lie elsewhere, and what is before
/// the layers.
fn slot(part: Part, n_layers: usize) -> Option<usize> {
    match part {
        Part::Layer(number) => Some(number),
        Part::After => Some(n_layers),
        Part::Experts(number) => Some(n_layers + 1 + number),
        Part::Before => Some(2 * n_layers + 1),
        Part::Free => None,
    }
}

fn export(source: &Source<'_>) -> Result<Export, Diagnostic> {
    let layers = Layers::new(&source.problem.graph, LLAMA_CPP)?;
    let devices = Devices::new(source, LLAMA_CPP)?;
    let n_layers = layers.names.len();
    let places = layers.places(source, &devices, (slot, 2 * n_layers + 2))?;
    for device in places.iter().flatten() {
        if devices.place(*device) == Place::Storage("disk") {
            let message = format!("{LLAMA_CPP} holds no tensors on `{}`", devices.name(*device));
            return Err(refusal(LLAMA_CPP, message).hint("forbid this device"));
        }
    }
    let (slots, elsewhere) = places.split_at(n_layers + 1);
    let on_accelerator = |place: &DeviceId| matches!(devices.place(*place), Place::Accelerator(_));
    let mut rows = layers.rows(&slots[..n_layers], &devices)?;
    let mut overrides = Vec::new();
    let last = rows.last().map(|(device, _)| *device);
    let head = slots.last().copied().flatten().or(last);
    // The head has the last slot, unless it is where no later slot can be.
    let is_elsewhere = |place: &DeviceId| rows.iter().all(|(device, _)| device != place);
    let is_new = head.as_ref().is_some_and(|device| on_accelerator(device) && is_elsewhere(device));
    match (rows.last_mut(), head) {
        (Some((device, n)), Some(head)) if *device == head => *n += 1,
        (_, Some(head)) if is_new => rows.push((head, 1)),
        (Some((_, n)), Some(head)) => {
            *n += 1;
            overrides.push(format!("^output={}", buffer(&devices, head)));
        }
        _ => {}
    }
    if let Some((device, _)) = rows.iter().skip(1).find(|(device, _)| !on_accelerator(device)) {
        let name = devices.name(*device);
        let message = format!(
            "layers in the host's memory come before those on devices, and some are on `{name}` behind"
        );
        return Err(layers.refused(message, &name));
    }
    overrides.splice(0..0, experts(&devices, (slots, elsewhere)));
    let mut warnings = Vec::new();
    if let Some(before) = elsewhere.last().copied().flatten().filter(on_accelerator) {
        match head == Some(before) || !is_tied(&layers) {
            true => overrides.push(format!("^(token|position)_={}", buffer(&devices, before))),
            false => warnings.push(unlike(&devices.name(before))),
        }
    }
    Ok(Export { warnings, ..Export::from(script(&devices, &rows, &overrides)) })
}

fn script(devices: &Devices<'_>, rows: &[(DeviceId, usize)], overrides: &[String]) -> String {
    let on_devices: Vec<_> =
        rows.iter().filter(|(device, _)| devices.place(*device) != Place::Storage("cpu")).collect();
    let names: Vec<String> =
        on_devices.iter().map(|(device, _)| buffer(devices, *device)).collect();
    let shares: Vec<String> = on_devices.iter().map(|(_, n)| n.to_string()).collect();
    let n_slots: usize = on_devices.iter().map(|(_, n)| n).sum();
    let mut flags = match (on_devices.len() == rows.len(), on_devices.is_empty()) {
        (_, true) => "-ngl 0".to_owned(),
        (true, false) => "-ngl all".to_owned(),
        (false, false) => format!("-ngl {n_slots}"),
    };
    match names.as_slice() {
        [] => flags.push_str(" -dev none"),
        [one] => flags.push_str(&format!(" -dev {one}")),
        all => {
            flags.push_str(&format!(" -sm layer -dev {} -ts {}", all.join(","), shares.join(",")))
        }
    }
    if !overrides.is_empty() {
        flags.push_str(&format!(" -ot '{}'", overrides.join(",")));
    }
    format!(
        "{HEAD}# Words behind this script go to the server, such as -m model.gguf.\n\
         exec llama-server \"$@\" {flags}\n"
    )
}

/// Experts that lie elsewhere than the rest of their layer, by device.
fn experts(
    devices: &Devices<'_>,
    (slots, elsewhere): (&[Option<DeviceId>], &[Option<DeviceId>]),
) -> Vec<String> {
    let mut moved: BTreeMap<DeviceId, Vec<String>> = BTreeMap::new();
    for (number, (slot, experts)) in slots.iter().zip(elsewhere).enumerate() {
        if let Some(place) = experts.filter(|place| *slot != Some(*place))
            && number + 1 < slots.len()
        {
            moved.entry(place).or_default().push(number.to_string());
        }
    }
    let line = |(place, numbers): (DeviceId, Vec<String>)| {
        format!(r"^blk\.({})\.ffn_.*_exps={}", numbers.join("|"), buffer(devices, place))
    };
    moved.into_iter().map(line).collect()
}

/// What its CUDA builds call a device, and the memory of it.
fn buffer(devices: &Devices<'_>, device: DeviceId) -> String {
    match devices.place(device) {
        Place::Accelerator(number) => format!("CUDA{number}"),
        Place::Storage(_) => "CPU".to_owned(),
    }
}

/// Whether embeddings and head are one tensor.
fn is_tied(layers: &Layers) -> bool {
    let reads = |op: &OpId, part: Part| layers.parts.get(op.index()) == Some(&part);
    layers.layout.parameters.iter().filter(|parameter| parameter.binds).any(|parameter| {
        parameter.readers.iter().any(|op| reads(op, Part::Before))
            && parameter.readers.iter().any(|op| reads(op, Part::After))
    })
}

fn unlike(device: &str) -> Diagnostic {
    let message = format!(
        "embeddings are placed on `{device}`, but {LLAMA_CPP} looks them up in the host's memory, as the \
         head shares them elsewhere"
    );
    Diagnostic::warning("runs-elsewhere", message)
        .hint("expect a step that is shorter or longer by one lookup")
}
