// A hundred names that want to be more than text, and a model whose ops have them.

const MARKUP = [
  "<img src=x onerror=alert(1)>", "\"><script>alert(1)</script>", "<svg/onload=alert(1)>", "</title><script>alert(1)</script>", "<iframe srcdoc='<script>alert(1)</script>'>",
  "<a href='javascript:alert(1)'>x</a>", "javascript:alert(1)", "' onmouseover='alert(1)", "<style>*{display:none}</style>", "<!-- ", "]]>", "&lt;b&gt;", "&#x3c;script&#x3e;",
  "${alert(1)}", "`${alert(1)}`", "{{constructor.constructor('alert(1)')()}}", "<base href=//x.example>", "<meta http-equiv=refresh content=0>", "<math><mi//xlink:href='data:x,<script>'>", "<plaintext>",
];
const CONTROL = ["a\u0001b", "a\u0007b", "a\u0008b", "a\u001b[31mb", "a\tb", "a\nb", "a\r\nb", "a\u007fb", "a\u0085b", "a\u009bb", "a\u00adb", "a\u2028b", "a\u2029b", "a\ufeffb", "a\ufff9b\ufffa"];
const DIRECTION = ["\u202egnp.exe", "\u202dabc\u202c", "\u200fabc", "\u200eabc", "\u2066abc\u2069", "\u2067abc", "\u2068abc", "\u061cabc", "\u202babc", "\u202aabc", "\u200babc", "a\u200db", "a\u2060b"];
export const SHEET = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\"quoted\",\"cells\"", "a,b;c"];
const ODD = [
  "../../etc/passwd", "..\\..\\x", "a/b~0~1c", "%3Cscript%3E", "%00", "__proto__", "constructor", "toString", "null", "undefined", "NaN", "#/plans", "?q=1&device=2", " ", "  two  spaces  ",
  "é", "e\u0301".repeat(20), "مرحبا", "שלום", "日本語", "🦀".repeat(40), "👩‍👩‍👧‍👦", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!͖̬̰̙̗̿̋ͥͥ̂ͣ̐́́͜͞", "ﷺ", "\u{10ffff}", "ｆｕｌｌ", "İıſ", "a".repeat(300),
];
const LONG = ["x".repeat(10_000), "<b>".repeat(3334), "\u202e".repeat(10_000), "word ".repeat(2000), "💥".repeat(5000)];

/** All of them; those left of a hundred are markup between controls. */
export const NAMES = (() => {
  const own = [...MARKUP, ...CONTROL, ...DIRECTION, ...SHEET, ...ODD, ...LONG];
  for (let n = 0; own.length < 100; n += 1) own.push(`${DIRECTION[n % DIRECTION.length]}${MARKUP[n % MARKUP.length]}${CONTROL[n % CONTROL.length]}`);
  return own;
})();

// The wire format of protocol buffers, and the fields of onnx.proto.
const varint = (value) => { const own = []; for (let n = value; ; n = Math.floor(n / 128)) { if (n < 128) { own.push(n); return Buffer.from(own); } own.push((n % 128) | 128); } };
const number = (field, value) => Buffer.concat([varint(field * 8), varint(value)]);
const bytes = (field, own) => { const body = Buffer.from(own); return Buffer.concat([varint(field * 8 + 2), varint(body.length), body]); };
const all = (...own) => Buffer.concat(own);

function value(name) {
  const shape = bytes(2, all(...[256, 1024].map((extent) => bytes(1, number(1, extent)))));
  return all(bytes(1, name), bytes(2, bytes(1, all(number(1, 1), shape))));
}

/** A chain of sums, each of which reads the input too; op, module and tensor have the name. */
export function model(names = NAMES) {
  const tensor = (at) => `${names[at]}#${at}`;
  const nodes = names.map((name, at) => bytes(1, all(bytes(1, at === 0 ? "x" : tensor(at - 1)), bytes(1, "x"), bytes(2, tensor(at)), bytes(3, name), bytes(4, "Add"))));
  const graph = all(...nodes, bytes(2, names[0]), bytes(11, value("x")), bytes(12, value(tensor(names.length - 1))));
  return all(number(1, 8), bytes(8, number(2, 18)), bytes(7, graph));
}

/** Devices behind a switch, each called by one of the names; JSON, which is YAML. */
export function cluster(names) {
  const devices = names.map((id) => ({ id, kind: "rtx_3090" }));
  const links = names.map((id) => ({ between: [id, "hub"], bytes_per_s: 25e9, latency_s: 5e-6 }));
  return JSON.stringify({ name: names[0], devices, switches: ["hub"], links });
}
