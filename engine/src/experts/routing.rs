//! Which experts the steps of a run needed, as its trace says.

use std::path::Path;

use cost_model::experts::cache::Needs;
use importers::routing_trace::{Routed, Visit, read};
use ir::diagnostic::Diagnostic;

use super::setting::Setting;

/// Most steps of a trace, and most bytes that what they need takes, summed over layers: more than a
/// gigabyte of lines has, in what a machine with half a gigabyte to spare holds.
const MOST_STEPS: usize = 1 << 25;
const MOST_BYTES: usize = 320 << 20;

/// A run's steps.
#[derive(Clone, Debug, Default)]
pub struct Routing {
    /// By layer of experts.
    pub needs: Vec<Needs>,
    /// By layer, how often each expert is visited.
    pub visits: Vec<Vec<f64>>,
    /// By step the tokens of the layer that has most.
    pub tokens: Vec<u32>,
}

impl Routing {
    /// Reads a trace of a model.
    ///
    /// # Errors
    /// Those of [`read`]; `too-many-experts`; `long-trace`.
    pub fn read(setting: &Setting, file: &Path) -> Result<Self, Diagnostic> {
        let n_experts = setting.n_experts()?;
        let n_layers = setting.layers.len();
        let mut own = Self {
            needs: vec![Needs::new(n_experts); n_layers],
            visits: vec![vec![0.0; n_experts.into()]; n_layers],
            tokens: Vec::new(),
        };
        let mut open = Step::new(n_experts.into());
        let routed = Routed {
            layers: &setting.layers,
            n_experts,
            per_token: setting.experts.per_token as usize,
        };
        read(file, routed, &mut |layer, visit| {
            own.close(&mut open, Some((visit.step, layer)));
            own.take(&mut open, layer, visit)
        })?;
        own.close(&mut open, None);
        Ok(own)
    }

    fn take(&mut self, open: &mut Step, layer: usize, visit: &Visit) -> Result<(), Diagnostic> {
        for expert in &visit.experts {
            let at = usize::from(*expert);
            if let Some(visits) = self.visits.get_mut(layer).and_then(|own| own.get_mut(at)) {
                *visits += 1.0;
            }
            if let Some(is_needed) = open.is_needed.get_mut(at)
                && !std::mem::replace(is_needed, true)
            {
                open.needed.push(*expert);
            }
        }
        open.n_tokens = open.n_tokens.saturating_add(1);
        let is_long = self.tokens.len() >= MOST_STEPS || open.n_bytes > MOST_BYTES;
        match is_long {
            true => Err(Diagnostic::input("long-trace", "the trace has more steps than are held")
                .fact("most_steps", MOST_STEPS)
                .hint("cut it into parts, or count several steps as one")),
            false => Ok(()),
        }
    }

    /// Takes note of what a layer of a step needed, where another one begins.
    fn close(&mut self, open: &mut Step, next: Option<(u64, usize)>) {
        if open.at == next {
            return;
        }
        if let Some((_, layer)) = open.at {
            match self.tokens.last_mut() {
                Some(most) if layer > 0 => *most = open.n_tokens.max(*most),
                _ => self.tokens.push(open.n_tokens),
            }
            open.needed.sort_unstable();
            if let Some(needs) = self.needs.get_mut(layer) {
                let before = needs.n_bytes();
                needs.push(&open.needed);
                open.n_bytes += needs.n_bytes() - before;
            }
            for expert in open.needed.drain(..) {
                open.is_needed[usize::from(expert)] = false;
            }
        }
        (open.n_tokens, open.at) = (0, next);
    }
}

/// What is read of a layer of a step.
struct Step {
    at: Option<(u64, usize)>,
    is_needed: Vec<bool>,
    /// Each once.
    needed: Vec<u16>,
    n_tokens: u32,
    /// Of what all steps so far need.
    n_bytes: usize,
}

impl Step {
    fn new(n_experts: usize) -> Self {
        let is_needed = vec![false; n_experts];
        Self { at: None, is_needed, needed: Vec::new(), n_tokens: 0, n_bytes: 0 }
    }
}
