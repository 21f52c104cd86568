// All plans: running searches with their curves, and the list.

import { For, Show, createMemo, createSignal, onCleanup, onMount, type JSX } from "solid-js";
import { now_ms, read } from "../api";
import { label } from "../fields";
import { traits } from "../figures";
import { ago } from "../format";
import { followed, polled } from "../load";
import { Chip, Loading, Name, Num, Trouble } from "../parts";
import { pointer, ref, type Doc } from "../pointer";
import { GapCurve, until_s } from "../pictures/gap-curve";
import { short } from "../names";
import { asked, link, set } from "../route";
import { is_live, subject, task_of, type Page, type State, type Status } from "../types";
import { OpenFile } from "./open-file";
import { CancelButton, headline } from "./search";

const STATES: State[] = ["queued", "running", "done", "infeasible", "cancelled", "failed"];
/** Running plans whose curve is drawn here: browsers open six connections to a place. */
const CURVES = 2;
/** Plans that the service tells of at once, at most. */
const MOST = 500;

export default function Plans(): JSX.Element {
  const state = () => asked("state");
  // Words are looked for in what was read.
  const limit = () => asked("limit") || (asked("q") === "" ? "50" : String(MOST));
  const path = () => `/v1/plans?limit=${encodeURIComponent(limit())}${state() === "" ? "" : `&state=${encodeURIComponent(state())}`}`;
  const plans = polled(path, 2000, (doc) => (doc.value as Page).plans.some((plan) => is_live(plan.state)));
  const page = () => plans.doc()?.value as Page | undefined;
  return (
    <>
      <div class="title">
        <h1>Plans</h1>
        <OpenFile />
        <a class="button" href="#/files">Upload a file</a>
        <a class="button main" href="#/new">New plan</a>
      </div>
      <Show when={plans.is_lost()}><p class="callout warn" role="status">The service does not answer; values may be out of date.</p></Show>
      <Show when={plans.error() === undefined} fallback={<Trouble of={plans.error()} again={plans.again} />}>
        <Show when={plans.doc()} fallback={<Loading what="Loading the plans" />}>
          {(doc) => (
            <>
              <For each={page()!.plans.filter((plan) => plan.state === "running").slice(0, CURVES).map((plan) => plan.id)}>
                {(id) => <Running id={id} doc={doc()} />}
              </For>
              <List doc={doc()} />
            </>
          )}
        </Show>
      </Show>
    </>
  );
}

function Running(props: { id: string; doc: Doc }): JSX.Element {
  const events = followed(() => props.id);
  const at = () => (props.doc.value as Page).plans.findIndex((plan) => plan.id === props.id);
  const plan = () => (props.doc.value as Page).plans[at()];
  return (
    <Show when={plan()}>{(own) => (
      <section class="panel" aria-label="Running search">
        <header>
          <Chip state="running" />
          <h2><a href={link(["plans", props.id])}>{headline(own())}</a></h2>
          <span class="sub">{own().phase} <Show when={own().algorithm}>{(name) => <Name text={name()} />}</Show></span>
          <span class="actions"><CancelButton id={props.id} /></span>
        </header>
        <dl class="row-figures">
          <div><dt>Gap</dt><dd><Num of={ref(props.doc, pointer("plans", at(), "gap"), "share")} /></dd></div>
          <div><dt>Incumbent</dt><dd><Num of={ref(props.doc, pointer("plans", at(), "value_ns"), "time")} /></dd></div>
          <div><dt>Bound</dt><dd><Num of={ref(props.doc, pointer("plans", at(), "bound_ns"), "time")} /></dd></div>
        </dl>
        <GapCurve doc={events.doc()} until_s={until_s(own())} />
      </section>
    )}</Show>
  );
}

/** Whether a plan has all the words. */
function matches(plan: Status, words: string): boolean {
  const text = `${plan.id} ${headline(plan)} ${plan.algorithm ?? ""} ${plan.state} ${plan.objective ?? ""}`.toLowerCase();
  return words.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

const names = (plan: Status): string => `${subject(plan, "model")}\n${subject(plan, "cluster")}`;

/** What tells a finished plan apart, by its id: plans do not change. */
const known = new Map<string, string>();
let queue: Promise<unknown> = Promise.resolve();

/** Devices, batch and degrees, of a plan whose files others have too; of one that is not there, its request. */
function Traits(props: { plan: Status }): JSX.Element {
  const stated = ["global_batch", "batch", "sequence_length", "devices", "phase", "pin"].flatMap((name) => (props.plan.request[name] == null ? [] : [`${label(name).toLowerCase()} ${[props.plan.request[name]].flat().join(" ")}`])).join(" · ");
  const [text, setText] = createSignal(known.get(props.plan.id) ?? stated);
  onMount(() => {
    const { id, state, artefacts } = props.plan;
    if (known.has(id) || is_live(state) || !artefacts.includes("plan")) return;
    let is_here = true;
    onCleanup(() => { is_here = false; });
    // One after the other: a list may have hundreds.
    queue = queue.then(async () => {
      if (!is_here && !known.has(id)) return;
      if (!known.has(id)) known.set(id, traits(await read(`/v1/plans/${encodeURIComponent(id)}/answer?brief=true`)));
      if (is_here && known.get(id) !== "") setText(known.get(id)!);
    }).catch(() => { /* the request's words stay */ });
  });
  return <Show when={text() !== ""}><span class="note traits">{short(text(), 200)}</span></Show>;
}

function List(props: { doc: Doc }): JSX.Element {
  const page = () => props.doc.value as Page;
  const found = createMemo(() => page().plans.map((plan, at) => ({ plan, at })).filter(({ plan }) => matches(plan, asked("q"))));
  const now = now_ms();
  /** Names that several rows have. */
  const same = createMemo(() => {
    const all = found().map(({ plan }) => names(plan));
    return new Set(all.filter((own, at) => all.indexOf(own) !== at));
  });
  return (
    <section class="panel" aria-label="All plans">
      <header>
        <div class="segments" role="group" aria-label="State">
          <For each={["", ...STATES]}>{(own) => (
            <button type="button" aria-pressed={asked("state") === own} onClick={() => set({ state: own })}>{own === "" ? "all" : own}</button>
          )}</For>
        </div>
        <span class="actions note">
          {found().length} of {page().next === null ? "" : "the newest "}{page().plans.length} plans
          <Show when={asked("q")}> with "{short(asked("q"))}" <button type="button" class="plain" onClick={() => set({ q: "" })}>Clear</button></Show>
        </span>
      </header>
      <Show when={page().plans.length > 0} fallback={<Empty is_filtered={asked("state") !== ""} />}>
        <div class="scroll all" role="region" tabindex="0" aria-label="Plans, table">
          <table class="rows">
            <thead><tr>
              <For each={["Model", "Task", "Cluster", "State", "Algorithm"]}>{(name) => <th scope="col">{name}</th>}</For>
              <For each={["Value", "Gap", "Peak", "Submitted"]}>{(name) => <th scope="col" class="right">{name}</th>}</For>
            </tr></thead>
            <tbody>
              <For each={found()}>{({ plan, at }) => (
                <tr>
                  <td><a href={link(["plans", plan.id])}><Name text={subject(plan, "model")} /></a><Show when={same().has(names(plan)) || (plan.value_ns === null && plan.artefacts.includes("plan"))}><Traits plan={plan} /></Show></td>
                  <td data-name="Task">{task_of(plan)}</td>
                  <td data-name="Cluster"><Name text={subject(plan, "cluster")} most={40} /></td>
                  <td data-name="State"><Chip state={plan.state} /><Show when={plan.opened}> <span class="note">from a file{plan.opened!.is_judged ? "" : ", not verified"}</span></Show></td>
                  <td data-name="Algorithm"><Show when={plan.algorithm}>{(name) => <Name text={name()} most={28} />}</Show></td>
                  <td data-name="Value" class="right"><Num of={ref(props.doc, pointer("plans", at, "value_ns"), "time")} /></td>
                  <td data-name="Gap" class="right"><Num of={ref(props.doc, pointer("plans", at, "gap"), "share")} /></td>
                  <td data-name="Peak" class="right"><Num of={ref(props.doc, pointer("plans", at, "peak_bytes"), "bytes")} /></td>
                  <td data-name="Submitted" class="right">{ago(plan.created_ms, now)}</td>
                </tr>
              )}</For>
            </tbody>
          </table>
        </div>
        <Show when={page().next !== null}>
          <p class="note">
            <Show when={page().plans.length < MOST} fallback="Older plans are listed by the API only.">
              <button type="button" onClick={() => set({ limit: String(Math.min(MOST, page().plans.length * 4)) })}>Show more</button>
            </Show>
          </p>
        </Show>
      </Show>
    </section>
  );
}

function Empty(props: { is_filtered: boolean }): JSX.Element {
  return (
    <div class="empty">
      <Show when={!props.is_filtered} fallback={<p>No plans in this state.</p>}>
        <p>No plans yet.</p>
        <p><a class="button main" href={link(["new"], { model: "example:gpt2_small.onnx" })}>Plan an example</a></p>
      </Show>
    </div>
  );
}
