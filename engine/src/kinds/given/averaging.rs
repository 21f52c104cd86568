//! Nodes that average their models: rounds and shares as documents, and as people read them.

use std::collections::HashMap;

use cost_model::given::averaging::{
    Matching, bound_uploads, joined_by, pair_time, rate, upload_time,
};
use cost_model::given::synchronisation::{Synchronisation, step};
use documents::plan::CommunicationDocument;
use documents::plan::averaging::{JoinDocument, PairDocument, UploadDocument};
use ir::instance::{AveragingInstance, Peers, TimeUnit};
use ir::units::{Bytes, Nanos};
use planner::given::gossip_matchings::{DRAWN, chance, fastest_round};
use planner::given::runner::Solution;
use serde_json::{Value, json};

use super::figures::Figures;
use super::synchronisation;
use crate::answer::page::{Column, Page};
use crate::answer::rows::Rows;

/// What a node takes of its own model.
const WEIGHT: f64 = 0.5;

/// Rounds, or what clients send, as a document states them.
pub(super) fn communication(
    instance: &AveragingInstance,
    solution: &Solution,
) -> Option<CommunicationDocument> {
    let mut document = CommunicationDocument::default();
    let name = |at: u32| instance.nodes.get(at as usize).cloned().unwrap_or_default();
    match solution {
        Solution::Rounds(rounds) => {
            let pair = |[a, b]: &[u32; 2]| PairDocument {
                nodes: [name(*a), name(*b)],
                weight: WEIGHT,
                time_ns: pair_time(instance, *a as usize, *b as usize).map_or(0, Nanos::get),
            };
            document.matchings =
                rounds.iter().map(|round| round.iter().map(pair).collect()).collect();
            let join = |(round, pair): (usize, [u32; 2])| JoinDocument {
                round: round as u64,
                nodes: pair.map(name),
            };
            document.joined_by =
                joined_by(instance.nodes.len(), rounds).into_iter().map(join).collect();
        }
        Solution::Uploads(bytes) => {
            let upload = |(at, bytes): (usize, &u64)| UploadDocument {
                client: name(at as u32),
                bytes: *bytes,
                kept: *bytes as f64 / instance.bytes[at] as f64,
                time_ns: upload_time(instance, at, *bytes).map_or(0, Nanos::get),
            };
            document.uploads = bytes.iter().enumerate().map(upload).collect();
        }
        Solution::Synchronisation(found) => {
            return Some(synchronisation::communication(instance, found));
        }
        _ => return None,
    }
    Some(document)
}

/// The rounds or bytes of a document.
///
/// # Errors
/// In words, nodes that the instance has not, and clients that are not those of the instance, in order.
pub(super) fn solution(
    instance: &AveragingInstance,
    stated: &CommunicationDocument,
) -> Result<Solution, String> {
    if matches!(instance.peers, Peers::All(_)) {
        return synchronisation::solution(stated);
    }
    if matches!(instance.peers, Peers::Server { .. }) {
        let is_own = stated.uploads.iter().map(|upload| &upload.client).eq(&instance.nodes);
        return match is_own {
            true => {
                Ok(Solution::Uploads(stated.uploads.iter().map(|upload| upload.bytes).collect()))
            }
            false => {
                Err("`communication.uploads` are not of its clients, in their order".to_owned())
            }
        };
    }
    if stated.joined_by.len() + 1 != instance.nodes.len() {
        return Err("`communication.joined_by` is no tree of its nodes".to_owned());
    }
    let at: HashMap<&str, u32> = instance.nodes.iter().map(String::as_str).zip(0..).collect();
    let node = |name: &String| {
        let found = at.get(name.as_str()).copied();
        found.ok_or_else(|| format!("it has no node `{name}`"))
    };
    let pair = |pair: &PairDocument| Ok([node(&pair.nodes[0])?, node(&pair.nodes[1])?]);
    let round = |round: &Vec<PairDocument>| round.iter().map(pair).collect();
    Ok(Solution::Rounds(stated.matchings.iter().map(round).collect::<Result<_, String>>()?))
}

/// The slowest pair of a round.
fn slowest<'r>(instance: &AveragingInstance, round: &'r Matching) -> Option<(Nanos, &'r [u32; 2])> {
    let time = |pair: &[u32; 2]| pair_time(instance, pair[0] as usize, pair[1] as usize);
    round.iter().filter_map(|pair| Some((time(pair)?, pair))).max()
}

/// A row for each round or client.
pub(super) fn table(instance: &AveragingInstance, solution: &Solution, rows: Rows, page: &Page) {
    let name = |at: u32| instance.nodes.get(at as usize).map_or("", String::as_str);
    match solution {
        Solution::Rounds(rounds) => {
            let columns = Column::row("@round | #takes, s | slowest pair | #bytes/s | pairs");
            let row = |(at, round): (usize, &Matching)| {
                let (time, [a, b]) = slowest(instance, round).unwrap_or((Nanos::ZERO, &[0, 0]));
                let pairs: Vec<String> =
                    round.iter().map(|[a, b]| format!("{}-{}", name(*a), name(*b))).collect();
                let rate = rate(instance, *a as usize, *b as usize).unwrap_or_default();
                vec![
                    at.to_string(),
                    format!("{:.6}", TimeUnit::SECOND.of(time)),
                    format!("{}-{}", name(*a), name(*b)),
                    format!("{rate:.4}"),
                    pairs.join(" "),
                ]
            };
            rows.table(&columns, rounds.iter().enumerate().map(row), page);
        }
        Solution::Uploads(bytes) => {
            let columns = Column::row("@client | #sends | #of its model | #takes, s");
            let row = |(at, bytes): (usize, &u64)| {
                let time = upload_time(instance, at, *bytes).unwrap_or_default();
                let share = *bytes as f64 / instance.bytes[at] as f64;
                vec![
                    instance.nodes[at].clone(),
                    Bytes(*bytes).to_string(),
                    format!("{:.2} %", 100.0 * share),
                    format!("{:.6}", TimeUnit::SECOND.of(time)),
                ]
            };
            rows.table(&columns, bytes.iter().enumerate().map(row), page);
        }
        Solution::Synchronisation(found) => synchronisation::table(instance, found, page),
        _ => {}
    }
}

/// What is done for how long, by round or client.
pub(super) fn figures(instance: &AveragingInstance, solution: &Solution) -> Vec<Figures> {
    match solution {
        Solution::Rounds(rounds) => {
            let of = |(at, round): (usize, &Matching)| Figures {
                n_nodes: 2 * round.len(),
                moving: slowest(instance, round).map_or(Nanos::ZERO, |found| found.0),
                bytes: None,
                ..Figures::empty(format!("round {at}"), None)
            };
            rounds.iter().enumerate().map(of).collect()
        }
        Solution::Uploads(bytes) => {
            let of = |(at, bytes): (usize, &u64)| Figures {
                n_nodes: 1,
                moving: upload_time(instance, at, *bytes).unwrap_or_default(),
                bytes: Some(u128::from(*bytes)),
                ..Figures::empty(instance.nodes[at].clone(), None)
            };
            bytes.iter().enumerate().map(of).collect()
        }
        Solution::Synchronisation(found) => vec![of_replicas(instance, found)],
        _ => Vec::new(),
    }
}

/// What each of the replicas computes and sends.
fn of_replicas(instance: &AveragingInstance, synchronisation: &Synchronisation) -> Figures {
    let bytes = instance.bytes.first().copied().unwrap_or_default();
    let step = step(instance, synchronisation).unwrap_or_default().get();
    let computing = match &instance.peers {
        Peers::All(all) => Nanos((all.compute_s * 1e9).round() as u64),
        _ => Nanos::ZERO,
    };
    Figures {
        n_nodes: instance.nodes.len(),
        compute: computing,
        moving: Nanos(step.saturating_sub(computing.get())),
        bytes: Some((bytes as f64 * synchronisation.sent_share()) as u128),
        ..Figures::empty("each replica".to_owned(), None)
    }
}

/// What chance, or equal shares, would give.
pub(super) fn sentence(instance: &AveragingInstance, solution: &Solution) -> String {
    match solution {
        Solution::Synchronisation(found) => synchronisation::sentence(instance, found),
        Solution::Uploads(bytes) => {
            let n = bytes.len() as f64;
            let share = |(at, sent): (usize, &u64)| *sent as f64 / instance.bytes[at] as f64;
            let mean = bytes.iter().enumerate().map(share).sum::<f64>() / n;
            format!(
                "a share of {} for all takes {:.6} s too; here clients send {:.2} % on average; nothing \
                 is claimed about convergence",
                instance.kept,
                TimeUnit::SECOND.of(bound_uploads(instance)),
                100.0 * mean
            )
        }
        _ => {
            let seconds = |time: Nanos| TimeUnit::SECOND.text(time);
            let alone = fastest_round(instance).map_or_else(String::new, seconds);
            let drawn = match chance(instance) {
                Some(rate) => {
                    format!(
                        "the slowest pair of a random one has {rate:.2} bytes/s on average of {DRAWN}"
                    )
                }
                None => "random ones have pairs without a way".to_owned(),
            };
            format!(
                "all nodes are joined after these rounds, which begin again; the fastest round, whatever \
                 it joins, takes {alone}; {drawn}; nothing is claimed about convergence"
            )
        }
    }
}

/// With whom a node averages in each round, or what a client sends.
pub(super) fn of_node(
    instance: &AveragingInstance,
    solution: &Solution,
    at: usize,
) -> Vec<(&'static str, String, Value)> {
    let name = |at: u32| instance.nodes.get(at as usize).map_or("", String::as_str);
    let seconds = |time: Option<Nanos>| TimeUnit::SECOND.text(time.unwrap_or_default());
    let with = |round: &Matching| {
        let pair = round.iter().find(|pair| pair.contains(&(at as u32)));
        let Some([a, b]) = pair else { return "nobody: it is left over".to_owned() };
        let other = if *a as usize == at { *b } else { *a };
        format!("{}, {}", name(other), seconds(pair_time(instance, at, other as usize)))
    };
    let fact = |what, text: String| (what, text.clone(), json!(text));
    match solution {
        Solution::Rounds(rounds) => {
            rounds.iter().map(|round| fact("averages with", with(round))).collect()
        }
        Solution::Uploads(bytes) => {
            let bytes = bytes.get(at).copied().unwrap_or_default();
            let time = seconds(upload_time(instance, at, bytes));
            vec![fact("sends", format!("{} in {time}", Bytes(bytes)))]
        }
        _ => Vec::new(),
    }
}
