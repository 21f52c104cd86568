//! Laws of views: parts add up to the whole, whatever is asked for, and no bytes make a reader panic.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod groups;
mod hostile;
mod pages;
mod parts;
mod plans;
mod schema;

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end.max(1)
    }
}
