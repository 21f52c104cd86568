//! Where the files are that a plan was made from, so that other verbs find them.

use serde::{Deserialize, Serialize};

/// Files that a plan was made from, by paths relative to the folder of the plan file, with `/` between names.
///
/// The program writes it beside a plan and reads it before any verb starts; a service does neither. No digest
/// covers it: whether a file is still the same, the digests of model, cluster and profile say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "an object")]
pub struct InputsDocument {
    /// The model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The cluster file, or FILE#NAME.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The profile, or the folder of measured layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Traces with measured op durations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traces: Vec<String>,
    /// Cluster values that were scaled, as `NAME=FACTOR`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scale: Vec<String>,
}

impl InputsDocument {
    /// What the text of a plan or a solution states, whatever else it holds.
    #[must_use]
    pub fn stated_by(text: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Document {
            format: String,
            inputs: Option<InputsDocument>,
        }
        let document: Document = serde_json::from_slice(text).ok()?;
        document.inputs.filter(|_| document.format.starts_with("meshwright."))
    }

    /// Adds the member to the text of a document, which is pretty JSON of an object; other text stays as it is.
    #[must_use]
    pub fn stated_in(&self, mut text: Vec<u8>) -> Vec<u8> {
        const END: &[u8] = b"\n}\n";
        let Some(own) = crate::json::pretty(self).ok().filter(|_| text.ends_with(END)) else {
            return text;
        };
        text.truncate(text.len() - END.len());
        text.extend_from_slice(b",\n  \"inputs\": ");
        text.extend_from_slice(own.trim_end().replace('\n', "\n  ").as_bytes());
        text.extend_from_slice(END);
        text
    }
}
