//! Rules and bounds by hand.

use ir::card::Skew;

use super::bound::{bound, counts};
use super::verify::{Violation, verify};
use super::{Shape, loads, shares, skewed};

fn shape(host: &[usize], slots: usize, groups: usize) -> Shape {
    Shape { host: host.to_vec(), slots, groups }
}

#[test]
fn loads_are_split_over_copies() {
    let visit_shares = shares(&[6.0, 2.0]).unwrap();
    assert_eq!(loads(&visit_shares, &[vec![0, 0, 1], vec![1]], 2), [0.5, 0.5]);
    for wrong in [&[][..], &[0.0, 0.0], &[1.0, -1.0], &[f64::NAN], &[f64::MAX, f64::MAX]] {
        assert!(shares(wrong).is_none(), "{wrong:?}");
    }
}

#[test]
fn laws_of_visits_keep_to_one_visit_of_a_token() {
    assert_eq!(skewed(Skew::Balanced, 4, 2), [0.25; 4]);
    let zipf = |per_token| skewed(Skew::Zipf { thousandths: 1000 }, 4, per_token);
    // Powers are not the same to the last bit on every processor.
    let (found, by_hand) = (zipf(1), [12.0, 6.0, 4.0, 3.0].map(|weight| weight / 25.0));
    assert!(found.iter().zip(by_hand).all(|(share, by_hand)| (share - by_hand).abs() < 1e-15));
    assert_eq!(found.len(), by_hand.len());
    // Two experts of a token: none has more than half, and what stands out goes to the others.
    let far = skewed(Skew::Zipf { thousandths: 3000 }, 4, 2);
    assert_eq!(far[0], 0.5);
    assert!((far.iter().sum::<f64>() - 1.0).abs() < 1e-12 && far[1] > far[2]);
}

#[test]
fn bounds_are_those_of_their_page() {
    let bound = |visits: &[f64], shape: &Shape| {
        let sum: f64 = visits.iter().sum();
        let found = bound(&shares(visits).unwrap(), shape);
        ((found.load * sum * 1e6).round() / 1e6, found.method)
    };
    assert_eq!(bound(&[1.0; 4], &shape(&[0, 0], 2, 1)), (2.0, "mean"));
    // No further slots: the heaviest one lies beside the lightest.
    assert_eq!(bound(&[5.0, 3.0, 1.0, 1.0], &shape(&[0, 0], 2, 1)), (6.0, "copies"));
    // Three of the four lie on two devices: two of them together.
    assert_eq!(bound(&[3.0, 3.0, 3.0, 0.0], &shape(&[0, 0], 2, 1)), (6.0, "pairs"));
    // Groups of two on two hosts: 5 + 3 on one device.
    assert_eq!(bound(&[5.0, 3.0, 1.0, 1.0], &shape(&[0, 1], 2, 2)), (8.0, "hosts"));
    assert_eq!(counts(&[0.6, 0.3, 0.1], 6), [3, 2, 1]);
}

#[test]
fn each_broken_rule_is_named() {
    let two = shape(&[0, 1], 2, 1);
    let found = |copies: &[Vec<usize>]| verify(copies, 2, &two);
    assert_eq!(found(&[vec![0, 1], vec![0, 1]]), []);
    assert_eq!(found(&[vec![0, 1]]), [Violation::OtherExperts { placed: 1, experts: 2 }]);
    assert_eq!(found(&[vec![0, 0, 1, 1], vec![]]), [Violation::Nowhere { expert: 1 }]);
    let slots = |device, n| Violation::Slots { device, held: n };
    assert_eq!(found(&[vec![0, 0, 0], vec![1]]), [slots(0, 3), slots(1, 1)]);
    let none = Violation::NoDevice { expert: 1, device: 2 };
    assert_eq!(found(&[vec![0, 0, 1, 1], vec![2]]), [none]);
    let grouped = shape(&[0, 1], 2, 2);
    let apart = Violation::TwoHosts { group: 0, hosts: [0, 1] };
    assert_eq!(verify(&[vec![0, 1], vec![0, 1]], 2, &grouped)[0], apart);
    let both = verify(&[vec![0], vec![0]], 2, &grouped);
    assert_eq!(both.last(), Some(&Violation::GroupsOfHost { host: 1, held: 0 }));
}
