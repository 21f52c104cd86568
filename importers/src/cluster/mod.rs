//! Clusters from YAML files.
//!
//! `nodes` describes hosts of equal devices, `devices` and `links` name each; a document may mix
//! them. The rules that turn it into ways between devices are in `links.rs`.

mod build;
mod catalogue;
mod chips;
mod classes;
mod devices;
mod document;
mod draft;
mod link_types;
mod links;
mod pairs;
mod paths;
mod ranges;
mod running;
mod values;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use documents::cluster::ClusterDocument;
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::id::DeviceId;
use ir::nearest;

pub use self::catalogue::{Catalogue, DeviceRow, LinkRow, LinkScope, catalogue};
pub use self::document::example;
pub use self::draft::{Draft, draft};
pub use self::links::bridged;

/// Most islands that a warning names.
const ISLANDS: usize = 8;
/// Devices of a cluster that is kept: one search may ask for many parts of it, and reading takes long.
const LARGE: usize = 1024;
/// The last cluster of so many, with the names of its file and document, and its text.
static LAST: Mutex<Option<([String; 3], Whole)>> = Mutex::new(None);
/// Islands between which ways that lead one way are looked for.
const LOOKED_AT: usize = 256;

/// Reads a cluster file, with what is strange about it; `FILE#NAME` chooses one of several
/// documents.
///
/// Warnings are `islands` where not every device reaches every other, `unlikely-number`,
/// `assumed-architecture` for kinds of the file's own, and `no-scaleup`.
///
/// # Errors
/// `cluster-unreadable`, `file-too-large`, and all of [`parse`].
pub fn read(path: &Path) -> Result<(Cluster, Vec<Diagnostic>), Diagnostic> {
    let Whole { cluster, spares, warnings } = read_whole(path)?;
    Ok((in_use(cluster, &spares), warnings))
}

/// A cluster with the devices that wait for others to fail.
#[derive(Clone, Debug)]
pub struct Whole {
    /// All devices.
    pub cluster: Cluster,
    /// Those that no plan uses as long as the others work.
    pub spares: Vec<DeviceId>,
    /// What is strange about the file.
    pub warnings: Vec<Diagnostic>,
}

/// As [`read`], with the spares.
///
/// # Errors
/// As [`read`].
pub fn read_whole(path: &Path) -> Result<Whole, Diagnostic> {
    if path.exists() {
        return noted(&document::text(path)?, &path.display().to_string(), None);
    }
    let spelled = path.to_string_lossy();
    match spelled.rsplit_once('#') {
        Some((file, name)) => noted(&document::text(Path::new(file))?, file, Some(name)),
        None => noted(&document::text(path)?, &spelled, None),
    }
}

/// A cluster without its spares.
fn in_use(cluster: Cluster, spares: &[DeviceId]) -> Cluster {
    match spares {
        [] => cluster,
        _ => cluster.keeping(|device| spares.binary_search(&device).is_err()),
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
    noted(text, origin, name).map(|whole| in_use(whole.cluster, &whole.spares))
}

/// As [`built`]; a large cluster that was read last is not read again.
fn noted(text: &str, origin: &str, name: Option<&str>) -> Result<Whole, Diagnostic> {
    let key = || [origin, name.unwrap_or_default(), text];
    let last = || LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, whole)) = last().as_ref().filter(|(of, _)| *of == key()) {
        return Ok(whole.clone());
    }
    let whole = built(text, origin, name)?;
    if whole.cluster.n_devices() >= LARGE {
        *last() = Some((key().map(str::to_owned), whole.clone()));
    }
    Ok(whole)
}

fn built(text: &str, origin: &str, name: Option<&str>) -> Result<Whole, Diagnostic> {
    let in_file = |error: Diagnostic| error.fact("file", origin);
    let documents = document::documents(text, origin)?;
    let chosen = choose(&documents, name).map_err(in_file)?;
    let (cluster, spares) = build::cluster(chosen).map_err(in_file)?;
    let mut notes = ranges::unlikely(chosen);
    notes.extend(chips::assumed(&cluster, &catalogue()?));
    notes.extend(links::unjoined(chosen, &catalogue()?));
    notes.extend(islands(&cluster));
    let warnings = notes.into_iter().map(in_file).collect();
    Ok(Whole { cluster, spares, warnings })
}

/// Devices that only some of the others reach.
fn islands(cluster: &Cluster) -> Option<Diagnostic> {
    let islands = cluster.islands();
    if islands.len() < 2 {
        return None;
    }
    let of = |island: &Vec<DeviceId>| cluster.in_words(island);
    let named: Vec<String> = islands.iter().take(ISLANDS).map(of).collect();
    let more = islands.len().saturating_sub(ISLANDS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let firsts = || islands.iter().take(LOOKED_AT).map(|island| island[0]);
    let leads = |from, to| cluster.route(from, to).is_some();
    let one_way = firsts()
        .flat_map(|from| firsts().map(move |to| (from, to)))
        .find(|(from, to)| leads(*from, *to) && !leads(*to, *from));
    let how = match one_way {
        Some(_) => "don't reach each other both ways",
        None => "don't reach each other",
    };
    let message =
        format!("the cluster is {} islands that {how}: {}{more}", islands.len(), named.join("; "));
    if let Some((from, to)) = one_way {
        let name = |device: DeviceId| cluster.devices[device.index()].name.as_str();
        return Some(Diagnostic::warning("islands", message).hint(format!(
            "`{}` reaches `{}`, and no link leads back: state the other way too, or one `between` both",
            name(from),
            name(to)
        )));
    }
    let hint = match cluster.nodes.len() {
        0 | 1 => "join them by `links`",
        _ => "state the `network` that joins the hosts, such as `network: {link: ethernet_100g}`",
    };
    Some(Diagnostic::warning("islands", message).hint(hint))
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
