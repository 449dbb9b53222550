// Checks custom resources against their types: a JSON array of manifests on stdin, one complaint a line on stdout.
import { gatewayNetworkingK8sIo } from "@kubernetes-models/gateway-api";
import { kedaSh } from "@kubernetes-models/keda";
import { monitoringCoreosCom } from "@kubernetes-models/prometheus-operator";

const groups = {
  "gateway.networking.k8s.io": gatewayNetworkingK8sIo,
  "keda.sh": kedaSh,
  "monitoring.coreos.com": monitoringCoreosCom,
};

let text = "";
for await (const chunk of process.stdin) text += chunk;

for (const manifest of JSON.parse(text)) {
  const [group, version] = manifest.apiVersion.split("/");
  const name = `${manifest.kind} ${manifest.metadata.name}`;
  const Model = groups[group]?.[version]?.[manifest.kind];
  if (!Model) {
    console.log(`${name}: no such type`);
    continue;
  }
  try {
    new Model(manifest).validate();
  } catch (error) {
    console.log(`${name}: ${error.message}`);
  }
}
