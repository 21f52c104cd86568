//! Scripts that start a replica of a fleet: which one is said where the script is called.

use ir::diagnostic::Diagnostic;

use super::facts::{Facts, Share, facts};
use super::routes::{Listens, lines, listeners, unequal};
use super::servers::{SGLANG_SERVER, Server, TRTLLM_SERVER, VLLM_SERVER};
use super::source::{DYNAMO, FleetSource, yaml};
use crate::format::Export;
use crate::modules::refusal;
use crate::serving::HEAD;
use crate::serving::stages::is_strange;

pub(crate) fn vllm(source: &FleetSource<'_>) -> Result<Export, Diagnostic> {
    written(source, &VLLM_SERVER, arguments)
}

pub(crate) fn sglang(source: &FleetSource<'_>) -> Result<Export, Diagnostic> {
    written(source, &SGLANG_SERVER, arguments)
}

pub(crate) fn trtllm(source: &FleetSource<'_>) -> Result<Export, Diagnostic> {
    written(source, &TRTLLM_SERVER, options)
}

/// What a worker's type is told as flags.
fn arguments(facts: &Facts<'_>, server: &Server) -> Result<String, Diagnostic> {
    let words = facts.arguments(server.engine);
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let exported = facts
        .partition(server.engine)
        .map_or_else(String::new, |(name, layers)| format!(" export {name}={layers};"));
    let [before, flag] = (server.beside)(facts);
    Ok(format!("{exported}{before} flags=({}{flag}) ;;\n", words.join(" ")))
}

/// What a worker's type is told as a file of options.
fn options(facts: &Facts<'_>, server: &Server) -> Result<String, Diagnostic> {
    let options = yaml(&facts.options(server.engine))?;
    Ok(format!(" cat > \"$config\" <<'END'\n{options}END\n;;\n"))
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.,:/=".contains(c));
    if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

fn written(
    source: &FleetSource<'_>,
    server: &Server,
    told: fn(&Facts<'_>, &Server) -> Result<String, Diagnostic>,
) -> Result<Export, Diagnostic> {
    let (engine, target) = (server.engine, server.engine.target);
    let (all, mut warnings) = facts(source, engine, target)?;
    let is_wide = |facts: &&Facts<'_>| facts.replicas.iter().any(|shares| shares.len() > 1);
    if let Some(wide) = all.iter().find(is_wide).filter(|_| server.of_hosts.is_none()) {
        let message =
            format!("this script starts {} on one host; {} spans several", engine.name, wide.name);
        return Err(
            refusal(target, message).hint(format!("export {DYNAMO}, or plan workers on one host"))
        );
    }
    let places = listeners(&all, &server.ports);
    let mut shares = all.iter().flat_map(|facts| facts.replicas.iter().flatten());
    if let Some(strange) = shares.find(|share| is_strange(&share.host)) {
        let message = format!("`{}` is no host name for a script", strange.host);
        return Err(refusal(target, message).hint("name hosts by letters, digits, . and -"));
    }
    warnings.extend(unequal(&all));
    let mut text = format!(
        "{HEAD}# {} {}. On the host of a replica: bash {target}.sh WORKER REPLICA MODEL [more flags]\n",
        engine.name, server.version
    );
    for facts in &all {
        text.push_str(&format!("# {}: {}\n", facts.name, hosts(&facts.replicas)));
    }
    let (routers, joining) = lines(&all, &places, server.routers);
    warnings.extend(joining);
    text.push_str(&routers);
    text.push_str(&(server.before)(&places)?);
    text.push_str("of_host=()\ncase \"$1/$2/${NODE_RANK-}\" in\n");
    for (facts, places) in all.iter().zip(&places) {
        for (replica, (shares, at)) in facts.replicas.iter().zip(places).enumerate() {
            text.push_str(&entries(server, (&facts.name, replica), shares, at));
        }
    }
    text.push_str("*) echo \"no replica $2 of worker $1 on this host\" >&2; exit 1 ;;\nesac\n");
    text.push_str("case \"$1\" in\n");
    for facts in &all {
        text.push_str(&format!("{}){}", facts.name, told(facts, server)?));
    }
    text.push_str("esac\n: \"${3:?no model}\"\nexport CUDA_VISIBLE_DEVICES=$devices\n");
    text.push_str(server.start);
    Ok(Export { warnings, ..Export::from(text) })
}

/// Devices and ports of a replica, host by host.
fn entries(
    server: &Server,
    (worker, replica): (&str, usize),
    shares: &[Share],
    at: &Listens,
) -> String {
    let of = |(rank, share): (usize, &Share)| {
        let numbers: Vec<String> = share.numbers.iter().map(u64::to_string).collect();
        let side = if at.side > 0 { format!(" side={}", at.side) } else { String::new() };
        let (pattern, hosts) = match server.of_hosts.filter(|_| shares.len() > 1) {
            None => ("*".to_owned(), String::new()),
            Some(flags) => {
                let flags = flags(shares.len(), rank, &at.host);
                (rank.to_string(), format!(" of_host=({flags})"))
            }
        };
        format!(
            "{worker}/{replica}/{pattern}) devices={} port={}{side}{hosts} ;;\n",
            numbers.join(","),
            at.port
        )
    };
    shares.iter().enumerate().map(of).collect()
}

/// Hosts of replicas in a line; those that follow each other on a host together.
fn hosts(replicas: &[Vec<Share>]) -> String {
    let mut runs: Vec<(String, usize, usize)> = Vec::new();
    for (at, shares) in replicas.iter().enumerate() {
        let names: Vec<&str> = shares.iter().map(|share| share.host.as_str()).collect();
        let mut name = names.join("+");
        if names.len() > 1 {
            name.push_str(" (on each, with NODE_RANK=0, 1 ..)");
        }
        match runs.last_mut().filter(|run| run.0 == name) {
            Some(run) => run.2 = at,
            None => runs.push((name, at, at)),
        }
    }
    let of = |(name, from, to): &(String, usize, usize)| match from == to {
        true => format!("{from} on {name}"),
        false => format!("{from}-{to} on {name}"),
    };
    runs.iter().map(of).collect::<Vec<_>>().join(", ")
}
