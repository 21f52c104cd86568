// A fleet of serving workers: its figures, workers on hosts, memory of a device, and what else was looked at.

import { For, Show, createMemo, type JSX } from "solid-js";
import { read } from "../api";
import { TERMS, degrees, devices_each, in_words, lengths, memory, own, slowest, statistic, traffic, types, type Host } from "../fleet";
import { axis, format } from "../format";
import { IS_ALONE } from "../held";
import { fetched } from "../load";
import { plain } from "../names";
import { Loading, Num, Panel, Trouble } from "../parts";
import { DeviceBars, ShareBar, Swatch, type Share } from "../pictures/bars";
import { DRAWN, HostsPicture, type Place } from "../pictures/hosts";
import { known, pointer, ref, resolve, type Doc, type Ref } from "../pointer";
import { asked, link, set } from "../route";
import { CsvButton, DataTable, TableButtons, Twin, type Cell, type Table } from "../table";
import type { Status } from "../types";
import { Lines, type Line } from "./configuration";
import { Front, Latencies, Recorded } from "./fleet-curves";
import Launch from "./launch";
import { FigureList, Pairs, Warnings, type Figure } from "./overview-parts";

const list = (doc: Doc, at: string): unknown[] => { const found = resolve(doc.value, at); return Array.isArray(found) ? found : []; };
const cell = (doc: Doc, at: string, as: Ref["as"]): Cell => { const found = ref(doc, at, as); return known(found) ? found : null; };
const has_rate = (doc: Doc): boolean => known(ref(doc, own("rate"), "real"));
/** Whether the devices are given, and as many requests per second as they serve are planned. */
const is_most = (doc: Doc): boolean => resolve(doc.value, "/plan/objective") === "throughput";

/** The overview. */
export function Fleet(props: { doc: Doc; status: Status }): JSX.Element {
  const is_judged = () => props.status.opened?.is_judged !== false;
  // Hosts and the engines that take the fleet are not in the plan.
  const path = createMemo(() => (IS_ALONE || !is_judged() ? "" : `/v1/plans/${encodeURIComponent(props.status.id)}/explain`));
  const told = fetched(path, async (from, signal) => (from === "" ? undefined : read(from, signal)));
  const hosts = () => (told.error() === undefined && told.latest() !== undefined ? list(told.latest()!, "/hosts") as Host[] : undefined);
  const n_devices = () => hosts()?.reduce((sum, host) => sum + host.devices.length, 0);
  return (
    <>
      <p class="lead">{in_words(props.doc)} serve {axis("real", Number(resolve(props.doc.value, own("requests_per_s"))))} requests/s of {traffic(props.doc)}.</p>
      <Figures doc={props.doc} n_devices={n_devices()} />
      <Show when={path() !== ""}>
        <Panel title="Workers on hosts" sub={hosts() === undefined ? undefined : `${hosts()!.length} ${hosts()!.length === 1 ? "host" : "hosts"}; type and replica of each worker; hatched: idle`}
          actions={<Show when={hosts()}>{(all) => <TableButtons of={replicas_table(props.doc, all())} />}</Show>}>
          <Show when={told.error() === undefined} fallback={<Trouble of={told.error()} again={told.again} />}>
            <Show when={hosts()} fallback={<Loading what="Replaying the workers" />}>{(all) => <Hosts doc={props.doc} hosts={all()} />}</Show>
          </Show>
        </Panel>
      </Show>
      <Workers doc={props.doc} />
      <Latencies doc={props.doc} actions={<Show when={is_judged()}><a href={link(["plans", props.status.id, "timeline"])}>Iterations</a></Show>} />
      <Show when={!IS_ALONE && is_judged()}><Launch doc={props.doc} id={props.status.id} /></Show>
      <div class="columns">
        <div>
          <Memory doc={props.doc} actions={<a href={link(["plans", props.status.id, "memory"])}>By term</a>} />
          <Recorded doc={props.doc} />
          <Front doc={props.doc} />
          <Instead doc={props.doc} />
        </div>
        <div>
          <Warnings doc={props.doc} />
          <Panel title="Traffic and limits"><Lines of={asked_lines(props.doc)} /></Panel>
          <Proof doc={props.doc} status={props.status} told={told.error() === undefined ? told.latest() : undefined} />
        </div>
      </div>
    </>
  );
}

function Figures(props: { doc: Doc; n_devices: number | undefined }): JSX.Element {
  const of = (at: string, as: Ref["as"]) => ref(props.doc, at, as);
  // Of a rate it is a consequence.
  const under_way = () => of(known(of(own("concurrency"), "count")) ? "/n_under_way" : "/none", "real");
  const latency = (name: "ttft_s" | "tpot_s" | "latency_s") => {
    const promised = of(own("promises", name), "seconds");
    return <>{name === "latency_s" ? "mean" : statistic(props.doc)} of replays<Show when={known(promised)}>; promised <Num of={promised} /></Show></>;
  };
  const all = (): Figure[] => [
    { name: "Devices", of: of(own("n_devices"), "count"), note: props.n_devices === undefined ? "" : `of ${format("count", props.n_devices)} in the cluster` },
    { name: "Requests/s", of: of(own("requests_per_s"), "real"), note: has_rate(props.doc) ? <>requested <Num of={of(own("rate"), "real")} /></> : is_most(props.doc) ? "at most, with these latencies" : "" },
    { name: "Requests under way", of: under_way(), note: <>mean of replays; requested <Num of={of(own("concurrency"), "count")} /></> },
    { name: "Output tokens/s", of: of("/output_tokens_per_s", "real") },
    { name: "TTFT", of: slowest(props.doc, "ttft_s"), note: latency("ttft_s") },
    { name: "TPOT", of: slowest(props.doc, "tpot_s"), note: latency("tpot_s") },
    { name: "Request latency", of: of("/latency_seconds", "seconds"), note: latency("latency_s") },
    { name: "Price per hour", of: of(own("price_per_hour"), "real") },
  ];
  return <FigureList of={all()} />;
}

function Workers(props: { doc: Doc }): JSX.Element {
  const has_kinds = () => new Set(types(props.doc).map(({ worker }) => worker.kind)).size > 1;
  const table = (): Table => ({
    name: "workers", columns: ["Worker", "Replicas", "Degrees", "Devices each", ...(has_kinds() ? ["Device"] : []), "Requests/s each", "TTFT", "TPOT", "Requests per DP rank, most", "Tokens per iteration, most", "KV tokens per DP rank"],
    rows: types(props.doc).map(({ name, worker }, at): Cell[] => {
      const of = (member: string, as: Ref["as"]) => cell(props.doc, own("workers", at, member), as);
      return [name, String(worker.replicas.length), degrees(worker), String(devices_each(worker)), ...(has_kinds() ? [plain(worker.kind)] : []), of("requests_per_s", "real"), of("ttft_s", "seconds"), of("tpot_s", "seconds"), of("max_num_seqs", "count"), of("max_num_batched_tokens", "count"), of("kv_tokens", "count")];
    }),
  });
  return <Panel class="workers" title="Workers" sub={`${plain(String(resolve(props.doc.value, own("engine"))))}; latencies of replays at the rate of each worker`} actions={<CsvButton of={table()} />}><DataTable of={table()} caption="Workers" /></Panel>;
}

/** A row for each replica, and for the idle devices of each host. */
function replicas_table(doc: Doc, hosts: Host[]): Table {
  return {
    name: "replicas", columns: ["Worker", "Replica", "Hosts", "Devices"],
    get rows() {
      const of_device = new Map(hosts.flatMap((host) => host.devices.map((device): [string, string] => [device, host.name])));
      const all = types(doc);
      const taken = new Set(all.flatMap(({ worker }) => worker.replicas.flat()));
      const idle = hosts.map((host) => ({ host, devices: host.devices.filter((device) => !taken.has(device)) })).filter((one) => one.devices.length > 0);
      return [
        ...all.flatMap(({ name, worker }) => worker.replicas.map((devices, at): Cell[] => [name, String(at), [...new Set(devices.map((device) => of_device.get(device) ?? ""))].join(", "), devices.join(", ")])),
        ...idle.map(({ host, devices }): Cell[] => ["idle", "", host.name, devices.join(", ")]),
      ];
    },
  };
}

/** Idle hosts up to which all are drawn. */
const FOLDED = 8;

function Hosts(props: { doc: Doc; hosts: Host[] }): JSX.Element {
  const all = createMemo(() => types(props.doc));
  const places = createMemo(() => new Map(all().flatMap(({ worker }, type) => worker.replicas.flatMap((devices, replica) => devices.map((device): [string, Place] => [device, { type, replica }])))));
  const n_idle = () => props.hosts.flatMap((host) => host.devices).filter((device) => !places().has(device)).length;
  const busy = createMemo(() => props.hosts.filter((host) => host.devices.some((device) => places().has(device))));
  const n_folded = () => props.hosts.length - busy().length;
  const is_folded = () => n_folded() > FOLDED && asked("idle") === "";
  const drawn = () => (is_folded() ? busy() : props.hosts);
  const told = () => `${in_words(props.doc)} on ${props.hosts.length} hosts; ${n_idle()} devices are idle`;
  return (
    <>
      <HostsPicture hosts={drawn()} types={all()} places={places()} label={told()} />
      <Show when={drawn().length > DRAWN}><p class="note">{DRAWN} of {drawn().length} hosts; the table has all.</p></Show>
      <Show when={n_folded() > FOLDED}><p class="note">{is_folded() ? `${n_folded()} idle hosts are not drawn.` : `${n_folded()} hosts are idle.`} <button type="button" class="plain" onClick={() => set({ idle: is_folded() ? "shown" : "" })}>{is_folded() ? "Draw them" : "Hide them"}</button></p></Show>
      <ul class="legend">
        <For each={all()}>{(type) => <li><Swatch kind={type.fill} /> {type.name} ({type.short}): {type.worker.replicas.length} × {degrees(type.worker)}</li>}</For>
        <Show when={n_idle() > 0}><li><Swatch kind="missing" /> {format("count", n_idle())} idle {n_idle() === 1 ? "device" : "devices"}</li></Show>
      </ul>
      <Twin of={replicas_table(props.doc, props.hosts)} />
    </>
  );
}

function memory_table(doc: Doc): Table {
  return {
    name: "worker-memory", columns: ["Worker", ...TERMS.map(([, title]) => title), "All of these", "Usable by a process", "Left free by the engine", "KV tokens per DP rank"],
    rows: memory(doc).map((bar, at): Cell[] => [bar.name, ...bar.parts.map((part): Cell => part.value), bar.peak, bar.limit, bar.free, cell(doc, own("workers", at, "kv_tokens"), "count")]),
  };
}

/** The fullest device of each worker type, by term. */
function Memory(props: { doc: Doc; actions?: JSX.Element }): JSX.Element {
  return (
    <Panel title="Memory per device" sub="fullest device of each worker; dashed: device memory; the rest is left free by the engine" actions={<><TableButtons of={memory_table(props.doc)} />{props.actions}</>}>
      <DeviceBars of={memory(props.doc)} label="Memory per device" />
      <ul class="legend"><For each={TERMS}>{([kind, title]) => <li><Swatch kind={kind} /> {title}</li>}</For></ul>
      <Twin of={memory_table(props.doc)} />
    </Panel>
  );
}

/** The memory view. */
export function FleetMemory(props: { doc: Doc }): JSX.Element {
  return (
    <>
      <Memory doc={props.doc} />
      <Panel title="Terms" sub="bytes of the fullest device; weights as the checkpoint holds them" actions={<CsvButton of={memory_table(props.doc)} />}><DataTable of={{ ...memory_table(props.doc), name: "terms" }} caption="Terms" /></Panel>
    </>
  );
}

/** What people would have started, and what other latencies cost. */
function Instead(props: { doc: Doc }): JSX.Element {
  const others = () => list(props.doc, "/alternatives") as { name: string; workers: string | null; why: string | null }[];
  const figures = (at: string): Cell[] => [
    cell(props.doc, `${at}/n_devices`, "count"), ...(is_most(props.doc) ? [cell(props.doc, `${at}/requests_per_s`, "real")] : []),
    ...(has_price() ? [cell(props.doc, `${at}/price_per_hour`, "real")] : []), cell(props.doc, `${at}/ttft_seconds`, "seconds"), cell(props.doc, `${at}/tpot_seconds`, "seconds"),
  ];
  const has_price = () => known(ref(props.doc, own("price_per_hour"), "real"));
  const mine = (): Cell[] => {
    const latency = (name: "ttft_s" | "tpot_s"): Cell => { const found = slowest(props.doc, name); return known(found) ? found : null; };
    return [cell(props.doc, own("n_devices"), "count"), ...(is_most(props.doc) ? [cell(props.doc, own("requests_per_s"), "real")] : []), ...(has_price() ? [cell(props.doc, own("price_per_hour"), "real")] : []), latency("ttft_s"), latency("tpot_s")];
  };
  const table = (): Table => ({
    name: "instead", columns: ["Fleet", "Devices", ...(is_most(props.doc) ? ["Requests/s"] : []), ...(has_price() ? ["Price per hour"] : []), "TTFT", "TPOT", "Workers, or why there is none"],
    rows: [["this plan", ...mine(), types(props.doc).map(({ worker }) => `${worker.replicas.length} × ${worker.role === "aggregated" ? "" : `${worker.role} `}${degrees(worker)}`).join("; ")],
      ...others().map((other, at): Cell[] => [plain(other.name), ...figures(pointer("alternatives", at)), plain(other.why ?? other.workers ?? "").replaceAll(" x ", " × ")])],
  });
  return <Show when={others().length > 0}><Panel class="fleets" title="Other fleets" sub="for the same requests; the first row is this plan" actions={<CsvButton of={table()} />}><DataTable of={table()} caption="Other fleets" /></Panel></Show>;
}

function asked_lines(doc: Doc): Line[] {
  // Shares of lengths are weights.
  const shares = lengths(doc).map((_, at) => own("lengths", at, "share"));
  const figure = (title: string, at: string, as: Ref["as"]): Line[] => (known(ref(doc, at, as)) ? [[title, ref(doc, at, as)]] : []);
  const text = (title: string, at: string): Line[] => { const found = resolve(doc.value, at); return found == null ? [] : [[title, String(found)]]; };
  return [
    ...(has_rate(doc) ? figure("Requests/s", own("rate"), "real") : is_most(doc) ? [["Requests/s", "as many as possible"] as Line] : []), ...figure("Requests under way", own("concurrency"), "count"),
    ...lengths(doc).flatMap((_, at): Line[] => {
      const of = (name: string) => own("lengths", at, name);
      const is_one = lengths(doc).length === 1;
      return [...figure(is_one ? "Input tokens" : `Input tokens, length ${at + 1}`, of("input_tokens"), "count"), ...figure("Output tokens", of("output_tokens"), "count"), ...(is_one ? [] : [["Share of requests", { ...ref(doc, of("share"), "share", "share"), whole: shares }] as Line])];
    }),
    ...figure("Shared prefix, tokens", own("shared_prefix"), "count"),
    ...figure("TTFT at most", own("promises", "ttft_s"), "seconds"), ...figure("TPOT at most", own("promises", "tpot_s"), "seconds"), ...figure("Request latency at most", own("promises", "latency_s"), "seconds"),
    ["Promised to", statistic(doc) === "mean" ? "the mean of requests" : `${statistic(doc)} of requests`],
    ...text("Mode", own("mode")), ...text("Engine", own("engine")), ...text("Compute type", "/plan/workload/dtype"), ...text("KV cache type", "/plan/request/kv_dtype"),
    ...figure("Devices at most", own("most_devices"), "count"), ...figure("Handed over per request", own("bytes_handed_over"), "bytes"),
  ];
}

const OBJECTIVES: Record<string, [string, Ref["as"]]> = { "fewest-devices": ["fewest devices", "count"], "lowest-price": ["lowest price per hour", "real"], throughput: ["most requests/s", "real"] };

/** Why no fleet is better, what runs it, what its figures come from. */
function Proof(props: { doc: Doc; status?: Status; told?: Doc | undefined }): JSX.Element {
  const is_proved = () => resolve(props.doc.value, "/is_proved");
  const stated = () => String(resolve(props.doc.value, "/plan/objective"));
  const [title, as] = [() => OBJECTIVES[stated()]?.[0] ?? plain(stated()), () => OBJECTIVES[stated()]?.[1] ?? "real"];
  const words = () => (is_proved() === true ? `Proved: ${title()} of all fleets of these worker types (integer program), then replayed.` : known(ref(props.doc, own("bound"), "real")) ? "Not proved: see the bound." : "Not proved: other workers do as well or better, see the table of other fleets.");
  const runs_on = () => list(props.told!, "/runs_on").map(String);
  const lines = (): Line[] => [
    ["Objective", title()],
    ...([["Bound", own("bound"), as()], ["By formulas alone", "/predicted", as()], ["Worker shapes", "/n_enumerated", "count"], ["Worker types", "/n_types", "count"]] as [string, string, Ref["as"]][]).flatMap(([name, at, form]): Line[] => (known(ref(props.doc, at, form)) ? [[name, ref(props.doc, at, form)]] : [])),
    ...(props.told === undefined ? [] : [["Runs on", runs_on().length === 0 ? "no server as it is" : runs_on().join(", ")] as Line]),
  ];
  return (
    <Panel title="Proof" actions={<Show when={IS_ALONE ? undefined : props.status}>{(plan) => <a href={link(["plans", plan().id, "why"])}>Worker shapes</a>}</Show>}>
      <Show when={is_proved() !== undefined}><p>{words()}</p></Show>
      <Lines of={lines()} />
      <Pairs doc={props.doc} of={[["Stop reason", "/stop_reason", "text"], ["Algorithm", "/plan/algorithm", "text"], ["Planning time", "/elapsed_s", "seconds"], ["Model", "/plan/model/digest", "digest"], ["Cluster", "/plan/cluster/digest", "digest"]]} />
      <Show when={props.told}>{(told) => <p class="note">Based on {plain(String(resolve(told().value, "/based_on")))}; no interval: no fleet was measured.</p>}</Show>
    </Panel>
  );
}

/** Reasons in counts of shapes: what they mean, and their fill. */
const REASONS: Record<string, [string, string]> = {
  invalid: ["degrees do not divide the heads, experts or layers", "stays"],
  "not priced": ["the measured tables have no kernels of it", "optimizer"],
  "not run by the engine": ["the engine does not run these degrees", "collective"],
  "weights do not fit": ["weights and buffers exceed device memory", "backward"],
  "no KV cache for one request": ["the KV cache is too small for the longest request", "recompute"],
  TTFT: ["above the TTFT target with a single request", "transfer"],
  TPOT: ["above the TPOT target with a single request", "weight"],
  dominated: ["smaller workers in its place serve at least as much within the targets", "comes"],
  "no steady state": ["requests queue up at every rate", "excess"],
  "not searched": ["the search stopped before", "missing"],
};

/** Shapes by what became of them; the counts add up to all that were enumerated. */
function Shapes(props: { doc: Doc }): JSX.Element {
  const reasons = () => Object.keys((resolve(props.doc.value, "/rejected") ?? {}) as object);
  const all = () => ["/n_accepted", ...reasons().map((name) => pointer("rejected", name))];
  const share = (name: string, kind: string, at: string): Share => ({ name, kind, value: ref(props.doc, at, "count"), share: { ...ref(props.doc, at, "share", "share"), whole: all() } });
  const shares = (): Share[] => [share("Worker types", "measured", "/n_accepted"), ...reasons().map((name) => share(plain(name), REASONS[name]?.[1] ?? "optimizer", pointer("rejected", name)))];
  const table = (): Table => ({
    name: "shapes", columns: ["Outcome", "Shapes", "Share", "Meaning"],
    rows: shares().map((one): Cell[] => [one.name, one.value, one.share, one.name === "Worker types" ? "the fleet was chosen from these" : REASONS[one.name]?.[0] ?? ""]),
  });
  return (
    <Show when={known(ref(props.doc, "/n_enumerated", "count"))}>
      <Panel title="Worker shapes" sub={<><Num of={ref(props.doc, "/n_enumerated", "count")} /> enumerated on each kind of device in each role; <Num of={ref(props.doc, all().slice(1), "count")} /> rejected</>} actions={<CsvButton of={table()} />}>
        <ShareBar of={shares()} label="Worker shapes by outcome" />
        <DataTable of={table()} caption="Worker shapes" />
      </Panel>
    </Show>
  );
}

/** Shapes that the model can have and that are no worker types, each with the number that broke it. */
function Rejected(props: { doc: Doc }): JSX.Element {
  const all = () => list(props.doc, "/rejected_shapes") as { role: string; kind: string; degrees: string; reason: string; why: string }[];
  const table = (): Table => ({ name: "rejected-shapes", columns: ["Role", "Device", "Degrees", "Reason", "With numbers"], rows: all().map((one): Cell[] => [one.role, one.kind, one.degrees, one.reason, one.why].map(plain)) });
  return <Show when={all().length > 0}><Panel class="fleets" title="Rejected shapes" sub="without those that the model cannot have" actions={<CsvButton of={table()} />}><DataTable of={table()} caption="Rejected shapes" /></Panel></Show>;
}

/** Why the fleet is as it is. */
export function FleetWhy(props: { doc: Doc }): JSX.Element {
  return <><Shapes doc={props.doc} /><Rejected doc={props.doc} /><Front doc={props.doc} /><Instead doc={props.doc} /><Proof doc={props.doc} /></>;
}
