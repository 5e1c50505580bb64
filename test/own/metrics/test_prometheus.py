"""What outrider_prometheus says, by Prometheus' own parsers and promtool; and that documentation, dashboard and alerts name what there is.

ERL_LIBS must find Outrider and Cowboy; the Makefile sees to that.
"""

import json
import re
import socket
import subprocess
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

HERE = Path(__file__).parent
ROOT = HERE.parent.parent.parent
PROMTOOL = ROOT / "_build" / "promtool"
OPENMETRICS = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5"
# What Grafana puts in the place of its variables.
VARIABLES = {"$__rate_interval": "5m", "$listener": ".*", "$sidecar": ".*"}


@pytest.fixture(scope="module")
def port():
    server = subprocess.Popen([HERE / "server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    line = server.stdout.readline()
    assert line.startswith("port "), f"the server said {line!r}"
    port = int(line.split()[1])
    with connect(f"ws://127.0.0.1:{port}/") as client:
        client.send("hello")
        assert client.recv() == "hello"
        # What has never happened has no label to be found by.
        for target, status in [("/none", 404), ("/ ", 400)]:
            with socket.create_connection(("127.0.0.1", port)) as other:
                other.sendall(f"GET {target} HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n".encode())
                assert other.recv(1000).startswith(f"HTTP/1.1 {status} ".encode())
        for _ in range(2):
            with connect(f"ws://127.0.0.1:{port}/") as other:
                other.send("close")
                with pytest.raises(ConnectionClosed):
                    other.recv()
            with connect(f"ws://127.0.0.1:{port}/"):
                pass
        yield port
    server.stdin.close()
    assert server.wait(timeout=30) == 0


def get(port, accept=None):
    request = Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept} if accept else {})
    with urlopen(request) as response:
        return response.headers["content-type"], response.read().decode()


def samples(families):
    return [sample for family in families for sample in family.samples]


@pytest.mark.parametrize("accept", [None, "*/*", "text/plain", "text/plain, application/openmetrics-text;q=0.5", "text/html"])
def test_it_is_text_unless_openmetrics_is_preferred(port, accept):
    content_type, text = get(port, accept)
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert "# EOF" not in text


def test_it_is_openmetrics_for_a_prometheus_that_asks_as_it_does(port):
    content_type, text = get(port, OPENMETRICS)
    assert content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert text.endswith("\n# EOF\n")


def test_both_formats_parse_and_say_the_same(port):
    text = list(text_string_to_metric_families(get(port)[1]))
    open_ = list(openmetrics.text_string_to_metric_families(get(port, OPENMETRICS)[1]))
    assert [(f.name, f.type, f.documentation) for f in text] == [(f.name, f.type, f.documentation) for f in open_]
    keys = [{(s.name, tuple(sorted(s.labels.items()))) for s in samples(families)} for families in (text, open_)]
    # A label that appears with what it counts may have come in between.
    assert keys[0] <= keys[1] and len(keys[0]) > 200
    assert all(family.documentation for family in text)


def test_the_numbers_are_those_of_each_sidecar_by_its_listener(port):
    found = samples(text_string_to_metric_families(get(port)[1]))
    assert {s.labels["listener"] for s in found} == {'a "name" of \\\ntwo lines'}
    assert {s.labels["sidecar"] for s in found} == {"1", "2"}
    said = [s.value for s in found if s.name == "outrider_websocket_messages_total" and s.labels["opcode"] == "text"]
    assert sum(said) == 1 + 1 + 2


def test_the_buckets_of_a_histogram_add_up(port):
    found = [s for s in samples(text_string_to_metric_families(get(port)[1])) if s.labels["sidecar"] == "1"]
    buckets = [(float(s.labels["le"]), s.value) for s in found if s.name == "outrider_loop_turn_seconds_bucket"]
    assert buckets == sorted(buckets) and [v for _, v in buckets] == sorted(v for _, v in buckets)
    assert [s.value for s in found if s.name == "outrider_loop_turn_seconds_count"] == [buckets[-1][1]]
    assert buckets[0][0] == 1e-05 and buckets[-1][0] == float("inf")


def test_promtool_has_nothing_to_say_of_it(port):
    check = subprocess.run([PROMTOOL, "check", "metrics"], input=get(port)[1], capture_output=True, text=True)
    assert (check.returncode, check.stdout, check.stderr) == (0, "", "")


def test_other_methods_are_refused(port):
    for method, status in [("HEAD", 200), ("POST", 405)]:
        answer = subprocess.run(
            ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", method, "-I", f"http://127.0.0.1:{port}/metrics"],
            capture_output=True,
            text=True,
        )
        assert answer.stdout == str(status)


def test_the_documentation_lists_what_the_code_has():
    check = subprocess.run([ROOT / "scripts" / "metrics.escript", "--check"], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout + check.stderr


def dashboard_queries():
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text())
    panels = [panel for row in dashboard["panels"] for panel in [row, *row.get("panels", [])]]
    queries = {(p["title"], t["expr"]) for p in panels for t in p.get("targets", [])}
    return queries | {(v["name"], v["query"]) for v in dashboard["templating"]["list"] if v["type"] == "query"}


def alert_queries():
    text = (ROOT / "docs" / "alerts.yml").read_text()
    names, queries = re.findall(r"- alert: (\w+)", text), re.findall(r"expr: (.+)", text)
    assert len(names) == len(queries) == len(re.findall(r"reason: ", text)) > 0
    return set(zip(names, queries))


@pytest.mark.parametrize("queries", [dashboard_queries, alert_queries])
def test_every_query_names_metrics_and_labels_that_there_are(port, queries):
    labels = {}
    for sample in samples(text_string_to_metric_families(get(port)[1])):
        for label, value in sample.labels.items():
            labels.setdefault(sample.name, {}).setdefault(label, set()).add(value)
    found = queries()
    assert found
    for title, query in found:
        names = re.findall(r"\boutrider_\w+", query)
        assert names, title
        for name, selector in re.findall(r"\b(outrider_\w+)(\{[^}]*\})?", query):
            assert name in labels, f"{title}: {name}"
            for label, operator, value in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', selector):
                assert label in labels[name], f"{title}: {name}{selector}"
                if operator == "=" and label not in ("code", "status"):  # These are there when they have been seen.
                    assert value in labels[name][label], f"{title}: {name}{selector}"


def test_promtool_takes_the_alerts_and_all_queries_of_the_dashboard(tmp_path):
    rules = ["groups:", "- name: dashboard", "  rules:"]
    for number, (_, query) in enumerate(sorted(dashboard_queries())):
        for variable, value in VARIABLES.items():
            query = query.replace(variable, value)
        if not query.startswith("label_values("):
            rules += [f"  - record: query_{number}", f"    expr: {json.dumps(query)}"]
    (tmp_path / "dashboard.yml").write_text("\n".join(rules) + "\n")
    for file in (ROOT / "docs" / "alerts.yml", tmp_path / "dashboard.yml"):
        check = subprocess.run([PROMTOOL, "check", "rules", file], capture_output=True, text=True)
        assert check.returncode == 0, check.stdout + check.stderr
