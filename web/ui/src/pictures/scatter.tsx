// Ratios of predicted to measured times over the measured one; a series is a shape and a colour.

import { For, createMemo, type JSX } from "solid-js";
import { axis, format, ticks } from "../format";
import { number, type Ref } from "../pointer";
import { width_of } from "./width";

export interface Point { series: number; name: string; title: string; x: Ref; y: Ref }

const [LEFT, TOP, RIGHT, BOTTOM] = [72, 12, 16, 40];
const HEIGHT = 320;
/** What the band leaves to either side of equal. */
const BAND = 0.1;
const FILLS = ["compute", "backward", "weight", "collective", "transfer", "stays", "optimizer", "measured"];

/** Outlines about the origin: after as many series, shapes go on with another colour. */
const SHAPES = ["M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z", "M-4.500-4.500h9v9h-9z", "M0-6 6 0 0 6-6 0z", "M0-5.500 5.500 4.500h-11z", "M0 5.500 5.500-4.500h-11z"];

export const shape_of = (series: number): string => SHAPES[series % SHAPES.length]!;
export const fill_of = (series: number): string => FILLS[series % FILLS.length]!;

export function Scatter(props: { of: Point[] }): JSX.Element {
  let box!: HTMLDivElement;
  const width = width_of(() => box);
  const shape = createMemo(() => {
    const times = props.of.map((own) => number(own.x)!);
    const ratios = props.of.map((own) => number(own.y)!);
    const [low, high] = [Math.min(...times) / 1.4, Math.max(...times) * 1.4];
    // Around 1, and as far as the furthest run.
    const off = Math.max(0.2, ...ratios.map((own) => Math.abs(own - 1))) * 1.1;
    const [least, most] = [Math.max(0, 1 - off), 1 + off];
    const x = (own: number) => LEFT + (Math.log(own / low) / Math.log(high / low)) * (width() - LEFT - RIGHT);
    const y = (own: number) => TOP + ((most - own) / (most - least)) * (HEIGHT - TOP - BOTTOM);
    const decades = [-9, -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5];
    const marks = decades.flatMap((power) => [1, 2, 5].map((own) => Number(`${own}e${power}`))).filter((own) => own >= low && own <= high);
    const whole = decades.map((power) => Number(`1e${power}`));
    return { low, high, x, y, marks: marks.length > 9 ? marks.filter((own) => whole.includes(own)) : marks, levels: ticks(most, Math.round((4 * most) / (most - least))).filter((own) => own >= least) };
  });
  const series = () => [...new Map(props.of.map((own) => [own.series, own.name])).entries()];
  const told = () => `Predicted over measured, of ${props.of.length} runs: ${props.of.slice(0, 20).map((own) => `${own.name} ${format("factor", number(own.y)!)} at ${format("seconds", number(own.x)!)}`).join(", ")}`;
  return (
    <div ref={box} class="picture">
      <svg width={width()} height={HEIGHT} role="img" aria-label={told()}>
        <rect class="band" x={LEFT} y={shape().y(1 + BAND)} width={width() - LEFT - RIGHT} height={shape().y(1 - BAND) - shape().y(1 + BAND)} />
        <For each={shape().marks}>{(own) => (
          <g><line class="grid" x1={shape().x(own)} x2={shape().x(own)} y1={TOP} y2={HEIGHT - BOTTOM} />
            <text class="axis" x={shape().x(own)} y={HEIGHT - BOTTOM + 15} text-anchor="middle">{axis("seconds", own)}</text></g>
        )}</For>
        <For each={shape().levels}>{(own) => (
          <g><line class="grid" x1={LEFT} x2={width() - RIGHT} y1={shape().y(own)} y2={shape().y(own)} />
            <text class="axis" x={LEFT - 8} y={shape().y(own) + 4} text-anchor="end">{axis("factor", own)}</text></g>
        )}</For>
        <line class="bound" x1={LEFT} x2={width() - RIGHT} y1={shape().y(1)} y2={shape().y(1)} />
        <text class="axis" x={width() - RIGHT} y={HEIGHT - 6} text-anchor="end">measured</text>
        <For each={props.of}>{(own) => (
          <path class={`point fill ${fill_of(own.series)}`} d={shape_of(own.series)} transform={`translate(${shape().x(number(own.x)!)} ${shape().y(number(own.y)!)})`}>
            <title>{`${own.name} ${own.title}: ${format("factor", number(own.y)!)} of ${format("seconds", number(own.x)!)}`}</title>
          </path>
        )}</For>
      </svg>
      <ul class="legend"><For each={series()}>{([at, name]) => <li><svg class="swatch" width="14" height="14" aria-hidden="true"><path class={`point fill ${fill_of(at)}`} d={shape_of(at)} transform="translate(7 7)" /></svg> {name}</li>}</For></ul>
    </div>
  );
}
