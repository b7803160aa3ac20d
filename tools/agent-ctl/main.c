/* SPDX-License-Identifier: Apache-2.0 */
/* agent-ctl: the host-side client of kata-agent. Everything is in ctl.c and below it. */
#include "ctl.h"

int main(int argc, char **argv)
{
	return ctl_main(argc, argv);
}
