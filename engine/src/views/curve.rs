//! Memory of one device over time: changes by kind, in blocks with the level before each and the
//! greatest level in it.

use std::ops::ControlFlow;

use super::bytes::{Part, Section, Writer, packed, put_packed};

/// Most kinds of what lies in memory.
pub(super) const N_KINDS: usize = 5;
/// Bytes of a block: when it starts and ends, where its changes lie, levels before it, its greatest
/// level and when that is first reached.
pub(super) const BLOCK: usize = 8 * (5 + N_KINDS);
/// Changes of a block, and those at the instant of the last.
const STRIDE: usize = 256;

/// Bytes by kind.
pub(super) type Levels = [u64; N_KINDS];

/// How what lies in memory changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    /// When, in nanoseconds.
    pub(super) at: u64,
    /// Position of the kind.
    pub(super) kind: usize,
    /// Bytes that come.
    pub(super) comes: u64,
    /// Bytes that go.
    pub(super) goes: u64,
}

/// What lies in memory from an instant on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) at: u64,
    pub(super) bytes: Levels,
}

impl Level {
    /// All kinds together.
    pub(super) fn total(&self) -> u64 {
        self.bytes.iter().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }
}

/// Appends a curve, whose changes are in any order; its first block and number of blocks.
pub(super) fn write(mut changes: Vec<Change>, to: &mut Writer) -> (u64, u64) {
    // A curve starts with the step.
    changes.push(Change { at: 0, kind: 0, comes: 0, goes: 0 });
    // What comes is counted first, so that no level is ever below nothing.
    changes.sort_by_key(|change| (change.at, change.comes == 0));
    let first = (to.of(Section::Blocks).len() / BLOCK) as u64;
    let mut before = [0; N_KINDS];
    let mut rest = changes.as_slice();
    while !rest.is_empty() {
        let mut n = STRIDE.min(rest.len());
        while n < rest.len() && rest[n].at == rest[n - 1].at {
            n += 1;
        }
        let (block, after) = rest.split_at(n);
        before = put_block(block, before, to);
        rest = after;
    }
    (first, (to.of(Section::Blocks).len() / BLOCK) as u64 - first)
}

fn put_block(block: &[Change], before: Levels, to: &mut Writer) -> Levels {
    let offset = to.of(Section::Changes).len() as u64;
    let (from, until) = (block[0].at, block[block.len() - 1].at);
    let mut at = from;
    for change in block {
        let bytes = to.of(Section::Changes);
        put_packed(bytes, change.at - at);
        let goes = change.comes == 0;
        bytes.push((change.kind << 1) as u8 | u8::from(goes));
        put_packed(bytes, if goes { change.goes } else { change.comes });
        at = change.at;
    }
    let mut level = Level { at: from, bytes: before };
    let mut best: Option<Level> = None;
    for (index, change) in block.iter().enumerate() {
        level = applied(level, *change);
        let is_whole = block.get(index + 1).is_none_or(|next| next.at > change.at);
        if is_whole && best.is_none_or(|best| level.total() > best.total()) {
            best = Some(level);
        }
    }
    let best = best.unwrap_or(level);
    let length = to.of(Section::Changes).len() as u64 - offset;
    let numbers = [from, until, offset, length, best.at];
    for number in numbers.into_iter().chain(before) {
        to.of(Section::Blocks).extend(number.to_le_bytes());
    }
    level.bytes
}

fn applied(mut level: Level, change: Change) -> Level {
    level.at = change.at;
    if let Some(bytes) = level.bytes.get_mut(change.kind) {
        *bytes = bytes.saturating_add(change.comes).saturating_sub(change.goes);
    }
    level
}

/// A curve in a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Curve<'a> {
    blocks: Part<'a>,
    changes: Part<'a>,
    n: usize,
}

/// A block, with where its greatest level is.
struct Block<'a> {
    from: u64,
    until: u64,
    before: Levels,
    peak_at: u64,
    changes: &'a [u8],
}

impl<'a> Curve<'a> {
    /// The curve whose blocks these are.
    pub(super) fn open(file: &'a [u8], (first, n): (u64, u64)) -> Option<Self> {
        let at = first.checked_mul(BLOCK as u64)?;
        let blocks =
            Part::section(file, Section::Blocks)?.slice(at, n.checked_mul(BLOCK as u64)?)?;
        let changes = Part::section(file, Section::Changes)?;
        Some(Self { blocks, changes, n: usize::try_from(n).ok()? })
    }

    fn block(&self, index: usize) -> Option<Block<'a>> {
        let at = index.checked_mul(BLOCK)?;
        let number = |position: usize| self.blocks.u64(at.checked_add(8 * position)?);
        let mut before = [0; N_KINDS];
        for (position, level) in before.iter_mut().enumerate() {
            *level = number(5 + position)?;
        }
        Some(Block {
            from: number(0)?,
            until: number(1)?,
            before,
            peak_at: number(4)?,
            changes: self.changes.slice(number(2)?, number(3)?)?.0,
        })
    }

    /// Number of levels, up to `most`; whether there are more.
    pub(super) fn levels(&self, most: usize) -> Option<(Vec<Level>, bool)> {
        let mut levels = Vec::new();
        for index in 0..self.n {
            let found = self.block(index)?.each(|level| {
                if levels.len() == most {
                    return ControlFlow::Break(());
                }
                levels.push(level);
                ControlFlow::Continue(())
            })?;
            if found.is_break() {
                return Some((levels, true));
            }
        }
        Some((levels, false))
    }

    /// The first greatest level from `from` to before `to`; of what lies there already at `from`, if
    /// nothing changes. Blocks are looked at from `start` on; where the next window goes on.
    pub(super) fn greatest(&self, (from, to): (u64, u64), start: usize) -> Option<(Level, usize)> {
        let mut index = start;
        let mut best: Option<Level> = None;
        let mut better = |level: Level| {
            if best.is_none_or(|best| level.total() > best.total()) {
                best = Some(level);
            }
        };
        let mut lies = None;
        let mut next = start;
        while index < self.n {
            let block = self.block(index)?;
            if lies.is_none() && block.from > from {
                lies = Some(Level { at: from, bytes: block.before });
            }
            if block.from >= to {
                break;
            }
            next = index;
            if from < block.from && block.until < to {
                better(block.level(block.peak_at)?);
            } else {
                let _ = block.each(|level| {
                    if level.at >= to {
                        return ControlFlow::Break(());
                    }
                    if level.at <= from {
                        lies = Some(Level { at: from, ..level });
                    } else {
                        better(level);
                    }
                    ControlFlow::Continue(())
                })?;
            }
            index += 1;
        }
        // What lies there at the start counts first.
        let lies = lies.or(best);
        let greatest = match (lies, best) {
            (Some(lies), Some(best)) if best.total() > lies.total() => best,
            (Some(lies), _) => lies,
            (None, _) => Level { at: from, bytes: [0; N_KINDS] },
        };
        Some((greatest, next))
    }
}

impl Block<'_> {
    /// Calls `visit` with the level of each instant of a change; how that ended.
    fn each(&self, mut visit: impl FnMut(Level) -> ControlFlow<()>) -> Option<ControlFlow<()>> {
        let mut from = self.changes;
        let mut level = Level { at: self.from, bytes: self.before };
        while !from.is_empty() {
            let at = level.at.checked_add(packed(&mut from)?)?;
            let (word, rest) = from.split_first()?;
            from = rest;
            let bytes = packed(&mut from)?;
            let (comes, goes) = if word & 1 == 0 { (bytes, 0) } else { (0, bytes) };
            level = applied(level, Change { at, kind: usize::from(word >> 1), comes, goes });
            // The next change is at this instant too if its time starts with a zero.
            if from.first().is_none_or(|first| *first != 0) && visit(level).is_break() {
                return Some(ControlFlow::Break(()));
            }
        }
        Some(ControlFlow::Continue(()))
    }

    fn level(&self, at: u64) -> Option<Level> {
        let mut found = None;
        let _ = self.each(|level| {
            if level.at <= at {
                found = Some(level);
                return ControlFlow::Continue(());
            }
            ControlFlow::Break(())
        })?;
        found
    }
}
