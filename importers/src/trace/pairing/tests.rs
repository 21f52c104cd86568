//! Laws of what lands, on passes of made-up layers.

use super::*;

/// Letters are types; a product has its operations, other ops have none.
fn item(op: usize, what: char, flops: u64, time: u64, module: Option<&str>) -> Item<'_> {
    let products = if flops > 0 { vec![(flops, 8)] } else { Vec::new() };
    Item {
        op,
        products,
        what: u32::from(what),
        size: 64,
        weight: 100 + flops,
        parts: Parts { needs: 0, offers: 0, folds: 0 },
        shape: &[],
        time: Took { own: time, idle: time / 2 },
        module,
    }
}

/// A word of types: capitals are products, each of its own operations.
fn pass(word: &str, time: impl Fn(usize) -> u64) -> Vec<Item<'static>> {
    let flops = |what: char| if what.is_ascii_uppercase() { 1_000 * u64::from(what) } else { 0 };
    let letters = word.chars().enumerate();
    letters.map(|(at, what)| item(at, what, flops(what), time(at), None)).collect()
}

fn ran(times: &[Option<Took>]) -> Vec<Option<u64>> {
    times.iter().map(|time| time.map(|time| time.own)).collect()
}

/// Landed times, and the law that they are what went op by op and by segments.
fn landed(trace: &[Item<'_>], graph: &[Item<'_>], ends_in_loss: bool) -> Landed {
    let landed = Pair::of(trace.iter().collect(), graph.iter().collect()).land(ends_in_loss);
    let sum: u64 = landed.times.iter().flatten().map(|time| time.own).sum();
    let idle: u64 = landed.times.iter().flatten().map(|time| time.idle).sum();
    assert!(idle <= trace.iter().map(|item| item.time.idle).sum());
    assert_eq!(sum, landed.by_op + landed.by_segment);
    let total: u64 = trace.iter().map(|item| item.time.own).sum();
    assert!(sum + landed.loss.own <= total);
    landed
}

#[test]
fn a_pass_lands_on_itself_op_by_op() {
    let word = "eLaAbMcLaAbMcZ".repeat(3);
    let trace = pass(&word, |at| at as u64 + 1);
    let result = landed(&trace, &trace, false);
    let times: Vec<Option<u64>> = trace.iter().map(|item| Some(item.time.own)).collect();
    assert_eq!((ran(&result.times), result.by_segment, result.lacking), (times, 0, 0));
}

#[test]
fn what_one_side_runs_in_more_ops_lands_in_its_segment() {
    // Bits tell whose time is where. `xyz` is one op of the graph; `c` is a copy of the trace alone.
    let (trace, graph) = (pass("LxyzMcN", |at| 1 << at), pass("LfMN", |_| 0));
    let result = landed(&trace, &graph, false);
    // The copy lands on what comes after it.
    let wanted = [0b1, 0b1110, 0b1_0000, 0b110_0000].map(Some);
    assert_eq!((ran(&result.times).as_slice(), result.lacking), (&wanted[..], 0));
    assert_eq!((result.by_op, result.by_segment), (0b101_0001, 0b10_1110));
    // Two ops of the graph share in proportion to their sizes, which are equal, and ops of which the
    // run knows nothing take no time.
    let (trace, graph) = (pass("LxyM", |_| 5), pass("LfgMhN", |_| 0));
    let result = landed(&trace, &graph, false);
    assert_eq!(ran(&result.times), [Some(5), Some(5), Some(5), Some(5), None, None]);
    let result = landed(&pass("LMN", |_| 5), &pass("LfMN", |_| 0), false);
    assert_eq!(ran(&result.times), [Some(5), Some(0), Some(5), Some(5)]);
}

#[test]
fn one_op_may_do_the_products_of_several() {
    let core = |parts: &[u64]| -> Item<'static> {
        let products = parts.iter().map(|flops| (*flops, 8)).collect();
        Item { products, ..item(0, 'S', 1, 16, None) }
    };
    let [scores, values] = [core(&[40]), core(&[50])];
    let (soft, whole) = (item(0, 's', 0, 4, None), core(&[40, 50]));
    let apart = [scores, soft, values];
    let result = landed(&apart, std::slice::from_ref(&whole), false);
    assert_eq!((ran(&result.times), result.by_op, result.by_segment), (vec![Some(36)], 32, 4));
    let result = landed(&[whole], &apart, false);
    assert_eq!(
        (ran(&result.times).iter().flatten().sum::<u64>(), result.by_segment, result.lacking),
        (16, 16, 0)
    );
}

#[test]
fn products_that_do_not_add_up_keep_their_segment_empty() {
    // A layer more in the trace, then in the graph.
    let layer = "aLbMc";
    let result = landed(&pass(&layer.repeat(3), |_| 1), &pass(&layer.repeat(2), |_| 0), false);
    assert!((10..=11).contains(&(result.by_op + result.by_segment)), "{}", result.by_op);
    let result = landed(&pass(&layer.repeat(2), |_| 1), &pass(&layer.repeat(3), |_| 0), false);
    assert_eq!((result.by_op + result.by_segment, result.lacking), (10, 2));
    // Another batch: nothing is equal but what has no size.
    let mut other = pass(&layer.repeat(2), |_| 1);
    for item in &mut other {
        item.products.iter_mut().for_each(|(flops, _)| *flops *= 2);
        item.size *= 2;
    }
    let result = landed(&other, &pass(&layer.repeat(2), |_| 0), false);
    assert_eq!((result.by_op, result.by_segment, result.lacking), (0, 0, 4));
    // One of two products of a segment has another size: the segment keeps nothing.
    let result = landed(&pass("LxMyN", |_| 1), &pass("LxOyN", |_| 0), false);
    assert_eq!((result.by_op, result.by_segment, result.lacking), (4, 0, 1));
}

#[test]
fn equal_layers_in_another_order_change_no_total() {
    let layer = "aLxyMb";
    let graph = pass(&"aLfMb".repeat(4), |_| 0);
    let totals = |order: [u64; 4]| {
        let times = |at: usize| 1 + order[at / layer.len()] * 100 + (at % layer.len()) as u64;
        let result = landed(&pass(&layer.repeat(4), times), &graph, false);
        (result.by_op, result.by_segment, result.lacking)
    };
    let first = totals([0, 1, 2, 3]);
    for order in [[3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1]] {
        assert_eq!(totals(order), first);
    }
}

#[test]
fn branches_in_another_order_find_each_other() {
    let graph = pass("eAaBbCcDd", |_| 0);
    let result = landed(&pass("eCcDdAaBb", |_| 1), &graph, false);
    // What comes before both branches has changed its neighbour.
    assert_eq!((result.by_op, result.by_segment, result.lacking), (8, 1, 0));
}

#[test]
fn modules_tell_equal_ops_apart() {
    let of = |order: [(&'static str, u64); 2]| -> Vec<Item<'static>> {
        order.map(|(module, time)| item(0, 'L', 1_000, time, Some(module))).into()
    };
    let graph = of([("net.left.fc", 0), ("net.right.fc", 0)]);
    let result = landed(&of([("right.fc", 3), ("left.fc", 5)]), &graph, false);
    assert_eq!((ran(&result.times).as_slice(), result.by_op), (&[Some(5), Some(3)][..], 8));
    // Paths that the other side does not have say nothing.
    let result = landed(&of([("b", 3), ("a", 5)]), &graph, false);
    assert_eq!(ran(&result.times), [Some(3), Some(5)]);
    let result = landed(&of([("Net_0.Linear_1", 3), ("Net_0.Linear_0", 5)]), &graph, false);
    assert_eq!(ran(&result.times), [Some(3), Some(5)]);
}

#[test]
fn a_loss_after_the_last_match_is_apart() {
    let (trace, graph) = (pass("aLbMllx", |_| 1), pass("aLbM", |_| 0));
    let result = landed(&trace, &graph, true);
    assert_eq!((result.by_op, result.by_segment, result.loss.own), (4, 0, 3));
    let result = landed(&trace, &graph, false);
    assert_eq!((result.by_op, result.by_segment, result.loss.own), (4, 3, 0));
}

#[test]
fn where_nothing_multiplies_half_has_to_be_equal() {
    let result = landed(&pass("abc", |_| 1), &pass("abx", |_| 0), false);
    assert_eq!((result.by_op, result.by_segment), (2, 1));
    let result = landed(&pass("abc", |_| 1), &pass("axy", |_| 0), false);
    assert_eq!((result.by_op, result.by_segment), (1, 0));
}

#[test]
fn operators_that_the_graph_has_none_like_keep_their_time() {
    let odd = |at, what| Item {
        parts: Parts { needs: 2, offers: 0, folds: 0 },
        ..item(at, what, 0, 8, None)
    };
    let offering =
        |offers| Item { parts: Parts { needs: 0, offers, folds: 0 }, ..item(1, 'r', 0, 0, None) };
    let product = |at| item(at, 'L', 1_000, 4, None);
    let trace = [product(0), odd(1, 's'), product(2)];
    // What offers what the op needs is its counterpart, and so is the same operator.
    for graph in [[product(0), offering(2), product(2)], [product(0), odd(1, 's'), product(2)]] {
        let result = landed(&trace, &graph, false);
        assert_eq!((ran(&result.times)[1], result.others.len()), (Some(8), 0));
    }
    let result = landed(&trace, &[product(0), offering(1), product(2)], false);
    assert_eq!((ran(&result.times), result.others[0].time), (vec![Some(4), None, Some(4)], 8));
    // A product more than the graph has.
    let result = landed(&[product(0), product(1), product(2)], &[product(0), product(2)], false);
    assert_eq!((result.homeless, result.lacking), (1, 0));
}

#[test]
fn extents_are_others_where_no_neighbours_were_multiplied() {
    let of = |a: &[u64], b: &[u64]| has_other_extents(a, b);
    assert_eq!(of(&[4, 64, 64], &[64, 4, 64]), Some(true));
    assert_eq!(of(&[4, 64, 64], &[256, 64]), Some(false));
    assert_eq!(of(&[1, 4, 64, 64], &[4, 64, 1, 64]), Some(false));
    assert_eq!(of(&[4, 64], &[64, 4]), Some(true));
    assert_eq!((of(&[256], &[4, 64]), of(&[4, 64], &[4, 32])), (None, None));
}
