//! Which channels and network cards the output of a stage takes, and for how long.

use super::costs::{Boundary, PipelineCosts, Sharing};
use super::violation::Violation;

/// What the output of a stage takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// Nanoseconds.
    pub(super) duration: u64,
    /// The rank that it goes to.
    pub(super) to: u32,
    /// Channel at the source; [`LOCAL`] if it stays on its rank.
    pub(super) send: u32,
    /// Channel at the destination.
    pub(super) receive: u32,
    /// Bytes.
    pub(super) bytes: u64,
}

/// Channel of what stays on its rank.
pub(super) const LOCAL: u32 = u32::MAX;

impl Default for Way {
    fn default() -> Self {
        Self { duration: 0, to: 0, send: LOCAL, receive: LOCAL, bytes: 0 }
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
pub(super) fn ways(costs: &PipelineCosts) -> Result<Ways, Violation> {
    places(costs)?;
    let n_tiers = costs.stages.iter().map(|stage| u32::from(stage.next.link.tier) + 1).max();
    let n_tiers = n_tiers.unwrap_or(1);
    let sharers = Sharers::count(costs);
    let way = |boundary: &Boundary, bytes: ir::units::Bytes, from: u32, to: u32| {
        if from == to {
            return Way { to, ..Way::default() };
        }
        let link = &boundary.link;
        let n_sharers = match link.sharing {
            Sharing::Nic => sharers.at(costs, from, to),
            Sharing::Own => 1,
        };
        Way {
            duration: link.time(bytes, n_sharers).0,
            to,
            send: from * n_tiers + u32::from(link.tier),
            receive: to * n_tiers + u32::from(link.tier),
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

/// How many send and receive through each network card, replicas included.
struct Sharers {
    by_nic: Vec<u64>,
}

impl Sharers {
    fn count(costs: &PipelineCosts) -> Self {
        // Activations go one way and gradients the other, so whoever sends also receives.
        let mut uses = vec![false; costs.ranks.len()];
        for pair in costs.stages.windows(2) {
            let [here, next] = pair else { continue };
            if here.rank != next.rank && here.next.link.sharing == Sharing::Nic {
                uses[here.rank as usize] = true;
                uses[next.rank as usize] = true;
            }
        }
        let mut by_nic = vec![0u64; costs.nics.len()];
        for (rank, _) in costs.ranks.iter().zip(uses).filter(|(_, uses)| *uses) {
            if let Some(nic) = rank.nic {
                by_nic[nic as usize] += u64::from(costs.nics[nic as usize].n_copies.max(1));
            }
        }
        Self { by_nic }
    }

    fn at(&self, costs: &PipelineCosts, from: u32, to: u32) -> u64 {
        let through =
            |rank: u32| costs.ranks[rank as usize].nic.map_or(1, |nic| self.by_nic[nic as usize]);
        through(from).max(through(to)).max(1)
    }
}
