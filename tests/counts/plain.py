# SPDX-License-Identifier: Apache-2.0
"""A client that writes each request whole and nothing besides, so that what a call costs the agent is the same each time.

    with Plain('grpc', agent.connect()) as c:
        c.call('CreateSandbox', sandbox_id='x')
        n = c.send('WaitProcess', ...)      later: c.answer(n)

Roads: 'grpc', 'ttrpc', and 'yamux', which is gRPC in a yamux stream. Windows are given once, at first.
"""
import collections

import h2
from rpc import Refused, _methods, grpc
from wire import Yamux, ttrpc_answer, ttrpc_request, yamux_frame, WINDOW

WIDE = (1 << 31) - 1 - 65535


class InYamux:
    """One stream of a yamux session, as a socket."""

    def __init__(self, sock):
        self.y = Yamux(sock)
        self.i = self.y.open()
        sock.sendall(yamux_frame(WINDOW, 0, self.i, 1 << 30))

    def sendall(self, data):
        """In one piece: frames of at most 64 KiB, written together."""
        parts = [data[at:at + (64 << 10)] for at in range(0, len(data), 64 << 10)]
        while self.y.window[self.i] < len(data):
            self.y.pump(give=False)
        self.y.window[self.i] -= len(data)
        self.y.s.sendall(b''.join(yamux_frame(0, 0, self.i, len(p), p) for p in parts))

    def recv(self, n):
        while not self.y.data[self.i]:
            self.y.pump(give=False)
        return self.y.read(self.i, min(n, len(self.y.data[self.i])), give=False)

    def close(self):
        self.y.s.close()


class Plain:
    def __init__(self, road, sock):
        self.road, self.methods, self.last, self.came = road, _methods(), -1, {}
        self.s = InYamux(sock) if road == 'yamux' else sock
        if road == 'ttrpc':
            return
        self.h2 = h2.H2(self.s, first=((h2.INITIAL_WINDOW_SIZE, (1 << 31) - 1), (h2.MAX_FRAME_SIZE, (1 << 24) - 1)))
        self.s.sendall(h2.frame(h2.WINDOW_UPDATE, 0, 0, WIDE.to_bytes(4, 'big')))
        self.parts = collections.defaultdict(lambda: [b'', None])

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.s.close()

    def request(self, name, **fields):
        """(number, bytes) of a request that is not sent yet."""
        service, req, resp = self.methods[name]
        self.last += 2
        self.came[self.last] = resp
        payload = req(**fields).SerializeToString()
        if self.road == 'ttrpc':
            return self.last, ttrpc_request(self.last, name, payload, service)
        body = h2.message(payload)
        out = [h2.frame(h2.HEADERS, h2.END_HEADERS, self.last, h2.block(h2.grpc_headers('/%s/%s' % (service, name))))]
        out += [h2.frame(h2.DATA, 0 if at + 16384 < len(body) else h2.END_STREAM, self.last, body[at:at + 16384])
                for at in range(0, len(body), 16384)]
        return self.last, b''.join(out)

    def send(self, *calls):
        """Requests, each (name, fields), in one write. Their numbers."""
        both = [self.request(name, **fields) for name, fields in calls]
        self.s.sendall(b''.join(data for _, data in both))
        return [n for n, _ in both]

    def _next(self):
        """(number, status, text, payload) of the next answer."""
        if self.road == 'ttrpc':
            return ttrpc_answer(self.s)
        while True:
            kind, flags, stream, payload = self.h2.frame()
            part = self.parts[stream]
            if kind == h2.HEADERS:
                self.h2.decoder_feed((kind, flags, stream, payload))
                part[1] = self.h2.headers
            elif kind == h2.DATA:
                part[0] += payload
            elif kind == h2.RST_STREAM:
                raise AssertionError('stream %d was reset' % stream)
            if kind in (h2.HEADERS, h2.DATA) and flags & h2.END_STREAM:
                del self.parts[stream]
                return stream, int(part[1]['grpc-status']), part[1].get('grpc-message', ''), part[0][5:]

    def answers(self, numbers):
        """All of them: responses, and Refused for those that failed."""
        want, got = set(numbers), {}
        while want:
            n, status, text, payload = self._next()
            want.discard(n)
            response = self.came.pop(n)
            got[n] = response.FromString(payload) if status == 0 else Refused(
                next(s for s in grpc.StatusCode if s.value[0] == status), text)
        return [got[n] for n in numbers]

    def call(self, name, **fields):
        answer = self.answers(self.send((name, fields)))[0]
        if isinstance(answer, Refused):
            raise answer
        return answer
