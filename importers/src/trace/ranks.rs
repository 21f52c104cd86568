//! Traces of several ranks of one job as one graph: the ops of a rank share a device, and a
//! collective waits for what its peers bring to it.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::{GroupId, OpId, TensorId};
use ir::op::{Op, Work};
use ir::order::topological;
use ir::tensor::{DType, Role, Tensor};
use ir::units::Bytes;

use crate::import::Import;
use crate::instance::check_acyclic;

/// What one rank did.
pub(super) struct Rank {
    /// Its number.
    pub(super) number: u64,
    /// Its graph.
    pub(super) import: Import,
    /// Its messages in order, each with the name of its group.
    pub(super) collectives: Vec<(OpId, String)>,
    /// By op of its graph, nanoseconds of its time in which nothing ran.
    pub(super) idle: Vec<u64>,
}

impl Rank {
    /// The first and only rank, of whose messages and idle time nothing is known.
    pub(super) fn of(import: Import) -> Self {
        let idle = vec![0; import.graph.ops.len()];
        Self { number: 0, import, collectives: Vec::new(), idle }
    }
}

/// Joins ranks: the `n`-th collective of a group is the same message on all of them.
///
/// # Errors
/// `duplicate-rank`, `ranks-disagree`, `graph-cycle`.
pub(super) fn join(mut ranks: Vec<Rank>) -> Result<Import, Diagnostic> {
    ranks.sort_by_key(|rank| rank.number);
    if let Some(pair) = ranks.windows(2).find(|pair| pair[0].number == pair[1].number) {
        let what = format!("two traces are of rank {}", pair[0].number);
        return Err(Diagnostic::input("duplicate-rank", what)
            .fact("rank", pair[0].number)
            .hint("give one trace of each rank"));
    }
    let messages = matched(&ranks)?;
    if messages.iter().all(|message| message.len() < 2) {
        let what = "no two of the traces share a message: they are not of one job";
        return Err(Diagnostic::input("ranks-disagree", what)
            .hint("give the traces of all ranks of one job, or plan one of them alone"));
    }
    let mut joined: Option<Import> = None;
    let mut offsets = Vec::new();
    for rank in ranks {
        offsets.push(joined.as_ref().map_or(0, |all| all.graph.ops.len()));
        joined = Some(match joined {
            None => prefixed(rank),
            Some(all) => appended(all, prefixed(rank)),
        });
    }
    let Some(mut joined) = joined else { return Err(crate::sound::no_ops()) };
    for message in &messages {
        let ops: Vec<OpId> =
            message.iter().map(|(rank, op)| OpId::new(offsets[*rank] + op.index())).collect();
        meet(&mut joined.graph, &ops);
    }
    check_acyclic(&joined.graph)?;
    sort(&mut joined.graph);
    Ok(joined)
}

/// By message, the ops of those who take part.
fn matched(ranks: &[Rank]) -> Result<Vec<Vec<(usize, OpId)>>, Diagnostic> {
    let mut by_group: BTreeMap<&str, Vec<Vec<(usize, OpId)>>> = BTreeMap::new();
    for (position, rank) in ranks.iter().enumerate() {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (op, group) in &rank.collectives {
            let count = counts.entry(group).or_insert(0);
            let messages = by_group.entry(group).or_default();
            if messages.len() == *count {
                messages.push(Vec::new());
            }
            messages[*count].push((position, *op));
            *count += 1;
        }
    }
    for (group, messages) in &by_group {
        let who = |message: &[(usize, OpId)]| -> Vec<usize> {
            message.iter().map(|(rank, _)| *rank).collect()
        };
        for (n, message) in messages.iter().enumerate() {
            let (rank, op) = message[0];
            let op_type = |rank: usize, op: OpId| &ranks[rank].import.graph.op(op).op_type;
            let first = op_type(rank, op);
            if let Some((other, op)) =
                message.iter().find(|(rank, op)| op_type(*rank, *op) != first)
            {
                let what = format!(
                    "rank {} runs `{first}` as message {n} of group `{group}`, rank {} runs `{}`",
                    ranks[rank].number,
                    ranks[*other].number,
                    op_type(*other, *op)
                );
                return Err(disagree(what, group));
            }
            if who(message) != who(&messages[0]) {
                let what = format!(
                    "only {} of {} ranks have message {n} of group `{group}`",
                    message.len(),
                    messages[0].len()
                );
                return Err(disagree(what, group));
            }
        }
    }
    Ok(by_group.into_values().flatten().collect())
}

fn disagree(what: String, group: &str) -> Diagnostic {
    Diagnostic::input("ranks-disagree", what)
        .fact("group", group)
        .hint("record the same step of the same job on every rank")
}

/// The import of a rank with its names made its own.
fn prefixed(rank: Rank) -> Import {
    let mut import = rank.import;
    let renamed = |name: &str| format!("rank{}/{name}", rank.number);
    import.graph.ops.iter_mut().for_each(|op| op.name = renamed(&op.name));
    import.graph.tensors.iter_mut().for_each(|tensor| tensor.name = renamed(&tensor.name));
    import.graph.ops.iter_mut().for_each(|op| op.group = Some(GroupId::new(0)));
    import.graph.n_groups = 1;
    for warning in &mut import.warnings {
        warning.facts.push(("rank", rank.number.into()));
    }
    import
}

fn appended(mut all: Import, next: Import) -> Import {
    let offset = all.graph.tensors.len();
    let moved = |ids: Vec<TensorId>| -> Vec<TensorId> {
        ids.into_iter().map(|id| TensorId::new(id.index() + offset)).collect()
    };
    let group = GroupId::new(all.graph.n_groups);
    let ops = next.graph.ops.into_iter().map(|op| Op {
        inputs: moved(op.inputs),
        parameters: moved(op.parameters),
        outputs: moved(op.outputs),
        group: Some(group),
        ..op
    });
    all.graph.ops.extend(ops);
    all.graph.tensors.extend(next.graph.tensors);
    all.graph.inputs.extend(moved(next.graph.inputs));
    all.graph.outputs.extend(moved(next.graph.outputs));
    all.graph.n_groups += 1;
    all.warnings.extend(next.warnings);
    all.summary.recorded.extend(next.summary.recorded);
    all
}

/// Lets the ops of a message wait for each other's inputs. A trace counts waiting for a peer to the
/// message; who came last did not wait, so the shortest is how long it took.
fn meet(graph: &mut Graph, ops: &[OpId]) {
    let producers = graph.producers();
    let before =
        |op: OpId| graph.op(op).inputs.iter().filter_map(|tensor| producers[tensor.index()]).max();
    let bringing: Vec<Option<OpId>> = ops.iter().map(|op| before(*op)).collect();
    let mut tokens = Vec::new();
    for (op, from) in ops.iter().zip(&bringing) {
        let Some(from) = from else { continue };
        let token = TensorId::new(graph.tensors.len());
        graph.tensors.push(Tensor {
            name: format!("{}:ready", graph.op(*op).name),
            dtype: DType::U8,
            shape: vec![0],
            bytes: Bytes::ZERO,
            state_bytes: Bytes::ZERO,
            role: Role::Activation,
            trainable: false,
        });
        graph.ops[from.index()].outputs.push(token);
        tokens.push((*op, token));
    }
    let mut least = BTreeMap::new();
    for op in ops {
        let others = tokens.iter().filter(|(of, _)| of != op).map(|(_, token)| *token);
        graph.ops[op.index()].inputs.extend(others);
        if let Work::Kernel(kernel) = &graph.op(*op).work {
            for (kind, time) in &kernel.measured {
                let known = least.entry(kind.clone()).or_insert(*time);
                *known = (*known).min(*time);
            }
        }
    }
    for op in ops {
        if let Work::Kernel(kernel) = &mut graph.ops[op.index()].work {
            kernel.measured.clone_from(&least);
        }
    }
}

/// Puts the ops into an order in which each comes after those that it reads from.
fn sort(graph: &mut Graph) {
    let producers = graph.producers();
    let mut missing = vec![0; graph.ops.len()];
    let mut after = vec![Vec::new(); graph.ops.len()];
    for (at, op) in graph.ops.iter().enumerate() {
        for producer in op.inputs.iter().filter_map(|input| producers[input.index()]) {
            missing[at] += 1;
            after[producer.index()].push(at);
        }
    }
    let order =
        topological(0..graph.ops.len(), &mut missing, |at| after[at].iter().copied(), |at, _| at);
    let mut ops: Vec<Option<Op>> = graph.ops.drain(..).map(Some).collect();
    graph.ops = order.into_iter().filter_map(|at| ops[at].take()).collect();
}
