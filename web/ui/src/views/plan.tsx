// One plan: its state decides which of its views there are.

import { Match, Show, Switch, createEffect, createMemo, on, type JSX } from "solid-js";
import { Refused, ask, missed, not_held, read } from "../api";
import { IS_ALONE } from "../held";
import { has_steps, kind_of, task_of_answer } from "../figures";
import { fetched, later, polled } from "../load";
import { Chip, Loading, Name, Trouble, download, say } from "../parts";
import { digest } from "../names";
import type { Doc } from "../pointer";
import { link, route } from "../route";
import { forget_plan, note_kind } from "../shell";
import { has_cluster, is_live, purpose, subject, task_of, type Status } from "../types";
import Overview from "./overview";
import Search from "./search";

/** Of a page that is one file: a view that asks for more than it holds. */
const Elsewhere = (_: { status: Doc }): JSX.Element => <Trouble of={not_held()} />;

// What such a page can't show is not part of it.
const Graph = import.meta.env.MODE === "sheet" ? Elsewhere : later(() => import("./graph"));
const Memory = later(() => import("./memory"));
const Timeline = later(() => import("./timeline"));
const WhatIf = import.meta.env.MODE === "sheet" ? Elsewhere : later(() => import("./what-if"));
const Why = import.meta.env.MODE === "sheet" ? Elsewhere : later(() => import("./why"));
const WhyNone = import.meta.env.MODE === "sheet" ? Elsewhere : later(() => import("./why-none"));
const Judge = import.meta.env.MODE === "sheet" ? () => null : later(() => import("./judge"));

export default function Plan(props: { id: string }): JSX.Element {
  const status = polled(() => `/v1/plans/${encodeURIComponent(props.id)}`, 1000, (doc) => is_live((doc.value as Status).state));
  const state = () => (status.doc()?.value as Status | undefined)?.state;
  const view = () => route().path[2] ?? "overview";
  createEffect(on(state, (now, before) => {
    // Whoever watched the search is shown what it found.
    if (before === "running" && now === "done" && view() === "overview") scrollTo(0, 0);
  }));
  // Where there is no plan, there is the search for it and why.
  const is_none = () => { const own = status.doc()?.value as Status | undefined; return own !== undefined && !is_live(own.state) && !own.artefacts.includes("plan"); };
  createEffect(() => { if (is_none() && !["search", "why"].includes(view())) location.replace(link(["plans", props.id, "search"])); });
  // It may be deleted while one of its views is looked at.
  let is_gone = false;
  createEffect(on(missed, () => {
    if (is_gone) return;
    read(`/v1/plans/${encodeURIComponent(props.id)}`).catch((error: unknown) => {
      is_gone ||= error instanceof Refused && error.problem.status === 404;
      if (is_gone) { forget_plan(props.id); status.again(); }
    });
  }, { defer: true }));
  return (
    <Show when={status.error() === undefined} fallback={<><h1>Plan</h1><Trouble of={status.error()} again={status.again} /></>}>
      <Show when={status.doc()} fallback={<Loading what="Loading the plan" />}>{(doc) => (
        <>
          <Head doc={doc()} />
          <Show when={(doc().value as Status).opened?.is_judged === false}><Judge plan={doc().value as Status} /></Show>
          <Show when={(doc().value as Status).artefacts.includes("plan") && state() !== "queued" && state() !== "running" && view() !== "search"}
            fallback={<Show when={view() === "why" && (doc().value as Status).error !== null} fallback={<Search status={doc()} is_lost={status.is_lost()} />}><WhyNone status={doc()} /></Show>}>
            <Switch fallback={<p>There is no such view. <a href={link(["plans", props.id])}>Overview</a></p>}>
              <Match when={view() === "overview"}><Overview status={doc()} /></Match>
              <Match when={view() === "graph"}><Graph status={doc()} /></Match>
              <Match when={view() === "memory"}><Memory status={doc()} /></Match>
              <Match when={view() === "what-if"}><WhatIf status={doc()} /></Match>
              <Match when={view() === "why"}><Why status={doc()} /></Match>
              <Match when={view() === "timeline"}><Timeline status={doc()} /></Match>
            </Switch>
          </Show>
        </>
      )}</Show>
    </Show>
  );
}

/** The plan as one file, which opens without a service. */
async function save(plan: Status): Promise<void> {
  try {
    const page = await (await ask(`/v1/plans/${encodeURIComponent(plan.id)}/artefacts/html`)).blob();
    download(`${subject(plan, "model").replaceAll(/[^\w.-]/g, "_").slice(0, 80)}.html`, page, "text/html");
  } catch (error) { say((error as Error).message); }
}

function Head(props: { doc: Doc }): JSX.Element {
  const plan = () => props.doc.value as Status;
  // The plan's document says its task; until it is there, or where there is none, the request does.
  const id = createMemo(() => (plan().artefacts.includes("plan") && !is_live(plan().state) ? plan().id : ""));
  const answer = fetched(id, async (own) => (own === "" ? undefined : read(`/v1/plans/${encodeURIComponent(own)}/answer?brief=true`)));
  const kind = () => (answer.error() === undefined && answer.latest() !== undefined ? kind_of(answer.latest()!) : undefined);
  createEffect(() => note_kind(plan().id, is_live(plan().state) || plan().artefacts.includes("plan") ? kind() : "none"));
  const task = () => {
    const stated = plan().request["task"] !== undefined ? task_of(plan()) : undefined;
    return stated ?? (answer.error() === undefined && answer.latest() !== undefined ? task_of_answer(answer.latest()!) : task_of(plan()));
  };
  return (
    <div class="title">
      <div>
        <h1><Name text={subject(plan(), "model")} /><Show when={has_cluster(plan())}> on <Name text={subject(plan(), "cluster")} most={80} /></Show></h1>
        <p class="note">
          <span class="purpose">{purpose(task(), plan())}</span>
          <Show when={plan().opened?.file}>{(own) => <>, opened from <Name text={own()} />{plan().opened!.is_judged ? ", verified on its model" : ""}</>}</Show>
          <Show when={Object.keys(plan().files).length > 0}>; inputs <code>{Object.values(plan().files).map(digest).join(" · ")}</code></Show>
        </p>
      </div>
      <Chip state={plan().state} />
      <Show when={!IS_ALONE}>
        <Show when={plan().artefacts.includes("plan") && plan().opened?.is_judged !== false && has_steps(kind() ?? "given")}><button type="button" onClick={() => void save(plan())}>Save as a page</button></Show>
        <a class="button" href={link(["compare"], { b: plan().id })}>Compare</a>
      </Show>
    </div>
  );
}
