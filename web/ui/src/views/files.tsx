// Files that were uploaded, and a place to drop more.

import { For, Show, createSignal, createUniqueId, type JSX } from "solid-js";
import { read, upload } from "../api";
import { fetched } from "../load";
import { Loading, Panel, Trouble, say } from "../parts";
import { digest, plain } from "../names";
import { pointer, ref, type Doc } from "../pointer";
import { link } from "../route";
import { DataTable, type Table } from "../table";
import type { Stored } from "../types";

const SHELVES: [string, string][] = [["models", "Models"], ["clusters", "Clusters"], ["profiles", "Profiles"]];

export default function Files(): JSX.Element {
  return (
    <>
      <div class="title"><h1>Files</h1><a class="button main" href="#/new">New plan</a></div>
      <For each={SHELVES}>{([name, title]) => <Shelf name={name} title={title} />}</For>
    </>
  );
}

function Shelf(props: { name: string; title: string }): JSX.Element {
  const doc = fetched(() => `/v1/${props.name}?limit=500`, read);
  const [last, setLast] = createSignal<Stored>();
  const done = (own: Stored) => { setLast(own); doc.again(); say(`${plain(own.name)} uploaded`); };
  return (
    <Panel title={props.title} actions={<Drop shelf={props.name} done={done} />}>
      <Show when={last() !== undefined && props.name === "models"}>
        <p><a class="button main" href={link(["new"], { model: last()!.name })}>Plan {plain(last()!.name)}</a></p>
      </Show>
      <Show when={doc.error() === undefined} fallback={<Trouble of={doc.error()} again={doc.again} />}>
        <Show when={doc.latest()} fallback={<Loading what="Loading the files" />}>{(own) => (
          <Show when={table(own(), props.name).rows.length > 0} fallback={<p class="empty">No files yet: upload or drop one.</p>}>
            <DataTable of={table(own(), props.name)} caption={props.title} />
          </Show>
        )}</Show>
      </Show>
    </Panel>
  );
}

function table(doc: Doc, name: string): Table {
  const [member, list] = Object.entries(doc.value as Record<string, unknown>).find(([, own]) => Array.isArray(own)) as [string, Stored[]];
  const rows = list.map((own, at) => [
    own.name, digest(own.digest), ref(doc, pointer(member, at, "bytes"), "bytes"), ref(doc, pointer(member, at, "created_ms"), "date"),
  ]);
  return { name, columns: ["Name", "Digest", "Size", "Uploaded"], rows };
}

/** A button that takes files, pressed or dropped on. */
export function Drop(props: { shelf: string; done: (own: Stored) => void }): JSX.Element {
  const id = createUniqueId();
  const [error, setError] = createSignal<unknown>();
  const [progress, setProgress] = createSignal("");
  const [is_over, setOver] = createSignal(false);
  const take = async (files: FileList | null | undefined) => {
    setError(undefined);
    for (const file of files ?? []) {
      setProgress(`Uploading ${plain(file.name)} …`);
      try {
        props.done(await upload(props.shelf, file.name, file) as Stored);
      } catch (own) { setError(own); }
    }
    setProgress("");
  };
  return (
    <span class="drop" classList={{ over: is_over() }}
      onDragOver={(event) => { event.preventDefault(); setOver(true); }} onDragLeave={() => setOver(false)}
      onDrop={(event) => { event.preventDefault(); setOver(false); void take(event.dataTransfer?.files); }}>
      <input id={id} type="file" class="hidden" aria-label={`Upload to ${props.shelf}`} onChange={(event) => void take(event.currentTarget.files)} />
      <label for={id} class="button">{progress() || "Upload or drop here"}</label>
      <Show when={error()}>{(own) => <Trouble of={own()} />}</Show>
    </span>
  );
}
