//! Which experts the steps of a run needed, as its trace says.

use std::collections::HashMap;
use std::path::Path;

use cost_model::experts::cache::Needs;
use importers::routing_trace::{Routed, Visit, read};
use ir::diagnostic::Diagnostic;
use planner::experts::expertflow::regroup::{MOST_TOKENS, Visited, least, regrouped};

use crate::inputs::experts::Setting;

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
    /// What no places of tokens that may change them need less than.
    pub at_least: u64,
}

impl Routing {
    /// Reads a trace of a model.
    ///
    /// # Errors
    /// Those of [`read`]; `too-many-experts`; `long-trace`.
    pub fn read(setting: &Setting, file: &Path) -> Result<Self, Diagnostic> {
        Self::in_places(setting, file, 1)
    }

    /// As it is read, and where tokens of several steps may change places, with them there.
    ///
    /// # Errors
    /// Those of [`Self::in_places`].
    pub fn all(setting: &Setting, file: &Path, regroup: usize) -> Result<Vec<Self>, Diagnostic> {
        let other = (regroup > 1).then_some(regroup);
        let each = [Some(1), other].into_iter().flatten();
        each.map(|n_steps| Self::in_places(setting, file, n_steps)).collect()
    }

    /// Reads a trace of a model, of which the tokens of so many steps that follow each other change
    /// places.
    ///
    /// # Errors
    /// Those of [`Self::read`]; `not-for-regrouping`.
    pub fn in_places(setting: &Setting, file: &Path, n_steps: usize) -> Result<Self, Diagnostic> {
        let n_experts = setting.n_experts()?;
        let n_layers = setting.layers.len();
        let mut routing = Self {
            needs: vec![Needs::new(n_experts); n_layers],
            visits: vec![vec![0.0; n_experts.into()]; n_layers],
            ..Self::default()
        };
        let mut window = Window::new(n_layers, n_experts, n_steps);
        let mut open = Step::new(n_experts.into());
        let routed = Routed {
            layers: &setting.layers,
            n_experts,
            per_token: setting.experts.per_token as usize,
        };
        read(file, routed, &mut |layer, visit| {
            if n_steps == 1 {
                routing.close(&mut open, Some((visit.step, layer)));
                return routing.take(&mut open, layer, visit);
            }
            if window.is_full(visit) {
                routing.regroup(&mut window, &mut open)?;
            }
            window.take(layer, visit)
        })?;
        if n_steps > 1 {
            routing.regroup(&mut window, &mut open)?;
        }
        routing.close(&mut open, None);
        Ok(routing)
    }

    /// Takes the steps of a window, whose tokens change places, and empties it.
    fn regroup(&mut self, window: &mut Window, open: &mut Step) -> Result<(), Diagnostic> {
        window.check()?;
        let tokens: Vec<Visited> = window.tokens.iter().map(|token| token.bits.clone()).collect();
        let step_of = regrouped(&tokens, &window.sizes());
        self.at_least += least(&tokens, window.steps.len(), window.n_words);
        for (at, step) in window.steps.iter().enumerate() {
            for layer in 0..window.n_layers {
                let of_step = window.tokens.iter().zip(&step_of).filter(|(_, index)| **index == at);
                for (number, (token, _)) in (0..).zip(of_step) {
                    let experts = token.experts(layer, window.n_words);
                    let visit = Visit { step: *step, layer: 0, token: number, experts };
                    self.close(open, Some((*step, layer)));
                    self.take(open, layer, &visit)?;
                }
            }
        }
        window.steps.clear();
        window.tokens.clear();
        window.numbers.clear();
        Ok(())
    }

    fn take(&mut self, open: &mut Step, layer: usize, visit: &Visit) -> Result<(), Diagnostic> {
        for expert in &visit.experts {
            let at = usize::from(*expert);
            if let Some(visits) = self.visits.get_mut(layer).and_then(|visits| visits.get_mut(at)) {
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

/// Steps whose tokens change places.
struct Window {
    n_layers: usize,
    /// Of a layer.
    n_words: usize,
    most_steps: usize,
    steps: Vec<u64>,
    tokens: Vec<Token>,
    /// Of the last step, by its tokens.
    numbers: HashMap<u64, usize>,
}

/// A token of a window.
struct Token {
    /// Position of its step.
    step: usize,
    /// Layers that it was read of.
    n_layers: usize,
    bits: Visited,
}

impl Token {
    fn experts(&self, layer: usize, n_words: usize) -> Vec<u16> {
        let words = self.bits[layer * n_words..][..n_words].iter();
        let bits = |(first, word): (u16, &u64)| {
            let word = *word;
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| first + bit)
        };
        (0..=u16::MAX).step_by(64).zip(words).flat_map(bits).collect()
    }
}

impl Window {
    fn new(n_layers: usize, n_experts: u16, most_steps: usize) -> Self {
        let n_words = usize::from(n_experts).div_ceil(64);
        let (steps, tokens, numbers) = (Vec::new(), Vec::new(), HashMap::new());
        Self { n_layers, n_words, most_steps, steps, tokens, numbers }
    }

    /// Whether a visit is of a step that has no place any more.
    fn is_full(&self, visit: &Visit) -> bool {
        self.steps.len() >= self.most_steps && self.steps.last() != Some(&visit.step)
    }

    /// By step its tokens.
    fn sizes(&self) -> Vec<usize> {
        let of = |step| self.tokens.iter().filter(|token| token.step == step).count();
        (0..self.steps.len()).map(of).collect()
    }

    /// Takes a visit of a token, which has to be in all layers of its step.
    fn take(&mut self, layer: usize, visit: &Visit) -> Result<(), Diagnostic> {
        if self.steps.last() != Some(&visit.step) {
            self.check()?;
            self.steps.push(visit.step);
            self.numbers.clear();
        }
        let (step, n_bits) = (self.steps.len() - 1, self.n_layers * self.n_words);
        let n = self.tokens.len();
        let at = *self.numbers.entry(visit.token).or_insert(n);
        if at == n {
            if n >= MOST_TOKENS {
                let message = format!("so many steps have more than {MOST_TOKENS} tokens");
                return Err(Diagnostic::input("not-for-regrouping", message)
                    .fact("steps", self.most_steps)
                    .hint("let the tokens of fewer steps change places: expertflow(regroup=N)"));
            }
            self.tokens.push(Token { step, n_layers: 0, bits: vec![0; n_bits] });
        }
        let token = &mut self.tokens[at];
        token.n_layers += 1;
        for expert in &visit.experts {
            let bit = usize::from(*expert);
            token.bits[layer * self.n_words + bit / 64] |= 1 << (bit % 64);
        }
        Ok(())
    }

    /// Whether all tokens were in all layers.
    fn check(&self) -> Result<(), Diagnostic> {
        if self.tokens.iter().all(|token| token.n_layers == self.n_layers) {
            return Ok(());
        }
        let message = "a token has no line of some layer of its step, and so has no other place";
        Err(Diagnostic::input("not-for-regrouping", message)
            .hint("give lines of all layers for each token, or leave out `regroup`"))
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
