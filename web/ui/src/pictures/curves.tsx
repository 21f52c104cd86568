// Lines over two axes, each with a dash of its own; the points of stepped ones are read one by one.

import { For, Show, createMemo, type JSX } from "solid-js";
import { axis, ticks } from "../format";
import { number, type Ref } from "../pointer";
import { shape_of } from "./scatter";
import { width_of } from "./width";

/** A point; `title` is said under the pointer. */
export interface At { x: Ref; y: number | Ref; title: string }

/** A line; a stepped one is level until its next point. */
export interface Line { name: string; points: At[] }

/** What an axis counts; `least` and `most` where they are fixed. */
export interface Axis { title: string; as: Ref["as"]; least?: number; most?: number }

const HEIGHT = 240;
const [LEFT, RIGHT, TOP, BOTTOM] = [64, 16, 26, 40];
const DASHES = ["", "6 3", "2 2", "8 3 2 3"];

const dash_of = (series: number): string => DASHES[series % DASHES.length]!;
const stroke_of = (series: number): string => (series === 0 ? "incumbent" : "curve");

export function Curves(props: { of: Line[]; x: Axis; y: Axis; label: string; is_stepped?: boolean; own?: At | undefined }): JSX.Element {
  let box!: HTMLDivElement;
  const width = width_of(() => box);
  const y_of = (at: At): number => (typeof at.y === "number" ? at.y : number(at.y) ?? 0);
  const shape = createMemo(() => {
    const all = [...props.of.flatMap((line) => line.points), ...(props.own === undefined ? [] : [props.own])];
    const span = (values: number[], own: Axis): [number, number] => {
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const free = Math.max(high - low, 0.1 * Math.abs(high), 1e-12) * 0.1;
      return [own.least ?? Math.max(0, low - free), own.most ?? high + free];
    };
    const [from, to] = span(all.map((at) => number(at.x)!), props.x);
    const [low, high] = span(all.map(y_of), props.y);
    const x = (own: number) => LEFT + ((own - from) / Math.max(1e-12, to - from)) * (width() - LEFT - RIGHT);
    const y = (own: number) => TOP + ((high - own) / Math.max(1e-12, high - low)) * (HEIGHT - TOP - BOTTOM);
    const path = (points: At[]) => points.map((at, n) => {
      const [right, up] = [x(number(at.x)!), y(y_of(at))];
      return n === 0 ? `M${right} ${up}` : props.is_stepped ? `H${right}V${up}` : `L${right} ${up}`;
    }).join("");
    return { from, to, low, high, x, y, path };
  });
  const told = () => `${props.label}: ${props.of.map((line) => `${line.name}: ${line.points.slice(0, 8).map((at) => at.title).join("; ")}`).join(". ")}`;
  return (
    <div ref={box} class="picture">
      <svg width={width()} height={HEIGHT} role="img" aria-label={told()}>
        <For each={ticks(shape().high, 4, shape().low)}>{(own) => (
          <g><line class="grid" x1={LEFT} x2={width() - RIGHT} y1={shape().y(own)} y2={shape().y(own)} />
            <text class="axis" x={LEFT - 8} y={shape().y(own) + 4} text-anchor="end">{axis(props.y.as, own)}</text></g>
        )}</For>
        <For each={ticks(shape().to, Math.max(2, Math.floor(width() / 120)), shape().from)}>{(own) => (
          <text class="axis" x={shape().x(own)} y={HEIGHT - BOTTOM + 15} text-anchor="middle">{axis(props.x.as, own)}</text>
        )}</For>
        <text class="axis" x={width() - RIGHT} y={HEIGHT - 6} text-anchor="end">{props.x.title}</text>
        <text class="axis" x="0" y="11">{props.y.title}</text>
        <For each={props.of}>{(line, series) => (
          <>
            <path class={stroke_of(series())} d={shape().path(line.points)} stroke-dasharray={dash_of(series())} />
            <Show when={props.is_stepped}><For each={line.points}>{(at) => (
              <circle class="dot" cx={shape().x(number(at.x)!)} cy={shape().y(y_of(at))} r="4"><title>{at.title}</title></circle>
            )}</For></Show>
          </>
        )}</For>
        <Show when={props.own}>{(at) => <path class="point fill measured" d={shape_of(2)} transform={`translate(${shape().x(number(at().x)!)} ${shape().y(y_of(at()))}) scale(1.4)`}><title>{at().title}</title></path>}</Show>
      </svg>
      <Show when={!props.is_stepped}>
        <ul class="legend"><For each={props.of}>{(line, series) => <li><svg class="swatch" width="20" height="12" aria-hidden="true"><path class={stroke_of(series())} d="M0 6H20" stroke-dasharray={dash_of(series())} /></svg> {line.name}</li>}</For></ul>
      </Show>
    </div>
  );
}
