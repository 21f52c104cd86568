//! Patterns over op names and module paths.

use ir::op::Op;

/// `*` stands for any text, `?` for one character. A pattern also matches everything below what it
/// matches: `transformer.h.0` covers `transformer.h.0.attn`, `/encoder` covers `/encoder/MatMul`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: String,
    glob: Vec<char>,
}

impl Pattern {
    /// Any text is a pattern.
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), glob: text.chars().collect() }
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it covers an op, by its name or by the path of its module.
    pub(crate) fn covers(&self, op: &Op) -> bool {
        self.covers_path(&op.name) || op.module.as_ref().is_some_and(|path| self.covers_path(path))
    }

    /// Whether it matches the whole name.
    pub(crate) fn matches(&self, name: &str) -> bool {
        name == self.text || glob(&self.glob, &name.chars().collect::<Vec<_>>())
    }

    /// What of a path it matches: all of it, or the shortest part that stands above it.
    pub(crate) fn matched(&self, path: &str) -> Option<String> {
        let chars: Vec<char> = path.chars().collect();
        let ends = (1..chars.len()).filter(|at| matches!(chars[*at], '.' | '/'));
        let end = ends.chain([chars.len()]).find(|end| glob(&self.glob, &chars[..*end]))?;
        Some(chars[..end].iter().collect())
    }

    fn covers_path(&self, path: &str) -> bool {
        if path == self.text {
            return true;
        }
        let chars: Vec<char> = path.chars().collect();
        let ends = (1..chars.len()).filter(|at| matches!(chars[*at], '.' | '/'));
        ends.chain([chars.len()]).any(|end| glob(&self.glob, &chars[..end]))
    }
}

/// Greedy matching with one point to come back to, so never more than pattern x text steps.
fn glob(pattern: &[char], text: &[char]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(c) if *c == '?' || *c == text[read] => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((star_at, star_read)) = star else { return false };
                star = Some((star_at, star_read + 1));
                at = star_at + 1;
                read = star_read + 1;
            }
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, path: &str) -> bool {
        Pattern::new(pattern).covers_path(path)
    }

    #[test]
    fn stars_and_question_marks() {
        assert!(covers("*.attn.*", "h.0.attn.q"));
        assert!(covers("h.?.mlp", "h.3.mlp"));
        assert!(!covers("h.?.mlp", "h.12.mlp"));
        assert!(covers("*", "anything"));
        assert!(!covers("", "a"));
    }

    #[test]
    fn a_prefix_covers_its_subtree_and_no_sibling() {
        assert!(covers("h.1", "h.1.attn.q"));
        assert!(!covers("h.1", "h.12.attn"));
        assert!(covers("/encoder", "/encoder/layer.0/MatMul"));
        assert!(!covers("h.1.attn", "h.1"));
    }

    #[test]
    fn names_with_stars_match_themselves() {
        assert!(covers("a*b?", "a*b?"));
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        assert!(!covers(&"*a".repeat(40), &"a".repeat(39)));
    }
}
