// Names are text, whatever they hold; nothing runs that is no file of the page.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { NAMES, SHEET, cluster, model } from "./hostile.mjs";
import { browser, clear, folder, open, page_of, post, screenshot, serve, settle } from "./service.mjs";

const at = folder();
// Those of devices hold no comma and no equals sign: options could not name them.
const DEVICES = ["<script>alert(1)</script>", "\u202egnp.exe", "@SUM(A1)", "x".repeat(10_000)];
/** Names without anything that must not be shown as it is, and short enough to be shown whole. */
const PLAIN = NAMES.map((name, n) => `${name}#${n}`).filter((name) => /^[\x21-\x7e]{1,40}$/.test(name));
let service, chrome, id;

const put = (kind, name, body) => fetch(`${service.base}/v1/${kind}?name=${encodeURIComponent(name)}`, { method: "POST", body });

before(async () => {
  service = await serve(at);
  chrome = await browser();
  const stored = [];
  for (const [n, name] of NAMES.entries()) stored.push((await put("clusters", name, cluster([`gpu${n}`]))).ok);
  assert.ok(stored.filter(Boolean).length >= 40, "names that a file may have");
  for (const [kind, body] of [["models", model()], ["clusters", cluster(DEVICES)]]) assert.ok((await put(kind, `${NAMES[0]}.${kind === "models" ? "onnx" : "yaml"}`, body)).ok);
  const plan = await post(service.base, "/v1/plans?wait=60", { model: `${NAMES[0]}.onnx`, cluster: `${NAMES[0]}.yaml`, algorithm: "m-topo" });
  assert.equal(plan.state, "done", JSON.stringify(plan.error));
  id = plan.id;
});
after(async () => {
  await chrome?.close();
  await service?.stop();
  clear(at);
});

/** What a page made of names: elements that they ask for, characters that hide or turn text. */
async function is_text(page, where) {
  const made = await page.$$eval("main :is(img, script, iframe, base, meta, style, plaintext, a[href^=javascript]), [onerror], [onload], [onmouseover]", (all) => all.map((one) => one.outerHTML));
  assert.deepEqual(made, [], where);
  const raw = await page.evaluate(() => /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/.exec(document.body.innerText)?.index);
  assert.equal(raw, undefined, `control characters on ${where}`);
  const [wide, high] = await page.evaluate(() => [document.documentElement.scrollWidth - innerWidth, document.documentElement.scrollHeight]);
  assert.ok(wide <= 0, `${where} is ${wide} px wider than its window`);
  assert.ok(high < 20_000, `${where} is ${high} px high`);
}

test("a hundred names are text on every view that there is", async () => {
  const { page, wrong, context } = await page_of(chrome, service.base);
  await open(page, service.base, `#/plans/${id}`);
  const views = await page.$$eval("nav.side a[href^='#/']", (all) => all.map((one) => one.getAttribute("href")));
  assert.ok(views.length >= 8, String(views));
  for (const [n, hash] of views.entries()) {
    await open(page, service.base, hash);
    for (const button of await page.$$("[data-table]")) await button.click();
    for (const button of await page.$$("button:has-text('Show all')")) await button.click();
    await settle(page);
    await is_text(page, hash);
    await screenshot(page, `hostile-${n}`);
  }
  await open(page, service.base, `#/compare?a=${id}&b=${id}&tables=waterfall`);
  await is_text(page, "compare");
  await open(page, service.base, `#/plans/${id}/timeline?tables=timeline`);
  for (const button of await page.$$("button:has-text('Show all')")) await button.click();
  const cells = new Set(await page.$$eval("td", (all) => all.map((cell) => cell.textContent)));
  for (const name of PLAIN) assert.ok(cells.has(name), `op \`${name}\` in the table`);
  assert.deepEqual(wrong, []);
  await context.close();
});

test("no name is computed by a spreadsheet", async () => {
  const { page, context } = await page_of(chrome, service.base);
  await open(page, service.base, `#/plans/${id}/timeline`);
  const [file] = await Promise.all([page.waitForEvent("download"), page.click("button[aria-label='CSV of timeline']")]);
  const text = readFileSync(await file.path(), "utf8");
  // Cells as RFC 4180 has them.
  const cells = [...text.matchAll(/(?:^|,|\r\n)(?:"((?:[^"]|"")*)"|([^",\r\n]*))/g)].map((own) => own[1]?.replaceAll('""', '"') ?? own[2]);
  const computed = cells.filter((cell) => /^[=+\-@]/.test(cell.trim()) && !/^-?[\d.e+-]+$/.test(cell));
  assert.deepEqual(computed, []);
  for (const name of SHEET.filter((own) => /^[=+\-@]/.test(own))) assert.ok(cells.some((cell) => cell.startsWith(`'${name}`)), name);
  await context.close();
});

test("names in an address are text", async () => {
  const { page, wrong, context } = await page_of(chrome, service.base, { refusals: true });
  for (const [n, name] of NAMES.entries()) {
    const own = encodeURIComponent(name);
    const all = [`#/plans?q=${own}&state=${own}&tables=${own}`, `#/plans/${own}`, `#/${own}`, `#/plans/${id}/memory?device=${own}`];
    await page.goto(`${service.base}/${all[n % all.length]}`);
    await page.waitForTimeout(20);
  }
  for (const hash of [`#/plans?q=${encodeURIComponent(DEVICES[1])}`, `#/plans/${encodeURIComponent(DEVICES[0])}`, `#/plans/${id}/memory?device=${encodeURIComponent(DEVICES[0])}`]) {
    await open(page, service.base, hash);
    await is_text(page, hash);
  }
  assert.deepEqual(wrong, []);
  await context.close();
});

test("a script that is not a file of the page does not run", async () => {
  const answer = await fetch(service.base);
  assert.match(answer.headers.get("content-security-policy"), /^default-src 'self'/);
  assert.equal(answer.headers.get("x-content-type-options"), "nosniff");
  const { page, context } = await page_of(chrome, service.base, { refusals: true });
  await open(page, service.base, "#/plans");
  const [ran, refused] = await page.evaluate(async () => {
    const told = [];
    document.addEventListener("securitypolicyviolation", (event) => told.push(event.effectiveDirective));
    const script = document.createElement("script");
    script.textContent = "window.ran = true";
    document.body.append(script);
    document.body.insertAdjacentHTML("beforeend", "<img src='/nothing' onerror='window.ran = true'>");
    const far = Object.assign(document.createElement("script"), { src: "https://example.org/x.js" });
    document.body.append(far);
    await fetch("https://example.org/").catch(() => told.push("fetch"));
    await new Promise((done) => setTimeout(done, 300));
    return [window.ran ?? false, told];
  });
  assert.equal(ran, false);
  for (const own of ["script-src-elem", "script-src-attr", "connect-src", "fetch"]) assert.ok(refused.includes(own), `${own} of ${refused}`);
  await context.close();
});
