// Memory of each device over the step, and the tensors alive at the peak.

import { For, Show, createMemo, type JSX } from "solid-js";
import { devices, is_run, kind_of } from "../figures";
import { Loaded } from "../load";
import { plain, short } from "../names";
import { Name, Num, Panel } from "../parts";
import { Flat, LevelsLegend, POINTS, passes } from "./over-time";
import { Levels, kinds_of, level_fill } from "../pictures/levels";
import { DeviceBars, Swatch } from "../pictures/bars";
import { known, number, pointer, ref, resolve, type Doc } from "../pointer";
import { asked, link, set } from "../route";
import { TableButtons, Twin, type Table } from "../table";
import type { Status } from "../types";
import { curve, memory_path, type Holding } from "../views-api";
import { FleetMemory } from "./fleet";
import { No } from "./no-view";
import { memory_table } from "./overview";

/** Bars that are shown at once. */
const DRAWN = 64;
/** Tensors alive at the peak, line by line; the table has more. */
const SHOWN = 16;

export default function Memory(props: { status: Doc }): JSX.Element {
  const id = () => (props.status.value as Status).id;
  return (
    <Loaded path={`/v1/plans/${encodeURIComponent(id())}/answer?brief=true`} what="Loading the plan">
      {(doc) => kind_of(doc()) === "fleet" ? <FleetMemory doc={doc()} /> : kind_of(doc()) === "given" ? <p class="empty">An instance has no memory over time; the <a href={link(["plans", id()])}>overview</a> lists memory per device.</p> : kind_of(doc()) === "serving" || kind_of(doc()) === "gradients" ? <p class="empty">Plans of this kind have no memory over time; the <a href={link(["plans", id()])}>overview</a> lists memory per stage or device.</p> : <Devices doc={doc()} id={id()} />}
    </Loaded>
  );
}

/** Names by which the service is asked for a device's memory. */
function names(doc: Doc): string[] {
  if (is_run(doc)) return devices(doc).map((_, at) => `rank ${at}`);
  return devices(doc).map((_, at) => String(resolve(doc.value, pointer("report", "devices", at, "id"))));
}

function Devices(props: { doc: Doc; id: string }): JSX.Element {
  const all = createMemo(() => devices(props.doc));
  const fullest = () => {
    const free = all().map((own) => number(own.free) ?? -(number(own.peak) ?? 0));
    return names(props.doc)[free.indexOf(Math.min(...free))] ?? "";
  };
  const device = () => asked("device") || fullest();
  return (
    <>
      <Panel title="Memory over the step" sub={is_run(props.doc) ? "one device per rank; the others are equal" : "one device"}
        actions={
          <label class="inline">Device <select onChange={(event) => set({ device: event.currentTarget.value })}>
            <For each={names(props.doc)}>{(name) => <option value={name} selected={name === device()}>{short(name)}{name === fullest() ? " (fullest)" : ""}</option>}</For>
          </select></label>
        }>
        <Show when={device()} keyed>{(own) => (
          <Loaded path={memory_path(props.id, own, POINTS)} what="Loading memory over time" otherwise={(error) => <No view="memory over time" error={error} />}>
            {(doc) => <Device doc={doc()} id={props.id} device={own} />}
          </Loaded>
        )}</Show>
      </Panel>
      <Panel title="Peaks" sub="of all devices" actions={<TableButtons of={memory_table(all())} />}>
        <DeviceBars of={all().slice(0, DRAWN)} label="Peak memory per device" />
        <Show when={all().length > DRAWN}><p class="note">{DRAWN} of {all().length} devices; the table has all.</p></Show>
        <ul class="legend"><For each={all()[0]?.parts}>{(part) => <li><Swatch kind={part.kind} /> {part.name}</li>}</For></ul>
        <Twin of={memory_table(all())} />
      </Panel>
    </>
  );
}

/** From when and until when a tensor is alive. */
function Lifetime(props: { doc: Doc; index: number; held: Holding }): JSX.Element {
  const at = (name: string) => ref(props.doc, pointer("alive", "largest", props.index, name), "time");
  return (
    <Show when={props.held.since_ns !== null && (props.held.since_ns > 0 || props.held.until_ns !== null)}>
      <span class="note life">from <Num of={at("since_ns")} /> {props.held.until_ns === null ? "to the end of the step" : <>to <Num of={at("until_ns")} /></>}<Show when={props.held.freed_by}>{(by) => <>, freed by <Name text={by()} most={32} /></>}</Show></span>
    </Show>
  );
}

function Device(props: { doc: Doc; id: string; device: string }): JSX.Element {
  const strip = passes(() => props.id, () => props.device);
  const own = () => curve(props.doc);
  const at = (name: string, as: "bytes" | "time" | "bytes-exact") => ref(props.doc, pointer(name), as);
  const table = (): Table => ({
    name: "levels", columns: ["At", ...kinds_of(own())],
    rows: own().at_ns.map((_, index) => [ref(props.doc, pointer("at_ns", index), "time"), ...kinds_of(own()).map((kind) => ref(props.doc, pointer("bytes", kind, index), "bytes"))]),
  });
  const most = () => Math.max(1, ...own().alive.largest.map((held) => held.bytes));
  const others = (): string[] => [...own().alive.largest.slice(SHOWN).map((_, index) => pointer("alive", "largest", index + SHOWN, "bytes")), ...(own().alive.n_others > 0 ? ["/alive/other_bytes"] : [])];
  const held_table = (): Table => ({
    name: "alive", columns: ["Name", "Kind", "Operator", "Micro-batches", "Bytes", "From", "Until", "Freed by"],
    rows: own().alive.largest.map((held, index) => {
      const of = (name: string, as: "bytes" | "time" | "count") => { const found = ref(props.doc, pointer("alive", "largest", index, name), as); return known(found) ? found : null; };
      return [held.name, held.kind, held.op ?? "", of("n_micro_batches", "count"), of("bytes", "bytes"), of("since_ns", "time"), of("until_ns", "time"), held.freed_by ?? ""];
    }),
  });
  return (
    <div class="columns">
      <div>
        <p class="lead">Peak <b><Num of={at("peak_bytes", "bytes")} /></b> (<Num of={at("peak_bytes", "bytes-exact")} />) at <Num of={at("peak_at_ns", "time")} />
          <Show when={own().limit_bytes !== null}>, <Num of={ref(props.doc, ["/limit_bytes", "/peak_bytes"], "bytes", "difference")} /> below the limit</Show>.</p>
        <Levels of={own()} passes={strip()} />
        <LevelsLegend doc={props.doc} passes={strip()} />
        <Flat doc={props.doc} passes={strip()} />
        <Show when={own().part_ns > 0}><p class="note">Each point is the highest level within <Num of={at("part_ns", "time")} />.</p></Show>
        <p class="actions"><TableButtons of={table()} /></p>
        <Twin of={table()} />
      </div>
      <div>
        <h3>Alive at the peak <span class="actions"><TableButtons of={held_table()} /></span></h3>
        <ul class="alive">
          <For each={own().alive.largest.slice(0, SHOWN)}>{(held, index) => (
            <li>
              <span><Swatch kind={level_fill(held.kind)} /> <Name text={held.name} most={32} /> <span class="note">{plain(held.kind)}</span><Show when={held.op !== null && held.op !== held.name}><span class="note"> of <Name text={held.op!} most={32} /></span></Show><Show when={held.n_micro_batches}>{(n) => <span class="note"> of {n()} {n() === 1 ? "micro-batch" : "micro-batches"}</span>}</Show><Lifetime doc={props.doc} index={index()} held={held} /></span>
              <Num of={ref(props.doc, pointer("alive", "largest", index(), "bytes"), "bytes")} />
              <svg class="thin" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true"><rect class={`fill ${level_fill(held.kind)}`} width={(held.bytes / most()) * 100} height="4" /></svg>
            </li>
          )}</For>
        </ul>
        <p class="note">{Math.min(SHOWN, own().alive.largest.length)} of {own().alive.largest.length + own().alive.n_others}, largest first<Show when={others().length > 0}>; others <Num of={ref(props.doc, others(), "bytes")} /></Show></p>
      </div>
      <Twin of={held_table()} />
    </div>
  );
}
