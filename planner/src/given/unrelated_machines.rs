//! Tasks on unlike devices: the last one ends as early as can be.
//!
//! # Decides
//! The device of every task.
//!
//! # Idea
//! From [`super::lpt`], and from each task where prices of devices make it cheapest, a task leaves the device that ends last, or changes places with one of another
//! device, as long as that device ends earlier and no other one as late. Few tasks are then tried on
//! all devices, largest first, where prices of devices tell that a beginning can't be finished in time.
//!
//! # Paper
//! Lenstra, Shmoys and Tardos, "Approximation Algorithms for Scheduling Unrelated Parallel Machines",
//! Mathematical Programming 46, 1990 (the program whose dual gives the prices); none for the moves.
//!
//! # Guarantee
//! Optimal where the search ends, as it does with 12 tasks; a bound always.
//!
//! # Complexity
//! Moves: passes x tasks x (devices + tasks of the device that ends last). Search: devices ^ tasks at
//! worst.
//!
//! # Limits
//! Tasks do not wait for each other. Up to [`MOST_SEARCHED`] tasks are searched.
//!
//! # Example
//! Tasks of 3, 3, 2, 2 and 2 s on two devices: 6 and 6 s, where the largest first gives 7.

use cost_model::given::Goal;
use cost_model::given::tasks::{Priced, Times, priced};
use ir::diagnostic::Diagnostic;
use ir::instance::Instance;

use super::lpt;
use crate::given::runner::{Effort, Method, Run, Solution, method};
use crate::run::algorithm::Guarantee;

/// Most tasks that are tried on all devices.
pub const MOST_SEARCHED: usize = 24;
/// Beginnings that are looked at between two looks at the clock.
const PER_LOOK: u64 = 1 << 14;
/// What the dearest prices may be exceeded by, as a share, in splits to begin with.
const SLACKS: [f64; 3] = [0.0, 0.005, 0.02];
/// What sums in another order may differ by, as a share.
const ROUNDING: f64 = 1e-9;

/// How the row solves instances.
pub(crate) const METHOD: Method = Method {
    goals: &[Goal::Makespan],
    effort: Effort::Thorough,
    guarantee: Guarantee::Bound,
    solve: |run, _| {
        let Instance::Tasks(instance) = run.instance() else { return Ok(()) };
        let times = Times::of(instance);
        let prices = priced(&times);
        let start = starts(&times, &prices).into_iter().min_by_key(|devices| end(&times, devices));
        let best = improved(&times, start.unwrap_or_default(), &|n| run.spend(n));
        run.offer(Solution::Devices(best.clone()))?;
        search(run, (&times, &prices), &best)
    },
};

/// Splits to begin with: [`lpt`], and each task where it is cheapest of the devices that still end in time.
#[must_use]
pub fn starts(times: &Times, priced: &Priced) -> Vec<Vec<u32>> {
    let cheapest = |slack: f64| {
        let end = (priced.least * (1.0 + slack)) as u64;
        let mut loads = vec![0_u64; times.n_devices()];
        let mut found = vec![0; times.n_tasks()];
        for task in times.by_size() {
            let ends = |device: usize| loads[device].saturating_add(times.at(task, device));
            let cost = |device: usize| priced.prices[device] * times.at(task, device) as f64;
            let in_time = (0..loads.len()).filter(|device| ends(*device) <= end);
            let device = in_time
                .min_by(|a, b| cost(*a).total_cmp(&cost(*b)))
                .or_else(|| (0..loads.len()).min_by_key(|device| ends(*device)));
            if let Some(device) = device {
                loads[device] = ends(device);
                found[task] = device as u32;
            }
        }
        found
    };
    std::iter::once(lpt::solve(times)).chain(SLACKS.map(cheapest)).collect()
}

/// Tries all beginnings that may end earlier, where there are few tasks.
fn search(run: &Run, (times, priced): (&Times, &Priced), known: &[u32]) -> Result<(), Diagnostic> {
    if times.n_tasks() > MOST_SEARCHED {
        return Ok(());
    }
    let (found, is_all) = exact((times, priced), known, &|n| run.spend(n));
    run.offer(Solution::Devices(found))?;
    if is_all {
        run.close(method::SPLITS);
    }
    Ok(())
}

/// Nanoseconds of each device.
fn loads(times: &Times, devices: &[u32]) -> Vec<u64> {
    let mut loads = vec![0_u64; times.n_devices()];
    for (task, device) in devices.iter().enumerate() {
        let device = *device as usize;
        loads[device] = loads[device].saturating_add(times.at(task, device));
    }
    loads
}

/// When the last device ends.
fn end(times: &Times, devices: &[u32]) -> u64 {
    loads(times, devices).into_iter().max().unwrap_or_default()
}

/// The same after moves, and changes of places, that make the device that ends last end earlier.
#[must_use]
pub fn improved(times: &Times, mut devices: Vec<u32>, stop: &dyn Fn(u64) -> bool) -> Vec<u32> {
    let mut loads = loads(times, &devices);
    loop {
        let Some(last) = (0..loads.len()).max_by_key(|device| loads[*device]) else {
            return devices;
        };
        let change = best_change(times, (&devices, &loads), last, stop);
        let Some((task, other, to)) = change else { return devices };
        let mut put = |task: usize, to: usize| {
            let from = devices[task] as usize;
            loads[from] -= times.at(task, from);
            loads[to] += times.at(task, to);
            devices[task] = to as u32;
        };
        put(task, to);
        if let Some(other) = other {
            put(other, last);
        }
    }
}

/// The task that leaves a device, what comes for it, and where it goes, after which the later of both
/// devices ends earliest; `None` where none makes it end earlier than now, or the search is over.
fn best_change(
    times: &Times,
    (devices, loads): (&[u32], &[u64]),
    last: usize,
    stop: &dyn Fn(u64) -> bool,
) -> Option<(usize, Option<usize>, usize)> {
    let on = |task: usize| devices[task] as usize;
    let tasks = 0..devices.len();
    // What each takes on the device that ends last, and when its own one ends without it.
    let here: Vec<u64> = tasks.clone().map(|task| times.at(task, last)).collect();
    let without: Vec<u64> =
        tasks.clone().map(|task| loads[on(task)] - times.at(task, on(task))).collect();
    let mut best = (loads[last], None);
    for task in tasks.filter(|task| on(*task) == last) {
        if stop((devices.len() + loads.len()) as u64) {
            return None;
        }
        let left = without[task];
        let takes: Vec<u64> = (0..loads.len()).map(|to| times.at(task, to)).collect();
        for to in (0..loads.len()).filter(|to| *to != last) {
            let end = left.max(loads[to].saturating_add(takes[to]));
            if end < best.0 {
                best = (end, Some((task, None, to)));
            }
        }
        for (other, (here, without)) in here.iter().zip(&without).enumerate() {
            let to = on(other);
            let end = left.saturating_add(*here).max(without.saturating_add(takes[to]));
            if end < best.0 && to != last {
                best = (end, Some((task, Some(other), to)));
            }
        }
    }
    best.1
}

/// The best split, and whether that is proved, from a known one.
#[must_use]
pub fn exact(
    (times, priced): (&Times, &Priced),
    known: &[u32],
    stop: &dyn Fn(u64) -> bool,
) -> (Vec<u32>, bool) {
    let order = times.by_size();
    let prices = priced.prices.clone();
    // What the tasks that follow a place in the order cost at least.
    let mut rest = vec![0.0; order.len() + 1];
    for (at, task) in order.iter().enumerate().rev() {
        let cost = |device: usize| prices[device] * times.at(*task, device) as f64;
        rest[at] = rest[at + 1] + (0..prices.len()).map(cost).fold(f64::INFINITY, f64::min);
    }
    let mut tree = Tree {
        times,
        order,
        prices,
        rest,
        best: known.to_vec(),
        end: end(times, known),
        loads: vec![0; times.n_devices()],
        devices: known.to_vec(),
        n_seen: 0,
        stop,
        is_stopped: false,
    };
    tree.try_all(0, 0.0);
    (tree.best, !tree.is_stopped)
}

/// Beginnings of splits.
struct Tree<'t> {
    times: &'t Times,
    order: Vec<usize>,
    prices: Vec<f64>,
    rest: Vec<f64>,
    best: Vec<u32>,
    end: u64,
    loads: Vec<u64>,
    devices: Vec<u32>,
    n_seen: u64,
    stop: &'t dyn Fn(u64) -> bool,
    is_stopped: bool,
}

impl Tree<'_> {
    /// Tries all devices for the tasks from a place in the order on; those before it cost so much.
    fn try_all(&mut self, at: usize, cost: f64) {
        self.n_seen += 1;
        if self.n_seen.is_multiple_of(PER_LOOK) && (self.stop)(PER_LOOK) {
            self.is_stopped = true;
        }
        let Some(task) = self.order.get(at).copied() else {
            self.end = self.loads.iter().copied().max().unwrap_or_default();
            self.best.clone_from(&self.devices);
            return;
        };
        let ends =
            |device: &usize| self.loads[*device].saturating_add(self.times.at(task, *device));
        let mut next: Vec<(u64, usize)> =
            (0..self.loads.len()).map(|device| (ends(&device), device)).collect();
        next.sort_unstable();
        for (end, device) in next {
            let cost = cost + self.prices[device] * self.times.at(task, device) as f64;
            let least = (cost + self.rest[at + 1]) * (1.0 - ROUNDING);
            if self.is_stopped || end >= self.end || least.ceil() as u64 >= self.end {
                continue;
            }
            // Of devices that are alike and as free one is enough.
            let is_first = (0..device).all(|other| {
                self.loads[other] != self.loads[device] || !self.times.are_alike(other, device)
            });
            if !is_first {
                continue;
            }
            let before = self.loads[device];
            self.loads[device] = end;
            self.devices[task] = device as u32;
            self.try_all(at + 1, cost);
            self.loads[device] = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use ir::instance::{Task, TaskInstance, TaskRun};
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use cost_model::given::tasks::bound;

    /// Tasks of drawn sizes on devices of drawn lines.
    fn drawn(draw: &mut SmallRng, (n, k): (usize, usize), are_alike: bool) -> TaskInstance {
        let mut history = Vec::new();
        for device in 0..k {
            let (slope, start) = match are_alike {
                true => (1.0, 0.0),
                false => (draw.random_range(0.5..3.0), draw.random_range(0.0..2.0)),
            };
            for size in [1.0, 4.0] {
                history.push(TaskRun { device, size, seconds: start + slope * size });
            }
        }
        TaskInstance {
            name: String::new(),
            devices: (0..k).map(|device| device.to_string()).collect(),
            tasks: (0..n)
                .map(|task| Task { name: task.to_string(), size: draw.random_range(0.1..10.0) })
                .collect(),
            history,
        }
    }

    fn never(_: u64) -> bool {
        false
    }

    /// Every split is looked at, one after the other.
    fn enumerated(times: &Times) -> u64 {
        let (n, k) = (times.n_tasks(), times.n_devices() as u64);
        let of = |mut code: u64| {
            let digit = |_| {
                let device = code % k;
                code /= k;
                device as u32
            };
            (0..n).map(digit).collect::<Vec<_>>()
        };
        (0..k.pow(n as u32)).map(|code| end(times, &of(code))).min().unwrap()
    }

    #[test]
    fn few_tasks_are_as_early_as_by_enumeration() {
        let mut draw = SmallRng::seed_from_u64(1);
        let mut n_better = 0;
        for case in 0..400 {
            let (n, k) = (draw.random_range(1..=8), draw.random_range(1..=4));
            let instance = drawn(&mut draw, (n, k), case % 3 == 0);
            let times = Times::of(&instance);
            let greedy = lpt::solve(&times);
            let moved = improved(&times, greedy.clone(), &never);
            let (found, is_all) = exact((&times, &priced(&times)), &moved, &never);
            let best = enumerated(&times);
            assert!(is_all);
            assert_eq!(end(&times, &found), best, "case {case}");
            assert!(end(&times, &greedy) >= end(&times, &moved) && end(&times, &moved) >= best);
            assert!(
                bound(&instance).get() <= best,
                "case {case}: {} {best}",
                bound(&instance).get()
            );
            n_better += usize::from(end(&times, &moved) > best);
        }
        assert!(n_better > 5, "the search is of no use: {n_better}");
    }

    #[test]
    fn greedy_is_within_its_ratio_on_devices_that_are_alike() {
        let mut draw = SmallRng::seed_from_u64(2);
        for _ in 0..300 {
            let (n, k) = (draw.random_range(2..=12), draw.random_range(2..=4));
            let times = Times::of(&drawn(&mut draw, (n, k), true));
            let greedy = lpt::solve(&times);
            let (found, is_all) = exact((&times, &priced(&times)), &greedy, &never);
            assert!(is_all);
            let ratio = end(&times, &greedy) as f64 / end(&times, &found) as f64;
            assert!(ratio <= 4.0 / 3.0 - 1.0 / (3.0 * k as f64) + 1e-6, "{ratio}");
        }
    }

    #[test]
    fn twelve_tasks_are_proved_on_any_devices() {
        let mut draw = SmallRng::seed_from_u64(3);
        for case in 0..60 {
            let k = draw.random_range(2..=12);
            let times = Times::of(&drawn(&mut draw, (12, k), case % 2 == 0));
            let moved = improved(&times, lpt::solve(&times), &never);
            let n_seen = std::cell::Cell::new(0);
            let limit = |n| {
                n_seen.set(n_seen.get() + n);
                n_seen.get() > 3_000_000
            };
            assert!(exact((&times, &priced(&times)), &moved, &limit).1, "case {case}, {k} devices");
        }
    }

    #[test]
    fn many_tasks_are_near_the_bound() {
        let mut draw = SmallRng::seed_from_u64(4);
        let instance = drawn(&mut draw, (1000, 32), false);
        let times = Times::of(&instance);
        let moved = starts(&times, &priced(&times)).into_iter();
        let best =
            moved.map(|devices| end(&times, &improved(&times, devices, &never))).min().unwrap();
        let gap = best as f64 / bound(&instance).get() as f64 - 1.0;
        assert!((0.0..0.03).contains(&gap), "{gap}");
    }
}
