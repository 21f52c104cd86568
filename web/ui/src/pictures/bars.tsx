// Bars: one that is cut into shares, and one per device against its limit.

import { For, Show, type JSX } from "solid-js";
import { axis, format, ticks } from "../format";
import { short } from "../names";
import { Name, Num } from "../parts";
import { number, type Ref } from "../pointer";
import { HATCHES } from "./hatches";
import { width_of } from "./width";

export interface Share { name: string; kind: string; value: Ref; share: Ref }

/** Parts of a whole; a hatched one is time or trust that is missing. */
export function ShareBar(props: { of: Share[]; label: string }): JSX.Element {
  let box!: HTMLDivElement;
  const width = width_of(() => box);
  const boxes = () => {
    let x = 0;
    return props.of.map((own) => {
      const own_width = Math.max(0, (number(own.share) ?? 0) * width());
      const made = { own, x, width: own_width };
      x += own_width;
      return made;
    });
  };
  const told = () => `${props.label}: ${props.of.map((own) => `${own.name} ${format("share", number(own.share) ?? 0)}`).join(", ")}`;
  return (
    <div ref={box} class="picture">
      <svg width={width()} height="28" role="img" aria-label={told()}>
        <For each={boxes()}>{({ own, x, width: own_width }) => (
          <rect class={`fill ${own.kind}`} x={x} y="0" width={Math.max(0, own_width - 1)} height="28"><title>{own.name}</title></rect>
        )}</For>
      </svg>
      <ul class="legend wide">
        <For each={props.of}>{(own) => (
          <li><Swatch kind={own.kind} /> {own.name}<br /><b><Num of={own.value} /></b> <Num of={own.share} /></li>
        )}</For>
      </ul>
    </div>
  );
}

export function Swatch(props: { kind: string }): JSX.Element {
  return <svg class="swatch" width="12" height="12" aria-hidden="true"><rect class={`fill ${props.kind}`} x="0.5" y="0.5" width="11" height="11" rx="2" /></svg>;
}

/** Patterns of all pictures: grey for what is missing, red for what is too much. */
export function Hatches(): JSX.Element {
  return (
    <svg class="hatches" width="0" height="0" aria-hidden="true"><defs>
      <For each={["missing", "excess"]}>{(name) => (
        <pattern id={`hatch-${name}`} width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
          <rect class={`hatch-bg ${name}`} width="6" height="6" /><line class={`hatch ${name}`} x1="1" x2="1" y1="0" y2="6" />
        </pattern>
      )}</For>
      <For each={Object.entries(HATCHES)}>{([cause, lines]) => (
        <pattern id={`hatch-${cause}`} width="8" height="8" patternUnits="userSpaceOnUse"><rect class="hatch-bg missing" width="8" height="8" /><path class="hatch missing" d={lines} /></pattern>
      )}</For>
    </defs></svg>
  );
}

export interface DeviceBar { name: string; parts: { kind: string; name: string; value: Ref }[]; peak: Ref; limit: Ref; free: Ref; href?: string }

const ROW = 24;
const RIGHT = 8;
/** Half the width of a mark's text. */
const HALF_MARK = 22;

/** Peak of each device, cut by what lies there, against the limit (dashed). */
export function DeviceBars(props: { of: DeviceBar[]; label: string }): JSX.Element {
  let box!: HTMLDivElement;
  const width = width_of(() => box);
  const highest = () => Math.max(1, ...props.of.map((own) => number(own.peak) ?? 0));
  const limits = () => props.of.flatMap((own) => number(own.limit) ?? []);
  // Limits far above would press the bars flat: they are told instead.
  const is_far = () => limits().length > 0 && Math.min(...limits()) > 2.5 * highest();
  const most = () => Math.max(highest(), ...(is_far() ? [] : limits())) * 1.02;
  const x = (bytes: number) => (bytes / most()) * (width() - RIGHT);
  const cut = (bar: DeviceBar) => {
    let from = 0;
    return bar.parts.map((part) => {
      const size = number(part.value) ?? 0;
      const made = { part, from, size };
      from += size;
      return made;
    });
  };
  const height = () => props.of.length * ROW + 22;
  const marks = () => { const [, unit] = format("bytes", most()).split(" "); const size = unit === "GiB" ? 2 ** 30 : unit === "MiB" ? 2 ** 20 : 1; return ticks(most() / size, 5).map((own) => own * size); };
  return (
    <div class="device-bars">
      <ul class="names" aria-hidden="true"><For each={props.of}>{(bar) => <li><Name text={bar.name} most={18} /></li>}</For></ul>
      <div ref={box} class="picture">
        <svg width={width()} height={height()} role="img" aria-label={props.label}>
            <For each={marks()}>{(own) => (
            <g><line class="grid" x1={x(own)} x2={x(own)} y1="0" y2={height() - 20} />
              <text class="axis" x={Math.min(x(own), width())} y={height() - 4} text-anchor={own === 0 ? "start" : x(own) + HALF_MARK > width() ? "end" : "middle"}>{axis("bytes", own)}</text></g>
          )}</For>
          <For each={props.of}>{(bar, at) => (
            <g transform={`translate(0 ${at() * ROW})`}>
              <For each={cut(bar)}>{({ part, from, size }) => (
                <rect class={`fill ${part.kind}`} x={x(from)} y="4" width={Math.max(0, x(size) - 1)} height={ROW - 8}><title>{`${short(bar.name)}: ${part.name} ${format("bytes", size)}`}</title></rect>
              )}</For>
              <Show when={(number(bar.free) ?? 0) < 0}>
                <rect class="fill excess" x={x(number(bar.limit)!)} y="4" width={x(-number(bar.free)!)} height={ROW - 8} />
              </Show>
              <Show when={number(bar.limit) !== undefined && !is_far()}>
                <line class="limit" x1={x(number(bar.limit)!)} x2={x(number(bar.limit)!)} y1="1" y2={ROW - 1} />
              </Show>
            </g>
          )}</For>
        </svg>
      </div>
      <ul class="values"><For each={props.of}>{(bar) => (
        <li><span class="narrow"><Name text={bar.name} most={18} /></span> <b><Num of={bar.peak} /></b> <span class="free"><Show when={number(bar.limit) !== undefined} fallback="no limit"><Num of={bar.free} /> free</Show></span></li>
      )}</For></ul>
      <Show when={is_far()}><p class="note">Limits are beyond the axis.</p></Show>
    </div>
  );
}
