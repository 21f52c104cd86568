//! The digest of measured layers. Every field is taken apart by name, so that a new one does not
//! compile until it is here.

use ir::layers::{BatchPoint, EndMemory, Hosts, LayerProfile, LinkRates, Ranks};
use ir::measured::CollectiveOperation;
use ir::profile::SizePoint;
use ir::units::Bytes;

use super::Encoder;

/// SHA-256 of the content of measured layers, 64 lower-case hexadecimal digits.
#[must_use]
pub fn layers(profile: &LayerProfile) -> String {
    let LayerProfile {
        name,
        sequence,
        block,
        ends,
        block_weights,
        block_activation,
        block_input,
        split,
        both_ends,
        first_end,
        last_end,
        slow_down,
        links,
    } = profile;
    let mut encoder = Encoder::new("measured layers");
    encoder.text(name);
    encoder.number(*sequence);
    encoder.batches(block);
    encoder.batches(ends);
    encoder.number(block_weights.0);
    encoder.by_degree(block_activation);
    encoder.number(block_input.0);
    encoder.number(*split as u64);
    for EndMemory { states, activation } in [both_ends, first_end, last_end] {
        encoder.by_degree(states);
        encoder.by_degree(activation);
    }
    encoder.real(*slow_down);
    encoder.map(links, Encoder::hosts, Encoder::link_rates);
    encoder.finish()
}

impl Encoder {
    fn batches(&mut self, points: &[BatchPoint]) {
        self.count(points.len());
        for BatchPoint { samples, time } in points {
            self.number(*samples);
            self.real(time.get());
        }
    }

    fn by_degree(&mut self, sizes: &std::collections::BTreeMap<u32, Bytes>) {
        self.map(sizes, |e, degree| e.number(u64::from(*degree)), |e, size| e.number(size.0));
    }

    fn hosts(&mut self, Hosts { n_hosts, per_host }: &Hosts) {
        self.number(u64::from(*n_hosts));
        self.number(u64::from(*per_host));
    }

    fn link_rates(&mut self, LinkRates { all_reduce, next, sized }: &LinkRates) {
        self.map(
            all_reduce,
            |e, (n, place): &(u32, Ranks)| {
                e.number(u64::from(*n));
                e.number(*place as u64);
            },
            |e, rate| e.real(rate.get()),
        );
        self.map(next, |e, n| e.number(u64::from(*n)), |e, rate| e.real(rate.get()));
        self.map(
            sized,
            |e, (kind, n): &(CollectiveOperation, u32)| {
                e.number(*kind as u64);
                e.number(u64::from(*n));
            },
            |e, points| {
                e.count(points.len());
                for SizePoint { bytes, time } in points {
                    e.number(bytes.0);
                    e.real(time.get());
                }
            },
        );
    }
}
