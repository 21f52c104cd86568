// Plan files: dropped on the pages, shown by `view`, and as one file that opens from disk.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { NAMES, cluster as hostile_cluster, model as hostile_model } from "./hostile.mjs";
import { check_numbers } from "./numbers.mjs";
import { PROGRAM, REQUESTS, browser, clear, folder, input, open, page_of, plans, screenshot, serve, settle } from "./service.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const at = folder();
/** Options could not name devices with a comma or an equals sign. */
const DEVICES = NAMES.filter((name) => !/[,=]/.test(name)).slice(0, 4);
let service, chrome;

before(async () => {
  service = await serve(at);
  chrome = await browser();
});
after(async () => {
  await chrome?.close();
  await service?.stop();
  clear(at);
});

/** Model and cluster of a request as files; the words of the command line that plan it. */
function written(name) {
  const { model, cluster, ...asks } = REQUESTS[name];
  for (const file of [model, cluster]) writeFileSync(join(at, file), input(file));
  const flags = Object.entries(asks).flatMap(([flag, value]) => [`--${flag.replaceAll("_", "-")}`, String(value)]);
  return { model, cluster, words: ["plan", model, "--cluster", cluster, ...flags] };
}

const run = (words) => execFileSync(PROGRAM, words, { cwd: at, encoding: "utf8", maxBuffer: 1 << 30, stdio: ["ignore", "pipe", "pipe"] });
const json = async (path, options) => (await fetch(service.base + path, options)).json();

async function serious(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return found.violations.filter((own) => ["serious", "critical"].includes(own.impact)).map((own) => `${own.id}: ${own.nodes.slice(0, 3).map((node) => node.target).join("; ")}`);
}

/** Drops a file on the page, as a person would. */
async function drop(page, name, text) {
  const files = await page.evaluateHandle(([own, body]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([body], own, { type: "application/json" }));
    return transfer;
  }, [name, text]);
  await page.dispatchEvent("main", "dragover", { dataTransfer: files });
  assert.ok(await page.isVisible(".dropping"));
  await page.dispatchEvent("main", "drop", { dataTransfer: files });
}

/** Where a service has the document that a file holds; what the file says of itself it alone has. */
function elsewhere(name, id) {
  const [, packed] = /id="documents">([^<]*)</.exec(readFileSync(join(at, `${name}.html`), "utf8"));
  const all = JSON.parse(gunzipSync(Buffer.from(packed, "base64")));
  return (source) => (source === "/held" ? all[source] : source.replace("/v1/plans/plan", `/v1/plans/${id}`));
}

test("a dropped plan file is shown as it states, then verified on its model, then found by its digests", async () => {
  const { words, model, cluster } = written("gpt2");
  run([...words, "-o", "gpt2.json"]);
  const text = readFileSync(join(at, "gpt2.json"), "utf8");
  const { page, wrong, context } = await page_of(chrome, service.base, { refusals: true });
  await open(page, service.base, "#/plans");
  await drop(page, "broken.json", "{");
  await page.waitForSelector(".drop .callout.bad");
  await drop(page, "-gpt2.json", text);
  await page.waitForSelector("h2:has-text('Not verified')");
  await settle(page);
  assert.ok(await check_numbers(page, service.base) >= 3);
  assert.deepEqual(await serious(page), []);
  await screenshot(page, "opened-alone");
  await page.click("nav.side a:has-text('Timeline')");
  await page.waitForSelector("text=needs-model");
  for (const [kind, name] of [["Model", model], ["Cluster", cluster]]) {
    await page.setInputFiles(`.field:has(label:has-text('${kind}')) input[type=file]`, join(at, name));
    await page.waitForFunction(([own, file]) => document.querySelector(`.field select[aria-describedby][id] option[value="${file}"]:checked`) !== null, [kind, name]);
  }
  await page.click("button:has-text('Verify and show all')");
  await page.waitForSelector("text=verified on its model", { timeout: 60_000 });
  await settle(page);
  assert.ok(await check_numbers(page, service.base) >= 10);
  await screenshot(page, "opened");
  const [saved] = await Promise.all([page.waitForEvent("download"), page.click("button:has-text('Save as a page')")]);
  assert.match(readFileSync(await saved.path(), "utf8"), /^<!doctype html>/);
  const first = page.url();
  for (const view of ["graph", "timeline", "memory", "search", "what-if", "why"]) {
    await open(page, service.base, first.replace(/^[^#]*/, "").replace(/\?.*/, "") + `/${view}`);
    assert.equal(await page.$(".callout.bad"), null, view);
    await check_numbers(page, service.base);
  }
  await page.waitForSelector("h1");
  // Another plan of the same problem needs nothing but its file.
  run([...words.map((word) => (word === "m-topo" ? "single" : word)), "-o", "single.json"]);
  await open(page, service.base, "#/plans");
  await page.setInputFiles("input[aria-label='Open a plan file']", join(at, "single.json"));
  await page.waitForSelector("text=verified on its model", { timeout: 60_000 });
  assert.deepEqual(wrong, []);
  await context.close();
});

test("view shows a plan and leaves nothing behind", async () => {
  const { model, cluster } = written("gpt2");
  const temporary = folder();
  const child = spawn(PROGRAM, ["view", "gpt2.json", "--model", model, "--cluster", cluster], { cwd: at, env: { ...process.env, TMPDIR: temporary }, stdio: ["ignore", "pipe", "ignore"] });
  const address = await new Promise((done, fail) => {
    let text = "";
    child.stdout.on("data", (bytes) => { text += bytes; if (text.includes("\n")) done(text.trim()); });
    child.on("exit", (code) => fail(new Error(`it ended with ${code}`)));
  });
  const { page, wrong, context } = await page_of(chrome, new URL(address).origin);
  await page.goto(address);
  await settle(page);
  assert.ok(await check_numbers(page, new URL(address).origin) >= 10);
  assert.deepEqual(wrong, []);
  await context.close();
  const code = await new Promise((done) => { child.removeAllListeners("exit"); child.once("exit", done); child.kill("SIGINT"); });
  assert.equal(code, 0);
  assert.deepEqual(readdirSync(temporary), []);
  clear(temporary);
});

/** Opens a file from disk without a network, and walks its views. */
async function walked(name, id, theme, width) {
  const { page, wrong, context } = await page_of(chrome, "file://", { theme, width });
  await context.setOffline(true);
  const asked = [];
  page.on("request", (request) => { if (!request.url().startsWith("file://") && !/^(data|blob):/.test(request.url())) asked.push(request.url()); });
  for (const [view, least] of [["overview?tables=step,memory,origins", 20], ["timeline?tables=timeline", 20], ["memory?tables=levels,memory", 20]]) {
    await page.goto("about:blank");
    await page.goto(`file://${join(at, `${name}.html`)}#/plans/plan/${view}`);
    await settle(page);
    const held = await page.evaluate(() => document.querySelector("#documents").textContent.length);
    assert.ok(held > 1000);
    assert.ok(await check_numbers(page, service.base, elsewhere(name, id)) >= least, view);
    assert.deepEqual(await serious(page), [], view);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth) <= 0, view);
    await screenshot(page, `${name}-file-${view.split("?")[0]}-${theme}-${width}`);
  }
  assert.deepEqual([...wrong.filter((own) => !own.startsWith("request to")), ...asked], []);
  return { page, context };
}

test("the page of 256 GPUs is one small file with the plan's numbers, which asks for nothing", async () => {
  const { words, model, cluster } = written("llama");
  const answer = JSON.parse(run([...words, "-o", "llama.json", "--html", "llama.html", "--json"]));
  const bytes = statSync(join(at, "llama.html")).size;
  console.error(`llama.html: ${bytes} bytes`);
  assert.ok(bytes < 500_000, `${bytes} bytes`);
  run(["export", "llama.json", "--model", model, "--cluster", cluster, "--target", "html", "-o", "exported.html"]);
  assert.ok(readFileSync(join(at, "exported.html")).equals(readFileSync(join(at, "llama.html"))), "one page, whoever makes it");
  for (const [kind, name] of [["models", model], ["clusters", cluster]]) await fetch(`${service.base}/v1/${kind}?name=${name}`, { method: "POST", body: readFileSync(join(at, name)) });
  const { id } = await json(`/v1/plans/opened?name=llama.json&model=${model}&cluster=${cluster}`, { method: "POST", body: readFileSync(join(at, "llama.json")) });
  // What the file says is what the command line said when it planned.
  const opened = await json(`/v1/plans/${id}/answer`);
  // The file says where its inputs were too.
  delete opened.plan.inputs;
  assert.deepEqual(opened.plan, answer.plan);
  for (const name of ["n_devices", "step_time_ns", "tokens_per_s", "model_flops_utilisation", "peak_bytes", "degrees"]) assert.deepEqual(opened.best[name], answer.best[name], name);
  for (const [name, seconds] of Object.entries(answer.best.parts)) assert.ok(Math.abs(opened.best.parts[name] - seconds) < 1e-9, name);
  await (await walked("llama", id, "light", 1280)).context.close();
  const { page, context } = await walked("llama", id, "dark", 1920);
  await page.goto("about:blank");
  await page.goto(`file://${join(at, "llama.html")}`);
  await page.waitForSelector(".figures dt:has-text('Throughput')");
  await page.click("nav.side a:has-text('Timeline')");
  await page.waitForSelector("canvas");
  await page.keyboard.press("w");
  await page.waitForFunction(() => location.hash.includes("t0="));
  await page.goto(`file://${join(at, "llama.html")}#/plans/plan/graph`);
  await page.waitForSelector("text=not-in-this-file");
  await context.close();
});

test("hostile names are text in a page that is one file", async () => {
  for (const [kind, name, body] of [["models", "hostile.onnx", hostile_model()], ["clusters", "hostile.yaml", hostile_cluster(DEVICES)]]) {
    writeFileSync(join(at, name), body);
    await fetch(`${service.base}/v1/${kind}?name=${name}`, { method: "POST", body });
  }
  run(["plan", "hostile.onnx", "--cluster", "hostile.yaml", "--algorithm", "m-topo", "-o", "hostile.json", "--html", "hostile.html"]);
  const { id } = await json("/v1/plans/opened?name=hostile.json&model=hostile.onnx&cluster=hostile.yaml", { method: "POST", body: readFileSync(join(at, "hostile.json")) });
  const { context } = await walked("hostile", id, "light", 1280);
  await context.close();
});

test("the page of the largest plan is bounded and says what it leaves out", async (own) => {
  if (input("large.onnx") === undefined) return own.skip("large.onnx is not here");
  const { words } = written("large");
  run([...words, "--html", "large.html"]);
  const bytes = statSync(join(at, "large.html")).size;
  console.error(`large.html: ${bytes} bytes`);
  assert.ok(bytes < 500_000, `${bytes} bytes`);
  const { page, context } = await page_of(chrome, "file://");
  for (const view of ["timeline", "memory"]) {
    await page.goto("about:blank");
    await page.goto(`file://${join(at, "large.html")}#/plans/plan/${view}`);
    await page.waitForSelector(".held", { timeout: 30_000 });
    await settle(page);
    await screenshot(page, `large-file-${view}`);
  }
  await context.close();
});
