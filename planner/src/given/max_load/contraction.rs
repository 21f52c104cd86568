//! Classes that every plan of loads at most T keeps together.
//!
//! If every accelerator that holds a but not b costs more than T, then b is where a is, unless a is
//! on a CPU core. Least costs are minimum cuts: a load is modular plus a cut of nets.

use petgraph::algo::dinics;
use petgraph::graph::{DiGraph, EdgeIndex, NodeIndex};
use petgraph::visit::EdgeRef;

use super::certificate::Round;
use super::control::Control;
use super::model::Model;
use super::pendant::numbered;

/// Nets up to this size are tried pair by pair; in greater ones, pairs with the first member.
const ALL_PAIRS: usize = 6;

/// What a limit says about classes.
#[derive(Clone, Debug)]
pub(super) enum Contraction {
    /// No plan has loads of at most T: this class (of the model after the rounds) has no device.
    Infeasible(Vec<Round>),
    /// Classes were joined in rounds.
    Joined(Vec<Round>, Model),
}

/// Findings in class ids of the model before the round.
#[derive(Clone, Debug, Default)]
struct Findings {
    /// Ordered pairs (a, b): b is where a is.
    pairs: Vec<(u32, u32)>,
    /// Classes that no accelerator can hold.
    off_accelerators: Vec<u32>,
}

impl Findings {
    /// The model after the round.
    fn apply(&self, model: &Model) -> Model {
        let mut root: Vec<u32> = (0..model.n_classes() as u32).collect();
        for (a, b) in &self.pairs {
            let (a, b) = (find(&mut root, *a), find(&mut root, *b));
            root[a.max(b) as usize] = a.min(b);
        }
        let roots: Vec<u32> =
            (0..model.n_classes() as u32).map(|class| find(&mut root, class)).collect();
        let mut model = model.clone();
        for class in &self.off_accelerators {
            model.accelerator[*class as usize] = f64::INFINITY;
        }
        model.grouped(&numbered(&roots))
    }

    /// The findings by nodes; of pairs, as many as join the groups.
    fn round(&self, model: &Model) -> Round {
        let first = model.first_nodes();
        let name = |class: &u32| first[*class as usize];
        let mut root: Vec<u32> = (0..model.n_classes() as u32).collect();
        let mut pairs = Vec::new();
        for (a, b) in &self.pairs {
            let (root_a, root_b) = (find(&mut root, *a), find(&mut root, *b));
            if root_a != root_b {
                root[root_a.max(root_b) as usize] = root_a.min(root_b);
                pairs.push((name(a), name(b)));
            }
        }
        Round { pairs, off_accelerators: self.off_accelerators.iter().map(name).collect() }
    }
}

fn find(root: &mut [u32], class: u32) -> u32 {
    let mut class = class;
    while root[class as usize] != class {
        root[class as usize] = root[root[class as usize] as usize];
        class = root[class as usize];
    }
    class
}

/// Joins what can be joined at `limit` ns. `None` if stopped.
pub(super) fn contract(model: &Model, limit: f64, control: &Control) -> Option<Contraction> {
    let mut model = model.clone();
    let mut rounds = Vec::new();
    loop {
        let is_stuck = |class: usize| {
            !model.is_on_accelerators(class) && (model.n_cpus == 0 || model.cpu[class] > limit)
        };
        if (0..model.n_classes()).any(is_stuck) {
            return Some(Contraction::Infeasible(rounds));
        }
        let found = Cuts::new(&model, limit).findings(control)?;
        if found.pairs.is_empty() && found.off_accelerators.is_empty() {
            return Some(Contraction::Joined(rounds, model));
        }
        rounds.push(found.round(&model));
        model = found.apply(&model);
    }
}

/// The flow network of one model.
struct Cuts<'a> {
    model: &'a Model,
    limit: f64,
    graph: DiGraph<(), u64>,
    /// Arc of each class to the sink; its capacity is the class's time.
    to_sink: Vec<EdgeIndex>,
    sink: NodeIndex,
    /// More than any finite cut.
    endless: u64,
    /// Ordered pairs of one net, sorted; whether some cheap device holds the first, not the second.
    pairs: Vec<(u32, u32)>,
    is_apart: Vec<bool>,
}

impl<'a> Cuts<'a> {
    fn new(model: &'a Model, limit: f64) -> Self {
        let n = model.n_classes();
        let work: f64 = model.accelerator.iter().filter(|t| t.is_finite()).sum();
        let endless = (work + model.nets.iter().map(|net| net.weight).sum::<f64>()) as u64 + 1;
        let mut graph = DiGraph::new();
        for _ in 0..=n {
            graph.add_node(());
        }
        let sink = NodeIndex::new(n);
        let time = |class: usize| {
            if model.is_on_accelerators(class) { model.accelerator[class] as u64 } else { endless }
        };
        let to_sink = (0..n).map(|v| graph.add_edge(NodeIndex::new(v), sink, time(v))).collect();
        let mut pairs = Vec::new();
        for net in &model.nets {
            let members: Vec<NodeIndex> =
                net.members.iter().map(|class| NodeIndex::new(*class as usize)).collect();
            let weight = net.weight as u64;
            if let [a, b] = members[..] {
                graph.add_edge(a, b, weight);
                graph.add_edge(b, a, weight);
            } else {
                let (some, all) = (graph.add_node(()), graph.add_node(()));
                graph.add_edge(some, all, weight);
                for member in &members {
                    graph.add_edge(*member, some, endless);
                    graph.add_edge(all, *member, endless);
                }
            }
            for (at, a) in net.members.iter().enumerate() {
                let others = net.members.iter().skip(at + 1);
                if at == 0 || net.members.len() <= ALL_PAIRS {
                    pairs.extend(others.flat_map(|b| [(*a, *b), (*b, *a)]));
                }
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        let is_apart = vec![false; pairs.len()];
        Self { model, limit, graph, to_sink, sink, endless, pairs, is_apart }
    }

    /// Least load of an accelerator that holds `a` but not `b`; notes which pairs its classes part.
    fn least_load(&mut self, a: usize, b: Option<usize>) -> f64 {
        let before = b.map(|b| self.graph[self.to_sink[b]]);
        if let Some(b) = b {
            self.graph[self.to_sink[b]] = self.endless;
        }
        let (value, flow) = dinics(&self.graph, NodeIndex::new(a), self.sink);
        if value as f64 <= self.limit {
            let inside = self.source_side(a, &flow);
            self.part(&inside);
        }
        if let (Some(b), Some(before)) = (b, before) {
            self.graph[self.to_sink[b]] = before;
        }
        value as f64
    }

    /// Classes on the source's side of a minimum cut.
    fn source_side(&self, a: usize, flow: &[u64]) -> Vec<bool> {
        let mut is_in = vec![false; self.graph.node_count()];
        let mut stack = vec![NodeIndex::new(a)];
        is_in[a] = true;
        while let Some(node) = stack.pop() {
            let forward = self
                .graph
                .edges(node)
                .filter(|edge| flow[edge.id().index()] < *edge.weight())
                .map(|edge| edge.target());
            let back = self
                .graph
                .edges_directed(node, petgraph::Direction::Incoming)
                .filter(|edge| flow[edge.id().index()] > 0)
                .map(|edge| edge.source());
            for next in forward.chain(back) {
                if !is_in[next.index()] {
                    is_in[next.index()] = true;
                    stack.push(next);
                }
            }
        }
        is_in.truncate(self.model.n_classes());
        is_in
    }

    fn part(&mut self, inside: &[bool]) {
        for ((a, b), is_apart) in self.pairs.iter().zip(&mut self.is_apart) {
            *is_apart |= inside[*a as usize] && !inside[*b as usize];
        }
    }

    fn findings(mut self, control: &Control) -> Option<Findings> {
        let mut found = Findings::default();
        let n = self.model.n_classes();
        let usable: Vec<usize> = (0..n).filter(|v| self.model.is_on_accelerators(*v)).collect();
        for class in &usable {
            let mut alone = vec![false; n];
            alone[*class] = true;
            if self.model.load(&alone) <= self.limit {
                self.part(&alone);
            } else if self.least_load(*class, None) > self.limit {
                found.off_accelerators.push(*class as u32);
            }
            if !control.spend(n as u64) {
                return None;
            }
        }
        // A round states facts about the model as it is: classes off accelerators come first.
        if !found.off_accelerators.is_empty() {
            return Some(found);
        }
        for at in 0..self.pairs.len() {
            let (a, b) = (self.pairs[at].0 as usize, self.pairs[at].1 as usize);
            if !self.model.is_on_accelerators(a) || self.is_apart[at] {
                continue;
            }
            if self.least_load(a, Some(b)) > self.limit && self.must_follow(a, b) {
                found.pairs.push((a as u32, b as u32));
            }
            if !control.spend(10 * n as u64) {
                return None;
            }
        }
        Some(found)
    }

    /// Whether b is where a is, given that no accelerator can hold a without b.
    fn must_follow(&mut self, a: usize, b: usize) -> bool {
        let has_cpu = |class: usize| self.model.n_cpus > 0 && self.model.cpu[class] <= self.limit;
        let is_free = [has_cpu(a), has_cpu(b)];
        if !is_free[0] {
            return true;
        }
        // With a on a CPU core, b must not be on an accelerator without it, nor on another core.
        if self.model.n_cpus > 1 && is_free[1] {
            return false;
        }
        let back = (b as u32, a as u32);
        let is_apart = self.pairs.binary_search(&back).is_ok_and(|at| self.is_apart[at]);
        !is_apart && (!self.model.is_on_accelerators(b) || self.least_load(b, Some(a)) > self.limit)
    }
}
