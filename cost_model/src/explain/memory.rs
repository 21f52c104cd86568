//! What the peak of a device is made of, line by line.

use std::collections::HashMap;

use ir::id::TensorId;
use ir::plan::Plan;
use ir::tensor::Role;

use crate::ops::judge::memory::{HoldingKind, alive};
use crate::ops::judge::replay::Timeline;
use crate::ops::judge::report::DeviceReport;
use crate::ops::problem::Problem;
use crate::ops::workload::states::states;

/// A line of the peak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLine {
    /// What it is, such as `gradients`.
    pub name: &'static str,
    /// Its bytes.
    pub bytes: u64,
    /// How many tensors or ops it counts.
    pub n: usize,
    /// The rule that it follows.
    pub source: &'static str,
}

/// Names and rules of the lines, in the order in which they are listed.
const LINES: [(&str, &str); 10] = [
    ("parameters", "size in the model file, once per device (rule M1)"),
    ("gradients", "4 bytes per element, 8 in fp64 (cost_model::ops::workload)"),
    ("master weights", "4 bytes per element of 16 bits or less (cost_model::ops::workload)"),
    ("optimizer states", "AdamW 2, SGD 0 numbers per element; Adafactor rows and columns"),
    ("other states", "as the model file states them"),
    ("graph inputs", "held from the start to the last reader (rule M4)"),
    ("activations", "from their op to the last reader (rule M2)"),
    ("received copies", "from their transfer to the last reader (rule M2)"),
    ("temporary", "scratch of the op that runs (rule M2)"),
    ("total", "the peak"),
];

/// The lines of a device's peak without those of nothing; the last is their total, which is the
/// peak of the report.
#[must_use]
pub fn peak(
    problem: &Problem,
    plan: &Plan,
    timeline: &Timeline,
    device: &DeviceReport,
) -> Vec<MemoryLine> {
    let parameters: HashMap<&str, TensorId> = (0..problem.n_tensors())
        .map(TensorId::new)
        .filter(|tensor| problem.graph.tensor(*tensor).role == Role::Parameter)
        .map(|tensor| (problem.graph.tensor(tensor).name.as_str(), tensor))
        .collect();
    let mut sums = [(0u64, 0usize); LINES.len()];
    let mut add = |line: usize, bytes: u64| {
        if bytes > 0 {
            sums[line].0 = sums[line].0.saturating_add(bytes);
            sums[line].1 += 1;
        }
    };
    let last = LINES.len() - 1;
    for holding in alive(problem, plan, timeline, device.device, device.peak.at) {
        add(last, holding.bytes);
        let line = match holding.what {
            HoldingKind::Parameter => {
                let tensor = parameters.get(holding.name.as_str());
                let parts = tensor.map(|tensor| persistent(problem, *tensor));
                let parts = parts.unwrap_or([holding.bytes, 0, 0, 0, 0]);
                parts.into_iter().enumerate().for_each(|(at, bytes)| add(at, bytes));
                continue;
            }
            HoldingKind::GraphInput => 5,
            HoldingKind::Output => 6,
            HoldingKind::Copy => 7,
            HoldingKind::Temporary => 8,
        };
        add(line, holding.bytes);
    }
    let lines = LINES.into_iter().zip(sums).enumerate();
    lines
        .filter(|(at, (_, (bytes, _)))| *bytes > 0 || *at == last)
        .map(|(_, ((name, source), (bytes, n)))| MemoryLine { name, bytes, n, source })
        .collect()
}

/// Weight, gradient, master, moments, and what else a parameter drags along.
fn persistent(problem: &Problem, tensor: TensorId) -> [u64; 5] {
    let parameter = problem.graph.tensor(tensor);
    let (weight, all) = (parameter.bytes.get(), parameter.state_bytes.get());
    let parts = states(parameter, problem.workload.optimizer);
    if parts.total() != parameter.state_bytes {
        return [weight, 0, 0, 0, all];
    }
    [weight, parts.gradient.get(), parts.master.get(), parts.moments.get(), 0]
}
