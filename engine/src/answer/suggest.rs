//! Did-you-mean.

use std::collections::BTreeSet;

use ir::nearest::{meant, quoted};

/// The hint: what looks alike, or else what there is, each name once.
pub fn hint<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood() {
        assert!(hint("m-eft", ["m-topo", "m-etf", "auto"]).starts_with("did you mean `m-etf`"));
        assert_eq!(hint("gpu01", ["gpu0", "tpu"]), "did you mean `gpu0`?");
        assert_eq!(hint("GPU0", ["gpu0", "switch"]), "did you mean `gpu0`?");
    }

    #[test]
    fn without_a_likeness_it_lists_what_there_is() {
        assert_eq!(hint("zzz", ["a", "b"]), "there are `a` and `b`");
        assert_eq!(hint("zzz", ["a", "b", "a"]), "there are `a` and `b`");
    }
}
