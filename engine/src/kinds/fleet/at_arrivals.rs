//! Fleets at the arrivals of a file of requests.

use planner::run::Control;
use planner::serving::fleet::Verdict;
use planner::serving::serving_fleet::{Answer, FleetReplay, Promises, Question, Refused};

use super::setting::Setting;
use super::{decided, log};

/// Rates that a fleet is sized for, times that of a file of requests, until its replay of them keeps what is
/// promised.
const SIZED_FOR: [f64; 10] = [1.0, 1.1, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0];

/// The best fleet for a question; of a file of requests with its replay of them and what it is sized for: of more
/// than their rate, where that is what it takes to keep what is promised, of which nothing is proved.
pub(super) struct AtArrivals {
    pub(super) answer: Answer,
    pub(super) replayed: Option<(FleetReplay, f64)>,
}

impl AtArrivals {
    /// # Errors
    /// Those of the search.
    pub(super) fn of(
        setting: &Setting,
        question: &Question<'_>,
        control: &Control,
        search: &dyn Fn(&Question<'_>) -> Result<Answer, Refused>,
    ) -> Result<Self, Refused> {
        let mut found = Self { answer: search(question)?, replayed: None };
        let Some(log) = &setting.asked.traffic.log else { return Ok(found) };
        // Sized for arrivals at random, which those of a file are not.
        found.answer.found.bound = None;
        if found.answer.found.verdict == Verdict::Optimal {
            found.answer.found.verdict = Verdict::Open;
        }
        for sized_for in SIZED_FOR {
            if sized_for > 1.0 {
                let requests_per_s = question.requests_per_s.map(|rate| rate * sized_for);
                let mut answer = search(&Question { requests_per_s, ..question.clone() })?;
                if !answer.is_kept() {
                    break;
                }
                (answer.found.verdict, answer.found.bound) = (Verdict::Open, None);
                found.answer = answer;
            }
            let workers = decided::of_answer(setting, &found.answer);
            let Some(workers) = workers.filter(|_| found.answer.is_kept()) else { break };
            let Ok(replay) = log::replay(setting, &workers, &log.requests) else { break };
            let is_kept = log::is_kept(setting, &question.promises, &replay);
            found.replayed = Some((replay, sized_for));
            if is_kept || control.stop().is_some() {
                break;
            }
        }
        Ok(found)
    }

    /// Whether the requests of a file keep what is promised, where there is one.
    pub(super) fn is_kept(&self, setting: &Setting, promises: &Promises) -> bool {
        match &self.replayed {
            Some((replay, _)) => log::is_kept(setting, promises, replay),
            None => setting.asked.traffic.log.is_none(),
        }
    }
}
