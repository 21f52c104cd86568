//! Names of a view, each kept once, and what slices are about.

use std::collections::HashMap;

use super::bytes::{Part, Section, Writer};

/// Bytes of a thing: a name, and the two devices that it goes between.
pub(super) const THING: usize = 12;
/// No device.
const NONE: u32 = u32::MAX;

/// What a slice is about: an op, a tensor on its way, or what is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Thing {
    /// Position of its name.
    pub(super) name: u32,
    /// Position of the name of the device that it comes from, or where it is.
    pub(super) from: Option<u32>,
    /// Position of the name of the device that it goes to.
    pub(super) to: Option<u32>,
}

/// Names and things under construction.
#[derive(Default)]
pub(super) struct Interned {
    names: Vec<String>,
    of_name: HashMap<String, u32>,
    things: Vec<Thing>,
    of_thing: HashMap<Thing, u32>,
}

impl Interned {
    /// The position of a name.
    pub(super) fn name(&mut self, name: &str) -> u32 {
        if let Some(position) = self.of_name.get(name) {
            return *position;
        }
        let position = u32::try_from(self.names.len()).unwrap_or(NONE);
        self.names.push(name.to_owned());
        self.of_name.insert(name.to_owned(), position);
        position
    }

    /// The position of a thing.
    pub(super) fn thing(&mut self, name: &str, from: Option<u32>, to: Option<u32>) -> u32 {
        let thing = Thing { name: self.name(name), from, to };
        let next = u32::try_from(self.things.len()).unwrap_or(NONE);
        let position = *self.of_thing.entry(thing).or_insert(next);
        if position == next {
            self.things.push(thing);
        }
        position
    }

    /// Writes them down.
    pub(super) fn write(&self, to: &mut Writer) {
        for name in &self.names {
            to.of(Section::Names).extend(name.as_bytes());
            let end = u32::try_from(to.of(Section::Names).len()).unwrap_or(NONE);
            to.of(Section::NameEnds).extend(end.to_le_bytes());
        }
        for thing in &self.things {
            for number in [thing.name, thing.from.unwrap_or(NONE), thing.to.unwrap_or(NONE)] {
                to.of(Section::Things).extend(number.to_le_bytes());
            }
        }
    }
}

/// Names of a view.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    ends: Part<'a>,
    text: Part<'a>,
    things: Part<'a>,
}

impl<'a> Names<'a> {
    /// Those of a file.
    pub(super) fn open(file: &'a [u8]) -> Option<Self> {
        Some(Self {
            ends: Part::section(file, Section::NameEnds)?,
            text: Part::section(file, Section::Names)?,
            things: Part::section(file, Section::Things)?,
        })
    }

    /// A name by its position.
    pub(super) fn name(&self, position: u32) -> Option<&'a str> {
        let at = usize::try_from(position).ok()?.checked_mul(4)?;
        let start = match at {
            0 => 0,
            _ => self.ends.u32(at - 4)?,
        };
        let length = self.ends.u32(at)?.checked_sub(start)?;
        let bytes = self.text.slice(start.into(), length.into())?;
        std::str::from_utf8(bytes.0).ok()
    }

    /// A thing by its position.
    pub(super) fn thing(&self, position: u32) -> Option<Thing> {
        let at = usize::try_from(position).ok()?.checked_mul(THING)?;
        let some = |number: u32| (number != NONE).then_some(number);
        Some(Thing {
            name: self.things.u32(at)?,
            from: some(self.things.u32(at.checked_add(4)?)?),
            to: some(self.things.u32(at.checked_add(8)?)?),
        })
    }
}
