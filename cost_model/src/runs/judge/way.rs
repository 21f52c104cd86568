//! Which channels and network cards the output of a stage takes, and for how long.

use super::costs::{Boundary, Link, PipelineCosts, Sharing};
use super::violation::Violation;

/// How transfers of several ranks share a network card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Contention {
    /// Each gets its share all the time: as if all that can send were sending.
    #[default]
    Static,
    /// Processor sharing: those that send or receive at a moment share the card then.
    Exact,
}

/// No network card.
pub(super) const NO_NIC: u32 = u32::MAX;

/// What the output of a stage takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// Nanoseconds; those of a transfer that is alone under [`Contention::Exact`].
    pub(super) duration: u64,
    /// Of `duration`, the start-up cost, which no sharing prolongs.
    pub(super) latency: u64,
    /// The rank that it goes to.
    pub(super) to: u32,
    /// Channel at the source; [`LOCAL`] if it stays on its rank.
    pub(super) send: u32,
    /// Channel at the destination.
    pub(super) receive: u32,
    /// Network card at the source, [`NO_NIC`] if it shares none.
    pub(super) nic_out: u32,
    /// Network card at the destination.
    pub(super) nic_in: u32,
    /// Bytes.
    pub(super) bytes: u64,
}

/// Channel of what stays on its rank.
pub(super) const LOCAL: u32 = u32::MAX;

impl Default for Way {
    fn default() -> Self {
        Self {
            duration: 0,
            latency: 0,
            to: 0,
            send: LOCAL,
            receive: LOCAL,
            nic_out: NO_NIC,
            nic_in: NO_NIC,
            bytes: 0,
        }
    }
}

/// Ways of all stages.
pub(super) struct Ways {
    /// By stage: of its activation, to the next stage.
    pub(super) forward: Vec<Way>,
    /// By stage: of its gradient, to the stage before.
    pub(super) backward: Vec<Way>,
    pub(super) n_channels: u32,
}

/// The ways of all stages.
pub(super) fn ways(costs: &PipelineCosts, contention: Contention) -> Result<Ways, Violation> {
    places(costs)?;
    let n_tiers = costs.stages.iter().map(|stage| u32::from(stage.next.link.tier) + 1).max();
    let n_tiers = n_tiers.unwrap_or(1);
    let sharers = Sharers::count(costs);
    let way = |boundary: &Boundary, bytes: ir::units::Bytes, from: u32, to: u32| {
        if from == to {
            return Way { to, ..Way::default() };
        }
        let link = &boundary.link;
        let shared = link.sharing == Sharing::Nic;
        let n_sharers = match contention {
            Contention::Static if shared => sharers.at(costs, from, to),
            _ => 1,
        };
        let nic = |rank: u32| match costs.ranks[rank as usize].nic {
            Some(nic) if shared => nic,
            _ => NO_NIC,
        };
        let duration = link.time(bytes, n_sharers).0;
        let latency = Link { bandwidth: None, ..*link }.time(bytes, 1).0.min(duration);
        Way {
            duration,
            latency,
            to,
            send: from * n_tiers + u32::from(link.tier),
            receive: to * n_tiers + u32::from(link.tier),
            nic_out: nic(from),
            nic_in: nic(to),
            bytes: bytes.0,
        }
    };
    let mut forward = vec![Way::default(); costs.stages.len()];
    let mut backward = forward.clone();
    for (stage, pair) in costs.stages.windows(2).enumerate() {
        let [here, next] = pair else { continue };
        forward[stage] = way(&here.next, here.next.activation, here.rank, next.rank);
        backward[stage + 1] = way(&here.next, here.next.gradient, next.rank, here.rank);
    }
    let n_ranks = u32::try_from(costs.ranks.len()).unwrap_or(u32::MAX);
    Ok(Ways { forward, backward, n_channels: n_ranks.saturating_mul(n_tiers) })
}

fn places(costs: &PipelineCosts) -> Result<(), Violation> {
    for (of, stage) in (0..).zip(&costs.stages) {
        if stage.rank as usize >= costs.ranks.len() {
            return Err(Violation::UnknownPlace { what: "rank", of, place: stage.rank });
        }
    }
    for (of, rank) in (0..).zip(&costs.ranks) {
        if let Some(place) = rank.nic.filter(|nic| *nic as usize >= costs.nics.len()) {
            return Err(Violation::UnknownPlace { what: "network card", of, place });
        }
    }
    Ok(())
}

/// How many send and how many receive through each network card, copies included.
struct Sharers {
    n_out: Vec<u64>,
    n_in: Vec<u64>,
}

impl Sharers {
    fn count(costs: &PipelineCosts) -> Self {
        let mut sends = vec![false; costs.ranks.len()];
        let mut receives = sends.clone();
        let copies = costs.stages.chunks(costs.stages_per_copy() as usize);
        for pair in copies.flat_map(|copy| copy.windows(2)) {
            let [here, next] = pair else { continue };
            if here.rank != next.rank && here.next.link.sharing == Sharing::Nic {
                // Activations go one way, gradients the other.
                for rank in [here.rank, next.rank] {
                    sends[rank as usize] = true;
                    receives[rank as usize] = true;
                }
            }
        }
        let sum = |uses: &[bool]| {
            let mut total = vec![0u64; costs.nics.len()];
            for (rank, _) in costs.ranks.iter().zip(uses).filter(|(_, uses)| **uses) {
                if let Some(nic) = rank.nic {
                    total[nic as usize] += u64::from(costs.nics[nic as usize].n_copies.max(1));
                }
            }
            total
        };
        Self { n_out: sum(&sends), n_in: sum(&receives) }
    }

    fn at(&self, costs: &PipelineCosts, from: u32, to: u32) -> u64 {
        let through = |total: &[u64], rank: u32| {
            costs.ranks[rank as usize].nic.map_or(1, |nic| total[nic as usize])
        };
        through(&self.n_out, from).max(through(&self.n_in, to)).max(1)
    }
}
