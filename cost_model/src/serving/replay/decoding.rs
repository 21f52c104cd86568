//! Requests that decode. All get a token in the same iterations, so one counter of decode steps stands
//! for the position of each, and a step costs no work per request.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

const NONE: u32 = u32::MAX;

/// A request that decodes.
#[derive(Clone, Copy)]
pub(super) struct Decoder {
    /// Its position.
    pub(super) request: usize,
    /// Tokens of the answer when it began to decode.
    pub(super) n_generated: u64,
    /// Cached tokens then, a shared prefix included.
    pub(super) n_cached: u64,
    /// When it began.
    pub(super) since_s: f64,
    /// Blocks reserved for its whole answer; 0: it takes one whenever its last is full.
    pub(super) n_reserved: u64,
}

struct Slot {
    decoder: Decoder,
    /// Decode step at which it began.
    from_step: u64,
    before: u32,
    after: u32,
    /// Tells its entries in `ends` from those of earlier tenants.
    stamp: u64,
}

pub(super) struct Decoding {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The latest in order of scheduling.
    last: u32,
    ends: BinaryHeap<Reverse<(u64, u32, u64)>>,
    /// By remainder of a step and the block size: requests that take a block in such steps.
    growing: Vec<u64>,
    n_growing: u64,
    n_stamps: u64,
    /// Decode steps until now.
    step: u64,
    n: u64,
    n_cached: u64,
}

impl Decoding {
    pub(super) fn new(block_tokens: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            last: NONE,
            ends: BinaryHeap::new(),
            growing: vec![0; block_tokens],
            n_growing: 0,
            n_stamps: 0,
            step: 0,
            n: 0,
            n_cached: 0,
        }
    }

    pub(super) fn n(&self) -> u64 {
        self.n
    }

    /// Cached tokens of all.
    pub(super) fn n_cached(&self) -> u64 {
        self.n_cached
    }

    /// Adds the latest request; it ends after `n_left` decode steps.
    pub(super) fn push(&mut self, decoder: Decoder, n_left: u64) {
        let slot = Slot {
            decoder,
            from_step: self.step,
            before: self.last,
            after: NONE,
            stamp: self.n_stamps,
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        if self.last != NONE {
            self.slots[self.last as usize].after = at;
        }
        self.last = at;
        self.ends.push(Reverse((self.step + n_left, at, self.n_stamps)));
        self.n_stamps += 1;
        self.n += 1;
        self.n_cached += decoder.n_cached;
        if decoder.n_reserved == 0 {
            let remainder = self.remainder(decoder.n_cached, self.step);
            self.growing[remainder] += 1;
            self.n_growing += 1;
        }
    }

    /// Remainder of the steps in which a request takes a block.
    fn remainder(&self, n_cached: u64, from_step: u64) -> usize {
        let size = self.growing.len() as u64;
        ((from_step % size + size - n_cached % size) % size) as usize
    }

    /// Blocks taken by `n` steps, beginning `ahead` steps from now.
    pub(super) fn growth(&self, ahead: u64, n: u64) -> u64 {
        let size = self.growing.len() as u64;
        let rest = (0..n % size).map(|i| self.growing[((self.step + ahead + i) % size) as usize]);
        n / size * self.n_growing + rest.sum::<u64>()
    }

    /// Most of `n` steps, beginning `ahead` steps from now, that take no more than `free` blocks.
    pub(super) fn steps_within(&self, ahead: u64, n: u64, mut free: u64) -> u64 {
        let size = self.growing.len() as u64;
        if (n / size + 1).saturating_mul(self.n_growing) <= free {
            return n;
        }
        let cycles = (n / size).min(free / self.n_growing);
        free -= cycles * self.n_growing;
        let mut steps = cycles * size;
        while steps < n {
            let taken = self.growing[((self.step + ahead + steps) % size) as usize];
            if taken > free {
                break;
            }
            free -= taken;
            steps += 1;
        }
        steps
    }

    /// Decode steps until the next request ends.
    pub(super) fn steps_to_end(&mut self) -> u64 {
        while let Some(Reverse((step, at, stamp))) = self.ends.peek() {
            if self.slots[*at as usize].stamp == *stamp {
                return step - self.step;
            }
            self.ends.pop();
        }
        u64::MAX
    }

    /// All get `n` tokens.
    pub(super) fn advance(&mut self, n: u64) {
        self.step += n;
        self.n_cached += n * self.n;
    }

    /// Takes out a request that has got its last token.
    pub(super) fn pop_ended(&mut self) -> Option<(Decoder, u64)> {
        if self.steps_to_end() > 0 {
            return None;
        }
        let Reverse((_, at, _)) = self.ends.pop()?;
        Some(self.remove(at))
    }

    /// Takes out the latest request.
    pub(super) fn pop_latest(&mut self) -> Option<(Decoder, u64)> {
        (self.last != NONE).then(|| self.remove(self.last))
    }

    /// The request of a slot, and its tokens since it began to decode.
    fn remove(&mut self, at: u32) -> (Decoder, u64) {
        let slot = &mut self.slots[at as usize];
        let (decoder, before, after) = (slot.decoder, slot.before, slot.after);
        let (from_step, n_tokens) = (slot.from_step, self.step - slot.from_step);
        slot.stamp = u64::MAX;
        if before != NONE {
            self.slots[before as usize].after = after;
        }
        match after {
            NONE => self.last = before,
            after => self.slots[after as usize].before = before,
        }
        self.free.push(at);
        self.n -= 1;
        self.n_cached -= decoder.n_cached + n_tokens;
        if decoder.n_reserved == 0 {
            let remainder = self.remainder(decoder.n_cached, from_step);
            self.growing[remainder] -= 1;
            self.n_growing -= 1;
        }
        (decoder, n_tokens)
    }
}
