//! Nodes of the graph by words: name, type, phase, device, group.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZero;

use ir::diagnostic::Diagnostic;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::bytes::{Part, Section, damaged};
use super::graph::NodeKind;
use super::view::View;

/// Nodes that were searched for.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Found {
    /// How many there are.
    pub n_found: u64,
    /// The first of them: those that have the name, then groups, then ops.
    pub found: Vec<FoundNode>,
}

/// A node that was searched for.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FoundNode {
    /// By which a group is asked for; an op's name.
    pub id: String,
    /// What it stands for.
    pub kind: NodeKind,
    /// Type of an op; what a stage computes again.
    pub op_type: Option<String>,
    /// Devices that run it.
    pub devices: Vec<String>,
    /// Nanoseconds on all devices.
    pub time_ns: u64,
    /// The groups that it is in, from the outermost on.
    pub within: Vec<String>,
}

/// Of a group's file, what is searched.
#[derive(Deserialize)]
struct Searched<'a> {
    #[serde(borrow)]
    nodes: Vec<Candidate<'a>>,
}

#[derive(Deserialize)]
struct Candidate<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    kind: NodeKind,
    #[serde(borrow)]
    op_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    phase: Option<Cow<'a, str>>,
    /// Nanoseconds by device, read where they count: most candidates are ruled out by less.
    #[serde(borrow)]
    devices: &'a RawValue,
    time_ns: u64,
}

impl Candidate<'_> {
    /// `None` where the file is damaged.
    fn devices(&self) -> Option<impl Iterator<Item = String> + use<>> {
        let read: BTreeMap<String, u64> = serde_json::from_str(self.devices.get()).ok()?;
        Some(read.into_keys())
    }

    /// Whether each word stands somewhere in what is known of it; `within` is its group's id in small
    /// letters.
    fn is_meant(&self, words: &[String], within: &str) -> bool {
        let id = self.id.to_lowercase();
        // A group holds ops of all types and devices: it is found by its path alone.
        if !matches!(self.kind, NodeKind::Op | NodeKind::Stage) {
            return words.iter().all(|word| id.contains(word));
        }
        let others: OnceCell<Vec<String>> = OnceCell::new();
        let made = || {
            let names = [self.op_type.as_deref(), self.phase.as_deref()].into_iter().flatten();
            let devices = self.devices().into_iter().flatten().map(|device| device.to_lowercase());
            names.map(str::to_lowercase).chain(devices).collect()
        };
        let holds = |word: &String| {
            let word = word.as_str();
            id.contains(word)
                || within.contains(word)
                || others.get_or_init(made).iter().any(|other| other.contains(word))
        };
        words.iter().all(holds)
    }
}

/// Threads that one search takes at most: it reads a file of some ten megabytes.
const THREADS: usize = 4;

/// What some groups hold.
#[derive(Default)]
struct Sought<'h> {
    /// By group, the one that it is in.
    parents: Vec<(String, &'h str)>,
    /// In which order, in which group.
    found: Vec<(u8, &'h str, Candidate<'h>)>,
}

/// Searches some groups; `None` where the file is damaged.
fn sought<'h>(
    groups: &'h [(String, u64, u64)],
    details: &Part<'h>,
    (text, words): (&str, &[String]),
) -> Option<Sought<'h>> {
    let mut all = Sought::default();
    for (group, at, length) in groups {
        let bytes = details.slice(*at, *length)?;
        let searched: Searched<'_> = serde_json::from_slice(bytes.0).ok()?;
        let within = group.to_lowercase();
        for node in searched.nodes {
            let is_leaf = matches!(node.kind, NodeKind::Op | NodeKind::Stage);
            if !is_leaf {
                all.parents.push((node.id.clone().into_owned(), group));
            }
            if node.is_meant(words, &within) {
                let order = if node.id == text { 0 } else { 1 + u8::from(is_leaf) };
                all.found.push((order, group, node));
            }
        }
    }
    Some(all)
}

impl View<'_> {
    /// Nodes of which every word of `text` says something: part of the name, type, phase, device or
    /// group of an op, of the path of a group; capitals count as small letters. At most `most`.
    ///
    /// # Errors
    /// `no-words`; `bad-view`.
    pub fn find(&self, text: &str, most: usize) -> Result<Found, Diagnostic> {
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        if words.is_empty() {
            return Err(Diagnostic::usage("no-words", "nothing is searched for")
                .hint("state part of a name, the type of an op or a device"));
        }
        let details = Part::section(self.file, Section::Details).ok_or_else(damaged)?;
        let groups = self.head.groups.as_slice();
        let n_threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(THREADS);
        let parts = groups.chunks(groups.len().div_ceil(n_threads).max(1));
        let (details, words) = (&details, words.as_slice());
        let all: Vec<Option<Sought<'_>>> = std::thread::scope(|scope| {
            let seek = |part| {
                let seek = move || sought(part, details, (text, words));
                // Where the system has no thread to give, this one does its work.
                std::thread::Builder::new().spawn_scoped(scope, seek).map_err(|_| seek())
            };
            let threads: Vec<_> = parts.map(seek).collect();
            let joined = |started: Result<std::thread::ScopedJoinHandle<'_, _>, _>| match started {
                Ok(thread) => thread.join().ok().flatten(),
                Err(done) => done,
            };
            threads.into_iter().map(joined).collect()
        });
        let (mut parents, mut found) = (HashMap::new(), Vec::new());
        for part in all {
            let part = part.ok_or_else(damaged)?;
            parents.extend(part.parents);
            found.extend(part.found);
        }
        let n_found = found.len() as u64;
        found.sort_by_key(|(order, ..)| *order);
        let nodes = found.into_iter().take(most).map(|(_, group, node)| {
            let (mut node, mut at) = (node.told()?, group);
            // A changed file may name groups in a circle.
            while !at.is_empty() && node.within.len() < parents.len() {
                node.within.push(at.to_owned());
                at = parents.get(at).copied().unwrap_or_default();
            }
            node.within.reverse();
            Some(node)
        });
        let found: Option<Vec<FoundNode>> = nodes.collect();
        Ok(Found { n_found, found: found.ok_or_else(damaged)? })
    }
}

impl Candidate<'_> {
    fn told(self) -> Option<FoundNode> {
        Some(FoundNode {
            devices: self.devices()?.collect(),
            id: self.id.into_owned(),
            kind: self.kind,
            op_type: self.op_type.map(Cow::into_owned),
            time_ns: self.time_ns,
            within: Vec::new(),
        })
    }
}
