// A plan that was opened without its model: what its file states, and how to have it judged.

import { For, Show, createSignal, type JSX } from "solid-js";
import { ask, open_plan } from "../api";
import type { Field } from "../form";
import { Panel, Trouble } from "../parts";
import { plain } from "../names";
import { asked, go } from "../route";
import "../styles/plan-file.css";
import type { Status } from "../types";
import { Input, stored } from "./new-plan";

const field = (name: string, is_needed: boolean, description: string): Field => ({ name, schema: { description }, widget: "file", is_needed });
const FIELDS = [field("model", true, "The model that was planned."), field("cluster", false, "What it was planned for, unless the model's file says it."), field("profile", false, "Where it was planned with one.")];
const SCALE: Field = { name: "scale", schema: { description: "What of the cluster was changed for the plan: NAME=FACTOR, set apart by commas." }, widget: "text", is_needed: false };

export default function Judge(props: { plan: Status }): JSX.Element {
  const [error, setError] = createSignal<unknown>();
  const [is_sent, setSent] = createSignal(false);
  const own = () => props.plan.opened!;
  const start = async (event: SubmitEvent) => {
    event.preventDefault();
    setSent(true);
    setError(undefined);
    try {
      const on: Record<string, string> = {};
      for (const { name } of FIELDS) if (asked(name) !== "") on[name] = await stored(name, asked(name));
      if (asked("scale") !== "") on["scale"] = asked("scale");
      const bytes = await (await ask(`/v1/plans/${encodeURIComponent(props.plan.id)}/plan`)).blob();
      go(["plans", await open_plan(own().file, bytes, on)]);
    } catch (why) { setError(() => why); }
    setSent(false);
  };
  return (
    <Panel title="Not verified" sub={<>what is shown is what {plain(own().file)} states; its model and its cluster say whether it is so</>}>
      <p>Give them as they were when it was planned (model {plain(own().model)}, cluster {plain(own().cluster)}): the plan is held against every rule, and all views are there.</p>
      <form class="request judge" onSubmit={(event) => void start(event)}>
        <div class="fields"><For each={FIELDS}>{(one) => <Input field={one} />}</For><Input field={SCALE} /></div>
        <Show when={error()}>{(why) => <Trouble of={why()} />}</Show>
        <p class="buttons"><button type="submit" class="main" disabled={is_sent()}>{is_sent() ? "Verifying …" : "Verify and show all"}</button></p>
      </form>
    </Panel>
  );
}
