// Why a plan is as it is: a configuration, the step, an operator, a transfer, a device or stage.

import { For, Match, Show, Switch, createMemo, createUniqueId, type JSX } from "solid-js";
import { read } from "../api";
import { kind_of, type Kind } from "../figures";
import { FleetWhy } from "./fleet";
import { Given } from "./given";
import { Loaded, fetched } from "../load";
import { plain, short } from "../names";
import { Loading, Name, Num, Panel, Trouble, Words } from "../parts";
import { known, number, pointer, ref, resolve, type Doc, type Ref } from "../pointer";
import { asked, link, set } from "../route";
import { CsvButton, DataTable, TableButtons, Twin, type Cell, type Table } from "../table";
import type { Status } from "../types";
import { kind_fill, tile, timeline_path, type Tile } from "../views-api";
import { Serving } from "./serving";
import { Another, Rejected } from "./why-not";

const SUBJECTS: [string, string][] = [["", "The step"], ["op", "An operator"], ["transfer", "A transfer"], ["device", "A device"]];

export default function Why(props: { status: Doc }): JSX.Element {
  const plan = () => props.status.value as Status;
  return (
    <Loaded path={`/v1/plans/${encodeURIComponent(plan().id)}/answer?brief=true`} what="Loading the plan">{(answer) => {
      const kind = () => kind_of(answer());
      const is_run = () => kind() === "run";
      return kind() === "fleet" ? <FleetWhy doc={answer()} /> : (
        <>
          <Show when={is_run() && plan().opened === null}><Another plan={plan()} /></Show>
          <Show when={kind() === "run" || kind() === "ops"}><Ask id={plan().id} answer={answer()} is_run={is_run()} /></Show>
          <Show when={kind() !== "serving" && kind() !== "gradients"} fallback={<><Bounded doc={answer()} /><Serving doc={answer()} /></>}><Asked id={plan().id} answer={answer()} kind={kind()} /></Show>
          <Show when={asked("of") === ""}><Rejected doc={answer()} /></Show>
        </>
      );
    }}</Loaded>
  );
}

/** What the document of a plan that has no explanation states. */
function Bounded(props: { doc: Doc }): JSX.Element {
  return <Panel title="Bound"><Pairs doc={props.doc} of={[["Objective", "/plan/objective", "text"], ["Step time", "/plan/cost/step_time_ns", "time"], ["Lower bound", "/plan/cost/bound_ns", "time"], ["Proved by", "/plan/cost/bound_method", "text"], ["Stop reason", "/stop_reason", "text"]]} /></Panel>;
}

/** Rows of the timeline that are read for names: of a plan of a million slices its longest. */
const NAMED_ROWS = 4000;
/** Tasks of the critical path that are listed. */
const MOST_LISTED = 1000;
/** Names that are offered: a list of 10,000 blocks. */
const OFFERED = 500;

/** Ops, or tensors that travel, as the plan calls them: those of a micro-batch carry its number. */
function named(of: Tile, is_op: boolean, has_many: boolean): string[] {
  const lanes = of.lanes.filter((lane) => (lane.role === "device") === is_op);
  return [...new Set(lanes.flatMap(({ rows }) => rows.what.flatMap((what, row) => {
    const kind = of.kinds[rows.kind[row]!]!;
    if (["free", "communication"].includes(kind) || kind_fill(kind) === "missing") return [];
    const micro_batch = rows.micro_batch[row];
    return [`${of.things[what]!.name}${has_many && micro_batch != null ? `@mb${micro_batch}` : ""}`];
  })))];
}

/** What is asked about; names come from the plan. */
function Ask(props: { id: string; answer: Doc; is_run: boolean }): JSX.Element {
  const id = createUniqueId();
  const subjects = (): [string, string][] => (props.is_run ? [SUBJECTS[0]!, ["device", "A rank"]] : SUBJECTS);
  const view = fetched(() => `/v1/plans/${encodeURIComponent(props.id)}/view`, read);
  const of = createMemo(() => asked("of"));
  const drawn = fetched(() => ["op", "transfer"].includes(of()), async (is_asked, signal) => (is_asked ? read(timeline_path(props.id, undefined, undefined, NAMED_ROWS), signal) : undefined));
  const has_many = () => Number(resolve(props.answer.value, "/plan/parallelism/n_micro_batches") ?? 1) > 1;
  const devices = () => (view.error() !== undefined ? [] : (resolve(view.latest()?.value, "/devices") ?? []) as { device: string }[]).map((own) => own.device);
  const names = createMemo(() => {
    const doc = drawn.latest();
    return of() === "device" ? devices() : doc === undefined ? [] : named(tile(doc), of() === "op", has_many());
  });
  // The box is there before a subject is chosen: it asks about an operator, or of a run about a rank.
  const subject = () => of() || (props.is_run ? "device" : "op");
  const ask = (name: string) => set(name === "" ? { name } : { of: subject(), name });
  return (
    <Panel title={props.is_run ? "Why this rank?" : "Why here?"} sub={props.is_run ? "memory and transfers of a rank" : "device, cost and alternatives of an operator, a transfer or a device"}>
      <form class="pickers" onSubmit={(event) => { event.preventDefault(); ask((event.currentTarget.elements.namedItem("name") as HTMLInputElement).value.trim()); }}>
        <span class="segments" role="group" aria-label="Subject">
          <For each={subjects()}>{([name, title]) => <button type="button" aria-pressed={of() === name} onClick={() => set({ of: name, name: "" })}>{title}</button>}</For>
        </span>
        <label class="inline" for={id}>{{ op: "Operator", transfer: "Tensor", device: props.is_run ? "Rank" : "Device" }[subject()]}</label>
        <input id={id} name="name" class="grow" list={`${id}-names`} value={asked("name")} spellcheck={false} placeholder={short(names()[0] ?? (props.is_run ? "rank 0" : "name"), 40)} />
        <datalist id={`${id}-names`}><For each={names().slice(0, OFFERED)}>{(name) => <option value={name} />}</For></datalist>
        <button type="submit" class="main">Why?</button>
      </form>
    </Panel>
  );
}

/** What an explanation waits for, and what is known meanwhile. */
function Awaited(props: { answer: Doc }): JSX.Element {
  return (
    <Panel title={asked("of") === "" ? "Critical path" : "Why?"}>
      <Loading what={asked("of") === "op" ? "Replaying the plan with the operator on each other device" : "Replaying the plan"} />
      <Pairs doc={props.answer} of={[["Step time", "/plan/cost/step_time_ns", "time"], ["Lower bound", "/bound/value_ns", "time"], ["Proved by", "/bound/method", "text"]]} />
    </Panel>
  );
}

function Asked(props: { id: string; answer: Doc; kind: Kind }): JSX.Element {
  const path = () => {
    // Of the critical path of a large plan the longest tasks, as many as a page can list.
    const query = asked("of") === "" ? (props.kind === "ops" ? `?longest=${MOST_LISTED}` : "") : `?${new URLSearchParams({ [asked("of")]: asked("name") }).toString()}`;
    return `/v1/plans/${encodeURIComponent(props.id)}/explain${query}`;
  };
  return (
    <Show when={asked("of") === "" || asked("name") !== ""} fallback={<p class="empty">Enter a name; the field offers those of the plan.</p>}>
      {/* What answers one question is never shown for another. */}
      <Show when={path()} keyed>{(own) => (
        <Loaded path={own} what="Explaining" meanwhile={<Awaited answer={props.answer} />} otherwise={(error) => <Trouble of={error} />}>{(doc) => (
          <Switch>
            <Match when={props.kind === "given"}><Given doc={doc()} /></Match>
            <Match when={props.kind === "run"}><OfRun doc={doc()} id={props.id} /></Match>
            <Match when={asked("of") === "op"}><OfOp doc={doc()} id={props.id} /></Match>
            <Match when={asked("of") === "device"}><OfDevice doc={doc()} /></Match>
            <Match when={asked("of") === "transfer"}><OfTransfer doc={doc()} id={props.id} /></Match>
            <Match when={asked("of") === ""}><OfStep doc={doc()} id={props.id} /></Match>
          </Switch>
        )}</Loaded>
      )}</Show>
    </Show>
  );
}

const list = (doc: Doc, at: string): Record<string, unknown>[] => (resolve(doc.value, at) ?? []) as Record<string, unknown>[];

/** A table in a panel of its own. */
function Shown(props: { title: string; sub?: string; table: Table; children?: JSX.Element }): JSX.Element {
  return (
    <Show when={props.table.rows.length > 0}>
      <Panel title={props.title} sub={props.sub} actions={<CsvButton of={props.table} />}>
        {props.children}
        <DataTable of={props.table} caption={props.title} />
      </Panel>
    </Show>
  );
}

/** Pairs of a title and a number or a text; those that the document lacks are left out. */
function Pairs(props: { doc: Doc; of: [string, string, Ref["as"] | "text"][] }): JSX.Element {
  return (
    <dl class="pairs"><For each={props.of.filter(([, at]) => resolve(props.doc.value, at) != null)}>{([title, at, as]) => (
      <><dt>{title}</dt><dd>{as === "text" ? <Name text={String(resolve(props.doc.value, at))} most={200} /> : <Num of={ref(props.doc, at, as)} />}</dd></>
    )}</For></dl>
  );
}

const why = (id: string, of: string, name: string): string => link(["plans", id, "why"], { of, name });

/** What lies on the critical path: an op on a device, or a tensor on its way to one. */
interface OnPath { op?: string; transfer?: string; device: string; origin: string; start: { ns: number }; end: { ns: number } }

const on_path = (doc: Doc): OnPath[] => (resolve(doc.value, "/critical_path") ?? []) as OnPath[];

function OfStep(props: { doc: Doc; id: string }): JSX.Element {
  const path = () => on_path(props.doc);
  const takes = (at: number) => ref(props.doc, [pointer("critical_path", at, "end", "ns"), pointer("critical_path", at, "start", "ns")], "time", "difference");
  const table = (): Table => ({
    name: "critical-path", columns: ["Name", "Kind", "Device", "Start", "Duration", "Cost source"],
    rows: path().map((own, at) => [own.op ?? own.transfer ?? "", own.op === undefined ? "transfer" : "operator", own.device, ref(props.doc, pointer("critical_path", at, "start", "ns"), "time"), takes(at), own.origin]),
  });
  const longest = () => path().map((own, at) => ({ own, at, ns: own.end.ns - own.start.ns })).sort((a, b) => b.ns - a.ns).slice(0, 8);
  return (
    <div class="columns">
      <Shown title="Critical path" sub="the step gets shorter only if one of these does" table={table()}>
        <Show when={(number(ref(props.doc, "/n_critical", "count")) ?? 0) > path().length}><p class="note">the longest {path().length} of <Num of={ref(props.doc, "/n_critical", "count")} /></p></Show>
      </Shown>
      <div>
        <Panel title="Bound"><Pairs doc={props.doc} of={[["Step time", "/report/step_time_ns", "time"], ["Lower bound", "/bound/value/ns", "time"], ["Proved by", "/bound/method", "text"]]} /></Panel>
        <Panel title="Longest on the path">
          <ul><For each={longest()}>{({ own, at }) => (
            <li><a href={own.op === undefined ? why(props.id, "transfer", own.transfer!) : why(props.id, "op", own.op)}><Show when={own.op === undefined}>transfer of </Show><Name text={own.op ?? own.transfer!} most={30} /></a> <Num of={takes(at)} /></li>
          )}</For></ul>
        </Panel>
      </div>
    </div>
  );
}

/** Why a judge says no, in words. */
const IMPOSSIBLE: Record<string, string> = { "can-not-run": "cannot run there", "memory-exceeded": "does not fit" };

function elsewhere(doc: Doc): Table {
  const rows = list(doc, "/elsewhere").map((own, at): Cell[] => {
    const of = (...path: string[]) => pointer("elsewhere", at, ...path);
    const step = of("verdict", "step_time", "ns");
    const is_possible = known(ref(doc, step, "time"));
    const why = String(resolve(own, "/verdict/impossible") ?? "");
    const over = resolve(own, "/verdict/device");
    return [String(own["device"]), known(ref(doc, of("op_time", "ns"), "time")) ? ref(doc, of("op_time", "ns"), "time") : null,
      is_possible ? ref(doc, step, "time") : null, is_possible ? ref(doc, [step, "/step_time/ns"], "time", "difference") : null,
      known(ref(doc, of("verdict", "need_bytes"), "bytes")) ? ref(doc, [of("verdict", "need_bytes"), of("verdict", "limit_bytes")], "bytes", "difference") : null,
      is_possible ? "" : `${IMPOSSIBLE[why] ?? `illegal: ${why}`}${over === undefined ? "" : `, on ${plain(String(over))}`}`];
  });
  return { name: "elsewhere", columns: ["Device", "Operator time", "Step time", "Change", "Over the limit by", "Limited by"], rows };
}

/** How a duration is made: its terms, their sum, and the constants, at a place of a document. */
function Terms(props: { doc: Doc; at: string[] }): JSX.Element {
  const of = (...path: (string | number)[]) => pointer(...props.at, ...path);
  const terms = (): Table => ({
    name: "cost-terms", columns: ["Term", "Formula", "Value"],
    rows: list(props.doc, of("formulas")).map((own, at) => [String(own["name"]), String(own["text"]), ref(props.doc, of("formulas", at, "value"), own["unit"] === "s" ? "seconds" : "count")]),
  });
  const constants = (): Table => ({
    name: "constants", columns: ["Constant", "Value", "Unit", "Origin", "Source"],
    rows: list(props.doc, of("constants")).map((own, at) => [String(own["name"]), ref(props.doc, of("constants", at, "value"), own["unit"] === "s" ? "seconds" : "real"), own["unit"] === "s" ? "" : String(own["unit"]), String(own["origin"]), String(own["source"])]),
  });
  return (
    <>
      <Shown title="Cost terms" table={terms()}><p>{plain(String(resolve(props.doc.value, of("sum")) ?? ""))}</p></Shown>
      <Shown title="Constants" sub={constants().rows.some((row) => row[3] === "nominal") ? "nominal: not measured on this device" : ""} table={constants()} />
    </>
  );
}

function OfOp(props: { doc: Doc; id: string }): JSX.Element {
  const reasons = () => (resolve(props.doc.value, "/why") ?? []) as string[];
  return (
    <>
      <p class="lead"><Name text={String(resolve(props.doc.value, "/op"))} /> takes <b><Num of={ref(props.doc, "/time/total/ns", "time")} /></b> on <a href={why(props.id, "device", String(resolve(props.doc.value, "/device")))}><Name text={String(resolve(props.doc.value, "/device"))} /></a>, from <Num of={ref(props.doc, "/start/ns", "time")} /> of the step<Show when={reasons().length > 0}>: <Words of={reasons().join("; ")} /></Show>.</p>
      <div class="columns">
        <div>
          <Shown title="Elsewhere" sub="the plan with this operator, and those colocated with it, on another device" table={elsewhere(props.doc)} />
          <Terms doc={props.doc} at={["time"]} />
        </div>
        <Panel title="Operator">
          <Pairs doc={props.doc} of={[["Type", "/op_type", "text"], ["Module", "/module", "text"], ["Cost formula", "/time/form", "text"], ["Cost source", "/time/origin", "text"], ["FLOPs", "/cost/flops", "count"],
            ["Reads", "/cost/read_bytes", "bytes"], ["Writes", "/cost/written_bytes", "bytes"], ["Temporary", "/cost/temporary_bytes", "bytes"]]} />
        </Panel>
      </div>
      <Inputs doc={props.doc} />
    </>
  );
}

function Inputs(props: { doc: Doc }): JSX.Element {
  const table = (name: "inputs" | "outputs"): Table => ({
    name, columns: ["Tensor", "From", "To", "Size", "Transfer time"],
    rows: list(props.doc, `/${name}`).map((own, at) => [String(own["tensor"]), String(own["from"] ?? ""), String(own["to"] ?? ""), ref(props.doc, pointer(name, at, "bytes"), "bytes"),
      known(ref(props.doc, [pointer(name, at, "end", "ns"), pointer(name, at, "start", "ns")], "time")) ? ref(props.doc, [pointer(name, at, "end", "ns"), pointer(name, at, "start", "ns")], "time", "difference") : "same device"]),
  });
  return <div class="halves"><Shown title="Inputs" table={table("inputs")} /><Shown title="Outputs to other devices" table={table("outputs")} /></div>;
}

function OfDevice(props: { doc: Doc }): JSX.Element {
  const peak = (): Table => ({
    name: "peak", columns: ["Alive at the peak", "Bytes", "Count", "Source"],
    rows: list(props.doc, "/peak/lines").map((own, at) => [String(own["name"]), ref(props.doc, pointer("peak", "lines", at, "bytes"), "bytes"), ref(props.doc, pointer("peak", "lines", at, "count"), "count"), String(own["source"])]),
  });
  const channels = (): Table => ({
    name: "channels", columns: ["Link", "Busy", "Bytes", "Transfers"],
    rows: list(props.doc, "/channels").map((own, at) => [String(own["channel"]), ref(props.doc, pointer("channels", at, "busy", "ns"), "time"), ref(props.doc, pointer("channels", at, "bytes"), "bytes"), ref(props.doc, pointer("channels", at, "transfers"), "count")]),
  });
  return (
    <div class="columns">
      <div><Shown title="Memory at the peak" table={peak()} /><Shown title="Links" table={channels()} /></div>
      <Panel title={short(String(resolve(props.doc.value, "/device")), 60)}>
        <Pairs doc={props.doc} of={[["Kind", "/kind", "text"], ["Compute", "/compute/ns", "time"], ["Communication", "/communication/ns", "time"], ["Idle", "/idle/ns", "time"], ["Peak", "/peak/bytes", "bytes"], ["Limit", "/limit_bytes", "bytes"],
          ["Memory", "/capacity_bytes", "bytes"], ["Context", "/context_bytes", "bytes"], ["Reserve", "/reserve_bytes", "bytes"]]} />
      </Panel>
    </div>
  );
}

interface Sent { from: string; to: string }

function OfTransfer(props: { doc: Doc; id: string }): JSX.Element {
  const all = () => (resolve(props.doc.value, "/transfers") ?? []) as Sent[];
  const takes = (at: number) => ref(props.doc, [pointer("transfers", at, "end", "ns"), pointer("transfers", at, "start", "ns")], "time", "difference");
  const device = (name: string) => <a href={why(props.id, "device", name)}><Name text={name} /></a>;
  return (
    <>
      <p class="lead"><Name text={String(resolve(props.doc.value, "/tensor"))} /> has <Num of={ref(props.doc, "/bytes", "bytes")} /><Show when={all().length === 0}> and is not transferred</Show>.</p>
      <For each={all()}>{(own, at) => (
        <>
          <p class="lead">From {device(own.from)} to {device(own.to)}: <b><Num of={takes(at())} /></b>, at <Num of={ref(props.doc, pointer("transfers", at(), "start", "ns"), "time")} /> of the step.</p>
          <Terms doc={props.doc} at={["transfers", String(at()), "why"]} />
        </>
      )}</For>
    </>
  );
}

/** What a pipeline rank does and holds. */
function OfRank(props: { doc: Doc; id: string }): JSX.Element {
  const view = fetched(() => `/v1/plans/${encodeURIComponent(props.id)}/view`, read);
  const rank = () => Number(resolve(props.doc.value, "/ranks/0/rank"));
  const at = (name: string) => pointer("devices", rank(), name);
  return (
    <Show when={view.latest()}>{(own) => (
      <Panel title={`Rank ${rank()}`} sub="per device">
        <Pairs doc={own()} of={[["Devices", at("n_devices"), "count"], ["Compute", at("compute_ns"), "time"], ["Communication, exposed", at("communication_ns"), "time"], ["Idle", at("idle_ns"), "time"],
          ["Peak", at("peak_bytes"), "bytes"], ["Peak at", at("peak_at_ns"), "time"], ["Limit", at("limit_bytes"), "bytes"]]} />
      </Panel>
    )}</Show>
  );
}

/** A training run: what its step consists of, what its ranks hold, how sure that is. */
function OfRun(props: { doc: Doc; id: string }): JSX.Element {
  const terms = (): Table => ({
    name: "terms", columns: ["Term (constant)", "Effect on step time"],
    rows: list(props.doc, "/trust/terms").map((own, at) => [`${String(own["term"])} (${String(own["constant"]).replaceAll("_", " ")})`, ref(props.doc, pointer("trust", "terms", at, "moves"), "share")]),
  });
  const links = (): Table => ({
    name: "links", columns: ["From", "To", "Bytes", "Busy"],
    rows: list(props.doc, "/links").map((own, at) => [`rank ${String(own["from"])}`, `rank ${String(own["to"])}`, ref(props.doc, pointer("links", at, "bytes"), "bytes"), ref(props.doc, pointer("links", at, "busy_ns"), "time")]),
  });
  const alive = (): Table => ({
    name: "alive", columns: ["Rank", "Peak at", "Alive at the peak"],
    rows: list(props.doc, "/ranks").map((own, at) => [`rank ${String(own["rank"])}`, ref(props.doc, pointer("ranks", at, "at_ns"), "time"), (own["alive"] as string[]).join("; ")]),
  });
  const is_one = () => asked("of") === "device";
  return (
    <div class="columns">
      <div>
        <Panel title={is_one() ? "Memory at the peak" : "Memory at the peak, by rank"} sub="largest first" actions={<><TableButtons of={alive()} /><a href={link(["plans", props.id, "memory"])}>Over time</a></>}>
          <For each={list(props.doc, "/ranks")}>{(own, at) => (
            <details class="alive-of" open={at() === 0}><summary>rank {String(own["rank"])}</summary><p>Peak at <Num of={ref(props.doc, pointer("ranks", at(), "at_ns"), "time")} /></p>
              <ul><For each={(own["alive"] as string[]).slice(0, 40)}>{(one) => <li><Name text={one} most={80} /></li>}</For></ul></details>
          )}</For>
          <Twin of={alive()} />
        </Panel>
        <Shown title={is_one() ? "Transfers" : "Transfers between ranks"} table={links()} />
      </div>
      <div>
        <Show when={is_one()}><OfRank doc={props.doc} id={props.id} /></Show>
        <Panel title="Step"><Pairs doc={props.doc} of={[["Step time", "/step_time_ns", "time"], ["80 % interval, low", "/trust/interval/low_ns", "time"], ["80 % interval, high", "/trust/interval/high_ns", "time"], ["Costs", "/trust/interval/origin", "text"], ["Interval from", "/trust/judged_on", "text"]]} /></Panel>
        <Shown title="Uncertainty" sub="by cost term" table={terms()} />
      </div>
    </div>
  );
}
