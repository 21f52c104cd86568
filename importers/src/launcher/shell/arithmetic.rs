//! Sums of whole numbers as `$((...))` has them.

/// Deepest nesting of parentheses.
const MAX_DEPTH: u32 = 32;

/// The value of a sum; `None` where it is none, or has a name without a value.
pub(super) fn value(text: &str, of: &dyn Fn(&str) -> Option<i64>) -> Option<i64> {
    let mut sum = Sum { rest: text.trim_start(), of };
    let value = sum.added(MAX_DEPTH)?;
    sum.rest.is_empty().then_some(value)
}

struct Sum<'t> {
    rest: &'t str,
    of: &'t dyn Fn(&str) -> Option<i64>,
}

impl Sum<'_> {
    /// The sign here, if it is one of these.
    fn sign(&mut self, signs: &str) -> Option<char> {
        let sign = self.rest.chars().next().filter(|c| signs.contains(*c))?;
        self.rest = self.rest[sign.len_utf8()..].trim_start();
        Some(sign)
    }

    fn added(&mut self, depth: u32) -> Option<i64> {
        let mut value = self.multiplied(depth)?;
        while let Some(sign) = self.sign("+-") {
            let other = self.multiplied(depth)?;
            let both =
                if sign == '+' { value.checked_add(other) } else { value.checked_sub(other) };
            value = both?;
        }
        Some(value)
    }

    fn multiplied(&mut self, depth: u32) -> Option<i64> {
        let mut value = self.power(depth)?;
        while let Some(sign) = self.sign("*/%") {
            let other = self.power(depth)?;
            value = match sign {
                '*' => value.checked_mul(other)?,
                '/' => value.checked_div(other)?,
                _ => value.checked_rem(other)?,
            };
        }
        Some(value)
    }

    fn power(&mut self, depth: u32) -> Option<i64> {
        let value = self.one(depth)?;
        let Some(rest) = self.rest.strip_prefix("**") else { return Some(value) };
        self.rest = rest.trim_start();
        // Powers of powers begin with the last.
        let power = self.power(depth.checked_sub(1)?)?;
        value.checked_pow(u32::try_from(power).ok()?)
    }

    fn one(&mut self, depth: u32) -> Option<i64> {
        if self.sign("(").is_some() {
            let value = self.added(depth.checked_sub(1)?)?;
            return self.sign(")").map(|_| value);
        }
        let is_word = |c: char| c == '_' || c.is_ascii_alphanumeric();
        let end = self.rest.find(|c: char| !is_word(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        let is_number = word.starts_with(|c: char| c.is_ascii_digit());
        if is_number { number(word) } else { (self.of)(word) }
    }
}

/// A number as shells read it: `0x` begins a hexadecimal one, another `0` an octal one.
pub(super) fn number(text: &str) -> Option<i64> {
    let (digits, sign) = text.trim().strip_prefix('-').map_or((text.trim(), 1), |rest| (rest, -1));
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
            ("M + 1", None),
            ("2 +", None),
            ("9223372036854775807 + 1", None),
            ("", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(value(text, &of), wanted, "{text}");
        }
        assert_eq!(number("--9223372036854775808"), None);
        assert_eq!(value(&"(".repeat(100_000), &of), None);
    }
}
