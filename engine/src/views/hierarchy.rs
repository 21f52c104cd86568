//! The modules of a model as groups within groups: numbered ones in a row that are alike are folded,
//! figures and edges are summed at every level.

use std::collections::{BTreeMap, HashMap};

use cost_model::kernels::origin::{Origin, Shares};

use super::builder::Builder;
use super::graph::{EdgeFigures, GroupFile, NodeFigures, NodeKind};
use super::kind::Kind;

/// Most levels of modules; deeper ones lie in the last.
const MOST_LEVELS: usize = 64;
/// Most nodes in a group; more are put into parts.
const MOST_CHILDREN: usize = 1_000;
/// The whole model.
const ROOT: usize = 0;

/// Sums over a node.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub(super) n_ops: u64,
    pub(super) critical_ns: u64,
    /// From the start of the first op to the end of the last.
    pub(super) span: Option<(u64, u64)>,
    pub(super) parameter_bytes: u64,
    pub(super) output_bytes: u64,
    pub(super) peak_bytes: u64,
    pub(super) origins: Shares,
    /// By position of the device.
    pub(super) devices: BTreeMap<u32, u64>,
    in_bytes: u64,
    out_bytes: u64,
}

impl Figures {
    /// Something of it runs from one instant to another.
    pub(super) fn runs(&mut self, start: u64, end: u64) {
        let (first, last) = self.span.unwrap_or((start, end));
        self.span = Some((first.min(start), last.max(end)));
    }

    fn add(&mut self, other: &Self) {
        let numbers = [
            (&mut self.n_ops, other.n_ops),
            (&mut self.critical_ns, other.critical_ns),
            (&mut self.parameter_bytes, other.parameter_bytes),
            (&mut self.output_bytes, other.output_bytes),
            (&mut self.peak_bytes, other.peak_bytes),
        ];
        for (sum, number) in numbers {
            *sum = sum.saturating_add(number);
        }
        if let Some((start, end)) = other.span {
            self.runs(start, end);
        }
        self.origins = self.origins.plus(other.origins);
        for (device, ns) in &other.devices {
            let sum = self.devices.entry(*device).or_default();
            *sum = sum.saturating_add(*ns);
        }
    }
}

/// An op, as the tree takes it.
pub(super) struct Leaf<'a> {
    pub(super) name: &'a str,
    pub(super) module: Option<&'a str>,
    pub(super) op_type: &'a str,
    pub(super) phase: &'static str,
    pub(super) figures: Figures,
}

struct Node<'a> {
    name: String,
    kind: NodeKind,
    parent: usize,
    children: Vec<usize>,
    /// Modules in it by name, until the tree is complete.
    modules: HashMap<&'a str, usize>,
    /// The op.
    leaf: Option<usize>,
    depth: usize,
    figures: Figures,
    /// The tensor that was counted last as coming in and as leaving.
    counted: [u32; 2],
}

/// Tensors from one node to another.
#[derive(Default)]
struct Edge {
    bytes: u64,
    n_tensors: u64,
    cut_bytes: u64,
    n_critical: u64,
    tensor: Option<u32>,
    devices: Vec<u32>,
}

/// Groups of ops.
pub(super) struct Tree<'a> {
    leaves: Vec<Leaf<'a>>,
    nodes: Vec<Node<'a>>,
    /// By leaf, its node.
    node_of: Vec<usize>,
    /// By group and two of its nodes.
    edges: BTreeMap<(usize, usize, usize), Edge>,
}

impl<'a> Tree<'a> {
    /// The tree of ops, which stand in the order of the dataflow.
    pub(super) fn new(leaves: Vec<Leaf<'a>>) -> Self {
        let mut tree =
            Self { nodes: Vec::new(), node_of: Vec::new(), edges: BTreeMap::new(), leaves };
        tree.push(String::new(), NodeKind::Group, ROOT, None);
        for leaf in 0..tree.leaves.len() {
            let Leaf { module, name, .. } = tree.leaves[leaf];
            let mut at = ROOT;
            for part in module.iter().flat_map(|path| path.split('.')).take(MOST_LEVELS) {
                at = match tree.nodes[at].modules.get(part) {
                    Some(known) => *known,
                    None => {
                        let new = tree.push(part.to_owned(), NodeKind::Group, at, None);
                        tree.nodes[at].modules.insert(part, new);
                        new
                    }
                };
            }
            let node = tree.push(name.to_owned(), NodeKind::Op, at, Some(leaf));
            tree.node_of.push(node);
        }
        tree.fold();
        tree.cut();
        tree.sum();
        tree
    }

    fn push(&mut self, name: String, kind: NodeKind, parent: usize, leaf: Option<usize>) -> usize {
        let new = self.nodes.len();
        if new != ROOT {
            self.nodes[parent].children.push(new);
        }
        self.nodes.push(Node {
            name,
            kind,
            parent,
            children: Vec::new(),
            modules: HashMap::new(),
            leaf,
            depth: 0,
            figures: Figures::default(),
            counted: [u32::MAX; 2],
        });
        new
    }

    /// Puts numbered modules in a row that are alike into one node.
    fn fold(&mut self) {
        let shapes = self.shapes();
        for group in 0..self.nodes.len() {
            let children = std::mem::take(&mut self.nodes[group].children);
            let number = |at: usize| match self.nodes[at].kind {
                NodeKind::Group => self.nodes[at].name.parse::<u64>().ok(),
                _ => None,
            };
            let follows = |a: usize, b: usize| {
                let next = number(a).and_then(|n| n.checked_add(1));
                next.is_some() && next == number(b) && shapes[a] == shapes[b]
            };
            let runs: Vec<Vec<usize>> =
                children.chunk_by(|a, b| follows(*a, *b)).map(<[usize]>::to_vec).collect();
            for run in runs {
                let [first, .., last] = run.as_slice() else {
                    self.nodes[group].children.extend(run);
                    continue;
                };
                let name = format!("{}..{}", self.nodes[*first].name, self.nodes[*last].name);
                let repeat = self.push(name, NodeKind::Repeat, group, None);
                run.iter().for_each(|member| self.nodes[*member].parent = repeat);
                self.nodes[repeat].children = run;
            }
        }
    }

    /// Puts nodes of groups that have too many into parts, in their order.
    fn cut(&mut self) {
        let mut group = 0;
        while group < self.nodes.len() {
            let n = self.nodes[group].children.len();
            if n > MOST_CHILDREN {
                // Parts of parts, where there are more than so many parts.
                let mut size = MOST_CHILDREN;
                while n.div_ceil(size) > MOST_CHILDREN {
                    size = size.saturating_mul(MOST_CHILDREN);
                }
                let children = std::mem::take(&mut self.nodes[group].children);
                for (at, members) in children.chunks(size).enumerate() {
                    let first = at * size;
                    let name = format!("nodes {}..{}", first + 1, first + members.len());
                    let part = self.push(name, NodeKind::Part, group, None);
                    members.iter().for_each(|member| self.nodes[*member].parent = part);
                    self.nodes[part].children = members.to_vec();
                }
            }
            group += 1;
        }
    }

    /// By node a number that is equal for nodes that are alike: types and names of what is inside.
    /// Forward ops alone count where there are any: the first and the last of equal layers pass
    /// gradients on in ways of their own.
    fn shapes(&self) -> Vec<usize> {
        let mut known: HashMap<Vec<(&str, &str, usize)>, usize> = HashMap::new();
        let mut shapes = vec![0; self.nodes.len()];
        // Children come after their parents.
        for at in (0..self.nodes.len()).rev() {
            let part = |child: &usize| {
                let node = &self.nodes[*child];
                match node.leaf {
                    Some(leaf) => (self.leaves[leaf].op_type, self.leaves[leaf].phase, 0),
                    None => (node.name.as_str(), "", shapes[*child] + 1),
                }
            };
            let forward = Kind::Forward.name();
            let mut parts: Vec<_> = self.nodes[at].children.iter().map(part).collect();
            let has_forward = parts.iter().any(|part| part.1 == forward);
            parts.retain(|part| !has_forward || part.1 == forward || part.2 > 0);
            // Equal layers may take turns with others in another order.
            parts.sort_unstable();
            let next = known.len();
            shapes[at] = *known.entry(parts).or_insert(next);
        }
        shapes
    }

    /// Sums figures up, and sets depths.
    fn sum(&mut self) {
        let mut order = vec![ROOT];
        let mut at = 0;
        while let Some(&node) = order.get(at) {
            at += 1;
            for child in self.nodes[node].children.clone() {
                self.nodes[child].depth = self.nodes[node].depth + 1;
                order.push(child);
            }
        }
        for &node in order.iter().rev() {
            if let Some(leaf) = self.nodes[node].leaf {
                self.nodes[node].figures = self.leaves[leaf].figures.clone();
            }
            if node != ROOT {
                let figures = self.nodes[node].figures.clone();
                let parent = self.nodes[node].parent;
                self.nodes[parent].figures.add(&figures);
            }
        }
    }

    /// Adds a tensor: its number, its bytes, the op that writes it and who reads it, each with its
    /// device.
    pub(super) fn tensor(
        &mut self,
        tensor: u32,
        bytes: u64,
        writer: (usize, u32),
        readers: impl Iterator<Item = (usize, u32)>,
    ) {
        for (reader, device) in readers {
            let (mut from, mut to) = (self.node_of[writer.0], self.node_of[reader]);
            if from == to {
                continue;
            }
            while self.nodes[from].parent != self.nodes[to].parent {
                let up = |tree: &Self, at: usize| tree.nodes[at].parent;
                let (depth_from, depth_to) = (self.nodes[from].depth, self.nodes[to].depth);
                if depth_from >= depth_to {
                    self.nodes[from].crosses(1, tensor, bytes);
                    from = up(self, from);
                }
                if depth_to >= depth_from {
                    self.nodes[to].crosses(0, tensor, bytes);
                    to = up(self, to);
                }
            }
            if from == to {
                continue;
            }
            let group = self.nodes[from].parent;
            let edge = self.edges.entry((group, from, to)).or_default();
            if edge.tensor.replace(tensor) != Some(tensor) {
                edge.bytes = edge.bytes.saturating_add(bytes);
                edge.n_tensors += 1;
                edge.devices.clear();
            }
            if device != writer.1 && !edge.devices.contains(&device) {
                edge.devices.push(device);
                edge.cut_bytes = edge.cut_bytes.saturating_add(bytes);
            }
        }
    }

    /// Counts that the critical path goes from one op to another that reads its output.
    pub(super) fn critical(&mut self, writer: usize, reader: usize) {
        let (mut from, mut to) = (self.node_of[writer], self.node_of[reader]);
        while self.nodes[from].parent != self.nodes[to].parent {
            let (depth_from, depth_to) = (self.nodes[from].depth, self.nodes[to].depth);
            if depth_from >= depth_to {
                from = self.nodes[from].parent;
            }
            if depth_to >= depth_from {
                to = self.nodes[to].parent;
            }
        }
        if let Some(edge) = self.edges.get_mut(&(self.nodes[from].parent, from, to)) {
            edge.n_critical += 1;
        }
    }

    /// Writes the groups down; `devices` are names by position.
    pub(super) fn write(&self, devices: &[&str], to: &mut Builder) {
        let ids = self.ids();
        let mut edges = self.edges.iter().peekable();
        let mut place = vec![0u32; self.nodes.len()];
        for (group, node) in self.nodes.iter().enumerate() {
            for (position, child) in (0u32..).zip(&node.children) {
                place[*child] = position;
            }
            let mut figures = Vec::new();
            while let Some(((_, from, to), edge)) = edges.next_if(|((of, ..), _)| *of == group) {
                figures.push(EdgeFigures {
                    from: place[*from],
                    to: place[*to],
                    bytes: edge.bytes,
                    n_tensors: edge.n_tensors,
                    cut_bytes: edge.cut_bytes,
                    n_critical: Some(edge.n_critical),
                });
            }
            figures.sort_by_key(|edge| (edge.from, edge.to));
            if node.leaf.is_none() {
                to.group(&GroupFile {
                    id: ids[group].clone(),
                    parent: (group != ROOT).then(|| ids[node.parent].clone()),
                    nodes: node.children.iter().map(|at| self.told(*at, &ids, devices)).collect(),
                    edges: figures,
                });
            }
        }
    }

    /// By node its id: names from the root on; an op's name.
    fn ids(&self) -> Vec<String> {
        let mut ids = vec![String::new(); self.nodes.len()];
        let mut taken: HashMap<String, usize> = HashMap::new();
        let mut order = vec![ROOT];
        while let Some(at) = order.pop() {
            let node = &self.nodes[at];
            order.extend(node.children.iter().rev());
            // Members of repeats and parts are named as in the source.
            let mut parent = node.parent;
            while matches!(self.nodes[parent].kind, NodeKind::Repeat | NodeKind::Part) {
                parent = self.nodes[parent].parent;
            }
            let mut id = match (node.leaf, ids[parent].as_str()) {
                (Some(_), _) | (None, "") => node.name.clone(),
                (None, above) => format!("{above}.{}", node.name),
            };
            while node.leaf.is_none() && taken.contains_key(&id) {
                id.push('\'');
            }
            if node.leaf.is_none() {
                taken.insert(id.clone(), at);
            }
            ids[at] = id;
        }
        ids
    }

    fn told(&self, at: usize, ids: &[String], devices: &[&str]) -> NodeFigures {
        let node = &self.nodes[at];
        let leaf = node.leaf.map(|leaf| &self.leaves[leaf]);
        let figures = &node.figures;
        let device = |(device, ns): (&u32, &u64)| {
            let name = devices.get(*device as usize).copied().unwrap_or_default();
            (name.to_owned(), *ns)
        };
        let origins =
            Origin::ALL.into_iter().map(|origin| (origin.name(), figures.origins.of(origin)));
        NodeFigures {
            id: ids[at].clone(),
            name: node.name.clone(),
            kind: node.kind,
            op_type: leaf.map(|leaf| leaf.op_type.to_owned()),
            phase: leaf.map(|leaf| leaf.phase.to_owned()),
            n_ops: figures.n_ops,
            n_equal: if node.kind == NodeKind::Repeat { node.children.len() as u64 } else { 1 },
            devices: figures.devices.iter().map(device).collect(),
            stage: None,
            time_ns: figures.origins.total(),
            critical_ns: Some(figures.critical_ns),
            first_ns: figures.span.map(|(first, _)| first),
            last_ns: figures.span.map(|(_, last)| last),
            parameter_bytes: figures.parameter_bytes,
            output_bytes: figures.output_bytes,
            peak_bytes: figures.peak_bytes,
            origins: origins
                .filter(|(_, ns)| *ns > 0)
                .map(|(name, ns)| (name.to_owned(), ns))
                .collect(),
            in_bytes: figures.in_bytes,
            out_bytes: figures.out_bytes,
        }
    }
}

impl Node<'_> {
    /// Counts a tensor that comes into (0) or leaves (1) the group of the node by it, once.
    fn crosses(&mut self, way: usize, tensor: u32, bytes: u64) {
        if std::mem::replace(&mut self.counted[way], tensor) != tensor {
            let sum =
                if way == 0 { &mut self.figures.in_bytes } else { &mut self.figures.out_bytes };
            *sum = sum.saturating_add(bytes);
        }
    }
}
