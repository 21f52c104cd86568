// Workers on hosts: a row of devices for each host, those of a worker as one box.

import { For, Show, createMemo, type JSX } from "solid-js";
import type { Host, Type } from "../fleet";
import { plain, short } from "../names";
import { PATTERNS } from "./graph-style";
import { width_of } from "./width";

/** What is on a device: the number of the worker type, and the replica. */
export interface Place { type: number; replica: number }

/** Devices that follow one another and have the same worker; none where they are idle. */
interface Run { from: number; n: number; place: Place | undefined }

/** Pixels of a device by how many hosts there are at most. */
const SIZES: [number, number][] = [[24, 30], [64, 25], [Infinity, 14]];
/** Devices are at most so many times as wide. */
const GROWTH = 1.4;
const [GAP, NAME, BELOW] = [16, 16, 10];
/** Widths of characters: of a host's name, and of a worker's. */
const [CHARACTER, BOLD] = [6.7, 7];
/** Hosts that are drawn; the table has all. */
export const DRAWN = 256;

function runs(host: Host, places: Map<string, Place>): Run[] {
  const found: Run[] = [];
  host.devices.forEach((device, at) => {
    const place = places.get(device);
    const last = found.at(-1);
    if (last !== undefined && last.place?.type === place?.type && last.place?.replica === place?.replica) last.n += 1;
    else found.push({ from: at, n: 1, place });
  });
  return found;
}

export function HostsPicture(props: { hosts: Host[]; types: Type[]; places: Map<string, Place>; label: string }): JSX.Element {
  let box!: HTMLDivElement;
  const width = width_of(() => box);
  const drawn = () => props.hosts.slice(0, DRAWN);
  const most = createMemo(() => Math.max(1, ...drawn().map((host) => host.devices.length)));
  const has_kinds = createMemo(() => new Set(props.hosts.map((host) => host.kind)).size > 1);
  const shape = createMemo(() => {
    const wanted = SIZES.find(([n]) => drawn().length <= n)![1];
    const columns = Math.max(1, Math.min(drawn().length, Math.floor((width() + GAP - 1) / (most() * wanted + GAP))));
    // What is left of the width goes to the devices.
    const size = Math.max(4, Math.min(Math.floor(wanted * GROWTH), Math.floor(((width() + GAP - 1) / columns - GAP) / most())));
    return { size, cell: most() * size + GAP, columns, row: NAME + Math.max(14, wanted * 0.8) + BELOW };
  });
  const height = () => Math.ceil(drawn().length / shape().columns) * shape().row;
  const idle = (host: Host) => host.devices.filter((device) => !props.places.has(device)).length;
  const name = (host: Host) => {
    const n = idle(host);
    const right = n === 0 ? "" : n === host.devices.length ? "idle" : `${n} idle`;
    const room = (shape().cell - GAP) / CHARACTER - right.length - 1;
    return { left: short(`${host.name}${has_kinds() ? `, ${host.kind}` : ""}`, Math.max(3, Math.floor(room))), right };
  };
  /** What fits into a box of so many devices for all replicas of a worker type. */
  const form = (type: Type, n: number) => {
    const last = Math.max(0, type.worker.replicas.length - 1);
    const forms = [(replica: number) => `${type.name} · ${replica}`, (replica: number) => `${type.short} · ${replica}`, (replica: number) => `${type.short}·${replica}`, String];
    return forms.find((own) => own(last).length * BOLD + 2 <= n * shape().size - 2);
  };
  const label = (run: Run) => (run.place === undefined ? "" : form(props.types[run.place.type]!, run.n)?.(run.place.replica) ?? "");
  const told = (host: Host, run: Run) => {
    const devices = host.devices.slice(run.from, run.from + run.n).map((device) => short(device, 32)).join(", ");
    return run.place === undefined ? `idle: ${devices}` : `${props.types[run.place.type]!.name}, replica ${run.place.replica}: ${devices}`;
  };
  return (
    <div ref={box} class="picture hosts">
      <svg width={width()} height={height()} role="img" aria-label={props.label}>
        <defs><For each={PATTERNS.slice(1)}>{(lines, at) => (
          <pattern id={`lines-${at() + 1}`} width="12" height="12" patternUnits="userSpaceOnUse"><path class="pattern" d={lines} /></pattern>
        )}</For></defs>
        <For each={drawn()}>{(host, at) => {
          const y = () => NAME, deep = () => shape().row - NAME - BELOW;
          return (
            <g transform={`translate(${(at() % shape().columns) * shape().cell + 0.5} ${Math.floor(at() / shape().columns) * shape().row + 0.5})`}>
              <text class="host" x="0" y={NAME - 4}>{name(host).left}<title>{short(plain(host.name), 200)}</title></text>
              <text class="axis" x={shape().cell - GAP - 2} y={NAME - 4} text-anchor="end">{name(host).right}</text>
              <For each={runs(host, props.places)}>{(run) => (
                <g>
                  <rect class={`fill ${run.place === undefined ? "missing" : props.types[run.place.type]!.fill}`} x={run.from * shape().size} y={y()} width={Math.max(2, run.n * shape().size - 2)} height={deep()} rx="2"><title>{told(host, run)}</title></rect>
                  <Show when={run.place !== undefined && props.types[run.place.type]!.pattern > 0}>
                    <rect class="lines" x={run.from * shape().size} y={y()} width={Math.max(2, run.n * shape().size - 2)} height={deep()} rx="2" fill={`url(#lines-${((props.types[run.place!.type]!.pattern - 1) % (PATTERNS.length - 1)) + 1})`} />
                  </Show>
                  <Show when={run.place !== undefined && run.n > 1}>
                    <For each={Array.from({ length: run.n - 1 }, (_, own) => run.from + own + 1)}>{(own) => <line class="between" x1={own * shape().size - 1} x2={own * shape().size - 1} y1={y() + deep() - 4} y2={y() + deep()} />}</For>
                  </Show>
                  <Show when={label(run)}>{(text) => <text class="worker" x={run.from * shape().size + (run.n * shape().size - 2) / 2} y={y() + deep() / 2 + 4}>{text()}</text>}</Show>
                </g>
              )}</For>
            </g>
          );
        }}</For>
      </svg>
    </div>
  );
}
