import { createEffect, onCleanup } from "solid-js";

/** Draws what `prepare` returned last, before the next frame: once, whatever changed until then. */
export function by_frame(prepare: () => () => void): void {
  let next: (() => void) | undefined;
  let frame = 0;
  createEffect(() => {
    next = prepare();
    if (frame === 0) frame = requestAnimationFrame(() => { frame = 0; next?.(); });
  });
  onCleanup(() => cancelAnimationFrame(frame));
}
