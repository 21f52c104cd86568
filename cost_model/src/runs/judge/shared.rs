//! The replay with exact contention: transfers that go through a network card at one moment share
//! it then.
//!
//! An event simulation on integers (`docs/conventions.md`, P4): what remains of a
//! transfer is counted in 2^-20 ns and shrinks at the rate 2^20 / k, rounded to nearest, where k is
//! the greater of the numbers of transfers, copies included, under way through the card at its
//! source and through the one at its destination. The start-up cost is not shared: a transfer
//! counts from its end on. Channels serve as in [`super::replay`].

use ir::units::Nanos;

use super::agenda::{Agenda, NEVER, instant, key, thing};
use super::lower::{Lowered, NO_PORT};
use super::replay::circle;
use super::rows::Rows;
use super::timeline::Timeline;
use super::violation::Violation;
use super::way::{NO_NIC, Way};
use crate::links::overlap::FULL_RATE;

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
    /// Transfers, copies included, through the fuller of its cards.
    load: u64,
    rate: u64,
    since: u64,
    /// Position among the members of the card at the source, and at the destination.
    places: [u32; 2],
    /// The cards themselves, [`NO_NIC`] for none.
    cards: [u32; 2],
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
    rows: Rows<'a>,
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
            rows: Rows::new(lowered),
            sending: vec![Queue::default(); n_channels],
            receiving: vec![Queue::default(); n_channels],
            behind: vec![[NO_PORT; 2]; n_ports],
            maker: vec![0; n_ports],
            active: vec![Active::default(); n_channels],
            cards: nics.iter().chain(nics).map(card).collect(),
            agenda: Agenda::new(n_ranks + n_channels),
        }
    }

    fn play(mut self) -> Result<Timeline, Violation> {
        let n_ranks = self.lowered.costs.ranks.len();
        let mut last = 0;
        for rank in 0..n_ranks {
            self.rows.advance(rank, &mut self.timeline, &mut self.agenda);
        }
        loop {
            let due = self.agenda.least();
            if due == NEVER {
                break;
            }
            last = instant(due);
            match thing(due).checked_sub(n_ranks) {
                None => self.take(thing(due), last),
                Some(channel) => self.transfer_event(channel, last),
            }
        }
        if !self.rows.is_done() {
            return Err(circle(self.lowered, &self.rows.next));
        }
        // Cells that send nothing are no events.
        self.timeline.step_time = Nanos(self.rows.last().max(last));
        Ok(self.timeline)
    }

    fn way(&self, port: u32) -> &'a Way {
        &self.lowered.steps[self.maker[port as usize] as usize].way
    }

    /// The next cell of a rank has ended: its output queues, and the row goes on.
    fn take(&mut self, rank: usize, now: u64) {
        let cell = self.rows.end(rank, now);
        let port = self.lowered.output[cell];
        self.maker[port as usize] = self.lowered.step_of[cell];
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
        self.rows.advance(rank, &mut self.timeline, &mut self.agenda);
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
        let n_nics = self.cards.len() as u32 / 2;
        let inward = if way.nic_in == NO_NIC { NO_NIC } else { n_nics + way.nic_in };
        let cards = [way.nic_out, inward];
        self.active[send] = Active { port, cards, ..Active::default() };
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
        let thing = self.lowered.costs.ranks.len() + channel;
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

    /// The start-up cost is over: bytes move from now on.
    fn enter(&mut self, channel: usize, now: u64) {
        let active = &mut self.active[channel];
        for (card, place) in active.cards.into_iter().zip(&mut active.places) {
            if let Some(card) = self.cards.get_mut(card as usize) {
                *place = card.members.len() as u32;
                card.members.push(channel as u32);
            }
        }
        active.is_sharing = true;
        active.since = now;
        let cards = active.cards;
        self.share_again(cards, now);
    }

    fn leave(&mut self, channel: usize, now: u64) {
        let Active { cards, places, .. } = self.active[channel];
        for (end, (card, place)) in cards.into_iter().zip(places).enumerate() {
            let Some(card) = self.cards.get_mut(card as usize) else { continue };
            card.members.swap_remove(place as usize);
            if let Some(moved) = card.members.get(place as usize) {
                self.active[*moved as usize].places[end] = place;
            }
        }
        self.share_again(cards, now);
    }

    /// New rates for all that go through cards whose load has changed.
    fn share_again(&mut self, cards: [u32; 2], now: u64) {
        for card in cards {
            let Some(card) = self.cards.get(card as usize) else { continue };
            for &channel in &card.members {
                let active = &mut self.active[channel as usize];
                let load = |card: u32| self.cards.get(card as usize).map_or(0, Card::load);
                let load = load(active.cards[0]).max(load(active.cards[1]));
                if active.load == load {
                    continue;
                }
                let done = active.rate.saturating_mul(now - active.since);
                active.load = load;
                active.rate = ((FULL_RATE + load / 2) / load).max(1);
                active.remaining = active.remaining.saturating_sub(done);
                active.since = now;
                let end = now + active.remaining.div_ceil(active.rate);
                let thing = self.lowered.costs.ranks.len() + channel as usize;
                self.agenda.set(thing, key(end, 0, thing as u32));
            }
        }
    }

    fn finish(&mut self, channel: usize, port: u32, now: u64) {
        let way = self.way(port);
        self.timeline.arrived[port as usize] = now;
        self.agenda.set(self.lowered.costs.ranks.len() + channel, NEVER);
        let [send_next, receive_next] = self.behind[port as usize];
        self.sending[channel] = Queue { first: send_next, is_busy: false, ..self.sending[channel] };
        let receiving = &mut self.receiving[way.receive as usize];
        *receiving = Queue { first: receive_next, is_busy: false, ..*receiving };
        self.rows.arrive(way.to as usize, port, &mut self.timeline, &mut self.agenda);
        self.try_start(send_next, now);
        if receive_next != send_next {
            self.try_start(receive_next, now);
        }
    }
}
