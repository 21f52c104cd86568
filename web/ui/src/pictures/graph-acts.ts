// What pointer and keys do on a graph.

import { onMount } from "solid-js";
import { fit, hit, is_group, next_to, plane_x, plane_y, type Box, type Camera, type Scene, type Size } from "./graph-scene";

export interface Acts {
  scene: () => Scene;
  size: () => Size;
  camera: () => Camera;
  selected: () => Box | undefined;
  move: (to: Camera) => void;
  choose: (box: Box | undefined) => void;
  toggle: (box: Box) => void;
  hover: (box: Box | undefined) => void;
  /** Brings a box into view. */
  show: (box: Box) => void;
}

export function pointers(element: () => HTMLCanvasElement, acts: Acts): void {
  const under = (event: MouseEvent) => hit(acts.scene(), acts.camera(), plane_x(acts.camera(), acts.size(), event.offsetX), plane_y(acts.camera(), acts.size(), event.offsetY));
  onMount(() => {
    const canvas = element();
    let start: { x: number; y: number; camera: Camera; moved: boolean } | undefined;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const now = acts.camera();
      const scale = Math.max(0.0005, Math.min(4, now.scale * Math.exp(-event.deltaY / 400)));
      const [x, y] = [plane_x(now, acts.size(), event.offsetX), plane_y(now, acts.size(), event.offsetY)];
      acts.move({ scale, x: x + (now.x - x) * (now.scale / scale) + event.deltaX / scale, y: y + (now.y - y) * (now.scale / scale) });
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      start = { x: event.offsetX, y: event.offsetY, camera: acts.camera(), moved: false };
    });
    canvas.addEventListener("pointermove", (event) => {
      if (start === undefined) { acts.hover(under(event)); return; }
      if (!start.moved && Math.hypot(event.offsetX - start.x, event.offsetY - start.y) < 3) return;
      start.moved = true;
      acts.hover(undefined);
      const { camera } = start;
      acts.move({ ...camera, x: camera.x - (event.offsetX - start.x) / camera.scale, y: camera.y - (event.offsetY - start.y) / camera.scale });
    });
    canvas.addEventListener("pointerup", (event) => {
      if (start !== undefined && !start.moved) acts.choose(under(event));
      start = undefined;
    });
    canvas.addEventListener("pointerleave", () => acts.hover(undefined));
    canvas.addEventListener("dblclick", (event) => { const box = under(event); if (box !== undefined) acts.toggle(box); });
  });
}

const ARROWS: Record<string, [number, number]> = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

/** Keys of a graph that has the focus. */
export function camera_keys(event: KeyboardEvent, acts: Acts): void {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const box = acts.selected();
  const go = (to: Box | undefined) => { if (to !== undefined) { acts.choose(to); acts.show(to); } };
  const zoom = (factor: number) => acts.move({ ...acts.camera(), scale: acts.camera().scale * factor });
  const arrow = ARROWS[event.key];
  const act: (() => void) | undefined = arrow !== undefined ? () => go(next_to(acts.scene(), box, ...arrow)) : {
    "+": () => zoom(1.3), "=": () => zoom(1.3), "-": () => zoom(1 / 1.3), "0": () => acts.move(fit(acts.scene(), acts.size())),
    Enter: () => {
      if (box === undefined) go(acts.scene().top.boxes[0]);
      else if (box.inside !== undefined) go(box.inside.boxes[0]);
      else if (is_group(box.node)) acts.toggle(box);
    },
    Escape: () => {
      const own = box?.inside !== undefined ? box : box?.within;
      if (own !== undefined) { acts.show(own); acts.toggle(own); } else acts.choose(undefined);
    },
  }[event.key];
  if (act === undefined) return;
  event.preventDefault();
  act();
}
