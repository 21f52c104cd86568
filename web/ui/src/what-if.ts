// Changes without planning again: cluster values and micro-batches.

import { number, pointer, resolve, type Doc, type Ref, ref } from "./pointer";
import type { Status } from "./types";

/** Ways that have a slider of their own; of more, all are turned together. */
const MOST_WAYS = 6;
/** Powers of two by which a slider turns. */
export const POWERS = 3;

export interface Knob { name: string; title: string; of: Ref }

const list = (doc: Doc, at: string): Record<string, unknown>[] => {
  const own = resolve(doc.value, at);
  return Array.isArray(own) ? own as Record<string, unknown>[] : [];
};

export const is_run = (doc: Doc, side: string): boolean => resolve(doc.value, `/${side}/ranks`) !== undefined;

/** Factors of a request's `scale`, by name. */
export function factors(request: Record<string, unknown>): Record<string, number> {
  const all = Array.isArray(request["scale"]) ? request["scale"].map(String) : [];
  // Names come from files: none may be taken for a member that every object has.
  const found = Object.create(null) as Record<string, number>;
  for (const own of all) {
    const at = own.lastIndexOf("=");
    found[own.slice(0, at)] = (found[own.slice(0, at)] ?? 1) * Number(own.slice(at + 1));
  }
  return found;
}

/** As `scale` of a request; what is 1 is left out. */
export const scale = (own: Record<string, number>): string[] =>
  Object.entries(own).filter(([, factor]) => factor !== 1).map(([name, factor]) => `${name}=${factor}`);

/** Memory, and the ways between devices, at the rates of one side. */
export function knobs(doc: Doc, side: string): Knob[] {
  const at = (...path: (string | number)[]) => pointer(side, "cluster", ...path);
  const memories = list(doc, at("devices")).map((own) => (typeof own["memory_bytes"] === "number" ? own["memory_bytes"] : Infinity));
  const least = Math.min(...memories), memory = memories.indexOf(least);
  const is_one = memories.every((own) => own === least);
  const found: Knob[] = !Number.isFinite(least) ? [] : [{ name: "memory", title: is_one ? "Memory per device" : "Memory per device (smallest)", of: ref(doc, at("devices", memory, "memory_bytes"), "bytes") }];
  const ways = list(doc, at("ways"));
  const names = [...new Set(ways.map((own) => String(own["name"])))];
  const rate = (name: string) => ref(doc, at("ways", ways.findIndex((own) => own["name"] === name), "bytes_per_s"), "bytes-per-s");
  const slowest = names.reduce((most, own) => ((number(rate(own)) ?? 0) < (number(rate(most)) ?? 0) ? own : most), names[0]!);
  if (names.length > MOST_WAYS) return [...found, { name: "links", title: "All links (slowest)", of: rate(slowest) }];
  const where = (name: string) => (ways.some((own) => own["name"] === name && own["between_hosts"] === true) ? "between hosts" : "inside a host");
  return [...found, ...names.map((name) => ({ name, title: `${name}, ${where(name)}`, of: rate(name) }))];
}

/** Devices that a plan uses, of a training run. */
export function n_used(answer: unknown): number {
  const degree = (name: string) => Number(resolve(answer, pointer("plan", "parallelism", name)) ?? 1);
  return ["data", "tensor", "pipeline", "context"].map(degree).reduce((a, b) => a * b, 1);
}

/** What is replayed: the changes of the address, where they differ from what was planned. */
export function body(plan: Status, asked: (name: string) => string, names: string[]): Record<string, unknown> {
  const planned = factors(plan.request);
  const own = { ...planned };
  for (const name of names) {
    const factor = Number(asked(`x.${name}`));
    if (asked(`x.${name}`) !== "" && Number.isFinite(factor)) own[name] = factor;
  }
  const is_same = JSON.stringify(scale(own).sort()) === JSON.stringify(scale(planned).sort());
  const m = asked("m");
  return { plan: plan.id, ...(is_same ? {} : { scale: scale(own) }), ...(m === "" ? {} : { micro_batches: Number(m) }) };
}
