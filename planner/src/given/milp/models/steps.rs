//! A relaxation of step time: paths with their transfers, and the work of each device. Orders,
//! channels and memory over time are left out, so that no plan is below it.

use std::collections::BTreeMap;

use ir::id::OpId;
use ir::units::Bytes;

use super::loads::finish;
use super::units::Ground;
use crate::given::milp::forms::Form;
use crate::given::milp::program::Program;

/// Columns: unit x device; the step; the end of each op; per edge and level, what its transfer adds.
pub(super) fn form(ground: &Ground) -> Form {
    let mut program = Program::default();
    let columns = ground.columns(&mut program);
    let value = program.share();
    program.columns[value as usize].cost = 1.0;
    ground.hold(&mut program, &columns);
    for device in 0..ground.n_devices() {
        let there = ground.time.iter().zip(&columns);
        let work = there.filter_map(|(times, columns)| {
            Some((columns[device]?, times[device]? as f64 / ground.upper_ns))
        });
        let entries: Vec<(u32, f64)> = work.collect();
        program.at_most(0.0, entries.into_iter().chain([(value, -1.0)]));
    }
    let end: Vec<u32> = (0..ground.problem.n_ops()).map(|_| program.share()).collect();
    for &op in &ground.problem.actions {
        let op_end = end[op.index()];
        let work = own_work(ground, &columns, op);
        let entries = work.iter().map(|(column, time)| (*column, -time));
        program.at_least(0.0, entries.chain([(op_end, 1.0)]));
        program.at_most(0.0, [(op_end, 1.0), (value, -1.0)]);
        for (from, times) in passed(ground, op) {
            let mut entries = vec![(op_end, 1.0), (end[from.index()], -1.0)];
            entries.extend(work.iter().map(|(column, time)| (*column, -time)));
            let delays = delays(ground, &mut program, &columns, (from, op), &times);
            entries.extend(delays.into_iter().map(|(column, price)| (column, -price)));
            program.at_least(0.0, entries);
        }
    }
    finish(ground, program, columns, value)
}

/// Time of an op on the device of its unit.
fn own_work(ground: &Ground, columns: &[Vec<Option<u32>>], op: OpId) -> Vec<(u32, f64)> {
    let places = &columns[ground.unit_of[op.index()] as usize];
    let time = |(column, device): (&Option<u32>, _)| {
        Some(((*column)?, ground.problem.time_ns(op, device) as f64 / ground.upper_ns))
    };
    places.iter().zip(ground.problem.cluster.device_ids()).filter_map(time).collect()
}

/// Producers of what an op reads, with the times of all that it reads from each by kind of way:
/// they take the same channels, one after the other.
fn passed(ground: &Ground, op: OpId) -> BTreeMap<OpId, Vec<u64>> {
    let problem = ground.problem;
    let kinds = &problem.cluster.links.kinds;
    let mut found: BTreeMap<OpId, Vec<u64>> = BTreeMap::new();
    for &tensor in problem.inputs(op) {
        let Some(from) = problem.producer(tensor) else { continue };
        let times = found.entry(from).or_insert_with(|| vec![0; kinds.len()]);
        for (sum, kind) in times.iter_mut().zip(kinds) {
            *sum = sum.saturating_add(kind.time(Bytes(problem.bytes(tensor))).get());
        }
    }
    found
}

/// What the way between two ops adds. A level may be another one on each device that reads: each
/// price has a column of its own.
fn delays(
    ground: &Ground,
    program: &mut Program,
    columns: &[Vec<Option<u32>>],
    (from, to): (OpId, OpId),
    times: &[u64],
) -> Vec<(u32, f64)> {
    let (from, to) = (ground.unit_of[from.index()], ground.unit_of[to.index()]);
    if from == to {
        return Vec::new();
    }
    let mut entries = Vec::new();
    for device in 0..ground.n_devices() {
        let Some(here) = columns[to as usize][device] else { continue };
        for level in ground.receiving(times, device) {
            let delay = program.share();
            let near = level.near.iter().filter_map(|device| columns[from as usize][*device]);
            let near: Vec<(u32, f64)> = near.map(|column| (column, 1.0)).collect();
            program.at_least(0.0, near.into_iter().chain([(delay, 1.0), (here, -1.0)]));
            entries.push((delay, level.price));
        }
    }
    entries
}
