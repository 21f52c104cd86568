// The graph view in a browser, against the documents that it shows. `make test-ui`.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { check_numbers } from "./numbers.mjs";
import { layers, onnx } from "./onnx.mjs";
import { ROOT, browser, clear, folder, open, page_of, post, screenshot, serve, settle } from "./service.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const at = folder();
let service, chrome, ids;

const HOSTILE = ["<img src=x onerror=alert(1)>", "\u202egnp.exe", "a\u0007b", "`${alert(1)}`", "long".repeat(2500), "\"><script>alert(1)</script>", "\u200bzero", "=cmd|' /C calc'!A0", "a,b\"c\\d&#e"];

/** A chain of ops with such names, half of them of types with such names. */
const hostile = () => onnx(HOSTILE.map((name, op) => [op < 4 ? "Relu" : HOSTILE[op - 4], name, [op === 0 ? "x" : `t${op}`], [op === HOSTILE.length - 1 ? "y" : `t${op + 1}`]]), [], "x", "y", [4, 4]);

async function put(kind, name, bytes) {
  const answer = await fetch(`${service.base}/v1/${kind}?name=${name}`, { method: "POST", body: bytes });
  assert.ok(answer.ok, await answer.text());
}

before(async () => {
  service = await serve(at);
  chrome = await browser();
  const example = (path) => readFileSync(join(ROOT, "examples", path));
  for (const name of ["gpt2_small.onnx", "llama-2-70b.json"]) await put("models", name, example(`models/${name}`));
  for (const name of ["a100-node.yaml", "pod.yaml"]) await put("clusters", name, example(`clusters/${name}`));
  await put("models", "layers.onnx", layers(6, 500));
  await put("models", "hostile.onnx", hostile());
  const node = (id) => ({ id, name: `node${id}`, supportedOnFpga: 1, cpuLatency: 10, fpgaLatency: 1, isBackwardNode: 0, size: 1e6 });
  await put("models", "instance.json", JSON.stringify({ maxSizePerFPGA: 1e9, maxFPGAs: 2, maxCPUs: 0, nodes: [node(0), node(1)], edges: [{ sourceId: 0, destId: 1, cost: 0.1 }] }));
  const on = { cluster: "a100-node.yaml", algorithm: "m-topo" };
  const requests = {
    gpt2: { model: "gpt2_small.onnx", workload: "training", batch: 8, micro_batch: 4, ...on },
    layers: { model: "layers.onnx", ...on },
    hostile: { model: "hostile.onnx", ...on },
    run: { model: "llama-2-70b.json", cluster: "pod.yaml", workload: "training", global_batch: 64, sequence_length: 4096, pin: ["pipeline=4", "schedule=1f1b", "tensor=8"] },
    instance: { model: "instance.json" },
  };
  ids = {};
  for (const [name, request] of Object.entries(requests)) ids[name] = (await post(service.base, "/v1/plans?wait=60", request)).id;
});
after(async () => {
  await chrome?.close();
  await service?.stop();
  clear(at);
});

const json = async (path) => (await fetch(service.base + path)).json();
const graph = (name, query = "") => json(`/v1/plans/${ids[name]}/graph${query}`);
const opened = (...groups) => encodeURIComponent(JSON.stringify(groups));
/** What the page's address asks for. */
const address = async (page) => new URLSearchParams((await page.evaluate(() => location.hash)).split("?")[1] ?? "");
/** The address once its `name` is as asked; a page writes it a moment after what it shows. */
async function address_where(page, name, is_so) {
  for (let tries = 0; ; tries += 1) {
    const value = (await address(page)).get(name);
    if (is_so(value) || tries === 100) return value;
    await page.waitForTimeout(20);
  }
}
/** All nodes of a document, however deep. */
const nodes_of = (inside) => inside.nodes.flatMap((node) => [node, ...(node.open === null ? [] : nodes_of(node.open))]);
/** A node as the address names it. */
const key = (node) => `${["op", "stage"].includes(node.kind) ? "op" : "in"}:${node.id}`;
/** What the canvas shows. */
const pixels = (page) => page.$eval("canvas", (own) => own.toDataURL());
const drawn = (page) => page.$eval("canvas", (own) => Number(own.dataset.drawn));
/** Does something, and waits until the canvas was drawn since. */
async function redrawn(page, act) {
  const before = await drawn(page);
  await act();
  await page.waitForFunction((before) => Number(document.querySelector("canvas").dataset.drawn) > before, before);
}

const views = () => [
  ["gpt2", `?open=${opened("m", "m.transformer")}&tables=nodes,edges&colour=time`, 60], ["gpt2", "?critical=yes&find=matmul", 3],
  ["run", "?at=op%3Astage%201&colour=stage&tables=nodes,edges", 30], ["layers", "?tables=nodes&colour=memory", 5],
];

for (const [theme, width] of [["light", 1280], ["dark", 1920]]) {
  test(`the graph, ${theme}, ${width} wide`, async () => {
    for (const [index, [name, query, least]] of views().entries()) {
      const { page, wrong, context } = await page_of(chrome, service.base, { theme, width });
      await open(page, service.base, `#/plans/${ids[name]}/graph${query}`);
      if (query.includes("find=")) await page.waitForSelector(".found li");
      assert.ok(await check_numbers(page, service.base) >= least, `numbers of ${name}`);
      await page.evaluate(axe);
      const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      assert.deepEqual(found.violations.filter((own) => ["serious", "critical"].includes(own.impact)).map((own) => `${own.id}: ${own.nodes[0].html}`), [], name);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), name);
      await screenshot(page, `graph-${name}-${index}-${theme}-${width}`);
      assert.deepEqual(wrong, [], name);
      await context.close();
    }
  });
}

test("a lone group is open, others are opened by the server one at a time, and requests given up are cancelled", async () => {
  const { page, context } = await page_of(chrome, service.base);
  const asked = [], cancelled = [];
  page.on("request", (own) => { if (own.url().includes("/graph?")) asked.push(decodeURIComponent(own.url())); });
  page.on("requestfailed", (own) => { if (own.url().includes("/graph?")) cancelled.push(own.failure().errorText); });
  await open(page, service.base, `#/plans/${ids.layers}/graph`);
  const top = (await graph("layers", `?open=${opened("model", "model.layers")}`)).inside;
  const [repeat] = nodes_of(top).filter((node) => node.kind === "repeat");
  assert.deepEqual([repeat.name, repeat.n_equal, repeat.n_ops], ["0..5", 6, 3000]);
  await page.waitForSelector("#graph-told:has-text('3 nodes and 0 edges')");
  await page.focus("canvas");
  for (const key of ["ArrowDown", "Enter", "Enter"]) await page.keyboard.press(key);
  const wanted = `in:${repeat.id}`;
  assert.equal(await address_where(page, "at", (at) => at === wanted), wanted);
  const before = asked.length;
  // An answer that comes once it is no longer wanted.
  let release;
  const held = new Promise((done) => { release = done; });
  await page.route("**/graph?*", async (route) => { await held; await route.continue().catch(() => {}); });
  await page.keyboard.press("Enter");
  await page.waitForSelector("text=opening");
  const failed = page.waitForEvent("requestfailed", (own) => own.url().includes("/graph?"));
  await page.click("button:has-text('Close all')");
  await failed;
  release();
  await page.waitForSelector("#graph-told:has-text('1 nodes')");
  assert.deepEqual([asked.length - before, cancelled], [2, ["net::ERR_ABORTED"]]);
  await context.close();
});

test("keys go between nodes, open and close groups, and zoom", async () => {
  const { page, wrong, context } = await page_of(chrome, service.base);
  await open(page, service.base, `#/plans/${ids.gpt2}/graph?open=${opened("m", "m.transformer")}&at=in%3Am.transformer`);
  await page.focus("canvas");
  const { inside } = await graph("gpt2", `?open=${opened("m", "m.transformer")}`);
  const [transformer] = nodes_of(inside).filter((node) => node.id === "m.transformer");
  await page.keyboard.press("Enter");
  const first = transformer.open.nodes[0];
  assert.equal(await address_where(page, "at", (at) => at === key(first)), key(first));
  await page.keyboard.press("ArrowDown");
  const chosen = await address_where(page, "at", (at) => at !== key(first));
  const below = nodes_of(inside).find((node) => key(node) === chosen);
  assert.ok(below.y > first.y && transformer.open.nodes.includes(below), below.id);
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => !location.hash.includes("m.transformer%22"));
  assert.equal(await address_where(page, "at", (at) => at === "in:m.transformer"), "in:m.transformer");
  assert.equal(await page.textContent("section[aria-label='Selected node'] .lead"), "m.transformer");
  const scale = async () => Number((await address(page)).get("v").split(",")[0]);
  await page.keyboard.press("+");
  await page.waitForTimeout(600);
  const near = await scale();
  await page.keyboard.press("-");
  await page.keyboard.press("-");
  await page.waitForTimeout(600);
  assert.ok(await scale() < near);
  await page.keyboard.press("0");
  await page.waitForTimeout(600);
  const { width } = await page.locator("canvas").boundingBox();
  assert.ok(await scale() * (await graph("gpt2", `?open=${opened("m")}`)).inside.width <= width);
  assert.deepEqual(wrong, []);
  await context.close();
});

test("words find what a walk over all ops finds, and a press shows it", async () => {
  const { page, context } = await page_of(chrome, service.base);
  await open(page, service.base, `#/plans/${ids.gpt2}/graph`);
  const all = nodes_of((await graph("gpt2", "?depth=64")).inside);
  const wanted = all.filter((node) => node.kind === "op" && node.op_type.includes("Softmax") && "node0.gpu1" in node.devices);
  assert.ok(wanted.length > 0);
  await page.fill("input[aria-label='Find in the graph']", "softmax gpu1");
  await page.waitForSelector(".found li");
  assert.equal(Number(await page.textContent("[data-pointer='/n_found']")), wanted.length);
  await page.click(".found li:nth-child(1) button.pick");
  await page.waitForSelector("section[aria-label='Selected node'] .pairs");
  const at = (await address(page)).get("at");
  const chosen = all.find((node) => `op:${node.id}` === at);
  assert.ok(wanted.includes(chosen));
  const time = await page.getAttribute("section[aria-label='Selected node'] [data-as='time']", "data-pointer");
  const shown = await graph("gpt2", `?open=${encodeURIComponent((await address(page)).get("open"))}`);
  assert.equal(time.split("/").slice(1).reduce((own, name) => own[name], shown), chosen.time_ns);
  await context.close();
});

test("another colour lays nothing out again, and a link shows the same picture", async () => {
  const { page, context } = await page_of(chrome, service.base);
  await open(page, service.base, `#/plans/${ids.gpt2}/graph?open=${opened("m", "m.transformer")}`);
  const asked = [];
  page.on("request", (own) => { if (own.url().includes("/v1/")) asked.push(own.url()); });
  const seen = new Set([await pixels(page)]);
  for (const colour of ["time", "memory", "origin"]) {
    await redrawn(page, () => page.selectOption("label:has-text('Colour') select", colour));
    seen.add(await pixels(page));
  }
  await redrawn(page, () => page.click("button:has-text('Critical path')"));
  seen.add(await pixels(page));
  assert.equal(seen.size, 5);
  assert.deepEqual(asked, []);
  await page.mouse.move(500, 500);
  await page.mouse.wheel(0, -200);
  await page.mouse.move(10, 10);
  await address_where(page, "v", (v) => v !== null);
  await page.waitForTimeout(200);
  const other = await page_of(chrome, service.base);
  await open(other.page, service.base, await page.evaluate(() => location.hash));
  await page.reload();
  await settle(page);
  assert.equal(await pixels(other.page), await pixels(page));
  await other.context.close();
  await context.close();
});

test("the critical path is marked on edges: on those of a chain that take time, and between ops of the path alone", async () => {
  // Ops of unknown types that read nothing take no time; what goes to another device always does.
  const takes = ([from, to]) => to.critical_ns > 0 && (from.critical_ns > 0 || Object.keys(from.devices)[0] !== Object.keys(to.devices)[0]);
  const ends = ({ nodes, edges }) => edges.map((edge) => [nodes[edge.from], nodes[edge.to], edge.n_critical]);
  const chain = ends((await graph("hostile")).inside).map((own) => [Number(takes(own)), own[2]]);
  assert.equal(chain.length, HOSTILE.length - 1);
  assert.ok(chain.filter(([wanted, own]) => wanted === 1 && own === 1).length >= 5);
  for (const [wanted, own] of chain) assert.equal(own, wanted);
  const levels = (inside) => [inside, ...inside.nodes.flatMap((node) => (node.open === null ? [] : levels(node.open)))];
  const marked = levels((await graph("gpt2", "?depth=64")).inside).flatMap(ends).filter(([, , n]) => n > 0);
  assert.ok(marked.length > 0);
  for (const own of marked) assert.ok(takes(own), `${own[0].id} to ${own[1].id}`);
  const { page, context } = await page_of(chrome, service.base);
  await open(page, service.base, `#/plans/${ids.hostile}/graph?critical=yes&tables=edges`);
  const counts = await page.$$eval("[data-pointer$='/n_critical']", (all) => all.map((own) => own.textContent.trim()));
  assert.deepEqual(counts.toSorted(), chain.map(([wanted]) => String(wanted)).toSorted());
  assert.ok(await page.$("text=on the critical path"));
  await context.close();
});

test("an op's slices are framed in the timeline, and lead back", async () => {
  const { page, context } = await page_of(chrome, service.base);
  const op = nodes_of((await graph("layers", "?depth=64")).inside).find((node) => node.kind === "op" && node.time_ns > 0 && node.op_type === "MatMul");
  await open(page, service.base, `#/plans/${ids.layers}/graph?at=${encodeURIComponent(`op:${op.id}`)}`);
  await page.click("a:has-text('In the timeline')");
  await page.waitForSelector("text=Framed");
  await settle(page);
  assert.deepEqual([(await address(page)).get("t0"), (await address(page)).get("t1")], [op.first_ns, op.last_ns].map(String));
  assert.match(await page.textContent("p:has-text('Framed')"), /Framed: 1 boxes of/);
  await page.keyboard.press(",");
  await page.click("a:has-text('Show in graph')");
  await page.waitForSelector("section[aria-label='Selected node'] .pairs");
  assert.match((await address(page)).get("at"), /^op:/);
  await context.close();
});

test("what is saved is an SVG that parses, a PNG, and tables that add up", async () => {
  const { page, context } = await page_of(chrome, service.base);
  await open(page, service.base, `#/plans/${ids.hostile}/graph?colour=memory`);
  const saved = async (selector) => {
    const [file] = await Promise.all([page.waitForEvent("download"), page.click(selector)]);
    return readFileSync(await file.path());
  };
  const svg = (await saved("button:text-is('SVG')")).toString();
  const told = await page.evaluate((text) => {
    const own = new DOMParser().parseFromString(text, "image/svg+xml");
    return { root: own.documentElement.nodeName, names: [...new Set([...own.querySelectorAll("*")].map((one) => one.nodeName))], text: own.documentElement.textContent };
  }, svg);
  assert.equal(told.root, "svg");
  assert.deepEqual(told.names.filter((name) => !["svg", "defs", "rect", "path", "text"].includes(name)), []);
  assert.match(told.text, /Relu/);
  assert.deepEqual([...(await saved("button:text-is('PNG')")).subarray(0, 4)], [0x89, 0x50, 0x4e, 0x47]);
  await open(page, service.base, `#/plans/${ids.gpt2}/graph`);
  const csv = (await saved("button[aria-label='CSV of edges']")).toString().trim().split("\r\n").slice(1);
  const edges = (inside) => [...inside.edges, ...inside.nodes.flatMap((node) => (node.open === null ? [] : edges(node.open)))];
  const cut = edges((await graph("gpt2", `?open=${opened("m")}`)).inside).reduce((sum, edge) => sum + edge.cut_bytes, 0);
  assert.ok(cut > 0);
  assert.equal(csv.reduce((sum, row) => sum + Number(row.split(",").at(-2)), 0), cut);
  await context.close();
});

test("names are text in the graph, whatever they hold", async () => {
  const { page, wrong, context } = await page_of(chrome, service.base);
  await open(page, service.base, `#/plans/${ids.hostile}/graph?tables=nodes,edges&find=relu`);
  assert.equal(await page.$$eval("main img, main script", (all) => all.length), 0);
  const { nodes } = (await graph("hostile")).inside;
  for (const node of nodes) {
    await open(page, service.base, `#/plans/${ids.hostile}/graph?tables=nodes&at=${encodeURIComponent(key(node))}`);
    await page.waitForSelector("section[aria-label='Selected node'] .pairs", { timeout: 5000 }).catch(() => assert.fail(`${node.id.slice(0, 80)} is not shown`));
    await page.hover("main canvas");
    assert.equal(await page.evaluate(() => /[\u0000-\u0008\u202a-\u202e\u200b]/.test(document.body.innerText)), false);
  }
  await screenshot(page, "graph-hostile");
  assert.deepEqual(wrong, []);
  await context.close();
});

test("a plan without a graph says why", async () => {
  const { page, context } = await page_of(chrome, service.base, { refusals: true });
  await open(page, service.base, `#/plans/${ids.instance}/graph`);
  assert.match(await page.textContent("main [role=alert]"), /no-view.*given costs/);
  await open(page, service.base, `#/plans/${ids.layers}/graph?open=${opened("nothing")}`);
  assert.match(await page.textContent("main [role=alert]"), /unknown-group/);
  await context.close();
});

test("what is drawn is bounded, however much is open", async () => {
  const { page, context } = await page_of(chrome, service.base);
  const all = nodes_of((await graph("layers", "?depth=64")).inside).filter((node) => !["op", "stage"].includes(node.kind)).map((node) => node.id);
  await open(page, service.base, `#/plans/${ids.layers}/graph?open=${opened(...all)}`);
  await page.focus("canvas");
  await page.keyboard.press("0");
  await page.waitForTimeout(200);
  const [nodes, edges] = (await page.textContent("#graph-told")).match(/\d+/g).map(Number);
  assert.ok(nodes <= 3100 && edges <= 2000, `${nodes} nodes, ${edges} edges`);
  assert.ok(await page.$$eval("*", (own) => own.length) < 1500);
  const before = await drawn(page);
  await page.mouse.move(500, 500);
  assert.ok(await drawn(page) - before <= 3);
  await context.close();
});
