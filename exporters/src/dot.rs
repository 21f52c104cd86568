//! The graph by device, for Graphviz: a cluster per device, an edge per tensor that an op reads.
//!
//! A graph past 2,000 ops is drawn by modules (blocks, or op types where no module is known), and
//! what is still left over is cut, with a note in the picture.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use documents::json::is_hidden;
use ir::diagnostic::Diagnostic;
use ir::id::{DeviceId, OpId};
use ir::module::unit_of;

use crate::format::{Export, Source};

/// More nodes than this can't be laid out, let alone read.
const MAX_NODES: usize = 2000;

/// Longer names are cut in labels.
const MAX_LABEL: usize = 60;

/// Fills of devices, in turn.
const FILLS: [&str; 8] =
    ["#dbe7fb", "#fbe3cf", "#dcf3dc", "#ece3f5", "#fdf3c9", "#d8f0f2", "#f8dce3", "#e6e6e2"];

/// The graph.
///
/// # Errors
/// None: every plan can be drawn.
pub fn export(source: &Source<'_>) -> Result<Export, Diagnostic> {
    let picture = Picture::new(source);
    Ok(picture.text(source).into())
}

/// What is drawn: ops, or modules per device.
#[derive(Default)]
struct Picture {
    /// Label, device and number of ops.
    nodes: Vec<(String, Option<DeviceId>, usize)>,
    /// Number of tensors between two nodes.
    edges: BTreeMap<(usize, usize), usize>,
    notes: Vec<String>,
}

impl Picture {
    fn new(source: &Source<'_>) -> Self {
        let problem = source.problem;
        let mut picture = Self::default();
        let by_module = problem.actions.len() > MAX_NODES;
        if by_module {
            picture.notes.push(format!("{} ops, drawn by module", problem.actions.len()));
        }
        let mut node_of: Vec<Option<usize>> = vec![None; problem.n_ops()];
        let mut known = BTreeMap::new();
        for &op in &problem.actions {
            let device = source.plan.placement.of(op);
            let label = label(source, op, by_module);
            let next = picture.nodes.len();
            let node = if by_module {
                *known.entry((label.clone(), device)).or_insert(next)
            } else {
                next
            };
            if node == next {
                picture.nodes.push((label, device, 0));
            }
            if let (Some(entry), Some(slot)) =
                (picture.nodes.get_mut(node), node_of.get_mut(op.index()))
            {
                entry.2 += 1;
                *slot = Some(node);
            }
        }
        picture.cut();
        let node = |op: OpId| {
            let node = node_of.get(op.index()).copied().flatten()?;
            (node < picture.nodes.len()).then_some(node)
        };
        for &op in &problem.actions {
            for &tensor in problem.inputs(op) {
                if let (Some(from), Some(to)) = (problem.producer(tensor).and_then(node), node(op))
                    && from != to
                {
                    *picture.edges.entry((from, to)).or_default() += 1;
                }
            }
        }
        picture
    }

    fn cut(&mut self) {
        let n_left_out = self.nodes.len().saturating_sub(MAX_NODES);
        if n_left_out > 0 {
            self.nodes.truncate(MAX_NODES);
            self.notes.push(format!("{n_left_out} more are left out"));
        }
    }

    fn text(&self, source: &Source<'_>) -> String {
        let cluster = &source.problem.cluster;
        let mut title = vec![format!(
            "{} on {}: step time {}",
            source.problem.graph.name, cluster.name, source.timeline.step_time
        )];
        title.extend(self.notes.iter().cloned());
        let mut text = String::from("digraph plan {\n");
        // Writing to a string can't fail.
        let _ = writeln!(
            text,
            "  label={}; labelloc=t; rankdir=TB; fontname=\"Helvetica\";\n  node [shape=box, \
             style=\"rounded,filled\", fillcolor=white, color=\"#8a8a84\", \
             fontname=\"Helvetica\", fontsize=10];\n  edge [color=\"#8a8a84\", \
             fontname=\"Helvetica\", fontsize=8];",
            quoted(&title.join("\n"))
        );
        for device in cluster.device_ids() {
            let name = cluster.devices.get(device.index()).map_or("", |device| &device.name);
            let fill = FILLS[device.index() % FILLS.len()];
            let _ = writeln!(
                text,
                "  subgraph cluster_{} {{\n    label={}; style=filled; color=\"{fill}\";",
                device.index(),
                quoted(name)
            );
            self.write_nodes(&mut text, Some(device));
            text.push_str("  }\n");
        }
        self.write_nodes(&mut text, None);
        for ((from, to), count) in &self.edges {
            let label = if *count > 1 { format!(" [label=\"{count}\"]") } else { String::new() };
            let crosses = self.nodes.get(*from).map(|n| n.1) != self.nodes.get(*to).map(|n| n.1);
            let style = if crosses { " [color=\"#6d5a96\", penwidth=2]" } else { "" };
            let _ = writeln!(text, "  n{from} -> n{to}{label}{style};");
        }
        text.push_str("}\n");
        text
    }

    fn write_nodes(&self, text: &mut String, device: Option<DeviceId>) {
        for (index, (label, on, n_ops)) in self.nodes.iter().enumerate() {
            if *on == device {
                let count = if *n_ops > 1 { format!("\n{n_ops} ops") } else { String::new() };
                let _ =
                    writeln!(text, "    n{index} [label={}];", quoted(&format!("{label}{count}")));
            }
        }
    }
}

fn label(source: &Source<'_>, op: OpId, by_module: bool) -> String {
    let Some(node) = source.problem.graph.ops.get(op.index()) else {
        return op.to_string();
    };
    let name = if by_module {
        node.module.as_deref().map_or(node.op_type.as_str(), unit_of)
    } else {
        &node.name
    };
    let mut label: String = name.chars().take(MAX_LABEL).collect();
    if label.len() < name.len() {
        label.push_str("...");
    }
    if !by_module && node.op_type != node.name {
        label.push('\n');
        label.extend(node.op_type.chars().take(MAX_LABEL));
    }
    label
}

/// A quoted string. Backslashes start escapes in labels, control characters break renderers,
/// and marks of writing direction would show a name as another one.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            c if is_hidden(c) => quoted.push('\u{fffd}'),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::sample::{Builder, Case, cluster};

    fn text(case: &Case) -> String {
        String::from_utf8(export(&case.source()).unwrap().bytes).unwrap()
    }

    #[test]
    fn each_op_stands_in_the_cluster_of_its_device() {
        let text = text(&Case::blocks(&[0, 0, 1]));
        let (first, second) = text.split_once("cluster_1").unwrap();
        assert!(first.contains("attn0") && !first.contains("attn1"));
        assert!(second.contains("attn1") && second.contains("n5 -> n6"));
        assert_eq!(text.matches("penwidth").count(), 2, "mlp0 -> attn1 and ln_f -> head cross");
    }

    #[test]
    fn evil_names_stay_inside_their_quotes() {
        let text = text(&Case::pair());
        assert!(text.contains('\u{fffd}'));
        assert!(!text.contains(|c| is_hidden(c) && c != '\n'));
        let mut inside = false;
        let mut escaped = false;
        for c in text.chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' if inside => escaped = true,
                '"' => inside = !inside,
                '<' => assert!(inside, "markup outside of quotes"),
                _ => {}
            }
        }
        assert!(!inside);
    }

    #[test]
    fn large_graphs_are_drawn_by_module() {
        let mut b = Builder::default();
        b.input("x");
        let mut last = "x".to_owned();
        for i in 0..2400usize {
            let name = format!("op{i}");
            b.op(&name, Some(&format!("h.{}.mlp", i / 100)), &[&last]);
            last = name;
        }
        let devices: Vec<usize> = (0..2400).map(|i| i / 1200).collect();
        let case = Case::new(b.graph, cluster(&["gpu0", "gpu1"]), &devices);
        let text = text(&case);
        assert!(text.contains("2400 ops, drawn by module"));
        assert_eq!(text.matches("[label=\"h.").count(), 24);
        assert_eq!(text.matches(" -> ").count(), 23);
    }
}
