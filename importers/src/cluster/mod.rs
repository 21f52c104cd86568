//! Clusters from YAML files.
//!
//! `nodes` describes hosts of equal devices, `devices` and `links` name each; a document may mix
//! them. The rules that turn it into ways between devices are in `links.rs`.

mod build;
mod catalogue;
mod classes;
mod devices;
mod document;
mod link_types;
mod links;
mod pairs;
mod paths;
mod values;

use std::path::Path;

use documents::cluster::ClusterDocument;
use documents::nearest;
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;

pub use self::catalogue::{Catalogue, DeviceRow, LinkRow, LinkScope, catalogue};

/// Reads a cluster file; `FILE#NAME` chooses one of several documents.
///
/// # Errors
/// `cluster-unreadable`, `file-too-large`, and all of [`parse`].
pub fn read(path: &Path) -> Result<Cluster, Diagnostic> {
    if path.exists() {
        return parse(&document::text(path)?, &path.display().to_string(), None);
    }
    let spelled = path.to_string_lossy();
    match spelled.rsplit_once('#') {
        Some((file, name)) => parse(&document::text(Path::new(file))?, file, Some(name)),
        None => parse(&document::text(path)?, &spelled, None),
    }
}

/// Parses the text of a cluster file; `origin` names it in diagnostics, `name` chooses one of
/// several documents.
///
/// # Errors
/// `yaml-invalid` and `unknown-key` with line and column; `no-such-cluster` and
/// `several-clusters` for the choice; and one code per refused value, such as `unknown-kind`,
/// `duplicate-device`, `link-rate`, `too-many-devices`.
pub fn parse(text: &str, origin: &str, name: Option<&str>) -> Result<Cluster, Diagnostic> {
    let documents = document::documents(text, origin)?;
    let chosen = choose(&documents, name).map_err(|error| error.fact("file", origin))?;
    build::cluster(chosen).map_err(|error| error.fact("file", origin))
}

fn choose<'a>(
    documents: &'a [ClusterDocument],
    name: Option<&str>,
) -> Result<&'a ClusterDocument, Diagnostic> {
    let names: Vec<String> = documents.iter().filter_map(|d| d.name.clone()).collect();
    let unlike = names.iter().collect::<std::collections::BTreeSet<_>>().len();
    match (name, documents) {
        (None, [only]) => Ok(only),
        (_, []) => Err(Diagnostic::input("no-devices", "the cluster file is empty")),
        (None, _) if unlike < documents.len() => Err(Diagnostic::input(
            "several-clusters",
            format!("the file holds {} clusters: {}", documents.len(), positions(documents)),
        )
        .fact("clusters", names)
        .hint("give each its own `name`, then choose one with `FILE#NAME`")),
        (None, _) => Err(Diagnostic::input(
            "several-clusters",
            format!("the file holds {} clusters: {}", documents.len(), values::quoted(&names)),
        )
        .fact("clusters", names)
        .hint("choose one with `FILE#NAME`")),
        (Some(name), _) => {
            let mut found = documents.iter().filter(|d| d.name.as_deref() == Some(name));
            match (found.next(), found.next()) {
                (Some(one), None) => Ok(one),
                (Some(_), Some(_)) => Err(Diagnostic::input(
                    "duplicate-cluster",
                    format!("the file holds several clusters named `{name}`"),
                )
                .hint("give each cluster its own `name`")),
                (None, _) => Err(nearest::hint(
                    Diagnostic::input(
                        "no-such-cluster",
                        format!("the file holds no cluster `{name}`"),
                    )
                    .fact("clusters", names.clone()),
                    name,
                    names.iter().map(String::as_str),
                )),
            }
        }
    }
}

/// Documents by position, where their names do not tell them apart.
fn positions(documents: &[ClusterDocument]) -> String {
    const SHOWN: usize = 8;
    let mut shown: Vec<String> = (1..)
        .zip(documents)
        .take(SHOWN)
        .map(|(position, document)| match &document.name {
            Some(name) => format!("number {position} `{name}`"),
            None => format!("number {position} without a name"),
        })
        .collect();
    if documents.len() > SHOWN {
        shown.push(format!("{} more", documents.len() - SHOWN));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests;
