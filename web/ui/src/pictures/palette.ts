// Colours of the theme as a canvas takes them.

import { theme } from "../theme";

const COLOURS = ["compute", "backward", "weight", "recompute", "collective", "transfer", "optimizer", "stays", "hatch", "hatch-bg", "panel", "line", "line-strong", "text",
  "text-2", "text-3", "ink", "accent", "warn", "bad", "sunken", "ramp-0", "ramp-1", "ramp-2", "ramp-3", "ramp-4"];

let known: [string, Record<string, string>] | undefined;

export function palette(): Record<string, string> {
  const own = theme();
  if (known?.[0] === own) return known[1];
  const probe = document.createElement("span");
  document.body.append(probe);
  const found = Object.fromEntries(COLOURS.map((name) => {
    probe.style.color = `var(--${name})`;
    return [name, getComputedStyle(probe).color];
  }));
  probe.remove();
  known = [own, found];
  return found;
}

/** Dark or light writing, whichever stands out on a colour (relative luminance of WCAG 2). */
export function writing_on(colour: string): string {
  const [r = 0, g = 0, b = 0] = (colour.match(/[\d.]+/g) ?? []).map((own) => {
    const share = Number(own) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? "#0d0e10" : "#ffffff";
}
