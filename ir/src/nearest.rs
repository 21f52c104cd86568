//! The known name that a misspelt one was meant to be.

use std::collections::BTreeSet;

use crate::diagnostic::Diagnostic;

/// Names that are alike by more than this are proposed.
const ALIKE: f64 = 0.75;
/// Most names in one hint.
const SHOWN: usize = 3;
/// Longer names, in bytes, are not compared: the effort grows with the product of both lengths.
const LONGEST: usize = 256;

/// Up to three of `known` that look like `name`, the most alike first.
pub fn similar<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let known = known.into_iter().filter(|candidate| name.len().max(candidate.len()) <= LONGEST);
    let mut scored: Vec<(f64, &str)> = known
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(score, _)| *score > ALIKE)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.dedup();
    scored.into_iter().take(SHOWN).map(|(_, name)| name).collect()
}

/// How alike two names are, from 0 to 1: one less the share of letters by which one becomes the other.
#[must_use]
pub fn likeness(a: &str, b: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(a, b)
}

/// The question whether one of the known names was meant, if any is near; failing that in lower case.
#[must_use]
pub fn meant<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    let alike = [name, &name.to_lowercase()].map(|name| similar(name, known.clone()));
    let alike = alike.into_iter().find(|names| !names.is_empty())?;
    Some(format!("did you mean {}?", quoted(&alike, "or")))
}

/// Names as a sentence lists them, the last behind a word of its own.
#[must_use]
pub fn quoted(names: &[&str], last: &str) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((end, start)) if !start.is_empty() => format!("{} {last} {end}", start.join(", ")),
        _ => names.concat(),
    }
}

/// The hint: what looks alike, or else what there is, each name once.
#[must_use]
pub fn among<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 16;
    let mut seen = BTreeSet::new();
    let known: Vec<&str> = known.into_iter().filter(|name| seen.insert(*name)).collect();
    if let Some(question) = meant(given, known.iter().copied()) {
        return question;
    }
    let shown = &known[..known.len().min(MOST)];
    let rest = known.len() - shown.len();
    match rest {
        0 => format!("there are {}", quoted(shown, "and")),
        1 => format!("there is one more beside {}", quoted(shown, "and")),
        _ => format!("there are {rest} others beside {}", quoted(shown, "and")),
    }
}

/// With a hint that names the nearest known names, if any is near.
#[must_use]
pub fn hint<'a>(
    diagnostic: Diagnostic,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Diagnostic {
    match meant(name, known) {
        Some(question) => diagnostic.hint(question),
        None => diagnostic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_proposed_best_first_and_far_ones_are_not() {
        let hints = |name: &str| {
            let known = ["gpu1", "gpu0", "switch", "gpu1"];
            hint(Diagnostic::input("x", "x"), name, known.into_iter()).hints
        };
        assert_eq!(hints("gpu"), ["did you mean `gpu0` or `gpu1`?"]);
        assert_eq!(hints("SWITCH"), ["did you mean `switch`?"]);
        assert_eq!(hints("zzz"), [""; 0]);
        assert_eq!(hints(&"gpu".repeat(100)), [""; 0]);
    }

    #[test]
    fn a_slip_of_the_finger_is_understood() {
        assert!(among("m-eft", ["m-topo", "m-etf", "auto"]).starts_with("did you mean `m-etf`"));
        assert_eq!(among("gpu01", ["gpu0", "tpu"]), "did you mean `gpu0`?");
        assert_eq!(among("GPU0", ["gpu0", "switch"]), "did you mean `gpu0`?");
    }

    #[test]
    fn without_a_likeness_it_lists_what_there_is() {
        assert_eq!(among("zzz", ["a", "b"]), "there are `a` and `b`");
        assert_eq!(among("zzz", ["a", "b", "a"]), "there are `a` and `b`");
    }
}
