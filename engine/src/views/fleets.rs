//! The view of a fleet: the first iterations of a worker of each type.

use cost_model::serving::replay::Ran;

use super::builder::Builder;
use super::head::Role;
use super::kind::Kind;
use super::lane::Slice;
use crate::kinds::fleet::observed::Observed;

/// The file of a fleet, by type the first iterations of a worker that was empty.
pub(super) fn file(types: &[Observed], end_ns: u64) -> Vec<u8> {
    let mut to = Builder::new("fleet", end_ns, &[]);
    for of in types {
        lane(&mut to, of, end_ns);
    }
    to.finished()
}

/// A lane with an iteration in each slice; between them there is no request.
fn lane(to: &mut Builder, Observed { name, iterations }: &Observed, end_ns: u64) {
    let nothing = to.names.thing("no request", None, None);
    let idle = |start| Slice { start, kind: Kind::Input, thing: nothing, micro_batch: None };
    let mut slices = Vec::new();
    let mut at = 0;
    for ran in iterations {
        let (start, end) = span(ran);
        let (start, end) = (start.max(at), end.min(end_ns));
        if start >= end {
            continue;
        }
        if start > at {
            slices.push(idle(at));
        }
        let (kind, text) = told(ran);
        let thing = to.names.thing(&text, None, None);
        slices.push(Slice { start, kind, thing, micro_batch: None });
        at = end;
    }
    if at < end_ns {
        slices.push(idle(at));
    }
    to.lane(name, None, Role::Device, &slices);
}

/// Beginning and end of an iteration, nanoseconds.
pub(super) fn span(ran: &Ran) -> (u64, u64) {
    let ns = |seconds: f64| (1e9 * seconds).round() as u64;
    (ns(ran.start_s), ns(ran.start_s + ran.seconds))
}

fn told(ran: &Ran) -> (Kind, String) {
    let prefill = format!("{} prompt tokens", ran.n_prompt_tokens);
    match (ran.n_prompt_tokens, ran.n_decoding) {
        (0, n) => (Kind::Decode, format!("{n} decoding")),
        (_, 0) => (Kind::Prefill, prefill),
        (_, n) => (Kind::Mixed, format!("{prefill}, {n} decoding")),
    }
}
