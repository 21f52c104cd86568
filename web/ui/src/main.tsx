import { render } from "solid-js/web";
import { App } from "./app";
import "./styles/app.css";
import { follow_theme } from "./theme";

render(() => {
  follow_theme();
  return <App />;
}, document.getElementById("app")!);
