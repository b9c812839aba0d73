/*
 * commands.h - what prisoncode does besides running sessions. Each prints its own result on standard
 * output and returns 0 with an exit status, or -1 with why.
 */
#ifndef LAUNCHER_COMMANDS_H
#define LAUNCHER_COMMANDS_H

#include "options.h"

/* --allow ENTRY...: lints each entry, appends all or none of them to domains.txt under a lock. */
int cmd_allow(const struct options *options, struct fail *why);

/* --denied: what was denied in this workspace's latest session; -f follows until a signal. */
int cmd_denied(const struct options *options, struct fail *why);

/* --doctor: every precondition, and what to do. *ret_status is 1 when a session would not start. */
int cmd_doctor(const struct options *options, int *ret_status, struct fail *why);

/* --reinstall: builds both images anew; with --dry-run the commands. */
int cmd_reinstall(const struct options *options, struct fail *why);

#endif
