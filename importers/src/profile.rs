//! Profile files (YAML or JSON): strict in keys, units and values.
//!
//! Every time is in seconds and every rate per second; a key that ends in another unit is unknown.

use std::collections::BTreeMap;
use std::path::Path;

use documents::profile::calibrated::PointDocument;
use documents::profile::{
    KernelDocument, KindDocument, LinkDocument, ProfileDocument, QualityDocument, StreamDocument,
    TileDocument, VERSION,
};
use ir::cluster::{Check, Cluster};
use ir::diagnostic::Diagnostic;
use ir::nearest;
use ir::profile::{
    KernelConstants, LinkConstants, MeasuredRates, Profile, Provenance, Quality, SizePoint,
    StreamConstants, TileConstants,
};
use ir::tensor::DType;
use ir::units::{Bytes, BytesPerSecond, FlopsPerSecond, Seconds};

use crate::source::{self, FileSource};
use crate::yaml;

mod calibrated;
mod ranges;

use ranges::{checked, refused};

/// Largest profile that is read, in bytes.
const MAX_BYTES: u64 = 32 << 20;
/// Nesting and nodes that a profile may have.
const MAX_DEPTH: usize = 32;
const MAX_NODES: usize = 2_000_000;
/// Element types that products are measured in.
const DTYPES: [DType; 6] = [DType::F64, DType::F32, DType::F16, DType::Bf16, DType::F8, DType::F4];

/// Reads a profile file.
///
/// # Errors
/// `unreadable-file`, `size-budget`, and all of [`parse`]; each names the file.
pub fn read(path: &Path) -> Result<Profile, Diagnostic> {
    let origin = path.display().to_string();
    let bytes = FileSource::open(path)
        .and_then(|file| source::read_all(&file, MAX_BYTES))
        .map_err(|error| error.fact("file", origin.as_str()))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        Diagnostic::input("profile-invalid", "the profile is no UTF-8 text")
            .fact("file", origin.as_str())
    })?;
    parse(text, &origin)
}

/// Parses the text of a profile file; `origin` names it in diagnostics.
///
/// # Errors
/// `profile-invalid`, `unknown-key` and `missing-key` with line and column; `profile-version`,
/// `profile-value` for a number that is not one or out of its range, `unknown-dtype`.
pub fn parse(text: &str, origin: &str) -> Result<Profile, Diagnostic> {
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
            max_anchors: 0,
            max_aliases: 0,
        },
        with_snippet: false,
    };
    serde_yaml::from_str_with_options(text, options)
        .map_err(|error| yaml::fault(&error, ("profile-invalid", "profile"), |_| None))
        .and_then(profile)
        .map_err(|error| error.fact("file", origin))
}

/// A cluster whose links have the figures that the profile holds of link types of their name, and
/// what the profile holds in vain. Constants of kinds stay with the profile.
///
/// # Errors
/// `unknown-kind` if no kind of the profile is in the cluster.
pub fn rated(
    profile: &Profile,
    mut cluster: Cluster,
) -> Result<(Cluster, Vec<Diagnostic>), Diagnostic> {
    let known: Vec<String> = cluster.kinds.iter().map(|kind| kind.name.clone()).collect();
    let (used, unused): (Vec<&str>, Vec<&str>) =
        profile.kind_names().into_iter().partition(|name| known.iter().any(|k| k == name));
    let unknown = |diagnostic: Diagnostic, name: &str| {
        nearest::hint(diagnostic, name, known.iter().map(String::as_str))
            .fact("known", known.clone())
    };
    if let (true, Some(name)) = (used.is_empty(), unused.first()) {
        let message = format!("the profile is of `{name}`, a kind that the cluster does not have");
        return Err(unknown(Diagnostic::input("unknown-kind", message), name));
    }
    let warnings = unused.into_iter().map(|name| {
        let message = format!("no device of the cluster is a `{name}`; its constants are not used");
        unknown(Diagnostic::warning("unknown-kind", message), name)
    });
    let warnings = warnings.collect();
    for way in &mut cluster.links.kinds {
        let Some(link) = profile.links.get(&way.name) else { continue };
        way.latency_ns = link.latency.get() * 1e9;
        way.bandwidth = link.bandwidth;
        (way.source, way.check) = match &link.provenance {
            Provenance::Measured { source, date } => (format!("{source}, {date}"), Check::Measured),
            Provenance::Nominal { source } => (source.clone(), Check::Read),
        };
    }
    Ok((cluster, warnings))
}

fn profile(document: ProfileDocument) -> Result<Profile, Diagnostic> {
    if document.version != VERSION {
        return Err(Diagnostic::input(
            "profile-version",
            format!("the profile has version {}; this program reads {VERSION}", document.version),
        ));
    }
    if document.kinds.is_empty() && document.links.is_empty() && document.stacks.is_empty() {
        return Err(Diagnostic::input("profile-empty", "the profile holds no constants"));
    }
    let mut profile = Profile { name: document.name, notes: document.notes, ..Profile::default() };
    for (name, kind) in document.kinds {
        read_kind(&mut profile, &name, kind)?;
    }
    for (name, link) in document.links {
        let link = read_link(&name, link)?;
        profile.links.insert(name, link);
    }
    for (name, stack) in document.stacks {
        let stack = calibrated::stack(&name, stack)?;
        profile.stacks.insert(name, stack);
    }
    for (part, quality) in document.quality {
        let quality = read_quality(&part, quality)?;
        profile.quality.insert(part, quality);
    }
    Ok(profile)
}

fn read_kind(profile: &mut Profile, name: &str, kind: KindDocument) -> Result<(), Diagnostic> {
    let rates = MeasuredRates {
        peak: by_dtype(kind.peak_flops_per_s, name, |owner, rate| {
            let rate = checked("peak_flops_per_s", owner, rate)?;
            FlopsPerSecond::new(rate)
                .ok_or_else(|| refused("peak_flops_per_s", owner, rate, "positive"))
        })?,
        memory_bandwidth: kind
            .memory_bytes_per_s
            .map(|rate| bandwidth("memory_bytes_per_s", name, rate))
            .transpose()?,
    };
    if rates != MeasuredRates::default() {
        profile.rates.insert(name.to_owned(), rates);
    }
    calibrated::kind(profile, name, kind.facts, kind.forms)?;
    calibrated::together(profile, name, kind.collectives, kind.overlaps)?;
    if let Some(kernels) = kind.kernels {
        profile.kinds.insert(name.to_owned(), read_kernels(name, kernels)?);
    }
    let single = by_dtype(kind.by_dtype, name, read_kernels)?;
    if !single.is_empty() {
        profile.by_dtype.insert(name.to_owned(), single);
    }
    let mut streams = BTreeMap::new();
    for (family, stream) in kind.streams {
        let stream = read_stream(&format!("{name}: {family}"), stream)?;
        streams.insert(family, stream);
    }
    if !streams.is_empty() {
        profile.streams.insert(name.to_owned(), streams);
    }
    Ok(())
}

fn by_dtype<A, B>(
    values: BTreeMap<String, A>,
    owner: &str,
    read: impl Fn(&str, A) -> Result<B, Diagnostic>,
) -> Result<BTreeMap<DType, B>, Diagnostic> {
    let mut found = BTreeMap::new();
    for (name, value) in values {
        let Some(dtype) = DTYPES.into_iter().find(|dtype| dtype.name() == name) else {
            let message = format!("`{owner}` has figures for `{name}`, which is no element type");
            let known = DTYPES.map(DType::name);
            let diagnostic = Diagnostic::input("unknown-dtype", message);
            return Err(nearest::hint(diagnostic, &name, known.into_iter())
                .fact("known", known.map(str::to_owned).to_vec()));
        };
        found.insert(dtype, read(&format!("{owner}: {name}"), value)?);
    }
    Ok(found)
}

fn read_kernels(owner: &str, kernels: KernelDocument) -> Result<KernelConstants, Diagnostic> {
    Ok(KernelConstants {
        launch: start("launch_s", owner, kernels.launch_s)?,
        compute_efficiency: checked("compute_efficiency", owner, kernels.compute_efficiency)?,
        memory_efficiency: checked("memory_efficiency", owner, kernels.memory_efficiency)?,
        p_norm: checked("p_norm", owner, kernels.p_norm)?,
        tile: kernels.tile.map(|tile| read_tile(owner, &tile)).transpose()?,
        provenance: kernels.provenance.into(),
    })
}

fn read_tile(owner: &str, tile: &TileDocument) -> Result<TileConstants, Diagnostic> {
    Ok(TileConstants {
        k0: checked("k0", owner, tile.k0)?,
        small_tile_penalty: checked("small_tile_penalty", owner, tile.small_tile_penalty)?,
        split_k: start("split_k_s", owner, tile.split_k_s)?,
    })
}

fn read_stream(owner: &str, stream: StreamDocument) -> Result<StreamConstants, Diagnostic> {
    Ok(StreamConstants {
        launch: start("launch_s", owner, stream.launch_s)?,
        bandwidth: bandwidth("bytes_per_s", owner, stream.bytes_per_s)?,
        table: table(owner, &stream.table)?,
        provenance: stream.provenance.into(),
    })
}

fn read_link(owner: &str, link: LinkDocument) -> Result<LinkConstants, Diagnostic> {
    Ok(LinkConstants {
        latency: start("latency_s", owner, link.latency_s)?,
        bandwidth: bandwidth("bytes_per_s", owner, link.bytes_per_s)?,
        table: table(owner, &link.table)?,
        provenance: link.provenance.into(),
    })
}

fn read_quality(owner: &str, quality: QualityDocument) -> Result<Quality, Diagnostic> {
    Ok(Quality {
        n_samples: quality.samples,
        r_squared: checked("r_squared", owner, quality.r_squared)?,
        median_error: checked("median_error", owner, quality.median_error)?,
        worst_error: checked("worst_error", owner, quality.worst_error)?,
        dispersion: checked("dispersion", owner, quality.dispersion)?,
        unidentified: quality.unidentified,
    })
}

/// Sizes must grow, so that a place between two of them is found.
fn table(owner: &str, points: &[PointDocument]) -> Result<Vec<SizePoint>, Diagnostic> {
    let mut table: Vec<SizePoint> = Vec::with_capacity(points.len());
    for point in points {
        let time = checked("time_s", owner, point.time_s)?;
        let time = Seconds::new(time).ok_or_else(|| refused("time_s", owner, time, "positive"))?;
        checked("bytes", owner, point.bytes as f64)?;
        if table.last().is_some_and(|last| last.bytes.get() >= point.bytes) {
            let want = "greater than the size before it";
            return Err(refused("bytes", owner, point.bytes as f64, want));
        }
        table.push(SizePoint { bytes: Bytes(point.bytes), time });
    }
    Ok(table)
}

fn start(key: &'static str, owner: &str, value: f64) -> Result<Seconds, Diagnostic> {
    let value = checked(key, owner, value)?;
    Seconds::new(value).ok_or_else(|| refused(key, owner, value, "at least 0"))
}

fn bandwidth(key: &'static str, owner: &str, value: f64) -> Result<BytesPerSecond, Diagnostic> {
    let value = checked(key, owner, value)?;
    BytesPerSecond::new(value).ok_or_else(|| refused(key, owner, value, "positive"))
}

#[cfg(test)]
mod tests;
