"""Renders the chart, holds it to Kubernetes' schemas, and asks Hedgerow about its settings.

    try_chart.py HEDGEROW           compares with packaging/kubernetes
    try_chart.py HEDGEROW --write   writes packaging/kubernetes
"""

import pathlib
import subprocess
import sys
import tempfile

import helm_python
import kubernetes_validate
import yaml

HERE = pathlib.Path(__file__).parent
CHART = HERE / "helm" / "hedgerow"
PLAIN = HERE / "kubernetes"
VERSIONS = ["1.30", "1.33", "1.37"]
KEY = {"secret": {"values": {"POSTHOG_API_KEY": "phc_yours"}}}

# The rendered variants, and whether each is a plain manifest as well.
VARIANTS = {
    "disk": (KEY, True),
    "nats": ({**KEY, "spool": {"kind": "nats"}}, True),
    "none": ({"secret": {"existing": "keys"}, "spool": {"kind": "none"}, "admin": False, "preStop": 0}, False),
    "much": (
        {
            **KEY,
            "replicas": 5,
            "imagePullSecrets": [{"name": "registry"}],
            "podDisruptionBudget": {"maxUnavailable": None, "minAvailable": "50%"},
            "env": [{"name": "RUST_LOG", "value": "hedgerow=debug"}],
            "podAnnotations": {"a.example/b": "c"},
            "nodeSelector": {"kubernetes.io/arch": "amd64"},
            "tolerations": [{"key": "edge", "operator": "Exists"}],
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
            ],
            "service": {"type": "LoadBalancer", "annotations": {"a.example/b": "c"}},
            "spool": {"volume": {"size": "10Gi", "storageClassName": "fast"}},
            "config": {"trusted_proxies": ["10.0.0.0/8"], "delivery": {"mode": "group"}, "server": {"threads": 4}},
        },
        False,
    ),
}
# Values that the chart must refuse.
REFUSED = [
    {**KEY, "config": {"listen": "0.0.0.0:1"}},
    {**KEY, "config": {"delivery": {"spool": "off"}}},
    {**KEY, "spool": {"kind": "tape"}},
    {**KEY, "replicas": 0},
    {},
]


def rendered(chart, values):
    """The manifests' text, in the order of their names, and the objects in it."""
    made = chart.render(values=values, name="hedgerow", namespace="default")
    texts = [made] if isinstance(made, str) else [made[name] for name in sorted(made) if name.endswith(".yaml")]
    text = "".join(f"---\n{part.strip()}\n" for part in texts if part.strip())
    text = text.replace("app.kubernetes.io/managed-by: Helm\n", "app.kubernetes.io/managed-by: kubectl\n")
    return text, [part for part in yaml.safe_load_all(text) if part]


def checked(hedgerow, text):
    """What Hedgerow says of settings; nothing if they are right."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        ended = subprocess.run([hedgerow, "check", "--no-secrets", file.name], capture_output=True, text=True)
        return None if ended.returncode == 0 else ended.stdout + ended.stderr


def main(hedgerow, write):
    wrong = []
    with helm_python.Chart.load(CHART) as chart:
        for name, (values, is_plain) in VARIANTS.items():
            text, objects = rendered(chart, values)
            kinds = sorted(part["kind"] for part in objects)
            print(f"{name}: {', '.join(kinds)}")
            for part in objects:
                for version in VERSIONS:
                    try:
                        kubernetes_validate.validate(part, version, strict=True)
                    except kubernetes_validate.ValidationError as error:
                        wrong.append(f"{name}: {part['kind']} for {version}: {error}")
            settings = [part["data"]["hedgerow.yaml"] for part in objects if part["kind"] == "ConfigMap"]
            wrong += [f"{name}: {said}" for said in (checked(hedgerow, text) for text in settings) if said]
            if len(settings) != 1 or "PodDisruptionBudget" not in kinds:
                wrong.append(f"{name}: {kinds}")
            path = PLAIN / f"{name}.yaml"
            if is_plain:
                whole = f"# `packaging/try --write` generates this file from the chart: change the chart instead.\n{text}"
                if write:
                    path.write_text(whole)
                elif not path.exists() or path.read_text() != whole:
                    wrong.append(f"{path} is not what the chart gives: packaging/try --write")
        for values in REFUSED:
            try:
                rendered(chart, values)
                wrong.append(f"the chart takes {values}")
            except helm_python.HelmError:
                pass
    lint = helm_python.lint(CHART, values=KEY)
    wrong += [f"lint: {error}" for error in lint["errors"]]
    if wrong:
        sys.exit("\n".join(wrong))


main(sys.argv[1], "--write" in sys.argv)
