"""A private CA, and the certificates of the Hub and of the jobs' host names."""
import ssl
from pathlib import Path

import trustme

from .names import HUB_NAME, JOBS_DOMAIN


class Authority:
    def __init__(self, directory):
        self.directory = Path(directory)
        self.ca = trustme.CA()
        self.ca_file = self.directory / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.ca_file))
        self.certificate, self.key = self.directory / "chain.pem", self.directory / "key.pem"
        issued = self.ca.issue_cert(HUB_NAME, JOBS_DOMAIN, f"*.{JOBS_DOMAIN}", "localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(str(self.key))
        self.certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        self.key.chmod(0o600)

    def server_context(self):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        return context
