//! Max-load of a model's plan: how long the busiest device works on one sample when samples follow
//! each other (Tarnawski et al., "Efficient algorithms for device placement of DNN graph
//! operators", NeurIPS 2020, throughput), on devices and links that may all differ.
//!
//! The load of a device is the time of its ops, plus for each tensor that it receives the time of
//! that transfer (once, however many ops read it there), plus for each tensor that it sends the
//! time of its slowest transfer (once, however many devices receive it). On equal links that is
//! the definition for instances with given costs ([`crate::given::max_load`]). Memory is that of
//! a replay of one step, as for every plan.

mod session;

use ir::id::{DeviceId, TensorId};
use ir::plan::{Placement, Plan};
use ir::units::Nanos;

use crate::ops::judge::verify::Violation;
use crate::ops::problem::{Problem, UNSUPPORTED};

pub use session::LoadSession;

/// What keeps one device busy, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Time of its ops.
    pub compute_ns: u64,
    /// Each tensor that leaves it once: the slowest of its transfers.
    pub send_ns: u64,
    /// Each tensor that reaches it once.
    pub receive_ns: u64,
}

impl Load {
    /// All of it.
    #[must_use]
    pub fn total_ns(&self) -> u64 {
        self.compute_ns.saturating_add(self.send_ns).saturating_add(self.receive_ns)
    }
}

/// The load of each device, by id.
///
/// # Errors
/// An op without a device, on one that is not there or can't run it; a tensor without a way.
pub fn loads(problem: &Problem, placement: &Placement) -> Result<Vec<Load>, Violation> {
    let n_devices = problem.cluster.n_devices();
    let mut loads = vec![Load::default(); n_devices];
    for &op in &problem.actions {
        let device = placement.of(op).ok_or(Violation::Unplaced { op })?;
        let load = loads.get_mut(device.index()).ok_or(Violation::UnknownDevice { op, device })?;
        match problem.time_ns(op, device) {
            UNSUPPORTED => return Err(Violation::NotPlaceable { op, device }),
            time => load.compute_ns = load.compute_ns.saturating_add(time),
        }
    }
    let mut reached = vec![usize::MAX; n_devices];
    for tensor in (0..problem.n_tensors()).map(TensorId::new) {
        let Some(from) = problem.producer(tensor).and_then(|op| placement.of(op)) else { continue };
        reached[from.index()] = tensor.index();
        let mut slowest = 0;
        for to in problem.consumers(tensor).iter().filter_map(|op| placement.of(*op)) {
            if std::mem::replace(&mut reached[to.index()], tensor.index()) == tensor.index() {
                continue;
            }
            let time = transfer(problem, tensor, from, to)?;
            let receive = &mut loads[to.index()].receive_ns;
            *receive = receive.saturating_add(time);
            slowest = time.max(slowest);
        }
        let send = &mut loads[from.index()].send_ns;
        *send = send.saturating_add(slowest);
    }
    Ok(loads)
}

fn transfer(
    problem: &Problem,
    tensor: TensorId,
    from: DeviceId,
    to: DeviceId,
) -> Result<u64, Violation> {
    match problem.transfer_ns(tensor, from, to) {
        UNSUPPORTED => Err(Violation::NoRoute { tensor, from, to }),
        time => Ok(time),
    }
}

/// The greatest load of a plan.
///
/// # Errors
/// As [`loads`].
pub fn evaluate(problem: &Problem, plan: &Plan) -> Result<Nanos, Violation> {
    let loads = loads(problem, &plan.placement)?;
    Ok(Nanos(loads.iter().map(Load::total_ns).max().unwrap_or(0)))
}
