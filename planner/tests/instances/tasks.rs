//! Tasks on unlike devices, few enough to try every split.

use ir::instance::{Task, TaskInstance, TaskRun};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Up to six tasks on up to three devices, each of which ran two tasks before.
pub(crate) fn sampled(seed: u64) -> TaskInstance {
    let mut random = SmallRng::seed_from_u64(seed);
    let n_devices = random.random_range(1..4);
    let n_tasks = random.random_range(1..7);
    let mut history = Vec::new();
    for device in 0..n_devices {
        let (start_s, each_s) = (random.random_range(0.0..2.0), random.random_range(0.5..3.0));
        for size in [1.0, 4.0] {
            history.push(TaskRun { device, size, seconds: start_s + each_s * size });
        }
    }
    let task =
        |number: usize| Task { name: number.to_string(), size: random.random_range(0.1..10.0) };
    TaskInstance {
        name: String::new(),
        devices: (0..n_devices).map(|device| device.to_string()).collect(),
        tasks: (0..n_tasks).map(task).collect(),
        history,
    }
}

/// Calls `each` with every split.
pub(crate) fn every_split(instance: &TaskInstance, each: &mut dyn FnMut(&[u32])) {
    let last = instance.devices.len() as u32 - 1;
    let mut devices = vec![0; instance.tasks.len()];
    loop {
        each(&devices);
        let Some(at) = devices.iter().rposition(|device| *device < last) else { return };
        devices[at] += 1;
        devices[at + 1..].fill(0);
    }
}
