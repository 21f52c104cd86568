// Two fleets of serving workers beside each other: figures, workers, and what each was planned for.

import { Show, type JSX } from "solid-js";
import { degrees, devices_each, own, traffic, types, type Worker } from "../fleet";
import { format } from "../format";
import { plain } from "../names";
import { Num, Panel } from "../parts";
import { known, number, ref, resolve, type Doc, type Ref } from "../pointer";
import { asked, link } from "../route";
import { CsvButton, DataTable, type Cell, type Table } from "../table";

/** Whether A and B are fleets. */
export const are_fleets = (doc: Doc): boolean => ["a", "b"].every((side) => { const fleet = resolve(doc.value, `/${side}${own()}`) as { workers?: unknown[] } | null | undefined; return (fleet?.workers?.length ?? 0) > 0; });

/** Figures that both have: title, place in an answer, form. */
const FIGURES: [string, string, Ref["as"]][] = [
  ["Devices", own("n_devices"), "count"], ["Price per hour", own("price_per_hour"), "real"], ["Requests/s", own("requests_per_s"), "real"],
  ["Output tokens/s", "/output_tokens_per_s", "real"], ["TTFT", "/ttft_seconds", "seconds"], ["TPOT", "/tpot_seconds", "seconds"], ["Request latency", "/latency_seconds", "seconds"], ["Bound", own("bound"), "count"],
];

const difference = (doc: Doc, at: string, as: Ref["as"]): Ref => ref(doc, [`/b${at}`, `/a${at}`], as, "difference");

function figures(doc: Doc): Table {
  const cell = (of: Ref): Cell => (known(of) ? of : null);
  const rows = FIGURES.map(([title, at, as]): Cell[] => [title, cell(ref(doc, `/a${at}`, as)), cell(ref(doc, `/b${at}`, as)), cell(difference(doc, at, as))]);
  return { name: "figures", columns: ["Figure", "A", "B", "B − A"], rows: rows.filter((row) => row[1] !== null || row[2] !== null) };
}

const side = (doc: Doc, name: "a" | "b"): Doc => ({ ...doc, value: resolve(doc.value, `/${name}`) });

interface Settings { max_num_seqs: number; max_num_batched_tokens: number }
const told = (worker: Worker & Partial<Settings>): string => `${worker.replicas.length} × ${devices_each(worker)} ${plain(worker.kind)}: ${degrees(worker)}; ${format("count", worker.max_num_seqs ?? 0)} requests, ${format("count", worker.max_num_batched_tokens ?? 0)} tokens at most`;

/** Workers and settings that differ. */
function changed(doc: Doc): Table {
  const [a, b] = [side(doc, "a"), side(doc, "b")];
  const [of_a, of_b] = [a, b].map((one) => new Map(types(one).map(({ name, worker }) => [name, told(worker)]))) as [Map<string, string>, Map<string, string>];
  const workers = [...new Set([...of_a.keys(), ...of_b.keys()])].map((name) => [name, of_a.get(name) ?? "none", of_b.get(name) ?? "none"]);
  const text = (one: Doc, at: string, as?: Ref["as"]) => { const found = resolve(one.value, at); return typeof found === "number" && as !== undefined ? format(as, found) : found == null ? "" : plain(String(found)); };
  const stated: [string, string, Ref["as"]?][] = [
    ["Model", "/plan/model/name"], ["Cluster", "/plan/cluster/name"], ["Requests/s", own("rate"), "real"], ["TTFT at most", own("promises", "ttft_s"), "seconds"], ["TPOT at most", own("promises", "tpot_s"), "seconds"], ["Request latency at most", own("promises", "latency_s"), "seconds"], ["Percentile", own("promises", "percentile"), "count"], ["Requests under way", own("concurrency"), "count"], ["Shared prefix, tokens", own("shared_prefix"), "count"],
    ["Mode", own("mode")], ["Engine", own("engine")], ["Objective", "/plan/objective"], ["Devices at most", own("most_devices"), "count"], ["Compute type", "/plan/workload/dtype"], ["KV cache type", "/plan/request/kv_dtype"],
  ];
  const settings = [["Requests", traffic(a), traffic(b)], ...stated.map(([title, at, as]) => [title, text(a, at, as), text(b, at, as)])];
  return { name: "changed", columns: ["Decision", "In A", "In B"], rows: [...workers, ...settings].filter((row) => row[1] !== row[2]) };
}

export function Fleets(props: { doc: Doc }): JSX.Element {
  const devices = () => difference(props.doc, own("n_devices"), "count");
  const of = (at: string) => difference(props.doc, at, "seconds");
  const word = (by: Ref, more: string, less: string) => ((number(by) ?? 0) === 0 ? "equal" : number(by)! > 0 ? `▲ ${more}` : `▼ ${less}`);
  return (
    <>
      <p class="lead">B against A: devices <b><Num sign of={devices()} /></b> ({word(devices(), "more", "fewer")})<Show when={known(of("/ttft_seconds"))}>, TTFT <b><Num sign of={of("/ttft_seconds")} /></b> ({word(of("/ttft_seconds"), "slower", "faster")})</Show><Show when={known(of("/tpot_seconds"))}>, TPOT <b><Num sign of={of("/tpot_seconds")} /></b> ({word(of("/tpot_seconds"), "slower", "faster")})</Show>.</p>
      <div class="halves">
        <Panel title="Changed decisions" sub="workers, and what the fleets were planned for" actions={<CsvButton of={changed(props.doc)} />}>
          <Show when={changed(props.doc).rows.length > 0} fallback={<p class="empty">All decisions are equal.</p>}><DataTable of={changed(props.doc)} /></Show>
          <p class="note"><a href={link(["plans", asked("b")])}>Open B</a> <a href={link(["plans", asked("a")])}>Open A</a></p>
        </Panel>
        <Panel title="Figures" sub="A, B and the difference" actions={<CsvButton of={figures(props.doc)} />}><DataTable of={figures(props.doc)} /></Panel>
      </div>
    </>
  );
}
