// What the pages take on the plan of a million slices: `make bench-ui` writes the section "Pages" of
// docs/benchmarks.md. Figures mean little where the machine is busy.

import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { DIST, ROOT, browser, clear, folder, open, page_of, plans, serve, settle } from "./service.mjs";

const FRAMES = 120;
const rows = [];
const told = (what, value, target) => { rows.push([what, value, target]); console.log(`${what}: ${value} (${target})`); };
const ms = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

/** Notes tasks of the main thread above 50 ms, from the page's first line on. */
const watch = (page) => page.addInitScript(() => {
  window.long = [];
  new PerformanceObserver((list) => { for (const one of list.getEntries()) window.long.push(one.duration); }).observe({ type: "longtask", buffered: true });
});

/** The longest task since the page was opened; 0 below 50 ms. */
const longest = (page) => page.evaluate(() => Math.max(0, ...window.long));

/** Times between frames while something happens before each. */
async function frames(page, selector, act) {
  const all = await page.evaluate(async ([selector, act, n]) => {
    const element = document.querySelector(selector);
    const box = element.getBoundingClientRect();
    const at = { clientX: box.left + box.width * 0.6, clientY: box.top + Math.min(box.height, innerHeight - box.top) * 0.4, bubbles: true, cancelable: true, pointerId: 1, button: 0 };
    const frame = () => new Promise(requestAnimationFrame);
    const capture = element.setPointerCapture;
    element.setPointerCapture = () => undefined;
    const taken = [];
    if (act === "pan") element.dispatchEvent(new PointerEvent("pointerdown", { ...at, buttons: 1 }));
    let before = await frame();
    for (let k = 0; k < n; k += 1) {
      if (act === "zoom") element.dispatchEvent(new WheelEvent("wheel", { ...at, deltaY: k % n < n / 2 ? -60 : 60 }));
      else element.dispatchEvent(new PointerEvent("pointermove", { ...at, buttons: 1, clientX: at.clientX - 150 * Math.sin(k / 12) }));
      const now = await frame();
      taken.push(now - before);
      before = now;
    }
    if (act === "pan") element.dispatchEvent(new PointerEvent("pointerup", at));
    element.setPointerCapture = capture;
    return taken;
  }, [selector, act, FRAMES]);
  all.sort((a, b) => a - b);
  return all[Math.floor(all.length * 0.95)];
}

/** From a press on the theme to the frame that shows it. */
const restyle = (page) => page.evaluate(async () => {
  const all = [];
  for (let k = 0; k < 10; k += 1) {
    await new Promise((done) => setTimeout(done, 100));
    const start = performance.now();
    document.querySelector("button[aria-label^=Theme]").click();
    void document.body.offsetHeight;
    await new Promise((done) => { const { port1, port2 } = new MessageChannel(); port1.onmessage = done; requestAnimationFrame(() => port2.postMessage(0)); });
    all.push(performance.now() - start);
  }
  return all.sort((a, b) => a - b)[4];
});

const paint = (page) => page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? NaN);

async function heap(page) {
  const own = await page.context().newCDPSession(page);
  await own.send("HeapProfiler.collectGarbage");
  return (await own.send("Runtime.getHeapUsage")).usedSize;
}

const at = folder();
const service = await serve(at);
const chrome = await browser();
try {
  const { large, ...others } = await plans(service.base, ["large"]);
  if (large === undefined) throw new Error(`no plan of large.onnx: ${JSON.stringify(others)}`);
  const view = await (await fetch(`${service.base}/v1/plans/${large}/view`)).json();
  const subject = `${view.n_slices.toLocaleString("en")} slices on ${view.lanes.length} lanes, ${view.n_groups.toLocaleString("en")} groups`;
  const { page, wrong } = await page_of(chrome, service.base);
  await watch(page);
  let block = 0;
  for (const name of ["overview", "timeline", "memory", "graph"]) {
    await open(page, service.base, `#/plans/${large}/${name}`);
    if (!await page.$(`nav.side a[aria-current=page][href$='/${name}']`)) continue;
    told(`${name}: first paint`, ms(await paint(page)), "< 1 s");
    if (name === "timeline" || name === "graph") {
      const canvas = "main canvas";
      await page.waitForSelector(canvas);
      for (const act of ["zoom", "pan"]) told(`${name}: ${act}, 95th percentile of frames`, ms(await frames(page, canvas, act)), "< 33 ms");
      await settle(page);
      told(`${name}: restyle`, ms(await restyle(page)), "< 50 ms");
    }
    told(`${name}: longest task`, ms(await longest(page)), "< 200 ms");
    told(`${name}: heap`, `${((await heap(page)) / 1e6).toFixed(1)} MB`, "< 300 MB");
    told(`${name}: nodes`, String(await page.evaluate(() => document.querySelectorAll("*").length)), "counts");
    block = Math.max(block, await longest(page));
  }
  const files = readdirSync(join(DIST, "assets")).filter((name) => /\.(js|css|svg)$/.test(name));
  const bytes = files.map((name) => gzipSync(readFileSync(join(DIST, "assets", name)), { level: 9 }).length).reduce((a, b) => a + b, 0);
  told("assets, gzip", `${(bytes / 1e3).toFixed(1)} kB`, "< 150 kB");
  if (wrong.length > 0) throw new Error(wrong.join("\n"));
  const table = ["| what | measured | target |", "|---|---|---|", ...rows.map((row) => `| ${row.join(" | ")} |`)].join("\n");
  const section = `## Pages\n\n\`make bench-ui\`, ${new Date().toISOString().slice(0, 10)}, on ${cpus().length} cores, service and headless Chromium on one machine: the plan of \`importers/examples/large_graph.rs\` (10,000 forward operators, 32 micro-batches, 64 devices; ${subject}), Canvas 2D without a GPU.\n\n${table}\n`;
  const path = join(ROOT, "docs/benchmarks.md");
  const before = readFileSync(path, "utf8");
  const [head, tail] = before.includes("## Pages\n") ? [before.slice(0, before.indexOf("## Pages\n")), before.slice(before.indexOf("## Pages\n")).replace(/^## Pages\n[^]*?(?=\n## |$)/, "").replace(/^\n/, "")] : before.split(/(?=## Oracle\n)/);
  writeFileSync(path, `${head}${section}\n${tail}`);
} finally {
  await chrome.close();
  await service.stop();
  clear(at);
}
