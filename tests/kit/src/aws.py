"""IAM and STS as moto has them, behind TLS, with every signature checked; beside them a way in for the tests, by lines of JSON.

aws.py CERTIFICATE KEY AUTHORITY: prints its port, then answers each line of its input, and ends with it.
"""

import io
import json
import os
import re
import socket
import sys
import threading
from urllib.parse import parse_qs

os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "0"

import boto3  # noqa: E402
from botocore.config import Config  # noqa: E402
from botocore.exceptions import ClientError  # noqa: E402
from moto.iam.models import iam_backends  # noqa: E402
from moto.moto_server.werkzeug_app import (  # noqa: E402
    DomainDispatcherApplication,
    create_backend_app,
)
from werkzeug.serving import WSGIRequestHandler, make_server  # noqa: E402

ACCOUNT = "123456789012"
CERTIFICATE, KEY, AUTHORITY = sys.argv[1:4]
backend = iam_backends[ACCOUNT]["aws"]
lock = threading.Lock()
# moto walks through its own books while others may write in them.
books = threading.Lock()
log = []
faults = []


def owner(form, header):
    """The user that a request is about, or else whose key has signed it."""
    if "UserName" in form:
        return form["UserName"][0]
    key = re.search("Credential=([A-Z0-9]+)", header)
    users = list(backend.users.values())
    return next((user.name for user in users for own in user.access_keys if key and own.access_key_id == key[1]), "?")


def faulty(app):
    """Does to the next request about a user what was ordered for it."""

    def answer(environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        form, header = parse_qs(body.decode()), environ.get("HTTP_AUTHORIZATION", "")
        with books:
            asked = [owner(form, header), form.get("Action", ["?"])[0]]
        with lock:
            log.append(asked)
            due = next((fault for fault in faults if fault[:2] == asked), None)
            if due:
                faults.remove(due)
        kind = due and due[2]
        if kind == "unknown-key":
            environ["HTTP_AUTHORIZATION"] = re.sub("Credential=[A-Z0-9]+", "Credential=AKIANOBODYKNOWSTHIS0", header)
        if kind == "busy":
            start_response("503 Service Unavailable", [("Content-Length", "0")])
            return [b""]
        held = []
        with books:
            said = b"".join(app(environ, lambda *head: held.append(head)))
        if kind == "lost":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return [b""]
        # What moto says to a login that it refuses has one element more than AWS documents.
        said = said.replace(b"<Errors>", b"").replace(b"</Errors>", b"")
        status, headers = held[0][:2]
        headers = [pair for pair in headers if pair[0].lower() != "content-length"]
        start_response(status, [*headers, ("Content-Length", str(len(said)))])
        return [said]

    return answer


def listed(user):
    return [[key.access_key_id, key.status] for key in backend.list_access_keys(user)]


def made(user):
    key = backend.create_access_key(user)
    return {"id": key.access_key_id, "secret": key.secret_access_key}


def user(name, policy):
    backend.create_user("us-east-1", user_name=name)
    if policy:
        backend.put_user_policy(name, "own", json.dumps(policy))


def accepts(id, secret):
    """Whether others than the product get in with a key: boto3 does."""
    sts = boto3.client(
        "sts",
        region_name="us-east-1",
        endpoint_url=f"https://localhost:{server.server_port}",
        verify=AUTHORITY,
        aws_access_key_id=id,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}),
    )
    try:
        return sts.get_caller_identity()["Arn"]
    except ClientError as error:
        return error.response["Error"]["Code"]


def commands():
    return {
        "user": user,
        "key": made,
        "keys": listed,
        "delete": lambda user, id: backend.delete_access_key(id, user) and None,
        "disable": lambda user, id: backend.update_access_key(user, id, "Inactive") and None,
        "fail": lambda *fault: faults.append(list(fault)),
        "asked": lambda *asked: log.count(list(asked)),
    }


class Quiet(WSGIRequestHandler):
    def log(self, *_):
        pass


application = faulty(DomainDispatcherApplication(create_backend_app))
server = make_server(
    "127.0.0.1", 0, application, threaded=True, request_handler=Quiet, ssl_context=(CERTIFICATE, KEY)
)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps(server.server_port), flush=True)
for line in sys.stdin:
    name, *arguments = json.loads(line)
    try:
        if name == "accepts":
            # It asks the server, which has the books then.
            said = {"ok": accepts(*arguments)}
        else:
            with books:
                said = {"ok": commands()[name](*arguments)}
    except Exception as error:
        said = {"error": f"{name}: {error!r}"}
    print(json.dumps(said), flush=True)
os._exit(0)
