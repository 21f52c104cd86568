//! Random graphs of few ops: no choice of strategies is better, and no bound is above the best.

use super::goldens::{lettered, mesh};
use super::graph::Graph;
use super::program::{enumerated, plan};
use crate::run::{Control, Limits};

/// A generator of small numbers (linear congruences).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }
}

/// A chain with branches over tokens x hidden, of at most `n` ops beside sources.
fn random(dice: &mut Dice, n: usize) -> Graph {
    let tokens = [[8, 64], [1, 512], [4, 6], [3, 8]][dice.below(4)];
    let mut of = lettered(tokens);
    let mut hidden = vec![of.source("x", "bsh")];
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
    if dice.below(2) == 0 {
        of.pin(hidden[hidden.len() - 1], hidden[0]);
    }
    of.graph
}

/// Choices of strategies that are enumerated at most.
const MOST: usize = 300_000;

#[test]
fn no_choice_is_better_and_no_bound_is_above() {
    let mut dice = Dice(1);
    let control = Control::new(&Limits::default());
    let (mut n, mut n_integral) = (0, 0);
    let cases = benchmark_data::cases(500) as usize;
    while n < cases {
        let n_ops = 2 + dice.below(7);
        let graph = random(&mut dice, n_ops);
        let axis = |dice: &mut Dice| ([2, 4, 8][dice.below(3)], 5e-6, [25e9, 300e9][dice.below(2)]);
        let axes = match dice.below(3) {
            0 => vec![axis(&mut dice), axis(&mut dice)],
            _ => vec![axis(&mut dice)],
        };
        let (mesh, prices) = mesh(&axes);
        let Some(best) = enumerated(&graph, &mesh, &prices, MOST) else { continue };
        n += 1;
        let found = plan(&graph, &mesh, &prices, &control);
        let (Ok(found), Some(best)) = (&found, best) else {
            assert!(found.is_err() && best.is_none(), "{n}: {found:?} {best:?}");
            continue;
        };
        let near = 1e-9 + 1e-7 * best;
        assert!((found.seconds - best).abs() < near, "{n}: {} {best}", found.seconds);
        assert!(found.bound_s <= best + near, "{n}: {} {best}", found.bound_s);
        n_integral += usize::from(found.bound_s > best - near);
    }
    println!("{n_integral} of {n} bounds meet the optimum");
    assert!(10 * n_integral > 9 * n);
}
