// Starting a plan: a task, and a form of its fields made from the schema of the request.

import { For, Match, Show, Switch, createMemo, createSignal, createUniqueId, on, onMount, type JSX } from "solid-js";
import { Refused, ask, read, send, upload } from "../api";
import { CLUSTERS, EXAMPLE, MODELS } from "../examples";
import { OF_FLEETS, QUESTIONS, TASKS, has_choice, hint, label, question_of, task_of_request, type Question, type Task } from "../fields";
import { choices, groups, value, type Field, type Schema } from "../form";
import { Loaded, fetched } from "../load";
import { plain } from "../names";
import { Trouble, Words, say } from "../parts";
import { resolve, type Doc } from "../pointer";
import { asked, go, route, set } from "../route";
import type { Status, Stored } from "../types";
import { AlgorithmInput } from "./algorithm-input";
import { Drop } from "./files";


/** Kinds of uploads that a field takes. */
const SHELF: Record<string, string> = { model: "models", cluster: "clusters", profile: "profiles" };

export default function NewPlan(): JSX.Element {
  return (
    <>
      <div class="title"><h1>New plan</h1></div>
      <Loaded path="/openapi.json" what="Loading the form">{(doc) => <Form openapi={doc()} />}</Loaded>
    </>
  );
}

/** Usual fields of an example, in place of those of the one before; what was typed stays. */
function usual(model: string): Record<string, string> {
  const of = (own: string): Record<string, string> => {
    const asks = own.startsWith(EXAMPLE) ? MODELS[own.slice(EXAMPLE.length)]?.asks ?? {} : {};
    // Of another task than was chosen the cluster alone means something.
    return ["", asks["task"]].includes(asked("task")) ? asks : Object.fromEntries(Object.entries(asks).filter(([name]) => name === "cluster"));
  };
  const before = of(asked("model"));
  const is_open = (name: string) => asked(name) === "" || asked(name) === before[name];
  const names = [...new Set([...Object.keys(before), ...Object.keys(of(model))])];
  // A task that was chosen stays where the model does not say otherwise.
  return Object.fromEntries(names.filter((name) => is_open(name) && (name !== "task" || of(model)[name] !== undefined)).map((name) => [name, of(model)[name] ?? ""]));
}

/** Uploads a file of an example; tells the name that stands for it. */
export async function stored(field: string, text: string): Promise<string> {
  if (!text.startsWith(EXAMPLE)) return text;
  const name = text.slice(EXAMPLE.length);
  const own = (field === "model" ? MODELS : CLUSTERS)[name];
  if (own === undefined) throw new Error(`there is no example \`${name}\``);
  const bytes = await (await ask(own.address)).blob();
  await upload(SHELF[field]!, name, bytes);
  return name;
}

/** The task of the form: as the address states it, else as its fields imply. */
function task_asked(): Task {
  if (asked("task") === "" && asked("workload") === "training" && !asked("model").endsWith(".onnx")) return "train";
  const is_implied = ["task", "phase", "algorithm", "global_batch", "tokens_per_step", "replace", ...OF_FLEETS].some((name) => asked(name) !== "");
  if (!is_implied) return asked("model").endsWith(".onnx") ? "place" : "train";
  return task_of_request(Object.fromEntries(route().query) as Record<string, string>);
}

const question_asked = (): Question => question_of(asked("phase"), asked("algorithm"));

function Form(props: { openapi: Doc }): JSX.Element {
  const schema = () => resolve(props.openapi.value, "/components/schemas/PlanRequest") as { properties: Record<string, Schema>; required?: string[] };
  const task = createMemo(task_asked);
  const question = createMemo(() => (task() === "infer" ? question_asked() : undefined));
  const all = createMemo(on([task, question], ([own, what]) => groups(schema(), own, what, (name) => asked(name) !== "")));
  const [error, setError] = createSignal<unknown>();
  onMount(() => { if (asked("cluster") === "") set(usual(asked("model"))); });
  const [is_sent, setSent] = createSignal(false);
  /** Another task or question: what it does not ask goes. */
  const choose = (own: Task, what: Question = QUESTIONS[0]!) => {
    const names = new Set(groups(schema(), own, what, () => false).flatMap(([, fields]) => fields.map((field) => field.name)));
    const others = Object.keys(schema().properties).filter((name) => !names.has(name) || ["phase", "workload", "executor", "algorithm", "objective"].includes(name));
    set({ ...Object.fromEntries(others.map((name) => [name, ""])), task: own, ...(own === "infer" ? what.states : {}) });
  };
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
      if (schema().properties["task"] !== undefined) request["task"] = task();
      else if (task() === "train" && request["phase"] === undefined) request["workload"] = "training";
      // With the Pareto front.
      if (question()?.name === "fleet") request["all"] = true;
      const plan = await send("/v1/plans", request);
      go(["plans", (plan.value as Status).id]);
    } catch (own) {
      setError(own instanceof Refused ? own : new Refused({ status: 0, code: "bad-form", title: (own as Error).message, hints: [], facts: [] }));
    }
    setSent(false);
  };
  return (
    <form class="request" onSubmit={(event) => void start(event)}>
      <div class="segments tasks" role="group" aria-label="Task">
        <For each={TASKS}>{([name, title]) => <button type="button" aria-pressed={task() === name} onClick={() => choose(name)}>{title}</button>}</For>
      </div>
      <Show when={question()}>{(what) => (
        <p><span class="segments" role="group" aria-label="Question">
          <For each={QUESTIONS}>{(own) => <button type="button" aria-pressed={what().name === own.name} onClick={() => choose("infer", own)}>{own.title}</button>}</For>
        </span></p>
      )}</Show>
      <p class="note task">{question()?.words ?? TASKS.find(([name]) => name === task())![2]} Nothing is started on the cluster.</p>
      <For each={all()}>{([title, fields], at) => (
        <Group title={title} is_open={at() === 0 || fields.some((field) => asked(field.name) !== "")}>
          <For each={fields}>{(field) => <Input field={field} task={task()} question={question()} />}</For>
        </Group>
      )}</For>
      <Show when={error()}>{(own) => <Trouble of={own()} />}</Show>
      <p class="buttons">
        <button type="submit" class="main" disabled={is_sent()}>{is_sent() ? "Submitting …" : "Plan"}</button>
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

function help(field: Field, task: Task | undefined, question: Question | undefined): string {
  const text = field.hint ?? hint(field.name, plain(field.schema.description ?? "").replace(/\s+/g, " "), task, question);
  const form = { lines: " One per line.", files: " Names of uploaded files, one per line.", pairs: " One NAME=NUMBER per line." }[field.widget as string] ?? "";
  return text + form;
}

export function Input(props: { field: Field; task?: Task; question?: Question | undefined }): JSX.Element {
  const id = createUniqueId();
  const name = props.field.name;
  const put = (text: string) => set({ [name]: text });
  const listed = () => (props.field.schema.enum ?? []).filter((one): one is string => one !== null && (props.task === undefined || has_choice(props.task, props.question, name, one)));
  const common = () => ({ id, "aria-describedby": `${id}-help` });
  return (
    <div class="field" classList={{ wide: ["file", "lines", "pairs", "files"].includes(props.field.widget) || name === "algorithm" }}>
      <label for={id}>{label(name, props.task)}{props.field.is_needed ? " (required)" : ""}</label>
      <Switch fallback={<input {...common()} value={asked(name)} onInput={(event) => put(event.currentTarget.value)} />}>
        <Match when={SHELF[name] !== undefined}><FileInput id={id} field={props.field} put={put} /></Match>
        <Match when={name === "algorithm"}><AlgorithmInput id={id} task={props.task ?? "place"} /></Match>
        <Match when={props.field.widget === "choice"}>
          <select {...common()} onChange={(event) => put(event.currentTarget.value)}>
            <option value="">default</option>
            <For each={listed()}>{(one) => <option value={one} selected={asked(name) === one}>{one}</option>}</For>
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
      <p class="note" id={`${id}-help`}><Words of={help(props.field, props.task, props.question)} /></p>
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
        <option value="">{props.field.is_needed ? "choose a file" : "none"}</option>
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
