"""What schemathesis must know of this API beyond its document.

A cursor and a revision are made by the server, an ETag stands for one state, and an Idempotency-Key for one request:
made-up ones are told as faults, which is right and not what is to be tried here.
"""

import re
import uuid

import schemathesis


@schemathesis.hook
def map_query(context, query):
    if query:
        for made_by_the_server in ("cursor", "since"):
            query.pop(made_by_the_server, None)
    return query


@schemathesis.hook
def before_call(context, case, kwargs):
    headers = case.headers or {}
    for name in list(headers):
        if name.lower() in ("if-match", "if-none-match"):
            del headers[name]
        # One that is no key stays: it must be refused.
        elif name.lower() == "idempotency-key" and re.fullmatch("[A-Za-z0-9._:-]{8,128}", str(headers[name])):
            headers[name] = uuid.uuid4().hex
