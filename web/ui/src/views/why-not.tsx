// Alternatives: configurations that came close, and any other by its fields.

import { Show, createSignal, createUniqueId, type JSX } from "solid-js";
import { ask } from "../api";
import { again } from "../changes";
import { configuration } from "../figures";
import { Num, Panel, Trouble, Words } from "../parts";
import { known, pointer, ref, resolve, type Doc } from "../pointer";
import { link } from "../route";
import { CsvButton, DataTable, type Cell, type Table } from "../table";
import type { Status } from "../types";
import { is_faster, mainly } from "./overview";

/** Why a plan is recommended though another one is faster. */
const preferred = (doc: Doc): string => {
  const reasons = ((resolve(doc.value, "/recommended/reason") ?? []) as string[]).map((own) => own.replaceAll("-", " "));
  return ["faster", ...(reasons.length > 0 ? [`this plan is preferred: ${reasons.join(", ")}`] : [])].join("; ");
};

/** Rejected configurations of a run; of ops, the recipes that were tried. */
function rejected(doc: Doc): Table {
  if (resolve(doc.value, "/plan/training") == null) {
    const step = Number(resolve(doc.value, "/plan/cost/step_time_ns"));
    const attempts = ((resolve(doc.value, "/attempts") ?? []) as Record<string, unknown>[]).map((own, at) => ({ own, at, ns: resolve(own, "/result/plan/step_time_ns") as number | undefined }));
    const rows = attempts.toSorted((a, b) => (a.ns ?? Infinity) - (b.ns ?? Infinity) || a.at - b.at).map(({ own, at, ns }): Cell[] => {
      const of = (name: string) => pointer("attempts", at, "result", "plan", name);
      const none = resolve(own, "/result/none/message") ?? resolve(own, "/result/failure/message") ?? resolve(own, "/result/message") ?? "no plan";
      if (ns === undefined) return [String(own["algorithm"]), null, null, null, String(none)];
      const why = ns > step ? "slower" : ns < step ? (resolve(doc.value, "/fastest_ns") == null ? "worse objective value" : "more devices or transfers for less than 0.5 %") : "this plan, or as fast";
      return [String(own["algorithm"]), ref(doc, of("step_time_ns"), "time"), ref(doc, [of("step_time_ns"), "/plan/cost/step_time_ns"], "time", "difference"), ref(doc, of("peak_memory_bytes"), "bytes"), why];
    });
    return { name: "tried", columns: ["Recipe", "Step", "Against this plan", "Peak", "Why not"], rows };
  }
  const at = (resolve(doc.value, "/runners_up") as unknown[] | undefined ?? []).map((_, index) => pointer("runners_up", index));
  const beyond = resolve(doc.value, "/beyond_launcher") == null ? [] : [pointer("beyond_launcher")];
  const row = (own: string): Cell[] => [
    configuration(String(resolve(doc.value, `${own}/degrees`))), ref(doc, `${own}/step_time_ns`, "time"), ref(doc, `${own}/loses`, "share"), ref(doc, `${own}/peak_bytes`, "bytes"),
    own === "/beyond_launcher" ? "the launcher cannot run it" : is_faster(doc, own) ? preferred(doc) : `slower: ${mainly(doc, own)}`,
  ];
  return { name: "rejected", columns: ["Configuration", "Step", "Slower by", "Peak memory", "Why not"], rows: [...at, ...beyond].map(row) };
}

const COUNTS: [string, string][] = [["configurations", "configurations"], ["misfits", "do not fit"], ["too_large", "too large to simulate"], ["judged", "simulated"]];

export function Rejected(props: { doc: Doc }): JSX.Element {
  const counts = () => COUNTS.filter(([name]) => known(ref(props.doc, pointer("counts", name), "count")));
  return (
    <Show when={rejected(props.doc).rows.length > 0}>
      <Panel title={resolve(props.doc.value, "/plan/training") == null ? "Attempts" : "Alternatives"} sub="fastest first" actions={<CsvButton of={rejected(props.doc)} />}>
        <DataTable of={rejected(props.doc)} />
        <Show when={counts().length > 0}>
          <p class="note">{counts().map(([name, words], at) => <>{at === 0 ? "" : ", "}<Num of={ref(props.doc, pointer("counts", name), "count")} /> {words}</>)}.</p>
        </Show>
      </Panel>
    </Show>
  );
}

/** Longest that an answer is waited for here, in seconds. */
const PATIENCE_S = 60;

/** Any configuration, by its fields: planned with them pinned, its own figures or what rules it out. */
export function Another(props: { plan: Status }): JSX.Element {
  const id = createUniqueId();
  const [text, setText] = createSignal("");
  const [answer, setAnswer] = createSignal<Doc>();
  const [error, setError] = createSignal<unknown>();
  const [is_busy, setBusy] = createSignal(false);
  const start = async () => {
    setBusy(true);
    setError(undefined);
    setAnswer(undefined);
    try {
      const pins = text().split(/[\s,]+/).filter(Boolean).map((value) => ({ field: "pin", value }));
      const body = JSON.stringify(again(props.plan, pins));
      const made = await (await ask(`/v1/plans?wait=${PATIENCE_S}`, { method: "POST", body, headers: { "content-type": "application/json" } })).json() as Status;
      setAnswer({ source: `/v1/plans/${encodeURIComponent(made.id)}`, value: made });
    } catch (why) { setError(() => why); }
    setBusy(false);
  };
  return (
    <Panel title="Why not another configuration?" sub="planned with these fields pinned; 60 s at most">
      <form class="pickers" onSubmit={(event) => { event.preventDefault(); void start(); }}>
        <label class="inline" for={id}>Fields</label>
        <input id={id} class="grow" required value={text()} spellcheck={false} placeholder="tensor=8 pipeline=2 schedule=1f1b" onInput={(event) => setText(event.currentTarget.value)} />
        <button type="submit" disabled={is_busy()}>{is_busy() ? "Planning …" : "Why not?"}</button>
      </form>
      <Show when={error()}>{(own) => <Trouble of={own()} />}</Show>
      <Show when={answer()}>{(own) => <Verdict doc={own()} plan={props.plan} />}</Show>
    </Panel>
  );
}

function Verdict(props: { doc: Doc; plan: Status }): JSX.Element {
  const made = () => props.doc.value as Status;
  return (
    <p role="status">
      <Show when={made().state === "done"} fallback={<>{made().error === null ? "Still planning" : <>Ruled out: <Words of={made().error!.message} /></>}. <a href={link(["plans", made().id, "why"])}>Why</a></>}>
        Step time <b><Num of={ref(props.doc, "/value_ns", "time")} /></b>, peak memory <Num of={ref(props.doc, "/peak_bytes", "bytes")} />. <a href={link(["compare"], { a: made().id, b: props.plan.id })}>Compare with this plan</a>
      </Show>
    </p>
  );
}
