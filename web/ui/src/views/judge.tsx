// A plan that was opened without a model: a form that verifies it.

import { For, Show, createSignal, type JSX } from "solid-js";
import { ask, open_plan } from "../api";
import type { Field } from "../form";
import { Panel, Trouble } from "../parts";
import { plain } from "../names";
import { asked, go } from "../route";
import "../styles/plan-file.css";
import type { Status } from "../types";
import { Input, stored } from "./new-plan";

const field = (name: string, is_needed: boolean, description: string): Field => ({ name, schema: {}, widget: "file", is_needed, hint: description });
const FIELDS = [field("model", true, "Model of the plan."), field("cluster", false, "Cluster of the plan, unless the model file states one."), field("profile", false, "Profile of the plan, if there was one.")];
const SCALE: Field = { name: "scale", schema: {}, widget: "text", is_needed: false, hint: "Scaled cluster values, `NAME=FACTOR`, separated by commas." };

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
    <Panel title="Not verified" sub={<>values as {plain(own().file)} states them</>}>
      <p>Give the model ({plain(own().model)}) and the cluster ({plain(own().cluster)}) as they were at planning time: the plan is then checked against every rule, and all views are available.</p>
      <form class="request judge" onSubmit={(event) => void start(event)}>
        <div class="fields"><For each={FIELDS}>{(one) => <Input field={one} />}</For><Input field={SCALE} /></div>
        <Show when={error()}>{(why) => <Trouble of={why()} />}</Show>
        <p class="buttons"><button type="submit" class="main" disabled={is_sent()}>{is_sent() ? "Verifying …" : "Verify and show all"}</button></p>
      </form>
    </Panel>
  );
}
