// A plan through the client that openapi-generator writes for Go: URL MODEL CLUSTER.
package main

import (
	"context"
	"fmt"
	"os"

	client "meshwright/client"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	settings := client.NewConfiguration()
	settings.Servers = client.ServerConfigurations{{URL: os.Args[1]}}
	api, all := client.NewAPIClient(settings).DefaultAPI, context.Background()
	model, err := os.Open(os.Args[2])
	must(err)
	_, _, err = api.PostModels(all).Name("m.onnx").Body(model).Execute()
	must(err)
	cluster, err := os.Open(os.Args[3])
	must(err)
	_, _, err = api.PostClusters(all).Name("c.yaml").Body(cluster).Execute()
	must(err)
	var request client.PlanRequest
	must(request.UnmarshalJSON([]byte(`{"model": "m.onnx", "cluster": "c.yaml",
		"algorithm": "m-etf", "deterministic": true}`)))
	plan, _, err := api.PostPlans(all).PlanRequest(request).Wait(30).Execute()
	must(err)
	text, _, err := api.GetPlansIdArtefactsTarget(all, plan.GetId(), "dot").Execute()
	must(err)
	fmt.Println(plan.GetState(), plan.GetValueNs(), len(text))
}
