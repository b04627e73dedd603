"""The flavors that the Hub lists (PROTOCOL 3: GET /api/jobs/hardware), and what a job sees of its own."""

_ROWS = """
cpu-basic       CPU Basic                    2   16 GB    20 GB    -                  167
cpu-upgrade     CPU Upgrade                  8   32 GB    50 GB    -                  500
cpu-performance CPU Performance             32  256 GB   500 GB    -                31667
cpu-xl          CPU XL                      16  124 GB  1000 GB    -                16667
t4-small        Nvidia T4 - small            4   15 GB    50 GB    T4:1:16          6667
t4-medium       Nvidia T4 - medium           8   30 GB   100 GB    T4:1:16         10000
l4x1            Nvidia L4                    8   30 GB   400 GB    L4:1:24         13333
l4x4            4x Nvidia L4                48  186 GB  3200 GB    L4:4:96         63333
a10g-small      Nvidia A10G - small          4   15 GB   110 GB    A10G:1:24       16667
a10g-large      Nvidia A10G - large         12   46 GB   200 GB    A10G:1:24       25000
a100-large      Nvidia A100 - large         12  142 GB  1000 GB    A100:1:80       41667
h200            Nvidia H200                 23  256 GB  3000 GB    H200:1:141      83333
"""


def _row(line):
    name, rest = line.split(None, 1)
    *pretty, cores, ram, _, disk, _, gpu, micro = rest.split()
    accelerator = None
    if gpu != "-":
        model, quantity, vram = gpu.split(":")
        accelerator = {"type": "gpu", "model": model, "quantity": quantity, "vram": f"{vram} GB", "manufacturer": "Nvidia"}
    return {"name": name, "prettyName": " ".join(pretty), "cpu": f"{cores} vCPU", "ram": f"{ram} GB", "ephemeralStorage": f"{disk} GB",
            "accelerator": accelerator, "unitCostMicroUSD": int(micro), "unitCostUSD": int(micro) / 1e6, "unitLabel": "minute"}


HARDWARE = [_row(line) for line in _ROWS.strip().splitlines()]
FLAVORS = {row["name"]: row for row in HARDWARE}


def memory_bytes(flavor):
    return int(FLAVORS[flavor]["ram"].split()[0]) << 30


def environment(flavor):
    """What a container sees of its flavor (PROTOCOL 3, Job object: container-visible extra env)."""
    row = FLAVORS[flavor]
    accelerator = row["accelerator"]
    return {"ACCELERATOR": accelerator["model"].lower() if accelerator else "none", "CPU_CORES": row["cpu"].split()[0],
            "MEMORY": row["ram"].replace(" GB", "Gi")}
