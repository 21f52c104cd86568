//! A JSON object of any length, member by member: the items of one of its arrays are handed on one
//! by one, so that memory is bounded by the longest item.

use std::collections::BTreeSet;
use std::io::Read;

use ir::diagnostic::Diagnostic;
use serde_json::Value;

use crate::json;
use crate::source::unreadable;

/// Bytes read at once.
const BLOCK: usize = 256 << 10;

/// Longest item, and longest member that is not split into items, in bytes.
const MAX_ITEM: usize = 16 << 20;

/// Bytes of a file in which the keys of a streamed format are looked for.
pub(crate) const HEAD: usize = 256 << 10;

/// A part of the object.
pub(crate) enum Part<'a> {
    /// An item of the array that is split, with its number from 0.
    Item(u64, &'a [u8]),
    /// Any other member: key and text.
    Member(&'a str, &'a [u8]),
}

/// Calls `on` with every part of an object; the array under `split` is given item by item.
///
/// # Errors
/// Those of [`json::top_keys`], `missing-member` where no array is called `split`, and what `on`
/// finds.
pub(crate) fn each(
    source: Box<dyn Read + '_>,
    split: &str,
    on: &mut dyn FnMut(Part<'_>) -> Result<(), Diagnostic>,
) -> Result<(), Diagnostic> {
    let mut text = Text { source, buffer: Vec::new(), at: 0, passed: 0, is_over: false };
    if text.ahead(json::BYTE_ORDER_MARK.len())?.starts_with(json::BYTE_ORDER_MARK) {
        text.at += json::BYTE_ORDER_MARK.len();
    }
    text.expect(b'{')?;
    let mut seen = BTreeSet::new();
    let mut is_split = false;
    let mut is_empty = text.is_next(b'}')?;
    while !is_empty {
        let key = json::parse::<String>(text.value()?);
        let key = key.map_err(|error| text.at(error))?;
        text.expect(b':')?;
        if key == split && text.next()? == Some(b'[') {
            text.items(on)?;
            is_split = true;
        } else {
            let value = text.value()?;
            let _: Value = json::parse(value)?;
            on(Part::Member(&key, value))?;
        }
        if !seen.insert(key.clone()) {
            return Err(
                text.at(Diagnostic::input("duplicate-key", format!("duplicate key `{key}`")))
            );
        }
        is_empty = !text.is_next(b',')?;
        if is_empty {
            text.expect(b'}')?;
        }
    }
    if text.next()?.is_some() {
        return Err(text.invalid("there is more behind the object"));
    }
    if !is_split {
        let what = format!("the file has no array `{split}`");
        return Err(Diagnostic::input("missing-member", what).fact("member", split));
    }
    Ok(())
}

/// The text around a position.
struct Text<'a> {
    source: Box<dyn Read + 'a>,
    buffer: Vec<u8>,
    /// Position in the buffer.
    at: usize,
    /// Bytes before the buffer.
    passed: u64,
    is_over: bool,
}

impl Text<'_> {
    fn items(
        &mut self,
        on: &mut dyn FnMut(Part<'_>) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        self.expect(b'[')?;
        if self.is_next(b']')? {
            return Ok(());
        }
        for n in 0.. {
            let offset = self.passed + self.at as u64;
            let item = self.value()?;
            on(Part::Item(n, item)).map_err(|error| error.fact("offset", offset))?;
            if !self.is_next(b',')? {
                break;
            }
        }
        self.expect(b']')
    }

    /// Reads one more block; whether there was one.
    fn grow(&mut self) -> Result<bool, Diagnostic> {
        if self.is_over {
            return Ok(false);
        }
        if self.at > BLOCK {
            self.buffer.drain(..self.at);
            self.passed += self.at as u64;
            self.at = 0;
        }
        let start = self.buffer.len();
        self.buffer.resize(start + BLOCK, 0);
        let n = loop {
            match self.source.read(&mut self.buffer[start..]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.at(broken(&error))),
                Ok(n) => break n,
            }
        };
        self.buffer.truncate(start + n);
        self.is_over = n == 0;
        Ok(n > 0)
    }

    /// What is left of the buffer, at least `n` bytes unless the text ends.
    fn ahead(&mut self, n: usize) -> Result<&[u8], Diagnostic> {
        while self.buffer.len() - self.at < n && self.grow()? {}
        Ok(&self.buffer[self.at..])
    }

    /// The next byte that is no blank.
    fn next(&mut self) -> Result<Option<u8>, Diagnostic> {
        loop {
            match self.buffer.get(self.at).copied() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(byte) => return Ok(Some(byte)),
                None if self.grow()? => {}
                None => return Ok(None),
            }
        }
    }

    fn is_next(&mut self, byte: u8) -> Result<bool, Diagnostic> {
        let is_next = self.next()? == Some(byte);
        self.at += usize::from(is_next);
        Ok(is_next)
    }

    fn expect(&mut self, byte: u8) -> Result<(), Diagnostic> {
        if self.is_next(byte)? {
            return Ok(());
        }
        match self.next()? {
            None => Err(self.truncated()),
            Some(_) => Err(self.invalid(&format!("`{}` is expected", char::from(byte)))),
        }
    }

    /// The text of the next value; that it is valid is left to whoever parses it.
    fn value(&mut self) -> Result<&[u8], Diagnostic> {
        let Some(first) = self.next()? else { return Err(self.truncated()) };
        let mut length = 0;
        let mut scan = Scan { depth: 0, is_text: false, is_escaped: false };
        loop {
            let ahead = &self.buffer[self.at + length..];
            let n_ahead = ahead.len();
            if let Some(end) = scan.end(ahead) {
                length += end;
                break;
            }
            length += n_ahead;
            if length > MAX_ITEM {
                let what = format!("a value is longer than {MAX_ITEM} bytes");
                return Err(self
                    .at(Diagnostic::input("size-budget", what))
                    .fact("limit", MAX_ITEM));
            }
            if !self.grow()? {
                if matches!(first, b'{' | b'[' | b'"') || length == 0 {
                    return Err(self.truncated());
                }
                break;
            }
        }
        if length == 0 {
            return Err(self.invalid("a value is expected"));
        }
        let start = self.at;
        self.at += length;
        Ok(&self.buffer[start..start + length])
    }

    fn at(&self, error: Diagnostic) -> Diagnostic {
        error.fact("offset", self.passed + self.at as u64)
    }

    fn invalid(&self, what: &str) -> Diagnostic {
        self.at(Diagnostic::input("invalid-json", format!("this is no valid JSON: {what}")))
    }

    fn truncated(&self) -> Diagnostic {
        self.at(Diagnostic::input("truncated-json", "unexpected end of JSON"))
    }
}

/// Where in a value a scan is.
struct Scan {
    depth: u32,
    is_text: bool,
    is_escaped: bool,
}

impl Scan {
    /// Bytes of `text` up to the end of the value, if it ends there.
    fn end(&mut self, text: &[u8]) -> Option<usize> {
        for (at, byte) in text.iter().enumerate() {
            if self.is_text {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => {
                        self.is_text = false;
                        if self.depth == 0 {
                            return Some(at + 1);
                        }
                    }
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.is_text = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth == 0 => return Some(at),
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if self.depth == 0 => {
                    return Some(at);
                }
                _ => {}
            }
        }
        None
    }
}

/// A failed read: of the disk, or of the gzip stream.
fn broken(error: &std::io::Error) -> Diagnostic {
    use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    match error.kind() {
        InvalidData | InvalidInput | UnexpectedEof => {
            let what = format!("the gzip file is damaged: {error}");
            Diagnostic::input("invalid-archive", what)
        }
        _ => unreadable(error),
    }
}

/// The keys at the top of an object that begin within `head`; more may follow behind it.
pub(crate) fn keys_of_head(head: &[u8]) -> BTreeSet<String> {
    let head = head.strip_prefix(json::BYTE_ORDER_MARK).unwrap_or(head);
    let mut keys = BTreeSet::new();
    let (mut depth, mut start, mut is_escaped) = (0u32, None, false);
    let mut last = None;
    for (at, byte) in head.iter().enumerate() {
        if let Some(from) = start {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => {
                    last = std::str::from_utf8(&head[from..at]).ok();
                    start = None;
                }
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => start = Some(at + 1),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b':' if depth == 1 => keys.extend(last.take().map(str::to_owned)),
            _ => {}
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that gives one byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let n = self.0.len().min(buffer.len()).min(1);
            buffer[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn parts(text: &str) -> Result<Vec<String>, Diagnostic> {
        let mut found = Vec::new();
        let mut on = |part: Part<'_>| {
            let (key, text) = match part {
                Part::Item(n, text) => (n.to_string(), text),
                Part::Member(key, text) => (key.to_owned(), text),
            };
            let value: Value = json::parse(text)?;
            found.push(format!("{key}={value}"));
            Ok(())
        };
        each(Box::new(Slow(text.as_bytes())), "list", &mut on)?;
        Ok(found)
    }

    #[test]
    fn items_and_members_are_told_apart() {
        let text = r#" {"a":1,"list" : [ {"x":"}\""}, 2 , [3,[4]],"s" ], "b" : {"list":[5]} } "#;
        let wanted =
            ["a=1", r#"0={"x":"}\""}"#, "1=2", "2=[3,[4]]", r#"3="s""#, r#"b={"list":[5]}"#];
        assert_eq!(parts(text).unwrap(), wanted);
        assert_eq!(parts(r#"{"list":[]}"#).unwrap(), [""; 0]);
    }

    #[test]
    fn faults_have_codes() {
        let code = |text: &str| parts(text).unwrap_err().code;
        for cut in ["", "{", r#"{"list""#, r#"{"list":[1"#, r#"{"list":[1,"#, r#"{"list":[{"a":"#] {
            assert_eq!(code(cut), "truncated-json", "{cut}");
        }
        assert_eq!(code("{}"), "missing-member");
        assert_eq!(code(r#"{"list":1}"#), "missing-member");
        assert_eq!(code(r#"{"list":[1 2]}"#), "invalid-json");
        assert_eq!(code(r#"{"list":[],"list":[]}"#), "duplicate-key");
        assert_eq!(code(r#"{"list":[]} x"#), "invalid-json");
        assert_eq!(code(r#"{"list":[}]}"#), "invalid-json");
        assert_eq!(code(r#"{"list":[NaN]}"#), "invalid-json");
        let deep = format!(r#"{{"list":[{}]}}"#, "[".repeat(5_000) + &"]".repeat(5_000));
        assert_eq!(code(&deep), "nesting-limit");
    }

    #[test]
    fn keys_are_found_before_the_end() {
        let keys = keys_of_head(br#"{"schema":"a:b","time":{"in":1},"nodes":[{"id":1},{"#);
        assert_eq!(keys.into_iter().collect::<Vec<_>>(), ["nodes", "schema", "time"]);
    }
}
