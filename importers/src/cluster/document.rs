//! From YAML text to documents, within a budget.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use documents::cluster::ClusterDocument;
use ir::diagnostic::Diagnostic;

use crate::foreign::settings;
use crate::yaml;

/// Largest cluster file, in bytes.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Deepest nesting; the format itself needs four.
const MAX_DEPTH: usize = 32;
/// Most YAML nodes: 4,096 devices of six keys and as many links, with room to spare.
const MAX_NODES: usize = 400_000;
/// Most anchors, aliases and documents each.
const MAX_ANCHORS: usize = 1_000;

/// A command that writes a small cluster file of this name.
#[must_use]
pub fn example(path: &Path) -> String {
    // Wrapped anywhere, flow style stays YAML.
    let text = "{nodes: [{count: 1, device: h100_sxm5_80gb, devices: 8, scaleup: nvlink4}]}";
    format!("write one: echo '{text}' > {} (names: meshwright devices)", path.display())
}

/// The text of a file, refused past [`MAX_BYTES`].
pub(super) fn text(path: &Path) -> Result<String, Diagnostic> {
    let unreadable = |error: std::io::Error| {
        Diagnostic::input(
            "cluster-unreadable",
            format!("can't read the cluster file `{}`: {error}", path.display()),
        )
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Diagnostic::input(
            "file-too-large",
            format!("the cluster file `{}` is larger than 4 MiB", path.display()),
        ));
    }
    String::from_utf8(bytes).map_err(|_| {
        Diagnostic::input(
            "yaml-invalid",
            format!("the cluster file `{}` is no UTF-8 text", path.display()),
        )
    })
}

/// All documents of a text.
pub(super) fn documents(text: &str, origin: &str) -> Result<Vec<ClusterDocument>, Diagnostic> {
    if text.len() as u64 > MAX_BYTES {
        return Err(Diagnostic::input("file-too-large", "the cluster text is larger than 4 MiB")
            .fact("file", origin));
    }
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
            max_anchors: MAX_ANCHORS,
            max_aliases: MAX_ANCHORS,
            max_documents: MAX_ANCHORS,
        },
        with_snippet: false,
    };
    serde_yaml::from_multiple_with_options(text, options).map_err(|error| match settings(text) {
        None => {
            yaml::fault(&error, ("yaml-invalid", "cluster file"), own_fault).fact("file", origin)
        }
        Some(what) => {
            Diagnostic::input("not-a-cluster", format!("`{origin}` is {what}, not a cluster file"))
                .hint(example(Path::new("cluster.yaml")))
        }
    })
}

/// What a scalar of a type is, for people.
fn in_words(ty: &str) -> &str {
    match ty {
        _ if ty.contains("float") || ty.starts_with('f') => "a number",
        _ if ty.starts_with("bool") => "`true` or `false`",
        _ if ty.starts_with('u') => "a whole number from 0 up",
        _ if ty.contains("int") || ty.starts_with('i') => "a whole number",
        other => other,
    }
}

/// What is known of a fault beyond that of any YAML file.
fn own_fault(error: &serde_yaml::Error) -> Option<Diagnostic> {
    use serde_yaml::Error as Yaml;
    Some(match error {
        Yaml::SerdeUnknownVariant { variant, expected, .. } => {
            yaml::unknown("value", variant, expected)
        }
        Yaml::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("...");
            Diagnostic::input("duplicate-key", format!("the key `{key}` stands twice"))
                .hint("keep one of the two")
        }
        Yaml::InvalidScalar { ty, .. } => Diagnostic::input(
            "yaml-invalid",
            format!("a value of the wrong kind: {} is needed", in_words(ty)),
        ),
        _ => return None,
    })
}
