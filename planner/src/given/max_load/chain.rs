//! The best cut of a linear order into one interval per device.

use super::model::Model;
use super::pricing::Subset;

/// Classes up to which all intervals are looked at.
const MAX_CLASSES: usize = 2_000;
/// Limits that a greedy cut tries.
const BISECTIONS: usize = 50;

/// Device of each class, with the least greatest load among cuts of `order` into intervals, of
/// which accelerators take at most `n_accelerators` and CPU cores at most one in all (the first
/// core). Memory is kept. `None` if no cut fits, or the order is too long.
#[must_use]
pub(super) fn cut_chain(model: &Model, order: &[u32]) -> Option<Vec<u32>> {
    let n = order.len();
    if n > MAX_CLASSES {
        return None;
    }
    let (k, n_cpu_parts) = (model.n_accelerators, model.n_cpus.min(1));
    let width = k + 1;
    let cell = |end: usize, parts: usize, cpu: usize| (end * 2 + cpu) * width + parts;
    let mut best = vec![f64::INFINITY; (n + 1) * 2 * width];
    // Where the last interval begins, and whether it is the CPU's.
    let mut from: Vec<(u32, bool)> = vec![(0, false); best.len()];
    best[cell(0, 0, 0)] = 0.0;
    for start in 0..n {
        let mut interval = Interval::new(model);
        for end in start + 1..=n {
            interval.push(order[end - 1] as usize);
            for cpu in 0..=n_cpu_parts {
                for parts in 0..=k {
                    let before = best[cell(start, parts, cpu)];
                    if before.is_infinite() {
                        continue;
                    }
                    let value = before.max(interval.load());
                    let to = cell(end, (parts + 1).min(k), cpu);
                    let fits = parts < k && interval.bytes <= model.limit_bytes;
                    if fits && value < best[to] {
                        (best[to], from[to]) = (value, (start as u32, false));
                    }
                    let value = before.max(interval.cpu);
                    let to = cell(end, parts, n_cpu_parts);
                    if cpu < n_cpu_parts && value < best[to] {
                        (best[to], from[to]) = (value, (start as u32, true));
                    }
                }
            }
        }
    }
    let ends = (0..=k).flat_map(|parts| [(parts, 0), (parts, 1)]);
    let (mut parts, mut cpu) =
        ends.min_by(|a, b| best[cell(n, a.0, a.1)].total_cmp(&best[cell(n, b.0, b.1)]))?;
    if best[cell(n, parts, cpu)].is_infinite() {
        return None;
    }
    let mut device_of = vec![0; n];
    let mut end = n;
    while end > 0 {
        let (start, is_cpu) = from[cell(end, parts, cpu)];
        let device = if is_cpu { k } else { parts - 1 };
        for class in &order[start as usize..end] {
            device_of[*class as usize] = device as u32;
        }
        if is_cpu {
            cpu = 0;
        } else {
            parts -= 1;
        }
        end = start as usize;
    }
    Some(device_of)
}

/// As [`cut_chain`] for long orders: fills one device after the other up to a limit that is found by
/// bisection; CPU cores stay empty.
#[must_use]
pub(super) fn cut_greedily(model: &Model, order: &[u32]) -> Option<Vec<u32>> {
    let (mut low, mut high) = (0.0, 2.0 * model.accelerator.iter().sum::<f64>() + 1.0);
    let mut best = None;
    for _ in 0..BISECTIONS {
        let limit = 0.5 * (low + high);
        match fill(model, order, limit) {
            Some(device_of) => (best, high) = (Some(device_of), limit),
            None => low = limit,
        }
    }
    best
}

/// Fills accelerators along the order; `None` if they are too few.
fn fill(model: &Model, order: &[u32], limit: f64) -> Option<Vec<u32>> {
    let mut device_of = vec![0; model.n_classes()];
    let mut start = 0;
    let mut n_inside = vec![0; model.nets.len()];
    for device in 0..model.n_accelerators {
        n_inside.fill(0);
        let mut interval = Interval { n_inside, ..Interval::empty(model) };
        let mut end = start;
        for (at, class) in order.iter().enumerate().skip(start) {
            interval.push(*class as usize);
            if interval.work > limit || interval.bytes > model.limit_bytes {
                break;
            }
            if interval.load() <= limit {
                end = at + 1;
            }
        }
        for class in &order[start..end] {
            device_of[*class as usize] = device as u32;
        }
        (start, n_inside) = (end, interval.n_inside);
    }
    (start == order.len()).then_some(device_of)
}

/// The longest interval of load at most `limit` ns from each position of the order on, without those
/// that a longer one holds.
#[must_use]
pub(super) fn long_intervals(model: &Model, order: &[u32], limit: f64) -> Vec<Subset> {
    let mut subsets = Vec::new();
    let mut last_end = 0;
    for start in 0..order.len() {
        let mut interval = Interval::new(model);
        let mut longest = (start, 0.0);
        for end in start + 1..=order.len() {
            interval.push(order[end - 1] as usize);
            // Adding classes never makes the work less.
            if interval.work > limit {
                break;
            }
            if interval.load() <= limit && interval.bytes <= model.limit_bytes {
                longest = (end, interval.load());
            }
        }
        let (end, load) = longest;
        if end > last_end {
            last_end = end;
            let mut classes = order[start..end].to_vec();
            classes.sort_unstable();
            subsets.push(Subset { classes, load, worth: 0.0 });
        }
    }
    subsets
}

/// Loads of an interval that grows.
struct Interval<'a> {
    model: &'a Model,
    n_inside: Vec<usize>,
    work: f64,
    cut: f64,
    cpu: f64,
    bytes: u64,
}

impl<'a> Interval<'a> {
    fn new(model: &'a Model) -> Self {
        Self { n_inside: vec![0; model.nets.len()], ..Self::empty(model) }
    }

    const fn empty(model: &'a Model) -> Self {
        Self { model, n_inside: Vec::new(), work: 0.0, cut: 0.0, cpu: 0.0, bytes: 0 }
    }

    fn push(&mut self, class: usize) {
        self.work += self.model.accelerator[class];
        self.cpu += self.model.cpu[class];
        self.bytes += self.model.bytes[class];
        for net in &self.model.nets_of[class] {
            let (entry, n) = (&self.model.nets[*net as usize], &mut self.n_inside[*net as usize]);
            *n += 1;
            if *n == 1 {
                self.cut += entry.weight;
            }
            if *n == entry.members.len() {
                self.cut -= entry.weight;
            }
        }
    }

    fn load(&self) -> f64 {
        self.work + self.cut
    }
}
