// All that a view depends on is in the address, after `#`.

import { createSignal } from "solid-js";
import { IS_ALONE } from "./held";

export interface Route {
  path: string[];
  query: URLSearchParams;
}

function read(): Route {
  const [, path = "", query = ""] = /^#?([^?]*)\??(.*)$/s.exec(location.hash)!;
  const names = path.split("/").filter(Boolean).map((name) => {
    try { return decodeURIComponent(name); } catch { return name; }
  });
  return { path: names.length > 0 ? names : IS_ALONE ? ["plans", "plan"] : ["plans"], query: new URLSearchParams(query) };
}

const [route, setRoute] = createSignal(read());
addEventListener("hashchange", () => setRoute(read()));
export { route };

/** The address of a view. */
export function link(path: string[], query: Record<string, string> = {}): string {
  const asked = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== ""));
  const text = asked.toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text === "" ? "" : `?${text}`}`;
}

export function go(path: string[], query: Record<string, string> = {}): void {
  location.hash = link(path, query);
}

/** A value of this view's query. */
export const asked = (name: string): string => route().query.get(name) ?? "";

/** Browsers take 200 changes of an address in 10 s; a drag makes more. */
const LEAST_MS = 100;
let written = 0;
let writes: ReturnType<typeof setTimeout> | undefined;
addEventListener("hashchange", () => { clearTimeout(writes); writes = undefined; });

/** Writes the address of what is shown now. */
export function write(): void {
  clearTimeout(writes);
  writes = undefined;
  written = performance.now();
  history.replaceState(null, "", link(route().path, Object.fromEntries(route().query)));
}
addEventListener("pagehide", () => { if (writes !== undefined) write(); });

/** Changes the query in place: "Back" leaves the view, not its last change. */
export function set(values: Record<string, string>): void {
  const query = new URLSearchParams(Object.entries({ ...Object.fromEntries(route().query), ...values }).filter(([, value]) => value !== ""));
  setRoute({ path: route().path, query });
  const wait = written + LEAST_MS - performance.now();
  if (wait <= 0) write(); else writes ??= setTimeout(write, wait);
}
