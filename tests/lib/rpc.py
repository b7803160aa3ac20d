# SPDX-License-Identifier: Apache-2.0
"""Clients of both protocols, with messages that protoc makes of our .proto files now.

    client = Client(agent.sock)                     gRPC (1.x), by grpcio, which others wrote
    client = Ttrpc(agent.sock)                      ttrpc (3.x), by hand; its errors are Refused
    client.CreateSandbox(sandbox_id='x')            a call: fields of the request, then the response
    client.WaitProcess(..., _later=True).result()   a future

A program that imports this skips itself without python3-grpcio, python3-protobuf or protobuf-compiler.
"""
import concurrent.futures
import importlib
import os
import socket
import subprocess
import sys
import tempfile
import threading

from tap import TOP, expect, has, need_debian_python, skip_all
from wire import ttrpc_answer, ttrpc_request

need_debian_python('grpc', 'google.protobuf')
import grpc  # noqa: E402
from google.protobuf import message_factory  # noqa: E402

PROTO = os.path.join(TOP, 'agent', 'proto')
OPTIONS = [('grpc.max_receive_message_length', 64 << 20), ('grpc.max_send_message_length', 64 << 20),
           ('grpc.use_local_subchannel_pool', 1)]


def _messages(*names):
    with tempfile.TemporaryDirectory(prefix='pb-', dir='/tmp') as out:
        try:
            subprocess.run(['protoc', '-I', PROTO, '-I', '/usr/include', '--python_out', out,
                            *[os.path.join(PROTO, n + '.proto') for n in names]], check=True)
        except FileNotFoundError:
            skip_all('protoc is missing: install protobuf-compiler')
        sys.path.insert(0, out)
        try:
            return [importlib.import_module(n + '_pb2') for n in names]
        finally:
            sys.path.remove(out)


agent_pb2, oci_pb2, types_pb2, health_pb2 = _messages('agent', 'oci', 'types', 'health')


def message_class(descriptor):
    get = getattr(message_factory, 'GetMessageClass', None)
    return get(descriptor) if get else message_factory.MessageFactory().GetPrototype(descriptor)


def _methods():
    """By name: service, class of the request, class of the response."""
    return {m.name: (service.full_name, message_class(m.input_type), message_class(m.output_type))
            for service in (agent_pb2.DESCRIPTOR.services_by_name['AgentService'],
                            health_pb2.DESCRIPTOR.services_by_name['Health'])
            for m in service.methods}


class Client:
    """One channel. Each method of AgentService and Health is a method here."""

    def __init__(self, sock, options=OPTIONS):
        self.channel = grpc.insecure_channel('unix:' + sock, options)
        self.methods = _methods()

    def __getattr__(self, name):
        if name not in self.methods:
            raise AttributeError(name)
        service, req, resp = self.methods[name]
        call = self.channel.unary_unary('/%s/%s' % (service, name), request_serializer=req.SerializeToString,
                                        response_deserializer=resp.FromString)

        def run(_later=False, _timeout=30, _with=None, **fields):
            request = req(**fields)
            return (call.future if _later else call)(request, timeout=_timeout, **(_with or {}))
        return run

    def raw(self, name, body, timeout=30, service=None):
        """A call with bytes of one's own, also to a method that there isn't."""
        call = self.channel.unary_unary('/%s/%s' % (service or self.methods[name][0], name),
                                        request_serializer=lambda b: b, response_deserializer=lambda b: b)
        return call(body, timeout=timeout)

    def close(self):
        self.channel.close()


class Refused(grpc.RpcError):
    """An answer with a status, as grpcio has it."""

    def __init__(self, status, text):
        super().__init__('%s: %s' % (status, text))
        self.status, self.text = status, text

    def code(self):
        return self.status

    def details(self):
        return self.text


class Ttrpc:
    """One connection, with as many calls at once as one likes. Each method is a method here, as in Client."""

    def __init__(self, sock):
        self.methods, self.lock, self.open, self.last = _methods(), threading.Lock(), {}, -1
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sock)
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self):
        try:
            while True:
                stream, status, text, payload = ttrpc_answer(self.sock)
                future, response = self.open.pop(stream)
                if status:
                    future.set_exception(Refused(next(s for s in grpc.StatusCode if s.value[0] == status), text))
                else:
                    future.set_result(response.FromString(payload))
        except (OSError, EOFError) as e:
            for future, _ in list(self.open.values()):
                future.set_exception(Refused(grpc.StatusCode.UNAVAILABLE, str(e)))

    def __getattr__(self, name):
        if name not in self.methods:
            raise AttributeError(name)
        service, req, resp = self.methods[name]

        def run(_later=False, _timeout=30, **fields):
            payload = req(**fields).SerializeToString()
            future = concurrent.futures.Future()
            with self.lock:
                self.last += 2
                self.open[self.last] = (future, resp)
                self.sock.sendall(ttrpc_request(self.last, name, payload, service))
            return future if _later else future.result(_timeout)
        return run

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()


def fails(status, fn, *args, words=(), **kw):
    """fn fails with that status (or one of several) and these words in its text, which is returned."""
    statuses = status if isinstance(status, tuple) else (status,)
    try:
        got = fn(*args, **kw)
    except grpc.RpcError as e:
        expect(e.code() in statuses, True, 'status %s, wanted %s: %s' % (e.code(), statuses, e.details()))
        has(e.details(), *((words,) if isinstance(words, str) else words))
        return e.details()
    raise AssertionError('no error but %r' % (got,))
