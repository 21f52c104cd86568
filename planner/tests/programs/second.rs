//! Max-load by another program: a column for each tensor and ordered pair of devices, nothing
//! merged, no order of devices, no start and no bound. It shares the solver with the row, and no
//! formulation.

use cost_model::ops::problem::{Problem, UNSUPPORTED};
use good_lp::{
    Expression, ProblemVariables, Solution, SolverModel, Variable, constraint, highs, variable,
    variables,
};
use ir::id::{DeviceId, OpId, TensorId};

/// The least greatest load; `None` where the program has no solution.
pub(crate) fn least(problem: &Problem) -> Option<u64> {
    let n = problem.cluster.n_devices();
    let devices: Vec<DeviceId> = problem.cluster.device_ids().collect();
    let mut columns = variables!();
    let value = columns.add(variable().min(0));
    let on: Vec<Vec<Variable>> =
        (0..problem.n_ops()).map(|_| columns.add_vector(variable().binary(), n)).collect();
    let mut load = vec![Expression::from(0); n];
    let mut rows = Vec::new();
    for op in problem.graph.op_ids() {
        rows.push(constraint!(on[op.index()].iter().sum::<Expression>() == 1));
        for &device in &devices {
            let column = on[op.index()][device.index()];
            match problem.time_ns(op, device) {
                _ if !problem.can_place(op, device) => rows.push(constraint!(column == 0)),
                time => load[device.index()] += time as f64 * column,
            }
        }
    }
    for pair in problem.groups.iter().flat_map(|group| group.windows(2)) {
        for (one, other) in on[pair[0].index()].iter().zip(&on[pair[1].index()]) {
            rows.push(constraint!(*one == *other));
        }
    }
    for tensor in (0..problem.n_tensors()).map(TensorId::new) {
        if let Some(producer) = problem.producer(tensor) {
            let ends = (producer, problem.consumers(tensor));
            send(problem, &mut columns, &mut rows, (&on, &mut load), tensor, ends);
        }
    }
    hold(problem, &mut columns, &mut rows, &on);
    rows.extend(load.into_iter().map(|load| constraint!(load <= value)));
    let model = columns.minimise(value).using(highs).with_all(rows);
    let model = model.set_option("mip_rel_gap", 0.0);
    let solution = model.solve().ok()?;
    Some(solution.value(value).round() as u64)
}

/// What a tensor costs at both ends of every way.
fn send(
    problem: &Problem,
    columns: &mut ProblemVariables,
    rows: &mut Vec<good_lp::Constraint>,
    (on, load): (&[Vec<Variable>], &mut [Expression]),
    tensor: TensorId,
    (producer, readers): (OpId, &[OpId]),
) {
    for from in problem.cluster.device_ids() {
        let slowest = columns.add(variable().min(0));
        load[from.index()] += slowest;
        for to in problem.cluster.device_ids().filter(|to| *to != from) {
            let time = problem.transfer_ns(tensor, from, to);
            let goes = columns.add(variable().min(0).max(1));
            for reader in readers {
                let both = on[producer.index()][from.index()] + on[reader.index()][to.index()];
                match time {
                    UNSUPPORTED => rows.push(constraint!(both <= 1)),
                    _ => rows.push(constraint!(both - goes <= 1)),
                }
            }
            if time != UNSUPPORTED {
                rows.push(constraint!(time as f64 * goes <= slowest));
                load[to.index()] += time as f64 * goes;
            }
        }
    }
}

/// Parameters of each device, each once.
fn hold(
    problem: &Problem,
    columns: &mut ProblemVariables,
    rows: &mut Vec<good_lp::Constraint>,
    on: &[Vec<Variable>],
) {
    for device in problem.cluster.device_ids() {
        let mut bytes = Expression::from(0);
        for tensor in (0..problem.n_tensors()).map(TensorId::new) {
            let reads = |op: &OpId| problem.parameters(*op).contains(&tensor);
            let readers: Vec<OpId> = problem.graph.op_ids().filter(reads).collect();
            if readers.is_empty() {
                continue;
            }
            let lies = columns.add(variable().min(0).max(1));
            let on_device = readers.iter().map(|op| on[op.index()][device.index()]);
            rows.extend(on_device.map(|column| constraint!(column <= lies)));
            bytes += problem.persistent_bytes(tensor) as f64 * lies;
        }
        rows.push(constraint!(bytes <= problem.memory_limit(device) as f64));
    }
}
