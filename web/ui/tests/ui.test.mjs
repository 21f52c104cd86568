// Walks every view in a browser. `make test-ui`.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { frames, watched } from "./gestures.mjs";
import { check_numbers } from "./numbers.mjs";
import { DIST, ROOT, WALKED, browser, clear, folder, open, page_of, plans, post, screenshot, serve, settle } from "./service.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const at = folder();
let service, chrome, ids;

before(async () => {
  service = await serve(at);
  chrome = await browser();
  ids = await plans(service.base);
});
after(async () => {
  await chrome?.close();
  await service?.stop();
  clear(at);
});

/** What axe finds serious. */
async function serious(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return found.violations.filter((own) => ["serious", "critical"].includes(own.impact))
    .map((own) => `${own.id}: ${own.nodes.slice(0, 3).map((node) => `${node.target} ${node.any[0]?.message ?? ""}`).join("; ")}`);
}

/** Views of a plan with what is open in them; others that the side bar names are opened as they are. */
const OPENED = { overview: "?tables=step,memory,origins", timeline: "?tables=timeline", memory: "?tables=levels,memory", search: "?tables=gap-curve" };

/** Names of all views of a plan. */
async function of_plan() {
  const { page, context } = await page_of(chrome, service.base);
  await open(page, service.base, `#/plans/${ids.gpt2}`);
  const names = await page.$$eval("nav.side a[href^='#/plans/']", (all) => all.map((one) => one.getAttribute("href").split("/")[3]));
  await context.close();
  assert.ok(Object.keys(OPENED).every((name) => names.includes(name)), String(names));
  return names;
}

const views = (names) => [
  ["plans", "#/plans", 10], ["new", "#/new?model=example%3Aqwen3-30b-a3b.json", 0], ["files", "#/files", 6],
  ...WALKED.filter((name) => ids[name] !== undefined).flatMap((name) => names.map((view) => [
    `${name}-${view}`, `#/plans/${ids[name]}/${view}${OPENED[view] ?? ""}`, { search: 4 }[view] ?? (OPENED[view] === undefined ? 0 : 20),
  ])),
  ["llama-window", `#/plans/${ids.llama}/timeline?t0=1000000000&t1=1500000000`, 20],
  ["compare-runs", `#/compare?a=${ids.llama_1f1b}&b=${ids.llama}&tables=waterfall`, 10],
  ["compare-ops", `#/compare?a=${ids.gpt2_single}&b=${ids.gpt2}&tables=waterfall`, 8],
  ["infeasible", `#/plans/${ids.none}`, 0],
];

for (const [theme, width] of [["light", 1280], ["dark", 1920]]) {
  test(`every view, ${theme}, ${width} wide`, async () => {
    for (const [name, hash, least] of views(await of_plan())) {
      const { page, wrong, context } = await page_of(chrome, service.base, { theme, width });
      await open(page, service.base, hash);
      assert.ok(await check_numbers(page, service.base) >= least, `numbers of ${name}`);
      assert.deepEqual(await serious(page), [], name);
      const beyond = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(beyond <= 0, `${name} is ${beyond} px wider than its window`);
      await screenshot(page, `${name}-${theme}-${width}`);
      assert.deepEqual(wrong, [], name);
      await context.close();
    }
  });
}

test("a number says where it comes from", async () => {
  const { page, context } = await page_of(chrome, service.base);
  await open(page, service.base, `#/plans/${ids.llama}`);
  await page.click(".figures [data-pointer='/plan/cost/step_time_ns']");
  const answer = await (await fetch(`${service.base}/v1/plans/${ids.llama}/answer`)).json();
  const told = await page.textContent("dialog.origin");
  assert.ok(told.includes("/plan/cost/step_time_ns") && told.includes(String(answer.plan.cost.step_time_ns)), told);
  await page.keyboard.press("Escape");
  assert.equal(await page.isVisible("dialog.origin"), false);
  await context.close();
});

test("a newcomer starts a plan, follows it and takes its files, by pointer alone", async () => {
  const { page, wrong, context } = await page_of(chrome, service.base);
  await open(page, service.base, "");
  await page.click("main a:has-text('New plan')");
  await page.selectOption("select >> nth=0", "example:qwen3-30b-a3b.json");
  assert.equal(await page.getAttribute("[aria-label=Task] button:has-text('Train')", "aria-pressed"), "true");
  assert.ok(await page.isVisible("label:has-text('For (launcher)') + select"));
  await page.click("button:has-text('Plan')");
  await page.waitForSelector(".figures dt:has-text('Throughput')", { timeout: 120_000 });
  await settle(page);
  await page.click("details.programs summary");
  await page.click("button.pick:has-text('megatron')");
  await page.click("button:has-text('slurm')");
  await page.waitForSelector(".artefact button:has-text('job.sbatch')");
  await page.click(".artefact button:has-text('job.sbatch')");
  const [file] = await Promise.all([page.waitForEvent("download"), page.click("button:has-text('Download job.sbatch')")]);
  assert.match(readFileSync(await file.path(), "utf8"), /^#!\/usr\/bin\/env bash\n#SBATCH/);
  assert.deepEqual(wrong, []);
  await context.close();
});

test("the op that holds the peak memory is three clicks from the overview", async () => {
  const { page, context } = await page_of(chrome, service.base);
  const answer = await (await fetch(`${service.base}/v1/plans/${ids.gpt2}/answer`)).json();
  const fullest = answer.report.devices.toSorted((a, b) => (a.memory_limit_bytes - a.peak_memory_bytes) - (b.memory_limit_bytes - b.peak_memory_bytes))[0];
  const curve = await (await fetch(`${service.base}/v1/plans/${ids.gpt2}/memory?device=${encodeURIComponent(fullest.id)}`)).json();
  const [largest] = curve.alive.largest;
  await open(page, service.base, `#/plans/${ids.gpt2}`);
  await page.click("section:has(h2:has-text('Peak memory per device')) a:has-text('Over time')");
  await page.waitForSelector(".alive li");
  const told = await page.textContent(".alive li >> nth=0");
  assert.ok(told.includes(largest.name) && told.includes(largest.op ?? largest.name), `${told} is ${JSON.stringify(largest)}`);
  await context.close();
});

test("the page of a live job survives a restart of the service, and ends it", async () => {
  const own = folder();
  let first = await serve(own, { flags: ["--drain", "0s"] });
  try {
    for (const [kind, name] of [["models", "llama3_8b.onnx"], ["clusters", "two-rtx3090.yaml"]]) {
      await fetch(`${first.base}/v1/${kind}?name=${name}`, { method: "POST", body: readFileSync(join(ROOT, "examples", kind, name)) });
    }
    // Its gap stays open for minutes.
    const plan = await post(first.base, "/v1/plans", { model: "llama3_8b.onnx", cluster: "two-rtx3090.yaml", time_limit: "600s" });
    const { page, context } = await page_of(chrome, first.base, { refusals: true });
    await open(page, first.base, `#/plans/${plan.id}`);
    await page.waitForSelector(".chip.running");
    await page.waitForSelector(".incumbents li", { timeout: 60_000 });
    await first.stop();
    await page.waitForSelector("text=The service does not answer");
    assert.ok(await page.$(".incumbents li"), "what was known stays");
    first = await serve(own, { port: first.port });
    await page.waitForSelector("text=The service does not answer", { state: "detached", timeout: 30_000 });
    await page.waitForSelector(".chip.running", { timeout: 60_000 });
    await page.waitForSelector(".incumbents li", { timeout: 60_000 });
    await screenshot(page, "running");
    await page.click("button:has-text('End with the best plan so far')");
    await page.waitForSelector(".chip.cancelled", { timeout: 60_000 });
    await page.waitForSelector(".figures dt:has-text('Step time')");
    await context.close();
  } finally {
    await first.stop();
    clear(own);
  }
});

/** Boxes that the timeline says it drew. */
const boxes = async (page) => Number(/^[\d,]+/.exec(await page.textContent(".panel[aria-label=Timeline] [role=status]"))[0].replaceAll(",", ""));

test("what is asked for, kept and drawn of a timeline is bounded, however large the plan", async () => {
  const id = ids.large ?? ids.deepseek;
  const { page, wrong, context, counts, while_ } = await watched(chrome, service.base);
  await open(page, service.base, `#/plans/${id}/timeline`);
  const { lanes, n_slices } = await (await fetch(`${service.base}/v1/plans/${id}/view`)).json();
  assert.ok(ids.large === undefined || n_slices >= 1_000_000, `${n_slices} slices`);
  assert.ok(counts.requests <= 14 && counts.bytes < 2e6, `${counts.requests} requests, ${counts.bytes} bytes`);
  assert.ok(await page.evaluate(() => document.querySelectorAll("*").length) < 3000);
  const columns = await page.$eval("main canvas", (own) => own.clientWidth);
  const { value: { taken, drawn }, requests } = await while_(() => frames(page, "zoom", 60));
  assert.ok(drawn >= 60, `${drawn} of 60 frames were drawn`);
  const least = taken.reduce((a, b) => a + b, 0) / 60;
  assert.ok(requests >= 1 && requests <= least + 10, `${requests} requests of at most one in 60 ms`);
  await settle(page);
  // Of a lane at most a box by pixel and kind, and no more than the rows of one answer.
  assert.ok(await boxes(page) <= Math.min(lanes.length * columns * 6, 26_000 * 6));
  assert.deepEqual(wrong, []);
  await context.close();
});

test("a window of the timeline that is no longer wanted is not waited for", async () => {
  const { page, context, counts } = await watched(chrome, service.base);
  await open(page, service.base, `#/plans/${ids.llama}/timeline`);
  let release;
  const held = new Promise((done) => { release = done; });
  await page.route("**/timeline?from_ns*", async (route) => { await held; await route.continue().catch(() => {}); });
  await page.keyboard.press("w");
  await page.waitForSelector("text=reading the window");
  const failed = page.waitForEvent("requestfailed");
  await page.keyboard.press("w");
  assert.match((await failed).url(), /timeline\?from_ns/);
  release();
  await page.waitForSelector("text=reading the window", { state: "detached" });
  assert.equal(counts.cancelled, 1);
  const query = new URLSearchParams((await page.evaluate(() => location.hash)).split("?")[1]);
  const asked = await page.waitForFunction(() => document.querySelector("section[aria-label='In view'] [data-pointer='/from_ns']")?.dataset.source.includes("from_ns") && document.querySelector("section[aria-label='In view'] [data-pointer='/from_ns']").dataset.source);
  const shown = new URLSearchParams((await asked.jsonValue()).split("?")[1]);
  assert.deepEqual([shown.get("from_ns"), shown.get("to_ns")], [query.get("t0"), query.get("t1")]);
  await context.close();
});

test("the page is small and is kept by browsers", async () => {
  const files = readdirSync(join(DIST, "assets")).filter((name) => /\.(js|css|svg)$/.test(name));
  const bytes = files.map((name) => gzipSync(readFileSync(join(DIST, "assets", name)), { level: 9 }).length).reduce((a, b) => a + b, 0);
  assert.ok(bytes < 150_000, `${bytes} bytes of assets, gzip`);
  const page = await fetch(service.base);
  assert.equal((await fetch(service.base, { headers: { "if-none-match": page.headers.get("etag") } })).status, 304);
  const asset = await fetch(`${service.base}/assets/${files[0]}`);
  assert.match(asset.headers.get("cache-control"), /immutable/);
  assert.equal((await fetch(`${service.base}/assets/none.js`)).status, 404);
});

test("a service with tokens is asked with one", async () => {
  const { execFileSync } = await import("node:child_process");
  const { PROGRAM } = await import("./service.mjs");
  const own = folder();
  const token = execFileSync(PROGRAM, ["token", "--database", join(own, "plans.db"), "--scope", "plan", "page"], { encoding: "utf8" }).match(/mw_[0-9a-f]+/)[0];
  const guarded = await serve(own);
  try {
    const { page, context } = await page_of(chrome, guarded.base, { refusals: true });
    await page.goto(guarded.base);
    await page.fill("dialog input[type=password]", token);
    await page.click("dialog button:has-text('Continue')");
    await page.waitForSelector("text=No plans yet");
    await context.close();
  } finally {
    await guarded.stop();
    clear(own);
  }
});
