// A fleet's latencies as distributions, and its Pareto front.

import { For, Show, type JSX } from "solid-js";
import { own, slowest, statistic, types } from "../fleet";
import { format } from "../format";
import { plain } from "../names";
import { Num, Panel } from "../parts";
import { Curves, type At, type Line } from "../pictures/curves";
import { known, number, pointer, ref, resolve, type Doc, type Ref } from "../pointer";
import { asked, set } from "../route";
import { TableButtons, Twin, type Cell, type Table } from "../table";

const LATENCIES: [string, string][] = [["TTFT", "ttft_s"], ["TPOT", "tpot_s"], ["Request latency", "latency_s"]];
const QUANTILES: [string, string][] = [["Mean", "mean"], ["p50", "p50"], ["p90", "p90"], ["p99", "p99"]];
/** Percent from one value of a curve to the next. */
const STEP = 5;

const list = (doc: Doc, at: string): unknown[] => { const found = resolve(doc.value, at); return Array.isArray(found) ? found : []; };
const cell = (doc: Doc, at: string, as: Ref["as"]): Cell => { const found = ref(doc, at, as); return known(found) ? found : null; };

/** What has latencies: a worker type, or all requests of a file. */
interface Source { name: string; at: string }

/** Distributions of one latency at a time, chosen by a button. */
function Distributions(props: { doc: Doc; of: Source[]; name: string; title: string; sub: JSX.Element; actions?: JSX.Element }): JSX.Element {
  const shown = () => LATENCIES.filter(([, name]) => props.of.some(({ at }) => known(ref(props.doc, `${at}/${name}/mean`, "seconds"))));
  const chosen = () => shown().find(([, name]) => name === asked(props.name)) ?? shown()[0]!;
  const lines = (): Line[] => props.of.flatMap(({ name, at }): Line[] => {
    const values = list(props.doc, `${at}/${chosen()[1]}/percentiles`);
    const point = (_: unknown, n: number): At => { const x = ref(props.doc, `${at}/${chosen()[1]}/percentiles/${n}`, "seconds"); return { x, y: (n * STEP) / 100, title: `p${n * STEP} ${format("seconds", number(x) ?? 0)}` }; };
    return values.length === 0 ? [] : [{ name, points: values.map(point) }];
  });
  const table = (): Table => ({
    name: props.name, columns: [...(props.of.length > 1 ? ["Worker"] : []), "Latency", ...QUANTILES.map(([title]) => title)],
    rows: props.of.flatMap(({ name, at }) => LATENCIES.filter(([, member]) => known(ref(props.doc, `${at}/${member}/mean`, "seconds"))).map(([title, member]): Cell[] => [...(props.of.length > 1 ? [name] : []), title, ...QUANTILES.map(([, quantile]) => cell(props.doc, `${at}/${member}/${quantile}`, "seconds"))])),
  });
  return (
    <Show when={shown().length > 0}>
      <Panel title={props.title} sub={props.sub} actions={<><TableButtons of={table()} />{props.actions}</>}>
        <p class="buttons" role="group" aria-label={`Latency of ${props.title.toLowerCase()}`}>
          <For each={shown()}>{([title, name]) => <button type="button" class="plain" aria-pressed={chosen()[1] === name} onClick={() => set({ [props.name]: name === shown()[0]![1] ? "" : name })}>{title}</button>}</For>
        </p>
        <Curves of={lines()} x={{ title: chosen()[0], as: "seconds" }} y={{ title: "requests within", as: "share", least: 0, most: 1 }} label={`${chosen()[0]} by percentile`} />
        <Twin of={table()} />
      </Panel>
    </Show>
  );
}

/** Latencies of each worker type in its replays. */
export function Latencies(props: { doc: Doc; actions?: JSX.Element }): JSX.Element {
  const sources = () => types(props.doc).map(({ name }, at): Source => ({ name, at: pointer("worker_latencies", at) }));
  return <Distributions doc={props.doc} of={sources()} name="latencies" title="Latency distribution" sub="requests of each worker type in all its replays; request latency: arrival at the worker to last token" actions={props.actions} />;
}

/** Latencies of the requests of a file. */
export function Recorded(props: { doc: Doc }): JSX.Element {
  const of = (name: string, as: Ref["as"] = "count") => ref(props.doc, pointer("requests", name), as);
  return (
    <Distributions doc={props.doc} of={[{ name: "requests of the file", at: "/requests" }]} name="requests" title="Requests of the file"
      sub={<><Num of={of("n_replayed")} /> of <Num of={of("n_requests")} /> replayed on the whole fleet, first arrival to last token <Num of={of("total_s", "seconds")} />; <Num of={of("n_preemptions")} /> preemptions</>} />
  );
}

/** What the objective counts: title, member, how it is written. */
const COSTS: Record<string, [string, string, Ref["as"]]> = { "lowest-price": ["price per hour", "price_per_hour", "real"], throughput: ["requests/s", "requests_per_s", "real"] };

/** Cost against TPOT: fleets that none beats in both. */
export function Front(props: { doc: Doc }): JSX.Element {
  const all = () => list(props.doc, "/front") as { name: string; workers: string | null }[];
  const [title, member, as] = COSTS[String(resolve(props.doc.value, "/plan/objective"))] ?? ["devices", "n_devices", "count" as const];
  const said = (name: string, x: Ref, y: Ref) => `${plain(name)}: ${format(as, number(y) ?? 0)} ${title}, TPOT ${format("seconds", number(x) ?? 0)}`;
  const points = (): At[] => all().map(({ name }, at) => {
    const [x, y] = [ref(props.doc, pointer("front", at, "tpot_seconds"), "seconds"), ref(props.doc, pointer("front", at, member), as)];
    return { x, y, title: said(name, x, y) };
  });
  const mine = (): At => { const [x, y] = [slowest(props.doc, "tpot_s"), ref(props.doc, own(member), as)]; return { x, y, title: said("this plan", x, y) }; };
  const table = (): Table => ({
    name: "front", columns: ["Fleet", "TPOT", "Devices", ...(member === "n_devices" ? [] : [member === "requests_per_s" ? "Requests/s" : "Price per hour"]), "TTFT", "Workers"],
    rows: all().map(({ name, workers }, at): Cell[] => {
      const of = (name: string, as: Ref["as"]) => cell(props.doc, pointer("front", at, name), as);
      return [plain(name), of("tpot_seconds", "seconds"), of("n_devices", "count"), ...(member === "n_devices" ? [] : [of(member, as)]), of("ttft_seconds", "seconds"), plain(workers ?? "").replaceAll(" x ", " × ")];
    }),
  });
  return (
    <Show when={all().length > 1}>
      <Panel class="fleets" title="Pareto front" sub={`${title} against TPOT (${statistic(props.doc)}, by replay); diamond: this plan; no other fleet planned here is better in both`} actions={<TableButtons of={table()} />}>
        <Curves is_stepped of={[{ name: "Pareto front", points: points() }]} own={mine()} x={{ title: "TPOT", as: "seconds" }} y={{ title, as }} label={`${title} against TPOT`} />
        <Twin of={table()} />
      </Panel>
    </Show>
  );
}
