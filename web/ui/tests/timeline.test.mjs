// Slices of the timeline: chosen, pointed at, measured, in the address.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { EXAMPLES, RUN, asked, planned, serious, started, uploaded } from "./asked.mjs";
import { check_numbers } from "./numbers.mjs";
import { open, page_of, screenshot } from "./service.mjs";

let at, run, whole;

before(async () => {
  at = await started();
  await uploaded(at.base, EXAMPLES);
  run = await planned(at.base, RUN);
  whole = (await asked(at.base, `/v1/plans/${run.id}/timeline?max_slices=26000`)).value;
});
after(() => at?.end());

const CHOSEN = "section[aria-label='Selected slice']";
const value = (page, title) => page.$eval(CHOSEN, (own, name) => [...own.querySelectorAll("dt")].find((dt) => dt.textContent === name)?.nextElementSibling.textContent, title);
const lane = (n) => whole.lanes[n];
const slice = (n, row) => `${lane(n).lane}@${lane(n).rows.longest_from_ns[row]}`;

test("keys go through slices and lanes, and the address shows the same", async () => {
  const { page, wrong, context } = await page_of(at.chrome, at.base);
  await open(page, at.base, `#/plans/${run.id}/timeline`);
  await page.keyboard.press(".");
  await page.waitForSelector(`${CHOSEN} dl`);
  assert.equal(await value(page, "Lane"), lane(0).lane);
  for (const [key, name] of [["]", lane(1).lane], ["]", lane(2).lane], ["[", lane(1).lane]]) {
    await page.keyboard.press(key);
    assert.equal(await value(page, "Lane"), name);
  }
  const [start, hash] = [await value(page, "Start"), await page.evaluate(() => location.hash)];
  await page.waitForTimeout(200);
  await open(page, at.base, await page.evaluate(() => location.hash));
  assert.equal(await value(page, "Start"), start, hash);
  assert.deepEqual(wrong, []);
  await context.close();
});

test("what lies between two slices is measured", async () => {
  const { page, wrong, context } = await page_of(at.chrome, at.base, { theme: "dark", width: 1920 });
  const [first, last] = [[0, 3], [2, 9]];
  await open(page, at.base, `#/plans/${run.id}/timeline?slice=${encodeURIComponent(slice(...first))}`);
  await page.click("button:has-text('Measure from here')");
  await page.waitForSelector("text=Select a second slice");
  const mark = slice(...first);
  await open(page, at.base, `#/plans/${run.id}/timeline?mark=${encodeURIComponent(mark)}&slice=${encodeURIComponent(slice(...last))}`);
  const told = page.locator(".measured [data-pointer]");
  const by_hand = lane(last[0]).rows.longest_to_ns[last[1]] - lane(first[0]).rows.longest_from_ns[first[1]];
  assert.match(await told.textContent(), new RegExp((by_hand / (by_hand >= 1e9 ? 1e9 : 1e6)).toPrecision(4).replace(".", "\\.")));
  assert.ok(await page.isVisible(".band"));
  assert.ok(await check_numbers(page, at.base) > 10);
  assert.deepEqual(await serious(page), []);
  await screenshot(page, "timeline-measured");
  assert.deepEqual(wrong, []);
  await context.close();
});

test("what is pointed at is told", async () => {
  const { page, wrong, context } = await page_of(at.chrome, at.base);
  await open(page, at.base, `#/plans/${run.id}/timeline`);
  const box = await page.locator("main canvas").boundingBox();
  await page.mouse.move(box.x + 400, box.y + 40);
  await page.waitForSelector(".card");
  const names = whole.things.map((own) => own.name);
  assert.ok(names.includes(await page.textContent(".card b")), await page.textContent(".card b"));
  await page.mouse.move(box.x + 400, box.y - 80);
  await page.waitForSelector(".card", { state: "detached" });
  assert.deepEqual(wrong, []);
  await context.close();
});
