//! What a lane does at a time.

/// What a lane does at a time: work, a tensor on its way, or why it does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Forward,
    /// A whole backward pass.
    Backward,
    BackwardInput,
    BackwardWeight,
    Recompute,
    Optimizer,
    /// On the lane of a link.
    Transfer,
    /// Gradients that replicas exchange.
    Exchange,
    /// An iteration of prompts alone.
    Prefill,
    /// One of prompts and of requests that decode.
    Mixed,
    /// One of requests that decode.
    Decode,
    /// Of a device: it runs nothing while it sends, receives or exchanges.
    Communication,
    /// It has run nothing yet and waits for its first input.
    Fill,
    /// It waits for what another device still computes.
    Input,
    /// What it waits for is ready, and its link is taken.
    Link,
    /// The plan makes it wait, as for memory.
    Wait,
    /// It has done all its work.
    Drain,
    /// The plan gives it no work.
    Unused,
    /// A link that carries nothing.
    Free,
}

impl Kind {
    /// All: position `i` is the kind whose discriminant is `i`.
    pub(super) const ALL: [Self; N_KINDS] = [
        Self::Forward,
        Self::Backward,
        Self::BackwardInput,
        Self::BackwardWeight,
        Self::Recompute,
        Self::Optimizer,
        Self::Transfer,
        Self::Exchange,
        Self::Prefill,
        Self::Mixed,
        Self::Decode,
        Self::Communication,
        Self::Fill,
        Self::Input,
        Self::Link,
        Self::Wait,
        Self::Drain,
        Self::Unused,
        Self::Free,
    ];

    /// Its name in answers.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::BackwardInput => "backward-input",
            Self::BackwardWeight => "backward-weight",
            Self::Recompute => "recompute",
            Self::Optimizer => "optimizer",
            Self::Transfer => "transfer",
            Self::Exchange => "exchange",
            Self::Prefill => "prefill",
            Self::Mixed => "mixed",
            Self::Decode => "decode",
            Self::Communication => "communication",
            Self::Fill => "idle-fill",
            Self::Input => "idle-input",
            Self::Link => "idle-link",
            Self::Wait => "idle-wait",
            Self::Drain => "idle-drain",
            Self::Unused => "idle-unused",
            Self::Free => "free",
        }
    }

    /// Whether something runs, rather than nothing.
    pub(super) const fn is_work(self) -> bool {
        (self as usize) < Self::Communication as usize
    }
}

/// Number of kinds.
pub(super) const N_KINDS: usize = 19;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_where_their_numbers_say() {
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
            let is_idle = kind.name().starts_with("idle-");
            assert_eq!(
                kind.is_work(),
                !is_idle && !["communication", "free"].contains(&kind.name())
            );
        }
    }
}
