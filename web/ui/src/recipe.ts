// A recipe of algorithms as text, `fuse,m-sct(theta=0.2)`, and as its steps.

export interface Option { name: string; default: string; unit: string; summary: string }
export type Kind = "transform" | "decide" | "improve";
export interface Algorithm { name: string; kind: Kind; summary: string; runs_on: string[]; options: Option[] }

export interface Step { name: string; options: Record<string, string> }

/** The steps of a text; what it says of options is kept as it is. */
export function steps_of(text: string): Step[] {
  const parts = text.match(/[^,(]+(\([^)]*\)?)?/g) ?? [];
  return parts.map((part) => part.trim()).filter(Boolean).map((part) => {
    const [, name = part, given = ""] = /^([^(]+)(?:\(([^)]*)\)?)?$/.exec(part) ?? [];
    const options = given.split(",").filter((one) => one.includes("=")).map((one) => [one.slice(0, one.indexOf("=")).trim(), one.slice(one.indexOf("=") + 1).trim()]);
    return { name: name.trim(), options: Object.fromEntries(options) as Record<string, string> };
  });
}

export const text_of = (steps: Step[]): string => steps.map(({ name, options }) => {
  const given = Object.entries(options).filter(([, value]) => value !== "").map(([own, value]) => `${own}=${value}`);
  return given.length === 0 ? name : `${name}(${given.join(",")})`;
}).join(",");

const ORDER: Kind[] = ["transform", "decide", "improve"];

/** With an algorithm or without it, in the order that a recipe has; one decides. */
export function turned(steps: Step[], all: Algorithm[], name: string, is_on: boolean): Step[] {
  const kind = (own: string) => all.find((one) => one.name === own)?.kind ?? "decide";
  const left = steps.filter((own) => own.name !== name && !(is_on && kind(name) === "decide" && kind(own.name) === "decide"));
  const made = is_on ? [...left, { name, options: {} }] : left;
  return made.map((own, at) => ({ own, at })).sort((a, b) => ORDER.indexOf(kind(a.own.name)) - ORDER.indexOf(kind(b.own.name)) || a.at - b.at).map(({ own }) => own);
}

/** How an option is asked for: by its choices, or as a number within bounds. */
export function widget(option: Option): { choices: string[] } | { min: number; max?: number; step: string } {
  if (option.unit.includes("|")) return { choices: option.unit.split("|") };
  if (option.unit === "count") return { min: 0, step: "1" };
  const range = /(\d+) to (\d+)/.exec(option.unit);
  return range === null ? { min: 0, step: "any" } : { min: Number(range[1]), max: Number(range[2]), step: "any" };
}
