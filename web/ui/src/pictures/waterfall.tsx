// From one value to another by what adds to it and what takes from it.

import { For, Show, createMemo, type JSX } from "solid-js";
import { axis, format, signed, ticks, type As } from "../format";
import { short } from "../names";
import { number, type Ref } from "../pointer";
import { width_of } from "./width";

export interface Step { name: string; by: Ref }

const HEIGHT = 240;
const [LEFT, TOP, BOTTOM] = [64, 20, 34];

export function Waterfall(props: { a: Ref; b: Ref; steps: Step[]; label: string }): JSX.Element {
  let box!: HTMLDivElement;
  const width = width_of(() => box);
  const as = (): As => props.a.as;
  const shape = createMemo(() => {
    const [a, b] = [number(props.a) ?? 0, number(props.b) ?? 0];
    let level = a;
    const bars = props.steps.map((step) => {
      const by = number(step.by) ?? 0;
      const bar = { step, from: level, to: level + by, by };
      level += by;
      return bar;
    });
    const levels = [a, b, ...bars.map((bar) => bar.to)];
    const high = Math.max(...levels), least = Math.min(...levels);
    // Where little changes, the axis begins above zero, and says so.
    const low = Math.max(0, least - Math.max(high - least, high * 0.02) * 0.8);
    const base = low < high * 0.25 ? 0 : low;
    const top = high + (high - base) * 0.08;
    const y = (own: number) => TOP + (1 - (own - base) / Math.max(1e-12, top - base)) * (HEIGHT - TOP - BOTTOM);
    return { a, b, bars, base, top, y };
  });
  const column = () => (width() - LEFT) / (props.steps.length + 2);
  const x = (at: number) => LEFT + at * column() + 6;
  const marks = () => ticks(shape().top, 4 * Math.max(1, Math.round(shape().top / Math.max(1e-12, shape().top - shape().base)))).filter((own) => own >= shape().base);
  const whole = () => [{ at: 0, name: "A", value: shape().a }, { at: props.steps.length + 1, name: "B", value: shape().b }];
  const told = () => `${props.label}: A ${format(as(), shape().a)}, ${shape().bars.map((bar) => `${bar.step.name} ${signed(bar.step.by.as, bar.by)}`).join(", ")}, B ${format(as(), shape().b)}`;
  return (
    <div ref={box} class="picture">
      <svg width={width()} height={HEIGHT} role="img" aria-label={told()}>
        <For each={marks()}>{(own) => (
          <g><line class="grid" x1={LEFT} x2={width()} y1={shape().y(own)} y2={shape().y(own)} />
            <text class="axis" x={LEFT - 8} y={shape().y(own) + 4} text-anchor="end">{axis(as(), own)}</text></g>
        )}</For>
        <For each={whole()}>{(own) => (
          <g><rect class="fill stays" x={x(own.at)} y={shape().y(own.value)} width={Math.max(4, column() - 12)} height={HEIGHT - BOTTOM - shape().y(own.value)} />
            <text class="bar-label" x={x(own.at) + column() / 2 - 6} y={shape().y(own.value) - 5}>{format(as(), own.value)}</text>
            <text class="axis" x={x(own.at) + column() / 2 - 6} y={HEIGHT - 16} text-anchor="middle">{own.name}</text></g>
        )}</For>
        <For each={shape().bars}>{(bar, at) => (
          <g>
            <line class="join" x1={x(at()) + column() - 12} x2={x(at() + 1)} y1={shape().y(bar.from)} y2={shape().y(bar.from)} />
            <rect class={`fill ${bar.by > 0 ? "excess" : "measured"}`} x={x(at() + 1)} y={shape().y(Math.max(bar.from, bar.to))} width={Math.max(4, column() - 12)} height={Math.max(1, Math.abs(shape().y(bar.from) - shape().y(bar.to)))} />
            <text class="bar-label" x={x(at() + 1) + column() / 2 - 6} y={shape().y(Math.max(bar.from, bar.to)) - 5}>{signed(bar.step.by.as, bar.by)}</text>
            <text class="axis" x={x(at() + 1) + column() / 2 - 6} y={HEIGHT - 16} text-anchor="middle"><title>{bar.step.name}</title>{short(bar.step.name, Math.max(4, Math.floor(column() / 6.5)))}</text>
          </g>
        )}</For>
      </svg>
      <p class="note">
        <Show when={shape().base > 0}>The axis begins at {format(as(), shape().base)}. </Show>Solid takes time from the step, red hatching adds to it.
      </p>
    </div>
  );
}
