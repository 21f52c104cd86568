//! What a script starts by its arguments.

use super::super::flags::{QUOTES, quoted};
use super::unset::serves;

/// Choices of a script at most that are looked at.
const MOST_CHOICES: usize = 4_096;

/// Arguments by which a script chooses what it starts: a list of names and values for each pattern of its first
/// `case` of `$1`, but those that differ in other variables alone, which are hosts of one start. A `case` in a
/// loop reads options and is passed over; so is one of `$1` alone that starts no server, or starts one without
/// an argument too.
pub(crate) fn choices(text: &str) -> Vec<Vec<(String, String)>> {
    let words = quoted(text);
    let begins = |at: &usize| {
        let subject = words.get(at + 1).map_or("", |word| word.trim_matches(QUOTES));
        let is_argument = subject.starts_with("$1") || subject.starts_with("${1");
        words[*at] == "case" && is_argument && words.get(at + 2) == Some(&"in")
    };
    let is_in_loop = |at: &usize| {
        let of = |end: &str| {
            words[..*at].iter().filter(|word| word.trim_end_matches(';') == end).count()
        };
        of("do") > of("done")
    };
    let first = (0..words.len()).find(begins).filter(|at| !is_in_loop(at));
    let Some(at) = first else { return Vec::new() };
    let length = words[at..].iter().position(|word| *word == "esac").unwrap_or(words.len() - at);
    let arms = &words[at..at + length];
    let usual = arms.iter().position(|word| *word == "*)").map_or(&[][..], |usual| &arms[usual..]);
    let starts = |words: &[&str]| words.iter().any(|word| serves(word));
    if !words[at + 1].contains('/') && (!starts(arms) || starts(usual)) {
        return Vec::new();
    }
    let subject: Vec<&str> = words[at + 1].trim_matches(QUOTES).split('/').collect();
    let name = |part: &str| part.trim_matches(['$', '{', '}', '-', ':']).to_owned();
    let mut found: Vec<Vec<(String, String)>> = Vec::new();
    let mut is_due = true;
    for word in words[at + 3..].iter().take_while(|word| **word != "esac") {
        if word.ends_with(";;") {
            is_due = true;
        } else if let Some(pattern) = word.strip_suffix(')').filter(|_| is_due) {
            is_due = false;
            for one in pattern.trim_start_matches('(').split('|') {
                let parts: Vec<&str> = one.trim_matches(QUOTES).split('/').collect();
                let values = subject.iter().zip(&parts).filter(|(_, part)| **part != "*");
                let values: Vec<(String, String)> =
                    values.map(|(of, part)| (name(of), (*part).to_owned())).collect();
                let is_same = |other: &Vec<(String, String)>| {
                    let numbered = |(name, _): &&(String, String)| name.parse::<u32>().is_ok();
                    values.iter().filter(numbered).eq(other.iter().filter(numbered))
                };
                if parts.len() == subject.len() && !values.is_empty() && !found.iter().any(is_same)
                {
                    found.push(values);
                }
            }
        }
        if found.len() > MOST_CHOICES {
            break;
        }
    }
    found
}
