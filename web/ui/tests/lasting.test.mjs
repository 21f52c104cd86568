// Pages that stay open: over a service that goes away or changes, over views, over many tabs, with
// tokens; and what tables say of their raw values.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { PLACED, EXAMPLES, asked, planned, uploaded } from "./asked.mjs";
import { PROGRAM, browser, clear, folder, open, page_of, serve } from "./service.mjs";

const at = folder();
let service, chrome, placed, changed;

before(async () => {
  service = await serve(at);
  chrome = await browser();
  await uploaded(service.base, [...EXAMPLES, "models/llama3_8b.onnx"]);
  placed = await planned(service.base, PLACED);
  changed = await planned(service.base, { ...PLACED, scale: ["memory=2"] });
});
after(async () => {
  await chrome?.close();
  await service?.stop();
  clear(at);
});

test("a view that is read once comes by itself when the service is back", async () => {
  const { page, context } = await page_of(chrome, service.base, { refusals: true });
  await open(page, service.base, "#/files");
  await service.stop();
  for (const view of ["memory", "why"]) {
    await page.evaluate((hash) => { location.hash = hash; }, `#/plans/${placed.id}/${view}`);
    await page.waitForSelector("[role=alert]:has-text('the service does not answer')");
  }
  service = await serve(at, { port: service.port });
  await page.waitForSelector("section[aria-label='What the step waits for']", { timeout: 30_000 });
  assert.ok(await page.$("[role=alert]") === null);
  await context.close();
});

test("a part of the page that is gone is read anew with the page, at the same address", async () => {
  const { page, context } = await page_of(chrome, service.base, { refusals: true });
  await open(page, service.base, "#/files");
  let n = 0;
  // An upgraded service has other parts than the page that is open knows.
  await context.route(/assets\/memory.*\.js$/, (route) => { n += 1; return n === 1 ? route.abort() : route.fallback(); });
  await page.evaluate((hash) => { location.hash = hash; }, `#/plans/${placed.id}/memory`);
  await page.waitForSelector("section[aria-label='Memory over the step']");
  assert.ok(n > 1, `${n} requests`);
  await context.close();
});

test("tabs that nobody looks at hold no connection", async () => {
  const { value: plan } = await asked(service.base, "/v1/plans", { model: "llama3_8b.onnx", cluster: "two-rtx3090.yaml", time_limit: "600s" });
  const { page, context } = await page_of(chrome, service.base, { refusals: true });
  const streams = new Set();
  page.on("request", (request) => { if (request.url().endsWith("/events")) streams.add(request); });
  for (const event of ["requestfinished", "requestfailed"]) page.on(event, (request) => streams.delete(request));
  await page.addInitScript(() => {
    let hidden = false;
    Object.defineProperty(Document.prototype, "hidden", { get: () => hidden });
    globalThis.hide = (own) => { hidden = own; document.dispatchEvent(new Event("visibilitychange")); };
  });
  await open(page, service.base, `#/plans/${plan.id}`);
  await page.waitForSelector(".chip.running");
  await page.waitForTimeout(500);
  assert.equal(streams.size, 1);
  await page.evaluate(() => globalThis.hide(true));
  await page.waitForTimeout(500);
  assert.equal(streams.size, 0);
  await page.evaluate(() => globalThis.hide(false));
  await page.waitForSelector(".incumbents li", { timeout: 60_000 });
  assert.equal(streams.size, 1);
  // Its axis goes on while nothing is found.
  const last = () => page.$eval("section[aria-label='Incumbent and bound'] svg[role=img]", (own) => own.getAttribute("aria-label").match(/over (.*) of search/)[1]);
  const first = await last();
  await page.waitForTimeout(2500);
  assert.notEqual(await last(), first);
  await asked(service.base, `/v1/plans/${plan.id}/cancel`, {});
  await page.waitForSelector(".chip.cancelled", { timeout: 60_000 });
  // Its best plan can be compared.
  await open(page, service.base, "#/compare");
  assert.ok((await page.$$eval("select:last-of-type option", (all) => all.map((own) => own.value))).includes(plan.id));
  await context.close();
});

test("where a number comes from is closed by the next view, and gives the focus back", async () => {
  const { page, context } = await page_of(chrome, service.base);
  await open(page, service.base, `#/plans/${placed.id}`);
  await page.click("main .num");
  await page.waitForSelector("dialog.origin[open]");
  await page.keyboard.press("Escape");
  assert.ok(await page.evaluate(() => document.activeElement.matches("main .num")));
  await page.click("main .num");
  await page.evaluate((hash) => { location.hash = hash; }, `#/plans/${placed.id}/memory`);
  await page.waitForSelector("section[aria-label='Memory over the step']");
  assert.ok(await page.$("dialog.origin[open]") === null);
  await context.close();
});

test("a plan of a cluster that was changed says so wherever it is named", async () => {
  const { page, context } = await page_of(chrome, service.base);
  for (const hash of [`#/plans/${changed.id}`, "#/plans", `#/compare?a=${changed.id}`, "#/accuracy"]) {
    await open(page, service.base, hash);
    assert.match(await page.textContent("main"), /memory=2/, hash);
  }
  await context.close();
});

test("another example takes the settings of the one before away, not what was typed", async () => {
  const { page, context } = await page_of(chrome, service.base);
  await open(page, service.base, "#/new");
  const chosen = async (name) => { await page.selectOption("select >> nth=0", { value: `example:${name}` }); await page.waitForTimeout(200); };
  const query = () => page.evaluate(() => Object.fromEntries(new URLSearchParams(location.hash.split("?")[1])));
  await chosen("gpt2_small.onnx");
  const alone = await query();
  await chosen("qwen3-30b-a3b.json");
  assert.equal((await query()).workload, "training");
  await chosen("gpt2_small.onnx");
  await page.waitForTimeout(200);
  assert.deepEqual(await query(), alone);
  await context.close();
});

test("CSV states units, and defuses what a spreadsheet would compute", async () => {
  const { page, context } = await page_of(chrome, service.base);
  await open(page, service.base, `#/plans/${placed.id}`);
  const [file] = await Promise.all([page.waitForEvent("download"), page.click("button[aria-label='CSV of step']")]);
  const [head, first] = readFileSync(await file.path(), "utf8").split("\r\n").map((line) => line.split(","));
  assert.deepEqual(head, ["Part", "Time [ns]", "Share [of 1]"]);
  assert.ok(Number(first[1]) > 0 && Number(first[2]) <= 1);
  await context.close();
});

test("a token that is refused is said to be, and the question stays until it is answered", async () => {
  const own = folder();
  const token = execFileSync(PROGRAM, ["token", "--database", join(own, "plans.db"), "--scope", "plan", "page"], { encoding: "utf8" }).match(/mw_[0-9a-f]+/)[0];
  const guarded = await serve(own);
  try {
    const { page, context } = await page_of(chrome, guarded.base, { refusals: true });
    await page.goto(guarded.base);
    await page.waitForSelector("dialog[aria-label=Token][open]");
    for (let n = 0; n < 3; n += 1) await page.keyboard.press("Escape");
    await page.fill("dialog input[type=password]", "mw_0000");
    await page.click("dialog button:has-text('Go on')");
    await page.waitForSelector("dialog [role=alert]");
    await page.fill("dialog input[type=password]", token);
    await page.click("dialog button:has-text('Go on')");
    await page.waitForSelector("text=No plan was made here yet");
    const [tab] = await Promise.all([context.waitForEvent("page"), page.click("nav.side a:has-text('Routes')")]);
    await tab.waitForLoadState();
    assert.match(await tab.textContent("body"), /"openapi"/);
    await context.close();
  } finally {
    await guarded.stop();
    clear(own);
  }
});
