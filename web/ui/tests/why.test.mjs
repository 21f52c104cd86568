// Why a plan is as it is, and why there is none: alternatives, terms, what binds, ways out.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { EXAMPLES, NONE, PLACED, RUN, asked, planned, serious, started, uploaded } from "./asked.mjs";
import { check_numbers } from "./numbers.mjs";
import { open, page_of, screenshot, settle } from "./service.mjs";

let at, placed, run, none;

before(async () => {
  at = await started();
  await uploaded(at.base, EXAMPLES);
  placed = await planned(at.base, PLACED);
  run = await planned(at.base, RUN);
  none = await planned(at.base, NONE);
});
after(() => at?.end());

for (const [theme, width] of [["light", 1280], ["dark", 1920]]) {
  test(`every question, ${theme}, ${width} wide`, async () => {
    const views = [["step", placed, "", 20], ["op", placed, "?of=op&name=addmm", 20], ["device", placed, "?of=device&name=node0.gpu0", 10], ["run", run, "", 15], ["none", none, "", 2]];
    for (const [name, plan, query, least] of views) {
      const { page, wrong, context } = await page_of(at.chrome, at.base, { theme, width });
      await open(page, at.base, `#/plans/${plan.id}/why${query}`);
      assert.ok(await check_numbers(page, at.base) >= least, name);
      assert.deepEqual(await serious(page), [], name);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), name);
      await screenshot(page, `why-${name}-${theme}-${width}`);
      assert.deepEqual(wrong, [], name);
      await context.close();
    }
  });
}

test("an op is asked for by its name, and its alternatives are the command line's", async () => {
  const { page, context } = await page_of(at.chrome, at.base);
  await open(page, at.base, `#/plans/${placed.id}/why`);
  await page.click("button:has-text('An op')");
  await page.fill("input[name=name]", "addmm");
  await page.click("button:has-text('Why?')");
  await page.waitForSelector("text=Cost terms");
  await settle(page);
  const { value: told } = await asked(at.base, `/v1/plans/${placed.id}/explain?op=addmm`);
  const rows = await page.$$eval("section[aria-label=Elsewhere] tbody tr", (all) => all.map((row) => row.firstElementChild.textContent));
  assert.deepEqual(rows, told.elsewhere.map((own) => own.device));
  await open(page, at.base, `#/plans/${placed.id}/why?of=op&name=%3Cimg%20src%3Dx%3E`);
  await page.waitForSelector("[role=alert]");
  assert.equal(await page.$$eval("main img", (all) => all.length), 0);
  await context.close();
});

test("a configuration that was not chosen is planned, or ruled out in words", async () => {
  const { page, context } = await page_of(at.chrome, at.base);
  await open(page, at.base, `#/plans/${run.id}/why`);
  await page.fill("input[placeholder^='tensor=8']", "tensor=8 pipeline=1");
  await page.click("button:has-text('Why not?')");
  await page.waitForSelector("text=Compare with this plan", { timeout: 120_000 });
  assert.ok(await check_numbers(page, at.base) > 5);
  await page.fill("input[placeholder^='tensor=8']", "tensor=7");
  await page.click("button:has-text('Why not?')");
  await page.waitForSelector("text=Ruled out", { timeout: 120_000 });
  await context.close();
});

test("what contradicts is what one change each resolves, and a press applies it", async () => {
  const { page, wrong, context } = await page_of(at.chrome, at.base);
  await open(page, at.base, `#/plans/${none.id}`);
  await page.click("text=Why, and fixes");
  await page.waitForSelector("text=Conflict");
  const lines = await page.$$eval("section[aria-label='Conflict'] tbody tr", (all) => all.map((row) => row.textContent));
  assert.ok(lines.some((own) => own.startsWith("Memory per device")), lines.join());
  await page.click("button:has-text('Apply and plan: scale memory=')");
  await page.waitForFunction((old) => !location.hash.includes(old), none.id);
  const id = new URL(page.url()).hash.split("/")[2];
  let plan = (await asked(at.base, `/v1/plans/${id}?wait=60`)).value;
  while (["queued", "running"].includes(plan.state)) plan = (await asked(at.base, `/v1/plans/${id}?wait=60`)).value;
  assert.equal(plan.state, "done", JSON.stringify(plan.error));
  assert.match(plan.request.scale[0], /^memory=\d/);
  assert.deepEqual(wrong, []);
  await context.close();
});
