//! Lists as Python prints them, read as JSON values.

use serde_json::Value;

/// The list that a text shows: strings in single or double quotes, `True`, `False` and `None`.
/// `None` for anything else, and for lists that nest too deep.
pub(super) fn list(text: &str) -> Option<Vec<Value>> {
    let mut json = String::with_capacity(text.len() + 8);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\'' | '"' => {
                let mut string = String::new();
                loop {
                    match rest.next()? {
                        end if end == c => break,
                        '\\' => string.push(match rest.next()? {
                            'n' => '\n',
                            't' => '\t',
                            other => other,
                        }),
                        other => string.push(other),
                    }
                }
                json.push_str(&Value::String(string).to_string());
            }
            letter if letter.is_ascii_alphabetic() => {
                let mut word = String::from(letter);
                while let Some(next) =
                    rest.next_if(|next| next.is_ascii_alphanumeric() || *next == '.')
                {
                    word.push(next);
                }
                json.push_str(match word.as_str() {
                    "True" => "true",
                    "False" => "false",
                    // JSON has no such numbers, and no size is one.
                    "None" | "inf" | "nan" => "null",
                    _ => return None,
                });
            }
            '(' => json.push('['),
            ')' => json.push(']'),
            // The exponent of a number follows its digits.
            digit if digit.is_ascii_digit() => {
                json.push(digit);
                while let Some(next) =
                    rest.next_if(|next| next.is_ascii_digit() || "eE+-.".contains(*next))
                {
                    json.push(next);
                }
            }
            // What is left of `-inf`.
            '-' if rest.peek().is_some_and(|next| next.is_ascii_alphabetic()) => {}
            other => json.push(other),
        }
    }
    match serde_json::from_str(&json).ok()? {
        Value::Array(list) => Some(list),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_python_are_read() {
        let of = |text: &str| list(text).map(Value::Array).map(|value| value.to_string());
        let text = "[[7, 6, 0, 128, 8, 'cpu'], [-1], True, None, 1e-05, \"it's\", -inf, (2, 3)]";
        let json = r#"[[7,6,0,128,8,"cpu"],[-1],true,null,0.00001,"it's",null,[2,3]]"#;
        assert_eq!(of(text).as_deref(), Some(json));
        assert_eq!(of("[]").as_deref(), Some("[]"));
        for bad in ["", "[1", "['a]", "import os", "{}", &"[".repeat(10_000)] {
            assert_eq!(list(bad), None, "{bad:.20}");
        }
    }
}
