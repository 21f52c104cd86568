//! What steps need and fetch, in at most a byte or two for each expert: traces have hundreds of millions
//! of needs.

use super::{Fetched, NEVER};

/// Fewest needs of a part of the steps, whose next uses are found at once.
const PART: usize = 1 << 16;

/// Appends a number, seven bits in each byte.
fn put(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 1 << 7 {
        bytes.push(number as u8 | 1 << 7);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Takes a number from the front.
fn take(bytes: &mut &[u8]) -> Option<u32> {
    let mut number = 0;
    for shift in (0..32).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u32::from(byte & 0x7f) << shift;
        if byte >> 7 == 0 {
            break;
        }
    }
    Some(number)
}

/// By step the experts of a layer that are needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    n_experts: u16,
    n_steps: usize,
    n_needed: usize,
    /// Of each step twice how many it needs, then the distance of each from the one before; where that is
    /// odd a bit for each expert of the layer.
    bytes: Vec<u8>,
    /// Where parts begin: bytes, steps and needs before them.
    parts: Vec<[usize; 3]>,
}

impl Needs {
    /// Of a layer of so many experts, no step so far.
    #[must_use]
    pub fn new(n_experts: u16) -> Self {
        Self { n_experts, ..Self::default() }
    }

    /// Adds a step that needs these experts, each named once and below the number of experts; in
    /// ascending order they take least memory.
    pub fn push(&mut self, experts: &[u16]) {
        let least = PART.max(self.n_experts() << 6);
        if self.parts.last().is_none_or(|[.., before]| self.n_needed - before >= least) {
            self.parts.push([self.bytes.len(), self.n_steps, self.n_needed]);
        }
        let n_bytes = self.n_experts().div_ceil(8);
        let has_bits = n_bytes < experts.len() && experts.is_sorted();
        put(&mut self.bytes, (experts.len() as u32) << 1 | u32::from(has_bits));
        if has_bits {
            let begin = self.bytes.len();
            self.bytes.resize(begin + n_bytes, 0);
            for expert in experts {
                self.bytes[begin + usize::from(expert / 8)] |= 1 << (expert % 8);
            }
        } else {
            let mut last = 0_u16;
            for expert in experts {
                put(&mut self.bytes, expert.wrapping_sub(last).into());
                last = *expert;
            }
        }
        self.n_steps += 1;
        self.n_needed += experts.len();
    }

    /// Experts of the layer.
    #[must_use]
    pub fn n_experts(&self) -> usize {
        self.n_experts.into()
    }

    /// Steps.
    #[must_use]
    pub fn n_steps(&self) -> usize {
        self.n_steps
    }

    /// Experts that steps need, summed over steps.
    #[must_use]
    pub fn n_needed(&self) -> usize {
        self.n_needed
    }

    /// Bytes of memory that steps take.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Step by step the experts that are needed.
    #[must_use]
    pub fn steps(&self) -> Steps<'_> {
        Steps { bytes: &self.bytes, n_experts: self.n_experts, own: Vec::new() }
    }

    /// The same of some of the experts alone.
    #[must_use]
    pub fn of(&self, is_own: impl Fn(u16) -> bool) -> Self {
        let mut needs = Self::new(self.n_experts);
        let mut some = Vec::new();
        self.each(|_, step| {
            some.clear();
            some.extend(step.iter().filter(|expert| is_own(**expert)));
            needs.push(&some);
        });
        needs
    }

    /// By expert how many steps need it.
    #[must_use]
    pub fn counts(&self) -> Vec<u64> {
        let mut counts = vec![0; self.n_experts()];
        self.each(|_, step| step.iter().for_each(|expert| counts[usize::from(*expert)] += 1));
        counts
    }

    /// Calls with the number of each step and what it needs.
    pub fn each(&self, mut call: impl FnMut(usize, &[u16])) {
        let mut steps = self.steps();
        let mut number = 0;
        while let Some(step) = steps.step() {
            call(number, step);
            number += 1;
        }
    }

    fn part(&self, at: usize) -> Steps<'_> {
        let end = self.parts.get(at + 1).map_or(self.bytes.len(), |[end, ..]| *end);
        let bytes = &self.bytes[self.parts[at][0]..end];
        Steps { bytes, n_experts: self.n_experts, own: Vec::new() }
    }
}

/// Steps one after the other.
#[derive(Clone, Debug)]
pub struct Steps<'a> {
    bytes: &'a [u8],
    n_experts: u16,
    own: Vec<u16>,
}

impl Steps<'_> {
    /// What the next step needs; `None` after the last one.
    pub fn step(&mut self) -> Option<&[u16]> {
        let n = take(&mut self.bytes)?;
        self.own.clear();
        if n & 1 == 1 {
            let (bits, rest) = self.bytes.split_at_checked(self.n_experts.div_ceil(8).into())?;
            self.bytes = rest;
            for (at, byte) in (0..self.n_experts).step_by(8).zip(bits) {
                self.own.extend((0..8).filter(|bit| byte >> bit & 1 == 1).map(|bit| at + bit));
            }
            return Some(&self.own);
        }
        let mut last = 0_u16;
        for _ in 0..n >> 1 {
            last = last.wrapping_add(take(&mut self.bytes)? as u16);
            self.own.push(last);
        }
        Some(&self.own)
    }
}

/// Need by need the step of the next one of its expert, found part by part, of which the first uses after
/// each are held.
pub(super) struct NextUses<'a> {
    needs: &'a Needs,
    /// By part, by expert the first use after it.
    after: Vec<Vec<u32>>,
    /// By expert its first use.
    pub(super) first: Vec<u32>,
    at: usize,
    found: std::vec::IntoIter<u32>,
}

impl<'a> NextUses<'a> {
    pub(super) fn of(needs: &'a Needs) -> Self {
        let mut next = vec![NEVER; needs.n_experts()];
        let mut seen = vec![usize::MAX; needs.n_experts()];
        let mut after = vec![Vec::new(); needs.parts.len()];
        for at in (0..needs.parts.len()).rev() {
            after[at].clone_from(&next);
            let mut steps = needs.part(at);
            let mut number = needs.parts[at][1] as u32;
            while let Some(step) = steps.step() {
                for expert in step {
                    if std::mem::replace(&mut seen[usize::from(*expert)], at) != at {
                        next[usize::from(*expert)] = number;
                    }
                }
                number += 1;
            }
        }
        Self { needs, after, first: next, at: 0, found: Vec::new().into_iter() }
    }

    /// Of the next need; [`NEVER`] where its expert is not needed again, and after the last one.
    pub(super) fn next(&mut self) -> u32 {
        loop {
            if let Some(next) = self.found.next() {
                return next;
            }
            if self.at >= self.after.len() {
                return NEVER;
            }
            self.found = self.of_part().into_iter();
            self.at += 1;
        }
    }

    fn of_part(&mut self) -> Vec<u32> {
        let mut all: Vec<(u16, u32)> = Vec::new();
        let mut steps = self.needs.part(self.at);
        let mut number = self.needs.parts[self.at][1] as u32;
        while let Some(step) = steps.step() {
            all.extend(step.iter().map(|expert| (*expert, number)));
            number += 1;
        }
        let mut next = std::mem::take(&mut self.after[self.at]);
        let mut found = vec![NEVER; all.len()];
        for (found, (expert, step)) in found.iter_mut().zip(&all).rev() {
            *found = std::mem::replace(&mut next[usize::from(*expert)], *step);
        }
        found
    }
}

/// By step what is fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetches {
    /// Both numbers in a byte, where they are below 15; what is more follows. 0 = so many steps that
    /// fetch nothing.
    bytes: Vec<u8>,
    /// Steps at the end that fetch nothing.
    idle: u32,
    missed: u64,
    ahead: u64,
}

impl Fetches {
    /// Adds a step.
    pub fn push(&mut self, fetched: Fetched) {
        self.missed += u64::from(fetched.missed);
        self.ahead += u64::from(fetched.ahead);
        if fetched == Fetched::default() {
            self.idle += 1;
            return;
        }
        if self.idle > 0 {
            self.bytes.push(0);
            put(&mut self.bytes, std::mem::take(&mut self.idle));
        }
        let [a, b] = [fetched.missed, fetched.ahead].map(|count| count.min(15) as u8);
        self.bytes.push(a << 4 | b);
        for more in [fetched.missed, fetched.ahead].iter().filter_map(|count| count.checked_sub(15))
        {
            put(&mut self.bytes, more.into());
        }
    }

    /// Misses of all steps.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Fetched ahead by all steps.
    #[must_use]
    pub fn ahead(&self) -> u64 {
        self.ahead
    }

    /// Step by step.
    pub fn iter(&self) -> impl Iterator<Item = Fetched> + '_ {
        let (mut bytes, mut idle, mut last) = (self.bytes.as_slice(), 0, Some(self.idle));
        std::iter::from_fn(move || {
            loop {
                if idle > 0 {
                    idle -= 1;
                    return Some(Fetched::default());
                }
                let Some((byte, rest)) = bytes.split_first() else {
                    idle = last.take()?;
                    continue;
                };
                bytes = rest;
                if *byte == 0 {
                    idle = take(&mut bytes)?;
                    continue;
                }
                let mut of = |nibble: u8| match nibble {
                    15 => take(&mut bytes).map(|more| 15 + more as u16),
                    few => Some(few.into()),
                };
                return Some(Fetched { missed: of(byte >> 4)?, ahead: of(byte & 15)? });
            }
        })
    }
}
