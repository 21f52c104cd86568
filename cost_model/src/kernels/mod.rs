//! What a kernel costs on a kind of device, from which constants, and where those come from.

pub mod attention;
pub mod attention_kernel;
mod attention_rate;
pub mod constants;
pub mod donor;
pub mod generation;
pub mod llama_cpp;
pub mod matrix_product;
pub mod moe;
pub mod origin;
pub mod plain_product;
pub mod power;
pub mod precision;
pub mod price;
pub mod rates;
pub mod selection;
pub mod stack;
pub mod step_constants;
pub mod step_products;
pub mod tables;
