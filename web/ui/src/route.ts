// All that a view depends on is in the address, after `#`.

import { createSignal } from "solid-js";

export interface Route {
  path: string[];
  query: URLSearchParams;
}

function read(): Route {
  const [path = "", query = ""] = location.hash.replace(/^#/, "").split("?", 2);
  const names = path.split("/").filter(Boolean).map((name) => {
    try { return decodeURIComponent(name); } catch { return name; }
  });
  return { path: names.length > 0 ? names : ["plans"], query: new URLSearchParams(query) };
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

/** Changes the query in place: "Back" leaves the view, not its last change. */
export function set(values: Record<string, string>): void {
  const query = Object.fromEntries(read().query);
  history.replaceState(null, "", link(read().path, { ...query, ...values }));
  setRoute(read());
}
