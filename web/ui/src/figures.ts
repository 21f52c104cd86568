// What an answer states about its plan, as numbers by pointer; each kind of plan states it in its own
// place.

import { known, pointer, ref, resolve, type Doc, type Ref } from "./pointer";
import type { DeviceBar, Share } from "./pictures/bars";
import type { Task } from "./fields";
import { format } from "./format";
import { fleet_traits } from "./fleet";
import { plain } from "./names";

const list = (doc: Doc, at: string): unknown[] => {
  const own = resolve(doc.value, at);
  return Array.isArray(own) ? own : [];
};

/**
 * Kinds of plans by their documents: a training run; operators; a fleet of serving workers; serving, which
 * has experts, streams or stages that serve; gradient buckets; an instance with given costs, whose document
 * is the solution.
 */
export type Kind = "run" | "ops" | "fleet" | "serving" | "gradients" | "given";

/** Views that mean something for a kind of plan, or where there is none; of the others all that there are. */
const VIEWS: Partial<Record<Kind | "none", string[]>> = {
  none: ["search", "why"],
  fleet: ["overview", "timeline", "memory", "search", "why"], serving: ["overview", "search", "why"], gradients: ["overview", "search", "why"], given: ["overview", "search", "why"],
};
export const has_view = (kind: Kind | "none" | undefined, view: string): boolean => kind === undefined || (VIEWS[kind]?.includes(view) ?? true);
/** Whether its plans have steps that are replayed. */
export const has_steps = (kind: Kind): boolean => kind === "run" || kind === "ops" || kind === "fleet";

const is_filled = (own: unknown): boolean => own !== null && typeof own === "object" && Object.keys(own).length > 0;

export function kind_of(answer: Doc): Kind {
  const of = (name: string) => resolve(answer.value, `/plan/${name}`);
  if (of("format") === undefined && resolve(answer.value, "/plan") === undefined) return "given";
  if (is_filled(of("training"))) return "run";
  if (is_filled(of("fleet"))) return "fleet";
  if (["experts", "served", "streams"].some((name) => is_filled(of(name)))) return "serving";
  return is_filled(of("communication")) && !is_filled(of("placement")) && resolve(answer.value, "/report") === undefined ? "gradients" : "ops";
}

/** The task of a plan, by its document. */
export function task_of_answer(answer: Doc): Task {
  const kind = kind_of(answer);
  if (kind === "serving") return resolve(answer.value, "/plan/experts/phase") === "training" ? "train" : "infer";
  return ({ run: "train", gradients: "train", ops: "place", fleet: "infer", given: "solve" } as const)[kind];
}

/** Degrees as the field abbreviates them. */
const DEGREES: [string, string][] = [["data", "DP"], ["tensor", "TP"], ["pipeline", "PP"], ["context", "CP"], ["expert", "EP"]];

/** A configuration as the service writes it, with the abbreviations: `DP 64, TP 1, PP 1, micro-batch 8 × 1`. */
export const configuration = (text: string): string => plain(text)
  .replace(/\b(data|tensor|pipeline|context|expert) (\d+)( x (?=(?:data|tensor|pipeline|context|expert) \d))?/g, (_, name: string, n: string, more?: string) => `${DEGREES.find(([own]) => own === name)![1]} ${n}${more === undefined ? "" : ", "}`)
  .replace(/of (\d+) chunks/g, "with $1 virtual stages").replaceAll(" x ", " × ");

/** Devices, batch and degrees of a plan: what tells it apart from others of the same files. */
export function traits(answer: Doc): string {
  if (kind_of(answer) === "fleet") return fleet_traits(answer);
  const at = (own: string) => resolve(answer.value, own);
  const count = (own: unknown): own is number => typeof own === "number";
  const used = list(answer, "/report/devices").filter((own) => (own as { busy_ns?: number }).busy_ns !== 0).length;
  const stages = list(answer, "/plan/partition/stages").flatMap((own) => (own as { mesh?: { devices: unknown[] } }).mesh?.devices ?? []).length;
  const n = at("/best/n_devices") ?? (used > 0 ? used : stages > 0 ? stages : undefined);
  const batch = at("/plan/training/global_batch") ?? at("/plan/workload/batch");
  const tokens = at("/plan/training/sequence_length") ?? at("/plan/experts/sequence_length");
  const degrees = typeof at("/best/degrees") === "string" ? configuration(String(at("/best/degrees")))
    : DEGREES.filter(([own]) => Number(at(`/plan/parallelism/${own}`) ?? 1) > 1).map(([own, short]) => `${short} ${String(at(`/plan/parallelism/${own}`))}`).join(", ");
  return [...(count(n) ? [`${format("count", n)} ${n === 1 ? "device" : "devices"}`] : []), ...(count(batch) ? [`batch ${format("count", batch)}${count(tokens) ? ` × ${format("count", tokens)} tokens` : ""}`] : []), ...(degrees === "" ? [] : [degrees])].join(" · ");
}

export const is_run = (doc: Doc): boolean => kind_of(doc) === "run";

export const step_time = (doc: Doc): Ref => ref(doc, "/plan/cost/step_time_ns", "time");

/** Parts of the step: kind of fill, title, member. */
const RUN_PARTS: [string, string, string][] = [
  ["compute", "Compute", "compute_s"], ["recompute", "Recompute", "recompute_s"], ["collective", "Collectives", "collectives_s"],
  ["transfer", "Exposed transfers", "exposed_transfers_s"], ["optimizer", "Optimizer", "optimizer_s"], ["missing", "Bubble", "bubble_s"],
];
const DEVICE_PARTS: [string, string, string][] = [
  ["compute", "Compute", "busy_ns"], ["transfer", "Exposed communication", "communication_ns"], ["missing", "Idle", "idle_ns"],
];

/** Where the step goes: of a run its parts, of ops the time of all devices. */
export function step_parts(doc: Doc): Share[] {
  if (is_run(doc)) {
    const all = RUN_PARTS.map(([, , own]) => pointer("best", "parts", own));
    return RUN_PARTS.filter(([, , own]) => known(ref(doc, pointer("best", "parts", own), "seconds"))).map(([kind, name, own]) => ({
      kind, name, value: ref(doc, pointer("best", "parts", own), "seconds"), share: shareOf(doc, [pointer("best", "parts", own)], all),
    }));
  }
  const devices = list(doc, "/report/devices");
  const of = (own: string) => devices.map((_, at) => pointer("report", "devices", at, own));
  const all = DEVICE_PARTS.flatMap(([, , own]) => of(own));
  return devices.length === 0 ? [] : DEVICE_PARTS.map(([kind, name, own]) => ({
    kind, name, value: ref(doc, of(own), "time"), share: shareOf(doc, of(own), all),
  }));
}

/** Some numbers over the sum of all. */
function shareOf(doc: Doc, some: string[], all: string[]): Ref {
  return { ...ref(doc, some, "share", "share"), whole: all };
}

/** Peak of each device, what lies there, and the limit. */
export function devices(doc: Doc): DeviceBar[] {
  return is_run(doc) ? ranks(doc) : of_ops(doc);
}

function ranks(doc: Doc): DeviceBar[] {
  return list(doc, "/plan/training/memory").map((_, at) => {
    const own = (name: string) => pointer("plan", "training", "memory", at, name);
    return {
      name: `rank ${at}`,
      parts: [
        { kind: "stays", name: "Weights, gradients, optimizer", value: ref(doc, own("persistent_bytes"), "bytes") },
        { kind: "comes", name: "Activations and buffers at the peak", value: ref(doc, [own("peak_bytes"), own("persistent_bytes")], "bytes", "difference") },
      ],
      ...peak(doc, own("peak_bytes"), own("limit_bytes")),
    };
  });
}

function of_ops(doc: Doc): DeviceBar[] {
  return list(doc, "/report/devices").map((device, at) => {
    const own = (name: string) => pointer("report", "devices", at, name);
    return {
      name: plain(String((device as { id: unknown }).id)),
      parts: [
        { kind: "stays", name: "Parameters", value: ref(doc, own("parameter_bytes"), "bytes") },
        { kind: "comes", name: "Tensors and temporary memory at the peak", value: ref(doc, [own("peak_memory_bytes"), own("parameter_bytes")], "bytes", "difference") },
      ],
      ...peak(doc, own("peak_memory_bytes"), own("memory_limit_bytes")),
    };
  });
}

function peak(doc: Doc, at: string, limit: string): Pick<DeviceBar, "peak" | "limit" | "free"> {
  return { peak: ref(doc, at, "bytes"), limit: ref(doc, limit, "bytes"), free: ref(doc, [limit, at], "bytes", "difference") };
}

/** What the costs rest on. */
export function origins(doc: Doc): Share[] {
  const at = resolve(doc.value, "/report/origins") === undefined ? "/plan/cost/origins" : "/report/origins";
  return list(doc, at).map((own, index) => {
    const name = String((own as { origin: unknown }).origin);
    return {
      name: plain(name[0]!.toUpperCase() + name.slice(1)), kind: ["nominal", "sibling"].includes(name) ? "missing" : name === "measured" ? "measured" : "interpolated",
      value: ref(doc, `${at}/${index}/ns`, "time"), share: ref(doc, `${at}/${index}/share`, "share"),
    };
  });
}
