"""A real mail server for the tests: aiosmtpd, with TLS at once or by STARTTLS, and a login.

Usage: server.py CERTIFICATE KEY implicit|starttls [USER PASSWORD] [REFUSE]. Prints its port, then each letter as a line of JSON.
With REFUSE it answers that code to each letter.
"""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

certificate, key, how, user, password, refuse = sys.argv[1:7]
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(certificate, key)


class Handler:
    async def handle_DATA(self, server, session, envelope):
        if refuse:
            return f"{refuse} not today"
        letter = email.message_from_bytes(envelope.content, policy=email.policy.default)
        print(
            json.dumps(
                {
                    "from": envelope.mail_from,
                    "to": envelope.rcpt_tos,
                    "subject": letter["subject"],
                    "text": letter.get_content(),
                    "tls": session.ssl is not None or how == "implicit",
                    "login": str(session.auth_data),
                }
            ),
            flush=True,
        )
        return "250 OK"


def check(server, session, envelope, mechanism, data):
    right = data.login == user.encode() and data.password == password.encode()
    return AuthResult(success=right, handled=False, auth_data=user)


def session():
    options = {"hostname": "localhost", "authenticator": check, "auth_required": bool(user)}
    if how == "starttls":
        return SMTP(Handler(), tls_context=context, require_starttls=True, **options)
    return SMTP(Handler(), auth_require_tls=False, **options)


async def main():
    loop = asyncio.get_running_loop()
    implicit = context if how == "implicit" else None
    server = await loop.create_server(session, "127.0.0.1", 0, ssl=implicit)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
