//! The start of a cluster file from what machines print: `nvidia-smi topo -m`, `nvidia-smi -L`, hostfiles.
//! What they do not say is left blank and named.

mod hosts;
mod topology;

use std::collections::BTreeMap;
use std::path::Path;

use ir::diagnostic::Diagnostic;

use super::catalogue::{Catalogue, DeviceRow, catalogue};
use super::document;
use topology::Topology;

/// A cluster file to complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Its text, blanks and comments included.
    pub text: String,
    /// Keys that are left blank, each with what to write.
    pub blank: Vec<(String, String)>,
}

/// What files say of hosts.
#[derive(Debug, Default)]
struct Told {
    topology: Option<Topology>,
    /// Names of devices as the driver prints them.
    names: Vec<String>,
    /// Hosts by name, and how many processes each starts; 0 where nobody says it.
    hosts: BTreeMap<String, u64>,
}

/// Reads what machines print and writes what follows of a cluster file.
///
/// # Errors
/// Those of reading files; `unknown-format` for one that is neither a topology, a list of devices nor a
/// hostfile; `contradiction` where two of them disagree; `invalid-hostfile`.
pub fn draft(files: &[impl AsRef<Path>]) -> Result<Draft, Diagnostic> {
    let mut told = Told::default();
    for path in files {
        let path = path.as_ref();
        told.add(&document::text(path)?, &path.display().to_string())?;
    }
    told.written(&catalogue()?)
}

impl Told {
    fn add(&mut self, text: &str, origin: &str) -> Result<(), Diagnostic> {
        let text = &topology::plain(text);
        let of_file = |error: Diagnostic| error.fact("file", origin);
        let names = topology::names(text);
        let found = topology::read(text).map_err(of_file)?;
        if found.is_none() && names.is_empty() {
            for (host, slots) in hosts::read(text).map_err(of_file)? {
                if let Some(before) = self.hosts.insert(host.clone(), slots) {
                    let message =
                        format!("host `{host}` is there twice: {before} and {slots} processes");
                    return Err(of_file(Diagnostic::input("contradiction", message))
                        .hint("state each host once"));
                }
            }
            return Ok(());
        }
        let differ = |what: &str| {
            let message = format!("two {what} differ: hosts of one kind each are drafted");
            Err(of_file(Diagnostic::input("contradiction", message))
                .hint("draft a file for each kind of host, and put their `nodes` into one"))
        };
        if let (Some(one), Some(other)) = (&self.topology, &found)
            && one != other
        {
            return differ("topologies");
        }
        self.topology = found.or(self.topology.take());
        if !names.is_empty() {
            if !self.names.is_empty() && self.names != names {
                return differ("lists of devices");
            }
            self.names = names;
        }
        if let Some(topology) = &self.topology
            && !self.names.is_empty()
            && self.names.len() != topology.devices
        {
            let (listed, joined) = (self.names.len(), topology.devices);
            let message = format!("{listed} devices are listed, and the topology has {joined}");
            return Err(
                of_file(Diagnostic::input("contradiction", message)).hint("give both of one host")
            );
        }
        Ok(())
    }

    /// Devices of a host by what the files say of them.
    fn devices(&self) -> Option<u64> {
        let of_topology = self.topology.as_ref().map(|topology| topology.devices as u64);
        of_topology.or((!self.names.is_empty()).then_some(self.names.len() as u64))
    }

    fn written(&self, catalogue: &Catalogue) -> Result<Draft, Diagnostic> {
        let mut blank = Vec::new();
        let mut text = String::new();
        text.push_str(
            "# The start of a cluster file. Complete the blank keys; docs/cluster-files.md explains all.\n\
             name: cluster\nnodes:\n",
        );
        let groups = self.groups()?;
        let kind = self.kind(catalogue);
        for (index, (count, devices)) in groups.iter().enumerate() {
            let mut entry =
                Entry { at: format!("nodes[{index}]"), lines: Vec::new(), blank: Vec::new() };
            match count {
                Some(count) => entry.stated("count", count, ""),
                None => entry.blank("count", "how many such hosts"),
            }
            match &kind {
                Kind::Known(row) => {
                    entry.stated("device", &row.kind.name, &format!("`{}`", self.names[0]))
                }
                Kind::Several(rows) => {
                    entry.blank("device", &format!("one of {}", rows.join(", ")));
                }
                Kind::Unknown => entry.blank("device", "a kind of `meshwright devices`"),
            }
            match devices {
                Some(devices) => entry.stated("devices", devices, ""),
                None => entry.blank("devices", "devices of one host"),
            }
            self.links(&kind, &mut entry);
            for (at, line) in entry.lines.into_iter().enumerate() {
                text.push_str(if at == 0 { "  - " } else { "    " });
                text.push_str(&line);
                text.push('\n');
            }
            blank.extend(entry.blank);
        }
        let several = groups.len() > 1 || groups.iter().any(|(count, _)| *count != Some(1));
        if several {
            text.push_str(
                "network: {link: } # blank: the link between hosts, of `meshwright devices --links`\n",
            );
            blank.push(("network.link".to_owned(), "the link between hosts".to_owned()));
        }
        Ok(Draft { text, blank })
    }

    /// Hosts of equal numbers of devices, and that number.
    fn groups(&self) -> Result<Vec<(Option<u64>, Option<u64>)>, Diagnostic> {
        if self.hosts.is_empty() {
            return Ok(vec![(None, self.devices())]);
        }
        let mut by_slots: BTreeMap<u64, u64> = BTreeMap::new();
        for slots in self.hosts.values() {
            *by_slots.entry(*slots).or_insert(0) += 1;
        }
        if let (Some(devices), Some(more)) =
            (self.devices(), by_slots.keys().find(|slots| Some(**slots) > self.devices()))
        {
            let message = format!(
                "the hostfile starts {more} processes on a host, which has {devices} devices"
            );
            return Err(Diagnostic::input("contradiction", message)
                .hint("give the topology of these hosts"));
        }
        let group = |(slots, count): (u64, u64)| {
            (Some(count), self.devices().or(Some(slots).filter(|slots| *slots > 0)))
        };
        let mut groups: Vec<_> = by_slots.into_iter().map(group).collect();
        // Hosts of a topology are alike, however many processes each starts.
        if self.devices().is_some() {
            groups = vec![(Some(self.hosts.len() as u64), self.devices())];
        }
        Ok(groups)
    }

    /// Links inside a host, and network cards.
    fn links(&self, kind: &Kind<'_>, entry: &mut Entry) {
        let Some(topology) = &self.topology else {
            entry.blank("scaleup", "the link between devices of a host; `none` without NVLink");
            return entry.blank("nics", "network cards of a host");
        };
        match (topology.nvlinks, kind) {
            (0, _) => entry.stated("scaleup", "none", "no NVLink"),
            (n, Kind::Known(row)) if row.scaleup_link != "none" => {
                entry.stated("scaleup", &row.scaleup_link, &format!("NV{n}, of the data sheet"));
            }
            (n, _) => {
                let links = "nvlink2 of V100, nvlink3 of A100, nvlink4 of H100, nvlink5 of B200, or a bridge";
                entry.blank("scaleup", &format!("NV{n} between devices: {links}"));
            }
        }
        if topology.nvlinks > 0 && topology.domain < topology.devices {
            entry.stated("scaleup_domain", &topology.domain, "devices that NVLink joins");
        }
        match topology.cards {
            0 => entry.blank("nics", "network cards of a host"),
            n => entry.stated("nics", &n, "cards near devices; less those of storage"),
        }
    }

    fn kind<'a>(&self, catalogue: &'a Catalogue) -> Kind<'a> {
        let Some(name) = self.names.first() else { return Kind::Unknown };
        if self.names.iter().any(|other| other != name) {
            return Kind::Unknown;
        }
        let words = words(name);
        let is_joined =
            |topology: &Topology| topology.nvlinks > 0 && topology.domain == topology.devices;
        let joins_all = self.topology.as_ref().map(is_joined);
        let score = |row: &DeviceRow| {
            let parts: Vec<&str> = row.kind.name.split('_').collect();
            // The model stands first, behind the name of its line.
            let model =
                parts.iter().position(|part| part.bytes().any(|byte| byte.is_ascii_digit()));
            let model = model.and_then(|at| parts.get(..=at))?;
            let is_model = model.iter().all(|part| words.iter().any(|word| word == part));
            is_model
                .then(|| parts.iter().filter(|part| words.iter().any(|word| word == *part)).count())
        };
        let scored: Vec<(usize, &DeviceRow)> =
            catalogue.devices.iter().filter_map(|row| Some((score(row)?, row))).collect();
        let most = scored.iter().map(|(score, _)| *score).max();
        let mut best: Vec<&DeviceRow> = scored
            .into_iter()
            .filter(|(score, _)| Some(*score) == most)
            .map(|(_, row)| row)
            .collect();
        // Boards for switches have NVLink between all devices.
        if let (2.., Some(is_joined)) = (best.len(), joins_all) {
            let fits = |row: &&DeviceRow| (row.form == "sxm") == is_joined;
            if best.iter().any(|row| fits(&row)) {
                best.retain(|row| fits(&row));
            }
        }
        match best.as_slice() {
            [] => Kind::Unknown,
            [row] => Kind::Known(row),
            several => Kind::Several(several.iter().map(|row| row.kind.name.clone()).collect()),
        }
    }
}

/// What kind devices are of.
enum Kind<'a> {
    Known(&'a DeviceRow),
    Several(Vec<String>),
    Unknown,
}

/// Words of a name in small letters.
fn words(name: &str) -> Vec<String> {
    let parts = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    let mut words: Vec<String> = parts.map(str::to_lowercase).collect();
    // `4060 Ti` is one model; so is `SUPER`.
    words.extend(words.clone().windows(2).map(<[String]>::concat));
    words
}

/// An entry of `nodes` in the making.
struct Entry {
    at: String,
    lines: Vec<String>,
    blank: Vec<(String, String)>,
}

impl Entry {
    fn stated(&mut self, key: &str, value: &(impl ToString + ?Sized), from: &str) {
        let comment = if from.is_empty() { String::new() } else { format!(" # {from}") };
        self.lines.push(format!("{key}: {}{comment}", value.to_string()));
    }

    fn blank(&mut self, key: &str, what: &str) {
        self.lines.push(format!("{key}: # blank: {what}"));
        self.blank.push((format!("{}.{key}", self.at), what.to_owned()));
    }
}

#[cfg(test)]
mod tests;
