//! m-TOPO: topological order, cut into devices by memory.
//!
//! # Decides
//! Placement.
//!
//! # Idea
//! Ops in topological order fill the first device up to an even share of all memory, then the
//! second, and so on. A colocation group moves as one, where its first op stands.
//!
//! # Paper
//! Jeon et al., "Baechi: fast device placement of machine learning graphs", SoCC 2020, section 3.
//! Shares follow the limits of the devices instead of being equal; `docs/conventions.md`, T1-T4.
//!
//! # Guarantee
//! None.
//!
//! # Complexity
//! O(ops + edges + devices).
//!
//! # Limits
//! Sums bytes as if everything lived for ever, and still may exceed a limit: the share is not
//! the limit.
//!
//! With `cap=limit` (not in the paper) the cuts are moved up to 12 times: each device is given an
//! amount in proportion to how much of its limit the judged peak of the last try took.
//!
//! # Example
//! `meshwright place model.onnx --algorithm 'm-topo(cap=limit)'`

mod limits;

use cost_model::ops::problem::Problem;
use ir::diagnostic::Diagnostic;
use ir::id::{DeviceId, OpId};
use ir::plan::Placement;
use ir::units::Bytes;

use crate::draft::Draft;
use crate::run::Run;
use crate::run::algorithm::{Decide, OptionRow, Options, Row};
use crate::run::no_plan::{NoPlan, Reason};

/// `cap`.
pub const CAP: OptionRow = OptionRow {
    name: "cap",
    unit: "share|limit",
    default: "share",
    summary: "limit: moves the cuts until the judged peak of each device suits its memory limit",
};

/// Options of the row.
pub const OPTIONS: &[OptionRow] = &[CAP];

/// Up to where a device is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cap {
    Share,
    Limit,
}

struct MTopo {
    /// See [`CAP`].
    cap: Cap,
}

/// Makes the row ready to run.
///
/// # Errors
/// `bad-option`.
pub fn build(options: &Options) -> Result<Row, Diagnostic> {
    let cap = if options.word(&CAP)? == "limit" { Cap::Limit } else { Cap::Share };
    Ok(Row::Decide(Box::new(MTopo { cap })))
}

impl Decide for MTopo {
    fn decide(&self, run: &Run, draft: Draft) -> Result<Draft, NoPlan> {
        let problem = run.problem();
        let solved = match self.cap {
            Cap::Share => solve(problem),
            Cap::Limit => limits::solve(problem, &mut || run.stopped().is_some()),
        };
        match solved {
            Ok(placement) => Ok(draft.placed(placement)),
            Err(rest) => Err(NoPlan::not_found(
                Reason::MemoryExceeded,
                "memory-exceeded",
                format!(
                    "the shares of all devices are full before op `{}`",
                    problem.graph.op(rest.op).name
                ),
            )
            .fact("op", problem.graph.op(rest.op).name.clone())
            .fact("need", Bytes(rest.need))),
        }
    }
}

/// The first op without a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The op.
    pub op: OpId,
    /// Bytes of its unit.
    pub need: u64,
}

/// Fills one device after the other.
///
/// # Errors
/// The first op for which no device is left (T4).
pub fn solve(problem: &Problem) -> Result<Placement, Leftover> {
    let mem = sizes(problem);
    fill(problem, &mem, &shares(problem, &mem))
}

/// T2: bytes of each unit, kept with its first member; 0 elsewhere.
fn sizes(problem: &Problem) -> Vec<u64> {
    let mut mem = vec![0; problem.n_ops()];
    for &op in &problem.actions {
        let unit = unit(problem, &op);
        if unit.first() == Some(&op) {
            mem[op.index()] = unit_bytes(problem, unit);
        }
    }
    mem
}

/// T3 and T4 with these caps.
fn fill(problem: &Problem, mem: &[u64], caps: &[u128]) -> Result<Placement, Leftover> {
    let mut placement = Placement { device: vec![None; problem.n_ops()] };
    let mut device = 0;
    let mut used = 0u64;
    for op in problem.topological_order() {
        if placement.of(op).is_some() {
            continue;
        }
        let unit = unit(problem, &op);
        let need = unit.first().map_or(0, |first| mem[first.index()]);
        // T3: equality included, never back.
        loop {
            let Some(cap) = caps.get(device) else {
                return Err(Leftover { op, need });
            };
            let sum = used.saturating_add(need);
            // What can run a group was worked out for all of its members at once.
            if u128::from(sum) <= *cap && problem.can_place(op, DeviceId::new(device)) {
                used = sum;
                break;
            }
            device += 1;
            used = 0;
        }
        for member in unit {
            placement.device[member.index()] = Some(DeviceId::new(device));
        }
    }
    Ok(placement)
}

/// The members of an op's group, or the op alone.
fn unit<'a>(problem: &'a Problem, op: &'a OpId) -> &'a [OpId] {
    match problem.group_of(*op) {
        Some(group) => &problem.groups[group.index()],
        None => std::slice::from_ref(op),
    }
}

/// T2: greatest temporary + parameters + outputs.
fn unit_bytes(problem: &Problem, unit: &[OpId]) -> u64 {
    let temporary = unit.iter().map(|op| problem.temporary(*op)).max().unwrap_or(0);
    let outputs = unit.iter().flat_map(|op| problem.outputs(*op)).map(|t| problem.bytes(*t));
    let mut parameters: Vec<_> =
        unit.iter().flat_map(|op| problem.parameters(*op)).copied().collect();
    // Each parameter once.
    parameters.sort_unstable();
    parameters.dedup();
    let persistent = parameters.into_iter().map(|t| problem.persistent_bytes(t));
    outputs.chain(persistent).fold(temporary, u64::saturating_add)
}

/// T2: cap(d) = floor(sum of mem x limit(d) / sum of limits) + max mem.
fn shares(problem: &Problem, mem: &[u64]) -> Vec<u128> {
    let sum = mem.iter().copied().fold(0u64, u64::saturating_add);
    let most = u128::from(mem.iter().copied().max().unwrap_or(0));
    let limits: Vec<u64> = problem
        .cluster
        .device_ids()
        .map(|device| match problem.memory_limit(device) {
            u64::MAX => sum,
            limit => limit,
        })
        .collect();
    let total: u128 = limits.iter().map(|limit| u128::from(*limit)).sum();
    let share = |limit: &u64| {
        let product = u128::from(sum) * u128::from(*limit);
        product.checked_div(total).unwrap_or(0) + most
    };
    limits.iter().map(share).collect()
}
