// Light or dark: the address first, then what was chosen here before, then the system's wish.

import { createEffect } from "solid-js";
import { asked, set } from "./route";

const KEY = "meshwright.theme";

const is_theme = (text: string | null): text is "light" | "dark" => text === "light" || text === "dark";

export function theme(): "light" | "dark" {
  const wanted = asked("theme");
  if (is_theme(wanted)) return wanted;
  const kept = localStorage.getItem(KEY);
  if (is_theme(kept)) return kept;
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

export function follow_theme(): void {
  createEffect(() => { document.documentElement.dataset["theme"] = theme(); });
}

export function toggle_theme(): void {
  const other = theme() === "dark" ? "light" : "dark";
  localStorage.setItem(KEY, other);
  set({ theme: other });
}
