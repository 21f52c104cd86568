// Ops and groups by words: part of a name, a type, a device.

import { For, Show, createMemo, type JSX } from "solid-js";
import { read } from "../api";
import { fetched } from "../load";
import { short } from "../names";
import { Name, Num, Panel, Trouble } from "../parts";
import { is_group, key_of, type Box } from "../pictures/graph-scene";
import { pointer, ref, type Doc } from "../pointer";
import { asked, set } from "../route";
import { found, found_path, type FoundNode } from "../views-api";

/** Nodes that are marked, and of them those that are listed. */
const MARKED = 100;
const LISTED = 40;

export interface Finder { doc: () => Doc | undefined; error: () => unknown; is_found: () => (box: Box) => boolean }

/** What the words of the address find. */
export function finder(id: () => string): Finder {
  const words = createMemo(() => asked("find").trim());
  const answer = fetched(() => [id(), words()] as const, async ([own, text], signal) => (text === "" ? undefined : read(found_path(own, text, MARKED), signal)));
  // What the last words found stays until the next is there.
  const doc = createMemo(() => (words() === "" ? undefined : answer.latest()));
  const is_found = createMemo(() => {
    const own = doc();
    const nodes = own === undefined ? [] : found(own).found;
    const keys = new Set(nodes.map(key_of));
    const around = new Set(nodes.flatMap((node) => node.within));
    return (box: Box) => keys.size > 0 && (keys.has(key_of(box.node)) || (box.inside === undefined && is_group(box.node) && around.has(box.node.id)));
  });
  return { doc, error: answer.error, is_found };
}

export function Find(props: { of: Finder; reveal: (node: FoundNode) => void }): JSX.Element {
  return (
    <Panel title="Find">
      <input type="search" aria-label="Find in the graph" placeholder="name, type or device" value={asked("find")} onInput={(event) => set({ find: event.currentTarget.value })} />
      <Show when={props.of.error()}>{(error) => <Trouble of={error()} />}</Show>
      <Show when={props.of.doc()}>{(doc) => (
        <>
          <p class="note" role="status"><Num of={ref(doc(), "/n_found", "count")} /> found<Show when={found(doc()).n_found > LISTED}>, the first {LISTED} listed</Show></p>
          <ul class="found">
            <For each={found(doc()).found.slice(0, LISTED)}>{(node, index) => (
              <li>
                <button type="button" class="pick" aria-pressed={asked("at") === key_of(node)} onClick={() => props.reveal(node)}>
                  <b><Name text={node.id} most={34} /></b>
                  <span>{node.kind === "op" ? short(node.op_type ?? "op", 24) : node.kind} · {node.devices.length === 1 ? short(node.devices[0]!, 20) : `${node.devices.length} devices`}</span>
                </button>
                <Num of={ref(doc(), pointer("found", index(), "time_ns"), "time")} />
              </li>
            )}</For>
          </ul>
        </>
      )}</Show>
    </Panel>
  );
}
