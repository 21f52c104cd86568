//! What a kernel costs on a kind of device, from which constants, and where those come from.

pub mod attention;
pub mod constants;
pub mod donor;
pub mod matrix_product;
pub mod moe;
pub mod origin;
pub mod plain_product;
pub mod price;
pub mod stack;
