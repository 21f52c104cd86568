// Light or dark: the address first, then what was chosen here before, then the system's wish.

import { createEffect, createMemo, createRoot } from "solid-js";
import { asked, set } from "./route";

const KEY = "meshwright.theme";
const system = matchMedia("(prefers-color-scheme: dark)");

const is_theme = (text: string | null): text is "light" | "dark" => text === "light" || text === "dark";

function found(): "light" | "dark" {
  const wanted = asked("theme");
  if (is_theme(wanted)) return wanted;
  const kept = localStorage.getItem(KEY);
  if (is_theme(kept)) return kept;
  return system.matches ? "dark" : "light";
}

/** Changes only where the theme does, not with each address. */
export const theme = createRoot(() => createMemo(found));

export function follow_theme(): void {
  createEffect(() => { document.documentElement.dataset["theme"] = theme(); });
}

export function toggle_theme(): void {
  const other = theme() === "dark" ? "light" : "dark";
  localStorage.setItem(KEY, other);
  set({ theme: other });
}
