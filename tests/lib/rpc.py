# SPDX-License-Identifier: Apache-2.0
"""A gRPC client that others wrote: grpcio, with messages that protoc makes of our .proto files now.

    client = Client(agent.sock)
    client.CreateSandbox(sandbox_id='x')            a call: fields of the request, then the response
    client.WaitProcess(..., _later=True).result()   a future

A program that imports this skips itself without python3-grpcio, python3-protobuf or protobuf-compiler.
"""
import importlib
import os
import subprocess
import sys
import tempfile

from tap import TOP, expect, has, need_debian_python, skip_all

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


class Client:
    """One channel. Each method of AgentService and Health is a method here."""

    def __init__(self, sock, options=OPTIONS):
        self.channel = grpc.insecure_channel('unix:' + sock, options)
        self.methods = {}
        for service in (agent_pb2.DESCRIPTOR.services_by_name['AgentService'],
                        health_pb2.DESCRIPTOR.services_by_name['Health']):
            for m in service.methods:
                self.methods[m.name] = (service.full_name, message_class(m.input_type), message_class(m.output_type))

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
