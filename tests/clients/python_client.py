"""The six calls with segment-analytics-python. Arguments: the server's URL, `gzip` or `plain`."""

import sys

from segment.analytics.client import Client

URL, CODING = sys.argv[1:]
FAILED = []

client = Client(
    "wk_real_clients",
    host=URL,
    gzip=CODING == "gzip",
    max_retries=2,
    on_error=lambda error, items: FAILED.append(error),
)

USER = "user-7"
client.identify(USER, {"email": "ada@example.test", "plan": "pro"})
client.track(USER, "Order Completed", {"order_id": "o-1", "total": 24.5, "note": "Grüße ☃"})
client.page(USER, None, "Docs", {"section": "api"})
client.screen(USER, None, "Basket", {"items": 3})
client.group(USER, "acme", {"name": "Acme", "seats": 12})
client.alias("visitor-7", USER)
client.flush()
client.join()
if FAILED:
    sys.exit(f"segment-analytics-python: {FAILED}")
