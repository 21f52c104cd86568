// Draws a tile of a timeline on a canvas, and finds what lies under the pointer.

import { axis, ticks } from "../format";
import { short } from "../names";
import type { Pen } from "./graph-draw";
import { palette } from "./palette";
import { kind_fill, kind_sign, type Lane, type Tile } from "../views-api";

export const GUTTER = 164;
export const TOP = 22;

/** A window; lanes that do nothing in it may be folded. */
export interface View { from: number; to: number; width: number; scale: number; is_folded: boolean }
export interface Hit { lane: number; row: number }

/** Whether a lane does nothing in the window. */
export const is_idle = (lane: Lane): boolean => Object.entries(lane.ns).every(([kind, ns]) => ns === 0 || kind === "free" || kind_fill(kind) === "missing");

/** Height of each lane: what links do is thinner; with many lanes all are. */
export function heights(lanes: Lane[], is_folded: boolean): number[] {
  const is_shown = lanes.map((lane) => !is_folded || !is_idle(lane));
  const n = lanes.reduce((sum, lane, at) => sum + (is_shown[at] ? (lane.role === "device" ? 1 : 0.5) : 0), 0);
  const device = Math.max(4, Math.min(34, Math.floor(720 / Math.max(1, n))));
  return lanes.map((lane, at) => (!is_shown[at] ? 0 : lane.role === "device" ? device : Math.max(3, Math.floor(device / 2))));
}

export const height_of = (lanes: Lane[], is_folded: boolean): number => TOP + heights(lanes, is_folded).reduce((a, b) => a + b, 0) + 4;

export const x_of = (view: View, ns: number): number => GUTTER + ((ns - view.from) / Math.max(1, view.to - view.from)) * (view.width - GUTTER);

export const ns_at = (view: View, x: number): number => view.from + ((x - GUTTER) / Math.max(1, view.width - GUTTER)) * (view.to - view.from);

function hatch(colours: Record<string, string>, canvas: Pen): CanvasPattern | string {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const own = tile.getContext("2d")!;
  own.fillStyle = colours["hatch-bg"]!;
  own.fillRect(0, 0, 8, 8);
  own.strokeStyle = colours["hatch"]!;
  own.lineWidth = 1.5;
  for (const at of [-8, 0, 8]) { own.beginPath(); own.moveTo(at, 8); own.lineTo(at + 8, 0); own.stroke(); }
  return canvas.createPattern(tile, "repeat") ?? colours["hatch-bg"]!;
}

export interface Drawn { slices: number }

/** Draws what is in view on a canvas that is made as large. */
export function draw(element: HTMLCanvasElement, tile: Tile, view: View, selected: Hit | undefined, marked = ""): Drawn {
  const canvas = element.getContext("2d")!;
  const height = height_of(tile.lanes, view.is_folded);
  const [wide, high] = [Math.round(view.width * view.scale), Math.round(height * view.scale)];
  // Another size, even the same one, is a new surface.
  if (element.width !== wide || element.height !== high) {
    [element.width, element.height] = [wide, high];
    element.style.width = `${view.width}px`;
    element.style.height = `${height}px`;
  }
  canvas.setTransform(view.scale, 0, 0, view.scale, 0, 0);
  return draw_lanes(canvas, tile, view, selected, marked);
}

/** Draws what is in view, slices of `marked` with a frame; tells how many boxes that took. */
export function draw_lanes(canvas: Pen, tile: Tile, view: View, selected: Hit | undefined, marked = ""): Drawn {
  const colours = palette();
  const height = height_of(tile.lanes, view.is_folded);
  canvas.fillStyle = colours["panel"]!;
  canvas.fillRect(0, 0, view.width, height);
  draw_axis(canvas, view, colours, height);
  const idle = hatch(colours, canvas);
  const all = heights(tile.lanes, view.is_folded);
  let y = TOP, slices = 0;
  tile.lanes.forEach((lane, at) => {
    if (all[at] === 0) return;
    slices += draw_lane(canvas, tile, lane, view, { y, height: all[at]! }, { colours, idle });
    for (const row of rows_of(tile, lane, marked)) outline(canvas, lane, row, view, y, all[at]!, colours["bad"]!);
    if (selected?.lane === at) outline(canvas, lane, selected.row, view, y, all[at]!, colours["text"]!);
    if (all[at]! >= 11) draw_name(canvas, lane, y, all[at]!, colours);
    else if (tile.lanes[at - 1]?.role !== lane.role) draw_role(canvas, tile.lanes, lane.role, y, colours);
    y += all[at]!;
  });
  return { slices };
}

/** Rows of a lane that are about something, and nothing else. */
export function rows_of({ things, kinds }: Tile, { rows }: Lane, name: string): number[] {
  if (name === "") return [];
  const is_meant = things.map((thing) => thing.name === name);
  const is_work = kinds.map((kind) => kind_fill(kind) !== "missing" && kind !== "free");
  return rows.what.flatMap((what, row) => (is_meant[what]! && is_work[rows.kind[row]!]! ? [row] : []));
}

function draw_axis(canvas: Pen, view: View, colours: Record<string, string>, height: number): void {
  canvas.font = "11px system-ui, sans-serif";
  canvas.textAlign = "center";
  const step = ticks(view.to - view.from, Math.max(2, Math.floor((view.width - GUTTER) / 110)))[1] ?? view.to - view.from;
  for (let ns = Math.ceil(view.from / step) * step; ns <= view.to; ns += step) {
    const x = x_of(view, ns);
    canvas.fillStyle = colours["line"]!;
    canvas.fillRect(x, TOP - 4, 1, height - TOP);
    canvas.fillStyle = colours["text-3"]!;
    if (x > GUTTER + 16 && x < view.width - 24) canvas.fillText(axis("time", ns), x, 13);
  }
}

interface Band { y: number; height: number }
interface Paint { colours: Record<string, string>; idle: CanvasPattern | string }

function draw_lane(canvas: Pen, tile: Tile, lane: Lane, view: View, band: Band, paint: Paint): number {
  const { rows } = lane;
  let drawn = 0;
  const gap = band.height > 8 ? 2 : 0;
  const y = band.y + gap / 2, height = band.height - gap;
  for (let at = 0; at < rows.from_ns.length; at++) {
    if (rows.to_ns[at]! < view.from || rows.from_ns[at]! > view.to) continue;
    const x = Math.max(GUTTER, x_of(view, rows.from_ns[at]!));
    const width = Math.min(view.width, x_of(view, rows.to_ns[at]!)) - x;
    if (width <= 0) continue;
    if (rows.n[at] === 1) {
      const kind = tile.kinds[rows.kind[at]!]!;
      fill(canvas, kind, x, y, width, height, paint);
      if (width > 22 && height > 11) label(canvas, tile, lane, at, x, width, y, height, paint);
    } else merged(canvas, rows.ns, at, x, y, width, height, paint);
    drawn += 1;
  }
  return drawn;
}

function fill(canvas: Pen, kind: string, x: number, y: number, width: number, height: number, paint: Paint): void {
  const own = kind_fill(kind);
  if (own === "free") return;
  canvas.fillStyle = own === "missing" ? paint.idle : paint.colours[own]!;
  canvas.fillRect(x, y, width > 2 ? width - 0.75 : own === "missing" ? width : Math.max(width, 0.75), height);
}

/** Several slices in one: as high as their shares, work at the bottom and a pixel at least. */
function merged(canvas: Pen, ns: Record<string, number[]>, at: number, x: number, y: number, width: number, height: number, paint: Paint): void {
  let sum = 0, below = y + height;
  for (const kind in ns) sum += ns[kind]![at] ?? 0;
  for (const kind in ns) {
    const own = ns[kind]![at] ?? 0;
    if (own === 0) continue;
    const filled = kind_fill(kind);
    const is_work = kind !== "free" && filled !== "missing";
    const share = Math.max((own / Math.max(1, sum)) * height, is_work ? 1 : 0);
    below = Math.max(y, below - share);
    if (kind === "free") continue;
    canvas.fillStyle = filled === "missing" ? paint.idle : paint.colours[filled]!;
    canvas.fillRect(x, below, Math.max(width, 0.5), share);
  }
}

function label(canvas: Pen, tile: Tile, lane: Lane, at: number, x: number, width: number, y: number, height: number, paint: Paint): void {
  const { rows } = lane;
  const kind = tile.kinds[rows.kind[at]!]!;
  const is_idle = kind_fill(kind) === "missing";
  if (kind === "free" || (is_idle && width < 60)) return;
  const micro_batch = rows.micro_batch[at];
  const name = tile.things[rows.what[at]!]?.name ?? "";
  const text = is_idle ? kind.replace("idle-", "") : micro_batch != null && width < 90 ? `${kind_sign(kind)} ${micro_batch}` : short(name, Math.max(3, Math.floor(width / 7)));
  canvas.font = "11px system-ui, sans-serif";
  if (canvas.measureText(text).width > width - 4) return;
  canvas.textAlign = "center";
  canvas.fillStyle = is_idle ? paint.colours["text"]! : kind_fill(kind) === "optimizer" || kind_fill(kind) === "collective" ? "#fff" : paint.colours["ink"]!;
  canvas.fillText(text, x + width / 2, y + height / 2 + 4);
}

function outline(canvas: Pen, lane: Lane, row: number, view: View, y: number, height: number, colour: string): void {
  const from = lane.rows.from_ns[row], to = lane.rows.to_ns[row];
  if (from === undefined || to === undefined) return;
  canvas.strokeStyle = colour;
  canvas.lineWidth = 2;
  const x = Math.max(GUTTER, x_of(view, from));
  canvas.strokeRect(x, y + 1, Math.max(3, x_of(view, to) - x), height - 2);
}

function draw_name(canvas: Pen, lane: Lane, y: number, height: number, colours: Record<string, string>): void {
  canvas.font = lane.role === "device" ? "12px system-ui, sans-serif" : "11px system-ui, sans-serif";
  canvas.textAlign = "left";
  canvas.fillStyle = lane.role === "device" ? colours["text"]! : colours["text-2"]!;
  canvas.fillText(short(lane.lane, 28), 0, y + height / 2 + 4, GUTTER - 6);
}

const ROLES: Record<Lane["role"], string> = { device: "devices", link: "ends of links", exchange: "exchanges" };

/** What the lanes are that are too thin for names. */
function draw_role(canvas: Pen, lanes: Lane[], role: Lane["role"], y: number, colours: Record<string, string>): void {
  canvas.font = "11px system-ui, sans-serif";
  canvas.textAlign = "left";
  canvas.fillStyle = colours["text-2"]!;
  canvas.fillText(`${lanes.filter((lane) => lane.role === role).length} ${ROLES[role]}`, 0, y + 10, GUTTER - 6);
}

/** What lies at a point; rows are ordered by time. */
export function hit(tile: Tile, view: View, x: number, y: number): Hit | undefined {
  const all = heights(tile.lanes, view.is_folded);
  let top = TOP;
  const lane = all.findIndex((height) => { top += height; return y < top; });
  if (lane < 0 || y < TOP || x < GUTTER) return undefined;
  const ns = ns_at(view, x);
  const { from_ns, to_ns } = tile.lanes[lane]!.rows;
  let [low, high] = [0, from_ns.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (to_ns[middle]! <= ns) low = middle + 1; else high = middle;
  }
  return low < from_ns.length && from_ns[low]! <= ns ? { lane, row: low } : undefined;
}
