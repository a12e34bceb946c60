"""A mail server of aiosmtpd's that keeps what it is sent. Usage: mail_server.py PORT FOLDER plain|tls|starttls [CHAIN KEY]

Each message becomes a file N.json in the folder: from, to, whether it came encrypted, and the message itself.
"""

import asyncio
import json
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP

port, folder, protection = int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
context = None
if protection != "plain":
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(sys.argv[4], sys.argv[5])


class Keep:
    count = 0

    async def handle_DATA(self, server, session, envelope):
        is_encrypted = server.transport.get_extra_info("ssl_object") is not None
        kept = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "encrypted": is_encrypted,
            "message": envelope.content.decode("utf-8", "replace"),
        }
        Keep.count += 1
        part = folder / f"{Keep.count}.part"
        part.write_text(json.dumps(kept))
        part.rename(folder / f"{Keep.count}.json")
        return "250 taken"


def session():
    starts = protection == "starttls"
    return SMTP(
        Keep(),
        hostname="mail.example.com",
        tls_context=context if starts else None,
        require_starttls=starts,
        loop=loop,
    )


loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
encrypted = context if protection == "tls" else None
loop.run_until_complete(loop.create_server(session, "127.0.0.1", port, ssl=encrypted))
loop.run_forever()
