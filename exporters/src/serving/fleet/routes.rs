//! What routes requests to the replicas of a fleet.

use std::collections::BTreeSet;

use documents::plan::fleet::RoleDocument::{self, Aggregated, Decode, Prefill};
use documents::plan::fleet::are_equal_hosts;
use ir::diagnostic::Diagnostic;

use super::facts::{Facts, is_disaggregated};

/// Where a replica listens.
#[derive(Clone)]
pub(super) struct Listens {
    /// What it serves.
    pub(super) role: RoleDocument,
    /// Its first host.
    pub(super) host: String,
    /// Its port.
    pub(super) port: u64,
    /// Its port beside that one: NIXL's of vLLM, SGLang's bootstrap server.
    pub(super) side: u64,
}

/// First ports of an engine on each host, and their distance.
pub(super) struct Ports {
    /// First port, and distance to that of the next replica.
    pub(super) http: (u64, u64),
    /// First port beside it.
    pub(super) side: u64,
    /// Ports beside it that a replica takes.
    pub(super) side_step: fn(&Facts<'_>) -> u64,
}

/// Where replicas listen, type by type; those of a host on different ports.
pub(super) fn listeners(all: &[Facts<'_>], ports: &Ports) -> Vec<Vec<Listens>> {
    let mut used: Vec<(String, u64, u64)> = Vec::new();
    let mut of = |facts: &Facts<'_>, host: String| {
        let at = used.iter().position(|row| row.0 == host).unwrap_or_else(|| {
            used.push((host.clone(), ports.http.0, ports.side));
            used.len() - 1
        });
        let (mut port, mut side) = (ports.http.0, ports.side);
        if let Some(row) = used.get_mut(at) {
            (port, side) = (row.1, row.2);
            (row.1, row.2) = (port + ports.http.1, side + (ports.side_step)(facts));
        }
        Listens { role: facts.worker.role, host, port, side }
    };
    let mut replicas = |facts: &Facts<'_>| {
        let hosts = facts.replicas.iter().filter_map(|shares| shares.first());
        hosts.map(|share| of(facts, share.host.clone())).collect()
    };
    all.iter().map(&mut replicas).collect()
}

/// Addresses of the replicas of a role, each behind a word and followed by what it adds.
pub(super) fn addresses(
    all: &[Vec<Listens>],
    role: RoleDocument,
    write: impl Fn(&Listens) -> String,
) -> Vec<String> {
    all.iter().flatten().filter(|of| of.role == role).map(write).collect()
}

/// Requests per second that workers which hand over, and those that do not, serve.
fn rates(all: &[Facts<'_>]) -> [f64; 2] {
    let rate = |role| -> f64 {
        let of = all.iter().filter(|facts| facts.worker.role == role);
        of.map(|facts| facts.worker.requests_per_s * facts.replicas.len() as f64).sum()
    };
    [rate(Prefill).min(rate(Decode)), rate(Aggregated)]
}

/// Comment lines about routers, `(for those that hand over, for those that do not)`: where hand-overs stay within equal
/// hosts, one of the former on each, or a warning that the script's only one joins them.
pub(super) fn lines(
    all: &[Facts<'_>],
    places: &[Vec<Listens>],
    routers: Routers,
) -> (String, Option<Diagnostic>) {
    let rates = rates(all);
    let sum: f64 = rates.iter().sum();
    let [handing, whole] = routers(places);
    let is_both = handing.is_some() && whole.is_some();
    let share = |rate: f64| match is_both && sum > 0.0 {
        true => format!("{:.0} % of requests: ", 100.0 * rate / sum),
        false => String::new(),
    };
    let hosts = hosts_within(all).filter(|hosts| hosts.len() > 1).unwrap_or_default();
    let of_host = |host: &&str| {
        let on = |of: &Vec<Listens>| of.iter().filter(|at| at.host == **host).cloned().collect();
        let places: Vec<Vec<Listens>> = places.iter().map(on).collect();
        let [router, _] = routers(&places);
        // That of TensorRT-LLM has its servers in a file.
        router.filter(|own| handing.as_ref() != Some(own)).map(|own| format!("on {host}, {own}"))
    };
    let by_host: Vec<String> = hosts.iter().filter_map(of_host).collect();
    let joining = (hosts.len() > by_host.len()).then(|| {
        let n = hosts.len();
        let message = format!("the plan has a router on each of {n} hosts, the script one for all");
        Diagnostic::warning("one-router", message)
            .hint("start a router on each host with the servers of that host")
    });
    let handing = if by_host.is_empty() { handing.into_iter().collect() } else { by_host };
    let each = handing.len().max(1) as f64;
    let handing = handing.into_iter().map(|router| (router, rates[0] / each));
    let all = handing.chain(whole.map(|router| (router, rates[1])));
    (all.map(|(router, rate)| format!("# {}{router}\n", share(rate))).collect(), joining)
}

/// Commands of routers, for workers that hand requests over and for those that do not.
pub(super) type Routers = fn(&[Vec<Listens>]) -> [Option<String>; 2];

/// Hosts of the workers that hand over, where all of it stays within equal hosts.
pub(super) fn hosts_within<'f>(all: &'f [Facts<'_>]) -> Option<BTreeSet<&'f str>> {
    let parts = all.iter().filter(|facts| is_disaggregated(facts.worker)).enumerate();
    let replicas = parts.flat_map(|(at, facts)| {
        facts.replicas.iter().map(move |of| (at, of.iter().map(|of| of.host.as_str()).collect()))
    });
    let replicas: Vec<(usize, BTreeSet<&str>)> = replicas.collect();
    let hosts = replicas.iter().flat_map(|of| of.1.iter().copied()).collect();
    are_equal_hosts(replicas).then_some(hosts)
}

/// That routers share requests out equally where replicas of a role do not serve as many.
pub(super) fn unequal(all: &[Facts<'_>]) -> Option<Diagnostic> {
    let differs = |role: &RoleDocument| {
        let mut rates = all
            .iter()
            .filter(|facts| facts.worker.role == *role)
            .map(|facts| facts.worker.requests_per_s);
        let first = rates.next();
        rates.find(|rate| Some(*rate) != first).zip(first)
    };
    let role = [Prefill, Decode, Aggregated].into_iter().find(|role| differs(role).is_some())?;
    let (other, first) = differs(&role)?;
    let message = format!(
        "routers share requests equally among {} workers; the plan has {first:.3} and {other:.3} \
         requests/s per replica",
        role.name()
    );
    Some(Diagnostic::warning("unequal-shares", message))
}
