// Around the picture of a graph: the selected node, the card under the pointer, colours, tables.

import { For, Show, type JSX } from "solid-js";
import { plain, short } from "../names";
import { Name, Num, Panel } from "../parts";
import { PATTERNS, kind_text, type Fill, type Style } from "../pictures/graph-style";
import { is_group, type Box, type Scene, type Size } from "../pictures/graph-scene";
import { pointer, ref, type Doc } from "../pointer";
import type { As } from "../format";
import { link } from "../route";
import type { Cell, Table } from "../table";
import type { GraphNode } from "../views-api";

/** Devices, origins and neighbours that are listed. */
const LISTED = 8;
/** Colours that are listed. */
const COLOURS = 24;

/** A node's figures: member, title, how it is written. */
const FIGURES: [keyof GraphNode, string, As][] = [
  ["n_ops", "Operators", "count"], ["n_equal", "Equal modules", "count"], ["time_ns", "Time, all devices", "time"], ["critical_ns", "On the critical path", "time"],
  ["first_ns", "First start", "time"], ["last_ns", "Last end", "time"], ["parameter_bytes", "Parameters and states", "bytes"], ["output_bytes", "Outputs", "bytes"],
  ["peak_bytes", "Alive at the peak", "bytes"], ["in_bytes", "Bytes in", "bytes"], ["out_bytes", "Bytes out", "bytes"],
];

export function Swatch(props: { of: Fill }): JSX.Element {
  return (
    <svg class="swatch" width="12" height="12" aria-hidden="true">
      <rect class={`fill ${props.of.colour}`} x="0.5" y="0.5" width="11" height="11" rx="2" />
      <Show when={props.of.pattern > 0}><path class="pattern" d={PATTERNS[props.of.pattern]} /></Show>
    </svg>
  );
}

export function Legend(props: { of: Style; mode: string; has_cuts: boolean; is_critical: boolean }): JSX.Element {
  return (
    <ul class="legend">
      <For each={props.of.legend.slice(0, COLOURS)}>{(own) => <li><Swatch of={own.fill} /> {short(own.text, 24)}</li>}</For>
      <Show when={props.of.legend.length > COLOURS}><li>and {props.of.legend.length - COLOURS} more</li></Show>
      <Show when={props.has_cuts}><li><svg class="swatch" width="24" height="12" aria-hidden="true"><line class="cut" x1="0" x2="24" y1="6" y2="6" /></svg> between devices, with bytes</li></Show>
      <Show when={props.is_critical}><li><svg class="swatch" width="24" height="12" aria-hidden="true"><line class="path" x1="0" x2="24" y1="6" y2="6" /></svg> ◆ on the critical path</li></Show>
    </ul>
  );
}

/** What lies under the pointer. */
export function Card(props: { doc: Doc; box: Box; left: number; top: number; size: Size }): JSX.Element {
  const of = (name: string, as: As) => ref(props.doc, props.box.at + pointer(name), as);
  const devices = () => Object.keys(props.box.node.devices);
  const place = (own: HTMLDivElement) => {
    const is_right = props.left + 8 + 260 > props.size.width;
    own.style.left = is_right ? "auto" : `${Math.max(0, props.left + 8)}px`;
    own.style.right = is_right ? "8px" : "auto";
    own.style.top = `${Math.max(0, Math.min(props.size.height - 130, props.top))}px`;
  };
  return (
    <Show when={props.box} keyed>{(box) => (
      <div class="card" ref={(own) => queueMicrotask(() => place(own))} inert>
        <b><Name text={box.node.id === "" ? box.node.name : box.node.id} most={60} /></b>
        <p>{box.node.kind === "op" ? kind_text(box.node) : box.node.kind} · {devices().length === 1 ? short(devices()[0]!, 24) : `${devices().length} devices`}</p>
        <p>time <Num of={of("time_ns", "time")} /><Show when={box.node.critical_ns !== null}>, critical <Num of={of("critical_ns", "time")} /></Show></p>
        <p>at the peak <Num of={of("peak_bytes", "bytes")} />, outputs <Num of={of("output_bytes", "bytes")} /></p>
      </div>
    )}</Show>
  );
}

export function Chosen(props: { id: string; doc: Doc; scene: Scene; box: Box | undefined; choose: (box: Box) => void; toggle: (box: Box) => void }): JSX.Element {
  return (
    <Panel title="Selected node">
      <Show when={props.box} keyed fallback={<p class="empty">Click a node.</p>}>{(box) => <Figures {...props} box={box} />}</Show>
    </Panel>
  );
}

function Figures(props: { id: string; doc: Doc; scene: Scene; box: Box; choose: (box: Box) => void; toggle: (box: Box) => void }): JSX.Element {
  const { node, at } = props.box;
  const of = (name: string, as: As) => ref(props.doc, at + pointer(name), as);
  const window = (): Record<string, string> => (node.first_ns === null || node.last_ns === null || is_group(node) ? {} : { t0: String(node.first_ns), t1: String(Math.max(node.last_ns, node.first_ns + 10)) });
  return (
    <>
      <p class="lead"><Name text={node.id} most={80} /></p>
      <p class="buttons">
        <Show when={is_group(node)} fallback={<><a class="button" href={link(["plans", props.id, "timeline"], { ...window(), op: node.id })}>In the timeline</a>{node.kind === "op" ? <a class="button" href={link(["plans", props.id, "why"], { of: "op", name: node.id })}>Why here</a> : null}</>}>
          <button type="button" onClick={() => props.toggle(props.box)}>{props.box.inside === undefined ? "Open" : "Close"}</button>
        </Show>
        <Show when={node.kind === "op"}><a class="button" href={link(["plans", props.id, "why"], { of: "op", name: node.id })}>Why here</a></Show>
      </p>
      <dl class="pairs">
        <dt>Kind</dt><dd>{node.kind}<Show when={node.kind === "op"}>, {kind_text(node)}</Show></dd>
        <Show when={node.phase}>{(phase) => <><dt>Phase</dt><dd>{plain(phase())}</dd></>}</Show>
        <Show when={props.box.within}>{(own) => <><dt>In</dt><dd><button type="button" class="plain" onClick={() => props.choose(own())}><Name text={own().node.id} most={28} /></button></dd></>}</Show>
        <For each={FIGURES}>{([name, title, as]) => (
          <Show when={node[name] !== null && !(name === "n_equal" && node.n_equal === 1) && !(name === "n_ops" && !is_group(node))}><dt>{title}</dt><dd><Num of={of(name, as)} /></dd></Show>
        )}</For>
        <Times title="On" of={node.devices} doc={props.doc} at={at + pointer("devices")} />
        <Times title="Cost" of={node.origins} doc={props.doc} at={at + pointer("origins")} />
      </dl>
      <Neighbours {...props} />
    </>
  );
}

/** Nanoseconds by name. */
function Times(props: { title: string; of: Record<string, number>; doc: Doc; at: string }): JSX.Element {
  const names = () => Object.keys(props.of);
  return (
    <>
      <For each={names().slice(0, LISTED)}>{(name) => <><dt>{props.title} <Name text={name} most={24} /></dt><dd><Num of={ref(props.doc, props.at + pointer(name), "time")} /></dd></>}</For>
      <Show when={names().length > LISTED}><dt>{props.title}</dt><dd>{names().length - LISTED} more</dd></Show>
    </>
  );
}

/** What comes in and what goes out, the most first. */
function Neighbours(props: { doc: Doc; scene: Scene; box: Box; choose: (box: Box) => void }): JSX.Element {
  const lines = (way: "from" | "to") => props.scene.lines.filter((line) => line[way] === props.box).sort((a, b) => b.edge.bytes - a.edge.bytes);
  return (
    <For each={[["to", "from", "Inputs from"], ["from", "to", "Outputs to"]] as const}>{([own, other, title]) => (
      <Show when={lines(own).length > 0}>
        <h3>{title}</h3>
        <ul class="found">
          <For each={lines(own).slice(0, LISTED)}>{(line) => (
            <li>
              <button type="button" class="pick" onClick={() => props.choose(line[other])}><b><Name text={line[other].node.name} most={28} /></b></button>
              <span><Num of={ref(props.doc, line.at + pointer("bytes"), "bytes")} /><Show when={line.edge.cut_bytes > 0}>, between devices <Num of={ref(props.doc, line.at + pointer("cut_bytes"), "bytes")} /></Show></span>
            </li>
          )}</For>
        </ul>
        <Show when={lines(own).length > LISTED}><p class="note">and {lines(own).length - LISTED} more in the edge table</p></Show>
      </Show>
    )}</For>
  );
}

const devices_text = ({ devices }: GraphNode): string => { const names = Object.keys(devices); return names.length < 3 ? names.join(" ") : `${names.length} devices`; };
const group_of = (box: Box): string => box.within?.node.id ?? "";

/** All nodes that are shown. */
export function nodes_table(doc: Doc, scene: Scene): Table {
  const rows = () => scene.boxes.map((box): Cell[] => {
    const of = (name: keyof GraphNode, as: As): Cell => (box.node[name] === null ? null : ref(doc, box.at + pointer(name), as));
    return [group_of(box), box.node.name, box.node.kind === "op" ? box.node.op_type ?? "op" : box.node.kind, devices_text(box.node),
      of("n_ops", "count"), of("time_ns", "time"), of("critical_ns", "time"), of("peak_bytes", "bytes"), of("parameter_bytes", "bytes"), of("output_bytes", "bytes")];
  });
  return { name: "nodes", columns: ["Group", "Node", "Type", "Devices", "Operators", "Time", "Critical", "At the peak", "Parameters", "Outputs"], get rows() { return rows(); } };
}

/** All edges between them. */
export function edges_table(doc: Doc, scene: Scene): Table {
  const rows = () => scene.lines.map((line): Cell[] => {
    const of = (name: string, as: As): Cell => ref(doc, line.at + pointer(name), as);
    return [group_of(line.from), line.from.node.name, line.to.node.name, line.edge.n_critical == null ? null : of("n_critical", "count"), of("bytes", "bytes"), of("cut_bytes", "bytes"), of("n_tensors", "count")];
  });
  return { name: "edges", columns: ["Group", "From", "To", "Times on the critical path", "Bytes", "Between devices", "Tensors"], get rows() { return rows(); } };
}
