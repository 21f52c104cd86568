//! Thrift's compact protocol, the encoding of Parquet's metadata.

use super::Broken;

/// Most nested structures and lists.
const DEEPEST: u32 = 16;

/// A value.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Whole(i64),
    Bytes(&'a [u8]),
    List(Vec<Value<'a>>),
    Fields(Fields<'a>),
    /// A double, which no field in use is.
    Other,
}

/// Fields of a structure by number.
#[derive(Debug, Default)]
pub(super) struct Fields<'a>(Vec<(i64, Value<'a>)>);

impl<'a> Fields<'a> {
    fn get(&self, number: i64) -> Option<&Value<'a>> {
        self.0.iter().find(|(found, _)| *found == number).map(|(_, value)| value)
    }

    pub(super) fn whole(&self, number: i64) -> Option<i64> {
        if let Some(Value::Whole(value)) = self.get(number) { Some(*value) } else { None }
    }

    pub(super) fn size(&self, number: i64) -> Result<usize, Broken> {
        let size = self.whole(number).and_then(|value| usize::try_from(value).ok());
        size.ok_or(Broken("a size is missing or below zero"))
    }

    pub(super) fn text(&self, number: i64) -> Option<&'a str> {
        let Some(Value::Bytes(bytes)) = self.get(number) else { return None };
        std::str::from_utf8(bytes).ok()
    }

    pub(super) fn list(&self, number: i64) -> &[Value<'a>] {
        if let Some(Value::List(list)) = self.get(number) { list } else { &[] }
    }

    pub(super) fn fields(&self, number: i64) -> Option<&Fields<'a>> {
        if let Some(Value::Fields(fields)) = self.get(number) { Some(fields) } else { None }
    }
}

/// Remaining bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], Broken> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(Broken("it ends too early"))?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Broken> {
        Ok(self.take(1)?[0])
    }

    /// A variable-length number (LEB128).
    pub(super) fn varint(&mut self) -> Result<u64, Broken> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Broken("a number is too long"))
    }

    fn signed(&mut self) -> Result<i64, Broken> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    fn length(&mut self) -> Result<usize, Broken> {
        usize::try_from(self.varint()?).map_err(|_| Broken("a size is too large"))
    }

    /// A structure, to its end.
    pub(super) fn fields(&mut self) -> Result<Fields<'a>, Broken> {
        self.structure(0)
    }

    fn structure(&mut self, depth: u32) -> Result<Fields<'a>, Broken> {
        let (mut fields, mut number) = (Fields::default(), 0_i64);
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(fields);
            }
            number = match head >> 4 {
                0 => self.signed()?,
                delta => number.saturating_add(i64::from(delta)),
            };
            let value = match head & 0xf {
                1 => Value::Whole(1),
                2 => Value::Whole(0),
                kind => self.value(kind, depth)?,
            };
            fields.0.push((number, value));
        }
    }

    fn value(&mut self, kind: u8, depth: u32) -> Result<Value<'a>, Broken> {
        if depth > DEEPEST {
            return Err(Broken("structures lie too deep inside each other"));
        }
        Ok(match kind {
            1..=3 => Value::Whole(i64::from(self.byte()?)),
            4..=6 => Value::Whole(self.signed()?),
            7 => {
                self.take(8)?;
                Value::Other
            }
            8 => {
                let n = self.length()?;
                Value::Bytes(self.take(n)?)
            }
            9 | 10 => {
                let head = self.byte()?;
                let n = if head >> 4 == 15 { self.length()? } else { usize::from(head >> 4) };
                // Each element has a byte at least.
                if n > self.0.len() {
                    return Err(Broken("a list is longer than the file"));
                }
                let elements = (0..n).map(|_| self.value(head & 0xf, depth + 1));
                Value::List(elements.collect::<Result<_, _>>()?)
            }
            12 => Value::Fields(self.structure(depth + 1)?),
            _ => return Err(Broken("a value has an unknown type")),
        })
    }
}
