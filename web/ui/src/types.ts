// What of the service's documents the views read by name. Numbers are read by pointer instead.

import type { Problem } from "./api";
import { task_of_request, type Task } from "./fields";

export type State = "queued" | "running" | "done" | "infeasible" | "cancelled" | "failed";

/** A typed value of a diagnostic (documents/src/diagnostic.rs). */
export type Value =
  | { text: string } | { count: number } | { real: number | null } | { bytes: number } | { duration: { ns: number; s: number } } | { list: string[] }
  | { sizes: { name: string; bytes: number }[] };

export interface Fact { name: string; value: Value }

export interface Diagnostic {
  code: string;
  severity: string;
  exit_code?: number;
  message: string;
  facts?: Fact[];
  hints: string[];
}

/** Errors of plans whose process ended without an answer may have none. */
export const facts_of = (own: Diagnostic): Fact[] => own.facts ?? [];

/** A fact that is a list of names. */
export const names_of = (own: Diagnostic, fact: string): string[] | undefined => {
  const value = facts_of(own).find((one) => one.name === fact)?.value;
  return value !== undefined && "list" in value ? value.list : undefined;
};

/** Two plans beside each other: of runs `a` and `b`, or `now` and `plan` where A is settings. */
export interface ComparedRuns { equal: boolean; changes: ({ field: string } & Record<string, unknown>)[]; launcher?: string; warnings: Diagnostic[] }
export interface ComparedOps { equal: boolean; step_time: { name: string; a_ns: number; b_ns: number }[]; moved: { op: string; from: string; to: string }[]; warnings: Diagnostic[] }
/** Of instances with given costs `moved` counts nodes; null where stages differ. */
export interface ComparedGiven { equal: boolean; objective: string; a: unknown; b: unknown; moved: number | null }

export interface Status {
  id: string;
  state: State;
  phase: string;
  queue_position: number | null;
  objective: string | null;
  value_ns: number | null;
  bound_ns: number | null;
  gap: number | null;
  peak_bytes: number | null;
  algorithm: string | null;
  elapsed_s: number | null;
  error: Diagnostic | null;
  created_ms: number;
  started_ms: number | null;
  finished_ms: number | null;
  request: Record<string, unknown>;
  /** Of one that was brought as a file. */
  opened: { file: string; model: string; cluster: string; is_judged: boolean } | null;
  files: Record<string, string>;
  artefacts: string[];
}

export interface Page { plans: Status[]; next: string | null }

/** Those that have a plan: also searches that were ended with their best. */
export const with_plan = (page: Page | undefined): Status[] => (page?.plans ?? []).filter((own) => own.artefacts.includes("plan") && !is_live(own.state));

/** The task of a plan, from its request and the algorithm of its plan. */
export function task_of(plan: Status): Task {
  if (plan.opened !== null) return task_of_request({ cluster: plan.opened.cluster }, plan.algorithm);
  return task_of_request(plan.request, plan.algorithm);
}

const TITLES: Record<Task, string> = { train: "Training run", place: "Placement", infer: "Inference", solve: "Instance with given costs" };

/** A task in words, with the phase of a request. */
export function purpose(task: Task, plan: Status): string {
  if (plan.algorithm?.startsWith("serving-fleet") === true) return "Fleet of serving workers";
  const phase = plan.request["phase"];
  return task === "infer" && typeof phase === "string" ? `${TITLES[task]}, ${phase}` : task === "place" && plan.request["workload"] === "training" ? `${TITLES[task]} of a training graph` : TITLES[task];
}

/** Instances with given costs bring their devices with them. */
export const has_cluster = (plan: Status): boolean => plan.opened != null || plan.request["cluster"] != null;

/** A file that was uploaded. */
export interface Stored { name: string; digest: string; bytes: number; created_ms: number }

export const is_live = (state: State): boolean => state === "queued" || state === "running";

export const of_diagnostic = (own: Diagnostic): Problem => ({
  status: 0, code: own.code, title: own.message, hints: own.hints, facts: facts_of(own),
});

/** The cluster that a plan is for, and what of it was changed for the plan. */
export function cluster_name(plan: Status): string {
  const { cluster, scale } = plan.request;
  const scaled = Array.isArray(scale) ? scale.map(String) : [];
  return `${file_name(cluster)}${scaled.length === 0 ? "" : `, changed: ${scaled.join(", ")}`}`;
}

/** How the model or the cluster of a plan is called. */
export const subject = (plan: Status, of: "model" | "cluster"): string => plan.opened?.[of] ?? (of === "model" ? file_name(plan.request["model"]) : cluster_name(plan));

/** What a request says of a file: its name, or that it was written into the request. */
export function file_name(value: unknown): string {
  if (typeof value === "string") return value.split("/").at(-1)!.replace(/^sha256:(.{12}).*/, "$1…");
  return value === null || value === undefined ? "none" : "given in the request";
}
