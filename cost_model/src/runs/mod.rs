//! Training runs over degrees of parallelism: by forms or on measured layers, and their judge; pipelines
//! that serve.

pub mod counts;
pub mod forms;
pub mod held;
pub mod judge;
pub mod measured;
pub mod memory;
pub mod oracle;
pub mod served;
pub mod serving;
pub mod unlike;
