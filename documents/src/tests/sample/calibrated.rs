//! A profile with every part.

use std::collections::{BTreeMap, BTreeSet};

use ir::form::Form;
use ir::measured::{CollectiveOperation, GpuFacts};
use ir::profile::{
    CollectiveConstants, CollectiveKey, FormConstants, FormPoint, GroupKey, LinkConstants,
    MeasuredRates, ModelKind, OverlapConstants, Profile, Provenance, Quality, SizeLaw, SizePoint,
    StackConstants, StackCorrection, StreamConstants,
};
use ir::tensor::DType;
use ir::units::{Bytes, BytesPerSecond, FlopsPerSecond, Seconds};

use super::constants;

/// A profile in which nothing is absent.
pub(crate) fn profile() -> Profile {
    let kind = || "box".to_owned();
    let provenance = Provenance::Measured { source: "host".into(), date: "2026-01-02".into() };
    let (s, rate) = (|x| Seconds::new(x).unwrap(), |x| BytesPerSecond::new(x).unwrap());
    let table = vec![SizePoint { bytes: Bytes(8), time: s(1e-6) }];
    let stream = StreamConstants {
        launch: s(1e-6),
        bandwidth: rate(3e10),
        table: table.clone(),
        provenance: provenance.clone(),
    };
    let link = LinkConstants {
        latency: s(2e-5),
        bandwidth: rate(1e9),
        table: table.clone(),
        provenance: provenance.clone(),
    };
    let rates = MeasuredRates {
        peak: BTreeMap::from([(DType::F32, FlopsPerSecond::new(2e11).unwrap())]),
        memory_bandwidth: BytesPerSecond::new(4e10),
    };
    Profile {
        name: "p".into(),
        kinds: BTreeMap::from([(kind(), constants(2e-6))]),
        by_dtype: BTreeMap::from([(kind(), BTreeMap::from([(DType::Bf16, constants(3e-6))]))]),
        rates: BTreeMap::from([(kind(), rates)]),
        streams: BTreeMap::from([(kind(), BTreeMap::from([("softmax".to_owned(), stream)]))]),
        links: BTreeMap::from([("loopback".to_owned(), link)]),
        quality: BTreeMap::from([("link loopback".to_owned(), quality())]),
        notes: BTreeMap::from([("cores".to_owned(), "2".to_owned())]),
        ..calibrated(kind(), &provenance, table)
    }
}

fn quality() -> Quality {
    Quality {
        n_samples: 9,
        r_squared: 0.5,
        median_error: 0.1,
        worst_error: 0.3,
        dispersion: 0.01,
        unidentified: vec!["latency_s".into()],
    }
}

/// The parts of a profile that only calibration fits.
fn calibrated(kind: String, provenance: &Provenance, table: Vec<SizePoint>) -> Profile {
    let key = |ranks| CollectiveKey {
        operation: CollectiveOperation::AllReduce,
        ranks,
        ranks_per_node: 8,
        library: "nccl/2".into(),
    };
    let s = |x| Seconds::new(x).unwrap();
    let curve = SizeLaw::Curve {
        start_up: s(1e-5),
        bandwidth: BytesPerSecond::new(1e11).unwrap(),
        per_root_s: 1e-9,
    };
    let law = |law| CollectiveConstants { law, provenance: provenance.clone() };
    let collectives = BTreeMap::from([(key(8), law(curve)), (key(16), law(SizeLaw::Table(table)))]);
    let form = FormConstants {
        values: vec![1e-6; 10],
        points: vec![FormPoint { extents: vec![8.0; 8], time: s(2e-6) }],
        provenance: provenance.clone(),
    };
    let facts = GpuFacts {
        memory_bandwidth: 1e12,
        peak: 1e14,
        n_multiprocessors: 108,
        last_level_cache: Some(4e7),
        clock: Some(1.4e9),
    };
    let mut slowdowns = [[0.0; 4]; 4];
    slowdowns[0][1] = 0.3;
    let overlap = OverlapConstants { slowdowns, provenance: provenance.clone() };
    let group = GroupKey { gpus: 8, ranks_per_node: 8, nodes: 1 };
    let correction =
        StackCorrection { hidden: 1024, tensor: 2, micro_batch: 4, factor: 1.1, n_rows: 3 };
    let stack = StackConstants {
        models: BTreeSet::from([ModelKind::Dense]),
        constants: BTreeMap::from([("launch_floor_s".to_owned(), 1e-3)]),
        corrections: vec![correction],
        provenance: provenance.clone(),
    };
    Profile {
        facts: BTreeMap::from([(kind.clone(), facts)]),
        forms: BTreeMap::from([(kind.clone(), BTreeMap::from([(Form::FusedExperts, form)]))]),
        collectives: BTreeMap::from([(kind.clone(), collectives)]),
        overlaps: BTreeMap::from([(kind, BTreeMap::from([(group, overlap)]))]),
        stacks: BTreeMap::from([("eager".to_owned(), stack)]),
        ..Profile::default()
    }
}
