//! A way to run kernels on this machine.

/// A backend and whether it exists here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// `host` or `cuda`.
    pub name: &'static str,
    /// Whether it exists here.
    pub state: State,
}

/// Whether a backend exists on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It exists.
    Present {
        /// What it offers, one line per device, as the driver names it.
        devices: Vec<String>,
    },
    /// It does not.
    Absent {
        /// Why, as a phrase.
        reason: String,
    },
}
