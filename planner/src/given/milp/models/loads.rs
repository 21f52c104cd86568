//! Max-load on devices and links that may all differ.

use super::units::{Ground, Level};
use crate::given::milp::forms::{Form, Places};
use crate::given::milp::program::Program;

/// Columns: unit x device; the greatest load; per net, device and level, what is paid there.
pub(super) fn form(ground: &Ground) -> Form {
    let mut program = Program::default();
    let columns = ground.columns(&mut program);
    let value = program.share();
    program.columns[value as usize].cost = 1.0;
    ground.hold(&mut program, &columns);
    for device in 0..ground.n_devices() {
        let mut entries = vec![(value, -1.0)];
        for (times, columns) in ground.time.iter().zip(&columns) {
            if let (Some(column), Some(time)) = (columns[device], times[device]) {
                entries.push((column, time as f64 / ground.upper_ns));
            }
        }
        for net in &ground.nets {
            let from = &columns[net.from as usize];
            let to = || net.to.iter().map(|unit| &columns[*unit as usize]);
            for level in ground.receiving(&net.times, device) {
                let pairs = to().filter_map(|to| Some((to[device]?, from)));
                entries.extend(pay(&mut program, &level, pairs));
            }
            for level in ground.sending(&net.times, device) {
                let pairs = to().filter_map(|to| Some((from[device]?, to)));
                entries.extend(pay(&mut program, &level, pairs));
            }
        }
        program.at_most(0.0, entries);
    }
    finish(ground, program, columns, value)
}

/// The price of a level, where one of the first ends is there and its other end is not near.
fn pay<'a>(
    program: &mut Program,
    level: &Level,
    pairs: impl Iterator<Item = (u32, &'a Vec<Option<u32>>)>,
) -> Option<(u32, f64)> {
    let mut pays = None;
    for (here, other) in pairs {
        let pays = *pays.get_or_insert_with(|| program.share());
        let near = level.near.iter().filter_map(|device| other[*device]);
        let entries: Vec<(u32, f64)> = near.map(|column| (column, 1.0)).collect();
        program.at_least(0.0, entries.into_iter().chain([(pays, 1.0), (here, -1.0)]));
    }
    Some((pays?, level.price))
}

/// The form of a program whose places are the devices.
pub(super) fn finish(
    ground: &Ground,
    program: Program,
    column: Vec<Vec<Option<u32>>>,
    value: u32,
) -> Form {
    Form {
        program,
        column,
        places: Places::Devices(ground.n_devices()),
        value,
        unit_ns: ground.upper_ns,
        slack_ns: 0.0,
        n_accelerators: ground.n_devices(),
    }
}
