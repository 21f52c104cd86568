// Draws a graph on a canvas, or on what takes a canvas's words.

import { axis } from "../format";
import { PATTERNS, type Fill, type Look, type Style } from "./graph-style";
import { is_group, screen_x, screen_y, shows_inside, title, type Box, type Camera, type Level, type Line, type Scene, type Size } from "./graph-scene";
import { palette, writing_on } from "./palette";

/** Lines of one picture: past them the lightest that stay on their device are left out. */
const MOST_LINES = 2000;
/** Lines of one stroke: a canvas joins what one stroke holds, which takes longer than its lines. */
const AT_ONCE = 64;
/** Pixels by unit from which lines carry arrows and bytes. */
const DETAILED = 0.45;
const FONT = "11px system-ui, sans-serif";
const BOLD = "600 12px system-ui, sans-serif";

/** What is drawn on: of a canvas, what an SVG file has too. */
export type Pen = Pick<CanvasRenderingContext2D, "fillStyle" | "strokeStyle" | "lineWidth" | "globalAlpha" | "font" | "textAlign" | "fillRect" | "strokeRect" | "beginPath" | "moveTo"
  | "lineTo" | "stroke" | "fill" | "setLineDash" | "fillText" | "measureText" | "createPattern">;

export interface Marks { selected: Box | undefined; hovered: Box | undefined; is_critical: boolean; is_found: (box: Box) => boolean }
export interface Drawn { nodes: number; edges: number; left_out: number }

interface Sheet { pen: Pen; camera: Camera; size: Size; style: Style; marks: Marks; colours: Record<string, string>; patterns: Map<number, CanvasPattern | null>; drawn: Drawn; cuts: Line[] }

/** Draws what is in view; tells how much that was. */
export function draw_graph(pen: Pen, scene: Scene, camera: Camera, size: Size, style: Style, marks: Marks): Drawn {
  const colours = palette();
  pen.globalAlpha = 1;
  pen.fillStyle = colours["panel"]!;
  pen.fillRect(0, 0, size.width, size.height);
  const sheet: Sheet = { pen, camera, size, style, marks, colours, patterns: new Map(), drawn: { nodes: 0, edges: 0, left_out: 0 }, cuts: [] };
  draw_level(sheet, scene.top);
  // Writing on lines lies over all boxes.
  for (const line of sheet.cuts) draw_bytes(sheet, line);
  for (const box of [marks.hovered, marks.selected]) if (box !== undefined) ring(sheet, box, box === marks.selected ? colours["text"]! : colours["text-3"]!, 2);
  return sheet.drawn;
}

const is_seen = ({ camera, size }: Sheet, left: number, top: number, right: number, bottom: number): boolean =>
  screen_x(camera, size, right) >= 0 && screen_x(camera, size, left) <= size.width && screen_y(camera, size, bottom) >= 0 && screen_y(camera, size, top) <= size.height;

function draw_level(sheet: Sheet, level: Level): void {
  const boxes = level.boxes.filter((box) => is_seen(sheet, box.x, box.y, box.x + box.width, box.y + box.height));
  for (const box of boxes) if (shows_inside(box, sheet.camera.scale)) draw_frame(sheet, box);
  draw_lines(sheet, level.lines);
  for (const box of boxes) {
    sheet.drawn.nodes += 1;
    if (shows_inside(box, sheet.camera.scale)) draw_level(sheet, box.inside!);
    else draw_box(sheet, box);
    if (sheet.marks.is_found(box)) ring(sheet, box, sheet.colours["warn"]!, 3);
  }
}

const is_critical = ({ edge }: Line): boolean => (edge.n_critical ?? 0) > 0;

/** Lines in strokes: on a device, backwards, and between devices; where the critical path is shown, its lines over pale others. */
function draw_lines(sheet: Sheet, lines: Line[]): void {
  const { pen, colours, camera, marks } = sheet;
  const seen: Line[] = [];
  for (const line of lines) {
    if (!is_seen(sheet, line.left, line.top, line.right, line.bottom)) continue;
    if (sheet.drawn.edges >= MOST_LINES) { sheet.drawn.left_out += 1; continue; }
    sheet.drawn.edges += 1;
    seen.push(line);
  }
  const [own, path] = marks.is_critical ? [seen.filter((line) => !is_critical(line)), seen.filter(is_critical)] : [seen, []];
  const [here, cut] = [(line: Line) => line.edge.cut_bytes === 0, (line: Line) => line.edge.cut_bytes > 0];
  const ways: [Line[], string, number, number[]][] = [
    [own.filter((line) => here(line) && !line.edge.is_back), "text-3", 1, []], [own.filter((line) => here(line) && line.edge.is_back), "text-3", 1, [2, 3]],
    [own.filter(cut), "accent", 2, [7, 3]], [path.filter(here), "bad", 3, []], [path.filter(cut), "bad", 3, [7, 3]],
  ];
  for (const [some, colour, width, dash] of ways) {
    if (some.length === 0) continue;
    pen.globalAlpha = marks.is_critical && colour !== "bad" ? 0.3 : 1;
    pen.strokeStyle = pen.fillStyle = colours[colour]!;
    pen.lineWidth = width;
    pen.setLineDash(camera.scale >= DETAILED / 3 ? dash : []);
    for (let at = 0; at < some.length; at += AT_ONCE) stroke(sheet, some.slice(at, at + AT_ONCE));
    pen.setLineDash([]);
    if (camera.scale >= DETAILED) arrows(sheet, some);
  }
  pen.globalAlpha = 1;
  if (camera.scale >= DETAILED) sheet.cuts.push(...seen.filter(cut));
}

function stroke({ pen, camera, size }: Sheet, lines: Line[]): void {
  pen.beginPath();
  for (const { points } of lines) {
    let [x, y] = [screen_x(camera, size, points[0]!), screen_y(camera, size, points[1]!)];
    for (let at = 2; at < points.length; at += 2) {
      const [to_x, to_y] = [screen_x(camera, size, points[at]!), screen_y(camera, size, points[at + 1]!)];
      segment(pen, size, x, y, to_x, to_y);
      [x, y] = [to_x, to_y];
    }
  }
  pen.stroke();
}

/** The part of a line that is in view (Liang and Barsky 1984): dashes past it take their time, too. */
function segment(pen: Pen, { width, height }: Size, x: number, y: number, to_x: number, to_y: number): void {
  let [from, to] = [0, 1];
  const sides: [number, number][] = [[x - to_x, x + 4], [to_x - x, width + 4 - x], [y - to_y, y + 4], [to_y - y, height + 4 - y]];
  for (const [slope, room] of sides) {
    if (slope === 0) { if (room < 0) return; continue; }
    if (slope < 0) from = Math.max(from, room / slope); else to = Math.min(to, room / slope);
  }
  if (from >= to) return;
  pen.moveTo(x + (to_x - x) * from, y + (to_y - y) * from);
  pen.lineTo(x + (to_x - x) * to, y + (to_y - y) * to);
}

function arrows({ pen, camera, size }: Sheet, lines: Line[]): void {
  pen.beginPath();
  for (const { points } of lines) {
    const [ax, ay, bx, by] = points.slice(-4).map((own, at) => (at % 2 === 0 ? screen_x(camera, size, own) : screen_y(camera, size, own))) as [number, number, number, number];
    const length = Math.hypot(bx - ax, by - ay);
    if (length < 1) continue;
    const [ux, uy] = [((bx - ax) / length) * 7, ((by - ay) / length) * 7];
    pen.moveTo(bx, by);
    pen.lineTo(bx - ux - uy / 2, by - uy + ux / 2);
    pen.lineTo(bx - ux + uy / 2, by - uy - ux / 2);
    pen.lineTo(bx, by);
  }
  pen.fill();
}

/** What goes between devices, in the middle of its line. */
function draw_bytes({ pen, camera, size, colours }: Sheet, { edge, points }: Line): void {
  const middle = Math.floor((points.length / 2 - 1) / 2) * 2;
  const [x, y] = [0, 1].map((way) => (points[middle + way]! + points[middle + 2 + way]!) / 2) as [number, number];
  const text = axis("bytes", edge.cut_bytes);
  pen.font = FONT;
  pen.textAlign = "center";
  const width = pen.measureText(text).width + 6;
  const [sx, sy] = [screen_x(camera, size, x), screen_y(camera, size, y)];
  pen.fillStyle = colours["panel"]!;
  pen.fillRect(sx - width / 2, sy - 8, width, 15);
  pen.fillStyle = colours["accent"]!;
  pen.fillText(text, sx, sy + 4);
}

function ring({ pen, camera, size }: Sheet, box: Box, colour: string, width: number): void {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.strokeRect(screen_x(camera, size, box.x) - 2, screen_y(camera, size, box.y) - 2, box.width * camera.scale + 4, box.height * camera.scale + 4);
}

/** An open group: a frame with its name above. */
function draw_frame(sheet: Sheet, box: Box): void {
  const { pen, camera, size, colours } = sheet;
  const [x, y, width, height] = [screen_x(camera, size, box.x), screen_y(camera, size, box.y), box.width * camera.scale, box.height * camera.scale];
  let depth = 0;
  for (let own = box.within; own !== undefined; own = own.within) depth += 1;
  pen.fillStyle = colours[depth % 2 === 0 ? "sunken" : "panel"]!;
  pen.fillRect(x, y, width, height);
  pen.strokeStyle = colours["line-strong"]!;
  pen.lineWidth = 1;
  pen.strokeRect(x, y, width, height);
  if (28 * camera.scale < 11 || width < 40) return;
  pen.font = BOLD;
  pen.textAlign = "left";
  pen.fillStyle = colours["text"]!;
  // The name stays in view while its group is.
  const left = Math.max(x, 0), base = Math.max(y, 0) + 14;
  pen.fillText(`− ${title(box.node, Math.max(3, Math.floor((Math.min(x + width, size.width) - left) / 8)))}${times(box)}`, left + 6, Math.min(base, y + height - 4));
}

const times = (box: Box): string => (box.node.kind === "repeat" ? ` ×${box.node.n_equal}` : "");

function draw_box(sheet: Sheet, box: Box): void {
  const { pen, camera, size, colours, style, marks } = sheet;
  const [x, y, width, height] = [screen_x(camera, size, box.x), screen_y(camera, size, box.y), box.width * camera.scale, box.height * camera.scale];
  const look = style.look(box.node);
  const is_critical = (box.node.critical_ns ?? 0) > 0;
  pen.globalAlpha = marks.is_critical && !is_critical ? 0.3 : 1;
  paint(sheet, look.fill, x, y, width, height);
  if (width >= 8) {
    if (box.node.kind === "repeat") { pen.strokeStyle = colours["line-strong"]!; pen.lineWidth = 1; pen.strokeRect(x + 3, y - 3, width, height); }
    draw_band(sheet, look, x, y, width, height);
    pen.strokeStyle = colours[marks.is_critical && is_critical ? "bad" : "line-strong"]!;
    pen.lineWidth = marks.is_critical && is_critical ? 3 : 1;
    pen.strokeRect(x, y, width, height);
  }
  if (height >= 13 && width >= 36) write(sheet, box, look, x, y, width, height);
  pen.globalAlpha = 1;
}

function paint({ pen, colours, patterns }: Sheet, fill: Fill, x: number, y: number, width: number, height: number): void {
  pen.fillStyle = colours[fill.colour]!;
  pen.fillRect(x, y, Math.max(width, 0.5), Math.max(height, 0.5));
  if (fill.pattern === 0 || width < 8) return;
  if (!patterns.has(fill.pattern)) patterns.set(fill.pattern, pattern(pen, fill.pattern));
  const lines = patterns.get(fill.pattern);
  if (!lines) return;
  pen.fillStyle = lines;
  pen.fillRect(x, y, width, height);
}

function pattern(pen: Pen, at: number): CanvasPattern | null {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 12;
  const own = tile.getContext("2d")!;
  own.strokeStyle = "rgb(0 0 0 / .3)";
  own.lineWidth = 1.5;
  own.stroke(new Path2D(PATTERNS[at]));
  return pen.createPattern(tile, "repeat");
}

/** Along the lower edge: of what a node is mixed, or how much of the most it has. */
function draw_band(sheet: Sheet, look: Look, x: number, y: number, width: number, height: number): void {
  const band = Math.min(4, height / 8);
  if (look.level !== undefined) {
    sheet.pen.fillStyle = writing_on(sheet.colours[look.fill.colour]!);
    sheet.pen.fillRect(x, y + height - band, width * look.level, band);
    return;
  }
  let from = x;
  for (const [fill, share] of look.mix) {
    paint(sheet, fill, from, y + height - band, width * share, band);
    from += width * share;
  }
}

function write({ pen, colours, marks }: Sheet, box: Box, look: Look, x: number, y: number, width: number, height: number): void {
  const { node } = box;
  const sign = `${is_group(node) ? "+ " : ""}${marks.is_critical && (node.critical_ns ?? 0) > 0 ? "◆ " : ""}`;
  pen.fillStyle = writing_on(colours[look.fill.colour]!);
  pen.textAlign = "left";
  pen.font = BOLD;
  const has_two = height >= 30;
  const most = Math.floor((width - 10) / 7.8) - sign.length - times(box).length;
  if (most >= 2) pen.fillText(`${sign}${title(node, most)}${times(box)}`, x + 5, has_two ? y + height / 2 - 3 : y + height / 2 + 4);
  if (!has_two) return;
  const text = look.label();
  pen.font = FONT;
  pen.fillText(text.length * 6 > width - 10 ? `${text.slice(0, Math.max(1, Math.floor((width - 10) / 6) - 1))}…` : text, x + 5, y + height / 2 + Math.min(12, height / 4 + 2));
}
