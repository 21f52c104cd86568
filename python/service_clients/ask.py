"""A plan through the client that openapi-generator writes for Python: URL MODEL CLUSTER."""

import pathlib
import sys

import openapi_client
from openapi_client.api.default_api import DefaultApi


def main(url, model, cluster):
    api = DefaultApi(openapi_client.ApiClient(openapi_client.Configuration(host=url)))
    api.post_models("m.onnx", pathlib.Path(model).read_bytes())
    api.post_clusters("c.yaml", pathlib.Path(cluster).read_bytes())
    request = openapi_client.PlanRequest.from_dict(
        {"model": "m.onnx", "cluster": "c.yaml", "algorithm": "m-etf", "deterministic": True}
    )
    plan = api.post_plans(request, wait=30)
    if plan.state != "done":
        sys.exit(f"{plan.state}: {plan.error}")
    text = api.get_plans_id_artefacts_target(plan.id, "dot")
    print(plan.state, plan.value_ns, len(text))


main(*sys.argv[1:])
