// Numbers on a page against the documents that they say they come from. Shares no code with the page:
// a text is read back as an interval, in which the value must lie.

import assert from "node:assert/strict";

const UNITS = {
  time: { ns: 1, "µs": 1e3, ms: 1e6, s: 1e9 },
  seconds: { ns: 1e-9, "µs": 1e-6, ms: 1e-3, s: 1 },
  bytes: { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40, PiB: 2 ** 50 },
  "bytes-exact": { B: 1 },
  share: { "%": 0.01 },
  points: { pp: 0.01 },
  count: { "": 1 },
  "tokens-per-s": { "tokens/s": 1, "k tokens/s": 1e3, "M tokens/s": 1e6, "G tokens/s": 1e9 },
  factor: { "×": 1 },
  "bytes-per-s": { "B/s": 1, "kB/s": 1e3, "MB/s": 1e6, "GB/s": 1e9 },
  real: { "": 1 },
};

/** RFC 6901, section 4. */
function at(document, pointer) {
  return pointer.split("/").slice(1).reduce((own, name) => own?.[name.replaceAll("~1", "/").replaceAll("~0", "~")], document);
}

function value({ pointers, whole, rule }, document) {
  const all = pointers.map((pointer) => at(document, pointer));
  for (const own of all) assert.equal(typeof own, "number", `${pointers} of the document`);
  const sum = (list) => list.reduce((a, b) => a + b, 0);
  if (rule === "difference") return all[0] - sum(all.slice(1));
  if (rule === "share") return sum(all) / sum(whole.map((pointer) => at(document, pointer)));
  assert.equal(rule, "sum");
  return sum(all);
}

/** Whether a text stands for a value, to half of its last digit. */
function holds(text, as, own) {
  if (as === "date") {
    const [year, month, day, hour, minute, second] = text.match(/\d+/g).map(Number);
    return Math.floor(own / 1000) * 1000 === new Date(year, month - 1, day, hour, minute, second).getTime();
  }
  if (as === "real" && text.includes("e")) return Math.abs(Number(text.replaceAll("−", "-")) / own - 1) < 6e-4;
  const found = /^([+−±]?)([\d,]+(?:\.(\d+))?) ?(.*)$/.exec(text);
  assert.ok(found, `a number: ${text}`);
  const [, sign, digits, places = "", unit] = found;
  const scale = UNITS[as][unit];
  assert.ok(scale !== undefined, `a unit of ${as}: ${text}`);
  const shown = Number(digits.replaceAll(",", "")) * (sign === "−" ? -1 : 1) * scale;
  return Math.abs(shown - own) <= 0.5 * 10 ** -places.length * scale * (1 + 1e-6);
}

/** What no longer changes; lists do. */
const documents = new Map();

/** A document; a stream of events is the list of their data, a comparison has both answers beside it. */
async function document(base, source) {
  if (documents.has(base + source)) return documents.get(base + source);
  if (source.startsWith("compare?")) {
    const [a, b, settings, called] = ["a", "b", "settings", "called"].map((name) => new URLSearchParams(source.slice(8)).get(name));
    const answers = await Promise.all([a, b].map((id) => id && document(base, `/v1/plans/${id}/answer`)));
    const body = JSON.stringify(a === null ? { plan: b, settings, settings_name: called } : { plan: b, with: a });
    const compared = await fetch(`${base}/v1/compare`, { method: "POST", body, headers: { "content-type": "application/json" } });
    return { a: answers[0], b: answers[1], compare: await compared.json() };
  }
  if (source.startsWith("simulate?")) {
    const [plan, now] = await Promise.all(["a", "b"].map(async (name) => {
      const body = new URLSearchParams(source.slice(9)).get(name);
      return (await fetch(`${base}/v1/simulate`, { method: "POST", body, headers: { "content-type": "application/json" } })).json();
    }));
    return { plan, now };
  }
  // What is left of a brief answer stands where it stands in the whole one.
  const answer = await fetch(base + source.replace(/\?brief=true$/, ""));
  assert.ok(answer.ok, source);
  const text = await answer.text();
  const parsed = !answer.headers.get("content-type").startsWith("text/event-stream") ? JSON.parse(text)
    : text.split("\n\n").map((block) => block.split("\n")).filter((lines) => lines.some((line) => line.startsWith("event: ")))
      .map((lines) => JSON.parse(lines.find((line) => line.startsWith("data: ")).slice(6)));
  if (/\/(answer|events|timeline|memory)\b/.test(source)) documents.set(base + source, parsed);
  return parsed;
}

/** Holds every number of a page against its document, which may have another name here; tells how many there were. */
export async function check_numbers(page, base, here = (source) => source) {
  const read = new Map();
  const shown = await page.$$eval("[data-pointer]", (all) => all.map((one) => ({
    text: one.textContent.trim(), pointers: one.dataset.pointer.split("\n"), whole: one.dataset.whole?.split("\n"),
    rule: one.dataset.rule, as: one.dataset.as, source: one.dataset.source,
  })));
  for (const one of shown) {
    if (!read.has(one.source)) {
      const own = here(one.source);
      read.set(one.source, typeof own === "string" ? await document(base, own) : own);
    }
    const own = value(one, read.get(one.source));
    assert.ok(holds(one.text, one.as, own), `\`${one.text}\` is not ${own} (${one.as}, ${one.pointers.slice(0, 3)} of ${one.source})`);
  }
  return shown.length;
}
