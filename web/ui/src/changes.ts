// Changes of a request: what a hint of the command line names by its flags, and a request with them.

import type { Status } from "./types";

/** One change; the value is left out where the field is taken away. */
export interface Change { field: string; value?: string }

/** Flags whose field has another name. */
const FIELDS: Record<string, string> = { for: "executor" };
/** Fields that a hint may change: with a value, or taken away. */
const CHANGED = ["pin", "no_offload", "executor", "dtype", "scale", "max_memory_per_device", "memory_margin", "algorithm", "rate", "ttft", "tpot", "request_latency"];
/** Of these there may be several: pins one for each name, factors one after the other. */
const LISTS = ["pin", "scale"];

const FLAG = /(without )?--([a-z][a-z-]*)(?:[ =]([^\s,;:()`]+))?/g;

/**
 * The alternatives that a hint names; each is what has to change together. A value in capitals stands
 * for one that is left open, and is no change.
 */
export function changes(hint: string): Change[][] {
  const found: Change[][] = [];
  let end = 0;
  const recipe = /^use `([a-z0-9,()=-]+)`, which finds a plan/.exec(hint);
  if (recipe !== null) return [[{ field: "algorithm", value: recipe[1]! }]];
  for (const [text, without, flag, given] of hint.matchAll(FLAG)) {
    const field = FIELDS[flag!] ?? flag!.replaceAll("-", "_");
    const at = hint.indexOf(text, end);
    const is_other = found.length === 0 || / or $/.test(hint.slice(end, at));
    end = at + text.length;
    if (!CHANGED.includes(field)) continue;
    const is_named = LISTS.includes(field);
    if (without === undefined && (given === undefined || /^[A-Z]+$/.test(given))) continue;
    const change: Change = without === undefined ? { field, value: given! } : is_named ? { field, value: `${given!.split("=")[0]}=` } : { field };
    if (is_other) found.push([change]); else found.at(-1)!.push(change);
  }
  return found;
}

const name_of = (text: string): string => text.slice(0, Math.max(0, text.lastIndexOf("=")));

/** A list with one `NAME=VALUE` in place of those of its name; without them where no value is given. */
function replaced(list: unknown, value: string): string[] {
  const others = (Array.isArray(list) ? list.map(String) : []).filter((own) => name_of(own) !== name_of(value));
  return value.endsWith("=") ? others : [...others, value];
}

/** A change in words. */
export function told(change: Change): string {
  const field = change.field.replaceAll("_", " ");
  if (change.value === undefined) return `without ${field}`;
  return change.value.endsWith("=") ? `${field} without ${change.value.slice(0, -1)}` : LISTS.includes(change.field) ? `${field} ${change.value}` : `${field} = ${change.value}`;
}

/** What was asked for a plan, changed, of the same files whatever lies under their names now. */
export function again(plan: Status, some: Change[]): Record<string, unknown> {
  const digest = (own: unknown): unknown => {
    if (typeof own !== "string") return own;
    const [name, part] = own.split("#", 2);
    const known = plan.files[name!] ?? own;
    return part === undefined ? known : `${known.split("#")[0]}#${part}`;
  };
  const { verb: _, ...request } = plan.request;
  for (const field of ["model", "cluster", "profile", "constraints", "costs", "routing_trace", "interference", "replace", "requests"]) if (request[field] !== undefined) request[field] = digest(request[field]);
  if (Array.isArray(request["traces"])) request["traces"] = request["traces"].map(digest);
  for (const { field, value } of some) {
    if (value === undefined) delete request[field];
    else if (field === "scale") request[field] = [...(Array.isArray(request[field]) ? request[field] : []), value];
    else request[field] = LISTS.includes(field) ? replaced(request[field], value) : value;
  }
  return request;
}
