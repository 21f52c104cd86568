//! What makes a plan illegal: the rules that it breaks, and claims that were not proved again.

use cost_model::ops::judge::verify::MAX_VIOLATIONS;
use ir::diagnostic::{Blame, Diagnostic};

/// The code of a claim that was neither proved again nor refuted.
const UNCHECKED: &str = "unchecked-proof";

/// A stated bound that no search has proved again and nothing contradicts; `search` says what was
/// tried.
pub fn unchecked(field: &str, stated: u64, derived: u64, search: String) -> Diagnostic {
    let message = format!("`{field}` states {stated}, and only {derived} was proved again");
    Diagnostic::error(Blame::NotFound, UNCHECKED, message)
        .fact("field", field)
        .fact("stated", stated)
        .fact("derived", derived)
        .fact("search", search)
        .hint(
            "believe the plan and its value, but not the bound; plan again for one that is proved",
        )
}

/// Whether a plan with these findings is legal; `None` where all that speaks against it is a claim
/// that was not checked.
pub fn is_legal(found: &[Diagnostic]) -> Option<bool> {
    match found.iter().all(|one| one.code == UNCHECKED) {
        false => Some(false),
        true => found.is_empty().then_some(true),
    }
}

/// `2 violations`; as many as are listed may be not all there are.
pub fn count(n: usize) -> String {
    match n {
        1 => "1 violation".to_owned(),
        n if n >= MAX_VIOLATIONS => format!("{n} or more violations"),
        n => format!("{n} violations"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_list_may_not_be_all() {
        assert_eq!(count(1), "1 violation");
        assert_eq!(count(99), "99 violations");
        assert_eq!(count(MAX_VIOLATIONS), "100 or more violations");
    }
}
