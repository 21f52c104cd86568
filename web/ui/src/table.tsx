// Tables: the twin of each picture, sortable, and as CSV.

import { For, Show, createMemo, createSignal, onCleanup, onMount, type JSX } from "solid-js";
import { Name, Num, download } from "./parts";
import { UNITS } from "./format";
import { number, type Ref } from "./pointer";
import { asked, set } from "./route";

/** A name, a number with its place, or nothing. */
export type Cell = string | Ref | null;

export interface Table {
  name: string;
  columns: string[];
  /** May be made only when it is asked for. */
  readonly rows: Cell[][];
}

/** Rows that are shown before "Show all" is pressed: a page of 10,000 rows blocks, of hundreds each change of its style. */
const MOST = 60;

const raw = (cell: Cell): string | number =>
  cell === null ? "" : typeof cell === "string" ? cell : number(cell) ?? "";

const is_number = (cell: Cell | undefined): boolean => cell !== null && typeof cell === "object";

const unit = (cell: Cell | undefined): string => (is_number(cell) ? UNITS[(cell as Ref).as] ?? "" : "");

/** Raw values with their units; text that a spreadsheet would compute is quoted. */
export function csv(table: Table): string {
  const field = (value: string | number): string => {
    if (typeof value === "number") return String(value);
    const text = /^[\s\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\r\n]/.test(value) ? `'${value}` : value;
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  // A column of one unit says it in its head, one of several in a column of its own.
  const units = table.columns.map((_, at) => [...new Set(table.rows.map((row) => row[at]).filter(is_number).map(unit))]);
  const mixed = units.flatMap((own, at) => (own.length > 1 ? [at] : []));
  const head = table.columns.map((name, at) => (units[at]!.length === 1 && units[at]![0] !== "" ? `${name} [${units[at]![0]}]` : name));
  const rows = [[...head, ...mixed.map((at) => `${table.columns[at]!}: unit`)], ...table.rows.map((row) => [...row.map(raw), ...mixed.map((at) => unit(row[at]))])];
  return rows.map((row) => row.map(field).join(",")).join("\r\n") + "\r\n";
}

/** Names in a list of the address. */
const listed = (param: string): string[] => asked(param).split(",").filter(Boolean);

/** How a table is sorted, as `NAME.COLUMN` and `-` for downwards: part of the address. */
const order_text = (name: string): string | undefined => listed("sort").find((one) => one.startsWith(`${name}.`))?.slice(name.length + 1);

function order_of(own: string | undefined): [number, boolean] | undefined {
  const at = Number.parseInt(own ?? "", 10);
  return Number.isSafeInteger(at) && at >= 0 ? [at, own!.endsWith("-")] : undefined;
}

function sort_by(name: string, at: number, is_down: boolean): void {
  set({ sort: [...listed("sort").filter((one) => !one.startsWith(`${name}.`)), `${name}.${at}${is_down ? "-" : ""}`].join(",") });
}

/** Whether an element is wider than what is seen of it. */
function is_cut(element: () => HTMLElement): () => boolean {
  const [own, setOwn] = createSignal(false);
  onMount(() => {
    const watch = new ResizeObserver(() => setOwn(element().scrollWidth > element().clientWidth + 1));
    watch.observe(element());
    watch.observe(element().firstElementChild!);
    onCleanup(() => watch.disconnect());
  });
  return own;
}

export function DataTable(props: { of: Table; caption?: string }): JSX.Element {
  let box!: HTMLDivElement;
  const is_wide = is_cut(() => box);
  // What else changes in the address sorts nothing again.
  const text = createMemo(() => order_text(props.of.name));
  const by = () => order_of(text());
  const is_all = createMemo(() => listed("all").includes(props.of.name));
  const rows = createMemo(() => props.of.rows);
  const sorted = createMemo(() => {
    const order = by();
    if (order === undefined) return rows();
    const [at, is_down] = order;
    const compare = (a: string | number, b: string | number) =>
      typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
    const own = [...rows()].sort((a, b) => compare(raw(a[at] ?? null), raw(b[at] ?? null)));
    return is_down ? own.reverse() : own;
  });
  const shown = () => (is_all() ? sorted() : sorted().slice(0, MOST));
  const numeric = (at: number) => rows().some((row) => is_number(row[at]));
  const press = (at: number) => sort_by(props.of.name, at, by()?.[0] === at ? !by()![1] : numeric(at));
  const direction = (at: number) => (by()?.[0] !== at ? "none" : by()![1] ? "descending" : "ascending");
  return (
    <>
      <div ref={box} class="scroll" role="region" tabindex="0" aria-label={`${props.caption ?? props.of.name}, table`}>
        <table>
          <thead>
            <tr>
              <For each={props.of.columns}>{(name, at) => (
                <th scope="col" classList={{ right: numeric(at()) }} aria-sort={direction(at())}>
                  <button type="button" class="sort" onClick={() => press(at())}>
                    {name}<span aria-hidden="true">{{ none: "", ascending: " ▲", descending: " ▼" }[direction(at())]}</span>
                  </button>
                </th>
              )}</For>
            </tr>
          </thead>
          <tbody>
            <For each={shown()}>{(row) => (
              <tr><For each={row}>{(cell) => (
                <td classList={{ right: is_number(cell) }}>
                  {cell === null ? "" : typeof cell === "string" ? <Name text={cell} most={120} /> : <Num of={cell} />}
                </td>
              )}</For></tr>
            )}</For>
          </tbody>
        </table>
        <Show when={shown().length < rows().length}>
          <p class="note">{shown().length} of {rows().length} rows. <button type="button" class="plain" onClick={() => set({ all: [...listed("all"), props.of.name].join(",") })}>Show all</button></p>
        </Show>
      </div>
      <Show when={is_wide()}><p class="note cue">Scroll sideways for more columns →</p></Show>
    </>
  );
}

/** Whether the table of a picture is open: part of the address. */
const is_open = (name: string): boolean => listed("tables").includes(name);

/** Opens or closes tables: one, or the first of the view (Shift T). */
export function toggle_table(name?: string): void {
  const own = name ?? document.querySelector<HTMLElement>("[data-table]")?.dataset["table"];
  if (own === undefined) return;
  const open = listed("tables");
  set({ tables: (open.includes(own) ? open.filter((one) => one !== own) : [...open, own]).join(",") });
}

/** Takes the raw values of a table along. */
export function CsvButton(props: { of: Table }): JSX.Element {
  return (
    <button type="button" class="plain" aria-label={`CSV of ${props.of.name}`}
      onClick={() => download(`${props.of.name}.csv`, csv(props.of), "text/csv")}>CSV</button>
  );
}

/** The buttons of a picture's table. */
export function TableButtons(props: { of: Table }): JSX.Element {
  return (
    <>
      <button type="button" class="plain" data-table={props.of.name} aria-pressed={is_open(props.of.name)}
        onClick={() => toggle_table(props.of.name)}>Table</button>
      <CsvButton of={props.of} />
    </>
  );
}

/** The table of a picture, where it is open. */
export function Twin(props: { of: Table }): JSX.Element {
  return <Show when={is_open(props.of.name)}><DataTable of={props.of} /></Show>;
}
