//! What servers are told of a fleet of workers.
//!
//! `facts` collects what engines are told of the workers of a type, `words` names it in a table of rows for
//! each engine, and `script`, `dynamo` and `llm_d` write the rows as flags, options or values.

mod dynamo;
mod facts;
mod llm_d;
mod routes;
mod script;
mod servers;
mod source;
#[cfg(test)]
mod tests;
mod words;

pub(crate) use dynamo::dynamo;
pub(crate) use llm_d::{LLM_D, llm_d};
pub(crate) use script::{sglang, trtllm, vllm};
pub(crate) use source::DYNAMO;
pub use source::FleetSource;
pub(crate) use words::TRTLLM;
