//! Profiles beside a model or a trace of the same run.

use std::path::{Path, PathBuf};

use ir::diagnostic::Diagnostic;
use ir::units::Nanos;

use super::chakra::{self, Node};
use super::chakra_json;
use super::execution::{self, Execution};
use super::kineto::{self, Profile};
use super::timing::Timing;
use crate::import::{Import, Recorded};
use crate::instance::devices;
use crate::items;
use crate::source::{self, FileSource};

/// Share of a trace's time that has to land on ops before that is worth no word.
pub(super) const LANDED: f64 = 0.99;

/// Traces that were given beside a file.
#[derive(Default)]
pub(super) struct Beside {
    /// Profiles, with the names of their files.
    profiles: Vec<(String, Profile)>,
    /// ExecutionTraces of other ranks.
    pub(super) executions: Vec<Execution>,
    /// Chakra traces of other ranks.
    pub(super) nodes: Vec<Vec<Node>>,
    /// The first file of those.
    first: [Option<String>; 2],
}

impl Beside {
    /// Reads them.
    ///
    /// # Errors
    /// `unreadable-file`, `unknown-format` for files that are no traces, and those of the readers;
    /// each names the file.
    pub(super) fn read(paths: &[PathBuf]) -> Result<Self, Diagnostic> {
        let mut beside = Self::default();
        for path in paths {
            let name = path.display().to_string();
            beside.add(path, &name).map_err(|error| error.fact("trace", name))?;
        }
        Ok(beside)
    }

    fn add(&mut self, path: &Path, name: &str) -> Result<(), Diagnostic> {
        let source = FileSource::open(path)?;
        match format(path, &source)? {
            "kineto" => {
                self.profiles.push((name.to_owned(), kineto::profile(source::text(&source)?)?))
            }
            "execution-trace" => {
                self.executions.push(execution::read(source::text(&source)?)?);
                self.first[0].get_or_insert_with(|| name.to_owned());
            }
            "chakra" => {
                self.nodes.push(chakra::read(&source)?);
                self.first[1].get_or_insert_with(|| name.to_owned());
            }
            _ => {
                return Err(Diagnostic::input("unknown-format", "this is no trace of a run")
                    .hint("give a trace of PyTorch's profiler: export_chrome_trace writes one"));
            }
        }
        Ok(())
    }

    /// The profile of a process, or the first where the trace names none.
    ///
    /// # Errors
    /// `unmatched-profile` where there are profiles, but none of this process.
    pub(super) fn take(&mut self, process: Option<u64>) -> Result<Option<Profile>, Diagnostic> {
        let is_own = |profile: &Profile| process.is_none_or(|process| profile.is_of(process));
        match self.profiles.iter().position(|(_, profile)| is_own(profile)) {
            // Of hosts that count processes alike the first is meant.
            Some(at) => Ok(Some(self.profiles.remove(at).1)),
            None if self.profiles.is_empty() => Ok(None),
            None => {
                let process = process.unwrap_or(0);
                let what =
                    format!("none of the profiles is of process {process}, whose trace is read");
                Err(Diagnostic::input("unmatched-profile", what)
                    .fact("pid", process)
                    .hint("give the profile that each rank wrote in the same run"))
            }
        }
    }

    /// Refuses Chakra traces.
    ///
    /// # Errors
    /// `mixed-traces`.
    pub(super) fn refuse_nodes(&self) -> Result<(), Diagnostic> {
        self.first[1].as_ref().map_or(Ok(()), |file| Err(mixed(file)))
    }

    /// Refuses what nobody took.
    ///
    /// # Errors
    /// `mixed-traces`, `unmatched-profile`.
    pub(super) fn refuse_rest(&self) -> Result<(), Diagnostic> {
        if let Some((file, _)) = self.profiles.first() {
            let what = "a profile is of no process whose trace is given";
            return Err(Diagnostic::input("unmatched-profile", what)
                .fact("trace", file.clone())
                .hint("give it beside the ExecutionTrace of the same run"));
        }
        let rest = self.first[0].as_ref().filter(|_| !self.executions.is_empty());
        rest.map_or(Ok(()), |file| Err(mixed(file)))
    }
}

/// Which kind of trace a file is; empty for none.
///
/// # Errors
/// `unreadable-file`.
pub(super) fn format(path: &Path, source: &FileSource) -> Result<&'static str, Diagnostic> {
    let keys = items::keys_of_head(&source::head(source, items::HEAD)?);
    let has = |all: &[&str]| all.iter().all(|key| keys.contains(*key));
    let is_chakra = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("et"));
    Ok(match () {
        () if has(&["traceEvents"]) => "kineto",
        () if has(&["schema", "nodes"]) => "execution-trace",
        () if is_chakra || has(&[chakra_json::NODES]) => "chakra",
        () => "",
    })
}

fn mixed(file: &str) -> Diagnostic {
    Diagnostic::input("mixed-traces", "traces of ranks are all of one format")
        .fact("trace", file.to_owned())
        .hint("give the traces of all ranks as one program wrote them")
}

/// Notes in an import what a profile gave, with a cluster of the device that it was recorded on.
///
/// # Errors
/// Those of [`devices::alike`].
pub(super) fn note(
    import: &mut Import,
    profile: &Profile,
    timing: &Timing,
) -> Result<(), Diagnostic> {
    let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let idle: u64 = timing.idle.iter().fold(0, |sum, idle| sum.saturating_add(*idle));
    let foreign = timing.total.saturating_sub(timing.landed);
    let recorded = Recorded {
        kind: profile.kind.clone(),
        events: profile.n_events,
        op_time: Nanos(timing.total),
        landed_share: share(timing.landed, timing.total),
        segment_share: 0.0,
        step_time: Nanos(timing.step),
        idle_share: share(timing.still, timing.step),
        idle_time: Nanos(idle),
    };
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    if recorded.landed_share < LANDED {
        import.warnings.push(
            Diagnostic::warning(
                "unlanded-time",
                format!(
                    "{} of the time of the profile's ops ({}) belongs to no op of the graph",
                    percent(1.0 - recorded.landed_share),
                    Nanos(foreign)
                ),
            )
            .fact("landed_share", recorded.landed_share)
            .hint("record both traces in the same step of the same run"),
        );
    }
    import.warnings.extend(crossing(timing));
    if timing.still > 0 {
        let what = format!(
            "for {} of the step nothing ran on `{}`: {} of it count to the ops that came next",
            percent(recorded.idle_share),
            recorded.kind,
            recorded.idle_time
        );
        import.warnings.push(
            Diagnostic::warning("idle-time", what)
                .fact("idle_share", recorded.idle_share)
                .fact("idle_time_ns", idle),
        );
    }
    if import.cluster.is_none() {
        import.cluster = Some(devices::alike(&profile.kind, profile.memory, 1)?);
    }
    import.summary.recorded.push(recorded);
    Ok(())
}

/// A warning of calls that cannot have run as the profile says.
fn crossing(timing: &Timing) -> Option<Diagnostic> {
    let what = format!(
        "{} calls begin inside of another of their thread and end after it, or are on another thread \
         than the call that makes them, which none can: their times are not to be trusted",
        timing.crossing
    );
    (timing.crossing > 0).then(|| {
        Diagnostic::warning("overlapping-calls", what)
            .fact("calls", timing.crossing)
            .hint("give the profile as PyTorch wrote it")
    })
}
