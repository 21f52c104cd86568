//! The catalogue of device kinds and link types that comes with the program.

use std::collections::BTreeMap;
use std::str::FromStr;

use ir::chip::Chip;
use ir::cluster::{Check, DeviceKind};
use ir::diagnostic::{Blame, Diagnostic};
use ir::tensor::DType;
use ir::units::{Bytes, BytesPerSecond, FlopsPerSecond, Hertz, Watts};

const DEVICES: &str = include_str!("../../data/devices.csv");
const LINKS: &str = include_str!("../../data/links.csv");

/// What a link type joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkScope {
    /// Devices of one scale-up domain.
    ScaleUp,
    /// Devices through their host.
    Host,
    /// Hosts.
    Network,
}

impl LinkScope {
    /// Its name in the catalogue.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScaleUp => "scaleup",
            Self::Host => "host",
            Self::Network => "network",
        }
    }
}

/// A kind of device in the catalogue.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceRow {
    /// The kind, as clusters use it.
    pub kind: DeviceKind,
    /// Who makes it.
    pub vendor: String,
    /// `sxm`, `pcie`, ...
    pub form: String,
    /// Link type to its like; `none` where it has none.
    pub scaleup_link: String,
    /// Link type to its host.
    pub host_link: String,
}

/// A link type in the catalogue.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkRow {
    /// Its name.
    pub name: String,
    /// What it joins.
    pub scope: LinkScope,
    /// Rate of one direction by its specification.
    pub nominal: BytesPerSecond,
    /// Rate of one direction that programs reach, where known.
    pub achieved: Option<BytesPerSecond>,
    /// Start-up cost in nanoseconds.
    pub latency_ns: f64,
    /// What the figures stand for.
    pub remark: String,
    /// Whether the figures were checked.
    pub check: Check,
    /// Data sheet or measurement.
    pub source: String,
}

impl LinkRow {
    /// The rate that costs are computed with: achieved where known, else nominal.
    #[must_use]
    pub fn rate(&self) -> BytesPerSecond {
        self.achieved.unwrap_or(self.nominal)
    }
}

/// All rows, in the order of the tables.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalogue {
    /// Kinds of devices.
    pub devices: Vec<DeviceRow>,
    /// Link types.
    pub links: Vec<LinkRow>,
}

impl Catalogue {
    /// The kind of device with this name.
    #[must_use]
    pub fn device(&self, name: &str) -> Option<&DeviceRow> {
        self.devices.iter().find(|row| row.kind.name == name)
    }

    /// The link type with this name.
    #[must_use]
    pub fn link(&self, name: &str) -> Option<&LinkRow> {
        self.links.iter().find(|row| row.name == name)
    }
}

/// The embedded catalogue.
///
/// # Errors
/// `catalogue-invalid` if the embedded tables are broken, which a test rules out.
pub fn catalogue() -> Result<Catalogue, Diagnostic> {
    Ok(Catalogue {
        devices: rows(DEVICES, "devices.csv")?.iter().map(device_row).collect::<Result<_, _>>()?,
        links: rows(LINKS, "links.csv")?.iter().map(link_row).collect::<Result<_, _>>()?,
    })
}

type Row = BTreeMap<String, String>;

fn broken(table: &str, what: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::error(
        Blame::Internal,
        "catalogue-invalid",
        format!("the embedded table {table} is broken: {what}"),
    )
}

fn rows(text: &str, table: &str) -> Result<Vec<Row>, Diagnostic> {
    csv::Reader::from_reader(text.as_bytes())
        .deserialize()
        .collect::<Result<_, _>>()
        .map_err(|error| broken(table, error))
}

/// A cell; `None` if it is blank.
fn cell<T: FromStr>(row: &Row, column: &str) -> Result<Option<T>, Diagnostic> {
    match row.get(column).map(String::as_str) {
        None => Err(broken(column, "no such column")),
        Some("") => Ok(None),
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|_| broken(column, format_args!("`{text}` is no value of this column"))),
    }
}

fn text(row: &Row, column: &str) -> Result<String, Diagnostic> {
    Ok(cell(row, column)?.unwrap_or_default())
}

/// Tables state in words how a row was checked; one recalled figure makes the row recalled.
fn check(words: &str) -> Check {
    if words.contains("recall") {
        Check::Recalled
    } else if words.contains("measured") || words.contains("values used") {
        Check::Measured
    } else {
        Check::Read
    }
}

fn device_row(row: &Row) -> Result<DeviceRow, Diagnostic> {
    let (mut peak, name) = (BTreeMap::new(), text(row, "device")?);
    for (column, dtype) in [
        ("peak_fp32_flops", DType::F32),
        ("peak_fp16_flops", DType::F16),
        ("peak_bf16_flops", DType::Bf16),
        ("peak_fp8_flops", DType::F8),
        ("peak_fp4_flops", DType::F4),
    ] {
        if let Some(rate) = cell::<f64>(row, column)?.and_then(FlopsPerSecond::new) {
            peak.insert(dtype, rate);
        }
    }
    Ok(DeviceRow {
        kind: DeviceKind {
            chip: cell::<Chip>(row, "architecture")?.unwrap_or_default(),
            name,
            memory: cell(row, "memory_bytes")?.map(Bytes),
            memory_bandwidth: cell(row, "memory_bytes_per_s")?.and_then(BytesPerSecond::new),
            peak,
            n_multiprocessors: cell(row, "sm_count")?,
            last_level_cache: cell(row, "last_level_cache_bytes")?.map(Bytes),
            clock: cell(row, "boost_clock_hz")?.and_then(Hertz::new),
            power: cell(row, "tdp_w")?.and_then(Watts::new),
            source: text(row, "source")?,
            check: check(&text(row, "check")?),
            ..DeviceKind::default()
        },
        vendor: text(row, "vendor")?,
        form: text(row, "form")?,
        scaleup_link: text(row, "scaleup_link")?,
        host_link: text(row, "pcie_link")?,
    })
}

fn link_row(row: &Row) -> Result<LinkRow, Diagnostic> {
    let name = text(row, "link")?;
    let scope = match text(row, "kind")?.as_str() {
        "scaleup" => LinkScope::ScaleUp,
        "host" => LinkScope::Host,
        "network" => LinkScope::Network,
        other => return Err(broken("kind", other)),
    };
    let nominal = cell(row, "nominal_bytes_per_s_per_direction")?
        .and_then(BytesPerSecond::new)
        .ok_or_else(|| broken(&name, "no nominal rate"))?;
    Ok(LinkRow {
        scope,
        nominal,
        achieved: cell(row, "achieved_bytes_per_s_per_direction")?.and_then(BytesPerSecond::new),
        latency_ns: cell::<f64>(row, "latency_us")?.unwrap_or_default() * 1e3,
        remark: text(row, "scope")?,
        check: check(&text(row, "check")?),
        source: text(row, "source")?,
        name,
    })
}
