//! Loops, turn by turn.

use super::run::{Around, Flow, Frame};
use super::tree::{List, Word};
use super::values::{Doubt, is_many, unknown};
use super::{Ran, Shell};

/// Turns of a loop at most that are followed one by one.
const MOST_TURNS: usize = 4_096;
/// Turns at most of a loop of an unknown number: behind them its variables are unknown.
const MOST_UNKNOWN_TURNS: usize = 6;

/// Whether a loop goes on behind a turn.
enum Turn {
    On,
    Ended,
    Left(Flow),
}

impl Shell<'_> {
    /// One turn of a loop.
    fn turn(&mut self, body: &List) -> Ran<Turn> {
        let flow = self.list(body)?;
        let continued = self.frames.last_mut().map(|frame| std::mem::take(&mut frame.continued));
        let continued = continued.unwrap_or_default();
        let (goes_on, ended) =
            (matches!(flow, Flow::Next | Flow::Continue(1)), flow == Flow::Break(1));
        if !goes_on && continued.is_empty() && !ended {
            return Ok(Turn::Left(flow));
        }
        if ended {
            let own = self.copy()?;
            self.park(flow, own);
            if continued.is_empty() {
                return Ok(Turn::Ended);
            }
        }
        let flow = if ended { Flow::Next } else { flow };
        let mut continued = continued;
        if ended {
            self.state = continued.pop().unwrap_or_default();
        }
        self.settle(flow, continued, goes_on || ended);
        Ok(Turn::On)
    }

    /// Runs a loop while a condition is_true, with a sum behind each turn.
    pub(super) fn repeat(
        &mut self,
        (body, step): (&List, Option<&Word>),
        condition: &mut dyn FnMut(&mut Self) -> Ran<Option<bool>>,
    ) -> Ran<Flow> {
        self.frames.push(Frame::new(Around::Loop));
        let (mut n, mut n_unknown, mut goes_on, mut left) = (0, 0, false, Flow::Exit);
        let (mut last, mut ends) = (Some(true), Vec::new());
        loop {
            let before = self.copy()?;
            let is_true = condition(self)?;
            if is_true == Some(false) {
                goes_on = true;
                ends.push(last);
                break;
            }
            let is_open = is_true.is_none();
            if is_open {
                ends.push(last);
                let own = self.copy()?;
                self.park(Flow::Break(1), own);
            }
            self.n_loops += u32::from(is_open);
            let turn = self.turn(body)?;
            last = self.status;
            self.n_loops -= u32::from(is_open);
            match turn {
                Turn::On => drop(step.map(|step| self.sum_of(step)).transpose()?),
                Turn::Ended => break,
                Turn::Left(flow) => {
                    left = flow;
                    break;
                }
            }
            (n, n_unknown) = (n + 1, n_unknown + usize::from(is_open || n > MOST_TURNS));
            self.spend(before.size())?;
            if self.state == before || n_unknown > MOST_UNKNOWN_TURNS {
                break;
            }
            if n_unknown > 0 {
                let own = std::mem::take(&mut self.state);
                self.state = own.widened(&before);
            }
        }
        self.ended(goes_on, left, ends)
    }

    /// Leaves a loop, with the statuses that it has where its condition or its words end it.
    fn ended(&mut self, goes_on: bool, flow: Flow, mut ends: Vec<Option<bool>>) -> Ran<Flow> {
        let left = self.frames.pop().map(|frame| frame.left).unwrap_or_default();
        if left.len() + usize::from(goes_on) > ends.len() {
            // A `break` succeeds.
            ends.push(Some(true));
        }
        let is_left = goes_on || !left.is_empty();
        let flow = match flow {
            Flow::Break(n) if n > 1 => Flow::Break(n - 1),
            Flow::Continue(n) if n > 1 => Flow::Continue(n - 1),
            flow => flow,
        };
        let flow = self.settle(flow, left, goes_on);
        if is_left {
            let first = ends[0];
            self.status = first.filter(|_| ends.iter().all(|one| *one == first));
        }
        Ok(flow)
    }

    pub(super) fn each(&mut self, name: &str, words: Option<&[Word]>, body: &List) -> Ran<Flow> {
        let mut all = Vec::new();
        match words {
            None => all = self.state.arguments.to_vec(),
            Some(words) => {
                for word in words {
                    all.extend(self.fields(word)?);
                }
            }
        }
        self.frames.push(Frame::new(Around::Loop));
        self.status = Some(true);
        let (mut goes_on, mut left) = (true, Flow::Next);
        'words: for word in all {
            let is_open = is_many(&word);
            for n_turns in 0..=MOST_UNKNOWN_TURNS {
                let before = self.copy()?;
                if is_open {
                    let own = self.copy()?;
                    self.park(Flow::Continue(1), own);
                    self.n_loops += 1;
                }
                let value =
                    if is_open { unknown(Doubt::Plain, &format!("${name}")) } else { word.clone() };
                self.set_text(name, value);
                let turn = self.turn(body)?;
                self.n_loops -= u32::from(is_open);
                match turn {
                    Turn::On => {}
                    Turn::Ended => {
                        goes_on = false;
                        break 'words;
                    }
                    Turn::Left(flow) => {
                        (goes_on, left) = (false, flow);
                        break 'words;
                    }
                }
                self.spend(before.size())?;
                if !is_open || self.state == before || n_turns == MOST_UNKNOWN_TURNS {
                    break;
                }
                let own = std::mem::take(&mut self.state);
                self.state = own.widened(&before);
            }
        }
        let ends = if goes_on { vec![self.status] } else { Vec::new() };
        self.ended(goes_on, left, ends)
    }
}
