// Fleets of serving workers: the form that asks for one, and its pages against the documents of the service.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { asked, planned, serious, started, uploaded } from "./asked.mjs";
import { check_numbers } from "./numbers.mjs";
import { clear, folder, open, page_of, screenshot, settle } from "./service.mjs";

const FLEET = { task: "infer", model: "qwen3-30b-a3b.json", cluster: "pod.yaml", rate: "60", ttft: "1s", tpot: "20ms", input_tokens: 4000, output_tokens: 1000, all: true };
const REQUESTS = {
  fleet: FLEET,
  whole: { ...FLEET, mode: "aggregated", percentile: "90", executor: "sglang" },
  // 128 hosts, most of which are idle.
  wide: { ...FLEET, model: "llama-2-70b.json", cluster: "pod-1024.yaml", rate: "20", input_tokens: 1000, output_tokens: 500, ttft: "5s", tpot: "60ms" },
  most: { ...FLEET, cluster: "a100-node.yaml", rate: undefined },
  // 100 workers.
  many: { ...FLEET, model: "llama-2-70b.json", cluster: "pod-1024.yaml", rate: "530", input_tokens: 1000, output_tokens: 500, ttft: "5s", tpot: "60ms" },
  none: { ...FLEET, cluster: "a100-node.yaml", rate: "0.1", tpot: "1ms" },
};

let at;
const plans = {};

before(async () => {
  at = await started();
  await uploaded(at.base, ["models/qwen3-30b-a3b.json", "models/llama-2-70b.json", "clusters/pod.yaml", "clusters/pod-1024.yaml", "clusters/a100-node.yaml"]);
  for (const [name, request] of Object.entries(REQUESTS)) plans[name] = await planned(at.base, request);
});
after(() => at?.end());

const answer_of = async (name) => (await asked(at.base, `/v1/plans/${plans[name].id}/answer`)).value;
const cells = (page, title) => page.$$eval(`section[aria-label='${title}'] tbody tr`, (all) => all.map((row) => [...row.children].map((cell) => cell.textContent)));

test("fleets are planned, or there is none", () => {
  assert.deepEqual(Object.fromEntries(Object.entries(plans).map(([name, own]) => [name, own.state])), { fleet: "done", whole: "done", wide: "done", most: "done", many: "done", none: "infeasible" });
});

for (const [theme, width] of [["light", 1280], ["dark", 1920], ["light", 420], ["dark", 420]]) {
  test(`every page of a fleet, ${theme}, ${width} wide`, async () => {
    const walked = { fleet: ["overview?tables=replicas,worker-memory,latencies,front", "overview?latencies=tpot_s", "timeline", "timeline?tables=timeline&t0=0&t1=3000000000", "memory", "search", "why"], whole: ["overview", "timeline"], wide: ["overview", "overview?idle=shown", "timeline"], most: ["overview", "memory"], many: ["overview", "timeline"], none: ["why"] };
    const pages = Object.entries(walked).flatMap(([name, views]) => views.map((view) => [`${name}-${view.replaceAll(/\W/g, "-")}`, `#/plans/${plans[name].id}/${view}`]));
    pages.push(["compare", `#/compare?a=${plans.fleet.id}&b=${plans.whole.id}`], ["compare-others", `#/compare?a=${plans.fleet.id}&b=${plans.wide.id}`], ["new", "#/new?task=infer"], ["new-step", "#/new?task=infer&phase=decode&algorithm=expert-placement"]);
    for (const [name, hash] of pages) {
      const { page, wrong, context } = await page_of(at.chrome, at.base, { theme, width, refusals: name === "compare-others" });
      await open(page, at.base, hash);
      await check_numbers(page, at.base);
      assert.deepEqual(await serious(page), [], name);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name} is wider than its window`);
      const text = await page.textContent("main");
      assert.doesNotMatch(text, /undefined|NaN|\bnull\b|\[object /, name);
      await screenshot(page, `fleet-${name}-${theme}-${width}`);
      assert.deepEqual(wrong, [], name);
      await context.close();
    }
  });
}

test("Infer asks for a fleet, or for a step by its question", async () => {
  const { page, wrong, context } = await page_of(at.chrome, at.base);
  const labels = () => page.$$eval(".request .field > label", (all) => all.map((own) => own.textContent));
  await open(page, at.base, "#/new?task=infer");
  for (const name of ["Request rate", "Input tokens", "Output tokens", "TTFT at most", "TPOT at most", "Percentile", "Mode", "For (launcher)", "Objective", "Devices", "KV cache type"]) assert.ok((await labels()).includes(name), name);
  for (const name of ["Phase", "Batch", "Cached tokens", "Algorithm"]) assert.ok(!(await labels()).includes(name), name);
  await page.click("summary:has-text('Workers')");
  const choices = (name) => page.$$eval(`label:has-text('${name}') + select option`, (all) => all.map((own) => own.value));
  assert.deepEqual(await choices("Mode"), ["", "auto", "aggregated", "disaggregated"]);
  assert.deepEqual(await choices("For (launcher)"), ["", "vllm", "sglang", "trtllm"]);
  assert.deepEqual(await choices("Objective"), ["", "throughput", "fewest-devices", "lowest-price"]);
  await page.fill("label:has-text('Request rate') + input", "5");
  await page.click("[aria-label=Question] button:has-text('Pipeline')");
  await page.waitForTimeout(200);
  assert.ok(page.url().includes("phase=decode") && !page.url().includes("rate="), page.url());
  assert.ok((await labels()).includes("Cached tokens") && !(await labels()).includes("Request rate"));
  await page.click("[aria-label=Question] button:has-text('Expert placement')");
  await page.waitForTimeout(200);
  assert.ok(page.url().includes("algorithm=expert-placement"), page.url());
  await page.click("[aria-label=Question] button:has-text('Fleet')");
  await page.waitForTimeout(200);
  assert.ok(!/phase|algorithm/.test(page.url()), page.url());
  assert.deepEqual(wrong, []);
  await context.close();
});

test("a fleet is planned from the form and taken as files of each engine", async () => {
  const { page, wrong, context } = await page_of(at.chrome, at.base);
  await open(page, at.base, "#/new?task=infer");
  await page.selectOption("select >> nth=0", "example:qwen3-30b-a3b.json");
  assert.equal(await page.getAttribute("[aria-label=Task] button:has-text('Infer')", "aria-pressed"), "true");
  assert.ok(!page.url().includes("global_batch"), page.url());
  for (const [name, text] of [["Request rate", "60"], ["Input tokens", "4000"], ["Output tokens", "1000"], ["TTFT at most", "1s"], ["TPOT at most", "20ms"]]) await page.fill(`label:has-text('${name}') + input`, text);
  await page.click("button[type=submit]:has-text('Plan')");
  await page.waitForSelector(".figures dt:has-text('TPOT')", { timeout: 120_000 });
  await settle(page);
  const { n_devices, workers } = (await answer_of("fleet")).plan.fleet;
  assert.equal(await page.textContent(".figures div:has(dt:has-text('Devices')) .num"), `${n_devices} `);
  assert.equal((await cells(page, "Workers")).length, workers.length);
  await page.click("details.programs summary");
  assert.deepEqual((await page.$$eval("button.pick b", (all) => all.map((own) => own.textContent.replace(/^. /, "")))).toSorted(), ["dynamo", "llm-d", "sglang", "trtllm", "vllm"]);
  for (const [name, file, words] of [["vllm", "vllm.sh", "vllm-router"], ["dynamo", "dynamo.yaml", "DynamoGraphDeployment"], ["llm-d", "llm-d.yaml", "llm-d-modelservice"]]) {
    await page.click(`button.pick:has-text('${name}')`);
    await page.waitForSelector(`button:has-text('Download ${file}')`);
    await settle(page);
    const [taken] = await Promise.all([page.waitForEvent("download"), page.click(`button:has-text('Download ${file}')`)]);
    assert.ok(readFileSync(await taken.path(), "utf8").includes(words), name);
  }
  assert.deepEqual(wrong, []);
  await context.close();
});

test("each device of the cluster is drawn with its worker, or as idle", async () => {
  const { page, wrong, context } = await page_of(at.chrome, at.base, { width: 1920 });
  for (const name of ["fleet", "wide"]) {
    await open(page, at.base, `#/plans/${plans[name].id}/overview?idle=shown`);
    await page.waitForSelector(".hosts rect title", { state: "attached" });
    const { value: told } = await asked(at.base, `/v1/plans/${plans[name].id}/explain`);
    const drawn = (await page.$$eval(".hosts rect.fill title", (all) => all.map((own) => own.textContent))).map((text) => { const [, of, devices] = /^(.*?): (.*)$/.exec(text); return [of, devices.split(", ")]; });
    assert.deepEqual(drawn.flatMap(([, devices]) => devices).toSorted(), told.hosts.flatMap((host) => host.devices).toSorted());
    const placed = new Map(drawn.flatMap(([of, devices]) => devices.map((device) => [device, of])));
    const seen = {};
    for (const worker of (await answer_of(name)).plan.fleet.workers) {
      const type = `${worker.role}-${seen[worker.role] ?? 0}`;
      seen[worker.role] = (seen[worker.role] ?? 0) + 1;
      worker.replicas.forEach((devices, replica) => { for (const device of devices) { assert.equal(placed.get(device), `${type}, replica ${replica}`); placed.delete(device); } });
    }
    assert.ok([...placed.values()].every((of) => of === "idle"));
  }
  // Many idle hosts are told of, and drawn when asked for.
  await open(page, at.base, `#/plans/${plans.wide.id}`);
  await page.click("button:has-text('Draw them')");
  assert.equal(await page.$$eval(".hosts text.host", (all) => all.length), 128);
  assert.deepEqual(wrong, []);
  await context.close();
});

test("reasons add up to all shapes, terms to the memory of a device", async () => {
  const { page, wrong, context } = await page_of(at.chrome, at.base);
  for (const name of ["fleet", "whole", "wide", "most"]) {
    const answer = await answer_of(name);
    await open(page, at.base, `#/plans/${plans[name].id}/why`);
    const shapes = (await cells(page, "Worker shapes")).map(([, n]) => Number(n.replaceAll(",", "")));
    assert.equal(shapes.reduce((a, b) => a + b, 0), answer.n_enumerated, name);
    for (const { memory } of answer.plan.fleet.workers) {
      const { capacity, ...terms } = memory;
      // Terms are whole bytes.
      assert.ok(Math.abs(capacity - Object.values(terms).reduce((a, b) => a + b, 0)) < Object.keys(terms).length, JSON.stringify(memory));
    }
    assert.deepEqual((await cells(page, "Other fleets")).slice(1).map(([of]) => of), answer.alternatives.map((own) => own.name));
  }
  assert.deepEqual(wrong, []);
  await context.close();
});

test("the front and the latencies are those of the answer", async () => {
  const { page, wrong, context } = await page_of(at.chrome, at.base);
  for (const name of ["fleet", "most"]) {
    const { front, worker_latencies } = await answer_of(name);
    await open(page, at.base, `#/plans/${plans[name].id}/overview?tables=front,latencies`);
    assert.ok(front.length > 1, name);
    assert.equal((await page.$$("section[aria-label='Pareto front'] circle.dot")).length, front.length, name);
    assert.deepEqual((await cells(page, "Pareto front")).map(([of]) => of), front.map((own) => own.name));
    const known = worker_latencies.flatMap((own) => ["ttft_s", "tpot_s", "latency_s"].filter((latency) => own[latency] !== null));
    assert.equal((await cells(page, "Latency distribution")).length, known.length);
    await page.click("section[aria-label='Latency distribution'] button:has-text('Request latency')");
    assert.equal((await page.$$("section[aria-label='Latency distribution'] svg[role=img] > path")).length, worker_latencies.length);
  }
  assert.deepEqual(wrong, []);
  await context.close();
});

test("iterations of a worker of each type are a timeline", async () => {
  const { page, wrong, context } = await page_of(at.chrome, at.base);
  await open(page, at.base, `#/plans/${plans.fleet.id}/timeline`);
  const { lanes } = (await asked(at.base, `/v1/plans/${plans.fleet.id}/timeline`)).value;
  assert.deepEqual(lanes.map((own) => own.lane), ["prefill-0", "decode-0"]);
  assert.match(await page.textContent("ul.legend"), /Prefill iteration.*Decode iteration/);
  await page.click("canvas", { position: { x: 400, y: 40 } });
  await settle(page);
  assert.match(await page.textContent("section[aria-label='Selected slice']"), /prompt tokens|decoding|no request/);
  assert.equal(await page.$("section[aria-label='Selected slice'] a"), null);
  assert.deepEqual(wrong, []);
  await context.close();
});

test("a fleet is saved as a page, and its plan file opens as one", async () => {
  const there = folder();
  const { page, wrong, context } = await page_of(at.chrome, at.base);
  await open(page, at.base, `#/plans/${plans.fleet.id}`);
  const [saved] = await Promise.all([page.waitForEvent("download"), page.click("button:has-text('Save as a page')")]);
  await saved.saveAs(join(there, "fleet.html"));
  await open(page, at.base, "#/plans");
  const plan = JSON.stringify((await answer_of("fleet")).plan);
  await page.setInputFiles("input[aria-label='Open a plan file']", { name: "own.json", mimeType: "application/json", buffer: Buffer.from(plan.replace('"n_devices":', '"n_devices": ')) });
  await page.waitForSelector("text=verified on its model", { timeout: 60_000 });
  await settle(page);
  await check_numbers(page, at.base);
  assert.ok(await page.isVisible("section[aria-label='Latency distribution']"));
  assert.doesNotMatch(await page.textContent("main"), /undefined|NaN|\bnull\b|Not proved/);
  await screenshot(page, "fleet-opened");
  await page.click("nav.side a:has-text('Timeline')");
  await settle(page);
  await check_numbers(page, at.base);
  assert.deepEqual(wrong, []);
  await context.close();
  for (const theme of ["light", "dark"]) {
    const { page: alone, context: own } = await page_of(at.chrome, "file://", { theme });
    for (const view of ["overview", "timeline", "memory"]) {
      await alone.goto(`file://${join(there, "fleet.html")}#/plans/plan/${view}`);
      await alone.waitForSelector("section");
      await settle(alone);
      if (view === "overview") assert.ok(await alone.isVisible("section[aria-label='Pareto front']"));
      assert.deepEqual(await serious(alone), [], view);
      assert.equal(await alone.$(".callout.bad"), null, view);
      await screenshot(alone, `fleet-saved-${view}-${theme}`);
    }
    await own.close();
  }
  clear(there);
});

test("views that mean nothing for a fleet are not offered", async () => {
  const { page, context } = await page_of(at.chrome, at.base);
  const offered = async () => page.$$eval("nav.side a[href^='#/plans/']", (all) => all.map((own) => own.textContent));
  await open(page, at.base, `#/plans/${plans.fleet.id}`);
  assert.deepEqual(await offered(), ["Overview", "Timeline", "Memory", "Search", "Why"]);
  await open(page, at.base, `#/plans/${plans.none.id}`);
  assert.deepEqual(await offered(), ["Search", "Why"]);
  await context.close();
});

test("a promise that no worker keeps is eased with a press", async () => {
  const { page, wrong, context } = await page_of(at.chrome, at.base);
  await open(page, at.base, `#/plans/${plans.none.id}/why`);
  await page.click("button:has-text('tpot =')");
  await page.waitForSelector(".figures dt:has-text('TPOT')", { timeout: 120_000 });
  assert.deepEqual(wrong, []);
  await context.close();
});

test("two fleets stand beside each other with their difference", async () => {
  const { page, wrong, context } = await page_of(at.chrome, at.base);
  await open(page, at.base, `#/compare?a=${plans.fleet.id}&b=${plans.whole.id}`);
  const [a, b] = [(await answer_of("fleet")).plan.fleet, (await answer_of("whole")).plan.fleet];
  const rows = Object.fromEntries((await cells(page, "Figures")).map(([name, ...others]) => [name, others]));
  assert.deepEqual(rows.Devices.map((text) => Number(text.replace("−", "-"))), [a.n_devices, b.n_devices, b.n_devices - a.n_devices]);
  const changed = (await cells(page, "Changed decisions")).map(([name]) => name);
  assert.ok(["prefill-0", "Mode", "Engine", "Percentile"].every((name) => changed.includes(name)), changed.join());
  assert.deepEqual(wrong, []);
  await context.close();
});
