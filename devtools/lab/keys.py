# SPDX-License-Identifier: BSD-3-Clause
"""Keys for a demo, made with the commands of doc/security.rst: a CA and a certificate for loopback, or a pre-shared key."""
import os
import secrets
import subprocess

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")


class KeysError(Exception):
    """There are none; the text says why."""


class Keys:
    """`kind` is "certificates", "psk" or None; `words` are options for a server."""

    def __init__(self, kind, folder):
        self.folder, self.words = folder, ()
        if kind == "psk":
            self.make_psk()
        elif kind == "certificates":
            self.make_certificates()

    def path(self, name):
        return os.path.join(self.folder, name)

    def make_psk(self):
        with open(os.open(self.path("psk"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as out:
            out.write(f"demo:{secrets.token_hex(32)}\n")
        self.words = ("--tls-psk", self.path("psk"))

    def make_certificates(self):
        self.openssl("req", "-x509", *CURVE, "-subj", "/CN=demo CA", "-keyout", self.path("ca.key"), "-out", self.path("ca.pem"))
        self.openssl("req", "-x509", *CURVE, "-subj", "/CN=demo", "-addext", "subjectAltName=IP:127.0.0.1",
                     "-addext", "basicConstraints=critical,CA:FALSE", "-CA", self.path("ca.pem"), "-CAkey", self.path("ca.key"),
                     "-keyout", self.path("node.key"), "-out", self.path("node.pem"))
        self.words = ("--tls-cert", self.path("node.pem"), "--tls-key", self.path("node.key"), "--tls-ca", self.path("ca.pem"))

    @staticmethod
    def openssl(*words):
        try:
            done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise KeysError("no openssl command: devtools/packages demo installs it") from None
        if done.returncode != 0:
            raise KeysError(f"openssl {words[0]}: {done.stderr.strip()}")
