// Documents that views wait for.

import { Show, createEffect, createSignal, onCleanup, untrack, type JSX } from "solid-js";
import { Refused, follow, read, type Told } from "./api";
import { Loading, Trouble } from "./parts";
import type { Doc } from "./pointer";

/**
 * What a source leads to, asked for again as it changes. The last one stays until the next is there;
 * no view disappears meanwhile, as it would with Solid's resources. A request that is no longer
 * wanted is cancelled.
 */
export function fetched<S, T>(source: () => S, get: (source: S, signal: AbortSignal) => Promise<T>) {
  const [latest, setLatest] = createSignal<T>();
  const [error, setError] = createSignal<unknown>();
  const [is_loading, setLoading] = createSignal(false);
  const [n, setN] = createSignal(0);
  createEffect(() => {
    n();
    let is_old = false;
    const stop = new AbortController();
    // A browser may call a request cancelled that was read to its end a moment ago.
    let is_running = true;
    onCleanup(() => { is_old = true; if (is_running) stop.abort(); });
    setLoading(true);
    get(source(), stop.signal).finally(() => { is_running = false; }).then(
      (own) => { if (!is_old) { setLatest(() => own); setError(undefined); setLoading(false); } },
      (own: unknown) => { if (!is_old) { setError(own ?? new Error("unknown")); setLoading(false); } },
    );
  });
  return { latest, error, is_loading, again: () => setN((old) => old + 1) };
}

/** Shows what is made of a document once it is there, or why it is not. */
export function Loaded(props: {
  path: string; what: string; children: (doc: () => Doc) => JSX.Element; otherwise?: (error: unknown) => JSX.Element; meanwhile?: JSX.Element;
}): JSX.Element {
  const doc = fetched(() => props.path, read);
  return (
    <Show when={doc.error() === undefined} fallback={props.otherwise?.(doc.error()) ?? <Trouble of={doc.error()} again={doc.again} />}>
      <Show when={doc.latest()} fallback={props.meanwhile ?? <Loading what={props.what} />}>{(own) => props.children(own)}</Show>
    </Show>
  );
}

/** A document that is asked for again every `ms` while `is_live` says so. */
export function polled(path: () => string, ms: number, is_live: (doc: Doc) => boolean) {
  const doc = fetched(path, read);
  const is_lost = () => { const error = doc.error(); return error instanceof Refused && error.problem.status === 0; };
  createEffect(() => {
    const last = doc.latest();
    const again = is_lost() || (doc.error() === undefined && last !== undefined && is_live(last));
    if (!again || doc.is_loading()) return;
    const timer = setTimeout(doc.again, ms);
    onCleanup(() => clearTimeout(timer));
  });
  // Last values stay while the service is away.
  const error = () => (is_lost() && doc.latest() !== undefined ? undefined : doc.error());
  return { doc: doc.latest, error, is_lost, again: doc.again };
}

const [is_seen, setSeen] = createSignal(!document.hidden);
document.addEventListener("visibilitychange", () => setSeen(!document.hidden));

/**
 * What happened to a plan so far, as a document whose positions are the events. Tabs in the background
 * hear nothing: browsers open six connections to a place, for all tabs together.
 */
export function followed(id: () => string) {
  const [doc, setDoc] = createSignal<Doc>({ source: "", value: [] });
  const [is_lost, setLost] = createSignal(false);
  const [error, setError] = createSignal<unknown>();
  createEffect(() => {
    const own = id();
    if (!is_seen()) return;
    const stop = new AbortController();
    onCleanup(() => stop.abort());
    const source = `/v1/plans/${encodeURIComponent(own)}/events`;
    let all: unknown[] = [];
    let waits = false;
    if (untrack(doc).source !== source) setDoc({ source, value: all });
    const tell = (told: Told) => {
      all.push({ ...told.data, event: told.event });
      if (waits) return;
      waits = true;
      // A search may say hundreds of things a second.
      setTimeout(() => { waits = false; if (!stop.signal.aborted) setDoc({ source, value: [...all] }); }, 60);
    };
    follow(own, stop.signal, tell, setLost).catch(setError);
  });
  return { doc, is_lost, error };
}
