//! The pages of a column.

use std::io::Read;

use super::thrift::{Fields, Reader};
use super::{Broken, Column, MAX_ROWS};

/// Largest decompressed column, bytes: twice the most rows of eight bytes.
const MAX_UNPACKED: usize = 16 * MAX_ROWS;
/// Most pages of a column.
const MAX_PAGES: usize = 1 << 16;

/// Kinds of pages.
mod page_kind {
    pub(super) const DATA: i64 = 0;
    pub(super) const DICTIONARY: i64 = 2;
}

/// Encodings: plain values, and dictionary indices under both of their numbers.
mod encoding {
    pub(super) const PLAIN: i64 = 0;
    pub(super) const PLACES: [i64; 2] = [2, 8];
}

/// Values of a column.
#[derive(Debug)]
enum Values {
    Text(Vec<String>),
    Whole(Vec<i64>),
    Real(Vec<f64>),
}

impl Values {
    fn new(kind: Option<i64>) -> Result<Self, Broken> {
        match kind {
            Some(2) => Ok(Self::Whole(Vec::new())),
            Some(5) => Ok(Self::Real(Vec::new())),
            Some(6) => Ok(Self::Text(Vec::new())),
            _ => Err(Broken("a column has neither text nor numbers of 64 bits")),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Text(values) => values.len(),
            Self::Whole(values) => values.len(),
            Self::Real(values) => values.len(),
        }
    }

    /// Reads `n` plain values; each has four bytes at least.
    fn read(&mut self, from: &mut Reader, n: usize) -> Result<(), Broken> {
        for _ in 0..n {
            match self {
                Self::Whole(values) => values.push(i64::from_le_bytes(eight(from)?)),
                Self::Real(values) => values.push(f64::from_le_bytes(eight(from)?)),
                Self::Text(values) => {
                    let n = four(from)?;
                    let text = std::str::from_utf8(from.take(n)?);
                    values.push(text.map_err(|_| Broken("a text is no UTF-8"))?.to_owned());
                }
            }
        }
        Ok(())
    }
}

fn four(from: &mut Reader) -> Result<usize, Broken> {
    let bytes = from.take(4)?;
    Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
}

fn eight(from: &mut Reader) -> Result<[u8; 8], Broken> {
    from.take(8)?.try_into().map_err(|_| Broken("it ends too early"))
}

/// A column, read page by page.
#[derive(Debug)]
pub(super) struct Chunk {
    kind: Option<i64>,
    is_optional: bool,
    n_rows: usize,
    /// Values of dictionaries and of plain pages.
    values: Values,
    /// Index of the first value of the current dictionary.
    dictionary: usize,
    /// Index of each row's value.
    places: Vec<Option<u32>>,
    /// Remaining bytes of decompressed pages.
    left: usize,
}

impl Chunk {
    pub(super) fn new(element: &Fields, n_rows: usize) -> Result<Self, Broken> {
        let is_optional = match element.whole(3) {
            Some(0) => false,
            Some(1) => true,
            _ => return Err(Broken("a cell holds lists")),
        };
        let kind = element.whole(1);
        let values = Values::new(kind)?;
        Ok(Self {
            kind,
            is_optional,
            n_rows,
            values,
            dictionary: 0,
            places: Vec::new(),
            left: MAX_UNPACKED,
        })
    }

    /// Reads the pages of a row group.
    pub(super) fn read(&mut self, bytes: &[u8], group: &Fields) -> Result<(), Broken> {
        if group.whole(1) != self.kind {
            return Err(Broken("a column has two types"));
        }
        let data = group.size(9)?;
        let start = group.size(11).map_or(data, |dictionary| data.min(dictionary));
        let length = group.size(7)?;
        let all = bytes.get(start..).and_then(|rest| rest.get(..length));
        let mut pages = Reader(all.ok_or(Broken("a column lies beyond the end of the file"))?);
        let end = self.places.len().saturating_add(group.size(5)?);
        if end > self.n_rows {
            return Err(Broken("a column has more rows than the table"));
        }
        self.dictionary = self.values.len();
        for _ in 0..MAX_PAGES {
            if self.places.len() == end {
                return Ok(());
            }
            self.page(&mut pages, group.whole(4), end)?;
        }
        Err(Broken("a column has too many pages"))
    }

    fn page(&mut self, pages: &mut Reader, codec: Option<i64>, end: usize) -> Result<(), Broken> {
        let head = pages.fields()?;
        let (packed, size) = (pages.take(head.size(3)?)?, head.size(2)?);
        self.left = self.left.checked_sub(size).ok_or(Broken("a column is too large"))?;
        match head.whole(1) {
            Some(page_kind::DICTIONARY) => {
                let about = head.fields(7).ok_or(Broken("a dictionary has no header"))?;
                let bytes = unpacked(packed, codec, size)?;
                let n = about.size(1)?;
                if n > self.n_rows {
                    return Err(Broken("a dictionary has more values than the table has rows"));
                }
                self.dictionary = self.values.len();
                self.values.read(&mut Reader(&bytes), n)
            }
            Some(page_kind::DATA) => {
                let about = head.fields(5).ok_or(Broken("a page has no header"))?;
                let n = about.size(1)?;
                if n > end - self.places.len() {
                    return Err(Broken("a page has more rows than its column"));
                }
                let bytes = unpacked(packed, codec, size)?;
                self.rows(&mut Reader(&bytes), n, about.whole(2))
            }
            _ => Err(Broken("a page is of an unsupported kind")),
        }
    }

    fn rows(&mut self, from: &mut Reader, n: usize, encoding: Option<i64>) -> Result<(), Broken> {
        let present = if self.is_optional {
            let length = four(from)?;
            runs(&mut Reader(from.take(length)?), 1, n)?
        } else {
            vec![1; n]
        };
        let n_present = present.iter().filter(|present| **present == 1).count();
        let mut places = match encoding {
            Some(encoding::PLAIN) => {
                let first = self.values.len();
                self.values.read(from, n_present)?;
                (first..self.values.len()).collect::<Vec<_>>()
            }
            Some(found) if encoding::PLACES.contains(&found) => {
                let width = from.byte()?;
                let places = runs(from, u32::from(width), n_present)?;
                places.into_iter().map(|place| self.dictionary + place as usize).collect()
            }
            _ => return Err(Broken("a page has an unsupported encoding")),
        };
        if places.iter().any(|place| *place >= self.values.len()) {
            return Err(Broken("a value is not in its dictionary"));
        }
        let mut places = places.drain(..);
        self.places.extend(present.into_iter().map(|is_present| {
            let place = if is_present == 1 { places.next() } else { None };
            place.and_then(|place| u32::try_from(place).ok())
        }));
        Ok(())
    }

    /// The column, if it is complete.
    pub(super) fn column(self) -> Result<Column, Broken> {
        if self.places.len() != self.n_rows {
            return Err(Broken("a column has fewer rows than the table"));
        }
        let places = self.places;
        Ok(match self.values {
            Values::Text(texts) => Column::Text(texts, places),
            Values::Whole(values) => Column::Whole(cells(&values, &places)),
            Values::Real(values) => Column::Real(cells(&values, &places)),
        })
    }
}

fn cells<T: Copy>(values: &[T], places: &[Option<u32>]) -> Vec<Option<T>> {
    places.iter().map(|place| place.map(|place| values[place as usize])).collect()
}

/// Decompresses a page.
fn unpacked(packed: &[u8], codec: Option<i64>, size: usize) -> Result<Vec<u8>, Broken> {
    let damaged = Broken("a page can't be decompressed");
    let bytes = match codec {
        Some(0) => packed.to_vec(),
        Some(1) => {
            if snap::raw::decompress_len(packed).ok() != Some(size) {
                return Err(damaged);
            }
            snap::raw::Decoder::new().decompress_vec(packed).map_err(|_| damaged)?
        }
        Some(6) => {
            let stream = ruzstd::decoding::StreamingDecoder::new(packed).map_err(|_| damaged)?;
            let mut bytes = Vec::new();
            stream.take(size as u64 + 1).read_to_end(&mut bytes).map_err(|_| damaged)?;
            bytes
        }
        _ => return Err(Broken("it is compressed with neither Snappy nor Zstandard")),
    };
    if bytes.len() == size { Ok(bytes) } else { Err(damaged) }
}

/// Decodes `n` numbers of `width` bits: run-length-encoded and bit-packed runs.
fn runs(from: &mut Reader, width: u32, n: usize) -> Result<Vec<u32>, Broken> {
    if width > 32 {
        return Err(Broken("a place has more than 32 bits"));
    }
    let mut numbers = Vec::new();
    while numbers.len() < n {
        let left = n - numbers.len();
        let head = from.varint()?;
        let length = usize::try_from(head >> 1).unwrap_or(usize::MAX);
        if length == 0 {
            return Err(Broken("a run is empty"));
        }
        if head & 1 == 0 {
            let bytes = from.take(width.div_ceil(8) as usize)?;
            let value = bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
            numbers.resize(numbers.len() + length.min(left), value);
            continue;
        }
        let n_bytes = length.saturating_mul(width as usize);
        let bytes = from.take(n_bytes.min(from.0.len()))?;
        let n_here = length.saturating_mul(8).min(left);
        let available = bytes.len().saturating_mul(8) / (width as usize).max(1);
        if width > 0 && available < n_here {
            return Err(Broken("it ends too early"));
        }
        let (mut buffer, mut n_bits, mut rest) = (0_u64, 0, bytes.iter());
        for _ in 0..n_here {
            while n_bits < width {
                buffer |= u64::from(rest.next().copied().unwrap_or(0)) << n_bits;
                n_bits += 8;
            }
            numbers.push(u32::try_from(buffer & ((1 << width) - 1)).unwrap_or(u32::MAX));
            (buffer, n_bits) = (buffer >> width, n_bits - width);
        }
    }
    Ok(numbers)
}
