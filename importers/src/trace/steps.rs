//! Which of the steps that a profiler marked is read: of the complete ones the median by duration.
//!
//! `prof.step()` marks a step when the one before it ends, so the last mark of a profile is often of
//! what came after the last step, or of a step that the end of the recording cuts short.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;

use super::kineto::{Profile, Span};

/// A step that the profiler marked.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Nanoseconds, as of a [`Span`].
    pub(super) start: i64,
    /// The same, when it ends.
    pub(super) end: i64,
    /// Such as `ProfilerStep#2`.
    pub(super) name: String,
    /// Number of the thread that marked it.
    pub(super) thread: u32,
}

/// What is read of a profile.
pub(super) struct Read {
    /// From when on.
    from: i64,
    /// Until when.
    until: i64,
    /// By thread, whether it is of the process that is read.
    is_own: Vec<bool>,
    /// Which step it is, in words.
    pub(super) step: String,
    /// What is left out.
    pub(super) warnings: Vec<Diagnostic>,
}

impl Read {
    /// Whether a call is read.
    pub(super) fn has(&self, span: &Span) -> bool {
        let is_own = self.is_own.get(span.thread as usize).is_none_or(|is_own| *is_own);
        is_own && (self.from..self.until).contains(&span.start)
    }

    /// Whether a part of the profile is left out.
    pub(super) fn is_part(&self) -> bool {
        self.from != i64::MIN || self.is_own.contains(&false)
    }
}

/// A marked step with the calls of operators that begin in it, by the marks of their names.
struct Marked {
    step: Step,
    calls: Vec<u16>,
}

impl Marked {
    /// Whether the recording ends in the middle of this step, seen beside the one before: fewer calls,
    /// and less than half as many, or the same as there up to some call, or another one at the end.
    fn is_cut(&self, before: &Self) -> bool {
        let (this, other) = (&self.calls, &before.calls);
        this.len() < other.len()
            && (2 * this.len() < other.len()
                || other.starts_with(this)
                || this.last() != other.last())
    }
}

/// Picks the process and the step that are read.
///
/// # Errors
/// `no-ops` where a profile holds kernels alone.
pub(super) fn pick(profile: &Profile) -> Result<Read, Diagnostic> {
    let mut warnings = Vec::new();
    let is_own = process(profile, &mut warnings)?;
    let belongs = |thread: u32| is_own.get(thread as usize) == Some(&true);
    let operators = profile.spans.iter().filter(|span| span.is_operator && belongs(span.thread));
    let mut calls: Vec<(i64, u16)> = operators.map(|span| (span.start, span.name)).collect();
    calls.sort_by_key(|call| call.0);
    let steps = marked(profile.steps.iter().filter(|step| belongs(step.thread)), &calls);
    let whole = (i64::MIN, i64::MAX);
    let complete = complete(&steps);
    let at = complete.get(complete.len().saturating_sub(1) / 2).copied();
    let read = at.and_then(|at| steps.get(at));
    let (from, until) = read.map_or(whole, |read| (read.step.start, read.step.end));
    let n_outside = calls.len() - read.map_or(calls.len(), |read| read.calls.len());
    let (from, until) = match (&steps[..], read) {
        // What a lone mark leaves out may be the step.
        ([_], Some(read)) if n_outside > 2 * read.calls.len() => {
            let name = &read.step.name;
            let what = format!("`{name}` holds {} of {} calls", read.calls.len(), calls.len());
            let what = format!("{what} of operators: the whole trace is read");
            warnings.push(Diagnostic::warning("one-step", what).fact("steps", 1u64));
            whole
        }
        ([_], Some(read)) if n_outside > 0 => {
            let name = &read.step.name;
            let what = format!("{n_outside} calls of operators outside of `{name}` are left out");
            warnings.push(Diagnostic::warning("one-step", what).fact("steps", 1u64));
            (from, until)
        }
        ([_], _) | ([], _) => whole,
        (steps, _) => {
            warnings.push(told(steps, at, &complete));
            (from, until)
        }
    };
    let step = match read.filter(|_| from != i64::MIN || steps.len() == 1 && n_outside == 0) {
        None => "the whole trace".to_owned(),
        Some(read) if complete.len() < 2 => read.step.name.clone(),
        Some(read) => format!("{}, the median of {} complete", read.step.name, complete.len()),
    };
    Ok(Read { from, until, is_own, step, warnings })
}

/// By thread, whether it is of the process with the most calls of operators.
fn process(profile: &Profile, warnings: &mut Vec<Diagnostic>) -> Result<Vec<bool>, Diagnostic> {
    let processes = profile.processes();
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for span in profile.spans.iter().filter(|span| span.is_operator) {
        *counts.entry(processes[span.thread as usize]).or_default() += 1;
    }
    let n_kernels = profile.runs.len();
    if counts.is_empty() && n_kernels > 0 {
        let what = format!("the profile holds {n_kernels} kernels and no operator calls");
        return Err(Diagnostic::input("no-ops", what)
            .hint("record with activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]"));
    }
    let most = counts.iter().rev().max_by_key(|(_, count)| **count).map(|(name, _)| *name);
    if let (Some(name), true) = (most, counts.len() > 1) {
        let n = counts.len();
        let what = format!("the trace holds {n} processes, of which process {name} is read");
        warnings.push(
            Diagnostic::warning("one-process", what)
                .fact("processes", n)
                .hint("give the profile that each rank wrote by itself"),
        );
    }
    Ok(processes.iter().map(|process| most.is_none_or(|most| *process == most)).collect())
}

/// Steps in order, each once, with the calls that begin in them.
fn marked<'s>(steps: impl Iterator<Item = &'s Step>, calls: &[(i64, u16)]) -> Vec<Marked> {
    let mut by_name: BTreeMap<&str, Step> = BTreeMap::new();
    for step in steps {
        // Several threads may mark one step.
        let known = by_name.entry(&step.name).or_insert_with(|| step.clone());
        (known.start, known.end) = (known.start.min(step.start), known.end.max(step.end));
    }
    let at = |time: i64| calls.partition_point(|call| call.0 < time);
    let calls_of = |step: &Step| calls[at(step.start)..at(step.end)].iter().map(|call| call.1);
    let mut steps: Vec<Marked> = by_name
        .into_values()
        .map(|step| Marked { calls: calls_of(&step).collect(), step })
        .collect();
    steps.sort_by_key(|marked| (marked.step.start, marked.step.end));
    steps
}

/// The complete steps by duration, of equal ones the later first: those with at least half the calls
/// of the fullest, less a last one that the end of the recording cuts short.
fn complete(steps: &[Marked]) -> Vec<usize> {
    let most = steps.iter().map(|step| step.calls.len()).max().unwrap_or(0);
    let is_full = |at: &usize| most > 0 && 2 * steps[*at].calls.len() >= most;
    let mut complete: Vec<usize> = (0..steps.len()).filter(is_full).collect();
    if let [.., before, last] = complete[..]
        && last + 1 == steps.len()
        && steps[last].is_cut(&steps[before])
    {
        complete.pop();
    }
    complete.sort_by_key(|at| {
        let Step { start, end, .. } = steps[*at].step;
        (end.saturating_sub(start), Reverse(*at))
    });
    complete
}

/// Which of several steps is read, and why those behind it are not.
fn told(steps: &[Marked], read: Option<usize>, complete: &[usize]) -> Diagnostic {
    let n = steps.len();
    let Some(read) = read else {
        let what = format!("none of the {n} steps of the trace holds a call of an operator");
        return Diagnostic::warning("one-step", format!("{what}: the whole trace is read"))
            .fact("steps", n);
    };
    let chosen = &steps[read];
    let mut what = format!("the trace holds {n} steps, of which `{}` is read", chosen.step.name);
    if complete.len() > 1 {
        what.push_str(&format!(", the median of {} complete ones", complete.len()));
    }
    let last = steps.len() - 1;
    if !complete.contains(&last) {
        let last = &steps[last];
        let (name, count) = (&last.step.name, last.calls.len());
        what.push_str(&match count {
            0 => format!(": `{name}` holds no operator"),
            _ => format!(": `{name}` is cut short, at {count} calls of {}", chosen.calls.len()),
        });
    }
    Diagnostic::warning("one-step", what).fact("steps", n).fact("step", chosen.step.name.clone())
}
