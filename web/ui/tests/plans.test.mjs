// Plans as the pages tell of them: their own figures, what was changed for them, what is no more.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { EXAMPLES, NONE, RUN, asked, planned, serious, started, uploaded } from "./asked.mjs";
import { open, page_of } from "./service.mjs";

let at, placed, run, changed;

before(async () => {
  at = await started();
  await uploaded(at.base, [...EXAMPLES, "clusters/two-nodes.yaml"]);
  // On this cluster a plan on one device is taken in place of a faster one.
  placed = await planned(at.base, { model: "gpt2_small.onnx", cluster: "two-nodes.yaml", time_limit: "10s" });
  run = await planned(at.base, RUN);
  changed = await planned(at.base, { ...RUN, scale: ["memory=1.5"] });
});
after(() => at?.end());

test("value, bound and gap of a plan are of one plan", async () => {
  for (const { id } of [placed, run, changed]) {
    const { value } = await asked(at.base, `/v1/plans/${id}`);
    assert.ok(Math.abs(value.value_ns / value.bound_ns - 1 - value.gap) < 1e-6, JSON.stringify(value));
    const answer = (await asked(at.base, `/v1/plans/${id}/answer`)).value;
    assert.equal(value.value_ns, answer.plan.cost.step_time_ns);
  }
});

test("what was tried is told, the fastest first", async () => {
  const { page, wrong, context } = await page_of(at.chrome, at.base);
  await open(page, at.base, `#/plans/${placed.id}/why`);
  const answer = (await asked(at.base, `/v1/plans/${placed.id}/answer`)).value;
  const table = page.locator("section.panel:has(h2:has-text('Attempts')) tbody tr");
  const rows = await table.evaluateAll((all) => all.map((row) => [...row.cells].map((cell) => cell.textContent)));
  const steps = answer.attempts.map((own) => own.result.plan?.step_time_ns).filter((ns) => ns !== undefined);
  assert.equal(rows.length, answer.attempts.length);
  assert.ok(Math.min(...steps) < answer.plan.cost.step_time_ns, "a faster one was found");
  assert.match(rows[0][2], /^−/);
  assert.ok(rows.every((row) => row[4] !== ""), "each has a reason");
  assert.deepEqual(wrong, []);
  await context.close();
});

test("tables say their units to a spreadsheet", async () => {
  const { page, context } = await page_of(at.chrome, at.base);
  await open(page, at.base, `#/plans/${placed.id}`);
  const [file] = await Promise.all([page.waitForEvent("download"), page.click("button[aria-label='CSV of memory']")]);
  const [head, first] = readFileSync(await file.path(), "utf8").trim().split("\r\n");
  assert.ok(head.split(",").slice(1).every((name) => name.endsWith(" [B]")), head);
  const answer = (await asked(at.base, `/v1/plans/${placed.id}/answer`)).value;
  assert.equal(Number(first.split(",")[head.split(",").indexOf("Peak [B]")]), answer.report.devices[0].peak_memory_bytes);
  await context.close();
});

test("a training run is taken to Perfetto from its timeline", async () => {
  const { page, context } = await page_of(at.chrome, at.base);
  await open(page, at.base, `#/plans/${run.id}/timeline`);
  const [file] = await Promise.all([page.waitForEvent("download"), page.click("button:has-text('Perfetto trace')")]);
  const events = JSON.parse(readFileSync(await file.path(), "utf8")).traceEvents;
  const answer = (await asked(at.base, `/v1/plans/${run.id}/answer`)).value;
  const end = Math.max(...events.filter((own) => own.ph === "X").map((own) => own.ts + own.dur));
  assert.ok(Math.abs(end * 1e3 - answer.plan.cost.step_time_ns) < 2, `${end} us`);
  await context.close();
});

/** Relative luminance of WCAG 2. */
function luminance(css) {
  const [r, g, b] = css.match(/[\d.]+/g).slice(0, 3).map((own) => Number(own) / 255).map((own) => (own <= 0.04045 ? own / 12.92 : ((own + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);

for (const theme of ["light", "dark"]) {
  test(`colours of pictures stand apart by more than their hue, ${theme}`, async () => {
    const { page, context } = await page_of(at.chrome, at.base, { theme });
    await open(page, at.base, "#/plans");
    const of = await page.evaluate(() => Object.fromEntries(["compute", "backward", "weight", "recompute", "collective", "transfer", "optimizer", "panel", "line-strong"].map((name) => {
      const probe = document.body.appendChild(document.createElement("span"));
      probe.style.color = `var(--${name})`;
      return [name, getComputedStyle(probe).color];
    })));
    const light = Object.fromEntries(Object.entries(of).map(([name, css]) => [name, luminance(css)]));
    const writing = [luminance("rgb(255 255 255)"), luminance("rgb(13 14 16)")];
    for (const [name, own] of Object.entries(light)) {
      if (!["panel", "line-strong"].includes(name)) assert.ok(Math.max(...writing.map((pen) => contrast(pen, own))) >= 4.5, `letters on ${name}`);
    }
    assert.ok(contrast(light["line-strong"], light.panel) >= 3, "what frames boxes");
    assert.ok(contrast(light.compute, light.backward) >= 2, "forward and backward");
    assert.ok(contrast(light.backward, light.weight) >= 2, "both parts of backward");
    await context.close();
  });
}

/** What is cut or lies beyond the window, but for regions that scroll. */
const beyond = (page) => page.evaluate(() => {
  const found = document.documentElement.scrollWidth > innerWidth ? [`the page is ${document.documentElement.scrollWidth} px wide`] : [];
  for (const one of document.querySelectorAll("body *")) {
    if (one.closest(".scroll, pre, svg, datalist, dialog:not([open]), .hidden, .skip, .toast, .rows thead") !== null) continue;
    const box = one.getBoundingClientRect();
    const style = getComputedStyle(one);
    if (box.width === 0 || style.visibility === "hidden") continue;
    if (box.right > innerWidth + 1) found.push(`${one.tagName}.${one.className} ends at ${Math.round(box.right)}: ${one.textContent.slice(0, 40)}`);
    else if (style.overflowX === "hidden" && one.scrollWidth > one.clientWidth + 1 && !one.matches("input, select, textarea")) found.push(`${one.tagName}.${one.className} is cut: ${one.textContent.slice(0, 40)}`);
  }
  return found.slice(0, 5);
});

for (const [width, theme] of [[420, "light"], [420, "dark"], [800, "light"]]) {
  test(`views fit a window of ${width} pixels, ${theme}`, async () => {
    const { page, context } = await page_of(at.chrome, at.base, { width, theme });
    const of = (plan) => ["overview", "graph", "timeline", "memory", "search", "what-if", "why"].map((view) => `#/plans/${plan.id}/${view}`);
    for (const hash of ["#/plans", "#/new?model=example%3Aqwen3-30b-a3b.json", "#/files", "#/accuracy", `#/compare?a=${changed.id}&b=${run.id}`, ...of(run), ...of(placed)]) {
      await open(page, at.base, hash);
      assert.deepEqual(await beyond(page), [], hash);
      assert.deepEqual(await serious(page), [], hash);
    }
    await context.close();
  });
}

test("plans of equal names are told apart by devices, batch and degrees", async () => {
  const { page, wrong, context } = await page_of(at.chrome, at.base);
  await planned(at.base, { ...RUN, global_batch: 256 });
  await open(page, at.base, "#/plans");
  const { best } = (await asked(at.base, `/v1/plans/${run.id}/answer`)).value;
  const [, data, tensor] = /(?:data|DP) (\d+).*?(?:tensor|TP) (\d+)/.exec(best.degrees);
  await page.waitForSelector(`.traits:has-text('DP ${data}, TP ${tensor}')`);
  const rows = await page.$$eval(".rows tbody tr", (all) => all.map((row) => [row.querySelector("a").hash, row.querySelector(".traits")?.textContent ?? ""]));
  const of = (plan) => rows.find(([hash]) => hash.includes(plan.id))[1];
  assert.match(of(run), new RegExp(`^${best.n_devices} devices · batch 512 × 4,096 tokens · DP`));
  assert.equal(of(placed), "", "no other plan has its names");
  assert.deepEqual(wrong, []);
  await context.close();
});

test("a plan that was deleted is said to be, and has no views", async () => {
  const { page, context } = await page_of(at.chrome, at.base, { refusals: true });
  await open(page, at.base, `#/plans/${changed.id}`);
  await fetch(`${at.base}/v1/plans/${changed.id}`, { method: "DELETE" });
  await page.evaluate((id) => { location.hash = `#/plans/${id}/memory`; }, changed.id);
  await page.waitForSelector("main:has-text('there is no plan')");
  await page.waitForSelector("nav.side a:has-text('Memory')", { state: "detached" });
  await context.close();
});

test("a plan that there is none of has its search and its why alone", async () => {
  const none = await planned(at.base, NONE);
  assert.equal(none.state, "infeasible");
  const { page, wrong, context } = await page_of(at.chrome, at.base);
  for (const view of ["", "/overview", "/graph", "/timeline", "/memory", "/what-if"]) {
    await open(page, at.base, `#/plans/${none.id}${view}`);
    await page.waitForSelector("nav.side a[aria-current=page]:has-text('Search')");
  }
  await open(page, at.base, `#/plans/${none.id}/why`);
  await page.waitForSelector("nav.side a[aria-current=page]:has-text('Why')");
  await open(page, at.base, `#/plans/${run.id}/nonsense`);
  await page.waitForSelector("text=There is no such view");
  assert.deepEqual(wrong, []);
  await context.close();
});
