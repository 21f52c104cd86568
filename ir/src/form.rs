//! Closed forms whose constants a profile can hold: the names of their constants, and what these
//! may be. How a form computes a time is the cost model's business.

/// What a constant counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds; the name ends with `_s`.
    Seconds,
    /// A pure number, or a count of elements, heads or tokens.
    One,
}

/// A constant of a form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constant {
    /// Name in profiles and reports.
    pub name: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// Least value with a meaning.
    pub least: f64,
    /// Greatest value with a meaning.
    pub most: f64,
}

/// A closed form of the cost model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// One matrix product in 16-bit floats.
    MatrixProduct,
    /// Causal attention over whole prompts.
    AttentionPrefill,
    /// Attention of one query per sequence over a cache.
    AttentionDecode,
    /// A fused mixture-of-experts layer on its most loaded rank.
    FusedExperts,
}

/// Longest start-up cost that is believed, in seconds.
const LONGEST: f64 = 60.0;

const fn seconds(name: &'static str) -> Constant {
    Constant { name, unit: Unit::Seconds, least: 0.0, most: LONGEST }
}

const fn number(name: &'static str, least: f64, most: f64) -> Constant {
    Constant { name, unit: Unit::One, least, most }
}

/// Share of a data sheet's rate. A cache can lift it above 1.
const fn share(name: &'static str) -> Constant {
    number(name, 1e-6, 2.0)
}

const MATRIX_PRODUCT: [Constant; 11] = [
    seconds("launch_s"),
    share("compute_efficiency"),
    share("memory_efficiency"),
    number("p_norm", 1.0, 1e3),
    number("k0", 0.0, 1e6),
    number("small_tile_penalty", 0.0, 1e3),
    seconds("split_k_s"),
    number("whole_waves", 0.0, 1.0),
    seconds("split_step_s"),
    number("cache_gain", 1.0, 1e3),
    number("narrow_gain", 0.0, 1.0),
];

const ATTENTION_PREFILL: [Constant; 11] = [
    seconds("launch_s"),
    share("compute_efficiency"),
    share("memory_efficiency"),
    number("p_norm", 1.0, 1e3),
    number("small_head_factor", 1e-3, 1e3),
    number("large_head_factor", 1e-3, 1e3),
    seconds("block_s"),
    number("serial_share", 0.0, 1e3),
    number("padded_share", 0.0, 1.0),
    number("short_saving", 0.0, 1.0),
    number("whole_waves", 0.0, 1.0),
];

const ATTENTION_DECODE: [Constant; 11] = [
    seconds("launch_s"),
    share("memory_efficiency"),
    number("p_norm", 1.0, 1e3),
    number("reread_heads", 1e-3, 1e6),
    seconds("shared_block_s"),
    seconds("block_s"),
    seconds("growth_s"),
    number("head_power", 0.0, 1e2),
    number("whole_waves", 0.0, 1.0),
    number("cache_gain", 1.0, 1e3),
    seconds("per_query_s"),
];

const FUSED_EXPERTS: [Constant; 10] = [
    seconds("launch_s"),
    share("compute_efficiency"),
    share("memory_efficiency"),
    number("p_norm", 1.0, 1e3),
    number("spread", 0.0, 1e3),
    number("crowding", 0.0, 1e3),
    number("compute_width", 0.0, 1e6),
    seconds("routing_s"),
    number("memory_width", 0.0, 1e6),
    number("together", 0.0, 1.0),
];

impl Form {
    /// All forms.
    pub const ALL: [Self; 4] =
        [Self::MatrixProduct, Self::AttentionPrefill, Self::AttentionDecode, Self::FusedExperts];

    /// Name in profiles and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MatrixProduct => "matrix-product",
            Self::AttentionPrefill => "attention-prefill",
            Self::AttentionDecode => "attention-decode",
            Self::FusedExperts => "fused-experts",
        }
    }

    /// Its constants, in the order in which profiles keep their values.
    #[must_use]
    pub const fn constants(self) -> &'static [Constant] {
        match self {
            Self::MatrixProduct => &MATRIX_PRODUCT,
            Self::AttentionPrefill => &ATTENTION_PREFILL,
            Self::AttentionDecode => &ATTENTION_DECODE,
            Self::FusedExperts => &FUSED_EXPERTS,
        }
    }

    /// Names of the extents of a call, in the order in which profiles keep measured points.
    #[must_use]
    pub const fn extents(self) -> &'static [&'static str] {
        match self {
            Self::MatrixProduct => &["m", "n", "k"],
            Self::AttentionPrefill | Self::AttentionDecode => {
                &["batch", "length", "heads", "kv_heads", "head_dim"]
            }
            // An exponent of 0 is a balanced load.
            Self::FusedExperts => &[
                "tokens",
                "hidden",
                "expert_ffn",
                "topk",
                "experts",
                "moe_tp",
                "moe_ep",
                "power_law_exponent",
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_distinct_and_end_with_their_unit() {
        for form in Form::ALL {
            let names: BTreeSet<&str> = form.constants().iter().map(|c| c.name).collect();
            assert_eq!(names.len(), form.constants().len(), "{}", form.name());
            for constant in form.constants() {
                assert_eq!(constant.name.ends_with("_s"), constant.unit == Unit::Seconds);
                assert!(constant.least < constant.most);
            }
        }
    }
}
