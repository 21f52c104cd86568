//! Writes ONNX models field by field, for tests.

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A varint field.
pub(crate) fn number(field: u64, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, field << 3);
    put_varint(&mut out, value);
    out
}

/// The key and length of a delimited field.
pub(crate) fn header(field: u64, length: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, field << 3 | 2);
    put_varint(&mut out, length);
    out
}

/// A delimited field.
pub(crate) fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
    let mut out = header(field, content.len() as u64);
    out.extend_from_slice(content);
    out
}

/// A text field.
pub(crate) fn text(field: u64, content: &str) -> Vec<u8> {
    bytes(field, content.as_bytes())
}

/// A message field.
pub(crate) fn message(field: u64, parts: &[Vec<u8>]) -> Vec<u8> {
    bytes(field, &parts.concat())
}

/// The content of a node.
pub(crate) fn node(op_type: &str, inputs: &[&str], outputs: &[&str], more: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    inputs.iter().for_each(|name| out.extend(text(1, name)));
    outputs.iter().for_each(|name| out.extend(text(2, name)));
    out.extend(text(4, op_type));
    more.iter().for_each(|field| out.extend(field));
    out
}

/// A float value `name` of extents 2 x 3, as graph field `field`.
pub(crate) fn value(field: u64, name: &str) -> Vec<u8> {
    let dim = |n| message(1, &[number(1, n)]);
    let shape = message(2, &[dim(2), dim(3)]);
    let tensor = message(1, &[number(1, 1), shape]);
    message(field, &[text(1, name), message(2, &[tensor])])
}

/// A model around the content of a graph; `more` are fields of the model.
pub(crate) fn model(graph: &[u8], more: &[Vec<u8>]) -> Vec<u8> {
    let mut out = [number(1, 10), bytes(7, graph), opset("", 20)].concat();
    more.iter().for_each(|field| out.extend(field));
    out
}

/// An operator set that a model imports.
pub(crate) fn opset(domain: &str, version: u64) -> Vec<u8> {
    message(8, &[text(1, domain), number(2, version)])
}
