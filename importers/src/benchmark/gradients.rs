//! Gradients of a data-parallel step: sizes, when each is there, and what exchanging them costs.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use ir::diagnostic::Diagnostic;
use ir::instance::{
    Exchange, ExchangeCost, GradientInstance, GradientTensor, Instance, Lossy, LossyCost,
};
use serde::Deserialize;

use super::quantity::out_of_range;
use crate::json;
use crate::source::{self, Source};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    gradients: Vec<TensorDocument>,
    replicas: u64,
    samples: Option<u64>,
    forward_s: f64,
    backward_s: Option<f64>,
    exchange: Vec<ExchangeDocument>,
    #[serde(default)]
    lossy: Vec<LossyDocument>,
    element_bytes: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TensorDocument {
    name: String,
    bytes: u64,
    ready_s: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExchangeDocument {
    by: String,
    start_up_s: Option<f64>,
    latency_s: Option<f64>,
    bytes_per_s: f64,
    servers: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LossyDocument {
    by: String,
    start_up_s: Option<f64>,
    latency_s: Option<f64>,
    bytes_per_s: f64,
    servers: Option<u64>,
    density: Option<f64>,
    index_bytes: Option<u64>,
    software_s_per_element: Option<f64>,
    ratio: Option<f64>,
    encode_bytes_per_s: Option<f64>,
    decode_bytes_per_s: Option<f64>,
    cores: Option<u64>,
    threshold_bytes: Option<u64>,
}

/// Most tensors: a search looks at every pair of them.
const MAX_TENSORS: usize = 20_000;
/// Most bytes of all gradients: far below where a double counts them no more.
const MAX_BYTES: u64 = 1 << 50;
/// Longest step, in seconds, were every tensor exchanged alone after all passes.
const MAX_SECONDS: f64 = 1e9;
/// What sums of times may be off by, in seconds: half of what values are told in.
const ROUNDING_S: f64 = 5e-10;
/// Bytes of an element, and of its index, where none are stated.
const ELEMENT_BYTES: u64 = 4;
const INDEX_BYTES: u64 = 4;
/// Most bytes of either.
const MAX_ELEMENT_BYTES: u64 = 16;
/// Counts of replicas, servers and cores.
const COUNTS: RangeInclusive<u64> = 1..=1_000_000_000;

/// Reads an instance.
///
/// # Errors
/// Those of the JSON reader, and `empty-instance`, `size-budget`, `duplicate-id`,
/// `number-out-of-range`, `invalid-field`.
pub(crate) fn read(source: &dyn Source, name: &str) -> Result<Instance, Diagnostic> {
    let document: Document = json::parse(&source::read_all(source, json::MAX_BYTES)?)?;
    let Document {
        gradients,
        replicas,
        samples,
        forward_s,
        backward_s,
        exchange,
        lossy,
        element_bytes,
    } = document;
    super::quantity::some_nodes(gradients.len(), "gradients")?;
    if gradients.len() > MAX_TENSORS {
        let message =
            format!("the file has {} gradients, more than {MAX_TENSORS}", gradients.len());
        return Err(Diagnostic::input("size-budget", message)
            .fact("limit", MAX_TENSORS)
            .hint("join those of a layer into one"));
    }
    if replicas < 2 {
        let message = format!("`replicas` is {replicas}: gradients are exchanged among 2 or more");
        return Err(out_of_range("replicas", message));
    }
    count("replicas", replicas)?;
    samples.map_or(Ok(()), |n| count("samples", n))?;
    seconds("forward_s", forward_s)?;
    let tensors = tensors(gradients)?;
    let last_s = tensors.last().map_or(0.0, |tensor| tensor.ready_s);
    let backward_s = backward_s.unwrap_or(last_s);
    seconds("backward_s", backward_s)?;
    // Sums of the same times in another order are the same time.
    if last_s > backward_s + ROUNDING_S {
        let message =
            format!("`backward_s` is {backward_s:?}, and a gradient is there after {last_s:?} s");
        return Err(out_of_range("backward_s", message));
    }
    let backward_s = backward_s.max(last_s);
    let costs = costs(&exchange, replicas)?;
    let element_bytes = element_bytes.unwrap_or(ELEMENT_BYTES);
    if !(1..=MAX_ELEMENT_BYTES).contains(&element_bytes) {
        let message = format!("`element_bytes` is {element_bytes}, not in 1..={MAX_ELEMENT_BYTES}");
        return Err(out_of_range("element_bytes", message));
    }
    let lossy = lossy_costs(&lossy, replicas, element_bytes)?;
    let name = name.to_owned();
    let instance = GradientInstance {
        name,
        replicas,
        samples,
        forward_s,
        backward_s,
        costs,
        lossy,
        element_bytes,
        tensors,
    };
    check_length(&instance)?;
    Ok(Instance::Gradients(instance))
}

/// Refuses steps that no clock counts, even where each gradient is exchanged alone after all passes.
fn check_length(instance: &GradientInstance) -> Result<(), Diagnostic> {
    let n = instance.tensors.len() as f64;
    let bytes = instance.tensors.iter().map(|tensor| tensor.bytes).sum::<u64>() as f64;
    let dense = instance
        .costs
        .iter()
        .map(|cost| (cost.exchange.name(), n * cost.start_up_s + bytes * cost.per_byte_s));
    let lossy = instance.lossy.iter().map(|cost| {
        // An element that is sent for each byte is more than there can be.
        let sent = (bytes + n) * cost.sent_element_bytes as f64 * cost.per_sent_byte_s;
        (cost.by.name(), n * cost.start_up_s + bytes * cost.per_byte_s + sent)
    });
    for (name, exchange_s) in dense.chain(lossy) {
        let longest_s = instance.forward_s + instance.backward_s + exchange_s;
        if !(0.0..=MAX_SECONDS).contains(&longest_s) {
            let message = format!(
                "the step would take {longest_s:.3e} s with each gradient alone by `{name}`, more than \
                 {MAX_SECONDS:.0e}"
            );
            return Err(out_of_range("exchange", message));
        }
    }
    Ok(())
}

/// The tensors in the order of readiness; those that are there at once stay as they are.
fn tensors(documents: Vec<TensorDocument>) -> Result<Vec<GradientTensor>, Diagnostic> {
    let mut names = HashSet::with_capacity(documents.len());
    if let Some(twice) = documents.iter().find(|document| !names.insert(document.name.as_str())) {
        let message = format!("two gradients are called `{}`", twice.name);
        return Err(Diagnostic::input("duplicate-id", message).hint("give each a name of its own"));
    }
    drop(names);
    let mut bytes = 0_u64;
    let mut tensors = Vec::with_capacity(documents.len());
    for TensorDocument { name, bytes: size, ready_s } in documents {
        seconds("ready_s", ready_s)?;
        bytes = bytes.saturating_add(size);
        if size == 0 || bytes > MAX_BYTES {
            let message = match size {
                0 => format!("the gradient `{name}` has no bytes"),
                _ => format!("the gradients have more than {MAX_BYTES} bytes"),
            };
            return Err(out_of_range("bytes", message));
        }
        tensors.push(GradientTensor { name, bytes: size, ready_s });
    }
    tensors.sort_by(|a, b| a.ready_s.total_cmp(&b.ready_s));
    Ok(tensors)
}

/// What each way of exchange costs over so many replicas (Jiang et al., "A Unified Architecture for
/// Accelerating Distributed DNN Training", OSDI 2020, section 2): a ring sends `2 (P - 1) / P` of the
/// bytes over each link, and so do servers that share the replicas' links; servers of their own receive
/// and send `P / servers` times the bytes, and no less than once.
fn costs(documents: &[ExchangeDocument], replicas: u64) -> Result<Vec<ExchangeCost>, Diagnostic> {
    let mut costs: Vec<ExchangeCost> = Vec::new();
    for document in documents {
        let names = Exchange::ALL.map(Exchange::name).join(" or ");
        let found = Exchange::ALL.into_iter().find(|exchange| exchange.name() == document.by);
        let Some(exchange) = found else {
            let message = format!("`by` is `{}`, not {names}", document.by);
            return Err(invalid(message));
        };
        if costs.iter().any(|other| other.exchange == exchange) {
            return Err(invalid(format!("`{}` is stated twice", document.by)));
        }
        let start_up_s =
            start_up(document.start_up_s, document.latency_s, exchange.messages(replicas))?;
        if exchange == Exchange::AllReduce && document.servers.is_some() {
            return Err(invalid("`servers` belong to `parameter-server`".to_owned()));
        }
        let factor = factor(replicas, document.servers)?;
        let per_byte_s = factor / rate("bytes_per_s", document.bytes_per_s)?;
        costs.push(ExchangeCost { exchange, start_up_s, per_byte_s });
    }
    if costs.is_empty() {
        return Err(invalid("`exchange` states no cost".to_owned()));
    }
    Ok(costs)
}

/// Times that each byte goes over a link.
fn factor(replicas: u64, servers: Option<u64>) -> Result<f64, Diagnostic> {
    let n = replicas as f64;
    Ok(match servers {
        None => 2.0 * (n - 1.0) / n,
        Some(servers) => {
            count("servers", servers)?;
            f64::max(1.0, n / servers as f64)
        }
    })
}

/// Seconds before the first byte: as stated, or so many messages of a link.
fn start_up(stated: Option<f64>, latency_s: Option<f64>, messages: f64) -> Result<f64, Diagnostic> {
    match (stated, latency_s) {
        (Some(start_up_s), None) => seconds("start_up_s", start_up_s).map(|()| start_up_s),
        (None, Some(latency_s)) => seconds("latency_s", latency_s).map(|()| messages * latency_s),
        _ => Err(invalid("state `start_up_s` or `latency_s`, one of them".to_owned())),
    }
}

/// What each way costs that sends a part.
fn lossy_costs(
    documents: &[LossyDocument],
    replicas: u64,
    element_bytes: u64,
) -> Result<Vec<LossyCost>, Diagnostic> {
    let mut costs: Vec<LossyCost> = Vec::new();
    for document in documents {
        let names = Lossy::ALL.map(Lossy::name).join(", ");
        let Some(by) = Lossy::ALL.into_iter().find(|by| by.name() == document.by) else {
            return Err(invalid_lossy(format!("`by` is `{}`, not one of {names}", document.by)));
        };
        if costs.iter().any(|other| other.by == by) {
            return Err(invalid_lossy(format!("`{}` is stated twice", document.by)));
        }
        let is_sparse = by != Lossy::TwoWay;
        let vain = [
            ("density", !is_sparse && document.density.is_some()),
            ("index_bytes", !is_sparse && document.index_bytes.is_some()),
            ("software_s_per_element", !is_sparse && document.software_s_per_element.is_some()),
            ("ratio", is_sparse && document.ratio.is_some()),
            ("encode_bytes_per_s", is_sparse && document.encode_bytes_per_s.is_some()),
            ("decode_bytes_per_s", is_sparse && document.decode_bytes_per_s.is_some()),
            ("cores", is_sparse && document.cores.is_some()),
            ("servers", is_sparse && document.servers.is_some()),
        ];
        if let Some((name, _)) = vain.into_iter().find(|(_, is_vain)| *is_vain) {
            return Err(invalid_lossy(format!("`{name}` means nothing to `{}`", document.by)));
        }
        costs.push(match is_sparse {
            true => sparse(by, document, replicas, element_bytes)?,
            false => two_way(document, replicas)?,
        });
    }
    Ok(costs)
}

/// The largest elements, each with its index (HKBU-HPML/gtopkssgd).
fn sparse(
    by: Lossy,
    document: &LossyDocument,
    replicas: u64,
    element_bytes: u64,
) -> Result<LossyCost, Diagnostic> {
    let missing = || invalid_lossy(format!("`{}` needs a `density`", document.by));
    let density = document.density.ok_or_else(missing)?;
    if !(density > 0.0 && density <= 1.0) {
        return Err(out_of_range("density", format!("`density` is {density:?}, not in (0, 1]")));
    }
    let index_bytes = document.index_bytes.unwrap_or(INDEX_BYTES);
    if index_bytes > MAX_ELEMENT_BYTES {
        let message = format!("`index_bytes` is {index_bytes}, more than {MAX_ELEMENT_BYTES}");
        return Err(out_of_range("index_bytes", message));
    }
    let software_s = document.software_s_per_element.unwrap_or(0.0);
    seconds("software_s_per_element", software_s)?;
    Ok(LossyCost {
        by,
        start_up_s: start_up(document.start_up_s, document.latency_s, by.messages(replicas))?,
        per_byte_s: software_s / element_bytes as f64,
        per_sent_byte_s: by.sent_times(replicas) / rate("bytes_per_s", document.bytes_per_s)?,
        density,
        sent_element_bytes: element_bytes + index_bytes,
        threshold_bytes: document.threshold_bytes.unwrap_or(0),
    })
}

/// All elements in fewer bytes: encoded, sent and decoded piece by piece, so that the slowest of the
/// three counts (Zhong et al., "Compressed Communication for Distributed Training", 2021).
fn two_way(document: &LossyDocument, replicas: u64) -> Result<LossyCost, Diagnostic> {
    let Some(ratio) = document.ratio else {
        return Err(invalid_lossy("`two-way` needs a `ratio`: bytes over bytes sent".to_owned()));
    };
    if !(1.0..=1e6).contains(&ratio) {
        return Err(out_of_range("ratio", format!("`ratio` is {ratio:?}, not in 1..=1e6")));
    }
    let cores = document.cores.unwrap_or(1);
    count("cores", cores)?;
    if document.cores.is_some()
        && document.encode_bytes_per_s.is_none()
        && document.decode_bytes_per_s.is_none()
    {
        let message = "`cores` mean nothing without `encode_bytes_per_s` or `decode_bytes_per_s`";
        return Err(invalid_lossy(message.to_owned()));
    }
    let of_cores = |what, stated: Option<f64>| match stated {
        None => Ok(0.0),
        Some(stated) => rate(what, stated).map(|rate| 1.0 / (rate * cores as f64)),
    };
    let encode = of_cores("encode_bytes_per_s", document.encode_bytes_per_s)?;
    let decode = of_cores("decode_bytes_per_s", document.decode_bytes_per_s)?;
    let send =
        factor(replicas, document.servers)? / rate("bytes_per_s", document.bytes_per_s)? / ratio;
    Ok(LossyCost {
        by: Lossy::TwoWay,
        start_up_s: start_up(
            document.start_up_s,
            document.latency_s,
            Lossy::TwoWay.messages(replicas),
        )?,
        per_byte_s: encode.max(decode).max(send),
        per_sent_byte_s: 0.0,
        density: 1.0 / ratio,
        sent_element_bytes: 1,
        threshold_bytes: document.threshold_bytes.unwrap_or(0),
    })
}

fn rate(what: &'static str, value: f64) -> Result<f64, Diagnostic> {
    match (1.0..=1e18).contains(&value) {
        true => Ok(value),
        false => Err(out_of_range(what, format!("`{what}` is {value:?}, not in 1..=1e18"))),
    }
}

fn invalid_lossy(message: String) -> Diagnostic {
    Diagnostic::input("invalid-field", message).hint(
        "state a way as {\"by\": \"top-k\", \"density\": 0.001, \"start_up_s\": 1e-3, \
         \"bytes_per_s\": 1.25e9} or {\"by\": \"two-way\", \"ratio\": 32, ...}",
    )
}

fn seconds(what: &'static str, seconds: f64) -> Result<(), Diagnostic> {
    match (0.0..=MAX_SECONDS).contains(&seconds) {
        true => Ok(()),
        false => {
            Err(out_of_range(what, format!("`{what}` is {seconds:?}, not in 0..={MAX_SECONDS}")))
        }
    }
}

fn count(what: &'static str, count: u64) -> Result<(), Diagnostic> {
    if COUNTS.contains(&count) {
        return Ok(());
    }
    let message = format!("`{what}` is {count}, not in {} to {}", COUNTS.start(), COUNTS.end());
    Err(out_of_range(what, message))
}

fn invalid(message: String) -> Diagnostic {
    Diagnostic::input("invalid-field", message).hint(
        "state what an exchange costs as {\"by\": \"all-reduce\", \"start_up_s\": 3.6e-4, \
         \"bytes_per_s\": 1.25e9}",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"replicas": 8, "forward_s": 1, "gradients": [
        {"name": "a", "bytes": 4, "ready_s": 2}, {"name": "b", "bytes": 6, "ready_s": 1}],
        "exchange": [{"by": "all-reduce", "start_up_s": 0.5, "bytes_per_s": 2},
        {"by": "parameter-server", "start_up_s": 0.25, "bytes_per_s": 2, "servers": 2}]}"#;

    fn of(text: &str) -> Result<GradientInstance, Diagnostic> {
        match read(&text.as_bytes(), "x")? {
            Instance::Gradients(instance) => Ok(instance),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_is_read_in_the_order_of_readiness() {
        let instance = of(FILE).unwrap();
        assert_eq!(instance.tensors[0].name, "b");
        assert_eq!((instance.replicas, instance.samples, instance.backward_s), (8, None, 2.0));
        // 2 x 7 / 8 over 2 bytes a second; 8 replicas on two servers of their own, and on 16, and shared.
        assert_eq!(instance.costs[0].per_byte_s, 0.875);
        assert_eq!(instance.costs[1].per_byte_s, 2.0);
        let many = of(&FILE.replace("\"servers\": 2", "\"servers\": 16")).unwrap();
        assert_eq!(many.costs[1].per_byte_s, 0.5);
        let shared = of(&FILE.replace(", \"servers\": 2", "")).unwrap();
        assert_eq!(shared.costs[1].per_byte_s, 0.875);
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (from, to, code) in [
            ("\"replicas\": 8", "\"replicas\": 1", "number-out-of-range"),
            ("\"replicas\": 8", "\"replicas\": 8, \"samples\": 0", "number-out-of-range"),
            ("\"forward_s\": 1", "\"forward_s\": -1", "number-out-of-range"),
            ("\"forward_s\": 1", "\"forward_s\": 1e300", "number-out-of-range"),
            ("\"forward_s\": 1", "\"forward_s\": 1, \"backward_s\": 1", "number-out-of-range"),
            ("\"bytes\": 4", "\"bytes\": 0", "number-out-of-range"),
            ("\"bytes\": 4", "\"bytes\": 18446744073709551615", "number-out-of-range"),
            ("\"start_up_s\": 0.5", "\"start_up_s\": 9e8", "number-out-of-range"),
            ("\"bytes_per_s\": 2}", "\"bytes_per_s\": 0}", "number-out-of-range"),
            ("\"servers\": 2", "\"servers\": 0", "number-out-of-range"),
            ("\"bytes_per_s\": 2}", "\"bytes_per_s\": 2, \"servers\": 3}", "invalid-field"),
            ("parameter-server", "all-reduce", "invalid-field"),
            ("parameter-server", "gossip", "invalid-field"),
            ("\"name\": \"b\"", "\"name\": \"a\"", "duplicate-id"),
        ] {
            let text = FILE.replacen(from, to, 1);
            assert_ne!(text, FILE, "{from}");
            assert_eq!(of(&text).unwrap_err().code, code, "{to}");
        }
        assert!(of(&FILE.replacen("\"replicas\"", "\"speed\": 1, \"replicas\"", 1)).is_err());
        let none = r#"{"replicas": 8, "forward_s": 1, "gradients": [], "exchange": []}"#;
        assert_eq!(of(none).unwrap_err().code, "empty-instance");
    }
}
