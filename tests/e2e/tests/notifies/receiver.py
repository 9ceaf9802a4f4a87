"""Slack, Teams, PagerDuty and a webhook of one's own on one HTTPS port of 127.0.0.1, as strict as their documents: Python's own server, json and hmac.

Arguments: a port, and a folder with `places.json` (paths, keys), `cert.pem`, `key.pem`, and `mode.json` (what is to go wrong, looked at for each request).
`requests` in it gets one object of JSON for each request: what came, what was answered, and why it was refused."""

import base64
import hashlib
import hmac
import http.server
import json
import ssl
import sys
import threading
import time

PORT, FOLDER = int(sys.argv[1]), sys.argv[2]
PLACES = json.load(open(f"{FOLDER}/places.json"))
LOCK = threading.Lock()


class Refused(Exception):
    pass


def need(holds, why):
    if not holds:
        raise Refused(why)


def keys(value, needed, optional=()):
    need(isinstance(value, dict), "no object")
    need(set(needed) <= set(value), f"misses {set(needed) - set(value)}")
    need(set(value) <= set(needed) | set(optional), f"does not know {set(value) - set(needed) - set(optional)}")


def text(value, most):
    need(isinstance(value, str) and 0 < len(value.encode("utf-16-le")) // 2 <= most, f"no text of at most {most}: {value!r}")


def markup(value, most):
    keys(value, ["type", "text"])
    need(value["type"] == "mrkdwn", "no mrkdwn")
    text(value["text"], most)
    bare = value["text"]
    for entity in ("&amp;", "&lt;", "&gt;"):
        bare = bare.replace(entity, "")
    need(not set(bare) & set("&<>"), f"not escaped: {value['text']!r}")


def slack(body, headers):
    need(headers["Content-Type"] == "application/json", "type")
    keys(body, ["text", "blocks"])
    text(body["text"], 3000)
    need(0 < len(body["blocks"]) <= 50, "blocks")
    for block in body["blocks"]:
        kind = block.get("type")
        if kind == "header":
            keys(block, ["type", "text"])
            keys(block["text"], ["type", "text"], ["emoji"])
            need(block["text"]["type"] == "plain_text", "header")
            text(block["text"]["text"], 150)
        elif kind == "section":
            keys(block, ["type", "text"], ["fields"])
            markup(block["text"], 3000)
            need(len(block.get("fields", [1])) in range(1, 11), "fields")
            for field in block.get("fields", []):
                markup(field, 2000)
        elif kind == "context":
            keys(block, ["type", "elements"])
            for element in block["elements"]:
                markup(element, 2000)
        elif kind == "actions":
            keys(block, ["type", "elements"])
            for element in block["elements"]:
                keys(element, ["type", "text", "url"])
                text(element["text"]["text"], 75)
                text(element["url"], 3000)
        else:
            raise Refused(f"block {kind}")
    return 200, b"ok"


def teams(body, headers):
    need(headers["Content-Type"] == "application/json", "type")
    need(int(headers["Content-Length"]) <= 28 * 1024, "too large")
    keys(body, ["type", "attachments"])
    need(body["type"] == "message" and len(body["attachments"]) == 1, "message")
    attachment = body["attachments"][0]
    keys(attachment, ["contentType", "contentUrl", "content"])
    need(attachment["contentType"] == "application/vnd.microsoft.card.adaptive" and attachment["contentUrl"] is None, "attachment")
    card = attachment["content"]
    keys(card, ["$schema", "type", "version", "msteams", "body"], ["actions"])
    need(card["type"] == "AdaptiveCard" and card["version"] == "1.4", "card")
    colours = ["Default", "Dark", "Light", "Accent", "Good", "Warning", "Attention"]
    need(card["body"][0]["color"] in colours, "colour")
    return 202, b""


def alert(body, headers):
    need(headers["Content-Type"] == "application/json", "type")
    if len(body.get("routing_key", "")) != 32 or body["routing_key"] != PLACES["routing_key"]:
        raise Refused("Length of 'routing_key' is incorrect (should be 32 characters)")
    text(body["dedup_key"], 255)
    if body["event_action"] == "resolve":
        keys(body, ["routing_key", "dedup_key", "event_action"])
    else:
        keys(body, ["routing_key", "dedup_key", "event_action", "payload", "client"], ["links", "client_url"])
        need(body["event_action"] == "trigger", "action")
        payload = body["payload"]
        keys(payload, ["summary", "source", "severity", "timestamp", "component", "class", "custom_details"], ["group"])
        text(payload["summary"], 1024)
        need(payload["severity"] in ("critical", "error", "warning", "info"), "severity")
    return 202, json.dumps({"status": "success", "message": "Event processed", "dedup_key": body["dedup_key"]}).encode()


def change(body, headers):
    need(headers["Content-Type"] == "application/json", "type")
    keys(body, ["routing_key", "payload", "links"])
    need(body["routing_key"] == PLACES["routing_key"], "routing_key")
    keys(body["payload"], ["summary", "timestamp", "source", "custom_details"])
    text(body["payload"]["summary"], 1024)
    return 202, b'{"status":"success"}'


def webhook(body, headers, raw):
    need(headers["Content-Type"] == "application/cloudevents+json; charset=utf-8", "type")
    keys(body, ["specversion", "id", "source", "type"], ["subject", "time", "datacontenttype", "data"])
    need(body["specversion"] == "1.0" and body["datacontenttype"] == "application/json", "event")
    identity, sent = headers["webhook-id"], headers["webhook-timestamp"]
    need(identity == body["id"], "id")
    need(abs(time.time() - int(sent)) < 300, "too old")
    signed = f"{identity}.{sent}.".encode() + raw
    fits = 0
    for signature in headers["webhook-signature"].split(" "):
        version, value = signature.split(",", 1)
        need(version == "v1", "version")
        for key in PLACES["signing_keys"]:
            key = base64.b64decode(key[6:]) if key.startswith("whsec_") else key.encode()
            wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
            fits += hmac.compare_digest(wanted, value)
    need(fits == len(headers["webhook-signature"].split(" ")), "signature")
    return 204, b""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_POST(self):
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        place = next((name for name, path in PLACES["paths"].items() if path == self.path), None)
        with LOCK:
            mode = json.load(open(f"{FOLDER}/mode.json")).get(place)
        if mode == "hang":
            self.note(place, raw, "hang", None)
            time.sleep(30)
            self.close_connection = True
            return
        refused, more = None, {}
        if mode in ("429", "500", "404", "410", "400", "302"):
            status, answer = int(mode), {"404": b"no_service", "400": b"invalid_payload"}.get(mode, b"")
            more = {"429": {"Retry-After": "1"}, "302": {"Location": f"https://localhost:{PORT}/elsewhere"}}.get(mode, {})
        else:
            try:
                body = json.loads(raw)
                if place == "webhook":
                    status, answer = webhook(body, self.headers, raw)
                else:
                    known = {"slack": slack, "teams": teams, "alert": alert, "change": change}
                    need(place in known, f"nothing is at {self.path}")
                    status, answer = known[place](body, self.headers)
            except (Refused, KeyError, TypeError, ValueError) as error:
                status, refused = 400, f"{type(error).__name__}: {error}"
                answer = json.dumps({"status": "invalid event", "errors": [str(error)]}).encode()
        self.note(place, raw, status, refused)
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def note(self, place, raw, status, refused):
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        line = {"place": place, "path": self.path, "headers": dict(self.headers), "body": body, "answer": status, "refused": refused}
        with LOCK, open(f"{FOLDER}/requests", "a") as lines:
            lines.write(json.dumps(line) + "\n")

    def log_message(self, *words):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def finish_request(self, request, address):
        # The handshake is the connection's own business.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{FOLDER}/cert.pem", f"{FOLDER}/key.pem")
        try:
            with context.wrap_socket(request, server_side=True) as spoken:
                super().finish_request(spoken, address)
        except (OSError, ssl.SSLError):
            pass

    def handle_error(self, request, address):
        pass


Server(("127.0.0.1", PORT), Handler).serve_forever()
