// A form from the schema of a request: its fields, and text to values and back.

import { KNOWN, groups_of, label, type Question, type Task } from "./fields";
import type { Stored } from "./types";

export interface Schema {
  type?: string | string[];
  enum?: (string | null)[];
  description?: string;
  default?: unknown;
  minimum?: number;
  maximum?: number;
}

export type Widget = "file" | "files" | "choice" | "switch" | "count" | "text" | "lines" | "pairs";

export interface Field { name: string; schema: Schema; widget: Widget; is_needed: boolean; hint?: string }

/** What the command line prints and the service answers otherwise. */
const NOT_ASKED = ["verb", "task", "all", "export", "plot"];
const FILES = ["model", "cluster", "profile", "constraints", "costs", "routing_trace", "interference", "replace", "requests"];

function widget(name: string, schema: Schema): Widget {
  const types = ([] as string[]).concat(schema.type ?? []);
  if (FILES.includes(name)) return "file";
  if (name === "traces") return "files";
  if (schema.enum !== undefined) return "choice";
  if (types.includes("boolean")) return "switch";
  if (types.includes("integer")) return "count";
  if (types.includes("array")) return "lines";
  if (types.includes("object")) return "pairs";
  return "text";
}

/**
 * The fields of a schema that a task, or a question about inference, has, by group. What the pages know of no task comes last, as do
 * fields of other tasks that the address states: nothing that is sent is hidden.
 */
export function groups(schema: { properties: Record<string, Schema>; required?: string[] }, task: Task, question: Question | undefined, is_stated: (name: string) => boolean): [string, Field[]][] {
  const left = new Map(Object.entries(schema.properties).filter(([name]) => !NOT_ASKED.includes(name)));
  const field = (name: string): Field[] => {
    const own = left.get(name);
    left.delete(name);
    return own === undefined ? [] : [{ name, schema: own, widget: widget(name, own), is_needed: schema.required?.includes(name) ?? false }];
  };
  const named = groups_of(task, question).map(([title, names]): [string, Field[]] => [title, names.flatMap(field)]);
  const others = [...left.keys()].filter((name) => !KNOWN.has(name) || (is_stated(name) && !(name === "workload" && task === "train"))).flatMap(field);
  return [...named, ["More", others] as [string, Field[]]].filter(([, fields]) => fields.length > 0);
}

const lines = (text: string): string[] => text.split("\n").map((line) => line.trim()).filter(Boolean);

/** The value that a field's text stands for; undefined where it is left open. Throws words. */
export function value(field: Field, text: string): unknown {
  if (text.trim() === "") return undefined;
  switch (field.widget) {
    case "switch": return text === "true" ? true : undefined;
    case "count": {
      const own = Number(text);
      if (!Number.isSafeInteger(own)) throw new Error(`${label(field.name)}: \`${text}\` is not a whole number`);
      return own;
    }
    case "lines": case "files": return lines(text);
    case "pairs": return Object.fromEntries(lines(text).map((line) => {
      const at = line.lastIndexOf("=");
      const own = Number(line.slice(at + 1));
      if (at < 1 || !Number.isSafeInteger(own)) throw new Error(`${label(field.name)}: \`${line}\` is not NAME=NUMBER`);
      return [line.slice(0, at), own];
    }));
    default: return text.trim();
  }
}

/** A request as the texts of a form. */
export function texts(request: Record<string, unknown>): Record<string, string> {
  const text = (own: unknown): string => {
    if (Array.isArray(own)) return own.map(String).join("\n");
    if (own !== null && typeof own === "object") return Object.entries(own).map(([name, one]) => `${name}=${String(one)}`).join("\n");
    return own === null ? "" : String(own);
  };
  return Object.fromEntries(Object.entries(request).filter(([name]) => name !== "verb").map(([name, own]) => [name, text(own)]));
}

/** Names of files; a digest where a later file has the same name. */
export function choices(stored: Stored[]): { value: string; label: string }[] {
  const seen = new Set<string>();
  return [...stored].sort((a, b) => b.created_ms - a.created_ms).map(({ name, digest }) => {
    const is_latest = !seen.has(name);
    seen.add(name);
    return { value: is_latest ? name : digest, label: is_latest ? name : `${name} (older, ${digest.slice(7, 15)})` };
  });
}
