//! One lane of a timeline: slices that cover the step, sums up to any instant, and the longest slice
//! of any part.
//!
//! A slice ends where the next one starts. Sums are stored at every [`STRIDE`]th slice, the longest
//! slice of parts of [`STRIDE`], 4 times as many, 16 times as many, ...: whatever is asked for, a few
//! hundred slices are read.

use super::bytes::{Part, Section, Writer};
use super::kind::{Kind, N_KINDS};

/// Bytes of a slice: start and kind, thing, micro-batch.
pub(super) const SLICE: usize = 16;
/// Bytes of sums: nanoseconds by kind, and how many slices of work start.
pub(super) const SUM: usize = 8 * (N_KINDS + 1);
/// Slices between sums.
const STRIDE: usize = 64;
/// By how much parts grow from level to level.
const FACTOR: usize = 4;
/// No micro-batch.
const NONE: u32 = u32::MAX;
/// Bits of a start, beside the kind.
const START_BITS: u32 = 56;

/// Longest step that a view holds, in nanoseconds: above two years.
pub(super) const LONGEST_STEP: u64 = (1 << START_BITS) - 1;

/// What a lane does from an instant on, until the next slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    /// Since when, in nanoseconds.
    pub(super) start: u64,
    /// What it does.
    pub(super) kind: Kind,
    /// What it is about.
    pub(super) thing: u32,
    /// Whose it is.
    pub(super) micro_batch: Option<u32>,
}

/// Nanoseconds by kind, and how many slices of work start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) ns: [u64; N_KINDS],
    pub(super) n_started: u64,
}

impl Sums {
    /// What these hold beyond earlier ones.
    pub(super) fn since(mut self, earlier: &Self) -> Self {
        for (ns, before) in self.ns.iter_mut().zip(&earlier.ns) {
            *ns = ns.saturating_sub(*before);
        }
        self.n_started = self.n_started.saturating_sub(earlier.n_started);
        self
    }

    fn add(&mut self, kind: Kind, ns: u64) {
        let sum = &mut self.ns[kind as usize];
        *sum = sum.saturating_add(ns);
    }

    fn start(&mut self, kind: Kind) {
        self.n_started = self.n_started.saturating_add(u64::from(kind.is_work()));
    }
}

/// Where the parts of a lane lie, in numbers of slices, sums and longest ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) slices: u64,
    pub(super) sums: u64,
    pub(super) longest: u64,
}

/// Appends a lane; `end` is where its last slice ends.
pub(super) fn write(slices: &[Slice], end: u64, to: &mut Writer) -> Place {
    let count = |bytes: usize, of: usize| (bytes / of) as u64;
    let place = Place {
        slices: count(to.of(Section::Slices).len(), SLICE),
        sums: count(to.of(Section::Sums).len(), SUM),
        longest: count(to.of(Section::Longest).len(), 4),
    };
    let mut sums = Sums::default();
    let mut longest: Vec<u32> = Vec::new();
    let mut best: Option<(bool, u64, u32)> = None;
    for (index, slice) in slices.iter().enumerate() {
        if index % STRIDE == 0 {
            for number in sums.ns.iter().chain([&sums.n_started]) {
                to.of(Section::Sums).extend(number.to_le_bytes());
            }
            longest.extend(best.take().map(|(.., index)| index));
        }
        let next = slices.get(index + 1).map_or(end, |next| next.start);
        let ns = next.saturating_sub(slice.start);
        sums.add(slice.kind, ns);
        sums.start(slice.kind);
        let candidate = (slice.kind.is_work(), ns, index as u32);
        best =
            best.filter(|best| (best.0, best.1) >= (candidate.0, candidate.1)).or(Some(candidate));
        let slices = to.of(Section::Slices);
        slices.extend((slice.start << 8 | slice.kind as u64).to_le_bytes());
        slices.extend(slice.thing.to_le_bytes());
        slices.extend(slice.micro_batch.unwrap_or(NONE).to_le_bytes());
    }
    longest.extend(best.map(|(.., index)| index));
    let key = |index: u32| {
        let at = index as usize;
        let next = slices.get(at + 1).map_or(end, |next| next.start);
        (slices[at].kind.is_work(), next.saturating_sub(slices[at].start))
    };
    loop {
        longest.iter().for_each(|at| to.of(Section::Longest).extend(at.to_le_bytes()));
        if longest.len() <= 1 {
            return place;
        }
        let first_of_best = |part: &[u32]| {
            part.iter()
                .copied()
                .reduce(|best, other| if key(other) > key(best) { other } else { best })
        };
        longest = longest.chunks(FACTOR).filter_map(first_of_best).collect();
    }
}

/// A lane in a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane<'a> {
    slices: Part<'a>,
    sums: Part<'a>,
    longest: Part<'a>,
    n: usize,
    end: u64,
}

impl<'a> Lane<'a> {
    /// A lane of `n` slices that ends at `end`.
    pub(super) fn open(file: &'a [u8], place: Place, n: u64, end: u64) -> Option<Self> {
        let n_slices = usize::try_from(n).ok()?;
        let part = |section, at: u64, of: usize, n: usize| {
            let length = n.checked_mul(of)?;
            let at = at.checked_mul(of as u64)?;
            Part::section(file, section)?.slice(at, length as u64)
        };
        let mut parts = n_slices.div_ceil(STRIDE);
        let n_sums = parts;
        let mut n_longest = parts;
        while parts > 1 {
            parts = parts.div_ceil(FACTOR);
            n_longest = n_longest.checked_add(parts)?;
        }
        Some(Self {
            slices: part(Section::Slices, place.slices, SLICE, n_slices)?,
            sums: part(Section::Sums, place.sums, SUM, n_sums)?,
            longest: part(Section::Longest, place.longest, 4, n_longest)?,
            n: n_slices,
            end,
        })
    }

    #[inline]
    pub(super) fn start(&self, index: usize) -> Option<u64> {
        if index >= self.n {
            return Some(self.end);
        }
        Some(self.slices.u64(index.checked_mul(SLICE)?)? >> 8)
    }

    #[inline]
    fn kind(&self, index: usize) -> Option<Kind> {
        let word = self.slices.u64(index.checked_mul(SLICE)?)?;
        Kind::ALL.get((word & 0xff) as usize).copied()
    }

    /// A slice.
    pub(super) fn slice(&self, index: usize) -> Option<Slice> {
        let at = index.checked_mul(SLICE)?;
        let micro_batch = self.slices.u32(at.checked_add(12)?)?;
        Some(Slice {
            start: self.start(index)?,
            kind: self.kind(index)?,
            thing: self.slices.u32(at.checked_add(8)?)?,
            micro_batch: (micro_batch != NONE).then_some(micro_batch),
        })
    }

    /// The first slice that starts at `at` or later; all of them, at the end.
    pub(super) fn from(&self, at: u64) -> Option<usize> {
        if at >= self.end {
            return Some(self.n);
        }
        let (mut low, mut high) = (0, self.n);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.start(middle)? < at {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        Some(low)
    }

    /// Sums from 0 to `at`, where `next` is [`Self::from`] it.
    pub(super) fn sums(&self, at: u64, next: usize) -> Option<Sums> {
        let from = next - next % STRIDE;
        let mut sums = Sums::default();
        // At the end of a lane there is no sum behind the last whole part.
        let from = if from == self.n && from > 0 { from - STRIDE } else { from };
        if self.n > 0 {
            let entry = (from / STRIDE).checked_mul(SUM)?;
            for (position, ns) in sums.ns.iter_mut().enumerate() {
                *ns = self.sums.u64(entry.checked_add(8 * position)?)?;
            }
            sums.n_started = self.sums.u64(entry.checked_add(8 * N_KINDS)?)?;
        }
        let mut start = self.start(from)?;
        for index in from..next {
            let kind = self.kind(index)?;
            let after = self.start(index + 1)?;
            sums.add(kind, after.min(at).saturating_sub(start));
            sums.start(kind);
            start = after;
        }
        if from == next && next > 0 {
            // The slice before a whole part may reach beyond `at`.
            let beyond = self.start(next)?.saturating_sub(at);
            let ns = &mut sums.ns[self.kind(next - 1)? as usize];
            *ns = ns.saturating_sub(beyond);
        }
        Some(sums)
    }

    /// The longest slice of work in a range, else the longest of all; the first of several.
    pub(super) fn longest(&self, range: std::ops::Range<usize>) -> Option<usize> {
        let mut best: Option<(bool, u64, usize)> = None;
        let mut at = range.start;
        while at < range.end {
            let (size, found) = self.part(at, range.end)?;
            let candidate = (self.kind(found)?.is_work(), self.ns(found)?, found);
            best = best
                .filter(|best| (best.0, best.1) >= (candidate.0, candidate.1))
                .or(Some(candidate));
            at = at.checked_add(size)?;
        }
        best.map(|(.., index)| index)
    }

    /// The largest stored part that starts at a slice and ends before `end`: its length, and the
    /// longest slice in it. A single slice where there is none.
    fn part(&self, at: usize, end: usize) -> Option<(usize, usize)> {
        let (mut size, mut n, mut first) = (STRIDE, self.n.div_ceil(STRIDE), 0usize);
        let mut found = (1, at);
        while at.is_multiple_of(size) && at.checked_add(size)? <= end {
            let entry = first.checked_add(at / size)?;
            found = (size, self.longest.u32(entry.checked_mul(4)?)? as usize);
            if n <= 1 {
                break;
            }
            first = first.checked_add(n)?;
            n = n.div_ceil(FACTOR);
            size = size.checked_mul(FACTOR)?;
        }
        Some(found)
    }

    /// Nanoseconds of a slice.
    pub(super) fn ns(&self, index: usize) -> Option<u64> {
        Some(self.start(index.checked_add(1)?)?.saturating_sub(self.start(index)?))
    }
}
