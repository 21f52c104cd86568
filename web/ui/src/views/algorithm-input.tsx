// The algorithm of a request: the search, what transforms before and improves after, and the options of each.

import { For, Match, Show, Switch, createUniqueId, type JSX } from "solid-js";
import { read } from "../api";
import { fetched } from "../load";
import { plain } from "../names";
import { has_algorithm, type Task } from "../fields";
import { steps_of, text_of, turned, widget, type Algorithm, type Option } from "../recipe";
import { asked, set } from "../route";

const put = (text: string): void => set({ algorithm: text });

export function AlgorithmInput(props: { id: string; task: Task }): JSX.Element {
  const doc = fetched(() => "/v1/algorithms", read);
  const all = (): Algorithm[] => (doc.error() === undefined && doc.latest() ? (doc.latest()!.value as { algorithms: Algorithm[] }).algorithms : []);
  const steps = () => steps_of(asked("algorithm"));
  const of = (kind: Algorithm["kind"]) => all().filter((own) => own.kind === kind);
  const listed = () => of("decide").filter((own) => has_algorithm(props.task, own.name, own.runs_on));
  const decides = () => steps().find((own) => of("decide").some((one) => one.name === own.name))?.name ?? "";
  const chosen = () => steps().flatMap((own) => all().find((one) => one.name === own.name) ?? []);
  const turn = (name: string, is_on: boolean) => put(text_of(turned(steps(), all(), name, is_on)));
  // Recipes of several are for placements.
  const takes_more = () => props.task === "place" && chosen().every((own) => own.runs_on.includes("models") && own.name !== "auto");
  return (
    <div class="algorithm">
      <select id={props.id} aria-describedby={`${props.id}-help`} onChange={(event) => (event.currentTarget.value === "" ? put("") : turn(event.currentTarget.value, true))}>
        <option value="">automatic</option>
        <For each={listed()}>{(own) => <option value={own.name} selected={decides() === own.name}>{own.name}: {plain(own.summary)}</option>}</For>
      </select>
      <Show when={decides() !== "" && takes_more()}>
        <For each={[["transform", "Before the search"], ["improve", "After the search"]] as const}>{([kind, title]) => (
          <fieldset><legend>{title}</legend><For each={of(kind)}>{(own) => (
            <label class="check" title={plain(own.summary)}><input type="checkbox" checked={steps().some((one) => one.name === own.name)} onChange={(event) => turn(own.name, event.currentTarget.checked)} /> {own.name}</label>
          )}</For></fieldset>
        )}</For>
      </Show>
      <For each={chosen().map((own) => own.name)}>{(name) => <Options of={all().find((own) => own.name === name)!} />}</For>
      <label class="note">As text <input value={asked("algorithm")} placeholder="auto" spellcheck={false} onChange={(event) => put(event.currentTarget.value)} /></label>
    </div>
  );
}

function Options(props: { of: Algorithm }): JSX.Element {
  return (
    <Show when={props.of.options.length > 0} fallback={<p class="note">{props.of.name}: {plain(props.of.summary)}</p>}>
      <fieldset><legend>{props.of.name}: {plain(props.of.summary)}</legend>
        <For each={props.of.options}>{(option) => <OptionInput of={props.of.name} option={option} />}</For>
      </fieldset>
    </Show>
  );
}

function OptionInput(props: { of: string; option: Option }): JSX.Element {
  const id = createUniqueId();
  const given = () => steps_of(asked("algorithm")).find((own) => own.name === props.of)?.options[props.option.name] ?? "";
  const own = widget(props.option);
  const turn = (value: string) => put(text_of(steps_of(asked("algorithm")).map((step) => (step.name !== props.of ? step
    : { ...step, options: { ...step.options, [props.option.name]: value === props.option.default ? "" : value } }))));
  return (
    <div class="option">
      <label for={id}>{props.option.name}</label>
      <Switch>
        <Match when={"choices" in own && own}>{(it) => (
          <select id={id} aria-describedby={`${id}-help`} onChange={(event) => turn(event.currentTarget.value)}>
            <For each={it().choices}>{(one) => <option value={one} selected={(given() || props.option.default) === one}>{one}</option>}</For>
          </select>
        )}</Match>
        <Match when={"min" in own && own}>{(it) => (
          <input id={id} aria-describedby={`${id}-help`} type="number" min={it().min} max={it().max} step={it().step} placeholder={props.option.default} value={given()} onChange={(event) => turn(event.currentTarget.value)} />
        )}</Match>
      </Switch>
      <p class="note" id={`${id}-help`}>{plain(props.option.summary)} ({props.option.unit.replaceAll("|", " or ")}; default {props.option.default})</p>
    </div>
  );
}
