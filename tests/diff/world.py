# SPDX-License-Identifier: GPL-2.0-or-later
"""The servers and clients of a lab: real sockets in its namespaces, all in this one process.

A request is a line "SEQ BYTES" and so many bytes; the answer a line "REPLICA:PORT CLIENT CLIENTPORT
SEQ BYTES" and as many. "bye" makes the server close, "half" makes it answer only at the end, "shut"
later than that: when it is told to."""
import contextlib
import ctypes
import errno
import os
import selectors
import socket
import struct
import sys
import time

from scenario import PORTS, REPLICAS

CLONE_NEWNET = 0x40000000
AT_END = 1.0  # seconds that the end of a connection may take
TCP_CLOSE = 7  # tcpi_state
SYN = 2
TCPI_UNACKED = 24  # its offset in struct tcp_info
SOL_IPV6, IP_RECVERR, IPV6_RECVERR = 41, 11, 25
ERRORS = {errno.ECONNREFUSED: "refused", errno.ECONNRESET: "reset", errno.EPIPE: "reset",
          errno.ENOTCONN: "reset",  # of a shutdown, where the reset came before
          errno.ENETUNREACH: "unreachable", errno.EHOSTUNREACH: "unreachable"}
NETLINK_NETFILTER, CT_DELETE, NLM_F_REQUEST, NLM_F_ACK = 12, 0x102, 1, 4
_libc = ctypes.CDLL(None, use_errno=True)


def plain(address):
    """An IPv4 client of a socket of both families."""
    return address[7:] if address.startswith("::ffff:") else address


def checksum(data):
    """RFC 1071's, of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xffff) + (total >> 16)
    return (~((total & 0xffff) + (total >> 16)) & 0xffff).to_bytes(2, "big")


def end_by_reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def answer(who, peer, line, padding=b""):
    seq, size = line.split()
    return f"{who} {plain(peer[0])} {peer[1]} {seq} {size}\n".encode() + padding


class Namespaces:
    """Those of a lab, by their short names."""

    def __init__(self, lab):
        self.lab = lab
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY)
        self.fds = {}

    def _set(self, fd):
        if _libc.setns(fd, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")

    @contextlib.contextmanager
    def inside(self, name):
        if name not in self.fds:
            self.fds[name] = os.open(f"/run/netns/{self.lab}-{name}", os.O_RDONLY)
        self._set(self.fds[name])
        try:
            yield
        finally:
            self._set(self.home)


class Conversation:
    """A server's end of a TCP connection."""

    def __init__(self, world, sock, peer, who):
        self.world, self.sock, self.peer, self.who = world, sock, peer, who
        self.data, self.half = b"", None
        self.shut = False  # the client has said all, and the answer waits for finish()
        world.conversations.add(self)
        world.watch(sock, self.ready)

    def ready(self):
        try:
            part = self.sock.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            part, self.half, self.shut = b"", None, False
        if not part and self.shut:
            self.world.unwatch(self.sock)
            return
        if not part:
            self.end(self.half)
            return
        self.data += part
        while b"\n" in self.data:
            line, rest = self.data.split(b"\n", 1)
            if line == b"bye":
                self.end()
                return
            words = line.decode().split()
            size = int(words[-1])
            if len(rest) < size:
                return
            self.data = rest[size:]
            text = answer(self.who, self.peer, " ".join(words[-2:]), rest[:size])
            if words[0] in ("half", "shut"):
                self.half, self.shut = text, words[0] == "shut"
            else:
                self.say(text)

    def say(self, text):
        with contextlib.suppress(OSError):  # the next recv() ends it
            self.world.send(self.sock, text)

    def unacknowledged(self):
        info = self.sock.getsockopt(socket.SOL_TCP, socket.TCP_INFO, TCPI_UNACKED + 4)
        return int.from_bytes(info[TCPI_UNACKED:], sys.byteorder)

    def end(self, last=None, reset=False):
        if last:
            self.say(last)
        self.world.unwatch(self.sock)
        self.world.conversations.discard(self)
        if reset:
            end_by_reset(self.sock)
        else:
            self.sock.close()


class Client:
    """A client's socket: asks, and waits for what comes of it."""

    def __init__(self, world, proto, source, target):
        self.world, self.proto, self.target = world, proto, target
        family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        with world.spaces.inside("node2"):
            self.sock = socket.socket(
                family, socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.seq, self.data, self.error, self.answered = 0, b"", "", None
        try:
            self.sock.bind(source)
            if proto == "tcp":
                self.sock.connect_ex(target)
            elif family == socket.AF_INET:  # unconnected, so as to see who answers; with errors
                self.sock.setsockopt(socket.SOL_IP, IP_RECVERR, 1)
            else:
                self.sock.setsockopt(SOL_IPV6, IPV6_RECVERR, 1)
        except OSError as error:
            self.error = errno.errorcode[error.errno]
        self.connecting = proto == "tcp" and not self.error
        world.watch(self.sock, self.ready, write=self.connecting)

    def ready(self):
        try:
            if self.connecting:
                self.connecting = False
                self.world.watch(self.sock, self.ready)
                error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    raise OSError(error, "connect")
                return
            part, peer = self.sock.recvfrom(1 << 20)
            if self.proto == "udp":
                self.data = part
                peer = (peer[0], peer[1])
                if peer != self.target:
                    self.error = "answered by %s port %d" % peer
            elif part:
                self.data += part
            else:
                self.error = "closed"
        except BlockingIOError:
            return
        except OSError as error:
            self.error = ERRORS.get(error.errno) or errno.errorcode[error.errno]
        if self.error and self.proto == "tcp":
            self.world.unwatch(self.sock)
        elif self.error:
            with contextlib.suppress(OSError):  # what stays in this queue keeps the socket ready
                self.sock.recvmsg(1, 1024, socket.MSG_ERRQUEUE)

    def ask(self, size=0, patience=5.0, how=""):
        """What comes of a request: {out: answered, who, seen} or {out: what went wrong}. HOW: "half",
        the last one; "shut", too, and it is answered by finish()."""
        deadline = time.monotonic() + patience
        self.seq += 1
        if self.proto == "udp":
            self.error = ""
        self.world.until(deadline, lambda: self.error or not self.connecting)
        if not self.error and not self.connecting:
            self._request(size, how)
            if how == "shut":
                return self._told(deadline)
            self.world.until(deadline, lambda: self.error or self._whole())
        return self._answer(last=how == "half")

    def _answer(self, last):
        whole = self._whole()
        if self.error and not (last and whole):
            return {"out": self.error}
        if not whole:
            return {"out": "silent"}
        who, address, port, _, _ = whole
        mine = self.sock.getsockname()
        seen = "own" if (address, int(port)) == mine[:2] else f"{address} port {port}"
        self.data = b""
        return {"out": "answered", "who": who, "seen": seen}

    def _told(self, deadline):
        """Whether the server knows that all has been said."""
        self.world.until(deadline, lambda: self.error or self._server())
        server = self._server()
        if not server:
            return {"out": self.error or "silent"}
        return {"out": "answered", "who": server.who, "seen": "own"}

    def _server(self):
        """Who is waiting for finish()."""
        mine = self.sock.getsockname()[:2] if self.sock.fileno() >= 0 else None
        return next((c for c in self.world.conversations if c.shut and c.half and
                     (plain(c.peer[0]), c.peer[1]) == mine and
                     c.half.split()[3] == str(self.seq).encode()), None)

    def answered_never(self):
        """The server that is waiting for finish() closes."""
        server = self._server()
        if server:
            server.end()

    def finish(self, patience):
        """The answer to what was asked by `shut`."""
        deadline, server = time.monotonic() + patience, self._server()
        if server:
            server.end(server.half)
        self.world.until(deadline, lambda: self.error or self._whole())
        return self._answer(last=True)

    def _request(self, size, how):
        text = f"{how} {self.seq} {size}\n".encode() + b"x" * size
        try:
            if self.proto == "udp":
                self.sock.sendto(text, self.target)
                return
            self.world.send(self.sock, text)
            if how:
                self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.error = ERRORS.get(error.errno) or errno.errorcode[error.errno]

    def _whole(self):
        """The answer's words, once all of it is here; an answer to an older request is none."""
        head, end, rest = self.data.partition(b"\n")
        words = head.decode().split()
        whole = end and len(rest) == int(words[4]) and int(words[3]) == self.seq
        return words if whole else None

    def bye(self, wait=False):
        if not self.error:
            with contextlib.suppress(OSError):
                self.world.send(self.sock, b"bye\n")
            self.world.until(time.monotonic() + 2, lambda: self.error)
        if wait:
            self.ended()
        self.close()

    def end(self, how):
        """As the step says, and until both sides know: all that they had to say has been seen."""
        if how == "bye":
            self.bye(wait=True)
        elif how == "close":
            self.ended()
            self.close()
        else:
            mine = self.sock.getsockname()[:2]
            self.close(reset=True)
            self.world.until(time.monotonic() + AT_END, lambda: not any(
                not c.shut and (plain(c.peer[0]), c.peer[1]) == mine
                for c in self.world.conversations))

    def ended(self):
        """Closes the client's side, and waits until TCP has nothing more to do."""
        deadline = time.monotonic() + AT_END
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        while time.monotonic() < deadline and \
                self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != TCP_CLOSE:
            self.world.turn(0.001)

    def close(self, reset=False):
        if self.sock.fileno() >= 0:
            self.world.unwatch(self.sock)
            # What is not yet connected would go on trying.
            if reset or (self.proto == "tcp" and self.connecting):
                end_by_reset(self.sock)
            else:
                self.sock.close()


class World:
    def __init__(self, lab):
        self.spaces = Namespaces(lab)
        self.selector = selectors.EpollSelector()
        self.conversations = set()
        for replica in REPLICAS:
            with self.spaces.inside(replica):
                for port in PORTS:
                    self._serve(f"{replica}:{port}", port)

    def _serve(self, who, port):
        tcp = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True,
                                   backlog=64)
        udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        udp.setsockopt(SOL_IPV6, socket.IPV6_V6ONLY, 0)
        udp.bind(("::", port))
        tcp.setblocking(False)
        udp.setblocking(False)
        self.watch(tcp, lambda: self._accept(tcp, who))
        self.watch(udp, lambda: self._datagram(udp, who))

    def _accept(self, tcp, who):
        try:
            sock, peer = tcp.accept()
        except OSError:  # reset before we came to it
            return
        sock.setblocking(False)
        Conversation(self, sock, peer, who)

    @staticmethod
    def _datagram(udp, who):
        with contextlib.suppress(OSError):
            data, peer = udp.recvfrom(1 << 16)
            line, padding = data.split(b"\n", 1)
            udp.sendto(answer(who, peer, line.decode(), padding), peer)

    def send(self, sock, data):
        """All of it; raises OSError if the other side has reset, which nobody is told twice."""
        while data:
            try:
                data = data[sock.send(data):]
            except BlockingIOError:
                if not self.turn(1):
                    return

    def watch(self, sock, ready, write=False):
        self.unwatch(sock)
        self.selector.register(
            sock, selectors.EVENT_WRITE if write else selectors.EVENT_READ, ready)

    def unwatch(self, sock):
        with contextlib.suppress(KeyError, ValueError):
            self.selector.unregister(sock)

    def turn(self, seconds):
        """Serves whoever is ready."""
        events = self.selector.select(seconds)
        for key, _ in events:
            if key.fileobj.fileno() >= 0:
                key.data()
        return events

    def until(self, deadline, true):
        while not true():
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self.turn(left)

    def settle(self):
        """Until nobody has anything to do for a moment."""
        deadline = time.monotonic() + 0.5
        while self.turn(0.002) and time.monotonic() < deadline:
            pass

    def acknowledged(self):
        """Until clients have acknowledged what they were told, which Linux puts off by up to 0.2 s."""
        deadline = time.monotonic() + AT_END
        while any(c.unacknowledged() for c in self.conversations) and time.monotonic() < deadline:
            self.turn(0.005)

    def flood(self, sources, target, number):
        """NUMBER of SYNs, each from another address and port, beginning at SOURCES."""
        first = int.from_bytes(socket.inet_aton(sources), "big")
        address = socket.inet_aton(target[0])
        with self.spaces.inside("node2"), \
                socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            for i in range(number):
                source = (first + i).to_bytes(4, "big")
                syn = struct.pack("!HHIIBBHHH", 1024 + i, target[1], i, 0, 5 << 4, SYN, 1024, 0, 0)
                sums = checksum(source + address + struct.pack("!HH", socket.IPPROTO_TCP, 20) + syn)
                ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, i, 0, 64, socket.IPPROTO_TCP, 0)
                raw.sendto(ip + source + address + syn[:16] + sums + syn[18:], target)
                if not i % 32:
                    self.turn(0)
        self.settle()

    def forget_connections(self):
        """Ends what node1's conntrack knows, as `conntrack -F` does."""
        with self.spaces.inside("node1"), \
                socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
            netlink.send(struct.pack("=IHHIIBBH", 20, CT_DELETE, NLM_F_REQUEST | NLM_F_ACK,
                                     0, 0, 0, 0, 0))
            netlink.recv(4096)

    def end_all(self):
        """No conversation of this scenario may answer in the next."""
        self.settle()
        for conversation in list(self.conversations):
            conversation.end(reset=True)
