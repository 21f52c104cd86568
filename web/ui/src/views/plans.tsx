// All plans: what runs, with its curve, and what there is.

import { For, Show, createMemo, type JSX } from "solid-js";
import { now_ms } from "../api";
import { ago } from "../format";
import { followed, polled } from "../load";
import { Chip, Loading, Name, Num, Trouble } from "../parts";
import { pointer, ref, type Doc } from "../pointer";
import { GapCurve, until_s } from "../pictures/gap-curve";
import { short } from "../names";
import { asked, link, set } from "../route";
import { is_live, subject, type Page, type State, type Status } from "../types";
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
      <Show when={plans.is_lost()}><p class="callout warn" role="status">The service does not answer; what is shown is from before.</p></Show>
      <Show when={plans.error() === undefined} fallback={<Trouble of={plans.error()} again={plans.again} />}>
        <Show when={plans.doc()} fallback={<Loading what="Reading the plans" />}>
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
      <section class="panel" aria-label="Running">
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

function List(props: { doc: Doc }): JSX.Element {
  const page = () => props.doc.value as Page;
  const found = createMemo(() => page().plans.map((plan, at) => ({ plan, at })).filter(({ plan }) => matches(plan, asked("q"))));
  const now = now_ms();
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
              <For each={["Model", "Cluster", "State", "Algorithm"]}>{(name) => <th scope="col">{name}</th>}</For>
              <For each={["Value", "Gap", "Peak", "Asked"]}>{(name) => <th scope="col" class="right">{name}</th>}</For>
            </tr></thead>
            <tbody>
              <For each={found()}>{({ plan, at }) => (
                <tr>
                  <td><a href={link(["plans", plan.id])}><Name text={subject(plan, "model")} /></a></td>
                  <td><Name text={subject(plan, "cluster")} most={40} /></td>
                  <td><Chip state={plan.state} /><Show when={plan.opened}> <span class="note">from a file{plan.opened!.is_judged ? "" : ", not verified"}</span></Show></td>
                  <td><Show when={plan.algorithm}>{(name) => <Name text={name()} most={28} />}</Show></td>
                  <td class="right"><Num of={ref(props.doc, pointer("plans", at, "value_ns"), "time")} /></td>
                  <td class="right"><Num of={ref(props.doc, pointer("plans", at, "gap"), "share")} /></td>
                  <td class="right"><Num of={ref(props.doc, pointer("plans", at, "peak_bytes"), "bytes")} /></td>
                  <td class="right">{ago(plan.created_ms, now)}</td>
                </tr>
              )}</For>
            </tbody>
          </table>
        </div>
        <Show when={page().next !== null}>
          <p class="note">
            <Show when={page().plans.length < MOST} fallback="Older plans are not read here; the API lists them.">
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
      <Show when={!props.is_filtered} fallback={<p>No plan is in this state.</p>}>
        <p>No plan was made here yet.</p>
        <p><a class="button main" href={link(["new"], { model: "example:gpt2_small.onnx" })}>Plan an example</a></p>
      </Show>
    </div>
  );
}
