//! The least step time of a tiny problem by walking the clock one nanosecond at a time: every set
//! of states that can be reached at an instant, for every placement. Slow, and free of every idea
//! that `brute-force` uses (events, left shifts, bounds, mirror images, remembered states), which
//! it is there to check. Works from the rules of `docs/conventions.md` alone.

use std::collections::BTreeSet;

use cost_model::ops::problem::{Problem, UNSUPPORTED};
use ir::id::{ChannelId, DeviceId, OpId, TensorId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Op(OpId),
    Copy(TensorId, DeviceId),
}

#[derive(Debug)]
struct Job {
    what: What,
    length: u64,
    device: DeviceId,
    channels: Vec<ChannelId>,
    needs: Vec<usize>,
}

/// Nanoseconds left by job; `None` = not started, `Some(0)` = done.
type State = Vec<Option<u64>>;

/// The least step time, or `None` if no plan exists.
pub(crate) fn least_step_time(problem: &Problem) -> Option<u64> {
    let mut best: Option<u64> = None;
    let n_devices = problem.cluster.n_devices();
    let n_placements = n_devices.pow(problem.actions.len() as u32);
    for number in 0..n_placements {
        let mut device = vec![DeviceId::new(0); problem.n_ops()];
        let mut rest = number;
        for op in &problem.actions {
            device[op.index()] = DeviceId::new(rest % n_devices);
            rest /= n_devices;
        }
        let allowed = problem.actions.iter().all(|op| problem.can_place(*op, device[op.index()]));
        let together = problem
            .groups
            .iter()
            .all(|group| group.iter().all(|op| device[op.index()] == device[group[0].index()]));
        if allowed
            && together
            && parameters_fit(problem, &device)
            && let Some(jobs) = jobs(problem, &device)
            && let Some(time) = walk(problem, &device, &jobs, best)
        {
            best = Some(best.map_or(time, |b| b.min(time)));
        }
    }
    best
}

fn parameters_fit(problem: &Problem, device: &[DeviceId]) -> bool {
    problem.cluster.device_ids().all(|d| {
        let parameters: BTreeSet<TensorId> = problem
            .actions
            .iter()
            .filter(|op| device[op.index()] == d)
            .flat_map(|op| problem.parameters(*op).iter().copied())
            .collect();
        parameters.iter().map(|t| problem.persistent_bytes(*t)).sum::<u64>()
            <= problem.memory_limit(d)
    })
}

fn jobs(problem: &Problem, device: &[DeviceId]) -> Option<Vec<Job>> {
    let mut jobs: Vec<Job> = Vec::new();
    for &op in &problem.actions {
        let here = device[op.index()];
        let length = problem.time_ns(op, here);
        jobs.push(Job {
            what: What::Op(op),
            length,
            device: here,
            channels: vec![],
            needs: vec![],
        });
    }
    for &op in &problem.actions {
        let here = device[op.index()];
        for &tensor in problem.inputs(op) {
            let Some(producer) = problem.producer(tensor) else { continue };
            let from = device[producer.index()];
            let source = place_of(&jobs, What::Op(producer))?;
            let need = if from == here {
                source
            } else if let Some(at) = place_of(&jobs, What::Copy(tensor, here)) {
                at
            } else {
                let route = problem.cluster.route(from, here)?;
                let length = problem.transfer_ns(tensor, from, here);
                assert_ne!(length, UNSUPPORTED);
                jobs.push(Job {
                    what: What::Copy(tensor, here),
                    length,
                    device: here,
                    channels: vec![route.send, route.receive],
                    needs: vec![source],
                });
                jobs.len() - 1
            };
            let at = place_of(&jobs, What::Op(op))?;
            jobs[at].needs.push(need);
        }
    }
    Some(jobs)
}

fn place_of(jobs: &[Job], what: What) -> Option<usize> {
    jobs.iter().position(|job| job.what == what)
}

/// Whether two jobs can't run at the same time.
fn clash(a: &Job, b: &Job) -> bool {
    match (a.what, b.what) {
        (What::Op(_), What::Op(_)) => a.device == b.device,
        (What::Copy(..), What::Copy(..)) => a.channels.iter().any(|c| b.channels.contains(c)),
        _ => false,
    }
}

/// The end of the step on a placement, if it is below `best`.
fn walk(problem: &Problem, device: &[DeviceId], jobs: &[Job], best: Option<u64>) -> Option<u64> {
    let mut states = BTreeSet::from([vec![None; jobs.len()]]);
    for now in 0.. {
        if best.is_some_and(|best| now >= best) || states.is_empty() {
            return None;
        }
        let mut next = BTreeSet::new();
        for state in states {
            for settled in instants(jobs, state) {
                let is_over = settled.iter().all(|left| *left == Some(0));
                if is_over && fits(problem, device, jobs, &settled) {
                    return Some(now);
                }
                for running in choices(jobs, &settled) {
                    let idle = running.iter().all(|left| matches!(left, None | Some(0)));
                    if !idle && fits(problem, device, jobs, &running) {
                        next.insert(
                            running.iter().map(|l| l.map(|left| left.saturating_sub(1))).collect(),
                        );
                    }
                }
            }
        }
        states = next;
    }
    None
}

fn can_start(jobs: &[Job], state: &State, at: usize) -> bool {
    state[at].is_none()
        && jobs[at].needs.iter().all(|need| state[*need] == Some(0))
        && (0..jobs.len()).all(|other| {
            !(state[other].is_some_and(|left| left > 0) && clash(&jobs[at], &jobs[other]))
        })
}

/// What jobs of no length can make of a state without time passing.
fn instants(jobs: &[Job], state: State) -> BTreeSet<State> {
    let mut found = BTreeSet::from([state.clone()]);
    let mut open = vec![state];
    while let Some(state) = open.pop() {
        for at in (0..jobs.len()).filter(|at| jobs[*at].length == 0) {
            if can_start(jobs, &state, at) {
                let mut after = state.clone();
                after[at] = Some(0);
                if found.insert(after.clone()) {
                    open.push(after);
                }
            }
        }
    }
    found
}

/// Every set of jobs that can start together.
fn choices(jobs: &[Job], state: &State) -> Vec<State> {
    let mut found = vec![state.clone()];
    for at in (0..jobs.len()).filter(|at| jobs[*at].length > 0) {
        for index in 0..found.len() {
            if can_start(jobs, &found[index], at) {
                let mut started = found[index].clone();
                started[at] = Some(jobs[at].length);
                found.push(started);
            }
        }
    }
    found
}

/// Whether every device holds no more than its limit from now on: over the nanosecond that begins,
/// or for the caller, when the step is over.
fn fits(problem: &Problem, device: &[DeviceId], jobs: &[Job], state: &State) -> bool {
    let mut used = vec![0u64; problem.cluster.n_devices()];
    let status = |what: What| place_of(jobs, what).and_then(|at| state[at]);
    let is_done = |what: What| status(what) == Some(0);
    let unread = |tensor: TensorId, at: DeviceId| {
        let mut readers = problem.consumers(tensor).iter();
        readers.any(|op| device[op.index()] == at && !is_done(What::Op(*op)))
    };
    for d in problem.cluster.device_ids() {
        let (mut parameters, mut fed) = (BTreeSet::<TensorId>::new(), BTreeSet::<TensorId>::new());
        for &op in problem.actions.iter().filter(|op| device[op.index()] == d) {
            parameters.extend(problem.parameters(op));
            fed.extend(problem.graph_inputs(op).iter().filter(|tensor| unread(**tensor, d)));
        }
        used[d.index()] += parameters.iter().map(|t| problem.persistent_bytes(*t)).sum::<u64>();
        used[d.index()] += fed.iter().map(|t| problem.bytes(*t)).sum::<u64>();
    }
    for (at, job) in jobs.iter().enumerate() {
        let Some(left) = state[at] else { continue };
        let here = &mut used[job.device.index()];
        match job.what {
            What::Copy(tensor, to) => {
                if unread(tensor, to) {
                    *here += problem.bytes(tensor);
                }
            }
            What::Op(op) => {
                if left > 0 {
                    *here += problem.temporary(op);
                }
                for &tensor in problem.outputs(op) {
                    let leaving = jobs.iter().any(|copy| {
                        matches!(copy.what, What::Copy(t, _) if t == tensor) && !is_done(copy.what)
                    });
                    let is_needed =
                        problem.is_output(tensor) || unread(tensor, job.device) || leaving;
                    if is_needed || left > 0 {
                        *here += problem.bytes(tensor);
                    }
                }
            }
        }
    }
    problem.cluster.device_ids().all(|d| used[d.index()] <= problem.memory_limit(d))
}
