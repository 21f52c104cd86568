// A plan's page that is one file: the same views, on the documents that it holds.

import { Show, type JSX } from "solid-js";
import { render } from "solid-js/web";
import { hold } from "./api";
import { Num } from "./parts";
import { ref, type Doc } from "./pointer";
import { route } from "./route";
import { Shell } from "./shell";
import "./styles/app.css";
import { follow_theme } from "./theme";
import Plan from "./views/plan";

interface Held { version: string; n_slices: number; part_ns: number | null; n_devices: number; n_curves: number }

async function unpacked(text: string): Promise<Record<string, unknown>> {
  const packed = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text()) as Record<string, unknown>;
}

/** What of the plan this file holds, and what it leaves out. */
function Detail(props: { doc: Doc }): JSX.Element {
  const own = () => props.doc.value as Held;
  const at = (name: string, as: "count" | "time") => <Num of={ref(props.doc, `/${name}`, as)} />;
  const view = () => route().path[2];
  return (
    <>
      <Show when={view() === "timeline"}>
        <p class="note held">
          <Show when={own().part_ns !== null} fallback="This plan has too many lanes for a single-file page.">
            <Show when={own().part_ns! > 0} fallback={<>This file has all {at("n_slices", "count")} slices of the step.</>}>
              This file has the {at("n_slices", "count")} slices of the step summed over windows of {at("part_ns", "time")}; lanes with few slices are exact. <code>meshwright view</code> shows each slice.
            </Show>
          </Show> Sums cover the whole step.
        </p>
      </Show>
      <Show when={view() === "memory" && own().n_curves < own().n_devices}>
        <p class="note held">This file has the memory curves of the {at("n_curves", "count")} fullest of {at("n_devices", "count")} devices.</p>
      </Show>
    </>
  );
}

const documents = await unpacked(document.getElementById("documents")!.textContent ?? "");
hold(documents);
render(() => {
  follow_theme();
  return (
    <Shell version={(documents["/held"] as Held).version}>
      <Plan id="plan" />
      <Detail doc={{ source: "/held", value: documents["/held"] }} />
    </Shell>
  );
}, document.getElementById("app")!);
