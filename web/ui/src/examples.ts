// Files that come with the project, and the fields that usually go with them.

import gpt2 from "../../../examples/models/gpt2_small.onnx?url";
import qwen3 from "../../../examples/models/qwen3-30b-a3b.json?url";
import llama from "../../../examples/models/llama-2-70b.json?url";
import deepseek from "../../../examples/models/deepseek-v3.json?url";
import two from "../../../examples/clusters/two-rtx3090.yaml?url";
import node from "../../../examples/clusters/a100-node.yaml?url";
import pod from "../../../examples/clusters/pod.yaml?url";
import pod1024 from "../../../examples/clusters/pod-1024.yaml?url";

interface Example { address: string; asks: Record<string, string> }

const training = { task: "train", global_batch: "512", sequence_length: "4096" };

export const MODELS: Record<string, Example> = {
  "gpt2_small.onnx": { address: gpt2, asks: { task: "place", cluster: "example:two-rtx3090.yaml", time_limit: "4s" } },
  "qwen3-30b-a3b.json": { address: qwen3, asks: { ...training, cluster: "example:pod.yaml" } },
  "llama-2-70b.json": { address: llama, asks: { ...training, cluster: "example:pod.yaml" } },
  "deepseek-v3.json": { address: deepseek, asks: { ...training, cluster: "example:pod-1024.yaml", global_batch: "2048" } },
};

export const CLUSTERS: Record<string, Example> = {
  "two-rtx3090.yaml": { address: two, asks: {} },
  "a100-node.yaml": { address: node, asks: {} },
  "pod.yaml": { address: pod, asks: {} },
  "pod-1024.yaml": { address: pod1024, asks: {} },
};

export const EXAMPLE = "example:";
