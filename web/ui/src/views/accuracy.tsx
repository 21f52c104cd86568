// Predicted and measured steps, by stack and device; contents of profiles.

import { For, Show, createSignal, createUniqueId, type JSX } from "solid-js";
import { read, send } from "../api";
import { fetched } from "../load";
import { digest, plain } from "../names";
import { Loading, Num, Panel, Trouble, say } from "../parts";
import { Scatter, type Point } from "../pictures/scatter";
import { known, pointer, ref, resolve, type Doc, type Ref } from "../pointer";
import { asked, set } from "../route";
import { CsvButton, DataTable, TableButtons, Twin, type Cell, type Table } from "../table";
import { with_plan, type Page, type Status, type Stored } from "../types";
import { headline } from "./search";

interface Run { plan: string; model?: string | null; stack?: string | null; device?: string | null; note?: string | null }

const PATH = "/v1/measurements?limit=500";

export default function Accuracy(): JSX.Element {
  const doc = fetched(() => PATH, read);
  return (
    <>
      <div class="title"><h1>Accuracy</h1></div>
      <Show when={doc.error() === undefined} fallback={<Trouble of={doc.error()} again={doc.again} />}>
        <Show when={doc.latest()} fallback={<Loading what="Loading the runs" />}>{(own) => <Runs doc={own()} />}</Show>
      </Show>
      <div class="halves">
        <Report done={doc.again} />
        <Profiles />
      </div>
    </>
  );
}

const runs = (doc: Doc): Run[] => (resolve(doc.value, "/measurements") ?? []) as Run[];
const at = (index: number, name: string): string => pointer("measurements", index, name);

/** Stack and device of a run. */
const group = (own: Run): string => plain(`${own.stack ?? "unknown stack"} on ${own.device ?? "unknown device"}`);

/** Predicted over measured. */
const ratio = (doc: Doc, some: number[], part: string, whole: string): Ref =>
  ({ ...ref(doc, some.map((index) => at(index, part)), "factor", "share"), whole: some.map((index) => at(index, whole)) });

const times = (doc: Doc, some: number[]): Ref => ratio(doc, some, "predicted_s", "step_s");

/** Positions of runs that have a prediction, by stack and device. */
function groups(doc: Doc): [string, number[]][] {
  const found = new Map<string, number[]>();
  runs(doc).forEach((own, index) => {
    if (known(times(doc, [index]))) found.set(group(own), [...(found.get(group(own)) ?? []), index]);
  });
  return [...found].sort(([a], [b]) => a.localeCompare(b, "en"));
}

function Runs(props: { doc: Doc }): JSX.Element {
  const of_groups = (): Table => {
    const worst = (some: number[]) => some.reduce((most, index) => (off(index) > off(most) ? index : most), some[0]!);
    const off = (index: number) => Math.abs(Math.log(Number(resolve(props.doc.value, at(index, "predicted_s"))) / Number(resolve(props.doc.value, at(index, "step_s")))));
    return {
      name: "groups", columns: ["Stack and device", "Runs", "All", "Worst"],
      rows: groups(props.doc).map(([name, some]) => [name, String(some.length), times(props.doc, some), times(props.doc, [worst(some)])]),
    };
  };
  const table = (): Table => ({
    name: "runs", columns: ["Plan", "Model", "Stack", "Device", "Measured", "Predicted", "Step ratio", "Peak memory", "Peak ratio", "Note", "Reported"],
    rows: runs(props.doc).map((own, index): Cell[] => {
      const some = (name: string, as: Ref["as"]): Cell => (known(ref(props.doc, at(index, name), as)) ? ref(props.doc, at(index, name), as) : null);
      const peak = ratio(props.doc, [index], "predicted_peak_bytes", "peak_bytes");
      return [own.plan.slice(0, 12), own.model ?? "", own.stack ?? "", own.device ?? "", some("step_s", "seconds"), some("predicted_s", "seconds"),
        known(times(props.doc, [index])) ? times(props.doc, [index]) : null, some("peak_bytes", "bytes"), known(peak) ? peak : null, own.note ?? "", some("created_ms", "date")];
    }),
  });
  const points = (): Point[] => groups(props.doc).flatMap(([name, some], series) => some.map((index) => (
    { series, name, title: plain(`${runs(props.doc)[index]!.model ?? ""} ${runs(props.doc)[index]!.note ?? ""}`.trim()), x: ref(props.doc, at(index, "step_s"), "seconds"), y: times(props.doc, [index]) })));
  return (
    <Show when={runs(props.doc).length > 0} fallback={<p class="empty">No measured runs yet. Report the step time of a run below, or by <code>POST /v1/measurements</code>.</p>}>
      <div class="halves">
        <Panel title="Predicted and measured" sub="step time; band: ±10 %" actions={<TableButtons of={points_table(points())} />}>
          <Show when={points().length > 0} fallback={<p class="empty">No run has a predicted step time.</p>}><Scatter of={points()} /><Twin of={points_table(points())} /></Show>
        </Panel>
        <Panel title="By stack and device" actions={<CsvButton of={of_groups()} />}>
          <DataTable of={of_groups()} />
          <p class="note">Predicted over measured: all steps together, and the worst run. Above 1 × the run was faster than predicted.</p>
        </Panel>
      </div>
      <Panel title="Runs" sub={`${runs(props.doc).length}, newest first`} actions={<CsvButton of={table()} />}><DataTable of={table()} caption="Runs" /></Panel>
    </Show>
  );
}

const points_table = (of: Point[]): Table =>
  ({ name: "accuracy", columns: ["Stack and device", "Run", "Measured", "Predicted over measured"], rows: of.map((own) => [own.name, own.title, own.x, own.y]) });

/** A form that reports a run of a plan. */
function Report(props: { done: () => void }): JSX.Element {
  const id = createUniqueId();
  const list = fetched(() => "/v1/plans?limit=200", read);
  const plans = (): Status[] => (list.error() === undefined ? with_plan(list.latest()?.value as Page | undefined) : []);
  const [error, setError] = createSignal<unknown>();
  const [is_sent, setSent] = createSignal(false);
  const is_listed = () => asked("plan") === "" || plans().some((own) => own.id === asked("plan"));
  const start = async (form: HTMLFormElement) => {
    const text = (name: string) => String(new FormData(form).get(name) ?? "").trim();
    setSent(true);
    setError(undefined);
    try {
      const own: Record<string, unknown> = { plan: text("plan"), step_s: Number(text("step_s")) };
      if (text("peak_gib") !== "") own["peak_bytes"] = Math.round(Number(text("peak_gib")) * 2 ** 30);
      for (const name of ["stack", "device", "note"]) if (text(name) !== "") own[name] = text(name);
      await send("/v1/measurements", own);
      form.reset();
      say("Run reported");
      props.done();
    } catch (why) { setError(() => why); }
    setSent(false);
  };
  const Field = (field: { name: string; title: string; type?: string; needed?: boolean; hint: string }) => (
    <div class="field"><label for={`${id}-${field.name}`}>{field.title}{field.needed ? " (required)" : ""}</label>
      <input id={`${id}-${field.name}`} name={field.name} type={field.type ?? "text"} step="any" min={field.type === "number" ? "0" : undefined} required={field.needed} aria-describedby={`${id}-${field.name}-help`} />
      <p class="note" id={`${id}-${field.name}-help`}>{field.hint}</p></div>
  );
  return (
    <Panel title="Report a run">
      <form onSubmit={(event) => { event.preventDefault(); void start(event.currentTarget); }}>
        <div class="field"><label for={`${id}-plan`}>Plan (required)</label>
          <select id={`${id}-plan`} name="plan" required onChange={(event) => set({ plan: event.currentTarget.value })}>
            <option value="">choose a plan</option>
            <Show when={!is_listed()}><option value={asked("plan")} selected>{plain(asked("plan"))}</option></Show>
            <For each={plans()}>{(own) => <option value={own.id} selected={asked("plan") === own.id}>{headline(own)}, {own.id.slice(0, 12)}</option>}</For>
          </select></div>
        <div class="two">
          <Field name="step_s" title="Step time, s" type="number" needed hint="median after the first few steps" />
          <Field name="peak_gib" title="Peak memory, GiB" type="number" hint="fullest device, as the allocator reports it" />
          <Field name="stack" title="Stack" hint="default: the stack of the plan" />
          <Field name="device" title="Device" hint="default: the device kind of the plan" />
        </div>
        <Field name="note" title="Note" hint="versions, host, date" />
        <Show when={error()}>{(why) => <Trouble of={why()} />}</Show>
        <p class="buttons"><button type="submit" class="main" disabled={is_sent()}>{is_sent() ? "Sending …" : "Report"}</button></p>
      </form>
    </Panel>
  );
}

/** Measured costs by device. */
function Profiles(): JSX.Element {
  const doc = fetched(() => "/v1/profiles?limit=100", read);
  const list = () => (doc.error() === undefined ? (resolve(doc.latest()?.value, "/contents") ?? []) as Stored[] : []);
  return (
    <Panel title="Profiles" sub="measured costs; all others are nominal">
      <Show when={doc.error()}>{(why) => <Trouble of={why()} again={doc.again} />}</Show>
      <Show when={list().length > 0} fallback={<p class="empty">No profile: all costs are nominal. <a href="#/files">Upload one</a></p>}>
        <For each={list()}>{(own) => <Profile of={own} />}</For>
      </Show>
    </Panel>
  );
}

function Profile(props: { of: Stored }): JSX.Element {
  const doc = fetched(() => `/v1/profiles/${encodeURIComponent(props.of.digest)}`, read);
  const covers = (): Table => ({
    name: `profile-${digest(props.of.digest)}`, columns: ["Kind", "Measured"],
    rows: ((resolve(doc.latest()?.value, "/covers") ?? []) as { what: string; name: string; measured: string[] }[]).map((own) => [`${own.what} ${own.name}`, own.measured.join(", ")]),
  });
  return (
    <details class="alive-of"><summary>{plain(props.of.name)} <span class="note"><code>{digest(props.of.digest)}</code></span></summary>
      <Show when={doc.latest()}>{(own) => <p class="note">Uploaded <Num of={ref(own(), "/created_ms", "date")} /></p>}</Show>
      <Show when={doc.error()}>{(why) => <Trouble of={why()} />}</Show>
      <Show when={covers().rows.length > 0} fallback={<p class="empty">Nothing that this version can read.</p>}><DataTable of={covers()} /></Show>
    </details>
  );
}
