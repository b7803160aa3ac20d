#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The end-to-end cases in guests, over each road: gRPC and ttrpc on vsock, gRPC in yamux on the serial port."""
import os
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import cases  # noqa: E402
from roads import Road  # noqa: E402
from tap import Tap  # noqa: E402
from vmlib import Guest  # noqa: E402

tap = Tap()
for transport, protocols in (('vsock', ('grpc', 'ttrpc')), ('serial', ('grpc',))):
    share = tempfile.mkdtemp(prefix='share-', dir='/tmp')
    try:
        with Guest(transport=transport, share=share) as guest:
            guest.wait_agent()
            for protocol in protocols:
                road = Road(guest.address, protocol, share)
                cases.run_all(tap, road, '%s, %s' % (transport, protocol))
            tap.ok(guest.is_running(), '%s: the guest lives' % transport)
    finally:
        shutil.rmtree(share, ignore_errors=True)
sys.exit(tap.done())
