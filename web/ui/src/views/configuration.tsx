// The configuration of a plan: degrees, batch, types, recompute and schedule.

import { For, Show, type JSX } from "solid-js";
import { kind_of } from "../figures";
import { plain } from "../names";
import { Name, Num, Panel } from "../parts";
import { known, pointer, ref, resolve, type Doc, type Ref } from "../pointer";

/** A line: title, and a number of the document or words. */
export type Line = [string, Ref | string];

interface Blocks { first: number; n: number; recompute: "none" | "selective" | "per-op" | "full" | { uniform: number } | { block: number }; each?: unknown[] }

const layers = (from: number, n: number): string => (n === 1 ? `layer ${from}` : `layers ${from} to ${from + n - 1}`);

/** Recompute of a run in words, of all stages together where they do the same. */
export function recompute(doc: Doc): string | undefined {
  const stages = ((resolve(doc.value, "/plan/partition/stages") ?? []) as { blocks?: Blocks }[]).flatMap((own) => own.blocks ?? []);
  if (stages.length === 0) return undefined;
  if (stages.some((own) => (own.each ?? []).length > 0)) return "per layer, see the plan file";
  const n_all = stages.reduce((sum, own) => sum + own.n, 0);
  const n_block = stages.reduce((sum, own) => sum + (own.recompute === "full" ? own.n : typeof own.recompute === "object" && "block" in own.recompute ? own.recompute.block : 0), 0);
  const words = new Set(stages.map((own) => (typeof own.recompute === "string" ? { none: "none", selective: "selective (attention core)", "per-op": "per operator", full: "full" }[own.recompute] : "uniform" in own.recompute ? `full, groups of ${own.recompute.uniform}` : "block")));
  if ([...words].every((own) => ["none", "full", "block"].includes(own))) return n_block === 0 ? "none" : n_block === n_all ? `full, all ${n_all} layers` : `full, ${n_block} of ${n_all} layers`;
  return words.size === 1 ? [...words][0] : stages.map((own) => `${layers(own.first, own.n)}: ${JSON.stringify(own.recompute).replaceAll(/["{}]/g, "")}`).join("; ");
}

/** Words of the document that the field has better ones for. */
const WORDS: Record<string, string> = { "data-inside": "TP-DP-PP", "pipeline-inside": "TP-PP-DP", true: "yes", false: "no", adamw: "AdamW", sgd: "SGD", adafactor: "Adafactor" };

function lines(doc: Doc): Line[] {
  const at = (...path: string[]) => pointer("plan", "parallelism", ...path);
  const count = (title: string, place: string): Line[] => (known(ref(doc, place, "count")) ? [[title, ref(doc, place, "count")]] : []);
  const text = (title: string, place: string): Line[] => { const own = resolve(doc.value, place); return own == null || typeof own === "object" ? [] : [[title, WORDS[String(own)] ?? String(own)]]; };
  const degrees = [
    ...count("DP (data parallel)", at("data")), ...count("TP (tensor parallel)", at("tensor")), ...count("PP (pipeline parallel)", at("pipeline")),
    ...count("CP (context parallel)", at("context")), ...count("EP (expert parallel)", at("expert")), ...count("ZeRO stage", at("training", "zero")),
  ];
  const batch = [
    ...count("Global batch, samples", "/plan/training/global_batch"), ...(known(ref(doc, "/plan/training/global_batch", "count")) ? [] : count("Batch, samples", "/plan/workload/batch")),
    ...count("Sequence length, tokens", "/plan/training/sequence_length"), ...count("Sequence length, tokens", "/plan/experts/sequence_length"),
    ...count("Micro-batch size", at("training", "micro_batch")), ...count("Micro-batches per replica", at("n_micro_batches")),
  ];
  const again = kind_of(doc) === "run" ? recompute(doc) : undefined;
  return [
    ...degrees, ...batch, ...text("Compute type", "/plan/workload/dtype"), ...text("Optimizer", "/plan/workload/optimizer"), ...(again === undefined ? [] : [["Recompute", again] as Line]),
    ...text("Schedule", "/plan/training/schedule"), ...count("Virtual stages per rank", at("training", "virtual_stages")),
    ...text("Sequence parallel", at("training", "sequence_parallel")), ...text("Expert communication overlap", at("training", "expert_overlap")), ...text("Rank order", at("training", "mesh")), ...text("Software stack", "/plan/training/stack"),
  ];
}

/** Whether there is more to say than degrees of 1. */
export const has_configuration = (doc: Doc): boolean => kind_of(doc) !== "ops" || Object.values((resolve(doc.value, "/plan/parallelism") ?? {}) as Record<string, unknown>).some((degree) => degree !== 1);

export function Configuration(props: { doc: Doc }): JSX.Element {
  return <Panel title="Configuration"><Lines of={lines(props.doc)} /></Panel>;
}

export function Lines(props: { of: Line[] }): JSX.Element {
  return (
    <dl class="pairs"><For each={props.of}>{([title, own]) => (
      <><dt>{title}</dt><dd><Show when={typeof own === "string"} fallback={<Num of={own as Ref} />}><Name text={plain(own as string)} most={48} /></Show></dd></>
    )}</For></dl>
  );
}
