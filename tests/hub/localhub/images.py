"""Root file systems for jobs: this machine's /usr, read-only, with an own /etc, /tmp, /var and /root; and what an image lacks.

An image's name leads to one of these; a name that is not listed ends the job as an image that cannot be pulled does.
"""
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DECODERS = ("base64", "gzip", "gunzip", "zcat", "openssl", "perl", "python3", "uudecode", "base32", "xz", "bzip2")
DIGESTS = ("sha256sum", "openssl", "shasum")


@dataclass
class Image:
    lacks: tuple = ()           # programs that it does not have
    only: tuple = ()            # and these are the only ones it has, the C library's own and sh apart
    env: dict = field(default_factory=dict)  # the image's own environment
    noexec_tmp: bool = False    # /tmp is mounted noexec
    read_only: bool = False     # /tmp and /var/tmp cannot be written either

    def hidden(self):
        """The files to cover, so that they are no programs any more."""
        folders = [d for d in ("/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin") if os.path.isdir(d)]
        found = set()
        for folder in folders:
            for name in os.listdir(folder) if self.only else self.lacks:
                path = f"{folder}/{name}"
                if self.only and _stem(name) in self.only or not os.path.isfile(path):
                    continue
                real = os.path.realpath(path)  # a link that leads elsewhere may lead to a library, or to the loader itself
                if os.path.dirname(real) in folders and not (self.only and _stem(os.path.basename(real)) in self.only):
                    found.add(real)
        return sorted(found)


def _stem(name):
    """python3 for python3.11."""
    return name.split(".")[0] if name.startswith("python3") else name


# The Hub's own client pins the digest of the program that its Hub publishes. It documents one way out, which an image can take: without
# a tool that computes digests, and with this variable in its environment, it runs what it has got. (PROTOCOL 4, Bootstrap)
UNVERIFIED = Image(lacks=DIGESTS, env={"SBX_ALLOW_UNVERIFIED_SERVER": "1"})

IMAGES = {
    "python:3.12": Image(), "python:3.11": Image(), "python:3.12-slim": Image(), "python:3.13": Image(),
    "debian:12": Image(), "debian:bookworm": Image(), "debian:bookworm-slim": Image(), "ubuntu:22.04": Image(), "ubuntu:24.04": Image(),
    # what DESIGN 2 has to get along with
    "local/no-decoder": Image(lacks=DECODERS),
    "local/no-base64": Image(lacks=("base64", "gzip", "gunzip", "zcat")),
    "local/openssl-only": Image(lacks=tuple(d for d in DECODERS if d != "openssl")),
    "local/python-only": Image(only=("sh", "dash", "bash", "python3")),
    "local/perl-only": Image(lacks=tuple(d for d in DECODERS if d != "perl")),
    "local/noexec-tmp": Image(noexec_tmp=True),
    "local/no-fetch": Image(lacks=("wget", "curl")),
    "local/no-fetch-no-decoder": Image(lacks=DECODERS + ("wget", "curl")),
    # for the Hub's own client with another agent than the one whose digest it knows
    "local/unverified": UNVERIFIED,
    "local/unverified-no-fetch": Image(lacks=DIGESTS + ("wget", "curl"), env=UNVERIFIED.env),
}
SPACES = {"alice/tool": Image(), "acme/tool": Image(), "alice/unverified": UNVERIFIED}

_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def build_etc(directory, hosts, authority=None):
    """The /etc that every job gets a copy of. hosts: text; authority: the file of a CA to be trusted."""
    etc = Path(directory)
    (etc / "ssl/certs").mkdir(parents=True)
    texts = {"passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/usr/sbin/nologin\nuser:x:1000:1000::/home/user:/bin/sh\n"
                       "nobody:x:65534:65534::/:/usr/sbin/nologin\n",
             "group": "root:x:0:\ndaemon:x:1:\ntty:x:5:\nuser:x:1000:\nnogroup:x:65534:\n", "hosts": hosts, "resolv.conf": "",
             "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n", "hostname": "job\n", "shells": "/bin/sh\n",
             "os-release": 'NAME="Local image"\nID=local\nPRETTY_NAME="An image of the local Hub"\n'}
    for name, text in texts.items():
        (etc / name).write_text(text)
    for name in ("ld.so.cache", "ld.so.conf", "ssl/openssl.cnf", "localtime"):
        if os.path.isfile(f"/etc/{name}"):
            shutil.copyfile(f"/etc/{name}", etc / name)
    bundle = next((Path(p).read_bytes() for p in _CERTIFICATES if os.path.isfile(p)), b"")
    if authority is not None:
        bundle += b"\n" + Path(authority).read_bytes()
    (etc / "ssl/certs/ca-certificates.crt").write_bytes(bundle)
    (etc / "ssl/cert.pem").symlink_to("certs/ca-certificates.crt")


def root_steps(image, etc):
    """The steps of hub-job (job.h) that build this image's root."""
    steps = [("standard",), ("bind", "/usr", "/usr", "ro")]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        if os.path.islink(f"/{name}"):
            steps.append(("link", os.readlink(f"/{name}"), f"/{name}"))
        elif os.path.isdir(f"/{name}"):
            steps.append(("bind", f"/{name}", f"/{name}", "ro"))
    steps += [("copy", str(etc), "/etc"), ("dir", "/var/tmp", "1777"), ("dir", "/root", "700"), ("dir", "/home/user", "755"),
              ("dir", "/opt", "755"), ("dir", "/run", "755"), ("dir", "/srv", "755"), ("dir", "/mnt", "755"), ("dir", "/var/log", "755")]
    if os.path.isdir("/etc/alternatives"):
        steps.append(("bind", "/etc/alternatives", "/etc/alternatives", "ro"))
    if image.noexec_tmp:
        steps.append(("tmpfs", "/tmp", "mode=1777,size=512m", "noexec"))
    else:
        steps.append(("dir", "/tmp", "555" if image.read_only else "1777"))
    return steps + [("hide", path) for path in image.hidden()]
