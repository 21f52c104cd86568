//! The module that owns a node: from the exporter's scopes, or from the node's name.

/// The metadata key under which PyTorch's exporter writes the scopes.
pub(crate) const KEY: &[u8] = b"pkg.torch.onnx.name_scopes";

/// Longest list of scopes that is read, in bytes.
pub(crate) const MAX_BYTES: u64 = 16 << 10;

/// The deepest module of a Python list of scopes such as
/// `['', 'm', 'm.lm_head', 'linear']`: the last entry names the op, the one before its module.
pub(crate) fn from_scopes(list: &[u8]) -> Option<String> {
    let list = std::str::from_utf8(list).ok()?.trim();
    let inner = list.strip_prefix('[')?.strip_suffix(']')?;
    let mut scopes: Vec<&str> =
        inner.split(',').map(|scope| scope.trim().trim_matches(['\'', '"'])).collect();
    scopes.pop();
    scopes.into_iter().rfind(|scope| !scope.is_empty()).map(str::to_owned)
}

/// The module in a node's name such as `/model/layers.0/self_attn/MatMul`, which exporters without
/// metadata write: all but the last part, dotted.
pub(crate) fn from_node_name(name: &str) -> Option<String> {
    let (path, _) = name.trim_start_matches('/').rsplit_once('/')?;
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_give_the_deepest_module() {
        let of = |list: &str| from_scopes(list.as_bytes());
        assert_eq!(
            of("['', 'm', 'm.transformer', 'm.transformer.h.0', 'm.transformer.h.0.attn', 'linear']")
                .as_deref(),
            Some("m.transformer.h.0.attn")
        );
        assert_eq!(of("['', 'relu', 'relu']").as_deref(), Some("relu"));
        assert_eq!(of("['', 'view']"), None);
        assert_eq!(of("[]"), None);
        assert_eq!(of("no list"), None);
    }

    #[test]
    fn names_give_all_but_the_last_part() {
        assert_eq!(
            from_node_name("/model/layers.0/self_attn/MatMul").as_deref(),
            Some("model.layers.0.self_attn")
        );
        assert_eq!(from_node_name("node_MatMul_12"), None);
        assert_eq!(from_node_name("/MatMul"), None);
    }
}
