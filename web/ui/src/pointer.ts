// Numbers by where they stand in a document of the service.

import type { As } from "./format";

/** A document of the service, and its address. */
export interface Doc {
  source: string;
  /** Of a page that is one file: the address of what it holds in place of what was asked for. */
  held?: string;
  value: unknown;
}

/** What is made of several numbers: a sum, the first less the others, or their sum over another's. */
export type Rule = "sum" | "difference" | "share";

/** A number that is shown: where it stands, and how it is written. */
export interface Ref {
  doc: Doc;
  at: string[];
  as: As;
  rule: Rule;
  /** Of what it is a share. */
  whole?: string[];
}

/** JSON pointer (RFC 6901) of members and positions. */
export function pointer(...path: (string | number)[]): string {
  return path.map((one) => `/${String(one).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
}

/** What stands there; undefined where nothing does. */
export function resolve(value: unknown, at: string): unknown {
  let own = value;
  for (const name of at.split("/").slice(1)) {
    if (own === null || typeof own !== "object") return undefined;
    const key = name.replaceAll("~1", "/").replaceAll("~0", "~");
    own = Object.hasOwn(own, key) ? (own as Record<string, unknown>)[key] : undefined;
  }
  return own;
}

export function ref(doc: Doc, at: string | string[], as: As, rule: Rule = "sum"): Ref {
  return { doc, at: typeof at === "string" ? [at] : at, as, rule };
}

/** The number; undefined where the document lacks it. */
export function number(own: Ref): number | undefined {
  const values = [...own.at, ...(own.whole ?? [])].map((at) => resolve(own.doc.value, at));
  if (!values.every((value): value is number => typeof value === "number")) return undefined;
  const sum = (some: number[]) => some.reduce((a, b) => a + b, 0);
  const [some, whole] = [values.slice(0, own.at.length), values.slice(own.at.length)];
  switch (own.rule) {
    case "sum": return sum(some);
    case "difference": return some[0]! - sum(some.slice(1));
    case "share": return sum(whole) === 0 ? undefined : sum(some) / sum(whole);
  }
}

/** Whether the document states it. */
export const known = (own: Ref): boolean => number(own) !== undefined;
