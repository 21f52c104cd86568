// Predicted against measured: reporting a run, what it is compared to, what profiles cover.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { EXAMPLES, PLACED, RUN, asked, planned, serious, started, uploaded } from "./asked.mjs";
import { check_numbers } from "./numbers.mjs";
import { open, page_of, screenshot } from "./service.mjs";

let at, placed, run;

before(async () => {
  at = await started();
  await uploaded(at.base, EXAMPLES);
  placed = await planned(at.base, PLACED);
  run = await planned(at.base, RUN);
});
after(() => at?.end());

test("a run is reported by the form, and stands with stack and device of its plan", async () => {
  const { page, wrong, context } = await page_of(at.chrome, at.base);
  await open(page, at.base, `#/accuracy?plan=${run.id}`);
  await page.fill("input[name=step_s]", "4.2");
  await page.fill("input[name=peak_gib]", "70.5");
  await page.fill("input[name=note]", "<b>first</b> try");
  await page.click("button.main:has-text('Report')");
  await page.waitForSelector("svg .point");
  const { value: told } = await asked(at.base, "/v1/measurements");
  const [own] = told.measurements;
  assert.equal(own.stack, "megatron-core");
  assert.equal(own.device, "h100_sxm5_80gb");
  assert.equal(own.peak_bytes, Math.round(70.5 * 2 ** 30));
  assert.equal(own.predicted_peak_bytes, run.peak_bytes);
  assert.equal(own.predicted_s, run.value_ns / 1e9);
  assert.ok(await page.isVisible("td:has-text('<b>first</b> try')"));
  assert.deepEqual(wrong, []);
  await context.close();
});

test("runs are told apart by stack and device", async () => {
  for (const [plan, step_s, more] of [[placed.id, 0.02, {}], [placed.id, 0.025, { stack: "onnxruntime 1.23", device: "a100" }], [run.id, 3.9, { stack: "torchtitan" }]]) {
    const answer = await asked(at.base, "/v1/measurements", { plan, step_s, ...more });
    assert.equal(answer.status, 201, JSON.stringify(answer.value));
  }
  const profile = { version: 1, name: "lab", kinds: { h100_sxm5_80gb: { peak_flops_per_s: { bf16: 7e14 }, memory_bytes_per_s: 3e12 } } };
  await asked(at.base, "/v1/profiles?name=lab.json", profile);
  for (const [theme, width] of [["light", 1280], ["dark", 1920]]) {
    const { page, wrong, context } = await page_of(at.chrome, at.base, { theme, width });
    await open(page, at.base, "#/accuracy?tables=accuracy");
    const groups = await page.$$eval("section[aria-label='By stack and device'] tbody tr", (all) => all.map((row) => row.firstElementChild.textContent));
    assert.ok(groups.includes("onnxruntime 1.23 on a100") && groups.includes("torchtitan on h100_sxm5_80gb"), groups.join());
    await page.click("summary:has-text('lab.json')");
    await page.waitForSelector("td:has-text('products in bf16, memory')");
    assert.ok(await check_numbers(page, at.base) >= 12);
    assert.deepEqual(await serious(page), []);
    await screenshot(page, `accuracy-${theme}-${width}`);
    assert.deepEqual(wrong, []);
    await context.close();
  }
});

test("a run of no plan, or of no time, is refused in words", async () => {
  const { page, context } = await page_of(at.chrome, at.base, { refusals: true });
  await open(page, at.base, "#/accuracy?plan=plan_nowhere");
  await page.fill("input[name=step_s]", "1");
  await page.click("button.main:has-text('Report')");
  await page.waitForSelector("[role=alert]:has-text('plan_nowhere')");
  assert.equal((await asked(at.base, "/v1/measurements", { plan: run.id, step_s: 0 })).status, 422);
  assert.equal((await asked(at.base, "/v1/measurements", { plan: run.id, step_s: 1, colour: "red" })).status, 422);
  await context.close();
});
