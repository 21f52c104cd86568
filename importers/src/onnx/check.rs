//! Structure: each tensor is produced once and before it is read, every graph output exists, and
//! nodes stand in a topological order, or can be brought into one.

use std::collections::{BTreeSet, HashMap, HashSet};

use ir::diagnostic::Diagnostic;
use ir::order::topological;

use crate::onnx::raw::{RawAttribute, RawGraph, RawModel, RawNode};

/// Nodes of a cycle that are named.
const MAX_NAMED: usize = 8;

/// Checks a model and sorts its nodes.
///
/// # Errors
/// `duplicate-tensor`, `undefined-tensor`, `graph-cycle`, `missing-output`.
pub(crate) fn check(
    model: &mut RawModel,
    warnings: &mut Vec<Diagnostic>,
) -> Result<(), Diagnostic> {
    let mut foreign = BTreeSet::new();
    collect_domains(&model.graph, &mut |domain| {
        if !model.opsets.contains_key(domain) {
            foreign.insert(domain.to_owned());
        }
    });
    for domain in foreign {
        let shown = if domain.is_empty() { "ai.onnx" } else { &domain };
        warnings.push(
            Diagnostic::warning(
                "domain-not-imported",
                format!("nodes use the operator set `{shown}`, which the model does not import"),
            )
            .fact("domain", shown),
        );
    }
    check_graph(&mut model.graph, None, Level::Main, warnings).map(drop)
}

fn collect_domains(graph: &RawGraph, visit: &mut impl FnMut(&str)) {
    for node in &graph.nodes {
        visit(&node.domain);
        for inner in subgraphs(node) {
            collect_domains(inner, visit);
        }
    }
}

fn subgraphs(node: &RawNode) -> impl Iterator<Item = &RawGraph> {
    node.attributes.values().flat_map(|attribute| match attribute {
        RawAttribute::Graph(graph) => std::slice::from_ref(graph),
        RawAttribute::Graphs(graphs) => graphs.as_slice(),
        _ => &[],
    })
}

fn subgraphs_mut(node: &mut RawNode) -> impl Iterator<Item = &mut RawGraph> {
    node.attributes.values_mut().flat_map(|attribute| match attribute {
        RawAttribute::Graph(graph) => std::slice::from_mut(graph),
        RawAttribute::Graphs(graphs) => graphs.as_mut_slice(),
        _ => &mut [],
    })
}

/// Where a graph stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    /// The model's own graph.
    Main,
    /// An attribute of a node.
    Inner,
}

/// The names of a graph and of those around it.
struct Scope<'a> {
    names: HashMap<String, Producer>,
    outer: Option<&'a Scope<'a>>,
}

/// What makes a value of a graph.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Producer {
    /// The caller, or the file.
    Given,
    /// The node at this position.
    Node(usize),
}

impl Scope<'_> {
    fn sees(&self, name: &str) -> bool {
        self.names.contains_key(name) || self.outer.is_some_and(|outer| outer.sees(name))
    }
}

/// Checks and sorts a graph; returns the outer names that it reads.
fn check_graph(
    graph: &mut RawGraph,
    outer: Option<&Scope<'_>>,
    level: Level,
    warnings: &mut Vec<Diagnostic>,
) -> Result<HashSet<String>, Diagnostic> {
    let scope = Scope { names: names(graph)?, outer };
    let mut captures = HashSet::new();
    let mut reads = Vec::with_capacity(graph.nodes.len());
    for node in &mut graph.nodes {
        let label = label(node);
        let mut producers: Vec<usize> = Vec::new();
        for input in node.inputs.iter().filter(|input| !input.is_empty()) {
            if !scope.sees(input) {
                return Err(undefined(input, &label));
            }
            note(&scope, input, &mut producers, &mut captures);
        }
        for inner in subgraphs_mut(node) {
            for name in check_graph(inner, Some(&scope), Level::Inner, warnings)? {
                note(&scope, &name, &mut producers, &mut captures);
            }
        }
        producers.sort_unstable();
        producers.dedup();
        reads.push(producers);
    }
    for output in &graph.outputs {
        let exists = match level {
            Level::Main => scope.names.contains_key(&output.name),
            Level::Inner => scope.sees(&output.name),
        };
        if !exists {
            return Err(Diagnostic::input(
                "missing-output",
                format!("graph output `{}` is never produced", output.name),
            )
            .fact("tensor", output.name.clone()));
        }
        if !scope.names.contains_key(&output.name) {
            captures.insert(output.name.clone());
        }
    }
    drop(scope);
    sort(graph, &reads, warnings)?;
    Ok(captures)
}

fn note(scope: &Scope<'_>, name: &str, producers: &mut Vec<usize>, captures: &mut HashSet<String>) {
    match scope.names.get(name) {
        Some(Producer::Node(position)) => producers.push(*position),
        Some(Producer::Given) => {}
        None => {
            captures.insert(name.to_owned());
        }
    }
}

/// Every value that a graph defines, each once.
fn names(graph: &RawGraph) -> Result<HashMap<String, Producer>, Diagnostic> {
    let mut names = HashMap::new();
    let given = graph
        .inputs
        .iter()
        .map(|value| &value.name)
        .chain(graph.initializers.iter().map(|tensor| &tensor.name));
    for name in given {
        if names.insert(name.clone(), Producer::Given).is_some() {
            return Err(twice(name));
        }
    }
    for (position, node) in graph.nodes.iter().enumerate() {
        for output in node.outputs.iter().filter(|output| !output.is_empty()) {
            if names.insert(output.clone(), Producer::Node(position)).is_some() {
                return Err(twice(output));
            }
        }
    }
    Ok(names)
}

fn twice(name: &str) -> Diagnostic {
    Diagnostic::input(
        "duplicate-tensor",
        format!("SSA violation: tensor `{name}` is produced twice"),
    )
    .fact("tensor", name)
}

fn undefined(name: &str, reader: &str) -> Diagnostic {
    Diagnostic::input(
        "undefined-tensor",
        format!("node `{reader}` reads the undefined tensor `{name}`"),
    )
    .fact("tensor", name)
    .fact("node", reader)
}

/// How a node is called in messages: its name, else its first output.
fn label(node: &RawNode) -> String {
    if !node.name.is_empty() {
        return node.name.clone();
    }
    node.outputs.iter().find(|o| !o.is_empty()).unwrap_or(&node.op_type).clone()
}

/// Kahn's algorithm, the first in the file first.
fn sort(
    graph: &mut RawGraph,
    reads: &[Vec<usize>],
    warnings: &mut Vec<Diagnostic>,
) -> Result<(), Diagnostic> {
    let is_sorted = reads
        .iter()
        .enumerate()
        .all(|(position, producers)| producers.iter().all(|producer| *producer < position));
    if is_sorted {
        return Ok(());
    }
    let mut missing: Vec<usize> = reads.iter().map(Vec::len).collect();
    let mut readers = vec![Vec::new(); reads.len()];
    for (position, producers) in reads.iter().enumerate() {
        for &producer in producers {
            readers[producer].push(position);
        }
    }
    let after = |position: usize| readers[position].iter().copied();
    let order = topological(0..reads.len(), &mut missing, after, |_, _| ());
    if order.len() < reads.len() {
        return Err(cycle(graph, reads, &missing));
    }
    let mut nodes: Vec<Option<RawNode>> =
        std::mem::take(&mut graph.nodes).into_iter().map(Some).collect();
    graph.nodes = order.into_iter().filter_map(|position| nodes[position].take()).collect();
    warnings.push(Diagnostic::warning(
        "unsorted-nodes",
        format!("the nodes of graph `{}` were not sorted topologically; they are now", graph.name),
    ));
    Ok(())
}

/// Names the nodes of one cycle, in the order of the file.
fn cycle(graph: &RawGraph, reads: &[Vec<usize>], missing: &[usize]) -> Diagnostic {
    // Whoever misses an input reads from someone who does too: going back ends in a cycle.
    let mut at = missing.iter().position(|n| *n > 0).unwrap_or(0);
    let mut path: Vec<usize> = Vec::new();
    let mut seen_at = vec![None; reads.len()];
    while seen_at[at].is_none() {
        seen_at[at] = Some(path.len());
        path.push(at);
        match reads[at].iter().find(|producer| missing[**producer] > 0) {
            Some(producer) => at = *producer,
            None => break,
        }
    }
    let mut nodes = path.split_off(seen_at[at].unwrap_or(0));
    nodes.sort_unstable();
    let mut names: Vec<String> =
        nodes.iter().take(MAX_NAMED).filter_map(|p| graph.nodes.get(*p)).map(label).collect();
    let shown: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    if nodes.len() > MAX_NAMED {
        names.push(format!("and {} more", nodes.len() - MAX_NAMED));
    }
    Diagnostic::input("graph-cycle", format!("graph cycle through {}", shown.join(", ")))
        .fact("nodes", names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::raw::RawValue;

    fn node(name: &str, inputs: &[&str], outputs: &[&str]) -> RawNode {
        RawNode {
            name: name.into(),
            op_type: "Relu".into(),
            inputs: inputs.iter().map(|n| (*n).to_owned()).collect(),
            outputs: outputs.iter().map(|n| (*n).to_owned()).collect(),
            ..RawNode::default()
        }
    }

    fn value(name: &str) -> RawValue {
        RawValue { name: name.into(), ..RawValue::default() }
    }

    fn model(nodes: Vec<RawNode>, output: &str) -> RawModel {
        let graph = RawGraph {
            nodes,
            inputs: vec![value("x")],
            outputs: vec![value(output)],
            ..RawGraph::default()
        };
        RawModel { opsets: [(String::new(), 20)].into(), graph }
    }

    #[test]
    fn nodes_are_sorted_by_dependency_then_by_file_order() {
        let mut model = model(
            vec![
                node("c", &["b"], &["y"]),
                node("b", &["a"], &["b"]),
                node("a", &["x"], &["a"]),
                node("d", &["x"], &["d"]),
            ],
            "y",
        );
        let mut warnings = Vec::new();
        check(&mut model, &mut warnings).unwrap();
        let order: Vec<&str> = model.graph.nodes.iter().map(|n| n.name.as_str()).collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
        assert_eq!(warnings[0].code, "unsorted-nodes");
    }

    #[test]
    fn what_a_subgraph_reads_counts_as_an_input() {
        let inner = RawGraph {
            nodes: vec![node("n", &["late"], &["z"])],
            outputs: vec![value("z")],
            ..RawGraph::default()
        };
        let mut branch = node("if", &["x"], &["y"]);
        branch.attributes.insert("then_branch".into(), RawAttribute::Graph(inner));
        let mut model = model(vec![branch, node("l", &["x"], &["late"])], "y");
        check(&mut model, &mut Vec::new()).unwrap();
        assert_eq!(model.graph.nodes[0].name, "l");
    }

    #[test]
    fn faults_have_codes_and_names() {
        let fault = |nodes, output| check(&mut model(nodes, output), &mut Vec::new()).unwrap_err();
        let error = fault(vec![node("a", &["b"], &["a"]), node("b", &["a"], &["b"])], "a");
        assert_eq!(error.message, "graph cycle through `a`, `b`");
        assert_eq!(fault(vec![node("s", &["y"], &["y"])], "y").code, "graph-cycle");
        assert_eq!(fault(vec![node("a", &["ghost"], &["y"])], "y").code, "undefined-tensor");
        assert_eq!(fault(vec![node("a", &["x"], &["y"])], "nowhere").code, "missing-output");
        let twice = vec![node("a", &["x"], &["y"]), node("b", &["x"], &["y"])];
        assert_eq!(fault(twice, "y").code, "duplicate-tensor");
        assert_eq!(fault(vec![node("a", &["x"], &["x"])], "x").code, "duplicate-tensor");
    }
}
