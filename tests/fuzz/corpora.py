"""Writes the seed inputs of the fuzz targets into corpus/<target>/; inputs that a fuzzer found are added beside them by hand.

    python3 tests/fuzz/corpora.py
"""
import struct
from pathlib import Path

HERE = Path(__file__).resolve().parent
CRLF = b"\r\n"


def request(line, *headers, body=b""):
    return CRLF.join([line, b"Host: a", *headers]) + CRLF * 2 + body


def frame(kind, payload=b"", offset=0, length=None):
    return struct.pack("<B3xIQ", kind, len(payload) if length is None else length, offset) + payload


EXIT = b'{"exit_code":0,"signal":null,"timed_out":false,"duration_ms":1}'
HTTP = {
    "get": request(b"GET /health HTTP/1.1"),
    "query": request(b"GET /v1/files/read?path=%2Ftmp%2Fa+b&offset=1&length=2&path=x HTTP/1.1", b"X-Sandbox-Token: t"),
    "post": request(b"POST /v1/exec HTTP/1.1", b"Content-Length: 14", body=b'{"cmd":"true"}'),
    "chunked": request(b"PUT /v1/files/write?path=/a HTTP/1.1", b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nT: v\r\n\r\n"),
    "pipeline": request(b"GET /a HTTP/1.1") + request(b"POST /b HTTP/1.1", b"Content-Length: 2", body=b"xy") + request(b"HEAD /c HTTP/1.1"),
    "expect": request(b"PUT /v1/files/write HTTP/1.1", b"Content-Length: 1", b"Expect: 100-continue", body=b"x"),
    "http10": request(b"GET / HTTP/1.0", b"Connection: keep-alive"),
    "upgrade": request(b"GET /v1/proxy/80/ws HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket"),
    "two-lengths": request(b"POST / HTTP/1.1", b"Content-Length: 1", b"Content-Length: 2", body=b"xy"),
    "same-lengths": request(b"POST / HTTP/1.1", b"Content-Length: 2", b"Content-Length: 2", body=b"xy"),
    "length-and-chunked": request(b"POST / HTTP/1.1", b"Content-Length: 1", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "length-list": request(b"POST / HTTP/1.1", b"Content-Length: 2, 2", body=b"xy"),
    "length-sign": request(b"POST / HTTP/1.1", b"Content-Length: +2", body=b"xy"),
    "length-huge": request(b"POST / HTTP/1.1", b"Content-Length: 99999999999999999999"),
    "encoding-gzip": request(b"POST / HTTP/1.1", b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "encoding-twice": request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=b"0\r\n\r\n"),
    "chunk-huge": request(b"PUT / HTTP/1.1", b"Transfer-Encoding: chunked", body=b"ffffffffffffffffff\r\n"),
    "bare-lf": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare-cr": b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
    "folded": b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
    "space-before-colon": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc",
    "nul": b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n",
    "no-host": b"GET / HTTP/1.1\r\n\r\n",
    "blank-then-bad": b"\r\n\rET/\nG  HTTP/1.1",
    "leading-lines": b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "garbage": bytes(range(256)),
    "half": b"GET /health HTTP/1.1\r\nHos",
}
JSON = {
    "exec": b'{"cmd":["/bin/sh","-c","echo \\u20ac"],"env":{"A":1,"B":true,"C":"x"},"cwd":"/","timeout":1.5,"stdin":"a\\nb"}',
    "string": b'"\\ud83d\\ude00\\"\\\\\\/\\b\\f\\n\\r\\t"', "lone": b'"\\ud800"', "nul": b'"a\\u0000b"', "numbers": b"[0,-1,1e9,1.5e-300,1e999,18446744073709551616]",
    "deep": b"[" * 40 + b"]" * 40, "words": b"[true,false,null]", "trailing": b"{} x", "comma": b"[1,]", "empty": b"", "twice": b'{"a":1,"a":2}',
    "half": b'{"cmd":', "bare": b"{cmd:1}", "quote": b"{'a':1}", "bytes": b'"\xff\xfe"', "control": b'"\n"', "minus": b"-", "leading": b"01",
}
STREAMS = {
    "run": frame(1, b'{"id":"p-1","pid":7,"tag":null}') + frame(2, b"out") + frame(3, b"err") + frame(5) + frame(6, EXIT),
    "gap": frame(1, b'{"id":"p-1","pid":7}') + frame(4, b"\2" + struct.pack("<Q", 9), 3) + frame(2, b"x", 12) + frame(6, EXIT),
    "held": frame(1, b'{"id":"p-1","pid":7}') + frame(7, b'{"id":"p-1","running":true}'),
    "unknown": frame(9, b"x"), "huge": frame(2, b"", 0, 0xFFFFFFFF), "short-gap": frame(4, b"\2"), "bad-json": frame(1, b"{"), "half": frame(2, b"abcdef")[:-2],
    "overlap": frame(1, b'{"id":"p-1","pid":7}') + frame(2, b"abc") + frame(2, b"abc", 1), "after-exit": frame(6, EXIT) + frame(2, b"x"),
}
LINES = {
    "run": b'{"event":"start","pid":7,"id":"p-1"}\n{"event":"stdout","data":"out"}\n{"event":"stderr","data":"\\u20ac"}\n{"event":"ping"}\n{"event":"exit",'
           + EXIT[1:] + b"\n",
    "gap": b'{"event":"start","pid":7}\n{"event":"gap","stream":"stdout","offset":3,"dropped":9}\n', "blank": b"\n\n", "no-event": b"{}\n", "half": b'{"event":"std',
    "crlf": b'{"event":"ping"}\r\n', "unknown": b'{"event":"new","x":[1]}\n', "wrong": b'{"event":7}\n[]\n"x"\n',
}
ROUTES = {"read": request(b"GET /v1/files/read HTTP/1.1", b"X-Sandbox-Token: t") + request(b"GET /health HTTP/1.1"),
          "write": request(b"PUT /v1/files/write HTTP/1.1", b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n") + request(b"HEAD /health HTTP/1.1"),
          "refused": request(b"PUT /v1/files/write HTTP/1.1", b"Content-Length: 9", body=b"ab!cdefgh") + request(b"GET /health HTTP/1.1"),
          "abort": request(b"DELETE /v1/files/delete HTTP/1.1") + request(b"GET /health HTTP/1.1"),
          "too-large": request(b"POST /v1/exec HTTP/1.1", b"Content-Length: 5000", body=b"x" * 5000) + request(b"GET /health HTTP/1.1")}
TOKEN = b"X-Sandbox-Token: t"
PATHS = {**HTTP,
         "path": request(b"GET /v1/files/read?path=%2Fa%2F..%2Fb%00&offset=18446744073709551615 HTTP/1.1", TOKEN),
         "relative": request(b"GET //v1/files/read/?p%61th=a/./../&offset=-1 HTTP/1.1", TOKEN),
         "write": request(b"PUT /v1/files/write?path=/&path=%ff%FE/%2e/&offset HTTP/1.1", TOKEN, b"Content-Length: 1", body=b"x"),
         "process": request(b"GET /v1/processes/p-1/output?stdout=1&follow=1 HTTP/1.1", TOKEN),
         "long-id": request(b"GET /v1/processes/" + b"9" * 200 + b" HTTP/1.1", TOKEN),
         "port": request(b"POST /v1/proxy/65535/a//b/?c HTTP/1.1", TOKEN, b"Connection: close, X", b"X: y", b"Content-Length: 0"),
         "ports": b"".join(request(b"GET /v1/proxy/" + p + b" HTTP/1.1", TOKEN) for p in (b"0", b"65536", b"080/", b"1", b"/", b"1%2f")),
         "two-tokens": request(b"GET /v1/processes HTTP/1.1", TOKEN, TOKEN), "no-token": request(b"DELETE /v1/files/delete?path=/ HTTP/1.1")}
COMMANDS = {**JSON, "all": b'{"cmd":["a","","b c"],"shell":false,"cwd":"sub","timeout":1.5,"tag":"t","stdin_base64":"AAEC/w==","end":"closed",'
            b'"stream_limit":7,"background":true,"stdin_open":true,"env":{"A":"2","PATH":"/x","N":1}}',
            "text": b'{"cmd":"echo \\"a\\"","stdin":"\\u00e9"}', "no-cmd": b'{"env":{}}', "nul-in-cmd": b'{"cmd":["a\\u0000b"]}',
            "empty-cmd": b'{"cmd":[]}', "env-name": b'{"cmd":"a","env":{"A=B":"c","":"d"}}', "timeout": b'{"cmd":"a","timeout":-1}',
            "long": b'{"cmd":["' + b"x" * 5000 + b'"],"tag":"' + b"y" * 300 + b'"}', "base64": b'{"cmd":"a","stdin_base64":"A=A="}'}
A, B = b"/v1/sandboxes/000000000000000a", b"/v1/sandboxes/000000000000000b"
OF_A, OF_B = b"X-Sandbox-Token: ta", b"X-Sandbox-Token: tb"
SCOPED = {
    "own": request(b"GET " + A + b"/files/read?path=/x/../../b/./y// HTTP/1.1", OF_A) + request(b"POST " + B + b"/exec HTTP/1.1", OF_B, b"Content-Length: 0"),
    "others": request(b"GET " + B + b"/files/read?path=x HTTP/1.1", OF_A) + request(b"GET " + A + b"/../" + B[14:] + b"/processes/p-1 HTTP/1.1", OF_A),
    "hosts": request(b"GET " + A + b"/files/read?path=/h/b/x HTTP/1.1", TOKEN) + request(b"GET " + A + b"/token HTTP/1.1", OF_A)
             + request(b"GET /" + A + b"/token/ HTTP/1.1", TOKEN) + request(b"DELETE " + B + b" HTTP/1.1", OF_B),
    "home": request(b"PUT " + A + b"/files/write?path=/h/a/../b&path=/h/ab HTTP/1.1", OF_A, b"Content-Length: 1", body=b"x"),
    "absent": request(b"GET /v1/sandboxes/000000000000000c/processes HTTP/1.1", OF_A) + request(b"GET /v1/sandboxes//processes HTTP/1.1", TOKEN),
    "two-tokens": request(b"GET " + A + b"/processes/p-0 HTTP/1.1", OF_A, OF_B), "port": request(b"GET " + A + b"/proxy/80/x HTTP/1.1", OF_A),
    "dedicated": request(b"POST /v1/exec HTTP/1.1", TOKEN, b"Content-Length: 0") + request(b"GET /v1/info HTTP/1.1", OF_A) + request(b"GET /v1/sandboxes HTTP/1.1", OF_A),
}
PATHS.update({f"host-{name}-{kind}": bytes([kind]) + data for name, data in SCOPED.items() for kind in (1, 2)})
CREATIONS = {**JSON, "all": b'{"count":3,"max_procs":20,"max_mem_mb":64,"idle_timeout_secs":9,"env":{"A":"b","N":1,"T":true}}', "nothing": b"",
             "zero": b'{"count":0,"max_procs":0}', "wrap": b'{"max_mem_mb":17592186044416}', "most": b'{"count":18446744073709551615,"max_mem_mb":1048576}',
             "negative": b'{"count":-1}', "list": b"[]", "env-list": b'{"env":[]}', "env-name": b'{"env":{"A=B":"c"}}', "env-empty": b'{"env":{"":"c"}}',
             "env-nul": b'{"env":{"A":"\\u0000"}}', "env-object": b'{"env":{"A":{}}}', "null": b'{"count":null,"env":null}',
             "large": b'{"env":{"A":"' + b"x" * 65536 + b'"}}', "many": b'{"env":{' + b",".join(b'"A%d":"%s"' % (i, b"y" * 700) for i in range(100)) + b"}}"}
OK = b"HTTP/1.1 200 OK\r\n"
BACKEND = {"ok": OK + b"Content-Length: 2\r\nConnection: keep-alive\r\n\r\nok", "bare-lf": b"HTTP/1.0 404 Not\nContent-Length:3\n\nabc",
           "folded": OK + b"Connection: a,\r\n b\r\nX: c\r\n\td\r\n\r\n", "interim": b"HTTP/1.1 100 C\r\n\r\n" + OK + b"\r\n", "half": OK + b"A: b\r\n",
           "switch": b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nbytes", "empty": b"HTTP/1.1 204 N\r\nContent-Length: 5\r\n\r\n",
           "lengths": OK + b"Content-Length: 1\r\nContent-Length: 99999999999999999999\r\n\r\n", "short": b"HTTP/1.1 2\r\n\r\n", "none": b"SSH-2.0\r\n",
           "folded-length": OK + b"Content-Length: 1\r\n\t2\r\n\r\n", "no-colon": OK + b"garbage\r\n: x\r\n\r\n", "bare-cr": OK + b"A: b\rConnection: c\r\n\r\n", "folded-first": OK + b" Connection: x\r\n\r\n",
           "nul": OK + b"A: \0\r\n\r\n", "only": b"H"}


def log_line(text, end=b"\n\n"):
    return b'data: {"timestamp":"2026-08-20T09:15:07Z","data":"' + text + b'"}' + end


JOB_LOG = {
    "lines": b": keep-alive\n\n" + log_line(b"===== Job started at 9:15 =====") + log_line(b"one") + log_line(b"two \\u20ac \xc3\xa9", b"\r\n\r\n"),
    "many": b"".join(log_line(b"line %d" % n) for n in range(45)), "blank": log_line(b" \\n") + log_line(b""),
    "secret": log_line(b"key hf_secret-key, hf_\\u0073ecret") + log_line(b"x" * 195 + b"hf_secret") + log_line(b"abc abc"),
    "control": log_line(b"\\u001b[31mred\\u0000\\t\\u009b2J\xc2\x85\xff\xed\xa0\x80"), "cut": log_line(b"\xe2\x82\xac" * 80),
    "other": b'event: x\ndata:{"data":"a"}\ndata: [1]\ndata: {"data":1}\ndata: {"data":null}\ndata: {}\ndata: {"data":"a"\ndata: {"x":{"data":"a"}}\n',
    "half": log_line(b"one") + b'data: {"data":"tw', "twice": b'data: {"data":"a","data":"b"}\n', "too-long": log_line(b"x" * 66000) + log_line(b"after"),
    "number-first": b'data: {"data":1,"data":"b"}\n', "name": b'data: {"d\\u0061ta":"b"}\n', "case": b'data: {"DATA":"b"}\n',
}
GUESTS = {"guests": request(b"GET /v1/files/read HTTP/1.1", b"X-Sandbox-Token: a") + request(b"DELETE /v1/sandboxes/other HTTP/1.1", b"X-Sandbox-Token: b")
          + request(b"PUT /v1/files/write HTTP/1.1", b"X-Sandbox-Token: b", b"Content-Length: 3", body=b"abc") + request(b"DELETE /v1/sandboxes/other HTTP/1.1")}
CONN = {f"{name}-{piece}": bytes([piece]) + data for name, data in {**HTTP, **ROUTES}.items() for piece in (0, 5)}
CONN.update({f"{name}-{piece}": bytes([piece]) + data for name, data in {**ROUTES, **GUESTS}.items() for piece in (128, 133)})
CORPORA = {"http": HTTP, "conn": CONN, "json_in": JSON, "json": JSON, "frames": STREAMS, "ndjson": LINES, "route": PATHS, "command": COMMANDS,
           "backend": BACKEND, "job_log": JOB_LOG, "creation": CREATIONS}

if __name__ == "__main__":
    for target, inputs in CORPORA.items():
        if not (HERE / f"{target}_fuzz.c").exists():
            continue
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in inputs.items():
            (folder / name).write_bytes(data)
