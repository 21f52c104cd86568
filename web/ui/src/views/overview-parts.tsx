// What overviews of all kinds of plans are made of: figures, pairs of a title and a value, warnings.

import { For, Show, type JSX } from "solid-js";
import { is_run } from "../figures";
import { digest } from "../names";
import { Name, Num, Panel, Words } from "../parts";
import { known, ref, resolve, type Doc, type Ref } from "../pointer";
import type { Diagnostic } from "../types";

export interface Figure { name: string; of: Ref; note?: JSX.Element }

export function FigureList(props: { of: Figure[] }): JSX.Element {
  return (
    <section class="figures" aria-label="Figures">
      <dl>
        <For each={props.of.filter((own) => known(own.of))}>{(own) => (
          <div><dt>{own.name}</dt><dd class="big"><Num figure of={own.of} /></dd><dd class="note">{own.note}</dd></div>
        )}</For>
      </dl>
    </section>
  );
}

export function Warnings(props: { doc: Doc }): JSX.Element {
  const all = () => (resolve(props.doc.value, "/warnings") ?? []) as Diagnostic[];
  const is_nominal = () => is_run(props.doc) && resolve(props.doc.value, "/plan/cost/interval/origin") === "nominal";
  return (
    <Panel title="Warnings" sub={String(all().length + (is_nominal() ? 1 : 0))}>
      <Show when={all().length > 0 || is_nominal()} fallback={<p class="empty">None.</p>}>
        <Show when={is_nominal()}>
          <div class="callout warn"><p><span aria-hidden="true">▲</span> Costs are nominal (data sheets): no profile of these devices.</p></div>
        </Show>
        <For each={all()}>{(own) => (
          <div class="callout warn">
            <p><span aria-hidden="true">▲</span> <Words of={own.message} /></p>
            <For each={own.hints}>{(hint) => <p class="hint">Hint: <Words of={hint} /></p>}</For>
          </div>
        )}</For>
      </Show>
    </Panel>
  );
}

/** Pairs of a title and a number or a word of the document. */
export function Pairs(props: { doc: Doc; of: [string, string, Ref["as"] | "text" | "digest"][] }): JSX.Element {
  const shown = () => props.of.filter(([, at]) => resolve(props.doc.value, at) != null);
  return (
    <dl class="pairs">
      <For each={shown()}>{([title, at, as]) => (
        <><dt>{title}</dt><dd>{as === "digest" ? <code>{digest(String(resolve(props.doc.value, at)))}</code> : as === "text" ? <Name text={String(resolve(props.doc.value, at))} most={32} /> : <Num of={ref(props.doc, at, as)} />}</dd></>
      )}</For>
    </dl>
  );
}
