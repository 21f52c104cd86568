// Plan files that were made elsewhere: pressed for, or dropped anywhere on the page.

import { Show, createSignal, createUniqueId, onCleanup, onMount, type JSX } from "solid-js";
import { open_plan } from "../api";
import { plain } from "../names";
import { Trouble } from "../parts";
import { go } from "../route";
import "../styles/plan-file.css";

/** A name that the service takes. */
const sound = (name: string): string => (/^[.-]|[\/\\#\p{Cc}\ufffd]/u.test(name) || new Blob([name]).size > 200 ? "plan.json" : name);

export function OpenFile(): JSX.Element {
  const id = createUniqueId();
  const [error, setError] = createSignal<unknown>();
  const [progress, setProgress] = createSignal("");
  const [is_over, setOver] = createSignal(false);
  const take = async (files: FileList | null | undefined) => {
    const file = files?.[0];
    if (file === undefined) return;
    setError(undefined);
    setProgress(`Opening ${plain(file.name)} …`);
    try {
      go(["plans", await open_plan(sound(file.name), file)]);
    } catch (own) { setError(() => own); }
    setProgress("");
  };
  const has_files = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
  const over = (event: DragEvent) => { if (has_files(event)) { event.preventDefault(); setOver(true); } };
  const leave = (event: DragEvent) => { if (event.relatedTarget === null) setOver(false); };
  const drop = (event: DragEvent) => { if (has_files(event)) { event.preventDefault(); setOver(false); void take(event.dataTransfer?.files); } };
  onMount(() => {
    const all: [string, (event: DragEvent) => void][] = [["dragover", over], ["dragleave", leave], ["drop", drop]];
    for (const [name, act] of all) addEventListener(name, act as EventListener);
    onCleanup(() => { for (const [name, act] of all) removeEventListener(name, act as EventListener); });
  });
  return (
    <span class="drop">
      <input id={id} type="file" class="hidden" accept=".json,application/json" aria-label="Open a plan file"
        onChange={(event) => void take(event.currentTarget.files)} />
      <label for={id} class="button">{progress() || "Open a plan file"}</label>
      <Show when={is_over()}><p class="dropping" role="status">Drop the file to open its plan</p></Show>
      <Show when={error()}>{(own) => <div class="beneath"><Trouble of={own()} /></div>}</Show>
    </span>
  );
}
