// The model as nested groups: devices, costs, and bytes between devices.

import { For, Show, createEffect, createMemo, createSignal, on, onCleanup, type JSX } from "solid-js";
import { read } from "../api";
import { fetched } from "../load";
import { Loading, Panel } from "../parts";
import { by_frame } from "../pictures/frame";
import { draw_graph, type Drawn, type Marks } from "../pictures/graph-draw";
import { camera_keys, pointers, type Acts } from "../pictures/graph-acts";
import { fit, is_group, key_of, scene_of, screen_x, screen_y, type Box, type Camera, type Scene } from "../pictures/graph-scene";
import { modes_of, style_of, type Style } from "../pictures/graph-style";
import { SaveButtons } from "../pictures/save";
import { width_of } from "../pictures/width";
import type { Doc } from "../pointer";
import { asked, set } from "../route";
import { TableButtons, Twin } from "../table";
import { theme } from "../theme";
import type { Status } from "../types";
import { found, found_path, graph_path, inside, type FoundNode } from "../views-api";
import { Card, Chosen, Legend, edges_table, nodes_table } from "./graph-parts";
import { Find, finder } from "./graph-find";
import { No } from "./no-view";

/** Pixels by unit at which names can be read. */
const READABLE = 0.75;

/** Groups that the address has open; undefined where it says nothing. */
function groups_asked(): string[] | undefined {
  if (asked("open") === "") return undefined;
  try {
    const own = JSON.parse(asked("open")) as unknown;
    return Array.isArray(own) ? own.filter((id): id is string => typeof id === "string") : undefined;
  } catch { return undefined; }
}

export default function Graph(props: { status: Doc }): JSX.Element {
  const id = () => (props.status.value as Status).id;
  // A lone group says nothing: where nothing is asked for, it is opened.
  const [lone, setLone] = createSignal<string[]>([]);
  const open = createMemo(() => groups_asked() ?? lone(), [], { equals: (a, b) => JSON.stringify(a) === JSON.stringify(b) });
  const doc = fetched(() => graph_path(id(), open()), read);
  createEffect(() => {
    const own = doc.latest();
    if (own === undefined || groups_asked() !== undefined || lone().length >= 8) return;
    const closed = scene_of(inside(own)).boxes.filter((box) => is_group(box.node) && box.inside === undefined);
    const [one] = closed;
    if (closed.length === 1 && one!.node.kind === "group" && !lone().includes(one!.node.id)) setLone([...lone(), one!.node.id]);
  });
  return (
    <Show when={doc.error() === undefined} fallback={<No view="graph" error={doc.error()} />}>
      <Show when={doc.latest()} fallback={<Loading what="Loading the graph" />}>
        {(own) => <Picture id={id()} doc={own()} open={open()} is_late={doc.is_loading()} />}
      </Show>
    </Show>
  );
}

function Picture(props: { id: string; doc: Doc; open: string[]; is_late: boolean }): JSX.Element {
  let box!: HTMLDivElement;
  let canvas!: HTMLCanvasElement;
  const width = width_of(() => box);
  const size = createMemo(() => ({ width: width(), height: Math.max(420, Math.min(860, innerHeight - 330)) }));
  const scene = createMemo(() => scene_of(inside(props.doc)));
  // What is in the address and hasn't changed makes nothing again.
  const mode = createMemo(() => modes_of(scene()).find(([name]) => name === asked("colour"))?.[0] ?? modes_of(scene())[0]![0]);
  const is_critical = createMemo(() => asked("critical") === "yes");
  const style = createMemo(() => style_of(mode(), scene()));
  const selected = createMemo(() => scene().boxes.find((own) => key_of(own.node) === asked("at")));
  const [hovered, setHovered] = createSignal<Box>();
  const view = camera_of(scene, size, selected);
  const find = finder(() => props.id);
  const marks = createMemo((): Marks => ({ selected: selected(), hovered: hovered(), is_critical: is_critical(), is_found: find.is_found() }));
  createEffect(on(scene, () => setHovered(undefined), { defer: true }));
  const [drawn, setDrawn] = createSignal<Drawn>({ nodes: 0, edges: 0, left_out: 0 });
  by_frame(() => {
    theme();
    const [own, at, room, how, told] = [scene(), view.camera(), size(), style(), marks()];
    return () => setDrawn(paint(canvas, own, at, room, how, told));
  });
  const choose = (own: Box | undefined, more: Record<string, string> = {}) => set({ at: own === undefined ? "" : key_of(own.node), ...more });
  const toggle = (own: Box) => {
    if (!is_group(own.node)) return;
    view.hold(own);
    setHovered(undefined);
    const left = props.open.filter((name) => name !== own.node.id);
    choose(own, { open: JSON.stringify(own.inside === undefined ? [...left, own.node.id] : left) });
  };
  let sought = "";
  const reveal = (node: FoundNode) => {
    const own = scene().boxes.find((one) => key_of(one.node) === key_of(node));
    if (own !== undefined) { choose(own); view.show(own); return; }
    view.seek();
    sought = key_of(node);
    set({ at: sought, open: JSON.stringify([...new Set([...props.open, ...node.within])]) });
  };
  const at = createMemo(() => asked("at"));
  // A box of the layout before is nowhere.
  createEffect(on(scene, () => setHovered(undefined), { defer: true }));
  createEffect(on(at, (own) => { if (own !== sought) void seek(props.id, own, scene(), reveal); }));
  const acts: Acts = { scene, size, camera: view.camera, move: view.move, choose, toggle, hover: setHovered, selected, show: view.show };
  pointers(() => canvas, acts);
  const nodes = () => nodes_table(props.doc, scene());
  const edges = () => edges_table(props.doc, scene());
  return (
    <div class="columns">
      <Panel title="Graph" sub="modules and operators in data-flow order"
        actions={<><span class="note">Nodes</span><TableButtons of={nodes()} /><span class="note">Edges</span><TableButtons of={edges()} /><SaveButtons name="graph" canvas={() => canvas} size={size} draw={(pen) => draw_graph(pen, scene(), view.camera(), size(), style(), marks())} /></>}>
        <Bar scene={scene()} mode={mode()} zoom={(factor) => view.move({ ...view.camera(), scale: view.camera().scale * factor })} whole={() => view.move(fit(scene(), size()))} close={() => { set({ open: "[]", at: "" }); view.reset(); }} />
        <div ref={box} class="picture graph">
          <canvas ref={canvas} tabindex="0" role="application" aria-label="Graph of the model; same data in the tables" aria-describedby="graph-told"
            onKeyDown={(event) => camera_keys(event, acts)} />
          <Show when={hovered()}>{(own) => <Card doc={props.doc} box={own()} left={screen_x(view.camera(), size(), own().x + own().width)} top={screen_y(view.camera(), size(), own().y)} size={size()} />}</Show>
        </div>
        <Legend of={style()} mode={mode()} has_cuts={scene().lines.some((line) => line.edge.cut_bytes > 0)} is_critical={is_critical()} />
        <p class="note" role="status" id="graph-told">
          {drawn().nodes} nodes and {drawn().edges} edges drawn<Show when={drawn().left_out > 0}>; {drawn().left_out} light edges are not drawn</Show>
          <Show when={props.is_late}> · opening …</Show>
        </p>
        <p class="note">Double-click or <kbd>Enter</kbd> opens a group, <kbd>Esc</kbd> closes it; arrow keys move between nodes; drag pans; wheel or <kbd>+</kbd> <kbd>−</kbd> zooms; <kbd>0</kbd> shows all.</p>
        <Twin of={nodes()} />
        <Twin of={edges()} />
      </Panel>
      <div>
        <Find of={find} reveal={reveal} />
        <Chosen id={props.id} doc={props.doc} scene={scene()} box={selected()} choose={(own) => { choose(own); view.show(own); }} toggle={toggle} />
      </div>
    </div>
  );
}

/** Shows what the address names where its groups are closed. */
async function seek(id: string, at: string, scene: Scene, reveal: (node: FoundNode) => void): Promise<void> {
  if (at === "" || scene.boxes.some((own) => key_of(own.node) === at)) return;
  try {
    const doc = await read(found_path(id, at.slice(3), 20));
    const node = found(doc).found.find((own) => key_of(own) === at);
    if (node !== undefined) reveal(node);
  } catch { /* a name that is not in the graph */ }
}

/** Where the view is. The upper edge of what is opened stays where it was; the address follows once it rests. */
function camera_of(scene: () => Scene, size: () => { width: number; height: number }, selected: () => Box | undefined) {
  const [moved, setMoved] = createSignal<Camera>();
  let held: { key: string; x: number; y: number; scale: number } | undefined;
  let is_sought = asked("v") === "" && asked("at") !== "";
  const from_address = (): Camera | undefined => {
    const [scale, x, y] = asked("v").split(",").map(Number);
    return asked("v") !== "" && [scale, x, y].every(Number.isFinite) && scale! > 0 ? { scale: scale!, x: x!, y: y! } : undefined;
  };
  const camera = createMemo(() => moved() ?? from_address() ?? fit(scene(), size(), READABLE));
  let timer = 0;
  const move = (own: Camera) => {
    const scale = Math.max(0.0005, Math.min(4, own.scale));
    setMoved({ ...own, scale });
    clearTimeout(timer);
    timer = window.setTimeout(() => set({ v: [scale.toPrecision(4), own.x.toFixed(0), own.y.toFixed(0)].join(",") }), 400);
  };
  onCleanup(() => clearTimeout(timer));
  const center = (box: Box) => move({ x: box.x + box.width / 2, y: box.y + Math.min(box.height / 2, size().height / 2 / camera().scale), scale: Math.max(camera().scale, READABLE) });
  const show = (box: Box) => {
    const [x, y] = [screen_x(camera(), size(), box.x), screen_y(camera(), size(), box.y)];
    const is_in = x >= 0 && y >= 0 && x + box.width * camera().scale <= size().width && y + Math.min(box.height * camera().scale, 60) <= size().height;
    if (!is_in || camera().scale < READABLE / 2) center(box);
  };
  createEffect(on(scene, (own) => {
    const box = held && own.boxes.find((one) => key_of(one.node) === held!.key);
    if (box && held) {
      const { x, y, scale } = held;
      move({ scale, x: box.x + box.width / 2 - (x - size().width / 2) / scale, y: box.y - (y - size().height / 2) / scale });
    } else if (is_sought && selected() !== undefined) { is_sought = false; center(selected()!); }
    held = undefined;
  }));
  const hold = (box: Box) => { held = { key: key_of(box.node), x: screen_x(camera(), size(), box.x + box.width / 2), y: screen_y(camera(), size(), box.y), scale: camera().scale }; };
  createEffect(on(selected, (box) => { if (is_sought && box !== undefined) { is_sought = false; center(box); } }, { defer: true }));
  return { camera, move, show, hold, seek: () => { is_sought = true; }, reset: () => { clearTimeout(timer); setMoved(undefined); set({ v: "" }); } };
}

function paint(canvas: HTMLCanvasElement, scene: Scene, camera: Camera, size: { width: number; height: number }, style: Style, marks: Marks): Drawn {
  const scale = devicePixelRatio;
  const [width, height] = [Math.round(size.width * scale), Math.round(size.height * scale)];
  if (canvas.width !== width || canvas.height !== height) {
    [canvas.width, canvas.height] = [width, height];
    canvas.style.width = `${size.width}px`;
    canvas.style.height = `${size.height}px`;
  }
  const pen = canvas.getContext("2d")!;
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  const drawn = draw_graph(pen, scene, camera, size, style, marks);
  canvas.dataset["drawn"] = String(Number(canvas.dataset["drawn"] ?? 0) + 1);
  return drawn;
}

function Bar(props: { scene: Scene; mode: string; zoom: (factor: number) => void; whole: () => void; close: () => void }): JSX.Element {
  const has_path = () => props.scene.boxes.some((box) => box.node.critical_ns !== null);
  return (
    <p class="bar">
      <label class="inline">Colour <select onChange={(event) => set({ colour: event.currentTarget.value })}>
        <For each={modes_of(props.scene)}>{([name, title]) => <option value={name} selected={name === props.mode}>{title}</option>}</For>
      </select></label>
      <button type="button" class="plain" disabled={!has_path()} aria-pressed={asked("critical") === "yes"} title={has_path() ? "Highlights the critical path" : "Not available for training runs"}
        onClick={() => set({ critical: asked("critical") === "yes" ? "" : "yes" })}>Critical path</button>
      <button type="button" class="plain" onClick={() => props.zoom(1.5)}>Zoom in</button><button type="button" class="plain" onClick={() => props.zoom(1 / 1.5)}>Zoom out</button>
      <button type="button" class="plain" onClick={() => props.whole()}>Show all</button>
      <button type="button" class="plain" onClick={() => props.close()}>Close all</button>
    </p>
  );
}
