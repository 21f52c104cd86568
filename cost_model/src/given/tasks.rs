//! Tasks on devices (R || C_max): what a task takes where, what a split takes, what none is below.
//! Tang et al., arXiv:2303.01778, section 4: the seconds of a device are a line over sizes, fitted to
//! what it ran before.

use ir::diagnostic::Diagnostic;
use ir::instance::{TaskInstance, TaskRun};
use ir::units::Nanos;

use super::max_load::{Devices, illegal};

/// Where a line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Least squares over what the device ran.
    Line,
    /// The same through the origin: one size is no line, and a line that falls or is not above 0 at a
    /// task tells of no tasks.
    Origin,
    /// Of what all devices ran, for this one ran nothing.
    Others,
    /// Nothing ran: a second for each unit of size.
    Assumed,
}

impl Fit {
    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Origin => "through-origin",
            Self::Others => "others",
            Self::Assumed => "assumed",
        }
    }
}

/// Seconds of a device: `start_up_s + size x per_size_s`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Seconds of any task.
    pub start_up_s: f64,
    /// Seconds of a unit of size.
    pub per_size_s: f64,
    /// Where it comes from.
    pub fit: Fit,
    /// How many runs of the device it was fitted to.
    pub n_runs: usize,
    /// Mean of `|predicted - measured| / measured` over them; `None` without runs, or where one took none.
    pub error: Option<f64>,
}

impl Line {
    /// Seconds of a task of a size.
    #[must_use]
    pub fn seconds(&self, size: f64) -> f64 {
        self.start_up_s + self.per_size_s * size
    }

    /// The same in whole nanoseconds, which all sums are of.
    fn nanos(&self, size: f64) -> u64 {
        (self.seconds(size) * 1e9).round() as u64
    }
}

/// The least-squares line of runs, in their start-up and seconds of a unit; `None` where all sizes are one.
fn least_squares(runs: &[TaskRun]) -> Option<(f64, f64)> {
    let n = runs.len() as f64;
    let mean = |of: fn(&TaskRun) -> f64| runs.iter().map(of).sum::<f64>() / n;
    let (size, seconds) = (mean(|run| run.size), mean(|run| run.seconds));
    let square: f64 = runs.iter().map(|run| (run.size - size).powi(2)).sum();
    let both: f64 = runs.iter().map(|run| (run.size - size) * (run.seconds - seconds)).sum();
    let is_one = runs.iter().all(|run| run.size.total_cmp(&runs[0].size).is_eq());
    (!is_one && square > 0.0).then(|| (seconds - both / square * size, both / square))
}

/// The line of runs at tasks of the least size and above.
fn line(runs: &[TaskRun], least: f64) -> Option<Line> {
    if runs.is_empty() {
        return None;
    }
    let rises = |fit: &(f64, f64)| fit.1 >= 0.0 && fit.0 + fit.1 * least > 0.0;
    let (start_up_s, per_size_s, fit) = match least_squares(runs).filter(rises) {
        Some((start_up_s, per_size_s)) => (start_up_s, per_size_s, Fit::Line),
        None => {
            let both: f64 = runs.iter().map(|run| run.size * run.seconds).sum();
            let square: f64 = runs.iter().map(|run| run.size * run.size).sum();
            (0.0, both / square, Fit::Origin)
        }
    };
    let line = Line { start_up_s, per_size_s, fit, n_runs: runs.len(), error: None };
    let off = |run: &TaskRun| (line.seconds(run.size) - run.seconds).abs() / run.seconds;
    let error = runs.iter().map(off).sum::<f64>() / runs.len() as f64;
    Some(Line { error: Some(error).filter(|error| error.is_finite()), ..line })
}

/// The line of each device.
#[must_use]
pub fn lines(instance: &TaskInstance) -> Vec<Line> {
    let least = instance.tasks.iter().map(|task| task.size).fold(f64::INFINITY, f64::min);
    let mut runs: Vec<Vec<TaskRun>> = vec![Vec::new(); instance.devices.len()];
    for run in &instance.history {
        if let Some(runs) = runs.get_mut(run.device) {
            runs.push(*run);
        }
    }
    let none = Line { start_up_s: 0.0, per_size_s: 1.0, fit: Fit::Assumed, n_runs: 0, error: None };
    let others = line(&instance.history, least);
    let others =
        others.map_or(none, |line| Line { fit: Fit::Others, n_runs: 0, error: None, ..line });
    runs.iter().map(|runs| line(runs, least).unwrap_or(others)).collect()
}

/// What each task takes on each device, in whole nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Times {
    lines: Vec<Line>,
    sizes: Vec<f64>,
    /// By task and device, where these are few.
    table: Vec<u64>,
}

/// Most pairs of a task and a device whose times are kept.
const KEPT: usize = 1 << 22;

impl Times {
    /// Of an instance.
    #[must_use]
    pub fn of(instance: &TaskInstance) -> Self {
        let lines = lines(instance);
        let sizes: Vec<f64> = instance.tasks.iter().map(|task| task.size).collect();
        let table = match lines.len().saturating_mul(sizes.len()) <= KEPT {
            true => {
                sizes.iter().flat_map(|size| lines.iter().map(|line| line.nanos(*size))).collect()
            }
            false => Vec::new(),
        };
        Self { lines, sizes, table }
    }

    /// Nanoseconds of a task on a device.
    #[must_use]
    pub fn at(&self, task: usize, device: usize) -> u64 {
        match self.table.is_empty() {
            true => self.lines[device].nanos(self.sizes[task]),
            false => self.table[task * self.lines.len() + device],
        }
    }

    /// Tasks, the largest first.
    #[must_use]
    pub fn by_size(&self) -> Vec<usize> {
        let mut all: Vec<usize> = (0..self.n_tasks()).collect();
        all.sort_by(|a, b| self.sizes[*b].total_cmp(&self.sizes[*a]));
        all
    }

    /// Tasks.
    #[must_use]
    pub fn n_tasks(&self) -> usize {
        self.sizes.len()
    }

    /// Devices.
    #[must_use]
    pub fn n_devices(&self) -> usize {
        self.lines.len()
    }

    /// Whether two devices take the same for everything.
    #[must_use]
    pub fn are_alike(&self, a: usize, b: usize) -> bool {
        let line = |at: usize| [self.lines[at].start_up_s, self.lines[at].per_size_s];
        line(a).iter().zip(line(b)).all(|(a, b)| a.total_cmp(&b).is_eq())
    }
}

/// Nanoseconds of each device.
///
/// # Errors
/// `tasks-missing`, `no-such-device`.
pub fn loads(instance: &TaskInstance, devices: &Devices) -> Result<Vec<u64>, Diagnostic> {
    let times = Times::of(instance);
    if devices.len() != times.n_tasks() {
        let message = format!("{} tasks have a device, of {}", devices.len(), times.n_tasks());
        return Err(illegal("tasks-missing", message));
    }
    let mut loads = vec![0_u64; times.n_devices()];
    for (task, device) in devices.iter().enumerate() {
        let device = *device as usize;
        let Some(load) = loads.get_mut(device) else {
            let message = format!("a task is on device {device} of {}", times.n_devices());
            return Err(illegal("no-such-device", message));
        };
        *load = load.saturating_add(times.at(task, device));
    }
    Ok(loads)
}

/// When the last device ends.
///
/// # Errors
/// Those of [`loads`].
pub fn evaluate(instance: &TaskInstance, devices: &Devices) -> Result<Nanos, Diagnostic> {
    Ok(Nanos(loads(instance, devices)?.into_iter().max().unwrap_or_default()))
}

/// How sharply tasks go to the device that is cheapest for them, in turn.
const SHARPNESS: [f64; 6] = [16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
/// Devices whose share of a task is less than `exp` of it get none of it.
const NO_SHARE: f64 = -16.0;
/// Improvements of prices at each.
const ROUNDS: usize = 6;
/// Looks at a task on a device in all of them; where there are more, each has one.
const LOOKS: usize = 1 << 27;
/// What sums in another order may differ by, as a share.
const ROUNDING: f64 = 1e-9;

/// Prices of devices that sum up to 1, and what no split is below at them.
#[derive(Clone, Debug, PartialEq)]
pub struct Priced {
    /// By device.
    pub prices: Vec<f64>,
    /// Nanoseconds.
    pub least: f64,
}

/// Prices that some improvements find: with prices `y` of devices whose sum is 1,
/// `T >= sum_i y_i load_i >= sum_j min_i y_i p_ij` (the dual of Lenstra, Shmoys and Tardos's program,
/// Mathematical Programming 46, 1990). Tasks are shared out by powers of their costs, and a device whose
/// load is above the others' gets dearer, until few tasks are shared.
#[must_use]
pub fn priced(times: &Times) -> Priced {
    let (n, k) = (times.n_tasks(), times.n_devices());
    let seconds: Vec<f64> = (0..n * k).map(|at| times.at(at / k, at % k).max(1) as f64).collect();
    let logs: Vec<f64> = seconds.iter().map(|time| time.ln()).collect();
    let whole = |device: usize| (0..n).map(|task| seconds[task * k + device]).sum::<f64>();
    // Devices are dear as they are fast.
    let mut prices: Vec<f64> = (0..k).map(|device| -whole(device).ln()).collect();
    let rounds = if n * k * ROUNDS * SHARPNESS.len() > LOOKS { 1 } else { ROUNDS };
    let mut best = Priced { prices: Vec::new(), least: 0.0 };
    let (mut costs, mut loads) = (vec![0.0; k], vec![0.0; k]);
    for sharpness in SHARPNESS.iter().flat_map(|sharpness| std::iter::repeat_n(*sharpness, rounds))
    {
        let shift = prices.iter().map(|price| price.exp()).sum::<f64>().ln();
        prices.iter_mut().for_each(|price| *price -= shift);
        loads.fill(0.0);
        let mut least = 0.0;
        for (logs, seconds) in logs.chunks_exact(k).zip(seconds.chunks_exact(k)) {
            let cheapest =
                prices.iter().zip(logs).map(|(a, b)| a + b).fold(f64::INFINITY, f64::min);
            least += cheapest.exp();
            let mut sum = 0.0;
            for ((cost, price), log) in costs.iter_mut().zip(&prices).zip(logs) {
                let share = sharpness * (cheapest - price - log);
                *cost = if share > NO_SHARE { share.exp() } else { 0.0 };
                sum += *cost;
            }
            for ((load, cost), seconds) in loads.iter_mut().zip(&costs).zip(seconds) {
                *load += cost / sum * seconds;
            }
        }
        if least > best.least {
            best = Priced { prices: prices.iter().map(|price| price.exp()).collect(), least };
        }
        let mean = loads.iter().sum::<f64>() / k as f64;
        for (price, load) in prices.iter_mut().zip(&loads) {
            *price += (load.max(mean * 1e-3) / mean).ln() / sharpness;
        }
    }
    best
}

/// When the last device ends, at least: no task ends before it does on its fastest device, two of one
/// more of the largest tasks than there are devices share one, and [`priced`].
#[must_use]
pub fn bound(instance: &TaskInstance) -> Nanos {
    let times = Times::of(instance);
    let devices = times.n_devices();
    let least = |of: &dyn Fn(usize) -> u64| (0..devices).map(of).min().unwrap_or_default();
    let longest = (0..times.n_tasks()).map(|task| least(&|device| times.at(task, device))).max();
    let pair = match times.by_size().get(devices.saturating_sub(1)..=devices) {
        Some([a, b]) => least(&|device| times.at(*a, device).saturating_add(times.at(*b, device))),
        _ => 0,
    };
    let shared = (priced(&times).least * (1.0 - ROUNDING)).ceil() as u64;
    Nanos(longest.unwrap_or_default().max(pair).max(shared))
}

#[cfg(test)]
mod tests {
    use ir::instance::Task;

    use super::*;

    fn instance(sizes: &[f64], runs: &[(usize, f64, f64)], n_devices: usize) -> TaskInstance {
        let task = |(name, size): (usize, &f64)| Task { name: name.to_string(), size: *size };
        let run = |&(device, size, seconds)| TaskRun { device, size, seconds };
        TaskInstance {
            name: String::new(),
            devices: (0..n_devices).map(|device| format!("d{device}")).collect(),
            tasks: sizes.iter().enumerate().map(task).collect(),
            history: runs.iter().map(run).collect(),
        }
    }

    /// Least squares by hand: (1, 3), (2, 4), (3, 8): mean (2, 5), slope 5 / 2, start-up 0.
    #[test]
    fn lines_are_least_squares() {
        let runs = [
            (0, 1.0, 3.0),
            (0, 2.0, 4.0),
            (0, 3.0, 8.0),
            (1, 2.0, 6.0),
            (2, 2.0, 1.0),
            (2, 4.0, 0.5),
        ];
        let fitted = lines(&instance(&[1.0], &runs, 4));
        assert!((fitted[0].per_size_s - 2.5).abs() < 1e-12 && fitted[0].start_up_s.abs() < 1e-12);
        // |2.5 - 3| / 3, |5 - 4| / 4, |7.5 - 8| / 8.
        let error = (0.5 / 3.0 + 0.25 + 0.5 / 8.0) / 3.0;
        assert!((fitted[0].error.unwrap() - error).abs() < 1e-12);
        assert_eq!((fitted[0].fit, fitted[0].n_runs), (Fit::Line, 3));
        // One run is no line, and neither are times that fall: (2 x 1 + 4 x .5) / (4 + 16).
        assert_eq!((fitted[1].per_size_s, fitted[1].fit), (3.0, Fit::Origin));
        assert!((fitted[2].per_size_s - 0.2).abs() < 1e-12 && fitted[2].fit == Fit::Origin);
        assert_eq!((fitted[3].fit, fitted[3].n_runs), (Fit::Others, 0));
        assert_eq!(lines(&instance(&[1.0], &[], 1))[0].fit, Fit::Assumed);
    }

    #[test]
    fn splits_by_hand() {
        // A second a unit, and 2 s and 1 s a unit.
        let runs = [(0, 1.0, 1.0), (0, 2.0, 2.0), (1, 1.0, 3.0), (1, 2.0, 4.0)];
        let tasks = instance(&[3.0, 2.0, 1.0], &runs, 2);
        let step =
            |devices: &[u32]| evaluate(&tasks, devices).map(|time| time.get() / 1_000_000_000);
        assert_eq!(step(&[0, 0, 1]).unwrap(), 5);
        assert_eq!(step(&[0, 1, 0]).unwrap(), 4);
        assert_eq!(step(&[0, 1]).unwrap_err().code, "tasks-missing");
        assert_eq!(step(&[0, 1, 2]).unwrap_err().code, "no-such-device");
        assert!(bound(&tasks).get() <= 4_000_000_000 && bound(&tasks).get() >= 3_000_000_000);
        // Three tasks of a second on two devices: two share one.
        let alike = instance(&[1.0, 1.0, 1.0], &[], 2);
        assert_eq!(bound(&alike).get(), 2_000_000_000);
    }
}
