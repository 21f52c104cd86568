//! Tokens of MLIR's text. A constant is one token however long it is, and nothing of it is kept.

use ir::diagnostic::Diagnostic;

use super::fault::fault;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `stablehlo.add`, `tensor`, `dims`.
    Word,
    /// `4`, `-1.5e-3`, `0xFF`.
    Number,
    /// `"..."`.
    Text,
    /// `%0`, `%0#1`.
    Value,
    /// `@main`.
    Symbol,
    /// `^bb0`.
    Label,
    /// `#loc1`, `#stablehlo.dot`.
    Alias,
    /// `!quant.uniform`.
    TypeAlias,
    /// `dense<...>`.
    Dense,
    /// `->`.
    Arrow,
    /// Any other character.
    Mark(u8),
    /// The end of the text.
    End,
}

/// A piece of the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    pub(super) at: usize,
    pub(super) text: &'t [u8],
}

impl Token<'_> {
    pub(super) fn is(&self, mark: u8) -> bool {
        self.kind == Kind::Mark(mark)
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text == word.as_bytes()
    }

    pub(super) fn end(&self) -> usize {
        self.at + self.text.len()
    }
}

/// Reads tokens one after the other.
#[derive(Clone, Debug)]
pub(super) struct Lexer<'t> {
    pub(super) text: &'t [u8],
    pub(super) at: usize,
}

const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'$')
}

/// Names of values, symbols and aliases may hold a dash.
const fn is_suffix(byte: u8) -> bool {
    is_name(byte) || byte == b'-'
}

impl<'t> Lexer<'t> {
    fn fault(&self, at: usize, code: &'static str, message: &str) -> Diagnostic {
        fault(self.text, at, code, message)
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// Moves behind blanks, comments and blobs of dialects.
    ///
    /// # Errors
    /// `truncated-text` in a blob without an end.
    pub(super) fn skip_blanks(&mut self) -> Result<(), Diagnostic> {
        loop {
            match self.peek(0) {
                b' ' | b'\n' | b'\t' | b'\r' => self.at += 1,
                b'/' if self.peek(1) == b'/' => {
                    let rest = &self.text[self.at..];
                    self.at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
                }
                b'{' if self.text[self.at..].starts_with(b"{-#") => self.skip_blob()?,
                _ => return Ok(()),
            }
        }
    }

    fn skip_blob(&mut self) -> Result<(), Diagnostic> {
        let start = self.at;
        while self.at < self.text.len() {
            match self.peek(0) {
                b'"' => self.skip_text()?,
                b'#' if self.text[self.at..].starts_with(b"#-}") => {
                    self.at += 3;
                    return Ok(());
                }
                _ => self.at += 1,
            }
        }
        Err(self.fault(start, "truncated-text", "`{-#` has no `#-}`"))
    }

    /// Moves behind a string that begins here.
    fn skip_text(&mut self) -> Result<(), Diagnostic> {
        let start = self.at;
        self.at += 1;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let next = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | b'\n'));
            match next.map(|found| (found, rest[found])) {
                Some((found, b'"')) => {
                    self.at += found + 1;
                    return Ok(());
                }
                Some((found, b'\\')) => self.at += found + 2,
                _ => return Err(self.fault(start, "truncated-text", "this string has no end")),
            }
        }
    }

    /// Moves behind `<...>` of a constant that begins here.
    fn skip_dense(&mut self) -> Result<(), Diagnostic> {
        let start = self.at;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(found) = rest.iter().position(|byte| matches!(byte, b'"' | b'>')) else {
                return Err(self.fault(start, "truncated-text", "this constant has no end"));
            };
            self.at += found;
            if self.peek(0) == b'>' {
                self.at += 1;
                return Ok(());
            }
            self.skip_text()?;
        }
    }

    fn run(&mut self, part: fn(u8) -> bool) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(|byte| !part(*byte)).unwrap_or(rest.len());
    }

    /// The next token.
    ///
    /// # Errors
    /// `truncated-text`.
    pub(super) fn next(&mut self) -> Result<Token<'t>, Diagnostic> {
        self.skip_blanks()?;
        let at = self.at;
        let kind = if at < self.text.len() { self.kind()? } else { Kind::End };
        // An escape may be the last character.
        self.at = self.at.min(self.text.len());
        Ok(Token { kind, at, text: &self.text[at..self.at] })
    }

    fn kind(&mut self) -> Result<Kind, Diagnostic> {
        let first = self.peek(0);
        if first.is_ascii_alphabetic() || first == b'_' {
            let start = self.at;
            self.run(is_name);
            if &self.text[start..self.at] == b"dense" && self.peek(0) == b'<' {
                self.skip_dense()?;
                return Ok(Kind::Dense);
            }
            return Ok(Kind::Word);
        }
        if first.is_ascii_digit() || (first == b'-' && self.peek(1).is_ascii_digit()) {
            self.number();
            return Ok(Kind::Number);
        }
        let named = match first {
            b'%' => Some(Kind::Value),
            b'@' => Some(Kind::Symbol),
            b'^' => Some(Kind::Label),
            b'#' => Some(Kind::Alias),
            b'!' => Some(Kind::TypeAlias),
            _ => None,
        };
        if let Some(kind) = named {
            self.name(kind)?;
            return Ok(kind);
        }
        match first {
            b'"' => {
                self.skip_text()?;
                Ok(Kind::Text)
            }
            b'-' if self.peek(1) == b'>' => {
                self.at += 2;
                Ok(Kind::Arrow)
            }
            _ => {
                self.at += 1;
                Ok(Kind::Mark(first))
            }
        }
    }

    fn name(&mut self, kind: Kind) -> Result<(), Diagnostic> {
        self.at += 1;
        if kind == Kind::Symbol && self.peek(0) == b'"' {
            return self.skip_text();
        }
        // An arrow may follow without a blank.
        self.run(if matches!(kind, Kind::Value | Kind::Symbol) { is_suffix } else { is_name });
        if kind == Kind::Value && self.peek(0) == b'#' {
            self.at += 1;
            self.run(|byte| byte.is_ascii_digit());
        }
        Ok(())
    }

    fn number(&mut self) {
        self.at += 1;
        if self.peek(0) == b'x'
            && self.text[self.at - 1] == b'0'
            && self.peek(1).is_ascii_hexdigit()
        {
            self.at += 1;
            self.run(|byte| byte.is_ascii_hexdigit());
            return;
        }
        self.run(|byte| byte.is_ascii_digit());
        if self.peek(0) == b'.' {
            self.at += 1;
            self.run(|byte| byte.is_ascii_digit());
        }
        let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
        if matches!(self.peek(0), b'e' | b'E') && self.peek(1 + sign).is_ascii_digit() {
            self.at += 1 + sign;
            self.run(|byte| byte.is_ascii_digit());
        }
    }
}
