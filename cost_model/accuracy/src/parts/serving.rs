//! Serving: recorded runs of the data folder, and load tests of a file that is named.

use std::collections::BTreeMap;
use std::path::Path;

use cost_model::links::collective::table::Table;
use cost_model::runs::forms::system::System;
use importers::cluster;
use importers::measurements;
use ir::card::ModelCard;
use ir::diagnostic::Diagnostic;
use ir::measured::{CollectiveOperation, CollectiveRow};
use ir::profile::Profile;

use super::Found;
use crate::judged::serving::recorded::{self, Run};
use crate::judged::serving::{load, splitwise};
use crate::line::Line;
use crate::readers::{Left, serving as readers};

/// Recorded runs: name, model, tensor ranks.
const RUNS: [(&str, fn() -> Result<ModelCard, Diagnostic>, u32); 2] =
    [("llama-3.1-8b", readers::llama_8b, 1), ("qwen3-32b", readers::qwen3_32b, 2)];

/// The cards of both runs, two in a host.
const PAIR: (&str, [&str; 2], u32) =
    ("rtx_pro_6000_server", ["rtx_pro_6000_server", "pcie5_p2p_blackwell"], 2);

/// The card of Splitwise's hosts, and bytes/s of its network, which no row needs.
const A100: &str = "a100_sxm";
const NETWORK: f64 = 25e9;

/// One host of a system, nothing measured.
fn host((_, [device, link], n): (&str, [&str; 2], u32)) -> Result<Option<System>, Diagnostic> {
    let text = format!("nodes: [{{count: 1, device: {device}, devices: {n}, scaleup: {link}}}]\n");
    let cluster = cluster::parse(&text, device, None)?;
    Ok(System::of(&cluster, &Profile::default()))
}

/// Judges recorded runs.
///
/// # Errors
/// Those of reading the tables.
pub(super) fn judge(data: &Path) -> Result<Found, Diagnostic> {
    let Some(mut system) = host(PAIR)? else { return Ok(Found::default()) };
    let mut left = Left::default();
    let rows =
        left.table(&data.join("measurements/collectives.csv"), measurements::collectives::read);
    // All-reduces of that vLLM on two such cards.
    let mine = rows.iter().filter(|row| {
        row.system == PAIR.0
            && row.operation == CollectiveOperation::AllReduce
            && row.library.starts_with("vLLM_custom_graph/0.19")
            && row.ranks == 2
    });
    let table = Table::new(mine.map(|row| (row.bytes, row.time_s)));
    system.measured.insert((CollectiveOperation::AllReduce, 2, 2), table);
    let mut runs = Vec::new();
    for (name, model, tensor) in RUNS {
        let path = data.join(format!("serving/vllm_requests_rtxpro6000_{name}.csv"));
        runs.push(Run {
            name,
            model: model()?,
            tensor,
            requests: left.table(&path, readers::recorded),
        });
    }
    let mut lines = recorded::lines(&runs, &system);
    lines.extend(splitwise_lines(data, &rows, &mut left)?);
    Ok(Found { left, ..lines.into() })
}

/// Lines of Splitwise's measurements: hosts of eight A100 with all-reduces as PyTorch's processes have them.
fn splitwise_lines(
    data: &Path,
    collectives: &[CollectiveRow],
    left: &mut Left,
) -> Result<Vec<Line>, Diagnostic> {
    let Some(facts) = measurements::devices::facts(A100)? else { return Ok(Vec::new()) };
    let mut measured = BTreeMap::new();
    for ranks in [2_u64, 4, 8] {
        let mine = collectives.iter().filter(|row| {
            row.system == "vidur_a100_dgx"
                && row.operation == CollectiveOperation::AllReduce
                && (row.ranks, row.ranks_per_node) == (ranks, ranks)
        });
        let table = Table::new(mine.map(|row| (row.bytes, row.time_s)));
        measured.insert((CollectiveOperation::AllReduce, ranks, ranks), table);
    }
    let Some(system) = System::a100_hosts("a100", &facts, measured, NETWORK) else {
        return Ok(Vec::new());
    };
    let mut all: BTreeMap<splitwise::Key, [Vec<f64>; 2]> = BTreeMap::new();
    for (key, seconds) in left.table(&data.join("serving/splitwise_a100.csv"), readers::splitwise) {
        let of = all.entry(key).or_default();
        seconds.into_iter().zip(of).for_each(|(seconds, of)| of.push(seconds));
    }
    let middle = |mut of: Vec<f64>| {
        of.sort_by(f64::total_cmp);
        of[of.len() / 2]
    };
    let rows = all.into_iter().map(|(key, of)| (key, of.map(middle))).collect();
    Ok(splitwise::lines(&rows, &readers::splitwise_models()?, &system))
}

/// Judges load tests of a file.
///
/// # Errors
/// Those of reading it.
pub(crate) fn load_tests(file: &Path) -> Result<Vec<Line>, Diagnostic> {
    let tests = readers::load_tests(file)?;
    let mut systems = BTreeMap::new();
    for test in &tests {
        if !systems.contains_key(&test.system)
            && let Some(system) = host((&test.system, test.hosts, test.per_host))?
        {
            systems.insert(test.system.clone(), system);
        }
    }
    Ok(load::lines(&load::replayed(&tests, &systems), tests.len()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    /// Recorded runs meet their targets; medians of Splitwise are those of docs/how-right.md.
    #[test]
    fn served_runs_are_near() {
        let Some(folder) = benchmark_data::folder() else { return };
        let found = judge(&folder.join("data")).unwrap();
        let recorded = found.lines.iter().filter(|line| line.part.starts_with("recorded"));
        let mut n_judged = 0;
        for line in recorded {
            let target = line.target.unwrap();
            assert!(line.score.n == 2 && line.score.worst <= target, "{line:?}");
            n_judged += 1;
        }
        assert_eq!(n_judged, 4);
        for (part, most) in [("tokens", 5.0), ("prompts", 16.0)] {
            let is_it = |line: &&Line| line.part == format!("Splitwise A100, {part}");
            let line = found.lines.iter().find(is_it).unwrap();
            assert!(line.score.n >= 70 && line.score.median < most, "{line:?}");
        }
    }
}
