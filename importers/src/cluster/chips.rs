//! What kinds that a file defines are taken for: the kind of the catalogue that is nearest by figures.

use ir::chip::Architecture;
use ir::cluster::{Check, Cluster, DeviceKind};
use ir::diagnostic::Diagnostic;
use ir::tensor::DType;

use super::catalogue::{Catalogue, DeviceRow};

/// Largest ratio of a figure to that of a kind that is near.
const NEAR: f64 = 2.0;
/// Types of products, by the first of which that both kinds state they are compared.
const COMPARED: [DType; 3] = [DType::Bf16, DType::F16, DType::F32];

/// The kind of the catalogue that is nearest by memory bandwidth, rate of products and number of
/// multiprocessors: where an architecture is stated, of those that have it; else of those that have all
/// stated types, and `None` where none is near, or too little is stated.
pub(super) fn nearest<'c>(kind: &DeviceKind, catalogue: &'c Catalogue) -> Option<&'c DeviceRow> {
    let near = catalogue.devices.iter().filter_map(|row| Some((distance(kind, &row.kind)?, row)));
    near.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, row)| row)
}

/// Sum of the logarithms of ratios; `None` for kinds that are not near, or of another architecture than the
/// stated one.
fn distance(kind: &DeviceKind, known: &DeviceKind) -> Option<f64> {
    if let Some(architecture) = kind.architecture {
        return (known.chip.architecture() == architecture)
            .then(|| logs(kind, known).map_or(f64::MAX, |logs| logs.iter().sum()));
    }
    // What is like an Apple chip by its figures is mostly another maker's.
    if known.chip.architecture() == Architecture::Apple {
        return None;
    }
    let narrow = [DType::F8, DType::F4, DType::Bf16];
    if narrow.iter().any(|dtype| kind.peak.contains_key(dtype) && !known.peak.contains_key(dtype)) {
        return None;
    }
    let logs = logs(kind, known)?;
    logs.iter().all(|log| *log <= NEAR.ln()).then(|| logs.iter().sum())
}

/// Logarithms of the ratios of both kinds' figures; `None` where one is not stated.
fn logs(kind: &DeviceKind, known: &DeviceKind) -> Option<[f64; 3]> {
    let peak = |kind: &DeviceKind, dtype| kind.peak.get(&dtype).map(|rate| rate.get());
    let rates = COMPARED.iter().find_map(|dtype| peak(kind, *dtype).zip(peak(known, *dtype)))?;
    let bandwidth = kind.memory_bandwidth?.get() / known.memory_bandwidth?.get();
    let count = kind.n_multiprocessors.zip(known.n_multiprocessors);
    let count = count.map_or(1.0, |(ours, theirs)| f64::from(ours) / f64::from(theirs));
    Some([bandwidth.ln(), (rates.0 / rates.1).ln(), count.ln()].map(f64::abs))
}

/// A warning for each kind of the cluster that was taken for one of the catalogue.
pub(super) fn assumed<'a>(
    cluster: &'a Cluster,
    catalogue: &'a Catalogue,
) -> impl Iterator<Item = Diagnostic> + 'a {
    let kinds = cluster.kinds.iter();
    let kinds = kinds.filter(|kind| kind.check == Check::Given && kind.architecture.is_none());
    kinds.filter_map(|kind| {
        let row = nearest(kind, catalogue)?;
        let (name, architecture) = (&row.kind.name, row.kind.chip.architecture().name());
        let message = format!(
            "`{}` is not in the catalogue: priced as {architecture}, like `{name}`, the nearest by \
             its figures",
            kind.name
        );
        let hint =
            "state `architecture:` in `kinds`, name a kind of `meshwright devices`, or measure a profile";
        Some(Diagnostic::warning("assumed-architecture", message).hint(hint))
    })
}
