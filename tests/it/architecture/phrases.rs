//! No phrase of `tests/data/phrases.txt` is in what users read: docs, help, messages, pages, schemas.
//!
//! `tests/data/phrases_left.txt` is temporary: phrases that are still there. It may only shrink, and
//! `MESHWRIGHT_BLESS=1` takes away the lines that are mended.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::TokenTree;

use super::{circles, files, root};

const LEFT: &str = "tests/data/phrases_left.txt";

/// Lines of a list without comments, cut at ` | `.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split(" | ").map(str::trim).collect())
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Words in lower case with one space between them.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// A page without the outputs of its commands, which the program's own texts are searched for.
fn prose(page: &str) -> String {
    let (mut text, mut is_output, mut is_command) = (String::new(), false, false);
    for line in page.lines() {
        if line.starts_with("```") {
            is_output = line == "```console";
        }
        is_command = is_output && (line.starts_with("$ ") || is_command && text.ends_with("\\\n"));
        if !is_output || is_command {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// String literals and doc comments of some tokens.
fn literals(tokens: impl IntoIterator<Item = TokenTree>, text: &mut String) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => literals(group.stream(), text),
            TokenTree::Literal(literal) => {
                text.push_str(&literal.to_string().replace("\\\n", " ").replace("\\n", " "));
                text.push(' ');
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) => {}
        }
    }
}

/// Everything that users read, by its path from the root.
fn texts() -> Vec<(String, String)> {
    let name = |path: &Path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    let mut found: Vec<(String, String)> = Vec::new();
    let mut pages: Vec<PathBuf> = files(&["docs"], &["md"]);
    pages.push(root().join("README.md"));
    found.extend(pages.iter().map(|path| (name(path), prose(&read(path)))));
    let whole = [
        files(&["web/ui/src"], &["ts", "tsx"]),
        files(&["documents/schema", "engine/schema"], &["json"]),
    ];
    found.extend(whole.concat().iter().map(|path| (name(path), read(path).replace("\\n", " "))));
    for source in circles::sources() {
        let path = name(&source.path);
        if path.starts_with("src/") || path.starts_with("engine/src/") {
            let mut text = String::new();
            literals(source.tokens, &mut text);
            found.push((path, text));
        }
    }
    found
}

/// Whether a phrase is in a text as whole words.
fn has(text: &str, phrase: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-');
    text.match_indices(phrase).any(|(at, _)| {
        !is_word(text[..at].chars().next_back())
            && !is_word(text[at + phrase.len()..].chars().next())
    })
}

#[test]
fn no_phrase_of_the_list_is_in_what_users_read() {
    let list = read("tests/data/phrases.txt");
    let (excepted, phrases): (Vec<_>, Vec<_>) =
        rows(&list).partition(|row| row[0].starts_with("! "));
    let is_excepted = |path: &str, phrase: &str| {
        excepted.iter().any(|row| {
            let place = &row[0][2..];
            (place == path || place.ends_with('/') && path.starts_with(place)) && row[1] == phrase
        })
    };
    let mut found = BTreeSet::new();
    for (path, text) in texts() {
        let text = flat(&text);
        for phrase in phrases.iter().map(|row| row[0]) {
            if has(&text, &flat(phrase)) && !is_excepted(&path, phrase) {
                found.insert(format!("{path} | {phrase}"));
            }
        }
    }
    let stated = read(LEFT);
    let left: BTreeSet<String> = rows(&stated).map(|row| row.join(" | ")).collect();
    let new: Vec<&String> = found.difference(&left).collect();
    assert!(new.is_empty(), "tests/data/phrases.txt says what to write instead: {new:#?}");
    if std::env::var_os("MESHWRIGHT_BLESS").is_some() {
        let remaining =
            stated.lines().filter(|line| line.starts_with('#') || found.contains(*line));
        fs::write(root().join(LEFT), remaining.map(|line| format!("{line}\n")).collect::<String>())
            .unwrap();
    }
}

#[test]
fn phrases_are_found_across_lines_and_as_whole_words() {
    assert!(has(&flat("Ways\n  out of it"), "ways out"));
    assert!(!has(&flat("always out"), "ways out"));
    assert!(!has(&flat("ways outside"), "ways out"));
    assert_eq!(
        prose("a\n```console\n$ one \\\n  two\nout\n```\nb\n"),
        "a\n$ one \\\n  two\n```\nb\n"
    );
}
