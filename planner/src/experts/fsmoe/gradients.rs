//! Where gradients are summed up: slices of them beside the parts of a backward pass.
//!
//! A backward pass is a line of slots: layers of experts and what lies between them. A slot hides an
//! all-reduce beside its own work; gradients exist once the slot that makes them has ended (the prefix
//! rule), and what no slot took follows the last one. In equal units of bytes the program over slots and
//! units sent is exact:
//!
//! ```text
//! T(slot, sent) = min over k of T(slot - 1, sent - k) + seconds of the slot beside k units
//! ```
//!
//! For bytes of any size the bound takes the prefix rule away and prices each byte `y` seconds, up to what
//! a byte takes (Lagrange): a slot that takes `F` seconds alone, of which its link is busy for `A`, hides
//! `F - A` seconds for nothing and takes a second longer for each further one.

use cost_model::streams::moe_step::Reduce;

/// A kind of slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Seconds beside so many units, from 0 to all.
    pub beside_s: Vec<f64>,
    /// Seconds alone, and those of them in which its link is busy: of each way that it can run in.
    pub alone_s: Vec<(f64, f64)>,
}

/// Slots in the order of the backward pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Line<'a> {
    /// Kinds of slots.
    pub kinds: &'a [Slot],
    /// By slot its kind, and the bytes of gradients that exist when it starts.
    pub slots: &'a [(usize, u64)],
    /// Bytes of a unit.
    pub unit: u64,
    /// Bytes of all gradients.
    pub all: u64,
    /// The all-reduce.
    pub reduce: Reduce,
}

/// Units of each slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Sliced {
    /// By slot.
    pub units: Vec<usize>,
    /// Seconds of all slots and of what follows them.
    pub seconds: f64,
}

/// Units that hold all bytes.
#[must_use]
pub fn n_units(all: u64, unit: u64) -> usize {
    usize::try_from(all.div_ceil(unit.max(1))).unwrap_or(usize::MAX)
}

impl Line<'_> {
    /// Whole units that exist when a slot starts; the last one is the rest of all bytes.
    fn existing(&self, bytes: u64) -> usize {
        match bytes >= self.all {
            true => n_units(self.all, self.unit),
            false => usize::try_from(bytes / self.unit.max(1)).unwrap_or(usize::MAX),
        }
    }

    /// Bytes of so many units.
    #[must_use]
    pub fn bytes(&self, units: usize) -> u64 {
        (units as u64).saturating_mul(self.unit).min(self.all)
    }

    /// Seconds of given units, without a look at the prefix rule.
    #[must_use]
    pub fn seconds(&self, units: &[usize]) -> f64 {
        let beside = |((kind, _), n): (&(usize, u64), &usize)| self.kinds[*kind].beside_s[*n];
        let rest = n_units(self.all, self.unit) - units.iter().sum::<usize>();
        let slots: f64 = self.slots.iter().zip(units).map(beside).sum();
        slots + self.reduce.seconds(self.bytes(rest))
    }

    /// Best units.
    #[must_use]
    pub fn sliced(&self) -> Sliced {
        let n = n_units(self.all, self.unit);
        let mut best = vec![f64::INFINITY; n + 1];
        best[0] = 0.0;
        let mut taken: Vec<Vec<u32>> = Vec::with_capacity(self.slots.len());
        for (kind, existing) in self.slots {
            let beside_s = &self.kinds[*kind].beside_s;
            let most = self.existing(*existing).min(n);
            let mut next = vec![f64::INFINITY; n + 1];
            let mut own = vec![0_u32; n + 1];
            for sent in 0..=n {
                // What exists grows from slot to slot, so that nothing was sent beyond it before.
                let ks = 0..=if sent <= most { sent } else { 0 };
                for k in ks {
                    let seconds = best[sent - k] + beside_s[k];
                    if seconds < next[sent] {
                        (next[sent], own[sent]) = (seconds, k as u32);
                    }
                }
            }
            best = next;
            taken.push(own);
        }
        let total = |sent: usize| best[sent] + self.reduce.seconds(self.bytes(n - sent));
        let mut sent =
            (0..=n).reduce(|a, b| if total(b) < total(a) { b } else { a }).unwrap_or_default();
        let seconds = total(sent);
        let mut units = vec![0; self.slots.len()];
        for (slot, own) in taken.iter().enumerate().rev() {
            units[slot] = own[sent] as usize;
            sent -= units[slot];
        }
        Sliced { units, seconds }
    }

    /// Seconds that slices of any size are not below.
    #[must_use]
    pub fn bound_s(&self) -> f64 {
        const PRICES: u32 = 32;
        let Reduce { start_up_s, per_byte_s } = self.reduce;
        let at = |price: u32| {
            let price_s = per_byte_s * f64::from(price) / f64::from(PRICES);
            let least = |kind: &Slot| {
                let hidden = |(alone_s, busy_s): (f64, f64)| {
                    let free_s = (alone_s - busy_s - start_up_s).max(0.0);
                    let bytes = if per_byte_s > 0.0 { free_s / per_byte_s } else { 0.0 };
                    alone_s - price_s * bytes.min(self.all as f64)
                };
                kind.alone_s.iter().copied().map(hidden).fold(f64::INFINITY, f64::min)
            };
            let of_kind: Vec<f64> = self.kinds.iter().map(least).collect();
            let slots: f64 = self.slots.iter().map(|(kind, _)| of_kind[*kind]).sum();
            slots + price_s * self.all as f64
        };
        (0..=PRICES).map(at).fold(0.0, f64::max)
    }
}
