//! Worked examples, every figure by hand.

use cost_model::ops::judge::memory::{Holding, HoldingKind, Level, Peak, alive, curves, peaks};
use cost_model::ops::judge::replay::{Span, replay};
use cost_model::ops::judge::report::report;
use cost_model::ops::judge::verify::{Violation, verify};
use ir::cluster::Duplex;
use ir::id::{ChannelId, DeviceId, OpId};
use ir::schedule::Task;
use ir::tensor::Role;
use ir::units::Nanos;

use crate::cases::{Case, cluster, plan, transfer};

fn spans(timeline: &cost_model::ops::judge::replay::Timeline) -> Vec<Option<(u64, u64)>> {
    timeline.ops.iter().map(|s| s.map(|Span { start, end }| (start, end))).collect()
}

/// A feeds B and C, which feed D; x is 2 bytes, y and z 1; the latency is 1 ns.
#[test]
fn a_join_with_a_shared_tensor_on_two_devices() {
    let mut case =
        Case { cluster: cluster(&[(0, 10), (0, 10)], 1.0, Duplex::Full), ..Case::default() };
    let (x, y, z) = (case.activation("x", 2), case.activation("y", 1), case.activation("z", 1));
    case.op("A", &[(0, 2)], &[], &[x]);
    case.op("B", &[(0, 4)], &[x], &[y]);
    case.op("C", &[(0, 5)], &[x], &[z]);
    case.op("D", &[(0, 1)], &[y, z], &[]);
    let problem = case.problem();
    let sent = vec![transfer(x, 1), transfer(y, 1)];
    let channels = [(ChannelId(0), sent.clone()), (ChannelId(3), sent)];
    let plan = plan(4, &[&[0, 1], &[2, 3]], &channels, &[]);
    assert_eq!(verify(&problem, &plan), []);
    let timeline = replay(&problem, &plan).unwrap();
    assert_eq!(spans(&timeline), [Some((0, 2)), Some((2, 6)), Some((5, 10)), Some((10, 11))]);
    let moved: Vec<_> = timeline.transfers.iter().map(|t| (t.transfer, t.span)).collect();
    let expected =
        [(transfer(x, 1), Span { start: 2, end: 5 }), (transfer(y, 1), Span { start: 6, end: 8 })];
    assert_eq!(moved, expected);
    assert_eq!(timeline.step_time, Nanos(11));
    let found = peaks(&problem, &plan, &timeline);
    assert_eq!(found, [Peak { bytes: 3, at: 2 }, Peak { bytes: 4, at: 6 }]);
    let report = report(&problem, &plan, &timeline);
    // d1 is receiving over [2,5) and [6,8), the latter behind C.
    let times: Vec<_> =
        report.devices.iter().map(|d| (d.compute_ns, d.communication_ns, d.idle_ns)).collect();
    assert_eq!(times, [(6, 2, 3), (6, 3, 2)]);
    let links: Vec<_> =
        report.links.iter().map(|l| (l.channel.0, l.busy_ns, l.bytes, l.n_transfers)).collect();
    assert_eq!(links, [(0, 5, 3, 2), (3, 5, 3, 2)]);
    assert!(!report.nominal);
}

/// B holds 6 of the 8 bytes of d1 over [0,5), so the transfer of x (4 bytes) waits for it.
#[test]
fn a_transfer_that_waits_for_memory() {
    let mut case =
        Case { cluster: cluster(&[(0, 8), (1, 8)], 1.0, Duplex::Full), ..Case::default() };
    let x = case.activation("x", 4);
    case.op("A", &[(0, 1)], &[], &[x]);
    let b = case.op("B", &[(1, 5)], &[], &[]);
    case.op("C", &[(1, 2)], &[x], &[]);
    case.temporary[b.index()] = 6;
    let problem = case.problem();
    let sent = vec![transfer(x, 1)];
    let channels = [(ChannelId(0), sent.clone()), (ChannelId(3), sent)];
    let rows: [&[u32]; 2] = [&[0], &[1, 2]];
    let wait = [(Task::Transfer(transfer(x, 1)), vec![Task::Op(OpId(1))])];
    let waiting = plan(3, &rows, &channels, &wait);
    assert_eq!(verify(&problem, &waiting), []);
    let timeline = replay(&problem, &waiting).unwrap();
    assert_eq!(spans(&timeline), [Some((0, 1)), Some((0, 5)), Some((10, 12))]);
    let found = peaks(&problem, &waiting, &timeline);
    assert_eq!(found, [Peak { bytes: 4, at: 0 }, Peak { bytes: 6, at: 0 }]);

    let hasty = plan(3, &rows, &channels, &[]);
    let holding = |what, name: &str, bytes| Holding { what, name: name.to_owned(), bytes };
    let both = vec![holding(HoldingKind::Temporary, "B", 6), holding(HoldingKind::Copy, "x", 4)];
    let expected = Violation::MemoryExceeded {
        device: DeviceId(1),
        at: 1,
        need: 10,
        limit: 8,
        op: Some(b),
        alive: both.clone(),
    };
    assert_eq!(verify(&problem, &hasty), std::slice::from_ref(&expected));
    let timeline = replay(&problem, &hasty).unwrap();
    assert_eq!(timeline.step_time, Nanos(8));
    assert_eq!(alive(&problem, &hasty, &timeline, DeviceId(1), 1), both);
    let diagnostic = expected.diagnostic(&problem);
    assert_eq!(diagnostic.code, "memory-exceeded");
    assert_eq!(diagnostic.message, "`d1` holds 10 B at 1 ns, but has room for 8 B");
}

/// The transfer lasts the latency and takes no memory.
#[test]
fn a_tensor_of_no_bytes_is_sent_at_the_price_of_the_latency() {
    let mut case =
        Case { cluster: cluster(&[(0, 10), (1, 10)], 5.0, Duplex::Full), ..Case::default() };
    let x = case.activation("x", 0);
    let a = case.op("A", &[(0, 3)], &[], &[x]);
    let b = case.op("B", &[(1, 2)], &[x], &[]);
    case.temporary[a.index()] = 4;
    case.temporary[b.index()] = 2;
    let problem = case.problem();
    let sent = vec![transfer(x, 1)];
    let plan = plan(2, &[&[0], &[1]], &[(ChannelId(0), sent.clone()), (ChannelId(3), sent)], &[]);
    assert_eq!(verify(&problem, &plan), []);
    let timeline = replay(&problem, &plan).unwrap();
    assert_eq!(spans(&timeline), [Some((0, 3)), Some((8, 10))]);
    let found = peaks(&problem, &plan, &timeline);
    assert_eq!(found, [Peak { bytes: 4, at: 0 }, Peak { bytes: 2, at: 8 }]);
}

/// Parameters count once per device, graph inputs until their last reader ends, a view's readers
/// keep its root, an output that nobody reads goes with its op, and a graph output stays.
#[test]
fn each_rule_of_memory_by_hand() {
    let mut case = Case { cluster: cluster(&[(0, 100)], 1.0, Duplex::Full), ..Case::default() };
    let w = case.tensor("w", 16, Role::Parameter);
    case.graph.tensors[w.index()].state_bytes = ir::units::Bytes(16);
    let fed = case.tensor("fed", 8, Role::Input);
    let (x, seen) = (case.activation("x", 4), case.activation("seen", 4));
    let (unread, returned) = (case.activation("unread", 2), case.activation("kept", 1));
    case.op("A", &[(0, 2)], &[w, fed], &[x, unread]);
    let view = case.op("view", &[], &[x], &[seen]);
    case.graph.ops[view.index()].work = ir::op::Work::View;
    case.op("B", &[(0, 2)], &[w], &[returned]);
    case.op("C", &[(0, 2)], &[seen], &[]);
    case.op("D", &[(0, 2)], &[], &[]);
    case.graph.outputs.push(returned);
    let problem = case.problem();
    let mut plan = plan(5, &[&[0, 2, 3, 4]], &[], &[]);
    plan.placement.device[view.index()] = None;
    assert_eq!(verify(&problem, &plan), []);
    let timeline = replay(&problem, &plan).unwrap();
    let at = |at| {
        let holdings = alive(&problem, &plan, &timeline, DeviceId(0), at);
        holdings.iter().map(|h| (h.name.clone(), h.bytes)).collect::<Vec<_>>()
    };
    let named = |list: &[(&str, u64)]| -> Vec<(String, u64)> {
        list.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect()
    };
    assert_eq!(at(0), named(&[("w", 32), ("fed", 8), ("x", 4), ("unread", 2)]));
    assert_eq!(at(2), named(&[("w", 32), ("x", 4), ("kept", 1)]));
    assert_eq!(at(5), named(&[("w", 32), ("x", 4), ("kept", 1)]));
    assert_eq!(at(6), named(&[("w", 32), ("kept", 1)]));
    assert_eq!(peaks(&problem, &plan, &timeline), [Peak { bytes: 46, at: 0 }]);
    assert_eq!(report(&problem, &plan, &timeline).devices[0].parameter_bytes, 32);
}

/// The caller takes the outputs once the step is over, so all of them lie there then (M2), however
/// short the op that made one; what only this op read is gone.
#[test]
fn an_output_made_at_the_last_instant_counts() {
    let mut case = Case { cluster: cluster(&[(0, 100)], 1.0, Duplex::Full), ..Case::default() };
    let (x, y) = (case.activation("x", 60), case.activation("y", 80));
    let (read, unread) = (case.activation("read", 30), case.activation("unread", 7));
    case.op("A", &[(0, 5)], &[], &[x, read]);
    let b = case.op("B", &[(0, 0)], &[x, read], &[y, unread]);
    case.temporary[b.index()] = 9;
    case.graph.outputs = vec![x, y];
    let plan = plan(2, &[&[0, 1]], &[], &[]);
    let timeline = replay(&case.problem(), &plan).unwrap();
    assert_eq!(timeline.step_time, Nanos(5));
    // 60 + 30 while A runs, 60 + 80 when the step is over.
    assert_eq!(peaks(&case.problem(), &plan, &timeline), [Peak { bytes: 140, at: 5 }]);
    let levels = [(0, 90), (5, 140)].map(|(at, bytes)| Level { at, bytes });
    assert_eq!(curves(&case.problem(), &plan, &timeline), [levels]);
    let mut found = |limit| {
        case.cluster.devices[0].capacity = Some(ir::units::Bytes(limit));
        verify(&case.problem(), &plan)
    };
    assert_eq!(found(140), []);
    let found = found(139);
    assert!(matches!(found[..], [Violation::MemoryExceeded { at: 5, need: 140, .. }]), "{found:?}");
}

/// In a step of no length nothing but parameters and graph outputs is ever there.
#[test]
fn a_step_of_no_length_leaves_its_outputs() {
    let mut case = Case { cluster: cluster(&[(0, 100)], 1.0, Duplex::Full), ..Case::default() };
    let w = case.tensor("w", 5, Role::Parameter);
    let fed = case.tensor("fed", 8, Role::Input);
    let (x, y) = (case.activation("x", 60), case.activation("y", 80));
    case.op("A", &[(0, 0)], &[w, fed], &[x]);
    case.op("B", &[(0, 0)], &[x], &[y]);
    case.graph.outputs = vec![y];
    let plan = plan(2, &[&[0, 1]], &[], &[]);
    let timeline = replay(&case.problem(), &plan).unwrap();
    assert_eq!(timeline.step_time, Nanos(0));
    assert_eq!(peaks(&case.problem(), &plan, &timeline), [Peak { bytes: 85, at: 0 }]);
    assert_eq!(verify(&case.problem(), &plan), []);
    case.cluster.devices[0].capacity = Some(ir::units::Bytes(84));
    let found = verify(&case.problem(), &plan);
    assert!(matches!(found[..], [Violation::MemoryExceeded { at: 0, need: 85, .. }]), "{found:?}");
}
