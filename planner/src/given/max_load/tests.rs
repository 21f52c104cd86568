//! Column generation, contraction and certificates against all placements of small instances.

use std::sync::Arc;

use ir::instance::{LoadInstance, LoadNode};
use ir::op::Phase;
use ir::units::{Bytes, Nanos};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::certificate::{Certificate, Reason};
use super::check::{Flaw, check, check_until};
use super::column_generation::{Answer, Known, Question};
use super::control::Control;
use super::evaluate::evaluate;
use super::frame::Frame;
use super::layers::Layers;
use super::model::Model;
use super::order::linear_order;
use super::pairs::part_pairs;
use super::pendant::without_pendants;
use super::pricing::{Grid, Pricer};

fn unlimited() -> Control {
    Control::new(None, None, Arc::default())
}

/// A random instance of at most `most` nodes.
fn sample(rng: &mut SmallRng, most: usize) -> LoadInstance {
    let n = rng.random_range(1..=most);
    let n_colours = rng.random_range(1..=n);
    let mut nodes = Vec::new();
    for id in 0..n {
        let time = if rng.random_bool(0.2) { 0 } else { rng.random_range(1..40) };
        let slower = rng.random_range(0..12);
        nodes.push(LoadNode {
            source_id: id as u64,
            name: String::new(),
            cpu: Nanos(time * slower),
            accelerator: (!rng.random_bool(0.05)).then_some(Nanos(time)),
            transfer: Nanos(rng.random_range(0..12)),
            bytes: Bytes(rng.random_range(0..10)),
            colour: rng.random_bool(0.3).then(|| rng.random_range(0..n_colours) as u32),
            phase: Phase::Forward,
        });
    }
    let mut edges = Vec::new();
    for to in 1..n as u32 {
        for _ in 0..rng.random_range(0..3) {
            edges.push((rng.random_range(to.saturating_sub(4)..to), to));
        }
    }
    edges.sort_unstable();
    edges.dedup();
    LoadInstance {
        name: "sample".to_owned(),
        nodes,
        edges,
        n_colours,
        n_accelerators: rng.random_range(1..4),
        n_cpus: rng.random_range(0..3),
        accelerator_memory: Bytes(if rng.random_bool(0.3) { 25 } else { 1_000 }),
    }
}

/// Least value over all placements, by the definition alone.
fn least_value(instance: &LoadInstance) -> Option<u64> {
    let n_devices = instance.n_devices() as u32;
    let mut device_of = vec![0; instance.nodes.len()];
    let mut least = None;
    loop {
        let value = evaluate(instance, &device_of);
        least = value.into_iter().chain(least).min();
        let Some(node) = device_of.iter().position(|device| device + 1 < n_devices) else {
            return least;
        };
        device_of[node] += 1;
        device_of[..node].fill(0);
    }
}

#[test]
fn pricing_finds_the_dearest_subset() {
    let mut rng = SmallRng::seed_from_u64(1);
    for _ in 0..500 {
        let instance = sample(&mut rng, 10);
        let model = Model::new(&instance).unwrap();
        let n = model.n_classes();
        let limit = f64::from(rng.random_range(1..120));
        let worth: Vec<f64> = (0..n).map(|_| f64::from(rng.random_range(-2..20))).collect();
        let mut best = 0.0_f64;
        for mask in 0..1_u32 << n {
            let inside: Vec<bool> = (0..n).map(|v| mask >> v & 1 == 1).collect();
            if model.load(&inside) <= limit {
                let sum = worth.iter().zip(&inside).filter(|(_, is)| **is).map(|(w, _)| w).sum();
                best = best.max(sum);
            }
        }
        let order = linear_order(&model);
        let layers = Layers::new(&model, &order, limit, &vec![false; n]).unwrap();
        let mut pricer = Pricer::new(layers);
        let priced = pricer.exact(&worth, -1.0, Grid::Relaxing(0.0), &unlimited()).unwrap();
        assert!((priced.best.worth - best).abs() < 1e-6, "{} {best}", priced.best.worth);
        assert!(priced.bound >= best - 1e-6);
        let mut inside = vec![false; n];
        for class in &priced.best.classes {
            inside[*class as usize] = true;
        }
        assert!(model.load(&inside) <= limit && model.load(&inside) == priced.best.load);
        let rough = pricer.exact(&worth, -1.0, Grid::Relaxing(limit / 7.0), &unlimited()).unwrap();
        assert!(rough.bound >= best - 1e-6, "a grid only relaxes");
    }
}

/// The certificate of a limit, if the threshold test refutes it.
fn refutation(instance: &LoadInstance, limit: u64) -> Option<Certificate> {
    let (model, followers) = without_pendants(&Model::new(instance).unwrap());
    let whole = Frame::whole(model);
    let (frame, rounds, reason) = match whole.at(limit as f64, &unlimited()).unwrap() {
        Err(rounds) => (whole, rounds, Reason::NoDevice),
        Ok(frame) => {
            let question = Question::whole(&frame.model, &frame.order, limit as f64);
            match question.answer(&mut Known::default(), &unlimited()) {
                Answer::Infeasible(proof) => {
                    let reason = Reason::prices(&frame.model, &proof);
                    let rounds = frame.rounds.clone();
                    (frame, rounds, reason)
                }
                Answer::Feasible(_) => return None,
                Answer::Unknown => panic!("undecided at {limit}: {instance:?}"),
            }
        }
    };
    let first = frame.model.first_nodes();
    let order = frame.order.iter().map(|class| first[*class as usize]).collect();
    Some(Certificate { limit_ns: limit, followers, rounds, order, reason })
}

#[test]
fn a_refuted_limit_has_no_plan_and_a_verified_certificate() {
    let mut rng = SmallRng::seed_from_u64(2);
    let (mut n_refuted, mut n_open) = (0, 0);
    for round in 0..5_000 {
        let instance = sample(&mut rng, 7);
        let least = least_value(&instance);
        let limit = match least {
            Some(0 | 1) => continue,
            Some(least) => match round % 3 {
                0 => least,
                1 => least - 1,
                _ => rng.random_range(1..=least),
            },
            None => 50,
        };
        let Some(certificate) = refutation(&instance, limit) else {
            n_open += usize::from(least.is_none_or(|least| limit < least));
            continue;
        };
        assert!(least.is_none_or(|least| limit < least), "round {round}: refuted a plan");
        assert_eq!(check(&instance, &certificate), Ok(()), "round {round}: {certificate:?}");
        n_refuted += 1;
        if let Some(least) = least {
            let forged = Certificate { limit_ns: least, ..certificate };
            assert!(check(&instance, &forged).is_err(), "round {round}: a forgery passed");
        }
    }
    // The program relaxes whole subsets to shares, so that some limits stay open.
    assert!(n_refuted > 10 * n_open, "{n_refuted} refuted, {n_open} not");
}

/// However large a certificate is: whoever checks it can be told to stop.
#[test]
fn a_check_that_is_stopped_says_so() {
    let mut rng = SmallRng::seed_from_u64(12);
    let mut n_stopped = 0;
    for _ in 0..200 {
        let instance = sample(&mut rng, 7);
        let Some(least @ 2..) = least_value(&instance) else { continue };
        let Some(certificate) = refutation(&instance, least - 1) else { continue };
        // What takes no look at the clock takes no time.
        match check_until(&instance, &certificate, &|| true) {
            Ok(()) => {}
            Err(flaw) => {
                assert_eq!(flaw, Flaw::Stopped);
                n_stopped += 1;
            }
        }
    }
    assert!(n_stopped > 50, "{n_stopped}");
}

#[test]
fn parting_pairs_anew_never_hurts() {
    let mut rng = SmallRng::seed_from_u64(5);
    let mut n_better = 0;
    for round in 0..400 {
        let instance = sample(&mut rng, 12);
        let model = Model::new(&instance).unwrap();
        let n_devices = instance.n_devices() as u32;
        let start: Vec<u32> =
            (0..model.n_classes()).map(|_| rng.random_range(0..n_devices)).collect();
        let Some(before) = model.value(&start) else { continue };
        let order = linear_order(&model);
        let shift = f64::from(round % 7) / 7.0;
        let device_of = part_pairs(&model, &order, &start, shift, &unlimited());
        let after = model.value(&device_of).unwrap();
        assert!(after <= before, "round {round}: {after} > {before}");
        n_better += usize::from(after < before);
    }
    assert!(n_better > 100, "{n_better}");
}
