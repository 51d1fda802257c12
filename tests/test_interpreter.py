"""A process of the exporter's own loads aiohttp without authorities, and trusts them where it makes a context."""

import os
import subprocess
import sys
from pathlib import Path

import trustme

_COUNTS = """
from exporter.interpreter import set_up_interpreter
set_up_interpreter()
from aiohttp import connector
from exporter.route import trust
print([len(context.get_ca_certs()) for context in (
    connector._SSL_CONTEXT_VERIFIED, connector._SSL_CONTEXT_UNVERIFIED, trust(None))])
"""


def test_only_contexts_that_are_used_have_authorities(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    environment = {**os.environ, "SSL_CERT_FILE": str(tmp_path / "ca.pem"), "SSL_CERT_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", _COUNTS], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "[0, 0, 1]\n"
