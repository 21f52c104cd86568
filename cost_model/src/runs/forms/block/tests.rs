use ir::card::{ExpertCard, FeedForward, SequenceParallel};
use ir::stack::{Elementwise, Scaling, Stack};
use ir::tensor::DType;

use super::super::run::tests::{Case, gpt};
use super::super::system::tests::a100;
use super::*;
use crate::kernels::stack::{
    compiled, megatron_core, megatron_deepspeed_2021, torchtitan, transformers_eager,
};

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
    run.card.experts = Some(ExpertCard {
        n_experts: 8,
        per_token: 2,
        feed_forward: 1024,
        n_shared: 0,
        ..Default::default()
    });
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
fn a_small_block_with_experts_takes_their_launches_and_its_own() {
    let mut run = gpt();
    run.card.experts = Some(ExpertCard {
        n_experts: 4,
        per_token: 1,
        feed_forward: 1024,
        n_shared: 0,
        ..Default::default()
    });
    let small = time(&run, &megatron_deepspeed_2021());
    // An all-to-all's launches of four local experts, a third of them forward.
    let forward = 0.8e-3 + 4.0e-3 * (1.72 + 4.0 * 0.015) / 3.0;
    assert!((small.forward.seconds - forward).abs() < 1e-12, "{small:?}");
    assert!((small.backward.seconds - 2.0 * forward).abs() < 1e-12, "{small:?}");
    // Where the work is longer than the launches of the dense part, only those of experts are seen.
    run.parallelism.micro_batch = 256;
    let [long, recorded] = [megatron_deepspeed_2021(), recorded()].map(|stack| time(&run, &stack));
    let launches = 0.66 * 4.0e-3 * (1.72 + 4.0 * 0.015) / 3.0;
    let more = long.forward.seconds - recorded.forward.seconds;
    assert!((more - launches).abs() < 1e-9, "{more} {launches}");
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
    experts.card.experts = Some(ExpertCard {
        n_experts: 8,
        per_token: 2,
        feed_forward: 4096,
        n_shared: 0,
        ..Default::default()
    });
    assert_eq!(time(&experts, &recorded()).forward.collectives, 0.0);
    experts.parallelism.expert = 8;
    assert!(time(&experts, &recorded()).forward.collectives > 0.0);
}

/// A block of Llama 3 8B, 8,192 tokens.
fn llama() -> Case {
    let mut case = gpt();
    let card = &mut case.card;
    (card.hidden, card.n_heads, card.n_kv_heads) = (4096, 32, 8);
    (card.feed_forward, card.form, card.sequence) = (14_336, FeedForward::Gated, 8192);
    case
}

#[test]
fn bytes_and_casts_of_a_gated_block_by_hand() {
    let (case, tokens) = (llama(), 8192.0);
    let extents = Extents::of(case.sharded(), Projections::Joined);
    let all = |elementwise| {
        pointwise::bytes(&extents, case.sharded(), elementwise)
            .map(|(whole, split)| (whole + split) / tokens)
    };
    let (h, f, turned) = (4096.0, 14_336.0, 40.0 * 128.0);
    let fused = [20.0 * h + 4.0 * turned + 6.0 * f, 24.0 * h + 4.0 * turned + 10.0 * f];
    assert_eq!(all(Elementwise::Fused), fused);
    let eager = [56.0 * h + 24.0 * turned + 10.0 * f, 72.0 * h + 24.0 * turned + 16.0 * f];
    assert_eq!(all(Elementwise::Eager), eager);
    // Inputs of four products; gradients of queries, keys and values, of two sums, of gate and first.
    let cast = extents.cast().map(|elements| elements / tokens);
    assert_eq!(cast, [3.0 * h + f, 48.0 * 128.0 + 2.0 * h + 2.0 * f]);
    // Products apart are other kernels of the same work, and read the same tensors.
    let apart = Extents::of(case.sharded(), Projections::Apart);
    assert_eq!((extents.products().len(), apart.products().len()), (4, 7));
    assert_eq!((apart.parameters(), apart.cast()), (extents.parameters(), extents.cast()));
}

#[test]
fn kernels_of_a_plain_block_as_written_by_hand() {
    let mut case = gpt();
    case.parallelism.micro_batch = 64;
    let stack = Stack { launch: Launch::CudaGraphs, ..transformers_eager() };
    let plain = time(&case, &stack);
    case.card.form = FeedForward::Written;
    let written = time(&case, &stack);
    // GELU as a formula: six kernels that read one tensor (4) and two that read two (6), where one
    // read and write (4) is; seven kernels more.
    let constants = Constants::nominal(&stack);
    let rates = a100().rates(&stack, &constants, DType::Bf16);
    let bytes = (6.0 * 4.0 + 2.0 * 6.0 - 4.0) * 64.0 * 512.0 * 4096.0;
    let wanted = rates.pointwise(bytes) + 7.0 * rates.start();
    let added_s = written.forward.seconds - plain.forward.seconds;
    assert!((added_s / wanted - 1.0).abs() < 1e-9, "{added_s} {wanted}");
    // Fused chains and attention take less.
    assert!(time(&case, &compiled()).forward.seconds < plain.forward.seconds);
}

#[test]
fn narrow_operands_are_faster_and_blocks_and_rows_cost() {
    let mut system = a100();
    system.device.name = "h100_sxm5_80gb".to_owned();
    let rate = |rate| ir::units::FlopsPerSecond::new(rate).unwrap();
    system.device.peak.insert(DType::Bf16, rate(989.4e12));
    system.device.peak.insert(DType::F8, rate(1978.9e12));
    system.device.chip = ir::chip::Chip::H100;
    system.products = crate::kernels::step_products::StepProducts::new(
        &ir::profile::Profile::default(),
        &system.device,
    );
    let case = llama();
    let seconds = |dtype, scaling| {
        let stack = Stack { scaling, launch: Launch::CudaGraphs, ..megatron_core() };
        let run = Sharded { dtype, ..case.sharded() };
        block(run, &system, &stack, &Constants::nominal(&stack)).forward.seconds
    };
    let half = seconds(DType::Bf16, Scaling::Tensor);
    let eighth = seconds(DType::F8, Scaling::Tensor);
    // Products take half of the time or little more, casts and the rest what they did.
    assert!((0.5..0.9).contains(&(eighth / half)), "{eighth} {half}");
    assert!(seconds(DType::F8, Scaling::Row) > eighth);
    assert!(seconds(DType::F8, Scaling::Block) > eighth);
}

#[test]
fn stacks_overlap_tensor_collectives_and_put_pieces_in_order() {
    let mut case = llama();
    case.parallelism.tensor = 8;
    let of = |case: &Case, stack: &Stack| time(case, stack).forward.collectives;
    let core = Stack { overlap_tensor: 0.0, ..megatron_core() };
    let plain = of(&case, &core);
    assert_eq!(of(&case, &megatron_core()), plain);
    case.parallelism.sequence = SequenceParallel::On;
    assert_eq!(of(&case, &core), plain);
    let hidden = of(&case, &megatron_core());
    assert!((hidden / plain - 0.35).abs() < 1e-9, "{hidden} {plain}");
    // Two gathers and two scatters, each read and written once.
    let copied = 2.0 * 8.0 * 8192.0 * 4096.0 / (0.8 * 2.039e12);
    let ordered = of(&case, &torchtitan());
    assert!((ordered - plain - copied).abs() < 1e-9 * plain, "{ordered} {plain}");
}

#[test]
fn planned_overlap_hides_what_the_stack_would_but_for_the_micro_batches_that_fill() {
    let mut run = gpt();
    let experts =
        ExpertCard { n_experts: 8, per_token: 2, feed_forward: 4096, ..Default::default() };
    run.card.experts = Some(experts);
    (run.card.sequence, run.parallelism.micro_batch) = (4096, 8);
    (run.parallelism.data, run.parallelism.expert) = (8, 8);
    let of = |run: &Case, stack: &Stack| {
        let time = time(run, stack);
        time.forward.seconds + time.backward.seconds
    };
    let core = megatron_core();
    let mut beside = megatron_core();
    beside.experts.overlaps = true;
    let (plain_s, hidden_s) = (of(&run, &core), of(&run, &beside));
    assert!(hidden_s < plain_s);
    run.parallelism.expert_overlap = true;
    // Pipeline ranks, micro-batches, and those that fill: 2 (p - 1) + 1.
    for (p, m, filling) in [(1, 1, 1.0), (1, 4, 1.0), (2, 8, 3.0), (4, 5, 5.0), (4, 28, 7.0)] {
        (run.parallelism.pipeline, run.parallelism.n_micro_batches) = (p, m);
        let wanted = hidden_s + filling / m as f64 * (plain_s - hidden_s);
        let overlapped_s = of(&run, &core);
        assert!((overlapped_s / wanted - 1.0).abs() < 1e-9, "{p} {m} {overlapped_s} {wanted}");
    }
}

/// Of 4 tensor ranks, 2 or all split an expert that 2 of 8 samples of 4,096 tokens visit: each gathers what
/// 2 or 4 ranks hold of them, 1,024 elements wide, and scatters as much.
#[test]
fn ranks_that_split_an_expert_gather_what_reaches_it() {
    let mut run = gpt();
    let experts =
        ExpertCard { n_experts: 8, per_token: 2, feed_forward: 4096, ..Default::default() };
    run.card.experts = Some(experts);
    (run.card.sequence, run.parallelism.micro_batch) = (4096, 8);
    (run.parallelism.tensor, run.parallelism.sequence) = (4, SequenceParallel::On);
    let (stack, system) = (recorded(), a100());
    let of = |run: &Case| {
        block(run.sharded(), &system, &stack, &Constants::nominal(&stack)).forward.axes[1]
    };
    for (of_expert, ranks) in [(Some(2), 2), (None, 4)] {
        run.parallelism.expert_tensor = of_expert;
        let bytes = 2.0 * 1024.0 * 2.0 * 8.0 * 4096.0 / 4.0 * f64::from(ranks);
        let group = super::super::rank_groups::Spread::inside(u64::from(ranks as u32));
        let wanted = system.all_reduce_s(group, bytes, 1.0);
        assert!((of(&run) / wanted - 1.0).abs() < 1e-9, "{ranks} {} {wanted}", of(&run));
    }
    run.parallelism.expert_tensor = Some(1);
    assert_eq!(of(&run), 0.0);
    // A sixteenth of the experts' weights with 4 x 4 ranks, as with 16 that have whole ones.
    let weights = |expert: u32, of_expert: Option<u32>| {
        let degrees = Parallelism { expert, expert_tensor: of_expert, ..run.parallelism.clone() };
        shared_out(Case { card: run.card.clone(), parallelism: degrees }.sharded()).1
    };
    assert_eq!(weights(2, None), weights(8, Some(1)));
    assert_eq!(weights(8, Some(1)), 2.0 * 1024.0 * 4096.0);
}

#[test]
fn a_layer_in_one_part_is_priced_as_its_block() {
    let mut run = gpt();
    let experts =
        ExpertCard { n_experts: 8, per_token: 2, feed_forward: 4096, ..Default::default() };
    run.card.experts = Some(experts);
    (run.card.sequence, run.parallelism.micro_batch) = (4096, 8);
    // Two hosts of eight tensor ranks.
    (run.parallelism.tensor, run.parallelism.data, run.parallelism.expert) = (8, 2, 2);
    let (stack, system) = (recorded(), a100());
    let constants = Constants::nominal(&stack);
    let layer = parts::layer(run.sharded(), &system, (&stack, &constants), 4);
    let whole = time(&run, &stack);
    let of = |part: &crate::streams::moe::PartTimes| {
        part.experts_s + 2.0 * part.exchange_s + part.gather_s + part.scatter_s
    };
    for (others_s, times, pass) in [
        (layer.others_s[0], &layer.forward, whole.forward),
        (layer.others_s[1], &layer.backward, whole.backward),
    ] {
        assert_eq!(times.len(), 4);
        let seconds = others_s + of(&times[0]);
        assert!((seconds / pass.seconds - 1.0).abs() < 1e-9, "{seconds} {pass:?}");
        // Each part has its own start-up.
        assert!(times[3].experts_s < times[0].experts_s && 4.0 * of(&times[3]) > of(&times[0]));
        assert!(times[0].gather_s > 0.0 && times[0].scatter_s > 0.0);
    }
    // Two bytes of each parameter but the experts', and of the router's eight columns.
    let router = 8.0 * run.card.hidden as f64;
    assert_eq!(layer.gradient_bytes as f64, 2.0 * (shared_out(run.sharded()).0 + router));
    let all = 1_000_000_000;
    let reduce = parts::reduce(run.sharded(), &system, &constants, all);
    let group = super::super::rank_groups::Spread { ranks: 2, hosts: 2, most: 1, least: 1 };
    for bytes in [1_000_000, all] {
        let wanted = system.all_reduce_s(group, bytes as f64, constants.get(Constant::Network));
        assert!((reduce.seconds(bytes) / wanted - 1.0).abs() < 1e-9);
    }
}
