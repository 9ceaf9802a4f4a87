"""A mail server for tests: aiosmtpd, with STARTTLS and a login that is asked for behind it alone.

Arguments: a port, a folder with `cert.pem`, `key.pem` and `password`, and `starttls` or `plain`. `mails` in it gets one object of JSON for each message."""

import json
import ssl
import sys
import time
from email import message_from_bytes, policy

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

PORT, FOLDER, MODE = int(sys.argv[1]), sys.argv[2], sys.argv[3]
PASSWORD = open(f"{FOLDER}/password").read().encode()


class Handler:
    async def handle_DATA(self, server, session, envelope):
        message = message_from_bytes(envelope.content, policy=policy.default)
        line = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None,
            "user": (session.auth_data.login.decode() if session.auth_data else None),
            "headers": {name: str(value) for name, value in message.items()},
            "body": message.get_content(),
        }
        with open(f"{FOLDER}/mails", "a") as lines:
            lines.write(json.dumps(line) + "\n")
        return "250 OK"


def authenticate(server, session, envelope, mechanism, login):
    if not session.ssl:
        return AuthResult(success=False, handled=True)
    is_known = login.login == b"keywheel" and login.password == PASSWORD
    return AuthResult(success=is_known, handled=False, auth_data=login)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f"{FOLDER}/cert.pem", f"{FOLDER}/key.pem")
options = {"tls_context": context, "require_starttls": True} if MODE == "starttls" else {}
Controller(
    Handler(),
    hostname="127.0.0.1",
    port=PORT,
    authenticator=authenticate,
    auth_required=MODE == "starttls",
    auth_require_tls=True,
    **options,
).start()
while True:
    time.sleep(60)
