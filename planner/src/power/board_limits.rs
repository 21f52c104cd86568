//! Which devices are used, and to which share of what they may draw their boards are held.
//!
//! # Decides
//! Devices and limits of boards.
//!
//! # Idea
//! Every set is planned with boards as they are. The most promising sets, those that are best as they are
//! or nearest to the cap or under it, and the one that draws least, are planned at lower limits too; where
//! a set keeps to the cap at one limit and not at the next, the share at which it just does is found by
//! halving.
//!
//! # Paper
//! None; the limits are those of `nvidia-smi --power-limit`.
//!
//! # Guarantee
//! Heuristic: the best of what was tried. It is never worse than the best set with boards as they are that
//! keeps to the cap, and what draws least at a limit that was tried is among them.
//!
//! # Complexity
//! A plan of each set, and of [`MOST_LIMITED`] sets one at each limit and [`HALVINGS`] more.
//!
//! # Limits
//! Of each set and limit it sees the one plan that the other search returns.
//!
//! # Example
//! Two sets that take 1 s at 600 W and 2 s at 300 W under a cap of 400 W: the first at half of what its
//! boards may draw, if it takes less than 2 s then.

use std::cmp::Ordering;

/// Sets that are tried at lower limits, beside the one that draws least.
pub const MOST_LIMITED: usize = 6;
/// How often the share is halved at which a cap is just kept.
pub const HALVINGS: usize = 4;

/// What a plan is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// What is to be least: joules, a price or seconds of a token.
    pub value: f64,
    /// Watts at the wall that it draws at most.
    pub most_w: f64,
}

/// What can be tried.
#[derive(Clone, Copy, Debug)]
pub struct Space<'s> {
    /// Sets of devices, all of them first.
    pub n_sets: usize,
    /// Shares of what boards may draw, 1 first, falling.
    pub limits: &'s [f64],
    /// Watts at the wall that a plan must keep to.
    pub cap: Option<f64>,
    /// So many times what a board draws at its least limit it draws without.
    pub reach: f64,
}

impl Space<'_> {
    fn keeps(&self, figures: Figures) -> bool {
        self.cap.is_none_or(|cap| figures.most_w <= cap)
    }
}

/// Why a set has no plan.
#[derive(Clone, Debug)]
pub enum Nothing<E> {
    /// The question is wrong for every set.
    Refused(E),
    /// There is none, which is proved.
    Proved(E),
    /// It was not found, or not looked for: time was over.
    Unknown(Option<E>),
}

/// Plans a set of devices, by another search.
pub trait Plans {
    /// A plan.
    type Plan;
    /// Why there is none.
    type Error;

    /// A plan of a set with boards held to a share, within one of `n_left + 1` parts of the time that is left.
    ///
    /// # Errors
    /// Why there is none.
    fn plan(
        &mut self,
        set: usize,
        limit: f64,
        n_left: usize,
    ) -> Result<(Self::Plan, Figures), Nothing<Self::Error>>;

    /// The least share that boards of a set can be held to, where it is known in time.
    fn least_limit(&mut self, set: usize) -> Option<f64>;
}

/// A plan that was tried.
#[derive(Clone, Debug)]
pub struct Tried<P> {
    /// The set.
    pub set: usize,
    /// The share that boards were held to.
    pub limit: f64,
    /// The plan.
    pub plan: P,
    /// What it is worth.
    pub figures: Figures,
}

/// All that was tried.
pub struct Found<P, E> {
    /// Plans.
    pub tried: Vec<Tried<P>>,
    /// Sets without a plan, and why.
    pub without: Vec<(usize, Nothing<E>)>,
}

/// Tries sets and limits.
///
/// # Errors
/// What the other search refuses for all sets.
pub fn search<J: Plans>(
    space: &Space<'_>,
    plans: &mut J,
) -> Result<Found<J::Plan, J::Error>, J::Error> {
    let mut found = Found { tried: Vec::new(), without: Vec::new() };
    let n_limited = (space.limits.len() - 1) * space.n_sets.min(MOST_LIMITED + 1);
    let all: Vec<usize> = (0..space.n_sets).collect();
    let n_left = |at| space.n_sets - at + n_limited;
    on_each(&all, &n_left, &mut found, plans)?;
    let is_unknown = |entry: &(usize, Nothing<J::Error>)| matches!(entry.1, Nothing::Unknown(_));
    if found.tried.is_empty() && found.without.iter().any(is_unknown) {
        // Shares of the time were too short for a first plan: half of what is left may do.
        let again: Vec<usize> =
            found.without.iter().filter(|entry| is_unknown(entry)).map(|entry| entry.0).collect();
        found.without.retain(|entry| !is_unknown(entry));
        on_each(&again, &|_| 1, &mut found, plans)?;
    }
    let best = promising(space, &found.tried);
    let mut left = best.len() * (space.limits.len() - 1);
    for (set, limit) in
        best.iter().flat_map(|set| space.limits[1..].iter().map(|limit| (*set, *limit)))
    {
        found.tried.extend(tried(plans, set, limit, left));
        left -= 1;
    }
    if space.limits.len() > 1 && space.cap.is_some() {
        for set in best {
            near_cap(space, set, &mut found.tried, plans);
        }
    }
    Ok(found)
}

fn tried<J: Plans>(plans: &mut J, set: usize, limit: f64, n_left: usize) -> Option<Tried<J::Plan>> {
    let (plan, figures) = plans.plan(set, limit, n_left).ok()?;
    Some(Tried { set, limit, plan, figures })
}

/// Plans each set with boards as they are.
fn on_each<J: Plans>(
    sets: &[usize],
    n_left: &dyn Fn(usize) -> usize,
    found: &mut Found<J::Plan, J::Error>,
    plans: &mut J,
) -> Result<(), J::Error> {
    for (at, set) in sets.iter().enumerate() {
        match plans.plan(*set, 1.0, n_left(at)) {
            Ok((plan, figures)) => {
                found.tried.push(Tried { set: *set, limit: 1.0, plan, figures });
            }
            Err(Nothing::Refused(error)) if *set == 0 => return Err(error),
            Err(why) => found.without.push((*set, why)),
        }
    }
    Ok(())
}

/// Sets whose plans are best as they are, or near to the cap or under it.
fn promising<P>(space: &Space<'_>, all: &[Tried<P>]) -> Vec<usize> {
    let mut order: Vec<&Tried<P>> = all.iter().collect();
    let over =
        |tried: &Tried<P>| space.cap.map_or(1.0, |cap| (tried.figures.most_w / cap).max(1.0));
    // What draws too much at the least limit comes last, but what draws least is always looked at.
    let key = |tried: &Tried<P>| (over(tried) > space.reach, tried.figures.value * over(tried));
    order.sort_by(|a, b| {
        let (a, b) = (key(a), key(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    });
    let least = all.iter().min_by(|a, b| a.figures.most_w.total_cmp(&b.figures.most_w));
    let best = order.iter().take(MOST_LIMITED).copied();
    let mut sets: Vec<usize> = Vec::new();
    for tried in least.filter(|_| space.cap.is_some()).into_iter().chain(best) {
        if !sets.contains(&tried.set) {
            sets.push(tried.set);
        }
    }
    sets
}

/// Tries limits between the highest that keeps to the cap and the lowest that does not.
fn near_cap<J: Plans>(space: &Space<'_>, set: usize, all: &mut Vec<Tried<J::Plan>>, plans: &mut J) {
    let of_set = || all.iter().filter(|tried| tried.set == set);
    let under = of_set().filter(|tried| space.keeps(tried.figures)).map(|tried| tried.limit);
    let over = of_set().filter(|tried| !space.keeps(tried.figures)).map(|tried| tried.limit);
    let (mut low, mut high) = (under.fold(0.0, f64::max), over.fold(1.0, f64::min));
    if low <= 0.0 {
        // Lower limits than the usual ones where all of these are too much.
        let Some(least) = plans.least_limit(set) else { return };
        let more = tried(plans, set, least, HALVINGS + 1);
        if more.as_ref().is_some_and(|tried| space.keeps(tried.figures)) {
            low = least;
        }
        all.extend(more);
    }
    if low <= 0.0 || low >= high {
        return;
    }
    for _ in 0..HALVINGS {
        // Nobody sets a limit more finely.
        let middle = ((low + high) / 2.0 * 1e4).round() / 1e4;
        let more = tried(plans, set, middle, HALVINGS);
        if more.as_ref().is_some_and(|tried| space.keeps(tried.figures)) {
            low = middle;
        } else {
            high = middle;
        }
        all.extend(more);
    }
}

/// The best plan that keeps to the cap, by its value, then by another figure of it.
pub fn best<'t, P>(
    space: &Space<'_>,
    all: &'t [Tried<P>],
    then: impl Fn(&P) -> f64,
) -> Option<&'t Tried<P>> {
    let key = |tried: &Tried<P>| [tried.figures.value, then(&tried.plan), tried.figures.most_w];
    let by_value =
        |a: &&Tried<P>, b: &&Tried<P>| key(a).partial_cmp(&key(b)).unwrap_or(Ordering::Equal);
    all.iter().filter(|tried| space.keeps(tried.figures)).min_by(by_value)
}
