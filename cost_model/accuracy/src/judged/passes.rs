//! Forward passes on one device, priced operator by operator as `place` prices them.

use cost_model::kernels::price::Costs;
use cost_model::numeric::score::score;
use cost_model::ops::workload::fusion::pass::priced;
use importers::ImportOptions;
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::profile::Profile;
use ir::workload::Mode;

use crate::line::{Bound, Goal, Line};
use crate::readers::published::neusight;
use crate::readers::run::RunRow;

/// Median error to reach, in percent: that of the form of whole blocks with its models left out.
const MEDIAN: f64 = 10.0;

/// The line of forward passes.
///
/// # Errors
/// Those of the reader of configs and of the catalogue.
pub fn line(rows: &[RunRow]) -> Result<Line, Diagnostic> {
    let predicted: Vec<f64> = rows.iter().map(seconds).collect::<Result<_, _>>()?;
    let timed = rows.iter().zip(&predicted);
    let score = score(timed.map(|(row, time)| (*time, row.time_s, row.name.clone())));
    Ok(Line {
        table: "runs",
        part: "runs NeuSight inference, by operator".to_owned(),
        way: "as `place` prices it",
        goals: vec![Goal {
            what: "median error",
            figure: score.median,
            bound: Some(Bound::AtMost(MEDIAN)),
        }],
        note: "graphs of configs, attention in one kernel: rows without `fusion` ran it in several, and \
               GPT-2's activation in eight"
            .to_owned(),
        score,
        ..Line::default()
    })
}

/// Seconds of all operators of a row's model on its device, one after the other.
fn seconds(row: &RunRow) -> Result<f64, Diagnostic> {
    let sequence = row.card.groups.first().map_or(1, |group| group.card.sequence);
    let options = ImportOptions {
        dims: [("sequence".to_owned(), sequence)].into(),
        batch: row.degrees.first().map(|degrees| degrees.micro_batch),
        dtype: Some(row.dtype),
        ..ImportOptions::default()
    };
    let config = neusight::config(&row.model).unwrap_or_default();
    let graph = importers::read_bytes(&row.model, config.as_bytes(), &options)?.graph;
    let text = format!("nodes: [{{device: {}, devices: 1}}]\n", row.hosts.device);
    let cluster: Cluster = importers::cluster::parse(&text, row.hosts.device, None)?;
    let mode = Mode::Inference;
    let costs = Costs::new([&graph, &priced(&graph, mode)], &cluster, &Profile::default(), mode);
    let times = graph.op_ids().filter_map(|op| costs.op(op, 0));
    Ok(times.map(ir::units::Nanos::seconds).sum())
}
