//! What a profile says of a kind of device, or of its nearest sibling in the cluster.

use std::collections::BTreeMap;

use ir::cluster::{Cluster, DeviceKind};
use ir::form::{Form as CalibratedForm, Unit};
use ir::measured::GpuFacts;
use ir::profile::{KernelConstants, MeasuredRates, Profile, Provenance, StreamConstants};
use ir::tensor::DType;
use ir::units::{BytesPerSecond, FlopsPerSecond, Seconds};

use super::kind::{COMPARED, facts};
use crate::kernels::origin::{Origin, Sourced};
use crate::{kernels::donor, kernels::matrix_product};

/// Measured constants of a kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    /// Constants of products whose type has none of its own, and the type that they were measured
    /// in where that is known.
    pub(super) main: Option<(Option<DType>, Sourced<KernelConstants>)>,
    /// Constants of single types.
    pub(super) by_dtype: BTreeMap<DType, Sourced<KernelConstants>>,
    /// Rates that efficiencies refer to.
    pub(super) rates: MeasuredRates,
    /// Kernels that only move memory, by family.
    pub(super) streams: BTreeMap<String, Sourced<StreamConstants>>,
    /// Closed forms, in the order and units of [`CalibratedForm::constants`].
    pub(super) forms: BTreeMap<CalibratedForm, Sourced<Vec<f64>>>,
    /// Data sheet that the shares of `forms` refer to, where it is not the cluster's.
    pub(super) facts: Option<GpuFacts>,
}

impl Measured {
    /// What the profile holds of a kind; else of its nearest sibling in the cluster that it holds
    /// something of, with rates scaled as the data sheets' are.
    pub(super) fn of(cluster: &Cluster, kind: &DeviceKind, profile: &Profile) -> Self {
        if has(profile, kind) {
            return Self::own(profile, &kind.name, Origin::Measured);
        }
        let wanted = facts(kind, COMPARED);
        let siblings = cluster.kinds.iter().filter(|other| has(profile, other));
        let siblings = siblings
            .filter_map(|other| Some((donor::distance(&wanted, &facts(other, COMPARED))?, other)));
        match siblings.min_by(|a, b| a.0.total_cmp(&b.0)) {
            Some((_, donor)) => {
                let mut transferred = Self::own(profile, &donor.name, Origin::Sibling);
                transferred.scale(kind, donor);
                transferred
            }
            None => Self::default(),
        }
    }

    /// Whether products were measured.
    pub(super) fn has_products(&self) -> bool {
        self.main.is_some() || !self.by_dtype.is_empty() || self.products().is_some()
    }

    /// Whether any kernel was measured by itself.
    pub(super) fn has_kernels(&self) -> bool {
        self.has_products() || !self.streams.is_empty() || !self.forms.is_empty()
    }

    /// The form of products with all its constants.
    pub(super) fn products(&self) -> Option<Sourced<matrix_product::Constants>> {
        let form = self.forms.get(&CalibratedForm::MatrixProduct)?;
        let figures = microseconds(CalibratedForm::MatrixProduct, &form.value);
        Some(form.clone().map(|_| matrix_product::Constants::from_figures(&figures)))
    }

    /// The constants of another form, times in microseconds.
    pub(super) fn form<const N: usize>(&self, form: CalibratedForm) -> Option<Sourced<[f64; N]>> {
        let found = self.forms.get(&form)?;
        let figures: [f64; N] = microseconds(form, &found.value).try_into().ok()?;
        Some(found.clone().map(|_| figures))
    }

    fn own(profile: &Profile, name: &str, origin: Origin) -> Self {
        let provenance = |provenance: &Provenance| match (origin, provenance) {
            (Origin::Sibling, Provenance::Measured { source, date }) => {
                Provenance::Measured { source: format!("{source}, of {name}"), date: date.clone() }
            }
            _ => provenance.clone(),
        };
        let constants = |constants: &KernelConstants| {
            Sourced::of_profile(constants.clone(), &provenance(&constants.provenance), origin)
        };
        let rates = profile.rates.get(name).cloned().unwrap_or_default();
        let by_dtype: BTreeMap<_, _> = profile
            .by_dtype
            .get(name)
            .into_iter()
            .flatten()
            .map(|(dtype, measured)| (*dtype, constants(measured)))
            .collect();
        // The kind's constants are of the one type with a rate and no constants of its own.
        let mut rated = rates.peak.keys().filter(|dtype| !by_dtype.contains_key(*dtype));
        let main_dtype = rated.next().copied().filter(|_| rated.next().is_none());
        // Or they repeat those of the type that they were measured in.
        let main = profile.kinds.get(name);
        let mut types = profile.by_dtype.get(name).into_iter().flatten();
        let repeated = types.find(|(_, of_type)| Some(*of_type) == main).map(|(dtype, _)| *dtype);
        let main_dtype = main_dtype.or(repeated);
        let streams = profile.streams.get(name).into_iter().flatten().map(|(family, stream)| {
            let provenance = provenance(&stream.provenance);
            (family.clone(), Sourced::of_profile(stream.clone(), &provenance, origin))
        });
        let forms = profile.forms.get(name).into_iter().flatten().map(|(form, found)| {
            let provenance = provenance(&found.provenance);
            (*form, Sourced::of_profile(found.values.clone(), &provenance, origin))
        });
        Self {
            main: main.map(|main| (main_dtype, constants(main))),
            by_dtype,
            rates,
            streams: streams.collect(),
            forms: forms.collect(),
            facts: profile.facts.get(name).copied(),
        }
    }

    /// Rates of a donor for another kind.
    fn scale(&mut self, kind: &DeviceKind, donor: &DeviceKind) {
        let peak = self.rates.peak.iter().filter_map(|(dtype, seen)| {
            let ratio = kind.peak.get(dtype)?.get() / donor.peak.get(dtype)?.get();
            Some((*dtype, FlopsPerSecond::new(seen.get() * ratio)?))
        });
        let peak = peak.collect();
        let bandwidths = kind.memory_bandwidth.zip(donor.memory_bandwidth);
        let ratio = bandwidths.map_or(1.0, |(ours, theirs)| ours.get() / theirs.get());
        let scaled = |rate: BytesPerSecond| BytesPerSecond::new(rate.get() * ratio).unwrap_or(rate);
        self.rates =
            MeasuredRates { peak, memory_bandwidth: self.rates.memory_bandwidth.map(scaled) };
        for stream in self.streams.values_mut() {
            stream.value.bandwidth = scaled(stream.value.bandwidth);
            for point in &mut stream.value.table {
                point.time = Seconds::new(point.time.get() / ratio).unwrap_or(point.time);
            }
        }
        self.facts = None;
    }
}

fn has(profile: &Profile, kind: &DeviceKind) -> bool {
    profile.kinds.contains_key(&kind.name)
        || profile.by_dtype.contains_key(&kind.name)
        || profile.streams.contains_key(&kind.name)
        || profile.forms.contains_key(&kind.name)
}

/// Values of a profile, whose times are in seconds, as the forms take them.
fn microseconds(form: CalibratedForm, values: &[f64]) -> Vec<f64> {
    let constants = form.constants().iter().zip(values);
    constants
        .map(|(constant, value)| match constant.unit {
            Unit::Seconds => value * 1e6,
            Unit::One => *value,
        })
        .collect()
}
