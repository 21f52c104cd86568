// A lane per device and link over the step.

import { For, Show, batch, createEffect, createMemo, createSignal, on, onCleanup, onMount, type JSX } from "solid-js";
import { ask, read } from "../api";
import { fetched } from "../load";
import { Loading, Name, Num, Panel, Trouble, download, say } from "../parts";
import { by_frame } from "../pictures/frame";
import { Grid } from "../pictures/grid";
import { GUTTER, draw, draw_lanes, height_of, hit, is_idle, ns_at, rows_of, type Hit, type View } from "../pictures/lanes";
import { Swatch } from "../pictures/bars";
import { SaveButtons } from "../pictures/save";
import { width_of } from "../pictures/width";
import { pointer, ref, type Doc } from "../pointer";
import { asked, set } from "../route";
import { DataTable, TableButtons, Twin, type Cell, type Table } from "../table";
import { theme } from "../theme";
import type { Status } from "../types";
import { is_of_workers, kind_fill, kind_title, tile, timeline_path, type Tile } from "../views-api";
import { No } from "./no-view";
import { Band, Card, Slice, beside, found, name_of, neighbour, type Hover } from "./timeline-parts";

/** Rows of one answer: what a screen can show, not what the plan has. */
const MOST_ROWS = 26_000;

export default function Timeline(props: { status: Doc }): JSX.Element {
  const id = () => (props.status.value as Status).id;
  const instant = (name: string) => { const own = Number(asked(name)); return asked(name) === "" || !Number.isFinite(own) ? undefined : Math.max(0, Math.round(own)); };
  // The whole step is read once: its lanes and length; windows come after.
  const whole = fetched(() => timeline_path(id(), undefined, undefined, MOST_ROWS), read);
  return (
    <Show when={whole.error() === undefined} fallback={<No view="timeline" error={whole.error()} />}>
      <Show when={whole.latest()} fallback={<Loading what="Replaying the plan" />}>
        {(doc) => <Picture id={id()} whole={doc()} t0={instant("t0")} t1={instant("t1")} />}
      </Show>
    </Show>
  );
}

function Picture(props: { id: string; whole: Doc; t0: number | undefined; t1: number | undefined }): JSX.Element {
  let box!: HTMLDivElement;
  let canvas!: HTMLCanvasElement;
  const width = width_of(() => box);
  const step = () => tile(props.whole).step_time_ns;
  const span = createMemo(() => ({ from: Math.min(props.t0 ?? 0, step() - 1), to: Math.min(Math.max(props.t1 ?? step(), (props.t0 ?? 0) + 1), step()) }));
  const is_whole = () => span().from === 0 && span().to === step();
  const window = window_of(() => props.id, span, is_whole, () => props.whole);
  const is_folded = () => asked("fold") === "yes";
  const n_idle = () => tile(window.doc()).lanes.filter(is_idle).length;
  const view = (): View => ({ ...span(), width: width(), scale: devicePixelRatio, is_folded: is_folded() });
  const grid = new Grid();
  const selected = createMemo(() => found(tile(window.doc()), asked("slice")));
  const mark = createMemo(() => found(tile(window.doc()), asked("mark")));
  const choose = (at: Hit | undefined) => set({ slice: name_of(tile(window.doc()), at) });
  const [hovered, setHovered] = createSignal<Hover>();
  createEffect(on([window.doc, span], () => setHovered(undefined)));
  const [drawn, setDrawn] = createSignal(0);
  by_frame(() => {
    theme();
    const [own, at, now, name] = [tile(window.doc()), selected(), view(), asked("op")];
    return () => setDrawn(draw(canvas, grid, own, now, at, name));
  });
  const show = (from: number, to: number) => {
    const length = Math.max(10, Math.min(step(), to - from));
    const start = Math.max(0, Math.min(step() - length, from));
    set({ t0: start <= 0 && length >= step() ? "" : String(Math.round(start)), t1: start <= 0 && length >= step() ? "" : String(Math.round(start + length)) });
  };
  const zoom = (factor: number, at = (span().from + span().to) / 2) => show(at - (at - span().from) * factor, at + (span().to - at) * factor);
  const pan = (share: number) => { const by = share * (span().to - span().from); show(span().from + by, span().to + by); };
  handlers(() => canvas, { view, zoom, pan, show, pick: (x, y) => choose(hit(tile(window.doc()), view(), x, y)),
    hover: (x, y) => { const at = hit(tile(window.doc()), view(), x, y); setHovered(at && { at, x, y }); } });
  const next = (by: number) => choose(neighbour(tile(window.doc()), selected(), by));
  const lane = (by: number) => choose(beside(tile(window.doc()), selected(), by));
  const measure = () => set({ mark: asked("mark") === asked("slice") ? "" : asked("slice") });
  keys({ w: () => zoom(0.7), s: () => zoom(1 / 0.7), a: () => pan(-0.2), d: () => pan(0.2), f: () => show(0, step()), ",": () => next(-1), ".": () => next(1), "[": () => lane(-1), "]": () => lane(1), m: measure });
  const table = () => rows_table(window.doc());
  const summed = still(window.doc, 250);
  return (
    <>
      <Panel title="Timeline" sub={<><Show when={is_of_workers(tile(props.whole))} fallback="step time ">iterations of a worker of each type (one DP rank) from its first request, first </Show><Num of={ref(props.whole, "/step_time_ns", "time")} />; wheel or W S zoom, drag or A D pan, Shift drag zooms in, F shows all</>}
        actions={<>
          <button type="button" class="plain" onClick={() => zoom(0.5)}>Zoom in</button><button type="button" class="plain" onClick={() => zoom(2)}>Zoom out</button>
          <button type="button" class="plain" onClick={() => show(0, step())}>{is_of_workers(tile(props.whole)) ? "Show all" : "Whole step"}</button>
          <button type="button" class="plain" aria-pressed={is_folded()} onClick={() => set({ fold: is_folded() ? "" : "yes" })}>Fold idle</button>
          <TableButtons of={table()} /><SaveButtons name="timeline" canvas={() => canvas} size={() => ({ width: width(), height: height_of(tile(window.doc()).lanes, is_folded()) })} draw={(pen) => draw_lanes(pen, tile(window.doc()), view(), selected(), asked("op"))} />
          <Show when={!is_of_workers(tile(props.whole))}><TraceButton id={props.id} /></Show>
        </>}>
        <div ref={box} class="picture">
          <canvas ref={canvas} tabindex="0" role="img" aria-label={`Timeline: a lane per ${is_of_workers(tile(props.whole)) ? "worker type" : "device and link"}; same data in the table`} />
          <Show when={hovered()}>{(own) => <Card doc={window.doc()} of={own()} width={width()} />}</Show>
          <Band tile={tile(window.doc())} view={view()} from={mark()} to={selected()} />
        </div>
        <Legend of={tile(window.doc())} />
        <p class="note" role="status">
          {drawn()} boxes drawn<Show when={tile(window.doc()).part_ns > 0}>; a narrow box sums several slices</Show>
          <Show when={is_folded() && n_idle() > 0}>; {n_idle()} idle lanes are folded</Show>
          <Show when={window.is_late()}> · reading the window …</Show>
        </p>
        <Show when={asked("op") !== ""}>
          <p class="note">Framed: {tile(window.doc()).lanes.reduce((sum, lane) => sum + rows_of(tile(window.doc()), lane, asked("op")).length, 0)} boxes of <Name text={asked("op")} most={60} />
            <button type="button" class="plain" onClick={() => set({ op: "" })}>Remove frames</button></p>
        </Show>
        <Show when={window.error()}>{(error) => <Trouble of={error()} />}</Show>
        <Twin of={rows_table(summed())} />
      </Panel>
      <div class="columns">
        <Panel title="In view" sub={<>from <b>{time_of(summed(), "from_ns")}</b> to <b>{time_of(summed(), "to_ns")}</b>, exact sums</>}>
          <DataTable of={sums_table(summed())} caption="In view" />
        </Panel>
        <Panel title="Selected slice" sub={<><kbd>,</kbd> <kbd>.</kbd> previous and next, <kbd>[</kbd> <kbd>]</kbd> other lanes, <kbd>M</kbd> measures</>}>
          <Show when={selected()} fallback={<p class="empty">{asked("slice") === "" ? "Click a slice." : "The selected slice is outside the window."}</p>}>
            {(at) => <Slice id={props.id} doc={window.doc()} at={at()} mark={mark()} measure={measure} />}
          </Show>
        </Panel>
      </div>
    </>
  );
}

const time_of = (doc: Doc, name: string): JSX.Element => <Num of={ref(doc, pointer(name), "time")} />;

/** A value once it has not changed for so long: a table of all lanes is not made anew for each frame. */
function still<T>(of: () => T, ms: number): () => T {
  const [own, setOwn] = createSignal(of());
  createEffect(on(of, (now) => {
    const timer = setTimeout(() => setOwn(() => now), ms);
    onCleanup(() => clearTimeout(timer));
  }, { defer: true }));
  return own;
}

/** Milliseconds from one question to the next while the window moves. */
const LEAST_MS = 60;
/** How long an answer is waited for once another window is shown. */
const PATIENCE_MS = 250;

/**
 * The tile of the window; until it is there, the last one. One question at a time, the next about what
 * is shown when it is answered; one that takes long and is no longer wanted is cancelled.
 */
function window_of(id: () => string, span: () => { from: number; to: number }, is_whole: () => boolean, whole: () => Doc) {
  const [doc, setDoc] = createSignal<Doc>(whole());
  const [error, setError] = createSignal<unknown>();
  const [is_late, setLate] = createSignal(false);
  let running: { stop: AbortController; since: number; path: string } | undefined;
  let timer = 0, last = 0;
  const wanted = () => timeline_path(id(), span().from, span().to, MOST_ROWS);
  const start = () => {
    timer = 0;
    const path = wanted();
    running?.stop.abort();
    const own = running = { stop: new AbortController(), since: last = performance.now(), path };
    const ended = (show: () => void) => {
      if (own !== running) return;
      running = undefined;
      if (!is_whole()) batch(show);
      later();
    };
    read(path, own.stop.signal).then((answer) => ended(() => { setDoc(answer); setError(undefined); }), (why: unknown) => ended(() => { if (path === wanted()) setError(() => why); }));
  };
  /** Asks about what is shown now, in a moment, unless that is known or being asked. */
  const later = () => {
    clearTimeout(timer);
    setLate(!is_whole() && error() === undefined && doc().source !== wanted());
    if (!is_late() || running?.path === wanted()) return;
    timer = window.setTimeout(start, Math.max(0, last + LEAST_MS - performance.now(), running === undefined ? 0 : running.since + PATIENCE_MS - performance.now()));
  };
  createEffect(on([span, whole], () => {
    setError(undefined);
    if (is_whole()) { running?.stop.abort(); running = undefined; setDoc(whole()); }
    later();
  }));
  onCleanup(() => { clearTimeout(timer); running?.stop.abort(); });
  return { doc, error, is_late };
}

export interface Acts { view: () => View; zoom: (factor: number, at?: number) => void; pan: (share: number) => void; show: (from: number, to: number) => void; pick: (x: number, y: number) => void; hover: (x: number, y: number) => void }

export function handlers(element: () => HTMLCanvasElement, acts: Acts): void {
  onMount(() => {
    const canvas = element();
    let start: { x: number; view: View; is_zoom: boolean; moved: boolean } | undefined;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) acts.pan(event.deltaX / 1000);
      else acts.zoom(Math.exp(event.deltaY / 400), ns_at(acts.view(), Math.max(GUTTER, event.offsetX)));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      start = { x: event.offsetX, view: acts.view(), is_zoom: event.shiftKey, moved: false };
    });
    canvas.addEventListener("pointermove", (event) => {
      if (start === undefined) acts.hover(event.offsetX, event.offsetY);
      if (start === undefined || Math.abs(event.offsetX - start.x) < 3) return;
      start.moved = true;
      const by = ns_at(start.view, start.x) - ns_at(start.view, event.offsetX);
      if (!start.is_zoom) acts.show(start.view.from + by, start.view.to + by);
    });
    canvas.addEventListener("pointerleave", () => acts.hover(-1, -1));
    canvas.addEventListener("pointerup", (event) => {
      if (start?.moved && start.is_zoom) {
        const ends = [ns_at(start.view, start.x), ns_at(start.view, event.offsetX)];
        acts.show(Math.min(...ends), Math.max(...ends));
      } else if (start !== undefined && !start.moved) acts.pick(event.offsetX, event.offsetY);
      start = undefined;
    });
  });
}

export function keys(does: Record<string, () => void>): void {
  let last = "";
  const press = (event: KeyboardEvent) => {
    const is_typed = (event.target as HTMLElement).matches("input, textarea, select, dialog *");
    const is_after_g = last === "g";
    last = event.key;
    if (is_typed || is_after_g || event.ctrlKey || event.metaKey || event.altKey || localStorage.getItem("meshwright.keys-off") === "yes") return;
    does[event.key]?.();
  };
  onMount(() => addEventListener("keydown", press));
  onCleanup(() => removeEventListener("keydown", press));
}

export function Legend(props: { of: Tile }): JSX.Element {
  /** What shares a colour shares a line; causes of idle time have lines of their own. */
  const shown = () => {
    const own = new Map<string, string[]>();
    for (const kind of props.of.kinds) {
      if (kind === "free" || !props.of.lanes.some((lane) => (lane.ns[kind] ?? 0) > 0)) continue;
      const fill = kind_fill(kind) === "missing" ? kind : kind_fill(kind);
      own.set(fill, [...(own.get(fill) ?? []), kind_title(kind)]);
    }
    return [...own.entries()];
  };
  return <ul class="legend"><For each={shown()}>{([fill, titles]) => <li><Swatch kind={fill} /> {titles.join(" · ")}</li>}</For></ul>;
}

/** Time of the window by lane and kind. */
function sums_table(doc: Doc): Table {
  const own = tile(doc);
  const kinds = own.kinds.filter((kind) => kind !== "free" && own.lanes.some((lane) => (lane.ns[kind] ?? 0) > 0));
  return {
    name: "in-view", columns: ["Lane", "Slices", ...kinds.map(kind_title)],
    rows: own.lanes.map((lane, at) => [lane.lane, ref(doc, pointer("lanes", at, "n_started"), "count"),
      ...kinds.map((kind): Cell => (lane.ns[kind] === undefined ? null : ref(doc, pointer("lanes", at, "ns", kind), "time")))]),
  };
}

/** All rows of the window. */
function rows_table(doc: Doc): Table {
  const own = tile(doc);
  const cell = (lane: number, name: string, row: number) => ref(doc, pointer("lanes", lane, "rows", name, row), "time");
  const rows = () => own.lanes.flatMap((lane, at) => lane.rows.from_ns.map((_, row): Cell[] => [
    lane.lane, kind_title(own.kinds[lane.rows.kind[row]!]!), own.things[lane.rows.what[row]!]?.name ?? "", cell(at, "from_ns", row), cell(at, "to_ns", row),
    ref(doc, pointer("lanes", at, "rows", "n", row), "count"),
    ...(is_of_workers(own) ? [] : [lane.rows.micro_batch[row] == null ? null : ref(doc, pointer("lanes", at, "rows", "micro_batch", row), "count")]),
  ]));
  return { name: "timeline", columns: ["Lane", "Kind", "Name", "From", "To", "Slices", ...(is_of_workers(own) ? [] : ["Micro-batch"])], get rows() { return rows(); } };
}

function TraceButton(props: { id: string }): JSX.Element {
  const fetch_trace = async () => {
    try {
      const answer = await ask(`/v1/plans/${encodeURIComponent(props.id)}/artefacts/trace`);
      download("trace.json", await answer.text(), "application/json");
    } catch (error) { say((error as Error).message); }
  };
  return <button type="button" class="plain" onClick={() => void fetch_trace()}>Perfetto trace</button>;
}
