// Documents that views wait for.

import { Show, createEffect, createSignal, lazy, onCleanup, untrack, type Component, type JSX } from "solid-js";
import { Refused, follow, read, type Told } from "./api";
import { Loading, Trouble } from "./parts";
import type { Doc } from "./pointer";

/** Whether nobody answered: what was asked for is asked for again, as the words of that error say. */
export const is_no_answer = (error: unknown): boolean => error instanceof Refused && error.problem.code === "no-answer";
/** Pause before that, in milliseconds. */
const RETRY = 1000;

const RELOADED = "meshwright.reloaded";

/**
 * A view that is loaded when it is shown. Parts of the page that are gone are those of an older
 * program: the page is read anew, once a minute at most; its address brings the view back.
 */
export function later<P extends object>(load: () => Promise<{ default: Component<P> }>): Component<P> {
  return lazy(() => load().catch((error: unknown) => {
    if (Date.now() - Number(sessionStorage.getItem(RELOADED) ?? 0) > 60_000) {
      sessionStorage.setItem(RELOADED, String(Date.now()));
      location.reload();
      return new Promise<never>(() => {});
    }
    throw new Refused({ status: 0, code: "part-of-page", title: `part of the page failed to load: ${String(error)}`, hints: ["reload the page: the service may have been upgraded or stopped"], facts: [] });
  }));
}

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
    let retry: ReturnType<typeof setTimeout> | undefined;
    onCleanup(() => clearTimeout(retry));
    get(source(), stop.signal).finally(() => { is_running = false; }).then(
      (own) => { if (!is_old) { setLatest(() => own); setError(undefined); setLoading(false); } },
      (own: unknown) => {
        if (is_old) return;
        setError(own ?? new Error("unknown"));
        setLoading(false);
        if (is_no_answer(own)) retry = setTimeout(() => setN((old) => old + 1), RETRY);
      },
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
  const is_lost = () => is_no_answer(doc.error());
  createEffect(() => {
    const last = doc.latest();
    const again = doc.error() === undefined && last !== undefined && is_live(last);
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
