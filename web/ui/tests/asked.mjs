// What the tests of what-if, why and accuracy share: plans of their own, and what axe finds.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { ROOT, browser, clear, folder, serve } from "./service.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What axe finds serious. */
export async function serious(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return found.violations.filter((own) => ["serious", "critical"].includes(own.impact))
    .map((own) => `${own.id}: ${own.nodes.slice(0, 3).map((node) => `${node.target} ${node.any[0]?.message ?? ""}`).join("; ")}`);
}

export async function asked(base, path, body) {
  const options = body === undefined ? {} : { method: "POST", body: typeof body === "string" ? body : JSON.stringify(body) };
  const answer = await fetch(base + path, { ...options, headers: { "content-type": "application/json" } });
  return { status: answer.status, value: await answer.json() };
}

/** Uploads examples by their paths under `examples`. */
export async function uploaded(base, paths) {
  for (const path of paths) {
    const [kind, name] = path.split("/");
    const stored = await fetch(`${base}/v1/${kind}?name=${name}`, { method: "POST", body: readFileSync(join(ROOT, "examples", path)) });
    if (!stored.ok) throw new Error(await stored.text());
  }
}

/** A plan, once it has ended: its status. */
export async function planned(base, request) {
  let plan = (await asked(base, "/v1/plans?wait=60", request)).value;
  while (["queued", "running"].includes(plan.state)) plan = (await asked(base, `/v1/plans/${plan.id}?wait=60`)).value;
  return plan;
}

/** A service and a browser for the time of a file's tests. */
export async function started() {
  const at = folder();
  const service = await serve(at);
  const chrome = await browser();
  return { base: service.base, chrome, end: async () => { await chrome.close(); await service.stop(); clear(at); } };
}

export const PLACED = { model: "gpt2_small.onnx", cluster: "a100-node.yaml", algorithm: "m-topo" };
export const RUN = { model: "qwen3-30b-a3b.json", cluster: "pod.yaml", workload: "training", global_batch: 512, sequence_length: 4096, pin: ["pipeline=4"] };
/** Two cards of 24 GB. */
export const NONE = { model: "qwen3-30b-a3b.json", cluster: "two-rtx3090.yaml", workload: "training", global_batch: 8, sequence_length: 4096 };
export const EXAMPLES = ["models/gpt2_small.onnx", "models/qwen3-30b-a3b.json", "clusters/a100-node.yaml", "clusters/pod.yaml", "clusters/two-rtx3090.yaml"];
