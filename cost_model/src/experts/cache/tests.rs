//! Policies by hand and by enumeration.

use std::collections::{BTreeMap, BTreeSet};

use super::time::{Links, OverLink};
use super::{Fetched, Fetches, Mistakes, Needs, NextUses, Outcome, Policy, Start};

/// Numbers that look random, the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn needs(n_experts: u16, steps: &[&[u16]]) -> Needs {
    let mut needs = Needs::new(n_experts);
    steps.iter().for_each(|step| needs.push(step));
    needs
}

fn drawn(random: &mut Random, n_experts: u64, n_steps: u64, most: u64) -> Needs {
    let mut needs = Needs::new(n_experts as u16);
    for _ in 0..n_steps {
        let n = 1 + random.below(most);
        let step: BTreeSet<u16> = (0..n).map(|_| random.below(n_experts) as u16).collect();
        needs.push(&step.into_iter().collect::<Vec<_>>());
    }
    needs
}

fn run(needs: &Needs, slots: (usize, Start), policy: Policy) -> Outcome {
    let exact = Mistakes { deviation: 0.0, draw: &mut || 1.0 };
    super::run(needs, slots, policy, &|_| true, exact)
}

fn missed(needs: &Needs, slots: (usize, Start), policy: Policy) -> u64 {
    run(needs, slots, policy).fetched.missed()
}

fn by_step(needs: &Needs, slots: (usize, Start), policy: Policy) -> Vec<Fetched> {
    let fetched = run(needs, slots, policy).fetched;
    let all: Vec<Fetched> = fetched.iter().collect();
    let sum = |of: fn(&Fetched) -> u16| all.iter().map(|step| u64::from(of(step))).sum::<u64>();
    assert_eq!(
        (sum(|step| step.missed), sum(|step| step.ahead)),
        (fetched.missed(), fetched.ahead())
    );
    all
}

fn steps(needs: &Needs) -> Vec<Vec<u16>> {
    let mut all = Vec::new();
    needs.each(|_, step| all.push(step.to_vec()));
    all
}

const DEMAND: Policy = Policy::NextUse { prefetches: false };
const AHEAD: Policy = Policy::NextUse { prefetches: true };

/// Fewest misses over all that may lie in the slots after each step: what is needed, and others that
/// were there before; in waves as much of what is needed as fits.
fn fewest(needs: &Needs, slots: usize, start: Start) -> u64 {
    let n = needs.n_experts();
    let size = |set: u32| set.count_ones() as usize;
    let sets = || (0..1_u32 << n).filter(move |set| size(*set) <= slots);
    let mut least: BTreeMap<u32, u64> = match start {
        Start::Empty => BTreeMap::from([(0, 0)]),
        Start::Full => sets().map(|set| (set, 0)).collect(),
    };
    for step in &steps(needs) {
        let needed: u32 = step.iter().map(|expert| 1 << expert).sum();
        let mut after: BTreeMap<u32, u64> = BTreeMap::new();
        for (resident, n_missed) in &least {
            let n_missed = n_missed + size(needed & !resident) as u64;
            let is_legal = |set: &u32| match size(needed) <= slots {
                true => set & needed == needed && set & !(resident | needed) == 0,
                false => set & !needed == 0,
            };
            for set in sets().filter(is_legal) {
                let best = after.entry(set).or_insert(u64::MAX);
                *best = n_missed.min(*best);
            }
        }
        least = after;
    }
    least.into_values().min().unwrap_or_default()
}

#[test]
fn policies_lose_what_their_names_say() {
    // 0 1 2 0 3 0 in two slots: the second use of 0 finds it where it was used less long ago than 1.
    let needs = needs(4, &[&[0], &[1], &[0], &[2], &[1], &[0]]);
    let by_hand = |policy, expected: [u16; 6]| {
        let found = by_step(&needs, (2, Start::Empty), policy);
        assert_eq!(
            found.iter().map(|step| step.missed).collect::<Vec<_>>(),
            expected,
            "{policy:?}"
        );
    };
    by_hand(Policy::LeastRecent, [1, 1, 0, 1, 1, 1]);
    // 1 and 2 were used once, 1 longer ago; then 2 is lost for 1, and 0 is still there.
    by_hand(Policy::LeastFrequent, [1, 1, 0, 1, 1, 0]);
    by_hand(DEMAND, [1, 1, 0, 1, 0, 1]);
    let found = by_step(&needs, (2, Start::Empty), AHEAD);
    assert!(found.iter().all(|step| step.missed == 0));
    assert_eq!(found.iter().map(|step| step.ahead).collect::<Vec<_>>(), [1, 1, 0, 1, 0, 1]);
    let full = run(&needs, (2, Start::Full), DEMAND);
    assert_eq!((full.resident.as_slice(), full.fetched.missed()), (&[0, 1][..], 2));
    let most = run(&needs, (1, Start::Full), Policy::LeastRecent);
    assert_eq!(most.resident, [0]);
}

#[test]
fn waves_keep_what_the_policy_likes() {
    let needs = needs(4, &[&[0, 1, 2, 3], &[3], &[1, 2]]);
    let found = by_step(&needs, (2, Start::Empty), DEMAND);
    assert_eq!(found.iter().map(|step| step.missed).collect::<Vec<_>>(), [4, 0, 1]);
    // Two of the four are there when the layer begins.
    let found = by_step(&needs, (2, Start::Empty), AHEAD);
    assert_eq!(found[0], Fetched { ahead: 2, missed: 2 });
    assert_eq!(found.iter().map(|step| step.missed).sum::<u16>(), 2);
}

#[test]
fn clairvoyance_is_the_enumeration_and_never_worse_than_any_policy() {
    let mut random = Random(1);
    for turn in 0..600 {
        let n_experts = 3 + random.below(3);
        let needs = drawn(&mut random, n_experts, 7, n_experts);
        let slots = 1 + random.below(n_experts) as usize;
        for start in [Start::Empty, Start::Full] {
            let best = missed(&needs, (slots, start), DEMAND);
            assert_eq!(best, fewest(&needs, slots, start), "{turn} {needs:?} {slots} {start:?}");
            for policy in [Policy::LeastRecent, Policy::LeastFrequent] {
                assert!(best <= missed(&needs, (slots, start), policy), "{turn}");
            }
        }
    }
}

#[test]
fn clairvoyance_is_never_worse_on_long_traces() {
    let mut random = Random(2);
    for turn in 0..200 {
        let needs = drawn(&mut random, 32, 200, 12);
        let slots = 1 + random.below(32) as usize;
        let start = if turn % 2 == 0 { Start::Empty } else { Start::Full };
        let all = [DEMAND, AHEAD].map(|policy| missed(&needs, (slots, start), policy));
        for policy in [Policy::LeastRecent, Policy::LeastFrequent] {
            let other = missed(&needs, (slots, start), policy);
            assert!(all.iter().all(|best| *best <= other), "{turn}: {all:?} and {other}");
        }
        // What is fetched ahead of every step that fits is all there; the same goes over the link.
        let found = by_step(&needs, (slots, start), AHEAD);
        let sent: u64 = found.iter().map(|step| u64::from(step.ahead + step.missed)).sum();
        for (step, found) in steps(&needs).iter().zip(&found) {
            assert_eq!(usize::from(found.missed), step.len().saturating_sub(slots), "{turn}");
        }
        assert_eq!(sent, all[0], "{turn}");
    }
}

/// Steps whose experts stay in favour for a while: each step keeps some of the last one's, and draws the
/// others, low numbers more often.
fn routed(random: &mut Random, n_steps: u64) -> Needs {
    let n_experts = 8 + random.below(25);
    let (most, persistence) = (1 + random.below(n_experts / 2), random.below(8));
    let mut needs = Needs::new(n_experts as u16);
    let mut last: BTreeSet<u16> = BTreeSet::new();
    for _ in 0..n_steps {
        last.retain(|_| random.below(10) < persistence);
        while (last.len() as u64) < most {
            let drawn = random.below(n_experts).min(random.below(n_experts));
            last.insert(drawn as u16);
        }
        needs.push(&last.iter().copied().collect::<Vec<_>>());
    }
    needs
}

/// `exp` of a number with so much deviation, as twelve draws make it.
fn mistaken(random: &mut Random, deviation: f64) -> f64 {
    let sum: f64 = (0..12).map(|_| random.below(1 << 20) as f64 / f64::from(1 << 20)).sum();
    ((sum - 6.0) * deviation).exp()
}

const NOISES: [f64; 6] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5];

/// By deviation what mistaken predictions miss, never more than LRU or less than exact ones, and LRU.
fn by_noise(needs: &Needs, slots: (usize, Start), policy: Policy) -> ([u64; NOISES.len()], u64) {
    let lru = missed(needs, slots, Policy::LeastRecent);
    let best = missed(needs, slots, policy);
    let mut late = Random(needs.n_needed() as u64);
    let of = NOISES.map(|deviation| {
        let mistakes = Mistakes { deviation, draw: &mut || mistaken(&mut late, deviation) };
        let found = super::run(needs, slots, policy, &|_| true, mistakes).fetched.missed();
        assert!((best..=lru).contains(&found), "{slots:?} {policy:?} {deviation}: {found} {lru}");
        found
    });
    assert_eq!(of[0], best);
    (of, lru)
}

#[test]
fn predictions_lose_by_their_mistakes_and_are_no_worse_than_to_have_none() {
    let mut random = Random(3);
    for start in [Start::Empty, Start::Full] {
        for policy in [DEMAND, AHEAD] {
            let (mut means, mut least) = ([0.0; NOISES.len()], 0.0);
            for _ in 0..1000 {
                let needs = routed(&mut random, 150);
                let slots = 1 + random.below(needs.n_experts() as u64) as usize;
                let (of, lru) = by_noise(&needs, (slots, start), policy);
                let hits = |missed: u64| 1.0 - missed as f64 / needs.n_needed() as f64;
                means.iter_mut().zip(of).for_each(|(mean, n_missed)| *mean += hits(n_missed));
                least += hits(lru);
            }
            assert!(means.is_sorted_by(|a, b| a > b) && means[5] > least, "{means:?} {least}");
        }
    }
}

#[test]
fn predictions_are_no_worse_than_none_in_any_number_of_slots() {
    let mut random = Random(4);
    for _ in 0..40 {
        let needs = routed(&mut random, 150);
        for slots in 1..=needs.n_experts() {
            for start in [Start::Empty, Start::Full] {
                for policy in [DEMAND, AHEAD] {
                    let _ = by_noise(&needs, (slots, start), policy);
                }
            }
        }
    }
}

#[test]
fn steps_and_fetches_come_back_as_they_were_pushed() {
    let mut random = Random(5);
    for n_experts in [1, 9, 300, 65_535] {
        let mut needs = Needs::new(n_experts);
        let mut all: Vec<Vec<u16>> = Vec::new();
        for _ in 0..60_000 {
            let n = random.below(4);
            let step: BTreeSet<u16> =
                (0..n).map(|_| random.below(n_experts.into()) as u16).collect();
            all.push(step.into_iter().collect());
            needs.push(all.last().unwrap());
        }
        assert_eq!(steps(&needs), all);
        // The next uses, by looking ahead.
        let mut next = NextUses::of(&needs);
        let mut seen: BTreeMap<u16, u32> = BTreeMap::new();
        let mut behind: Vec<Vec<u32>> = Vec::new();
        for (number, step) in (0..60_000_u32).zip(&all).rev() {
            let of = |expert: &u16| seen.insert(*expert, number).unwrap_or(super::NEVER);
            behind.push(step.iter().map(of).collect());
        }
        for expected in behind.iter().rev().flatten() {
            assert_eq!(next.next(), *expected);
        }
        for (expert, first) in (0..=u16::MAX).zip(&next.first) {
            assert_eq!(*first, seen.get(&expert).copied().unwrap_or(super::NEVER));
        }
    }
    let mut fetches = Fetches::default();
    let numbers = [0, 0, 1, 14, 15, 16, 65_535, 0];
    let mut all = Vec::new();
    for _ in 0..500 {
        let mut drawn = || numbers[random.below(8) as usize];
        all.push(Fetched { ahead: drawn(), missed: drawn() });
        fetches.push(*all.last().unwrap());
    }
    assert_eq!(fetches.iter().collect::<Vec<_>>(), all);
}

#[test]
fn parts_of_a_layer_are_steps_of_their_own() {
    let whole = needs(4, &[&[0, 3], &[1], &[2, 3]]);
    let odd = whole.of(|expert| expert % 2 == 1);
    assert_eq!(odd, needs(4, &[&[3], &[1], &[3]]));
    assert_eq!((odd.n_steps(), odd.n_needed(), odd.counts()), (3, 3, vec![0, 1, 0, 2]));
    assert_eq!(NextUses::of(&whole).first, [0, 1, 2, 0]);
}

#[test]
fn idle_links_fetch_ahead() {
    let of = |ahead_s, missed_s| OverLink { ahead_s, missed_s };
    let mut links = Links::new(1);
    // Nothing was idle yet: 3 of 3 wait beside a second of compute.
    assert_eq!(links.exposed_s(1.0, &[of(3.0, 0.0)]), 2.0);
    // A second of four was used: three are left for the next layer, which a miss makes wait.
    assert_eq!(links.exposed_s(4.0, &[of(1.0, 0.0)]), 0.0);
    assert_eq!(links.exposed_s(1.0, &[of(2.0, 1.5)]), 0.5);
    // One idle second was left, none came.
    assert_eq!(links.exposed_s(1.0, &[of(2.5, 0.0)]), 0.5);
    // The slowest device decides, and the other one is idle meanwhile.
    let mut links = Links::new(2);
    assert_eq!(links.exposed_s(1.0, &[of(0.0, 4.0), of(0.0, 0.0)]), 3.0);
    assert_eq!(links.exposed_s(1.0, &[of(1.0, 0.0), of(5.0, 0.0)]), 0.0);
}

#[test]
fn steps_are_those_that_were_noted_in_a_byte_or_a_bit_for_each_need() {
    let mut random = Random(7);
    for n_experts in [1_u16, 2, 7, 8, 9, 64, 128, 1000, u16::MAX] {
        let mut needs = Needs::new(n_experts);
        let mut noted = Vec::new();
        for _ in 0..50 {
            let share = random.below(9);
            let mut step: Vec<u16> = (0..n_experts).filter(|_| random.below(8) < share).collect();
            if random.below(4) == 0 {
                step.reverse();
            }
            let before = needs.n_bytes();
            needs.push(&step);
            if step.is_sorted() {
                let most = step.len().min(usize::from(n_experts).div_ceil(8)) + 3;
                assert!(needs.n_bytes() - before <= 2 * most, "{n_experts}: {}", step.len());
            }
            noted.push(step);
        }
        assert_eq!(steps(&needs), noted, "{n_experts}");
    }
}
