// Solutions of instances with given costs: time and memory of each device or stage.

import { type JSX } from "solid-js";
import { plain } from "../names";
import { Num, Panel } from "../parts";
import { known, pointer, ref, resolve, type Doc } from "../pointer";
import { CsvButton, DataTable, type Cell, type Table } from "../table";

export function Given(props: { doc: Doc }): JSX.Element {
  const table = (): Table => ({
    name: "devices", columns: ["Device or stage", "Nodes", "Compute", "Transfers", "Total", "Memory", "Limit"],
    rows: ((resolve(props.doc.value, "/devices") ?? []) as { name: string }[]).map((own, at) => {
      const of = (name: string, as: "count" | "time" | "real"): Cell => { const found = ref(props.doc, pointer("devices", at, name), as); return known(found) ? found : null; };
      return [own.name, of("nodes", "count"), of("compute_ns", "time"), of("moving_ns", "time"), of("load_ns", "time"), of("bytes", "count"), of("limit_bytes", "count")];
    }),
  });
  return (
    <Panel title="Devices" sub={<>{plain(String(resolve(props.doc.value, "/objective")))} <Num of={ref(props.doc, "/value_ns", "time")} />; sizes in the unit of the instance</>} actions={<CsvButton of={table()} />}>
      <DataTable of={table()} caption="Devices" />
    </Panel>
  );
}
