// The search of a plan: its curve while it runs and after, and how it can be ended.

import { For, Show, createSignal, type JSX } from "solid-js";
import { Refused, ask } from "../api";
import { followed } from "../load";
import { Chip, Facts, Name, Num, Panel, Trouble, Words, say } from "../parts";
import { plain } from "../names";
import { pointer, ref, type Doc } from "../pointer";
import { GapCurve, said, said_table, until_s } from "../pictures/gap-curve";
import { label } from "../fields";
import { texts } from "../form";
import { go, link } from "../route";
import { TableButtons, Twin } from "../table";
import { facts_of, has_cluster, is_live, subject, task_of, type Diagnostic, type Status } from "../types";

/** A request in a line. */
export function headline(plan: Status): string {
  return plain(`${task_of(plan)}: ${subject(plan, "model")}${has_cluster(plan) ? ` on ${subject(plan, "cluster")}` : ""}`);
}

/** A request as the texts of a form of its task. */
export const form_of = (plan: Status): Record<string, string> => ({ ...texts(plan.request), task: task_of(plan) });

export function CancelButton(props: { id: string }): JSX.Element {
  const [is_asked, setAsked] = createSignal(false);
  const cancel = async () => {
    setAsked(true);
    try {
      await ask(`/v1/plans/${encodeURIComponent(props.id)}/cancel`, { method: "POST" });
      say("Ending with the best plan so far");
    } catch (error) {
      setAsked(false);
      say(error instanceof Refused ? error.problem.title : String(error));
    }
  };
  return <button type="button" disabled={is_asked()} onClick={() => void cancel()}>{is_asked() ? "Ending …" : "End with the best plan so far"}</button>;
}

export default function Search(props: { status: Doc; is_lost: boolean }): JSX.Element {
  const plan = () => props.status.value as Status;
  const events = followed(() => plan().id);
  const figure = (name: string, as: "time" | "share" | "seconds") => ref(props.status, pointer(name), as);
  const until = () => until_s(plan());
  // A search whose plans have no value in time, such as a fleet's, tells of none.
  const is_silent = () => plan().value_ns === null && plan().artefacts.includes("plan") && !is_live(plan().state);
  const incumbents = () => said(events.doc()).filter((own) => own.event === "incumbent").reverse();
  return (
    <>
      <Show when={props.is_lost || events.is_lost()}>
        <p class="callout warn" role="status">The service does not answer; values may be out of date. The page reconnects by itself.</p>
      </Show>
      <Show when={plan().error}>{(error) => <Ended doc={props.status} error={error()} />}</Show>
      <section class="figures" aria-label="Search figures">
        <dl>
          <div><dt>State</dt><dd class="big"><Chip state={plan().state} /></dd><dd class="note">{phase(plan())}</dd></div>
          <Show when={!is_silent()}>
            <div><dt>Gap</dt><dd class="big"><Num figure of={figure("gap", "share")} /></dd><dd class="note">value / bound − 1</dd></div>
            <div><dt>Incumbent</dt><dd class="big"><Num figure of={figure("value_ns", "time")} /></dd><dd class="note">{plan().objective ?? ""}</dd></div>
            <div><dt>Bound</dt><dd class="big"><Num figure of={figure("bound_ns", "time")} /></dd><dd class="note">proved; no plan is better</dd></div>
          </Show>
          <Show when={plan().elapsed_s !== null}><div><dt>Time to last improvement</dt><dd class="big"><Num figure of={figure("elapsed_s", "seconds")} /></dd><dd class="note"><Show when={plan().algorithm}>{(name) => <Name text={name()} most={24} />}</Show></dd></div></Show>
        </dl>
      </section>
      <Show when={plan().opened === null} fallback={<Panel title="Search"><p class="empty">Opened from a file: a plan file has no search history.</p></Panel>}>
      <div class="columns">
        <Panel title="Incumbent and bound" sub="over search time"
          actions={<><TableButtons of={said_table(events.doc())} /><Show when={is_live(plan().state)}><CancelButton id={plan().id} /></Show></>}>
          <Show when={events.error()}>{(error) => <Trouble of={error()} />}</Show>
          <Show when={said(events.doc()).length > 0} fallback={<p class="empty">{is_live(plan().state) ? "No plan and no bound yet." : is_silent() ? <>This search reports its plan at the end only; see the <a href={link(["plans", plan().id])}>overview</a>.</> : "The search found no plan and no bound."}</p>}>
            <GapCurve doc={events.doc()} until_s={until()} bound_ns={is_live(plan().state) ? null : plan().bound_ns} />
            <Twin of={said_table(events.doc())} />
          </Show>
        </Panel>
        <div>
          <Show when={!is_silent()}><Panel title="Incumbents" sub="newest first">
            <ol class="incumbents">
              <For each={incumbents().slice(0, 8)}>{(own) => (
                <li><Num of={ref(events.doc(), pointer(own.at, "elapsed_s"), "seconds")} /> <b><Num of={ref(events.doc(), pointer(own.at, "value_ns"), "time")} /></b> <Name text={own.algorithm} most={28} /></li>
              )}</For>
            </ol>
            <p class="note">{Math.min(8, incumbents().length)} of {incumbents().length}</p>
          </Panel></Show>
          <Asked plan={plan()} />
        </div>
      </div>
      </Show>
    </>
  );
}

function phase(plan: Status): string {
  if (plan.state === "queued") return plan.queue_position === null ? "" : `${plan.queue_position} ahead in the queue`;
  return plan.phase === plan.state ? "" : plan.phase;
}

function Ended(props: { doc: Doc; error: Diagnostic }): JSX.Element {
  const plan = () => props.doc.value as Status;
  const lead = () => ({ infeasible: "No plan exists", cancelled: "The search was ended" } as Record<string, string>)[plan().state] ?? "The search failed";
  return (
    <div class="callout bad" role="alert">
      <p><b>{lead()}</b> <code>{props.error.code}</code> <a href={link(["plans", plan().id, "why"])}>Why, and fixes</a></p>
      <p><Words of={props.error.message} /></p>
      <Facts of={facts_of(props.error)} doc={props.doc} at={["error", "facts"]} />
      <For each={props.error.hints}>{(hint) => <p class="hint">Hint: <Words of={hint} /></p>}</For>
    </div>
  );
}

/** The request, and a form with its values. */
function Asked(props: { plan: Status }): JSX.Element {
  const entries = () => Object.entries(props.plan.request).filter(([name]) => name !== "verb");
  const text = (value: unknown) => (typeof value === "string" ? value : Array.isArray(value) && value.every((own) => typeof own === "string") ? value.join(", ") : JSON.stringify(value));
  const again = () => go(["new"], form_of(props.plan));
  return (
    <Panel title="Request" actions={<button type="button" class="plain" onClick={again}>Edit and plan again</button>}>
      <dl class="pairs">
        <For each={entries()}>{([name, value]) => <><dt>{label(name)}</dt><dd><Name text={text(value)} most={40} /></dd></>}</For>
      </dl>
      <p class="note"><code>{props.plan.id}</code></p>
    </Panel>
  );
}
