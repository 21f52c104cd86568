//! What no legal plan can beat: lower bounds on the objectives, and counting arguments that no plan
//! fits into memory. Each bound's proof stands beside its code.

mod certificate;
mod device_types;
mod group;
mod max_load;
mod near;
mod paths;
mod route;
mod split;
mod window;
mod work;

use ir::diagnostic::Diagnostic;
use ir::units::Nanos;

use crate::ops::problem::Problem;
use device_types::DeviceTypes;
pub use max_load::max_load_bound;
use paths::Paths;
use work::Work;

/// A value of the objective that no legal plan is below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The value.
    pub value: Nanos,
    /// The argument that yields it: `none`, `critical-path`, `near-ancestors`, `work`,
    /// `pigeonhole`, `group`, `window`, `split` or `dearest`.
    pub method: &'static str,
}

/// A proof that no plan fits into memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// Code `memory-exceeded`, [`ir::diagnostic::Blame::Infeasible`]; the facts `need`, `have`,
    /// `missing` and `certificate` give the argument.
    pub diagnostic: Diagnostic,
    /// Least memory limit in bytes that, given to each device, leaves no argument standing:
    /// necessary, not sufficient.
    pub enough_each: Option<u64>,
    /// How many devices leave no argument standing, where all are alike and open to all ops and
    /// more of them help: necessary, not sufficient.
    pub enough_devices: Option<u64>,
}

/// The greatest of all bounds; the first named where several are equal.
///
/// Close to linear in the size of the graph times the square of the number of device types.
#[must_use]
pub fn lower_bound(problem: &Problem) -> Bound {
    let mut best = Bound { value: Nanos::ZERO, method: "none" };
    let mut offer = |value: u64, method| {
        if value > best.value.get() {
            best = Bound { value: Nanos(value), method };
        }
    };
    let types = DeviceTypes::new(problem);
    let work = Work::new(problem, &types);
    let mut paths = Paths::new(problem, &types);
    if let Some(paths) = &mut paths {
        offer(paths.longest(), "critical-path");
        near::raise(problem, &types, paths);
        offer(paths.longest(), "near-ancestors");
    }
    offer(work.fractional(), "work");
    offer(work.pigeonhole(), "pigeonhole");
    if let Some(paths) = &paths {
        offer(group::bound(problem, &types, paths), "group");
        offer(window::bound(problem, &types, &work, paths), "window");
        offer(split::bound(problem, &types, paths), "split");
    }
    best
}

/// A proof that no plan fits into memory, if one of the counting arguments finds it. `None` says
/// nothing; a certificate is never wrong.
#[must_use]
pub fn memory_certificate(problem: &Problem) -> Option<Certificate> {
    certificate::find(problem)
}

/// A proof that a tensor can never get from its producer to one of its consumers: code `no-route`,
/// [`ir::diagnostic::Blame::Infeasible`]. `None` says nothing; a certificate is never wrong.
#[must_use]
pub fn route_certificate(problem: &Problem) -> Option<Diagnostic> {
    route::find(problem)
}
