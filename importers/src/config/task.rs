//! What a model does with the states of its last layer, by the class that the config names.

use ir::diagnostic::Diagnostic;
use serde_json::Value;

use super::architecture::{Bias, Family};
use super::fields::{Fields, invalid};

/// What comes behind the last layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A product with the vocabulary.
    Words,
    /// Nothing: states come out.
    States,
    /// A product with so many columns.
    Labels {
        /// Name of its module.
        module: &'static str,
        n: u64,
        bias: Bias,
    },
}

/// A class of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Task {
    pub end: End,
    /// A dense layer on the first token (BERT), which the end reads if it is of labels.
    pub is_pooled: bool,
    /// Whether it is the model without a task, whose modules have no prefix.
    pub is_bare: bool,
}

impl Task {
    /// A product with the vocabulary.
    pub(super) const WORDS: Self = Self { end: End::Words, is_pooled: false, is_bare: false };

    /// Reads `architectures`; the other value is a warning about a class that is not understood.
    ///
    /// # Errors
    /// `invalid-field`.
    pub(super) fn read(
        fields: Fields<'_>,
        family: Family,
    ) -> Result<(Self, Option<Diagnostic>), Diagnostic> {
        let Some(class) = class(fields)? else { return Ok((Self::WORDS, None)) };
        let is_bert = family == Family::Bert;
        let n = fields.labels()?;
        let labels = |module, n, bias| Self { end: End::Labels { module, n, bias }, ..Self::WORDS };
        let has_end = |ends: &[&str]| ends.iter().any(|end| class.ends_with(end));
        let task = match class {
            _ if has_end(&["ForCausalLM", "LMHeadModel", "ForMaskedLM"]) => Self::WORDS,
            _ if has_end(&["ForSequenceClassification"]) && is_bert => {
                Self { is_pooled: true, ..labels("classifier", n, Bias::Added) }
            }
            _ if has_end(&["ForMultipleChoice"]) && is_bert => {
                Self { is_pooled: true, ..labels("classifier", 1, Bias::Added) }
            }
            _ if has_end(&["ForNextSentencePrediction"]) && is_bert => {
                Self { is_pooled: true, ..labels("cls.seq_relationship", 2, Bias::Added) }
            }
            _ if has_end(&["ForSequenceClassification"]) => labels("score", n, Bias::Absent),
            _ if has_end(&["ForTokenClassification"]) && family == Family::Llama => {
                labels("score", n, Bias::Added)
            }
            _ if has_end(&["ForTokenClassification"]) => labels("classifier", n, Bias::Added),
            _ if has_end(&["ForQuestionAnswering"]) => labels("qa_outputs", 2, Bias::Added),
            _ if has_end(&["Model"]) && !class.contains("Heads") => {
                Self { end: End::States, is_pooled: is_bert, is_bare: true }
            }
            _ => return Ok((Self::WORDS, Some(unknown(class)))),
        };
        Ok((task, None))
    }
}

/// The class that a config names, the first of several.
///
/// # Errors
/// `invalid-field`.
pub(super) fn class<'a>(fields: Fields<'a>) -> Result<Option<&'a str>, Diagnostic> {
    let first = fields.list("architectures")?.first();
    let wrong = |value: &Value| invalid("architectures", value, "names of classes are needed");
    first.map(|value| value.as_str().ok_or_else(|| wrong(value))).transpose()
}

/// A class that is not understood.
pub(super) fn unknown(class: &str) -> Diagnostic {
    let shown: String = class.chars().take(60).collect();
    let message =
        format!("class `{shown}` is not understood: the model is planned with a vocabulary head");
    Diagnostic::warning("unknown-architecture", message).fact("class", shown)
}

impl Fields<'_> {
    /// Labels of a classifier: as stated, else as many as there are names for, else 2.
    fn labels(self) -> Result<u64, Diagnostic> {
        if let Some(n) = self.optional("num_labels")? {
            return Ok(n);
        }
        let names = self.get("id2label").and_then(Value::as_object);
        Ok(names.map_or(2, |names| names.len().max(1) as u64))
    }
}
