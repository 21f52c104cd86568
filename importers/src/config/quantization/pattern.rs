//! Module names as quantisers write them: what to convert, and what to leave.

use std::collections::BTreeSet;

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

/// Modules by name. Whole names are looked up, however many a list has.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Names {
    /// Of layers of the text, from `layers` on.
    of_layers: BTreeSet<String>,
    /// Other runs of whole parts.
    runs: BTreeSet<String>,
    /// Expressions on names as they are, on those of layers of the text from `layers` on, and on others.
    expressions: Vec<Pattern>,
    layer_patterns: Vec<Pattern>,
    patterns: Vec<Pattern>,
}

impl Names {
    /// Names as quantisers write them.
    pub(super) fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all = Self::default();
        for text in texts {
            if text.starts_with("re:") {
                all.expressions.push(Pattern::new(text));
                continue;
            }
            let plain = plain(text);
            match (text_layers(&plain), plain.contains('*')) {
                (Some(rest), false) => all.of_layers.extend([rest.to_owned()]),
                (None, false) => all.runs.extend([plain]),
                (Some(rest), true) => all.layer_patterns.push(Pattern::new(rest)),
                (None, true) => all.patterns.push(Pattern::new(&plain)),
            }
        }
        all
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The text of the first expression that can't be read.
    pub(super) fn unread(&self) -> Option<&str> {
        let all = [&self.expressions, &self.layer_patterns, &self.patterns];
        all.into_iter().flatten().find_map(Pattern::unread)
    }

    pub(super) fn matches(&self, module: &str) -> bool {
        let plain = plain(module);
        let ends = |name: &str| -> Vec<usize> {
            name.match_indices('.').map(|(at, _)| at).chain([name.len()]).collect()
        };
        let layers = text_layers(&plain);
        let is_layer = layers.is_some_and(|rest| {
            ends(rest).into_iter().any(|end| self.of_layers.contains(&rest[..end]))
                || self.layer_patterns.iter().any(|pattern| pattern.matches(rest))
        });
        let is_run = || {
            let ends = ends(&plain);
            let starts = std::iter::once(0).chain(ends.iter().map(|end| end + 1));
            let runs = starts.flat_map(|start| {
                ends.iter().filter(move |end| **end > start).map(move |end| start..*end)
            });
            !self.runs.is_empty() && runs.into_iter().any(|run| self.runs.contains(&plain[run]))
        };
        is_layer
            || is_run()
            || self.patterns.iter().any(|pattern| pattern.matches(&plain))
            || self.expressions.iter().any(|pattern| pattern.matches(module))
    }
}

/// Parts that checkpoints of one model call otherwise than its class in transformers.
const SAME: [(&str, &str); 6] = [
    ("block_sparse_moe", "mlp"),
    ("ffn", "mlp"),
    ("attn", "self_attn"),
    ("w1", "gate_proj"),
    ("w2", "down_proj"),
    ("w3", "up_proj"),
];

/// A name with one word for parts that have several.
fn plain(name: &str) -> String {
    let same = |part: &str| SAME.iter().find(|(other, _)| *other == part).map(|(_, word)| *word);
    name.split('.').map(|part| same(part).unwrap_or(part)).collect::<Vec<_>>().join(".")
}

/// What of a name stands from the list of a text model's layers on.
fn text_layers(name: &str) -> Option<&str> {
    let roots = ["model.language_model.", "language_model.model.", "language_model.", "model.", ""];
    let rests = roots.into_iter().filter_map(|root| name.strip_prefix(root));
    rests.into_iter().find(|rest| rest.starts_with("layers."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_checkpoints_and_classes_meet() {
        let names = Names::new([
            "language_model.model.layers.3.block_sparse_moe.experts.7.w1",
            "layers.4.ffn.experts",
            "language_model.model.layers.5*",
            "lm_head",
        ]);
        for module in [
            "model.layers.3.mlp.experts.7.gate_proj",
            "model.layers.4.mlp.experts.0.up_proj",
            "model.layers.5.self_attn.q_proj",
            "lm_head",
        ] {
            assert!(names.matches(module), "{module}");
        }
        for module in [
            "model.layers.3.mlp.experts.7.up_proj",
            "model.layers.3.mlp.experts.77.gate_proj",
            "vision_tower.layers.4.ffn.experts.0.up_proj",
            "model.layers.6.lm_heads",
        ] {
            assert!(!names.matches(module), "{module}");
        }
    }

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
