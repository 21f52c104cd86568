//! The replay with exact contention: transfers that go through a network card at one moment share
//! it then.
//!
//! An event simulation on integers (`docs/conventions.md`, "Processor sharing"): what remains of a
//! transfer is counted in 2^-20 ns and shrinks at the rate 2^20 / k, rounded to nearest, where k is
//! the greater of the numbers of transfers, copies included, under way through the card at its
//! source and through the one at its destination. The start-up cost is not shared: a transfer
//! counts from its end on. Channels serve as in [`super::replay`].

use ir::units::Nanos;

use super::agenda::{Agenda, NEVER, instant, key, thing};
use super::lower::{Lowered, NO_PORT};
use super::replay::circle;
use super::timeline::{Timeline, UNKNOWN};
use super::violation::Violation;
use super::way::{LOCAL, NO_NIC, Way};
use crate::overlap::FULL_RATE;

/// Past this many nanoseconds, what remains of a transfer no longer fits 64 bits.
const LONGEST_TRANSFER: u64 = 1 << 43;
/// Sums of times stay below this.
const MOST: u128 = 1 << 62;

/// Times under exact contention.
pub(super) fn play(lowered: &Lowered<'_>) -> Result<Timeline, Violation> {
    range(lowered)?;
    Player::new(lowered).play()
}

fn range(lowered: &Lowered<'_>) -> Result<(), Violation> {
    let costs = lowered.costs;
    let copies = costs.nics.iter().map(|nic| u64::from(nic.n_copies.max(1))).max().unwrap_or(1);
    let slowest = copies.saturating_mul(costs.ranks.len() as u64).min(FULL_RATE);
    let m = u128::from(costs.n_micro_batches);
    let mut total = 0u128;
    for step in &lowered.steps {
        if step.way.duration >= LONGEST_TRANSFER {
            return Err(Violation::OutOfRange { unit: "nanoseconds" });
        }
        // Rounding the rate to nearest at most doubles the time at the least rate.
        let slowed = 2 * u128::from(step.way.duration) * u128::from(slowest);
        total += m * (u128::from(step.duration) + slowed);
    }
    if total > MOST { Err(Violation::OutOfRange { unit: "nanoseconds" }) } else { Ok(()) }
}

/// First and last of the ports that wait on one end of the channels or are under way.
#[derive(Clone, Copy, Debug, Default)]
struct Queue {
    first: u32,
    last: u32,
    is_busy: bool,
}

/// The transfer under way from one sending channel.
#[derive(Clone, Copy, Debug, Default)]
struct Active {
    port: u32,
    /// Bytes move, through a shared card.
    is_sharing: bool,
    /// In 2^-20 ns, at `since`.
    remaining: u64,
    rate: u64,
    since: u64,
    /// Position among the members of the card at the source, and at the destination.
    places: [u32; 2],
}

/// A card in one direction.
#[derive(Clone, Debug, Default)]
struct Card {
    n_copies: u64,
    /// Sending channels of the transfers under way.
    members: Vec<u32>,
}

impl Card {
    fn load(&self) -> u64 {
        self.members.len() as u64 * self.n_copies
    }
}

struct Player<'a> {
    lowered: &'a Lowered<'a>,
    timeline: Timeline,
    next: Vec<u32>,
    awaited: Vec<u32>,
    clock: Vec<u64>,
    sending: Vec<Queue>,
    receiving: Vec<Queue>,
    /// By port: the next in its sending queue, and in its receiving queue.
    behind: Vec<[u32; 2]>,
    /// By port: the step that made it.
    maker: Vec<u32>,
    /// By sending channel.
    active: Vec<Active>,
    /// Outward, then inward.
    cards: Vec<Card>,
    /// Ranks, then sending channels.
    agenda: Agenda,
    last: u64,
}

impl<'a> Player<'a> {
    fn new(lowered: &'a Lowered<'a>) -> Self {
        let n_ranks = lowered.costs.ranks.len();
        let n_channels = lowered.n_channels as usize;
        let n_ports = lowered.reader.len();
        let card = |nic: &super::costs::Nic| Card {
            n_copies: u64::from(nic.n_copies.max(1)),
            members: Vec::new(),
        };
        let nics = &lowered.costs.nics;
        Self {
            lowered,
            timeline: Timeline::new(lowered),
            next: lowered.row_start[..n_ranks].to_vec(),
            awaited: vec![NO_PORT; n_ranks],
            clock: vec![0; n_ranks],
            sending: vec![Queue::default(); n_channels],
            receiving: vec![Queue::default(); n_channels],
            behind: vec![[NO_PORT; 2]; n_ports],
            maker: vec![0; n_ports],
            active: vec![Active::default(); n_channels],
            cards: nics.iter().chain(nics).map(card).collect(),
            agenda: Agenda::new(n_ranks + n_channels),
            last: 0,
        }
    }

    fn play(mut self) -> Result<Timeline, Violation> {
        let n_ranks = self.clock.len();
        for rank in 0..n_ranks {
            self.advance(rank);
        }
        loop {
            let due = self.agenda.least();
            if due == NEVER {
                break;
            }
            let now = instant(due);
            self.last = now;
            match thing(due).checked_sub(n_ranks) {
                None => self.take(thing(due), now),
                Some(channel) => self.transfer_event(channel, now),
            }
        }
        let is_done = |(rank, next): (usize, &u32)| *next == self.lowered.row_start[rank + 1];
        if !self.next.iter().enumerate().all(is_done) {
            return Err(circle(self.lowered, &self.next));
        }
        // Cells that send nothing are no events.
        let last = self.clock.iter().copied().max().unwrap_or(0).max(self.last);
        self.timeline.step_time = Nanos(last);
        Ok(self.timeline)
    }

    fn way(&self, port: u32) -> &'a Way {
        &self.lowered.steps[self.maker[port as usize] as usize].way
    }

    /// The next cell of a rank has ended: its output queues, and the row goes on.
    fn take(&mut self, rank: usize, now: u64) {
        let cell = self.next[rank] as usize;
        let port = self.lowered.output[cell];
        self.maker[port as usize] = self.lowered.step_of[cell];
        self.clock[rank] = now;
        self.next[rank] += 1;
        let way = self.way(port);
        for (end, queue) in
            [&mut self.sending[way.send as usize], &mut self.receiving[way.receive as usize]]
                .into_iter()
                .enumerate()
        {
            if queue.first == NO_PORT {
                queue.first = port;
            } else {
                self.behind[queue.last as usize][end] = port;
            }
            queue.last = port;
        }
        self.timeline.received[way.receive as usize].push(port);
        self.try_start(port, now);
        self.advance(rank);
    }

    /// Starts a transfer if it leads both queues and neither is busy.
    fn try_start(&mut self, port: u32, now: u64) {
        if port == NO_PORT {
            return;
        }
        let way = self.way(port);
        let (send, receive) = (way.send as usize, way.receive as usize);
        let leads = |queue: &Queue| queue.first == port && !queue.is_busy;
        if !leads(&self.sending[send]) || !leads(&self.receiving[receive]) {
            return;
        }
        self.sending[send].is_busy = true;
        self.receiving[receive].is_busy = true;
        self.timeline.sent[port as usize] = now;
        self.active[send] = Active { port, ..Active::default() };
        let shares = way.nic_out != NO_NIC || way.nic_in != NO_NIC;
        if !shares || way.duration == way.latency {
            self.due(send, now + way.duration);
        } else if way.latency > 0 {
            self.active[send].remaining = (way.duration - way.latency) * FULL_RATE;
            self.due(send, now + way.latency);
        } else {
            self.active[send].remaining = way.duration * FULL_RATE;
            self.enter(send, now);
        }
    }

    fn due(&mut self, channel: usize, at: u64) {
        let thing = self.clock.len() + channel;
        self.agenda.set(thing, key(at, 0, thing as u32));
    }

    fn transfer_event(&mut self, channel: usize, now: u64) {
        let active = self.active[channel];
        if !active.is_sharing && active.remaining > 0 {
            return self.enter(channel, now);
        }
        if active.is_sharing {
            self.leave(channel, now);
        }
        self.finish(channel, active.port, now);
    }

    /// Cards of the transfer under way from a channel, outward and inward.
    fn cards_of(&self, channel: usize) -> [Option<usize>; 2] {
        let way = self.way(self.active[channel].port);
        let n_nics = self.cards.len() / 2;
        let card = |nic: u32, first: usize| (nic != NO_NIC).then_some(first + nic as usize);
        [card(way.nic_out, 0), card(way.nic_in, n_nics)]
    }

    /// The start-up cost is over: bytes move from now on.
    fn enter(&mut self, channel: usize, now: u64) {
        let cards = self.cards_of(channel);
        for (end, card) in cards.into_iter().enumerate() {
            let Some(card) = card else { continue };
            let members = &mut self.cards[card].members;
            self.active[channel].places[end] = members.len() as u32;
            members.push(channel as u32);
        }
        self.active[channel].is_sharing = true;
        self.active[channel].since = now;
        self.share_again(cards, now);
    }

    fn leave(&mut self, channel: usize, now: u64) {
        let cards = self.cards_of(channel);
        for (end, card) in cards.into_iter().enumerate() {
            let Some(card) = card else { continue };
            let place = self.active[channel].places[end] as usize;
            let members = &mut self.cards[card].members;
            members.swap_remove(place);
            if let Some(moved) = members.get(place) {
                self.active[*moved as usize].places[end] = place as u32;
            }
        }
        self.share_again(cards, now);
    }

    /// New rates for all that go through cards whose load has changed.
    fn share_again(&mut self, cards: [Option<usize>; 2], now: u64) {
        for card in cards.into_iter().flatten() {
            for index in 0..self.cards[card].members.len() {
                let channel = self.cards[card].members[index] as usize;
                let ends = self.cards_of(channel).into_iter().flatten();
                let load = ends.map(|end| self.cards[end].load()).max().unwrap_or(1);
                let rate = ((FULL_RATE + load / 2) / load).max(1);
                let active = &mut self.active[channel];
                if active.rate == rate {
                    continue;
                }
                let done = active.rate.saturating_mul(now - active.since);
                active.remaining = active.remaining.saturating_sub(done);
                active.since = now;
                active.rate = rate;
                let end = now + active.remaining.div_ceil(rate);
                self.due(channel, end);
            }
        }
    }

    fn finish(&mut self, channel: usize, port: u32, now: u64) {
        let way = self.way(port);
        self.timeline.arrived[port as usize] = now;
        self.agenda.set(self.clock.len() + channel, NEVER);
        let [send_next, receive_next] = self.behind[port as usize];
        self.sending[channel] = Queue { first: send_next, is_busy: false, ..self.sending[channel] };
        let receiving = &mut self.receiving[way.receive as usize];
        *receiving = Queue { first: receive_next, is_busy: false, ..*receiving };
        let to = way.to as usize;
        if self.awaited[to] == port {
            self.awaited[to] = NO_PORT;
            self.advance(to);
        }
        self.try_start(send_next, now);
        if receive_next != send_next {
            self.try_start(receive_next, now);
        }
    }

    /// Runs cells of a rank up to the first that sends something or waits.
    fn advance(&mut self, rank: usize) {
        let row_end = self.lowered.row_start[rank + 1];
        while self.next[rank] < row_end {
            let cell = self.next[rank] as usize;
            let input = self.lowered.input[cell];
            let arrival = self.timeline.arrived[input as usize];
            if arrival == UNKNOWN {
                self.awaited[rank] = input;
                break;
            }
            let step = &self.lowered.steps[self.lowered.step_of[cell] as usize];
            let start = arrival.max(self.clock[rank]);
            let end = start + step.duration;
            self.timeline.start[cell] = start;
            let port = self.lowered.output[cell];
            if port != NO_PORT && step.way.send != LOCAL {
                let reader = self.lowered.reader[port as usize];
                return self.agenda.set(rank, key(end, reader.saturating_add(1), rank as u32));
            }
            if port != NO_PORT {
                self.timeline.sent[port as usize] = end;
                self.timeline.arrived[port as usize] = end;
            }
            self.clock[rank] = end;
            self.next[rank] += 1;
        }
        self.agenda.set(rank, NEVER);
    }
}
