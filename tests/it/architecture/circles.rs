//! Which file names which: circles between files, arrows between rooms, lengths of functions. Read
//! off the tokens of all sources but tests, every path counted: `use`, `super::`, inline.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use petgraph::Graph;
use petgraph::algo::tarjan_scc;
use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::{CRATES, files, root};

/// Most files that may name each other in a circle.
const LARGEST_CIRCLE: usize = 5;
/// Most lines of a function.
const LONGEST_FUNCTION: usize = 60;
/// Most rooms of the cost model.
const COST_MODEL_ROOMS: usize = 12;
/// Most lines of the command line.
const COMMAND_LINE: usize = 5_000;
/// Bounds on the median length of a file, in lines.
const MEDIAN: std::ops::RangeInclusive<usize> = 100..=200;

/// A module: its crate, then its names.
type Module = Vec<String>;

pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) module: Module,
    n_lines: usize,
    pub(super) tokens: Vec<TokenTree>,
}

/// All sources but tests.
pub(super) fn sources() -> Vec<Source> {
    let is_test = |path: &Path| {
        path.with_extension("").components().any(|part| {
            let part = part.as_os_str().to_string_lossy();
            let part = part.rsplit('_').next().unwrap_or_default();
            ["tests", "laws"].contains(&part)
        })
    };
    let of_crate = |folder: &'static str| {
        let name = folder.rsplit('/').nth(1).unwrap_or("meshwright");
        let inside = move |path: PathBuf| {
            let relative = path.strip_prefix(root().join(folder)).unwrap().to_owned();
            if is_test(&relative) {
                return None;
            }
            let mut module = vec![name.to_owned()];
            let parts = relative.with_extension("");
            module.extend(parts.iter().map(|part| part.to_string_lossy().into_owned()));
            let last = module.last().unwrap();
            if last == "mod" || (module.len() == 2 && ["lib", "main"].contains(&last.as_str())) {
                module.pop();
            }
            let text = fs::read_to_string(&path).unwrap();
            let tokens: TokenStream = text.parse().unwrap();
            Some(Source {
                module,
                n_lines: text.lines().count(),
                tokens: without_tests(tokens),
                path,
            })
        };
        files(&[folder], &["rs"]).into_iter().filter_map(inside)
    };
    CRATES.into_iter().flat_map(of_crate).collect()
}

/// The tokens without items under `#[cfg(test)]`.
fn without_tests(tokens: TokenStream) -> Vec<TokenTree> {
    let all: Vec<TokenTree> = tokens.into_iter().collect();
    let mut remaining = Vec::new();
    let mut at = 0;
    while at < all.len() {
        let is_test = is_punct(&all[at], '#')
            && all
                .get(at + 1)
                .is_some_and(|next| next.to_string().replace(' ', "") == "[cfg(test)]");
        if !is_test {
            remaining.push(all[at].clone());
            at += 1;
            continue;
        }
        let is_end = |token: &TokenTree| {
            is_punct(token, ';')
                || matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
        };
        at += 2 + all[at + 2..].iter().position(is_end).map_or(0, |end| end + 1);
    }
    remaining
}

fn is_punct(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

fn is_path_sign(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |at: usize| tokens.get(at).is_some_and(|token| is_punct(token, ':'));
    colon(at) && colon(at + 1)
}

fn ident(token: Option<&TokenTree>) -> Option<String> {
    match token {
        Some(TokenTree::Ident(name)) => Some(name.to_string()),
        _ => None,
    }
}

/// Every path of some tokens, as its names.
fn paths(tokens: &[TokenTree], found: &mut Vec<Vec<String>>) {
    let mut at = 0;
    while at < tokens.len() {
        let name = ident(tokens.get(at));
        if name.as_deref() == Some("use") {
            let end = tokens[at..].iter().position(|token| is_punct(token, ';'));
            let end = at + end.unwrap_or(tokens.len() - at);
            used(&tokens[at + 1..end], &[], found);
            at = end;
        } else if name.is_some() && is_path_sign(tokens, at + 1) {
            let mut path = Vec::new();
            while let Some(name) = ident(tokens.get(at)) {
                path.push(name);
                at += 1;
                if !is_path_sign(tokens, at) {
                    break;
                }
                at += 2;
            }
            found.push(path);
        } else {
            if let TokenTree::Group(group) = &tokens[at] {
                paths(&without_tests(group.stream()), found);
            }
            at += 1;
        }
    }
}

/// The paths of a `use` tree.
fn used(tokens: &[TokenTree], before: &[String], found: &mut Vec<Vec<String>>) {
    for tree in tokens.split(|token| is_punct(token, ',')) {
        let mut path = before.to_vec();
        let has_parts = matches!(tree.last(), Some(TokenTree::Group(_)));
        for token in tree {
            match token {
                TokenTree::Ident(name) if name == "as" => break,
                TokenTree::Ident(name) => path.push(name.to_string()),
                TokenTree::Group(group) => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    used(&inner, &path, found);
                }
                _ => {}
            }
        }
        if !has_parts {
            found.push(path);
        }
    }
}

/// By file, the files that it names.
pub(super) fn arrows(sources: &[Source]) -> BTreeMap<usize, BTreeSet<usize>> {
    let by_module: BTreeMap<&Module, usize> =
        sources.iter().enumerate().map(|(at, source)| (&source.module, at)).collect();
    let names: BTreeSet<&str> = sources.iter().map(|source| source.module[0].as_str()).collect();
    let target = |from: &Module, path: &[String]| {
        let mut rest = path;
        let mut module = match path.first()?.as_str() {
            "crate" => vec![from[0].clone()],
            "self" | "super" => from.clone(),
            name if names.contains(name) => vec![name.to_owned()],
            _ if by_module.contains_key(&[&from[..], &path[..1]].concat()) => from.clone(),
            _ => return None,
        };
        while let Some(name) = rest.first() {
            let deeper = [&module[..], std::slice::from_ref(name)].concat();
            match name.as_str() {
                "super" if module.len() > 1 => drop(module.pop()),
                "self" | "crate" => {}
                _ if *name == module[0] && rest.len() == path.len() => {}
                _ if by_module.contains_key(&deeper) => module = deeper,
                _ => break,
            }
            rest = &rest[1..];
        }
        by_module.get(&module).copied()
    };
    let of = |(at, source): (usize, &Source)| {
        let mut found = Vec::new();
        paths(&source.tokens, &mut found);
        let others = found.iter().filter_map(|path| target(&source.module, path));
        (at, others.filter(|other| *other != at).collect())
    };
    sources.iter().enumerate().map(of).collect()
}

/// Sets of two or more that lead to each other.
fn circles(edges: impl Iterator<Item = (usize, usize)>) -> Vec<Vec<usize>> {
    let edges = edges.map(|(from, to)| (from as u32, to as u32));
    let found = tarjan_scc(&Graph::<(), ()>::from_edges(edges));
    let numbers = found.into_iter().map(|circle| circle.iter().map(|at| at.index()).collect());
    numbers.filter(|circle: &Vec<usize>| circle.len() > 1).collect()
}

#[test]
fn circles_between_files_are_small() {
    let sources = sources();
    let arrows = arrows(&sources);
    let n_arrows: usize = arrows.values().map(BTreeSet::len).sum();
    assert!(n_arrows > 2 * sources.len(), "{n_arrows} arrows of {} files", sources.len());
    let edges = arrows.iter().flat_map(|(from, to)| to.iter().map(|to| (*from, *to)));
    for circle in circles(edges) {
        let names: Vec<String> =
            circle.iter().map(|at| sources[*at].path.display().to_string()).collect();
        assert!(
            circle.len() <= LARGEST_CIRCLE,
            "a circle of {}:\n{}",
            circle.len(),
            names.join("\n")
        );
    }
}

#[test]
fn no_arrow_between_rooms_runs_back_up() {
    let sources = sources();
    let mut rooms: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut edges = Vec::new();
    let room = |at: usize| match &sources[at].module[..] {
        [krate, room, ..] => Some((krate.as_str(), room.as_str())),
        _ => None,
    };
    for (from, others) in &arrows(&sources) {
        for (a, b) in others.iter().filter_map(|to| room(*from).zip(room(*to))) {
            if a != b && a.0 == b.0 {
                let n = rooms.len();
                let a = *rooms.entry(a).or_insert(n);
                let n = rooms.len();
                let b = *rooms.entry(b).or_insert(n);
                edges.push((a, b));
            }
        }
    }
    assert!(rooms.len() > 50, "{} rooms", rooms.len());
    let tangled: Vec<String> = circles(edges.into_iter())
        .iter()
        .flat_map(|circle| rooms.iter().filter(|(_, at)| circle.contains(at)))
        .map(|((krate, room), _)| format!("{krate}::{room}"))
        .collect();
    assert!(tangled.is_empty(), "these rooms name each other: {}", tangled.join(", "));
    let of_costs = sources.iter().filter(|source| source.module[0] == "cost_model");
    let of_costs: BTreeSet<&String> = of_costs.filter_map(|source| source.module.get(1)).collect();
    assert!(of_costs.len() <= COST_MODEL_ROOMS, "rooms of the cost model: {of_costs:?}");
}

/// Functions with more lines than are allowed, of some tokens.
fn long_functions(tokens: &[TokenTree], found: &mut Vec<String>) {
    for (at, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            long_functions(&without_tests(group.stream()), found);
        }
        let (Some("fn"), Some(name)) = (ident(Some(token)).as_deref(), ident(tokens.get(at + 1)))
        else {
            continue;
        };
        let body =
            tokens[at..].iter().take_while(|token| !is_punct(token, ';')).find_map(|token| {
                match token {
                    TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group),
                    _ => None,
                }
            });
        let Some(body) = body else { continue };
        let n_lines = body.span_close().end().line + 1 - token.span().start().line;
        if n_lines > LONGEST_FUNCTION {
            found.push(format!("{name}: {n_lines} lines"));
        }
    }
}

#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for source in sources() {
        let mut found = Vec::new();
        long_functions(&source.tokens, &mut found);
        long.extend(found.iter().map(|text| format!("{}: {text}", source.path.display())));
    }
    assert!(long.is_empty(), "past {LONGEST_FUNCTION} lines:\n{}", long.join("\n"));
}

#[test]
fn the_command_line_is_short() {
    let sources = sources();
    let mut lengths: Vec<usize> = sources.iter().map(|source| source.n_lines).collect();
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(MEDIAN.contains(&median), "median length of a file: {median} lines");
    let of_command_line = sources.iter().filter(|source| source.module[0] == "meshwright");
    let n_lines: usize = of_command_line.map(|source| source.n_lines).sum();
    assert!(n_lines < COMMAND_LINE, "the command line has {n_lines} lines");
}
