//! Worked examples by hand, on a profile of round figures.

use std::collections::BTreeMap;

use ir::card::{
    BlockGroup, FeedForward, Head, ModelCard, Recompute, SequenceParallel, TransformerCard,
    ZeroStage,
};
use ir::layers::{BatchPoint, EndMemory, Hosts, LayerProfile, LinkRates, Ranks};
use ir::measured::CollectiveOperation;
use ir::plan::{BlockPolicy, Parallelism};
use ir::profile::SizePoint;
use ir::units::{Bytes, BytesPerSecond, Seconds};

use super::curve::{of_batch, of_size};
use super::priced::Priced;
use super::stage::{Counts, WORKING_ROOM, idle_room};
use super::states::{on_host, share};
use super::{LayerPricing, *};
use crate::runs::oracle::{Place, Seat, StageFigures, stage_costs};

const MIB: u64 = 1 << 20;

fn points(list: &[(u64, f64)]) -> Vec<BatchPoint> {
    let of = |(samples, ms): &(u64, f64)| BatchPoint {
        samples: *samples,
        time: Seconds::new(ms / 1e3).unwrap(),
    };
    list.iter().map(of).collect()
}

fn sizes(list: &[(u64, f64)]) -> Vec<SizePoint> {
    let of = |(mebibytes, ms): &(u64, f64)| SizePoint {
        bytes: Bytes(mebibytes * MIB),
        time: Seconds::new(ms / 1e3).unwrap(),
    };
    list.iter().map(of).collect()
}

fn by(list: [(u32, u64); 3]) -> BTreeMap<u32, Bytes> {
    list.into_iter().map(|(degree, mebibytes)| (degree, Bytes(mebibytes * MIB))).collect()
}

/// Hidden 4096, 1024 tokens: a micro-batch of one sample is 8 MiB in 16 bits. A block of 12 h^2
/// weights is 768 MiB in 32 bits.
fn model() -> ModelCard {
    let card = TransformerCard {
        name: "round".into(),
        n_layers: 4,
        hidden: 4096,
        n_heads: 32,
        n_kv_heads: 8,
        feed_forward: 4 * 4096,
        form: FeedForward::Plain,
        sequence: 1024,
        vocabulary: 32_000,
        experts: None,
        attention: Default::default(),
        head: Head::Separate,
    };
    let card = TransformerCard { n_kv_heads: 32, ..card };
    ModelCard {
        name: "round".into(),
        groups: vec![BlockGroup::of_card(card, 4)],
        n_predictions: 1,
        other_parameters: [0; 2],
        dtype: None,
        stored: None,
        tuning: Default::default(),
    }
}

fn profile() -> LayerProfile {
    let end = |states: u64, activation: u64| EndMemory {
        states: by([(1, states), (2, states / 2), (4, states / 4)]),
        activation: by([(1, activation), (2, activation / 2), (4, activation / 4)]),
    };
    // 201.3 MB of 16-bit weights and 1e9 bytes per second and rank.
    let rate = BytesPerSecond::new(100e9).unwrap();
    let mut links = LinkRates::default();
    for n in [2, 4, 8] {
        links.all_reduce.insert((n, Ranks::Neighbours), rate);
        links.all_reduce.insert((n, Ranks::Apart), BytesPerSecond::new(50e9).unwrap());
        links.next.insert(n, rate);
        let table = sizes(&[(2, 0.1), (4, 0.2), (8, 0.4)]);
        links.sized.insert((CollectiveOperation::AllReduce, n), table);
        let table = sizes(&[(2, 0.05), (4, 0.06)]);
        links.sized.insert((CollectiveOperation::AllToAll, n), table);
    }
    LayerProfile {
        name: "round".into(),
        sequence: 1024,
        block: points(&[(1, 4.0), (2, 7.0), (4, 14.0)]),
        ends: points(&[(1, 2.0), (2, 4.0)]),
        block_weights: Bytes(768 * MIB),
        block_activation: by([(1, 512), (2, 256), (4, 128)]),
        block_input: Bytes(32 * MIB),
        split: SequenceParallel::On,
        both_ends: end(4096, 800),
        first_end: end(2048, 200),
        last_end: end(2048, 600),
        slow_down: 1.25,
        links: [(Hosts { n_hosts: 1, per_host: 8 }, links)].into(),
    }
}

fn pricing<'a>(profile: &'a LayerProfile, model: &'a ModelCard) -> LayerPricing<'a> {
    LayerPricing {
        profile,
        model,
        per_host: 8,
        limit: None,
        host_memory: &[],
        offload: Offload::Nothing,
    }
}

fn close(found: f64, wanted: f64) {
    assert!((found - wanted).abs() <= 1e-9 * wanted.abs().max(1e-12), "{found} is not {wanted}");
}

#[test]
fn times_lie_on_lines_between_and_beyond_what_was_measured() {
    let list = points(&[(1, 4.0), (2, 7.0), (4, 14.0)]);
    for (samples, ms) in [(1.0, 4.0), (1.5, 5.5), (3.0, 10.5), (8.0, 28.0), (0.5, 2.5), (0.0, 1.0)]
    {
        close(of_batch(&list, samples), ms / 1e3);
    }
    // Two samples take more than twice as long as one: less than one takes its share at least.
    close(of_batch(&points(&[(1, 4.0), (2, 9.0)]), 0.5), 2e-3);
    // The line through all three starts at 5/3 ms, later than that through the first two.
    close(of_batch(&points(&[(1, 4.0), (2, 8.0), (3, 9.5)]), 0.5), (5.0 / 3.0 + 4.0) / 2e3);
    // A second point below the first is noise: nothing gets slower towards the origin.
    close(of_batch(&points(&[(1, 4.0), (2, 3.0)]), 0.5), 4e-3);
    close(of_batch(&points(&[(2, 6.0)]), 3.0), 9e-3);
    let list = sizes(&[(2, 0.1), (4, 0.3)]);
    for (mebibytes, ms) in [(1.0, 0.1), (2.0, 0.1), (3.0, 0.2), (4.0, 0.3), (5.0, 0.4)] {
        close(of_size(&list, mebibytes * MIB as f64), ms / 1e3);
    }
}

#[test]
fn states_are_shared_out_as_zero_says() {
    use Offload::{Nothing, Optimizer};
    use ZeroStage::{Gradients, None, Parameters};
    // One half and the padding of its shards.
    let half = 0.503;
    let cases = [
        (None, 2, 8, Nothing, 1.0),
        (Parameters, 1, 8, Nothing, 1.0),
        (ZeroStage::Optimizer, 2, 8, Nothing, 0.25 + 0.75 * half),
        // Weights and the summed gradients are whole.
        (Gradients, 2, 8, Nothing, 0.25 + 0.75 * half),
        (Gradients, 2, 1, Nothing, 0.125 + 0.875 * half),
        (Parameters, 2, 8, Nothing, 0.125 + 0.875 * half),
        (Parameters, 2, 1, Nothing, half),
        (Gradients, 2, 8, Optimizer, 0.25),
        (Parameters, 2, 1, Optimizer, 0.25 * half),
    ];
    for (zero, n, m, offload, wanted) in cases {
        close(share(zero, n, m, offload), wanted);
    }
    // 24 bytes a parameter.
    close(on_host(16e9, 4, Optimizer), 6e9);
    close(on_host(16e9, 4, Nothing), 0.0);
}

fn counts(by_zero: [u32; 4], recomputed: u32, fully_sharded_recomputed: u32) -> Counts {
    Counts { by_zero, recomputed, fully_sharded_recomputed }
}

/// Bytes of a device that keeps so many micro-batches.
fn held(figures: &StageFigures, in_flight: f64) -> f64 {
    figures.persistent()
        + in_flight * figures.stash()
        + figures.temporary
        + figures.recompute
        + idle_room(figures)
}

const MIDDLE: Place = Place { first: false, last: false };

#[test]
fn a_middle_stage_of_replicas_is_priced_by_hand() {
    let (profile, model) = (profile(), model());
    let degrees = Parallelism {
        data: 2,
        pipeline: 4,
        n_micro_batches: 8,
        zero: ZeroStage::Gradients,
        ..Parallelism::default()
    };
    let pricing = pricing(&profile, &model);
    pricing.check().unwrap();
    let priced = Priced::new(&pricing, &degrees).unwrap();
    // 384 MiB of 16-bit weights, 2 (2 - 1) / 2 of them at 100 GB/s.
    let exchange = 384.0 * MIB as f64 / 100e9;
    close(priced.exchange_s, exchange);
    close(priced.message, 8.0 * MIB as f64);
    // Three blocks of ZeRO-2, one of them computed again.
    let figures = priced.figures(&counts([0, 0, 3, 0], 1, 0), MIDDLE);
    close(figures.forward_s, 12e-3);
    close(figures.backward_s, 24e-3);
    close(figures.recompute_s, 4e-3);
    // The exchange of three blocks slows itself and the last backward pass by a quarter.
    close(figures.ending.unwrap().exchange_s, 3.0 * exchange * 1.25);
    close(figures.ending.unwrap().overlapped_s, 2.0 * exchange);
    close(figures.activation, (2.0 * 512.0 + 32.0) * MIB as f64);
    close(figures.temporary + figures.recompute, 480.0 * MIB as f64);
    close(figures.states, 3.0 * 3072.0 * MIB as f64 * (0.25 + 0.75 * 0.503));
    close(held(&figures, 2.0), figures.states + 2.0 * figures.activation + WORKING_ROOM);
    // Two of four gathered before each pass, one alone, one beside it.
    let figures = priced.figures(&counts([0, 0, 2, 2], 2, 1), MIDDLE);
    let gather = exchange / 2.0;
    close(figures.forward_s, gather + 16e-3 + 0.25 * gather);
    close(figures.backward_s, gather + 32e-3 + 0.25 * gather);
    close(figures.ending.unwrap().exchange_s, 3.0 * exchange * 1.25);
    close(figures.temporary + figures.recompute, (480.0 + 384.0) * MIB as f64);
    close(figures.temporary, 384.0 * MIB as f64);
    // Larger than the working room, it counts.
    let large = Parallelism { micro_batch: 4, n_micro_batches: 2, ..degrees };
    let priced = Priced::new(&pricing, &large).unwrap();
    let figures = priced.figures(&counts([0, 0, 4, 0], 4, 0), MIDDLE);
    close(figures.temporary + figures.recompute, 1920.0 * MIB as f64);
    close(
        held(&figures, 1.0),
        figures.states + 512.0 * MIB as f64 + figures.temporary + figures.recompute,
    );
}

/// Of a backward pass that is split, both parts take time, and together as long as the whole; what a
/// cell of its own computes again lies there at once.
#[test]
fn passes_that_are_split_take_their_time() {
    let (profile, model) = (profile(), model());
    let degrees = Parallelism { pipeline: 4, n_micro_batches: 8, ..Parallelism::default() };
    let priced = Priced::new(&pricing(&profile, &model), &degrees).unwrap();
    let figures = priced.figures(&counts([3, 0, 0, 0], 2, 0), MIDDLE);
    let seat = Seat { stage: 1, n_stages: 4, rank: 1, next: 2 };
    let (costs, _) = stage_costs(&priced, &figures, seat, true);
    // Three blocks of 4 ms: a forward pass for either gradient.
    assert_eq!((costs.backward_input.0, costs.backward_weight.0), (12_000_000, 12_000_000));
    assert_eq!(costs.backward.0, 24_000_000);
    // Two blocks of 512 MiB, of which 32 each are kept anyway.
    assert_eq!(costs.recomputed.0, 2 * 480 * MIB);
    assert_eq!(costs.backward_temporary.0, 0);
}

#[test]
fn tensor_and_ulysses_ranks_are_priced_by_hand() {
    let (profile, model) = (profile(), model());
    let pricing = pricing(&profile, &model);
    let degrees = Parallelism {
        data: 2,
        tensor: 2,
        pipeline: 2,
        n_micro_batches: 4,
        sequence: SequenceParallel::On,
        zero: ZeroStage::Gradients,
        ..Parallelism::default()
    };
    let priced = Priced::new(&pricing, &degrees).unwrap();
    // Half a sample: 4 - 1.5 ms. Two all-reduces of 8 MiB.
    close(priced.forward_s, 2.5e-3);
    close(priced.collectives_s, 0.8e-3);
    // Half the weights, between ranks that are no neighbours.
    close(priced.exchange_s, 192.0 * MIB as f64 / 50e9);
    close(priced.message, 4.0 * MIB as f64);
    close(priced.input, 16.0 * MIB as f64);
    let first = priced.ends[1];
    // Half of both ends' time at half a sample; half an all-reduce.
    close(first.forward_s, 0.5e-3);
    close(first.collectives_s, 0.2e-3);
    close(first.states, 1024.0 * MIB as f64 * (0.25 + 0.75 * 0.503));
    close(first.activation, 100.0 * MIB as f64);
    let ulysses = Parallelism { sequence: SequenceParallel::Ulysses, ..degrees.clone() };
    let priced = Priced::new(&pricing, &ulysses).unwrap();
    close(priced.forward_s, 2.5e-3);
    // Four all-to-alls of 4 MiB; whole weights are shared out by 4 ranks, which are neighbours.
    close(priced.collectives_s, 0.24e-3);
    assert_eq!(priced.n_sharing, 4);
    close(priced.exchange_s, 1.5 * 384.0 * MIB as f64 / 100e9);
    close(priced.whole_states, 3072.0 * MIB as f64);
    close(priced.ends[1].collectives_s, 0.0);
    let lacking = [
        Parallelism { tensor: 3, ..degrees.clone() },
        Parallelism { pipeline: 3, ..degrees.clone() },
        Parallelism { data: 4, ..degrees.clone() },
        Parallelism { context: 2, ..degrees },
    ];
    for degrees in lacking {
        assert_eq!(Priced::new(&pricing, &degrees).unwrap_err().code, "profile-lacks");
    }
}

#[test]
fn a_vocabulary_of_its_own_degree_is_priced_by_hand() {
    let (profile, model) = (profile(), model());
    let pricing = pricing(&profile, &model);
    // Both ranks of a stage split the vocabulary of replicas: twice the samples on half of it.
    let apart = Parallelism {
        data: 2,
        pipeline: 2,
        vocabulary: Some(2),
        zero: ZeroStage::Gradients,
        ..Parallelism::default()
    };
    let first = Priced::new(&pricing, &apart).unwrap().ends[1];
    close(first.forward_s, 1e-3);
    close(first.activation, 2.0 * 100.0 * MIB as f64);
    close(first.states, 1024.0 * MIB as f64);
    close(first.exchange_s, 0.0);
    // Half an all-reduce of 16 MiB for the vocabulary, and half for changing hands.
    close(first.collectives_s, 0.8e-3);
    let three = Parallelism { vocabulary: Some(3), ..apart };
    assert_eq!(Priced::new(&pricing, &three).unwrap_err().code, "profile-lacks");
}

#[test]
fn what_hosts_keep_leaves_the_devices_and_takes_time() {
    let (profile, model) = (profile(), model());
    let degrees = Parallelism { data: 2, pipeline: 4, n_micro_batches: 8, ..Default::default() };
    let here = pricing(&profile, &model);
    let moved = LayerPricing { offload: Offload::Optimizer, ..here };
    let counts = Counts::of(std::iter::repeat_n(
        BlockPolicy { recompute: Recompute::Full, zero: ZeroStage::Gradients },
        2,
    ));
    assert_eq!(counts, self::counts([0, 0, 2, 0], 2, 0));
    let stage = |pricing: &LayerPricing<'_>| {
        Priced::new(pricing, &degrees).unwrap().figures(&counts, MIDDLE)
    };
    let (a, b) = (stage(&here), stage(&moved));
    assert_eq!(a.ending.unwrap().optimizer_s, 0.0);
    close(a.states - b.states, 2.0 * 3072.0 * MIB as f64 * 0.75 * 0.503);
    close(b.on_host, 2.0 * 3072.0 * MIB as f64 * 1.5 / 2.0);
    // 2 x 192 x 2^20 parameters, half of them here: 4 bytes over 25 GB/s, 30 over an eighth of
    // 200 GB/s.
    close(b.ending.unwrap().optimizer_s, 192.0 * MIB as f64 * (4.0 / 25e9 + 30.0 * 8.0 / 200e9));
}

#[test]
fn another_model_is_refused() {
    let (profile, model) = (profile(), model());
    let with = |change: &dyn Fn(&mut TransformerCard)| {
        let mut model = model.clone();
        change(&mut model.groups[0].card);
        pricing(&profile, &model).check().map_err(|error| error.code)
    };
    assert_eq!(with(&|card| card.n_layers = 40), Ok(()));
    assert_eq!(with(&|card| card.hidden = 2048), Err("profile-model"));
    assert_eq!(with(&|card| card.sequence = 2048), Err("profile-model"));
}
