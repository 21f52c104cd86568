//! One grammar for operations in their generic and their printed forms: results, a name, then
//! operands, clauses and regions in any order, the types behind a colon, and what the forms of
//! `while`, `reduce` and the like put behind those.

use ir::diagnostic::Diagnostic;

use super::{Done, MAX_DEPTH, MAX_OPERATIONS, Parser};
use crate::stablehlo::fault::shown;
use crate::stablehlo::lexer::{Kind, Token};
use crate::stablehlo::syntax::{Operation, Region, ValueId, unquoted};
use crate::stablehlo::types::TypeId;

/// The types behind the colon.
enum Signature {
    None,
    List(Vec<TypeId>),
    Function(Vec<TypeId>, Vec<TypeId>),
}

/// What has been read of an operation so far.
struct Draft<'t> {
    operation: Operation<'t>,
    signature: Signature,
    /// Arguments of the next region, where the printed form names them in front of it.
    arguments: Vec<ValueId>,
    /// First values of a reduction, which stand behind all that it reduces.
    starts: Vec<ValueId>,
    mark: usize,
}

impl<'t> Parser<'t> {
    pub(super) fn twice(&self, label: Token<'t>, name: &[u8]) -> Diagnostic {
        let message = format!("`{}` is defined twice", shown(name));
        self.fault(label.at, "duplicate-id", message)
    }

    /// A value of this type.
    pub(super) fn define_typed(&mut self, type_id: TypeId) -> ValueId {
        self.program.types_of.push(type_id);
        (self.program.types_of.len() - 1) as ValueId
    }

    fn operand(&mut self) -> Done<ValueId> {
        let token = self.next()?;
        self.scope.find(token.text).ok_or_else(|| {
            let message = format!("`{}` is used but not defined before", shown(token.text));
            self.fault(token.at, "undefined-tensor", message)
        })
    }

    /// Operations up to the brace that closes them.
    pub(super) fn block(&mut self) -> Done<Vec<Operation<'t>>> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} regions lie within each other");
            return Err(self.fault(self.token.at, "nesting-limit", message));
        }
        let mut operations = Vec::new();
        while !self.token.is(b'}') {
            if self.token.kind == Kind::Label {
                let message = "several blocks in a region: branches are not read";
                return Err(self.fault(self.token.at, "unsupported-control-flow", message).hint(
                    "lower it to StableHLO, whose loops and choices are `while` and `case`",
                ));
            }
            if self.token.is_word("func.func") || self.token.is_word("builtin.module") {
                return Err(self.unexpected("an operation"));
            }
            operations.push(self.operation()?);
        }
        self.expect(b'}')?;
        self.depth -= 1;
        Ok(operations)
    }

    /// A region behind its opening brace.
    fn region(&mut self, mut arguments: Vec<ValueId>) -> Done<Region<'t>> {
        let mark = self.scope.mark();
        if self.token.kind == Kind::Label {
            self.next()?;
            if self.take(b'(')? {
                self.arguments(&mut arguments)?;
            }
            self.expect(b':')?;
        }
        let operations = self.block()?;
        self.scope.close(mark);
        Ok(Region { arguments, operations })
    }

    /// `%a: type, ...)`.
    fn arguments(&mut self, arguments: &mut Vec<ValueId>) -> Done<()> {
        while !self.token.is(b')') {
            let label = self.token;
            self.expect_kind(Kind::Value, "an argument")?;
            self.argument(label, arguments)?;
            if !self.take(b',')? {
                break;
            }
        }
        self.expect(b')')
    }

    fn argument(&mut self, label: Token<'t>, arguments: &mut Vec<ValueId>) -> Done<()> {
        self.expect(b':')?;
        let type_id = self.read_type()?;
        let value = self.define_typed(type_id);
        self.scope.define(label, value, 1).map_err(|name| self.twice(label, name))?;
        arguments.push(value);
        self.location()?;
        Ok(())
    }

    /// One operation.
    pub(super) fn operation(&mut self) -> Done<Operation<'t>> {
        self.n_operations += 1;
        if self.n_operations > MAX_OPERATIONS {
            let message = format!("the program has more than {MAX_OPERATIONS} operations");
            return Err(self.fault(self.token.at, "size-budget", message));
        }
        let labels = self.labels()?;
        let name = self.token;
        let op_name = match name.kind {
            Kind::Word => name.text,
            Kind::Text => unquoted(name.text),
            _ => return Err(self.unexpected("an operation")),
        };
        self.next()?;
        let operation = Operation {
            name: op_name,
            at: name.at as u32,
            label: labels.first().map_or(b"", |(label, _)| label.text),
            operands: Vec::new(),
            first_result: 0,
            n_results: 0,
            clauses: Vec::new(),
            regions: Vec::new(),
            location: b"",
        };
        let mark = self.scope.mark();
        let signature = Signature::None;
        let (arguments, starts) = (Vec::new(), Vec::new());
        let mut draft = Draft { operation, signature, arguments, starts, mark };
        while self.part(&mut draft)? {}
        draft.operation.location = self.location()?;
        self.define(draft, &labels)
    }

    /// `%a, %b:2 =`, if it stands here.
    fn labels(&mut self) -> Done<Vec<(Token<'t>, u32)>> {
        let mut labels = Vec::new();
        while self.token.kind == Kind::Value {
            let label = self.next()?;
            let mut count = 1;
            if self.take(b':')? {
                let digits = self.expect_kind(Kind::Number, "the number of results")?;
                let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
                count = number.filter(|count| (1..=100_000).contains(count)).ok_or_else(|| {
                    let message = format!("`{}` is no number of results", shown(digits));
                    self.fault(label.at, "invalid-mlir", message)
                })?;
            }
            labels.push((label, count));
            if !self.take(b',')? {
                self.expect(b'=')?;
                break;
            }
        }
        Ok(labels)
    }

    /// The next part of an operation; false where it has ended.
    fn part(&mut self, draft: &mut Draft<'t>) -> Done<bool> {
        let is_typed = draft.is_typed();
        let operation = &mut draft.operation;
        match self.token.kind {
            Kind::Value => {
                if self.begins_another(draft) {
                    return Ok(false);
                }
                let value = self.operand()?;
                draft.operation.operands.push(value);
            }
            Kind::Word if self.token.is_word("loc") => return Ok(false),
            // A name with a dialect begins the next one.
            Kind::Word if !is_typed && self.token.text.contains(&b'.') => {
                if operation.clauses.last().is_none_or(|(name, _)| *name != b"applies") {
                    return Ok(false);
                }
                self.clause(operation)?;
            }
            Kind::Word if !is_typed => self.clause(operation)?,
            // Behind the types only these belong to the same operation.
            Kind::Word => match self.token.text {
                b"cond" | b"do" | b"reducer" | b"attributes" => drop(self.next()?),
                _ => return Ok(false),
            },
            Kind::Symbol => {
                let symbol = self.next()?.text;
                operation.clauses.push((b"@", &symbol[1..]));
            }
            Kind::Dense => operation.clauses.push((b"dense", self.next()?.text)),
            Kind::Text if is_typed => return Ok(false),
            Kind::Text | Kind::Number | Kind::Alias => {
                let value = self.skip_value(&[])?;
                operation.clauses.push((b"", value));
            }
            Kind::Mark(b'(') => self.parenthesis(draft)?,
            Kind::Mark(b'{') => self.brace(draft)?,
            Kind::Mark(b'<') => self.angle(operation)?,
            Kind::Mark(b'[') => {
                let value = self.skip_value(&[])?;
                operation.clauses.push((b"", value));
            }
            Kind::Mark(b'=') => {
                self.next()?;
                let value = self.skip_value(&[])?;
                operation.clauses.push((b"=", value));
            }
            Kind::Mark(b',') if !is_typed => drop(self.next()?),
            Kind::Mark(b':') if !is_typed => {
                self.next()?;
                draft.signature = self.signature()?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether the value here is a result of the next operation.
    fn begins_another(&self, draft: &Draft<'t>) -> bool {
        if draft.is_typed() {
            return true;
        }
        // `%1 =`, `%1:2 =` and `%1, %2 =`; the last is told by its first part only.
        let mut ahead = self.lexer.clone();
        let mut is = |wanted: Kind| ahead.next().is_ok_and(|token| token.kind == wanted);
        let mut first = self.lexer.clone();
        match first.next().map(|token| token.kind) {
            Ok(Kind::Mark(b'=')) => true,
            Ok(Kind::Mark(b':')) => {
                is(Kind::Mark(b':')) && is(Kind::Number) && is(Kind::Mark(b'='))
            }
            _ => false,
        }
    }

    /// `dims = [0] x [1]`, or a word by itself.
    fn clause(&mut self, operation: &mut Operation<'t>) -> Done<()> {
        let name = self.next()?.text;
        if !self.take(b'=')? {
            operation.clauses.push((name, b""));
            return Ok(());
        }
        let start = self.token.at;
        self.skip_value(&[])?;
        loop {
            let is_joined = self.token.is_word("x") || self.token.kind == Kind::Arrow;
            if !is_joined {
                break;
            }
            self.next()?;
            self.skip_value(&[])?;
        }
        let value = &self.lexer.text[start..self.end];
        operation.clauses.push((name, value));
        Ok(())
    }

    /// Operands, regions or the arguments of one, between round brackets.
    fn parenthesis(&mut self, draft: &mut Draft<'t>) -> Done<()> {
        self.next()?;
        while !self.token.is(b')') {
            match self.token.kind {
                Kind::Mark(b'{') => {
                    self.next()?;
                    let region = self.region(Vec::new())?;
                    draft.operation.regions.push(region);
                }
                Kind::Value => self.bound_operand(draft)?,
                Kind::Word if self.token.is_word("init") => {
                    self.next()?;
                    self.expect(b':')?;
                    if self.token.kind != Kind::Value {
                        return Err(self.unexpected("the first value of a reduction"));
                    }
                    draft.starts.push(self.operand()?);
                }
                Kind::Word => self.clause(&mut draft.operation)?,
                Kind::Mark(b',') => drop(self.next()?),
                _ => return Err(self.unexpected("an operand")),
            }
        }
        self.expect(b')')
    }

    /// `%a`, `%b = %a`, or `%b: type`.
    fn bound_operand(&mut self, draft: &mut Draft<'t>) -> Done<()> {
        let label = self.token;
        let follows = self.lexer.clone().next()?;
        if follows.is(b':') {
            self.next()?;
            return self.argument(label, &mut draft.arguments);
        }
        if follows.is(b'=') {
            self.next()?;
            self.next()?;
            if self.token.kind != Kind::Value {
                return Err(self.unexpected("the first value of a loop"));
            }
            let value = self.operand()?;
            let type_id = self.program.types_of[value as usize];
            let inner = self.define_typed(type_id);
            draft.operation.operands.push(value);
            // In sight only from the region on, which begins behind all operands.
            draft.arguments.push(inner);
            return self.scope.define(label, inner, 1).map_err(|name| self.twice(label, name));
        }
        let value = self.operand()?;
        draft.operation.operands.push(value);
        Ok(())
    }

    /// A region whose arguments came in front of it, or attributes.
    fn brace(&mut self, draft: &mut Draft<'t>) -> Done<()> {
        let is_region = !draft.arguments.is_empty()
            || draft.operation.name == b"sdy.manual_computation"
            || draft.operation.name == b"stablehlo.while";
        if !(is_region && self.is_body()) {
            self.next()?;
            let mut clauses = Vec::new();
            self.attributes(&mut clauses)?;
            draft.operation.clauses.append(&mut clauses);
            return Ok(());
        }
        self.next()?;
        // Both regions of a loop see the same arguments.
        let is_loop = draft.operation.name == b"stablehlo.while";
        let arguments =
            if is_loop { draft.arguments.clone() } else { std::mem::take(&mut draft.arguments) };
        let region = self.region(arguments)?;
        draft.operation.regions.push(region);
        Ok(())
    }

    /// `<{...}>` or `<...>`.
    fn angle(&mut self, operation: &mut Operation<'t>) -> Done<()> {
        let mut ahead = self.lexer.clone();
        if !matches!(ahead.next(), Ok(next) if next.is(b'{')) {
            let value = self.skip_value(&[])?;
            operation.clauses.push((b"", value));
            return Ok(());
        }
        self.next()?;
        self.next()?;
        let mut clauses = Vec::new();
        self.attributes(&mut clauses)?;
        operation.clauses.append(&mut clauses);
        self.expect(b'>')
    }

    fn types(&mut self) -> Done<Vec<TypeId>> {
        let mut types = Vec::new();
        if !self.take(b'(')? {
            return Ok(vec![self.read_type()?]);
        }
        while !self.token.is(b')') {
            types.push(self.read_type()?);
            if !self.take(b',')? {
                break;
            }
        }
        self.expect(b')')?;
        Ok(types)
    }

    fn signature(&mut self) -> Done<Signature> {
        let mut first = self.types()?;
        // CHLO prints the types of several operands without parentheses.
        while self.take(b',')? {
            first.push(self.read_type()?);
        }
        if self.token.kind == Kind::Arrow {
            self.next()?;
            return Ok(Signature::Function(first, self.types()?));
        }
        Ok(Signature::List(first))
    }

    /// Gives the results their types and names, and holds the printed types of operands against
    /// those that they were defined with.
    fn define(&mut self, draft: Draft<'t>, labels: &[(Token<'t>, u32)]) -> Done<Operation<'t>> {
        let Draft { mut operation, signature, starts, mark, .. } = draft;
        operation.operands.extend(starts);
        let at = operation.at as usize;
        self.scope.close(mark);
        let count: u64 = labels.iter().map(|(_, count)| u64::from(*count)).sum();
        let n = count as usize;
        // A list for one result ends in its type: `select %p, %a, %b : tensor<i1>, tensor<f32>`.
        let (operands, results) = match signature {
            Signature::Function(operands, results) => (Some(operands), results),
            Signature::None => (None, Vec::new()),
            Signature::List(types) if n == 1 => (None, types.last().copied().into_iter().collect()),
            Signature::List(types) => (Some(types.clone()), types),
        };
        if n > 0 && results.len() != n {
            let message = format!("{n} results are named but {} types given", results.len());
            return Err(self.fault(at, "type-mismatch", message));
        }
        let operands = operands.unwrap_or_else(|| {
            operation.operands.iter().map(|value| self.program.types_of[*value as usize]).collect()
        });
        if operands.len() != operation.operands.len() {
            let message =
                format!("{} operands but {} types given", operation.operands.len(), operands.len());
            return Err(self.fault(at, "type-mismatch", message));
        }
        for (value, stated) in operation.operands.iter().zip(&operands) {
            self.agree(at, *value, *stated)?;
        }
        operation.first_result = self.program.types_of.len() as ValueId;
        operation.n_results = n as u32;
        self.program.types_of.extend(results.iter().take(n));
        let mut first = operation.first_result;
        for (label, count) in labels {
            self.scope.define(*label, first, *count).map_err(|name| self.twice(*label, name))?;
            first += count;
        }
        Ok(operation)
    }

    fn agree(&self, at: usize, value: ValueId, stated: TypeId) -> Done<()> {
        if self.program.types_of.get(value as usize) == Some(&stated) {
            return Ok(());
        }
        let message = "an operand has another type than it was defined with";
        Err(self.fault(at, "type-mismatch", message))
    }
}

impl Draft<'_> {
    fn is_typed(&self) -> bool {
        !matches!(self.signature, Signature::None)
    }
}
