"""The relay's configuration as the tests and benchmarks use it: the one place that knows its keys, and the zone
file's form. JSON is YAML, so files are written as JSON."""
import os

from tests.support.harness import free_port


def merge(base, over):
    """base with over's keys; mappings merge, everything else is replaced."""
    out = dict(base)
    for key, value in over.items():
        out[key] = merge(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


def listener(port, **options):
    return {"address": f"127.0.0.1:{port}", "tls": "none", **options}


def default(world):
    """One tenant for all clients on loopback, one pool of two sources, quick retries, everything below dir."""
    net = world.net
    return {
        "node": {"name": "test", "hostname": "relay.test", "data": os.path.join(world.dir, "data"), "shards": 2,
                 "drain": "10s"},
        "log": {"partitions": 4, "map": "8GiB", "floor": "16MiB"},
        "logging": {"level": "info", "format": "human"},
        "dns": {"servers": [f"127.0.0.1:{world.dns_port}"], "timeout": "500ms", "tries": 2},
        "listeners": [listener(free_port())],
        "admin": {"address": f"127.0.0.1:{free_port()}"},
        "delivery": {"allow_local": True, "port": world.mx_port},
        "sources": [source(net, 1), source(net, 2)],
        "pools": [pool("main", "s1", "s2")],
        "tenants": [tenant("main")],
        "providers": [],
        "retries": [retry()],
    }


def source(net, n, **options):
    return {"name": f"s{n}", "address": f"{net}.200.{n}", "ehlo": f"s{n}.relay.test", **options}


def pool(name, *members, **options):
    """Members are source names or (name, weight)."""
    listed = [{"source": m[0], "weight": m[1]} if isinstance(m, tuple) else {"source": m} for m in members]
    return {"name": name, "members": listed, **options}


def provider(name, suffix, **limits):
    return {"name": name, "mx": [suffix], **limits}


def tenant(name, **options):
    return {"name": name, "networks": ["127.0.0.0/8"], "domains": ["*"], "pools": ["main"], **options}


def retry(steps=("1s",), name="default", lifetime="1h", delay_notice="0", jitter=0):
    return {"name": name, "steps": list(steps), "jitter": jitter, "lifetime": lifetime,
            "delay_notice": delay_notice}


def waiting(queue):
    """Submissions not done, from the answer of /v1/queue; those in hand for long are counted twice."""
    return queue["total"] + sum(lane["memory"] + lane["in_hand"] for lane in queue["lanes"])


def write_zone(path, zone):
    """zone: name -> records, each a tuple of type and data."""
    lines = [" ".join(str(x) for x in (name, *record)) for name, records in zone.items() for record in records]
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    os.replace(path + ".new", path)


def dns_arguments(path, port):
    return ["--listen", f"127.0.0.1:{port}", path]
