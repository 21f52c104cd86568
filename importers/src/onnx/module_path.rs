//! The module that owns a node: from the exporter's scopes, or from the node's name.

use std::collections::HashSet;

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

/// Most bytes of modules that are noted.
const MAX_NOTED: usize = 16 << 20;

/// The modules that parameters' names show: all before each dot.
pub(crate) fn owners<'n>(names: impl Iterator<Item = &'n str>) -> HashSet<String> {
    let mut owners = HashSet::new();
    let mut noted = 0;
    for name in names {
        // Siblings share their path: the longest new one first, until a known one.
        for (end, _) in name.rmatch_indices('.') {
            noted += end;
            if noted > MAX_NOTED || !owners.insert(name[..end].to_owned()) {
                break;
            }
        }
    }
    owners
}

/// The module in a node's name such as `/model/layers.0/self_attn/MatMul`, which exporters without
/// metadata write: all but the last part, dotted. Members of a list repeat the list's name, behind
/// the list itself where that is called too (`/layer3/layer3.0/conv1/Conv`): it stands once, unless
/// parameters show a module of the doubled name.
pub(crate) fn from_node_name(name: &str, owners: &HashSet<String>) -> Option<String> {
    let (path, _) = name.trim_start_matches('/').rsplit_once('/')?;
    let mut module = String::new();
    let mut last = "";
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let is_member = part.strip_prefix(last).is_some_and(|rest| rest.starts_with('.'));
        let container = module.len() - last.len();
        if !module.is_empty() {
            module.push('.');
        }
        module.push_str(part);
        if is_member && !last.is_empty() && !owners.contains(&module) {
            module.replace_range(container..container + last.len() + 1, "");
        }
        last = part;
    }
    (!module.is_empty()).then_some(module)
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
        let of = |name: &str| from_node_name(name, &HashSet::new());
        assert_eq!(
            of("/model/layers.0/self_attn/MatMul").as_deref(),
            Some("model.layers.0.self_attn")
        );
        assert_eq!(of("node_MatMul_12"), None);
        assert_eq!(of("/MatMul"), None);
    }

    #[test]
    fn lists_stand_once_before_their_members() {
        // ResNet, MobileNet and an encoder, as TorchScript's exporter names their nodes; the paths
        // are those of the modules in PyTorch.
        let of = |name: &str| from_node_name(name, &HashSet::new());
        for (name, module) in [
            ("/layer3/layer3.0/conv1/Conv", "layer3.0.conv1"),
            ("/layer3/layer3.0/downsample/downsample.0/Conv", "layer3.0.downsample.0"),
            ("/features/features.1/conv/conv.0/conv.0.0/Conv", "features.1.conv.0.0"),
            ("/encoder/layers.10/Add", "encoder.layers.10"),
            ("/layer1/layer10.0/Add", "layer1.layer10.0"),
        ] {
            assert_eq!(of(name).as_deref(), Some(module), "{name}");
        }
        // A module that is called like its list, and parameters that say so.
        let owners = owners(["block.block.0.weight", "block.block.1.weight"].into_iter());
        let module = from_node_name("/block/block.0/Conv", &owners);
        assert_eq!(module.as_deref(), Some("block.block.0"));
    }
}
