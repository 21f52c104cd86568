// Incumbent and bound over the time of the search.

import { For, Show, createMemo, type JSX } from "solid-js";
import { now_ms } from "../api";
import { axis, format, ticks } from "../format";
import { pointer, ref, type Doc } from "../pointer";
import type { Table } from "../table";
import { is_live, type Status } from "../types";
import { width_of } from "./width";

export interface Said { at: number; event: string; elapsed_s: number; value_ns: number | null; bound_ns: number | null; algorithm: string }

/** What a stream of events says of values and bounds. */
export function said(doc: Doc): Said[] {
  const all = doc.value as Record<string, unknown>[];
  const figure = (value: unknown) => (typeof value === "number" ? value : null);
  const found = all.flatMap((own, at) => (own["event"] !== "incumbent" && own["event"] !== "bound" ? [] : [{
    at, event: own["event"], elapsed_s: figure(own["elapsed_s"]) ?? 0, value_ns: figure(own["value_ns"]),
    bound_ns: figure(own["bound_ns"]), algorithm: String(own["algorithm"] ?? own["method"] ?? ""),
  }]));
  // A search that a restart of the service cut off is accepted anew, and its clock begins anew.
  const begin = all.findLastIndex((own) => own["event"] === "accepted");
  return found.filter((own) => own.at >= begin);
}

/** Seconds that a search has taken so far, whatever it said last. */
export function until_s(plan: Status): number {
  const passed = is_live(plan.state) && plan.started_ms !== null ? (now_ms() - plan.started_ms) / 1e3 : 0;
  return Math.max(plan.elapsed_s ?? 0, passed);
}

/** The same as a table. */
export function said_table(doc: Doc): Table {
  const rows = said(doc).map((own) => [
    own.event, ref(doc, pointer(own.at, "elapsed_s"), "seconds"), own.algorithm,
    own.value_ns === null ? null : ref(doc, pointer(own.at, "value_ns"), "time"),
    own.bound_ns === null ? null : ref(doc, pointer(own.at, "bound_ns"), "time"),
  ]);
  return { name: "gap-curve", columns: ["Event", "After", "By", "Incumbent", "Bound"], rows };
}

const HEIGHT = 200;
const [LEFT, RIGHT, TOP, BOTTOM] = [64, 92, 10, 26];

export function GapCurve(props: { doc: Doc; until_s: number; bound_ns?: number | null }): JSX.Element {
  let box!: HTMLDivElement;
  const width = width_of(() => box);
  const all = createMemo(() => said(props.doc));
  const steps = (name: "value_ns" | "bound_ns") => all().flatMap((own) => (own[name] === null ? [] : [[own.elapsed_s, own[name]] as const]));
  const shape = createMemo(() => {
    const values = steps("value_ns"), bounds = steps("bound_ns").filter(([, bound]) => bound > 0);
    // The last bound may be proved after the last event.
    if (props.bound_ns != null) bounds.push([Math.max(props.until_s, ...all().map((own) => own.elapsed_s)), props.bound_ns]);
    const levels = [...values, ...bounds].map(([, level]) => level);
    const until = Math.max(props.until_s, 1e-3, ...all().map((own) => own.elapsed_s));
    const high = Math.max(1, ...levels) * 1.05;
    const low = Math.min(...levels, high) * 0.9;
    const x = (s: number) => LEFT + (s / until) * (width() - LEFT - RIGHT);
    const y = (ns: number) => TOP + (1 - (ns - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
    const path = (list: (readonly [number, number])[]) => list.length === 0 ? ""
      : `M${x(list[0]![0])} ${y(list[0]![1])}${list.slice(1).map(([s, ns]) => `H${x(s)}V${y(ns)}`).join("")}H${x(until)}`;
    return { values, bounds, until, high, low, x, y, path };
  });
  const marks = () => ticks(shape().high, 4, shape().low);
  const ends = () => {
    const value = shape().values.at(-1)?.[1], bound = shape().bounds.at(-1)?.[1];
    const at = value === undefined ? 0 : shape().y(value);
    const own = bound === undefined ? 0 : shape().y(bound);
    return { value, bound, at, own: value !== undefined && Math.abs(own - at) < 28 ? at + 28 : own };
  };
  const told = () => {
    const { value, bound } = ends();
    return `Incumbent ${value === undefined ? "none yet" : format("time", value)}, bound ${bound === undefined ? "none yet" : format("time", bound)}, over ${format("seconds", shape().until)} of search`;
  };
  return (
    <div ref={box} class="picture">
      <svg width={width()} height={HEIGHT} role="img" aria-label={told()}>
        <For each={marks()}>{(own) => (
          <g><line class="grid" x1={LEFT} x2={width() - RIGHT} y1={shape().y(own)} y2={shape().y(own)} />
            <text class="axis" x={LEFT - 8} y={shape().y(own) + 4} text-anchor="end">{axis("time", own)}</text></g>
        )}</For>
        <For each={ticks(shape().until, 5)}>{(own) => (
          <text class="axis" x={shape().x(own)} y={HEIGHT - 6} text-anchor="middle">{axis("seconds", own)}</text>
        )}</For>
        <path class="bound" d={shape().path(shape().bounds)} />
        <path class="incumbent" d={shape().path(shape().values)} />
        <For each={shape().values}>{([s, ns]) => <circle class="dot" cx={shape().x(s)} cy={shape().y(ns)} r="3" />}</For>
        <Show when={ends().value !== undefined}>
          <text class="end accent" x={width() - RIGHT + 6} y={ends().at + 4}>incumbent</text>
        </Show>
        <Show when={ends().bound !== undefined}>
          <text class="end" x={width() - RIGHT + 6} y={Math.min(ends().own + 4, HEIGHT - BOTTOM)}>bound (dashed)</text>
        </Show>
      </svg>
    </div>
  );
}
