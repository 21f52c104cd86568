//! Prompts that wait at the beginnings of iterations, as a Markov chain. Its unit is a part of the
//! budget; an iteration takes as many as it can, and more arrive while it runs.

/// How prompts arrive.
#[derive(Clone, Copy)]
pub(super) enum Arriving {
    /// Poisson, so many a second.
    InTime(f64),
    /// So many an iteration, at its end.
    AtEnds(f64),
}

pub(super) struct Prompts<'a> {
    /// Seconds of an iteration by the units it takes; the last is the most.
    pub(super) seconds: &'a [f64],
    pub(super) arriving: Arriving,
    /// Units of prompts, and their shares.
    pub(super) sizes: &'a [(f64, f64)],
    /// Without prompts nothing runs, and the next begins at once.
    pub(super) is_idle: bool,
    /// Iterations are put together when the ones before begin.
    pub(super) is_ahead: bool,
    /// Iterations with prompts decode, too, and so end requests.
    pub(super) is_mixed: bool,
}

pub(super) struct Waiting {
    /// Mean seconds of an iteration.
    pub(super) iteration_s: f64,
    /// Iterations that take prompts, share of all.
    pub(super) with_prompts: f64,
    /// Mean seconds from a prompt's arrival to the end of its last iteration.
    pub(super) ttft_s: f64,
    /// Mean iterations from the first that it could be in to its last.
    pub(super) n_iterations: f64,
    /// Prompts that have come behind one when it ends, in the mean: shares by steps of [`GRID`].
    behind: Vec<f64>,
}

impl Waiting {
    /// Mean prompts that have come behind one when it ends.
    pub(super) fn n_behind(&self) -> f64 {
        self.behind.iter().enumerate().map(|(at, share)| at as f64 * GRID * share).sum()
    }
}

/// Most states.
const LARGEST: usize = 512;
/// Iterations after a prompt's that are followed, and how near the mean is near enough.
const LONGEST: usize = 256;
const NEAR: f64 = 2e-3;
/// What they are off by, times as many as have been followed, or so many at least, that is too little to matter
/// to a mean over all.
const NEGLIGIBLE: f64 = 5e-4;
const FEWEST: usize = 16;
/// Prompts between means that are told apart.
const GRID: f64 = 0.25;
const FARTHEST: usize = 256;
/// Probability of the last state that is no reason to add more.
const TAIL: f64 = 1e-5;
/// Probability of what a prompt finds that adds nothing.
const LEAST: f64 = 1e-11;

impl Prompts<'_> {
    pub(super) fn solve(&self) -> Waiting {
        let unit_sizes = self.unit_sizes();
        let mut n_states = 16.max(2 * unit_sizes.len());
        loop {
            let pmfs = self.pmfs(&unit_sizes, n_states, 1.0);
            let chance = stationary(self.transitions(&pmfs, n_states));
            if chance[n_states - 1] < TAIL || n_states >= LARGEST {
                return self.sum_up(&chance, &self.pmfs(&unit_sizes, n_states, 0.5));
            }
            n_states *= 2;
        }
    }

    /// Probabilities of whole units of a prompt, with the mean kept.
    fn unit_sizes(&self) -> Vec<f64> {
        let largest = self.sizes.iter().map(|(units, _)| units.ceil()).fold(1.0, f64::max);
        let mut chance = vec![0.0; largest as usize + 1];
        for (units, share) in self.sizes {
            let low = units.floor();
            chance[low as usize] += share * (1.0 - (units - low));
            if units > &low {
                chance[low as usize + 1] += share * (units - low);
            }
        }
        chance
    }

    /// Mean prompts that arrive during an iteration.
    fn arrivals(&self, taken: usize) -> f64 {
        match self.arriving {
            Arriving::InTime(rate) => rate * self.seconds[taken],
            Arriving::AtEnds(n) if self.is_mixed || taken == 0 => n,
            Arriving::AtEnds(_) => 0.0,
        }
    }

    fn taken(&self, waiting: usize) -> usize {
        waiting.min(self.seconds.len() - 1)
    }

    /// By units taken: units that arrive in a part of the iteration.
    fn pmfs(&self, unit_sizes: &[f64], n_states: usize, part: f64) -> Vec<Vec<f64>> {
        let pmf = |taken| compound(part * self.arrivals(taken), unit_sizes, n_states);
        let mut pmfs: Vec<Vec<f64>> = (0..self.seconds.len().min(n_states)).map(pmf).collect();
        if self.is_idle {
            let nothing = unit_sizes[0];
            pmfs[0] = unit_sizes.to_vec();
            pmfs[0][0] = 0.0;
            pmfs[0][1] += nothing;
        }
        pmfs
    }

    fn transitions(&self, pmfs: &[Vec<f64>], n_states: usize) -> Vec<Row> {
        let row = |waiting: usize| {
            let taken = self.taken(waiting);
            let (first, pmf) = (waiting - taken, &pmfs[taken]);
            let n = pmf.len().min(n_states - first);
            let mut chances = pmf[..n].to_vec();
            // What is left out ends where the farthest does.
            chances[n - 1] += (1.0 - chances.iter().sum::<f64>()).max(0.0);
            Row { first, chances }
        };
        (0..n_states).map(row).collect()
    }

    /// Mean seconds of the iterations after one that ends a prompt, until they are as any, or what is left adds
    /// nothing to so many: what requests find that decode. `ends`: how prompts end, and their shares.
    pub(super) fn after(
        &self,
        ends: [(&Waiting, f64); 2],
        mean_s: f64,
        [mean_steps, most_steps]: [f64; 2],
    ) -> Vec<f64> {
        let sizes = self.unit_sizes();
        let largest =
            ends.map(|(waiting, _)| waiting.behind.iter().rposition(|share| *share > TAIL));
        let mean = largest.into_iter().flatten().max().unwrap_or(0) as f64 * GRID;
        let n_units = (mean + 4.0 * mean.sqrt() + 8.0) * self.mean_size();
        let n_states = (n_units as usize + self.seconds.len()).min(LARGEST);
        let pmfs = self.pmfs(&sizes, n_states, 1.0);
        let mut now = vec![0.0; n_states];
        for (waiting, part) in ends {
            let shares = waiting.behind.iter().enumerate().filter(|(_, share)| **share > TAIL);
            for (at, share) in shares {
                let units = compound(at as f64 * GRID, &sizes, n_states);
                for (units, chance) in units.iter().enumerate() {
                    now[units] += part * share * chance;
                }
            }
        }
        let mut after = Vec::new();
        for step in 1..=LONGEST.min(most_steps as usize) {
            let of = |(waiting, chance): (usize, &f64)| chance * self.seconds[self.taken(waiting)];
            let sum: f64 = now.iter().sum();
            let seconds = now.iter().enumerate().map(of).sum::<f64>() / sum.max(f64::MIN_POSITIVE);
            after.push(seconds);
            let off = (seconds / mean_s - 1.0).abs();
            if off < NEAR || off * (step.max(FEWEST) as f64) < NEGLIGIBLE * mean_steps {
                break;
            }
            let mut next = vec![0.0; n_states];
            for (waiting, chance) in now.iter().enumerate().filter(|(_, chance)| **chance > TAIL) {
                let taken = self.taken(waiting);
                for (more, arrive) in pmfs[taken].iter().enumerate() {
                    next[(waiting - taken + more).min(n_states - 1)] += chance * arrive;
                }
            }
            now = next;
        }
        after
    }

    /// Seconds of an iteration with units that need not be whole.
    fn at(&self, units: f64) -> f64 {
        let most = self.seconds.len() - 1;
        let low = (units.max(0.0) as usize).min(most);
        match self.seconds.get(low + 1) {
            Some(next) => self.seconds[low] + (units - low as f64) * (next - self.seconds[low]),
            None => self.seconds[most],
        }
    }

    /// Mean units and seconds of an iteration that ends a prompt with its `own` units.
    fn shared(&self, own: f64, behind: &Behind) -> [f64; 2] {
        if behind.some <= 0.0 {
            return [own, self.at(own)];
        }
        let last = (own + behind.each).min((self.seconds.len() - 1) as f64);
        let none_s = (1.0 - behind.some) * self.at(own);
        [own + behind.some * (last - own), none_s + behind.some * self.at(last)]
    }

    /// What prompts see that arrive during an iteration which `waiting` units begin.
    fn seen(&self, waiting: usize, chance: f64) -> Seen {
        let seconds = self.seconds[self.taken(waiting)];
        let size = self.mean_size();
        match self.arriving {
            Arriving::InTime(rate) if self.is_idle && waiting == 0 => Seen {
                seconds: 1.0 / rate,
                weight: chance / rate,
                residual_s: 0.0,
                later: 0.0,
                later_per_s: rate * size,
            },
            Arriving::InTime(rate) => Seen {
                seconds,
                weight: chance * seconds,
                residual_s: seconds / 2.0,
                later: rate * seconds / 2.0 * size,
                later_per_s: rate * size,
            },
            Arriving::AtEnds(n) => Seen {
                seconds,
                weight: if self.is_mixed || waiting == 0 { chance } else { 0.0 },
                residual_s: 0.0,
                later: n / 2.0 * size,
                later_per_s: if self.is_mixed && seconds > 0.0 { n * size / seconds } else { 0.0 },
            },
        }
    }

    fn mean_size(&self) -> f64 {
        self.sizes.iter().map(|(units, share)| units * share).sum()
    }

    /// `halves`: what arrives in half an iteration, which is what a prompt finds in front of it.
    fn sum_up(&self, chance: &[f64], halves: &[Vec<f64>]) -> Waiting {
        let most = (self.seconds.len() - 1) as f64;
        let size = self.mean_size();
        let (mut iteration_s, mut ttft_s, mut n_iterations, mut total) = (0.0, 0.0, 0.0, 0.0);
        let mut behind = vec![0.0; FARTHEST];
        for (waiting, chance) in chance.iter().enumerate() {
            let taken = self.taken(waiting);
            let seen = self.seen(waiting, *chance);
            iteration_s += chance * seen.seconds;
            total += seen.weight;
            let is_idle = self.is_idle && waiting == 0;
            let before = if is_idle { &[1.0][..] } else { &halves[taken] };
            let mut behind_of = (f64::NAN, Behind::new(0.0, size));
            for ((units, share), (more, part)) in
                self.sizes.iter().flat_map(|size| before.iter().enumerate().map(move |b| (size, b)))
            {
                if chance * share * part < LEAST {
                    continue;
                }
                let weight = seen.weight * share * part;
                let end = (waiting - taken + more) as f64 + units;
                let full = ((end / most).ceil() - 1.0).max(0.0);
                let full_s = full * self.seconds[self.seconds.len() - 1];
                // Who comes after may still share the last iteration, if it comes before that is put together.
                let own = end - full * most;
                if full != behind_of.0 {
                    let n_before = if self.is_ahead { (full - 1.0).max(0.0) } else { full };
                    let before_s = n_before * self.seconds[self.seconds.len() - 1];
                    behind_of = (full, Behind::new(seen.later + seen.later_per_s * before_s, size));
                }
                let [mean, mean_s] = self.shared(own, &behind_of.1);
                let last_s = full_s + mean_s;
                ttft_s += weight * (seen.residual_s + last_s);
                n_iterations += weight * (full + 1.0);
                let left = seen.later + seen.later_per_s * last_s - (mean - own);
                spread(&mut behind, left.max(0.0) / size / GRID, weight);
            }
        }
        let with_prompts = 1.0 - chance[0];
        let (ttft_s, n_iterations) = (ttft_s / total, n_iterations / total);
        behind.iter_mut().for_each(|share| *share /= total);
        Waiting { iteration_s, with_prompts, ttft_s, n_iterations, behind }
    }
}

/// Units that have come behind a prompt: none with the probability of a Poisson number of prompts, else as many
/// as are left for the mean.
struct Behind {
    /// The probability of some, and how many then.
    some: f64,
    each: f64,
}

impl Behind {
    fn new(mean: f64, size: f64) -> Self {
        let some = -(-mean / size).exp_m1();
        Self { some, each: mean / some }
    }
}

struct Seen {
    seconds: f64,
    /// Prompts that see it, up to a factor.
    weight: f64,
    /// Until it ends.
    residual_s: f64,
    /// Units that arrive behind a prompt until it ends, and a second after that.
    later: f64,
    later_per_s: f64,
}

/// Adds a weight between two places.
fn spread(places: &mut [f64], at: f64, weight: f64) {
    let at = at.min((places.len() - 2) as f64);
    let low = at as usize;
    places[low] += weight * (low as f64 + 1.0 - at);
    places[low + 1] += weight * (at - low as f64);
}

/// Units of a Poisson number of prompts (Panjer's recursion).
fn compound(mean: f64, sizes: &[f64], n_states: usize) -> Vec<f64> {
    let mut chance = vec![(-mean * (1.0 - sizes[0])).exp()];
    let mut sum = chance[0];
    for units in 1..n_states {
        if 1.0 - sum < 1e-9 {
            break;
        }
        let term = |(size, share): (usize, &f64)| size as f64 * share * chance[units - size];
        let sizes = sizes.iter().enumerate().take(units + 1).skip(1);
        let next = mean / units as f64 * sizes.map(term).sum::<f64>();
        chance.push(next);
        sum += next;
    }
    chance
}

/// Probabilities from one state to neighbouring ones, the first of which never falls from row to row.
struct Row {
    first: usize,
    chances: Vec<f64>,
}

/// The stationary probabilities of a chain (Grassmann, Taksar and Heyman 1985: no subtractions).
fn stationary(mut rows: Vec<Row>) -> Vec<f64> {
    let n = rows.len();
    // By state the first row that reaches it or a later one.
    let mut from = vec![n; n];
    for (at, row) in rows.iter().enumerate().rev() {
        from[row.first + row.chances.len() - 1] = at;
    }
    for state in (0..n - 1).rev() {
        from[state] = from[state].min(from[state + 1]);
    }
    for last in (1..n).rev() {
        let (above, rest) = rows.split_at_mut(last);
        let row = &rest[0];
        let back = &row.chances[..row.chances.len().min(last - row.first)];
        let leaving = back.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        for other in &mut above[from[last].min(last)..] {
            let Some(chance) = other.chances.get_mut(last - other.first) else { continue };
            *chance /= leaving;
            let through = *chance;
            let places = &mut other.chances[row.first - other.first..];
            for (place, chance) in places.iter_mut().zip(back) {
                *place += through * chance;
            }
        }
    }
    let mut chance: Vec<f64> = vec![1.0];
    for state in 1..n {
        let before = from[state].min(state);
        let reach = |(row, chance): (&Row, &f64)| {
            row.chances.get(state - row.first).map_or(0.0, |reaches| chance * reaches)
        };
        let next = rows[before..state].iter().zip(&chance[before..]).map(reach).sum();
        chance.push(next);
    }
    let total: f64 = chance.iter().sum();
    chance.iter().map(|value| value / total).collect()
}
