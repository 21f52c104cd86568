//! Policies by hand and by enumeration.

use std::collections::{BTreeMap, BTreeSet};

use super::time::{Links, OverLink};
use super::{Fetched, Needs, Policy, Start, run};

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
    let mut own = Needs::new(n_experts);
    steps.iter().for_each(|step| own.push(step.iter().copied()));
    own
}

fn drawn(random: &mut Random, n_experts: u64, n_steps: u64, most: u64) -> Needs {
    let mut own = Needs::new(n_experts as u16);
    for _ in 0..n_steps {
        let n = 1 + random.below(most);
        let step: BTreeSet<u16> = (0..n).map(|_| random.below(n_experts) as u16).collect();
        own.push(step);
    }
    own
}

fn missed(needs: &Needs, slots: (usize, Start), policy: Policy) -> u64 {
    run(needs, slots, policy, &|_| true, &mut || 1.0).missed()
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
    for step in needs.steps() {
        let needed: u32 = step.iter().map(|expert| 1 << expert).sum();
        let mut after: BTreeMap<u32, u64> = BTreeMap::new();
        for (held, n_missed) in &least {
            let n_missed = n_missed + size(needed & !held) as u64;
            let is_legal = |set: &u32| match size(needed) <= slots {
                true => set & needed == needed && set & !(held | needed) == 0,
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
    let own = needs(4, &[&[0], &[1], &[0], &[2], &[1], &[0]]);
    let by_hand = |policy, held: [u16; 6]| {
        let found = run(&own, (2, Start::Empty), policy, &|_| true, &mut || 1.0).fetched;
        assert_eq!(found.iter().map(|step| step.missed).collect::<Vec<_>>(), held, "{policy:?}");
    };
    by_hand(Policy::LeastRecent, [1, 1, 0, 1, 1, 1]);
    // 1 and 2 were used once, 1 longer ago; then 2 is lost for 1, and 0 is still there.
    by_hand(Policy::LeastFrequent, [1, 1, 0, 1, 1, 0]);
    by_hand(DEMAND, [1, 1, 0, 1, 0, 1]);
    let found = run(&own, (2, Start::Empty), AHEAD, &|_| true, &mut || 1.0).fetched;
    assert!(found.iter().all(|step| step.missed == 0));
    assert_eq!(found.iter().map(|step| step.ahead).collect::<Vec<_>>(), [1, 1, 0, 1, 0, 1]);
    let full = run(&own, (2, Start::Full), DEMAND, &|_| true, &mut || 1.0);
    assert_eq!((full.resident.as_slice(), full.missed()), (&[0, 1][..], 2));
    let most = run(&own, (1, Start::Full), Policy::LeastRecent, &|_| true, &mut || 1.0);
    assert_eq!(most.resident, [0]);
}

#[test]
fn waves_keep_what_the_policy_likes() {
    let own = needs(4, &[&[0, 1, 2, 3], &[3], &[1, 2]]);
    let found = run(&own, (2, Start::Empty), DEMAND, &|_| true, &mut || 1.0).fetched;
    assert_eq!(found.iter().map(|step| step.missed).collect::<Vec<_>>(), [4, 0, 1]);
    // Two of the four are there when the layer begins.
    let found = run(&own, (2, Start::Empty), AHEAD, &|_| true, &mut || 1.0).fetched;
    assert_eq!(found[0], Fetched { ahead: 2, missed: 2 });
    assert_eq!(found.iter().map(|step| step.missed).sum::<u16>(), 2);
}

#[test]
fn clairvoyance_is_the_enumeration_and_never_worse_than_any_policy() {
    let mut random = Random(1);
    for turn in 0..600 {
        let n_experts = 3 + random.below(3);
        let own = drawn(&mut random, n_experts, 7, n_experts);
        let slots = 1 + random.below(n_experts) as usize;
        for start in [Start::Empty, Start::Full] {
            let best = missed(&own, (slots, start), DEMAND);
            assert_eq!(best, fewest(&own, slots, start), "{turn} {own:?} {slots} {start:?}");
            for policy in [Policy::LeastRecent, Policy::LeastFrequent] {
                assert!(best <= missed(&own, (slots, start), policy), "{turn}");
            }
        }
    }
}

#[test]
fn clairvoyance_is_never_worse_on_long_traces() {
    let mut random = Random(2);
    for turn in 0..200 {
        let own = drawn(&mut random, 32, 200, 12);
        let slots = 1 + random.below(32) as usize;
        let start = if turn % 2 == 0 { Start::Empty } else { Start::Full };
        let all = [DEMAND, AHEAD].map(|policy| missed(&own, (slots, start), policy));
        for policy in [Policy::LeastRecent, Policy::LeastFrequent] {
            let other = missed(&own, (slots, start), policy);
            assert!(all.iter().all(|best| *best <= other), "{turn}: {all:?} and {other}");
        }
        // What is fetched ahead of every step that fits is all there; the same goes over the link.
        let found = run(&own, (slots, start), AHEAD, &|_| true, &mut || 1.0).fetched;
        let sent: u64 = found.iter().map(|step| u64::from(step.ahead + step.missed)).sum();
        for (step, found) in own.steps().zip(&found) {
            assert_eq!(usize::from(found.missed), step.len().saturating_sub(slots), "{turn}");
        }
        assert_eq!(sent, all[0], "{turn}");
    }
}

/// Steps whose experts stay in favour for a while: each step keeps some of the last one's, and draws the
/// others, low numbers more often.
fn routed(random: &mut Random, n_steps: u64) -> Needs {
    let n_experts = 8 + random.below(25);
    let (most, kept) = (1 + random.below(n_experts / 2), random.below(8));
    let mut own = Needs::new(n_experts as u16);
    let mut last: BTreeSet<u16> = BTreeSet::new();
    for _ in 0..n_steps {
        last.retain(|_| random.below(10) < kept);
        while (last.len() as u64) < most {
            let drawn = random.below(n_experts).min(random.below(n_experts));
            last.insert(drawn as u16);
        }
        own.push(last.iter().copied());
    }
    own
}

/// `exp` of a number with so much deviation, as twelve draws make it.
fn mistaken(random: &mut Random, deviation: f64) -> f64 {
    let sum: f64 = (0..12).map(|_| random.below(1 << 20) as f64 / f64::from(1 << 20)).sum();
    ((sum - 6.0) * deviation).exp()
}

#[test]
fn predictions_lose_by_their_mistakes_and_are_no_worse_than_to_have_none() {
    let mut random = Random(3);
    const NOISES: [f64; 6] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5];
    let mut means = [[0.0; NOISES.len()]; 2];
    let (mut worse, mut least) = (0, 0.0);
    for turn in 0..1000 {
        let own = routed(&mut random, 150);
        let slots = 1 + random.below(own.n_experts() as u64) as usize;
        let lru = missed(&own, (slots, Start::Empty), Policy::LeastRecent);
        least += 1.0 - lru as f64 / own.n_needed() as f64;
        for (at, policy) in [DEMAND, AHEAD].into_iter().enumerate() {
            let mut late = Random(turn);
            let mut drawn = |noise| {
                run(&own, (slots, Start::Empty), policy, &|_| true, &mut || {
                    mistaken(&mut late, noise)
                })
                .missed()
            };
            for (mean, noise) in means[at].iter_mut().zip(NOISES) {
                let missed = drawn(noise);
                // With nearly all experts in slots, one late guess may cost a miss.
                assert!(missed <= lru + 1, "{turn}: {missed} and {lru} at {noise}");
                worse += u32::from(missed > lru);
                *mean += 1.0 - missed as f64 / own.n_needed() as f64;
            }
            assert_eq!(drawn(0.0), missed(&own, (slots, Start::Empty), policy));
        }
    }
    assert!(worse <= 12, "{worse} of 12,000");
    for own in means {
        assert!(own.is_sorted_by(|a, b| a > b) && own.iter().all(|own| *own > least), "{means:?}");
    }
}

#[test]
fn parts_of_a_layer_are_steps_of_their_own() {
    let own = needs(4, &[&[0, 3], &[1], &[2, 3]]);
    let odd = own.of(|expert| expert % 2 == 1);
    assert_eq!(odd, needs(4, &[&[3], &[1], &[3]]));
    assert_eq!((odd.n_steps(), odd.n_needed(), odd.counts()), (3, 3, vec![0, 1, 0, 2]));
    assert_eq!(own.firsts(), [0, 1, 2, 0]);
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
