"""Stale and damaged files of what a pool's hosts are, as $HF_HOME/sandbox/pools/<context>/<pool>.json may come to be."""
import json
import os
import random
import time


def spoil(home, pool, how, number, dead_hosts):
    """Changes every file that is there for this pool. dead_hosts: entries that were in such files, of hosts that have ended since."""
    chance = random.Random(number)
    for path in home.glob(f"sandbox/pools/*/{pool}.json"):
        if how == "remove":
            path.unlink(missing_ok=True)
            continue
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue
        if how == "garbage":
            data = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 2000)))
        elif how == "cut":
            data = data[:chance.randrange(len(data) + 1)]
        else:
            try:
                data = json.dumps(changed(json.loads(data), how, chance, dead_hosts)).encode()
            except ValueError:
                continue  # it was damaged before
        written = path.with_name(path.name + ".spoilt")
        written.write_bytes(data)
        written.chmod(0o600)
        os.replace(written, path)


def changed(cache, how, chance, dead_hosts):
    hosts = cache["hosts"]
    if how == "ghosts" and hosts:
        ghost = dict(hosts[0], job_id=f"{chance.getrandbits(96):024x}", live=0)
        ghost["base_url"] = ghost["base_url"].replace(hosts[0]["job_id"], ghost["job_id"])
        hosts.insert(0, ghost)
    elif how == "the dead":
        hosts[:0] = [dict(host, live=0, updated_at=time.time() // 1) for host in dead_hosts]
    elif how == "version":
        cache["version"] = 99
    elif how == "other settings":
        cache |= {"max_hosts": None, "sandboxes_per_host": 1000, "idle_timeout": None}
    for host in hosts:
        host |= {"empty hosts": {"live": 0}, "full hosts": {"live": host["capacity"]}, "large hosts": {"capacity": 1000}, "old": {"updated_at": 1e9},
                 "other nonce": {"nonce": f"{chance.getrandbits(128):032x}"}}.get(how, {})
    return cache


def hosts_in(home, pool):
    """What the files remember now, by id."""
    found = {}
    for path in home.glob(f"sandbox/pools/*/{pool}.json"):
        try:
            found |= {host["job_id"]: host for host in json.loads(path.read_bytes())["hosts"]}
        except (OSError, ValueError, KeyError, TypeError):
            pass
    return found
