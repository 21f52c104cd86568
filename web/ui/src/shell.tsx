// The frame around all views: side bar, top bar, keys, notes, the token that the service asks for.

import { For, Show, createEffect, createMemo, createSignal, on, onCleanup, onMount, type JSX } from "solid-js";
import { ask, has_token, needsToken, refusedToken, useToken } from "./api";
import { explained } from "./explained";
import { has_view, type Kind } from "./figures";
import { format, type As } from "./format";
import { IS_ALONE } from "./held";
import { short } from "./names";
import { ask_number, asked_number, copy, note, say } from "./parts";
import { Hatches } from "./pictures/bars";
import { resolve } from "./pointer";
import { asked, go, link, route, set, write } from "./route";
import { toggle_table } from "./table";
import { theme, toggle_theme } from "./theme";

/** Those that a page has which is one file. */
const HELD = ["overview", "timeline", "memory"];

/** Views of a plan: name in the address, title, key after `g`. */
export const OF_PLAN: [string, string, string][] = ([
  ["overview", "Overview", "o"], ["graph", "Graph", "g"], ["timeline", "Timeline", "t"], ["memory", "Memory", "m"], ["search", "Search", "s"],
  ["what-if", "What if", "w"], ["why", "Why", "y"],
] as [string, string, string][]).filter(([name]) => !IS_ALONE || HELD.includes(name));

const KEYS: [string, string][] = [
  ...(IS_ALONE ? [] : [["/", "search"], ["n", "new plan"], ["g then p", "plans"], ["g then c", "compare"], ["g then a", "accuracy"]] as [string, string][]),
  ...OF_PLAN.map(([, title, key]): [string, string] => [`g then ${key}`, `${title.toLowerCase()} of the plan`]),
  ["Shift T", "table of the first picture"], ["Shift D", "light or dark"], ["Shift L", "copy a link to this view"],
  ["?", "keyboard shortcuts"], ["Esc", "close"],
];
const KEYS_OFF = "meshwright.keys-off";

const id_of_plan = (): string => (route().path[0] === "plans" ? route().path[1] ?? "" : "");
const [last_plan, setLastPlan] = createSignal("");

/** Of the plan whose views are listed: its kind, once it is known. */
const [kind, setKind] = createSignal<{ id: string; own: Kind | "none" | undefined }>({ id: "", own: undefined });
export const note_kind = (id: string, own: Kind | "none" | undefined): void => { setKind({ id, own }); };
const views_of_plan = () => OF_PLAN.filter(([name]) => has_view(kind().id === last_plan() ? kind().own : undefined, name));

/** A plan that is no more has no views. */
export const forget_plan = (id: string): void => { if (last_plan() === id) setLastPlan(""); };

export function Shell(props: { children: JSX.Element; version?: string }): JSX.Element {
  let search!: HTMLInputElement;
  let keys!: HTMLDialogElement;
  createEffect(() => { if (id_of_plan() !== "") setLastPlan(id_of_plan()); });
  onMount(() => {
    const press = keyboard(() => search.focus(), () => keys.showModal());
    addEventListener("keydown", press);
    onCleanup(() => removeEventListener("keydown", press));
  });
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById("main")?.focus(); }}>Skip to content</a>
      <SideBar version={props.version ?? ""} />
      <header class="top">
        <Crumbs />
        <Show when={!IS_ALONE}><form role="search" onSubmit={(event) => { event.preventDefault(); go(["plans"], { q: search.value }); }}>
          <input ref={search} type="search" aria-label="Search plans" placeholder="Search plans  /" value={asked("q")}
            onInput={() => { if (route().path[0] === "plans" && id_of_plan() === "") set({ q: search.value }); }} />
        </form></Show>
        <button type="button" class="plain" onClick={copy_link}>Link</button>
        <button type="button" class="plain" aria-label={`Theme: ${theme()}; change`} onClick={toggle_theme}>{theme() === "dark" ? "Dark" : "Light"}</button>
        <button type="button" class="plain" aria-label="Keys" onClick={() => keys.showModal()}>?</button>
      </header>
      <main id="main" tabindex="-1">{props.children}</main>
      <p class="toast" role="status" classList={{ shown: note() !== "" }}>{note()}</p>
      <KeySheet ref={(own) => { keys = own; }} />
      <TokenDialog />
      <Origin />
      <Hatches />
    </>
  );
}

function SideBar(props: { version: string }): JSX.Element {
  const here = () => route().path;
  const current = (is_here: boolean) => (is_here ? "page" as const : undefined);
  const views = () => last_plan();
  return (
    <nav class="side" aria-label="Views">
      <a class="brand" href={IS_ALONE ? "#/plans/plan" : "#/plans"}><Mark /> meshwright</a>
      <Show when={!IS_ALONE}>
      <a href="#/plans" aria-current={current(here()[0] === "plans" && here().length === 1)}>Plans</a>
      <a href="#/new" aria-current={current(here()[0] === "new")}>New plan</a>
      <a href="#/files" aria-current={current(here()[0] === "files")}>Files</a>
      <a href={link(["compare"], views() === "" ? {} : { b: views() })} aria-current={current(here()[0] === "compare")}>Compare</a>
      <a href={link(["accuracy"], views() === "" ? {} : { plan: views() })} aria-current={current(here()[0] === "accuracy")}>Accuracy</a>
      </Show>
      <Show when={views() !== ""}>
        <p class="head">{id_of_plan() === "" ? "Last opened plan" : "This plan"}</p>
        <For each={views_of_plan()}>{([name, title]) => (
          <a href={link(["plans", views(), name])} aria-current={current(id_of_plan() !== "" && (here()[2] ?? "overview") === name)}>{title}</a>
        )}</For>
      </Show>
      <Show when={IS_ALONE} fallback={<p class="foot">All requests go to this service. <Own path={has_token() ? "/openapi.json" : "/docs"}>API routes</Own></p>}>
        <p class="foot">One file, no requests. Made by meshwright {props.version}.</p>
      </Show>
    </nav>
  );
}

function Mark(): JSX.Element {
  return (
    <svg width="16" height="16" viewBox="0 0 16 16" aria-hidden="true">
      <path d="M8 1 14 4.5v7L8 15 2 11.5v-7zM2 4.5l6 3.5 6-3.5M8 8v7" fill="none" stroke="currentColor" stroke-width="1.4" stroke-linejoin="round" />
    </svg>
  );
}

function Crumbs(): JSX.Element {
  const title = () => OF_PLAN.find(([name]) => name === (route().path[2] ?? "overview"))?.[1] ?? "";
  const first = () => ({ plans: "Plans", new: "New plan", files: "Files", compare: "Compare", accuracy: "Accuracy" })[route().path[0]!] ?? "Not found";
  createEffect(() => { document.title = `${id_of_plan() === "" ? first() : IS_ALONE ? title() : `${title()}, ${short(id_of_plan(), 16)}`} · meshwright`; });
  return (
    <nav class="crumbs" aria-label="Breadcrumb">
      <Show when={id_of_plan() !== ""} fallback={<b>{first()}</b>}>
        <Show when={!IS_ALONE}><a href="#/plans">Plans</a> / <code>{short(id_of_plan(), 16)}</code> / </Show><b>{title()}</b>
      </Show>
    </nav>
  );
}

function copy_link(): void {
  write();
  void copy(location.href, "Link");
}

/** Single keys; none while text is typed, nor where they were turned off. */
function keyboard(search: () => void, sheet: () => void): (event: KeyboardEvent) => void {
  let is_after_g = false;
  return (event) => {
    if (event.key === "Escape") { const near = asked_number()?.near; ask_number(undefined); near?.focus(); return; }
    const target = event.target as HTMLElement;
    if (target.matches("input, textarea, select, dialog *") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (localStorage.getItem(KEYS_OFF) === "yes") return;
    const key = event.key;
    const was_after_g = is_after_g;
    is_after_g = key === "g" && !was_after_g;
    if (was_after_g) {
      const view = views_of_plan().find(([, , own]) => own === key);
      if (IS_ALONE && view === undefined) return;
      if (key === "p") go(["plans"]);
      else if (key === "a") go(["accuracy"], last_plan() === "" ? {} : { plan: last_plan() });
      else if (key === "c") go(["compare"], last_plan() === "" ? {} : { b: last_plan() });
      else if (view !== undefined && last_plan() !== "") go(["plans", last_plan(), view[0]]);
      return;
    }
    const act = { ...(IS_ALONE ? {} : { "/": search, n: () => go(["new"]) }), "?": sheet, T: () => toggle_table(), D: toggle_theme,
      L: copy_link }[key] as (() => void) | undefined;
    if (act !== undefined) { event.preventDefault(); act(); }
  };
}

function KeySheet(props: { ref: (own: HTMLDialogElement) => void }): JSX.Element {
  let own!: HTMLDialogElement;
  return (
    <dialog ref={(made) => { own = made; props.ref(made); }} aria-label="Keys">
      <h2>Keyboard shortcuts</h2>
      <dl class="keys"><For each={KEYS}>{([key, what]) => <><dt><kbd>{key}</kbd></dt><dd>{what}</dd></>}</For></dl>
      <label><input type="checkbox" checked={localStorage.getItem(KEYS_OFF) === "yes"}
        onChange={(event) => localStorage.setItem(KEYS_OFF, event.currentTarget.checked ? "yes" : "no")} /> Turn single-key shortcuts off</label>
      <p class="buttons"><button type="button" onClick={() => own.close()}>Close</button></p>
    </dialog>
  );
}

/** A document of the service. A link sends no token, so where there is one the page asks. */
function Own(props: { path: string; children: JSX.Element }): JSX.Element {
  const open = async (event: MouseEvent) => {
    if (!has_token()) return;
    event.preventDefault();
    try {
      const address = URL.createObjectURL(await (await ask(props.path)).blob());
      Object.assign(document.createElement("a"), { href: address, target: "_blank" }).click();
    } catch (error) { say((error as Error).message); }
  };
  return <a href={props.path} onClick={(event) => void open(event)}>{props.children}</a>;
}

function TokenDialog(): JSX.Element {
  let dialog!: HTMLDialogElement;
  let field!: HTMLInputElement;
  createEffect(() => { if (needsToken()) { if (!dialog.open) dialog.showModal(); } else dialog.close(); });
  return (
    <dialog ref={dialog} aria-label="Token" onCancel={(event) => event.preventDefault()} onClose={() => { if (needsToken()) dialog.showModal(); }}>
      <form onSubmit={(event) => { event.preventDefault(); useToken(field.value.trim()); }}>
        <h2>This service needs a token</h2>
        <p>The operator of the service creates one with <code>meshwright token</code>. This tab stores it until it is closed.</p>
        <Show when={refusedToken()}><p role="alert" class="callout bad">Unknown or expired token.</p></Show>
        <label>Token <input ref={field} type="password" required autocomplete="off" /></label>
        <p class="buttons"><button type="submit" class="main">Continue</button></p>
      </form>
    </dialog>
  );
}

const RULES = { sum: "Sum of", difference: "First minus the others", share: "Share of the sum" };
/** Fields that are listed one by one. */
const LISTED = 12;

/** Where a number comes from: the field of the document, and its value there. */
function Origin(): JSX.Element {
  let dialog!: HTMLDialogElement;
  const view = createMemo(() => route().path.join("/"));
  createEffect(on(view, () => ask_number(undefined), { defer: true }));
  createEffect(() => {
    const own = asked_number();
    if (own === undefined) { dialog.close(); return; }
    if (!dialog.open) dialog.show();
    const box = own.near.getBoundingClientRect();
    dialog.style.left = `${Math.max(8, Math.min(box.left, innerWidth - dialog.offsetWidth - 8))}px`;
    const below = box.bottom + 6;
    dialog.style.top = `${below + dialog.offsetHeight > innerHeight ? Math.max(8, box.top - dialog.offsetHeight - 6) : below}px`;
    dialog.querySelector("button")?.focus();
  });
  // What it speaks of is no longer there in another view.
  createEffect(on(() => route().path.join("/"), () => ask_number(undefined), { defer: true }));
  const fields = (): string[] => { const own = asked_number()?.of; return own === undefined ? [] : [...own.at, ...(own.whole ?? []).filter((at) => !own.at.includes(at))]; };
  const close = () => { const near = asked_number()?.near; ask_number(undefined); near?.focus(); };
  return (
    <dialog ref={dialog} class="origin" aria-label="Source of this number">
      <Show when={asked_number()}>{(own) => (
        <>
          <Show when={fields().length > 1}><p>{RULES[own().of.rule]}</p></Show>
          <dl><For each={fields().slice(0, LISTED)}>{(at) => (
            <><dt><code>{short(at, 80)}</code></dt><dd>{shown(resolve(own().of.doc.value, at), own().of.as)}</dd></>
          )}</For></dl>
          <Show when={fields().length > LISTED}><p class="note">and {fields().length - LISTED} more</p></Show>
          <p class="note">in <Show when={!IS_ALONE && own().of.doc.source.startsWith("/")} fallback={<code>{short(own().of.doc.held ?? own().of.doc.source, 60)}</code>}><Own path={own().of.doc.source}><code>{short(own().of.doc.source, 60)}</code></Own></Show></p>
          <Show when={!IS_ALONE && explained(own().of)}>{(address) => <p><a href={address()} onClick={() => ask_number(undefined)}>How it was computed</a></p>}</Show>
          <p class="buttons"><button type="button" onClick={() => void copy(fields().join("\n"), "Pointer")}>Copy</button><button type="button" onClick={close}>Close</button></p>
        </>
      )}</Show>
    </dialog>
  );
}

function shown(value: unknown, as: As): string {
  if (typeof value !== "number") return String(value);
  return as === "share" || as === "count" ? String(value) : `${value} (${format(as, value)})`;
}
