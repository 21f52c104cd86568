// What if: the plan as it is, replayed on a changed cluster.

import { For, Show, batch, createEffect, createMemo, createSignal, createUniqueId, on, onCleanup, type JSX } from "solid-js";
import { ask, send } from "../api";
import { again, type Change } from "../changes";
import { devices, kind_of, step_time } from "../figures";
import { Loaded, is_no_answer } from "../load";
import { plain, short } from "../names";
import { Loading, Num, Panel, Trouble } from "../parts";
import { DeviceBars, Swatch, type DeviceBar } from "../pictures/bars";
import { known, number, pointer, ref, resolve, type Doc, type Ref } from "../pointer";
import { asked, go, link, set } from "../route";
import { CsvButton, DataTable, TableButtons, Twin, type Table } from "../table";
import type { Diagnostic, Status } from "../types";
import { POWERS, body, factors, is_run, knobs, n_used, type Knob } from "../what-if";
import { memory_table } from "./overview";

/** Pause after the last turn before the service is asked, in milliseconds. */
const PAUSE = 40;

export default function WhatIf(props: { status: Doc }): JSX.Element {
  const plan = () => props.status.value as Status;
  return (
    <Loaded path={`/v1/plans/${encodeURIComponent(plan().id)}/answer?brief=true`} what="Loading the plan">
      {(answer) => kind_of(answer()) === "given" ? <p class="empty">An instance states all costs: there is no cluster to change.</p> : kind_of(answer()) !== "run" && kind_of(answer()) !== "ops" ? <p class="empty">Plans of this kind cannot be replayed: edit the request in <a href={link(["plans", plan().id, "search"])}>Search</a> and plan again.</p> : <Turned plan={plan()} answer={answer()} />}
    </Loaded>
  );
}

const simulate = async (own: Record<string, unknown>, signal: AbortSignal): Promise<unknown> => {
  const answer = await ask("/v1/simulate", { method: "POST", body: JSON.stringify(own), signal, headers: { "content-type": "application/json" } });
  return answer.json();
};

/** The replay of the plan as it is, and the latest of what is asked; older questions are given up. */
function replays(plan: () => Status, wanted: (base: Doc | undefined) => Record<string, unknown>) {
  const [doc, setDoc] = createSignal<Doc>();
  const [error, setError] = createSignal<unknown>();
  const [is_busy, setBusy] = createSignal(false);
  const text = createMemo(() => JSON.stringify(wanted(doc())));
  const [n, setN] = createSignal(0);
  createEffect(on(() => [plan().id, text(), n()] as const, ([id, own]) => {
    const stop = new AbortController();
    const before = doc();
    const base = JSON.stringify({ plan: id });
    setBusy(true);
    const start = async () => {
      const known = before !== undefined && before.source.startsWith(`simulate?a=${encodeURIComponent(base)}&`);
      const planned = known ? (before.value as { plan: unknown }).plan : await simulate({ plan: id }, stop.signal);
      const show = (asked: string, sides: { plan: unknown; now?: unknown }, why?: unknown) => batch(() => {
        setDoc({ source: `simulate?a=${encodeURIComponent(base)}&b=${encodeURIComponent(asked)}`, value: sides });
        setError(() => why);
      });
      if (!known) show(base, { plan: planned, now: planned });
      if (own === base) { if (known) show(own, { plan: planned, now: planned }); return; }
      try {
        show(own, { plan: planned, now: await simulate(JSON.parse(own) as Record<string, unknown>, stop.signal) });
      } catch (why) {
        if (stop.signal.aborted) throw why;
        if (is_no_answer(why)) throw why;
        // Sliders stay; no figure of the plan or of an earlier question stands for what was refused.
        show(own, { plan: planned }, why);
      }
    };
    const failed = (why: unknown) => {
      if (stop.signal.aborted) return;
      setError(() => why);
      if (is_no_answer(why)) retry = setTimeout(() => setN((old) => old + 1), 1000);
    };
    let retry: ReturnType<typeof setTimeout> | undefined;
    onCleanup(() => clearTimeout(retry));
    const timer = setTimeout(() => void start().catch(failed)
      .finally(() => { if (!stop.signal.aborted) setBusy(false); }), before === undefined ? 0 : PAUSE);
    onCleanup(() => { clearTimeout(timer); stop.abort(); });
  }));
  return { doc, error, is_busy };
}

function Turned(props: { plan: Status; answer: Doc }): JSX.Element {
  const names = (doc: Doc | undefined) => (doc === undefined ? [] : knobs(doc, "plan").map((own) => own.name));
  // Before the cluster is known, the address says what is turned.
  const of_address = () => [...new URLSearchParams(location.hash.split("?")[1] ?? "").keys()].filter((own) => own.startsWith("x.")).map((own) => own.slice(2));
  const wanted = (doc: Doc | undefined) => body(props.plan, asked, doc === undefined ? of_address() : names(doc));
  const { doc, error, is_busy } = replays(() => props.plan, wanted);
  const is_changed = () => Object.keys(wanted(doc())).length > 1 || asked("n") !== "";
  return (
    <Show when={doc()} fallback={<Show when={error()} fallback={<Awaited answer={props.answer} />}>{(own) => <Trouble of={own()} />}</Show>}>{(own) => (
      <div class="what-if">
        <Panel title="Changes" actions={<button type="button" class="plain" disabled={!is_changed()} onClick={() => reset(names(own()))}>As planned</button>}>
          <Factors plan={props.plan} doc={own()} />
          <Show when={is_run(own(), "plan")}><MicroBatches doc={own()} /><Devices answer={props.answer} doc={own()} /></Show>
          <Show when={!is_run(own(), "plan")}>
            <p class="note">Devices and micro-batches of a placement are fixed: <a href={link(["plans", props.plan.id, "search"])}>edit the request</a> for others.</p>
          </Show>
          <Show when={props.plan.opened === null} fallback={<p class="note">A plan file has no request: use New plan to plan again.</p>}><PlanAgain plan={props.plan} doc={own()} is_changed={is_changed()} /></Show>
        </Panel>
        <div aria-busy={is_busy()}>
          <Mark doc={own()} is_busy={is_busy()} is_refused={error() !== undefined} />
          <Show when={error()}>{(why) => <Trouble of={why()} />}</Show>
          <TooFew answer={props.answer} />
          <Result doc={own()} />
        </div>
      </div>
    )}</Show>
  );
}

/** What is known before the plan was replayed. */
function Awaited(props: { answer: Doc }): JSX.Element {
  const all = createMemo(() => devices(props.answer).slice(0, DRAWN));
  return (
    <Panel title="As planned">
      <Loading what="Replaying the plan" />
      <dl class="pairs"><dt>Step time</dt><dd><Num of={step_time(props.answer)} /></dd></dl>
      <DeviceBars of={all()} label="Peak memory per device as planned" />
      <ul class="legend"><For each={all()[0]?.parts ?? []}>{(part) => <li><Swatch kind={part.kind} /> {part.name}</li>}</For></ul>
    </Panel>
  );
}

const reset = (names: string[]): void => set(Object.fromEntries([...names.map((own) => [`x.${own}`, ""]), ["m", ""], ["n", ""]]));

/** A slider for each size that can be turned. */
function Factors(props: { plan: Status; doc: Doc }): JSX.Element {
  const planned = createMemo(() => knobs(props.doc, "plan"));
  const now = createMemo(() => new Map(knobs(props.doc, "now").map((own) => [own.name, own.of])));
  const names = createMemo(() => planned().map((own) => own.name), [], { equals: (a, b) => a.join("\n") === b.join("\n") });
  return <For each={names()}>{(name, at) => <Factor knob={planned()[at()]!} now={now().get(name)} planned={factors(props.plan.request)[name] ?? 1} />}</For>;
}

/** A slider by powers of two, and the factor as a number. */
function Factor(props: { knob: Knob; now: Ref | undefined; planned: number }): JSX.Element {
  const id = createUniqueId();
  const key = () => `x.${props.knob.name}`;
  const factor = () => (asked(key()) === "" ? props.planned : Number(asked(key())));
  const put = (own: number) => {
    if (Number.isFinite(own) && own > 0) set({ [key()]: own === props.planned ? "" : String(own) });
  };
  const rounded = (power: number) => Number((2 ** power).toPrecision(4));
  return (
    <div class="knob">
      <label for={id}>{short(props.knob.title, 60)}</label>
      <b><Show when={props.now}>{(now) => <Num of={now()} />}</Show></b>
      <input id={id} type="range" min={-POWERS} max={POWERS} step="0.1" value={Math.log2(factor())} aria-valuetext={`${factor()} times`}
        onInput={(event) => put(rounded(event.currentTarget.valueAsNumber))} />
      <label class="inline">× <input type="number" min="0.001" max="1000" step="any" value={factor()} aria-label={`${short(props.knob.title, 60)}, factor`}
        onChange={(event) => put(event.currentTarget.valueAsNumber)} /></label>
      <p class="note">plan: <Num of={props.knob.of} /></p>
    </div>
  );
}

function MicroBatches(props: { doc: Doc }): JSX.Element {
  const id = createUniqueId();
  const planned = () => number(ref(props.doc, "/plan/n_micro_batches", "count")) ?? 1;
  const own = () => (asked("m") === "" ? planned() : Number(asked("m")));
  const put = (n: number) => { if (Number.isSafeInteger(n) && n >= 1) set({ m: n === planned() ? "" : String(n) }); };
  return (
    <div class="knob">
      <label for={id}>Micro-batches per replica</label>
      <b>{own()}</b>
      <input id={id} type="range" min="1" max={Math.max(planned() * 4, 8)} value={own()} onInput={(event) => put(event.currentTarget.valueAsNumber)} />
      <label class="inline">n <input type="number" min="1" step="1" value={own()} aria-label="Micro-batches per replica, number" onChange={(event) => put(event.currentTarget.valueAsNumber)} /></label>
      <p class="note">plan: <Num of={ref(props.doc, "/plan/n_micro_batches", "count")} /><Show when={known(ref(props.doc, "/now/global_batch", "count"))}>; global batch <Num of={ref(props.doc, "/now/global_batch", "count")} /> samples</Show></p>
    </div>
  );
}

function Devices(props: { answer: Doc; doc: Doc }): JSX.Element {
  const id = createUniqueId();
  const has = () => number(ref(props.doc, "/plan/cluster/n_devices", "count")) ?? 1;
  const used = () => n_used(props.answer.value);
  const own = () => (asked("n") === "" ? used() : Number(asked("n")));
  const put = (n: number) => { if (Number.isSafeInteger(n) && n >= 1) set({ n: n === used() ? "" : String(n) }); };
  return (
    <div class="knob">
      <label for={id}>Devices</label>
      <b>{own()}</b>
      <input id={id} type="range" min="1" max={has()} value={own()} onInput={(event) => put(event.currentTarget.valueAsNumber)} />
      <label class="inline">n <input type="number" min="1" max={has()} step="1" value={own()} aria-label="Devices, number" onChange={(event) => put(event.currentTarget.valueAsNumber)} /></label>
      <p class="note">the cluster has <Num of={ref(props.doc, "/plan/cluster/n_devices", "count")} /></p>
    </div>
  );
}

/** Devices are decided by planning: the replay is of the plan's own. */
function TooFew(props: { answer: Doc }): JSX.Element {
  const used = () => n_used(props.answer.value);
  const n = () => Number(asked("n"));
  return (
    <Show when={asked("n") !== "" && n() !== used()}>
      <p class="callout warn" role="status"><span aria-hidden="true">▲</span> {n() < used()
        ? `The plan uses ${used()} devices and can't be replayed on ${n()}: plan again.`
        : `The plan uses ${used()} devices: plan again to use ${n()}.`} Values are for {used()} devices.</p>
    </Show>
  );
}

/** What the same files make with these sizes. */
function PlanAgain(props: { plan: Status; doc: Doc; is_changed: boolean }): JSX.Element {
  const [error, setError] = createSignal<unknown>();
  const [is_sent, setSent] = createSignal(false);
  const start = async () => {
    setSent(true);
    setError(undefined);
    const own = body(props.plan, asked, knobs(props.doc, "plan").map((one) => one.name));
    const some: Change[] = [];
    if (asked("n") !== "") some.push({ field: "devices", value: asked("n") });
    const request = again(props.plan, some);
    if (Array.isArray(own["scale"])) { if (own["scale"].length > 0) request["scale"] = own["scale"]; else delete request["scale"]; }
    if (asked("m") !== "") {
      for (const name of ["tokens_per_step", "batch"]) delete request[name];
      const planned = (name: string) => number(ref(props.doc, `/plan/${name}`, "count")) ?? 1;
      request["global_batch"] = (planned("global_batch") / planned("n_micro_batches")) * Number(asked("m"));
    }
    try {
      go(["plans", ((await send("/v1/plans", request)).value as Status).id]);
    } catch (why) { setError(() => why); }
    setSent(false);
  };
  return (
    <>
      <p class="buttons"><button type="button" class="main" disabled={is_sent() || !props.is_changed} onClick={() => void start()}>{is_sent() ? "Submitting …" : "Plan again"}</button></p>
      <p class="note">Planning again may change every decision; it starts a new plan.</p>
      <Show when={error()}>{(why) => <Trouble of={why()} />}</Show>
    </>
  );
}

function Mark(props: { doc: Doc; is_busy: boolean; is_refused: boolean }): JSX.Element {
  const own = () => new URLSearchParams(props.doc.source.split("?")[1]).get("b") ?? "{}";
  const told = () => {
    // Factors of 1 in place of those that were planned for.
    if (own().includes('"scale":[]')) return "cluster as in the file";
    const { scale: sizes, micro_batches: m } = JSON.parse(own()) as { scale?: string[]; micro_batches?: number };
    return [...(sizes ?? []).map((one) => `${short(one.slice(0, one.lastIndexOf("=")))} × ${one.slice(one.lastIndexOf("=") + 1)}`), ...(m === undefined ? [] : [`${m} micro-batches`])].join(", ");
  };
  return (
    <p class="lead" role="status">
      <span class={told() === "" ? "chip" : "chip cancelled"}>{props.is_refused ? "Not replayed" : told() === "" ? "The plan as it is" : "What-if, not planned"}</span>{" "}
      <span class="note">{told()}{props.is_busy ? " replaying …" : ""}</span>
    </p>
  );
}

/** Refs of both sides and their difference. */
const both = (doc: Doc, at: string, as: Ref["as"]): [Ref, Ref, Ref] =>
  [ref(doc, `/plan${at}`, as), ref(doc, `/now${at}`, as), ref(doc, [`/now${at}`, `/plan${at}`], as, "difference")];

const devices_at = (doc: Doc): string => (is_run(doc, "plan") ? "/ranks" : "/report/devices");
const peak_name = (doc: Doc): string => (is_run(doc, "plan") ? "peak_bytes" : "peak_memory_bytes");

/** The pointer of the fullest device of a side. */
function fullest(doc: Doc, side: string): string {
  const all = (resolve(doc.value, `/${side}${devices_at(doc)}`) ?? []) as Record<string, number>[];
  const name = peak_name(doc);
  const at = all.reduce((most, own, index) => ((own[name] ?? 0) > (all[most]?.[name] ?? 0) ? index : most), 0);
  return `/${side}${devices_at(doc)}/${at}/${name}`;
}

function figures(doc: Doc): Table {
  const all = (own: string): [string[], string[]] => {
    const n = ((resolve(doc.value, `/plan${devices_at(doc)}`) ?? []) as unknown[]).length;
    const of = (side: string) => Array.from({ length: n }, (_, at) => `/${side}${devices_at(doc)}/${at}/${own}`);
    return [of("plan"), of("now")];
  };
  const names = is_run(doc, "plan") ? ["compute_ns", "communication_ns", "idle_ns"] : ["busy_ns", "communication_ns", "idle_ns"];
  const share = (own: string): [Ref, Ref] => {
    const whole = names.map(all);
    return [0, 1].map((side): Ref => ({ doc, at: all(own)[side]!, whole: whole.flatMap((one) => one[side]!), as: "share", rule: "share" })) as [Ref, Ref];
  };
  const peaks = [fullest(doc, "plan"), fullest(doc, "now")] as const;
  const rows: Table["rows"] = [
    ["Step time", ...both(doc, is_run(doc, "plan") ? "/step_time_ns" : "/report/step_time_ns", "time")],
    ["Peak memory, fullest device", ref(doc, peaks[0], "bytes"), ref(doc, peaks[1], "bytes"), ref(doc, [peaks[1], peaks[0]], "bytes", "difference")],
    ["Exposed communication, share of device time", ...share("communication_ns"), null],
    ["Idle, share of device time", ...share("idle_ns"), null],
  ];
  if (is_run(doc, "plan")) rows.splice(1, 0, ["Samples/s", ...both(doc, "/samples_per_s", "count")]);
  return { name: "what-if", columns: ["Figure", "Plan", "What-if, not planned", "Difference"], rows };
}

/** Peaks of the replay against its limits. */
function bars(doc: Doc): DeviceBar[] {
  const at = `/now${devices_at(doc)}`;
  const [stays, limit] = is_run(doc, "plan") ? ["persistent_bytes", "limit_bytes"] : ["parameter_bytes", "memory_limit_bytes"];
  return ((resolve(doc.value, at) ?? []) as { id?: unknown }[]).map((own, index) => {
    const of = (name: string) => pointer("now", ...devices_at(doc).slice(1).split("/"), index, name);
    const peak = of(peak_name(doc));
    return {
      name: own.id === undefined ? `rank ${index}` : short(String(own.id), 60),
      parts: [
        { kind: "stays", name: "Persistent", value: ref(doc, of(stays!), "bytes") },
        { kind: "comes", name: "Transient, at the peak", value: ref(doc, [peak, of(stays!)], "bytes", "difference") },
      ],
      peak: ref(doc, peak, "bytes"), limit: ref(doc, of(limit!), "bytes"), free: ref(doc, [of(limit!), peak], "bytes", "difference"),
    };
  });
}

/** Devices that are drawn; the table has all. */
const DRAWN = 16;

function Result(props: { doc: Doc }): JSX.Element {
  const broken = () => (resolve(props.doc.value, "/now/violations") ?? []) as Diagnostic[];
  // That the sizes are others is what was asked for.
  const warnings = () => ((resolve(props.doc.value, "/now/warnings") ?? []) as Diagnostic[]).filter((own) => own.code === "measured-collectives");
  const all = createMemo(() => bars(props.doc));
  const table = createMemo(() => figures(props.doc));
  const is_replayed = () => known(ref(props.doc, is_run(props.doc, "plan") ? "/now/step_time_ns" : "/now/report/step_time_ns", "time"));
  return (
    <>
      <For each={broken()}>{(own) => (
        <div class="callout bad"><p><b>The plan breaks a rule</b> <code>{own.code}</code> {plain(own.message)}</p><For each={own.hints}>{(hint) => <p class="hint">{plain(hint)}</p>}</For></div>
      )}</For>
      <For each={warnings()}>{(own) => <div class="callout warn"><p><span aria-hidden="true">▲</span> {plain(own.message)}</p></div>}</For>
      <Show when={is_replayed()}>
        <Panel title="Plan and what-if" sub="same decisions, changed cluster" actions={<CsvButton of={table()} />}><DataTable of={table()} /></Panel>
        <Panel title="Peak memory per device, what-if" sub="limit dashed" actions={<TableButtons of={memory_table(all())} />}>
          <DeviceBars of={all().slice(0, DRAWN)} label="Peak memory per device of the what-if" />
          <Show when={all().length > DRAWN}><p class="note">{DRAWN} of {all().length} devices; the table has all.</p></Show>
          <ul class="legend"><For each={all()[0]?.parts ?? []}>{(part) => <li><Swatch kind={part.kind} /> {part.name}</li>}</For></ul>
          <Twin of={memory_table(all())} />
        </Panel>
      </Show>
    </>
  );
}

