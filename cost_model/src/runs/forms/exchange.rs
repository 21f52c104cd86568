//! Tokens on their way to experts of other ranks and back.
//!
//! Of `n` ranks on `m` hosts each has `T` tokens of `B` bytes, each of which visits `k` experts. A
//! token that goes once to each of `x` places reaches `R(x) = x (1 - (1 - 1/x)^k)` of them on average.
//!
//! ```text
//! all-to-all   a + max(T k B (n_here - 1) / n at the links' rate, T k B (n - n_here) / n at the card's share)
//! flex         a + max(T R(n) B at the links' rate, T R(m) (m - 1) / m B at the card's share)
//! all-gather   with the scatter of what they add up to, an all-reduce of n T B bytes
//! ```
//!
//! An all-to-all that was measured for a group takes the time of its table, each way; that of a flex
//! dispatcher, whose kernels are others, does not.
//!
//! The links inside reach a share of their rate ([`generation`]), a card that of [`card_share`]: both
//! from `expert_exchange.csv` (aiconfigurator 0.12.0: DeepEP's kernels, on H100 over up to 8 hosts);
//! of the all-to-all from `collectives.csv`.

use ir::measured::CollectiveOperation;
use ir::stack::Dispatcher;

use super::rank_groups::Spread;
use super::system::System;
use crate::kernels::generation::{Exchange, generation};
use crate::streams::groups::Groups;

/// Seconds before the first byte of a dispatch or a combine (35 to 63 us in the tables).
const START_UP_S: f64 = 60e-6;
/// Bytes per second through a card of 400 Gb/s as achieved (`links.csv`, ib_ndr_400), of which
/// exchanges over 2, 4 and 8 hosts reach so many; of 8 hosts the transmission alone.
const NDR: f64 = 45e9;
const REACHED: [f64; 3] = [40e9, 45e9, 34e9];

/// Tokens of one rank that visit experts; of the busiest one those that visit it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tokens {
    /// How many.
    pub count: f64,
    /// Bytes of one.
    pub bytes: f64,
    /// Experts that each visits.
    pub visits: f64,
}

const ALL_TO_ALL: CollectiveOperation = CollectiveOperation::AllToAll;

/// Places that a token reaches of so many.
fn reached(places: u64, visits: f64) -> f64 {
    let n = places.max(1) as f64;
    n * (1.0 - (1.0 - 1.0 / n).powf(visits))
}

/// Share of a card's rate in exchanges over so many hosts.
fn card_share(hosts: u64) -> f64 {
    let at = (hosts.max(2) as f64).log2().min(3.0) - 1.0;
    let low = (at as usize).min(REACHED.len() - 2);
    let rate = REACHED[low] + (at - low as f64) * (REACHED[low + 1] - REACHED[low]);
    rate / NDR
}

impl System {
    /// Seconds before the first byte, and of each byte of all visits, on their way from the first devices to
    /// the next ones, of which the busiest has a share of them; and as long back.
    #[must_use]
    pub fn between_s(&self, [from, to]: Groups, load: f64, network_factor: f64) -> [f64; 2] {
        let (from, to) = (u64::from(from.max(1)), u64::from(to.max(1)));
        let per_host = self.per_host.max(1);
        // Devices of a host from one position to another.
        let of_host = |host: u64, first: u64, end: u64| {
            let (start, last) = (host * per_host, (host + 1) * per_host);
            last.min(end).saturating_sub(start.max(first))
        };
        let (mut here, mut there) = (0.0_f64, 0.0_f64);
        for host in 0..(from + to).div_ceil(per_host) {
            let senders = of_host(host, 0, from) as f64;
            let receivers = of_host(host, from, from + to) as f64;
            let mut at = |n_here: f64, each: f64, others: f64| {
                if n_here > 0.0 {
                    here = here.max(each * others);
                    there = there.max(each * (1.0 - others));
                }
            };
            at(senders, 1.0 / from as f64, receivers / to as f64);
            at(receivers, load, senders / from as f64);
        }
        let card = self.network_of(1, network_factor);
        let share = generation(self.device.chip).exchange.all_to_all;
        let there_s = if there > 0.0 { there / card.rate.get() } else { 0.0 };
        // Both kinds of links carry at the same time.
        let started = |used: f64, start_up_s: f64| if used > 0.0 { start_up_s } else { 0.0 };
        let start_up_s = started(there, card.start_up_s).max(started(here, self.inside.start_up_s));
        [start_up_s, (here / self.inside_of(share).rate.get()).max(there_s)]
    }

    /// Seconds in which every rank of a group sends its tokens to experts of all ranks and has them
    /// back.
    #[must_use]
    pub fn visits_s(
        &self,
        group: Spread,
        tokens: Tokens,
        dispatcher: Dispatcher,
        network_factor: f64,
    ) -> f64 {
        if group.ranks <= 1 {
            return 0.0;
        }
        let part = tokens.count * tokens.visits * tokens.bytes;
        let is_flex = dispatcher == Dispatcher::Flex;
        let measured = self.measured_s(ALL_TO_ALL, group, part, network_factor);
        if let Some(seconds) = measured.filter(|_| !is_flex) {
            return 2.0 * seconds;
        }
        let card = self.network_over(group.hosts, 1, network_factor);
        let Exchange { dispatch, combine, all_to_all } = generation(self.device.chip).exchange;
        let seconds = |bytes: f64, rate: f64| if bytes > 0.0 { bytes / rate } else { 0.0 };
        let inside = |bytes: f64, share: f64| seconds(bytes, self.inside_of(share).rate.get());
        match dispatcher {
            Dispatcher::AllToAll | Dispatcher::Padded => {
                let part = part / group.ranks as f64;
                let here_s = inside(part * (group.most - 1) as f64, all_to_all);
                let there_s = seconds(part * (group.ranks - group.least) as f64, card.rate.get());
                let start_up_s = match group.leaves_host() {
                    true => card.start_up_s,
                    false => self.inside.start_up_s,
                };
                2.0 * (start_up_s + here_s.max(there_s))
            }
            Dispatcher::AllGather => {
                let bytes = tokens.count * tokens.bytes * group.ranks as f64;
                self.all_reduce_s(group, bytes, network_factor)
            }
            Dispatcher::Flex => {
                let bytes = tokens.count * tokens.bytes;
                let here = bytes * reached(group.ranks, tokens.visits);
                let others = (group.hosts - 1) as f64 / group.hosts as f64;
                let there = bytes * reached(group.hosts, tokens.visits) * others;
                // What is stated by hosts holds its own share.
                let share = match self.by_hosts.is_empty() {
                    true => card_share(group.hosts),
                    false => 1.0,
                };
                let there_s = seconds(there, card.rate.get() * share);
                let one_s = |share| START_UP_S + inside(here, share).max(there_s);
                one_s(dispatch) + one_s(combine)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::system::tests::a100;
    use super::*;
    use crate::links::collective::table::Table;

    const TOKENS: Tokens = Tokens { count: 1e5, bytes: 1e4, visits: 2.0 };

    fn near(value: f64, wanted: f64) {
        assert!((value / wanted - 1.0).abs() < 1e-9, "{value} is not {wanted}");
    }

    fn all_to_all(system: &System, group: Spread) -> f64 {
        system.visits_s(group, TOKENS, Dispatcher::AllToAll, 1.0)
    }

    #[test]
    fn all_to_alls_by_hand() {
        let mut system = a100();
        // Two hosts, four ranks of the group in each: half of what a device sends leaves its host.
        let group = Spread { ranks: 8, hosts: 2, most: 4, least: 4 };
        near(all_to_all(&system, group), 2.0 * (5e-6 + 1e9 / 25e9));
        let inside = 228e9 * 330.0 / 445.0;
        near(all_to_all(&system, Spread::inside(4)), 2.0 * (20e-6 + 1.5e9 / inside));
        system.per_card = 8;
        near(all_to_all(&system, group), 2.0 * (5e-6 + 1e9 * 8.0 / 25e9));
        assert_eq!(all_to_all(&system, Spread::inside(1)), 0.0);
    }

    #[test]
    fn a_measured_all_to_all_stands_in_for_the_form_but_of_flex_kernels() {
        let mut system = a100();
        let group = Spread { ranks: 8, hosts: 2, most: 4, least: 4 };
        let flex = |system: &System| system.visits_s(group, TOKENS, Dispatcher::Flex, 1.0);
        let before = flex(&system);
        // Each rank sends 2e9 bytes: twice as much as the greatest size takes twice as long.
        let table = Table::new([(500_000_000, 0.05), (1_000_000_000, 0.1)]);
        system.measured.insert((ALL_TO_ALL, 8, 4), table);
        near(all_to_all(&system, group), 2.0 * 0.2);
        near(system.visits_s(group, TOKENS, Dispatcher::AllToAll, 0.5), 2.0 * 0.4);
        near(flex(&system), before);
        // A group that lies otherwise on its hosts was not measured.
        let inside = 228e9 * 330.0 / 445.0;
        near(all_to_all(&system, Spread::inside(8)), 2.0 * (20e-6 + 1.75e9 / inside));
    }

    #[test]
    fn visits_between_two_groups_by_hand() {
        let mut system = a100();
        let inside = 228e9 * 330.0 / 445.0;
        let by = |system: &System, groups, load| system.between_s(groups, load, 1.0);
        // One host: the busier end says how long it takes.
        let [start_up_s, each_s] = by(&system, [2, 6], 1.0 / 6.0);
        assert_eq!(start_up_s, 20e-6);
        near(each_s, 0.5 / inside);
        near(by(&system, [6, 2], 0.7)[1], 0.7 / inside);
        // Of four hosts two with experts alone, and one with both: those get five sixths from elsewhere.
        system.per_host = 4;
        let [start_up_s, each_s] = by(&system, [6, 10], 0.1);
        // What stays in a host of both takes as long to start as there.
        assert_eq!(start_up_s, 20e-6);
        // A device of attention in the first host sends all that it has, a sixth, through its card.
        near(each_s, (1.0 / 6.0) / 25e9);
        near(by(&system, [6, 10], 0.3)[1], 0.3 / 25e9);
    }

    #[test]
    fn a_token_crosses_once_for_each_host() {
        let system = a100();
        let flex = |group| system.visits_s(group, TOKENS, Dispatcher::Flex, 1.0);
        // Both experts of a token lie on one of two ranks with even chance: 1.5 ranks.
        let each = |share: f64| 60e-6 + 1.5e9 / (228e9 * share / 445.0);
        near(flex(Spread::inside(2)), each(388.0) + each(329.0));
        // Over two hosts 1.5 of them, half of which is the other one.
        let group = Spread { ranks: 16, hosts: 2, most: 8, least: 8 };
        near(flex(group), 2.0 * (60e-6 + 0.75e9 / (25e9 * 40.0 / 45.0)));
        assert!(flex(group) < all_to_all(&system, group));
        // A gather sends all tokens to each of three others and a scatter as much back.
        let gathered = system.visits_s(Spread::inside(4), TOKENS, Dispatcher::AllGather, 1.0);
        let bytes_s = 2.0 * 3.0 * 1e9 / 228e9;
        assert!((bytes_s..1.02 * bytes_s).contains(&gathered), "{gathered} {bytes_s}");
        near(card_share(4), 1.0);
        near(card_share(64), 34.0 / 45.0);
    }
}
