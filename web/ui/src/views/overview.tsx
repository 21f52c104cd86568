// The figures of a plan, its launch flags, what limits it, the sources of its costs, and alternatives.

import { For, Show, createMemo, type JSX } from "solid-js";
import { configuration, devices, has_steps, is_run, kind_of, origins, step_parts, step_time } from "../figures";
import { IS_ALONE } from "../held";
import { Loaded } from "../load";
import { Num, Panel } from "../parts";
import { plain } from "../names";
import { DeviceBars, ShareBar, Swatch, type DeviceBar, type Share } from "../pictures/bars";
import { known, pointer, ref, resolve, type Doc, type Ref } from "../pointer";
import { link } from "../route";
import { DataTable, TableButtons, Twin, type Table } from "../table";
import type { Diagnostic, Status } from "../types";
import { Configuration, has_configuration } from "./configuration";
import { Fleet } from "./fleet";
import { Given } from "./given";
import { OverTime } from "./over-time";
import { FigureList, Pairs, Warnings, type Figure } from "./overview-parts";
import { RunBasis } from "./run-basis";
import Launch from "./launch";
import { Serving } from "./serving";

export default function Overview(props: { status: Doc }): JSX.Element {
  const plan = () => props.status.value as Status;
  return (
    <Loaded path={`/v1/plans/${encodeURIComponent(plan().id)}/answer?brief=true`} what="Loading the plan">
      {(doc) => kind_of(doc()) === "given" ? <OfGiven doc={doc()} status={plan()} /> : kind_of(doc()) === "fleet" ? <Fleet doc={doc()} status={plan()} /> : (
        <>
          <Figures doc={doc()} />
          <Show when={!IS_ALONE && plan().opened?.is_judged !== false && has_steps(kind_of(doc()))}><Launch doc={doc()} id={plan().id} /></Show>
          <div class="columns">
            <div>
              <Show when={kind_of(doc()) === "serving"}><Serving doc={doc()} /></Show>
              <Parts doc={doc()} />
              <Memory doc={doc()} id={plan().id} is_judged={plan().opened?.is_judged !== false} />
              <Show when={origins(doc()).length > 0}><Origins doc={doc()} /></Show>
              <Show when={is_run(doc())}><RunBasis doc={doc()} id={plan().id} /></Show>
              <RunnersUp doc={doc()} />
            </div>
            <div>
              <Warnings doc={doc()} />
              <Show when={has_configuration(doc())}><Configuration doc={doc()} /></Show>
              <Found doc={doc()} status={plan()} />
            </div>
          </div>
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
        <Loaded path={`/v1/plans/${encodeURIComponent(props.status.id)}/explain`} what="Loading the devices">{(own) => <Given doc={own()} />}</Loaded>
        <Panel title="Search" actions={<a href={link(["plans", props.status.id, "search"])}>Curve</a>}>
          <Pairs doc={props.doc} of={[["Instance", "/instance", "text"], ["Stop reason", "/stop_reason", "text"], ["Algorithm", "/algorithm", "text"], ["Bound proved by", "/bound_method", "text"], ["Proof", "/bound_standing", "text"], ["Planning time", "/run/planning_time_s", "seconds"]]} />
        </Panel>
      </div>
    </>
  );
}

function Figures(props: { doc: Doc }): JSX.Element {
  const at = (own: string, as: Ref["as"]) => ref(props.doc, own, as);
  const share = (name: string) => step_parts(props.doc).find((own) => own.name === name)?.share;
  const communication = (): Ref | undefined => {
    const own = ["Exposed communication", "Collectives", "Exposed transfers"].flatMap((name) => step_parts(props.doc).filter((part) => part.name === name));
    return own.length === 0 ? undefined : { ...own[0]!.share, at: own.flatMap((part) => part.share.at) };
  };
  const interval = () => known(at("/plan/cost/interval/low_ns", "time")) &&
    <>80 %: <Num of={at("/plan/cost/interval/low_ns", "time")} /> to <Num of={at("/plan/cost/interval/high_ns", "time")} /></>;
  const all = (): Figure[] => [
    { name: "Step time", of: step_time(props.doc), note: interval() },
    { name: "Fastest found", of: at("/fastest_ns", "time"), note: "with more devices or transfers" },
    ...(known(at("/best/tokens_per_s", "tokens-per-s")) ? [{ name: "Throughput", of: at("/best/tokens_per_s", "tokens-per-s"), note: known(at("/best/n_devices", "count")) && <>on <Num of={at("/best/n_devices", "count")} /> devices</> }] : []),
    { name: "Throughput", of: at("/tokens_per_s", "tokens-per-s"), note: "all batches in flight" },
    { name: "Throughput, samples/s", of: at("/samples_per_s", "real"), note: known(at("/bound_samples_per_s", "real")) && <>bound <Num of={at("/bound_samples_per_s", "real")} /></> },
    { name: "Batch period", of: at("/plan/served/period_ns", "time"), note: "between ends of two batches" },
    { name: "Expert load", of: at("/load", "factor"), note: "busiest device over the mean" },
    { name: "MFU", of: at("/best/model_flops_utilisation", "share"), note: "model FLOPs over peak FLOPs" },
    ...[["Bubble", "of the step"], ["Idle", "of the time of all devices"]].flatMap(([name, note]) => { const own = share(name!); return own === undefined ? [] : [{ name: name!, of: own, note }]; }),
    ...[communication()].flatMap((own) => own === undefined ? [] : [{ name: "Exposed communication", of: own, note: is_run(props.doc) ? "of the busiest rank" : "of the time of all devices" }]),
    known(at("/plan/cost/gap", "share")) ? { name: "Gap to bound", of: at("/plan/cost/gap", "share"), note: <>bound <Num of={at("/plan/cost/bound_ns", "time")} /></> } : { name: "Gap to bound", of: at("/gap", "share") },
  ];
  return <FigureList of={all()} />;
}

function shares_table(name: string, of: Share[]): Table {
  return { name, columns: ["Part", "Time", "Share"], rows: of.map((own) => [own.name, own.value, own.share]) };
}

function Parts(props: { doc: Doc }): JSX.Element {
  const table = () => shares_table("step", step_parts(props.doc));
  return (
    <Show when={step_parts(props.doc).length > 0}>
      <Panel title={is_run(props.doc) ? "Step time by part" : "Device time by part"} sub={is_run(props.doc) ? "busiest rank; exposed communication only" : "sum over all devices; exposed communication only"} actions={<TableButtons of={table()} />}>
        <ShareBar of={step_parts(props.doc)} label="Time by part" />
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

function Memory(props: { doc: Doc; id: string; is_judged: boolean }): JSX.Element {
  const all = createMemo(() => devices(props.doc));
  // One rank is one bar: its memory over time says more.
  const is_one = () => is_run(props.doc) && all().length === 1 && props.is_judged;
  return (
    <Show when={all().length > 0}>
      <Panel title="Peak memory per device" sub={`limit dashed${is_run(props.doc) ? "; all devices of a rank are equal" : ""}`}
        actions={<><TableButtons of={memory_table(all())} /><a href={link(["plans", props.id, "memory"])}>Over time</a></>}>
        <DeviceBars of={all().slice(0, DRAWN)} label="Peak memory per device" />
        <Show when={all().length > DRAWN}><p class="note">{DRAWN} of {all().length} devices; the table has all.</p></Show>
        <ul class="legend"><For each={all()[0]!.parts}>{(part) => <li><Swatch kind={part.kind} /> {part.name}</li>}</For></ul>
        <Show when={is_one()}><h3 class="over-time">Memory over the step, rank 0</h3><OverTime id={props.id} device="rank 0" /></Show>
        <Twin of={memory_table(all())} />
      </Panel>
    </Show>
  );
}

function Origins(props: { doc: Doc }): JSX.Element {
  const table = () => shares_table("origins", origins(props.doc));
  return (
    <Panel title="Cost sources" sub="share of the step time; hatched: nominal, not measured" actions={<TableButtons of={table()} />}>
      <ShareBar of={origins(props.doc)} label="Cost sources" />
      <Twin of={table()} />
    </Panel>
  );
}

function Found(props: { doc: Doc; status: Status }): JSX.Element {
  /** Of a plan file, whose bound was not proved again. */
  const is_stated = () => ((resolve(props.doc.value, "/warnings") ?? []) as Diagnostic[]).some((own) => own.code === "unchecked-proof");
  return (
    <Panel title="Search" actions={<Show when={props.status.opened === null}><a href={link(["plans", props.status.id, "search"])}>Curve</a></Show>}>
      <Pairs doc={props.doc} of={[
        ["Stop reason", "/stop_reason", "text"], ["Algorithm", "/plan/algorithm", "text"], ["Objective", "/plan/objective", "text"],
        [is_stated() ? "Bound, as stated, by" : "Bound proved by", "/plan/cost/bound_method", "text"], ["Planning time", "/run/planning_time_s", "seconds"], ["Planning time", "/elapsed_s", "seconds"],
        ["Configurations", "/counts/configurations", "count"], ["Plans simulated", "/counts/judged", "count"],
        ["Model", "/plan/model/digest", "digest"], ["Cluster", "/plan/cluster/digest", "digest"], ["Version", "/run/version", "text"],
      ]} />
    </Panel>
  );
}

/** Whether a plan that is shown beside the recommended one is faster. */
export const is_faster = (doc: Doc, at: string): boolean => Number(resolve(doc.value, `${at}/loses`) ?? 0) < 0;

/** The part of the step that makes an alternative slower. */
export const mainly = (doc: Doc, at: string): string => { const own = resolve(doc.value, `${at}/mostly_by`); return own == null || own === "nothing" ? "" : String(own); };

/** Alternatives of a run. */
function RunnersUp(props: { doc: Doc }): JSX.Element {
  const rows = (): [string, number][] => (["best", "runners_up"] as const).flatMap((name) => {
    const own = resolve(props.doc.value, `/${name}`);
    return Array.isArray(own) ? own.map((_, at): [string, number] => [pointer(name, at), at]) : own != null ? [[pointer(name), 0] as [string, number]] : [];
  });
  const table = (): Table => ({
    name: "runners-up", columns: ["Configuration", "Step", "Slower by", "Mainly", "Throughput", "Peak memory"],
    rows: rows().map(([at]) => [
      configuration(String(resolve(props.doc.value, `${at}/degrees`))), ref(props.doc, `${at}/step_time_ns`, "time"), ref(props.doc, `${at}/loses`, "share"),
      is_faster(props.doc, at) ? "faster" : mainly(props.doc, at), ref(props.doc, `${at}/tokens_per_s`, "tokens-per-s"), ref(props.doc, `${at}/peak_bytes`, "bytes"),
    ]),
  });
  return (
    <Show when={rows().length > 1}>
      <Panel title="Alternatives" sub="the first row is this plan"><DataTable of={table()} /></Panel>
    </Show>
  );
}
