// Around the picture of a timeline: the selected slice, the card under the pointer, what is measured.

import { Show, type JSX } from "solid-js";
import { plain, short } from "../names";
import { Name, Num } from "../parts";
import { x_of, type Hit, type View } from "../pictures/lanes";
import { pointer, ref, type Doc } from "../pointer";
import { link } from "../route";
import { is_of_workers, kind_title, tile, type Tile } from "../views-api";

/** A slice in an address: its lane and the start of what is longest in it. */
export function name_of(own: Tile, at: Hit | undefined): string {
  return at === undefined ? "" : `${own.lanes[at.lane]!.lane}@${own.lanes[at.lane]!.rows.longest_from_ns[at.row]}`;
}

/** The slice that an address names, or what stands for it in this window; undefined where it is not in view. */
export function found(own: Tile, name: string): Hit | undefined {
  const split = name.lastIndexOf("@");
  const instant = Number(name.slice(split + 1));
  const lane = split < 1 ? -1 : own.lanes.findIndex((one) => one.lane === name.slice(0, split));
  if (lane < 0 || name.endsWith("@") || !Number.isFinite(instant)) return undefined;
  const { from_ns, to_ns } = own.lanes[lane]!.rows;
  const row = from_ns.findIndex((from, at) => from <= instant && instant < to_ns[at]!);
  return row < 0 ? undefined : { lane, row };
}

export function neighbour(own: Tile, at: Hit | undefined, by: number): Hit | undefined {
  const { lane, row } = at ?? { lane: 0, row: -by };
  const n = own.lanes[lane]?.rows.from_ns.length ?? 0;
  return n === 0 ? undefined : { lane, row: Math.max(0, Math.min(n - 1, row + by)) };
}

/** What the next lane that does anything does at the same time, or did last. */
export function beside(own: Tile, at: Hit | undefined, by: number): Hit | undefined {
  if (at === undefined) return neighbour(own, at, 1);
  const instant = own.lanes[at.lane]!.rows.from_ns[at.row]!;
  for (let lane = at.lane + by; lane >= 0 && lane < own.lanes.length; lane += by) {
    const row = own.lanes[lane]!.rows.from_ns.findLastIndex((from) => from <= instant);
    if (own.lanes[lane]!.rows.from_ns.length > 0) return { lane, row: Math.max(0, row) };
  }
  return at;
}

const place = (at: Hit, name: string): string => pointer("lanes", at.lane, "rows", name, at.row);

/** From the start of one to the end of the other, whichever is first. */
function measured(own: Tile, a: Hit, b: Hit): [Hit, Hit] {
  const start = (at: Hit) => own.lanes[at.lane]!.rows.longest_from_ns[at.row]!;
  return start(a) <= start(b) ? [a, b] : [b, a];
}

export function Slice(props: { id: string; doc: Doc; at: Hit; mark: Hit | undefined; measure: () => void }): JSX.Element {
  const own = () => tile(props.doc);
  const rows = () => own().lanes[props.at.lane]!.rows;
  const thing = () => own().things[rows().what[props.at.row]!];
  const at = (name: string) => place(props.at, name);
  const is_one = () => rows().n[props.at.row] === 1;
  const is_mark = () => props.mark?.lane === props.at.lane && props.mark.row === props.at.row;
  const span = () => { const [first, last] = measured(own(), props.mark!, props.at); return ref(props.doc, [place(last, "longest_to_ns"), place(first, "longest_from_ns")], "time", "difference"); };
  return (
    <>
      <dl class="pairs">
        <dt>{is_one() ? "Kind" : "Mostly"}</dt><dd>{kind_title(own().kinds[rows().kind[props.at.row]!]!)}</dd>
        <dt>Name</dt><dd><Name text={thing()?.name ?? "none"} most={60} /></dd>
        <Show when={thing()?.from}>{(from) => <><dt>From</dt><dd><Name text={from()} /></dd></>}</Show>
        <Show when={thing()?.to}>{(to) => <><dt>To</dt><dd><Name text={to()} /></dd></>}</Show>
        <Show when={rows().micro_batch[props.at.row] != null}><dt>Micro-batch</dt><dd><Num of={ref(props.doc, at("micro_batch"), "count")} /></dd></Show>
        <dt>Start</dt><dd><Num of={ref(props.doc, at("longest_from_ns"), "time")} /></dd>
        <dt>Length</dt><dd><Num of={ref(props.doc, [at("longest_to_ns"), at("longest_from_ns")], "time", "difference")} /></dd>
        <Show when={!is_one()}><dt>Slices</dt><dd><Num of={ref(props.doc, at("n"), "count")} /></dd></Show>
        <dt>Lane</dt><dd>{plain(own().lanes[props.at.lane]!.lane)}</dd>
        <Show when={!is_of_workers(own()) && thing()?.from == null && thing()?.to == null}><dt>Graph</dt><dd><a href={link(["plans", props.id, "graph"], { at: `op:${thing()?.name ?? ""}` })}>Show in graph</a></dd></Show>
        <Show when={props.mark !== undefined && !is_mark()}><dt>First start to last end</dt><dd class="measured"><Num of={span()} /></dd></Show>
      </dl>
      <p class="buttons"><button type="button" aria-pressed={is_mark()} onClick={() => props.measure()}>{is_mark() ? "Stop measuring" : "Measure from here"}</button></p>
      <Show when={is_mark()}><p class="note">Select a second slice.</p></Show>
    </>
  );
}

export interface Hover { at: Hit; x: number; y: number }

/** What lies under the pointer. */
export function Card(props: { doc: Doc; of: Hover; width: number }): JSX.Element {
  const own = () => tile(props.doc);
  const rows = () => own().lanes[props.of.at.lane]!.rows;
  const thing = () => own().things[rows().what[props.of.at.row]!];
  const at = (name: string) => place(props.of.at, name);
  const left = () => Math.max(0, Math.min(props.of.x + 12, props.width - 264));
  return (
    <div class="card" style={{ left: `${left()}px`, top: `${props.of.y + 16}px` }} inert>
      <b>{short(thing()?.name ?? "none", 60)}</b>
      <p>{rows().n[props.of.at.row] === 1 ? "" : "mostly "}{kind_title(own().kinds[rows().kind[props.of.at.row]!]!)} · {short(own().lanes[props.of.at.lane]!.lane, 28)}</p>
      <p><Num of={ref(props.doc, [at("longest_to_ns"), at("longest_from_ns")], "time", "difference")} /> from <Num of={ref(props.doc, at("longest_from_ns"), "time")} /></p>
    </div>
  );
}

/** The time between two slices that is measured. */
export function Band(props: { tile: Tile; view: View; from: Hit | undefined; to: Hit | undefined }): JSX.Element {
  const ends = () => {
    if (props.from === undefined || props.to === undefined || (props.from.lane === props.to.lane && props.from.row === props.to.row)) return undefined;
    const [first, last] = measured(props.tile, props.from, props.to);
    const x = (at: Hit, name: "longest_from_ns" | "longest_to_ns") => Math.max(x_of(props.view, props.view.from), Math.min(props.view.width, x_of(props.view, props.tile.lanes[at.lane]!.rows[name][at.row]!)));
    return [x(first, "longest_from_ns"), x(last, "longest_to_ns")] as const;
  };
  return <Show when={ends()}>{(own) => <div class="band" aria-hidden="true" style={{ left: `${own()[0]}px`, width: `${Math.max(1, own()[1] - own()[0])}px` }} />}</Show>;
}
