//! Symbolic sizes of exported programs: expressions as `sympy.srepr` prints them, such as
//! `Add(Mul(Integer(2), Symbol('s44', positive=True, integer=True)), Integer(1))`, and the infix
//! form that older releases of torch and the keys of range constraints have.

use std::collections::{BTreeMap, BTreeSet};

use crate::onnx::infer::symbol;

/// Deeper expressions are not evaluated, nor are longer ones.
const DEPTH_LIMIT: usize = 32;
const LENGTH_LIMIT: usize = 4_096;

/// Values of symbols.
pub(super) type Bindings = BTreeMap<String, u64>;

/// The value of an expression; `None` if a symbol has none, an operation is unknown, or the value
/// is no size.
pub(super) fn evaluate(text: &str, bindings: &Bindings) -> Option<u64> {
    match parse(text) {
        Some(expression) => {
            let Ratio(number, divisor) = expression.value(bindings)?;
            if divisor == 1 { u64::try_from(number).ok() } else { None }
        }
        None => symbol::evaluate(text, bindings),
    }
}

/// The symbols of an expression.
pub(super) fn symbols(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    match parse(text) {
        Some(expression) => expression.symbols(&mut found),
        None if text.len() <= LENGTH_LIMIT => found = symbol::unbound(text, &Bindings::new()),
        None => {}
    }
    found
}

/// The symbol that an expression is, if it is nothing else.
pub(super) fn alone(text: &str) -> Option<String> {
    match parse(text) {
        Some(Expression::Symbol(name)) => Some(name),
        Some(_) => None,
        None => {
            let is_word = text.chars().all(|c| c.is_alphanumeric() || c == '_');
            (is_word && !text.is_empty() && text.len() <= 80).then(|| text.to_owned())
        }
    }
}

/// A number in lowest terms; the divisor is positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ratio(i128, i128);

impl Ratio {
    fn of(number: i128, divisor: i128) -> Option<Self> {
        let (mut a, mut b) = (number.unsigned_abs(), divisor.unsigned_abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let common = i128::try_from(a).ok().filter(|common| *common != 0)?;
        if divisor == 0 {
            return None;
        }
        let sign = divisor.signum();
        Some(Self(
            number.checked_div(common)?.checked_mul(sign)?,
            (divisor / common).checked_abs()?,
        ))
    }

    fn plus(self, other: Self) -> Option<Self> {
        let left = self.0.checked_mul(other.1)?;
        let right = other.0.checked_mul(self.1)?;
        Self::of(left.checked_add(right)?, self.1.checked_mul(other.1)?)
    }

    fn times(self, other: Self) -> Option<Self> {
        Self::of(self.0.checked_mul(other.0)?, self.1.checked_mul(other.1)?)
    }

    fn over(self, other: Self) -> Option<Self> {
        Self::of(self.0.checked_mul(other.1)?, self.1.checked_mul(other.0)?)
    }

    fn floor(self) -> Self {
        Self(self.0.div_euclid(self.1), 1)
    }

    fn ceiling(self) -> Option<Self> {
        Some(Self(Self(self.0.checked_neg()?, self.1).floor().0.checked_neg()?, 1))
    }

    fn exceeds(self, other: Self) -> Option<bool> {
        Some(self.0.checked_mul(other.1)? > other.0.checked_mul(self.1)?)
    }
}

#[derive(Debug)]
enum Expression {
    Number(Ratio),
    Symbol(String),
    Call(String, Vec<Self>),
}

impl Expression {
    fn symbols(&self, found: &mut BTreeSet<String>) {
        match self {
            Self::Number(_) => {}
            Self::Symbol(name) => drop(found.insert(name.clone())),
            Self::Call(_, arguments) => {
                arguments.iter().for_each(|argument| argument.symbols(found))
            }
        }
    }

    fn value(&self, bindings: &Bindings) -> Option<Ratio> {
        let (name, arguments) = match self {
            Self::Number(number) => return Some(*number),
            Self::Symbol(name) => return Some(Ratio((*bindings.get(name)?).into(), 1)),
            Self::Call(name, arguments) => (name.as_str(), arguments),
        };
        let values: Vec<Ratio> =
            arguments.iter().map(|argument| argument.value(bindings)).collect::<Option<_>>()?;
        let all = |join: fn(Ratio, Ratio) -> Option<Ratio>| {
            let (first, rest) = values.split_first()?;
            rest.iter().try_fold(*first, |value, next| join(value, *next))
        };
        match (name, values.as_slice()) {
            ("Add", _) => all(Ratio::plus),
            ("Mul", _) => all(Ratio::times),
            ("Max", _) => all(|a, b| Some(if a.exceeds(b)? { a } else { b })),
            ("Min", _) => all(|a, b| Some(if a.exceeds(b)? { b } else { a })),
            ("Pow" | "PowByNatural", [base, Ratio(power, 1)]) => {
                let (base, power) = match power {
                    0.. => (*base, *power),
                    _ => (Ratio(1, 1).over(*base)?, power.checked_neg()?),
                };
                (0..power.min(64)).try_fold(Ratio(1, 1), |value, _| value.times(base))
            }
            ("FloorDiv", [a, b]) => Some(a.over(*b)?.floor()),
            ("CeilDiv", [a, b]) => a.over(*b)?.ceiling(),
            ("CleanDiv" | "IntTrueDiv" | "FloatTrueDiv", [a, b]) => a.over(*b),
            ("Mod" | "PythonMod", [a, b]) => {
                a.plus(a.over(*b)?.floor().times(*b)?.times(Ratio(-1, 1))?)
            }
            ("ModularIndexing", [a, by, modulus]) => {
                let a = a.over(*by)?.floor();
                a.plus(a.over(*modulus)?.floor().times(*modulus)?.times(Ratio(-1, 1))?)
            }
            ("floor" | "FloorToInt" | "TruncToInt", [a]) => Some(a.floor()),
            ("ceiling" | "CeilToInt", [a]) => a.ceiling(),
            ("ToFloat" | "Identity", [a]) => Some(*a),
            _ => None,
        }
    }
}

/// An expression of calls; `None` for any other text.
fn parse(text: &str) -> Option<Expression> {
    if text.len() > LENGTH_LIMIT {
        return None;
    }
    let mut parser = Parser { rest: text.trim() };
    let expression = parser.expression(0)?;
    parser.rest.is_empty().then_some(expression)
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn take(&mut self, sign: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(sign)?.trim_start();
        Some(())
    }

    /// Text up to the first character that is none of a word.
    fn word(&mut self) -> Option<&'a str> {
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(0);
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn expression(&mut self, depth: usize) -> Option<Expression> {
        if depth > DEPTH_LIMIT {
            return None;
        }
        let name = self.word()?;
        self.take('(')?;
        match name {
            "Integer" => {
                let number = self.integer()?;
                self.take(')')?;
                Some(Expression::Number(Ratio(number, 1)))
            }
            "Rational" => {
                let number = self.integer()?;
                self.take(',')?;
                let divisor = self.integer()?;
                self.take(')')?;
                Some(Expression::Number(Ratio::of(number, divisor)?))
            }
            "Float" => {
                let inside = self.rest.strip_prefix('\'')?;
                let (digits, rest) = inside.split_once('\'')?;
                // `precision=53` follows.
                let (_, rest) = rest.split_once(')')?;
                self.rest = rest.trim_start();
                Some(Expression::Number(decimal(digits)?))
            }
            "Symbol" => {
                let inside = self.rest.strip_prefix('\'')?;
                let (symbol, rest) = inside.split_once('\'')?;
                // Assumptions such as `positive=True` follow.
                let (_, rest) = rest.split_once(')')?;
                self.rest = rest.trim_start();
                Some(Expression::Symbol(symbol.to_owned()))
            }
            _ => {
                let mut arguments = Vec::new();
                loop {
                    arguments.push(self.expression(depth + 1)?);
                    if self.take(',').is_none() {
                        break;
                    }
                }
                self.take(')')?;
                Some(Expression::Call(name.to_owned(), arguments))
            }
        }
    }

    fn integer(&mut self) -> Option<i128> {
        let end = self.rest.find([',', ')'])?;
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits.trim().parse().ok()
    }
}

/// A decimal number such as `1.5`, exactly.
fn decimal(text: &str) -> Option<Ratio> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part = part.trim_end_matches('0');
    let divisor = 10i128.checked_pow(u32::try_from(part.len()).ok().filter(|n| *n < 30)?)?;
    Ratio::of(format!("{whole}{part}").parse().ok()?, divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: &str = "Symbol('s44', positive=True, integer=True)";

    fn value(text: &str) -> Option<u64> {
        evaluate(text, &Bindings::from([("s44".to_owned(), 7)]))
    }

    /// As sympy would.
    #[test]
    fn expressions_of_calls() {
        assert_eq!(value(S), Some(7));
        assert_eq!(value(&format!("Add(Mul(Integer(2), {S}), Integer(1))")), Some(15));
        assert_eq!(value(&format!("Pow({S}, Integer(2))")), Some(49));
        assert_eq!(value(&format!("FloorDiv(Add({S}, Integer(-1)), Integer(4))")), Some(1));
        assert_eq!(value(&format!("floor(Mul(Rational(1, 2), {S}))")), Some(3));
        assert_eq!(value(&format!("ceiling(Mul(Rational(1, 2), {S}))")), Some(4));
        assert_eq!(value(&format!("Mod({S}, Integer(4))")), Some(3));
        assert_eq!(value(&format!("Max({S}, Integer(9))")), Some(9));
        assert_eq!(value("2*s44 + 1"), Some(15));
        assert_eq!(value(&format!("floor(Mul(Float('1.5', precision=53), {S}))")), Some(10));
        let halved = format!("TruncToInt(FloatTrueDiv({S}, Float('2.0', precision=53)))");
        assert_eq!(value(&halved), Some(3));
        // No sizes: a fraction, a negative number, an unbound symbol, what fits no register.
        assert_eq!(value(&format!("Mul(Rational(1, 2), {S})")), None);
        assert_eq!(value("Integer(-1)"), None);
        assert_eq!(value("Symbol('u0', integer=True)"), None);
        assert_eq!(value("Integer(10000000000000000000000000000000000000000)"), None);
        assert_eq!(value(&format!("Pow(Integer(10), {S})")), Some(10_000_000));
        assert_eq!(value("Pow(Integer(10), Integer(40))"), None);
        assert_eq!(value("FloorDiv(Integer(1), Integer(0))"), None);
    }

    #[test]
    fn symbols_are_found_and_depth_is_bounded() {
        let text = format!("Add({S}, Mul(Integer(2), Symbol('u0', integer=True)))");
        assert_eq!(symbols(&text).into_iter().collect::<Vec<_>>(), ["s44", "u0"]);
        assert_eq!(alone(S).as_deref(), Some("s44"));
        assert_eq!(alone("s44").as_deref(), Some("s44"));
        assert_eq!(alone(&text), None);
        let deep = format!("{}Integer(1){}", "Add(".repeat(100_000), ")".repeat(100_000));
        assert_eq!(value(&deep), None);
        let narrow = format!("{}Integer(1){}", "Add(".repeat(300), ")".repeat(300));
        assert_eq!(value(&narrow), None);
    }
}
