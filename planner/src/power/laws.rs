//! Laws of the search over sets and limits, on devices whose time rises as their boards are limited.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::board_limits::{Figures, Nothing, Plans, Space, best, search};

const LIMITS: [f64; 4] = [1.0, 0.8, 0.6, 0.4];

/// Sets that take `seconds` at full power, and `seconds / limit^slope` at a share of it.
struct Machines {
    sets: Vec<(f64, f64, f64)>,
    least: f64,
    /// Plans that time allows.
    left: usize,
}

impl Machines {
    fn figures(&self, set: usize, limit: f64) -> Figures {
        let (seconds, watts, slope) = self.sets[set];
        Figures { value: seconds / limit.powf(slope), most_w: watts * limit }
    }
}

impl Plans for Machines {
    type Plan = ();
    type Error = &'static str;

    fn plan(
        &mut self,
        set: usize,
        limit: f64,
        _: usize,
    ) -> Result<((), Figures), Nothing<&'static str>> {
        self.left = self.left.checked_sub(1).ok_or(Nothing::Unknown(None))?;
        match self.sets[set].0.is_finite() {
            true => Ok(((), self.figures(set, limit))),
            false => Err(Nothing::Proved("does not fit")),
        }
    }

    fn least_limit(&mut self, _: usize) -> Option<f64> {
        Some(self.least)
    }
}

fn drawn(random: &mut SmallRng) -> Machines {
    let set = |random: &mut SmallRng| {
        let fits = random.random_bool(0.9);
        let seconds = if fits { random.random_range(1.0..4.0) } else { f64::INFINITY };
        (seconds, random.random_range(100.0..1000.0), random.random_range(0.2..1.0))
    };
    let n = random.random_range(1..=12);
    Machines { sets: (0..n).map(|_| set(random)).collect(), least: 0.2, left: usize::MAX }
}

/// The best of all sets and so many shares that keep to a cap.
fn enumerated(machines: &Machines, cap: Option<f64>, limits: &[f64]) -> Option<f64> {
    let all =
        (0..machines.sets.len()).flat_map(|set| limits.iter().map(move |limit| (set, *limit)));
    let figures = all.map(|(set, limit)| machines.figures(set, limit));
    let within =
        figures.filter(|each| each.value.is_finite() && cap.is_none_or(|cap| each.most_w <= cap));
    within.map(|each| each.value).min_by(f64::total_cmp)
}

#[test]
fn it_is_never_worse_than_whole_boards_and_never_better_than_all_shares() {
    let fine: Vec<f64> = (2000..=10_000).map(|share| f64::from(share) / 1e4).collect();
    for seed in 0..400 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut machines = drawn(&mut random);
        let cap = random.random_bool(0.7).then(|| random.random_range(50.0..1000.0));
        let space = Space { n_sets: machines.sets.len(), limits: &LIMITS, cap, reach: 5.0 };
        let found = search(&space, &mut machines).unwrap();
        let figures = best(&space, &found.tried, |()| 0.0).map(|tried| tried.figures);
        assert!(
            figures.is_none_or(|figures| cap.is_none_or(|cap| figures.most_w <= cap)),
            "{seed}"
        );
        let whole = enumerated(&machines, cap, &[1.0]);
        if let Some(whole) = whole {
            assert!(
                figures.is_some_and(|figures| figures.value <= whole),
                "{seed}: {figures:?}, {whole}"
            );
        }
        // Shares are tried to four digits.
        let least = enumerated(&machines, cap, &fine);
        assert!(figures.is_none() || least.is_some(), "{seed}: {figures:?}");
        if let (Some(figures), Some(least)) = (figures, least) {
            assert!(figures.value >= least * (1.0 - 1e-12), "{seed}: {figures:?} {least}");
        }
        let unfit = machines.sets.iter().filter(|set| set.0.is_infinite()).count();
        assert_eq!(found.without.len(), unfit, "{seed}");
    }
}

#[test]
fn a_cap_that_a_set_just_keeps_is_found_within_a_percent() {
    // By hand: 600 W at full power keep to 500 W at 5/6 of it, in 6/5 of the time.
    let mut machines = Machines { sets: vec![(1.0, 600.0, 1.0)], least: 0.2, left: usize::MAX };
    let space = Space { n_sets: 1, limits: &LIMITS, cap: Some(500.0), reach: 5.0 };
    let found = search(&space, &mut machines).unwrap();
    let limited = best(&space, &found.tried, |()| 0.0).unwrap();
    assert!((limited.figures.value / 1.2 - 1.0).abs() < 0.02, "{limited:?}");
    // One watt less than the least limit draws is kept by nothing.
    let space = Space { cap: Some(119.0), ..space };
    let found = search(&space, &mut machines).unwrap();
    assert!(best(&space, &found.tried, |()| 0.0).is_none());
}

#[test]
fn sets_that_were_late_are_tried_once_more_before_nothing_is_said() {
    struct Slow(usize);
    impl Plans for Slow {
        type Plan = ();
        type Error = &'static str;
        fn plan(
            &mut self,
            _: usize,
            _: f64,
            _: usize,
        ) -> Result<((), Figures), Nothing<&'static str>> {
            self.0 += 1;
            match self.0 {
                0..=3 => Err(Nothing::Unknown(None)),
                _ => Ok(((), Figures { value: 1.0, most_w: 1.0 })),
            }
        }
        fn least_limit(&mut self, _: usize) -> Option<f64> {
            None
        }
    }
    let space = Space { n_sets: 3, limits: &LIMITS[..1], cap: None, reach: 5.0 };
    let mut slow = Slow(0);
    let found = search(&space, &mut slow).unwrap();
    assert_eq!((found.tried.len(), found.without.len(), slow.0), (3, 0, 6));
}
