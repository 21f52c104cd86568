//! The known name that a misspelt one was meant to be.

use ir::diagnostic::Diagnostic;

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

/// With a hint that names the nearest known names, if any is near.
#[must_use]
pub fn hint<'a>(
    diagnostic: Diagnostic,
    name: &str,
    known: impl Iterator<Item = &'a str>,
) -> Diagnostic {
    let names: Vec<String> = similar(name, known).iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        return diagnostic;
    }
    diagnostic.hint(format!("did you mean {}?", names.join(" or ")))
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
        assert_eq!(hints("zzz"), [""; 0]);
        assert_eq!(hints(&"gpu".repeat(100)), [""; 0]);
    }
}
