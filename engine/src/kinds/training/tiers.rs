//! On which tier of links each degree of a run lies.

use cost_model::runs::forms::rank_groups::{Group, crosses};
use ir::plan::Parallelism;
use serde_json::{Value, json};

use crate::inputs::run::setting::Setting;
use crate::inputs::scale;

/// Each degree above 1: its ranks, how many of them one host has at most, how many hosts a group
/// touches at most (null of a pipeline, whose neighbours alone talk), and the ways that it uses.
pub(super) fn document(setting: &Setting, degrees: &Parallelism) -> Value {
    let per_host = setting.system.per_host;
    let cluster = scale::document(&setting.cluster);
    let all = cluster["ways"].as_array().map_or(&[][..], Vec::as_slice);
    let ways = |between: bool| -> Vec<&Value> {
        let found = all.iter().filter(|way| way["between_hosts"] == between);
        found.map(|way| &way["name"]).collect()
    };
    let group = |name: &str, group: &Group| {
        let spread = group.spread(per_host);
        let between = spread.hosts > 1;
        (spread.ranks > 1).then(|| {
            json!({ "degree": name, "ranks": spread.ranks, "of_a_host": spread.most,
                "hosts": spread.hosts, "between_hosts": between, "ways": ways(between) })
        })
    };
    let pipeline = || {
        let ranks = degrees.pipeline;
        let between = (1..ranks).any(|rank| crosses(degrees, per_host, rank - 1, rank));
        (ranks > 1).then(|| {
            json!({ "degree": "pipeline", "ranks": ranks, "of_a_host": null, "hosts": null,
                "between_hosts": between, "ways": ways(between) })
        })
    };
    let replicas = if degrees.context > 1 { "data x context" } else { "data" };
    let found = [
        group("tensor", &Group::tensor(degrees)),
        group("context", &Group::context(degrees)),
        group("expert", &Group::experts(degrees)),
        group(replicas, &Group::replicas(degrees)),
        pipeline(),
    ];
    found.into_iter().flatten().collect()
}
