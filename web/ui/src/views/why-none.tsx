// Why there is no plan: the shortfall, the conflict, and fixes.

import { For, Show, createSignal, type JSX } from "solid-js";
import { send } from "../api";
import { again, changes, told, type Change } from "../changes";
import { plain } from "../names";
import { Facts, Name, Panel, Trouble, Words } from "../parts";
import { DeviceBars } from "../pictures/bars";
import { number, pointer, ref, type Doc, type Ref } from "../pointer";
import { go, link } from "../route";
import { CsvButton, DataTable, type Cell, type Table } from "../table";
import { form_of } from "./search";
import { facts_of, names_of, type Diagnostic, type Status } from "../types";

const error_of = (doc: Doc): Diagnostic => (doc.value as Status).error!;

/** A fact that is a size. */
function size(doc: Doc, name: string): Ref | undefined {
  const at = facts_of(error_of(doc)).findIndex((own) => own.name === name);
  const own = ref(doc, pointer("error", "facts", at, "value", "bytes"), "bytes");
  return at >= 0 && number(own) !== undefined ? own : undefined;
}

/** Exit codes of the command line for which alternatives were searched: none exists, or none was found. */
const SEARCHED = [4, 5];

const lead = (plan: Status): string => ({ infeasible: "No plan exists (proved)", cancelled: "The search ended before a plan was found" } as Record<string, string>)[plan.state]
  ?? (plan.error?.exit_code === 5 ? "No plan was found (not proved that none exists)" : "The request could not be planned");

export default function WhyNone(props: { status: Doc }): JSX.Element {
  const plan = () => props.status.value as Status;
  const error = () => error_of(props.status);
  const is_searched = () => plan().state !== "cancelled" && SEARCHED.includes(error().exit_code ?? 0);
  return (
    <>
      <div class="callout bad"><p><b>{lead(plan())}</b> <code>{error().code}</code></p><p><Words of={error().message} /></p></div>
      <Show when={is_searched()} fallback={
        <div class="halves">
          <Show when={facts_of(error()).length > 0}><Panel title="Facts"><Facts of={facts_of(error())} doc={props.status} at={FACTS} /></Panel></Show>
          <Ways doc={props.status} />
        </div>
      }>
        <Short doc={props.status} />
        <div class="halves">
          <Conflict doc={props.status} />
          <Ways doc={props.status} />
        </div>
      </Show>
    </>
  );
}

const FACTS = ["error", "facts"];
/** Facts that have a picture or a table of their own. */
const DRAWN = ["need", "have", "missing", "resolved_by", "not_resolved_by"];

/** What is needed against what there is. */
function Short(props: { doc: Doc }): JSX.Element {
  const [need, have] = [() => size(props.doc, "need"), () => size(props.doc, "have")];
  const bar = () => {
    const [of, limit] = [need()!, have()!];
    return { name: "needed", parts: [{ kind: "stays", name: "Needed", value: of }], peak: of, limit, free: { ...of, at: [...limit.at, ...of.at], rule: "difference" as const } };
  };
  const is_known = () => need() !== undefined && have() !== undefined;
  // A proof that counts each tensor once speaks of several devices together.
  const is_sum = () => facts_of(error_of(props.doc)).some((own) => own.name === "devices");
  return (
    <Panel title={is_known() ? "Memory shortfall" : "Facts"} sub={!is_known() ? undefined : is_sum() ? "several devices together; sum of limits dashed" : "fullest device; limit dashed"}>
      <Show when={is_known()}><DeviceBars of={[bar()]} label="Needed against the limit" /></Show>
      <Facts of={facts_of(error_of(props.doc))} doc={props.doc} at={FACTS} but={is_known() ? DRAWN : DRAWN.slice(3)} />
    </Panel>
  );
}

/** Constraints, as the service names them where it has loosened them one at a time. */
const CONSTRAINTS: Record<string, { what: string; field: string; otherwise: string }> = {
  memory: { what: "Memory per device", field: "max_memory_per_device", otherwise: "as in the cluster" },
  devices: { what: "Devices", field: "devices", otherwise: "all of the cluster" },
  dtype: { what: "Compute type", field: "dtype", otherwise: "as in the model" },
  offload: { what: "Optimizer states", field: "no_offload", otherwise: "on the devices" },
  executor: { what: "For (launcher)", field: "executor", otherwise: "any" },
  algorithm: { what: "Algorithm", field: "algorithm", otherwise: "auto" },
};

/** A constraint in words, and its value. */
function line(doc: Doc, constraint: string): [string, Cell] {
  const { request } = doc.value as Status;
  const [first, pin] = constraint.split(" ") as [string, string?];
  if (pin !== undefined) {
    const all = Array.isArray(request[first]) ? request[first].map(String) : [];
    return [`${first} ${pin}`, all.find((own) => own.startsWith(`${pin}=`)) ?? ""];
  }
  const known = CONSTRAINTS[constraint];
  if (known === undefined) return [constraint, ""];
  const own = request[known.field];
  const is_sum = facts_of(error_of(doc)).some((fact) => fact.name === "devices");
  const have = size(doc, "have");
  if (constraint === "memory" && have !== undefined && !is_sum) return [known.what, have];
  return [known.what, own === undefined || own === null || typeof own === "boolean" ? known.otherwise : String(own)];
}

/** Fields of a request that restrict what is planned, and by what name they are loosened. */
const RESTRICT: [string, string][] = [
  ["max_memory_per_device", "memory"], ["memory_margin", "memory"], ["devices", "devices"], ["no_offload", "offload"], ["executor", "executor"], ["dtype", "dtype"], ["pin", "pin"], ["forbid", "forbid"],
  ["colocate", "colocate"], ["constraints", "constraints"], ["optimizer", "optimizer"], ["micro_batch", "micro_batch"],
];

/** What was asked that restricts a plan and was not loosened. */
function untried(plan: Status, tried: Set<string>): string[] {
  return RESTRICT.flatMap(([field, name]) => {
    const value = plan.request[field];
    if (value === undefined || value === null || value === false || tried.has(name)) return [];
    if (!Array.isArray(value)) return [`${field.replaceAll("_", " ")} ${typeof value === "string" ? value : JSON.stringify(value)}`];
    return value.map(String).filter((one) => !tried.has(`${name} ${one.split("=")[0]}`)).map((one) => `${field} ${one}`);
  });
}

/** A fix that needs another cluster file. */
const MORE_DEVICES = /^on \d+ such devices,? |^use at least \d+ devices/;

/** Whether the command line found a plan that way. */
const is_verified = (hint: string): boolean => /verified|a plan fits|plan above fits|finds a plan/.test(hint);

function Conflict(props: { doc: Doc }): JSX.Element {
  const resolving = () => names_of(error_of(props.doc), "resolved_by") ?? [];
  const others = () => names_of(error_of(props.doc), "not_resolved_by") ?? [];
  const is_looked_for = () => ["resolved_by", "not_resolved_by"].some((name) => names_of(error_of(props.doc), name) !== undefined);
  const rest = () => untried(props.doc.value as Status, new Set([...resolving(), ...others()]));
  const all = (): Table => ({
    name: "conflict", columns: ["Constraint", "Value", "Relaxed alone"],
    rows: [...resolving().map((own): Cell[] => [...line(props.doc, own), "✓ a plan exists (verified)"]), ...others().map((own): Cell[] => [...line(props.doc, own), "✕ no plan found"])],
  });
  return (
    <Panel title="Conflict" sub={resolving().length > 0 ? "relaxing any constraint marked ✓ gives a plan" : undefined} actions={<CsvButton of={all()} />}>
      <Show when={resolving().length === 0}>
        <p class="empty">{is_looked_for() ? "Relaxing one constraint at a time gives no plan." : "Constraints were not relaxed one at a time. Fixes are marked where verified."}</p>
      </Show>
      <Show when={all().rows.length > 0}><DataTable of={all()} /></Show>
      <Show when={rest().length > 0}>
        <p class="note">Not relaxed alone: <For each={rest()}>{(own, at) => <>{at() === 0 ? "" : ", "}<Name text={own} most={40} /></>}</For>.</p>
      </Show>
    </Panel>
  );
}

const is_proved = (plan: Status): boolean => SEARCHED.includes(plan.error?.exit_code ?? 0);

function Ways(props: { doc: Doc }): JSX.Element {
  const plan = () => props.doc.value as Status;
  return (
    <Panel title={is_proved(plan()) ? "Fixes" : "Hints"} actions={<a href={link(["new"], form_of(plan()))}>Edit the request</a>}>
      <Show when={error_of(props.doc).hints.length > 0} fallback={<p class="empty">{is_proved(plan()) ? "None found." : "None."}</p>}>
        <ul class="ways"><For each={error_of(props.doc).hints}>{(hint) => (
          <li><p><Words of={hint} /> <Show when={is_verified(hint)}><span class="chip done"><span aria-hidden="true">✓</span> Verified</span></Show></p>
            <Show when={MORE_DEVICES.test(hint)}><p class="note">Needs a larger cluster: <a href={link(["new"], form_of(plan()))}>choose another cluster file</a></p></Show>
            <For each={MORE_DEVICES.test(hint) ? [] : changes(hint).filter((some) => JSON.stringify(again(plan(), some)) !== JSON.stringify(again(plan(), [])))}>{(some) => <Apply plan={plan()} some={some} />}</For></li>
        )}</For></ul>
      </Show>
    </Panel>
  );
}

/** Starts a plan with a change. */
function Apply(props: { plan: Status; some: Change[] }): JSX.Element {
  const [error, setError] = createSignal<unknown>();
  const [is_sent, setSent] = createSignal(false);
  const start = async () => {
    setSent(true);
    try {
      go(["plans", ((await send("/v1/plans", again(props.plan, props.some))).value as Status).id]);
    } catch (why) { setError(() => why); setSent(false); }
  };
  return (
    <>
      <button type="button" disabled={is_sent()} onClick={() => void start()}>{is_sent() ? "Submitting …" : `Apply and plan: ${plain(props.some.map(told).join(", "))}`}</button>
      <Show when={error()}>{(why) => <Trouble of={why()} />}</Show>
    </>
  );
}
