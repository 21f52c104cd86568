//! Streams that overlap: predicted from what each takes alone.

use std::collections::BTreeMap;

use cost_model::links::overlap::alone::GroupShape;
use cost_model::links::overlap::fit::{N_CONSTANTS, for_unmeasured, predict, slowdowns};
use cost_model::links::overlap::sample::{Sample, Samples, samples};
use cost_model::numeric::score::{Score, score};
use ir::measured::OverlapRow;

use super::{SEEDS, half, published};
use crate::line::{Line, mean};

/// Mean errors to reach, in percent: GPU, half and half, a shape left out.
const TARGETS: [(&str, f64, f64); 3] =
    [("a100-sxm4-40gb", 2.0, 8.5), ("a10g", 3.5, 8.5), ("l4", 1.0, 2.5)];

/// Samples of one device by group shape.
type Groups<'a> = BTreeMap<GroupShape, &'a [Sample]>;

/// The lines of the table: per device, half and half with slowdowns per group shape, and with the
/// slowdowns of the other shapes for each shape in turn.
#[must_use]
pub fn lines(rows: &[OverlapRow]) -> Vec<Line> {
    let samples = samples(rows);
    let mut devices: BTreeMap<&str, Groups> = BTreeMap::new();
    for ((gpu, shape), group) in &samples.groups {
        devices.entry(gpu).or_default().insert(*shape, group);
    }
    devices.iter().flat_map(|(gpu, groups)| device_lines(gpu, groups, &samples)).collect()
}

fn device_lines(gpu: &str, groups: &Groups, samples: &Samples) -> Vec<Line> {
    let target = TARGETS.iter().find(|(name, ..)| *name == gpu);
    let floors = floors(groups);
    let others = published::OVERLAP.iter().find(|(name, _)| *name == gpu);
    let others = others.map_or_else(Vec::new, |(_, others)| others.to_vec());
    let note = format!(
        "{} shapes; {} rows refused that are shorter than 0.6 of one of their parts",
        groups.len(),
        samples.n_refused.get(gpu).copied().unwrap_or_default()
    );
    let line = |way, score, target| Line {
        table: "overlap",
        part: format!("overlap {gpu}"),
        way,
        score,
        n_constants: N_CONSTANTS,
        target,
        peers: floors.clone(),
        note: note.clone(),
        published: others.clone(),
        ..Line::default()
    };
    let mut lines = vec![line("half and half", half_and_half(groups), target.map(|t| t.1))];
    if groups.len() > 1 {
        let score = shape_left_out(gpu, groups, samples);
        lines.push(line("leave one shape out", score, target.map(|t| t.2)));
    }
    lines
}

/// Slowdowns of each shape fitted on a random half of its rows and judged on the other half.
fn half_and_half(groups: &Groups) -> Score {
    let one_seed = |seed: &u64| {
        let mut judged = Vec::new();
        for group in groups.values() {
            let chosen = half(group.len(), *seed);
            let part = |wanted: bool| {
                let with_choice = group.iter().zip(&chosen);
                with_choice.filter(move |(_, c)| **c == wanted).map(|(sample, _)| sample)
            };
            let fitted = slowdowns(&part(true).collect::<Vec<_>>());
            judged
                .extend(part(false).map(|s| (predict(&fitted, s.alone_s), s.measured_s, &s.name)));
        }
        score(judged.into_iter())
    };
    mean(&SEEDS.iter().map(one_seed).collect::<Vec<_>>())
}

/// Each shape judged on slowdowns of the other shapes.
fn shape_left_out(gpu: &str, groups: &Groups, samples: &Samples) -> Score {
    let mut judged = Vec::new();
    for (shape, group) in groups {
        if let Some(fitted) = for_unmeasured(&samples.groups, gpu, *shape) {
            judged
                .extend(group.iter().map(|s| (predict(&fitted, s.alone_s), s.measured_s, &s.name)));
        }
    }
    score(judged.into_iter())
}

/// Mean errors of the plainest models: full overlap and none.
fn floors(groups: &Groups) -> Vec<(&'static str, f64)> {
    let plain = |model: fn(&[f64; 4]) -> f64| {
        let all = groups.values().flat_map(|group| group.iter());
        score(all.map(|s| (model(&s.alone_s), s.measured_s, &s.name))).mape
    };
    vec![
        ("longest alone", plain(|alone| alone.iter().copied().fold(0.0, f64::max))),
        ("sum", plain(|alone| alone.iter().sum())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(work: [Option<u64>; 4], time_s: f64) -> OverlapRow {
        OverlapRow { gpu: "l4".to_owned(), gpus: 8, ranks_per_node: 8, nodes: 1, work, time_s }
    }

    #[test]
    fn streams_that_only_wait_for_each_other_are_predicted_as_a_sum() {
        let mut rows = Vec::new();
        for work in 1..20_u32 {
            let amount = Some(u64::from(work));
            let time_s = f64::from(work);
            rows.push(row([amount, None, None, None], time_s));
            rows.push(row([None, amount, None, None], time_s));
            rows.push(row([amount, amount, None, None], 2.0 * time_s));
        }
        let lines = lines(&rows);
        assert_eq!(lines.len(), 1, "one shape leaves no other to learn from");
        assert_eq!((lines[0].way, lines[0].target), ("half and half", Some(1.0)));
        assert!(lines[0].score.mape < 0.1, "{lines:?}");
        let [("longest alone", longest), ("sum", sum)] = lines[0].peers[..] else {
            panic!("{lines:?}");
        };
        assert!((longest - 50.0).abs() < 1e-9 && sum < 1e-9, "{lines:?}");
        assert!(super::lines(&[]).is_empty());
    }
}
