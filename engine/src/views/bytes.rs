//! Bytes of a view file: a mark, a table of sections, and numbers in them, little end first.
//!
//! Nothing is copied and nothing trusted: a number is read where it lies, `None` past the end.

use ir::diagnostic::Diagnostic;

/// First bytes of a view file of this version.
pub(super) const MARK: [u8; 8] = *b"mwview\0\x04";

/// Parts of a view file, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// JSON: what there is, and where.
    Head,
    /// Where each name ends in the next section, 4 bytes each.
    NameEnds,
    /// Names, one behind the other.
    Names,
    /// What slices are about, [`super::names::THING`] bytes each.
    Things,
    /// Slices of all lanes, [`super::lane::SLICE`] bytes each.
    Slices,
    /// Sums up to every so many slices, [`super::lane::SUM`] bytes each.
    Sums,
    /// The longest slice of ever longer parts of lanes, 4 bytes each.
    Longest,
    /// Parts of memory curves, [`super::curve::BLOCK`] bytes each.
    Blocks,
    /// Changes of memory, packed.
    Changes,
    /// JSON: what is alive at the peak of each device, and each group of the graph.
    Details,
}

/// Number of sections.
const N_SECTIONS: usize = 10;
/// Length of mark and table.
const TABLE: usize = MARK.len() + 16 * N_SECTIONS;

/// Why a view can not be read.
pub(super) fn damaged() -> Diagnostic {
    Diagnostic::input("bad-view", "the view is damaged, or of another version")
        .hint("make it again from its plan with the verb `view`")
}

/// A view file under construction.
#[derive(Default)]
pub(super) struct Writer {
    sections: [Vec<u8>; N_SECTIONS],
}

impl Writer {
    /// What a section holds so far.
    pub(super) fn of(&mut self, section: Section) -> &mut Vec<u8> {
        &mut self.sections[section as usize]
    }

    /// The file.
    pub(super) fn finished(self) -> Vec<u8> {
        let length: usize = self.sections.iter().map(Vec::len).sum();
        let mut file = Vec::with_capacity(TABLE + length);
        file.extend(MARK);
        let mut at = TABLE;
        for section in &self.sections {
            file.extend((at as u64).to_le_bytes());
            file.extend((section.len() as u64).to_le_bytes());
            at += section.len();
        }
        self.sections.iter().for_each(|section| file.extend(section));
        file
    }
}

/// Part of a view file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a>(pub(super) &'a [u8]);

impl<'a> Part<'a> {
    /// A section of a file; `None` where it is no view or was cut off.
    pub(super) fn section(file: &'a [u8], section: Section) -> Option<Self> {
        file.starts_with(&MARK).then_some(())?;
        let entry = MARK.len() + 16 * section as usize;
        let whole = Self(file);
        let (at, length) = (whole.u64(entry)?, whole.u64(entry + 8)?);
        whole.slice(at, length)
    }

    /// Some bytes.
    pub(super) fn slice(self, at: u64, length: u64) -> Option<Self> {
        let at = usize::try_from(at).ok()?;
        let end = at.checked_add(usize::try_from(length).ok()?)?;
        self.0.get(at..end).map(Self)
    }

    #[inline]
    pub(super) fn u64(self, at: usize) -> Option<u64> {
        let bytes = self.0.get(at..at.checked_add(8)?)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    #[inline]
    pub(super) fn u32(self, at: usize) -> Option<u32> {
        let bytes = self.0.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }
}

/// Appends a number in 7-bit groups, the least first.
pub(super) fn put_packed(to: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// Takes such a number from the front.
#[inline]
pub(super) fn packed(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = from.split_first()?;
        *from = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_numbers_come_back() {
        for number in [0, 1, 127, 128, 300, 1 << 32, u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put_packed(&mut bytes, number);
            assert_eq!(packed(&mut bytes.as_slice()), Some(number));
            assert_eq!(packed(&mut &bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(packed(&mut [0xff; 11].as_slice()), None);
    }
}
