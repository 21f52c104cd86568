// The timelines of two plans, one above the other: one scale, one window.

import { Show, type JSX } from "solid-js";
import { read } from "../api";
import { fetched } from "../load";
import { Loading, Num, Panel } from "../parts";
import { by_frame } from "../pictures/frame";
import { Grid } from "../pictures/grid";
import { draw, type View } from "../pictures/lanes";
import { width_of } from "../pictures/width";
import { ref, type Doc } from "../pointer";
import { asked, set } from "../route";
import { TableButtons, Twin, type Table } from "../table";
import { theme } from "../theme";
import { kind_title, tile, timeline_path } from "../views-api";
import { No } from "./no-view";
import { Legend, handlers, keys } from "./timeline";

/** Rows of one answer, of half a picture. */
const MOST_ROWS = 8000;
/** Pause before a window is asked for, in milliseconds. */
const PAUSE = 80;

export function BothTimelines(props: { a: string; b: string }): JSX.Element {
  const whole = (id: () => string) => fetched(() => timeline_path(id(), undefined, undefined, MOST_ROWS), read);
  const [a, b] = [whole(() => props.a), whole(() => props.b)];
  return (
    <Panel title="Timelines" sub="same scale; zoom and pan are linked">
      <Show when={a.error() ?? b.error()} fallback={
        <Show when={a.latest() !== undefined && b.latest() !== undefined} fallback={<Loading what="Replaying both plans" />}>
          <Pictures a={a.latest()!} b={b.latest()!} ids={[props.a, props.b]} />
        </Show>
      }>{(error) => <No view="timeline" error={error()} />}</Show>
    </Panel>
  );
}

const instant = (name: string): number | undefined => { const own = Number(asked(name)); return asked(name) === "" || !Number.isFinite(own) ? undefined : Math.max(0, Math.round(own)); };

function Pictures(props: { a: Doc; b: Doc; ids: [string, string] }): JSX.Element {
  let box!: HTMLDivElement;
  const width = width_of(() => box);
  const end = () => Math.max(tile(props.a).step_time_ns, tile(props.b).step_time_ns);
  const span = () => { const from = Math.min(instant("t0") ?? 0, end() - 1); return { from, to: Math.min(Math.max(instant("t1") ?? end(), from + 1), end()) }; };
  const view = (): View => ({ ...span(), width: width(), scale: devicePixelRatio, is_folded: true });
  const show = (from: number, to: number) => {
    const length = Math.max(10, Math.min(end(), to - from));
    const start = Math.max(0, Math.min(end() - length, from));
    const is_whole = start <= 0 && length >= end();
    set({ t0: is_whole ? "" : String(Math.round(start)), t1: is_whole ? "" : String(Math.round(start + length)) });
  };
  const zoom = (factor: number, at = (span().from + span().to) / 2) => show(at - (at - span().from) * factor, at + (span().to - at) * factor);
  const pan = (share: number) => { const by = share * (span().to - span().from); show(span().from + by, span().to + by); };
  const acts = { view, zoom, pan, show, pick: () => {}, hover: () => {} };
  keys({ w: () => zoom(0.7), s: () => zoom(1 / 0.7), a: () => pan(-0.2), d: () => pan(0.2), f: () => show(0, end()) });
  const [first, second] = [windowed(() => props.ids[0], () => props.a, span), windowed(() => props.ids[1], () => props.b, span)];
  const table = (): Table => both_table(first(), second());
  return (
    <div ref={box} class="picture">
      <p class="buttons">
        <button type="button" class="plain" onClick={() => zoom(0.5)}>Zoom in</button><button type="button" class="plain" onClick={() => zoom(2)}>Zoom out</button>
        <button type="button" class="plain" onClick={() => pan(-0.2)}>Earlier</button><button type="button" class="plain" onClick={() => pan(0.2)}>Later</button>
        <button type="button" class="plain" onClick={() => show(0, end())}>Whole step</button><TableButtons of={table()} />
      </p>
      <One title="A" doc={first()} view={view} acts={acts} />
      <One title="B" doc={second()} view={view} acts={acts} />
      <Legend of={{ ...tile(first()), kinds: [...new Set([...tile(first()).kinds, ...tile(second()).kinds])], lanes: [...tile(first()).lanes, ...tile(second()).lanes] }} />
      <Twin of={table()} />
    </div>
  );
}

/** The tile of a window; until it is there, that of the whole step. */
function windowed(id: () => string, whole: () => Doc, span: () => { from: number; to: number }): () => Doc {
  const path = () => {
    const { from, to } = span();
    const end = tile(whole()).step_time_ns;
    // A window beyond the end of the shorter step has nothing to be asked for.
    return (from <= 0 && to >= end) || from >= end ? undefined : timeline_path(id(), from, Math.min(to, end), MOST_ROWS);
  };
  const part = fetched(path, async (own, signal) => {
    if (own === undefined) return undefined;
    await new Promise((done) => setTimeout(done, PAUSE));
    return signal.aborted ? undefined : read(own, signal);
  });
  return () => (path() === undefined ? whole() : part.latest() ?? whole());
}

function One(props: { title: string; doc: Doc; view: () => View; acts: Parameters<typeof handlers>[1] }): JSX.Element {
  let canvas!: HTMLCanvasElement;
  const grid = new Grid();
  by_frame(() => {
    theme();
    const [own, now] = [tile(props.doc), props.view()];
    return () => { draw(canvas, grid, own, now, undefined); };
  });
  handlers(() => canvas, props.acts);
  return (
    <>
      <h3>{props.title}: step time <Num of={ref(props.doc, "/step_time_ns", "time")} /></h3>
      <canvas ref={canvas} tabindex="0" role="img" aria-label={`Timeline of ${props.title}; same data in the table`} />
    </>
  );
}

/** Time of the window by plan, lane and kind. */
function both_table(a: Doc, b: Doc): Table {
  const sides = [["A", a], ["B", b]] as const;
  const kinds = [...new Set(sides.flatMap(([, doc]) => tile(doc).kinds.filter((kind) => kind !== "free" && tile(doc).lanes.some((lane) => (lane.ns[kind] ?? 0) > 0))))];
  return {
    name: "timelines", columns: ["Plan", "Lane", ...kinds.map(kind_title)],
    rows: sides.flatMap(([side, doc]) => tile(doc).lanes.map((lane, at) => [side, lane.lane, ...kinds.map((kind) => (lane.ns[kind] === undefined ? null : ref(doc, `/lanes/${at}/ns/${kind}`, "time")))])),
  };
}
