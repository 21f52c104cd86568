// What is done to a page while it is measured, and what is counted meanwhile.

import { page_of } from "./service.mjs";

/** A page that notes, from its first line on, tasks of its main thread above 50 ms and when its picture is first drawn. */
export async function watched(chrome, base, options) {
  const own = await page_of(chrome, base, options);
  await own.page.addInitScript(() => {
    window.long = [];
    new PerformanceObserver((list) => { for (const one of list.getEntries()) window.long.push(one.duration); }).observe({ type: "longtask", buffered: true });
    const look = () => { if (document.querySelector("main canvas[data-drawn]") === null) requestAnimationFrame(look); else window.first_picture = performance.now(); };
    requestAnimationFrame(look);
  });
  const counts = { requests: 0, cancelled: 0, bytes: 0 };
  // A browser asks for the icon of a page whenever its address changes.
  own.page.on("request", (one) => { if (one.resourceType() !== "other") counts.requests += 1; });
  own.page.on("requestfailed", () => { counts.cancelled += 1; });
  own.page.on("requestfinished", async (one) => { counts.bytes += (await one.sizes().catch(() => ({ responseBodySize: 0 }))).responseBodySize; });
  const thread = await own.context.newCDPSession(own.page);
  await thread.send("Performance.enable", { timeDomain: "threadTicks" });
  /** Milliseconds that the main thread has worked, whatever else the machine does. */
  const worked = async () => (await thread.send("Performance.getMetrics")).metrics.find((one) => one.name === "TaskDuration").value * 1e3;
  const heap = async () => {
    const { usedSize, embedderHeapUsedSize, backingStorageSize } = await thread.send("Runtime.getHeapUsage");
    return usedSize + embedderHeapUsedSize + backingStorageSize;
  };
  /** What was counted while something was done. */
  const while_ = async (act) => {
    const [before, work] = [{ ...counts }, await worked()];
    const value = await act();
    const spent = await worked() - work;
    await own.page.waitForTimeout(300);
    return { value, worked: spent, requests: counts.requests - before.requests, cancelled: counts.cancelled - before.cancelled, bytes: counts.bytes - before.bytes };
  };
  return { ...own, counts, worked, heap, while_ };
}

/** The longest task since the page was opened, in milliseconds; 0 below 50. */
export const longest = (page) => page.evaluate(() => Math.max(0, ...window.long));

/** First paint and first picture, in milliseconds. */
export const paints = (page) => page.evaluate(() => [performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? NaN, window.first_picture ?? NaN]);

/** Milliseconds between frames while something happens before each, and how often the picture was drawn. */
export const frames = (page, act, n) => page.evaluate(async ([act, n]) => {
  const element = document.querySelector("main canvas");
  const box = element.getBoundingClientRect();
  const at = { clientX: box.left + box.width * 0.6, clientY: box.top + Math.min(box.height, innerHeight - box.top) * 0.4, bubbles: true, cancelable: true, pointerId: 1, button: 0 };
  const frame = () => new Promise(requestAnimationFrame);
  const drawn = () => Number(element.dataset.drawn);
  // There is no pointer that could be captured.
  element.setPointerCapture = () => undefined;
  const taken = [];
  if (act === "pan") element.dispatchEvent(new PointerEvent("pointerdown", { ...at, buttons: 1 }));
  await frame();
  const first = drawn();
  let before = await frame();
  for (let k = 0; k < n; k += 1) {
    if (act === "zoom") element.dispatchEvent(new WheelEvent("wheel", { ...at, deltaY: k < n / 2 ? -60 : 60 }));
    else element.dispatchEvent(new PointerEvent("pointermove", { ...at, buttons: 1, clientX: at.clientX - 160 + 150 * Math.cos(k / 12) }));
    const now = await frame();
    taken.push(now - before);
    before = now;
  }
  await frame();
  if (act === "pan") element.dispatchEvent(new PointerEvent("pointerup", at));
  delete element.setPointerCapture;
  return { taken, drawn: drawn() - first };
}, [act, n]);

/** Milliseconds from each of some acts to the frame that shows it; `act` and `is_shown` run in the page. */
export const shown = (page, inputs, act, is_shown) => page.evaluate(`(async (inputs, act, is_shown) => {
  const frame = () => new Promise((done) => { const { port1, port2 } = new MessageChannel(); port1.onmessage = done; requestAnimationFrame(() => port2.postMessage(0)); });
  const taken = [];
  for (const input of inputs) {
    await new Promise((done) => setTimeout(done, 150));
    const state = { drawn: document.querySelector("main canvas")?.dataset.drawn };
    const start = performance.now();
    act(input, state);
    do await frame(); while (!is_shown(input, state) && performance.now() - start < 20_000);
    taken.push(performance.now() - start);
  }
  return taken;
})(${JSON.stringify(inputs)}, ${act}, ${is_shown})`);

/** Milliseconds of each turn of the first slider of what-if, to another value each time, for a minute at most. */
export const turns = (page, n) => page.evaluate(async (n) => {
  const slider = document.querySelector(".knob input[type=range]");
  const area = document.querySelector(".what-if [aria-busy]");
  const is_busy = (own) => new Promise((done) => {
    const look = () => area.getAttribute("aria-busy") === String(own) && done();
    const watch = new MutationObserver(() => { if (area.getAttribute("aria-busy") === String(own)) { watch.disconnect(); done(); } });
    watch.observe(area, { attributes: true });
    look();
  });
  const taken = [], first = performance.now();
  for (let at = 0; at < n && performance.now() - first < 60_000; at += 1) {
    const start = performance.now();
    slider.valueAsNumber = 0.1 + 0.1 * (at % 20) + (at % 2);
    slider.dispatchEvent(new InputEvent("input", { bubbles: true }));
    await is_busy(true);
    await is_busy(false);
    taken.push(performance.now() - start);
  }
  return taken;
}, n);
