//! Module names as quantisers write them: what to convert, and what to leave.

use regex::{Regex, RegexBuilder};

/// Most bytes of a compiled expression.
const LARGEST: usize = 1 << 20;

/// One name, or many.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    text: String,
    expression: Option<Regex>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Pattern {
    /// `re:` begins a regular expression from the start of the name (compressed-tensors); else `*` stands for
    /// any text, and a pattern is a run of whole parts of the name.
    pub(super) fn new(text: &str) -> Self {
        let source = match text.strip_prefix("re:") {
            Some(expression) => format!("^(?:{expression})"),
            None => {
                let parts: Vec<String> = text.split('*').map(regex::escape).collect();
                let end = if text.ends_with('*') { "" } else { r"(?:\.|$)" };
                format!(r"(?:^|\.){}{end}", parts.join(".*"))
            }
        };
        let expression = RegexBuilder::new(&source).size_limit(LARGEST).build().ok();
        Self { text: text.to_owned(), expression }
    }

    /// The text, where it is no expression that can be read.
    pub(super) fn unread(&self) -> Option<&str> {
        self.expression.is_none().then_some(self.text.as_str())
    }

    pub(super) fn matches(&self, module: &str) -> bool {
        self.expression.as_ref().is_some_and(|expression| expression.is_match(module))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stars_and_expressions() {
        let of = |pattern: &str, module: &str| Pattern::new(pattern).matches(module);
        let q = "model.layers.10.self_attn.q_proj";
        for pattern in [
            "q_proj",
            "self_attn",
            "model.layers.*.self_attn",
            "model.layers.10.*",
            "*self_attn*",
            q,
            r"re:.*q_proj$",
            r"re:model\.layers\.\d+\.self_attn",
            "re:.*(q|k)_proj",
        ] {
            assert!(of(pattern, q), "{pattern}");
        }
        for pattern in
            ["proj", "model.layers.1", "layers.1.*", "re:layers", "re:.*mlp.gate$", "re:(?!q)"]
        {
            assert!(!of(pattern, q), "{pattern}");
        }
        assert_eq!(Pattern::new("re:(?!q)").unread(), Some("re:(?!q)"));
    }
}
