//! Latency: a block of each accelerator runs as one, CPU nodes run on cores of their own.

use super::forms::{Form, Ground, Places};
use super::loads::{devices, work};
use super::program::Program;

/// Nanoseconds that all tasks of a path may be longer in the program, so that no two blocks can
/// wait for each other: tasks without time would let them.
const STRETCH_NS: f64 = 0.25;
/// Greatest value, in ns, whose tasks are stretched: beyond, the stretch is lost in rounding.
const MOST_STRETCHED_NS: f64 = 1e5;

/// Columns of a program for latency.
struct Times {
    /// Start and end of each block.
    start: Vec<u32>,
    end: Vec<u32>,
    /// When each node is done.
    done: Vec<u32>,
    /// Length of the stretch of one task.
    stretch: f64,
    unit_ns: f64,
}

/// Columns: class x (accelerators, cores); start and end of blocks, ends of nodes; which outputs
/// come into and go out of a block.
pub(super) fn form(ground: &Ground) -> Form {
    let mut program = Program::default();
    let instance = ground.instance;
    let (k, l) = (ground.n_accelerators(), instance.n_cpus.min(1));
    let is_stretched = ground.upper_ns <= MOST_STRETCHED_NS;
    let slack_ns = if is_stretched { STRETCH_NS } else { 0.0 };
    let unit_ns = (ground.upper_ns + slack_ns).max(1.0);
    let n_tasks = k + instance.nodes.len() + 1;
    let column = devices(ground, &mut program, k, l);
    let value = program.between((ground.lower_ns / unit_ns).clamp(0.0, 1.0), 1.0);
    program.columns[value as usize].cost = 1.0;
    ground.assign(&mut program, &column);
    let times = Times {
        start: (0..k).map(|_| program.share()).collect(),
        end: (0..k).map(|_| program.share()).collect(),
        done: instance.nodes.iter().map(|_| program.share()).collect(),
        stretch: slack_ns / n_tasks as f64 / unit_ns,
        unit_ns,
    };
    for block in 0..k {
        run_block(ground, &mut program, &column, &times, block);
        ground.hold(&mut program, block, &column);
        program.at_least(0.0, [(value, 1.0), (times.end[block], -1.0)]);
    }
    finish_nodes(ground, &mut program, &column, &times, k);
    for done in &times.done {
        program.at_least(0.0, [(value, 1.0), (*done, -1.0)]);
    }
    ground.order_devices(&mut program, 0, k, &column);
    Form {
        program,
        column,
        places: Places::Devices(k),
        value,
        unit_ns,
        slack_ns,
        n_accelerators: instance.n_accelerators,
    }
}

/// A block waits for what it reads, and takes the time of its inputs, classes and outputs.
fn run_block(
    ground: &Ground,
    program: &mut Program,
    column: &[Vec<Option<u32>>],
    times: &Times,
    block: usize,
) {
    let (instance, class_of) = (ground.instance, &ground.graph.class_of);
    let at = |node: u32| column[class_of[node as usize] as usize][block];
    let mut length = work(ground, block, column, times.unit_ns, &ground.accelerator);
    let mut pairs = instance.edges.iter().peekable();
    while let Some(&(from, _)) = pairs.peek() {
        let producer = class_of[*from as usize];
        let mut readers: Vec<u32> = Vec::new();
        while let Some((_, to)) = pairs.next_if(|edge| edge.0 == *from) {
            readers.push(class_of[*to as usize]);
        }
        readers.sort_unstable();
        readers.dedup();
        readers.retain(|class| *class != producer);
        let transfer = instance.nodes[*from as usize].transfer.as_f64() / times.unit_ns;
        let (inside, done) = (at(*from), times.done[*from as usize]);
        let readers: Vec<Option<u32>> =
            readers.iter().map(|class| column[*class as usize][block]).collect();
        if readers.iter().any(Option::is_some) {
            let enters = program.share();
            for reader in readers.iter().flatten() {
                let entry = inside.map(|inside| (inside, 1.0));
                program.at_least(0.0, [(enters, 1.0), (*reader, -1.0)].into_iter().chain(entry));
            }
            length.push((enters, transfer));
            program.at_least(-1.0, [(times.start[block], 1.0), (done, -1.0), (enters, -1.0)]);
        }
        if let Some(inside) = inside.filter(|_| !readers.is_empty()) {
            let leaves = program.share();
            for reader in &readers {
                let there = reader.map(|reader| (reader, 1.0));
                let entries = [(leaves, 1.0), (inside, -1.0)].into_iter().chain(there);
                program.at_least(0.0, entries);
            }
            length.push((leaves, transfer));
        }
    }
    let mut entries = vec![(times.end[block], 1.0), (times.start[block], -1.0)];
    entries.extend(length.into_iter().map(|(column, factor)| (column, -factor)));
    program.at_least(times.stretch, entries);
}

/// A node is done with its block; on a core, its time after all that it reads.
fn finish_nodes(
    ground: &Ground,
    program: &mut Program,
    column: &[Vec<Option<u32>>],
    times: &Times,
    k: usize,
) {
    let instance = ground.instance;
    let on = |node: usize| &column[ground.graph.class_of[node] as usize];
    let length = |node: usize| instance.nodes[node].cpu.as_f64() / times.unit_ns + times.stretch;
    for node in 0..instance.nodes.len() {
        for block in 0..k {
            if let Some(inside) = on(node)[block] {
                let entries = [(times.done[node], 1.0), (times.end[block], -1.0), (inside, -1.0)];
                program.at_least(-1.0, entries);
            }
        }
        if let Some(core) = on(node).get(k).copied().flatten() {
            program.at_least(0.0, [(times.done[node], 1.0), (core, -length(node))]);
        }
    }
    for (from, to) in &instance.edges {
        let (from, to) = (*from as usize, *to as usize);
        if let Some(core) = on(to).get(k).copied().flatten() {
            let entries =
                [(times.done[to], 1.0), (times.done[from], -1.0), (core, -1.0 - length(to))];
            program.at_least(-1.0, entries);
        }
    }
}
