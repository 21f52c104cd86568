// Writes the pictures of README and docs/ui.md: `make screenshots`. Views that a program lacks are left out.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { ROOT, browser, clear, folder, open, page_of, plans, serve } from "./service.mjs";

const at = folder();
const service = await serve(at);
const chrome = await browser();
/** Reports runs that nobody made, so that there is something to see. */
async function invented(plans) {
  for (const [at, plan] of plans.entries()) {
    const status = await (await fetch(`${service.base}/v1/plans/${plan}`)).json();
    if (status.objective !== "step-time" || status.state !== "done") continue;
    const factor = [1.04, 0.97, 1.09, 1.01][at % 4];
    const answer = await fetch(`${service.base}/v1/measurements`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ plan, step_s: (status.value_ns * factor) / 1e9 }) });
    if (!answer.ok) throw new Error(await answer.text());
  }
}

try {
  const ids = await plans(service.base, ["gpt2", "llama", "deepseek", "llama_1f1b", "none", "fleet"]);
  const { page, wrong } = await page_of(chrome, service.base);
  await open(page, service.base, `#/plans/${ids.llama}`);
  const there = await page.$$eval("nav.side a[href^='#/plans/']", (all) => all.map((one) => one.getAttribute("href").split("/")[3]));
  // Where a view of ops says more than one of stages, it is shown.
  const of = { graph: "gpt2", timeline: "deepseek", memory: "deepseek" };
  const views = there.map((name) => [name, `#/plans/${ids[of[name] ?? "llama"]}/${name}${name === "what-if" ? "?x.memory=1.25&m=64" : ""}`]);
  await invented(Object.values(ids));
  const folder_of_docs = join(ROOT, "docs/images");
  mkdirSync(folder_of_docs, { recursive: true });
  for (const [name, hash] of [["plans", "#/plans"], ["new", "#/new?model=example%3Allama-2-70b.json"], ["compare", `#/compare?a=${ids.llama_1f1b}&b=${ids.llama}`], ["accuracy", "#/accuracy"], ["fleet", `#/plans/${ids.fleet}`], ...views]) {
    await open(page, service.base, hash);
    await page.screenshot({ path: join(folder_of_docs, `ui-${name}.png`) });
    console.log(`docs/images/ui-${name}.png`);
  }
  if (wrong.length > 0) throw new Error(wrong.join("\n"));
} finally {
  await chrome.close();
  await service.stop();
  clear(at);
}
