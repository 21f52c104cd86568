// Small parts that all views are made of.

import { For, Show, createSignal, type JSX } from "solid-js";
import { Refused, type Problem } from "./api";
import { format, parts, signed } from "./format";
import { plain, short } from "./names";
import { number, pointer, ref, type Doc, type Ref } from "./pointer";

const [asked, setAsked] = createSignal<{ of: Ref; near: HTMLElement }>();
export { asked as asked_number, setAsked as ask_number };

/** A number, with where it comes from. */
export function Num(props: { of: Ref; figure?: boolean; sign?: boolean }): JSX.Element {
  const value = () => number(props.of);
  const text = () => {
    const own = value()!;
    return props.sign ? signed(props.of.as, own) : format(props.of.as, own);
  };
  return (
    <Show when={value() !== undefined} fallback={<span class="none">none</span>}>
      <button
        type="button" class="num" data-pointer={props.of.at.join("\n")} data-source={props.of.doc.held ?? props.of.doc.source}
        data-as={props.of.as} data-rule={props.of.rule} data-whole={props.of.whole?.join("\n")}
        title="Source of this number"
        onClick={(event) => { event.stopPropagation(); setAsked({ of: props.of, near: event.currentTarget }); }}
      >
        <Show when={props.figure} fallback={text()}>
          {parts(props.of.as, value()!)[0]}<small>{` ${parts(props.of.as, value()!)[1]}`}</small>
        </Show>
      </button>
    </Show>
  );
}

/** A name that others gave. */
export function Name(props: { text: string; most?: number }): JSX.Element {
  return <bdi class="name" title={short(props.text, 600)}>{short(props.text, props.most)}</bdi>;
}

export function Panel(props: {
  title: string; sub?: JSX.Element; actions?: JSX.Element; class?: string; children: JSX.Element;
}): JSX.Element {
  return (
    <section class={`panel ${props.class ?? ""}`} aria-label={props.title}>
      <header>
        <h2>{props.title}</h2>
        <Show when={props.sub}><span class="sub">{props.sub}</span></Show>
        <span class="actions">{props.actions}</span>
      </header>
      {props.children}
    </section>
  );
}

/** Text whose parts between backticks are code. */
export function Words(props: { of: string }): JSX.Element {
  return <For each={plain(props.of).split("`")}>{(part, at) => (at() % 2 === 0 ? part : <code>{part}</code>)}</For>;
}

/** An error, as the command line writes it. */
export function Trouble(props: { of: unknown; again?: () => void }): JSX.Element {
  const own = (): Problem => props.of instanceof Refused ? props.of.problem
    : { status: 0, code: "page-error", title: String(props.of), hints: ["reload the page"], facts: [] };
  return (
    <div class="callout bad" role="alert">
      <p><b>Error</b> <code>{own().code}</code> <Words of={own().title} /></p>
      <Facts of={own().facts} />
      <For each={own().hints}>{(hint) => <p class="hint">Hint: <Words of={hint} /></p>}</For>
      <Show when={props.again}>
        {(again) => <button type="button" onClick={() => again()()}>Try again</button>}
      </Show>
    </div>
  );
}

/** Facts that the fact `usable` has in words. */
const IN_USABLE = ["have", "capacity", "context", "margin"];
const FACT_NAMES: Record<string, string> = { binds: "limited by", resolved_by: "would help", not_resolved_by: "would not help" };

/** Facts of a diagnostic; where it stands in a document, its numbers lead there. */
export function Facts(props: { of: { name: string; value: unknown }[]; doc?: Doc; at?: string[]; but?: string[] }): JSX.Element {
  const drawn = () => [...props.but ?? [], ...(props.of.some((fact) => fact.name === "usable") ? IN_USABLE : [])];
  const shown = () => props.of.map((fact, index) => ({ fact, index })).filter(({ fact }) => !drawn().includes(fact.name));
  const at = (index: number): ((...path: (string | number)[]) => Ref["at"][0]) | undefined =>
    props.doc === undefined ? undefined : (...path) => pointer(...props.at ?? [], index, "value", ...path);
  return (
    <Show when={shown().length > 0}>
      <dl class="facts">
        <For each={shown()}>{({ fact, index }) => (
          <><dt>{plain(FACT_NAMES[fact.name] ?? fact.name).replace(/_(bytes|s)$/, "").replaceAll("_", " ")}</dt><dd><FactValue value={fact.value} real={fact.name.endsWith("_s") ? "seconds" : "real"} doc={props.doc} at={at(index)} /></dd></>
        )}</For>
      </dl>
    </Show>
  );
}

function FactValue(props: { value: unknown; real: Ref["as"]; doc?: Doc; at?: (...path: (string | number)[]) => string }): JSX.Element {
  const figure = (as: Ref["as"], value: number, ...path: (string | number)[]): JSX.Element =>
    props.doc === undefined || props.at === undefined ? format(as, value) : <Num of={ref(props.doc, props.at(...path), as)} />;
  const own = props.value as Partial<Record<"bytes" | "count" | "real", number | null>> & { duration?: { ns: number }; sizes?: { name: string; bytes: number }[]; list?: string[]; text?: string } | null;
  // Members of other problems are plain JSON.
  if (own === null || typeof own !== "object" || Array.isArray(own)) return plain(typeof own === "string" ? own : JSON.stringify(own));
  if (typeof own.bytes === "number") return <>{figure("bytes", own.bytes, "bytes")} ({figure("bytes-exact", own.bytes, "bytes")})</>;
  if (typeof own.count === "number") return figure("count", own.count, "count");
  if (typeof own.real === "number") return figure(props.real, own.real, "real");
  if (own.real === null) return "none";
  if (own.duration !== undefined) return figure("time", own.duration.ns, "duration", "ns");
  if (own.sizes !== undefined) return <For each={own.sizes}>{(one, index) => <>{index() === 0 ? "" : ", "}<Name text={one.name} />: {figure("bytes", one.bytes, "sizes", index(), "bytes")}</>}</For>;
  if (own.list !== undefined) return own.list.map((one) => plain(String(one))).join(", ");
  return plain(own.text ?? JSON.stringify(own));
}

/** Loading: nothing for a moment, then a line. */
export function Loading(props: { what: string }): JSX.Element {
  return <div class="loading" role="status">{props.what} …</div>;
}

export function download(name: string, text: BlobPart, kind = "text/plain"): void {
  const address = URL.createObjectURL(new Blob([text], { type: kind }));
  const anchor = Object.assign(document.createElement("a"), { href: address, download: name });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

const [note, setNote] = createSignal("");
let clears = 0;
export { note };

/** Says that something was done. */
export function say(text: string): void {
  setNote(text);
  clearTimeout(clears);
  clears = setTimeout(() => setNote(""), 4000);
}

export async function copy(text: string, what: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    say(`${what} copied`);
  } catch {
    say("The browser does not allow copying here: select the text");
  }
}

const WORDS: Record<string, [string, string]> = {
  queued: ["○", "Queued"], running: ["◐", "Searching"], done: ["✓", "Done"],
  infeasible: ["✕", "Infeasible"], cancelled: ["■", "Cancelled"], failed: ["!", "Failed"],
};

/** The state of a plan: a sign, a word and a colour. */
export function Chip(props: { state: string }): JSX.Element {
  const words = () => WORDS[props.state] ?? ["?", props.state];
  return <span class={`chip ${props.state}`}><span aria-hidden="true">{words()[0]}</span> {words()[1]}</span>;
}
