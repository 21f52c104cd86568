// Which view the address names.

import { ErrorBoundary, Match, Suspense, Switch, type JSX } from "solid-js";
import { later } from "./load";
import { Loading, Trouble } from "./parts";
import { route } from "./route";
import { Shell } from "./shell";
import Plan from "./views/plan";
import Plans from "./views/plans";

const NewPlan = later(() => import("./views/new-plan"));
const Files = later(() => import("./views/files"));
const Accuracy = later(() => import("./views/accuracy"));
const Compare = later(() => import("./views/compare"));

export function App(): JSX.Element {
  const first = () => route().path[0];
  const id = () => route().path[1];
  return (
    <Shell>
      <ErrorBoundary fallback={(error, reset) => <Trouble of={error} again={reset} />}>
        <Suspense fallback={<Loading what="Loading the view" />}>
          <Switch fallback={<><h1>Not found</h1><p>There is no such page. <a href="#/plans">All plans</a></p></>}>
            <Match when={first() === "plans" && id() === undefined}><Plans /></Match>
            <Match when={first() === "plans" && id()} keyed>{(own) => <Plan id={own} />}</Match>
            <Match when={first() === "new"}><NewPlan /></Match>
            <Match when={first() === "files"}><Files /></Match>
            <Match when={first() === "accuracy"}><Accuracy /></Match>
            <Match when={first() === "compare"}><Compare /></Match>
          </Switch>
        </Suspense>
      </ErrorBoundary>
    </Shell>
  );
}
