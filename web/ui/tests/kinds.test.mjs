// Every view on a plan of every kind and end: what the pages read by name is there in what the
// service answers.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { EXAMPLES, NONE, PLACED, RUN, asked, planned, serious, started, uploaded } from "./asked.mjs";
import { check_numbers } from "./numbers.mjs";
import { open, page_of, screenshot, settle } from "./service.mjs";

/** Ops with given costs, in the form of another planner: two nodes on two accelerators and a core. */
const GIVEN = JSON.stringify({
  maxSizePerFPGA: 100, maxFPGAs: 2, maxCPUs: 1, edges: [{ sourceId: 5, destId: 6, cost: 1 }],
  nodes: [{ id: 5, cpuLatency: 90, fpgaLatency: 3, size: 60 }, { id: 6, cpuLatency: 90, fpgaLatency: 5, size: 60 }],
});
/** What Megatron-LM is started with. */
const FLAGS = "--tensor-model-parallel-size 4\n--pipeline-model-parallel-size 2\n--micro-batch-size 1\n--global-batch-size 512\n--expert-model-parallel-size 8\n--seq-length 4096\n";

let at;
const plans = {};

before(async () => {
  at = await started();
  await uploaded(at.base, [...EXAMPLES, "models/llama3_8b.onnx", "models/gpt2-xl.json", "clusters/workstation.yaml", "clusters/merak.yaml", "models/llama-2-70b.json"]);
  await fetch(`${at.base}/v1/models?name=given.json`, { method: "POST", body: GIVEN });
  plans.run = await planned(at.base, RUN);
  plans.ranks = await planned(at.base, { model: "llama-2-70b.json", cluster: "merak.yaml", workload: "training", global_batch: 64, sequence_length: 2048 });
  plans.placed = await planned(at.base, PLACED);
  plans.split = await planned(at.base, { model: "gpt2_small.onnx", cluster: "workstation.yaml", algorithm: "m-etf" });
  plans.given = await planned(at.base, { model: "given.json" });
  plans.stages = await planned(at.base, { model: "gpt2-xl.json", cluster: "workstation.yaml", phase: "prefill", batch: 8, sequence_length: 512 });
  plans.experts = await planned(at.base, { model: "qwen3-30b-a3b.json", cluster: "a100-node.yaml", phase: "decode", batch: 64, algorithm: "expert-placement" });
  plans.fleet = await planned(at.base, { task: "infer", model: "qwen3-30b-a3b.json", cluster: "a100-node.yaml", rate: "2", tpot: "40ms" });
  plans.none = await planned(at.base, NONE);
  plans.none_of_ops = await planned(at.base, { model: "llama3_8b.onnx", cluster: "workstation.yaml", pin: ["embedding*=gpu0"] });
  plans.failed = await planned(at.base, { ...PLACED, pin: ["nothing*=gpu99"] });
  const { value: long } = await asked(at.base, "/v1/plans", { model: "llama3_8b.onnx", cluster: "two-rtx3090.yaml", time_limit: "600s" });
  await asked(at.base, `/v1/plans/${long.id}/cancel`, {});
  plans.cancelled = long;
  while (plans.cancelled.state !== "cancelled") plans.cancelled = (await asked(at.base, `/v1/plans/${long.id}?wait=10`)).value;
});
after(() => at?.end());

test("plans end as they are meant to", () => {
  const states = Object.fromEntries(Object.entries(plans).map(([name, own]) => [name, own.state]));
  assert.deepEqual(states, { run: "done", ranks: "done", placed: "done", split: "done", given: "done", stages: "done", experts: "done", fleet: "done", none: "infeasible", none_of_ops: "infeasible", failed: "failed", cancelled: "cancelled" });
});

test("a plan says its task", async () => {
  const { page, wrong, context } = await page_of(at.chrome, at.base);
  for (const [name, words] of Object.entries({ run: "Training run", ranks: "Training run", placed: "Placement", given: "Instance with given costs", stages: "Inference, prefill", experts: "Inference, decode", fleet: "Fleet of serving workers", none: "Training run", failed: "Placement" })) {
    await open(page, at.base, `#/plans/${plans[name].id}`);
    await page.waitForFunction((own) => document.querySelector(".purpose")?.textContent === own, words, { timeout: 5000 }).catch(async () => assert.equal(await page.textContent(".purpose"), words, name));
  }
  assert.deepEqual(wrong, []);
  await context.close();
});

test("the form has the fields of its task", async () => {
  const { page, wrong, context } = await page_of(at.chrome, at.base);
  const labels = async (task) => { await open(page, at.base, `#/new?task=${task}`); return page.$$eval(".request .field > label", (all) => all.map((own) => own.textContent)); };
  const of = { train: await labels("train"), place: await labels("place"), infer: await labels("infer"), solve: await labels("solve") };
  assert.ok(of.train.includes("Global batch") && !of.train.includes("Forbid") && of.train.filter((own) => own === "Workload").length === 0, of.train.join());
  assert.ok(of.place.includes("Forbid") && !of.place.includes("Global batch"), of.place.join());
  assert.ok(of.infer.includes("Request rate") && !of.infer.includes("Phase") && !of.infer.includes("Pin"), of.infer.join());
  assert.ok(of.solve.includes("Instance (required)") && !of.solve.includes("Cluster"), of.solve.join());
  for (const all of Object.values(of)) assert.deepEqual(all.filter((own) => own.includes("_")), []);
  for (const task of ["train", "place"]) {
    await open(page, at.base, `#/new?task=${task}`);
    assert.ok(await page.isVisible("label:has-text('For (launcher)') + select"), task);
  }
  // A change of the task leaves nothing of the one before behind.
  await open(page, at.base, "#/new?task=train&global_batch=512&model=x");
  await page.click("[aria-label=Task] button:has-text('Place')");
  await page.waitForTimeout(200);
  assert.ok(!page.url().includes("global_batch"), page.url());
  assert.deepEqual(wrong, []);
  await context.close();
});

/** What no page may say: holes where a member was read by a wrong name. */
const holes = (page) => page.evaluate(() => {
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) if (/\b(undefined|NaN|null|Infinity)\b|\[object |page-error/.test(walk.currentNode.data)) found.push(walk.currentNode.data.slice(0, 80));
  for (const one of document.querySelectorAll("a, button, h1, h2, summary, option")) if ((one.textContent.trim() || one.getAttribute("aria-label") || one.value || "") === "") found.push(`empty: ${one.outerHTML.slice(0, 120)}`);
  for (const one of document.querySelectorAll("main a[href*='of=']")) if (!/name=./.test(one.getAttribute("href"))) found.push(`of nothing: ${one.getAttribute("href")}`);
  return found;
});

const VIEWS = ["overview", "graph", "timeline", "memory", "search", "what-if", "why"];

for (const [theme, width] of [["light", 1280], ["dark", 1920]]) {
  test(`every view of every kind of plan, ${theme}, ${width} wide`, async () => {
    const hashes = Object.entries(plans).flatMap(([name, plan]) => VIEWS.map((view) => [`${name}-${view}`, `#/plans/${plan.id}/${view}`]));
    const settings = new URLSearchParams({ a: "settings", b: plans.run.id, settings: FLAGS, called: "run.sh" });
    hashes.push(["settings", `#/compare?${settings}`], ["same", `#/compare?a=${plans.given.id}&b=${plans.given.id}`], ["compare", `#/compare?a=${plans.split.id}&b=${plans.split.id}`]);
    for (const [name, hash] of hashes) {
      const { page, wrong, context } = await page_of(at.chrome, at.base, { theme, width, refusals: /^(given|stages|experts|fleet)/.test(name) });
      await open(page, at.base, hash).catch((error) => { throw new Error(`${name}: ${error.message}`); });
      assert.deepEqual(await holes(page), [], name);
      const refused = await page.$$eval("main [role=alert] > p:first-child > code:first-of-type", (all) => all.map((own) => own.textContent));
      const ended = plans[name.split("-")[0]]?.error?.code;
      assert.deepEqual(refused.filter((own) => own !== ended && own !== "no-view"), [], name);
      await check_numbers(page, at.base);
      assert.deepEqual(await serious(page), [], name);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name} is wider than its window`);
      await screenshot(page, `kinds-${name}-${theme}-${width}`);
      assert.deepEqual(wrong, [], name);
      await context.close();
    }
  });
}

test("the current setup is compared with a plan with the service's own figures", async () => {
  const { page, wrong, context } = await page_of(at.chrome, at.base);
  await open(page, at.base, `#/compare?a=settings&b=${plans.run.id}`);
  await page.fill("textarea", FLAGS);
  await page.click("main form button[type=submit]");
  await page.waitForSelector("section[aria-label=Figures]");
  const { value: told } = await asked(at.base, "/v1/compare", { plan: plans.run.id, settings: FLAGS, settings_name: "run.sh" });
  const moved = await page.$$eval("section[aria-label='Changed decisions'] tbody tr", (all) => all.map((row) => [...row.children].map((cell) => cell.textContent)));
  assert.deepEqual(moved, told.changes.map((own) => [own.field, own.now, own.plan]));
  const pointers = await page.$$eval("section[aria-label=Figures] [data-pointer]", (all) => all.map((own) => own.dataset.pointer));
  assert.ok(pointers.includes("/compare/now/step_time_ns") && pointers.includes("/compare/plan/step_time_ns"), pointers.join());
  assert.ok(await check_numbers(page, at.base) >= 8);
  // The address holds the settings.
  const address = page.url();
  await open(page, at.base, address.slice(address.indexOf("#")));
  await page.waitForSelector("section[aria-label=Figures]");
  assert.deepEqual(wrong, []);
  await context.close();
});

test("each name that is offered is answered: devices, ranks, what lies on the critical path", async () => {
  const { page, wrong, context } = await page_of(at.chrome, at.base);
  for (const name of ["ranks", "split"]) {
    await open(page, at.base, `#/plans/${plans[name].id}/why?of=device`);
    await page.waitForSelector("datalist option", { state: "attached" });
    const offered = await page.$$eval("datalist option", (all) => all.map((own) => own.value));
    const { value: view } = await asked(at.base, `/v1/plans/${plans[name].id}/view`);
    assert.deepEqual(offered, view.devices.map((own) => own.device));
    for (const device of [offered[0], offered.at(-1)]) {
      await open(page, at.base, `#/plans/${plans[name].id}/why?of=device&name=${encodeURIComponent(device)}`);
      assert.ok(await page.$("main [role=alert]") === null, `${name}, ${device}: ${await page.textContent("main")}`);
      assert.ok(await check_numbers(page, at.base) >= 6, device);
    }
  }
  await open(page, at.base, `#/plans/${plans.split.id}/why`);
  const { value: told } = await asked(at.base, `/v1/plans/${plans.split.id}/explain`);
  assert.ok(told.critical_path.some((own) => own.transfer !== undefined), "a transfer lies on the path");
  const rows = await page.$$eval("section[aria-label='Critical path'] tbody tr", (all) => all.map((row) => row.children[0].textContent));
  assert.deepEqual(rows, told.critical_path.slice(0, rows.length).map((own) => own.op ?? own.transfer));
  for (const href of await page.$$eval("section[aria-label='Longest on the path'] a", (all) => all.map((own) => own.getAttribute("href")))) {
    await open(page, at.base, href);
    assert.ok(await page.$("main [role=alert]") === null, href);
    assert.ok(await check_numbers(page, at.base) >= 3, href);
  }
  assert.deepEqual(wrong, []);
  await context.close();
});

test("why there is none says what was searched, and nothing else", async () => {
  const { page, context } = await page_of(at.chrome, at.base);
  const list = (plan, name) => plan.error.facts.find((own) => own.name === name)?.value.list ?? [];
  for (const name of ["none", "none_of_ops"]) {
    const plan = plans[name];
    await open(page, at.base, `#/plans/${plan.id}/why`);
    assert.ok(list(plan, "resolved_by").length > 0, JSON.stringify(plan.error));
    const rows = await page.$$eval("section[aria-label='Conflict'] tbody tr", (all) => all.map((row) => row.children[2].textContent[0]));
    assert.deepEqual(rows, [...list(plan, "resolved_by").map(() => "✓"), ...list(plan, "not_resolved_by").map(() => "✕")]);
    // Every size of the error leads to its place.
    const shown = await page.$$eval("[data-pointer]", (all) => all.flatMap((own) => own.dataset.pointer.split("\n")));
    // Parts of what is usable stand in its words.
    const has_words = plan.error.facts.some((fact) => fact.name === "usable");
    plan.error.facts.forEach((fact, index) => {
      const is_said = fact.name === "missing" || (has_words && ["capacity", "context", "margin"].includes(fact.name));
      if (fact.value.bytes !== undefined) assert.ok(is_said || shown.includes(`/error/facts/${index}/value/bytes`), fact.name);
      (fact.value.sizes ?? []).forEach((_, one) => assert.ok(shown.includes(`/error/facts/${index}/value/sizes/${one}/bytes`), fact.name));
    });
  }
  assert.match(await page.textContent("section[aria-label='Memory shortfall']"), /several devices together/);
  assert.match(await page.textContent("section[aria-label='Conflict'] .note"), /Not relaxed alone: pin embedding/);
  // A request that could not be planned had nothing searched.
  await open(page, at.base, `#/plans/${plans.failed.id}/why`);
  assert.ok(await page.$("section[aria-label='Conflict'], section[aria-label='Memory shortfall']") === null);
  assert.match(await page.textContent("main"), /could not be planned/);
  await context.close();
});

test("what is alive at the peak is a table that adds up to it", async () => {
  const { page, context } = await page_of(at.chrome, at.base);
  for (const [name, device] of [["run", "rank 0"], ["split", "gpu1"]]) {
    const { value: curve } = await asked(at.base, `/v1/plans/${plans[name].id}/memory?device=${encodeURIComponent(device)}&points=10`);
    await open(page, at.base, `#/plans/${plans[name].id}/memory?device=${encodeURIComponent(device)}&tables=alive&all=alive`);
    const rows = await page.$$eval("[aria-label='alive, table'] tbody tr", (all) => all.map((row) => [...row.children].slice(0, 2).map((cell) => cell.textContent)));
    assert.deepEqual(rows, curve.alive.largest.map((own) => [own.name, own.kind]));
    assert.equal(curve.alive.largest.reduce((sum, own) => sum + own.bytes, curve.alive.other_bytes), curve.peak_bytes);
    assert.deepEqual(await page.$$eval(".alive li > span:first-of-type .note:first-of-type", (all) => all.map((own) => own.textContent)), curve.alive.largest.slice(0, 16).map((own) => own.kind));
    await check_numbers(page, at.base);
  }
  await context.close();
});

test("no table hides columns without a word, and how it is sorted is in the address", async () => {
  const { page, context } = await page_of(at.chrome, at.base);
  await asked(at.base, "/v1/measurements", { plan: plans.run.id, step_s: 4.2 });
  const cut = () => page.$$eval(".scroll", (all) => all.filter((own) => own.scrollWidth > own.clientWidth + 1).map((own) => [own.getAttribute("aria-label"), own.nextElementSibling?.className ?? ""]));
  const settings = new URLSearchParams({ a: "settings", b: plans.run.id, settings: FLAGS, called: "run.sh" });
  for (const hash of [`#/compare?${settings}`, `#/compare?a=${plans.split.id}&b=${plans.placed.id}`, "#/accuracy", `#/plans/${plans.split.id}/timeline`, `#/plans/${plans.split.id}/why`]) {
    await open(page, at.base, hash);
    for (const [label, next] of await cut()) {
      assert.match(next, /cue/, `${label} of ${hash}`);
      assert.ok(!/^(figures|groups)/.test(label), `${label} of ${hash} fits`);
    }
  }
  await open(page, at.base, `#/plans/${plans.split.id}/why`);
  await page.click("section[aria-label='Critical path'] th:nth-child(5) button");
  const first = () => page.textContent("section[aria-label='Critical path'] tbody tr");
  const sorted = await first();
  await page.click("section[aria-label='Critical path'] button:has-text('Show all')");
  const n = await page.$$eval("section[aria-label='Critical path'] tbody tr", (all) => all.length);
  await page.waitForTimeout(300);
  const address = page.url();
  await open(page, at.base, address.slice(address.indexOf("#")));
  assert.equal(await first(), sorted);
  assert.equal(await page.$$eval("section[aria-label='Critical path'] tbody tr", (all) => all.length), n);
  await settle(page);
  await context.close();
});
