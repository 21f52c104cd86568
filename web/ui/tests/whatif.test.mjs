// What-if: replays beside the plan's own figures, and planning again with what was changed.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { EXAMPLES, PLACED, RUN, asked, planned, serious, started, uploaded } from "./asked.mjs";
import { check_numbers } from "./numbers.mjs";
import { open, page_of, screenshot, settle } from "./service.mjs";

let at, placed, run;

before(async () => {
  at = await started();
  await uploaded(at.base, EXAMPLES);
  placed = await planned(at.base, PLACED);
  run = await planned(at.base, RUN);
});
after(() => at?.end());

const simulate = async (body) => (await asked(at.base, "/v1/simulate", body)).value;

/** Waits until a replay of so many words is shown. */
const replayed = (page, words) => page.waitForFunction((own) => {
  const mark = document.querySelector(".what-if .lead");
  return mark?.textContent.includes(own) && document.querySelector(".what-if [aria-busy=true]") === null;
}, words);

const figure = (page, name) => page.$eval(`.what-if tr:has-text("${name}"), tr`, (_, own) => {
  const row = [...document.querySelectorAll(".what-if tr")].find((one) => one.textContent.startsWith(own));
  return [...row.querySelectorAll("td")].map((cell) => cell.textContent);
}, name);

for (const [theme, width] of [["light", 1280], ["dark", 1920]]) {
  test(`numbers are those of the service's replay, ${theme}, ${width} wide`, async () => {
    for (const [name, hash] of [["whatif-ops", `#/plans/${placed.id}/what-if?x.nvlink3=0.125&x.memory=0.5&tables=memory`], ["whatif-run", `#/plans/${run.id}/what-if?x.ib_ndr_400=0.5&m=16&tables=memory`]]) {
      const { page, wrong, context } = await page_of(at.chrome, at.base, { theme, width });
      await open(page, at.base, hash);
      await replayed(page, "What-if, not planned");
      assert.ok(await check_numbers(page, at.base) >= 15, name);
      assert.deepEqual(await serious(page), []);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
      await screenshot(page, `${name}-${theme}-${width}`);
      assert.deepEqual(wrong, []);
      await context.close();
    }
  });
}

test("a slider replays at once, the latest counts, and the address reproduces it", async () => {
  const { page, wrong, context } = await page_of(at.chrome, at.base);
  await open(page, at.base, `#/plans/${placed.id}/what-if`);
  assert.ok(await page.isVisible("text=The plan as it is"));
  assert.ok(await page.isDisabled("button:has-text('Plan again')"));
  let n = 0;
  page.on("request", (request) => { if (request.url().endsWith("/v1/simulate")) n += 1; });
  // Twenty turns at once are one replay, of the last of them.
  await page.locator(".knob:has-text('nvlink3') input[type=range]").evaluate((slider) => {
    for (let step = 1; step <= 20; step += 1) {
      slider.valueAsNumber = -0.1 * step;
      slider.dispatchEvent(new InputEvent("input", { bubbles: true }));
    }
  });
  await replayed(page, "nvlink3 × 0.25");
  assert.equal(n, 1);
  await page.locator(".knob:has-text('nvlink3') input[type=range]").press("ArrowRight");
  await replayed(page, "nvlink3 × 0.2679");
  await page.locator(".knob:has-text('nvlink3') input[type=range]").press("ArrowLeft");
  await replayed(page, "nvlink3 × 0.25");
  const direct = await simulate({ plan: placed.id, scale: ["nvlink3=0.25"] });
  assert.ok(direct.report.step_time_ns > 0);
  assert.equal(await check_numbers(page, at.base) > 10, true);
  const shown = await figure(page, "Step time");
  const address = page.url();
  await open(page, at.base, address.slice(address.indexOf("#")));
  await replayed(page, "nvlink3 × 0.25");
  assert.deepEqual(await figure(page, "Step time"), shown);
  await page.click("button:has-text('As planned')");
  await replayed(page, "The plan as it is");
  assert.deepEqual(wrong, []);
  await context.close();
});

test("what breaks a rule or can't be replayed is said, and planning again is offered", async () => {
  const { page, context } = await page_of(at.chrome, at.base, { refusals: true });
  await open(page, at.base, `#/plans/${placed.id}/what-if?x.memory=0.009`);
  await page.waitForSelector("text=memory-exceeded");
  await open(page, at.base, `#/plans/${run.id}/what-if?n=8`);
  await page.waitForSelector("text=can't be replayed on 8: plan again");
  assert.ok(await page.isEnabled("button:has-text('Plan again')"));
  await open(page, at.base, `#/plans/${run.id}/what-if?x.memory=5000`);
  await page.waitForSelector("[role=alert]:has-text('bad-scale')");
  await context.close();
});

test("no figure stands for what was refused, nor after what was accepted before", async () => {
  const { page, context } = await page_of(at.chrome, at.base, { refusals: true });
  const of_now = () => page.$$eval("[data-pointer]", (all) => all.filter((own) => own.dataset.pointer.includes("/now/")).length);
  await open(page, at.base, `#/plans/${run.id}/what-if?x.memory=5000`);
  await page.waitForSelector("[role=alert]:has-text('bad-scale')");
  assert.equal(await of_now(), 0);
  assert.ok(!(await page.textContent("main")).includes("The plan as it is"));
  await open(page, at.base, `#/plans/${run.id}/what-if?x.memory=2`);
  await replayed(page, "memory × 2");
  assert.ok(await of_now() > 5);
  await page.fill("[aria-label='Memory per device, factor']", "5000");
  await page.press("[aria-label='Memory per device, factor']", "Tab");
  await page.waitForSelector("[role=alert]:has-text('bad-scale')");
  assert.equal(await of_now(), 0);
  assert.match(await page.textContent(".what-if .lead"), /Not replayed.*5000/);
  await page.click("button:has-text('As planned')");
  await replayed(page, "The plan as it is");
  assert.ok(await of_now() > 5);
  await context.close();
});

test("planning again asks for the same files with what was changed", async () => {
  const { page, context } = await page_of(at.chrome, at.base);
  await open(page, at.base, `#/plans/${run.id}/what-if?x.ib_ndr_400=0.5&x.memory=2&m=16&n=32`);
  await replayed(page, "What-if, not planned");
  const samples = (await simulate({ plan: run.id, micro_batches: 16 })).global_batch;
  await page.click("button:has-text('Plan again')");
  await page.waitForFunction((old) => !location.hash.includes(old), run.id);
  const id = new URL(page.url()).hash.split("/")[2];
  const { value: made } = await asked(at.base, `/v1/plans/${id}`);
  assert.deepEqual([...made.request.scale].sort(), ["ib_ndr_400=0.5", "memory=2"]);
  assert.equal(made.request.global_batch, samples);
  assert.equal(String(made.request.devices), "32");
  assert.deepEqual(Object.values(made.files).sort(), Object.values(run.files).sort());
  await settle(page);
  await context.close();
});
