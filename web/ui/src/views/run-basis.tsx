// Cost sources of a training run, and the links of each degree.

import { Show, type JSX } from "solid-js";
import { step_parts } from "../figures";
import { Loaded } from "../load";
import { Panel } from "../parts";
import { ShareBar, type Share } from "../pictures/bars";
import { known, pointer, ref, resolve, type Doc } from "../pointer";
import { link } from "../route";
import { CsvButton, DataTable, TableButtons, Twin, type Cell, type Table } from "../table";

interface Basic { what: string; measured: boolean; parts: string[] }
interface Tier { degree: string; of_a_host: number | null; hosts: number | null; between_hosts: boolean; ways: string[] }

export function RunBasis(props: { doc: Doc; id: string }): JSX.Element {
  return (
    <Loaded path={`/v1/plans/${encodeURIComponent(props.id)}/explain`} what="Loading the cost sources" otherwise={() => <></>}>{(told) => (
      <>
        <Tiers doc={told()} />
        <Basis doc={props.doc} told={told()} id={props.id} />
      </>
    )}</Loaded>
  );
}

const DEGREE: Record<string, string> = { data: "DP", tensor: "TP", pipeline: "PP", context: "CP", expert: "EP" };

function Tiers(props: { doc: Doc }): JSX.Element {
  const table = (): Table => ({
    name: "tiers", columns: ["Degree", "Ranks", "Ranks per host", "Hosts per group", "Slowest links"],
    rows: ((resolve(props.doc.value, "/tiers") ?? []) as Tier[]).map((own, at) => {
      const of = (name: string): Cell => { const found = ref(props.doc, pointer("tiers", at, name), "count"); return known(found) ? found : null; };
      return [DEGREE[own.degree] ?? own.degree, of("ranks"), of("of_a_host"), of("hosts"), `${own.between_hosts ? "between hosts" : "inside a host"}: ${own.ways.join(", ")}`];
    }),
  });
  return (
    <Show when={table().rows.length > 0}>
      <Panel title="Links per degree" sub="of each group of ranks" actions={<CsvButton of={table()} />}><DataTable of={table()} caption="Links per degree" /></Panel>
    </Show>
  );
}

/** The parts of a step by whether all that they rest on was measured. */
function shares(doc: Doc, told: Doc): Share[] {
  const basics = (resolve(told.value, "/trust/rests_on") ?? []) as Basic[];
  const all = step_parts(doc);
  const is_measured = (part: Share) => {
    const own = basics.filter((one) => one.parts.some((name) => part.value.at[0]!.endsWith(`/${name}`)));
    return own.length > 0 && own.every((one) => one.measured);
  };
  const sum = (name: string, kind: string, some: Share[]): Share[] => (some.length === 0 ? [] : [{
    name, kind, value: { ...some[0]!.value, at: some.flatMap((one) => one.value.at) }, share: { ...some[0]!.share, at: some.flatMap((one) => one.share.at) },
  }]);
  return [...sum("Measured", "measured", all.filter(is_measured)), ...sum("Nominal", "missing", all.filter((own) => !is_measured(own)))];
}

function Basis(props: { doc: Doc; told: Doc; id: string }): JSX.Element {
  const basics = () => (resolve(props.told.value, "/trust/rests_on") ?? []) as Basic[];
  const table = (): Table => ({
    name: "basis", columns: ["Part", "Time", "Share"], rows: shares(props.doc, props.told).map((own) => [own.name, own.value, own.share]),
  });
  const measurable = (): Table => ({
    name: "measurable", columns: ["Cost", "Source"], rows: basics().map((own) => [own.what, own.measured ? "✓ measured" : "nominal"]),
  });
  return (
    <Show when={basics().length > 0}>
      <Panel title="Cost sources" sub="share of the step time; hatched: nominal, not measured" actions={<><TableButtons of={table()} /><a href={link(["plans", props.id, "why"])}>Uncertainty</a></>}>
        <ShareBar of={shares(props.doc, props.told)} label="Cost sources" />
        <Twin of={table()} />
        <DataTable of={measurable()} caption="Costs that can be measured" />
      </Panel>
    </Show>
  );
}
