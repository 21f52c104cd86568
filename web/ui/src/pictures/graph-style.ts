// What the colours of a graph say: device, stage, time, memory, or where the cost comes from. Each
// colour has a word on its node, and what is counted a bar.

import { axis } from "../format";
import { short } from "../names";
import type { GraphNode } from "../views-api";
import type { Scene } from "./graph-scene";

export const MODES: [string, string][] = [["device", "Device"], ["stage", "Stage"], ["time", "Time"], ["memory", "Memory at the peak"], ["origin", "Cost source"]];

const FILLS = ["compute", "backward", "weight", "transfer", "stays", "collective"];
/** Lines over a fill, in a tile of 12, that tell equal fills apart. */
export const PATTERNS = ["", "M0 12L12 0", "M0 6H12", "M6 0V12"];
const RAMP = ["ramp-0", "ramp-1", "ramp-2", "ramp-3", "ramp-4"];

export interface Fill { colour: string; pattern: number }
export interface Look {
  fill: Fill;
  /** What it is, and the word beside the colour. */
  label: () => string;
  /** What it is mixed of, with shares. */
  mix: [Fill, number][];
  /** Of what is counted, the share of the most. */
  level: number | undefined;
}
export interface Style {
  look: (node: GraphNode) => Look;
  legend: { fill: Fill; text: string }[];
  /** All colours that it takes. */
  colours: string[];
}

const NOTHING: Fill = { colour: "sunken", pattern: 0 };
const fill_at = (at: number): Fill => ({ colour: FILLS[at % FILLS.length]!, pattern: Math.floor(at / FILLS.length) % PATTERNS.length });

/** Modes of which the graph says something. */
export function modes_of(scene: Scene): [string, string][] {
  const nodes = scene.top.boxes.map((box) => box.node);
  const has: Record<string, boolean> = {
    stage: nodes.some((node) => node.stage !== null),
    origin: nodes.some((node) => Object.keys(node.origins).length > 0),
  };
  return MODES.filter(([mode]) => has[mode] ?? true);
}

export function style_of(mode: string, scene: Scene): Style {
  if (mode === "time") return counted(scene, "time", (node) => node.time_ns);
  if (mode === "memory") return counted(scene, "bytes", (node) => node.peak_bytes);
  if (mode === "stage") return named(scene, (node) => (node.stage === null ? {} : { [`stage ${node.stage}`]: 1 }), "stages");
  if (mode === "origin") return named(scene, (node) => node.origins, "origins");
  return named(scene, (node) => node.devices, "devices");
}

/** Colours by name; a node of several is filled with the largest part's. */
function named(scene: Scene, parts: (node: GraphNode) => Record<string, number>, many: string): Style {
  const names = [...new Set(scene.top.boxes.flatMap((box) => Object.keys(parts(box.node))))]
    .sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const fills = new Map(names.map((name, at) => [name, fill_at(at)]));
  const look = (node: GraphNode): Look => {
    const all = Object.entries(parts(node));
    const sum = all.reduce((total, [, own]) => total + own, 0);
    const [most] = all.reduce((best, own) => (own[1] > best[1] ? own : best), all[0] ?? ["", 0]);
    const label = () => (all.length === 0 ? "" : all.length === 1 ? short(most, 18) : `${all.length} ${many}`);
    const mix = all.length < 2 || sum === 0 ? [] : all.map(([name, own]): [Fill, number] => [fills.get(name) ?? NOTHING, own / sum]);
    return { fill: fills.get(most) ?? NOTHING, label, mix, level: undefined };
  };
  return { look: kept(look), legend: names.map((name) => ({ fill: fills.get(name)!, text: name })), colours: [...FILLS, NOTHING.colour] };
}

/** Colours by size, of what the most holds that is not open. */
function counted(scene: Scene, as: "time" | "bytes", value: (node: GraphNode) => number): Style {
  const most = Math.max(1, ...scene.boxes.filter((box) => box.inside === undefined).map((box) => value(box.node)));
  const step = (share: number) => Math.min(RAMP.length - 1, Math.floor(share * RAMP.length));
  const look = (node: GraphNode): Look => {
    const share = value(node) / most;
    return { fill: { colour: RAMP[step(share)]!, pattern: 0 }, label: () => axis(as, value(node)), mix: [], level: Math.min(1, share) };
  };
  const legend = RAMP.map((colour, at) => ({ fill: { colour, pattern: 0 }, text: `up to ${axis(as, Math.ceil((most * (at + 1)) / RAMP.length))}` }));
  return { look: kept(look), legend, colours: RAMP };
}

/** What a node is, in few words. */
export function kind_text(node: GraphNode): string {
  if (node.kind === "op") return short(node.op_type ?? "op", 24);
  return node.kind === "stage" ? "" : `${node.n_ops} op${node.n_ops === 1 ? "" : "s"}`;
}

function kept(make: (node: GraphNode) => Look): (node: GraphNode) => Look {
  const known = new Map<GraphNode, Look>();
  return (node) => {
    let own = known.get(node);
    if (own === undefined) {
      const made = make(node);
      let text: string | undefined;
      own = { ...made, label: () => (text ??= [kind_text(node), made.label()].filter((part) => part !== "").join(" · ")) };
      known.set(node, own);
    }
    return own;
  };
}
