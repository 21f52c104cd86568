// Memory of a device over the step: stacked by kind, with the limit and the peak.

import { For, Show, createMemo, type JSX } from "solid-js";
import { axis, format, ticks } from "../format";
import type { Curve } from "../views-api";
import { width_of } from "./width";

const HEIGHT = 320;
const [LEFT, RIGHT, TOP, BOTTOM] = [64, 12, 16, 26];

/** What stays all step first, at the bottom. */
const ORDER = ["persistent", "parameter", "graph input", "temporary", "recomputed activations", "copy", "output", "activations"];

export function kinds_of(curve: Curve): string[] {
  const at = (kind: string) => (ORDER.includes(kind) ? ORDER.indexOf(kind) : ORDER.length);
  return Object.keys(curve.bytes).sort((a, b) => at(a) - at(b));
}

export const level_fill = (kind: string): string =>
  ({ persistent: "stays", parameter: "stays", "graph input": "interpolated-2", temporary: "recompute", "recomputed activations": "weight", copy: "transfer", output: "comes", activations: "comes" })[kind] ?? "optimizer";

/** A pass of the device: forward, backward, recompute, optimizer. */
export interface Pass { from: number; to: number; fill: string; title: string }
/** Height of their strip, with the gap above it. */
const STRIP = 18;

export function Levels(props: { of: Curve; passes?: Pass[] }): JSX.Element {
  let box!: HTMLDivElement;
  const width = width_of(() => box);
  const shape = createMemo(() => {
    const own = props.of;
    // A limit far above would press the levels flat: it is written instead.
    const is_far = (own.limit_bytes ?? 0) > 2.5 * own.peak_bytes;
    const most = Math.max(own.peak_bytes, is_far ? 0 : own.limit_bytes ?? 0, 1) * (is_far ? 1.15 : 1.05);
    const x = (ns: number) => LEFT + (ns / Math.max(1, own.step_time_ns)) * (width() - LEFT - RIGHT);
    const y = (bytes: number) => TOP + (1 - bytes / most) * (HEIGHT - TOP - BOTTOM);
    return { most, x, y, is_far };
  });
  const areas = createMemo(() => {
    const { x, y } = shape();
    const below = props.of.at_ns.map(() => 0);
    return kinds_of(props.of).map((kind) => {
      const values = props.of.bytes[kind]!;
      const floor = [...below];
      values.forEach((own, at) => { below[at]! += own; });
      return { kind, path: area(props.of, floor, below, x, y) };
    });
  });
  const marks = () => {
    const unit = [2 ** 40, 2 ** 30, 2 ** 20, 2 ** 10, 1].find((own) => shape().most / own >= 2)!;
    return ticks(shape().most / unit, 5).map((own) => own * unit);
  };
  const peak = () => ({ x: shape().x(props.of.peak_at_ns), y: shape().y(props.of.peak_bytes) });
  const told = () => `Memory of ${props.of.device} over the step: peak ${format("bytes", props.of.peak_bytes)} at ${format("time", props.of.peak_at_ns)}`;
  return (
    <div ref={box} class="picture">
      <svg width={width()} height={HEIGHT + ((props.passes ?? []).length > 0 ? STRIP : 0)} role="img" aria-label={told()}>
        <For each={marks()}>{(own) => (
          <g><line class="grid" x1={LEFT} x2={width() - RIGHT} y1={shape().y(own)} y2={shape().y(own)} />
            <text class="axis" x={LEFT - 8} y={shape().y(own) + 4} text-anchor="end">{axis("bytes", own)}</text></g>
        )}</For>
        <For each={ticks(props.of.step_time_ns, 6)}>{(own) => <text class="axis" x={shape().x(own)} y={HEIGHT - 6} text-anchor="middle">{axis("time", own)}</text>}</For>
        <For each={areas()}>{(own) => <path class={`fill ${level_fill(own.kind)}`} d={own.path} />}</For>
        <Show when={shape().is_far}><text class="end" x={width() - RIGHT} y="11" text-anchor="end">limit {format("bytes", props.of.limit_bytes!)}, above this picture</text></Show>
        <Show when={props.of.limit_bytes !== null && !shape().is_far}>
          <line class="limit" x1={LEFT} x2={width() - RIGHT} y1={shape().y(props.of.limit_bytes!)} y2={shape().y(props.of.limit_bytes!)} />
          <text class="end" x={width() - RIGHT} y={shape().y(props.of.limit_bytes!) - 4} text-anchor="end">limit</text>
        </Show>
        <For each={props.passes ?? []}>{(own) => (
          <rect class={`fill ${own.fill}`} x={shape().x(own.from)} y={HEIGHT + 4} width={Math.max(0.5, shape().x(own.to) - shape().x(own.from))} height={STRIP - 6}><title>{`${own.title}, ${format("time", own.to - own.from)}`}</title></rect>
        )}</For>
        <line class="peak-line" x1={peak().x} x2={peak().x} y1={peak().y} y2={HEIGHT - BOTTOM} />
        <circle class="peak" cx={peak().x} cy={peak().y} r="5" />
        <text class="end halo" x={peak().x + (peak().x > width() - 80 ? -10 : 10)} y={peak().y + 18} text-anchor={peak().x > width() - 80 ? "end" : "start"}>peak</text>
      </svg>
    </div>
  );
}

/** Steps from instant to instant, along the top and back along the bottom. */
function area(curve: Curve, floor: number[], top: number[], x: (ns: number) => number, y: (bytes: number) => number): string {
  const at = curve.at_ns;
  if (at.length === 0) return "";
  const end = x(curve.step_time_ns);
  let path = `M${x(at[0]!)} ${y(floor[0]!)}`;
  for (let i = 0; i < at.length; i++) path += `H${x(at[i]!)}V${y(top[i]!)}`;
  path += `H${end}`;
  for (let i = at.length - 1; i >= 0; i--) path += `V${y(floor[i]!)}H${x(at[i]!)}`;
  return `${path}Z`;
}
