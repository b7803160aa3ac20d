/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Debug console and log port: for people, both off unless the kernel command line asks for them.
 */
#ifndef CONSOLE_H
#define CONSOLE_H

struct agent;

/*
 * Starts what agent.debug_console, agent.debug_console_vport and agent.log_vport ask for. Failures
 * are logged.
 */
void console_start(struct agent *a);

#endif
