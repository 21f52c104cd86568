//! The digest of a profile. Every field is taken apart by name, so that a new one does not compile
//! until it is here.

use std::collections::BTreeMap;

use ir::form::Form;
use ir::measured::GpuFacts;
use ir::profile::{
    CollectiveConstants, CollectiveKey, FormConstants, FormPoint, GroupKey, KernelConstants,
    LinkConstants, MeasuredRates, OverlapConstants, Profile, Provenance, Quality, SizeLaw,
    SizePoint, StackConstants, StackCorrection, StreamConstants, TileConstants,
};
use ir::tensor::DType;

use super::Encoder;

/// SHA-256 of a profile's content, 64 lower-case hexadecimal digits.
#[must_use]
pub fn profile(profile: &Profile) -> String {
    let Profile {
        name,
        kinds,
        by_dtype,
        rates,
        streams,
        facts,
        forms,
        collectives,
        overlaps,
        links,
        stacks,
        quality,
        notes,
    } = profile;
    // The second form: the first covered `kinds` alone.
    let mut encoder = Encoder::new("profile 2");
    encoder.text(name);
    encoder.map(kinds, Encoder::name, Encoder::constants);
    let dtype = |e: &mut Encoder, dtype: &DType| e.text(dtype.name());
    encoder.map(by_dtype, Encoder::name, |e, types| e.map(types, dtype, Encoder::constants));
    encoder.map(rates, Encoder::name, Encoder::rates);
    encoder
        .map(streams, Encoder::name, |e, of_kind| e.map(of_kind, Encoder::name, Encoder::stream));
    encoder.map(facts, Encoder::name, Encoder::facts);
    let form = |e: &mut Encoder, form: &Form| e.text(form.name());
    encoder.map(forms, Encoder::name, |e, of_kind| e.map(of_kind, form, Encoder::form));
    encoder.map(collectives, Encoder::name, |e, of_kind| {
        e.map(of_kind, Encoder::collective_key, Encoder::collective);
    });
    encoder.map(overlaps, Encoder::name, |e, of_kind| {
        e.map(of_kind, Encoder::group_key, Encoder::overlap);
    });
    encoder.map(links, Encoder::name, Encoder::link);
    encoder.map(stacks, Encoder::name, Encoder::stack);
    encoder.map(quality, Encoder::name, Encoder::quality);
    encoder.map(notes, Encoder::name, |e, note| e.text(note));
    encoder.finish()
}

impl Encoder {
    pub(super) fn map<K, V>(
        &mut self,
        map: &BTreeMap<K, V>,
        mut key: impl FnMut(&mut Self, &K),
        mut value: impl FnMut(&mut Self, &V),
    ) {
        self.count(map.len());
        for (k, v) in map {
            key(self, k);
            value(self, v);
        }
    }

    #[allow(clippy::ptr_arg, reason = "the key type of the maps")]
    fn name(&mut self, name: &String) {
        self.text(name);
    }

    fn optional_real(&mut self, real: Option<f64>) {
        self.number(u64::from(real.is_some()));
        self.real(real.unwrap_or_default());
    }

    fn constants(&mut self, constants: &KernelConstants) {
        let KernelConstants {
            launch,
            compute_efficiency,
            memory_efficiency,
            p_norm,
            tile,
            provenance,
        } = constants;
        [launch.get(), *compute_efficiency, *memory_efficiency, *p_norm]
            .into_iter()
            .for_each(|real| self.real(real));
        self.number(u64::from(tile.is_some()));
        if let Some(TileConstants { k0, small_tile_penalty, split_k }) = tile {
            [*k0, *small_tile_penalty, split_k.get()].into_iter().for_each(|real| self.real(real));
        }
        self.provenance(provenance);
    }

    fn provenance(&mut self, provenance: &Provenance) {
        match provenance {
            Provenance::Nominal { source } => {
                self.number(0);
                self.text(source);
            }
            Provenance::Measured { source, date } => {
                self.number(1);
                self.text(source);
                self.text(date);
            }
        }
    }

    fn rates(&mut self, MeasuredRates { peak, memory_bandwidth }: &MeasuredRates) {
        self.map(peak, |e, dtype| e.text(dtype.name()), |e, rate| e.real(rate.get()));
        self.optional_real(memory_bandwidth.map(|rate| rate.get()));
    }

    fn stream(&mut self, stream: &StreamConstants) {
        let StreamConstants { launch, bandwidth, table, provenance } = stream;
        self.real(launch.get());
        self.real(bandwidth.get());
        self.table(table);
        self.provenance(provenance);
    }

    fn link(&mut self, link: &LinkConstants) {
        let LinkConstants { latency, bandwidth, table, provenance } = link;
        self.real(latency.get());
        self.real(bandwidth.get());
        self.table(table);
        self.provenance(provenance);
    }

    fn table(&mut self, table: &[SizePoint]) {
        self.count(table.len());
        for SizePoint { bytes, time } in table {
            self.number(bytes.get());
            self.real(time.get());
        }
    }

    fn facts(&mut self, facts: &GpuFacts) {
        let GpuFacts { memory_bandwidth, peak, n_multiprocessors, last_level_cache, clock } = facts;
        self.real(*memory_bandwidth);
        self.real(*peak);
        self.number(u64::from(*n_multiprocessors));
        self.optional_real(*last_level_cache);
        self.optional_real(*clock);
    }

    fn form(&mut self, FormConstants { values, points, provenance }: &FormConstants) {
        self.count(values.len());
        values.iter().for_each(|value| self.real(*value));
        self.count(points.len());
        for FormPoint { extents, time } in points {
            self.count(extents.len());
            extents.iter().for_each(|extent| self.real(*extent));
            self.real(time.get());
        }
        self.provenance(provenance);
    }

    fn collective_key(&mut self, key: &CollectiveKey) {
        let CollectiveKey { operation, ranks, ranks_per_node, library } = key;
        self.number(*operation as u64);
        self.number(*ranks);
        self.number(*ranks_per_node);
        self.text(library);
    }

    fn collective(&mut self, CollectiveConstants { law, provenance }: &CollectiveConstants) {
        match law {
            SizeLaw::Curve { start_up, bandwidth, per_root_s } => {
                self.number(0);
                self.real(start_up.get());
                self.real(bandwidth.get());
                self.real(*per_root_s);
            }
            SizeLaw::Table(table) => {
                self.number(1);
                self.table(table);
            }
        }
        self.provenance(provenance);
    }

    fn group_key(&mut self, GroupKey { gpus, ranks_per_node, nodes }: &GroupKey) {
        [gpus, ranks_per_node, nodes].into_iter().for_each(|count| self.number(*count));
    }

    fn overlap(&mut self, OverlapConstants { slowdowns, provenance }: &OverlapConstants) {
        slowdowns.iter().flatten().for_each(|factor| self.real(*factor));
        self.provenance(provenance);
    }

    fn stack(&mut self, stack: &StackConstants) {
        let StackConstants { models, constants, corrections, provenance } = stack;
        self.count(models.len());
        models.iter().for_each(|kind| self.name(&kind.name().to_owned()));
        self.map(constants, Self::name, |e, value| e.real(*value));
        self.count(corrections.len());
        for StackCorrection { hidden, tensor, micro_batch, factor, n_rows } in corrections {
            [hidden, tensor, micro_batch].into_iter().for_each(|count| self.number(*count));
            self.real(*factor);
            self.number(*n_rows);
        }
        self.provenance(provenance);
    }

    fn quality(&mut self, quality: &Quality) {
        let Quality { n_samples, r_squared, median_error, worst_error, dispersion, unidentified } =
            quality;
        self.number(*n_samples);
        [r_squared, median_error, worst_error, dispersion]
            .into_iter()
            .for_each(|real| self.real(*real));
        self.count(unidentified.len());
        unidentified.iter().for_each(|name| self.text(name));
    }
}
