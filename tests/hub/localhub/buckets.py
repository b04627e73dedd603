"""Buckets and repositories as volumes: directories of the Hub, and GET /buckets/{id}/resolve/{path} (PROTOCOL 8)."""
import os
import re
import shutil
from pathlib import Path

SERVER_BUCKET = "huggingface/sbx-server"
SERVER_NAME = re.compile(r"sbx-server(-[0-9a-f]{64})?")
NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
TYPES = ("bucket", "model", "dataset", "space")


class Storage:
    """storage.path("bucket", "alice/data") is the directory behind a volume; what a test puts there, jobs see, and the other way round."""

    def __init__(self, directory, agent, uid):
        self.directory, self.agent, self.uid = Path(directory), Path(agent), uid
        self.path("bucket", SERVER_BUCKET)
        self.publish("sbx-server")

    def path(self, kind, source, create=True):
        if kind not in TYPES or not NAME.fullmatch(source):
            raise ValueError(f"no {kind} can be named {source!r}")
        path = self.directory / f"{kind}s" / source
        if create and not path.exists():
            path.mkdir(parents=True)
            if kind == "bucket":
                os.chown(path, self.uid, self.uid)
        return path

    def publish(self, name):
        """Our agent under that name in the bucket of the Hub's server: under whatever digest a client's release is pinned to, which is for
        that client to check."""
        path = self.path("bucket", SERVER_BUCKET) / name
        if SERVER_NAME.fullmatch(name) and not path.exists() and self.agent.exists():
            shutil.copyfile(self.agent, path)
            path.chmod(0o755)

    def file(self, bucket, name):
        """The file to serve, or None."""
        if bucket == SERVER_BUCKET:
            self.publish(name)
        try:
            folder = self.path("bucket", bucket, create=False).resolve()
        except ValueError:
            return None
        path = (folder / name).resolve()
        return path if path.is_file() and path.is_relative_to(folder) else None
