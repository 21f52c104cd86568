// Plans that serve: stages of a pipeline, groups of devices for attention and experts, expert placement.

import { Show, type JSX } from "solid-js";
import { Panel } from "../parts";
import { known, pointer, ref, resolve, type Doc, type Ref } from "../pointer";
import { CsvButton, DataTable, type Cell, type Table } from "../table";
import { Lines, type Line } from "./configuration";

const list = (doc: Doc, at: string): Record<string, unknown>[] => { const own = resolve(doc.value, at); return Array.isArray(own) ? own as Record<string, unknown>[] : []; };
const cell = (doc: Doc, at: string, as: Ref["as"]): Cell => { const own = ref(doc, at, as); return known(own) ? own : null; };
const range = (own: unknown): string => { const all = Array.isArray(own) ? own.map(Number) : []; return all.length === 0 ? "" : all.length === 1 ? String(all[0]) : `${Math.min(...all)} to ${Math.max(...all)}`; };

function stages(doc: Doc): Table {
  return {
    name: "stages", columns: ["Stage", "Layers", "Time per batch", "To the next stage", "Weights", "KV cache", "Peak", "Limit"],
    rows: list(doc, "/plan/served/stages").map((_, at): Cell[] => {
      const of = (name: string, as: Ref["as"]) => cell(doc, pointer("plan", "served", "stages", at, name), as);
      const own = (...path: string[]) => resolve(doc.value, pointer("plan", "partition", "stages", at, ...path));
      const [first, n] = [Number(own("blocks", "first") ?? 0), Number(own("blocks", "n") ?? 0)];
      return [`${at}, ${((own("mesh", "devices") ?? []) as string[]).join(", ")}`, n === 0 ? "" : `${first} to ${first + n - 1}`, of("ns", "time"), of("way_ns", "time"), of("weight_bytes", "bytes"), of("cache_bytes", "bytes"), of("peak_bytes", "bytes"), of("limit_bytes", "bytes")];
    }),
  };
}

function experts(doc: Doc): Table {
  const has = (name: string) => list(doc, "/plan/experts/layers").some((own) => own[name] !== undefined && own[name] !== null);
  return {
    name: "expert-layers", columns: ["Layers", "Expert slots per device", ...(has("greatest_load") ? ["Greatest load"] : []), ...(has("bound") ? ["Bound"] : [])],
    rows: list(doc, "/plan/experts/layers").map((own, at): Cell[] => {
      const of = (name: string, as: Ref["as"]) => cell(doc, pointer("plan", "experts", "layers", at, name), as);
      return [range(own["layers"]), of("slots", "count"), ...(has("greatest_load") ? [of("greatest_load", "share")] : []), ...(has("bound") ? [of("bound", "share")] : [])];
    }),
  };
}

/** Attention and experts on devices of their own. */
function groups(doc: Doc): Line[] {
  const at = (...path: string[]) => pointer("plan", "experts", "disaggregated", ...path);
  const text = (title: string, place: string): Line[] => { const own = resolve(doc.value, place); return own == null ? [] : [[title, Array.isArray(own) ? own.join(", ") : String(own)]]; };
  const figure = (title: string, place: string, as: Ref["as"]): Line[] => (known(ref(doc, place, as)) ? [[title, ref(doc, place, as)]] : []);
  return [
    ...text("Attention devices", at("attention")), ...text("Expert devices", at("experts")), ...figure("Samples per micro-batch", at("step", "samples"), "count"), ...figure("Micro-batches", at("step", "micro_batches"), "count"),
    ...figure("Token parts per micro-batch", at("step", "parts"), "count"), ...text("Order", at("step", "order")), ...figure("Memory of an attention device", at("attention_bytes"), "bytes"), ...figure("Memory of an expert device", at("expert_bytes"), "bytes"), ...figure("Limit", at("limit_bytes"), "bytes"),
  ];
}

export function Serving(props: { doc: Doc }): JSX.Element {
  return (
    <>
      <Show when={stages(props.doc).rows.length > 0}>
        <Panel title="Stages" sub="of the inference pipeline; bytes of all batches in flight" actions={<CsvButton of={stages(props.doc)} />}><DataTable of={stages(props.doc)} caption="Stages" /></Panel>
      </Show>
      <Show when={groups(props.doc).length > 0}><Panel title="Attention and expert devices"><Lines of={groups(props.doc)} /></Panel></Show>
      <Show when={experts(props.doc).rows.some((row) => row[1] !== null)}>
        <Panel title="Expert placement" sub="load: share of the routed tokens on the busiest device" actions={<CsvButton of={experts(props.doc)} />}><DataTable of={experts(props.doc)} caption="Expert placement" /></Panel>
      </Show>
    </>
  );
}
