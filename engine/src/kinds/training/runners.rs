//! Who runs a plan, in a line and for programs.

use documents::report::training::RunnersDocument;
use ir::units::Nanos;
use planner::training::search::Planned;

/// The plan that `--for` a launcher recommends.
pub struct Elsewhere {
    /// The launcher.
    pub name: &'static str,
    /// Its step; `None` where the search did not end.
    pub step: Option<Nanos>,
}

/// Launchers that run a plan, and the others by what `--for` gives.
#[derive(Default)]
pub struct Runners {
    /// Launchers that run it, priced as it is.
    pub runs: Vec<&'static str>,
    /// Others, each with a plan and a stack of its own, the fastest first.
    pub others: Vec<Elsewhere>,
    /// Name of the stack as which the plan is priced.
    pub stack: String,
    /// Whether nobody named that stack.
    pub is_default: bool,
}

impl Runners {
    /// `megatron (default); other stacks (--for): torchtitan 3.71 s, jax 3.8 s; not searched
    /// to the end: huggingface`; of the others the fastest, where not all are asked for.
    pub fn line(&self, is_whole: bool) -> String {
        const SHOWN: usize = 3;
        let mut text =
            if self.runs.is_empty() { "no launcher".to_owned() } else { self.runs.join(", ") };
        let ended = self.others.iter().filter_map(|other| Some((other.name, other.step?)));
        let ended: Vec<String> = ended.map(|(name, step)| format!("{name} {step}")).collect();
        let open = self.others.iter().filter(|other| other.step.is_none());
        let open: Vec<&str> = open.map(|other| other.name).collect();
        let n_shown = if is_whole { ended.len() } else { ended.len().min(SHOWN) };
        if n_shown > 0 {
            let default = if self.is_default && !self.runs.is_empty() { " (default)" } else { "" };
            let others = ended[..n_shown].join(", ");
            text += &format!("{default}; other stacks (--for): {others}");
        }
        if ended.len() > n_shown {
            text += &format!(", {} slower", ended.len() - n_shown);
        }
        match open.len() {
            0 => {}
            n if n > 1 && !is_whole => text += &format!("; {n} launchers not searched to the end"),
            _ => text += &format!("; not searched to the end: {}", open.join(", ")),
        }
        text
    }

    /// For programs.
    pub fn document(&self) -> RunnersDocument {
        let ended = |other: &Elsewhere| Some((other.name.to_owned(), other.step?.seconds()));
        let open = self.others.iter().filter(|other| other.step.is_none());
        RunnersDocument {
            targets: self.runs.iter().map(|name| (*name).to_owned()).collect(),
            nearest_s: self.others.iter().filter_map(ended).collect(),
            not_finished: open.map(|other| other.name.to_owned()).collect(),
            stack: Some(self.stack.clone()),
        }
    }
}

/// A plan of equal stages that a launcher runs.
pub(super) struct Launched {
    /// Its step.
    pub step: Nanos,
    /// Flags that give it: ` --lost t4 --for megatron`.
    pub flags: String,
    target: &'static str,
}

impl Launched {
    /// The recommended plan of a search, where that was limited to a launcher.
    pub(super) fn of(planned: &Planned, flags: String) -> Option<Self> {
        let target = planned.settled.launcher?.target;
        let plan = planned.best()?;
        Some(Self { step: plan.step, flags: format!("{flags} --for {target}"), target })
    }

    /// `add --lost t4 --for megatron for a plan that megatron runs, 412.0 ms`.
    pub(super) fn words(&self) -> String {
        format!("add{} for a plan that {} runs, {}", self.flags, self.target, self.step)
    }
}
