// Starting a plan: a form made from the schema of the request.

import { For, Match, Show, Switch, createSignal, createUniqueId, onMount, type JSX } from "solid-js";
import { Refused, ask, read, send, upload } from "../api";
import { CLUSTERS, EXAMPLE, MODELS } from "../examples";
import { choices, groups, value, type Field, type Schema } from "../form";
import { Loaded, fetched } from "../load";
import { plain } from "../names";
import { Trouble, say } from "../parts";
import { resolve, type Doc } from "../pointer";
import { asked, go, set } from "../route";
import type { Status, Stored } from "../types";
import { AlgorithmInput } from "./algorithm-input";
import { Drop } from "./files";


/** Kinds of uploads that a field takes. */
const SHELF: Record<string, string> = { model: "models", cluster: "clusters", profile: "profiles" };

export default function NewPlan(): JSX.Element {
  return (
    <>
      <div class="title"><h1>New plan</h1></div>
      <Loaded path="/openapi.json" what="Reading what can be asked">{(doc) => <Form openapi={doc()} />}</Loaded>
    </>
  );
}

/** What is usually asked of an example, in place of what was of the one before; what was typed stays. */
function usual(model: string): Record<string, string> {
  const of = (own: string): Record<string, string> => (own.startsWith(EXAMPLE) ? MODELS[own.slice(EXAMPLE.length)]?.asks ?? {} : {});
  const before = of(asked("model"));
  const is_open = (name: string) => asked(name) === "" || asked(name) === before[name];
  const names = [...new Set([...Object.keys(before), ...Object.keys(of(model))])];
  return Object.fromEntries(names.filter(is_open).map((name) => [name, of(model)[name] ?? ""]));
}

/** Uploads a file of an example; tells the name that stands for it. */
export async function stored(field: string, text: string): Promise<string> {
  if (!text.startsWith(EXAMPLE)) return text;
  const name = text.slice(EXAMPLE.length);
  const own = (field === "model" ? MODELS : CLUSTERS)[name];
  if (own === undefined) throw new Error(`no example is called \`${name}\``);
  const bytes = await (await ask(own.address)).blob();
  await upload(SHELF[field]!, name, bytes);
  return name;
}

function Form(props: { openapi: Doc }): JSX.Element {
  const schema = () => resolve(props.openapi.value, "/components/schemas/PlanRequest") as { properties: Record<string, Schema>; required?: string[] };
  const all = () => groups(schema());
  const [error, setError] = createSignal<unknown>();
  onMount(() => { if (asked("cluster") === "") set(usual(asked("model"))); });
  const [is_sent, setSent] = createSignal(false);
  const start = async (event: SubmitEvent) => {
    event.preventDefault();
    setSent(true);
    setError(undefined);
    try {
      const request: Record<string, unknown> = {};
      for (const field of all().flatMap(([, fields]) => fields)) {
        const own = value(field, asked(field.name));
        if (own !== undefined) request[field.name] = typeof own === "string" ? await stored(field.name, own) : own;
      }
      const plan = await send("/v1/plans", request);
      go(["plans", (plan.value as Status).id]);
    } catch (own) {
      setError(own instanceof Refused ? own : new Refused({ status: 0, code: "bad-form", title: (own as Error).message, hints: [], facts: [] }));
    }
    setSent(false);
  };
  return (
    <form class="request" onSubmit={(event) => void start(event)}>
      <For each={all()}>{([title, fields], at) => (
        <Group title={title} is_open={at() === 0 || fields.some((field) => asked(field.name) !== "")}>
          <For each={fields}>{(field) => <Input field={field} />}</For>
        </Group>
      )}</For>
      <Show when={error()}>{(own) => <Trouble of={own()} />}</Show>
      <p class="buttons">
        <button type="submit" class="main" disabled={is_sent()}>{is_sent() ? "Asking …" : "Plan"}</button>
        <button type="button" onClick={() => go(["new"])}>Clear</button>
      </p>
    </form>
  );
}

function Group(props: { title: string; is_open: boolean; children: JSX.Element }): JSX.Element {
  // Closing is the reader's business: what is typed later must not move it.
  const first = props.is_open;
  return <details class="panel" open={first}><summary>{props.title}</summary><div class="fields">{props.children}</div></details>;
}

const LABELS: Record<string, string> = { qdq_as_written: "QDQ as written", dtype: "Element type", dims: "Dimensions" };

function label(name: string): string {
  const words = name.replaceAll("_", " ");
  return LABELS[name] ?? words[0]!.toUpperCase() + words.slice(1);
}

function help(field: Field): string {
  const text = plain(field.schema.description ?? "").replaceAll("`None`", "empty").replace(/\s+/g, " ").replace(/\[`AUTO`\]/, "`auto`");
  const form = { lines: " One per line.", files: " Names of uploaded files, one per line.", pairs: " Lines NAME=NUMBER." }[field.widget as string] ?? "";
  return text + form;
}

export function Input(props: { field: Field }): JSX.Element {
  const id = createUniqueId();
  const name = props.field.name;
  const put = (text: string) => set({ [name]: text });
  const common = () => ({ id, "aria-describedby": `${id}-help` });
  return (
    <div class="field" classList={{ wide: ["file", "lines", "pairs", "files"].includes(props.field.widget) || name === "algorithm" }}>
      <label for={id}>{label(name)}{props.field.is_needed ? " (needed)" : ""}</label>
      <Switch fallback={<input {...common()} value={asked(name)} onInput={(event) => put(event.currentTarget.value)} />}>
        <Match when={SHELF[name] !== undefined}><FileInput id={id} field={props.field} put={put} /></Match>
        <Match when={name === "algorithm"}><AlgorithmInput id={id} /></Match>
        <Match when={props.field.widget === "choice"}>
          <select {...common()} onChange={(event) => put(event.currentTarget.value)}>
            <option value="">not stated</option>
            <For each={props.field.schema.enum?.filter((one) => one !== null)}>{(one) => <option value={one} selected={asked(name) === one}>{one}</option>}</For>
          </select>
        </Match>
        <Match when={props.field.widget === "switch"}>
          <input {...common()} type="checkbox" checked={asked(name) === "true"} onChange={(event) => put(event.currentTarget.checked ? "true" : "")} />
        </Match>
        <Match when={props.field.widget === "count"}>
          <input {...common()} type="number" step="1" min={props.field.schema.minimum} max={props.field.schema.maximum} value={asked(name)} onInput={(event) => put(event.currentTarget.value)} />
        </Match>
        <Match when={["lines", "pairs", "files"].includes(props.field.widget)}>
          <textarea {...common()} rows="2" spellcheck={false} value={asked(name)} onInput={(event) => put(event.currentTarget.value)} />
        </Match>
      </Switch>
      <p class="note" id={`${id}-help`}>{help(props.field)}</p>
    </div>
  );
}

/** A file that is stored, an example, or one that is dropped here. */
function FileInput(props: { id: string; field: Field; put: (text: string) => void }): JSX.Element {
  const name = props.field.name;
  const shelf = SHELF[name]!;
  const files = fetched(() => `/v1/${shelf}?limit=500`, read);
  const list = () => (files.error() === undefined && files.latest() ? Object.values(files.latest()!.value as Record<string, unknown>).find(Array.isArray) as Stored[] : []);
  const examples = () => Object.keys(name === "model" ? MODELS : name === "cluster" ? CLUSTERS : {});
  const is_listed = () => [...choices(list()).map((one) => one.value), ...examples().map((one) => EXAMPLE + one)].includes(asked(name));
  const choose = (text: string) => {
    set({ ...(name === "model" ? usual(text) : {}), [name]: text });
  };
  const dropped = (own: Stored) => { files.again(); props.put(own.name); say(`${plain(own.name)} uploaded`); };
  return (
    <div class="file">
      <select id={props.id} required={props.field.is_needed} onChange={(event) => choose(event.currentTarget.value)} aria-describedby={`${props.id}-help`}>
        <option value="">{props.field.is_needed ? "choose one" : "none"}</option>
        <Show when={asked(name) !== "" && !is_listed()}><option value={asked(name)} selected>{plain(asked(name))}</option></Show>
        <Show when={choices(list()).length > 0}>
          <optgroup label="Uploaded"><For each={choices(list())}>{(one) => <option value={one.value} selected={asked(name) === one.value}>{plain(one.label)}</option>}</For></optgroup>
        </Show>
        <Show when={examples().length > 0}>
          <optgroup label="Examples"><For each={examples()}>{(one) => <option value={EXAMPLE + one} selected={asked(name) === EXAMPLE + one}>{one}</option>}</For></optgroup>
        </Show>
      </select>
      <Drop shelf={shelf} done={dropped} />
    </div>
  );
}
