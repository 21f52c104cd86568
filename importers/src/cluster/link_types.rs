//! Kinds of links by name: the file's own and the catalogue's.

use std::collections::HashMap;

use documents::cluster::ClusterDocument;
use ir::cluster::Check;
use ir::diagnostic::Diagnostic;
use ir::nearest;
use ir::units::BytesPerSecond;

use super::catalogue::{Catalogue, LinkRow, LinkScope};
use super::values::{latency_ns, quoted, rate};

/// The cost of one link.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Way {
    pub(super) name: String,
    pub(super) latency_ns: f64,
    pub(super) bandwidth: BytesPerSecond,
    pub(super) source: String,
    pub(super) check: Check,
}

impl Way {
    fn of_row(row: &LinkRow) -> Self {
        let which = if row.achieved.is_some() { "achieved" } else { "nominal" };
        Self {
            name: row.name.clone(),
            latency_ns: row.latency_ns,
            bandwidth: row.rate(),
            source: format!("{which} rate; {}", row.source),
            check: row.check,
        }
    }

    pub(super) fn given(
        name: &str,
        bytes_per_s: f64,
        latency_s: Option<f64>,
    ) -> Result<Self, Diagnostic> {
        Ok(Self {
            name: name.to_owned(),
            latency_ns: latency_ns(latency_s.unwrap_or(0.0), name)?,
            bandwidth: rate(bytes_per_s, "bytes_per_s", name)?,
            source: "cluster file".to_owned(),
            check: Check::Given,
        })
    }
}

/// Link types by name: the file's own and the catalogue's.
pub(super) struct LinkTypes<'a> {
    own: HashMap<&'a str, Way>,
    pub(super) catalogue: &'a Catalogue,
}

impl<'a> LinkTypes<'a> {
    pub(super) fn new(
        document: &'a ClusterDocument,
        catalogue: &'a Catalogue,
    ) -> Result<Self, Diagnostic> {
        let mut ways = HashMap::new();
        for entry in &document.link_kinds {
            let way = Way::given(&entry.name, entry.bytes_per_s, entry.latency_s)?;
            let known = catalogue.link(&entry.name).is_some();
            if known || ways.insert(entry.name.as_str(), way).is_some() {
                return Err(Diagnostic::input(
                    "duplicate-link",
                    format!("the kind of link `{}` is defined already", entry.name),
                )
                .hint("give the kind of link another name"));
            }
        }
        Ok(Self { own: ways, catalogue })
    }

    pub(super) fn find(&self, name: &str) -> Result<Way, Diagnostic> {
        if let Some(way) = self.own.get(name) {
            return Ok(way.clone());
        }
        self.catalogue.link(name).map(Way::of_row).ok_or_else(|| {
            let mut known: Vec<String> = self.own.keys().map(ToString::to_string).collect();
            known.sort();
            known.extend(self.catalogue.links.iter().map(|row| row.name.clone()));
            nearest::hint(
                Diagnostic::input("unknown-link", format!("unknown kind of link `{name}`")),
                name,
                known.iter().map(String::as_str),
            )
            .hint(format!("known links are {}; define others under `link_kinds`", quoted(&known)))
        })
    }

    /// A link between devices of one domain. The file's own kinds may be used anywhere.
    pub(super) fn find_scaleup(&self, name: &str) -> Result<Way, Diagnostic> {
        let row = self.catalogue.link(name).filter(|row| row.scope == LinkScope::Network);
        if row.is_none() {
            return self.find(name);
        }
        let fit = self.catalogue.links.iter().filter(|row| row.scope == LinkScope::ScaleUp);
        let fit: Vec<&str> = fit.map(|row| row.name.as_str()).collect();
        Err(Diagnostic::input(
            "link-scope",
            format!("`{name}` joins hosts and can't be the `scaleup` link inside one"),
        )
        .hint(format!("choose one of {}", fit.join(", ")))
        .hint("state it as the `network` of the cluster, or define another under `link_kinds`"))
    }

    /// A link by name or by its figures, exactly one of them.
    pub(super) fn either(
        &self,
        owner: &str,
        link: Option<&str>,
        bytes_per_s: Option<f64>,
        latency_s: Option<f64>,
    ) -> Result<Way, Diagnostic> {
        match (link, bytes_per_s) {
            (Some(name), None) => {
                let mut way = self.find(name)?;
                if let Some(seconds) = latency_s {
                    way.latency_ns = latency_ns(seconds, owner)?;
                }
                Ok(way)
            }
            (None, Some(bytes_per_s)) => Way::given(owner, bytes_per_s, latency_s),
            _ => Err(Diagnostic::input(
                "link-figures",
                format!("`{owner}` needs either `link` or `bytes_per_s`"),
            )),
        }
    }
}
