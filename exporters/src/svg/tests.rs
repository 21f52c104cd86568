//! Laws of the picture.

use super::{clean, export, thousands, ticks};
use crate::tests::sample::{Builder, Case, EVIL, cluster};

fn picture(case: &Case) -> String {
    String::from_utf8(export(&case.source()).unwrap().bytes).unwrap()
}

#[test]
fn evil_names_are_text() {
    let picture = picture(&Case::pair());
    assert!(picture.contains("&lt;/text&gt;&lt;script&gt;"));
    assert!(!picture.contains("<script"));
    assert!(!picture.contains('\u{1}'));
    assert_eq!(clean(EVIL, 8), "</text><\u{2026}");
}

#[test]
fn every_op_and_both_ends_of_every_transfer_have_a_bar() {
    for case in [Case::pair(), Case::chain(9), Case::blocks(&[0, 1, 0])] {
        let picture = picture(&case);
        let n_bars = case.problem.actions.len() + 2 * case.timeline.transfers.len();
        // One title of the whole, one per bar.
        assert_eq!(picture.matches("<title>").count(), n_bars + 1);
        assert!(picture.contains("step time") && picture.contains("lower bound"));
        assert!(picture.contains("gpu0") && picture.contains("gpu1"));
    }
}

#[test]
fn a_large_timeline_stays_small() {
    let mut b = Builder::default();
    b.input("x");
    for i in 0..6000usize {
        b.op(&format!("op{i}"), Some(&format!("h.{}.mlp", i / 60)), &["x"]);
    }
    let case = Case::new(b.graph, cluster(&["gpu0", "gpu1"]), &vec![0; 6000]);
    let picture = picture(&case);
    // 100 blocks on one device: about one bar each, rather than 6,000.
    assert!(picture.matches("<title>").count() <= 202, "{}", picture.matches("<title>").count());
    assert!(picture.contains("ops h.99"));
}

#[test]
fn ticks_are_round_and_few() {
    assert_eq!(ticks(1), (1, 1, "ns"));
    assert_eq!(ticks(11), (2, 1, "ns"));
    assert_eq!(ticks(251_300_000), (50_000_000, 1_000_000, "ms"));
    assert_eq!(ticks(10_000_000_000), (2_000_000_000, 1_000_000_000, "s"));
    for step in [1, 9, 99, 12_345, u64::MAX / 3, u64::MAX] {
        let (interval, ..) = ticks(step);
        assert!(step / interval <= 6 && interval > 0);
    }
    assert_eq!(thousands(1_234_567), "1,234,567");
    assert_eq!(thousands(999), "999");
}

#[test]
fn an_empty_plan_is_a_picture_too() {
    let case = Case::new(Default::default(), cluster(&["gpu0"]), &[]);
    assert!(picture(&case).ends_with("</svg>\n"));
}
