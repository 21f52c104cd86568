// A picture as a file.

import type { JSX } from "solid-js";
import { download } from "../parts";
import type { Pen } from "./graph-draw";
import type { Size } from "./graph-scene";
import { SvgPen } from "./svg";

/** Saves what is in view: what the canvas holds, and the same drawn as SVG. */
export function SaveButtons(props: { name: string; canvas: () => HTMLCanvasElement; size: () => Size; draw: (pen: Pen) => unknown }): JSX.Element {
  const svg = () => {
    const pen = new SvgPen();
    props.draw(pen);
    download(`${props.name}.svg`, pen.written(props.size().width, props.size().height), "image/svg+xml");
  };
  const png = () => props.canvas().toBlob((own) => { if (own !== null) download(`${props.name}.png`, own, "image/png"); });
  return <><button type="button" class="plain" onClick={png}>PNG</button><button type="button" class="plain" onClick={svg}>SVG</button></>;
}
