// A plan through the client that openapi-generator writes for TypeScript: URL MODEL CLUSTER.
import { readFileSync } from "node:fs";
import { Configuration, DefaultApi } from "./client/index.js";

const [url, model, cluster] = process.argv.slice(2);
const api = new DefaultApi(new Configuration({ basePath: url }));
await api.postModels({ name: "m.onnx", body: new Blob([readFileSync(model)]) });
await api.postClusters({ name: "c.yaml", body: new Blob([readFileSync(cluster)]) });
const planRequest = { model: "m.onnx", cluster: "c.yaml", algorithm: "m-etf", deterministic: true };
const plan = await api.postPlans({ planRequest, wait: 30 });
const text = await api.getPlansIdArtefactsTarget({ id: plan.id, target: "dot" });
console.log(plan.state, plan.valueNs, text.length);
