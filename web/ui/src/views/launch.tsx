// Launch flags and files of a plan, and the programs that can run it.

import { For, Show, type JSX } from "solid-js";
import { ask, read } from "../api";
import { is_run, kind_of, type Kind } from "../figures";
import { fetched } from "../load";
import { Loading, Num, Panel, Trouble, copy, download } from "../parts";
import { plain } from "../names";
import { pointer, ref, resolve, type Doc } from "../pointer";
import { asked, set } from "../route";

interface Target { name: string; of: string; summary: string; file_name: string; is_executor: boolean }

/** What a target writes plans of, by the kind of the plan. */
const OF: Partial<Record<Kind, string>> = { run: "training-runs", ops: "placements", fleet: "fleets" };

const LAUNCHERS = ["", "torchrun", "slurm", "k8s"];

export default function Launch(props: { doc: Doc; id: string }): JSX.Element {
  const targets = fetched(() => "/v1/targets", read);
  const all = (): Target[] => (targets.error() === undefined && targets.latest() ? (targets.latest()!.value as { targets: Target[] }).targets : []);
  const runs_on = () => resolve(props.doc.value, "/runs_on/targets") as string[] | undefined;
  const can = (own: Target) => runs_on()?.some((name) => name.split("@")[0] === own.name) ?? true;
  const own = () => all().filter((target) => target.of === OF[kind_of(props.doc)]);
  const rank = (target: Target) => (!target.is_executor ? 2 : can(target) ? 0 : 1);
  const listed = () => own().toSorted((a, b) => rank(a) - rank(b));
  const sign = (target: Target) => ["✓", "✕", "·"][runs_on() === undefined ? 2 : rank(target)];
  const stack = () => String(resolve(props.doc.value, "/plan/training/stack") ?? "");
  // A run and a fleet show the program that they were planned for; for placements it is not known which program can express the plan.
  const first = () => listed().find((target) => can(target) && stack().startsWith(target.name)) ?? listed().find(can);
  const engine = () => String(resolve(props.doc.value, "/plan/fleet/engine") ?? "");
  const chosen = () => asked("target") || (runs_on() === undefined ? engine() : first()?.name ?? "");
  const nearest = (name: string) => ref(props.doc, pointer("runs_on", "nearest_s", name), "seconds");
  const n = (which: number) => listed().filter((target) => rank(target) === which).length;
  const summary = () => (runs_on() === undefined ? "Programs and formats: choose one to see the files" : `Other programs: ${n(0)} can run this plan, ${n(1)} cannot`);
  return (
    <Panel title={is_run(props.doc) ? "Launch flags" : "Files to run it"} sub={chosen() === "" ? undefined : all().find((target) => target.name === chosen())?.summary}>
      <Show when={chosen() !== ""}>
        <Artefact id={props.id} target={chosen()} name={all().find((target) => target.name === chosen())?.file_name ?? "plan.txt"} with_launcher={is_run(props.doc) && all().some((target) => target.name === chosen() && target.is_executor)} />
      </Show>
      <details class="programs" open={asked("target") !== ""}>
        <summary>{summary()}</summary>
        <ul>
          <For each={listed()}>{(target) => (
            <li classList={{ off: rank(target) === 1 }}>
              <button type="button" class="pick" aria-pressed={chosen() === target.name} onClick={() => set({ target: target.name, file: "" })}>
                <b><span aria-hidden="true">{sign(target)}</span> {target.name}</b>
                <span>{plain(target.summary)}</span>
              </button>
              <Show when={rank(target) === 1}><span class="note">{resolve(props.doc.value, nearest(target.name).at[0]!) === undefined ? "cannot express this plan" : <>needs another plan: <Num of={nearest(target.name)} /></>}</span></Show>
            </li>
          )}</For>
        </ul>
      </details>
    </Panel>
  );
}

/** Lines of a file that are shown; copies and downloads have all. */
const SHOWN = 400;

function Artefact(props: { id: string; target: string; name: string; with_launcher: boolean }): JSX.Element {
  const launcher = () => (props.with_launcher ? asked("launcher") : "");
  const path = () => `/v1/plans/${encodeURIComponent(props.id)}/artefacts/${encodeURIComponent(props.target)}${launcher() === "" ? "" : `/${launcher()}`}`;
  const files = fetched(path, async (own): Promise<[string, string][]> => {
    const text = await (await ask(own)).text();
    return launcher() === "" ? [[props.name, text]] : Object.entries(JSON.parse(text) as Record<string, string>);
  });
  const file = () => files.latest()?.find(([name]) => name === asked("file")) ?? files.latest()?.[0];
  const lines = () => file()?.[1].split("\n") ?? [];
  return (
    <div class="artefact">
      <Show when={props.with_launcher}>
        <div class="segments" role="group" aria-label="Launcher">
          <For each={LAUNCHERS}>{(name) => <button type="button" aria-pressed={launcher() === name} onClick={() => set({ launcher: name, file: "" })}>{name === "" ? "flags only" : name}</button>}</For>
        </div>
      </Show>
      <Show when={files.error() === undefined} fallback={<Trouble of={files.error()} />}>
        <Show when={file()} fallback={<Loading what="Loading the file" />}>{(own) => (
          <>
            <div class="bar">
              <button type="button" class="main" onClick={() => void copy(own()[1], own()[0])}>Copy</button>
              <button type="button" onClick={() => download(own()[0], own()[1])}>Download {plain(own()[0])}</button>
              <Show when={files.latest()!.length > 1}><div class="segments" role="group" aria-label="File">
                <For each={files.latest()!}>{([name]) => <button type="button" aria-pressed={own()[0] === name} onClick={() => set({ file: name })}>{plain(name)}</button>}</For>
              </div></Show>
            </div>
            <pre tabindex="0" aria-label={plain(own()[0])}>{lines().slice(0, SHOWN).map((line) => plain(line.slice(0, 400))).join("\n")}</pre>
            <Show when={lines().length > SHOWN}><p class="note">{SHOWN} of {lines().length} lines</p></Show>
          </>
        )}</Show>
      </Show>
    </div>
  );
}
