// What is shown of a graph, as boxes and lines in one plane; where the view is on it.

import { short } from "../names";
import { pointer } from "../pointer";
import type { GraphEdge, GraphNode, Inside } from "../views-api";

/** Where the inside of an open node stands in it. */
const FRAME: [number, number] = [16, 28];
/** Boxes narrower than this many pixels are drawn as one, whatever is in them. */
export const LEAST = 26;

export interface Box {
  node: GraphNode;
  /** JSON pointer of the node. */
  at: string;
  x: number; y: number; width: number; height: number;
  /** The box that it is in. */
  within: Box | undefined;
  /** What is in it, where it is open. */
  inside: Level | undefined;
}

export interface Line { edge: GraphEdge; at: string; from: Box; to: Box; points: number[]; left: number; top: number; right: number; bottom: number }

/** Boxes and lines of one group. */
export interface Level { boxes: Box[]; lines: Line[] }

export interface Scene { top: Level; boxes: Box[]; lines: Line[]; width: number; height: number }

/** The part of the plane that is in view: its middle, and pixels by unit. */
export interface Camera { x: number; y: number; scale: number }
export interface Size { width: number; height: number }

export const is_group = (node: GraphNode): boolean => node.kind !== "op" && node.kind !== "stage";

/** A node as the address names it: ops and groups may have the same name. */
export const key_of = (node: Pick<GraphNode, "kind" | "id">): string => `${node.kind === "op" || node.kind === "stage" ? "op" : "in"}:${node.id}`;

export function scene_of(own: Inside): Scene {
  const scene: Scene = { top: { boxes: [], lines: [] }, boxes: [], lines: [], width: own.width, height: own.height };
  const level = (inside: Inside, at: string, x: number, y: number, within: Box | undefined): Level => {
    const made: Level = { boxes: [], lines: [] };
    made.boxes = inside.nodes.map((node, index) => ({
      node, at: `${at}${pointer("nodes", index)}`, x: x + node.x, y: y + node.y, width: node.width, height: node.height, within, inside: undefined,
    }));
    made.lines = inside.edges.map((edge, index) => line(edge, `${at}${pointer("edges", index)}`, made.boxes, x, y));
    // The critical path and what goes between devices first, then the heaviest: those are drawn where all are too many.
    made.lines.sort((a, b) => (b.edge.n_critical ?? 0) - (a.edge.n_critical ?? 0) || b.edge.cut_bytes - a.edge.cut_bytes || b.edge.bytes - a.edge.bytes);
    scene.lines.push(...made.lines);
    for (const box of made.boxes) {
      scene.boxes.push(box);
      const { open } = box.node;
      if (open !== null) box.inside = level(open, `${box.at}${pointer("open")}`, box.x + FRAME[0], box.y + FRAME[1], box);
    }
    return made;
  };
  scene.top = level(own, pointer("inside"), 0, 0, undefined);
  return scene;
}

function line(edge: GraphEdge, at: string, boxes: Box[], x: number, y: number): Line {
  const points = edge.points.flatMap(([px, py]) => [x + px, y + py]);
  const [xs, ys] = [edge.points.map(([px]) => x + px), edge.points.map(([, py]) => y + py)];
  return { edge, at, from: boxes[edge.from]!, to: boxes[edge.to]!, points, left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
}

/** All of it, if it can be read so; else its beginning. */
export function fit(scene: Scene, size: Size, least = 0): Camera {
  const room = 24;
  const whole = Math.min((size.width - room) / Math.max(1, scene.width), (size.height - room) / Math.max(1, scene.height));
  const scale = Math.max(Math.min(whole, 1), least);
  const half = size.height / 2 / scale;
  return { x: scene.width / 2, y: scene.height * scale > size.height ? half - room / 2 / scale : scene.height / 2, scale };
}

export const screen_x = (camera: Camera, size: Size, x: number): number => (x - camera.x) * camera.scale + size.width / 2;
export const screen_y = (camera: Camera, size: Size, y: number): number => (y - camera.y) * camera.scale + size.height / 2;
export const plane_x = (camera: Camera, size: Size, x: number): number => (x - size.width / 2) / camera.scale + camera.x;
export const plane_y = (camera: Camera, size: Size, y: number): number => (y - size.height / 2) / camera.scale + camera.y;

/** Whether the inside of a box is drawn. */
export const shows_inside = (box: Box, scale: number): boolean => box.inside !== undefined && box.width * scale >= LEAST && box.height * scale >= LEAST;

/** The innermost box at a point of the plane. */
export function hit(scene: Scene, camera: Camera, x: number, y: number): Box | undefined {
  let found: Box | undefined;
  for (let level: Level | undefined = scene.top; level !== undefined;) {
    const own: Box | undefined = level.boxes.find((box) => x >= box.x && x < box.x + box.width && y >= box.y && y < box.y + box.height);
    if (own === undefined) return found;
    found = own;
    level = shows_inside(own, camera.scale) ? own.inside : undefined;
  }
  return found;
}

/** The nearest box of the same group in a direction: along it first, across it counts thrice. */
export function next_to(scene: Scene, box: Box | undefined, dx: number, dy: number): Box | undefined {
  if (box === undefined) return scene.top.boxes[0];
  const middle = (own: Box): [number, number] => [own.x + own.width / 2, own.y + own.height / 2];
  const [x, y] = middle(box);
  let [best, least]: [Box | undefined, number] = [undefined, Infinity];
  for (const other of box.within?.inside?.boxes ?? scene.top.boxes) {
    const [ox, oy] = middle(other);
    const along = (ox - x) * dx + (oy - y) * dy;
    const across = Math.abs((ox - x) * dy) + Math.abs((oy - y) * dx);
    if (along > 1 && along + 3 * across < least) [best, least] = [other, along + 3 * across];
  }
  return best;
}

const texts = new WeakMap<GraphNode, [number, string]>();

/** A node's name in so many characters. */
export function title(node: GraphNode, most: number): string {
  const known = texts.get(node);
  if (known?.[0] === most) return known[1];
  const text = short(node.name, most);
  texts.set(node, [most, text]);
  return text;
}
