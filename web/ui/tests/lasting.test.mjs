// Pages that stay open: over a service that goes away or changes, over views, over many tabs, with
// tokens; and what tables say of their raw values.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { PLACED, EXAMPLES, asked, planned, uploaded } from "./asked.mjs";
import { check_numbers } from "./numbers.mjs";
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
  await page.waitForSelector("section[aria-label='Critical path']", { timeout: 30_000 });
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
  assert.equal((await query()).task, "train");
  await chosen("gpt2_small.onnx");
  await page.waitForTimeout(200);
  assert.deepEqual(await query(), alone);
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
    await page.click("dialog button:has-text('Continue')");
    await page.waitForSelector("dialog [role=alert]");
    await page.fill("dialog input[type=password]", token);
    await page.click("dialog button:has-text('Continue')");
    await page.waitForSelector("text=No plans yet");
    const [tab] = await Promise.all([context.waitForEvent("page"), page.click("nav.side a:has-text('API routes')")]);
    await tab.waitForLoadState();
    assert.match(await tab.textContent("body"), /"openapi"/);
    await context.close();
  } finally {
    await guarded.stop();
    clear(own);
  }
});

test("each number leads to where it is explained, and none to a view that refuses", async () => {
  const { page, wrong, context } = await page_of(chrome, service.base);
  const found = new Set();
  for (const hash of [`#/plans/${placed.id}`, `#/plans/${placed.id}/memory?tables=memory`, `#/plans/${placed.id}/timeline?tables=timeline`, `#/plans/${placed.id}/graph?tables=nodes`, "#/plans", `#/compare?a=${placed.id}&b=${placed.id}`]) {
    await open(page, service.base, hash);
    const n = await page.$$eval("main .num", (all) => all.length);
    for (let at = 0; at < n; at += Math.max(1, Math.floor(n / 6))) {
      await page.locator("main .num").nth(at).dispatchEvent("click");
      const place = await page.$("dialog.origin a:has-text('How it was computed')");
      if (place !== null) found.add(await place.getAttribute("href"));
      await page.keyboard.press("Escape");
    }
  }
  const of = [...found].map((href) => new URLSearchParams(href.split("?")[1]).get("of"));
  for (const one of ["device", "op", null]) assert.ok(of.includes(one), `${one} of ${[...found]}`);
  for (const href of found) {
    await open(page, service.base, href);
    assert.ok(await page.$("main [role=alert]") === null, href);
    assert.ok(await page.$$eval("main [data-pointer]", (all) => all.length) > 2, href);
  }
  assert.deepEqual(wrong, []);
  await context.close();
});

test("both timelines of a comparison have one window, which the address keeps", async () => {
  const { page, wrong, context } = await page_of(chrome, service.base);
  const other = await planned(service.base, { ...PLACED, algorithm: "single" });
  await open(page, service.base, `#/compare?a=${other.id}&b=${placed.id}&tables=timelines`);
  await page.waitForSelector("[aria-label='timelines, table']");
  const sums = () => page.$$eval("[aria-label='timelines, table'] tbody tr", (all) => all.map((row) => row.textContent));
  const whole = await sums();
  await page.click("section[aria-label=Timelines] button:has-text('Zoom in')");
  await page.waitForFunction((old) => JSON.stringify([...document.querySelectorAll("[aria-label='timelines, table'] tbody tr")].map((row) => row.textContent)) !== old, JSON.stringify(whole));
  await page.waitForTimeout(600);
  const window = await page.evaluate(() => Object.fromEntries(new URLSearchParams(location.hash.split("?")[1])));
  // Both sides are of that window, their sums those of the service (below).
  const sources = await page.$$eval("section[aria-label=Timelines] tbody [data-source]", (all) => all.map((own) => own.dataset.source));
  for (const id of [other.id, placed.id]) {
    const own = sources.filter((source) => source.includes(id)).map((source) => new URLSearchParams(source.split("?")[1]));
    assert.ok(own.length > 0 && own.every((query) => query.get("from_ns") === window.t0 && Number(query.get("to_ns")) <= Number(window.t1)), `${id}: ${sources[0]}`);
  }
  assert.ok(await check_numbers(page, service.base) > 5);
  const kept = await sums();
  const address = page.url();
  await open(page, service.base, address.slice(address.indexOf("#")));
  await page.waitForTimeout(800);
  assert.deepEqual(await sums(), kept);
  assert.deepEqual(wrong, []);
  await context.close();
});

test("plans of different clusters stand beside each other in figures, and say why in no more", async () => {
  const { page, context } = await page_of(chrome, service.base, { refusals: true });
  const elsewhere = await planned(service.base, { ...PLACED, cluster: "two-rtx3090.yaml" });
  await open(page, service.base, `#/compare?a=${placed.id}&b=${elsewhere.id}`);
  await page.waitForSelector("text=Only figures are compared");
  assert.ok(await page.$("main [role=alert]") === null);
  const told = await page.$$eval("section[aria-label=Figures] [data-pointer]", (all) => all.map((own) => own.dataset.pointer));
  assert.ok(told.includes("/a/plan/cost/step_time_ns") && told.includes("/b/plan/cost/step_time_ns"), told.join());
  assert.ok(await check_numbers(page, service.base) >= 4);
  await context.close();
});

test("an algorithm and its options are a form, made of the service's own list", async () => {
  const { page, context } = await page_of(chrome, service.base);
  const { value: { algorithms } } = await asked(service.base, "/v1/algorithms");
  await open(page, service.base, "#/new?task=place");
  await page.click("summary:has-text('Search')");
  const asks = () => page.evaluate(() => new URLSearchParams(location.hash.split("?")[1]).get("algorithm"));
  const decides = page.locator(".algorithm select").first();
  const offered = await decides.locator("option").evaluateAll((all) => all.map((own) => own.value).filter(Boolean));
  assert.deepEqual(offered.toSorted(), algorithms.filter((own) => own.kind === "decide" && own.runs_on.includes("models")).map((own) => own.name).toSorted());
  await decides.selectOption("m-sct");
  await page.check(".algorithm label:has-text('coplace') input");
  await page.check(".algorithm label:has-text('local-search') input");
  // Each option of each step has a field with the words of the list.
  const wanted = algorithms.filter((own) => ["m-sct", "coplace", "local-search"].includes(own.name)).flatMap((own) => own.options);
  for (const option of wanted) assert.ok((await page.textContent(".algorithm")).includes(option.summary), option.name);
  assert.equal(await page.$$eval(".algorithm .option", (all) => all.length), wanted.length);
  await page.fill(".algorithm fieldset:has-text('m-sct') .option:has-text('theta') input", "0.2");
  await page.press(".algorithm fieldset:has-text('m-sct') .option:has-text('theta') input", "Tab");
  await page.waitForTimeout(300);
  assert.equal(await asks(), "coplace,m-sct(theta=0.2),local-search");
  // The service takes it, and the address brings the same form.
  const made = await planned(service.base, { ...PLACED, algorithm: await asks() });
  assert.equal(made.state, "done", JSON.stringify(made.error));
  const address = page.url();
  await open(page, service.base, address.slice(address.indexOf("#")));
  assert.equal(await page.inputValue(".algorithm fieldset:has-text('m-sct') .option:has-text('theta') input"), "0.2");
  await context.close();
});
