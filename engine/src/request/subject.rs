//! What of a plan is asked about.

/// What is asked about.
#[derive(Clone, Debug)]
pub enum Subject {
    /// The step as a whole.
    Step {
        /// So many tasks of its critical path, the longest; `None` = all.
        longest: Option<u64>,
    },
    /// An op, by name.
    Op(String),
    /// The transfers of a tensor, by its name.
    Transfer(String),
    /// A device, by name.
    Device(String),
}
