// A service of one's own, with plans in it, and a browser on it.

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
export const DIST = fileURLToPath(new URL("../dist", import.meta.url));
const built = ["release", "quick", "debug"].map((name) => join(ROOT, "target", name, "meshwright"));
export const PROGRAM = process.env["MESHWRIGHT"] ?? built.find(existsSync);
const CHROMIUM = process.env["CHROMIUM"] ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
/** Where screenshots go. */
export const SCREENS = process.env["MESHWRIGHT_SCREENS"] ?? join(ROOT, "target", "ui-screens");

export function folder() {
  return mkdtempSync(join(tmpdir(), "meshwright-ui-"));
}

/** Starts a service; `port` 0 takes any. */
export async function serve(at, { port = 0, flags = [] } = {}) {
  const child = spawn(PROGRAM, ["serve", "--listen", `127.0.0.1:${port}`, "--database", join(at, "plans.db"), ...flags], { stdio: ["ignore", "ignore", "pipe"] });
  const base = await new Promise((done, fail) => {
    let text = "";
    child.stderr.on("data", (bytes) => {
      text += bytes;
      const found = /listening on (http:\/\/[^/\s,]+)/.exec(text);
      if (found) done(found[1]);
    });
    child.on("exit", () => fail(new Error(`the service ended: ${text}`)));
  });
  const stop = () => new Promise((done) => { child.once("exit", done); child.kill("SIGTERM"); });
  return { base, stop, port: Number(new URL(base).port) };
}

async function put(base, kind, name, bytes) {
  const answer = await fetch(`${base}/v1/${kind}?name=${encodeURIComponent(name)}`, { method: "POST", body: bytes });
  if (!answer.ok) throw new Error(await answer.text());
}

export async function post(base, path, body) {
  const answer = await fetch(base + path, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } });
  if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`);
  return answer.json();
}

const example = (path) => readFileSync(join(ROOT, "examples", path));
/** So many hosts of `pod.yaml`. */
const pod = (hosts) => String(example("clusters/pod.yaml")).replace("count: 8", `count: ${hosts}`).replace("name: pod", `name: pod-${hosts * 8}`);
const data = (path) => { const at = join(process.env["MESHWRIGHT_DATA"] ?? "/", path); return existsSync(at) ? readFileSync(at) : undefined; };

/** What `importers/examples/large_graph.rs` writes: 10,000 ops forward. */
function large() {
  const program = built.map((path) => join(dirname(path), "examples", "large_graph")).find(existsSync);
  if (program === undefined) return undefined;
  const at = folder();
  execFileSync(program, [join(at, "large.onnx")]);
  const bytes = readFileSync(join(at, "large.onnx"));
  clear(at);
  return bytes;
}

const training = { workload: "training", sequence_length: 4096 };

/** What the views are walked on; the first five are walked through. */
export const REQUESTS = {
  gpt2: { model: "gpt2_small.onnx", cluster: "a100-node.yaml", algorithm: "m-topo" },
  llama: { model: "llama-2-70b.json", cluster: "pod-256.yaml", global_batch: 1024, ...training },
  deepseek: { model: "deepseek-v3.json", cluster: "pod-512.yaml", global_batch: 2048, ...training },
  inception: { model: "inception_v3.onnx", cluster: "a100-4.yaml", batch: 32 },
  large: { model: "large.onnx", cluster: "pod.yaml", workload: "training", batch: 2048, micro_batch: 64, algorithm: "m-topo" },
  gpt2_single: { model: "gpt2_small.onnx", cluster: "a100-node.yaml", algorithm: "single" },
  llama_1f1b: { model: "llama-2-70b.json", cluster: "pod-256.yaml", global_batch: 1024, ...training, pin: ["schedule=1f1b"] },
  none: { model: "qwen3-30b-a3b.json", cluster: "two-rtx3090.yaml", global_batch: 8, ...training },
  fleet: { task: "infer", model: "qwen3-30b-a3b.json", cluster: "pod.yaml", rate: "60", ttft: "1s", tpot: "20ms", input_tokens: 4000, output_tokens: 1000 },
};
export const WALKED = ["gpt2", "llama", "deepseek", "inception", "large"];

const MADE = {
  "inception_v3.onnx": () => data("models/onnx/inception_v3.onnx"), "large.onnx": large, "pod-256.yaml": () => pod(32), "pod-512.yaml": () => pod(64),
  "a100-4.yaml": () => String(example("clusters/a100-node.yaml")).replace("devices: 8", "devices: 4").replace("name: a100-node", "name: a100-4"),
};

/** What a file of a request holds; undefined where it is not here. */
export const input = (name) => (MADE[name] === undefined ? example(`${name.endsWith(".yaml") ? "clusters" : "models"}/${name}`) : MADE[name]());

/** Plans by name: their ids; those whose model is not here are left out. */
export async function plans(base, names = Object.keys(REQUESTS)) {
  const there = {};
  for (const name of new Set(names.flatMap((own) => [REQUESTS[own].model, REQUESTS[own].cluster]))) {
    const kind = name.endsWith(".yaml") ? "clusters" : "models";
    const bytes = input(name);
    there[name] = bytes !== undefined;
    if (there[name]) await put(base, kind, name, bytes);
    else console.error(`skipped: ${name} is not here (docs/data.md; make test-ui)`);
  }
  const ids = {};
  for (const name of names) if (there[REQUESTS[name].model]) ids[name] = (await post(base, "/v1/plans", REQUESTS[name])).id;
  for (const [name, id] of Object.entries(ids)) {
    await ended(base, id, name);
    // The view of a million slices takes a while to be made, once; on a busy machine longer than is allowed.
    let view = await fetch(`${base}/v1/plans/${id}/view`);
    for (let tries = 1; view.status === 422 && (await view.json()).code === "time-limit" && tries < 4; tries += 1) view = await fetch(`${base}/v1/plans/${id}/view`);
  }
  return ids;
}

async function ended(base, id, name) {
  for (let state = ""; !["done", "infeasible"].includes(state);) {
    const plan = await (await fetch(`${base}/v1/plans/${id}?wait=60`)).json();
    state = plan.state;
    if (["failed", "cancelled"].includes(state)) throw new Error(`${name} ${state}: ${JSON.stringify(plan.error)}`);
  }
}

/** With MESHWRIGHT_PAGES the pages of `dist` stand in for those in the program. */
async function stand_in(context, base) {
  if (process.env["MESHWRIGHT_PAGES"] === undefined) return;
  const is_page = (url) => url.origin === base && (url.pathname === "/" || url.pathname.startsWith("/assets/"));
  const { headers } = await fetch(base);
  const policy = { "content-security-policy": headers.get("content-security-policy") };
  await context.route(is_page, (route) => {
    const { pathname } = new URL(route.request().url());
    return route.fulfill({ path: join(DIST, pathname === "/" ? "index.html" : pathname), headers: policy });
  });
}

export async function browser() {
  return chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
}

/** A page that keeps what went wrong on it: words on the console, requests elsewhere. */
export async function page_of(chrome, base, { width = 1280, theme = "light", refusals = false } = {}) {
  const context = await chrome.newContext({ viewport: { width, height: width > 1500 ? 1080 : 800 }, colorScheme: theme, reducedMotion: "reduce" });
  await stand_in(context, base);
  const page = await context.newPage();
  const wrong = [];
  page.on("console", (told) => {
    const is_refusal = refusals && told.text().startsWith("Failed to load resource");
    if (["error", "warning"].includes(told.type()) && !is_refusal) wrong.push(`console: ${told.text()}`);
  });
  page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
  page.on("dialog", (dialog) => { wrong.push("a script ran"); void dialog.dismiss(); });
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (!["data:", "blob:"].includes(url.protocol) && url.origin !== base) wrong.push(`request to ${url.origin}`);
  });
  return { page, wrong, context };
}

/** Opens a view and waits until nothing loads any more. */
export async function open(page, base, hash) {
  await page.goto("about:blank");
  await page.goto(`${base}/${hash}`);
  await settle(page);
}

export async function settle(page) {
  await page.waitForFunction(() => document.querySelector("main h1") !== null && document.querySelector(".loading") === null, undefined, { timeout: 90_000 });
  await page.waitForTimeout(150);
}

export async function screenshot(page, name) {
  mkdirSync(SCREENS, { recursive: true });
  await page.evaluate(() => scrollTo(0, 0));
  await page.screenshot({ path: join(SCREENS, `${name}.png`), fullPage: true });
}

export function clear(at) {
  rmSync(at, { recursive: true, force: true });
}
