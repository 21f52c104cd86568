//! Nodes that can't be parted become one class; outputs become nets over classes.

use std::collections::{BTreeMap, BTreeSet};

use cost_model::given::max_load;
use ir::instance::LoadInstance;

/// An output: pays at the border of every accelerator that holds some, but not all of `members`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    /// Producer and consumers, as classes, in increasing order; at least two.
    pub members: Vec<u32>,
    /// Nanoseconds at each border.
    pub weight: u64,
}

/// An instance over classes of nodes.
#[derive(Clone, Debug)]
pub struct ClassGraph {
    /// Class of each node.
    pub class_of: Vec<u32>,
    /// Nanoseconds of each class on an accelerator, `None` where a member can't run there.
    pub accelerator: Vec<Option<u64>>,
    /// Nanoseconds of each class on a CPU core.
    pub cpu: Vec<u64>,
    /// Bytes of each class on an accelerator.
    pub bytes: Vec<u64>,
    /// Outputs that may cross a border; equal member sets are one net.
    pub nets: Vec<Net>,
    /// Pairs of classes, the first before the second, distinct, in increasing order.
    pub before: Vec<(u32, u32)>,
}

impl ClassGraph {
    /// Number of classes.
    #[must_use]
    pub fn n_classes(&self) -> usize {
        self.cpu.len()
    }

    /// Colours only: what any legal split keeps together.
    #[must_use]
    pub fn free(instance: &LoadInstance) -> Self {
        Self::of(instance, &Merge::colours(instance))
    }

    /// What any legal split into pieces that can be ordered keeps together, or can keep together
    /// at no loss. `before` has no cycles.
    #[must_use]
    pub fn ordered(instance: &LoadInstance) -> Self {
        let mut merge = Merge::colours(instance);
        let graph = Self::of(instance, &merge);
        let mut condensed = petgraph::graph::DiGraph::<(), (), u32>::default();
        for _ in 0..graph.n_classes() {
            condensed.add_node(());
        }
        condensed.extend_with_edges(graph.before.iter().copied());
        let mut first: Vec<Option<u32>> = vec![None; graph.n_classes()];
        for (node, class) in (0..).zip(&graph.class_of) {
            first[*class as usize].get_or_insert(node);
        }
        for cycle in petgraph::algo::kosaraju_scc(&condensed) {
            for pair in cycle.windows(2) {
                let nodes = (first[pair[0].index()], first[pair[1].index()]);
                if let (Some(one), Some(two)) = nodes {
                    merge.unite(one, two);
                }
            }
        }
        while Self::of(instance, &merge).merge_pendants(instance, &mut merge) {}
        Self::of(instance, &merge)
    }

    fn of(instance: &LoadInstance, merge: &Merge) -> Self {
        let class_of = merge.classes();
        let n_classes = class_of.iter().max().map_or(0, |class| *class as usize + 1);
        let mut graph = Self {
            accelerator: vec![Some(0); n_classes],
            cpu: vec![0; n_classes],
            bytes: vec![0; n_classes],
            nets: nets(instance, &class_of),
            before: before(instance, &class_of, n_classes),
            class_of,
        };
        for (node, class) in instance.nodes.iter().zip(&graph.class_of) {
            let class = *class as usize;
            let sum = graph.accelerator[class].zip(node.accelerator);
            graph.accelerator[class] = sum.map(|(sum, time)| sum + time.get());
            graph.cpu[class] += node.cpu.get();
            graph.bytes[class] += node.bytes.get();
        }
        graph
    }

    /// Merges classes that cost nothing and touch one other class into that class: no piece gets
    /// worse. Returns whether there was one.
    fn merge_pendants(&self, instance: &LoadInstance, merge: &mut Merge) -> bool {
        let memory_is_ample = self.bytes.iter().sum::<u64>() <= instance.accelerator_memory.get();
        let mut neighbours: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); self.n_classes()];
        let pairs = instance
            .edges
            .iter()
            .map(|(from, to)| (self.class_of[*from as usize], self.class_of[*to as usize]));
        for (one, two) in pairs.chain(self.before.iter().copied()).filter(|(a, b)| a != b) {
            neighbours[one as usize].insert(two);
            neighbours[two as usize].insert(one);
        }
        let mut first: Vec<Option<u32>> = vec![None; self.n_classes()];
        for (node, class) in (0..).zip(&self.class_of) {
            first[*class as usize].get_or_insert(node);
        }
        let mut found = false;
        let mut touched = vec![false; self.n_classes()];
        for class in 0..self.n_classes() {
            let is_free = self.cpu[class] == 0 && self.accelerator[class] == Some(0);
            let fits = self.bytes[class] == 0 || memory_is_ample;
            let mut others = neighbours[class].iter();
            let (Some(&other), None) = (others.next(), others.next()) else { continue };
            if is_free && fits && !touched[class] {
                // A class that takes one in has to be looked at anew.
                touched[class] = true;
                touched[other as usize] = true;
                if let (Some(one), Some(two)) = (first[class], first[other as usize]) {
                    merge.unite(one, two);
                    found = true;
                }
            }
        }
        found
    }
}

/// Classes of backward nodes without a forward node stand where their mirror image would: after
/// the classes that their nodes feed.
fn before(instance: &LoadInstance, class_of: &[u32], n_classes: usize) -> Vec<(u32, u32)> {
    let forward = max_load::forward_part(instance);
    let mut is_orphan = vec![true; n_classes];
    for (class, forward) in class_of.iter().zip(&forward) {
        is_orphan[*class as usize] &= !forward;
    }
    let mut pairs = Vec::new();
    for &(from, to) in &instance.edges {
        let (one, two) = (class_of[from as usize], class_of[to as usize]);
        let orphan = is_orphan[one as usize] || is_orphan[two as usize];
        match (forward[from as usize], forward[to as usize]) {
            _ if one == two => {}
            (true, true) => pairs.push((one, two)),
            (false, false) if orphan => pairs.push((two, one)),
            _ => {}
        }
    }
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

fn nets(instance: &LoadInstance, class_of: &[u32]) -> Vec<Net> {
    let mut weights: BTreeMap<Vec<u32>, u64> = BTreeMap::new();
    let mut at = 0;
    while let Some(&(from, _)) = instance.edges.get(at) {
        let mut members = vec![class_of[from as usize]];
        while let Some((_, to)) = instance.edges.get(at).filter(|edge| edge.0 == from) {
            members.push(class_of[*to as usize]);
            at += 1;
        }
        members.sort_unstable();
        members.dedup();
        let weight = instance.nodes[from as usize].transfer.get();
        if members.len() > 1 && weight > 0 {
            *weights.entry(members).or_default() += weight;
        }
    }
    weights.into_iter().map(|(members, weight)| Net { members, weight }).collect()
}

/// Sets of nodes that stay together.
struct Merge(petgraph::unionfind::UnionFind<u32>);

impl Merge {
    fn colours(instance: &LoadInstance) -> Self {
        let mut merge = Self(petgraph::unionfind::UnionFind::new(instance.nodes.len()));
        let mut first: Vec<Option<u32>> = vec![None; instance.n_colours];
        for (position, node) in (0..).zip(&instance.nodes) {
            if let Some(colour) = node.colour {
                let first = *first[colour as usize].get_or_insert(position);
                merge.unite(first, position);
            }
        }
        merge
    }

    fn unite(&mut self, one: u32, two: u32) {
        self.0.union(one, two);
    }

    /// Class of each node, numbered by first members.
    fn classes(&self) -> Vec<u32> {
        let roots = self.0.clone().into_labeling();
        let mut numbers = BTreeMap::new();
        roots
            .into_iter()
            .map(|root| {
                let next = numbers.len() as u32;
                *numbers.entry(root).or_insert(next)
            })
            .collect()
    }
}
