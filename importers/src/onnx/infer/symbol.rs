//! Symbolic extents: `batch`, `2*s1 + 1`, and which of them are bound.

use std::collections::{BTreeMap, BTreeSet};

use crate::onnx::raw::RawDim;

/// Deeper brackets than this are not evaluated.
const DEPTH_LIMIT: usize = 32;

/// Values of symbols.
pub(crate) type Bindings = BTreeMap<String, u64>;

/// The value of an extent, where all its symbols are bound.
pub(crate) fn extent(dim: &RawDim, bindings: &Bindings) -> Option<u64> {
    match dim {
        RawDim::Known(extent) => Some(*extent),
        RawDim::Symbol(text) => match bindings.get(text.trim()) {
            Some(extent) => Some(*extent),
            None => evaluate(text, bindings),
        },
        RawDim::Unknown => None,
    }
}

/// All extents of a declared shape, if every one is known.
pub(crate) fn shape(dims: &[RawDim], bindings: &Bindings) -> Option<Vec<u64>> {
    dims.iter().map(|dim| extent(dim, bindings)).collect()
}

/// The value of an expression of `+ - * / // %`, brackets, `floor`, `Max` and `Min`, over bound
/// symbols; `None` if one is unbound, the text is no such expression, or a size would be
/// negative or not fit. Both divisions round down.
pub(crate) fn evaluate(text: &str, bindings: &Bindings) -> Option<u64> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, bindings };
    let value = parser.sum(0)?;
    if parser.at != parser.tokens.len() {
        return None;
    }
    u64::try_from(value).ok()
}

/// The symbols of an expression that have no value; the whole text if it is no expression.
pub(crate) fn unbound(text: &str, bindings: &Bindings) -> BTreeSet<String> {
    let Some(tokens) = tokens(text) else { return BTreeSet::from([text.to_owned()]) };
    let free: BTreeSet<String> = tokens
        .into_iter()
        .filter_map(|token| match token {
            Token::Name(name) if !bindings.contains_key(&name) && !is_function(&name) => Some(name),
            _ => None,
        })
        .collect();
    if free.is_empty() { BTreeSet::from([text.to_owned()]) } else { free }
}

fn is_function(name: &str) -> bool {
    matches!(name, "floor" | "Max" | "Min" | "max" | "min")
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(i128),
    Name(String),
    Sign(char),
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first.is_ascii_digit() {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            tokens.push(Token::Number(rest.get(..end)?.parse::<u64>().ok()?.into()));
            end
        } else if first.is_alphabetic() || first == '_' {
            let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
            let end = rest.find(|c: char| !word(c)).unwrap_or(rest.len());
            tokens.push(Token::Name(rest.get(..end)?.to_owned()));
            end
        } else if rest.starts_with("//") {
            tokens.push(Token::Sign('/'));
            2
        } else if "+-*/%(),".contains(first) {
            tokens.push(Token::Sign(first));
            1
        } else {
            return None;
        };
        rest = rest.get(length..)?.trim_start();
    }
    Some(tokens)
}

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    bindings: &'a Bindings,
}

impl Parser<'_> {
    fn take(&mut self, signs: &[char]) -> Option<char> {
        match self.tokens.get(self.at) {
            Some(Token::Sign(sign)) if signs.contains(sign) => {
                self.at += 1;
                Some(*sign)
            }
            _ => None,
        }
    }

    fn sum(&mut self, depth: usize) -> Option<i128> {
        if depth > DEPTH_LIMIT {
            return None;
        }
        let mut value = self.product(depth)?;
        while let Some(sign) = self.take(&['+', '-']) {
            let term = self.product(depth)?;
            value = if sign == '+' { value.checked_add(term)? } else { value.checked_sub(term)? };
        }
        Some(value)
    }

    fn product(&mut self, depth: usize) -> Option<i128> {
        let mut value = self.factor(depth)?;
        while let Some(sign) = self.take(&['*', '/', '%']) {
            let factor = self.factor(depth)?;
            value = match sign {
                '*' => value.checked_mul(factor)?,
                '/' => value.checked_div_euclid(factor)?,
                _ => value.checked_rem_euclid(factor)?,
            };
        }
        Some(value)
    }

    fn factor(&mut self, depth: usize) -> Option<i128> {
        if depth > DEPTH_LIMIT {
            return None;
        }
        if self.take(&['-']).is_some() {
            return self.factor(depth + 1)?.checked_neg();
        }
        if self.take(&['(']).is_some() {
            let value = self.sum(depth + 1)?;
            self.take(&[')'])?;
            return Some(value);
        }
        let token = self.tokens.get(self.at)?.clone();
        self.at += 1;
        match token {
            Token::Number(number) => Some(number),
            Token::Name(name) if is_function(&name) && self.take(&['(']).is_some() => {
                let mut value = self.sum(depth + 1)?;
                while self.take(&[',']).is_some() {
                    let other = self.sum(depth + 1)?;
                    value = if matches!(name.as_str(), "Max" | "max") {
                        value.max(other)
                    } else {
                        value.min(other)
                    };
                }
                self.take(&[')'])?;
                Some(value)
            }
            Token::Name(name) => self.bindings.get(&name).map(|value| i128::from(*value)),
            Token::Sign(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bindings, evaluate, unbound};

    fn bindings() -> Bindings {
        Bindings::from([("s0".to_owned(), 7), ("batch".to_owned(), 4)])
    }

    #[test]
    fn expressions_of_bound_symbols_have_a_value() {
        let bindings = bindings();
        for (text, value) in [
            ("s0 + 1", 8),
            ("2*s0 - 3", 11),
            ("(s0 + 1)//2*batch", 16),
            ("floor(s0/2)", 3),
            ("Max(1, s0) % batch", 3),
        ] {
            assert_eq!(evaluate(text, &bindings), Some(value), "{text}");
        }
    }

    #[test]
    fn nothing_else_has_one() {
        let bindings = bindings();
        let deep = "(".repeat(100_000);
        for text in ["", "s1", "s0 - 8", "s0/0", "s0 +", "2 3", "18446744073709551616", &deep] {
            assert_eq!(evaluate(text, &bindings), None);
        }
        assert_eq!(unbound("2*s1 + s0*s2", &bindings).len(), 2);
    }
}
