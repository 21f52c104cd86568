//! What the program calls itself.

/// Version, commit, and version of HiGHS.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("MESHWRIGHT_BUILD_COMMIT"),
    ", HiGHS ",
    env!("MESHWRIGHT_BUILD_HIGHS"),
    ")"
);
