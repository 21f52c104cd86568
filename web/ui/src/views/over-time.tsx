// Memory of a device over the step, as a picture alone.

import { For, Show, createMemo, type JSX } from "solid-js";
import { Loaded, fetched } from "../load";
import { read } from "../api";
import { plain } from "../names";
import { Num } from "../parts";
import { Swatch } from "../pictures/bars";
import { Levels, kinds_of, level_fill, type Pass } from "../pictures/levels";
import { pointer, ref, type Doc } from "../pointer";
import { curve, kind_fill, kind_title, memory_path, tile, timeline_path } from "../views-api";
import { No } from "./no-view";

/** Points that a picture of this width can show. */
export const POINTS = 800;
/** Passes that a picture can tell apart; of more there is none. */
const MOST_PASSES = 400;
/** Rows of the timeline that are read for them. */
const ROWS = 2000;

/** Passes of a device over the step; none where they are too many, or where it has no lane. */
export function passes(id: () => string, device: () => string): () => Pass[] {
  const doc = fetched(() => [id(), device()] as const, async ([plan, own], signal) => (own.startsWith("rank ") ? read(timeline_path(plan, undefined, undefined, ROWS), signal) : undefined));
  return createMemo(() => {
    if (doc.error() !== undefined || doc.latest() === undefined) return [];
    const all = tile(doc.latest()!);
    const rows = all.lanes.find((lane) => lane.device === device() && lane.role === "device")?.rows;
    if (rows === undefined || rows.from_ns.length > MOST_PASSES || rows.n.some((n) => n > 1)) return [];
    return rows.from_ns.map((from, at) => ({ from, to: rows.to_ns[at]!, fill: kind_fill(all.kinds[rows.kind[at]!]!), title: kind_title(all.kinds[rows.kind[at]!]!) }));
  });
}

/** Kinds of memory, and of passes. */
export function LevelsLegend(props: { doc: Doc; passes: Pass[] }): JSX.Element {
  const shown = () => kinds_of(curve(props.doc)).filter((kind) => curve(props.doc).bytes[kind]!.some((bytes) => bytes > 0));
  const titles = () => [...new Map(props.passes.map((own) => [own.title, own.fill])).entries()];
  return (
    <>
      <ul class="legend"><For each={shown()}>{(kind) => <li><Swatch kind={level_fill(kind)} /> {plain(kind)}</li>}</For></ul>
      <Show when={props.passes.length > 0}><ul class="legend"><li class="note">Strip:</li><For each={titles()}>{([title, fill]) => <li><Swatch kind={fill} /> {title}</li>}</For></ul></Show>
    </>
  );
}

/** Why a level is flat: activations are counted by pass, not by layer. */
export function Flat(props: { doc: Doc; passes: Pass[] }): JSX.Element {
  return <Show when={props.passes.length > 0 && props.passes.length <= 8}><p class="note">Activations are counted per pass, not per layer: the level is that of the end of the forward pass until the backward pass ends.</p></Show>;
}

export function OverTime(props: { id: string; device: string }): JSX.Element {
  const own = passes(() => props.id, () => props.device);
  return (
    <Loaded path={memory_path(props.id, props.device, POINTS)} what="Loading memory over time" otherwise={(error) => <No view="memory over time" error={error} />}>{(doc) => (
      <>
        <p class="note">Peak <Num of={ref(doc(), pointer("peak_bytes"), "bytes")} /> at <Num of={ref(doc(), pointer("peak_at_ns"), "time")} /> of <Num of={ref(doc(), pointer("step_time_ns"), "time")} /></p>
        <Levels of={curve(doc())} passes={own()} />
        <LevelsLegend doc={doc()} passes={own()} />
        <Flat doc={doc()} passes={own()} />
      </>
    )}</Loaded>
  );
}
