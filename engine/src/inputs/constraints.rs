//! `--pin`, `--forbid`, `--colocate` and the constraints file, resolved to ids.

use std::collections::BTreeMap;
use std::path::Path;

use cost_model::ops::problem::Constraints;
use documents::plan::request::RequestDocument;
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::{DeviceId, OpId};
use ir::op::Work;
use serde::Deserialize;

use crate::answer::files::input_file;
use crate::answer::suggest;
use crate::inputs::pattern::Pattern;
use crate::request::ProblemRequest;

/// Longest constraints file that is read, in bytes.
const LONGEST_FILE: u64 = 16 << 20;

/// The constraints file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    pin: BTreeMap<String, Names>,
    #[serde(default)]
    forbid: BTreeMap<String, Names>,
    #[serde(default)]
    colocate: Vec<Names>,
}

/// One name or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Many(Vec<String>),
}

impl Names {
    fn all(&self) -> Vec<&str> {
        match self {
            Self::One(name) => vec![name],
            Self::Many(names) => names.iter().map(String::as_str).collect(),
        }
    }
}

/// Lists all constraints of a command line, those of the file first.
///
/// # Errors
/// `constraints-file` for a file that can't be read.
pub fn list(flags: &ProblemRequest, request: &mut RequestDocument) -> Result<(), Diagnostic> {
    let file = flags.constraints.as_deref().map(read).transpose()?.unwrap_or_default();
    let flagged = |pairs: BTreeMap<String, Names>, flags: &[String]| -> Vec<String> {
        let pair =
            |(pattern, devices): (String, Names)| format!("{pattern}={}", devices.all().join(","));
        pairs.into_iter().map(pair).chain(flags.iter().cloned()).collect()
    };
    request.pin = flagged(file.pin, &flags.pin);
    request.forbid = flagged(file.forbid, &flags.forbid);
    let names = |names: Names| names.all().into_iter().map(str::to_owned).collect();
    let groups = file.colocate.into_iter().map(names);
    request.colocate =
        groups.chain(flags.colocate.iter().map(|pattern| vec![pattern.clone()])).collect();
    Ok(())
}

/// Resolves all constraints of a request.
///
/// # Errors
/// `no-match` for a pattern without an op, `unknown-device` for a device that the cluster does not
/// have, `bad-constraint` for a constraint without `=`; `bad-plan` where a plan states it.
pub fn resolve(
    request: &RequestDocument,
    flags: &ProblemRequest,
    graph: &Graph,
    cluster: &Cluster,
) -> Result<Constraints, Diagnostic> {
    let resolver = Resolver { graph, cluster };
    let pairs = |name: &str, list: &[String]| -> Result<Vec<_>, Diagnostic> {
        let mut pairs = Vec::new();
        for text in list {
            let (pattern, devices) = split(name, text)?;
            pairs.extend(resolver.pairs(pattern, &devices)?);
        }
        Ok(pairs)
    };
    let together = |patterns: &Vec<String>| {
        resolver.together(&patterns.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let stated = |member: &'static str, list: &[String]| {
        let is_asked = flags.constraints.is_some() || !list.is_empty();
        move |error: Diagnostic| if is_asked { error } else { of_plan(member, error) }
    };
    let pins = pairs("--pin", &request.pin).map_err(stated("request.pin", &flags.pin))?;
    let forbids =
        pairs("--forbid", &request.forbid).map_err(stated("request.forbid", &flags.forbid))?;
    let groups: Result<Vec<_>, Diagnostic> = request.colocate.iter().map(together).collect();
    let colocate = groups.map_err(stated("request.colocate", &flags.colocate))?;
    Ok(Constraints { pins, forbids, colocate })
}

/// A constraint that no flag has asked for stands in a plan.
fn of_plan(member: &'static str, error: Diagnostic) -> Diagnostic {
    let message = format!("member `{member}` of the plan: {}", error.message);
    Diagnostic::input("bad-plan", message)
        .fact("member", member)
        .hint("give the model and the cluster that it was planned for, or correct the member")
}

fn split<'a>(name: &str, flag: &'a str) -> Result<(&'a str, Vec<&'a str>), Diagnostic> {
    match flag.rsplit_once('=') {
        Some((pattern, devices)) if !pattern.is_empty() && !devices.is_empty() => {
            Ok((pattern, devices.split(',').collect()))
        }
        _ => Err(Diagnostic::usage(
            "bad-constraint",
            format!("`{name} {flag}` does not have the form PATTERN=DEVICE"),
        )
        .hint(format!("write {name} 'transformer.h.0=gpu0', several devices with commas"))),
    }
}

fn read(path: &Path) -> Result<File, Diagnostic> {
    let wrong = |why: String| {
        Diagnostic::input("constraints-file", "the constraints file can not be used")
            .fact("file", path.display().to_string())
            .fact("reason", why)
            .hint("it holds `pin` and `forbid` (pattern: device) and `colocate` (list of patterns)")
    };
    let bytes = input_file::read(path, LONGEST_FILE).map_err(wrong)?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is no UTF-8 text".to_owned()))?;
    serde_yaml::from_str(&text).map_err(|e| {
        // The first line says what and where; the rest quotes the file.
        wrong(e.to_string().lines().next().unwrap_or_default().to_owned())
    })
}

struct Resolver<'a> {
    graph: &'a Graph,
    cluster: &'a Cluster,
}

impl Resolver<'_> {
    fn pairs(
        &self,
        pattern: &str,
        devices: &[&str],
    ) -> Result<Vec<(OpId, Vec<DeviceId>)>, Diagnostic> {
        let devices = self.devices(devices)?;
        Ok(self.ops(pattern)?.into_iter().map(|op| (op, devices.clone())).collect())
    }

    fn together(&self, patterns: &[&str]) -> Result<Vec<OpId>, Diagnostic> {
        let mut ops = Vec::new();
        for pattern in patterns {
            ops.extend(self.ops(pattern)?);
        }
        ops.sort_unstable();
        ops.dedup();
        Ok(ops)
    }

    /// Ops (no views) that the pattern covers, at least one.
    fn ops(&self, pattern: &str) -> Result<Vec<OpId>, Diagnostic> {
        let pattern = Pattern::new(pattern);
        let is_action = |op: &OpId| self.graph.op(*op).work != Work::View;
        let ops: Vec<OpId> = self
            .graph
            .op_ids()
            .filter(is_action)
            .filter(|op| pattern.covers(self.graph.op(*op)))
            .collect();
        if !ops.is_empty() {
            return Ok(ops);
        }
        let names = self.graph.ops.iter().filter(|op| op.work != Work::View);
        let known = names.flat_map(|op| [Some(op.name.as_str()), op.module.as_deref()]).flatten();
        Err(Diagnostic::usage("no-match", format!("no op matches `{}`", pattern.text()))
            .hint(suggest::hint(pattern.text(), known)))
    }

    fn devices(&self, names: &[&str]) -> Result<Vec<DeviceId>, Diagnostic> {
        let mut devices = Vec::new();
        for name in names {
            let pattern = Pattern::new(name);
            let all = self.cluster.device_ids();
            let found: Vec<DeviceId> =
                all.filter(|d| pattern.matches(&self.cluster.devices[d.index()].name)).collect();
            if found.is_empty() {
                let known = self.cluster.devices.iter().map(|d| d.name.as_str());
                let message = format!("cluster `{}` has no device `{name}`", self.cluster.name);
                return Err(
                    Diagnostic::usage("unknown-device", message).hint(suggest::hint(name, known))
                );
            }
            devices.extend(found);
        }
        devices.sort_unstable();
        devices.dedup();
        Ok(devices)
    }
}

#[cfg(test)]
mod tests {
    use ir::op::{Kernel, Op};

    use super::*;

    fn graph() -> Graph {
        let op = |name: &str, module: &str| Op {
            name: name.to_owned(),
            op_type: "MatMul".to_owned(),
            module: Some(module.to_owned()),
            phase: ir::op::Phase::Forward,
            inputs: Vec::new(),
            parameters: Vec::new(),
            outputs: Vec::new(),
            work: Work::Kernel(Kernel::default()),
            group: None,
            splits: ir::op::Splits::default(),
        };
        Graph { ops: vec![op("q", "h.0.attn"), op("k", "h.1.attn")], ..Graph::default() }
    }

    #[test]
    fn a_pattern_names_its_subtree() {
        let (graph, cluster) = (graph(), Cluster::default());
        let resolver = Resolver { graph: &graph, cluster: &cluster };
        assert_eq!(resolver.ops("h.1").ok(), Some(vec![OpId(1)]));
        assert_eq!(resolver.together(&["h.1", "q", "q"]).ok(), Some(vec![OpId(0), OpId(1)]));
    }

    #[test]
    fn a_pattern_without_a_match_is_an_error_that_helps() {
        let (graph, cluster) = (graph(), Cluster::default());
        let resolver = Resolver { graph: &graph, cluster: &cluster };
        let Err(error) = resolver.ops("h.1.atn") else { panic!("nothing is called so") };
        assert_eq!(error.code, "no-match");
        assert!(error.hints[0].contains("`h.1.attn`"), "{:?}", error.hints);
    }

    #[test]
    fn flags_split_at_the_last_sign() {
        assert_eq!(split("--pin", "a=b=x,y").ok(), Some(("a=b", vec!["x", "y"])));
        assert!(split("--pin", "a").is_err() && split("--pin", "=x").is_err());
    }
}
