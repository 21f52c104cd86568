//! Max-load of any split: a class is on one device, and a net costs an accelerator where it holds
//! some but not all of its members.

use super::forms::{Form, Ground, Places};
use super::program::Program;

/// Columns: class x device; the load of the fullest device; per accelerator and net, whether some
/// member is there and whether all are.
pub(super) fn form(ground: &Ground) -> Form {
    let mut program = Program::default();
    let (k, l) = (ground.n_accelerators(), ground.n_cpus());
    let unit_ns = ground.upper_ns.max(1.0);
    let column = devices(ground, &mut program, k, l);
    let least = (ground.lower_ns / unit_ns).clamp(0.0, 1.0);
    let value = program.between(least, 1.0);
    program.columns[value as usize].cost = 1.0;
    ground.assign(&mut program, &column);
    for device in 0..k {
        let mut entries = ground.cut(&mut program, device, &column, unit_ns);
        entries.extend(work(ground, device, &column, unit_ns, &ground.accelerator));
        entries.push((value, -1.0));
        program.at_most(0.0, entries);
        ground.hold(&mut program, device, &column);
    }
    let cpu: Vec<Option<u64>> = ground.graph.cpu.iter().map(|time| Some(*time)).collect();
    for core in k..k + l {
        let mut entries = work(ground, core, &column, unit_ns, &cpu);
        entries.push((value, -1.0));
        program.at_most(0.0, entries);
    }
    ground.order_devices(&mut program, 0, k, &column);
    ground.order_devices(&mut program, k, l, &column);
    Form {
        program,
        column,
        places: Places::Devices(k),
        value,
        unit_ns,
        slack_ns: 0.0,
        n_accelerators: ground.instance.n_accelerators,
    }
}

/// A column for each class and device that can go together.
pub(super) fn devices(
    ground: &Ground,
    program: &mut Program,
    k: usize,
    l: usize,
) -> Vec<Vec<Option<u32>>> {
    let column = |class: usize, program: &mut Program| {
        let mut places = Vec::with_capacity(k + l);
        for device in 0..k {
            let can = ground.accelerator[class].is_some() && ground.rank_allows(class, device);
            places.push(can.then(|| program.binary()));
        }
        for core in 0..l {
            places.push(ground.rank_allows(class, core).then(|| program.binary()));
        }
        places
    };
    (0..ground.n_classes()).map(|class| column(class, program)).collect()
}

/// Time of the classes of a place.
pub(super) fn work(
    ground: &Ground,
    place: usize,
    column: &[Vec<Option<u32>>],
    unit_ns: f64,
    times: &[Option<u64>],
) -> Vec<(u32, f64)> {
    let entry = |class: usize| Some((column[class][place]?, times[class]? as f64 / unit_ns));
    (0..ground.n_classes()).filter_map(entry).collect()
}

/// Places of the classes on given devices, numbered as the form wants them: of equal devices, the
/// one with the least rank comes first.
pub(super) fn places(ground: &Ground, devices: &[u32]) -> Vec<usize> {
    let k = ground.n_accelerators();
    let mut by_rank: Vec<usize> = vec![0; devices.len()];
    for (class, rank) in ground.rank.iter().enumerate() {
        by_rank[*rank] = class;
    }
    let mut next = [0, k];
    let mut place_of = std::collections::BTreeMap::new();
    for class in by_rank {
        let is_core = devices[class] as usize >= ground.instance.n_accelerators;
        place_of.entry(devices[class]).or_insert_with(|| {
            let next = &mut next[usize::from(is_core)];
            *next += 1;
            *next - 1
        });
    }
    devices.iter().map(|device| place_of[device]).collect()
}
