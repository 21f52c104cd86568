//! Recipes: which rows run, in which order, with which options.

use std::collections::BTreeMap;
use std::fmt;

use ir::diagnostic::Diagnostic;
use ir::nearest;

use super::algorithm::{Kind, Options, Row};
use super::entry::{Entry, Rows};

/// One use of a row.
#[derive(Clone)]
pub struct Ingredient {
    /// The row.
    pub entry: &'static Entry,
    /// Its options.
    pub options: Options,
}

/// `Transform* Decide+ Improve*`.
#[derive(Clone)]
pub struct Recipe {
    ingredients: Vec<Ingredient>,
    rows: Rows,
}

impl Recipe {
    /// Reads a recipe such as `fuse,coplace,m-sct(theta=0.2)`, of these rows.
    ///
    /// # Errors
    /// `unknown-algorithm`, `unknown-option`, `bad-option` and `bad-recipe`, with the nearest name
    /// where one is near.
    pub fn parse(text: &str, rows: Rows) -> Result<Self, Diagnostic> {
        let mut ingredients = Vec::new();
        for part in split_outside_parentheses(text)? {
            let used = Ingredient::parse(part.trim(), rows)?;
            used.row()?;
            ingredients.push(used);
        }
        let recipe = Self { ingredients, rows };
        recipe.check_order()?;
        Ok(recipe)
    }

    /// The uses of rows, in order.
    #[must_use]
    pub fn ingredients(&self) -> &[Ingredient] {
        &self.ingredients
    }

    /// The rows that it was read from.
    #[must_use]
    pub fn rows(&self) -> Rows {
        self.rows
    }

    fn check_order(&self) -> Result<(), Diagnostic> {
        let kinds: Vec<Kind> = self.ingredients.iter().map(|i| i.entry.kind).collect();
        if !kinds.contains(&Kind::Decide) {
            return Err(Diagnostic::usage(
                "bad-recipe",
                format!("recipe `{self}` decides no placement"),
            )
            .hint("end it with a row that decides, such as `m-etf`"));
        }
        if !kinds.is_sorted() {
            return Err(Diagnostic::usage(
                "bad-recipe",
                format!("the rows of recipe `{self}` stand in the wrong order"),
            )
            .hint("put transforms first, then rows that decide, then rows that improve"));
        }
        let mut decided = Vec::new();
        for used in self.ingredients.iter().filter(|i| i.entry.kind == Kind::Decide) {
            for field in used.entry.decides {
                if decided.contains(field) {
                    return Err(Diagnostic::usage(
                        "bad-recipe",
                        format!("recipe `{self}` decides the {} twice", field.name()),
                    )
                    .hint("keep one of the rows that decide it"));
                }
                decided.push(*field);
            }
        }
        Ok(())
    }
}

impl Ingredient {
    /// The row, ready to plan a model.
    ///
    /// # Errors
    /// `not-for-models`, and those of the row's options.
    pub fn row(&self) -> Result<Row, Diagnostic> {
        let build = self.entry.build().ok_or_else(|| for_instances(self.entry))?;
        build(&self.options)
    }

    /// Reads one row with its options, such as `m-sct(theta=0.2)`.
    ///
    /// # Errors
    /// `unknown-algorithm`, `unknown-option`, `bad-option` and `bad-recipe`.
    pub fn parse(text: &str, rows: Rows) -> Result<Self, Diagnostic> {
        let (name, list) = match text.split_once('(') {
            Some((name, rest)) => {
                (name.trim(), rest.strip_suffix(')').ok_or_else(|| unbalanced(text))?)
            }
            None => (text, ""),
        };
        let of_name = |name: &str| rows.iter().find(|entry| entry.name == name);
        let entry = of_name(name).ok_or_else(|| {
            // `name:option=value`, as others write it.
            if let Some((row, options)) =
                name.split_once(':').filter(|pair| of_name(pair.0).is_some())
            {
                let meant = format!("{row}({options})");
                let message = format!("there is no algorithm `{name}`");
                return Self::parse(&meant, rows).err().unwrap_or_else(|| {
                    Diagnostic::usage("unknown-algorithm", message)
                        .hint(format!("write it as `{meant}`"))
                });
            }
            let known: Vec<&str> = rows.iter().map(|entry| entry.name).collect();
            unknown("unknown-algorithm", "algorithm", name, &known)
        })?;
        let mut given = BTreeMap::new();
        for option in list.split(',').map(str::trim).filter(|option| !option.is_empty()) {
            let (option, value) = option.split_once('=').ok_or_else(|| {
                Diagnostic::usage(
                    "bad-option",
                    format!("option `{option}` of `{name}` has no value"),
                )
                .hint(format!("write it as `{name}({option}=VALUE)`"))
            })?;
            let option = option.trim();
            if !entry.options.iter().any(|row| row.name == option) {
                let known: Vec<&str> = entry.options.iter().map(|row| row.name).collect();
                return Err(
                    unknown("unknown-option", "option", option, &known).fact("algorithm", name)
                );
            }
            if given.insert(option.to_owned(), value.trim().to_owned()).is_some() {
                let message = format!("option `{option}` of `{name}` is given twice");
                return Err(Diagnostic::usage("bad-option", message).hint("give it once"));
            }
        }
        Ok(Self { entry, options: Options::new(given) })
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, used) in self.ingredients.iter().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            write!(f, "{used}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipe({self})")
    }
}

impl fmt::Display for Ingredient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.entry.name)?;
        if !self.options.given().is_empty() {
            let given: Vec<String> = self
                .options
                .given()
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            write!(f, "({})", given.join(","))?;
        }
        Ok(())
    }
}

fn split_outside_parentheses(text: &str) -> Result<Vec<&str>, Diagnostic> {
    let mut parts = Vec::new();
    let mut depth = 0usize;
    let mut start = 0;
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' if depth == 0 => return Err(unbalanced(text)),
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if depth != 0 {
        return Err(unbalanced(text));
    }
    parts.push(&text[start..]);
    Ok(parts)
}

fn unbalanced(text: &str) -> Diagnostic {
    Diagnostic::usage("bad-recipe", format!("parentheses of recipe `{text}` don't match"))
        .hint("write options as `m-sct(theta=0.2)`")
}

/// The error for a row that can't plan models op by op.
fn for_instances(entry: &Entry) -> Diagnostic {
    let what = entry.doors.first().map_or("plans nothing", |door| door.takes().planned);
    let message = format!("`{}` {what}, not models op by op", entry.name);
    Diagnostic::usage("not-for-models", message)
        .hint("leave --algorithm out, or name auto, which tries all that fit the model")
}

fn unknown(code: &'static str, what: &'static str, name: &str, known: &[&str]) -> Diagnostic {
    let error = Diagnostic::usage(code, format!("there is no {what} `{name}`"));
    let error = match known.is_empty() {
        true => error,
        false => error.fact("known", known.iter().map(ToString::to_string).collect::<Vec<_>>()),
    };
    match nearest::meant(name, known.iter().copied()) {
        Some(question) => error.hint(question),
        None if known.is_empty() => error.hint("leave it out: there are no options"),
        None => error.hint(format!("use one of {}", known.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::recipe;

    fn refused(text: &str) -> Diagnostic {
        recipe(text).err().unwrap()
    }

    #[test]
    fn recipes_round_trip() {
        for text in ["m-etf", "fuse,coplace,m-sct", "m-sct(theta=0.2)", "m-etf(variant=reserve)"] {
            assert_eq!(recipe(text).unwrap().to_string(), text);
        }
        assert_eq!(
            recipe(" fuse , m-etf( variant = reserve ) ").unwrap().to_string(),
            "fuse,m-etf(variant=reserve)"
        );
    }

    #[test]
    fn near_names_are_offered() {
        let error = refused("m-eft");
        assert_eq!(error.code, "unknown-algorithm");
        assert!(error.hints[0].contains("`m-etf`"), "{:?}", error.hints);
        let error = refused("m-sct(teta=1)");
        assert_eq!(error.code, "unknown-option");
        assert!(error.hints[0].contains("`theta`"), "{:?}", error.hints);
        assert!(refused("qqqqqqqqqq").hints[0].starts_with("use one of auto"));
    }

    #[test]
    fn wrong_recipes_are_refused() {
        for (text, code) in [
            ("", "unknown-algorithm"),
            ("fuse", "bad-recipe"),
            ("m-etf,fuse", "bad-recipe"),
            ("m-etf,m-sct", "bad-recipe"),
            ("m-sct(theta=0.2", "bad-recipe"),
            ("m-sct)", "bad-recipe"),
            ("m-sct(theta)", "bad-option"),
            ("m-sct(theta=x)", "bad-option"),
            ("m-etf(variant=loose)", "bad-option"),
            ("m-sct:teta=1", "unknown-option"),
            ("m-sct:theta=0.2", "unknown-algorithm"),
        ] {
            assert_eq!(refused(text).code, code, "{text}");
        }
    }
}
