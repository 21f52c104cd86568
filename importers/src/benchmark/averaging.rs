//! Nodes that average their models, and what their links take.

mod all;

use ir::diagnostic::Diagnostic;
use ir::instance::{AveragingInstance, Instance, Peers};
use serde::Deserialize;

use super::quantity::{out_of_range, some_nodes};
use super::tasks::{Name, positions};
use crate::json;
use crate::source::{self, Source};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    kind: String,
    nodes: Option<Vec<Name>>,
    bytes: Each<u64>,
    kept: Option<f64>,
    bytes_per_s: Rates,
    rounds: Option<u64>,
    replicas: Option<usize>,
    latency_s: Option<f64>,
    compute_s: Option<f64>,
    sync: Option<Vec<Way>>,
    least_sent: Option<f64>,
}

/// What is looked at of a way to average every so many steps.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Way {
    by: String,
    every: Vec<u64>,
    r1: Option<Vec<f64>>,
    r2: Option<Vec<f64>>,
}

/// One for all, or one for each.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a number of bytes, or one for each node")]
enum Each<T> {
    All(T),
    Each(Vec<T>),
}

/// Of pairs, or to a server; `null` is no way.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a rate, rates, or rows of them")]
enum Rates {
    All(f64),
    Server(Vec<f64>),
    Pairs(Vec<Vec<Option<f64>>>),
}

/// Most nodes.
const MAX_NODES: usize = 1000;
/// Most rounds.
const MAX_ROUNDS: u64 = 10_000;
/// Most pairs of all rounds.
const MAX_PAIRS: usize = 1 << 22;
/// Bytes of a model.
const BYTES: std::ops::RangeInclusive<u64> = 1..=1 << 50;
/// Longest exchange, in seconds.
const MAX_SECONDS: f64 = 1e9;
/// Most bytes that a way carries in a second.
const MAX_RATE: f64 = 1e18;

/// Reads an instance.
///
/// # Errors
/// Those of the JSON reader, and `empty-instance`, `size-budget`, `duplicate-id`, `not-square`,
/// `number-out-of-range`, `invalid-field`.
pub(crate) fn read(source: &dyn Source, name: &str) -> Result<Instance, Diagnostic> {
    let document: Document = json::parse(&source::read_all(source, json::MAX_BYTES)?)?;
    if document.kind != "averaging" {
        let message = format!("`kind` is `{}`, not `averaging`", document.kind);
        let error = Diagnostic::input("invalid-field", message);
        return Err(error.hint("write \"kind\": \"averaging\""));
    }
    let n = match &document.bytes_per_s {
        Rates::All(_) => all::n_replicas(&document)?,
        Rates::Server(rates) => rates.len(),
        Rates::Pairs(rates) => rates.len(),
    };
    all::check(&document)?;
    some_nodes(n.saturating_sub(1), "two nodes")?;
    if n > MAX_NODES {
        let message = format!("{n} nodes, at most {MAX_NODES}");
        return Err(Diagnostic::input("size-budget", message).hint("plan a part of the nodes"));
    }
    let named = |names: Vec<Name>| names.into_iter().map(Name::text).collect();
    let nodes: Vec<String> =
        document.nodes.map_or_else(|| (0..n).map(|number| number.to_string()).collect(), named);
    of_each("nodes", nodes.len(), n)?;
    positions(&nodes, "nodes")?;
    let bytes = match document.bytes {
        Each::All(size) => vec![size; n],
        Each::Each(sizes) => sizes,
    };
    of_each("bytes", bytes.len(), n)?;
    if let Some(wrong) = bytes.iter().find(|size| !BYTES.contains(size)) {
        let message = format!("`bytes` is {wrong}, not in 1 to {}", BYTES.end());
        return Err(out_of_range("bytes", message));
    }
    let share = document.kept.unwrap_or(1.0);
    if !(share > 0.0 && share <= 1.0) {
        let message = format!("`kept` is {share:?}, not above 0 and at most 1");
        return Err(out_of_range("kept", message));
    }
    let peers = match document.bytes_per_s {
        Rates::Server(_) | Rates::All(_) if document.rounds.is_some() => {
            let message = "`rounds` says nothing of nodes that do not average in pairs";
            return Err(Diagnostic::input("invalid-field", message)
                .hint("leave it out, or give `bytes_per_s` of each pair"));
        }
        Rates::All(bytes_per_s) => Peers::All(all::replicas(
            (document.latency_s, document.compute_s, document.least_sent),
            (bytes_per_s, &bytes, n),
            document.sync.unwrap_or_default(),
        )?),
        Rates::Server(bytes_per_s) => Peers::Server { bytes_per_s },
        Rates::Pairs(rows) => {
            Peers::Pairs { bytes_per_s: square(rows, &nodes)?, rounds: rounds(document.rounds, n)? }
        }
    };
    let instance = AveragingInstance { name: name.to_owned(), nodes, bytes, kept: share, peers };
    check_rates(&instance)?;
    Ok(Instance::Averaging(instance))
}

fn of_each(what: &str, n: usize, nodes: usize) -> Result<(), Diagnostic> {
    if n == nodes {
        return Ok(());
    }
    let message = format!("`{what}` are {n}, and `bytes_per_s` is of {nodes} nodes");
    Err(Diagnostic::input("not-square", message).hint("give one for each node"))
}

fn rounds(stated: Option<u64>, n: usize) -> Result<usize, Diagnostic> {
    let Some(rounds) = stated else {
        let message = "`rounds` is missing: after how many rounds all nodes are to be joined";
        let error = Diagnostic::input("invalid-field", message);
        return Err(error.hint("write \"rounds\": 4, or so many as your window has"));
    };
    let of = usize::try_from(rounds).unwrap_or(usize::MAX);
    match (1..=MAX_ROUNDS).contains(&rounds) && of.saturating_mul(n) <= MAX_PAIRS {
        true => Ok(of),
        false => {
            let message = format!("`rounds` is {rounds}, not in 1 to {MAX_ROUNDS}, or too many");
            Err(out_of_range("rounds", message))
        }
    }
}

/// Rows of as many numbers as there are rows, 0 where there is no way.
fn square(rows: Vec<Vec<Option<f64>>>, nodes: &[String]) -> Result<Vec<f64>, Diagnostic> {
    let mut all = Vec::with_capacity(nodes.len() * nodes.len());
    for (at, row) in rows.into_iter().enumerate() {
        if row.len() != nodes.len() {
            let message = format!(
                "row {at} of `bytes_per_s` has {} numbers, and there are {} rows",
                row.len(),
                nodes.len()
            );
            return Err(Diagnostic::input("not-square", message)
                .hint("give the bandwidth of each node to each, 0 or null where there is no way"));
        }
        let rate = row.get(at).copied().flatten().unwrap_or_default();
        if rate != 0.0 {
            let message = format!("`bytes_per_s` of `{}` to itself is {rate:?}", nodes[at]);
            return Err(out_of_range("bytes_per_s", message).hint("write 0 or null there"));
        }
        all.extend(row.into_iter().map(Option::unwrap_or_default));
    }
    Ok(all)
}

/// Refuses rates that are none, and exchanges that take longer than the clock counts.
fn check_rates(instance: &AveragingInstance) -> Result<(), Diagnostic> {
    let n = instance.nodes.len();
    let (rates, is_matrix) = match &instance.peers {
        Peers::All(_) => return Ok(()),
        Peers::Pairs { bytes_per_s, .. } => (bytes_per_s, true),
        Peers::Server { bytes_per_s } => (bytes_per_s, false),
    };
    for (at, rate) in rates.iter().enumerate() {
        let (from, to) = if is_matrix { (at / n, at % n) } else { (at, at) };
        if is_matrix && *rate == 0.0 {
            continue;
        }
        let most = instance.bytes[from].max(instance.bytes[to]) as f64;
        if *rate > 0.0 && *rate <= MAX_RATE && most / rate <= MAX_SECONDS {
            continue;
        }
        let ends = if is_matrix {
            format!("`{}` to `{}`", instance.nodes[from], instance.nodes[to])
        } else {
            format!("`{}`", instance.nodes[from])
        };
        let message = format!(
            "`bytes_per_s` of {ends} is {rate:?}: not above 0 and at most {MAX_RATE:e}, or a model takes longer than {MAX_SECONDS:e} s"
        );
        return Err(out_of_range("bytes_per_s", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIRS: &str = r#"{"kind": "averaging", "nodes": ["a", 2, "c"], "bytes": 100, "kept": 0.5,
        "bytes_per_s": [[0, 3, null], [4, null, 1], [0, 2, 0]], "rounds": 2}"#;
    const SERVER: &str =
        r#"{"kind": "averaging", "bytes": [100, 7], "kept": 0.5, "bytes_per_s": [3, 0.5]}"#;

    fn of(text: &str) -> Result<AveragingInstance, Diagnostic> {
        match read(&text.as_bytes(), "t")? {
            Instance::Averaging(instance) => Ok(instance),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn files_are_read() {
        let instance = of(PAIRS).unwrap();
        assert_eq!((instance.nodes[1].as_str(), instance.sent(0)), ("2", 50));
        let bytes_per_s = vec![0.0, 3.0, 0.0, 4.0, 0.0, 1.0, 0.0, 2.0, 0.0];
        assert_eq!(instance.peers, Peers::Pairs { bytes_per_s, rounds: 2 });
        let instance = of(SERVER).unwrap();
        assert_eq!((instance.nodes[1].as_str(), instance.sent(1)), ("1", 4));
        assert_eq!(instance.peers, Peers::Server { bytes_per_s: vec![3.0, 0.5] });
    }

    const ALL: &str = r#"{"kind": "averaging", "bytes": 100, "bytes_per_s": 3, "replicas": 4,
        "latency_s": 0.1, "compute_s": 2, "least_sent": 0.1,
        "sync": [{"by": "cser", "every": [2, 4], "r1": [8], "r2": [2, 3]},
                 {"by": "local-adaalter", "every": [8]}]}"#;

    #[test]
    fn periods_are_read() {
        let instance = of(ALL).unwrap();
        let Peers::All(all) = &instance.peers else { panic!("{instance:?}") };
        assert_eq!((instance.nodes.len(), instance.bytes[3], all.ways.len()), (4, 100, 2));
        assert_eq!(
            (all.ways[0].every.as_slice(), all.ways[1].models.as_slice()),
            (&[2, 4][..], &[1.0][..])
        );
        let field = "invalid-field";
        let range = "number-out-of-range";
        for (from, to, code) in [
            ("\"replicas\": 4", "\"kept\": 0.5, \"replicas\": 4", field),
            ("\"replicas\": 4", "\"rounds\": 4, \"replicas\": 4", field),
            ("\"replicas\": 4,", "", field),
            ("\"replicas\": 4", "\"replicas\": 1", "empty-instance"),
            ("\"replicas\": 4", "\"replicas\": 4000000000", "size-budget"),
            ("\"replicas\": 4", "\"replicas\": 4, \"nodes\": [\"a\", \"b\"]", field),
            ("\"bytes\": 100", "\"bytes\": [100, 100, 100, 7]", field),
            ("\"least_sent\": 0.1,", "", field),
            ("\"least_sent\": 0.1", "\"least_sent\": 2", range),
            ("\"compute_s\": 2,", "", field),
            ("\"compute_s\": 2", "\"compute_s\": -2", range),
            ("\"latency_s\": 0.1", "\"latency_s\": -1", range),
            ("\"bytes_per_s\": 3", "\"bytes_per_s\": 0", range),
            ("[2, 4]", "[0, 4]", range),
            ("[2, 4]", "[]", range),
            ("[8], \"r2\"", "[0.5], \"r2\"", range),
            ("\"local-adaalter\"", "\"cser\"", field),
            ("\"local-adaalter\"", "\"gossip\"", field),
            ("\"every\": [8]", "\"every\": [8], \"r1\": [2]", field),
        ] {
            let text = ALL.replacen(from, to, 1);
            assert_ne!(text, ALL, "{from}");
            assert_eq!(of(&text).unwrap_err().code, code, "{to}");
        }
        for name in ["\"sync\": []", "\"replicas\": 2", "\"compute_s\": 1", "\"least_sent\": 1"] {
            let text = SERVER.replacen("\"kept\"", &format!("{name}, \"kept\""), 1);
            assert_eq!(of(&text).unwrap_err().code, field, "{name}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (file, from, to, code) in [
            (PAIRS, "[0, 3, null]", "[0, 3]", "not-square"),
            (PAIRS, "[\"a\", 2, \"c\"]", "[\"a\", 2]", "not-square"),
            (PAIRS, "[\"a\", 2, \"c\"]", "[\"a\", 2, \"2\"]", "duplicate-id"),
            (PAIRS, "[0, 3, null]", "[0, -3, null]", "number-out-of-range"),
            (PAIRS, "[0, 3, null]", "[1, 3, null]", "number-out-of-range"),
            (PAIRS, "[0, 3, null]", "[0, 1e-300, null]", "number-out-of-range"),
            (PAIRS, "\"rounds\": 2", "\"rounds\": 0", "number-out-of-range"),
            (PAIRS, ", \"rounds\": 2", "", "invalid-field"),
            (PAIRS, "0.5", "0", "number-out-of-range"),
            (PAIRS, "0.5", "1.5", "number-out-of-range"),
            (PAIRS, "\"bytes\": 100", "\"bytes\": 0", "number-out-of-range"),
            (PAIRS, "\"averaging\"", "\"gossip\"", "invalid-field"),
            (SERVER, "[3, 0.5]}", "[3, 0]}", "number-out-of-range"),
            (SERVER, "[3, 0.5]}", "[3, 0.5], \"rounds\": 2}", "invalid-field"),
            (SERVER, "[100, 7]", "[100]", "not-square"),
            (SERVER, "[3, 0.5]", "[3]", "empty-instance"),
            (SERVER, "[3, 0.5]", "[]", "empty-instance"),
        ] {
            let text = file.replacen(from, to, 1);
            assert_ne!(text, file, "{from}");
            assert_eq!(of(&text).unwrap_err().code, code, "{to}");
        }
        assert!(of(&PAIRS.replacen("\"bytes\"", "\"rank\": 1, \"bytes\"", 1)).is_err());
    }
}
