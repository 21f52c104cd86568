// Timeline, memory over time and graph of a plan: the routes that serve them in parts, and their
// answers (docs/views.md).

import type { Doc } from "./pointer";

export interface Rows {
  from_ns: number[];
  to_ns: number[];
  n: number[];
  n_started: number[];
  kind: number[];
  what: number[];
  micro_batch: (number | null)[];
  longest_from_ns: number[];
  longest_to_ns: number[];
  ns: Record<string, number[]>;
}

export interface Lane { lane: string; device: string | null; role: "device" | "link" | "exchange"; n_started: number; ns: Record<string, number>; rows: Rows }

export interface Tile {
  step_time_ns: number;
  from_ns: number;
  to_ns: number;
  part_ns: number;
  kinds: string[];
  things: { name: string; from: string | null; to: string | null }[];
  lanes: Lane[];
}

export interface Holding { kind: string; name: string; bytes: number; op: string | null; n_micro_batches: number | null; since_ns: number | null; until_ns: number | null; freed_by: string | null }

export interface Curve {
  step_time_ns: number;
  device: string;
  n_devices: number;
  peak_bytes: number;
  peak_at_ns: number;
  limit_bytes: number | null;
  part_ns: number;
  at_ns: number[];
  bytes: Record<string, number[]>;
  alive: { largest: Holding[]; n_others: number; other_bytes: number };
}

/** A node of the graph; `devices` and `origins` are nanoseconds. */
export interface GraphNode {
  id: string; name: string; kind: "op" | "group" | "repeat" | "part" | "stage";
  op_type: string | null; phase: string | null; n_ops: number; n_equal: number;
  devices: Record<string, number>; stage: number | null; origins: Record<string, number>;
  time_ns: number; critical_ns: number | null; first_ns: number | null; last_ns: number | null;
  parameter_bytes: number; output_bytes: number; peak_bytes: number; in_bytes: number; out_bytes: number;
  x: number; y: number; width: number; height: number; open: Inside | null;
}

export interface GraphEdge { from: number; to: number; bytes: number; n_tensors: number; cut_bytes: number; n_critical: number | null; is_back: boolean; points: [number, number][] }

export interface Inside { width: number; height: number; nodes: GraphNode[]; edges: GraphEdge[] }

export interface FoundNode { id: string; kind: GraphNode["kind"]; op_type: string | null; devices: string[]; time_ns: number; within: string[] }

const path = (id: string, view: string, asked: Record<string, string | number | undefined>): string => {
  const query = new URLSearchParams(Object.entries(asked).flatMap(([name, own]) => (own === undefined ? [] : [[name, String(own)]])));
  return `/v1/plans/${encodeURIComponent(id)}/${view}?${query.toString()}`;
};

/** A window of all lanes, in at most so many rows. */
export const timeline_path = (id: string, from_ns: number | undefined, to_ns: number | undefined, max_slices: number): string =>
  path(id, "timeline", { from_ns, to_ns, max_slices });

/** Memory of a device, in at most so many points. */
export const memory_path = (id: string, device: string, points: number): string => path(id, "memory", { device, points });

/** The whole graph, with these groups open. */
export const graph_path = (id: string, open: string[]): string => path(id, "graph", { open: open.length === 0 ? undefined : JSON.stringify(open) });

/** Ops and groups by words. */
export const found_path = (id: string, text: string, most: number): string => path(id, "graph/found", { text, most });

export const inside = (doc: Doc): Inside => (doc.value as { inside: Inside }).inside;
export const found = (doc: Doc): { n_found: number; found: FoundNode[] } => doc.value as { n_found: number; found: FoundNode[] };
/** Whether lanes are of workers, with an iteration in each slice. */
export const is_of_workers = (own: Tile): boolean => own.lanes.every((lane) => lane.device === null);
export const tile = (doc: Doc): Tile => doc.value as Tile;
export const curve = (doc: Doc): Curve => doc.value as Curve;

/** What the lanes of a timeline do: title, short sign, class of colour; idle time and free links are hatched. */
const KINDS: Record<string, [string, string, string]> = {
  forward: ["Forward", "F", "compute"],
  backward: ["Backward", "B", "backward"],
  "backward-input": ["Backward, input", "B", "backward"],
  "backward-weight": ["Backward, weight", "W", "weight"],
  recompute: ["Recompute", "R", "recompute"],
  optimizer: ["Optimizer", "O", "optimizer"],
  transfer: ["Transfer", "T", "transfer"],
  exchange: ["Gradient communication", "X", "collective"],
  communication: ["Exposed communication", "C", "collective"],
  prefill: ["Prefill iteration", "P", "compute"],
  mixed: ["Mixed iteration: prefill and decode", "M", "recompute"],
  decode: ["Decode iteration", "D", "weight"],
  "idle-fill": ["Idle: pipeline fill", "", "missing"],
  "idle-input": ["Idle: waiting for input", "", "missing"],
  "idle-link": ["Idle: link busy", "", "missing"],
  "idle-wait": ["Idle: delayed by schedule", "", "missing"],
  "idle-drain": ["Idle: pipeline drain", "", "missing"],
  "idle-unused": ["Unused device", "", "missing"],
  free: ["Free", "", "free"],
};

export const kind_title = (kind: string): string => KINDS[kind]?.[0] ?? kind;
export const kind_sign = (kind: string): string => KINDS[kind]?.[1] ?? "?";
export const kind_fill = (kind: string): string => KINDS[kind]?.[2] ?? "optimizer";
