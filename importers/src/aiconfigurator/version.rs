//! Order of Python package versions (PyPA version specifiers): by release, then development, candidate,
//! final and post releases.

use std::cmp::Ordering;

/// Sort key of a version.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    release: Vec<u64>,
    stage: Stage,
    number: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Development,
    Candidate,
    Final,
    Post,
}

fn key(version: &str) -> Key {
    let public = version.split_once('+').map_or(version, |(public, _)| public);
    let end = public.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(public.len());
    let (numbers, rest) = public.split_at(end);
    let numbers = numbers.split('.').filter(|part| !part.is_empty());
    let mut release: Vec<u64> = numbers.map(|part| part.parse().unwrap_or(0)).collect();
    while release.last() == Some(&0) {
        release.pop();
    }
    let digits = rest.trim_start_matches(|c: char| !c.is_ascii_digit());
    let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
    let stage = match rest.get(..1) {
        None => Stage::Final,
        Some("d") => Stage::Development,
        Some("p") => Stage::Post,
        Some(_) => Stage::Candidate,
    };
    Key { release, stage, number: digits.parse().unwrap_or(0) }
}

/// Compares two versions.
pub(super) fn order(a: &str, b: &str) -> Ordering {
    key(a).cmp(&key(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stand_as_they_were_released() {
        let sorted = [
            "0.1.dev19262",
            "0.5.6.post2",
            "0.5.9",
            "0.5.10",
            "0.24.0",
            "1.0.0",
            "1.2.0rc5",
            "1.3.0rc10",
            "1.3.0rc20",
            "1.3.0",
            "1.3.0.post1",
            "2.27.3",
        ];
        let mut versions = sorted;
        versions.reverse();
        versions.sort_by(|a, b| order(a, b));
        assert_eq!(versions, sorted);
    }
}
