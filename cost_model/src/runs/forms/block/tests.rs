use ir::card::{ExpertCard, SequenceParallel};
use ir::stack::Stack;

use super::super::run::tests::{Case, gpt};
use super::super::system::tests::a100;
use super::*;
use crate::kernels::stack::{compiled, megatron_deepspeed_2021};

/// Launches cost nothing, the rest is that of 2021.
fn recorded() -> Stack {
    Stack { launch: Launch::CudaGraphs, ..megatron_deepspeed_2021() }
}

fn time(case: &Case, stack: &Stack) -> BlockTime {
    block(case.sharded(), &a100(), stack, &Constants::nominal(stack))
}

fn parameters(case: &Case) -> f64 {
    let (dense, experts) = shared_out(case.sharded());
    dense + experts
}

#[test]
fn parameters_are_twelve_squares_of_the_hidden_size() {
    let mut run = gpt();
    assert_eq!(parameters(&run), 12.0 * 1024.0 * 1024.0);
    run.parallelism.tensor = 4;
    assert_eq!(parameters(&run), 3.0 * 1024.0 * 1024.0);
    run.card.form = FeedForward::Gated;
    run.parallelism.tensor = 1;
    assert_eq!(parameters(&run), 16.0 * 1024.0 * 1024.0);
    run.card.experts =
        Some(ExpertCard { n_experts: 8, per_token: 2, feed_forward: 1024, n_shared: 0 });
    assert_eq!(parameters(&run), (4.0 + 8.0 * 3.0) * 1024.0 * 1024.0);
}

#[test]
fn a_small_block_takes_its_launches() {
    let run = gpt();
    let small = time(&run, &megatron_deepspeed_2021());
    let seconds = [small.forward, small.backward].map(|pass| pass.seconds);
    assert_eq!(seconds, [0.8e-3, 1.6e-3]);
    assert!(time(&run, &recorded()).forward.seconds < 0.8e-3);
}

#[test]
fn work_grows_with_tokens_and_shrinks_with_ranks() {
    let mut run = gpt();
    run.parallelism.micro_batch = 8;
    let stack = recorded();
    let one = time(&run, &stack);
    run.parallelism.micro_batch = 16;
    let two = time(&run, &stack);
    let ratio = two.forward.seconds / one.forward.seconds;
    assert!((1.7..2.05).contains(&ratio), "{ratio}");
    assert!((1.5..2.6).contains(&(two.backward.seconds / two.forward.seconds)));
    run.parallelism.tensor = 4;
    let split = time(&run, &stack);
    assert!(split.forward.collectives > 0.0 && two.forward.collectives == 0.0);
    let work = split.forward.seconds - split.forward.collectives;
    assert!(work < two.forward.seconds / 2.0 && work > two.forward.seconds / 4.0);
    run.parallelism.sequence = SequenceParallel::On;
    assert!(time(&run, &stack).forward.seconds < split.forward.seconds);
}

#[test]
fn stacks_fuse_and_the_core_is_a_part() {
    let mut run = gpt();
    run.parallelism.micro_batch = 16;
    let (separate, fused) = (time(&run, &recorded()), time(&run, &compiled()));
    assert!(fused.forward.seconds < separate.forward.seconds);
    assert!(separate.core_s > 0.0 && separate.core_s < separate.forward.seconds / 2.0);
}

#[test]
fn unaligned_heads_are_slower_and_ways_to_experts_cost() {
    let mut run = gpt();
    run.parallelism.micro_batch = 16;
    let aligned = time(&run, &recorded());
    run.card.hidden = 1020;
    run.card.n_heads = 17;
    assert!(time(&run, &recorded()).forward.seconds > 1.1 * aligned.forward.seconds);
    let mut experts = gpt();
    experts.card.experts =
        Some(ExpertCard { n_experts: 8, per_token: 2, feed_forward: 4096, n_shared: 0 });
    assert_eq!(time(&experts, &recorded()).forward.collectives, 0.0);
    experts.parallelism.expert = 8;
    assert!(time(&experts, &recorded()).forward.collectives > 0.0);
}
