/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A last word when the agent itself crashes.
 */
#ifndef BASE_CRASH_H
#define BASE_CRASH_H

/* From now on SIGSEGV and its like leave a line on the console and in the kernel's log. */
void crash_handlers(void);
/* The end of a guest whose PID 1 we are: off, or a reset where it can't be switched off. */
_Noreturn void crash_power_off(void);

#endif
