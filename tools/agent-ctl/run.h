/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that are more than one RPC. */
#ifndef CTL_RUN_H
#define CTL_RUN_H

#include "ctl.h"

int run_main(struct ctl *c, const struct command *self, int argc, char **argv);
int exec_main(struct ctl *c, const struct command *self, int argc, char **argv);
int attach_main(struct ctl *c, const struct command *self, int argc, char **argv);
int create_main(struct ctl *c, const struct command *self, int argc, char **argv);
int spec_main(struct ctl *c, const struct command *self, int argc, char **argv);
int call_main(struct ctl *c, const struct command *self, int argc, char **argv);
int methods_main(struct ctl *c, const struct command *self, int argc, char **argv);
int copy_main(struct ctl *c, const struct command *self, int argc, char **argv);
int proxy_main(struct ctl *c, const struct command *self, int argc, char **argv);
int batch_main(struct ctl *c, const struct command *self, int argc, char **argv);
int repeat_main(struct ctl *c, const struct command *self, int argc, char **argv);
int sleep_main(struct ctl *c, const struct command *self, int argc, char **argv);
int bench_main(struct ctl *c, const struct command *self, int argc, char **argv);

#endif
