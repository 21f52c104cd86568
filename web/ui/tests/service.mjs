// A service of one's own, with plans in it, and a browser on it.

import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
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

async function put(base, kind, path) {
  const name = encodeURIComponent(basename(path));
  const answer = await fetch(`${base}/v1/${kind}?name=${name}`, { method: "POST", body: readFileSync(path) });
  if (!answer.ok) throw new Error(await answer.text());
}

export async function post(base, path, body) {
  const answer = await fetch(base + path, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } });
  if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`);
  return answer.json();
}

const training = { cluster: "pod.yaml", workload: "training", global_batch: 512, sequence_length: 4096 };

/** What the views are walked on. */
const REQUESTS = {
  gpt2: { model: "gpt2_small.onnx", cluster: "two-rtx3090.yaml", algorithm: "m-topo" },
  gpt2_single: { model: "gpt2_small.onnx", cluster: "two-rtx3090.yaml", algorithm: "single" },
  qwen3: { model: "qwen3-30b-a3b.json", ...training },
  llama: { model: "llama-2-70b.json", ...training },
  llama_1f1b: { model: "llama-2-70b.json", ...training, pin: ["schedule=1f1b"] },
  none: { model: "qwen3-30b-a3b.json", ...training, cluster: "two-rtx3090.yaml", global_batch: 8 },
};

/** Plans by name: their ids. */
export async function plans(base) {
  for (const name of ["gpt2_small.onnx", "qwen3-30b-a3b.json", "llama-2-70b.json"]) await put(base, "models", join(ROOT, "examples/models", name));
  for (const name of ["two-rtx3090.yaml", "pod.yaml"]) await put(base, "clusters", join(ROOT, "examples/clusters", name));
  const ids = {};
  for (const [name, request] of Object.entries(REQUESTS)) ids[name] = (await post(base, "/v1/plans", request)).id;
  for (const id of Object.values(ids)) {
    for (let state = ""; !["done", "infeasible"].includes(state);) {
      const plan = await (await fetch(`${base}/v1/plans/${id}?wait=60`)).json();
      state = plan.state;
      if (["failed", "cancelled"].includes(state)) throw new Error(`${id} ${state}: ${JSON.stringify(plan.error)}`);
    }
  }
  return ids;
}

export async function browser() {
  return chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
}

/** A page that keeps what went wrong on it: words on the console, requests elsewhere. */
export async function page_of(chrome, base, { width = 1280, theme = "light", refusals = false } = {}) {
  const context = await chrome.newContext({ viewport: { width, height: width > 1500 ? 1080 : 800 }, colorScheme: theme, reducedMotion: "reduce" });
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
  await page.waitForFunction(() => document.querySelector("main h1") !== null && document.querySelector(".loading") === null, undefined, { timeout: 30_000 });
  await page.waitForTimeout(150);
}

export async function screenshot(page, name) {
  mkdirSync(SCREENS, { recursive: true });
  await page.screenshot({ path: join(SCREENS, `${name}.png`), fullPage: true });
}

export function clear(at) {
  rmSync(at, { recursive: true, force: true });
}
