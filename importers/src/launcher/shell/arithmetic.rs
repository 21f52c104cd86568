//! Sums of whole numbers as `$((...))` has them.

/// Deepest nesting of parentheses.
const MAX_DEPTH: u32 = 32;

/// Operators by how they bind, the loosest first.
const OPERATORS: [&[&str]; 10] = [
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!="],
    &["<=", ">=", "<", ">"],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "%"],
];
/// Beginnings that are other operators.
const OTHERS: [&str; 5] = ["||", "&&", "<<", ">>", "**"];

/// The value of a sum; `None` where it is none, or has a name without a value.
pub(super) fn value(text: &str, of: &dyn Fn(&str) -> Option<i64>) -> Option<i64> {
    let mut sum = Sum { rest: text.trim_start(), of };
    let value = sum.choice(MAX_DEPTH)?;
    sum.rest.is_empty().then_some(value)
}

struct Sum<'t> {
    rest: &'t str,
    of: &'t dyn Fn(&str) -> Option<i64>,
}

impl Sum<'_> {
    /// The sign here, if it is one of these.
    fn sign(&mut self, signs: &[&'static str]) -> Option<&'static str> {
        let sign = *signs.iter().find(|sign| self.rest.starts_with(**sign))?;
        let is_other = OTHERS.iter().any(|other| self.rest.starts_with(other) && *other != sign);
        self.rest = (!is_other).then(|| self.rest[sign.len()..].trim_start())?;
        Some(sign)
    }

    /// `condition ? this : that`.
    fn choice(&mut self, depth: u32) -> Option<i64> {
        let condition = self.operation(0, depth)?;
        if self.sign(&["?"]).is_none() {
            return Some(condition);
        }
        let this = self.choice(depth.checked_sub(1)?)?;
        self.sign(&[":"])?;
        let that = self.choice(depth.checked_sub(1)?)?;
        Some(if condition != 0 { this } else { that })
    }

    fn operation(&mut self, level: usize, depth: u32) -> Option<i64> {
        let Some(signs) = OPERATORS.get(level) else { return self.power(depth) };
        let mut value = self.operation(level + 1, depth)?;
        while let Some(sign) = self.sign(signs) {
            let other = self.operation(level + 1, depth)?;
            value = operated(value, sign, other)?;
        }
        Some(value)
    }

    fn power(&mut self, depth: u32) -> Option<i64> {
        let value = self.signed(depth)?;
        if self.sign(&["**"]).is_none() {
            return Some(value);
        }
        // Powers of powers begin with the last.
        let power = self.power(depth.checked_sub(1)?)?;
        value.checked_pow(u32::try_from(power).ok()?)
    }

    fn signed(&mut self, depth: u32) -> Option<i64> {
        match self.sign(&["!", "-", "+"]) {
            None => self.one(depth),
            Some(sign) => {
                let value = self.signed(depth.checked_sub(1)?)?;
                match sign {
                    "!" => Some(i64::from(value == 0)),
                    "-" => value.checked_neg(),
                    _ => Some(value),
                }
            }
        }
    }

    fn one(&mut self, depth: u32) -> Option<i64> {
        if self.sign(&["("]).is_some() {
            let value = self.choice(depth.checked_sub(1)?)?;
            return self.sign(&[")"]).map(|_| value);
        }
        let is_word = |c: char| c == '_' || c == '#' || c.is_ascii_alphanumeric();
        let end = self.rest.find(|c: char| !is_word(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        let is_number = word.starts_with(|c: char| c.is_ascii_digit());
        if is_number { number(word) } else { (self.of)(word) }
    }
}

/// `None` where it has no value, or one that is too large.
fn operated(a: i64, sign: &str, b: i64) -> Option<i64> {
    let bits = || u32::try_from(b).ok().filter(|bits| *bits < 63);
    match sign {
        "||" => Some(i64::from(a != 0 || b != 0)),
        "&&" => Some(i64::from(a != 0 && b != 0)),
        "|" => Some(a | b),
        "^" => Some(a ^ b),
        "&" => Some(a & b),
        "==" => Some(i64::from(a == b)),
        "!=" => Some(i64::from(a != b)),
        "<=" => Some(i64::from(a <= b)),
        ">=" => Some(i64::from(a >= b)),
        "<" => Some(i64::from(a < b)),
        ">" => Some(i64::from(a > b)),
        "<<" => a.checked_mul(1_i64.checked_shl(bits()?)?),
        ">>" => Some(a >> bits()?),
        "+" => a.checked_add(b),
        "-" => a.checked_sub(b),
        "*" => a.checked_mul(b),
        "/" => a.checked_div(b),
        _ => a.checked_rem(b),
    }
}

/// A number as shells read it: `0x` begins a hexadecimal one, another `0` an octal one, `10#` one of tens.
pub(super) fn number(text: &str) -> Option<i64> {
    let (digits, sign) = text.trim().strip_prefix('-').map_or((text.trim(), 1), |rest| (rest, -1));
    let (base, digits) =
        digits.split_once('#').map_or((None, digits), |(base, digits)| (Some(base), digits));
    if let Some(base) = base {
        let base = base.parse().ok().filter(|base| (2..=36).contains(base))?;
        return i64::from_str_radix(digits, base).ok().filter(|n| *n >= 0)?.checked_mul(sign);
    }
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let octal = digits.strip_prefix('0').filter(|rest| !rest.is_empty());
    let value = match (hexadecimal, octal) {
        (Some(digits), _) => i64::from_str_radix(digits, 16),
        (None, Some(digits)) => i64::from_str_radix(digits, 8),
        (None, None) => digits.parse(),
    };
    value.ok()?.checked_mul(sign)
}

#[cfg(test)]
mod tests {
    use super::{number, value};

    #[test]
    fn sums_are_those_of_a_shell() {
        let of = |name: &str| (name == "N").then_some(6);
        let cases = [
            ("16 * 8", Some(128)),
            ("010 + 0x1F + 0", Some(39)),
            ("09 + 1", None),
            ("2 + 3*4", Some(14)),
            ("(2+3) * N / 4", Some(7)),
            ("N % 4 - 5", Some(-3)),
            ("7 - 2 - 1", Some(4)),
            ("2**11", Some(2_048)),
            ("3 * 2 ** 2 ** 3", Some(768)),
            ("2 ** -1", None),
            ("2 ** 64", None),
            ("1 / 0", None),
            ("N > 4 ? N / 2 : 1 ", Some(3)),
            ("N<=4||N==6 && 0", Some(0)),
            ("N % 2 == 0 ? N < 3 ? 1 : 2 : 3", Some(2)),
            ("!N + -2 ** 2", Some(4)),
            ("N << 2 | 1", Some(25)),
            ("6 & 3 ^ 8 >> 1", Some(6)),
            ("10#08 + 16#f", Some(23)),
            ("N += 2", None),
            ("N = 2", None),
            ("M + 1", None),
            ("2 +", None),
            ("9223372036854775807 + 1", None),
            ("", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(value(text, &of), wanted, "{text}");
        }
        assert_eq!(number("--9223372036854775808"), None);
        for sign in ["(", "-", "1?", "2**"] {
            assert_eq!(value(&sign.repeat(100_000), &of), None);
        }
    }
}
