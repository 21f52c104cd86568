import { Show, type JSX } from "solid-js";
import { Refused } from "../api";
import { Trouble } from "../parts";

/** Why a view is missing: an older service lacks the route. */
export function No(props: { view: string; error: unknown }): JSX.Element {
  const is_older = () => props.error instanceof Refused && props.error.problem.code === "unknown-route";
  return (
    <Show when={is_older()} fallback={<Trouble of={props.error} />}>
      <p class="empty">This version of the service has no {props.view} view.</p>
    </Show>
  );
}
