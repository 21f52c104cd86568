//! Nodes that average their models: what an exchange of two of them takes, what a sequence of matchings
//! or shares of clients take, and what none is below.

use ir::diagnostic::Diagnostic;
use ir::instance::{AveragingInstance, Peers};
use ir::units::{Nanos, Work};
use petgraph::unionfind::UnionFind;

use super::max_load::illegal;

/// Pairs of a round, each node in one at most; of an odd number of nodes one is in none.
pub type Matching = Vec<[u32; 2]>;

fn nanos(bytes: u64, rate: f64) -> Nanos {
    Nanos::rounded(bytes as f64 / rate * 1e9, Work::Some)
}

/// The rate of two nodes, the smaller one of both directions; `None` where either has no way.
#[must_use]
pub fn rate(instance: &AveragingInstance, a: usize, b: usize) -> Option<f64> {
    let Peers::Pairs { bytes_per_s, .. } = &instance.peers else { return None };
    let n = instance.nodes.len();
    let one_way = |from: usize, to: usize| bytes_per_s.get(from * n + to).copied();
    one_way(a, b).zip(one_way(b, a)).map(|(a, b)| a.min(b)).filter(|rate| a != b && *rate > 0.0)
}

/// What two nodes take to send each other their messages, at [`rate`]; the larger one counts.
#[must_use]
pub fn pair_time(instance: &AveragingInstance, a: usize, b: usize) -> Option<Nanos> {
    Some(nanos(instance.sent(a).max(instance.sent(b)), rate(instance, a, b)?))
}

/// For each node but one the pair that joined it to the others, and its round: a spanning tree of the
/// union of all rounds, so that what one node knows gets to all. Shorter where they are not joined.
#[must_use]
pub fn joined_by(n_nodes: usize, rounds: &[Matching]) -> Vec<(usize, [u32; 2])> {
    let mut joined = UnionFind::<usize>::new(n_nodes);
    let pairs =
        rounds.iter().enumerate().flat_map(|(at, round)| round.iter().map(move |two| (at, *two)));
    pairs.filter(|(_, [a, b])| joined.union(*a as usize, *b as usize)).collect()
}

/// The slowest round.
///
/// # Errors
/// `round-missing` for another number of rounds, `no-such-node`, `no-way`, `node-twice` and `node-alone`
/// for a round that is no matching of all nodes but the one that an odd number leaves over, `not-joined`.
pub fn evaluate(instance: &AveragingInstance, found: &[Matching]) -> Result<Nanos, Diagnostic> {
    let Peers::Pairs { rounds, .. } = &instance.peers else {
        return Err(illegal("no-rounds", "the nodes average through a server".to_owned()));
    };
    let n = instance.nodes.len();
    if found.len() != *rounds {
        let message = format!("there are {} rounds, and {rounds} are asked for", found.len());
        return Err(illegal("round-missing", message));
    }
    let name = |node: u32| instance.nodes.get(node as usize).map_or("?", String::as_str);
    let mut slowest = Nanos::ZERO;
    for (at, round) in found.iter().enumerate() {
        let mut is_used = vec![false; n];
        for &[a, b] in round {
            for node in [a, b] {
                let Some(is_used) = is_used.get_mut(node as usize) else {
                    let message = format!("round {at} names node {node} of {n}");
                    return Err(illegal("no-such-node", message));
                };
                if std::mem::replace(is_used, true) {
                    let message = format!("`{}` is in two pairs of round {at}", name(node));
                    return Err(illegal("node-twice", message));
                }
            }
            let time = pair_time(instance, a as usize, b as usize).ok_or_else(|| {
                let message = format!("no way joins `{}` and `{}` (round {at})", name(a), name(b));
                illegal("no-way", message)
            })?;
            slowest = slowest.max(time);
        }
        if is_used.iter().filter(|used| !**used).count() > n % 2 {
            let alone = (0..).zip(&is_used).find(|(_, used)| !**used).map_or(0, |first| first.0);
            let message = format!("`{}` is in no pair of round {at}", name(alone));
            return Err(illegal("node-alone", message));
        }
    }
    if joined_by(n, found).len() + 1 < n {
        let message = format!("{rounds} rounds do not join all nodes");
        return Err(illegal("not-joined", message));
    }
    Ok(slowest)
}

/// A round that none is below: the slowest link of the fastest tree, for all nodes are to be joined.
#[must_use]
pub fn bound(instance: &AveragingInstance) -> Nanos {
    let n = instance.nodes.len();
    let pairs = (0..n).flat_map(|a| (0..a).map(move |b| (a, b)));
    let mut links: Vec<(Nanos, usize, usize)> =
        pairs.filter_map(|(a, b)| Some((pair_time(instance, a, b)?, a, b))).collect();
    links.sort_unstable();
    let mut joined = UnionFind::<usize>::new(n);
    let of_tree = links.into_iter().filter(|(_, a, b)| joined.union(*a, *b));
    of_tree.map(|link| link.0).last().unwrap_or(Nanos::ZERO)
}

/// What a client takes to send so many bytes to the server.
#[must_use]
pub fn upload_time(instance: &AveragingInstance, client: usize, bytes: u64) -> Option<Nanos> {
    let Peers::Server { bytes_per_s } = &instance.peers else { return None };
    bytes_per_s.get(client).map(|rate| nanos(bytes, *rate))
}

/// When the last upload ends.
///
/// # Errors
/// `client-missing`, `too-many-bytes` for more than a model has, `too-few-bytes` for less than the share
/// that the instance asks of all.
pub fn evaluate_uploads(instance: &AveragingInstance, bytes: &[u64]) -> Result<Nanos, Diagnostic> {
    if bytes.len() != instance.nodes.len() || !matches!(instance.peers, Peers::Server { .. }) {
        let message =
            format!("{} clients send something, of {}", bytes.len(), instance.nodes.len());
        return Err(illegal("client-missing", message));
    }
    let mut last = Nanos::ZERO;
    for (at, sent) in bytes.iter().enumerate() {
        let (least, most, name) = (instance.sent(at), instance.bytes[at], &instance.nodes[at]);
        if *sent > most {
            let message = format!("`{name}` sends {sent} bytes of {most}");
            return Err(illegal("too-many-bytes", message));
        }
        if *sent < least {
            let message = format!("`{name}` sends {sent} bytes, less than its share of {least}");
            return Err(illegal("too-few-bytes", message));
        }
        last = last.max(upload_time(instance, at, *sent).unwrap_or_default());
    }
    Ok(last)
}

/// When the slowest client has sent the share that is asked of all.
#[must_use]
pub fn bound_uploads(instance: &AveragingInstance) -> Nanos {
    let time = |at: usize| upload_time(instance, at, instance.sent(at)).unwrap_or_default();
    (0..instance.nodes.len()).map(time).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(rates: [[f64; 4]; 4], rounds: usize) -> AveragingInstance {
        AveragingInstance {
            name: String::new(),
            nodes: (0..4).map(|node| node.to_string()).collect(),
            bytes: vec![100, 100, 200, 100],
            kept: 0.5,
            peers: Peers::Pairs { bytes_per_s: rates.concat(), rounds },
        }
    }

    /// By hand: 50 bytes at 10 (the smaller direction) are 5 s, 100 bytes at 25 are 4 s.
    #[test]
    fn rounds_by_hand() {
        let rates = [
            [0.0, 10.0, 50.0, 0.0],
            [20.0, 0.0, 0.0, 50.0],
            [25.0, 0.0, 0.0, 10.0],
            [9.0, 50.0, 10.0, 0.0],
        ];
        let instance = pairs(rates, 2);
        let value = |rounds: &[Matching]| {
            evaluate(&instance, rounds).map(|time| time.get() / 1_000_000_000)
        };
        assert_eq!(value(&[vec![[0, 1], [2, 3]], vec![[0, 2], [3, 1]]]).unwrap(), 10);
        assert_eq!(pair_time(&instance, 0, 1).unwrap().get(), 5_000_000_000);
        assert_eq!(pair_time(&instance, 0, 2).unwrap().get(), 4_000_000_000);
        for (rounds, code) in [
            (vec![vec![[0, 1], [2, 3]]], "round-missing"),
            (vec![vec![[0, 1], [2, 3]], vec![[0, 1], [2, 3]]], "not-joined"),
            (vec![vec![[0, 1]], vec![[0, 2], [1, 3]]], "node-alone"),
            (vec![vec![[0, 1], [1, 3]], vec![[0, 2], [1, 3]]], "node-twice"),
            (vec![vec![[0, 3], [1, 2]], vec![[0, 2], [1, 3]]], "no-way"),
            (vec![vec![[0, 4], [1, 2]], vec![[0, 2], [1, 3]]], "no-such-node"),
        ] {
            assert_eq!(value(&rounds).unwrap_err().code, code);
        }
        // Joined by 0-1, 0-2 and 1-3, of which 0-1 takes 5 s.
        assert_eq!(bound(&instance).get(), 5_000_000_000);
    }

    #[test]
    fn uploads_by_hand() {
        let mut instance = pairs([[0.0; 4]; 4], 1);
        instance.peers = Peers::Server { bytes_per_s: vec![10.0, 25.0, 50.0, 100.0] };
        assert_eq!(bound_uploads(&instance).get(), 5_000_000_000);
        let value = |bytes: &[u64]| {
            evaluate_uploads(&instance, bytes).map(|time| time.get() / 1_000_000_000)
        };
        assert_eq!(value(&[50, 100, 200, 100]).unwrap(), 5);
        assert_eq!(value(&[60, 50, 100, 50]).unwrap(), 6);
        assert_eq!(value(&[50, 49, 200, 100]).unwrap_err().code, "too-few-bytes");
        assert_eq!(value(&[50, 101, 200, 100]).unwrap_err().code, "too-many-bytes");
        assert_eq!(value(&[50]).unwrap_err().code, "client-missing");
    }
}
