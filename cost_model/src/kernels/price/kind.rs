//! The constants that hold on one kind of device, each with its origin.

use std::collections::BTreeMap;
use std::sync::Arc;

use ir::cluster::{Cluster, DeviceKind};
use ir::form::Form;
use ir::graph::Graph;
use ir::measured::GpuFacts;
use ir::profile::{KernelConstants, Profile, Provenance, StreamConstants};
use ir::tensor::DType;
use ir::units::FlopsPerSecond;
use ir::workload::Mode;

use super::measured::Measured;
use super::step::StepCosts;
use super::task::Stream;
use crate::kernels::constants::{self, Published};
use crate::kernels::origin::{Origin, Sourced};
use crate::kernels::plain_product::{self, Missing};
use crate::{kernels::attention, kernels::matrix_product, kernels::moe};

/// The type whose rates data sheets are compared by.
pub(super) const COMPARED: DType = DType::Bf16;

/// Constants of matrix products, in one of two forms.
#[derive(Clone, Debug, PartialEq)]
pub enum ProductConstants {
    /// Launch, p-norm and tile term, see [`crate::kernels::plain_product`].
    Plain(KernelConstants),
    /// The form of eleven constants, see [`crate::kernels::matrix_product`].
    Tiled(matrix_product::Constants),
}

/// What products of one element type take on a kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Products {
    /// Their constants.
    pub constants: Sourced<ProductConstants>,
    /// Rate that efficiencies refer to.
    pub rate: Sourced<FlopsPerSecond>,
    /// The type whose rate that is.
    pub rate_of: DType,
    /// The data sheet with that rate.
    pub facts: GpuFacts,
}

/// What is known of one kind of device.
#[derive(Clone, Debug)]
pub struct KindCosts {
    /// The data sheet, with the rates that were measured in place of stated ones.
    pub kind: DeviceKind,
    sheet: DeviceKind,
    measured: Measured,
    published: Published,
    products: BTreeMap<DType, Arc<Products>>,
    memory: Sourced<(f64, f64)>,
    step: Option<Arc<StepCosts>>,
}

impl KindCosts {
    /// What a profile says of a kind of a cluster, else of its nearest sibling there; else what was
    /// published of it, of its nearest sibling, or of all.
    #[must_use]
    pub fn new(cluster: &Cluster, kind: &DeviceKind, profile: &Profile) -> Self {
        let measured = Measured::of(cluster, kind, profile);
        let sheet = kind.clone();
        let mut kind = kind.clone();
        kind.peak.extend(&measured.rates.peak);
        kind.memory_bandwidth = measured.rates.memory_bandwidth.or(kind.memory_bandwidth);
        let mut published = constants::published(&facts(&sheet, COMPARED));
        if measured.has_products() {
            // What was measured of products stands for what was not measured of fused kernels.
            published.prefill = measured.form(Form::AttentionPrefill);
            published.decode = measured.form(Form::AttentionDecode);
            published.experts = measured.form(Form::FusedExperts);
        }
        let memory = memory(&measured, &published);
        let mut costs = Self {
            kind,
            sheet,
            measured,
            published,
            products: BTreeMap::new(),
            memory,
            step: None,
        };
        for (dtype, ..) in DType::ROWS {
            let products = costs.find_products(dtype).map(|products| (dtype, Arc::new(products)));
            costs.products.extend(products);
        }
        costs
    }

    /// What an op of a graph takes: in a training step, or in a forward pass on a kind that was not measured, as
    /// a stack runs it.
    #[must_use]
    pub fn of_workload(
        cluster: &Cluster,
        kind: &DeviceKind,
        profile: &Profile,
        (graph, mode): (&Graph, Mode),
    ) -> Self {
        let costs = Self::new(cluster, kind, profile);
        // Kernels that were measured one by one are priced one by one.
        let is_step = mode == Mode::Training || !costs.measured.has_kernels();
        let step = is_step.then(|| Arc::new(StepCosts::new(kind, profile, (graph, mode))));
        Self { step, ..costs }
    }

    /// Whether kernels of a kind, or of its nearest sibling, were measured one by one.
    #[must_use]
    pub fn is_measured(cluster: &Cluster, kind: &DeviceKind, profile: &Profile) -> bool {
        Measured::of(cluster, kind, profile).has_kernels()
    }

    /// What prices ops as a stack runs them, where it does.
    #[must_use]
    pub fn step(&self) -> Option<&StepCosts> {
        self.step.as_deref()
    }

    /// What products of a type take.
    ///
    /// # Errors
    /// The rate that the kind does not state.
    pub fn products(&self, dtype: DType) -> Result<&Arc<Products>, Missing> {
        self.products.get(&dtype).ok_or(Missing::Peak(dtype))
    }

    fn find_products(&self, dtype: DType) -> Option<Products> {
        let (rate_of, rate) = plain_product::peak(&self.kind, dtype)?;
        let mut rate = self.rate(rate_of, rate);
        if let Some(products) = self.calibrated(rate_of, &rate) {
            return Some(products);
        }
        let constants = match (self.measured.by_dtype.get(&rate_of), &self.measured.main) {
            (Some(constants), _) => plain(constants),
            (None, Some((measured_in, main))) => {
                let mut constants = plain(main);
                if measured_in.is_some_and(|measured_in| measured_in != rate_of) {
                    constants.origin = constants.origin.max(Origin::Interpolated);
                    rate.value = self.derated(rate.value, *measured_in);
                }
                constants
            }
            (None, None) => self.published_products(rate.value),
        };
        let facts = GpuFacts { peak: rate.value.get(), ..facts(&self.kind, rate_of) };
        Some(Products { constants, rate, rate_of, facts })
    }

    /// The published form, which was fitted in 16-bit floats, at another rate: the start and end of
    /// a tile take their time, not their share of the work, so the depth that they stand for goes
    /// with the rate.
    fn published_products(&self, rate: FlopsPerSecond) -> Sourced<ProductConstants> {
        let fitted_at = facts(&self.sheet, COMPARED).peak;
        self.published.products.clone().map(|constants| match constants {
            ProductConstants::Tiled(tiled) => {
                let slower = (rate.get() / fitted_at).min(1.0);
                let k0 = tiled.k0 * slower;
                ProductConstants::Tiled(matrix_product::Constants { k0, ..tiled })
            }
            plain @ ProductConstants::Plain(_) => plain,
        })
    }

    /// Products by the calibrated form, which is of 16-bit floats; other types take it where they
    /// have no constants of their own.
    fn calibrated(&self, rate_of: DType, rate: &Sourced<FlopsPerSecond>) -> Option<Products> {
        let constants = self.measured.products()?;
        let is_half = matches!(rate_of, DType::F16 | DType::Bf16);
        if !is_half
            && (self.measured.by_dtype.contains_key(&rate_of) || self.measured.main.is_some())
        {
            return None;
        }
        let mut constants = constants.map(ProductConstants::Tiled);
        // Shares refer to a data sheet, not to rates that were measured.
        let stated = self.sheet.peak.get(&rate_of).copied().unwrap_or(rate.value);
        let measured = self.measured.facts.filter(|_| is_half);
        let rate = measured.and_then(|facts| FlopsPerSecond::new(facts.peak)).unwrap_or(stated);
        let facts = self.measured.facts.unwrap_or_else(|| facts(&self.sheet, rate_of));
        if !is_half {
            constants.origin = constants.origin.max(Origin::Interpolated);
        }
        let facts = GpuFacts { peak: rate.get(), ..facts };
        Some(Products { constants, rate: self.stated(rate), rate_of, facts })
    }

    /// The rate of a type, and where it comes from.
    fn rate(&self, dtype: DType, rate: FlopsPerSecond) -> Sourced<FlopsPerSecond> {
        let of_type = self.measured.by_dtype.get(&dtype);
        let constants = of_type.or(self.measured.main.as_ref().map(|(_, main)| main));
        match self.measured.rates.peak.get(&dtype).and(constants) {
            Some(constants) => constants.clone().map(|_| rate),
            None => self.stated(rate),
        }
    }

    /// A figure of the data sheet.
    fn stated<T>(&self, value: T) -> Sourced<T> {
        Sourced::nominal(value, self.sheet.source.clone())
    }

    /// A data sheet's rate of a type that was not measured, scaled as the measured type's is.
    fn derated(&self, rate: FlopsPerSecond, measured_in: Option<DType>) -> FlopsPerSecond {
        let ratio = measured_in.and_then(|dtype| {
            let seen = self.measured.rates.peak.get(&dtype)?;
            Some(seen.get() / self.sheet.peak.get(&dtype)?.get())
        });
        FlopsPerSecond::new(rate.get() * ratio.unwrap_or(1.0)).unwrap_or(rate)
    }

    /// What a memory stream takes: the profile's family that comes nearest, its constants, and the
    /// origin of a time by them.
    #[must_use]
    pub fn stream(
        &self,
        stream: Stream,
    ) -> Option<(&'static str, &Sourced<StreamConstants>, Origin)> {
        let (n_own, families) = stream.families();
        families.iter().enumerate().find_map(|(at, family)| {
            let constants = self.measured.streams.get(*family)?;
            let least = if at < n_own { Origin::Measured } else { Origin::Interpolated };
            Some((*family, constants, constants.origin.max(least)))
        })
    }

    /// Launch in seconds and share of the memory bandwidth of kernels without constants of their
    /// own: those of products.
    #[must_use]
    pub fn memory(&self) -> &Sourced<(f64, f64)> {
        &self.memory
    }

    /// The memory bandwidth that efficiencies refer to, in bytes per second, and where it comes
    /// from; `None` where nobody states it.
    #[must_use]
    pub fn bandwidth(&self) -> Option<Sourced<f64>> {
        let rate = self.kind.memory_bandwidth?.get();
        let main = self.measured.main.as_ref().map(|(_, main)| main);
        Some(match self.measured.rates.memory_bandwidth.and(main) {
            Some(main) => main.clone().map(|_| rate),
            None => self.stated(rate),
        })
    }

    /// Constants of a fused attention core: those of calls with one query, or of longer ones.
    /// `None` where those of products stand for them: they were measured, and attention was not.
    #[must_use]
    pub fn attention(&self, queries: f64) -> Option<&Sourced<attention::Constants>> {
        let of_one = queries <= 1.0;
        let published = if of_one { &self.published.decode } else { &self.published.prefill };
        published.as_ref()
    }

    /// Constants of a fused layer of experts; `None` as for attention.
    #[must_use]
    pub fn experts(&self) -> Option<&Sourced<moe::Constants>> {
        self.published.experts.as_ref()
    }

    /// What the constants of kernels without constants of their own come from.
    #[must_use]
    pub fn source(&self) -> String {
        if let Some(step) = &self.step {
            return format!("stack {}, {}", step.stack.name, step.stack.source);
        }
        match &self.memory.provenance {
            Provenance::Nominal { source } | Provenance::Measured { source, .. } => source.clone(),
        }
    }

    /// Source of the data sheet.
    #[must_use]
    pub fn sheet(&self) -> &DeviceKind {
        &self.sheet
    }
}

/// See [`KindCosts::memory`].
fn memory(measured: &Measured, published: &Published) -> Sourced<(f64, f64)> {
    let main = measured.main.as_ref().map(|(_, main)| main);
    let plain = main.or(measured.by_dtype.values().next());
    let plain =
        plain.map(|constants| constants.clone().map(|c| (c.launch.get(), c.memory_efficiency)));
    let tiled = || Some(measured.products()?.map(|c| (c.launch, c.memory_efficiency)));
    match plain.or_else(tiled) {
        Some(mut sourced) => {
            sourced.origin = sourced.origin.max(Origin::Interpolated);
            sourced
        }
        None => published.products.clone().map(|constants| match constants {
            ProductConstants::Plain(c) => (c.launch.get(), c.memory_efficiency),
            ProductConstants::Tiled(c) => (c.launch, c.memory_efficiency),
        }),
    }
}

fn plain(constants: &Sourced<KernelConstants>) -> Sourced<ProductConstants> {
    constants.clone().map(ProductConstants::Plain)
}

/// The data sheet of a kind with its rate for products of a type, as the forms take it.
pub(super) fn facts(kind: &DeviceKind, dtype: DType) -> GpuFacts {
    GpuFacts {
        memory_bandwidth: kind.memory_bandwidth.map_or(f64::INFINITY, |rate| rate.get()),
        peak: plain_product::peak(kind, dtype).map_or(0.0, |(_, rate)| rate.get()),
        n_multiprocessors: kind.n_multiprocessors.unwrap_or(0),
        last_level_cache: kind.last_level_cache.map(|bytes| bytes.as_f64()),
        clock: kind.clock.map(|clock| clock.get()),
    }
}
