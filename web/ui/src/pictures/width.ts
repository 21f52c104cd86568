import { createSignal, onCleanup, onMount } from "solid-js";

/** The width of an element in CSS pixels, as it changes. */
export function width_of(element: () => HTMLElement, first = 640): () => number {
  const [width, setWidth] = createSignal(first);
  onMount(() => {
    const watch = new ResizeObserver(([entry]) => setWidth(Math.max(160, Math.floor(entry!.contentRect.width))));
    watch.observe(element());
    onCleanup(() => watch.disconnect());
  });
  return width;
}
