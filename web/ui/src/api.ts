// The public routes of the service, and nothing else.

import { createSignal } from "solid-js";
import { nearest } from "./held";
import type { Doc } from "./pointer";

/** What went wrong (RFC 9457), with the diagnostic of the command line. */
export interface Problem {
  status: number;
  code: string;
  title: string;
  hints: string[];
  facts: { name: string; value: unknown }[];
}

export class Refused extends Error {
  constructor(readonly problem: Problem) { super(problem.title); }
}

const KEY = "meshwright.token";
const [token, setToken] = createSignal(sessionStorage.getItem(KEY) ?? "");
const [needsToken, setNeedsToken] = createSignal(false);
/** How often something of a plan was asked for that is not there. */
const [missed, setMissed] = createSignal(0);
export { missed, needsToken };

/** Keeps a token for this tab. */
export function useToken(text: string): void {
  sessionStorage.setItem(KEY, text);
  setToken(text);
  setNeedsToken(false);
}

export const has_token = (): boolean => token() !== "";
const [refusedToken, setRefusedToken] = createSignal(false);
export { refusedToken };

function headers(more: Record<string, string> = {}): Record<string, string> {
  return token() === "" ? more : { ...more, authorization: `Bearer ${token()}` };
}

async function problem(answer: Response): Promise<Problem> {
  const text = await answer.text();
  let own: Partial<Problem> = {};
  try { own = JSON.parse(text) as Partial<Problem>; } catch { /* a proxy's words */ }
  return {
    status: answer.status,
    code: own.code ?? `http-${answer.status}`,
    title: own.title ?? (text.slice(0, 200) || answer.statusText),
    hints: own.hints ?? [],
    facts: Array.isArray(own.facts) ? own.facts : Object.entries(own.facts ?? {}).map(([name, value]) => ({ name, value })),
  };
}

let ahead_ms = 0;

/** The service's clock, to a second. */
export const now_ms = (): number => Date.now() + ahead_ms;

/** What a page that is one file holds: it asks nobody. */
let held: Record<string, unknown> | undefined;
export const hold = (documents: Record<string, unknown>): void => { held = documents; };

export const not_held = (): Refused => new Refused({ status: 404, code: "not-in-this-file", title: "this single-file page does not include that view",
  hints: ["for all views: meshwright view plan.json --model MODEL --cluster CLUSTER"], facts: [] });

/** Any request; throws [`Refused`] where the service, or the way to it, says no. */
export async function ask(path: string, options: RequestInit = {}): Promise<Response> {
  if (held !== undefined) throw not_held();
  let answer: Response;
  try {
    answer = await fetch(path, { ...options, headers: headers(options.headers as Record<string, string>) });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Refused({ status: 0, code: "no-answer", title: "the service does not answer",
      hints: ["check that `meshwright serve` is running; the page reconnects by itself"], facts: [] });
  }
  const date = Date.parse(answer.headers.get("date") ?? "");
  if (!Number.isNaN(date)) ahead_ms = date - Date.now();
  if (answer.ok) return answer;
  const own = await problem(answer);
  if (own.status === 401) { setRefusedToken(has_token()); setNeedsToken(true); }
  if (own.status === 404 && /^\/v1\/plans\/[^/]+\//.test(path)) setMissed((n) => n + 1);
  throw new Refused(own);
}

/** Answers that are on their way: the head of a plan and its view read the same one. */
const on_the_way = new Map<string, Promise<Doc>>();

/** A document, with its address; no longer waited for once `signal` says so. */
export async function read(path: string, signal?: AbortSignal): Promise<Doc> {
  if (!path.endsWith("/answer?brief=true")) return read_alone(path, signal);
  token();
  const running = on_the_way.get(path) ?? read_alone(path).finally(() => on_the_way.delete(path));
  on_the_way.set(path, running);
  return running;
}

async function read_alone(path: string, signal?: AbortSignal): Promise<Doc> {
  // Read first, so that whoever waits for a document asks again with a new token.
  token();
  if (held !== undefined) {
    const own = nearest(Object.keys(held), path);
    if (own === undefined) throw not_held();
    return { source: path, held: own, value: held[own] };
  }
  return { source: path, value: await (await ask(path, signal === undefined ? {} : { signal })).json() as unknown };
}

/** A document that is the answer to a form. */
export async function send(path: string, body: unknown): Promise<Doc> {
  const answer = await ask(path, {
    method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" },
  });
  return { source: path, value: await answer.json() as unknown };
}

/** Uploads a file; tells its name. */
export async function upload(kind: string, name: string, bytes: Blob): Promise<{ name: string; digest: string }> {
  const answer = await ask(`/v1/${kind}?name=${encodeURIComponent(name)}`, { method: "POST", body: bytes });
  return await answer.json() as { name: string; digest: string };
}

/** Brings a plan file, on files that the service has where they are named; tells the plan's id. */
export async function open_plan(name: string, bytes: Blob, on: Record<string, string> = {}): Promise<string> {
  const query = new URLSearchParams({ name, ...on });
  const answer = await ask(`/v1/plans/opened?${query.toString()}`, { method: "POST", body: bytes });
  return (await answer.json() as { id: string }).id;
}

export interface Told {
  id: number;
  event: string;
  data: Record<string, unknown>;
}

/**
 * What happens to a plan, until its end, over any number of connections. `EventSource` can't send
 * a token, so the stream is read here.
 */
export async function follow(
  id: string, signal: AbortSignal, tell: (told: Told) => void, lost: (is_lost: boolean) => void,
): Promise<void> {
  let last = 0;
  for (let wait = 500; !signal.aborted; wait = Math.min(wait * 2, 5000)) {
    try {
      const answer = await ask(`/v1/plans/${encodeURIComponent(id)}/events`,
        { signal, headers: last === 0 ? {} : { "last-event-id": String(last) } });
      lost(false);
      wait = 250;
      for await (const told of events(answer)) {
        last = told.id;
        tell(told);
        if (told.event === "end") return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && error.problem.status >= 400 && error.problem.status < 500) throw error;
      lost(true);
    }
    await new Promise((done) => setTimeout(done, wait));
  }
}

/** The events of a stream (the form of server-sent events that the service writes). */
async function* events(answer: Response): AsyncGenerator<Told> {
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop()!;
    for (const block of blocks) {
      const field = (name: string) => block.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      const event = field("event");
      if (event === undefined) continue;
      yield { id: Number(field("id")), event, data: JSON.parse(field("data") ?? "{}") as Record<string, unknown> };
    }
  }
}
