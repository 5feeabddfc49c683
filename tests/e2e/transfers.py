#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""transfers.py serve PORT | client PORT SEED NUMBER UPLOADS ADDRESS...

NUMBER connections with transfers of any size, in any order, and UPLOADS of 100 MiB, four at a time
and in turn to each address. Each ends in good order: one side, the client or the server, closes its
own when it has sent all, and then reads on (`half`), or closes when it has got all (`close`); the
other one closes when it has seen that. Both count the bytes; who misses some says so, and exits
with 1."""
import json
import random
import socket
import sys
import threading

HEAD = 100
PART = bytes(1 << 18)
MIB = 1 << 20


def send_all(sock, size):
    while size > 0:
        size -= sock.send(PART[:size])


def receive(sock, size):
    """Returns how many of them do not come."""
    while size > 0 and (data := sock.recv(min(size, len(PART)))):
        size -= len(data)
    return size


def play(sock, spec, mine, theirs, ends):
    """One side, which sends `mine` bytes and gets `theirs`. True: all has come, and then the end."""
    missing = [theirs]

    def get():
        missing[0] = receive(sock, theirs)

    reader = threading.Thread(target=get)
    reader.start()
    if spec["turns"] and not spec["client_first"] == ("client" in ends):
        reader.join()  # the other one sends first
    send_all(sock, mine)
    if "half" in ends:
        sock.shutdown(socket.SHUT_WR)
    reader.join()
    if "close" in ends:
        return missing[0] == 0
    return missing[0] == 0 and sock.recv(1) == b""


def serve_one(sock):
    with sock:
        spec = json.loads(sock.recv(HEAD, socket.MSG_WAITALL))
        ends = {"server", spec["how"]} if spec["server_ends"] else {"server"}
        if not play(sock, spec, spec["down"], spec["up"], ends):
            print("transfers.py: the server missed something:", spec, flush=True)


def ask(address, port, spec):
    with socket.create_connection((address, port), timeout=60) as sock:
        sock.sendall(json.dumps(spec).encode().ljust(HEAD))
        ends = {"client"} if spec["server_ends"] else {"client", spec["how"]}
        if not play(sock, spec, spec["up"], spec["down"], ends):
            sys.exit(f"transfers.py: the client missed something: {spec}")


def any_size(rng):
    return int(10 ** rng.uniform(0, 7.3)) if rng.random() < 0.8 else 0


def specs(rng, number, uploads):
    def one(up, down, server_ends, how):
        return {"up": up, "down": down, "turns": rng.randrange(2), "client_first": rng.randrange(2),
                "server_ends": server_ends, "how": how}

    every = [one(any_size(rng), any_size(rng), rng.randrange(2), rng.choice(["half", "close"]))
             for _ in range(number)]
    return every + [one(100 * MIB, 0, 0, "half") for _ in range(uploads)]


def client(port, seed, number, uploads, addresses):
    todo = list(enumerate(specs(random.Random(seed), number, uploads)))
    failed = []

    def work():
        while todo:
            i, spec = todo.pop()
            try:
                ask(addresses[i % len(addresses)], port, spec)
            except (OSError, SystemExit) as e:
                failed.append(f"{spec}: {e}")

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failed:
        sys.exit("\n".join(failed))


if sys.argv[1] == "serve":
    with socket.create_server(("::", int(sys.argv[2])), family=socket.AF_INET6, backlog=64,
                              dualstack_ipv6=True) as listener:
        while True:
            threading.Thread(target=serve_one, args=(listener.accept()[0],)).start()
else:
    client(*map(int, sys.argv[2:6]), sys.argv[6:])
