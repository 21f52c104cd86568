//! Streams that slow each other, by kind of device and group.

use ir::measured::{Measurements, Stream};
use ir::profile::{GroupKey, OverlapConstants};

use super::quality::quality;
use super::{Calibration, Context, MOST_ROWS, Part, thinned};
use crate::links::overlap::fit::{N_CONSTANTS, predict, slowdowns};
use crate::links::overlap::sample::{Sample, samples};

/// Fewest samples from which slowdowns are fitted.
const FEWEST: usize = 12;
/// Names of the streams in the order of [`Stream::ALL`].
const NAMES: [&str; 4] = ["compute", "collective", "host-in", "host-out"];

/// Calibrates the slowdowns of every group.
pub(super) fn calibrate(calibration: &mut Calibration, rows: &Measurements, context: &Context) {
    let found = samples(&rows.overlaps);
    calibration.warnings.extend(found.refused.iter().cloned());
    for ((kind, shape), group) in &found.groups {
        let name =
            format!("overlap {}x{} of {} {kind}", shape.ranks_per_node, shape.nodes, shape.gpus);
        if group.len() < FEWEST {
            calibration.too_few(&name, group.len(), FEWEST);
            continue;
        }
        let group: Vec<&Sample> = thinned(group, MOST_ROWS).collect();
        let fitted = slowdowns(&group);
        let measured: Vec<f64> = group.iter().map(|sample| sample.measured_s).collect();
        let predicted: Vec<f64> =
            group.iter().map(|sample| predict(&fitted, sample.alone_s)).collect();
        let factors =
            Stream::ALL.map(|slowed| Stream::ALL.map(|beside| fitted.factor(slowed, beside)));
        let constants = OverlapConstants { slowdowns: factors, provenance: context.provenance() };
        let key =
            GroupKey { gpus: shape.gpus, ranks_per_node: shape.ranks_per_node, nodes: shape.nodes };
        let of_kind = calibration.profile.overlaps.entry(kind.clone()).or_default();
        of_kind.insert(key, constants);
        let quality = quality(&predicted, &measured, never_together(&group));
        let form = format!("fit of {N_CONSTANTS}");
        calibration.push(Part { name, form, quality, refused: None });
    }
}

/// Pairs of streams that no sample has together: their slowdowns are the nominal middle.
fn never_together(group: &[&Sample]) -> Vec<String> {
    let mut pairs = Vec::new();
    for (first, first_name) in NAMES.iter().enumerate() {
        for (second, second_name) in NAMES.iter().enumerate().skip(first + 1) {
            let both = |sample: &&&Sample| {
                [first, second].iter().all(|at| sample.alone_s.get(*at).is_some_and(|s| *s > 0.0))
            };
            if !group.iter().any(|sample| both(&sample)) {
                pairs.push(format!("{first_name} beside {second_name}"));
            }
        }
    }
    pairs
}
