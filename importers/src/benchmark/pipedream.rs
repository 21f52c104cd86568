//! Profiles of PipeDream (Narayanan et al., SOSP 2019), `graph.txt`: a line per layer, then a line
//! per edge that starts with a tab.

use std::collections::HashSet;

use ir::diagnostic::Diagnostic;
use ir::instance::{Instance, LayerProfile, ProfileNode, TimeUnit};

use super::quantity::{self, Totals};
use super::structure::{Positions, check_acyclic};
use crate::json::MAX_BYTES;
use crate::source::{self, Source};

/// What stands between the parts of a line.
const BETWEEN: &str = " -- ";

/// Reads a profile.
///
/// # Errors
/// `invalid-utf8`, `invalid-line`, `duplicate-id`, `undefined-node`, `graph-cycle`,
/// `empty-instance`, `number-out-of-range`, `size-budget`, `unreadable-file`.
pub(crate) fn read(source: &dyn Source, name: &str) -> Result<Instance, Diagnostic> {
    let bytes = source::read_all(source, MAX_BYTES)?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        Diagnostic::input("invalid-utf8", "the file is no UTF-8 text")
            .fact("offset", error.valid_up_to())
    })?;
    let mut totals = Totals::new(TimeUnit::MILLISECOND);
    let mut nodes = Vec::new();
    let mut named_edges = Vec::new();
    for (number, line) in (1usize..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let parsed = if line.starts_with('\t') {
            edge(line.trim()).map(|edge| named_edges.push(edge))
        } else {
            node(line.trim_end(), &mut totals).map(|node| nodes.push(node))
        };
        parsed.map_err(|error| error.fact("line", number))?;
    }
    quantity::some_nodes(nodes.len(), "layers")?;
    let positions = Positions::new(nodes.iter().map(|node: &ProfileNode| &node.id))?;
    let mut seen = HashSet::new();
    let mut edges = Vec::with_capacity(named_edges.len());
    for (from, to) in &named_edges {
        let pair = (positions.of(from)?, positions.of(to)?);
        if seen.insert(pair) {
            edges.push(pair);
        }
    }
    check_acyclic(nodes.len(), edges.iter().copied(), |node| nodes[node].id.clone())?;
    drop(positions);
    Ok(Instance::Profile(LayerProfile { name: name.to_owned(), nodes, edges }))
}

fn edge(line: &str) -> Result<(String, String), Diagnostic> {
    let (from, to) = line.split_once(BETWEEN).ok_or_else(|| invalid("has no second node"))?;
    Ok((from.trim().to_owned(), to.trim().to_owned()))
}

fn node(line: &str, totals: &mut Totals) -> Result<ProfileNode, Diagnostic> {
    // The description may hold anything, so the line is taken apart from both ends.
    let (id, rest) = line.split_once(BETWEEN).ok_or_else(|| invalid("has no description"))?;
    let (description, figures) =
        rest.rsplit_once(BETWEEN).ok_or_else(|| invalid("has no figures"))?;
    let figure = |field: &str| -> Result<f64, Diagnostic> {
        let (_, value) = figures
            .split_once(&format!("{field}="))
            .ok_or_else(|| invalid(&format!("has no `{field}`")))?;
        number(value).ok_or_else(|| invalid(&format!("has no number as `{field}`")))
    };
    Ok(ProfileNode {
        id: id.trim().to_owned(),
        description: description.trim().to_owned(),
        forward: totals.time(figure("forward_compute_time")?, "forward_compute_time")?,
        backward: totals.time(figure("backward_compute_time")?, "backward_compute_time")?,
        activations: totals.bytes(figure("activation_size")?, "activation_size")?,
        parameters: totals.bytes(figure("parameter_size")?, "parameter_size")?,
    })
}

/// The number at the start of a text, or the sum of a list such as `[1.0; 2.0]`.
fn number(text: &str) -> Option<f64> {
    if let Some(list) = text.trim_start().strip_prefix('[') {
        let (list, _) = list.split_once(']')?;
        return list.split([';', ',']).map(|item| item.trim().parse::<f64>().ok()).sum();
    }
    text.split(',').next()?.trim().parse().ok()
}

fn invalid(what: &str) -> Diagnostic {
    Diagnostic::input("invalid-line", format!("a line of the profile {what}"))
        .hint("a layer is `id -- description -- forward_compute_time=..., backward_compute_time=..., activation_size=..., parameter_size=...`, an edge a tab and `id -- id`")
}
