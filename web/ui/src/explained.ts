// Where the pages say how a number was computed.

import { resolve, type Ref } from "./pointer";
import { link } from "./route";

interface Place { id: string; of?: string; name?: string }

const text = (value: unknown): string | undefined => (typeof value === "string" && value !== "" ? value : undefined);
const thing = (id: string, of: string, name: string | undefined): Place => (name === undefined ? { id } : { id, of, name });

/** What a number of one plan's document is about; `at` is its place there. */
function subject(id: string, source: string, value: unknown, at: string): Place {
  const query = new URLSearchParams(source.split("?")[1] ?? "");
  const here = (own: string) => resolve(value, own);
  for (const of of ["op", "transfer", "device"]) if (source.includes("/explain?") && query.has(of)) return { id, of, name: query.get(of)! };
  if (source.includes("/memory?")) return subject_of_held(id, here, at) ?? thing(id, "device", query.get("device") ?? undefined);
  if (source.includes("/timeline")) return subject_of_lane(id, here, at) ?? { id };
  if (source.includes("/graph")) {
    const node = /^(.*\/nodes\/\d+)(\/|$)/.exec(at)?.[1];
    return node !== undefined && here(`${node}/kind`) === "op" ? thing(id, "op", text(here(`${node}/id`))) : { id };
  }
  const device = /^\/report\/devices\/\d+/.exec(at)?.[0];
  if (device !== undefined) return thing(id, "device", text(here(`${device}/id`)));
  const rank = /^\/plan\/training\/memory\/(\d+)/.exec(at)?.[1];
  if (rank !== undefined) return { id, of: "device", name: `rank ${rank}` };
  return thing(id, "device", text(here(`${/^\/devices\/\d+/.exec(at)?.[0] ?? ""}/device`)));
}

function subject_of_held(id: string, here: (at: string) => unknown, at: string): Place | undefined {
  const own = /^\/alive\/largest\/\d+/.exec(at)?.[0];
  const op = own === undefined ? undefined : text(here(`${own}/op`));
  return op === undefined ? undefined : { id, of: "op", name: op };
}

/** A slice is about an op or a tensor; where lanes are ranks, about the rank. */
function subject_of_lane(id: string, here: (at: string) => unknown, at: string): Place | undefined {
  const [, lane, row] = /^\/lanes\/(\d+)(?:\/rows\/\w+\/(?:\w[^/]*\/)?(\d+))?/.exec(at) ?? [];
  if (lane === undefined) return undefined;
  const device = text(here(`/lanes/${lane}/device`));
  const own = `/things/${String(here(`/lanes/${lane}/rows/what/${row ?? ""}`))}`;
  const name = text(here(`${own}/name`));
  const kind = String(here(`/kinds/${String(here(`/lanes/${lane}/rows/kind/${row ?? ""}`))}`) ?? "");
  const is_op = ["forward", "backward", "backward-input", "backward-weight", "recompute", "optimizer"].includes(kind);
  const micro_batch = here(`/lanes/${lane}/rows/micro_batch/${row ?? ""}`);
  if (row !== undefined && name !== undefined && device?.startsWith("rank ") !== true && typeof micro_batch !== "number") {
    if (is_op) return { id, of: "op", name };
    if (kind === "transfer") return { id, of: "transfer", name };
  }
  return device === undefined ? undefined : { id, of: "device", name: device };
}

/** The plan whose number it is, and its place in that plan's document. */
function place(own: Ref): Place | undefined {
  const { source, value } = own.doc;
  const at = own.at[0]!;
  const id = /^\/v1\/plans\/([^/?]+)/.exec(source)?.[1];
  if (id !== undefined) return subject(decodeURIComponent(id), source, value, at);
  const listed = source.startsWith("/v1/plans?") ? /^\/plans\/\d+/.exec(at)?.[0] : undefined;
  if (listed !== undefined) { const found = text(resolve(value, `${listed}/id`)); return found === undefined ? undefined : { id: found }; }
  const query = new URLSearchParams(source.split("?")[1] ?? "");
  const side = /^\/([ab])(\/.*)$/.exec(at);
  if (source.startsWith("compare?") && side !== null) { const found = query.get(side[1]!); return found === null ? undefined : subject(found, "", resolve(value, `/${side[1]!}`), side[2]!); }
  return undefined;
}

/** The address of that view; undefined where a number is of no plan that has one. */
export function explained(own: Ref): string | undefined {
  const found = place(own);
  return found === undefined ? undefined : link(["plans", found.id, "why"], found.of === undefined ? {} : { of: found.of, name: found.name! });
}
