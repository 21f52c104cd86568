//! What locations say: names of arguments, the modules that ops belong to, and whether an op is of
//! a backward pass.

use super::fault::shown;
use super::syntax::Program;

/// Aliases of aliases that are followed.
const MAX_HOPS: usize = 16;

impl<'t> Program<'t> {
    /// The name that a location gives, such as `jit(f)/layer/dot_general`.
    pub(super) fn name_of(&self, location: &'t [u8]) -> Option<&'t str> {
        let mut text = location;
        for _ in 0..MAX_HOPS {
            text = text.trim_ascii();
            if let Some(rest) = text.strip_prefix(b"\"") {
                let end = rest.iter().position(|byte| *byte == b'"')?;
                // `"file.py":10:22` names a place in a file.
                let is_file = rest[end + 1..].trim_ascii_start().first() == Some(&b':');
                return std::str::from_utf8(&rest[..end]).ok().filter(|_| !is_file);
            }
            let inner = [&b"callsite("[..], b"fused[", b"fused<", b"loc("]
                .iter()
                .find_map(|head| text.strip_prefix(*head));
            text = match inner {
                Some(inner) => {
                    // Behind what a fused location is made for.
                    let start = inner.iter().position(|byte| *byte == b'[');
                    let is_made = text.starts_with(b"fused<");
                    start.filter(|_| is_made).map_or(inner, |start| &inner[start + 1..])
                }
                None => {
                    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
                    let end = text.iter().skip(1).position(|byte| !is_name(byte));
                    let alias = &text[..end.map_or(text.len(), |end| end + 1)];
                    self.locations.get(alias).copied()?
                }
            };
        }
        None
    }
}

/// A name as scopes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Path {
    /// Modules that an op lies in; `None` for the body of a loop.
    pub(super) modules: Vec<Option<String>>,
    pub(super) is_backward: bool,
    /// Whether it begins at the program itself, rather than at the call of a function.
    pub(super) is_whole: bool,
}

/// Scopes that tracing puts in, which are no modules.
const TRACED: [&str; 15] = [
    "while",
    "body",
    "cond",
    "scan",
    "closed_call",
    "checkpoint",
    "remat",
    "rematted_computation",
    "shard_map",
    "custom_vjp_call",
    "custom_jvp_call",
    "core_call",
    "branch_0_fun",
    "branch_1_fun",
    "custom_vjp_call_jaxpr",
];

/// Splits the name of an op; its last part is the operation itself.
pub(super) fn path(name: &str) -> Path {
    let mut path = Path { is_whole: name.starts_with("jit("), ..Path::default() };
    let mut parts = outside_brackets(name);
    parts.pop();
    for (place, part) in parts.iter().enumerate() {
        let mut part = *part;
        if part == "body" && place > 0 && parts[place - 1].ends_with("while") {
            path.modules.push(None);
        }
        let mut is_function = false;
        while let Some((head, inner)) = part.split_once('(') {
            path.is_backward |= head == "transpose";
            // `jit(f)` names a function, `jvp(Dense_0)` a module.
            is_function |= matches!(head, "jit" | "pjit" | "pmap" | "xla_call");
            part = inner.strip_suffix(')').unwrap_or(inner);
        }
        if is_function || part.is_empty() || TRACED.contains(&part) {
            continue;
        }
        path.modules.push(Some(shown(part.replace('/', ".").as_bytes())));
    }
    path
}

/// Parts between slashes that lie in no brackets.
fn outside_brackets(name: &str) -> Vec<&str> {
    let mut depth = 0usize;
    name.split(|c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == '/' && depth == 0
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Flax and `jax.named_scope` write them.
    #[test]
    fn scopes_are_modules_and_transposition_is_backward() {
        let of = |name: &str| {
            let path = path(name);
            let of = |module: Option<String>| module.unwrap_or_else(|| "*".to_owned());
            let modules: Vec<String> = path.modules.into_iter().map(of).collect();
            (modules.join("."), path.is_backward)
        };
        assert_eq!(of("jit(f)/MLP/Dense_0/dot_general"), ("MLP.Dense_0".to_owned(), false));
        assert_eq!(of("jit(f)/transpose(jvp(MLP))/mul"), ("MLP".to_owned(), true));
        assert_eq!(of("jit(f)/jvp()/while/body/layer/add"), ("*.layer".to_owned(), false));
        assert_eq!(of("jit(f)/jit(relu)/max"), (String::new(), false));
        assert_eq!(of("add"), (String::new(), false));
    }
}
