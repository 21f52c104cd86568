//! What Hugging Face's Trainer is told of random plans, and torchtitan of few micro-batches.

use ir::card::{Recompute, ZeroStage};
use planner::training::schedule::one_f_one_b;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::{N_PLANS, random};

/// What of a plan Accelerate and the Trainer read; what neither does is refused.
#[test]
fn huggingface_is_told_where_it_reads() {
    let mut rng = SmallRng::seed_from_u64(7);
    let mut n = [0; 3];
    for _ in 0..4 * N_PLANS {
        let case = random(&mut rng);
        let degrees = &case.plan.parallelism;
        let (data, tensor, context) = (degrees.data, degrees.tensor, degrees.context);
        let Ok(text) = case.export("huggingface") else { continue };
        assert!(degrees.pipeline == 1 && degrees.expert == 1 && !case.offloads);
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        let (launched, arguments) = (&file["accelerate"], &file["training_arguments"]);
        assert_eq!(launched["num_processes"], data * tensor * context);
        assert_eq!(arguments["per_device_train_batch_size"], degrees.micro_batch);
        assert_eq!(arguments["gradient_accumulation_steps"], degrees.n_micro_batches);
        let again = case.plan.partition.stages[0].recompute == Recompute::Full;
        let fsdp = &launched["fsdp_config"];
        n[0] += u32::from(!fsdp.is_null());
        assert_eq!(launched["distributed_type"] == "FSDP", !fsdp.is_null());
        let switches =
            [&fsdp["fsdp_activation_checkpointing"], &arguments["gradient_checkpointing"]];
        assert_eq!(switches.iter().filter(|switch| ***switch == true).count(), usize::from(again));
        if !fsdp.is_null() {
            let gathers_again = degrees.zero == ZeroStage::Parameters;
            assert_eq!(fsdp["fsdp_reshard_after_forward"], gathers_again);
            assert!(degrees.zero >= ZeroStage::Gradients && tensor == 1);
            assert_eq!(launched["parallelism_config"]["parallelism_config_cp_size"], context);
        }
        let split = &file["distributed_config"];
        assert_eq!(split.is_null(), tensor == 1);
        if tensor > 1 {
            n[1] += 1;
            assert_eq!((&split["tp_size"], &split["fsdp_size"]), (&json!(tensor), &json!(data)));
            assert!(data == 1 || degrees.zero == ZeroStage::Parameters);
        } else if degrees.zero == ZeroStage::None {
            n[2] += 1;
            assert_eq!(context, 1);
        }
    }
    assert!(n.iter().all(|n| *n > 5), "{n:?}");
}

/// Torch's 1F1B refuses fewer micro-batches than stages, which run as a list of cells.
#[test]
fn few_micro_batches_have_no_name_in_torch() {
    let mut rng = SmallRng::seed_from_u64(8);
    let mut n = [0; 2];
    for _ in 0..N_PLANS {
        let mut case = random(&mut rng);
        let pipeline = case.plan.parallelism.pipeline;
        if case.schedule != "1f1b" || pipeline == 1 {
            continue;
        }
        let few = rng.random_range(1..=2 * pipeline);
        case.plan.parallelism.n_micro_batches = u64::from(few);
        case.plan.schedule.grid = Some(one_f_one_b::grid(pipeline, few).unwrap());
        let Ok(text) = case.export("torchtitan") else { continue };
        n[usize::from(few < pipeline)] += 1;
        assert_eq!(text.contains("pipeline_parallel_schedule 1F1B"), few >= pipeline, "{text}");
    }
    assert!(n.iter().all(|n| *n > 5), "{n:?}");
}
