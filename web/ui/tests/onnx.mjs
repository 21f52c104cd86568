// Small ONNX files of one's own (the messages of onnx.proto3, written by hand).

function varint(number) {
  const bytes = [];
  for (let left = number; ; left = Math.floor(left / 128)) {
    if (left < 128) { bytes.push(left); return Buffer.from(bytes); }
    bytes.push((left % 128) | 128);
  }
}
const number = (field, value) => Buffer.concat([varint(field * 8), varint(value)]);
const bytes = (field, value) => { const own = Buffer.from(value); return Buffer.concat([varint(field * 8 + 2), varint(own.length), own]); };
const message = (field, ...parts) => bytes(field, Buffer.concat(parts));

const FLOAT = 1;
const value = (field, name, dims) => message(field, bytes(1, name), message(2, message(1, number(1, FLOAT), message(2, ...dims.map((size) => message(1, number(1, size)))))));

/** A model: nodes are [type, name, inputs, outputs], weights [name, sizes]. */
export function onnx(nodes, weights, input, output, dims) {
  const graph = [
    ...nodes.map(([type, name, inputs, outputs]) => message(1, ...inputs.map((own) => bytes(1, own)), ...outputs.map((own) => bytes(2, own)), bytes(3, name), bytes(4, type))),
    bytes(2, "graph"),
    ...weights.map(([name, sizes]) => message(5, ...sizes.map((size) => number(1, size)), number(2, FLOAT), bytes(8, name), bytes(9, Buffer.alloc(4 * sizes.reduce((a, b) => a * b, 1))))),
    value(11, input, dims), value(12, output, dims),
  ];
  return Buffer.concat([number(1, 8), message(7, ...graph), message(8, bytes(1, ""), number(2, 17))]);
}

/** Layers that are alike, each of so many ops in four strands that meet at its end. */
export function layers(n_layers, n_ops) {
  const nodes = [], weights = [];
  let input = "x";
  for (let layer = 0; layer < n_layers; layer++) {
    const own = (name) => `/model/layers.${layer}/${name}`;
    weights.push([`w${layer}`, [16, 16]]);
    const strands = [input, input, input, input];
    for (let op = 0; op < n_ops - 3; op++) {
      const at = op % 4, type = op < 4 ? "MatMul" : "Relu";
      const output = own(`t${op}`);
      nodes.push([type, own(`${type}_${op}`), op < 4 ? [strands[at], `w${layer}`] : [strands[at]], [output]]);
      strands[at] = output;
    }
    for (let join = 1; join < 4; join++) {
      nodes.push(["Add", own(`Add_${join}`), [strands[0], strands[join]], [own(`j${join}`)]]);
      strands[0] = own(`j${join}`);
    }
    input = strands[0];
  }
  nodes.at(-1)[3] = ["y"];
  return onnx(nodes, weights, "x", "y", [16, 16]);
}
