// Two plans, or a plan and the current run: changed decisions, and the step time difference by part.

import { For, Match, Show, Switch, createSignal, type JSX } from "solid-js";
import { Refused, read, send } from "../api";
import { ago } from "../format";
import { fetched } from "../load";
import { Loading, Num, Panel, Trouble } from "../parts";
import { plain } from "../names";
import { Waterfall, type Step } from "../pictures/waterfall";
import { known, number, pointer, ref, resolve, type Doc, type Ref } from "../pointer";
import { asked, link, set } from "../route";
import { DataTable, TableButtons, Twin, type Cell, type Table } from "../table";
import { with_plan, type ComparedOps, type ComparedRuns, type Diagnostic, type Page, type Status } from "../types";
import { BothTimelines } from "./both-timelines";
import { Fleets, are_fleets } from "./compare-fleets";
import { headline } from "./search";

/** Stands for settings in place of a plan. */
const SETTINGS = "settings";

export default function Compare(): JSX.Element {
  const list = fetched(() => "/v1/plans?limit=200", read);
  const plans = (): Status[] => with_plan(list.latest()?.value as Page | undefined);
  return (
    <>
      <div class="title"><h1>Compare</h1></div>
      <div class="pickers">
        <Picker name="a" title="A" plans={plans()} more />
        <button type="button" disabled={asked("a") === SETTINGS} onClick={() => set({ a: asked("b"), b: asked("a") })}>Swap</button>
        <Picker name="b" title="B" plans={plans()} />
      </div>
      <Show when={list.error()}>{(error) => <Trouble of={error()} again={list.again} />}</Show>
      <Switch fallback={<p class="empty">Choose two plans.</p>}>
        <Match when={asked("a") === SETTINGS && asked("b") !== ""}><Settings plan={asked("b")} /></Match>
        <Match when={asked("a") !== "" && asked("b") !== ""}><Both a={asked("a")} b={asked("b")} /></Match>
      </Switch>
    </>
  );
}

function Picker(props: { name: string; title: string; plans: Status[]; more?: boolean }): JSX.Element {
  const now = Date.now();
  const is_listed = () => asked(props.name) === "" || asked(props.name) === SETTINGS || props.plans.some((plan) => plan.id === asked(props.name));
  return (
    <label class="inline"><b>{props.title}</b>
      <select onChange={(event) => set({ [props.name]: event.currentTarget.value })}>
        <option value="">choose a plan</option>
        <Show when={!is_listed()}><option value={asked(props.name)} selected>{asked(props.name)}</option></Show>
        <Show when={props.more}><option value={SETTINGS} selected={asked(props.name) === SETTINGS}>current run: launcher settings</option></Show>
        <For each={props.plans}>{(plan) => (
          <option value={plan.id} selected={asked(props.name) === plan.id}>{headline(plan)}, {plan.algorithm}, {ago(plan.created_ms, now)}</option>
        )}</For>
      </select>
    </label>
  );
}

function Settings(props: { plan: string }): JSX.Element {
  const [text, setText] = createSignal(asked("settings"));
  const [name, setName] = createSignal(asked("called") || "run.sh");
  const source = () => `compare?${new URLSearchParams({ b: props.plan, settings: asked("settings"), called: asked("called") }).toString()}`;
  const compared = (at: string) => async (): Promise<Doc> => {
    const own = new URLSearchParams(at.slice("compare?".length));
    const path = `/v1/plans/${encodeURIComponent(own.get("b")!)}/answer?brief=true`;
    const body = { plan: own.get("b"), settings: own.get("settings"), settings_name: own.get("called") };
    const [answer, doc] = await Promise.all([read(path), send("/v1/compare", body)]);
    return { source: at, value: { b: answer.value, compare: doc.value } };
  };
  return (
    <>
      <Panel title="Current run" sub="Megatron-LM flags, a DeepSpeed ds_config, a torchtitan or Galvatron file">
        <form class="settings" onSubmit={(event) => { event.preventDefault(); set({ settings: text(), called: name() }); }}>
          <label>Settings <textarea rows="8" required spellcheck={false} value={text()} onInput={(event) => setText(event.currentTarget.value)} /></label>
          <label>File name <input required value={name()} onInput={(event) => setName(event.currentTarget.value)} /></label>
          <p class="buttons"><button type="submit" class="main">Compare</button></p>
        </form>
      </Panel>
      <Show when={asked("settings") !== "" && source()} keyed>{(own) => <Answer of={compared(own)} />}</Show>
    </>
  );
}

/** Both answers and what the service says of their difference, as one document. */
async function joined(a: string, b: string): Promise<Doc> {
  const paths = [a, b].map((id) => `/v1/plans/${encodeURIComponent(id)}/answer?brief=true`) as [string, string];
  const [first, second, compared] = await Promise.all([read(paths[0]), read(paths[1]), send("/v1/compare", { plan: b, with: a }).catch((error: unknown) => {
    // Plans of other models or clusters can't be set op by op; their figures stand beside each other all the same.
    if (error instanceof Refused && error.problem.status === 422) return { source: "", value: { unlike: error.problem.title } };
    throw error;
  })]);
  return { source: `compare?a=${a}&b=${b}`, value: { a: first.value, b: second.value, compare: compared.value } };
}

function Both(props: { a: string; b: string }): JSX.Element {
  return <Answer of={() => joined(props.a, props.b)} />;
}

function Answer(props: { of: () => Promise<Doc> }): JSX.Element {
  const doc = fetched(() => props.of, (of) => of());
  return (
    <Show when={doc.error() === undefined} fallback={<Trouble of={doc.error()} again={doc.again} />}>
      <Show when={doc.latest()} fallback={<Loading what="Comparing" />}>{(own) => <Result doc={own()} />}</Show>
    </Show>
  );
}

/** What is compared: training runs, placements of ops, or solutions of an instance with given costs. */
type Kind = "runs" | "ops" | "given" | "unlike";

function kind_of(doc: Doc): Kind {
  if (resolve(doc.value, "/compare/unlike") !== undefined) return "unlike";
  if (resolve(doc.value, "/compare/changes") !== undefined) return "runs";
  return resolve(doc.value, "/compare/step_time") !== undefined ? "ops" : "given";
}

/** Members of A and B: the current run is no plan. */
const sides = (doc: Doc): [string, string] => (resolve(doc.value, "/compare/now") === undefined ? ["a", "b"] : ["now", "plan"]);

function ends(doc: Doc, as: "time" | "bytes"): [Ref, Ref, Ref] {
  const [a, b] = sides(doc).map((side) => ({
    runs: pointer("compare", side, as === "time" ? "step_time_ns" : "peak_bytes"),
    ops: as === "time" ? pointer("compare", "step_time", 0, `${side}_ns`) : pointer("compare", "peak_memory", `${side}_bytes`),
    unlike: as === "time" ? pointer(side, "plan", "cost", "step_time_ns") : pointer(side, "best", "peak_bytes"),
    given: as === "time" ? pointer(side, "value_ns") : pointer(side, "peak_bytes"),
  })[kind_of(doc)]) as [string, string];
  return [ref(doc, a, as), ref(doc, b, as), ref(doc, [b, a], as, "difference")];
}

const PARTS: [string, string][] = [
  ["compute_s", "Compute"], ["recompute_s", "Recompute"], ["collectives_s", "Collectives"], ["exposed_transfers_s", "Exposed transfers"], ["optimizer_s", "Optimizer"], ["bubble_s", "Bubble"],
];

/** Parts of the step time difference; the sum equals it. */
function steps(doc: Doc): Step[] {
  if (kind_of(doc) === "given" || kind_of(doc) === "unlike") return [];
  if (kind_of(doc) === "ops") {
    const rows = (doc.value as { compare: ComparedOps }).compare.step_time;
    return rows.slice(1).map((row, at) => ({ name: plain(row.name.trim()), by: ref(doc, [pointer("compare", "step_time", at + 1, "b_ns"), pointer("compare", "step_time", at + 1, "a_ns")], "time", "difference") }));
  }
  return PARTS.map(([name, title]) => ({ name: title, by: ref(doc, [pointer("b", "best", "parts", name), pointer("a", "best", "parts", name)], "seconds", "difference") })).filter((step) => known(step.by));
}

/** A run's parts are seconds: its waterfall stands on nanoseconds. */
function scaled(doc: Doc): { a: Ref; b: Ref; steps: Step[] } {
  const [a, b] = ends(doc, "time");
  if (kind_of(doc) !== "runs") return { a, b, steps: steps(doc) };
  const own = (side: string) => ref(doc, pointer(side, "best", "step_time_s"), "seconds");
  return { a: own("a"), b: own("b"), steps: steps(doc) };
}

function Result(props: { doc: Doc }): JSX.Element {
  const shape = () => scaled(props.doc);
  const table = (): Table => ({ name: "waterfall", columns: ["Part", "B − A"], rows: shape().steps.map((step) => [step.name, step.by]) });
  return are_fleets(props.doc) ? <><Warnings doc={props.doc} /><Fleets doc={props.doc} /></> : (
    <>
      <Headline doc={props.doc} />
      <Warnings doc={props.doc} />
      <Show when={shape().steps.length > 0 && known(shape().a)}>
        <Panel title="Step time difference by part" sub={remainder(shape())} actions={<TableButtons of={table()} />}>
          <Waterfall a={shape().a} b={shape().b} steps={shape().steps} label="Step time difference by part" />
          <Twin of={table()} />
        </Panel>
      </Show>
      <div class="halves">
        <Moved doc={props.doc} />
        <Panel title="Figures" sub="A, B and the difference"><DataTable of={figures(props.doc)} /></Panel>
      </div>
      <Show when={kind_of(props.doc) !== "given" && asked("a") !== SETTINGS}><BothTimelines a={asked("a")} b={asked("b")} /></Show>
    </>
  );
}

/** What the comparison itself warns of, and who is short of memory. */
function Warnings(props: { doc: Doc }): JSX.Element {
  const all = () => (resolve(props.doc.value, "/compare/warnings") ?? []) as Diagnostic[];
  const short = () => sides(props.doc).map((side, at) => ({ title: at === 0 ? "A" : "B", rank: resolve(props.doc.value, pointer("compare", side, "short_rank")), of: ref(props.doc, pointer("compare", side, "short_of_bytes"), "bytes") })).filter((own) => known(own.of));
  return (
    <>
      <Show when={resolve(props.doc.value, "/compare/unlike")}>{(why) => <div class="callout warn"><p><span aria-hidden="true">▲</span> Only figures are compared: {plain(String(why()))}.</p></div>}</Show>
      <For each={short()}>{(own) => <div class="callout bad"><p><b>{own.title} does not fit</b>: rank {String(own.rank)} exceeds the limit by <Num of={own.of} /></p></div>}</For>
      <For each={all()}>{(own) => <div class="callout warn"><p><span aria-hidden="true">▲</span> {plain(own.message)}</p><For each={own.hints}>{(hint) => <p class="hint">{plain(hint)}</p>}</For></div>}</For>
    </>
  );
}

function remainder(shape: { a: Ref; b: Ref; steps: Step[] }): string {
  const sum = shape.steps.reduce((total, step) => total + (number(step.by) ?? 0), 0);
  const whole = (number(shape.b) ?? 0) - (number(shape.a) ?? 0);
  const rest = Math.abs(whole - sum) * (shape.a.as === "seconds" ? 1e9 : 1);
  return rest < 1 ? `${shape.steps.length} parts; the sum equals the difference` : `${shape.steps.length} parts; ${Math.round(rest)} ns unexplained`;
}

function Headline(props: { doc: Doc }): JSX.Element {
  const time = () => ends(props.doc, "time")[2];
  const peak = () => ends(props.doc, "bytes")[2];
  const word = (own: Ref, more: string, less: string) => ((number(own) ?? 0) === 0 ? "equal" : (number(own) ?? 0) > 0 ? more : less);
  const what = () => (kind_of(props.doc) === "given" ? plain(String(resolve(props.doc.value, "/compare/objective"))) : "step");
  return (
    <p class="lead">
      B against A: {what()} <Show when={known(time())} fallback="unknown for one of them"><b><Num sign of={time()} /></b> ({word(time(), "▲ slower", "▼ faster")})</Show><Show when={known(peak())}>, peak <b><Num sign of={peak()} /></b> ({word(peak(), "▲ more memory", "▼ less memory")})</Show>.
    </p>
  );
}

function figures(doc: Doc): Table {
  const row = (name: string, own: [Ref, Ref, Ref]): Cell[] => [name, own[0], own[1], own[2]];
  const other = (name: string, at: string, as: Ref["as"]): Cell[][] => {
    const own: [Ref, Ref, Ref] = [ref(doc, `/a${at}`, as), ref(doc, `/b${at}`, as), ref(doc, [`/b${at}`, `/a${at}`], as === "share" ? "points" : as, "difference")];
    return known(own[2]) ? [row(name, own)] : [];
  };
  const both = (name: string, own: [Ref, Ref, Ref]): Cell[][] => {
    const [a, b] = [known(own[0]) ? own[0] : null, known(own[1]) ? own[1] : null];
    return a === null && b === null ? [] : [a !== null && b !== null ? row(name, own) : [name, a, b, null]];
  };
  const pair = (name: string, as: Ref["as"]): [Ref, Ref, Ref] => {
    const [a, b] = sides(doc).map((side) => pointer("compare", side, name)) as [string, string];
    return [ref(doc, a, as), ref(doc, b, as), ref(doc, [b, a], as, "difference")];
  };
  return {
    name: "figures", columns: ["Figure", "A", "B", "B − A"],
    rows: [...both(kind_of(doc) === "given" ? "Value" : "Step time", ends(doc, "time")), ...both("Peak memory", ends(doc, "bytes")),
      ...both("Global batch, samples", pair("global_batch", "count")), ...both("Sequence length, tokens", pair("sequence_length", "count")),
      ...other("Throughput", "/best/tokens_per_s", "tokens-per-s"), ...other("MFU", "/best/model_flops_utilisation", "share"), ...other("Gap to bound", "/plan/cost/gap", "share")],
  };
}

/** Decisions that differ: of a run its fields, of ops where they are. */
function Moved(props: { doc: Doc }): JSX.Element {
  const moved = (): Table => {
    const own = (props.doc.value as { compare: Partial<ComparedOps & ComparedRuns> }).compare;
    const [a, b] = sides(props.doc);
    if (kind_of(props.doc) === "runs") return { name: "moved", columns: ["Decision", "In A", "In B"], rows: own.changes!.map((one) => [one.field, String(one[a]), String(one[b])]) };
    return { name: "moved", columns: ["Operator", "In A", "In B"], rows: kind_of(props.doc) === "ops" ? own.moved!.map((one) => [one.op, one.from, one.to]) : [] };
  };
  const is_equal = () => resolve(props.doc.value, "/compare/equal") === true;
  const n_moved = () => ref(props.doc, "/compare/moved", "count");
  return (
    <Panel title="Changed decisions" sub={moved().rows.length > 0 ? String(moved().rows.length) : undefined}>
      <Show when={moved().rows.length > 0} fallback={<p class="empty">{kind_of(props.doc) === "unlike" ? "The plans are for different files: decisions are not compared." : is_equal() ? "All decisions are equal." : known(n_moved()) ? <><Num of={n_moved()} /> nodes have another device in B.</> : "The stages differ."}</p>}><DataTable of={moved()} /></Show>
      <p class="note"><a href={link(["plans", asked("b")])}>Open B</a> <Show when={asked("a") !== SETTINGS}><a href={link(["plans", asked("a")])}>Open A</a></Show></p>
    </Panel>
  );
}
