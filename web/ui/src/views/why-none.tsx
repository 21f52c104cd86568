// Why there is no plan: what is needed and missing, what contradicts, and the ways out.

import { For, Show, createSignal, type JSX } from "solid-js";
import { send } from "../api";
import { again, changes, told, type Change } from "../changes";
import { texts } from "../form";
import { plain } from "../names";
import { Facts, Name, Panel, Trouble } from "../parts";
import { DeviceBars } from "../pictures/bars";
import { number, pointer, ref, type Doc, type Ref } from "../pointer";
import { go, link } from "../route";
import { CsvButton, DataTable, type Table } from "../table";
import type { Diagnostic, Status } from "../types";

const error_of = (doc: Doc): Diagnostic => (doc.value as Status).error!;

/** A fact that is a size. */
function size(doc: Doc, name: string): Ref | undefined {
  const at = error_of(doc).facts.findIndex((own) => own.name === name);
  const own = ref(doc, pointer("error", "facts", at, "value", "bytes"), "bytes");
  return at >= 0 && number(own) !== undefined ? own : undefined;
}

export default function WhyNone(props: { status: Doc }): JSX.Element {
  const error = () => error_of(props.status);
  return (
    <>
      <div class="callout bad"><p><b>{(props.status.value as Status).state === "infeasible" ? "No plan exists, and this is proved" : "There is no plan"}</b> <code>{error().code}</code></p><p>{plain(error().message)}</p></div>
      <Short doc={props.status} />
      <div class="halves">
        <Conflict doc={props.status} />
        <Ways doc={props.status} />
      </div>
    </>
  );
}

/** What is needed against what there is. */
function Short(props: { doc: Doc }): JSX.Element {
  const [need, have] = [() => size(props.doc, "need"), () => size(props.doc, "have")];
  const bar = () => {
    const [of, limit] = [need()!, have()!];
    return { name: "needed", parts: [{ kind: "stays", name: "Needed", value: of }], peak: of, limit, free: { ...of, at: [...limit.at, ...of.at], rule: "difference" as const } };
  };
  const others = () => error_of(props.doc).facts.filter((own) => !["need", "have", "missing"].includes(own.name));
  return (
    <Panel title="What is missing" sub="on the device that is short of most; the limit dashed">
      <Show when={need() !== undefined && have() !== undefined}><DeviceBars of={[bar()]} label="Needed against the limit" /></Show>
      <Facts of={others()} />
    </Panel>
  );
}

/** Fields of a request that restrict what is planned. */
const RESTRICT = ["max_memory_per_device", "memory_margin", "devices", "pin", "forbid", "colocate", "constraints", "no_offload", "executor", "dtype", "optimizer", "micro_batch", "scale"];

interface Line { what: string; value: string; field: string }

/** What stands against a plan: the cluster's limits and what was asked. */
function lines(doc: Doc): Line[] {
  const plan = doc.value as Status;
  const own: Line[] = [{ what: "Memory of a device", value: "the cluster's", field: "scale memory" }];
  const text = (value: unknown) => (typeof value === "string" ? value : JSON.stringify(value));
  for (const field of RESTRICT) {
    const value = plan.request[field];
    if (value === undefined || value === null || (field === "scale" && Array.isArray(value))) continue;
    const what = field.replaceAll("_", " ");
    if (Array.isArray(value)) own.push(...value.map((one) => ({ what, value: String(one), field: `${field} ${String(one).split("=")[0]}` })));
    else own.push({ what, value: text(value), field });
  }
  if (plan.request["devices"] === undefined) own.push({ what: "devices", value: "the cluster's", field: "devices" });
  if (plan.request["dtype"] === undefined) own.push({ what: "element type", value: "the model's", field: "dtype" });
  if (plan.request["executor"] === undefined) own.push({ what: "where optimizer states lie", value: "on the devices", field: "no_offload" });
  return own;
}

/** The field, or the name in a list, that a change loosens. */
const loosens = (change: Change): string => (["pin", "scale"].includes(change.field) ? `${change.field} ${change.value?.split("=")[0] ?? ""}` : change.field);

/** A way out that needs another cluster file. */
const MORE_DEVICES = /^on \d+ such devices a plan fits|^use at least \d+ devices/;

/** Whether the command line found a plan that way. */
const is_verified = (hint: string): boolean => /verified|a plan fits|plan above fits|finds a plan/.test(hint);

function Conflict(props: { doc: Doc }): JSX.Element {
  const loosened = () => new Set(error_of(props.doc).hints.filter(is_verified).flatMap((hint) => [
    ...changes(hint).filter((own) => own.length === 1).map((own) => loosens(own[0]!)), ...(MORE_DEVICES.test(hint) ? ["devices"] : []),
  ]));
  const all = (): Table => ({
    name: "conflict", columns: ["Constraint", "Value", "Loosened alone"],
    rows: lines(props.doc).filter((own) => loosened().has(own.field)).map((own) => [own.what, own.value, "✓ a plan exists (verified)"]),
  });
  const others = () => lines(props.doc).filter((own) => !loosened().has(own.field) && !["the model's", "on the devices", "the cluster's"].includes(own.value));
  return (
    <Panel title="What contradicts" sub="loosen any one of these lines and a plan exists" actions={<CsvButton of={all()} />}>
      <Show when={all().rows.length > 0} fallback={<p class="empty">No single change was found to lead to a plan.</p>}><DataTable of={all()} /></Show>
      <Show when={others().length > 0}>
        <p class="note">Of no help alone, as far as was tried: <For each={others()}>{(own, at) => <>{at() === 0 ? "" : ", "}{own.what} <Name text={own.value} most={30} /></>}</For>.</p>
      </Show>
    </Panel>
  );
}

function Ways(props: { doc: Doc }): JSX.Element {
  const plan = () => props.doc.value as Status;
  return (
    <Panel title="Ways out" actions={<a href={link(["new"], texts(plan().request))}>Another change</a>}>
      <Show when={error_of(props.doc).hints.length > 0} fallback={<p class="empty">None was found.</p>}>
        <ul class="ways"><For each={error_of(props.doc).hints}>{(hint) => (
          <li><p>{plain(hint)} <Show when={is_verified(hint)}><span class="chip done"><span aria-hidden="true">✓</span> Verified</span></Show></p>
            <Show when={MORE_DEVICES.test(hint)}><p class="note">Give a larger cluster: <a href={link(["new"], texts(plan().request))}>the same request with another file</a></p></Show>
            <For each={changes(hint).filter((some) => JSON.stringify(again(plan(), some)) !== JSON.stringify(again(plan(), [])))}>{(some) => <Apply plan={plan()} some={some} />}</For></li>
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
      <button type="button" disabled={is_sent()} onClick={() => void start()}>{is_sent() ? "Asking …" : `Apply and plan: ${plain(props.some.map(told).join(", "))}`}</button>
      <Show when={error()}>{(why) => <Trouble of={why()} />}</Show>
    </>
  );
}
