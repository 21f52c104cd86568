// What a plan is worth, what limits it, what it rests on, and who can run it.

import { For, Show, createMemo, type JSX } from "solid-js";
import { devices, is_run, kind_of, origins, step_parts, step_time } from "../figures";
import { IS_ALONE } from "../held";
import { Loaded } from "../load";
import { Name, Num, Panel } from "../parts";
import { digest, plain } from "../names";
import { DeviceBars, ShareBar, Swatch, type DeviceBar, type Share } from "../pictures/bars";
import { known, pointer, ref, resolve, type Doc, type Ref } from "../pointer";
import { link } from "../route";
import { DataTable, TableButtons, Twin, type Table } from "../table";
import type { Diagnostic, Status } from "../types";
import { Given } from "./given";
import { RunBasis } from "./run-basis";
import Launch from "./launch";

export default function Overview(props: { status: Doc }): JSX.Element {
  const plan = () => props.status.value as Status;
  return (
    <Loaded path={`/v1/plans/${encodeURIComponent(plan().id)}/answer?brief=true`} what="Reading the answer">
      {(doc) => kind_of(doc()) === "given" ? <OfGiven doc={doc()} status={plan()} /> : (
        <>
          <Figures doc={doc()} />
          <div class="columns">
            <div>
              <Parts doc={doc()} />
              <Memory doc={doc()} id={plan().id} />
              <Show when={origins(doc()).length > 0}><Origins doc={doc()} /></Show>
              <Show when={is_run(doc())}><RunBasis doc={doc()} id={plan().id} /></Show>
              <RunnersUp doc={doc()} />
            </div>
            <div>
              <Warnings doc={doc()} />
              <Show when={has_degrees(doc())}><Degrees doc={doc()} /></Show>
              <Found doc={doc()} status={plan()} />
            </div>
          </div>
          <Show when={!IS_ALONE && plan().opened?.is_judged !== false}><Launch doc={doc()} id={plan().id} /></Show>
        </>
      )}
    </Loaded>
  );
}

/** A solution of an instance: its value and what devices do for it. */
function OfGiven(props: { doc: Doc; status: Status }): JSX.Element {
  const figure = (name: string, at: string, as: Ref["as"]): Figure => ({ name, of: ref(props.doc, at, as) });
  return (
    <>
      <FigureList of={[{ ...figure("Value", "/value_ns", "time"), note: plain(String(resolve(props.doc.value, "/objective"))) }, figure("Bound", "/bound_ns", "time"), figure("Gap to bound", "/gap", "share")]} />
      <div class="columns">
        <Loaded path={`/v1/plans/${encodeURIComponent(props.status.id)}/explain`} what="Reading what devices do">{(told) => <Given doc={told()} />}</Loaded>
        <Panel title="Search" actions={<a href={link(["plans", props.status.id, "search"])}>Curve</a>}>
          <Pairs doc={props.doc} of={[["Instance", "/instance", "text"], ["Stopped", "/stop_reason", "text"], ["Algorithm", "/algorithm", "text"], ["Proved by", "/bound_method", "text"], ["Standing", "/bound_standing", "text"], ["Planned in", "/run/planning_time_s", "seconds"]]} />
        </Panel>
      </div>
    </>
  );
}

interface Figure { name: string; of: Ref; note?: JSX.Element }

function Figures(props: { doc: Doc }): JSX.Element {
  const at = (own: string, as: Ref["as"]) => ref(props.doc, own, as);
  const share = (name: string) => step_parts(props.doc).find((own) => own.name === name)?.share;
  const communication = (): Ref | undefined => {
    const own = ["Waits for links", "Collectives", "Exposed transfers"].flatMap((name) => step_parts(props.doc).filter((part) => part.name === name));
    return own.length === 0 ? undefined : { ...own[0]!.share, at: own.flatMap((part) => part.share.at) };
  };
  const interval = () => known(at("/plan/cost/interval/low_ns", "time")) &&
    <><Num of={at("/plan/cost/interval/low_ns", "time")} /> to <Num of={at("/plan/cost/interval/high_ns", "time")} /></>;
  const all = (): Figure[] => [
    { name: "Step time", of: step_time(props.doc), note: interval() },
    { name: "Fastest found", of: at("/fastest_ns", "time"), note: "on more devices or transfers" },
    { name: "Throughput", of: at("/best/tokens_per_s", "tokens-per-s"), note: known(at("/best/n_devices", "count")) && <>on <Num of={at("/best/n_devices", "count")} /> devices</> },
    { name: "Model FLOPs utilisation", of: at("/best/model_flops_utilisation", "share"), note: "of the peak rate" },
    ...[["Bubble", "of the step"], ["Idle", "of the time of all devices"]].flatMap(([name, note]) => { const own = share(name!); return own === undefined ? [] : [{ name: name!, of: own, note }]; }),
    ...[communication()].flatMap((own) => own === undefined ? [] : [{ name: "Communication", of: own, note: is_run(props.doc) ? "of the busiest rank" : "of the time of all devices" }]),
    { name: "Gap to bound", of: at("/plan/cost/gap", "share"), note: <>bound <Num of={at("/plan/cost/bound_ns", "time")} /></> },
  ];
  return <FigureList of={all()} />;
}

function FigureList(props: { of: Figure[] }): JSX.Element {
  return (
    <section class="figures" aria-label="Figures">
      <dl>
        <For each={props.of.filter((own) => known(own.of))}>{(own) => (
          <div><dt>{own.name}</dt><dd class="big"><Num figure of={own.of} /></dd><dd class="note">{own.note}</dd></div>
        )}</For>
      </dl>
    </section>
  );
}

function shares_table(name: string, of: Share[]): Table {
  return { name, columns: ["Part", "Time", "Share"], rows: of.map((own) => [own.name, own.value, own.share]) };
}

function Parts(props: { doc: Doc }): JSX.Element {
  const table = () => shares_table("step", step_parts(props.doc));
  return (
    <Show when={step_parts(props.doc).length > 0}>
      <Panel title={is_run(props.doc) ? "Where a step goes" : "Where the devices' time goes"} sub={is_run(props.doc) ? "of the busiest rank; links only where nothing hides them" : "sum over all devices; links only where nothing hides them"} actions={<TableButtons of={table()} />}>
        <ShareBar of={step_parts(props.doc)} label="Where the time goes" />
        <Twin of={table()} />
      </Panel>
    </Show>
  );
}

export function memory_table(of: DeviceBar[]): Table {
  const [first] = of;
  return {
    name: "memory", columns: ["Device", ...(first?.parts.map((part) => part.name) ?? []), "Peak", "Limit", "Free"],
    rows: of.map((bar) => [bar.name, ...bar.parts.map((part) => part.value), bar.peak, known(bar.limit) ? bar.limit : "none", known(bar.free) ? bar.free : null]),
  };
}

/** Devices that are drawn; the table has all. */
const DRAWN = 16;

function Memory(props: { doc: Doc; id: string }): JSX.Element {
  const all = createMemo(() => devices(props.doc));
  return (
    <Show when={all().length > 0}>
      <Panel title="Peak memory per device" sub={`against the limit${is_run(props.doc) ? "; the devices of a rank are equal" : ""}`}
        actions={<><TableButtons of={memory_table(all())} /><a href={link(["plans", props.id, "memory"])}>More</a></>}>
        <DeviceBars of={all().slice(0, DRAWN)} label="Peak memory per device" />
        <Show when={all().length > DRAWN}><p class="note">{DRAWN} of {all().length} devices; the table has all.</p></Show>
        <ul class="legend"><For each={all()[0]!.parts}>{(part) => <li><Swatch kind={part.kind} /> {part.name}</li>}</For></ul>
        <Twin of={memory_table(all())} />
      </Panel>
    </Show>
  );
}

function Origins(props: { doc: Doc }): JSX.Element {
  const table = () => shares_table("origins", origins(props.doc));
  return (
    <Panel title="What the numbers rest on" sub="share of the step time; hatched: nominal, not measured" actions={<TableButtons of={table()} />}>
      <ShareBar of={origins(props.doc)} label="What the numbers rest on" />
      <Twin of={table()} />
    </Panel>
  );
}

function Warnings(props: { doc: Doc }): JSX.Element {
  const all = () => (resolve(props.doc.value, "/warnings") ?? []) as Diagnostic[];
  const is_nominal = () => is_run(props.doc) && resolve(props.doc.value, "/plan/cost/interval/origin") === "nominal";
  return (
    <Panel title="Warnings" sub={String(all().length + (is_nominal() ? 1 : 0))}>
      <Show when={all().length > 0 || is_nominal()} fallback={<p class="empty">None.</p>}>
        <Show when={is_nominal()}>
          <div class="callout warn"><p><span aria-hidden="true">▲</span> The costs are nominal: no profile of these devices was given.</p></div>
        </Show>
        <For each={all()}>{(own) => (
          <div class="callout warn">
            <p><span aria-hidden="true">▲</span> {plain(own.message)}</p>
            <For each={own.hints}>{(hint) => <p class="hint">{plain(hint)}</p>}</For>
          </div>
        )}</For>
      </Show>
    </Panel>
  );
}

/** Pairs of a title and a number or a word of the document. */
function Pairs(props: { doc: Doc; of: [string, string, Ref["as"] | "text" | "digest"][] }): JSX.Element {
  const shown = () => props.of.filter(([, at]) => resolve(props.doc.value, at) != null);
  return (
    <dl class="pairs">
      <For each={shown()}>{([title, at, as]) => (
        <><dt>{title}</dt><dd>{as === "digest" ? <code>{digest(String(resolve(props.doc.value, at)))}</code> : as === "text" ? <Name text={String(resolve(props.doc.value, at))} most={32} /> : <Num of={ref(props.doc, at, as)} />}</dd></>
      )}</For>
    </dl>
  );
}

/** Plans of ops whose degrees are all 1 have nothing to say of them. */
function has_degrees(doc: Doc): boolean {
  const own = resolve(doc.value, "/plan/parallelism") as Record<string, unknown> | undefined;
  return own !== undefined && Object.values(own).some((degree) => degree !== 1);
}

function Degrees(props: { doc: Doc }): JSX.Element {
  const at = (...path: string[]) => pointer("plan", "parallelism", ...path);
  return (
    <Panel title="Degrees" sub={is_run(props.doc) ? undefined : "of a plan of ops"}>
      <Pairs doc={props.doc} of={[
        ["Data", at("data"), "count"], ["Tensor", at("tensor"), "count"], ["Pipeline", at("pipeline"), "count"],
        ["Context", at("context"), "count"], ["Expert", at("expert"), "count"],
        ["Micro-batches", at("n_micro_batches"), "count"], ["Samples in one", at("training", "micro_batch"), "count"],
        ["Chunks of a rank", at("training", "virtual_stages"), "count"], ["ZeRO", at("training", "zero"), "count"],
        ["Exchanges beside work", at("training", "expert_overlap"), "text"],
        ["Sequence parallel", at("training", "sequence_parallel"), "text"], ["Mesh", at("training", "mesh"), "text"],
        ["Schedule", "/plan/training/schedule", "text"], ["Stack", "/plan/training/stack", "text"],
      ]} />
    </Panel>
  );
}

function Found(props: { doc: Doc; status: Status }): JSX.Element {
  /** Of a plan file, whose bound was not proved again. */
  const is_stated = () => ((resolve(props.doc.value, "/warnings") ?? []) as Diagnostic[]).some((own) => own.code === "unchecked-proof");
  return (
    <Panel title="Search" actions={<Show when={props.status.opened === null}><a href={link(["plans", props.status.id, "search"])}>Curve</a></Show>}>
      <Pairs doc={props.doc} of={[
        ["Stopped", "/stop_reason", "text"], ["Algorithm", "/plan/algorithm", "text"], ["Objective", "/plan/objective", "text"],
        [is_stated() ? "Said to be proved by" : "Proved by", "/plan/cost/bound_method", "text"], ["Planned in", "/run/planning_time_s", "seconds"], ["Planned in", "/elapsed_s", "seconds"],
        ["Configurations", "/counts/configurations", "count"], ["Judged", "/counts/judged", "count"],
        ["Model", "/plan/model/digest", "digest"], ["Cluster", "/plan/cluster/digest", "digest"], ["Version", "/run/version", "text"],
      ]} />
    </Panel>
  );
}

/** What came close, of a run. */
function RunnersUp(props: { doc: Doc }): JSX.Element {
  const rows = (): [string, number][] => (["best", "runners_up"] as const).flatMap((name) => {
    const own = resolve(props.doc.value, `/${name}`);
    return Array.isArray(own) ? own.map((_, at): [string, number] => [pointer(name, at), at]) : own != null ? [[pointer(name), 0] as [string, number]] : [];
  });
  const table = (): Table => ({
    name: "runners-up", columns: ["Degrees", "Step", "Slower by", "Mostly by", "Tokens/s", "Peak"],
    rows: rows().map(([at]) => [
      plain(String(resolve(props.doc.value, `${at}/degrees`))), ref(props.doc, `${at}/step_time_ns`, "time"), ref(props.doc, `${at}/loses`, "share"),
      String(resolve(props.doc.value, `${at}/mostly_by`)), ref(props.doc, `${at}/tokens_per_s`, "tokens-per-s"), ref(props.doc, `${at}/peak_bytes`, "bytes"),
    ]),
  });
  return (
    <Show when={rows().length > 1}>
      <Panel title="Runners-up" sub="the first line is this plan"><DataTable of={table()} /></Panel>
    </Show>
  );
}
