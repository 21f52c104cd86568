// From one value to another by parts of their difference.

import { For, Show, createMemo, type JSX } from "solid-js";
import { axis, format, signed, ticks, type As } from "../format";
import { short } from "../names";
import { number, type Ref } from "../pointer";
import { width_of } from "./width";

export interface Step { name: string; by: Ref }

const HEIGHT = 240;
const [LEFT, TOP, BOTTOM] = [64, 20, 34];
/** Width of a column that its number takes; where there is less, bars are rows. */
const LEAST_COLUMN = 68;
/** Height of a row: a line of text above its bar. */
const ROW = 34;

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
  const is_narrow = () => column() < LEAST_COLUMN;
  const rows = () => [
    { name: "A", text: format(as(), shape().a), from: shape().base, to: shape().a, fill: "stays" },
    ...shape().bars.map((bar) => ({ name: bar.step.name, text: signed(bar.step.by.as, bar.by), from: bar.from, to: bar.to, fill: bar.by > 0 ? "excess" : "measured" })),
    { name: "B", text: format(as(), shape().b), from: shape().base, to: shape().b, fill: "stays" },
  ];
  const across = (own: number) => ((own - shape().base) / Math.max(1e-12, shape().top - shape().base)) * width();
  const told = () => `${props.label}: A ${format(as(), shape().a)}, ${shape().bars.map((bar) => `${bar.step.name} ${signed(bar.step.by.as, bar.by)}`).join(", ")}, B ${format(as(), shape().b)}`;
  return (
    <div ref={box} class="picture">
      <Show when={!is_narrow()} fallback={
        <svg width={width()} height={rows().length * ROW} role="img" aria-label={told()}>
          <For each={rows()}>{(row, at) => (
            <g transform={`translate(0 ${at() * ROW})`}>
              <text class="row-label" x="0" y="14">{short(row.name, Math.floor(width() / 12))}</text>
              <text class="bar-label end" x={width()} y="14">{row.text}</text>
              <rect class={`fill ${row.fill}`} x={across(Math.min(row.from, row.to))} y="18" width={Math.max(1, Math.abs(across(row.to) - across(row.from)))} height="12" />
            </g>
          )}</For>
        </svg>
      }>
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
      </Show>
      <p class="note">
        <Show when={shape().base > 0}>The axis begins at {format(as(), shape().base)}. </Show>Solid bars shorten the step, red hatched bars lengthen it.
      </p>
    </div>
  );
}
