//! Settings of a worker by replays: the token budget and the running requests with which it keeps percentiles at the
//! greatest rate. Those that are best by the mean are not best here: a tail of TPOT grows with the running requests.

use cost_model::serving::IterationTime;

use super::question::Promises;
use super::replayed::{CLEARLY, Rounds, SHORT, Stopped};
use super::size::{Candidate, MOST_LOAD, Room, Sized};
use super::stream::{self, Stream, lengths, share};
use super::types::Worker;
use crate::serving::fleet::Role;

/// Rates are a 64th power of two apart (1.1 %).
const PARTS: f64 = 64.0;
/// Parts of the rate by the mean that some setting is looked for at, until one will do.
const FIRST: [f64; 7] = [0.8, 0.55, 0.3, 0.15, 0.06, 0.025, 0.0125];
/// Part of a replay that a setting is judged by, before the best one is replayed in full.
const LOOK: usize = 2;
/// Standard deviations of the number of running requests within which a limit makes requests wait.
const DEVIATIONS: f64 = 4.0;

/// What a look at a setting says.
enum Look {
    Met,
    /// A tail of TPOT is too long: fewer running requests.
    Slow,
    /// Requests wait too long: more running requests.
    Late,
    /// Both.
    Neither,
    /// Too near to what it completes.
    Saturated,
}

/// Settings of a worker.
struct Settings<'s, 'q, 'p> {
    rounds: &'s Rounds<'q, 'p>,
    candidate: Candidate<'s>,
    price: &'s dyn IterationTime,
    promises: Promises,
    /// Numbers of the greatest rate on the grid, and of one that is too low.
    most: i64,
    floor: i64,
    /// The best setting so far, and the number of its rate on the grid.
    best: Option<(Sized, i64)>,
    /// Requests/s that a batch of the last setting completes.
    capacity: Option<(Stream, f64)>,
}

fn per_s(grid: i64) -> f64 {
    (grid as f64 / PARTS).exp2()
}

fn grid(per_s: f64) -> i64 {
    // A rate of the grid is its own number, however its logarithm rounds.
    (PARTS * per_s.log2() + 1e-6).floor() as i64
}

impl Rounds<'_, '_> {
    /// A worker with the settings that keep the percentiles at the greatest rate, no more than by the mean; none
    /// where that is not above a floor.
    pub(super) fn resized(
        &self,
        worker: &Worker,
        floor_per_s: f64,
    ) -> Result<Option<Worker>, Stopped> {
        let (question, figures) = (self.question, &worker.figures);
        let mix = lengths(&question.mix, figures.role);
        let candidate = Candidate {
            question,
            pool: figures.pool,
            shape: &worker.shape,
            role: figures.role,
            mix: &mix,
            share: share(&question.mix, &mix),
        };
        let Ok(price) = (self.price)(figures.pool, &worker.shape) else { return Ok(None) };
        let Ok(rooms) = candidate.rooms(&*price, worker.stream.handed) else {
            return self.stopped().map(|()| None);
        };
        let mut settings = Settings {
            rounds: self,
            candidate,
            price: &*price,
            promises: self.promises_of(figures.role),
            most: grid(figures.requests_per_s),
            floor: if floor_per_s > 0.0 { grid(floor_per_s) } else { i64::MIN },
            best: None,
            capacity: None,
        };
        for room in &rooms {
            settings.room(room)?;
        }
        let Settings { candidate, best, .. } = settings;
        let way = (worker.link, worker.level);
        Ok(best.map(|(sized, _)| Worker::of(&candidate, way, sized)))
    }
}

impl Settings<'_, '_, '_> {
    /// Looks for a better setting with a token budget.
    fn room(&mut self, room: &Room) -> Result<(), Stopped> {
        if let Some((_, rate)) = self.best {
            return self.limits(room, rate + 1);
        }
        for part in FIRST {
            let first = (self.most + grid(part)).max(self.floor.saturating_add(1));
            self.limits(room, first)?;
            if self.best.is_some() || first <= self.floor.saturating_add(1) {
                break;
            }
        }
        Ok(())
    }

    /// Halves the limits of running requests from a rate on, which rises with each that will do.
    fn limits(&mut self, room: &Room, mut rate: i64) -> Result<(), Stopped> {
        // The most first.
        let (mut low, mut high) = (0, room.limits.len());
        while low < high && rate <= self.most && per_s(rate) < room.most_per_s {
            let middle = usize::midpoint(low, high);
            let stream = room.stream.with_running(room.limits[middle]);
            let mut look = self.look(&stream, rate)?;
            if matches!(look, Look::Met) {
                let (mut met, mut missed) = (rate, self.most + 1);
                while missed - met > 1 {
                    let between = i64::midpoint(met, missed);
                    match self.look(&stream, between)? {
                        Look::Met => met = between,
                        other => (missed, look) = (between, other),
                    }
                }
                self.best = Some((self.sized(room, stream.clone(), met), met));
                rate = met + 1;
            }
            match look {
                Look::Slow => low = middle + 1,
                Look::Late => high = middle,
                // More running requests may complete fewer, where iterations beyond some size take longer.
                Look::Saturated => {
                    let capacity = self.capacity(&stream);
                    let fewer = room.limits.get(middle + 1).copied();
                    let is_more =
                        |limit| self.capacity(&room.stream.with_running(limit)) > capacity;
                    match fewer.is_some_and(is_more) {
                        true => low = middle + 1,
                        false => high = middle,
                    }
                }
                Look::Met | Look::Neither => break,
            }
        }
        Ok(())
    }

    fn sized(&self, room: &Room, stream: Stream, rate: i64) -> Sized {
        let Room { budget, kv_tokens, .. } = *room;
        let (requests_per_s, of) = (per_s(rate), self.of_batch(&stream, rate));
        // A look has found them finite.
        let steady = stream.steady(self.candidate.mix, of, self.price);
        let seconds = steady.map_or([f64::INFINITY; 2], |(seconds, _)| seconds);
        Sized { stream, budget, kv_tokens, requests_per_s, seconds }
    }

    /// Requests/s that a batch completes of more than it can, replayed.
    fn capacity(&mut self, stream: &Stream) -> f64 {
        if let Some((of, capacity)) = &self.capacity
            && of == stream
        {
            return *capacity;
        }
        let capacity = stream.capacity(self.candidate.mix, self.price).unwrap_or(0.0);
        self.capacity = Some((stream.clone(), capacity));
        capacity
    }

    /// Requests/s of a batch at a rate of the worker.
    fn of_batch(&self, stream: &Stream, rate: i64) -> f64 {
        per_s(rate) * self.candidate.share / stream.n_streams as f64
    }

    /// One replay at a rate, unless the closed form shows that the mean is missed, and the percentile is above it.
    fn look(&mut self, stream: &Stream, rate: i64) -> Result<Look, Stopped> {
        self.rounds.stopped()?;
        let Candidate { question, mix, .. } = self.candidate;
        let rate = self.of_batch(stream, rate);
        let Ok((means, n)) = stream.steady(mix, rate, self.price) else { return Ok(Look::Late) };
        let Ok(most_per_s) = stream.most_per_s(mix, self.price) else { return Ok(Look::Late) };
        if rate > MOST_LOAD * most_per_s {
            return Ok(Look::Late);
        }
        // A decode worker's TPOT has the wait for a place.
        let is_full = (stream.scheduler.max_num_seqs as f64) < n + DEVIATIONS * n.sqrt();
        let says = |seconds| match self.says(seconds) {
            Look::Slow if stream.role == Role::Decode && is_full => Look::Late,
            look => look,
        };
        let are_kept = self.promises.of_means().admit(means);
        let look = says(means);
        if !are_kept && !matches!(look, Look::Met) {
            return Ok(look);
        }
        let statistic = question.promises.statistic;
        let n = stream.n_replayed(rate / most_per_s, statistic);
        let replayed = |n| {
            let of = (rate, n, self.rounds.seed());
            stream.replayed(mix, of, statistic, self.price, &mut |_| ())
        };
        // A short replay shows what is clearly missed.
        if let Ok((seconds, _)) = replayed(n / SHORT)
            && !self.promises.times(CLEARLY).admit(seconds)
        {
            return Ok(says(seconds));
        }
        let Ok((seconds, _)) = replayed(n / LOOK) else {
            return self.rounds.stopped().map(|()| Look::Late);
        };
        match says(seconds) {
            Look::Met if rate > stream::MOST_LOAD * self.capacity(stream) => Ok(Look::Saturated),
            look => Ok(look),
        }
    }

    fn says(&self, [ttft_s, tpot_s]: [f64; 2]) -> Look {
        let is_late = !Promises { tpot_s: None, ..self.promises }.admit([ttft_s, 0.0]);
        let is_slow = !Promises { ttft_s: None, ..self.promises }.admit([0.0, tpot_s]);
        match (is_late, is_slow) {
            (false, false) => Look::Met,
            (false, true) => Look::Slow,
            (true, false) => Look::Late,
            (true, true) => Look::Neither,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws::{line, model, one, random};
    use super::super::question::{Question, Statistic};
    use super::super::tests::free;
    use super::*;

    fn at_percentile<'m>(card: &'m ir::card::ModelCard, seed: u64) -> Question<'m> {
        let mut question = random(card, seed);
        question.promises.statistic = Statistic::Percentile(95.0);
        question.budgets = vec![512, 2048];
        question
    }

    /// The rate of the best setting; none where there is none, or no worker.
    fn rate(question: &Question<'_>, seed: u64) -> Option<f64> {
        let worker = one(question, seed, 1.0).ok()?;
        let control = free();
        let rounds = Rounds::new((question, &line), &control);
        let resized = rounds.resized(&worker, 0.0).ok()?;
        Some(resized.map_or(0.0, |resized| resized.figures.requests_per_s))
    }

    /// No token budget and no limit, of those that divide their number by four, has a rate three steps above what
    /// halving finds. Longer latencies lower no rate by as much.
    #[test]
    fn no_setting_is_better_and_longer_latencies_lower_no_rate() {
        let card = model();
        let (mut n_found, mut n_better, mut n_lower) = (0, 0, 0);
        for seed in 0..benchmark_data::cases(24) {
            let question = at_percentile(&card, seed);
            let Some(found) = rate(&question, seed) else { continue };
            n_found += u32::from(found > 0.0);
            let most = found * (3.0 / PARTS).exp2();
            for change in [[1.3, 1.0], [1.0, 1.3]] {
                let mut looser = question.clone();
                let of = &mut looser.promises;
                of.ttft_s = of.ttft_s.map(|seconds| change[0] * seconds);
                of.tpot_s = of.tpot_s.map(|seconds| change[1] * seconds);
                n_lower +=
                    u32::from(rate(&looser, seed).unwrap_or(0.0) * (3.0 / PARTS).exp2() < found);
            }
            n_better += u32::from(is_any_better(&question, seed, most));
        }
        println!("{n_found} found, {n_better} better, {n_lower} lower");
        assert!(n_found > 5 && n_better == 0 && n_lower == 0, "{n_found} {n_better} {n_lower}");
    }

    /// Whether a setting keeps the percentiles at a rate.
    fn is_any_better(question: &Question<'_>, seed: u64, requests_per_s: f64) -> bool {
        let worker = one(question, seed, 1.0).unwrap();
        if requests_per_s <= 0.0 || requests_per_s > worker.figures.requests_per_s {
            return false;
        }
        let mix = lengths(&question.mix, worker.figures.role);
        let candidate = Candidate {
            question,
            pool: 0,
            shape: &worker.shape,
            role: worker.figures.role,
            mix: &mix,
            share: share(&question.mix, &mix),
        };
        let price = line(0, &worker.shape).unwrap();
        let control = free();
        let rounds = Rounds::new((question, &line), &control);
        let rooms = candidate.rooms(&*price, worker.stream.handed).unwrap();
        let mut settings = Settings {
            promises: rounds.promises_of(worker.figures.role),
            rounds: &rounds,
            candidate,
            price: &*price,
            most: i64::MAX,
            floor: i64::MIN,
            best: None,
            capacity: None,
        };
        let rate = grid(requests_per_s);
        rooms.iter().any(|room| {
            room.limits.iter().step_by(4).any(|limit| {
                let stream = room.stream.with_running(*limit);
                matches!(settings.look(&stream, rate), Ok(Look::Met))
                    && per_s(rate) < room.most_per_s
            })
        })
    }
}
