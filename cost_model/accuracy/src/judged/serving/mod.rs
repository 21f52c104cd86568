//! Accuracy of serving: replays at the prices of workers, beside recorded runs and load tests.

pub mod load;
pub mod recorded;
pub mod splitwise;

use cost_model::runs::forms::constants::Constants;
use cost_model::runs::forms::model::Pricing;
use cost_model::runs::forms::system::System;
use cost_model::serving::engine::{Engine, stack};
use cost_model::serving::iteration::WorkerPrices;
use cost_model::serving::memory::{Memory, Settings};
use cost_model::serving::replay::Scheduler;
use cost_model::serving::worker::Shape;
use ir::card::ModelCard;
use ir::tensor::DType;

/// A worker of so many tensor ranks: the price of iterations, and the scheduler; `None` where the model does
/// not fit.
#[must_use]
pub fn worker(
    (model, dtype, tensor): (&ModelCard, DType, u32),
    system: &System,
    settings: &Settings,
) -> Option<(WorkerPrices, Scheduler)> {
    let shape = Shape { tensor, ..Shape::one(model) };
    let stack = stack();
    let constants = Constants::nominal(&stack);
    let base = Pricing { dtype, ..Pricing::unlimited(model, system, &stack, &constants) };
    let price = WorkerPrices::new(&base, &shape, settings.engine.overhead()).ok()?;
    let memory = Memory::of((model, dtype), &shape, settings, system.device.memory?.0);
    let blocks = memory.cache_tokens() / settings.engine.block_tokens();
    let of = match settings.engine {
        Engine::Vllm => Scheduler::vllm,
        Engine::Sglang => Scheduler::sglang,
        Engine::TrtLlm => Scheduler::trtllm,
    };
    (blocks > 0).then(|| (price, of(settings.max_requests, settings.max_tokens, blocks)))
}
