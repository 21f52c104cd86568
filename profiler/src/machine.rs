//! The state of the machine: load, clock, and whether a measurement means anything.

use std::collections::BTreeMap;
use std::fs;

use ir::diagnostic::Diagnostic;

use crate::measurement::{Machine, Measurement};
use crate::options::Busy;

/// Runnable processes per core over the last minute from which on a machine is busy.
const BUSY_LOAD: f64 = 0.5;
/// Median spread of repeats from which on a measurement is too noisy.
const NOISY: f64 = 0.1;

/// Looks at the machine before a measurement.
pub(crate) fn look() -> Machine {
    let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = load_average();
    Machine {
        n_cores,
        load_before: load,
        load_after: None,
        idle: load.is_none_or(|load| load <= BUSY_LOAD * n_cores as f64),
        notes: clock(),
    }
}

/// Runnable processes over the last minute, where the system tells.
pub(crate) fn load_average() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Processor, its clock now and its governor, where the system tells.
fn clock() -> BTreeMap<String, String> {
    let mut notes = BTreeMap::new();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    for (key, note) in [("model name", "processor"), ("cpu MHz", "clock-mhz")] {
        let line = cpuinfo.lines().find(|line| line.starts_with(key));
        if let Some((_, value)) = line.and_then(|line| line.split_once(':')) {
            notes.insert(note.to_owned(), value.trim().to_owned());
        }
    }
    let governor = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
    let governor = fs::read_to_string(governor).map_or("unknown".to_owned(), |g| g.trim().into());
    notes.insert("governor".to_owned(), governor);
    notes
}

/// Refuses a machine that is too busy to start on.
pub(crate) fn admit(machine: &Machine, busy: Busy) -> Result<(), Diagnostic> {
    if machine.idle || busy == Busy::Allowed {
        return Ok(());
    }
    Err(Diagnostic::input(
        "machine-busy",
        "other processes use the machine; measured constants would be of no use",
    )
    .fact("load-average", machine.load_before.unwrap_or(0.0))
    .fact("limit", BUSY_LOAD * machine.n_cores as f64)
    .fact("cores", machine.n_cores)
    .hint("wait until the load of the last minute has gone down")
    .hint("allow a busy machine if a rough profile will do"))
}

/// Refuses a measurement whose repeats spread too far; marks it where that is allowed.
pub(crate) fn accept(measurement: &mut Measurement, busy: Busy) -> Result<(), Diagnostic> {
    let dispersion = measurement.dispersion();
    if dispersion <= NOISY {
        return Ok(());
    }
    measurement.machine.idle = false;
    if busy == Busy::Allowed {
        return Ok(());
    }
    Err(Diagnostic::input(
        "measurement-noisy",
        "repeated measurements of the same kernels differ too much",
    )
    .fact("dispersion", dispersion)
    .fact("limit", NOISY)
    .hint("stop other work on this machine and measure again"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::{Sample, Task};

    #[test]
    fn a_busy_machine_is_refused_unless_allowed() {
        let machine = |load: f64| Machine {
            n_cores: 4,
            load_before: Some(load),
            idle: load <= BUSY_LOAD * 4.0,
            ..Machine::default()
        };
        assert!(admit(&machine(2.0), Busy::Refused).is_ok());
        let error = admit(&machine(2.1), Busy::Refused).unwrap_err();
        assert_eq!((error.code, error.blame.exit_code()), ("machine-busy", 3));
        assert!(admit(&machine(2.1), Busy::Allowed).is_ok());
    }

    #[test]
    fn a_noisy_measurement_is_refused_or_marked() {
        let task = Task::Stream { family: "copy".into(), bytes: 1 };
        let sample =
            |dispersion| Sample { task: task.clone(), median_s: 1.0, dispersion, n_batches: 3 };
        let mut measurement = Measurement {
            source: "test".into(),
            kind: "box".into(),
            date: "2026-01-01".into(),
            machine: Machine { idle: true, ..Machine::default() },
            samples: vec![sample(0.2), sample(0.3), sample(0.01)],
            block_s: None,
            n_skipped: 0,
            elapsed_s: 1.0,
        };
        assert_eq!(
            accept(&mut measurement.clone(), Busy::Refused).unwrap_err().code,
            "measurement-noisy"
        );
        accept(&mut measurement, Busy::Allowed).unwrap();
        assert!(!measurement.machine.idle);
    }
}
