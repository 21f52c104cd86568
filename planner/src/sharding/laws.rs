//! Random graphs of few ops: no choice of strategies is better, and bounds meet the best.

use super::answer::Refused;
use super::goldens::{lettered, mesh};
use super::graph::{Budget, Graph};
use super::judge;
use super::lettered::Lettered;
use super::program::{Known, again, plan};
use crate::run::{Control, Limits};

/// A generator of small numbers (linear congruences).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }

    fn sizes(&mut self) -> Lettered {
        lettered([[8, 64], [1, 512], [4, 6], [3, 8]][self.below(4)])
    }

    fn axes(&mut self, n: usize) -> Vec<(u64, f64, f64)> {
        let axis = |_| ([2, 4, 8][self.below(3)], 5e-6, [25e9, 300e9][self.below(2)]);
        (0..n).map(axis).collect()
    }
}

/// Adds ops to a chain with branches over tokens x hidden, until there are at most `n` beside sources.
fn grow(dice: &mut Dice, of: &mut Lettered, hidden: &mut Vec<usize>, n: usize) {
    while of.graph.ops.len() < n {
        let one = hidden[dice.below(hidden.len())];
        let other = hidden[dice.below(hidden.len())];
        match dice.below(5) {
            0 => hidden.push(of.each("norm", &[one], ("bs", false))),
            1 => hidden.push(of.each("add", &[one, other], ("bsh", true))),
            2 => hidden.push(of.each("gelu", &[one], ("bsh", false))),
            3 if of.graph.ops.len() + 1 < n => {
                let weight = of.source("W", "hf");
                let inner = of.einsum("up", [one, weight], "bsf");
                if of.graph.ops.len() < n && dice.below(2) == 0 {
                    hidden.push(of.einsum("down", [inner, weight], "bsh"));
                }
            }
            _ if of.graph.ops.len() + 1 < n => {
                let weight = of.source("W", "hf");
                let inner = of.einsum("up", [one, weight], "bsf");
                if of.graph.ops.len() < n {
                    let dw = of.einsum("dW", [other, inner], "hf");
                    of.pin(dw, weight);
                }
            }
            _ => {}
        }
    }
}

fn random(dice: &mut Dice, n: usize) -> Graph {
    let mut of = dice.sizes();
    let mut hidden = vec![of.source("x", "bsh")];
    grow(dice, &mut of, &mut hidden, n);
    if dice.below(2) == 0 {
        of.pin(hidden[hidden.len() - 1], hidden[0]);
    }
    of.graph
}

/// One or two layers that are copies, of some ops each, between others.
fn layered(dice: &mut Dice, n: usize) -> Graph {
    let mut of = dice.sizes();
    let mut hidden = vec![of.source("x", "bsh")];
    for _ in 0..1 + dice.below(2) {
        let most = of.graph.ops.len() + dice.below(3);
        grow(dice, &mut of, &mut hidden, most);
        let enters = hidden[hidden.len() - 1];
        let times = [1, 2, 3, 32][dice.below(4)];
        let read = of.repeated("layers", enters, times);
        let most = of.graph.ops.len() + 1 + dice.below(n);
        let mut inner = vec![read];
        grow(dice, &mut of, &mut inner, most);
        let leaves = of.each("add", &[read, inner[inner.len() - 1]], ("bsh", true));
        hidden = vec![of.ended("layers", leaves)];
    }
    let most = of.graph.ops.len() + dice.below(3);
    grow(dice, &mut of, &mut hidden, most);
    of.graph
}

/// A limit of parameters and inputs at rest, a part of all of them.
fn limited(dice: &mut Dice, graph: &mut Graph) {
    let sources = graph.ops.iter().filter(|op| op.inputs.is_empty());
    let sources: Vec<(usize, u32)> = sources.map(|op| (op.outputs[0], op.times)).collect();
    let elements = |(tensor, times): &(usize, u32)| {
        f64::from(*times) * graph.tensors[*tensor].dims.iter().product::<u64>() as f64
    };
    let all: f64 = sources.iter().map(elements).sum();
    let most_bytes = 16.0 * all * [0.05, 0.2, 0.5, 0.9][dice.below(4)];
    let tensors = sources.into_iter().map(|(tensor, _)| (tensor, 16.0)).collect();
    let (name, operands) = ("at rest".to_owned(), Vec::new());
    graph.budgets.push(Budget { name, most_bytes, tensors, operands });
}

/// Choices of strategies that are enumerated at most.
const MOST: usize = 300_000;

#[test]
fn no_choice_is_better_and_bounds_meet_the_best() {
    let mut dice = Dice(1);
    let control = Control::new(&Limits::default());
    let mut n = 0;
    let cases = benchmark_data::cases(500) as usize;
    while n < cases {
        let n_ops = 2 + dice.below(7);
        let mut graph = random(&mut dice, n_ops);
        let n_axes = [1, 1, 1, 2, 2, 3][dice.below(6)];
        let (mut mesh, prices) = mesh(&dice.axes(n_axes));
        mesh.is_ordered = dice.below(2) == 0;
        if dice.below(4) == 0 {
            limited(&mut dice, &mut graph);
        }
        let Some(best) = judge::enumerated(&graph, &mesh, &prices, MOST) else { continue };
        n += 1;
        let found = plan(&graph, &mesh, &prices, &control);
        let (Ok(found), Some(best)) = (&found, best) else {
            assert!(found.is_err() && best.is_none(), "{n}: {found:?} {best:?}");
            continue;
        };
        let near = 1e-9 + 1e-7 * best;
        assert!((found.seconds - best).abs() < near, "{n}: {} {best}", found.seconds);
        assert!((found.bound_s - best).abs() < near, "{n}: {} {best}", found.bound_s);
        // A stated bound is derived, and none above the best.
        for (stated_s, is_true) in [(found.bound_s, true), (best * 1.01 + near, false)] {
            let mut known = Known::until(stated_s);
            let _ = again(&graph, (&mesh, &prices), (&control, &|_| true), &mut known);
            let (reached_s, _) = known.reached();
            assert_eq!(reached_s >= stated_s * (1.0 - 1e-9), is_true, "{n}: {reached_s} {best}");
        }
    }
}

/// As fast as the optimum of the program of all strategies and flows.
#[test]
fn the_whole_program_has_the_same_optimum() {
    let mut dice = Dice(2);
    let control = Control::new(&Limits::default());
    let mut n = 0;
    let cases = benchmark_data::cases(300) as usize;
    while n < cases {
        let n_ops = 1 + dice.below(8);
        let mut graph = layered(&mut dice, n_ops);
        let n_axes = 1 + usize::from(dice.below(4) == 0);
        let (mut mesh, prices) = mesh(&dice.axes(n_axes));
        mesh.is_ordered = dice.below(2) == 0;
        if dice.below(3) == 0 {
            limited(&mut dice, &mut graph);
        }
        n += 1;
        let found = plan(&graph, &mesh, &prices, &control);
        let (found, (best, bound)) = match (found, judge::best(&graph, &mesh, &prices)) {
            (Ok(found), Ok(best)) => (found, best),
            (Err(found), Err(best)) if found == best => {
                assert!(matches!(found, Refused::Infeasible | Refused::NoStrategy(_)), "{n}");
                continue;
            }
            (found, best) => panic!("{n}: {found:?} {best:?}"),
        };
        let near = 1e-9 + 1e-6 * best;
        assert!((found.seconds - best).abs() < near, "{n}: {} {best}", found.seconds);
        assert!((found.bound_s - best).abs() < near, "{n}: {} {best}", found.bound_s);
        assert!(bound <= best + near, "{n}: {bound} {best}");
    }
}
