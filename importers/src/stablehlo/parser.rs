//! From tokens to a program: modules and functions; [`operation`] reads what is in them.

mod operation;
mod scope;

use ir::diagnostic::Diagnostic;

use super::fault::{AGAIN, fault, shown};
use super::lexer::{Kind, Lexer, Token};
use super::syntax::{Function, Operation, Port, Program, Region, clause, unquoted};
use super::types::TypeId;
use scope::Scope;

/// Regions within regions.
const MAX_DEPTH: usize = 64;
/// Brackets within an attribute.
const MAX_BRACKETS: usize = 1_000;
/// Most operations of a text.
const MAX_OPERATIONS: usize = 2_000_000;

/// Attributes by name.
type Clauses<'t> = Vec<(&'t [u8], &'t [u8])>;

/// Parses a text.
///
/// # Errors
/// `invalid-mlir`, `truncated-text`, `nesting-limit`, `size-budget`, `duplicate-id`,
/// `undefined-tensor`, `type-mismatch`, and those of types; each with line and column.
pub(super) fn parse(text: &[u8]) -> Result<Program<'_>, Diagnostic> {
    let mut lexer = Lexer { text, at: 0 };
    let token = lexer.next()?;
    let mut parser = Parser {
        lexer,
        token,
        end: 0,
        depth: 0,
        n_operations: 0,
        scope: Scope::default(),
        program: Program::default(),
    };
    parser.top()?;
    Ok(parser.program)
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    token: Token<'t>,
    /// Where the token before ended.
    end: usize,
    depth: usize,
    n_operations: usize,
    scope: Scope<'t>,
    program: Program<'t>,
}

type Done<T> = Result<T, Diagnostic>;

impl<'t> Parser<'t> {
    fn fault(&self, at: usize, code: &'static str, message: impl Into<String>) -> Diagnostic {
        fault(self.lexer.text, at, code, message)
    }

    fn unexpected(&self, wanted: &str) -> Diagnostic {
        if self.token.kind == Kind::End {
            let message = format!("the text ends where {wanted} is expected");
            return self.fault(self.token.at, "truncated-text", message).hint(AGAIN);
        }
        let message = format!("`{}` stands where {wanted} is expected", shown(self.token.text));
        self.fault(self.token.at, "invalid-mlir", message).hint(AGAIN)
    }

    fn next(&mut self) -> Done<Token<'t>> {
        let token = self.token;
        self.end = token.end();
        self.token = self.lexer.next()?;
        Ok(token)
    }

    fn take(&mut self, mark: u8) -> Done<bool> {
        let is = self.token.is(mark);
        if is {
            self.next()?;
        }
        Ok(is)
    }

    fn take_word(&mut self, word: &str) -> Done<bool> {
        let is = self.token.is_word(word);
        if is {
            self.next()?;
        }
        Ok(is)
    }

    fn expect(&mut self, mark: u8) -> Done<()> {
        if self.take(mark)? { Ok(()) } else { Err(self.unexpected(&format!("`{}`", mark as char))) }
    }

    /// The text of the next token, which is of this kind.
    fn expect_kind(&mut self, kind: Kind, wanted: &str) -> Done<&'t [u8]> {
        if self.token.kind != kind {
            return Err(self.unexpected(wanted));
        }
        Ok(self.next()?.text)
    }

    fn read_type(&mut self) -> Done<TypeId> {
        if !matches!(self.token.kind, Kind::Word | Kind::TypeAlias) {
            if self.token.is(b'(') {
                return self.function_type();
            }
            return Err(self.unexpected("a type"));
        }
        let (id, end) = self.program.types.read(self.lexer.text, self.token.at)?;
        self.lexer.at = end;
        self.next()?;
        self.end = end;
        Ok(id)
    }

    /// `(...) -> ...` where one type is asked for: no data.
    fn function_type(&mut self) -> Done<TypeId> {
        self.skip_value(&[])?;
        if self.token.kind == Kind::Arrow {
            self.next()?;
            self.skip_value(&[])?;
        }
        self.program.types.read(b"none", 0).map(|(id, _)| id)
    }

    /// The text up to one of these marks outside all brackets; one bracket or word where there are
    /// none.
    fn skip_value(&mut self, ends: &[u8]) -> Done<&'t [u8]> {
        let start = self.token.at;
        let mut open = Vec::new();
        loop {
            match self.token.kind {
                Kind::End => return Err(self.unexpected("the end of an attribute")),
                Kind::Mark(mark) if open.is_empty() && ends.contains(&mark) => break,
                Kind::Mark(mark @ (b'(' | b'[' | b'{' | b'<')) => {
                    // The closing bracket is one or two characters on.
                    open.push(if mark == b'(' { b')' } else { mark + 2 });
                    if open.len() > MAX_BRACKETS {
                        let message = "the brackets of an attribute are too deep";
                        return Err(self.fault(self.token.at, "nesting-limit", message));
                    }
                }
                Kind::Mark(mark @ (b')' | b']' | b'}' | b'>')) if open.pop() != Some(mark) => {
                    return Err(self.unexpected("the bracket that closes this attribute"));
                }
                _ => {}
            }
            let token = self.next()?;
            let names_brackets = self.token.is(b'<') && self.token.at == token.end();
            if ends.is_empty() && open.is_empty() && !names_brackets {
                break;
            }
        }
        Ok(&self.lexer.text[start..self.end.max(start)])
    }

    /// `name = value, ...` up to the brace that closes it.
    fn attributes(&mut self, clauses: &mut Clauses<'t>) -> Done<()> {
        while !self.token.is(b'}') {
            let name = match self.token.kind {
                Kind::Word => self.next()?.text,
                Kind::Text => unquoted(self.next()?.text),
                _ => return Err(self.unexpected("an attribute's name")),
            };
            let value = if self.take(b'=')? { self.skip_value(b",}")? } else { b"" };
            clauses.push((name, value));
            if !self.take(b',')? {
                break;
            }
        }
        self.expect(b'}')
    }

    /// `loc(...)`, if it stands here: what it holds.
    fn location(&mut self) -> Done<&'t [u8]> {
        if !self.take_word("loc")? {
            return Ok(b"");
        }
        if !self.token.is(b'(') {
            return Err(self.unexpected("`(`"));
        }
        let all = self.skip_value(&[])?;
        Ok(&all[1..all.len() - 1])
    }

    fn top(&mut self) -> Done<()> {
        while self.token.kind != Kind::End {
            match self.token.kind {
                Kind::Alias | Kind::TypeAlias => self.alias()?,
                _ if self.token.is_word("module") || self.token.is_word("builtin.module") => {
                    self.module()?;
                }
                _ => self.item()?,
            }
        }
        Ok(())
    }

    /// `#loc1 = loc(...)`, `!name = type`.
    fn alias(&mut self) -> Done<()> {
        let name = self.next()?;
        self.expect(b'=')?;
        if name.kind == Kind::TypeAlias {
            let id = self.read_type()?;
            self.program.types.name(name.text, id);
        } else if self.token.is_word("loc") {
            let location = self.location()?;
            self.program.locations.insert(name.text, location);
        } else {
            self.skip_value(&[])?;
        }
        Ok(())
    }

    fn module(&mut self) -> Done<()> {
        self.next()?;
        if self.token.kind == Kind::Symbol {
            self.program.name = unquoted(&self.next()?.text[1..]);
        }
        if self.take_word("attributes")? {
            self.expect(b'{')?;
            let mut attributes = Vec::new();
            self.attributes(&mut attributes)?;
            self.program.attributes.extend(attributes);
        }
        self.expect(b'{')?;
        while !self.token.is(b'}') {
            self.item()?;
        }
        self.expect(b'}')?;
        self.location()?;
        Ok(())
    }

    /// An operation of a module.
    fn item(&mut self) -> Done<()> {
        if self.token.is_word("func.func") || self.token.is_word("func") {
            return self.function();
        }
        let operation = self.operation()?;
        self.generic_item(operation)
    }

    /// Modules and functions that are printed as any other operation.
    fn generic_item(&mut self, mut operation: Operation<'t>) -> Done<()> {
        match operation.name {
            b"builtin.module" => {
                self.program.attributes.append(&mut operation.clauses);
                for inner in operation.regions.into_iter().flat_map(|region| region.operations) {
                    self.generic_item(inner)?;
                }
            }
            b"func.func" => {
                let text = |name| clause(&operation.clauses, name).map(unquoted);
                let name = text("sym_name").unwrap_or_default();
                let is_public = text("sym_visibility").is_none_or(|word| word != b"private");
                let body = operation.regions.pop().unwrap_or_default();
                let port = Port { label: b"", attributes: Vec::new(), location: b"" };
                let arguments = vec![port.clone(); body.arguments.len()];
                let results = vec![port; body.returned().len()];
                let at = operation.at;
                let function = Function { name, at, arguments, results, body, is_public };
                self.program.functions.push(function);
            }
            _ => self.program.others.push(operation),
        }
        Ok(())
    }

    fn function(&mut self) -> Done<()> {
        let at = self.next()?.at as u32;
        let is_public = !self.token.is_word("private");
        if self.token.kind == Kind::Word {
            self.next()?;
        }
        let name = unquoted(&self.expect_kind(Kind::Symbol, "the name of a function")?[1..]);
        let outer = std::mem::take(&mut self.scope);
        self.expect(b'(')?;
        let (mut arguments, mut values) = (Vec::new(), Vec::new());
        while !self.token.is(b')') {
            let is_named = self.token.kind == Kind::Value;
            let label = if is_named { self.next()? } else { self.token };
            if is_named {
                self.expect(b':')?;
            }
            let type_id = self.read_type()?;
            let value = self.define_typed(type_id);
            if is_named {
                self.scope.define(label, value, 1).map_err(|why| self.twice(label, why))?;
            }
            values.push(value);
            arguments.push(self.port(if is_named { label.text } else { b"" })?);
            if !self.take(b',')? {
                break;
            }
        }
        self.expect(b')')?;
        let results = self.results()?;
        if self.take_word("attributes")? {
            self.expect(b'{')?;
            self.attributes(&mut Vec::new())?;
        }
        let mut body = Region { arguments: values, operations: Vec::new() };
        if self.take(b'{')? {
            body.operations = self.block()?;
        }
        self.location()?;
        self.scope = outer;
        let function = Function { name, at, arguments, results, body, is_public };
        self.program.functions.push(function);
        Ok(())
    }

    /// `-> (type {...}, ...)` or `-> type`, if it stands here.
    fn results(&mut self) -> Done<Vec<Port<'t>>> {
        if self.token.kind != Kind::Arrow {
            return Ok(Vec::new());
        }
        self.next()?;
        if !self.take(b'(')? {
            self.read_type()?;
            return Ok(vec![self.port(b"")?]);
        }
        let mut results = Vec::new();
        while !self.token.is(b')') {
            self.read_type()?;
            results.push(self.port(b"")?);
            if !self.take(b',')? {
                break;
            }
        }
        self.expect(b')')?;
        Ok(results)
    }

    fn port(&mut self, label: &'t [u8]) -> Done<Port<'t>> {
        let mut attributes = Vec::new();
        // Behind `-> type` a brace begins the body.
        if !(label.is_empty() && self.token.is(b'{') && self.is_body()) && self.take(b'{')? {
            self.attributes(&mut attributes)?;
        }
        Ok(Port { label, attributes, location: self.location()? })
    }

    /// Whether the brace here begins a body and no attributes.
    fn is_body(&self) -> bool {
        let mut ahead = self.lexer.clone();
        let Ok(first) = ahead.next() else { return true };
        let Ok(second) = ahead.next() else { return true };
        let is_name = matches!(first.kind, Kind::Word | Kind::Text);
        !(first.is(b'}') || is_name && (second.is(b'=') || second.is(b',') || second.is(b'}')))
    }
}
