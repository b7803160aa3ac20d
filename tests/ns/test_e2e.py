#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The end-to-end cases against the agent as an ordinary process on this host, over a Unix socket."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import cases  # noqa: E402
import nsagent  # noqa: E402
import server  # noqa: E402
from roads import Road  # noqa: E402
from tap import Tap, expect, need_root  # noqa: E402


def main():
    tap = Tap()
    with nsagent.Agent(server.sanitized(), env=server.QUIET_SAN) as agent:
        for protocol in ('grpc', 'ttrpc'):
            with Road(agent.address, protocol) as road:
                cases.run_all(tap, road, protocol)
        with tap.case('the agent lives, and its descriptors are few'):
            expect(agent.alive(), True)
            expect(agent.fds() < 40, True, 'descriptors: %d' % agent.fds())
        agent.terminate()
        with tap.case('no sanitizer spoke'):
            expect(agent.sanitizer(), [])
        return nsagent.finish(tap, agent)


if __name__ == '__main__':
    need_root()
    sys.exit(main())
