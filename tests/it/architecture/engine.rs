//! The rooms of `engine` are those of ARCHITECTURE.md, and name rooms of earlier lines only; kinds of plans
//! are told apart in few places.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::circles::{Source, arrows, sources};
use super::root;

/// Most rooms at the top.
const TOP: usize = 10;
/// Most folders beside those of kinds of plans.
const FOLDERS: usize = 7;
/// The line of all kinds of plans.
const KINDS: &str = "kinds/*";
/// Where what is done depends on the kind of a plan.
const TELL_KINDS: [&str; 2] = ["plan", "verbs"];

/// By room the line of the table on which it stands.
fn picture() -> BTreeMap<String, usize> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let lines = text.lines().skip_while(|line| !line.starts_with("| rooms of `engine`"));
    let rows = lines.skip(2).take_while(|line| line.starts_with('|')).enumerate();
    let rooms = |(at, line): (usize, &str)| {
        let first = line.split('|').nth(1).unwrap().to_owned();
        let names = first.split('`').skip(1).step_by(2).map(str::to_owned);
        names.map(|name| (name, at)).collect::<Vec<_>>()
    };
    rows.flat_map(rooms).collect()
}

/// The room of a file; `None` = the root of the crate.
fn room(source: &Source, kinds: &BTreeSet<String>) -> Option<String> {
    match &source.module[..] {
        [_, kind, room, ..] if kind == "kinds" && kinds.contains(room) => {
            Some(format!("kinds/{room}"))
        }
        [_, room, ..] => Some(room.clone()),
        _ => None,
    }
}

/// Names of the kinds of plans: rooms with a folder of their own, as `PlanKind` spells them.
fn kinds() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("ir/src/plan_kind.rs")).unwrap();
    let body = text.split("pub enum PlanKind {").nth(1).unwrap().split('}').next().unwrap();
    let names =
        body.lines().map(str::trim).filter(|line| !line.starts_with("//") && !line.is_empty());
    let snake = |name: &str| {
        let mut word = String::new();
        for letter in name.trim_end_matches(',').chars() {
            if letter.is_uppercase() && !word.is_empty() {
                word.push('_');
            }
            word.extend(letter.to_lowercase());
        }
        word
    };
    names.map(snake).collect()
}

#[test]
fn rooms_stand_as_they_are_drawn() {
    let (picture, kinds, sources) = (picture(), kinds(), sources());
    let of = |at: usize| {
        let source: &Source = &sources[at];
        (source.module[0] == "engine").then(|| room(source, &kinds)).flatten()
    };
    let line = |room: String| if room.contains('/') { KINDS.to_owned() } else { room };
    let there: BTreeSet<String> = (0..sources.len()).filter_map(of).map(line).collect();
    assert_eq!(there, picture.keys().cloned().collect(), "rooms, and those that are drawn");
    let top = there.iter().filter(|name| !name.contains('/'));
    assert!(top.clone().count() <= TOP, "{} rooms at the top", top.count());
    let folder = |name: &&String| {
        let path = root().join("engine/src").join(name);
        path.is_dir() && *name != "kinds"
    };
    let folders = there.iter().filter(folder).count();
    assert!(folders <= FOLDERS, "{folders} folders");
    let mut up = BTreeSet::new();
    for (from, others) in &arrows(&sources) {
        for (a, b) in others.iter().filter_map(|to| of(*from).zip(of(*to))) {
            if a != b && picture[&line(a.clone())] <= picture[&line(b.clone())] {
                up.insert(format!("{a} names {b}: {}", sources[*from].path.display()));
            }
        }
    }
    let up: Vec<String> = up.into_iter().collect();
    assert!(up.is_empty(), "against the picture:\n{}", up.join("\n"));
}

#[test]
fn kinds_of_plans_are_told_apart_in_few_places() {
    // `PlanKind::Streams =>`, or one of several before it.
    let is_told = |text: &str| {
        text.split("PlanKind::").skip(1).any(|rest| {
            let rest =
                rest.trim_start_matches(|letter: char| letter.is_alphanumeric()).trim_start();
            rest.starts_with("=>") || rest.starts_with("| ")
        })
    };
    let places: Vec<String> = sources()
        .iter()
        .filter(|source| source.module[0] == "engine")
        .filter(|source| {
            !source.module.get(1).is_some_and(|room| TELL_KINDS.contains(&room.as_str()))
        })
        .filter(|source| is_told(&fs::read_to_string(&source.path).unwrap()))
        .map(|source| source.path.display().to_string())
        .collect();
    assert!(places.is_empty(), "these match on kinds of plans:\n{}", places.join("\n"));
}
