//! Max-load of splits into pieces in an order: a class comes after all that comes before it.
//!
//! The order is part of the program, so that equal devices need no other one: piece p is what the
//! p-th prefix adds to the one before, and prefixes are closed downwards.

use super::forms::{Form, Ground, Places};
use super::loads::work;
use super::program::Program;

/// Columns: class x position x (accelerator, core), whether a position is an accelerator, and what
/// nets need.
pub(super) fn form(ground: &Ground) -> Form {
    let mut program = Program::default();
    let (k, l) = (ground.n_accelerators(), ground.n_cpus());
    let n_positions = (k + l).min(ground.n_classes());
    let unit_ns = ground.upper_ns.max(1.0);
    let mut column = Vec::with_capacity(ground.n_classes());
    for class in 0..ground.n_classes() {
        let mut places = Vec::with_capacity(2 * n_positions);
        for _ in 0..n_positions {
            places.push(ground.accelerator[class].filter(|_| k > 0).map(|_| program.binary()));
            places.push((l > 0).then(|| program.binary()));
        }
        column.push(places);
    }
    let value = program.between((ground.lower_ns / unit_ns).clamp(0.0, 1.0), 1.0);
    program.columns[value as usize].cost = 1.0;
    ground.assign(&mut program, &column);
    kinds(ground, &mut program, &column, n_positions);
    precede(ground, &mut program, &column, n_positions);
    let cpu: Vec<Option<u64>> = ground.graph.cpu.iter().map(|time| Some(*time)).collect();
    for position in 0..n_positions {
        let place = 2 * position;
        let mut entries = ground.cut(&mut program, place, &column, unit_ns);
        entries.extend(work(ground, place, &column, unit_ns, &ground.accelerator));
        entries.push((value, -1.0));
        program.at_most(0.0, entries);
        ground.hold(&mut program, place, &column);
        let mut entries = work(ground, place + 1, &column, unit_ns, &cpu);
        entries.push((value, -1.0));
        program.at_most(0.0, entries);
    }
    Form {
        program,
        column,
        places: Places::Positions,
        value,
        unit_ns,
        slack_ns: 0.0,
        n_accelerators: ground.instance.n_accelerators,
    }
}

/// A position is an accelerator or a core, and there are only so many of each; the positions that
/// are used come first.
fn kinds(ground: &Ground, program: &mut Program, column: &[Vec<Option<u32>>], n_positions: usize) {
    let (k, l) = (ground.n_accelerators(), ground.n_cpus());
    let is_accelerator: Vec<u32> = (0..n_positions).map(|_| program.binary()).collect();
    program.at_most(k as f64, is_accelerator.iter().map(|column| (*column, 1.0)));
    let others = n_positions as f64 - l as f64;
    program.at_least(others, is_accelerator.iter().map(|column| (*column, 1.0)));
    for (position, is_accelerator) in is_accelerator.iter().enumerate() {
        for places in column {
            if let Some(column) = places[2 * position] {
                program.at_most(0.0, [(column, 1.0), (*is_accelerator, -1.0)]);
            }
            if let Some(column) = places[2 * position + 1] {
                program.at_most(1.0, [(column, 1.0), (*is_accelerator, 1.0)]);
            }
        }
    }
    for position in 1..n_positions {
        let both = |places: &Vec<Option<u32>>, position: usize| {
            [places[2 * position], places[2 * position + 1]].into_iter().flatten()
        };
        let before: Vec<(u32, f64)> = column
            .iter()
            .flat_map(|places| both(places, position - 1).map(|column| (column, -1.0)))
            .collect();
        for places in column {
            let entries = both(places, position).map(|column| (column, 1.0));
            program.at_most(0.0, entries.chain(before.iter().copied()));
        }
    }
}

/// Up to every position, a class is in only if all that comes before it is.
fn precede(
    ground: &Ground,
    program: &mut Program,
    column: &[Vec<Option<u32>>],
    n_positions: usize,
) {
    for (from, to) in &ground.graph.before {
        for position in 0..n_positions.saturating_sub(1) {
            let up_to = |class: u32, factor: f64| {
                let places = &column[class as usize][..2 * (position + 1)];
                places.iter().flatten().map(move |column| (*column, factor))
            };
            program.at_most(0.0, up_to(*to, 1.0).chain(up_to(*from, -1.0)));
        }
    }
}

/// Positions of the classes on given devices; `None` if the devices have no order.
pub(super) fn places(ground: &Ground, devices: &[u32]) -> Option<Vec<usize>> {
    let mut left: Vec<u32> = devices.to_vec();
    left.sort_unstable();
    left.dedup();
    let mut place_of = std::collections::BTreeMap::new();
    while !left.is_empty() {
        let is_first = |device: &&u32| {
            ground.graph.before.iter().all(|(from, to)| {
                let (from, to) = (devices[*from as usize], devices[*to as usize]);
                to != **device || from == to || !left.contains(&from)
            })
        };
        let next = *left.iter().find(is_first)?;
        left.retain(|device| *device != next);
        let is_core = next as usize >= ground.instance.n_accelerators;
        place_of.insert(next, 2 * place_of.len() + usize::from(is_core));
    }
    Some(devices.iter().map(|device| place_of[device]).collect())
}
