//! The graph of a plan, one group at a time: what is in it, laid out.

use std::collections::{BTreeMap, HashSet};

use ir::diagnostic::Diagnostic;
use serde::{Deserialize, Serialize};

use super::bytes::{Part, Section, damaged};
use super::layout::lay_out;
use super::view::View;
use crate::answer::suggest;

/// Most nodes of an answer that opens several levels.
const MOST_NODES: usize = 20_000;
/// Width and height of a closed node.
const CLOSED: [i64; 2] = [180, 48];
/// Room around the inside of an open node, and above it.
const FRAME: [i64; 2] = [16, 28];

/// What a node stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum NodeKind {
    /// An op.
    Op,
    /// A module.
    Group,
    /// Numbered modules in a row that are alike.
    Repeat,
    /// So many nodes, one after the other, of a group that has too many to be shown at once.
    Part,
    /// A stage of a training run.
    Stage,
}

/// Figures of a node; those of a group are sums over what is in it, over all micro-batches.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NodeFigures {
    /// By which a group is asked for; an op's name.
    pub id: String,
    /// Its name within its group.
    pub name: String,
    /// What it stands for.
    pub kind: NodeKind,
    /// Type of an op; what a stage computes again.
    pub op_type: Option<String>,
    /// `forward`, `backward-input`, `backward-weight` or `optimizer`, of an op.
    pub phase: Option<String>,
    /// Ops in it, each counted once for all micro-batches.
    pub n_ops: u64,
    /// Equal modules of a repeat, blocks of a stage; else 1.
    pub n_equal: u64,
    /// Nanoseconds by device.
    pub devices: BTreeMap<String, u64>,
    /// The stage of a training run.
    pub stage: Option<u32>,
    /// Nanoseconds on all devices.
    pub time_ns: u64,
    /// Of them, those on the critical path; null for a training run.
    pub critical_ns: Option<u64>,
    /// When its first op starts, of any micro-batch; null for a training run.
    pub first_ns: Option<u64>,
    /// When its last op ends; null for a training run.
    pub last_ns: Option<u64>,
    /// Bytes of its parameters with gradients and states, on all devices.
    pub parameter_bytes: u64,
    /// Bytes that it writes.
    pub output_bytes: u64,
    /// Bytes of it that are alive at the peaks of their devices.
    pub peak_bytes: u64,
    /// Nanoseconds by where the cost comes from: `given`, `measured`, `interpolated`, `sibling` or
    /// `nominal`.
    pub origins: BTreeMap<String, u64>,
    /// Bytes that come in from outside its group, each tensor once.
    pub in_bytes: u64,
    /// Bytes that leave its group, each tensor once.
    pub out_bytes: u64,
}

/// What goes from one node to another.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EdgeFigures {
    /// Position of the node that it leaves.
    pub from: u32,
    /// Position of the node that it reaches.
    pub to: u32,
    /// Bytes of the tensors, each once.
    pub bytes: u64,
    /// How many tensors.
    pub n_tensors: u64,
    /// Bytes that go to another device, each tensor once a device.
    pub cut_bytes: u64,
    /// How often the critical path goes along it, over all micro-batches: from an op to one that reads
    /// its output, at once or by way of a transfer. Null for a training run.
    pub n_critical: Option<u64>,
}

/// A group in a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct GroupFile {
    /// Empty for the whole model.
    pub(super) id: String,
    /// The group that it is in.
    pub(super) parent: Option<String>,
    /// In the order of the dataflow.
    pub(super) nodes: Vec<NodeFigures>,
    pub(super) edges: Vec<EdgeFigures>,
}

/// A group that is shown.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Graph {
    /// The group; empty for the whole model.
    pub group: String,
    /// The group that it is in; null for the whole model.
    pub parent: Option<String>,
    /// What is in it.
    pub inside: Inside,
}

/// What is in a group, laid out from top to bottom; coordinates are whole numbers from its left and
/// top, in pixels where nothing is zoomed.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Inside {
    /// Width of all.
    pub width: i64,
    /// Height of all.
    pub height: i64,
    /// Nodes, in the order of the dataflow.
    pub nodes: Vec<PlacedNode>,
    /// Edges between them.
    pub edges: Vec<PlacedEdge>,
}

/// A node.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlacedNode {
    /// Its figures.
    #[serde(flatten)]
    pub figures: NodeFigures,
    /// Its left.
    pub x: i64,
    /// Its top.
    pub y: i64,
    /// Its width.
    pub width: i64,
    /// Its height.
    pub height: i64,
    /// What is in it, where it is open; it stands 16 from its left and 28 from its top.
    pub open: Option<Box<Inside>>,
}

/// An edge.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlacedEdge {
    /// Its figures.
    #[serde(flatten)]
    pub figures: EdgeFigures,
    /// Whether it goes up, against the order of the nodes.
    pub is_back: bool,
    /// Points from node to node.
    pub points: Vec<[i64; 2]>,
}

impl View<'_> {
    /// A group (the whole model, if none is named), with `depth` levels open, and the groups `open`
    /// where they are shown.
    ///
    /// # Errors
    /// `unknown-group`, `no-depth`, `too-deep`; `bad-view`.
    pub fn graph(
        &self,
        group: Option<&str>,
        depth: usize,
        open: &[String],
    ) -> Result<Graph, Diagnostic> {
        let id = group.unwrap_or_default();
        if depth == 0 {
            return Err(Diagnostic::usage("no-depth", "0 levels of a group show nothing")
                .hint("ask for 1 level, what is in the group, or more"));
        }
        let file = self.group(id)?.ok_or_else(|| self.unknown_group(id))?;
        if let Some(unknown) = open.iter().find(|id| self.place(id).is_none()) {
            return Err(self.unknown_group(unknown));
        }
        let open: HashSet<&str> = open.iter().map(String::as_str).collect();
        let mut left = MOST_NODES.saturating_sub(file.nodes.len());
        let parent = file.parent.clone();
        let inside = self.inside(file, (depth, &open), &mut left)?;
        Ok(Graph { group: id.to_owned(), parent, inside })
    }

    fn unknown_group(&self, id: &str) -> Diagnostic {
        let shown: String = id.chars().take(80).collect();
        let known = self.head.groups.iter().map(|(id, ..)| id.as_str());
        Diagnostic::usage("unknown-group", format!("the plan has no group `{shown}`"))
            .hint(suggest::hint(id, known.filter(|id| !id.is_empty())))
    }

    /// Where a group lies in the details.
    fn place(&self, id: &str) -> Option<(u64, u64)> {
        let groups = &self.head.groups;
        let position = groups.binary_search_by(|(group, ..)| group.as_str().cmp(id)).ok()?;
        let (_, at, length) = groups[position];
        Some((at, length))
    }

    fn group(&self, id: &str) -> Result<Option<GroupFile>, Diagnostic> {
        let Some((at, length)) = self.place(id) else { return Ok(None) };
        let read = || {
            let bytes = Part::section(self.file, Section::Details)?.slice(at, length)?;
            serde_json::from_slice::<GroupFile>(bytes.0).ok()
        };
        read().map(Some).ok_or_else(damaged)
    }

    fn inside(
        &self,
        file: GroupFile,
        (depth, open): (usize, &HashSet<&str>),
        left: &mut usize,
    ) -> Result<Inside, Diagnostic> {
        let mut opened: Vec<Option<Box<Inside>>> = Vec::with_capacity(file.nodes.len());
        for node in &file.nodes {
            let is_group = !matches!(node.kind, NodeKind::Op | NodeKind::Stage);
            let is_open = is_group && (depth > 1 || open.contains(node.id.as_str()));
            let group = if is_open { self.group(&node.id)? } else { None };
            opened.push(match group {
                Some(group) => {
                    *left = left.checked_sub(group.nodes.len().max(1)).ok_or_else(too_deep)?;
                    Some(Box::new(self.inside(group, (depth.saturating_sub(1), open), left)?))
                }
                None => None,
            });
        }
        let size = |open: &Option<Box<Inside>>| match open {
            Some(inside) => [
                inside.width.saturating_add(2 * FRAME[0]).max(CLOSED[0]),
                inside.height.saturating_add(FRAME[0] + FRAME[1]).max(CLOSED[1]),
            ],
            None => CLOSED,
        };
        let sizes: Vec<[i64; 2]> = opened.iter().map(size).collect();
        let edges: Vec<(usize, usize)> =
            file.edges.iter().map(|edge| (edge.from as usize, edge.to as usize)).collect();
        let laid = lay_out(&sizes, &edges);
        let places = laid.nodes.into_iter().zip(sizes).zip(opened);
        let nodes = file.nodes.into_iter().zip(places);
        let edges = file.edges.into_iter().zip(laid.edges);
        Ok(Inside {
            width: laid.size[0],
            height: laid.size[1],
            nodes: nodes
                .map(|(figures, (([x, y], [width, height]), open))| PlacedNode {
                    figures,
                    x,
                    y,
                    width,
                    height,
                    open,
                })
                .collect(),
            edges: edges
                .map(|(figures, points)| {
                    let is_back = figures.from > figures.to;
                    PlacedEdge { figures, is_back, points }
                })
                .collect(),
        })
    }
}

fn too_deep() -> Diagnostic {
    let message = format!("so many levels hold more than {MOST_NODES} nodes");
    Diagnostic::usage("too-deep", message)
        .fact("most_nodes", MOST_NODES as u64)
        .hint("ask for fewer levels, or for a group inside")
}
