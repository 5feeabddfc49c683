#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""half.py serve PORT | client|server|fin|rst|echo|echo-back|abort|abort-back ADDRESS PORT GO

Connections of which one side closes first and the other goes on. The client says which in its first
line, with its file GO, and so the server knows how to serve it:
  client  the client closes its side; when the file GO is there the server sends SIZE bytes,
  server  the server does; when the file GO is there the client sends as many, of which the server
          writes into GO.got how many have come until the client's end.
The client prints "half" as soon as one side is closed, and at last "got N" (client) or "done".

Or they talk, TIMES a request and an answer, and then the client ends it, by `fin` or `rst`. Or the
server says again what the client says, ECHO bytes both ways at once, and then the client closes
first, or, with `echo-back`, the server. Or in the midst of that one of them resets it, as `abort` and
`abort-back` say."""
import contextlib
import os
import socket
import struct
import sys
import threading
import time

SIZE = 1 << 20
PART = bytes(range(256)) * 256
TIMES, REQUEST = 300, 1000
ECHO = 40 << 20


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.05)


def send_all(sock):
    for _ in range(SIZE // len(PART)):
        sock.sendall(PART)


def count_right(sock):
    """Bytes until the other side's end that are those of send_all()."""
    got = 0
    while data := sock.recv(65536):
        for i in range(0, len(data), 256):
            part = data[i:i + 256]
            at = (got + i) % 256
            if part != PART[at:at + len(part)]:
                return -1
        got += len(data)
    return got


def answer_all(sock):
    try:
        while sock.recv(REQUEST, socket.MSG_WAITALL):
            sock.sendall(PART)
    except ConnectionResetError:
        pass


def talk(sock, end):
    for _ in range(TIMES):
        sock.sendall(PART[:REQUEST])
        if sock.recv(len(PART), socket.MSG_WAITALL) != PART:
            sys.exit("half.py: another answer")
    if end == "rst":
        end_by_reset(sock)


def end_by_reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def say_again(sock, size):
    """Until the client's end, or so many bytes."""
    while size > 0 and (data := sock.recv(1 << 16)):
        sock.sendall(data)
        size -= len(data)


def say_much(sock):
    try:
        while True:
            sock.sendall(PART)
    except OSError:
        pass


def hear_aborted(sock, end):
    threading.Thread(target=say_much, args=(sock,), daemon=True).start()
    got = 0
    # Of a reset one of the threads is told, and the other sees an end.
    with contextlib.suppress(ConnectionResetError):
        while (end == "abort-back" or got < ECHO // 2) and (data := sock.recv(1 << 16)):
            got += len(data)
    end_by_reset(sock)
    os._exit(0)  # at once, and not when the thread has sent its part


def hear_again(sock, end):
    def say():
        for _ in range(ECHO // len(PART)):
            sock.sendall(PART)

    thread = threading.Thread(target=say)
    thread.start()
    for _ in range(ECHO // len(PART)):
        if sock.recv(len(PART), socket.MSG_WAITALL) != PART:
            sys.exit("half.py: another echo")
    thread.join()
    if end == "echo":
        sock.shutdown(socket.SHUT_WR)
    if sock.recv(1):
        sys.exit("half.py: there is more behind the echo")


def serve_one(sock):
    who, go = sock.makefile("rb", buffering=0).readline().decode().split()
    with sock:
        if who in ("fin", "rst"):
            answer_all(sock)
        elif who in ("echo", "echo-back"):
            say_again(sock, ECHO if who == "echo-back" else sys.maxsize)
        elif who == "abort":
            with contextlib.suppress(ConnectionResetError):
                say_again(sock, sys.maxsize)
        elif who == "abort-back":
            say_again(sock, ECHO // 2)
            end_by_reset(sock)
        elif who == "client":
            if sock.recv(1):
                sys.exit("half.py: there is more before the end")
            wait_for(go)
            send_all(sock)
        else:
            sock.shutdown(socket.SHUT_WR)
            got = count_right(sock)
            with open(go + ".got.part", "w", encoding="ascii") as file:
                file.write(str(got))
            os.rename(go + ".got.part", go + ".got")


def serve(port):
    listening = socket.socket(socket.AF_INET6)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("::", port))
    listening.listen()
    while True:
        threading.Thread(target=serve_one, args=(listening.accept()[0],), daemon=True).start()


def main():
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    who, go = sys.argv[1], sys.argv[4]
    with socket.create_connection((sys.argv[2], int(sys.argv[3])), timeout=30) as sock:
        sock.settimeout(None)
        sock.sendall(f"{who} {go}\n".encode())
        if who in ("fin", "rst"):
            talk(sock, who)
            return
        if who in ("echo", "echo-back"):
            hear_again(sock, who)
            return
        if who in ("abort", "abort-back"):
            hear_aborted(sock, who)
            return
        if who == "client":
            sock.shutdown(socket.SHUT_WR)
        elif sock.recv(1):
            sys.exit("half.py: there is more before the end")
        print("half", flush=True)
        if who == "client":
            print("got", count_right(sock), flush=True)
        else:
            wait_for(go)
            send_all(sock)
    print("done", flush=True)


main()
