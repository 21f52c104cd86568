// What an answer says of its plan, as numbers by pointer: plans of ops and training runs state it in
// different places.

import { known, pointer, ref, resolve, type Doc, type Ref } from "./pointer";
import type { DeviceBar, Share } from "./pictures/bars";
import { plain } from "./names";

const list = (doc: Doc, at: string): unknown[] => {
  const own = resolve(doc.value, at);
  return Array.isArray(own) ? own : [];
};

/** What a plan is of: a training run, ops, or an instance with given costs (its document is the solution itself). */
export type Kind = "run" | "ops" | "given";

export function kind_of(answer: Doc): Kind {
  if (resolve(answer.value, "/plan") === undefined) return "given";
  return resolve(answer.value, "/plan/training") == null ? "ops" : "run";
}

export const is_run = (doc: Doc): boolean => kind_of(doc) === "run";

export const step_time = (doc: Doc): Ref => ref(doc, "/plan/cost/step_time_ns", "time");

/** Parts of the step: kind of fill, title, member. */
const RUN_PARTS: [string, string, string][] = [
  ["compute", "Compute", "compute_s"], ["recompute", "Recompute", "recompute_s"], ["collective", "Collectives", "collectives_s"],
  ["transfer", "Exposed transfers", "exposed_transfers_s"], ["optimizer", "Optimizer", "optimizer_s"], ["missing", "Bubble", "bubble_s"],
];
const DEVICE_PARTS: [string, string, string][] = [
  ["compute", "Compute", "busy_ns"], ["transfer", "Waits for links", "communication_ns"], ["missing", "Idle", "idle_ns"],
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
        { kind: "comes", name: "Tensors and scratch at the peak", value: ref(doc, [own("peak_memory_bytes"), own("parameter_bytes")], "bytes", "difference") },
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
