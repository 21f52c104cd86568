// Draws a tile of a timeline on a canvas, and finds what lies under the pointer.

import { axis, ticks } from "../format";
import { short } from "../names";
import type { Pen } from "./graph-draw";
import type { Filler, Grid } from "./grid";
import { HATCHES } from "./hatches";
import { palette, writing_on } from "./palette";
import { kind_fill, kind_sign, type Lane, type Tile } from "../views-api";

export const GUTTER = 164;
export const TOP = 22;

/** A window; lanes that do nothing in it may be folded. */
export interface View { from: number; to: number; width: number; scale: number; is_folded: boolean }
export interface Hit { lane: number; row: number }

/** Whether a lane does nothing in the window. */
export const is_idle = (lane: Lane): boolean => Object.entries(lane.ns).every(([kind, ns]) => ns === 0 || kind === "free" || kind_fill(kind) === "missing");

const known_heights = new WeakMap<Lane[], Map<boolean, number[]>>();

/** Height of each lane: what links do is thinner; with many lanes all are. */
export function heights(lanes: Lane[], is_folded: boolean): number[] {
  const known = known_heights.get(lanes) ?? new Map<boolean, number[]>();
  known_heights.set(lanes, known);
  if (!known.has(is_folded)) known.set(is_folded, made_heights(lanes, is_folded));
  return known.get(is_folded)!;
}

function made_heights(lanes: Lane[], is_folded: boolean): number[] {
  const is_shown = lanes.map((lane) => !is_folded || !is_idle(lane));
  const n = lanes.reduce((sum, lane, at) => sum + (is_shown[at] ? (lane.role === "device" ? 1 : 0.5) : 0), 0);
  const device = Math.max(4, Math.min(34, Math.floor(720 / Math.max(1, n))));
  return lanes.map((lane, at) => (!is_shown[at] ? 0 : lane.role === "device" ? device : Math.max(3, Math.floor(device / 2))));
}

export const height_of = (lanes: Lane[], is_folded: boolean): number => TOP + heights(lanes, is_folded).reduce((a, b) => a + b, 0) + 4;

export const x_of = (view: View, ns: number): number => GUTTER + ((ns - view.from) / Math.max(1, view.to - view.from)) * (view.width - GUTTER);

export const ns_at = (view: View, x: number): number => view.from + ((x - GUTTER) / Math.max(1, view.width - GUTTER)) * (view.to - view.from);

let hatched: [Record<string, string>, Map<string, HTMLCanvasElement>] | undefined;

/** What idle time of a cause is filled with. */
function hatch(colours: Record<string, string>, cause: string): HTMLCanvasElement {
  if (hatched?.[0] !== colours) hatched = [colours, new Map()];
  const known = hatched[1].get(cause);
  if (known !== undefined) return known;
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const own = tile.getContext("2d")!;
  own.fillStyle = colours["hatch-bg"]!;
  own.fillRect(0, 0, 8, 8);
  own.strokeStyle = colours["hatch"]!;
  own.lineWidth = 1.5;
  own.stroke(new Path2D(HATCHES[cause]));
  hatched[1].set(cause, tile);
  return tile;
}

/** Draws what is in view on a canvas that is made as large; tells how many boxes that took. */
export function draw(element: HTMLCanvasElement, grid: Grid, tile: Tile, view: View, selected: Hit | undefined, marked = ""): number {
  const canvas = element.getContext("2d")!;
  const height = height_of(tile.lanes, view.is_folded);
  const [wide, high] = [Math.round(view.width * view.scale), Math.round(height * view.scale)];
  // Another size, even the same one, is a new surface.
  if (element.width !== wide || element.height !== high) {
    [element.width, element.height] = [wide, high];
    element.style.width = `${view.width}px`;
    element.style.height = `${height}px`;
  }
  grid.begin(wide, high, view.scale, palette()["panel"]!);
  canvas.setTransform(view.scale, 0, 0, view.scale, 0, 0);
  const drawn = draw_lanes(canvas, tile, view, selected, marked, grid, () => grid.end(canvas));
  element.dataset["drawn"] = String(Number(element.dataset["drawn"] ?? 0) + 1);
  return drawn;
}

/** Draws what is in view, slices of `marked` with a frame: boxes first, then what is written on them. */
export function draw_lanes(canvas: Pen, tile: Tile, view: View, selected: Hit | undefined, marked = "", boxes: Filler = canvas, filled = () => {}): number {
  const colours = palette();
  const height = height_of(tile.lanes, view.is_folded);
  boxes.fillStyle = colours["panel"]!;
  boxes.fillRect(0, 0, view.width, height);
  boxes.fillStyle = colours["line"]!;
  const marks = axis_of(view);
  for (const ns of marks) boxes.fillRect(x_of(view, ns), TOP - 4, 1, height - TOP);
  const sheet: Sheet = { boxes, colours, idle: new Map(Object.keys(HATCHES).map((cause) => [cause, boxes.createPattern(hatch(colours, cause), "repeat") ?? colours["hatch-bg"]!])), view, drawn: 0, labels: [] };
  const all = heights(tile.lanes, view.is_folded);
  let top = TOP;
  const tops = all.map((height) => (top += height) - height);
  tile.lanes.forEach((lane, at) => { if (all[at]! > 0) draw_lane(sheet, tile, lane, tops[at]!, all[at]!); });
  filled();
  write_axis(canvas, view, marks, colours);
  for (const own of sheet.labels) write_label(canvas, tile, own, colours);
  tile.lanes.forEach((lane, at) => {
    if (all[at] === 0) return;
    for (const row of rows_of(tile, lane, marked)) outline(canvas, lane, row, view, tops[at]!, all[at]!, colours["bad"]!);
    if (selected?.lane === at) outline(canvas, lane, selected.row, view, tops[at]!, all[at]!, colours["text"]!);
    if (all[at]! >= 11) draw_name(canvas, lane, tops[at]!, all[at]!, colours);
    else if (tile.lanes[at - 1]?.role !== lane.role) draw_role(canvas, tile.lanes, lane.role, tops[at]!, colours);
  });
  return sheet.drawn;
}

const about = new WeakMap<Tile, [string, boolean[]]>();

/** The things of that name. */
function meant(tile: Tile, name: string): boolean[] {
  const known = about.get(tile);
  if (known?.[0] === name) return known[1];
  const own = tile.things.map((thing) => thing.name === name);
  about.set(tile, [name, own]);
  return own;
}

/** Rows of a lane that are about something, and nothing else. */
export function rows_of(tile: Tile, { rows }: Lane, name: string): number[] {
  if (name === "") return [];
  const is_meant = meant(tile, name);
  if (!is_meant.includes(true)) return [];
  const is_own = tile.kinds.map((kind) => is_work(kind));
  return rows.what.flatMap((what, row) => (is_meant[what]! && is_own[rows.kind[row]!]! ? [row] : []));
}

const is_work = (kind: string): boolean => kind !== "free" && kind_fill(kind) !== "missing";

/** Where the marks of the axis stand. */
function axis_of(view: View): number[] {
  const step = ticks(view.to - view.from, Math.max(2, Math.floor((view.width - GUTTER) / 110)))[1] ?? view.to - view.from;
  const first = Math.ceil(view.from / step);
  return Array.from({ length: Math.max(0, Math.floor(view.to / step) - first + 1) }, (_, at) => (first + at) * step);
}

function write_axis(canvas: Pen, view: View, marks: number[], colours: Record<string, string>): void {
  canvas.font = "11px system-ui, sans-serif";
  canvas.textAlign = "center";
  canvas.fillStyle = colours["text-3"]!;
  const [first] = marks = marks.filter((ns) => x_of(view, ns) > GUTTER + 16 && x_of(view, ns) < view.width - 24);
  // Where four digits don't tell them apart, all but the first say how far behind it they are.
  const is_close = new Set(marks.map((ns) => axis("time", ns))).size < marks.length;
  for (const ns of marks) canvas.fillText(is_close && ns !== first ? `+${axis("time", ns - first!)}` : axis("time", ns), x_of(view, ns), 13);
}

interface Label { lane: Lane; row: number; x: number; width: number; y: number; height: number }
interface Sheet { boxes: Filler; colours: Record<string, string>; idle: Map<string, CanvasPattern | string>; view: View; drawn: number; labels: Label[] }

/** The first row that ends behind an instant. */
function first_after(to_ns: number[], ns: number): number {
  let [low, high] = [0, to_ns.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (to_ns[middle]! <= ns) low = middle + 1; else high = middle;
  }
  return low;
}

/** Boxes of a lane. Rows that are narrower than a pixel are summed up by pixel. */
function draw_lane(sheet: Sheet, tile: Tile, lane: Lane, top: number, room: number): void {
  const { view } = sheet;
  const { from_ns, to_ns, n, kind, ns } = lane.rows;
  const gap = room > 8 ? 2 : 0;
  const y = top + gap / 2, height = room - gap;
  const parts = Object.keys(ns).map((name): Part => ({ style: style_of(sheet, name), is_work: is_work(name), ns: ns[name]!, sum: 0 }));
  let column = -1;
  const flush = () => {
    if (column < 0) return;
    stack(sheet, parts, column, y, 1, height);
    column = -1;
  };
  const per_ns = (view.width - GUTTER) / Math.max(1, view.to - view.from);
  for (let at = first_after(to_ns, view.from); at < from_ns.length && from_ns[at]! < view.to; at += 1) {
    const x = Math.max(GUTTER, GUTTER + (from_ns[at]! - view.from) * per_ns);
    const width = Math.min(view.width, GUTTER + (to_ns[at]! - view.from) * per_ns) - x;
    if (width < 1) {
      if (Math.floor(x) !== column) { flush(); column = Math.floor(x); }
      for (const part of parts) part.sum += part.ns[at]!;
      continue;
    }
    flush();
    if (n[at] === 1) {
      const name = tile.kinds[kind[at]!]!;
      const style = style_of(sheet, name);
      if (style === undefined && name !== UNUSED) continue;
      if (style !== undefined) {
        sheet.boxes.fillStyle = style;
        sheet.boxes.fillRect(x, y, width > 3 ? width - 1 : width, height);
      }
      sheet.drawn += 1;
      if (width > 22 && height > 11) sheet.labels.push({ lane, row: at, x, width, y, height });
    } else {
      for (const part of parts) part.sum = part.ns[at]!;
      stack(sheet, parts, x, y, width, height);
    }
  }
  flush();
}

/** A device without work: a frame around nothing. */
const UNUSED = "idle-unused";

/** How a kind is filled; undefined where it is not. */
const style_of = ({ idle, colours }: Sheet, kind: string): CanvasPattern | string | undefined =>
  (kind === "free" ? undefined : kind_fill(kind) === "missing" ? idle.get(kind) : colours[kind_fill(kind)]!);

interface Part { style: CanvasPattern | string | undefined; is_work: boolean; ns: number[]; sum: number }

/** Several slices in one: as high as their shares, work at the bottom and a pixel at least. Leaves nothing summed up. */
function stack(sheet: Sheet, parts: Part[], x: number, y: number, width: number, height: number): void {
  let sum = 0, below = y + height;
  for (const part of parts) sum += part.sum;
  for (const part of parts) {
    if (part.sum === 0) continue;
    const share = Math.max((part.sum / sum) * height, part.is_work ? 1 : 0);
    below = Math.max(y, below - share);
    part.sum = 0;
    if (part.style === undefined) continue;
    sheet.boxes.fillStyle = part.style;
    sheet.boxes.fillRect(x, below, width, share);
    sheet.drawn += 1;
  }
}

function write_label(canvas: Pen, tile: Tile, { lane: { rows }, row, x, width, y, height }: Label, colours: Record<string, string>): void {
  const kind = tile.kinds[rows.kind[row]!]!;
  const is_idle = kind_fill(kind) === "missing";
  if (kind === UNUSED) {
    canvas.strokeStyle = colours["line-strong"]!;
    canvas.lineWidth = 1;
    canvas.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
  }
  if (is_idle && width < 60) return;
  const micro_batch = rows.micro_batch[row];
  const name = tile.things[rows.what[row]!]?.name ?? "";
  const text = is_idle ? kind.replace("idle-", "") : micro_batch != null && width < 90 ? `${kind_sign(kind)} ${micro_batch}` : short(name, Math.max(3, Math.floor(width / 7)));
  canvas.font = "11px system-ui, sans-serif";
  if (canvas.measureText(text).width > width - 4) return;
  canvas.textAlign = "center";
  canvas.fillStyle = is_idle ? colours["text"]! : writing_on(colours[kind_fill(kind)]!);
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

const ROLES: Record<Lane["role"], string> = { device: "devices", link: "link endpoints", exchange: "exchanges" };

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
  const row = first_after(to_ns, ns);
  return row < from_ns.length && from_ns[row]! <= ns ? { lane, row } : undefined;
}
