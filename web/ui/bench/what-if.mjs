// Round trips of what-if in the browser: from the turn of a slider to the figures on the page, the pause
// before the service is asked included. `node bench/what-if.mjs`, on an idle machine.

import { EXAMPLES, PLACED, asked, planned, started, uploaded } from "../tests/asked.mjs";
import { open, page_of } from "../tests/service.mjs";

const TURNS = 60;
const training = { workload: "training", sequence_length: 4096 };
const PLANS = {
  "GPT-2 on 8 GPUs": PLACED,
  "Llama-2-70B on 64 GPUs": { model: "llama-2-70b.json", cluster: "pod.yaml", global_batch: 512, ...training },
  "DeepSeek-V3 on 1,024 GPUs": { model: "deepseek-v3.json", cluster: "pod-1024.yaml", global_batch: 2048, ...training },
};

/** Milliseconds of each turn of the first slider, to another value each time. */
const turns = (page, n) => page.evaluate(async (count) => {
  const slider = document.querySelector(".knob input[type=range]");
  const area = document.querySelector(".what-if [aria-busy]");
  const is_busy = (own) => new Promise((done) => {
    const look = () => area.getAttribute("aria-busy") === String(own) && done();
    const watch = new MutationObserver(() => { if (area.getAttribute("aria-busy") === String(own)) { watch.disconnect(); done(); } });
    watch.observe(area, { attributes: true });
    look();
  });
  const taken = [];
  for (let at = 0; at < count; at += 1) {
    const start = performance.now();
    slider.valueAsNumber = 0.1 + 0.1 * (at % 20) + (at % 2);
    slider.dispatchEvent(new InputEvent("input", { bubbles: true }));
    await is_busy(true);
    await is_busy(false);
    taken.push(performance.now() - start);
  }
  return taken;
}, n);

const at = await started();
try {
  await uploaded(at.base, [...EXAMPLES, "models/llama-2-70b.json", "models/deepseek-v3.json", "clusters/pod-1024.yaml"]);
  for (const [name, request] of Object.entries(PLANS)) {
    const plan = await planned(at.base, request);
    if (plan.state !== "done") throw new Error(`${name}: ${plan.state} ${JSON.stringify(plan.error)}`);
    const { page, context } = await page_of(at.chrome, at.base);
    await open(page, at.base, `#/plans/${plan.id}/what-if`);
    const taken = (await turns(page, TURNS)).sort((a, b) => a - b);
    const service = [];
    for (let n = 0; n < 20; n += 1) {
      const start = performance.now();
      await asked(at.base, "/v1/simulate", { plan: plan.id, scale: [`memory=${1 + n / 100}`] });
      service.push(performance.now() - start);
    }
    service.sort((a, b) => a - b);
    const of = (all, share) => Math.round(all[Math.min(all.length - 1, Math.ceil(all.length * share) - 1)]);
    console.log(`${name}: p50 ${of(taken, 0.5)} ms, p95 ${of(taken, 0.95)} ms; of it the service p50 ${of(service, 0.5)} ms, p95 ${of(service, 0.95)} ms`);
    await context.close();
  }
} finally {
  await at.end();
}
