//! Module paths: which part of a model an executor can move as a whole.

/// The unit of a dotted module path: the path up to and including its first purely numeric part,
/// which numbers the members of a list of repeated blocks (`transformer.h.3.attn.c_proj` belongs
/// to the block `transformer.h.3`); a path without such a part is a unit of its own.
#[must_use]
pub fn unit_of(path: &str) -> &str {
    let mut end = 0;
    for component in path.split('.') {
        end += component.len();
        if !component.is_empty() && component.bytes().all(|byte| byte.is_ascii_digit()) {
            return path.get(..end).unwrap_or(path);
        }
        end += 1;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_ends_at_the_first_number() {
        assert_eq!(unit_of("m.transformer.h.10.attn.c_proj"), "m.transformer.h.10");
        assert_eq!(unit_of("encoder.block.0.layer.1"), "encoder.block.0");
        assert_eq!(unit_of("transformer.wte"), "transformer.wte");
        assert_eq!(unit_of("layer1.bn2"), "layer1.bn2");
        assert_eq!(unit_of("0"), "0");
        assert_eq!(unit_of(""), "");
        assert_eq!(unit_of("a..1"), "a..1");
        assert_eq!(unit_of("bl\u{f6}cke.2.x"), "bl\u{f6}cke.2");
    }
}
