//! Groups that are opened one at a time, cut into parts, and found by words.

use std::collections::{BTreeMap, BTreeSet};

use super::plans::{file_of_ops, file_of_run};
use crate::views::builder::Builder;
use crate::views::hierarchy::{Figures, Leaf, Tree};
use crate::views::{Inside, NodeKind, View};

/// All nodes that are shown, with the groups that they are in.
fn shown<'a>(inside: &'a Inside, within: &[&'a str], to: &mut BTreeMap<&'a str, Vec<&'a str>>) {
    for node in &inside.nodes {
        to.insert(&node.figures.id, within.to_vec());
        if let Some(open) = &node.open {
            shown(open, &[within, &[&node.figures.id]].concat(), to);
        }
    }
}

#[test]
fn what_is_open_is_what_was_asked_for() {
    let view = View::open(file_of_ops()).unwrap();
    let all = view.graph(None, 64, &[]).unwrap();
    let mut places = BTreeMap::new();
    shown(&all.inside, &[], &mut places);
    let deepest = places.values().max_by_key(|within| within.len()).unwrap();
    assert!(deepest.len() >= 3, "{deepest:?}");
    let names: Vec<String> = deepest.iter().map(|id| (*id).to_owned()).collect();
    let graph = view.graph(None, 1, &names).unwrap();
    let mut found = BTreeMap::new();
    shown(&graph.inside, &[], &mut found);
    let open: BTreeSet<&str> = found.values().flatten().copied().collect();
    assert_eq!(open, deepest.iter().copied().collect());
    // The inside is what the group alone shows, figure for figure.
    let mut at = &graph.inside;
    for id in deepest {
        let alone = serde_json::to_value(view.graph(Some(id), 1, &names).unwrap().inside).unwrap();
        at = at.nodes.iter().find(|node| node.figures.id == *id).unwrap().open.as_deref().unwrap();
        assert_eq!(serde_json::to_value(at).unwrap(), alone);
    }
    // What lies in a closed group stays closed; what there is not is refused.
    assert!(
        view.graph(None, 1, &names[1..])
            .unwrap()
            .inside
            .nodes
            .iter()
            .all(|node| node.open.is_none())
    );
    let unknown = view.graph(None, 1, &["nothing".to_owned()]).unwrap_err();
    assert_eq!((unknown.code, unknown.hints.len()), ("unknown-group", 1));
}

/// The splits of each layer's queries, keys and values state no module: they lie in the layer, not
/// beside the model.
#[test]
fn ops_without_a_module_lie_where_what_they_exchange_lies() {
    let view = View::open(file_of_ops()).unwrap();
    let top = view.graph(None, 1, &[]).unwrap().inside;
    let types = top.nodes.iter().filter_map(|node| node.figures.op_type.as_deref());
    assert!(types.clone().all(|op_type| op_type != "Split"), "{:?}", types.collect::<Vec<_>>());
    let splits = view.find("Split", 99).unwrap().found;
    assert!(splits.len() >= 12, "{}", splits.len());
    assert!(splits.iter().all(|node| node.within.len() >= 2), "{:?}", splits[0].within);
}

#[test]
fn words_find_the_ops_that_a_walk_finds() {
    let view = View::open(file_of_ops()).unwrap();
    let all = view.graph(None, 64, &[]).unwrap();
    let mut places = BTreeMap::new();
    shown(&all.inside, &[], &mut places);
    let mut wanted = Vec::new();
    let mut open = vec![(&all.inside, "")];
    while let Some((inside, group)) = open.pop() {
        for node in &inside.nodes {
            let figures = &node.figures;
            let devices: Vec<&str> = figures.devices.keys().map(String::as_str).collect();
            let known =
                [figures.id.as_str(), group, figures.op_type.as_deref().unwrap_or_default()];
            let text = [&known[..], &devices].concat().join("\n").to_lowercase();
            let is_meant = ["add", "gpu", "h.3"].iter().all(|word| text.contains(word));
            if figures.kind == NodeKind::Op && is_meant {
                wanted.push(figures.id.as_str());
            }
            open.extend(node.open.as_deref().map(|inside| (inside, figures.id.as_str())));
        }
    }
    let found = view.find("  ADD gpu h.3 ", 1000).unwrap();
    let mut ids: Vec<&str> = found.found.iter().map(|node| node.id.as_str()).collect();
    ids.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(ids, wanted);
    assert!(!ids.is_empty());
    for node in &view.find("0", 1000).unwrap().found {
        assert_eq!(node.within, places[node.id.as_str()], "{}", node.id);
    }
    // What has the very name comes first, and no more come than are asked for.
    for id in places.keys().step_by(7) {
        let found = view.find(id, 3).unwrap();
        assert_eq!(found.found[0].id, *id);
        assert!(found.found.len() <= 3 && found.n_found >= found.found.len() as u64);
    }
    assert_eq!(view.find("no such op", 9).unwrap().n_found, 0);
    assert_eq!(view.find(" \t", 9).unwrap_err().code, "no-words");
    let stages = View::open(file_of_run()).unwrap().find("stage rank", 99).unwrap();
    assert!(stages.n_found > 0 && stages.found.iter().all(|node| node.kind == NodeKind::Stage));
}

#[test]
fn a_group_of_many_ops_is_cut_into_parts_in_their_order() {
    let names: Vec<String> = (0..2_500).map(|op| format!("op {op}")).collect();
    let leaf = |(at, name)| {
        let mut figures = Figures::default();
        figures.n_ops = 1;
        figures.runs(at, at + 1);
        Leaf { name, module: None, op_type: "Relu", phase: "forward", figures }
    };
    let leaves = (0..).zip(names.iter().map(String::as_str)).map(leaf).collect();
    let mut tree = Tree::new(leaves);
    for op in 0..2_499 {
        let tensor = u32::try_from(op).unwrap();
        tree.tensor(tensor, 8, (op, 0), std::iter::once((op + 1, 0)));
    }
    let mut to = Builder::new("ops", 2_500, &[]);
    tree.write(&["gpu0"], &mut to);
    let file = to.finished();
    let view = View::open(&file).unwrap();
    let parts = view.graph(None, 1, &[]).unwrap().inside;
    let found = parts.nodes.iter().map(|node| {
        let figures = &node.figures;
        (figures.id.as_str(), figures.kind, figures.n_ops, figures.first_ns, figures.last_ns)
    });
    let wanted = [
        ("nodes 1..1000", NodeKind::Part, 1000, Some(0), Some(1000)),
        ("nodes 1001..2000", NodeKind::Part, 1000, Some(1000), Some(2000)),
        ("nodes 2001..2500", NodeKind::Part, 500, Some(2000), Some(2500)),
    ];
    assert_eq!(found.collect::<Vec<_>>(), wanted);
    assert!(parts.edges.iter().all(|edge| edge.figures.bytes == 8 && !edge.is_back));
    assert_eq!(parts.edges.len(), 2);
    let last = view.graph(Some("nodes 2001..2500"), 1, &[]).unwrap().inside;
    assert_eq!(last.nodes[0].figures.id, "op 2000");
    assert_eq!(last.nodes[0].figures.in_bytes, 8);
    assert_eq!(view.find("op 2400", 9).unwrap().found[0].within, ["nodes 2001..2500"]);
}
