// What the pages take on the plan of a million slices: `make bench-ui` writes the section "Pages" of
// docs/benchmarks.md. Figures mean little where the machine is busy; the section says how busy it was.

import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { frames, longest, paints, shown, turns, watched } from "./gestures.mjs";
import { DIST, ROOT, browser, clear, folder, open, plans, serve, settle } from "./service.mjs";

const FRAMES = 120;
const rows = [];
const blocks = [];
let heap = 0;
const wrongs = [];

const ms = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
const mb = (value) => `${(value / 1e6).toFixed(value < 1e6 ? 2 : 1)} MB`;
const n_of = (n, what) => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;
const share = (all, part) => all.toSorted((a, b) => a - b)[Math.min(all.length - 1, Math.ceil(all.length * part) - 1)];

/** Notes a figure; `most` is its bar in the unit of `value`. */
function told(what, value, text, most, unit = ms, more = "") {
  const bar = most === undefined ? "" : `< ${unit === ms ? (most >= 1000 ? `${most / 1000} s` : `${most} ms`) : unit(most)}`;
  const missed = most !== undefined && !(value < most);
  if (missed) process.exitCode = 1;
  rows.push([what, `${text}${more === "" ? "" : `; ${more}`}`, missed ? `${bar}, missed` : bar]);
  console.log(rows.at(-1).join(" | "));
}
const asked = ({ requests, cancelled, bytes }) => (requests === 0 ? "no request" : `${n_of(requests, "request")}, ${cancelled === 0 ? "none" : cancelled} cancelled, ${mb(bytes)}`);

/** A view opened by a browser that has nothing of it yet; what it is asked for follows. */
async function opened(name, hash, then = async () => {}) {
  const own = await watched(chrome, service.base);
  const { page } = own;
  await open(page, service.base, hash);
  await page.waitForTimeout(300);
  const [paint, picture] = await paints(page);
  const drawn = (await page.evaluate(() => [...document.querySelectorAll("[role=status]")].map((one) => /^[\d,]+ (?:boxes|nodes[^;·]*) drawn/.exec(one.textContent)?.[0]).find(Boolean))) ?? "";
  const nodes = await page.evaluate(() => document.querySelectorAll("*").length);
  told(`${name}: first paint`, paint, ms(paint), 1000, ms, [Number.isNaN(picture) ? "" : `picture after ${ms(picture)}`, asked(own.counts), n_of(nodes, "DOM node"), drawn].filter(Boolean).join(", "));
  await then(own);
  blocks.push([await longest(page), name]);
  heap = Math.max(heap, await own.heap());
  wrongs.push(...own.wrong);
  await own.context.close();
}

async function gesture(name, own, act) {
  const { value: { taken, drawn }, worked, ...counts } = await own.while_(() => frames(own.page, act, FRAMES));
  if (drawn < FRAMES) throw new Error(`${name}: ${act}: of ${FRAMES} frames ${drawn} were drawn`);
  told(`${name}: ${act}, 95th percentile of ${FRAMES} frames, each drawn`, share(taken, 0.95), ms(share(taken, 0.95)), 33, ms, `median ${ms(share(taken, 0.5))}, ${ms(worked / FRAMES)} of the main thread each; ${asked(counts)}`);
  await settle(own.page);
}

async function acts(name, own, most, inputs, act, is_shown) {
  const { value, ...counts } = await own.while_(() => shown(own.page, inputs, act, is_shown));
  told(`${name}, 95th percentile of ${inputs.length}`, share(value, 0.95), ms(share(value, 0.95)), most, ms, `median ${ms(share(value, 0.5))}; ${asked(counts)}`);
}

const is_redrawn = (_, state) => document.querySelector("main canvas").dataset.drawn !== state.drawn;
const restyle = (name, own) => acts(`${name}: light to dark and back`, own, 50, Array.from({ length: 20 }, (_, at) => at), () => document.querySelector("button[aria-label^=Theme]").click(), is_redrawn);

async function timeline(own, step_ns) {
  await gesture("timeline, the whole step", own, "zoom");
  await restyle("timeline", own);
  for (const [part, acts] of [[2, ["pan"]], [30, ["zoom", "pan"]]]) {
    const query = `?t0=${Math.round(step_ns / 3)}&t1=${Math.round(step_ns * (1 / 3 + 1 / part))}`;
    await own.page.evaluate((query) => { location.hash = location.hash.replace(/\?.*|$/, query); }, query);
    await settle(own.page);
    for (const act of acts) await gesture(`timeline, ${part === 2 ? "half" : "a thirtieth"} of the step`, own, act);
  }
  await own.page.click("button[data-table=timeline]");
  await own.page.waitForSelector("section[aria-label=Timeline] table");
}

async function graph(own) {
  await own.page.focus("main canvas");
  await own.page.keyboard.press("0");
  await own.page.waitForTimeout(600);
  for (const act of ["zoom", "pan"]) await gesture("graph, 500 nodes open", own, act);
  await restyle("graph", own);
  const colours = await own.page.$$eval("select option", (all) => all.map((one) => one.value));
  await acts("graph: another colour", own, 50, Array.from({ length: 20 }, (_, at) => colours[(at + 1) % colours.length]), (colour) => {
    const select = document.querySelector("main select");
    select.value = colour;
    select.dispatchEvent(new Event("change", { bubbles: true }));
  }, is_redrawn);
  await acts("graph: search, a letter more each time", own, 100, Array.from("blocks.123 matmul", (_, at) => "blocks.123 matmul".slice(0, at + 1)).filter((text) => text.trim() === text), (text) => {
    const field = document.querySelector("input[aria-label='Find in the graph']");
    field.value = text;
    field.dispatchEvent(new InputEvent("input", { bubbles: true }));
  }, (text) => new URLSearchParams(document.querySelector("[data-pointer='/n_found']")?.dataset.source.split("?")[1]).get("text") === text);
}

/** Opens and closes the group of 500 blocks. */
async function expand(own) {
  const toggles = Array.from({ length: 20 }, (_, at) => (at % 2 === 0 ? "Enter" : "Escape"));
  const { value, ...counts } = await own.while_(() => shown(own.page, toggles, (key) => {
    document.querySelector("main canvas").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  }, (key) => document.querySelector("section[aria-label='Selected node'] .buttons button")?.textContent === (key === "Enter" ? "Close" : "Open")));
  const opens = value.filter((_, at) => at % 2 === 0);
  told(`graph: a group of 500 nodes opens, 95th percentile of ${opens.length}`, share(opens, 0.95), ms(share(opens, 0.95)), 200, ms, `median ${ms(share(opens, 0.5))}; ${asked(counts)} with closing it`);
}

async function what_if(name, id, n, most) {
  const own = await watched(chrome, service.base);
  await open(own.page, service.base, `#/plans/${id}/what-if`);
  await own.page.waitForSelector(".what-if [aria-busy=false]", { timeout: 120_000 });
  const { value, ...counts } = await own.while_(() => turns(own.page, n));
  told(`what-if, ${name}: from a slider to its figures, 95th percentile of ${value.length}`, share(value, 0.95), ms(share(value, 0.95)), most, ms, `median ${ms(share(value, 0.5))}; ${asked(counts)}`);
  blocks.push([await longest(own.page), `what-if, ${name}`]);
  await own.context.close();
}

function written(subject, load) {
  const table = ["| what | measured | bar |", "|---|---|---|", ...rows.map((row) => `| ${row.join(" | ")} |`)].join("\n");
  const section = `## Pages\n\`make bench-ui\`, ${new Date().toISOString().slice(0, 10)}, on ${cpus().length} cores, service and headless Chromium on one machine (load before: ${load.toFixed(1)}): the plan of \`importers/examples/large_graph.rs\` (10,000 forward operators, 32 micro-batches, 64 devices; ${subject}), Canvas 2D without a GPU, 1280 by 800.\n\n${table}\n`;
  const path = join(ROOT, "docs/benchmarks.md");
  const before = readFileSync(path, "utf8");
  const from = before.includes("## Pages\n") ? before.indexOf("## Pages\n") : before.indexOf("## Oracle\n");
  const after = before.includes("## Pages\n") ? before.slice(from).replace(/^## Pages\n[^]*?(?=\n## |$)/, "").replace(/^\n/, "") : before.slice(from);
  writeFileSync(path, `${before.slice(0, from)}${section}\n${after}`);
}

const [load] = loadavg();
const at = folder();
const service = await serve(at);
const chrome = await browser();
try {
  const { large, gpt2, ...others } = await plans(service.base, ["large", "gpt2"]);
  if (large === undefined) throw new Error(`no plan of large.onnx: ${JSON.stringify(others)}`);
  const view = await (await fetch(`${service.base}/v1/plans/${large}/view`)).json();
  const group = encodeURIComponent(JSON.stringify(["model"]));
  for (const name of ["overview", "memory"]) await opened(name, `#/plans/${large}/${name}`);
  await opened("timeline", `#/plans/${large}/timeline`, (own) => timeline(own, view.step_time_ns));
  await opened("graph", `#/plans/${large}/graph`, graph);
  await opened("graph, one group open", `#/plans/${large}/graph?open=${group}&at=in%3Amodel.blocks`, expand);
  await what_if("GPT-2 on 8 GPUs", gpt2, 60, 200);
  await what_if("the plan of a million slices", large, 60, 500);
  const [longer, other] = [blocks.filter(([own]) => own > 0).toSorted(([a], [b]) => b - a), "under 50 ms"];
  told("longest task of the main thread in all of this", longer[0]?.[0] ?? 0, longer.length === 0 ? other : longer.map(([own, name]) => `${ms(own)} (${name})`).join(", "), 200, ms, longer.length < blocks.length && longer.length > 0 ? `else ${other}` : "");
  told("largest heap in all of this, garbage included", heap, mb(heap), 300e6, mb);
  const files = readdirSync(join(DIST, "assets")).filter((name) => /\.(js|css|svg)$/.test(name));
  const bytes = files.map((name) => gzipSync(readFileSync(join(DIST, "assets", name)), { level: 9 }).length).reduce((a, b) => a + b, 0);
  told("assets, gzip", bytes, `${(bytes / 1e3).toFixed(1)} kB`, 150e3, (own) => `${own / 1e3} kB`);
  if (wrongs.length > 0) throw new Error(wrongs.join("\n"));
  written(`${view.n_slices.toLocaleString("en")} slices on ${view.lanes.length} lanes, ${view.n_groups.toLocaleString("en")} groups`, load);
} finally {
  await chrome.close();
  await service.stop();
  clear(at);
}
