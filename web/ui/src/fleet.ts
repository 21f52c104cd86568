// What the document of a fleet of serving workers states: worker types by name, their degrees and memory.

import { format } from "./format";
import { plain } from "./names";
import type { DeviceBar } from "./pictures/bars";
import { known, number, pointer, ref, resolve, type Doc, type Ref } from "./pointer";

export type Role = "prefill" | "decode" | "aggregated";

export interface Worker { role: Role; kind: string; tensor: number; data: number; expert: number; stages: number[]; replicas: string[][] }

export interface Length { input_tokens: number; output_tokens: number; share: number }

/** A host with its devices of one kind. */
export interface Host { name: string; kind: string; devices: string[] }

/** A worker type: its name as in exported files, a short one, and how pictures fill it. */
export interface Type { name: string; short: string; fill: string; pattern: number; worker: Worker }

export const own = (...path: (string | number)[]): string => pointer("plan", "fleet", ...path);
const list = (doc: Doc, at: string): unknown[] => { const found = resolve(doc.value, at); return Array.isArray(found) ? found : []; };

export const lengths = (doc: Doc): Length[] => list(doc, own("lengths")) as Length[];

/** Colours of a role; further types have them again, with lines. */
const FILLS: Record<Role, string[]> = { prefill: ["compute", "collective"], decode: ["weight", "transfer"], aggregated: ["recompute", "stays"] };

/** Worker types in the order of the document, numbered within a role. */
export function types(doc: Doc): Type[] {
  const seen: Role[] = [];
  return (list(doc, own("workers")) as Worker[]).map((worker) => {
    const at = seen.filter((role) => role === worker.role).length;
    seen.push(worker.role);
    const fills = FILLS[worker.role] ?? ["optimizer"];
    return { name: `${plain(worker.role)}-${at}`, short: `${worker.role.slice(0, 1).toUpperCase()}${at}`, fill: fills[at % fills.length]!, pattern: Math.floor(at / fills.length), worker };
  });
}

export const devices_each = (worker: Worker): number => worker.replicas[0]?.length ?? 0;

/** `TP 2, DP 4, EP 8, PP 2 (33+31)`: degrees of 1 but the first are left out. */
export function degrees({ tensor, data, expert, stages }: Worker): string {
  const further = ([["DP", data], ["EP", expert], ["PP", stages.length]] as [string, number][]).filter(([, n]) => n > 1).map(([name, n]) => `${name} ${n}`);
  const is_even = stages.every((n) => n === stages[0]);
  return [`TP ${tensor}`, ...further].join(", ") + (is_even ? "" : ` (${stages.join("+")})`);
}

/** `3 prefill workers of 2 devices (TP 1, DP 2)`. */
export function in_words(doc: Doc): string {
  const all = types(doc);
  const has_kinds = new Set(all.map((type) => type.worker.kind)).size > 1;
  return all.map(({ worker }) => {
    const [n, each] = [worker.replicas.length, devices_each(worker)];
    return `${format("count", n)} ${worker.role === "aggregated" ? "" : `${worker.role} `}worker${n === 1 ? "" : "s"} of ${each} ${has_kinds ? `${plain(worker.kind)} ` : ""}device${each === 1 ? "" : "s"} (${degrees(worker)})`;
  }).join(", ");
}

/** `4,000 tokens in, 1,000 out`. */
export const traffic = (doc: Doc): string => {
  const all = lengths(doc);
  const of = (one: Length) => `${format("count", one.input_tokens)} tokens in, ${format("count", one.output_tokens)} out`;
  return all.length === 1 ? of(all[0]!) : `${all.length} lengths (${all.slice(0, 2).map(of).join("; ")}${all.length > 2 ? "; …" : ""})`;
};

/** The greatest latency of all workers, as the worker states it. */
export function slowest(doc: Doc, name: "ttft_s" | "tpot_s"): Ref {
  const all = types(doc).map((_, at) => ref(doc, own("workers", at, name), "seconds")).filter(known);
  return all.toSorted((a, b) => number(b)! - number(a)!)[0] ?? ref(doc, own("workers", 0, name), "seconds");
}

/** `mean` or `p90`. */
export const statistic = (doc: Doc): string => { const percent = resolve(doc.value, own("promises", "percentile")); return typeof percent === "number" ? `p${percent}` : "mean"; };

/** What is on the fullest device of a worker: kind of fill, title, member. */
export const TERMS: [string, string, string][] = [
  ["stays", "Weights", "weights"], ["compute", "KV cache", "cache"], ["recompute", "Activations", "activations"],
  ["weight", "CUDA graphs", "graphs"], ["collective", "NCCL", "collectives"], ["optimizer", "Runtime", "runtime"],
];

/** The fullest device of each worker type. */
export function memory(doc: Doc): DeviceBar[] {
  return types(doc).map(({ name }, at) => {
    const of = (term: string) => own("workers", at, "memory", term);
    const held = TERMS.map(([, , term]) => of(term));
    return {
      name, parts: TERMS.map(([kind, title, term]) => ({ kind, name: title, value: ref(doc, of(term), "bytes") })),
      peak: ref(doc, held, "bytes"), limit: ref(doc, of("capacity"), "bytes"), free: ref(doc, [of("capacity"), ...held], "bytes", "difference"),
    };
  });
}

/** Devices, rate and workers: what tells a fleet apart from others of the same files. */
export function fleet_traits(doc: Doc): string {
  const [n, rate] = [resolve(doc.value, own("n_devices")), resolve(doc.value, own("requests_per_s"))];
  const workers = types(doc).map(({ worker }) => `${worker.replicas.length} × ${worker.role === "aggregated" ? "" : `${worker.role} `}${degrees(worker)}`);
  return [...(typeof n === "number" ? [`${format("count", n)} devices`] : []), ...(typeof rate === "number" ? [`${format("real", rate)} requests/s`] : []), workers.join("; ")].join(" · ");
}
